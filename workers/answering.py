"""The answering loop: claim turns, settle what needs no model, give the rest to the model in batches, commit what comes out.

Files are read and tools are called beside it: see `workers.perceiving` and `workers.acting`.

One thread does everything but generation, which runs in threads of the engine. It sleeps until a lane gets ready, a reply is done
or a deferred lane is due.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import structlog

from engine.advice import LATER, Later
from engine.answer import Answer
from engine.errors import ModelError, StoreUnavailable
from engine.generating import Generating, Prepared
from engine.handoff import Reason
from engine.keys import Direction
from engine.question import Question
from engine.responder import Errand, Responder, Result
from engine.settings import Settings
from engine.store import Client
from workers.acting import Acting
from workers.batch_spans import BatchSpans
from workers.batching import CLAIM, Limits, Round, room
from workers.events import BatchEvents
from workers.figures import Figures
from workers.health import Health
from workers.load import Load
from workers.loop import AWAY_PAUSE, Away, LoopThread
from workers.noting import note
from workers.perceiving import Perceiving
from workers.pool import Pool
from workers.telling import Telling
from workers.turns import Turns, told
from workers.waiting import Doorbell

log = structlog.get_logger()

#: Longest sleep without a bell, seconds; also what a lost bell costs.
LONGEST_WAIT = 1.0
#: Between looks at what is still running while the worker drains, seconds.
DRAIN_EVERY = 0.1
#: A batch that generates for longer than this has hung the engine, seconds.
LONGEST_BATCH = 600.0


class Answering:
    """One worker's loop."""

    def __init__(self, settings: Settings, client: Client, responder: Responder, *, name: str, events: BatchEvents) -> None:
        self.settings = settings
        self.client = client
        self.responder = responder
        self.turns = Turns(settings, client, on_committed=self._committed)
        self._spans = BatchSpans(settings, self.turns.batches)
        self.limits = Limits(settings.batch_items, settings.batch_tokens)
        self.wake = threading.Event()
        self.telling = Telling(client, self.turns, self.wake)
        self.perceiving = Perceiving(settings, self.turns, on_begin=self.telling.begin, on_ready=self.wake.set)
        self.acting = Acting(settings, self.turns, on_begin=self.telling.begin, on_ready=self.wake.set)
        self.bell = Doorbell(settings, Direction.IN, self.wake)
        self.figures = Figures(name, "answer", settings)
        self.load = Load(settings, client, self.turns.lanes)
        self.events = events
        self.draining = False
        #: Claimed and not looked at yet.
        self._fresh: list[Question] = []
        self._pool = Pool()
        self._running: list[Generating] = []
        self._round = Round(self.turns.lanes.shards)
        self._next_due = 0
        self._next_tend = 0.0
        self._next_renewal = 0.0
        self._health = Health(responder.model)

    def step(self) -> None:
        """One round; blocks for no longer than Redis takes to answer."""
        self.start()  # before anything else: no replica waits for Redis while there is a batch for it
        self.finish()
        self.turns.save()
        self.tend()
        self.claim()
        self.prepare()
        self.start()
        self.telling.tell(self._visible)
        self._health.rest(busy=bool(self._running))

    def run(self, thread: LoopThread) -> None:
        """Step until told to stop, then finish or give back what is held."""
        away = Away("answer")
        thread.wake = self.wake.set
        self.bell.start()
        try:
            while not thread.stopping.is_set():
                self._guarded(self.step, away)
                self._sleep()
                thread.beat()
        except ModelError:
            # The process is about to end: its lanes are free at once, not when their leases run out.
            self.turns.give_all_back()
            self._guarded(self.turns.save, away)
            raise
        self.bell.stop()
        self.drain(thread, away)

    def claim(self) -> None:
        """Lease turns for the room there is, from every shard in turn."""
        self._next_due = 0
        for shard in self._round.shards():
            space = self._room()
            self.bell.wanted(space > 0)
            if space <= 0:
                return
            items, alone = min(space, CLAIM), not len(self.turns)
            call = self.turns.lanes.claim(shard, Direction.IN, items=items, tokens=self.limits.tokens, empty=alone)
            claim = call.run(self.client)
            self._round.note(shard, suspects=claim.suspects)
            self._next_due = min(filter(None, (self._next_due, claim.next_due)), default=0)
            self._fresh += self.perceiving.admit(self.turns.hold(claim))
            if claim.lanes:
                self.wake.set()

    def prepare(self) -> None:
        """Settle at once what needs no model, call tools, and make the rest ready for the model."""
        for acted in self.acting.ready():
            self.turns.answer(acted.question.key, Answer(reply=acted.reply, reason=Reason.ERROR if acted.hand_over else None))
        self._fresh += self.perceiving.ready()
        if not self._fresh:
            return
        decided = self._decide([question for question in self._fresh if question.key in self.turns])
        self._fresh = []
        for question, result in decided:
            if isinstance(result, Answer):
                self.turns.answer(question.key, result)
            elif isinstance(result, Errand):
                self.acting.admit([(question, result.call)])
            elif isinstance(result, Later):
                self.turns.give_back([question.key], delay=LATER)
            else:
                self._pool.add(result)
        self.turns.save()
        for question, _ in decided:
            if question.key in self.turns:
                self.telling.begin(question)

    def start(self) -> None:
        """Give idle replicas a batch."""
        idle = self.responder.model.idle()
        batch = self._pool.take(idle, self.limits)
        if not batch:
            return
        try:
            generating = self.responder.generate(batch, on_text=self.telling.hear, on_finish=self.wake.set, brief=self.load.brief)
        except ModelError as error:
            self._isolate(batch, error)
            return
        self._running.append(generating)
        self._spans.started(generating)
        self.events.started(generating)

    def finish(self) -> None:
        """Take replies as they get done; a short one does not wait for the rest of its batch."""
        for generating in list(self._running):
            try:
                answers = generating.ready()
            except ModelError as error:
                self._ended(generating, error)
                self._isolate(generating.left, error)
                continue
            for key, answer in answers:
                self._health.answered()
                self.turns.answer(key, answer)
            self.figures.generated([answer.reply for _, answer in answers])
            if not generating.left:
                self._ended(generating, None)
            elif generating.seconds > LONGEST_BATCH:
                raise ModelError(f"a batch has been generating for more than {LONGEST_BATCH:g} s: the engine hangs")

    def tend(self) -> None:
        """Extend our leases every third of one; every second, take back what ran out and settle what is overdue."""
        now = time.monotonic()
        if now >= self._next_renewal:
            self._drop(self.turns.renew())
            self._next_renewal = now + self.settings.lease / 3
        if now >= self._next_tend:
            self._next_tend = now + min(self.settings.lease / 3, LONGEST_WAIT)
            self.load.look()
            self.responder.refresh()
            self.figures.write(self.client, waiting=len(self._pool), running=len(self.turns) - len(self._pool))
            self.turns.sweep()

    def drain(self, thread: LoopThread, away: Away) -> None:
        """Finish what the model is at, within `drain_timeout`; give everything else back."""
        ends = time.monotonic() + self.settings.drain_timeout
        self.turns.give_back({question.key for question in self._fresh} | self._idle())
        self._fresh = []
        self._take_out(self._idle())
        while (self._running or not self.turns.saved) and time.monotonic() < ends and not thread.hurried.is_set():
            self._guarded(self._finish_and_save, away)
            self.wake.wait(DRAIN_EVERY)
            self.wake.clear()
            thread.beat()
        self.turns.give_all_back()
        self._guarded(self.turns.save, away)
        self.perceiving.close()
        self.acting.close()
        self.figures.leave(self.client)
        self.events.close()

    def describe(self) -> dict[str, Any]:
        """What the loop is at."""
        held = {"held": len(self.turns), "waiting": len(self._idle()), "draining": self.draining}
        engine = {"model": self.settings.model, "replicas": self.responder.model.replicas}
        return {**engine, "load": self.load.rung.name.lower(), **held}

    def _room(self) -> int:
        """How many turns may be claimed: none beside one on its last attempt, nor while such a one waits for an empty worker."""
        if self.draining or self.turns.last_chance or (len(self.turns) and self._round.suspects):
            return 0
        waiting = len(self._fresh) + len(self._pool)
        return room(waiting, self.responder.model.idle(), self.limits, ahead=self.load.ahead)

    def _decide(self, batch: list[Question]) -> list[tuple[Question, Result]]:
        """What becomes of each turn; one that raises has failed, and is left out."""
        try:
            return list(zip(batch, self.responder.respond(batch), strict=True))
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - the boundary around one turn: it is tried again, the last time alone
            if len(batch) == 1:
                self._fail(batch[0], error)
                return []
        return [decided for question in batch for decided in self._decide([question])]

    def _finish_and_save(self) -> None:
        self.turns.save()
        self.tend()
        self.finish()
        self.turns.save()

    def _guarded(self, step: Callable[[], None], away: Away) -> None:
        if not away.bears(step):
            self.wake.clear()
            self.wake.wait(AWAY_PAUSE)

    def _sleep(self) -> None:
        due = (self._next_due - self.turns.clock.now()) / 1000 if self._next_due else LONGEST_WAIT
        self.wake.wait(min(LONGEST_WAIT, max(0.001, due), self.telling.patience))
        self.wake.clear()

    def _committed(self, question: Question, answer: Answer) -> None:
        self.figures.done(len(answer.reply.in_reply_to))
        self.responder.remember(answer)
        self.telling.over(question)
        note(self.client, self.settings.for_tenant(question.address.tenant), question, answer.reply, reason=answer.reason or "")

    def _visible(self, key: str, text: str) -> str:
        """What of a reply that is being made may be shown."""
        found = (prepared for generating in self._running for prepared in generating.batch if prepared.key == key)
        return next((prepared.visible(text) for prepared in found), "")

    def _ended(self, generating: Generating, error: ModelError | None) -> None:
        self._running.remove(generating)
        self._spans.ended(generating, error)
        self.events.finished(generating, error)
        self.wake.set()

    def _isolate(self, left: list[Prepared], error: ModelError) -> None:
        """One turn of a batch may have failed them all: each is tried by itself before an attempt is counted."""
        if len(left) == 1:
            self._fail(left[0].question, error)
            return
        log.warning("a batch failed; its turns are tried one by one", action="answer.isolated", turns=len(left), error=str(error))
        self._pool.isolate(left)

    def _fail(self, question: Question, error: BaseException) -> None:
        log.error("a turn failed; it is tried again", action="answer.failed", message=question.message, exc_info=error)
        self.figures.failed()
        self.turns.give_back([question.key], failed=told(error))
        self._health.failed(error)

    def _drop(self, lost: set[str]) -> None:
        """Turns whose lease is lost wait for no model any more; what it is at may still be the first to commit."""
        idle = lost & self._idle()
        self._take_out(idle)
        self.turns.forget(idle)

    def _idle(self) -> set[str]:
        return self._pool.keys | set(self.perceiving.keys) | set(self.acting.keys)

    def _take_out(self, keys: set[str]) -> None:
        """Of what waits for the model, is being read for it, or for a tool."""
        self.perceiving.drop(keys)
        self.acting.drop(keys)
        self._pool.drop(keys)
