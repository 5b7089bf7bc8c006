"""What both loops share: a thread that a Celery worker starts and stops, and a watchdog over it.

A loop that died, or has not stepped for two leases, ends the process: its supervisor starts a fresh one, and its lanes come back
when their leases run out. Losing the broker never stops a loop.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from celery import bootsteps
from celery.exceptions import ImproperlyConfigured

from engine.errors import StoreUnavailable
from engine.settings import Settings

log = structlog.get_logger()

#: Exit status of a process whose loop died or hangs (EX_SOFTWARE of sysexits.h).
EXIT_LOOP_DIED = 70
#: Between tries while Redis is away, seconds.
AWAY_PAUSE = 0.5
#: The only pool that leaves the loops alone: a CUDA context does not survive a fork, green pools patch what the loops block on.
POOL = "solo"


class LoopThread(threading.Thread):
    """Runs `body` until it returns; stepping is reported by `beat`."""

    def __init__(self, name: str, body: Callable[["LoopThread"], None], *, patience: float) -> None:
        super().__init__(name=name, daemon=True)
        self._body = body
        #: Seconds without a beat after which the loop is taken for hung.
        self._patience = patience
        self._last_beat = time.monotonic()
        self.stopping = threading.Event()

    def beat(self) -> None:
        """The loop is alive."""
        self._last_beat = time.monotonic()

    def run(self) -> None:
        watchdog = threading.Thread(target=self._watch, name=f"{self.name}-watchdog", daemon=True)
        watchdog.start()
        try:
            self._body(self)
        except Exception:  # the boundary of the thread: whatever reached it ends the process, logged, to be started afresh
            log.critical("a loop died; the process ends to be started afresh", action="loop.died", loop=self.name, exc_info=True)
            end_process()

    def _watch(self) -> None:
        while self.is_alive():
            if time.monotonic() - self._last_beat > self._patience:
                log.critical("a loop hangs; the process ends to be started afresh", action="loop.hung", loop=self.name)
                end_process()
            self.join(1.0)


def end_process() -> None:
    """Leave at once: after a loop died nothing in the process is worth a clean-up that may hang too."""
    logging.shutdown()
    os._exit(EXIT_LOOP_DIED)


class Away:
    """Notes that Redis is away, once, and that it is back."""

    def __init__(self, loop: str) -> None:
        self._loop = loop
        self._away = False

    def note(self, error: StoreUnavailable) -> None:
        if not self._away:
            log.warning("Redis is away; waiting for it", action="redis.away", loop=self._loop, error=str(error))
        self._away = True

    def over(self) -> None:
        if self._away:
            log.info("Redis is back", action="redis.back", loop=self._loop)
        self._away = False


class LoopStep(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """A step of the worker blueprint (a consumer step would restart with the broker connection) that runs one loop."""

    #: Name in `--loops`.
    loop = ""
    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, loops: str = "answer,deliver", **options: Any) -> None:
        self.wanted = self.loop in loops.split(",")
        self.thread: LoopThread | None = None
        #: The loop itself, once it runs.
        self.running: Any = None
        pool = worker.pool_cls.__module__.rpartition(".")[2] if not isinstance(worker.pool_cls, str) else worker.pool_cls
        if self.wanted and pool != POOL:
            raise ImproperlyConfigured(f"the {self.loop} loop runs in the pool {POOL!r}, not {pool!r}: use --pool {POOL}")
        super().__init__(worker, **options)

    def include_if(self, worker: Any) -> bool:
        return self.wanted

    def build(self, worker: Any) -> Callable[[LoopThread], None]:
        """The body of the loop."""
        raise NotImplementedError

    def start(self, worker: Any) -> None:
        settings: Settings = worker.app.settings
        self.thread = LoopThread(self.loop, self.build(worker), patience=settings.lease * 2)
        self.thread.start()

    def stop(self, worker: Any) -> None:
        if self.thread is None:
            return
        self.thread.stopping.set()
        self.thread.join(worker.app.settings.drain_timeout + 5.0)

    terminate = stop
