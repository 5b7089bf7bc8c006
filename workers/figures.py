"""What a worker does and how fast, kept in Redis for `replymill status` and `/metrics` for ten seconds at a time."""

import os
import time
from collections import deque
from collections.abc import Sequence

from engine import roster
from engine.errors import StoreUnavailable
from engine.messages import Reply
from engine.settings import Settings
from engine.store import Client, reachable

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


class Capacity:
    """Messages that a worker answers per second while it is busy, smoothed; 0 until it has been."""

    #: Busy seconds of one measurement, and its weight against those before.
    SPAN, WEIGHT = 2.0, 0.3

    def __init__(self) -> None:
        self.value = 0.0
        self._busy = 0.0
        self._done = 0
        self._last = time.monotonic()

    def add(self, count: int) -> None:
        """So many messages were answered."""
        self._done += count

    def tick(self, *, busy: bool) -> None:
        """The worker was busy since the last call, or not; what it answers beside is not its measure."""
        now = time.monotonic()
        if busy:
            self._busy += now - self._last
        else:
            self._busy, self._done = 0.0, 0
        self._last = now
        # A batch that takes longer than one measurement is measured whole: a worker is no slower in the middle of it.
        if self._busy >= self.SPAN and self._done:
            rate = self._done / self._busy
            self.value = rate if not self.value else (1 - self.WEIGHT) * self.value + self.WEIGHT * rate
            self._busy, self._done = 0.0, 0


class Figures:
    """Counters of one loop."""

    def __init__(self, name: str, loop: str, settings: Settings) -> None:
        #: What the worker is called on the roster.
        self.name = f"{name}:{loop}"
        self._fields = {"name": name, "loop": loop, "pid": str(os.getpid()), "model": settings.model if loop == "answer" else ""}
        self._done = Rate()
        self._tokens = Rate()
        self._failed = Rate()
        self.capacity = Capacity()

    def done(self, count: int = 1) -> None:
        """Messages answered or replies delivered."""
        self._done.add(count)
        self.capacity.add(count)

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
            "capacity": f"{self.capacity.value:.3f}",
            "tokens": str(self._tokens.total),
            "tokens_rate": f"{self._tokens.value():.1f}",
            "failed": str(self._failed.total),
        }

    def fields(self, **now: int) -> dict[str, str]:
        """The snapshot with what is held just now."""
        self.capacity.tick(busy=now.get("running", 0) > 0)
        return self.snapshot() | {name: str(value) for name, value in now.items()}

    def write(self, client: Client, **now: int) -> None:
        """Keep the figures for ten seconds."""
        with reachable():
            pipeline = client.pipeline(transaction=False)
            roster.enter(pipeline, self.name, self.fields(**now))
            pipeline.execute()

    def leave(self, client: Client) -> None:
        """The worker is going; its figures would vanish by themselves if Redis is away too."""
        try:
            with reachable():
                pipeline = client.pipeline(transaction=False)
                roster.leave(pipeline, self.name)
                pipeline.execute()
        except StoreUnavailable:
            return
