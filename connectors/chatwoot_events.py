"""The events of Chatwoot: their shapes, their signature, and what they say."""

import hashlib
import hmac
import re
import time
from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from connectors.attachments import File, legible, written
from connectors.bodies import well_formed
from connectors.contract import Deletion, Edit, Inbound, Request
from connectors.signatures import Clock, Scheme
from engine.choices import LONGEST_CHOICE
from engine.errors import NothingToAnswer
from engine.messages import Address, InboundMessage, MediaKind

#: Chatwoot 4.13 and newer, PR 13892 [D].
SCHEME = Scheme(
    signature_header="x-chatwoot-signature",
    prefix="sha256=",
    template=b"{timestamp}.{body}",
    timestamp_header="x-chatwoot-timestamp",
    clock=Clock.UNIX,
)

#: Among the `content_attributes` of what we post.
MARK = "replymill_id"

#: `file_type` of an attachment, `app/models/attachment.rb` [S].
_KINDS = {"audio": MediaKind.VOICE, "image": MediaKind.IMAGE}

_DELIVERY = re.compile(r"[A-Za-z0-9-]{1,64}")


class Account(msgspec.Struct, frozen=True):
    id: int


class Place(msgspec.Struct, frozen=True):
    #: As agents see it; unique within an account.
    id: int
    status: str
    #: Whom it is with, among others.
    meta: Any = None


class Sender(msgspec.Struct, frozen=True):
    id: int | None = None
    type: str | None = None


class Message(msgspec.Struct, frozen=True):
    """`message_created` and `message_updated`."""

    id: int
    account: Account
    conversation: Place
    #: A word in events, its number elsewhere.
    message_type: str | int
    private: bool | None = None
    content: str | None = None
    sender: Sender | None = None
    content_attributes: dict[str, Any] | None = None
    attachments: Any = None
    #: Newer versions name what an update changed.
    changed_attributes: Any = None


class LastMessage(msgspec.Struct, frozen=True):
    account_id: int | None = None


class StatusEvent(msgspec.Struct, frozen=True):
    """A conversation as its own events show it: the account stands in its last message alone."""

    id: int
    status: str
    account: Account | None = None
    messages: tuple[LastMessage, ...] = ()


def is_for_us(message: Message) -> bool:
    """A customer wrote it, in a conversation that is the bot's."""
    incoming = message.message_type in ("incoming", 0) and not message.private
    by_contact = message.sender is None or message.sender.type in (None, "contact")
    return incoming and by_contact and message.conversation.status == "pending"


def changed_by(address: Address, logical_id: str, message: Message, kinds: Collection[MediaKind]) -> tuple[Inbound, ...]:
    """What an update says: a deletion leaves a fixed text behind, and most other updates leave the text alone."""
    if (message.content_attributes or {}).get("deleted"):
        return (Deletion(address, logical_id),)
    if not _content_changed(message.changed_attributes):
        return ()
    try:
        return (Edit(inbound_of(address, message, (logical_id,), kinds)),)
    except NothingToAnswer:
        return ()


def chosen_in(address: Address, logical_id: str, message: Message) -> InboundMessage | None:
    """What a person chose below a message of ours, in a conversation that is the bot's: an update of that message says so."""
    attributes = message.content_attributes or {}
    submitted = attributes.get("submitted_values")
    ours = MARK in attributes and message.message_type in ("outgoing", 1) and message.conversation.status == "pending"
    first = submitted[0] if ours and isinstance(submitted, list) and submitted else None
    value = (first.get("value") or first.get("title")) if isinstance(first, dict) else None
    if not isinstance(value, str) or not value.strip():
        return None
    meta = message.conversation.meta
    contact = meta.get("sender") if isinstance(meta, dict) else None
    sender = str(contact.get("id") or "")[:64] if isinstance(contact, dict) else ""
    # The message keeps what was chosen, whatever else is updated later: it is said once.
    text = well_formed(value[:LONGEST_CHOICE]).strip()
    return InboundMessage(address=address, sender=sender, text=text, dedupe_ids=(f"{logical_id}/choice",))


def _content_changed(changed: Any) -> bool:
    """Whether an update names the text among what changed, or names nothing."""
    named = changed if isinstance(changed, list) else [changed]
    return changed is None or any(isinstance(one, dict) and "content" in one for one in named)


def inbound_of(address: Address, message: Message, ids: tuple[str, ...], kinds: Collection[MediaKind]) -> InboundMessage:
    sender = str(message.sender.id or "") if message.sender else ""
    media = legible(_files(message.attachments), kinds)
    return InboundMessage(address=address, sender=sender, text=written(message.content, media), dedupe_ids=ids, media=media)


def _files(attachments: Any) -> Iterator[File]:
    for one in attachments if isinstance(attachments, list) else ():
        if isinstance(one, dict):
            kind = _KINDS.get(str(one.get("file_type")))
            yield File(reference=one.get("data_url"), name=f".{one.get('extension')}", size=one.get("file_size"), kind=kind)


def delivery_of(request: Request) -> str:
    """Chatwoot's id of the request, the same for its repeats; empty if there is none."""
    found = request.headers.get("x-chatwoot-delivery", "")
    return found if _DELIVERY.fullmatch(found) else ""


def probe(name: str, secret: str) -> Request:
    """A signed event that nobody knows."""
    body, timestamp = b'{"event":"replymill_probe"}', str(int(time.time()))
    digest = hmac.digest(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hex()
    signed = {SCHEME.signature_header: f"{SCHEME.prefix}{digest}", SCHEME.timestamp_header: timestamp}
    return Request(name, {"content-type": "application/json", **signed}, body)
