"""Two versions side by side: what a newer one wrote waits for a process of that version. See docs/upgrades.md."""

import time

import structlog

from engine.errors import NewerSchema
from engine.keys import Direction, Shard
from engine.settings import Settings
from engine.store import Client

log = structlog.get_logger()

#: How long a lane that only a newer version can read is left to others, ms.
NEWER_WAIT = 2000
#: Between two lines about such lanes in the log, seconds.
SAID_EVERY = 60.0


class Newer:
    """Says once in a while that lanes wait for a newer version."""

    def __init__(self, direction: Direction) -> None:
        self._direction = direction
        self._next = 0.0

    def note(self, error: NewerSchema) -> None:
        """One more was given back."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + SAID_EVERY
            event = "a newer version wrote this; it waits for a worker of that version"
            log.warning(event, action=f"{self._direction}.newer", kind=error.kind, reason=str(error.cause))


def waiting_lanes(settings: Settings, client: Client) -> int:
    """Lanes that wait for a worker of a newer version, as far as workers met them in the last ten seconds."""
    shards = (Shard(number) for number in range(settings.shards))
    now = int(client.time()[0]) * 1000
    names = [shard.newer(direction) for shard in shards for direction in Direction]
    return sum(int(client.zcount(name, now, "+inf")) for name in names)
