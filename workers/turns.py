"""The turns a worker holds: their leases, what Redis has not taken yet, and every way to let go of one."""

import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

import structlog
from msgspec import structs

from connectors.platforms import STREAMING
from engine import saying
from engine.answer import Answer
from engine.errors import NewerSchema, ReplymillError
from engine.handoff import Reason
from engine.keys import Direction
from engine.lanes import Lanes
from engine.messages import Conversation, Owner, Reply, Source
from engine.moves import Claim, Lane, Outcome, Release, Settled
from engine.question import Question
from engine.settings import Settings
from engine.store import Client
from engine.telemetry import Span, answering, queued, telemetry
from engine.trace import Clock
from engine.trail import answered_note
from workers.handoffs import handed_over, reason_of
from workers.newer import NEWER_WAIT, Newer
from workers.outcomes import answered, kept_for_person, only, overdue, read, unreadable

log = structlog.get_logger()


def told(error: BaseException) -> str:
    """Why an attempt failed, for whoever looks: of an error that is not ours its kind alone, since its text may be a person's."""
    return f"{type(error).__name__}: {error}" if isinstance(error, ReplymillError) else type(error).__name__


def key_of(lane: Lane) -> str:
    """Names a lease: tokens are unique within a shard alone."""
    return f"{lane.shard}/{lane.token}"


@dataclass(frozen=True)
class Held:
    """A leased lane and the question in it."""

    lane: Lane
    question: Question


@dataclass(frozen=True)
class Unsaved:
    """An outcome that Redis has not taken yet."""

    lane: Lane
    outcome: Outcome
    #: Called once it is committed.
    then: Callable[[], None]
    span: Span


class Turns:
    """A claimed turn is held, or its outcome or its release waits for `save`, so that none is dropped while Redis is away.

    Its lease names it. What talks to Redis raises `StoreUnavailable` while that is away, and may be called again.
    """

    def __init__(self, settings: Settings, client: Client, *, on_committed: Callable[[Question, Answer], None]) -> None:
        self.lanes = Lanes(settings)
        self.clock = Clock()
        #: Where the step of each batch that runs belongs, by the batch's id.
        self.batches: dict[int, str] = {}
        self._spans = telemetry(settings)
        self._settings = settings
        self._client = client
        self._on_committed = on_committed
        self._held: dict[str, Held] = {}
        self._unsaved: deque[Unsaved] = deque()
        self._unfreed: list[Release] = []
        self._newer = Newer(Direction.IN)

    def __contains__(self, key: str) -> bool:
        return key in self._held

    def __len__(self) -> int:
        return len(self._held)

    @property
    def saved(self) -> bool:
        """Whether Redis has taken every outcome and release."""
        return not self._unsaved and not self._unfreed

    @property
    def last_chance(self) -> bool:
        """Whether one of the turns is on its last attempt, which it gets alone."""
        last = max(1, self._settings.attempts - 1)
        return any(held.lane.attempts >= last for held in self._held.values())

    def question(self, key: str) -> Question | None:
        """What a key asks, if it is still held."""
        held = self._held.get(key)
        return held.question if held else None

    def hold(self, claim: Claim) -> list[Question]:
        """Take claimed lanes over; a lane that holds no question for the bot gets its outcome instead."""
        self.clock.learn(claim.now)
        return [question for lane in claim.lanes if (question := self._hold(lane, claim.now))]

    def answer(self, key: str, answer: Answer) -> None:
        """The answer to a turn, if it is still held; committed by the next `save`."""
        held = self._held.pop(key, None)
        if held is not None:
            reply, asked, door = answer.reply, held.question.text, held.question.messages[0].door
            span = self._span(held.question, reply)
            if span.traceparent:
                reply = structs.replace(reply, trace={**reply.trace, "traceparent": span.traceparent})
            outcome = answered(held.lane, reply, question=asked, at=self.clock.now())
            note = answered_note(reply, door=door, question=asked if self._settings.trace_text else "")
            outcome = replace(outcome, note=note)
            if reason := answer.reason or reason_of(held.question, reply, self._settings):
                answer = replace(answer, reason=reason)
                sender, language = held.question.messages[0].sender, _language(held.question, answer)
                outcome = handed_over(outcome, reason, self._settings, sender=sender, language=language)
            self._settle(held.lane, outcome, partial(self._on_committed, held.question, answer), span)

    def revise(self, questions: Sequence[Question]) -> list[Question]:
        """Those of the turns that are still held, from here on with these words."""
        kept = [question for question in questions if question.key in self._held]
        for question in kept:
            self._held[question.key] = replace(self._held[question.key], question=question)
        return kept

    def give_back(self, keys: Collection[str], *, failed: str = "", delay: float = 0) -> None:
        """Let go of turns without an outcome; `failed` says why an attempt failed.

        Their lanes are free `delay` seconds after the next `save`.
        """
        lanes = [self._held.pop(key).lane for key in keys if key in self._held]
        after = round(delay * 1000)
        self._unfreed += [Release(lane=lane, delay=after, failed=bool(failed), reason=failed) for lane in lanes]

    def give_all_back(self) -> None:
        """Let go of every turn."""
        self.give_back(list(self._held))

    def save(self) -> None:
        """Commit outcomes and free lanes; what Redis does not take stays for the next call."""
        while self._unsaved:
            first = self._unsaved[0]
            settled = self.lanes.commit(first.lane, first.outcome).run(self._client)
            self._unsaved.popleft()
            first.span.note({"replymill.outcome": str(settled)})
            first.span.end()
            log.info("an outcome", action=f"answer.{settled}", message=first.lane.entries[0].id, conversation=first.lane.ref)
            if settled is Settled.COMMITTED:
                first.then()
        for shard in self.lanes.shards if self._unfreed else ():
            mine = [release for release in self._unfreed if release.lane.shard == shard.number]
            if mine:
                self.lanes.release(shard, Direction.IN, mine).run(self._client)
                self._unfreed = [release for release in self._unfreed if release.lane.shard != shard.number]

    def renew(self) -> set[str]:
        """Extend all leases; says the keys of those that are lost."""
        lost: set[str] = set()
        for shard in self.lanes.shards:
            # A lane that came back to us while its earlier turn is with the model stands here twice: the later lease counts.
            newest = {held.lane.ref: held.lane for held in self._held.values() if held.lane.shard == shard.number}
            if newest:
                refs = self.lanes.renew(shard, Direction.IN, list(newest.values())).run(self._client)
                lost |= {key_of(newest[ref]) for ref in refs}
        return lost

    def forget(self, keys: Collection[str]) -> None:
        """Turns whose lease is lost and that were not begun: somebody else has them."""
        for key in keys:
            self._held.pop(key, None)

    def sweep(self) -> None:
        """Take back lanes whose lease ran out, whoever held it, and settle what is overdue."""
        for shard in self.lanes.shards:
            for found in self.lanes.sweep(shard, Direction.IN).run(self._client).overdue:
                lane, outcome = overdue(found, self._settings, at=self.clock.now())
                settled = self.lanes.commit(lane, outcome).run(self._client)
                log.warning("settled without an answer", action=f"answer.{found.reason}", conversation=lane.ref, result=settled)

    def _hold(self, lane: Lane, now: int) -> Question | None:
        messages, broken = read(lane.entries)
        if broken is not None:
            entry, error = broken
            if isinstance(error, NewerSchema):
                self._newer.note(error)
                self._unfreed.append(Release(lane=lane, delay=NEWER_WAIT, newer=True))
                return None
            log.error("not a message; kept as a dead letter", action="answer.unreadable", message=entry.id, error=str(error))
            self._settle(only(lane, entry), unreadable(str(error)))
            return None
        lane = only(lane, *lane.entries[: len(messages)])
        if lane.owner is not Owner.BOT:
            self._settle(lane, kept_for_person(lane, messages, self._settings))
            return None
        address = messages[0].address
        question = Question(
            key=key_of(lane),
            conversation=Conversation(address=address, turns=lane.history, owner=lane.owner),
            messages=tuple(messages),
            waited_ms=now - messages[0].received_at,
            claimed_at=time.monotonic(),
            streamed=address.platform in STREAMING,
        )
        if reason := reason_of(question, None, self._settings):
            self._hand_over(lane, question, reason)
            return None
        self._held[question.key] = Held(lane, question)
        return question

    def _span(self, question: Question, reply: Reply) -> Span:
        """The step in which a turn is answered; that it waited is told with it."""
        claimed = question.messages[0].received_at + question.waited_ms
        queued(self._spans, question.messages, until=claimed)
        batch = self.batches.get(int(reply.trace.get("batch_id", -1)), "")
        return answering(self._spans, question.messages, reply, at=claimed, batch=batch)

    def _hand_over(self, lane: Lane, question: Question, reason: Reason) -> None:
        """A person is to answer: nothing is made."""
        language = _language(question)
        reply = question.reply(saying.say(self._settings, question.address.tenant, "handing_over", language), Source.FALLBACK)
        outcome = answered(lane, reply, question=question.text, at=self.clock.now())
        handed = handed_over(outcome, reason, self._settings, sender=question.messages[0].sender, language=language)
        self._settle(lane, handed, partial(self._on_committed, question, Answer(reply=reply, reason=reason)))

    def _settle(self, lane: Lane, outcome: Outcome, then: Callable[[], None] = lambda: None, span: Span | None = None) -> None:
        self._unsaved.append(Unsaved(lane, outcome, then, span or Span()))


def _language(question: Question, answer: Answer | None = None) -> str:
    """The person's, as it was understood, or else by what they wrote."""
    understood = answer.advice.case.understood.language if answer and answer.advice else ""
    return understood or saying.spoken((question.text, *saying.written(question.conversation.turns)))
