"""What Freshchat sends: what people write, and who has a conversation."""

import re
from collections.abc import Collection, Iterator
from typing import Any

from connectors import wishes
from connectors.attachments import File, legible, written
from connectors.bodies import read_object, well_formed
from connectors.contract import Inbound, Notice, Ownership
from engine.accounts import FreshchatBot
from engine.errors import MalformedRequest, NothingToAnswer, UnparseableMessage
from engine.messages import Address, InboundMessage, MediaKind, Owner

NAME = "freshchat"

#: What holds the conversation in `data`, by action [D].
_WRAPPERS = {"conversation_assignment": "assignment", "conversation_resolution": "resolve", "conversation_reopen": "reopen"}
#: Parts of a message that hold a file; `file` may be anything.
_FILES = {"image": MediaKind.IMAGE, "audio": MediaKind.VOICE, "file": None}
_ID = re.compile(r"[A-Za-z0-9_-]{1,256}")


def read(account: FreshchatBot, body: bytes, *, kinds: Collection[MediaKind] = ()) -> tuple[Inbound, ...]:
    """What an event says to one of our bots.

    :raises UnparseableMessage: whatever is broken: Freshchat would send it again and again.
    """
    found = _object(body)
    action = found.get("action")
    if not isinstance(action, str):
        raise UnparseableMessage("an event without `action`")
    if action == "message_create":
        return _message(account, found, kinds=kinds)
    if action not in _WRAPPERS:
        return ()
    change = _dig(found, "data", _WRAPPERS[action])
    address = _address(account, text_of(_dig(change, "conversation"), "conversation_id"))
    owner = _owner(action, found, change, account)
    return (Ownership(address, owner),) if owner else ()


def _message(account: FreshchatBot, found: dict[str, Any], *, kinds: Collection[MediaKind] = ()) -> tuple[Inbound, ...]:
    message = _dig(found, "data", "message")
    address = _address(account, text_of(message, "conversation_id"))
    authors = {text_of(_dig(found, "actor"), "actor_type"), text_of(message, "actor_type")} - {""}
    private = text_of(message, "message_type") == "private" or message.get("botsPrivateNote") is True
    actor = text_of(message, "actor_id") or text_of(_dig(found, "actor"), "actor_id")
    if authors == {"agent"} and not private and actor != account.actor_id:
        return (Ownership(address, Owner.HUMAN),)
    if authors != {"user"} or private:
        return ()
    message_id = text_of(message, "id")
    if not message_id:
        raise UnparseableMessage("a message without an id")
    ids = (f"{account.name}/{message_id}",)
    try:
        texts = _texts(message)
        media = legible(_files(message), kinds)
        text = written("\n".join(texts), media)
    except NothingToAnswer:
        return (Notice(address, ids, "no_text"),) if message.get("message_parts") else ()
    return (wishes.read(InboundMessage(address=address, sender=actor, text=text, dedupe_ids=ids, media=media)),)


def _object(body: bytes) -> dict[str, Any]:
    try:
        return read_object(body)
    except MalformedRequest as error:
        raise UnparseableMessage(str(error)) from error


def _dig(found: Any, *names: str) -> dict[str, Any]:
    """The object at the end of the names, empty where there is none."""
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def text_of(found: Any, name: str) -> str:
    """The text of that name, empty where there is none."""
    value = found.get(name) if isinstance(found, dict) else None
    return well_formed(value[:256]) if isinstance(value, str) else ""


def _texts(message: dict[str, Any]) -> list[str]:
    parts = message.get("message_parts")
    if not isinstance(parts, list):
        raise UnparseableMessage("a message without `message_parts`")
    found = [_dig(part, "text").get("content") for part in parts]
    return [text for text in found if isinstance(text, str)]


def _files(message: dict[str, Any]) -> Iterator[File]:
    """Pictures, and files by what Freshchat says they hold [R]."""
    for part in message["message_parts"]:
        for name, kind in _FILES.items():
            one = _dig(part, name)
            mime = one.get("content_type") or one.get("contentType")
            size = one.get("file_size_in_bytes") or one.get("file_size")
            if one:
                yield File(reference=one.get("url"), mime=mime, name=one.get("name"), size=size, kind=kind)


def _address(account: FreshchatBot, conversation: str) -> Address:
    if not _ID.fullmatch(conversation):
        raise UnparseableMessage("an event without a conversation's id")
    return Address(platform=NAME, tenant=account.tenant, channel=account.name, thread=conversation)


def _owner(action: str, found: dict[str, Any], change: dict[str, Any], account: FreshchatBot) -> Owner | None:
    """Who has the conversation now; None where the event does not change it.

    What the bot's own agent did is no news: its hand-overs would otherwise give the conversation back to it.
    """
    if action == "conversation_resolution":
        return Owner.BOT
    if action == "conversation_reopen":
        agent = text_of(_dig(change, "conversation"), "assigned_agent_id")
        return Owner.HUMAN if agent not in ("", account.actor_id) else None
    actor = _dig(found, "actor")
    if account.actor_id in (text_of(actor, "actor_id"), text_of(change, "assignor_id")):
        return None
    return _assigned(change, account, by_agent="agent" in (text_of(actor, "actor_type"), text_of(change, "assignor")))


def _assigned(change: dict[str, Any], account: FreshchatBot, *, by_agent: bool) -> Owner | None:
    agent = text_of(change, "to_agent_id")
    if agent:
        return Owner.BOT if agent == account.actor_id else Owner.HUMAN
    group = text_of(change, "to_group_id")
    if group:
        # A rule may sort new conversations into groups, and the bot is to answer them; a person means it.
        return Owner.WAITING if by_agent or group == account.group_id else None
    # Nobody has it. That it was taken from the bot's agent may be the bot's own doing, under the name of the token's owner.
    return Owner.BOT if text_of(change, "from_agent_id") not in ("", account.actor_id) else None
