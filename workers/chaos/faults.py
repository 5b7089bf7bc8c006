"""What goes wrong in a run. A fault is a line in `FAULTS`; it strikes a world, waits, and takes itself back."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from workers.chaos.plan import DUPLICATE, REORDER
from workers.chaos.world import World

#: A pause is so many leases long.
_PAST_LEASE = 1.5
#: Sends of each platform that one fault hits.
_SENDS = 5


class Fault(Protocol):
    """One kind of fault."""

    @property
    def meaning(self) -> str:
        """What it does, for `--list`."""

    @property
    def ambiguous(self) -> bool:
        """Whether a send that is under way may have taken effect without anybody knowing it; a platform counts what it drops."""

    async def inject(self, world: World, rng: random.Random) -> None:
        """Let it happen, and take it back; cancelled, it is taken back at once."""


@dataclass(frozen=True)
class Planned:
    """A fault of the senders: the plan has it, nothing is left to inject."""

    meaning: str
    ambiguous: bool = False

    async def inject(self, world: World, rng: random.Random) -> None:
        return


@dataclass(frozen=True)
class Kill:
    """SIGKILL of one process of some roles."""

    meaning: str
    roles: tuple[str, ...]
    #: Seconds until it is started again, at least and at most.
    down: tuple[float, float]
    ambiguous: bool = True

    async def inject(self, world: World, rng: random.Random) -> None:
        name = rng.choice(world.names(*self.roles))
        world.kill(name)
        try:
            await asyncio.sleep(rng.uniform(*self.down))
        finally:
            world.bring_back(name)


@dataclass(frozen=True)
class Pause:
    """SIGSTOP of one process of some roles, then SIGCONT."""

    meaning: str
    roles: tuple[str, ...]
    #: Seconds, at least and at most; none: past the lease.
    seconds: tuple[float, float] | None = None
    ambiguous: bool = True

    async def inject(self, world: World, rng: random.Random) -> None:
        name = rng.choice(world.names(*self.roles))
        world.pause(name)
        try:
            await asyncio.sleep(rng.uniform(*self.seconds) if self.seconds else _PAST_LEASE * world.lease)
        finally:
            world.go_on(name)


@dataclass(frozen=True)
class Limit:
    """Platforms say that they have enough."""

    meaning: str
    ambiguous: bool = False

    async def inject(self, world: World, rng: random.Random) -> None:
        for side in world.sides.values():
            side.limit(rng.randint(1, _SENDS))


@dataclass(frozen=True)
class Drop:
    """Platforms drop the connection of a send."""

    meaning: str
    after_effect: bool
    ambiguous: bool = False

    async def inject(self, world: World, rng: random.Random) -> None:
        for side in world.sides.values():
            side.drop(rng.randint(1, _SENDS), after_effect=self.after_effect)


_WORKERS = ("answer", "deliver")

#: Every fault by its name.
FAULTS: Mapping[str, Fault] = {
    "kill-worker": Kill("an answering or delivery worker is killed (SIGKILL) and started again", _WORKERS, (0.0, 0.5)),
    "pause-worker": Pause("a worker is stopped for one and a half leases (SIGSTOP), and goes on with what it held", _WORKERS),
    "kill-web": Kill("the web process is killed and started again", ("web",), (0.0, 0.5)),
    "kill-redis": Kill("Redis is killed, away for up to two seconds, and loads its append-only file", ("redis",), (0.2, 2.0)),
    "cut-connections": Kill("every connection to Redis is cut, new ones are refused for up to a second", ("proxy",), (0.0, 1.0)),
    "silent-network": Pause("nothing gets through to Redis or back for one to four seconds", ("proxy",), (1.0, 4.0)),
    "limit-sends": Limit("each platform answers its next sends, up to five, 429 with Retry-After"),
    "drop-before-send": Drop("each platform drops the connection of its next sends before they take effect", after_effect=False),
    "drop-after-send": Drop("each platform drops the connection of its next sends after they took effect", after_effect=True),
    DUPLICATE: Planned("one message of twenty comes eleven times: at once, and until after it was answered"),
    REORDER: Planned("one message of ten changes places with the next of its conversation"),
}
