"""What Intercom's notifications say: what people write, and who has a conversation."""

import re
from collections.abc import Collection
from typing import Any

from connectors import wishes
from connectors.attachments import legible, written
from connectors.bodies import read_object
from connectors.contract import Inbound, Notice, Ownership
from connectors.intercom_items import Item, Part, identifier
from engine.accounts import IntercomApp
from engine.errors import MalformedRequest, NothingToAnswer, UnparseableMessage
from engine.messages import Address, InboundMessage, MediaKind, Owner

NAME = "intercom"

#: Topics in which a person writes; in the first of them the words are in `source`.
CREATED, REPLIED = "conversation.user.created", "conversation.user.replied"
#: Topics that tell who has the conversation.
ADMIN_REPLIED, CLOSED = "conversation.admin.replied", "conversation.admin.closed"
ASSIGNED = frozenset({"conversation.admin.assigned", "conversation.admin.unassigned"})
KNOWN = ASSIGNED | {CREATED, REPLIED, ADMIN_REPLIED, CLOSED}

#: Ids of no teammate and no team.
NOBODY = frozenset({"", "0"})
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def read(account: IntercomApp, body: bytes, *, kinds: Collection[MediaKind] = ()) -> tuple[Inbound, ...]:
    """What a notification says to one of our apps.

    :raises UnparseableMessage: whatever is broken: errors would count against the whole subscription.
    """
    found = _object(body)
    topic = found.get("topic")
    if not isinstance(topic, str):
        raise UnparseableMessage("a notification without `topic`")
    if topic not in KNOWN:
        return ()
    item = Item.read(found)
    if not _ID.fullmatch(item.id):
        raise UnparseableMessage(f"{topic} without a conversation's id")
    address = Address(platform=NAME, tenant=account.tenant, channel=account.name, thread=item.id)
    if topic in (CREATED, REPLIED):
        part = item.source if topic == CREATED else item.last
        return _message(address, part, identifier(found.get("id")), kinds=kinds)
    owner = _owner(topic, item, account)
    return (Ownership(address, owner),) if owner else ()


def notification_id(body: bytes) -> str:
    """The id of a notification, empty where it has none."""
    try:
        return identifier(_object(body).get("id"))
    except UnparseableMessage:
        return ""


def _message(address: Address, part: Part | None, notification: str, *, kinds: Collection[MediaKind]) -> tuple[Inbound, ...]:
    if part is None:
        raise UnparseableMessage("a notification without what was written")
    if not part.by_person:
        return ()
    ids = ((f"{part.kind}/{part.id}",) if part.id else ()) + ((notification,) if notification else ())
    if not ids:
        raise UnparseableMessage("a message without any id")
    ids = tuple(f"{address.channel}/{one}" for one in ids)
    try:
        media = legible(part.files, kinds)
        text = written(part.text, media)
    except NothingToAnswer:
        return (Notice(address, ids, "no_text"),) if part.files else ()
    return (wishes.read(InboundMessage(address=address, sender=part.author, text=text, dedupe_ids=ids, media=media)),)


def _object(body: bytes) -> dict[str, Any]:
    try:
        return read_object(body)
    except MalformedRequest as error:
        raise UnparseableMessage(str(error)) from error


def _owner(topic: str, item: Item, account: IntercomApp) -> Owner | None:
    """Who has the conversation now; None where the notification does not change it.

    What the bot's own admin did is no news: its hand-overs would otherwise give the conversation back to it.
    """
    teammate = item.last is not None and item.last.by_admin()
    if item.last is not None and item.last.by_admin(account.admin_id):
        return None
    if topic == ADMIN_REPLIED:
        return Owner.HUMAN if teammate and item.last is not None and item.last.action != "note" else None
    if topic == CLOSED:
        return Owner.BOT if item.admin in NOBODY | {account.admin_id} else None
    if item.admin in NOBODY:
        # A rule of the inbox may give new conversations to a team, and the bot is to answer them; a teammate means it.
        return _of_team(item) if teammate else None
    if item.admin == account.admin_id:
        # Without its part nobody knows whether it was the bot's own doing.
        return Owner.BOT if item.last else None
    return Owner.HUMAN


def _of_team(item: Item) -> Owner:
    return Owner.BOT if item.team in NOBODY else Owner.WAITING
