"""Calls the tools that claimed turns ask for, beside the answering loop: in a thread of its own, so that no batch waits.

A turn is held meanwhile like one that waits for the model. A crash leaves the turn in its lane, and the tool is called again: one
that changes something is called at most once for a message, which is written down in Redis before the request goes out.
"""

import asyncio
import importlib
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import structlog

from engine.errors import StoreUnavailable, ToolFailed
from engine.keys import acted
from engine.messages import Reply, Source
from engine.question import Question
from engine.settings import Settings
from engine.store import AsyncClient, connect_async, reachable
from engine.tool_answers import Result, Said, failed
from engine.tools import Call
from workers.loop import AWAY_PAUSE
from workers.turns import Turns
from workers.waiting import cancelled

if TYPE_CHECKING:
    from workers.tool_calls import Caller

log = structlog.get_logger()

#: Of the time until a turn's deadline, what a tool may take: without it an answer has to be made too.
SHARE = 0.5
#: Turns that one worker holds for each call that it makes at a time; the others are left to other workers, for so many seconds.
AHEAD, PASSED_ON = 4, 2.0
#: Tries at a call that changes nothing, and the pause before the second, seconds.
TRIES, PAUSE = 2, 0.2
#: Seconds between looks whether another worker's call of the same message has ended.
LOOK = 0.1
#: Seconds that calls which change something, and connections, may take to end when the worker ends.
CLOSING = 5.0
#: What stands in Redis while a call that changes something is made.
_BEGUN = b"begun"
_RESULTS = {Result.FOUND: Source.KNOWLEDGE, Result.NOT_FOUND: Source.FALLBACK, Result.ERROR: Source.FALLBACK}


@dataclass(frozen=True)
class Acted:
    """A tool has answered a turn, or could not."""

    question: Question
    reply: Reply
    #: A person is to take over, with the reply as the text that is said.
    hand_over: bool


class Acting:
    """One worker's calls. Its methods are called in the thread of the loop."""

    def __init__(
        self, settings: Settings, turns: Turns, *, on_begin: Callable[[Question], None], on_ready: Callable[[], object]
    ) -> None:
        self._settings = settings
        self._turns = turns
        self._on_begin = on_begin
        self._on_ready = on_ready
        self._acting: dict[str, Future[Acted]] = {}
        self._hands: Hands | None = None

    @property
    def keys(self) -> Collection[str]:
        """The turns whose tools are being called."""
        return self._acting.keys()

    def admit(self, decided: Sequence[tuple[Question, Call | None]]) -> list[Question]:
        """Those that call no tool; the others are kept until `ready`."""
        at_once = []
        for question, call in decided:
            if call is None:
                at_once.append(question)
            elif len(self._acting) >= self._settings.tools_at_once * AHEAD:
                self._turns.give_back([question.key], delay=PASSED_ON)
            else:
                self._begin(question, call)
        return at_once

    def ready(self) -> list[Acted]:
        """What became of calls that have ended since the last call, of turns that are still held."""
        done = [key for key, future in self._acting.items() if future.done()]
        return [ended for key in done if (ended := self._acting.pop(key).result()).question.key in self._turns]

    def drop(self, keys: Collection[str]) -> None:
        """Turns that are held no more. A call that changes something goes on: whoever has the turn now waits for its end."""
        for key in [key for key in self._acting if key in keys]:
            self._acting.pop(key).cancel()

    def close(self) -> None:
        """Let everything go."""
        self.drop(set(self._acting))
        if self._hands is not None:
            self._hands.close()
        self._hands = None

    def _begin(self, question: Question, call: Call) -> None:
        if self._hands is None:
            self._hands = Hands(self._settings)
        left = (question.deadline - self._turns.clock.now()) / 1000
        future = self._hands.start(question, call, within=max(0.0, left * SHARE))
        self._acting[question.key] = future
        future.add_done_callback(lambda _: self._on_ready())
        with suppress(StoreUnavailable):  # nothing is lost but the sight of it
            self._on_begin(question)


class Hands:
    """The thread, its event loop, and what is connected there."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Loaded by the first call: a worker without tools starts without a client for them.
        secrets = importlib.import_module("engine.tools_file").secrets_of(settings)
        self._caller: Caller = importlib.import_module("workers.tool_calls").Caller(secrets, connections=settings.tools_at_once)
        self._at_once = asyncio.Semaphore(settings.tools_at_once)
        self._opening = asyncio.Lock()
        self._client: AsyncClient | None = None
        #: Calls that change something: they are not cancelled.
        self._once: set[asyncio.Task[Said]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="acting", daemon=True)
        self._thread.start()

    def start(self, question: Question, call: Call, *, within: float) -> Future[Acted]:
        """Begin a call; its future fails in no other way than by being cancelled."""
        return asyncio.run_coroutine_threadsafe(self._act(question, call, within), self._loop)

    def close(self) -> None:
        """Called once, in another thread."""
        with suppress(TimeoutError):  # the process ends anyhow
            asyncio.run_coroutine_threadsafe(self._let_go(), self._loop).result(2 * CLOSING)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSING)
        if not self._thread.is_alive():
            self._loop.close()

    async def _act(self, question: Question, call: Call, within: float) -> Acted:
        begun = time.monotonic()
        bound = log.bind(message=question.message, tool=call.tool.name)
        try:
            async with asyncio.timeout(within), self._at_once:
                said = await (self._once_only(question, call) if call.tool.acts else self._tried(question, call))
        except ToolFailed as error:
            said = failed(call, str(error))
        except TimeoutError:
            said = failed(call, f"not done within {within:.1f} s")
        except Exception as error:  # noqa: BLE001 - the boundary around one call: the person is told that it does not work
            bound.error("a tool failed unexpectedly", action="tools.failed", exc_info=error)
            said = failed(call, type(error).__name__)
        took = round((time.monotonic() - begun) * 1000, 1)
        if said.reason:
            bound.warning("a tool did not work", action="tools.error", reason=said.reason, took_ms=took)
        else:
            bound.info("a tool was called", action=f"tools.{said.result}", took_ms=took)
        reply = question.reply(said.text, _RESULTS[said.result], tool=call.tool.name, tool_result=str(said.result), tool_ms=took)
        return Acted(question, msgspec.structs.replace(reply, evidence=call.tool.evidence), said.hand_over)

    async def _tried(self, question: Question, call: Call) -> Said:
        """A call that changes nothing is made once more where it fails."""
        for last in range(TRIES - 1, -1, -1):
            try:
                said = await self._called(question, call)
            except ToolFailed:
                if not last:
                    raise
            else:
                if said.result is not Result.ERROR or not last:
                    return said
            await asyncio.sleep(PAUSE)
        raise ToolFailed("it was not tried", unsent=True)

    async def _called(self, question: Question, call: Call) -> Said:
        sender = question.messages[0].sender
        return await self._caller.call(call, tenant=question.address.tenant, sender=sender, message=question.message)

    async def _once_only(self, question: Question, call: Call) -> Said:
        """A call that changes something, made at most once for a message and by one worker; the others get its end."""
        key = acted(question.message, call.tool.name)
        deadline = max(self._settings.deadline_chat, self._settings.deadline_webhook)
        life = round((deadline + 2 * self._settings.lease) * 1000)
        client = await self._store()
        while True:
            try:
                with reachable():
                    mine = await client.set(key, _BEGUN, nx=True, px=life)
                break
            except StoreUnavailable:
                await asyncio.sleep(AWAY_PAUSE)
        if not mine:
            return await self._of_another(client, key, call)
        task = asyncio.create_task(self._and_noted(client, key, question, call, life))
        self._once.add(task)
        task.add_done_callback(self._once.discard)
        return await asyncio.shield(task)

    async def _and_noted(self, client: AsyncClient, key: str, question: Question, call: Call, life: int) -> Said:
        """The call and its end in Redis; where nothing was sent, another attempt may be made."""
        try:
            said = await self._called(question, call)
        except ToolFailed as error:
            said = failed(call, str(error))
            if error.unsent:
                with suppress(StoreUnavailable), reachable():  # then the next attempt says that it cannot tell
                    await client.delete(key)
                return said
        with suppress(StoreUnavailable), reachable():  # then the next attempt says that it cannot tell
            await client.set(key, msgspec.json.encode((said.result, said.text, said.hand_over)), px=life)
        return said

    async def _of_another(self, client: AsyncClient, key: str, call: Call) -> Said:
        """How an earlier attempt ended, as soon as that is known: it may be at it, or have died at it.

        :raises ToolFailed: it is not known within the time of the tool.
        """
        ends = time.monotonic() + call.tool.timeout
        while time.monotonic() < ends:
            with suppress(StoreUnavailable), reachable():  # asked again
                kept = await client.get(key)
                if kept is not None and kept != _BEGUN:
                    result, text, hand_over = msgspec.json.decode(kept, type=tuple[Result, str, bool])
                    return Said(result, text, hand_over=hand_over)
            await asyncio.sleep(LOOK)
        raise ToolFailed("an earlier attempt may have acted already; it is not repeated", unsent=False)

    async def _store(self) -> AsyncClient:
        """Made inside the event loop that uses it."""
        async with self._opening:
            if self._client is None:
                self._client = await connect_async(self._settings)
        return self._client

    async def _let_go(self) -> None:
        if self._once:
            await asyncio.wait(set(self._once), timeout=CLOSING)
        await cancelled({task for task in asyncio.all_tasks() if task is not asyncio.current_task()})
        await self._caller.close()
        if self._client is not None:
            await self._client.aclose()
