"""A crew of child processes: restarted when they crash, stopped in order, none left behind.

What a signal or a dead child asks for is taken up between two steps of one loop (`_pause`), so there are no handlers and no races.
"""

import math
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import NoReturn, Self

import structlog

from engine.errors import StartError
from workers.processes import Child

log = structlog.get_logger(__name__)

#: Exit status of a process that no restart can help: wrong usage or settings.
UNUSABLE = 2

#: Seconds after which a process counts as healthy, and its next crash as its first.
STEADY = 60.0

#: Crashes of one process before everything is up that end the start.
START_FAILURES = 3


class StopAsked(Exception):
    """A person or the system asked for the end: control flow, not a fault."""


@dataclass(frozen=True)
class Stage:
    """Children that are stopped together, once the stages before have ended."""

    children: Sequence[Child]
    #: Seconds from the polite signal to the kill.
    grace: float
    #: The same once a second signal asked for haste.
    hasty: float = 0.0


@dataclass
class _Watch:
    """What is known of one child that must run."""

    child: Child
    started_at: float
    failures: int = 0
    #: When to start it again, on the monotonic clock; None while it runs.
    restart_at: float | None = None


def backoff(failures: int) -> float:
    """Seconds to wait after so many crashes in a row: 0.5, 1, 2, 4, ... at most 30."""
    return min(30.0, math.ldexp(0.5, min(failures, 16) - 1))


class Crew:
    """Runs children inside its `with` block, in the main thread; leaves none behind.

    While it is entered, SIGINT, SIGTERM and SIGHUP are taken up by `until` and `watch`, which raise `StopAsked`.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        #: In the order in which they are stopped.
        self.stages = stages
        self._watched: list[_Watch] = []
        self._settled = False
        # A shell that starts us in the background has us ignore Ctrl-C, which is then asked for by name; `nohup` is meant.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._signals = {signal.SIGINT, signal.SIGTERM, signal.SIGCHLD}
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self._signals.add(signal.SIGHUP)

    def __enter__(self) -> Self:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._stop()
        finally:
            while signal.sigtimedwait(self._signals, 0):
                pass  # a further Ctrl-C has nothing left to hasten
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def start(self, child: Child) -> None:
        """Start the child, and again whenever it ends."""
        child.spawn()
        self._watched.append(_Watch(child, time.monotonic()))

    def until(self, condition: Callable[[], bool], what: str, *, timeout: float) -> None:
        """Return once `condition` holds.

        :raises StartError: a child cannot run, or `timeout` seconds have passed.
        :raises StopAsked: on a signal.
        """
        give_up = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > give_up:
                raise StartError(f"{what} is not ready after {timeout:g} s{self._where()}")
            self._tend()
            self._pause(0.05)

    def watch(self) -> NoReturn:
        """Keep everything running.

        :raises StopAsked: on a signal.
        """
        self._settled = True
        while True:
            self._tend()
            self._pause(1.0)

    def _tend(self) -> None:
        """Take up what has ended, start again what is due."""
        for watched in self._watched:
            status = watched.child.ended()
            if status is not None:
                self._take_up(watched, status)
            elif watched.restart_at is not None and time.monotonic() >= watched.restart_at:
                watched.child.spawn()
                watched.started_at, watched.restart_at = time.monotonic(), None

    def _take_up(self, watched: _Watch, status: int) -> None:
        child, now = watched.child, time.monotonic()
        child.sweep()
        watched.failures = 1 if now - watched.started_at > STEADY else watched.failures + 1
        if not self._settled and (status == UNUSABLE or watched.failures >= START_FAILURES):
            raise StartError(f"{child.name} cannot run ({_ending(status)}){_said(child)}")
        delay = backoff(watched.failures)
        watched.restart_at = now + delay
        log.warning(
            "A process ended and is started again",
            action="supervisor.restart",
            process=child.name,
            ending=_ending(status),
            delay=delay,
            log=str(child.log or "above"),
        )

    def _pause(self, timeout: float) -> None:
        """Sleep up to `timeout` seconds, less if a child ends.

        :raises StopAsked: on a signal that asks for the end.
        """
        got = signal.sigtimedwait(self._signals, timeout)
        if got and got.si_signo != signal.SIGCHLD:
            raise StopAsked(signal.strsignal(got.si_signo) or "a signal")

    def _stop(self) -> None:
        hasty = False
        for stage in self.stages:
            for child in stage.children:
                child.signal(signal.SIGTERM)
            hasty = self._drained(stage, hasty=hasty)
            for child in stage.children:
                if child.pid and child.ended() is None:
                    log.warning("A process did not stop in time and was killed", action="supervisor.kill", process=child.name)
                child.sweep()

    def _drained(self, stage: Stage, *, hasty: bool) -> bool:
        """Wait for the stage to end, or its time to pass; True from the moment on when somebody asks for haste."""
        asked_at = time.monotonic()
        while any(child.pid and child.ended() is None for child in stage.children):
            if time.monotonic() - asked_at >= (stage.hasty if hasty else stage.grace):
                break
            try:
                self._pause(0.05)
            except StopAsked:
                hasty = True
        return hasty

    def _where(self) -> str:
        logs = [str(watched.child.log.parent) for watched in self._watched if watched.child.log]
        return f"; its log is in {logs[0]}" if logs else ""


def _ending(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def _said(child: Child) -> str:
    words = child.last_words()
    return f": {words.removeprefix('replymill: ')} (log: {child.log})" if words else ""
