"""The answering loop: claim turns, settle what needs no model, give the rest to the model in batches, commit what comes out.

One thread does everything but generation, which runs in threads of the engine. It sleeps until a lane gets ready, a reply is done
or a deferred lane is due.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import structlog

from connectors.page import announce
from engine.errors import ModelError, StoreUnavailable
from engine.keys import Direction
from engine.messages import Reply
from engine.responder import Generating, Prepared, Question, Responder
from engine.settings import Settings
from engine.store import Client, adopt, connect
from engine.trace import now_ms
from workers.batching import Limits, choose, room
from workers.events import BatchEvents
from workers.figures import Figures
from workers.loop import AWAY_PAUSE, Away, LoopStep, LoopThread
from workers.turns import Turns
from workers.waiting import Doorbell

log = structlog.get_logger()

#: Longest sleep without a bell, seconds; also what a lost bell costs.
LONGEST_WAIT = 1.0
#: A streamed reply is announced at most this often, seconds.
STREAM_EVERY = 0.1
#: A batch that generates for longer than this has hung the engine, seconds.
LONGEST_BATCH = 600.0


class Answering:
    """One worker's loop."""

    def __init__(self, settings: Settings, client: Client, responder: Responder, *, name: str, events: BatchEvents) -> None:
        self.settings = settings
        self.client = client
        self.responder = responder
        self.turns = Turns(settings, client, on_committed=self._committed)
        self.limits = Limits(settings.batch_items, settings.batch_tokens)
        self.wake = threading.Event()
        self.bell = Doorbell(settings, Direction.IN, self.wake)
        self.figures = Figures(name, "answer", settings)
        self.events = events
        self.draining = False
        #: Claimed and not looked at yet.
        self._fresh: list[Question] = []
        #: Ready for the model.
        self._waiting: list[Prepared] = []
        self._running: list[Generating] = []
        self._suspects = False
        self._next_due = 0
        self._next_tend = 0.0
        self._next_renewal = 0.0
        #: Texts so far that nobody has been told yet, by key, and when to tell them.
        self._heard: dict[str, str] = {}
        self._next_telling = 0.0

    def step(self) -> None:
        """One round; blocks for no longer than Redis takes to answer."""
        self.turns.save()
        self.tend()
        self.claim()
        self.prepare()
        self.start()
        self.finish()
        self.tell()
        self.turns.save()

    def run(self, thread: LoopThread) -> None:
        """Step until told to stop, then finish or give back what is held."""
        away = Away("answer")
        self.bell.start()
        while not thread.stopping.is_set():
            self._guarded(self.step, away)
            self._sleep()
            thread.beat()
        self.bell.stop()
        self.drain(thread, away)

    def claim(self) -> None:
        """Lease turns for the room there is."""
        self._next_due, self._suspects, suspects = 0, False, self._suspects
        for shard in self.turns.lanes.shards:
            space = room(len(self.turns), self.responder.model.replicas, self.limits)
            self.bell.wanted(not self.draining and space > 0)
            if self.draining or space <= 0 or (suspects and len(self.turns)):
                self._suspects |= suspects
                return
            call = self.turns.lanes.claim(shard, Direction.IN, items=space, tokens=self.limits.tokens, empty=not len(self.turns))
            claim = call.run(self.client)
            self._suspects |= claim.suspects
            self._next_due = min(filter(None, (self._next_due, claim.next_due)), default=0)
            self._fresh += self.turns.hold(claim.lanes)
            if claim.lanes:
                self.wake.set()

    def prepare(self) -> None:
        """Settle at once what needs no model, and make the rest ready for it."""
        if not self._fresh:
            return
        try:
            results = self.responder.respond(self._fresh)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - the boundary around one batch: each turn is tried again, the last time alone
            self._fail([question.key for question in self._fresh], error)
            self._fresh = []
            return
        fresh, self._fresh = self._fresh, []
        for result in results:
            if isinstance(result, Reply):
                self.turns.answer(result)
            else:
                self._waiting.append(result)
        self.turns.save()
        for question in fresh:
            if question.streamed and question.key in self.turns:
                announce(self.client, question.address, "typing", "")

    def start(self) -> None:
        """Give idle replicas a batch."""
        batch = choose(self._waiting, self.responder.model.idle(), self.limits)
        if not batch:
            return
        chosen = {prepared.key for prepared in batch}
        self._waiting = [prepared for prepared in self._waiting if prepared.key not in chosen]
        generating = self.responder.generate(batch, on_text=self._hear, on_finish=self.wake.set)
        self._running.append(generating)
        self.events.started(generating)

    def finish(self) -> None:
        """Take replies as they get done; a short one does not wait for the rest of its batch."""
        for generating in list(self._running):
            try:
                replies = generating.ready()
            except ModelError as error:
                self._running.remove(generating)
                self.events.finished(generating, error)
                self._fail(generating.left, error)
                continue
            self.figures.generated(replies)
            for reply in replies:
                self.turns.answer(reply)
            if not generating.left:
                self._running.remove(generating)
                self.events.finished(generating, None)
                self.wake.set()
            elif generating.seconds > LONGEST_BATCH:
                raise ModelError(f"a batch has been generating for more than {LONGEST_BATCH:g} s: the engine hangs")

    def tend(self) -> None:
        """Extend our leases every third of one; every second, take back what ran out and settle what is overdue."""
        now = time.monotonic()
        if now >= self._next_renewal:
            self._next_renewal = now + self.settings.lease / 3
            self._drop(self.turns.renew())
        if now >= self._next_tend:
            self._next_tend = now + min(self.settings.lease / 3, LONGEST_WAIT)
            self.figures.write(self.client, waiting=len(self._waiting), running=len(self.turns) - len(self._waiting))
            self.turns.sweep()

    def tell(self) -> None:
        """Publish the text so far of replies to platforms that stream."""
        if not self._heard or time.monotonic() < self._next_telling:
            return
        self._next_telling = time.monotonic() + STREAM_EVERY
        for key in list(self._heard):
            text = self._heard.pop(key)
            if question := self.turns.question(key):
                announce(self.client, question.address, "text", text)

    def drain(self, thread: LoopThread, away: Away) -> None:
        """Finish what the model is at, within `drain_timeout`; give everything else back."""
        ends = time.monotonic() + self.settings.drain_timeout
        idle = [question.key for question in self._fresh] + [prepared.key for prepared in self._waiting]
        self._guarded(lambda: self.turns.give_back(idle), away)
        while (self._running or not self.turns.saved) and time.monotonic() < ends:
            self._guarded(self._finish_and_save, away)
            self.wake.wait(STREAM_EVERY)
            self.wake.clear()
            thread.beat()
        self._guarded(self.turns.give_all_back, away)
        self.figures.leave(self.client)

    def describe(self) -> dict[str, Any]:
        """What the loop is at."""
        return {
            "model": self.settings.model,
            "replicas": self.responder.model.replicas,
            "held": len(self.turns),
            "waiting": len(self._waiting),
            "draining": self.draining,
        }

    def _finish_and_save(self) -> None:
        self.tend()
        self.finish()
        self.turns.save()

    def _guarded(self, step: Callable[[], None], away: Away) -> None:
        try:
            step()
        except StoreUnavailable as error:
            away.note(error)
            self.wake.clear()
            self.wake.wait(AWAY_PAUSE)
        else:
            away.over()

    def _sleep(self) -> None:
        wait = LONGEST_WAIT
        if self._next_due:
            wait = min(wait, max(0.001, (self._next_due - now_ms()) / 1000))
        self.wake.wait(min(wait, STREAM_EVERY) if self._heard else wait)
        self.wake.clear()

    def _committed(self, question: Question, reply: Reply) -> None:
        self.figures.done(len(reply.in_reply_to))
        self.responder.remember(question, reply)

    def _fail(self, keys: list[str], error: BaseException) -> None:
        log.error("a batch failed; its turns are tried again", action="answer.failed", messages=keys, exc_info=error)
        self.figures.failed(len(keys))
        self.turns.give_back(keys, failed=True)

    def _drop(self, lost: set[str]) -> None:
        """Turns whose lease is lost wait for no model any more; what it is at may still be the first to commit."""
        idle = lost & {prepared.key for prepared in self._waiting}
        self._waiting = [prepared for prepared in self._waiting if prepared.key not in idle]
        self.turns.forget(idle)

    def _hear(self, key: str, text: str) -> None:
        """Called in a thread of the engine with the text so far."""
        first = not self._heard
        self._heard[key] = text
        if first:
            self.wake.set()


class AnsweringStep(LoopStep):
    """Runs the answering loop in a Celery worker."""

    loop = "answer"

    def build(self, worker: Any) -> Callable[[LoopThread], None]:
        settings: Settings = worker.app.settings
        client = connect(settings)
        adopt(client, settings)
        responder = Responder.load(settings, client)
        events = BatchEvents(worker.app, worker.hostname)
        running = self.running = Answering(settings, client, responder, name=worker.hostname, events=events)
        return running.run
