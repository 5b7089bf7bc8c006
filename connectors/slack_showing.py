"""A reply in sight while it is made: a status below the question, and in direct messages the text as it grows.

All of it is best effort. Whatever goes wrong, the reply is posted as if nothing had been shown; once a stream is broken it is left
alone, and its message is completed or replaced when the reply is sent.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import structlog
from slack_sdk.web.async_client import AsyncWebClient

from connectors import formatting
from connectors.slack_calls import judged
from connectors.slack_events import ASKED, NAME
from connectors.slack_posting import LONGEST_TEXT, PAGE, below, metadata
from connectors.slack_store import STREAM_LIFE, Kept
from engine.choices import listed
from engine.errors import DeliveryRefused, RetryLater, StoreUnavailable, Unclear
from engine.limits import Limit
from engine.messages import Delivery, Receipt

log = structlog.get_logger()

STATUS = "is thinking..."
#: Steps in a workspace in a minute, shared by all workers: Slack takes 20 starts, as many ends, and 100 appends. [S]
STARTS, APPENDS, MINUTE = 18, 90, 60.0
#: A stream that nothing is appended to any more.
_OVER = {"ts": "", "broken": "1"}
#: A reply waits so long for a stream that is just being started, seconds, at most this part of its time; and looks so often.
START_PATIENCE, START_PART, LOOK_EVERY = 1.0, 0.25, 0.1


class Show:
    """The streams of one process; where they are is kept in Redis, since another process sends the reply."""

    def __init__(self, kept: Kept, *, send_timeout: float) -> None:
        self._kept = kept
        self._patience = min(START_PATIENCE, START_PART * send_timeout)

    async def status(self, calls: AsyncWebClient, channel: str, thread: str) -> None:
        """It is cleared by the next message, or after two minutes. [D]"""
        if thread and not thread.startswith(ASKED):
            await _try(calls.assistant_threads_setStatus(channel_id=channel, thread_ts=thread, status=STATUS))

    async def text(self, calls: AsyncWebClient, channel: str, thread: str, *, turn: str, text: str) -> None:
        """Show the text so far, in direct messages alone, where the workspace has room for one more step.

        :raises RetryLater: Slack asks for a pause.
        """
        if not channel.startswith("D") or not thread or len(formatting.to_slack(text)) > LONGEST_TEXT:
            return
        key = self._kept.key("stream", turn)
        try:
            stream = await self._kept.fields(key)
            if not stream:
                if await self._kept.spare(Limit((NAME, "start", str(calls.token)), STARTS, MINUTE)):
                    await self._start(calls, key, channel, thread, text)
            elif (
                stream.get("ts")
                and stream.get("broken") != "1"
                and await self._kept.spare(Limit((NAME, "append", str(calls.token)), APPENDS, MINUTE))
            ):
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
        stream = await self._settled(key)
        if not stream.get("ts"):
            if stream.get("lost"):
                await _clear(calls, delivery, channel, thread)
            return None
        receipt = await self._completed(calls, delivery, channel, stream)
        receipt = receipt or await self._replaced(calls, delivery, channel, stream["ts"])
        await self._kept.set_fields(key, _OVER, life=STREAM_LIFE)
        return receipt

    async def _settled(self, key: str) -> Mapping[str, str]:
        """The stream that the reply ends; from here on none can be started. `lost`: one was, and nobody knows what became of it."""
        if await self._kept.first(key, "begun", "1", life=STREAM_LIFE):
            # What comes late to be shown must not begin a message beside the reply.
            await self._kept.set_fields(key, _OVER, life=STREAM_LIFE)
            return {}
        ends = time.monotonic() + self._patience
        while "ts" not in (stream := await self._kept.fields(key)) and time.monotonic() < ends:  # noqa: ASYNC110 - another process
            await asyncio.sleep(LOOK_EVERY)
        # Whoever sets the place first decides: a stream without one here takes itself back.
        if "ts" in stream or not await self._kept.first(key, "ts", "", life=STREAM_LIFE):
            return await self._kept.fields(key)
        return {"lost": "1"}

    async def _start(self, calls: AsyncWebClient, key: str, channel: str, thread: str, text: str) -> None:
        if not await self._kept.first(key, "begun", "1", life=STREAM_LIFE):
            return
        try:
            with judged():
                answer: Mapping[str, Any] = (
                    await calls.chat_startStream(channel=channel, thread_ts=thread, markdown_text=neutral(text))
                ).data  # type: ignore[assignment]
        except Unclear as error:
            log.debug("a stream may have been started", action="slack.not_shown", reason=str(error))
            return
        except (RetryLater, DeliveryRefused) as error:
            await self._kept.set_fields(key, _OVER, life=STREAM_LIFE)
            if isinstance(error, RetryLater) and error.after:
                raise
            return
        ts = str(answer.get("ts") or "")
        await self._kept.set_fields(key, {"shown": neutral(text)}, life=STREAM_LIFE)
        if not await self._kept.first(key, "ts", ts, life=STREAM_LIFE):
            await _take_back(calls, channel, ts)

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
        if blocks := below(delivery):
            how["blocks"] = blocks
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
        text = formatting.to_slack(listed(delivery.reply.text, delivery.reply.choices))
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


async def _clear(calls: AsyncWebClient, delivery: Delivery, channel: str, thread: str) -> None:
    """Take back the beginning of this reply that a stream has left, where its place got lost with the process that started it."""
    whole = neutral(delivery.reply.text)
    oldest = f"{time.time() - STREAM_LIFE:.6f}"
    try:
        page = await _try(
            calls.conversations_replies(channel=channel, ts=thread, oldest=oldest, limit=PAGE, include_all_metadata=True)
        )
        for one in page.get("messages") or ():
            begins = str(one.get("text") or "").strip()
            if one.get("bot_id") and not one.get("metadata") and begins and whole.startswith(begins):
                await _take_back(calls, channel, str(one.get("ts")))
    except RetryLater as later:  # the reply is worth more than a tidy thread
        log.info("the beginning of a reply may be left", action="slack.left", delivery=delivery.id, reason=str(later))


async def _take_back(calls: AsyncWebClient, channel: str, ts: str) -> None:
    """Remove a message that was begun.

    :raises RetryLater: Slack asks for a pause.
    """
    await _try(calls.chat_stopStream(channel=channel, ts=ts))
    await _try(calls.chat_delete(channel=channel, ts=ts))


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
