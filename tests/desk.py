"""A short way to move messages in tests: real lanes on a real server; what a test does not care about is filled in."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from engine.keys import Direction, Shard
from engine.lanes import Lanes
from engine.messages import Address, Delivery, InboundMessage, Owner, Reply, Source, Turn
from engine.moves import Accepted, Backlog, Claim, Lane, Outcome, Release, Settled, Swept
from tests import lane_probe

DEADLINE = 300.0


def address(thread: str = "thread", *, tenant: str = "acme", channel: str = "support") -> Address:
    """A conversation."""
    return Address(platform="webhook", tenant=tenant, channel=channel, thread=thread)


def message(text: str = "hello", *ids: str, to: Address | None = None) -> InboundMessage:
    """One message known by `ids`."""
    return InboundMessage(address=to or address(), sender="ann", text=text, dedupe_ids=ids)


def reply(to: Address, text: str = "an answer") -> Reply:
    """Some reply."""
    return Reply(in_reply_to=("first",), address=to, text=text, source=Source.MODEL)


def texts(lane: Lane) -> list[str]:
    """What the people wrote that a claim handed out."""
    return [InboundMessage.from_entry(entry).text for entry in lane.entries]


@dataclass
class Desk:
    """One client of the lanes."""

    client: redis.Redis
    lanes: Lanes
    _fresh: Any = field(default_factory=lambda: map("id-{}".format, itertools.count()))

    @property
    def shard(self) -> Shard:
        return self.lanes.shards[0]

    def accept(
        self, text: str = "hello", *ids: str, to: Address | None = None, quiet: float = 0.0, deadline: float = DEADLINE
    ) -> Accepted:
        """Accept one message, with a fresh id if none is given; a turn waits for three quiet periods at most."""
        return self.put(message(text, *(ids or (next(self._fresh),)), to=to), quiet=quiet, deadline=deadline)

    def put(self, inbound: InboundMessage, *, quiet: float = 0.0, deadline: float = DEADLINE) -> Accepted:
        """Accept a message as it is."""
        first = self.lanes.message_id(inbound.address, inbound.dedupe_ids[0])
        notice = Delivery(id=f"{first}-full", reply=reply(inbound.address, "full"))
        call = self.lanes.accept(inbound, deadline=deadline, quiet=(quiet, 3 * quiet), notice=notice)
        return call.run(self.client)

    def claim(
        self, direction: Direction = Direction.IN, *, items: int = 32, tokens: int = 100_000, empty: bool = True, shard: int = 0
    ) -> Claim:
        """Claim from one shard."""
        return self.lanes.claim(self.lanes.shards[shard], direction, items=items, tokens=tokens, empty=empty).run(self.client)

    def take(self, direction: Direction = Direction.IN, **how: Any) -> Lane:
        """Claim the one lane there is."""
        (lane,) = self.claim(direction, **how).lanes
        return lane

    def commit(self, lane: Lane, *, replies: int = 0, to: Address | None = None, **outcome: Any) -> Settled:
        """Commit an outcome with so many replies."""
        first = lane.entries[0].id if lane.entries else "none"
        posts = tuple(Delivery(id=f"{first}-{part}", reply=reply(to or address()), part=part) for part in range(replies))
        outcome.setdefault("record", {"state": "answered"})
        return self.lanes.commit(lane, Outcome(deliveries=posts, **outcome)).run(self.client)

    def release(self, *lanes: Lane, direction: Direction = Direction.IN, **how: Any) -> int:
        """Give lanes back, to be claimed `after` so many seconds."""
        delay = round(how.pop("after", 0.0) * 1000)
        releases = [Release(lane=lane, delay=delay, **how) for lane in lanes]
        return self.lanes.release(self.lanes.shards[lanes[0].shard], direction, releases).run(self.client)

    def renew(self, *lanes: Lane, direction: Direction = Direction.IN) -> frozenset[str]:
        """Extend leases."""
        return self.lanes.renew(self.lanes.shards[lanes[0].shard], direction, lanes).run(self.client)

    def sweep(self, direction: Direction = Direction.IN, *, shard: int = 0) -> Swept:
        """Sweep one shard."""
        return self.lanes.sweep(self.lanes.shards[shard], direction).run(self.client)

    def amend(self, text: str, *ids: str, to: Address | None = None) -> str:
        """Edit the message of that id."""
        return self.lanes.amend(message(text, *ids, to=to)).run(self.client)

    def cancel(self, logical_id: str, *, to: Address | None = None) -> str:
        """Delete the message of that id."""
        return self.lanes.cancel(to or address(), logical_id).run(self.client)

    def own(self, owner: Owner, *, to: Address | None = None) -> int:
        """Set who answers."""
        return self.lanes.own(to or address(), owner).run(self.client)

    def backlog(self) -> tuple[Backlog, Backlog]:
        """Figures of the first shard."""
        return self.lanes.backlog(self.shard).run(self.client)

    def history(self, to: Address | None = None) -> list[Turn]:
        """Turns of a conversation."""
        ref = self.lanes.digests.lane(to or address())
        kept: list[Any] = self.client.lrange(self.lanes.shard_of(to or address()).history(ref), 0, -1)
        return [Turn.decode(raw) for raw in kept]

    def advance(self, seconds: float) -> None:
        """Put the clock forward."""
        lane_probe.advance(self.client, self.lanes, seconds)

    def place(self, to: Address | None = None, direction: Direction = Direction.IN) -> Sequence[str]:
        """Where the lane of a conversation stands."""
        stands = lane_probe.places(lane_probe.snapshot(self.client, self.shard), direction)
        return stands.get(self.lanes.digests.lane(to or address()), [])

    def fail(self, times: int, direction: Direction = Direction.IN) -> None:
        """Let attempts of the one lane there is fail."""
        for _ in range(times):
            assert self.release(self.take(direction), direction=direction, failed=True) == 1
