"""Reads the voice notes and images of claimed turns, beside the answering loop: in a thread of its own, so that no batch waits.

A turn is held meanwhile like one that waits for the model. What is read becomes lines of its text; what cannot be read is left out,
and a turn without any text then gets the fixed reply. A crash leaves the turn in its lane, and it is read again.
"""

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

import structlog
from msgspec import structs

from connectors.contract import Fetching, Platform
from connectors.platforms import table
from engine.errors import DeliveryError, DeliveryRefused, RetryLater, StoreUnavailable, Unreadable
from engine.messages import Address, InboundMessage, Media, MediaKind
from engine.perception import Reader, readers
from engine.question import Question
from engine.settings import Settings
from engine.store import AsyncClient, connect_async
from workers.loop import AWAY_PAUSE
from workers.turns import Turns
from workers.waiting import backoff, cancelled

log = structlog.get_logger()

T = TypeVar("T")

#: Tries at fetching or reading one file, and the longest pause that a server may ask for between them, seconds.
TRIES, LONGEST_PAUSE = 3, 20.0
#: Of the time until a turn's deadline, what reading may take: an answer has to be made too.
SHARE = 0.5
#: Turns that one worker holds for each file that it reads at a time; the others are left to other workers, for so many seconds.
AHEAD, PASSED_ON = 4, 2.0
#: Seconds that connections may take to close when the worker ends.
CLOSING = 2.0


class Perceiving:
    """One worker's share of it. Its methods are called in the thread of the loop."""

    def __init__(
        self, settings: Settings, turns: Turns, *, on_begin: Callable[[Question], None], on_ready: Callable[[], object]
    ) -> None:
        """:raises SettingsError: a command names a program that is not there."""
        self._settings = settings
        self._turns = turns
        self._on_begin = on_begin
        self._on_ready = on_ready
        self._readers = readers(settings)
        self._reading: dict[str, Future[Question]] = {}
        self._senses: Senses | None = None

    @property
    def keys(self) -> Collection[str]:
        """The turns that are being read."""
        return self._reading.keys()

    def admit(self, questions: Sequence[Question]) -> list[Question]:
        """Those with nothing to read; the others are kept until `ready`."""
        at_once = []
        for question in questions:
            if not any(media.kind in self._readers for message in question.messages for media in message.media):
                at_once.append(question)
            elif len(self._reading) >= self._settings.media_at_once * AHEAD:
                self._turns.give_back([question.key], delay=PASSED_ON)
            else:
                self._begin(question)
        return at_once

    def ready(self) -> list[Question]:
        """Turns that have been read since the last call, with what was said and seen among their words."""
        done = [key for key, future in self._reading.items() if future.done()]
        return self._turns.revise([self._reading.pop(key).result() for key in done])

    def drop(self, keys: Collection[str]) -> None:
        """Turns that are held no more."""
        for key in [key for key in self._reading if key in keys]:
            self._reading.pop(key).cancel()

    def close(self) -> None:
        """Let everything go."""
        self.drop(set(self._reading))
        if self._senses is not None:
            self._senses.close()
        self._senses = None

    def _begin(self, question: Question) -> None:
        if self._senses is None:
            self._senses = Senses(self._settings, self._readers)
        left = (question.deadline - self._turns.clock.now()) / 1000
        future = self._senses.start(question, within=min(self._settings.media_timeout, max(0.0, left * SHARE)))
        self._reading[question.key] = future
        future.add_done_callback(lambda _: self._on_ready())
        with suppress(StoreUnavailable):  # nothing is lost but the sight of it
            self._on_begin(question)


class Senses:
    """The thread, its event loop, and what is connected there."""

    def __init__(self, settings: Settings, by_kind: Mapping[MediaKind, Reader]) -> None:
        self._settings = settings
        self._readers = by_kind
        self._at_once = asyncio.Semaphore(settings.media_at_once)
        self._opening = asyncio.Lock()
        self._client: AsyncClient | None = None
        self._platforms: Mapping[str, Platform] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="perceiving", daemon=True)
        self._thread.start()

    def start(self, question: Question, *, within: float) -> Future[Question]:
        """Begin a turn; its future fails in no other way than by being cancelled."""
        return asyncio.run_coroutine_threadsafe(self._read(question, within), self._loop)

    def close(self) -> None:
        """Called once, in another thread."""
        with suppress(TimeoutError):  # the process ends anyhow
            asyncio.run_coroutine_threadsafe(self._let_go(), self._loop).result(CLOSING)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSING)
        if not self._thread.is_alive():
            self._loop.close()

    async def _read(self, question: Question, within: float) -> Question:
        """The question with the words of its files, as far as they can be had within so many seconds."""
        files = [(at, media) for at, message in enumerate(question.messages) for media in message.media]
        tasks = [asyncio.create_task(self._line(question, media)) for _, media in files]
        try:
            await asyncio.wait(tasks, timeout=within)
        finally:
            late = [task for task in tasks if not task.done()]
            await cancelled(late)
        if late:
            log.warning("files of a turn could not be read in time", action="media.late", message=question.message, files=len(late))
        lines: dict[int, list[str]] = {}
        for (at, _), task in zip(files, tasks, strict=True):
            lines.setdefault(at, []).append("" if task.cancelled() else task.result())
        worded = [_worded(message, lines.get(at, ())) for at, message in enumerate(question.messages)]
        return replace(question, messages=tuple(worded))

    async def _line(self, question: Question, media: Media) -> str:
        """What one file says, on a line that tells what it was; empty where that cannot be had."""
        bound = log.bind(message=question.message, kind=media.kind)
        try:
            async with self._at_once:
                content = await _tried(lambda: self._fetch(question.address, media))
                words = await _tried(lambda: self._readers[media.kind].read(content))
        except (DeliveryError, Unreadable) as error:
            bound.warning("a file could not be read", action="media.unreadable", reason=str(error))
            return ""
        except Exception as error:  # noqa: BLE001 - the boundary around one file: the rest of its turn is answered
            bound.error("reading a file failed", action="media.failed", exc_info=error)
            return ""
        bound.info("a file was read", action="media.read", size=len(content), characters=len(words))
        return f"{media.kind.label} {words}" if words else ""

    async def _fetch(self, address: Address, media: Media) -> bytes:
        if media.kind not in self._readers:
            raise Unreadable("nothing is configured that reads it")
        if media.size > self._settings.media_bytes:
            raise Unreadable.too_large(self._settings.media_bytes)
        platform = (await self._table()).get(address.platform)
        if not isinstance(platform, Fetching):
            raise Unreadable(f"this worker has no platform {address.platform!r} with files: check its settings")
        return await platform.fetch(address, media, self._settings.media_bytes)

    async def _table(self) -> Mapping[str, Platform]:
        """The platforms, made inside the event loop that uses them."""
        async with self._opening:
            if self._client is None:
                self._client = await connect_async(self._settings)
                self._platforms = table(self._settings, self._client)
        return self._platforms

    async def _let_go(self) -> None:
        await cancelled({task for task in asyncio.all_tasks() if task is not asyncio.current_task()})
        for reader in self._readers.values():
            await reader.close()
        for platform in self._platforms.values():
            await platform.close()
        if self._client is not None:
            await self._client.aclose()


def _worded(message: InboundMessage, lines: Sequence[str]) -> InboundMessage:
    """The message with the words of its files below its own."""
    return structs.replace(message, text="\n".join(filter(None, (message.text, *lines))), media=())


async def _tried(call: Callable[[], Awaitable[T]]) -> T:
    """What may be well at another try gets some; while Redis is away that is no try."""
    failed = 0
    while True:
        try:
            return await call()
        except StoreUnavailable:
            await asyncio.sleep(AWAY_PAUSE)
        except DeliveryRefused:
            raise
        except DeliveryError as error:
            failed += 1
            after = error.after if isinstance(error, RetryLater) else 0
            if failed >= TRIES or after > LONGEST_PAUSE:
                raise
            await asyncio.sleep(after or backoff(failed - 1, random.random()))  # noqa: S311 - jitter, not a secret
