"""Waiting: for a doorbell, which the scripts ring when a lane gets ready, and between attempts."""

import asyncio
import threading
from collections.abc import Collection
from typing import Any

from engine.errors import StoreUnavailable
from engine.keys import Direction, Shard
from engine.settings import Settings
from engine.store import SOCKET_TIMEOUT, Client, connect, is_cluster, reachable

#: Longest blocking wait, seconds, well under the socket time-out.
WAIT = min(1.0, SOCKET_TIMEOUT / 2)
#: In a Cluster the bells of several shards cannot be waited for together: each gets this long in turn, seconds.
SLICE = 0.1
#: Between two cancellations of one task, seconds.
CANCEL_EVERY = 0.1
#: First and longest wait between attempts, seconds; each attempt doubles it.
FIRST_BACKOFF, LONGEST_BACKOFF = 1.0, 300.0


def bell_groups(settings: Settings, direction: Direction) -> list[tuple[list[str], float]]:
    """The bells that can be waited for in one command, and for how long.

    :raises StoreUnavailable: if Redis is away.
    """
    bells = [Shard(number).bell(direction) for number in range(settings.shards)]
    if len(bells) > 1 and is_cluster(settings.redis_url):
        return [([bell], SLICE) for bell in bells]
    return [(bells, WAIT)]


def backoff(attempts: int, jitter: float) -> float:
    """Seconds before the next attempt after `attempts` failed ones; `jitter` is between 0 and 1."""
    doubled: float = FIRST_BACKOFF * 2.0 ** min(attempts, 16)
    return min(LONGEST_BACKOFF, doubled) * (0.5 + jitter / 2)


async def cancelled(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks until all have ended; a single cancellation may get lost below, in a client that is closing its connection."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_EVERY)
    await asyncio.gather(*tasks, return_exceptions=True)


class Doorbell:
    """A thread that wakes a loop when its bell rings, while the loop has room for work."""

    def __init__(self, settings: Settings, direction: Direction, wake: threading.Event) -> None:
        self._settings = settings
        self._groups = bell_groups(settings, direction)
        self._wake = wake
        self._wanted = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._listen, name=f"bell-{direction}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._wanted.clear()

    def wanted(self, wanted: bool) -> None:
        """A busy worker leaves the bell to idle ones."""
        if wanted:
            self._wanted.set()
        else:
            self._wanted.clear()

    def _listen(self) -> None:
        while not self._stopped.is_set():
            try:
                with connect(self._settings) as client:
                    while not self._stopped.is_set():
                        self._wait(client)
            except StoreUnavailable:
                # The loop notices by itself and says so; it also looks for work every second without a bell.
                self._stopped.wait(WAIT)

    def _wait(self, client: Client) -> None:
        if not self._wanted.wait(WAIT):
            return
        for bells, seconds in self._groups:
            with reachable():
                rung = client.blpop(bells, timeout=seconds)
                if rung and not self._wanted.is_set():
                    # The loop has filled up meanwhile: the ring is for another worker.
                    client.rpush(rung[0], 1)
                elif rung:
                    self._wake.set()
