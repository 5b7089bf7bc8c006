"""What both loops share: a thread that a Celery worker starts and stops, and a watchdog over it.

A loop that died, or has not stepped for two leases and a minute, ends the process: its supervisor starts a fresh one, and its lanes
come back when their leases run out. Losing the broker never stops a loop.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import click
import structlog
from celery import bootsteps
from celery.concurrency import solo
from celery.exceptions import WorkerShutdown
from celery.worker import state

from engine.errors import ReplymillError, StoreUnavailable
from engine.settings import Settings

log = structlog.get_logger()

#: Exit status of a process whose loop died or hangs (EX_SOFTWARE of sysexits.h).
EXIT_LOOP_DIED = 70
#: Between tries while Redis is away, seconds.
AWAY_PAUSE = 0.5
#: What `--loops` may name.
LOOPS = ("answer", "deliver")
#: A loop counts as hung after so many seconds and two leases; Redis may take several time-outs to be found away.
PATIENCE = 60.0
#: Beyond `drain_timeout` a loop may take so long to leave, seconds; and between looks whether it should hurry.
STOP_MARGIN, STOP_EVERY = 5.0, 0.1


class LoopThread(threading.Thread):
    """Runs `body` until it returns; stepping is reported by `beat`."""

    def __init__(self, name: str, body: Callable[["LoopThread"], None], *, patience: float) -> None:
        super().__init__(name=name, daemon=True)
        self._body = body
        #: Seconds without a beat after which the loop is taken for hung.
        self._patience = patience
        self._last_beat = time.monotonic()
        self.stopping = threading.Event()
        #: Set beside `stopping` when what is held must be given back at once.
        self.hurried = threading.Event()
        #: Wakes the body from its sleep; it may set its own.
        self.wake: Callable[[], object] = self.beat

    def beat(self) -> None:
        """The loop is alive."""
        self._last_beat = time.monotonic()

    def stop(self) -> None:
        """Ask the loop to finish."""
        self.stopping.set()
        self.wake()

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

    def bears(self, step: Callable[[], None]) -> bool:
        """Run a step; False if Redis was away."""
        try:
            step()
        except StoreUnavailable as error:
            self.note(error)
            return False
        self.over()
        return True


def chosen(loops: str) -> set[str]:
    """The names in the option `--loops`.

    :raises click.ClickException: for one that does not exist; Celery's command line shows it as one line.
    """
    names = set(loops.replace(",", " ").split())
    if unknown := names - {*LOOPS, "none"}:
        raise click.ClickException(f"there is no loop {min(unknown)!r}: --loops takes {', '.join(LOOPS)}, or both, or none")
    return names


class LoopStep(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """A step of the worker blueprint (a consumer step would restart with the broker connection) that runs one loop.

    Only the pool `solo` leaves it alone: a CUDA context does not survive a fork, and green pools patch what the loops block on.
    """

    #: Name in `--loops`.
    loop = ""
    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, loops: str = "answer,deliver", **options: Any) -> None:
        self.wanted = self.loop in chosen(loops)
        self.thread: LoopThread | None = None
        #: The loop itself, once it runs.
        self.running: Any = None
        if self.wanted and not issubclass(worker.pool_cls, solo.TaskPool):
            raise click.ClickException(f"the {self.loop} loop runs in the pool `solo` alone: start the worker with --pool solo")
        super().__init__(worker, **options)

    def include_if(self, worker: Any) -> bool:
        return self.wanted

    def build(self, worker: Any) -> Callable[[LoopThread], None]:
        """The body of the loop."""
        raise NotImplementedError

    def start(self, worker: Any) -> None:
        settings: Settings = worker.app.settings
        try:
            body = self.build(worker)
        except ReplymillError as error:
            # Celery would show its whole way up; `run_worker` raises it again, where one line tells it.
            log.critical("the worker cannot start", action="loop.cannot_start", loop=self.loop, error=str(error))
            worker.app.fault = error
            raise WorkerShutdown(1) from error
        self.thread = LoopThread(self.loop, body, patience=PATIENCE + settings.lease * 2)
        self.thread.start()

    def stop(self, worker: Any) -> None:
        """Let the loop finish what it is at, within `drain_timeout`; a cold shutdown asked for meanwhile hastens it."""
        if self.thread is None:
            return
        self.thread.stop()
        ends = time.monotonic() + worker.app.settings.drain_timeout + STOP_MARGIN
        while self.thread.is_alive() and time.monotonic() < ends:
            if state.should_terminate:
                self.thread.hurried.set()
            self.thread.join(STOP_EVERY)

    def terminate(self, worker: Any) -> None:
        """Let the loop give everything back at once."""
        if self.thread is not None:
            self.thread.hurried.set()
        self.stop(worker)
