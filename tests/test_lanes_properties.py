"""The lanes against an independent model of them: conversations of several tenants, two workers, any order of moves.

The clock is put forward by moving what Redis keeps into the past, in steps of a minute, so that the real time an example takes does
not matter. After every move the model's answer is compared and everything that must hold between moves is checked.
"""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import hypothesis
import pytest
import redis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from engine.keys import Direction
from engine.lanes import Lanes
from engine.messages import Address, Owner
from engine.moves import Lane, Settled, Swept, Verdict
from engine.settings import Settings
from tests import lane_probe
from tests.desk import Desk, address, texts

IN, OUT = Direction.IN, Direction.OUT
#: The step of the model's clock, seconds.
MINUTE = 60.0
#: In steps of the clock.
LEASE, QUIET, QUIET_MAX, TOMBSTONE, NOTICE = 3, 1, 3, 60, 10
LANE_MESSAGES, TENANT_MESSAGES, ATTEMPTS = 4, 9, 3

CONVERSATIONS = tuple(
    address(thread, tenant=tenant, channel=channel)
    for tenant, channel, thread in (("one", "a", "x"), ("one", "a", "y"), ("one", "b", "x"), ("two", "a", "x"), ("three", "c", "x"))
)
conversations = st.sampled_from(CONVERSATIONS)
directions = st.sampled_from(list(Direction))
#: The latest are tried most, the stale ones too.
picks = st.integers(0, 3) | st.integers(0, 30)


@dataclass
class Post:
    """What waits in a lane."""

    id: str
    received: int
    deadline: int
    text: str = ""
    revision: int = 0

    @property
    def pair(self) -> tuple[str, int]:
        return self.id, self.revision


@dataclass
class Track:
    """The model of one lane."""

    tenant: str
    queue: list[Post] = field(default_factory=list)
    #: When a deferred lane is due.
    due: int | None = None
    #: Whether it waits for something other than a quiet period.
    deferred: bool = False
    token: str = ""
    lease_ends: int = 0
    attempts: int = 0
    intent: str = ""
    intent_token: str = ""
    #: First fragment since the claim, and the end of its quiet period.
    since: int | None = None
    quiet_end: int | None = None

    def settle(self, now: int, due: int | None = None) -> None:
        """Out of a lease, or changed while in none."""
        if not self.queue:
            self.__dict__.update(Track(self.tenant).__dict__)
            return
        due = None if due is None else min(due, self.queue[0].deadline)
        self.due = due if due is not None and due > now else None

    def end_lease(self) -> None:
        self.token, self.since, self.quiet_end = "", None, None

    def late(self, now: int) -> list[Post]:
        return list(itertools.takewhile(lambda post: post.deadline <= now, self.queue))


class Model(RuleBasedStateMachine):
    """Moves, each predicted."""

    client: redis.Redis
    base: Settings

    def __init__(self) -> None:
        super().__init__()
        self.client.flushall()
        settings = dataclasses.replace(
            self.base,
            shards=2,
            lease=LEASE * MINUTE,
            lane_messages=LANE_MESSAGES,
            tenant_messages=TENANT_MESSAGES,
            attempts=ATTEMPTS,
            delivery_attempts=ATTEMPTS,
            deadline_delivery=5 * MINUTE,
        )
        self.workers = [Desk(self.client, Lanes(settings)) for _ in range(2)]
        self.desk = self.workers[0]
        self.lanes = self.desk.lanes
        self.now = 0
        self.refs = {self.lanes.digests.lane(to): to for to in CONVERSATIONS}
        self.tracks = {(d, ref): Track(ref.partition(".")[0]) for d in Direction for ref in self.refs}
        self.owner = dict.fromkeys(self.refs, Owner.BOT)
        #: By tenant and logical id: the message's id and lane.
        self.known: dict[tuple[str, str], tuple[str, str]] = {}
        #: Every conversation and logical id that a message came with.
        self.names: list[tuple[Address, str]] = []
        #: By tenant and logical id: the edit, or None for a deletion, and its end.
        self.tombstones: dict[tuple[str, str], tuple[str | None, int]] = {}
        self.notices: dict[str, int] = {}
        self.held: list[Lane] = []
        self.tokens: set[tuple[int, str]] = set()
        self.fresh = itertools.count()
        self.accepted: dict[str, list[str]] = {ref: [] for ref in self.refs}
        self.cancelled: set[str] = set()
        self.outcomes: dict[tuple[Direction, str], list[str]] = {key: [] for key in self.tracks}

    # -- what the model knows ---------------------------------------------------------------------------------------------------

    def shard(self, ref: str) -> int:
        return self.lanes.shard_of(self.refs[ref]).number

    def promote(self, direction: Direction, shard: int) -> None:
        for (d, ref), track in self.tracks.items():
            if d == direction and self.shard(ref) == shard and track.due is not None and track.due <= self.now:
                track.due, track.deferred = None, False

    def standing(self, direction: Direction, shard: int, place: str) -> dict[str, Track]:
        found = {}
        for (d, ref), track in self.tracks.items():
            if d == direction and self.shard(ref) == shard and track.queue and self.place(d, track) == place:
                found[ref] = track
        return found

    def place(self, direction: Direction, track: Track) -> str:
        if track.token:
            return "leased"
        if track.due is not None:
            return "due"
        if track.attempts >= ATTEMPTS:
            return "spent"
        return "suspect" if direction is IN and track.attempts == ATTEMPTS - 1 else "ready"

    def post(self, direction: Direction, ref: str, post: Post, quiet: int = 0) -> None:
        track = self.tracks[direction, ref]
        track.queue.append(post)
        if track.token:
            if quiet:
                track.since = self.now if track.since is None else track.since
                track.quiet_end = min(self.now + quiet, track.since + QUIET_MAX)
        elif len(track.queue) == 1:
            track.settle(self.now, self.now + quiet if quiet else None)
        elif quiet and not track.attempts and not track.deferred:
            track.settle(self.now, min(self.now + quiet, track.queue[0].received + QUIET_MAX))

    def fail(self, track: Track) -> bool:
        track.attempts += 1
        return track.attempts < ATTEMPTS

    def worker(self, lane: Lane) -> Desk:
        return next(desk for desk in self.workers if lane.token.endswith(desk.lanes.nonce))

    # -- moves of connectors ----------------------------------------------------------------------------------------------------

    @rule(
        to=conversations,
        ids=st.lists(st.integers(0, 3), max_size=2),
        new=st.booleans(),
        quiet=st.booleans(),
        patience=st.integers(2, 9),
    )
    def accept(self, to: Address, ids: list[int], new: bool, quiet: bool, patience: int) -> None:
        fresh = f"new {next(self.fresh)}"
        names = [f"{to.channel}{to.thread}{number}" for number in ids] + ([fresh] if new or not ids else [])
        self.names += [(to, name) for name in names]
        text = f"text {fresh}"
        took = self.desk.accept(text, *names, to=to, quiet=QUIET * MINUTE * quiet, deadline=patience * MINUTE)
        assert (took.verdict, took.id) == self.accepts(to, names, text, quiet=QUIET * quiet, patience=patience)

    def accepts(self, to: Address, names: list[str], text: str, *, quiet: int, patience: int) -> tuple[Verdict, str]:
        ref, keys = self.lanes.digests.lane(to), [(to.tenant, name) for name in names]
        id_ = self.lanes.message_id(to, names[0])
        if repeated := next((self.known[key] for key in keys if key in self.known), None):
            self.known |= {key: repeated for key in keys if key not in self.known}
            return Verdict.REPEAT, repeated[0]
        stones = [stone[0] for key in keys if (stone := self.tombstones.get(key)) and stone[1] > self.now]
        if None in stones:
            self.known |= dict.fromkeys(keys, (id_, ref))
            return Verdict.CANCELLED, id_
        if self.owner[ref] is not Owner.BOT:
            self.known |= dict.fromkeys(keys, (id_, ref))
            if 0 < len(self.tracks[IN, ref].queue) < LANE_MESSAGES:  # it goes to history behind what waits
                self.accepted[ref].append(id_)
                text = next((stone for stone in reversed(stones) if stone), text)
                self.post(IN, ref, Post(id_, self.now, self.now + patience, text), 0)
            return Verdict.OWNED, id_
        mine = [t for (d, r), t in self.tracks.items() if d is IN and r.startswith(ref[:13]) and self.shard(r) == self.shard(ref)]
        if sum(len(track.queue) for track in mine) >= TENANT_MESSAGES:
            return Verdict.CROWDED, id_
        if len(self.tracks[IN, ref].queue) >= LANE_MESSAGES:
            if self.notices.get(ref, self.now) <= self.now:
                self.notices[ref] = self.now + NOTICE
                self.post(OUT, ref, Post(f"{id_}-full", self.now, self.now + 5))
            return Verdict.FULL, id_
        self.known |= dict.fromkeys(keys, (id_, ref))
        self.accepted[ref].append(id_)
        text = next((stone for stone in reversed(stones) if stone), text)
        self.post(IN, ref, Post(id_, self.now, self.now + patience, text), quiet)
        return Verdict.ACCEPTED, id_

    @rule(to=conversations, number=st.integers(0, 3), delete=st.booleans())
    def change_what_may_come(self, to: Address, number: int, delete: bool) -> None:
        self.change(to, f"{to.channel}{to.thread}{number}", delete=delete)

    @precondition(lambda self: self.names)
    @rule(pick=st.integers(0, 9), delete=st.booleans())
    def change_what_came(self, pick: int, delete: bool) -> None:
        self.change(*self.names[-1 - pick % len(self.names)], delete=delete)

    def change(self, to: Address, name: str, *, delete: bool) -> None:
        text = f"edit {next(self.fresh)}"
        said = self.desk.cancel(name, to=to) if delete else self.desk.amend(text, name, to=to)
        key = (to.tenant, name)
        if key not in self.known:
            old = self.tombstones.get(key, ("", 0))
            if delete or old[0] is not None or old[1] <= self.now:
                self.tombstones[key] = (None if delete else text, self.now + TOMBSTONE)
            assert said == "unseen"
            return
        id_, ref = self.known[key]
        track = self.tracks[IN, ref]
        post = next((post for post in track.queue if post.id == id_), None)
        assert said == ("answered" if post is None else "cancelled" if delete else "amended")
        if post is not None and delete:
            track.queue.remove(post)
            self.cancelled.add(id_)
            if not track.token:
                track.settle(self.now, track.due)
        elif post is not None:
            post.text, post.revision = text, post.revision + 1

    @rule(to=conversations, owner=st.sampled_from(list(Owner)))
    def own(self, to: Address, owner: Owner) -> None:
        ref = self.lanes.digests.lane(to)
        assert self.desk.own(owner, to=to) == len(self.tracks[IN, ref].queue)
        if owner is not self.owner[ref]:
            for post in self.tracks[IN, ref].queue:
                post.revision += 1
        self.owner[ref] = owner

    # -- moves of workers -------------------------------------------------------------------------------------------------------

    @rule(
        direction=directions,
        worker=st.integers(0, 1),
        items=st.integers(0, 4),
        tokens=st.sampled_from([1, 25, 10_000]),
        empty=st.booleans(),
    )
    def claim_everywhere(self, direction: Direction, worker: int, items: int, tokens: int, empty: bool) -> None:
        for shard in range(2):
            self.claim(direction, shard, worker, items=items, tokens=tokens, empty=empty)

    def claim(self, direction: Direction, shard: int, worker: int, *, items: int, tokens: int, empty: bool) -> None:
        self.promote(direction, shard)
        ready, suspects = self.standing(direction, shard, "ready"), self.standing(direction, shard, "suspect")

        claim = self.workers[worker].claim(direction, items=items, tokens=tokens, empty=empty, shard=shard)

        refs = [lane.ref for lane in claim.lanes]
        if set(refs) & set(suspects):
            assert empty
            assert len(refs) == 1
        else:
            assert set(refs) <= set(ready)
            assert len(refs) == len(set(refs))
            self.check_room(ready, claim.lanes, items=items, tokens=tokens)
        if items and empty and suspects and not ready:
            assert set(refs) <= set(suspects)
            assert refs
        for lane in claim.lanes:
            self.take(lane)
        assert claim.suspects == bool(self.standing(direction, shard, "suspect"))
        times = [track.due for track in self.standing(direction, shard, "due").values() if track.due is not None]
        assert (claim.next_due != 0) == bool(times)
        if times:
            assert round((claim.next_due - claim.now) / 1000 / MINUTE) == min(times) - self.now

    def check_room(self, ready: dict[str, Track], lanes: Iterable[Lane], *, items: int, tokens: int) -> None:
        costs = [sum(entry.cost for entry in lane.entries) for lane in lanes]
        assert len(costs) <= items
        assert sum(costs) <= tokens or len(costs) == 1
        if tokens == 10_000:
            assert len(costs) == min(items, len(ready))
        assert bool(costs) == bool(items and ready)
        left = {ref: track for ref, track in ready.items() if ref not in {lane.ref for lane in lanes}}
        for lane in lanes:
            deadline = ready[lane.ref].queue[0].deadline
            assert all(deadline <= t.queue[0].deadline for t in left.values() if t.tenant == ready[lane.ref].tenant)

    def take(self, lane: Lane) -> None:
        track = self.tracks[lane.direction, lane.ref]
        wanted = track.queue if lane.direction is IN else track.queue[:1]
        assert list(lane.pairs) == [post.pair for post in wanted]
        if lane.direction is IN:
            assert texts(lane) == [post.text for post in wanted]
        assert (lane.attempts, lane.owner, lane.intent) == (track.attempts, self.owner[lane.ref], track.intent)
        assert (lane.shard, lane.token) not in self.tokens
        self.tokens.add((lane.shard, lane.token))
        self.held.append(lane)
        track.token, track.lease_ends = lane.token, self.now + LEASE

    @precondition(lambda self: self.held)
    @rule(pick=picks, owner=st.sampled_from(["bot", "bot", "person", ""]), replies=st.integers(0, 2), part=st.booleans())
    def commit(self, pick: int, owner: str, replies: int, part: bool) -> None:
        lane = self.held[-1 - pick % len(self.held)]
        if part and len(lane.entries) > 1:
            lane = dataclasses.replace(lane, entries=lane.entries[:1])
        expected = self.commits(lane, owner)
        replies = replies if lane.direction is IN else 0
        assert self.worker(lane).commit(lane, owner=owner, replies=replies, to=self.refs[lane.ref]) is expected
        if expected is Settled.COMMITTED:
            for number in range(replies):
                self.post(OUT, lane.ref, Post(f"{lane.entries[0].id}-{number}", self.now, self.now + 5))

    def commits(self, lane: Lane, owner: str) -> Settled:
        track = self.tracks[lane.direction, lane.ref]
        ours, quiet_end = track.token == lane.token != "", track.quiet_end
        stand = [post.pair for post in track.queue[: len(lane.pairs)]]
        if ours:
            track.end_lease()
        verdict = Settled.COMMITTED
        if owner and (owner == "bot") != (self.owner[lane.ref] is Owner.BOT):
            verdict = Settled.OWNED
        elif stand != list(lane.pairs):
            same = [id_ for id_, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(stand, lane.pairs, strict=False))]
            at = len(same)
            verdict = Settled.CHANGED if at < len(stand) and stand[at][0] == lane.pairs[at][0] else Settled.GONE
        if verdict is Settled.COMMITTED:
            self.outcomes[lane.direction, lane.ref] += [post.id for post in track.queue[: len(stand)]]
            del track.queue[: len(stand)]
            track.attempts, track.deferred, track.intent, track.intent_token = 0, False, "", ""
            if not track.token:
                track.settle(self.now, quiet_end if ours else None)
        elif ours:
            track.settle(self.now)
        return verdict

    @precondition(lambda self: self.held)
    @rule(pick=picks, failed=st.booleans(), keep_intent=st.booleans(), after=st.integers(0, 6))
    def release(self, pick: int, failed: bool, keep_intent: bool, after: int) -> None:
        lane = self.held[-1 - pick % len(self.held)]
        track = self.tracks[lane.direction, lane.ref]
        ours = track.token == lane.token
        released = self.worker(lane).release(
            lane, direction=lane.direction, failed=failed, keep_intent=keep_intent, after=after * MINUTE
        )
        assert released == ours
        if not ours:
            return
        track.end_lease()
        if not keep_intent:
            track.intent, track.intent_token = "", ""
        if failed and not self.fail(track):
            after = 0
        track.deferred = after > 0
        track.settle(self.now, self.now + after)

    @precondition(lambda self: self.held)
    @rule(pick=picks)
    def renew(self, pick: int) -> None:
        one = self.held[pick % len(self.held)]
        mine = [lane for lane in self.held if (lane.direction, lane.shard) == (one.direction, one.shard)]
        lost = {lane.ref for lane in mine if self.tracks[lane.direction, lane.ref].token != lane.token}
        assert self.worker(one).renew(*mine, direction=one.direction) == lost
        for lane in mine:
            track = self.tracks[lane.direction, lane.ref]
            if track.token == lane.token:
                track.lease_ends = self.now + LEASE

    @precondition(lambda self: any(lane.direction is OUT for lane in self.held))
    @rule(pick=picks)
    def intend(self, pick: int) -> None:
        mine = [lane for lane in self.held if lane.direction is OUT]
        lane = mine[-1 - pick % len(mine)]
        track, delivery = self.tracks[OUT, lane.ref], lane.entries[0].id
        said = self.lanes.intend(lane, delivery).run(self.client)
        if track.token != lane.token or track.lease_ends <= self.now:
            assert said == (False, "")
        elif not track.queue or track.queue[0].id != delivery:
            assert said == (False, "")
            track.end_lease()
            track.settle(self.now)
        else:
            assert said == (True, track.intent if track.intent_token != lane.token else "")
            track.intent, track.intent_token, track.lease_ends = delivery, lane.token, self.now + LEASE

    @rule(direction=directions, commit=st.booleans())
    def sweep_everywhere(self, direction: Direction, commit: bool) -> None:
        for shard in range(2):
            self.sweep(direction, shard, commit=commit)

    def sweep(self, direction: Direction, shard: int, *, commit: bool) -> None:
        self.promote(direction, shard)
        requeued = 0
        for (d, ref), track in self.tracks.items():
            if d == direction and self.shard(ref) == shard and track.token and track.lease_ends <= self.now:
                track.end_lease()
                requeued += bool(track.queue)
                if track.queue:
                    self.fail(track)
                track.settle(self.now)
        swept = self.desk.sweep(direction, shard=shard)
        assert swept.requeued == requeued
        self.check_overdue(swept, direction, shard)
        for found in swept.overdue if commit else ():
            expected = self.commits(found.lane, "")
            assert self.desk.commit(found.lane, owner="", dead=found.reason) is expected is Settled.COMMITTED

    def check_overdue(self, swept: Swept, direction: Direction, shard: int) -> None:
        wanted = {}
        for place in ("ready", "suspect", "leased"):
            for ref, track in self.standing(direction, shard, place).items():
                if place != "leased" or direction is IN:
                    wanted[ref] = ("expired", track.late(self.now))
        for ref, track in self.standing(direction, shard, "spent").items():
            wanted[ref] = ("exhausted", track.queue)
        most = 1 if direction is OUT else None
        expected = {
            ref: (reason, [post.pair for post in posts[:most]], self.tracks[direction, ref].attempts, self.owner[ref])
            for ref, (reason, posts) in wanted.items()
            if posts
        }
        found = {o.lane.ref: (o.reason, list(o.lane.pairs), o.lane.attempts, o.lane.owner) for o in swept.overdue}
        assert found == expected
        assert len(found) == len(swept.overdue)

    @rule(minutes=st.integers(1, 4))
    def pass_time(self, minutes: int) -> None:
        self.desk.advance(minutes * MINUTE)
        self.now += minutes

    # -- what always holds ------------------------------------------------------------------------------------------------------

    @invariant()
    def everything_stands_where_it_must(self) -> None:
        for shard, kept in lane_probe.audit(self.client, self.lanes).items():
            for direction in Direction:
                waiting = {ref: [(e.id, e.revision) for e in queue] for ref, queue in lane_probe.queues(kept, direction).items()}
                model = {
                    ref: [post.pair for post in track.queue]
                    for (d, ref), track in self.tracks.items()
                    if d == direction and track.queue and self.shard(ref) == shard.number
                }
                assert waiting == model

    def teardown(self) -> None:
        """Answer all that is left, then nothing may be lost, doubled, reordered or left behind."""
        for to in CONVERSATIONS:
            self.own(to, Owner.BOT)
        for _ in range(40):
            self.pass_time(1)
            for direction, shard in itertools.product(Direction, range(2)):
                self.sweep(direction, shard, commit=True)
                self.claim(direction, shard, 0, items=4, tokens=10_000, empty=True)
            for lane in self.held:
                self.commits_now(lane)
            self.held.clear()
            if not any(track.queue or track.token for track in self.tracks.values()):
                break
        self.check_outcomes()
        for direction, shard in itertools.product(Direction, range(2)):
            self.claim(direction, shard, 0, items=1, tokens=1, empty=True)
        self.desk.advance(366 * 24 * 3600)
        assert lane_probe.remaining(self.client, self.lanes) <= {"fence", "in:stats", "out:stats", "dead"}

    def commits_now(self, lane: Lane) -> None:
        expected = self.commits(lane, "")
        assert self.worker(lane).commit(lane, owner="", replies=0) is expected

    def check_outcomes(self) -> None:
        assert not any(track.queue for track in self.tracks.values()), "something is never answered"
        for (direction, ref), ids in self.outcomes.items():
            assert max(Counter(ids).values(), default=1) == 1
            if direction is IN:
                assert ids == [id_ for id_ in self.accepted[ref] if id_ not in self.cancelled]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_whatever_happens_every_message_gets_one_outcome_in_order(redis_client: redis.Redis, settings: Settings) -> None:
    machine = type("Machine", (Model,), {"client": redis_client, "base": settings})
    run_state_machine_as_test(
        machine,
        settings=hypothesis.settings(
            max_examples=100,
            stateful_step_count=40,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )
