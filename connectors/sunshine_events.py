"""What Sunshine Conversations sends, and what each event asks for."""

from collections.abc import Collection
from typing import Any

import msgspec
import structlog

from connectors import wishes
from connectors.attachments import File, legible, written
from connectors.bodies import read_as, read_object, well_formed
from connectors.contract import Inbound, Notice, Ownership
from engine.accounts import SunshineApp
from engine.errors import MalformedRequest, NothingToAnswer, UnparseableMessage
from engine.messages import Address, InboundMessage, MediaKind, Owner

log = structlog.get_logger()

NAME = "sunshine"

#: Somebody has got the control of a conversation, and the event says who.
_TAKEN = frozenset({"switchboard:passControl", "switchboard:acceptControl"})
_RELEASED = "switchboard:releaseControl"
_MESSAGE = "conversation:message"


class Integration(msgspec.Struct, frozen=True):
    """One of the switchboard; without a name and an id: nobody."""

    name: str | None = None
    id: str | None = None

    def known_as(self, called: str) -> bool:
        """The switchboard takes a name or an id for one."""
        return bool(called) and called in {self.name, self.id}


class Conversation(msgspec.Struct, frozen=True, rename="camel"):
    """Where an event happened; no active integration: nobody is in control."""

    id: str
    active_switchboard_integration: Integration | None = None

    @property
    def active(self) -> Integration:
        return self.active_switchboard_integration or Integration()


class Author(msgspec.Struct, frozen=True, rename="camel"):
    """`user`, or `business`: bots and agents."""

    type: str
    user_id: str | None = None


class Content(msgspec.Struct, frozen=True, rename="camel"):
    """A text, or something else that may have one."""

    text: str | None = None
    type: str | None = None
    media_url: Any = None
    media_type: Any = None
    media_size: Any = None


class Message(msgspec.Struct, frozen=True):
    """One message of a conversation."""

    id: str
    author: Author
    content: Content


class Place(msgspec.Struct, frozen=True):
    """What the payload of every event that concerns us has."""

    conversation: Conversation


class Said(msgspec.Struct, frozen=True):
    """What the payload of a message has beside."""

    message: Message


class Event(msgspec.Struct, frozen=True):
    """One of a request; what the payload holds depends on the type."""

    id: str
    type: str
    payload: dict[str, Any] = {}


class App(msgspec.Struct, frozen=True):
    """Whose events these are."""

    id: str | None = None


class Body(msgspec.Struct, frozen=True):
    """One request."""

    events: list[Any]
    app: App = App()


def read(account: SunshineApp, raw: bytes, kinds: Collection[MediaKind] = ()) -> tuple[Inbound, ...]:
    """What a request asks for. One event that is broken does not take the others with it.

    :raises UnparseableMessage: all are broken, or none can be told from another.
    """
    events = _events(account, raw)
    found: list[Inbound] = []
    broken: list[str] = []
    for event in events:
        try:
            found += _one(account, read_as(event, Event), kinds)
        except MalformedRequest as error:
            broken.append(str(error))
    if broken and len(broken) == len(events):
        raise UnparseableMessage(f"no event that we know: {broken[0]}")
    for reason in broken:
        log.warning("one of several events is left out", action="sunshine.unparseable", account=account.name, reason=reason)
    return tuple(found)


def address_of(account: SunshineApp, conversation: str) -> Address:
    return Address(platform=NAME, tenant=account.tenant, channel=account.name, thread=conversation)


def _events(account: SunshineApp, raw: bytes) -> list[Any]:
    try:
        body = read_as(read_object(raw), Body)
    except MalformedRequest as error:
        raise UnparseableMessage(f"not a request of the API's version 2: {error}") from error
    if body.app.id and body.app.id != account.app_id:
        raise UnparseableMessage("the events of another app")
    return body.events


def _one(account: SunshineApp, event: Event, kinds: Collection[MediaKind] = ()) -> tuple[Inbound, ...]:
    if event.type not in {*_TAKEN, _RELEASED, _MESSAGE}:
        return ()
    conversation = read_as(event.payload, Place).conversation
    address = address_of(account, _id("conversation", conversation.id))
    if event.type == _MESSAGE:
        return _said(account, event, conversation, kinds)
    if event.type == _RELEASED:
        # Nobody is in control: the next message says whose turn it is.
        return (Ownership(address, Owner.BOT),)
    if not account.switchboard:
        return ()
    return (Ownership(address, Owner.BOT if conversation.active.known_as(account.switchboard) else Owner.HUMAN),)


def _said(account: SunshineApp, event: Event, conversation: Conversation, kinds: Collection[MediaKind]) -> tuple[Inbound, ...]:
    """What a person wrote while we are in control. It says nothing new about that: it may come late, and out of order."""
    message = read_as(event.payload, Said).message
    if message.author.type != "user":
        return ()
    if account.switchboard and not conversation.active.known_as(account.switchboard):
        return ()
    address = address_of(account, conversation.id)
    # Two webhooks of one app tell of a message in two events.
    ids = (f"{account.name}/{_id('event', event.id)}", f"{account.name}/message/{_id('message', message.id)}")
    try:
        media = legible([_file(message.content)], kinds)
        text = written(message.content.text, media)
    except NothingToAnswer:
        return (Notice(address, ids, "no_text"),)
    sender = well_formed(message.author.user_id or "")[:128]
    return (wishes.read(InboundMessage(address=address, sender=sender, text=text, dedupe_ids=ids, media=media)),)


def _file(content: Content) -> File:
    kind = MediaKind.IMAGE if content.type == "image" else None
    return File(reference=content.media_url, mime=content.media_type, size=content.media_size, kind=kind)


def _id(name: str, value: str) -> str:
    """An id as it may stand in a path."""
    if not 0 < len(value) <= 64 or not value.isascii() or not value.replace("-", "").replace("_", "").isalnum():
        raise MalformedRequest(f"the id of the {name} is {ascii(value)[:80]}")
    return value
