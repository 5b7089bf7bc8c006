"""What a worker does and how fast, kept in Redis for `replymill status` and `/metrics` for ten seconds at a time."""

import os
import time
from collections import deque
from collections.abc import Sequence

from engine.errors import StoreUnavailable
from engine.keys import worker
from engine.messages import Reply
from engine.settings import Settings
from engine.store import Client, reachable

#: A worker that has not written for this long is gone, seconds.
LIFE = 10
#: Rates are over this window, seconds.
WINDOW = 60.0


class Rate:
    """Events per second over the last minute."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._marks: deque[tuple[float, int]] = deque()
        self.total = 0

    def add(self, count: int) -> None:
        self._marks.append((time.monotonic(), count))
        self.total += count

    def value(self) -> float:
        now = time.monotonic()
        while self._marks and self._marks[0][0] < now - WINDOW:
            self._marks.popleft()
        return sum(count for _, count in self._marks) / max(1.0, min(WINDOW, now - self._started))


class Figures:
    """Counters of one loop."""

    def __init__(self, name: str, loop: str, settings: Settings) -> None:
        self._key = worker(f"{name}:{loop}")
        self._fields = {"name": name, "loop": loop, "pid": str(os.getpid()), "model": settings.model if loop == "answer" else ""}
        self._done = Rate()
        self._tokens = Rate()
        self._failed = Rate()

    def done(self, count: int = 1) -> None:
        """Messages answered or replies delivered."""
        self._done.add(count)

    def failed(self, count: int = 1) -> None:
        """Attempts that will be repeated."""
        self._failed.add(count)

    def generated(self, replies: Sequence[Reply]) -> None:
        """A batch came out of the model."""
        self._tokens.add(sum(int(reply.trace.get("tokens", 0)) for reply in replies))

    def snapshot(self) -> dict[str, str]:
        """The figures as text."""
        return {
            **self._fields,
            "done": str(self._done.total),
            "rate": f"{self._done.value():.3f}",
            "tokens": str(self._tokens.total),
            "tokens_rate": f"{self._tokens.value():.1f}",
            "failed": str(self._failed.total),
        }

    def fields(self, **now: int) -> dict[str, str]:
        """The snapshot with what is held just now."""
        return self.snapshot() | {name: str(value) for name, value in now.items()}

    def write(self, client: Client, **now: int) -> None:
        """Keep the figures for ten seconds."""
        with reachable():
            client.hset(self._key, mapping=self.fields(**now))
            client.expire(self._key, LIFE)

    def leave(self, client: Client) -> None:
        """The worker is going; its figures would vanish by themselves if Redis is away too."""
        try:
            with reachable():
                client.delete(self._key)
        except StoreUnavailable:
            return

    @property
    def key(self) -> str:
        return self._key
