"""A delivery as a message of Slack: how it is split, what it consists of, and where it is found again."""

import time
from collections.abc import Mapping
from typing import Any

from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from connectors import formatting
from connectors.slack_calls import BLOCKS, OUTSIDE, fault, judged
from connectors.slack_events import ASKED, CHOICE, FEEDBACK
from engine.choices import listed
from engine.errors import DeliveryRefused, Unclear
from engine.messages import Action, Delivery, Receipt, Source

#: Characters of a message: 4,000 are advised, longer ones are cut at 40,000. [S]
LONGEST_TEXT = 3_900
#: Characters of a section block. [D]
LONGEST_SECTION = 3_000
#: Characters on a button; its value takes 2,000. [D]
LONGEST_LABEL = 75
#: The event type of our metadata, by which a message is known again.
MARK = "replymill"
#: Messages looked at in one call, and how many calls; Slack gives 15 at a time to some apps. [D]
PAGE, PAGES = 200, 20
#: Direct messages that are listed in one call. [D]
PAGE_OF_PLACES = 1000


def split(text: str) -> tuple[str, ...]:
    """Markdown in parts that are each one message."""
    return formatting.split(text, lambda part: len(formatting.to_slack(part)) <= LONGEST_TEXT)


def metadata(delivery: Delivery) -> dict[str, Any]:
    return {"event_type": MARK, "event_payload": {"answer_id": delivery.id}}


def rated(delivery: Delivery) -> bool:
    """Whether people are asked what they think of it: below the last part of an answer, not below fixed texts."""
    return delivery.last and delivery.reply.source not in (Source.FALLBACK, Source.AGENT) and delivery.action is Action.NONE


def buttons(delivery: Delivery) -> dict[str, Any]:
    """https://docs.slack.dev/reference/block-kit/block-elements/feedback-buttons-element"""

    def button(text: str, verdict: str) -> dict[str, Any]:
        return {"text": {"type": "plain_text", "text": text}, "value": f"{verdict}:{delivery.turn}"}

    element = {
        "type": "feedback_buttons",
        "action_id": FEEDBACK,
        "positive_button": button("Helpful", "up"),
        "negative_button": button("Not helpful", "down"),
    }
    return {"type": "context_actions", "elements": [element]}


def picks(delivery: Delivery) -> dict[str, Any]:
    """https://docs.slack.dev/reference/block-kit/block-elements/button-element"""

    def button(place: int, choice: str) -> dict[str, Any]:
        label = choice if len(choice) <= LONGEST_LABEL else f"{choice[: LONGEST_LABEL - 1]}\u2026"
        text = {"type": "plain_text", "text": label, "emoji": False}
        return {"type": "button", "action_id": f"{CHOICE}{place}", "text": text, "value": choice}

    return {"type": "actions", "elements": [button(place, choice) for place, choice in enumerate(delivery.reply.choices)]}


def below(delivery: Delivery) -> list[dict[str, Any]]:
    """The blocks below the text: the choices, or else the question what people think of it, or nothing."""
    if delivery.reply.choices:
        return [picks(delivery)]
    return [buttons(delivery)] if rated(delivery) else []


def content(delivery: Delivery) -> dict[str, Any]:
    """What a message says, its text first; with blocks that text is what notifications show."""
    called = f"{delivery.mention} " if delivery.mention else ""
    said: dict[str, Any] = {"text": called + formatting.to_slack(listed(delivery.reply.text, delivery.reply.choices))}
    if blocks := below(delivery):
        parts = formatting.split(delivery.reply.text, lambda part: len(formatting.to_slack(part)) <= LONGEST_SECTION)
        said["blocks"] = [*(section(formatting.to_slack(part)) for part in parts), *blocks]
    return said


def section(text: str) -> dict[str, Any]:
    """`verbatim`: otherwise Slack looks for mentions and names of channels in it by itself. [D]"""
    return {"type": "section", "expand": True, "text": {"type": "mrkdwn", "text": text, "verbatim": True}}


async def post(calls: AsyncWebClient, delivery: Delivery, channel: str, *, thread: str) -> Receipt:
    """Post one message, as plain text where Slack does not take its blocks.

    :raises RetryLater:
    :raises Unclear:
    :raises DeliveryRefused:
    """
    asked = thread.startswith(ASKED)
    where: dict[str, Any] = {"channel": channel, **({"thread_ts": thread} if thread and not asked else {})}
    fixed = {"mrkdwn": True, "unfurl_links": False, "unfurl_media": False, "metadata": metadata(delivery)}
    said = content(delivery)
    with judged():
        try:
            answer = await _plain_at_need(calls, {**where, **fixed}, said)
        except SlackApiError as error:
            if not asked or fault(error).code not in OUTSIDE:
                raise
            # The command works where the bot is not; then its reply goes to the person alone.
            answer = await _plain_at_need(calls, {**where, **fixed, "channel": thread.removeprefix(ASKED)}, said)
    return Receipt(delivery=delivery.id, platform_id=str(answer.get("ts") or ""))


async def _plain_at_need(calls: AsyncWebClient, fixed: Mapping[str, Any], said: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return (await calls.chat_postMessage(**fixed, **said)).data  # type: ignore[return-value]
    except SlackApiError as error:
        if "blocks" not in said or fault(error).code not in BLOCKS:
            raise
    return (await calls.chat_postMessage(**fixed, text=said["text"])).data  # type: ignore[return-value]


async def find(calls: AsyncWebClient, delivery: Delivery, channel: str, *, thread: str, within: float) -> Receipt | None:
    """The message of an earlier attempt, not older than `within` seconds.

    :raises RetryLater: it cannot be told now; so does `Unclear`.
    :raises Unclear:
    :raises DeliveryRefused: it never can.
    """
    oldest = f"{time.time() - within:.6f}"
    if not thread.startswith(ASKED):
        return await _look(calls, delivery, channel, oldest=oldest, thread=thread)
    # The reply to a command went to the person alone where the bot was not in the channel.
    try:
        found = await _look(calls, delivery, channel, oldest=oldest)
    except DeliveryRefused as refused:
        if not any(str(refused).endswith(code) for code in OUTSIDE):
            raise
        found = None
    private = "" if found else await _private(calls, thread.removeprefix(ASKED))
    return await _look(calls, delivery, private, oldest=oldest) if private else found


async def _private(calls: AsyncWebClient, user: str) -> str:
    """The direct messages of the bot and a person; empty where nothing was ever said there."""
    cursor = ""
    for _ in range(PAGES):
        with judged():
            page: Mapping[str, Any] = (await calls.conversations_list(types="im", limit=PAGE_OF_PLACES, cursor=cursor or None)).data  # type: ignore[assignment]
        known = page.get("channels") or []
        if found := [str(one["id"]) for one in known if isinstance(one, dict) and one.get("user") == user and one.get("id")]:
            return found[0]
        if not (cursor := (page.get("response_metadata") or {}).get("next_cursor") or ""):
            return ""
    raise Unclear("the bot has too many direct messages to find out whether it was sent")


async def _look(calls: AsyncWebClient, delivery: Delivery, channel: str, *, oldest: str, thread: str = "") -> Receipt | None:
    cursor = ""
    for _ in range(PAGES):
        with judged():
            page = await _page(calls, channel, thread, oldest=oldest, cursor=cursor)
        found = [one for one in page.get("messages") or [] if isinstance(one, dict) and _is(one, delivery)]
        if found:
            return Receipt(delivery=delivery.id, platform_id=str(found[0].get("ts") or ""))
        cursor = (page.get("response_metadata") or {}).get("next_cursor") or ""
        if not cursor:
            return None
    raise Unclear("too much was said since to find out whether it was sent")


async def _page(calls: AsyncWebClient, channel: str, thread: str, *, oldest: str, cursor: str) -> Mapping[str, Any]:
    how: dict[str, Any] = {"channel": channel, "include_all_metadata": True, "limit": PAGE, "oldest": oldest}
    if cursor:
        how["cursor"] = cursor
    if thread:
        return (await calls.conversations_replies(ts=thread, **how)).data  # type: ignore[return-value]
    return (await calls.conversations_history(**how)).data  # type: ignore[return-value]


def _is(message: Mapping[str, Any], delivery: Delivery) -> bool:
    marked = message.get("metadata")
    payload = marked.get("event_payload") if isinstance(marked, dict) else None
    return isinstance(payload, dict) and payload.get("answer_id") == delivery.id
