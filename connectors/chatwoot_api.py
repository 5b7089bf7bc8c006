"""Chatwoot's API as a bot may use it: what it shows of a conversation, and what it takes."""

from collections.abc import Iterator, Sequence
from typing import Any

import structlog

from connectors.api import Api
from connectors.chatwoot_events import MARK
from connectors.commonmark import to_markdown
from engine.errors import DeliveryError, DeliveryRefused, RetryLater
from engine.messages import Delivery, Receipt, Reply

log = structlog.get_logger()

#: Messages of a conversation in a minute, whoever writes them: CONVERSATION_MESSAGE_PER_MINUTE_LIMIT, `lib/limits.rb` [S].
MESSAGES, PER_SECONDS = 200, 60.0
#: What Chatwoot says when that is used up; it answers 422 [S].
_TOO_MANY = "Too many messages"
#: What Chatwoot says where the token of a bot may not look, `access_token_auth_helper.rb`; it answers 401 [S]. Bots may see a
#: conversation in newer versions and may not list its messages in any.
_NOT_FOR_BOTS = "not authorized for bots"
#: Channels that show `input_select`: the website's, and that of an API, whose client shows it [D].
_WITH_BUTTONS = frozenset({"Channel::WebWidget", "Channel::Api"})


async def look(api: Api, place: str) -> dict[str, Any] | None:
    """The conversation; None in versions that do not show it to a bot, where the events alone tell whose it is."""
    found = await get(api, place)
    return found if isinstance(found, dict) else None


async def listed(api: Api, place: str) -> list[Any] | None:
    """The latest messages; None where they are not shown to a bot."""
    found = await get(api, f"{place}/messages")
    return found.get("payload") or [] if isinstance(found, dict) else None


async def get(api: Api, path: str) -> Any:
    """What a path answers; None where it is not shown to a bot."""
    try:
        return await api.call("GET", path)
    except DeliveryRefused as error:
        if _NOT_FOR_BOTS not in str(error):
            raise
        return None


def has_buttons(seen: dict[str, Any] | None) -> bool:
    """Whether a conversation is in an inbox that shows choices; other channels would show the text alone [D]."""
    meta = seen.get("meta") if seen else None
    return isinstance(meta, dict) and meta.get("channel") in _WITH_BUTTONS


def said(reply: Reply) -> dict[str, Any]:
    """The content of a reply, with its choices to press where it has any."""
    content: dict[str, Any] = {"content": to_markdown(reply.text)}
    if reply.choices:
        items = [{"title": choice, "value": choice} for choice in reply.choices]
        content |= {"content_type": "input_select", "content_attributes": {"items": items}}
    return content


async def post(api: Api, place: str, content: dict[str, Any], *, mark: str, private: bool = False) -> str:
    """Post a message of that `content`; Chatwoot's id of it."""
    plain = {"message_type": "outgoing", "private": private, "content_type": "text"}
    content = {**plain, **content, "content_attributes": {MARK: mark, **content.get("content_attributes", {})}}
    try:
        found = await api.call("POST", f"{place}/messages", content)
    except DeliveryRefused as error:
        if _TOO_MANY in str(error):
            raise RetryLater("Chatwoot takes no more messages in this minute", after=PER_SECONDS) from error
        raise
    return str(found.get("id", "")) if isinstance(found, dict) else ""


async def stop_typing(api: Api, place: str) -> None:
    """Chatwoot shows typing for half a minute, also beside a reply that is there."""
    try:
        await api.call("POST", f"{place}/toggle_typing_status", {"typing_status": "off"})
    except DeliveryError as error:  # for the eye alone, and older versions do not have it for bots
        log.debug("typing was not ended", action="chatwoot.typing", reason=str(error))


async def assign(api: Api, place: str, team: str) -> None:
    """Give the conversation to a team, if one is configured."""
    if not team:
        return
    try:
        await api.call("POST", f"{place}/assignments", {"team_id": team})
    except DeliveryRefused as error:  # the conversation is opened for all agents at least
        log.warning("the team was not assigned", action="chatwoot.assign", reason=str(error))


def note(text: str) -> str:
    """What the agents read; a mention in what the bot said calls nobody."""
    said = to_markdown(text).replace("mention://", "mention:")
    return "Replymill gives this conversation to a person." + (f" It said last:\n\n{said}" if said else "")


def shown(conversation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The last messages, which a conversation shows with itself."""
    messages = conversation.get("messages")
    for message in [*(messages if isinstance(messages, list) else []), conversation.get("last_non_activity_message")]:
        if isinstance(message, dict):
            yield message


def mark_of(message: Any) -> str:
    """The delivery, or its step, that posted a message; empty where it was not ours."""
    attributes = message.get("content_attributes") if isinstance(message, dict) else None
    return str(attributes.get(MARK, "")) if isinstance(attributes, dict) else ""


def by_agent(message: Any) -> bool:
    """Whether an agent wrote it for the customer; what we post with the token of a user bears our mark."""
    if not isinstance(message, dict) or mark_of(message):
        return False
    sender = message.get("sender")
    spoken = message.get("message_type") in ("outgoing", 1) and not message.get("private")
    return spoken and isinstance(sender, dict) and sender.get("type") == "user"


def marked(messages: Sequence[Any], delivery: Delivery) -> Receipt | None:
    """The receipt of a delivery, if it is among the messages."""
    for message in messages:
        if mark_of(message) == delivery.id:
            return Receipt(delivery=delivery.id, platform_id=str(message.get("id", "")))
    return None


def is_before(message: dict[str, Any], delivery: Delivery) -> bool:
    """Whether nothing follows the message that a reply answers, or the part before it: then the reply is not there."""
    answered = delivery.reply.reference.rpartition("/")[2]
    return str(message.get("id")) == answered or mark_of(message).rpartition("-")[0] == delivery.turn
