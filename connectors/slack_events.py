"""What Slack says, in our words: pure translation of a verified payload, the same for HTTP and for Socket Mode.

A conversation is all that a person writes to the bot alone, or a thread in a channel. Its channel names the account, the
installation (workspace, or organisation where it is installed in a whole one) and Slack's channel.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from connectors import wishes
from connectors.attachments import legible
from connectors.bodies import read_as, well_formed
from connectors.contract import Deletion, Edit, Inbound, Notice, Stop
from connectors.slack_files import files_of
from connectors.slack_text import addressed, readable
from engine.errors import MalformedRequest, UnparseableMessage
from engine.messages import Address, InboundMessage, Media, MediaKind

NAME = "slack"

#: The action of the buttons below a reply.
FEEDBACK = "replymill_feedback"
#: Begins the action of each button of choices; Slack wants them to differ.
CHOICE = "replymill_choice_"

#: Subtypes of messages that a person wrote; all others are joins, edits, reminders and the like.
WRITTEN = (None, "file_share", "thread_broadcast")
#: Slack's own user, which announces things. [D]
_SLACKBOT = "USLACKBOT"

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TS = re.compile(r"[0-9]{1,16}(\.[0-9]{1,16})?")
#: Begins the thread of an address whose question came by a slash command: there is no message to answer below.
ASKED = "/"


class Installation(msgspec.Struct, frozen=True):
    """For whom Slack sends an event; the first of the list is ours."""

    enterprise_id: str | None = None
    team_id: str | None = None
    user_id: str | None = None
    is_bot: bool | None = None
    is_enterprise_install: bool | None = None


class Envelope(msgspec.Struct, frozen=True):
    """Around every event; unknown fields are left alone."""

    type: str | None = None
    team_id: str | None = None
    enterprise_id: str | None = None
    event_id: str | None = None
    event: dict[str, Any] | None = None
    authorizations: list[Installation] | None = None


class Message(msgspec.Struct, frozen=True):
    """A message, alone or inside a change of one."""

    subtype: str | None = None
    user: str | None = None
    bot_id: str | None = None
    text: str | None = None
    ts: str | None = None
    thread_ts: str | None = None
    files: list[Any] | None = None
    channel: str | None = None
    channel_type: str | None = None
    deleted_ts: str | None = None
    message: "Message | None" = None
    previous_message: "Message | None" = None


class Thread(NamedTuple):
    """A thread in a channel."""

    place: str
    channel: str
    root: str


@dataclass(frozen=True)
class Said:
    """One thing that came in, and whether it is for us."""

    inbound: Inbound
    #: It is for us only where the bot is part of this thread; None: it is for us.
    thread: Thread | None = None
    #: The bot becomes part of the thread by it.
    engages: bool = False
    #: In a direct message: the root of the thread in which it is answered.
    below: str = ""


@dataclass(frozen=True)
class Place:
    """An account, and where it is installed."""

    name: str
    tenant: str
    #: The workspace, or the organisation.
    id: str
    #: The bot's user; empty where Slack did not say.
    bot: str = ""

    def address(self, channel: str, thread: str) -> Address:
        return Address(platform=NAME, tenant=self.tenant, channel=f"{self.name}/{self.id}/{channel}", thread=thread)

    def logical(self, *parts: str) -> str:
        """Two accounts of one tenant may see the same message."""
        return "/".join((self.name, *parts))


@dataclass(frozen=True)
class Room:
    """A channel of Slack; `direct`: a person and the bot alone."""

    place: Place
    channel: str
    direct: bool
    #: What is read beside text.
    kinds: Collection[MediaKind]

    def media(self, message: Message) -> tuple[Media, ...]:
        return legible(files_of(message.files), self.kinds)

    def address(self, root: str) -> Address:
        return self.place.address(self.channel, root)

    def logical(self, ts: str) -> str:
        """One message may come as two events, each with an id of its own."""
        return self.place.logical(self.place.id, self.channel, ts)

    def thread(self, root: str) -> Thread | None:
        return None if self.direct else Thread(self.place.id, self.channel, root)

    def root(self, message: Message) -> str:
        """The conversation of a message: in a channel its thread. All of what a person says to the bot alone is one."""
        return "" if self.direct else self.below(message)

    def below(self, message: Message) -> str:
        """The root of the thread in which a message is answered; a reply's own time would be a wrong one. [D]"""
        ts = time_of(message.ts)
        return time_of(message.thread_ts) if message.thread_ts else ts


def locate(address: Address) -> tuple[str, str, str]:
    """(account, installation, channel) of an address."""
    name, place, channel = (*address.channel.split("/", 2), "", "")[:3]
    return name, place, channel


def event(name: str, tenant: str, body: Mapping[str, Any], *, kinds: Collection[MediaKind] = ()) -> tuple[Said, ...]:
    """What an event says; nothing where it is none of our business.

    :raises UnparseableMessage: it is one we listen to, but not of the shape that Slack documents.
    """
    envelope = shaped(body, Envelope)
    found = envelope.event or {}
    kind = found.get("type")
    if kind not in ("message", "app_mention", "agent_session_stopped"):
        return ()
    place = place_of(name, tenant, envelope)
    message = shaped(found, Message)
    channel = id_of("channel", message.channel)
    if kind == "agent_session_stopped":
        return _stopped(place, channel, message.thread_ts or "", _once(envelope, found))
    room = Room(place, channel, direct=message.channel_type == "im" or channel.startswith("D"), kinds=kinds)
    if message.subtype == "message_changed":
        return _changed(room, message)
    if message.subtype == "message_deleted":
        return _deleted(room, message.previous_message, message.deleted_ts)
    ids = (place.logical(well_formed(envelope.event_id)),) if envelope.event_id else ()
    return _written(room, message, ids, mention=kind == "app_mention")


def _once(envelope: Envelope, found: Mapping[str, Any]) -> str:
    """What a repeat of an event has in common with it; empty where Slack names nothing of the kind."""
    return well_formed(str(envelope.event_id or found.get("event_ts") or ""))[:256]


def _stopped(place: Place, channel: str, thread: str, once: str) -> tuple[Said, ...]:
    """The thread and the conversation around it, each under an id of its own: a late repeat must not stop a newer question."""
    return tuple(
        Said(Stop(place.address(channel, one), (place.logical("stop", place.id, channel, one, once),) if once else ()))
        for one in dict.fromkeys((time_of(thread) if thread else "", ""))
    )


def gone(body: Mapping[str, Any]) -> str:
    """The installation that an event says is no more; empty: it says nothing of that kind."""
    envelope = shaped(body, Envelope)
    found = envelope.event or {}
    kind, tokens = found.get("type"), found.get("tokens")
    revoked = kind == "tokens_revoked" and isinstance(tokens, dict) and bool(tokens.get("bot"))
    return place_of("", "", envelope).id if kind == "app_uninstalled" or revoked else ""


def command(name: str, tenant: str, form: Mapping[str, Any]) -> tuple[Said, ...]:
    """What a slash command asks; nothing where it has no text.

    :raises UnparseableMessage: it is not of the shape that Slack documents.
    """
    text = readable(str(form.get("text", "")), bot="")
    if not text:
        return ()
    whole = form.get("is_enterprise_install") == "true"
    place = Place(name, tenant, id_of("team_id", form.get("enterprise_id" if whole else "team_id")))
    channel, user = id_of("channel_id", form.get("channel_id")), id_of("user_id", form.get("user_id"))
    address = place.address(channel, "" if channel.startswith("D") else ASKED + user)
    trigger = place.logical("command", place.id, well_formed(str(form.get("trigger_id", "")))[:256])
    return (Said(wishes.read(InboundMessage(address=address, sender=user, text=text, dedupe_ids=(trigger,)))),)


def _written(room: Room, message: Message, event: tuple[str, ...], *, mention: bool) -> tuple[Said, ...]:
    if message.subtype not in WRITTEN or by_machine(room.place, message):
        return ()
    ts, root = time_of(message.ts), room.root(message)
    if not (room.direct or mention) and root == ts:
        return ()  # the first message of a thread is for us only where it mentions the bot, and then comes as a mention
    address, ids = room.address(root), (room.logical(ts), *event)
    below = room.below(message) if room.direct else ""
    text = readable(message.text or "", bot=room.place.bot or (addressed(message.text or "") if mention else ""))
    media = room.media(message)
    if media or any(character.isprintable() and not character.isspace() for character in text):
        one = InboundMessage(address=address, sender=id_of("user", message.user), text=text, dedupe_ids=ids, media=media)
        return (Said(wishes.read(one), room.thread(root), engages=mention, below=below),)
    if message.files or mention:
        return (Said(Notice(address, ids, "no_text"), room.thread(root), engages=mention, below=below),)
    return ()


def _changed(room: Room, change: Message) -> tuple[Said, ...]:
    now, before = change.message, change.previous_message or Message()
    if now is None:
        raise UnparseableMessage("message_changed without `message`")
    if now.subtype == "tombstone":  # what is left of a deleted message that has replies
        return _deleted(room, now, now.ts)
    # A link that unfurls changes a message too, but not its text.
    if now.subtype not in WRITTEN or by_machine(room.place, now) or now.text == before.text:
        return ()
    text = readable(now.text or "", bot=room.place.bot or addressed(now.text or ""))
    media = room.media(now)
    if not text and not media:
        return ()
    root, ids = room.root(now), (room.logical(time_of(now.ts)),)
    one = InboundMessage(address=room.address(root), sender=id_of("user", now.user), text=text, dedupe_ids=ids, media=media)
    return (Said(Edit(one), room.thread(root)),)


def _deleted(room: Room, before: Message | None, ts: str | None) -> tuple[Said, ...]:
    original = time_of(ts)
    if before is not None and before.subtype != "tombstone" and by_machine(room.place, before):
        return ()
    root = room.root(before) if before is not None and before.ts else ("" if room.direct else original)
    return (Said(Deletion(room.address(root), room.logical(original)), room.thread(root)),)


def by_machine(place: Place, message: Message) -> bool:
    """Whether no person wrote it: the bot itself, another one, or Slack."""
    return bool(message.bot_id) or message.user in (None, "", _SLACKBOT) or message.user == place.bot


def place_of(name: str, tenant: str, envelope: Envelope) -> Place:
    ours = envelope.authorizations[0] if envelope.authorizations else Installation(team_id=envelope.team_id)
    whole = ours.is_enterprise_install and ours.enterprise_id
    place = ours.enterprise_id if whole else ours.team_id or envelope.team_id
    return Place(name, tenant, id_of("team_id", place), (ours.user_id or "") if ours.is_bot in (True, None) else "")


def shaped(found: Any, wanted: Any) -> Any:
    try:
        return read_as(found, wanted)
    except MalformedRequest as error:
        raise UnparseableMessage(str(error)) from error


def id_of(field: str, value: Any) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise UnparseableMessage(f"`{field}` is no id of Slack")
    return value


def time_of(value: str | None) -> str:
    if value is None or not _TS.fullmatch(value):
        raise UnparseableMessage("`ts` is no time of Slack")
    return value
