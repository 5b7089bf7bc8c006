"""The answering loop: claim turns, settle what needs no model, give the rest to the model in batches, commit what comes out.

One thread does everything but generation, which runs in threads of the engine. It sleeps until a lane gets ready, a reply is done
or a deferred lane is due.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from connectors.page import announce
from connectors.platforms import STREAMING
from engine.errors import ModelError, StoreUnavailable
from engine.keys import Direction
from engine.lanes import Lanes
from engine.messages import Conversation, Owner, Reply
from engine.moves import Lane, Outcome, Release, Settled
from engine.responder import Generating, Prepared, Question, Responder
from engine.settings import Settings
from engine.store import Client, adopt, connect
from engine.trace import now_ms
from workers.batching import Limits, choose, room
from workers.events import BatchEvents
from workers.figures import Figures
from workers.loop import AWAY_PAUSE, Away, LoopStep, LoopThread
from workers.outcomes import answered, kept_for_person, only, overdue, read, unreadable
from workers.waiting import Doorbell

log = structlog.get_logger()

#: Longest sleep without a bell, seconds; also what a lost bell costs.
LONGEST_WAIT = 1.0
#: A streamed reply is announced at most this often, seconds.
STREAM_EVERY = 0.1
#: A batch that generates for longer than this has hung the engine, seconds.
LONGEST_BATCH = 600.0


@dataclass(frozen=True)
class Held:
    """A turn we hold the lease of."""

    lane: Lane
    #: None for bytes that are no message.
    question: Question | None

    @property
    def key(self) -> str:
        """The id of the first message it answers."""
        return self.lane.entries[0].id


class Answering:
    """One worker's loop and what it holds."""

    def __init__(self, settings: Settings, client: Client, responder: Responder, *, name: str, events: BatchEvents) -> None:
        self.settings = settings
        self.client = client
        self.lanes = Lanes(settings)
        self.responder = responder
        self.limits = Limits(settings.batch_items, settings.batch_tokens)
        self.wake = threading.Event()
        self.bell = Doorbell(settings, Direction.IN, self.wake)
        self.figures = Figures(name, "answer", settings)
        self.events = events
        self.draining = False
        #: By the id of the first message each answers.
        self._held: dict[str, Held] = {}
        self._waiting: list[Prepared] = []
        self._running: list[Generating] = []
        #: Outcomes that Redis has not taken yet.
        self._unsaved: deque[tuple[Held, Outcome]] = deque()
        self._suspects = False
        self._next_due = 0
        self._next_tend = 0.0
        self._next_announce = 0.0
        self._streamed: dict[str, str] = {}

    # -- the loop ---------------------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """One round; does nothing that blocks longer than a second."""
        self.save()
        self.tend()
        self.claim()
        self.start()
        self.finish()
        self.announce()
        self.save()

    def run(self, thread: LoopThread) -> None:
        """Step until told to stop, then finish or give back what is held."""
        away = Away("answer")
        self.bell.start()
        while not thread.stopping.is_set():
            self._guarded(self.step, away)
            self._sleep()
            thread.beat()
        self.drain(thread, away)

    def drain(self, thread: LoopThread, away: Away) -> None:
        """Finish what the model is at, within `drain_timeout`; give everything else back."""
        self.bell.stop()
        ends = time.monotonic() + self.settings.drain_timeout
        self._guarded(lambda: self.give_back(self._waiting), away)
        while (self._running or self._unsaved) and time.monotonic() < ends:
            self._guarded(self.finish, away)
            self._guarded(self.save, away)
            self.wake.wait(0.1)
            self.wake.clear()
            thread.beat()
        self._guarded(lambda: self.give_back([prepared for running in self._running for prepared in running.batch]), away)
        self.figures.leave(self.client)

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
        self.wake.wait(min(wait, STREAM_EVERY) if self._streamed else wait)
        self.wake.clear()

    # -- the steps --------------------------------------------------------------------------------------------------------------

    def claim(self) -> None:
        """Lease turns for the room there is, and settle at once what needs no model."""
        self._next_due, self._suspects, suspects = 0, False, self._suspects
        for shard in self.lanes.shards:
            space = room(len(self._waiting) + self._in_flight(), self.responder.model.replicas, self.limits)
            self.bell.wanted(not self.draining and space > 0)
            if self.draining or space <= 0 or (suspects and self._held):
                self._suspects |= suspects
                return
            wanted = self.lanes.claim(shard, Direction.IN, items=space, tokens=self.limits.tokens, empty=not self._held)
            claim = wanted.run(self.client)
            self._suspects |= claim.suspects
            self._next_due = min(filter(None, (self._next_due, claim.next_due)), default=0)
            if claim.lanes:
                self.take(claim.lanes)
                self.wake.set()

    def take(self, lanes: Sequence[Lane]) -> None:
        """Turn claimed lanes into questions; what is no question gets its outcome."""
        fresh = [(held, question) for lane in lanes if (held := self._hold(lane)) and (question := held.question)]
        for _, question in fresh:
            if question.streamed:
                announce(self.client, question.address, "typing", "")
        try:
            results = self.responder.respond([question for _, question in fresh])
        except StoreUnavailable:
            self.give_back([])
            raise
        except Exception as error:  # noqa: BLE001 - the boundary around one batch: each turn is tried again, the last time alone
            self._fail([held.key for held, _ in fresh], error)
            return
        for (held, _), result in zip(fresh, results, strict=True):
            if isinstance(result, Prepared):
                self._waiting.append(result)
            else:
                self._answer(held, result)
        self.save()

    def start(self) -> None:
        """Give idle replicas a batch."""
        batch = choose(self._waiting, self.responder.model.idle(), self.limits)
        if not batch:
            return
        chosen = {prepared.key for prepared in batch}
        self._waiting = [prepared for prepared in self._waiting if prepared.key not in chosen]
        self._running.append(self.responder.generate(batch, on_text=self._heard, on_finish=self.wake.set))
        self.events.started(batch)

    def finish(self) -> None:
        """Take replies as they get done; a short one does not wait for the rest of its batch."""
        for generating in list(self._running):
            seconds = time.time() - generating.started_at / 1000
            try:
                ready = generating.ready()
            except ModelError as error:
                self._running.remove(generating)
                self.events.finished(generating.batch, seconds, error)
                self._fail([prepared.key for prepared in generating.batch], error)
                continue
            self.figures.generated([reply for _, reply in ready])
            for prepared, reply in ready:
                if prepared.key in self._held:
                    self._answer(self._held[prepared.key], reply)
            if generating.done and not generating.ready():
                self._running.remove(generating)
                self.events.finished(generating.batch, seconds, None)
                self.wake.set()
            elif seconds > LONGEST_BATCH:
                raise ModelError(f"a batch has been generating for more than {LONGEST_BATCH:g} s: the engine hangs")

    def save(self) -> None:
        """Commit outcomes; what Redis does not take stays for the next round."""
        while self._unsaved:
            held, outcome = self._unsaved[0]
            settled = self.lanes.commit(held.lane, outcome).run(self.client)
            self._unsaved.popleft()
            self._held.pop(held.key, None)
            self._streamed.pop(held.key, None)
            if settled is Settled.COMMITTED:
                self.figures.done(len(held.lane.entries))
                log.info("answered", action="answer.committed", message=held.key, conversation=held.lane.ref)
            else:
                log.info("not committed", action=f"answer.{settled}", message=held.key, conversation=held.lane.ref)
                self._release([held.lane])

    def tend(self) -> None:
        """Every third of a lease: extend our leases, take back those that ran out, settle what is overdue."""
        if time.monotonic() < self._next_tend:
            return
        self._next_tend = time.monotonic() + min(self.settings.lease / 3, LONGEST_WAIT)
        self.figures.write(self.client, waiting=len(self._waiting), running=self._in_flight())
        for shard in self.lanes.shards:
            mine = [held.lane for held in self._held.values() if held.lane.shard == shard.number]
            if mine:
                self._drop(self.lanes.renew(shard, Direction.IN, mine).run(self.client))
            for found in self.lanes.sweep(shard, Direction.IN).run(self.client).overdue:
                lane, outcome = overdue(found, self.settings)
                settled = self.lanes.commit(lane, outcome).run(self.client)
                log.warning("settled without an answer", action=f"answer.{found.reason}", conversation=lane.ref, result=settled)

    def announce(self) -> None:
        """Publish the text so far of replies to platforms that stream, at most every `STREAM_EVERY`."""
        if not self._streamed or time.monotonic() < self._next_announce:
            return
        self._next_announce = time.monotonic() + STREAM_EVERY
        for key, text in list(self._streamed.items()):
            held = self._held.get(key)
            self._streamed.pop(key, None)
            if held is not None and held.question is not None:
                announce(self.client, held.question.address, "text", text)

    def give_back(self, prepared: Sequence[Prepared]) -> None:
        """Release turns that will not be generated here."""
        keys = {item.key for item in prepared}
        lanes = [held.lane for key, held in self._held.items() if key in keys or not prepared]
        self._waiting = [item for item in self._waiting if item.key not in keys]
        self._release(lanes)
        for lane in lanes:
            self._held.pop(lane.entries[0].id, None)

    def describe(self) -> dict[str, Any]:
        """What the loop is at."""
        return {
            "model": self.settings.model,
            "replicas": self.responder.model.replicas,
            "waiting": len(self._waiting),
            "running": self._in_flight(),
            "draining": self.draining,
        }

    # -- parts of the steps -----------------------------------------------------------------------------------------------------

    def _hold(self, lane: Lane) -> Held | None:
        """What is held of a claimed lane; None where its outcome is clear already."""
        messages, broken = read(lane.entries)
        if broken is not None:
            self._unsaved.append((Held(only(lane, broken[0]), None), unreadable(str(broken[1]))))
            return None
        lane = only(lane, *lane.entries[: len(messages)])
        address = messages[0].address
        question = Question(
            conversation=Conversation(address=address, turns=lane.history, owner=lane.owner),
            messages=tuple(messages),
            claimed_at=now_ms(),
            streamed=address.platform in STREAMING,
        )
        held = self._held[lane.entries[0].id] = Held(lane, question)
        if lane.owner is not Owner.BOT:
            self._unsaved.append((held, kept_for_person(lane, messages)))
            return None
        return held

    def _answer(self, held: Held, reply: Reply) -> None:
        text = held.question.text if held.question else ""
        self._unsaved.append((held, answered(held.lane, reply, question=text)))

    def _fail(self, keys: Sequence[str], error: BaseException) -> None:
        log.error("a batch failed; its turns are tried again", action="answer.failed", messages=list(keys), exc_info=error)
        lanes = [self._held.pop(key).lane for key in keys if key in self._held]
        self._release(lanes, failed=True)

    def _release(self, lanes: Sequence[Lane], *, failed: bool = False) -> None:
        for shard in self.lanes.shards:
            releases = [Release(lane=lane, failed=failed) for lane in lanes if lane.shard == shard.number]
            if releases:
                self.lanes.release(shard, Direction.IN, releases).run(self.client)

    def _drop(self, lost: frozenset[str]) -> None:
        """Turns whose lease is lost need no model any more; what runs already may still be first to commit."""
        gone = {key for key, held in self._held.items() if held.lane.ref in lost}
        waiting = {prepared.key for prepared in self._waiting}
        self._waiting = [prepared for prepared in self._waiting if prepared.key not in gone]
        for key in gone & waiting:
            del self._held[key]

    def _heard(self, key: str, text: str) -> None:
        """Called from a replica's thread with the text so far."""
        first = not self._streamed
        self._streamed[key] = text
        if first:
            self.wake.set()

    def _in_flight(self) -> int:
        return sum(prepared.key in self._held for running in self._running for prepared in running.batch)


class AnsweringStep(LoopStep):
    """Runs the answering loop in a Celery worker."""

    loop = "answer"

    def build(self, worker: Any) -> Callable[[LoopThread], None]:
        settings: Settings = worker.app.settings
        client = connect(settings)
        adopt(client, settings)
        responder = Responder.load(settings, client)
        running = self.running = Answering(
            settings, client, responder, name=worker.hostname, events=BatchEvents(worker.app, worker.hostname)
        )
        return running.run
