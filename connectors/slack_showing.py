"""A reply in sight while it is made: a status below the question, and in direct messages the text as it grows.

All of it is best effort. Whatever goes wrong, the reply is posted as if nothing had been shown; once a stream is broken it is left
alone, and its message is completed or replaced when the reply is sent.
"""

import time
from collections.abc import Mapping
from typing import Any

import structlog
from slack_sdk.web.async_client import AsyncWebClient

from connectors import formatting
from connectors.slack_calls import judged
from connectors.slack_events import ASKED
from connectors.slack_posting import LONGEST_TEXT, buttons, metadata, rated
from connectors.slack_store import STREAM_LIFE, Kept
from engine.errors import DeliveryRefused, RetryLater, StoreUnavailable, Unclear
from engine.messages import Delivery, Receipt

log = structlog.get_logger()

STATUS = "is thinking..."
#: Least seconds between two appends to one message: 100 a minute are allowed in a workspace. [S]
APPEND_EVERY = 1.0
#: A stream that nothing is appended to any more.
_OVER = {"ts": "", "broken": "1"}


class Show:
    """The streams of one process; where they are is kept in Redis, since another process sends the reply."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._appended: dict[str, float] = {}

    async def status(self, calls: AsyncWebClient, channel: str, thread: str) -> None:
        """It is cleared by the next message, or after two minutes. [D]"""
        if thread and not thread.startswith(ASKED):
            await _try(calls.assistant_threads_setStatus(channel_id=channel, thread_ts=thread, status=STATUS))

    async def text(self, calls: AsyncWebClient, channel: str, thread: str, *, turn: str, text: str) -> None:
        """Show the text so far, in direct messages alone: starting is limited to 20 a minute in a workspace. [S]

        :raises RetryLater: Slack asks for a pause.
        """
        if not channel.startswith("D") or not thread or len(formatting.to_slack(text)) > LONGEST_TEXT:
            return
        key = self._kept.key("stream", turn)
        try:
            stream = await self._kept.fields(key)
            if not stream:
                await self._start(calls, key, channel, thread, text)
            elif stream.get("broken") != "1" and time.monotonic() - self._appended.get(turn, 0) >= APPEND_EVERY:
                self._appended = (
                    {turn: time.monotonic()} if len(self._appended) > 1000 else {**self._appended, turn: time.monotonic()}
                )
                await self._append(calls, key, channel, text, stream)
        except StoreUnavailable:  # what is shown is not worth waiting for
            return

    async def finish(self, calls: AsyncWebClient, delivery: Delivery, channel: str, *, thread: str) -> Receipt | None:
        """Make the message that was shown the reply; None: there is none, or it cannot be used.

        :raises Unclear: it may have become the reply.
        """
        if delivery.part or not channel.startswith("D") or not thread:
            return None
        key = self._kept.key("stream", delivery.turn)
        stream = await self._kept.fields(key)
        if not stream.get("ts"):
            # What comes late to be shown must not begin a message beside the reply.
            await self._kept.set_fields(key, _OVER, life=STREAM_LIFE)
            return None
        receipt = await self._completed(calls, delivery, channel, stream)
        receipt = receipt or await self._replaced(calls, delivery, channel, stream["ts"])
        await self._kept.set_fields(key, _OVER, life=STREAM_LIFE)
        return receipt

    async def _start(self, calls: AsyncWebClient, key: str, channel: str, thread: str, text: str) -> None:
        answer = await _try(calls.chat_startStream(channel=channel, thread_ts=thread, markdown_text=neutral(text)))
        shown = {"ts": str(answer["ts"]), "shown": neutral(text)} if answer.get("ts") else _OVER
        await self._kept.set_fields(key, shown, life=STREAM_LIFE)

    async def _append(self, calls: AsyncWebClient, key: str, channel: str, text: str, stream: Mapping[str, str]) -> None:
        now, shown = neutral(text), stream.get("shown", "")
        if now == shown:
            return
        answer: Mapping[str, Any] = {}
        if now.startswith(shown):
            more = now.removeprefix(shown)
            answer = await _try(calls.chat_appendStream(channel=channel, ts=stream["ts"], markdown_text=more))
        await self._kept.set_fields(key, {"shown": now} if answer else {"broken": "1"}, life=STREAM_LIFE)

    async def _completed(
        self, calls: AsyncWebClient, delivery: Delivery, channel: str, stream: Mapping[str, str]
    ) -> Receipt | None:
        """End the stream with what is missing, if what was shown is how the reply begins."""
        whole, shown = neutral(delivery.reply.text), stream.get("shown", "")
        if stream.get("broken") == "1" or not whole.startswith(shown):
            await _try(calls.chat_stopStream(channel=channel, ts=stream["ts"]))
            return None
        how: dict[str, Any] = {"markdown_text": whole.removeprefix(shown) or None, "metadata": metadata(delivery)}
        if rated(delivery):
            how["blocks"] = [buttons(delivery)]
        try:
            with judged():
                await calls.chat_stopStream(channel=channel, ts=stream["ts"], **how)
        except (DeliveryRefused, RetryLater) as error:
            log.info("a stream was not completed", action="slack.stream", delivery=delivery.id, reason=str(error))
            return None
        return Receipt(delivery=delivery.id, platform_id=stream["ts"])

    async def _replaced(self, calls: AsyncWebClient, delivery: Delivery, channel: str, ts: str) -> Receipt | None:
        """Put the reply in the place of what was shown, or take that away.

        :raises Unclear: neither is known to be so, and the message may be the reply.
        """
        text = formatting.to_slack(delivery.reply.text)
        unclear: Unclear | None = None
        try:
            with judged():
                await calls.chat_update(channel=channel, ts=ts, text=text, metadata=metadata(delivery))
            return Receipt(delivery=delivery.id, platform_id=ts)
        except Unclear as error:
            unclear = error
        except (DeliveryRefused, RetryLater) as error:
            log.info("what was shown was not replaced", action="slack.stream", delivery=delivery.id, reason=str(error))
            if isinstance(error, RetryLater) and error.after:
                raise
        gone = await _try(calls.chat_delete(channel=channel, ts=ts))
        if unclear and not gone:
            raise unclear
        return None


def neutral(text: str) -> str:
    """Markdown in which nothing is a mention or a disguised link; grows as the text does."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


async def _try(call: Any) -> Mapping[str, Any]:
    """What Slack answers; empty where it does not do it.

    :raises RetryLater: Slack asks for a pause.
    """
    try:
        with judged():
            return (await call).data  # type: ignore[no-any-return]
    except RetryLater as later:
        if later.after:
            raise
    except (DeliveryRefused, Unclear) as error:  # nothing is lost but the sight of it
        log.debug("Slack shows no progress", action="slack.not_shown", reason=str(error))
    return {}
