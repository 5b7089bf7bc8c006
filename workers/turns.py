"""The turns a worker holds: their leases, the outcomes Redis has not taken yet, and every way to let go of one."""

from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import structlog

from connectors.platforms import STREAMING
from engine.keys import Direction
from engine.lanes import Lanes
from engine.messages import Conversation, Owner, Reply
from engine.moves import Lane, Outcome, Release, Settled
from engine.responder import Question
from engine.settings import Settings
from engine.store import Client
from engine.trace import now_ms
from workers.outcomes import answered, kept_for_person, only, overdue, read, unreadable

log = structlog.get_logger()


@dataclass(frozen=True)
class Held:
    """A leased lane and the question in it."""

    lane: Lane
    question: Question


class Turns:
    """Every method that moves a message raises `StoreUnavailable` while Redis is away, and may be called again."""

    def __init__(self, settings: Settings, client: Client, *, on_committed: Callable[[Question, Reply], None]) -> None:
        self.lanes = Lanes(settings)
        self._settings = settings
        self._client = client
        self._on_committed = on_committed
        #: By the id of the first message each answers.
        self._held: dict[str, Held] = {}
        self._unsaved: deque[tuple[Lane, Outcome, Question | None, Reply | None]] = deque()

    def __contains__(self, key: str) -> bool:
        return key in self._held

    def __len__(self) -> int:
        return len(self._held)

    @property
    def saved(self) -> bool:
        """Whether Redis has taken every outcome."""
        return not self._unsaved

    def question(self, key: str) -> Question | None:
        """What a key asks, if it is still held."""
        held = self._held.get(key)
        return held.question if held else None

    def hold(self, claimed: Iterable[Lane]) -> list[Question]:
        """Take claimed lanes over; a lane that holds no question for the bot gets its outcome instead."""
        return [question for lane in claimed if (question := self._hold(lane))]

    def answer(self, reply: Reply) -> None:
        """The reply to a turn, if it is still held; committed by the next `save`."""
        held = self._held.get(reply.in_reply_to[0])
        if held is not None:
            outcome = answered(held.lane, reply, question=held.question.text)
            self._unsaved.append((held.lane, outcome, held.question, reply))

    def save(self) -> None:
        """Commit outcomes; what Redis does not take stays for the next call."""
        while self._unsaved:
            lane, outcome, question, reply = self._unsaved[0]
            settled = self.lanes.commit(lane, outcome).run(self._client)
            self._unsaved.popleft()
            self._held.pop(lane.entries[0].id, None)
            log.info("an outcome", action=f"answer.{settled}", message=lane.entries[0].id, conversation=lane.ref)
            if settled is not Settled.COMMITTED:
                self._release([lane])
            elif question is not None and reply is not None:
                self._on_committed(question, reply)

    def give_back(self, keys: Collection[str], *, failed: bool = False) -> None:
        """Release turns; `failed` counts an attempt."""
        lanes = [held.lane for key, held in self._held.items() if key in keys]
        self._release(lanes, failed=failed)
        for lane in lanes:
            del self._held[lane.entries[0].id]

    def give_all_back(self) -> None:
        """Release everything."""
        self.give_back(list(self._held))

    def renew(self) -> set[str]:
        """Extend all leases; says the keys of those that are lost."""
        lost: set[str] = set()
        for shard in self.lanes.shards:
            mine = [held.lane for held in self._held.values() if held.lane.shard == shard.number]
            if mine:
                refs = self.lanes.renew(shard, Direction.IN, mine).run(self._client)
                lost |= {lane.entries[0].id for lane in mine if lane.ref in refs}
        return lost

    def forget(self, keys: Collection[str]) -> None:
        """Turns whose lease is lost and that were not begun: somebody else has them."""
        for key in keys:
            self._held.pop(key, None)

    def sweep(self) -> None:
        """Take back lanes whose lease ran out, whoever held it, and settle what is overdue."""
        for shard in self.lanes.shards:
            for found in self.lanes.sweep(shard, Direction.IN).run(self._client).overdue:
                lane, outcome = overdue(found, self._settings)
                settled = self.lanes.commit(lane, outcome).run(self._client)
                log.warning("settled without an answer", action=f"answer.{found.reason}", conversation=lane.ref, result=settled)

    def _hold(self, lane: Lane) -> Question | None:
        messages, broken = read(lane.entries)
        if broken is not None:
            self._unsaved.append((only(lane, broken[0]), unreadable(str(broken[1])), None, None))
            return None
        lane = only(lane, *lane.entries[: len(messages)])
        if lane.owner is not Owner.BOT:
            self._unsaved.append((lane, kept_for_person(lane, messages), None, None))
            return None
        address = messages[0].address
        question = Question(
            conversation=Conversation(address=address, turns=lane.history, owner=lane.owner),
            messages=tuple(messages),
            claimed_at=now_ms(),
            streamed=address.platform in STREAMING,
        )
        self._held[question.key] = Held(lane, question)
        return question

    def _release(self, lanes: Iterable[Lane], *, failed: bool = False) -> None:
        lanes = list(lanes)
        for shard in self.lanes.shards:
            releases = [Release(lane=lane, failed=failed) for lane in lanes if lane.shard == shard.number]
            if releases:
                self.lanes.release(shard, Direction.IN, releases).run(self._client)
