"""`replymill up`: starts Redis, web, answering, delivery and jobs, restarts what crashes, and stops them in order.

What a signal or a dead child asks for is taken up between two steps of one loop (`_pause`), so there are no handlers and no races.
"""

import http.client
import math
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

import structlog

from engine.errors import StartError
from engine.settings import Settings
from workers import embedded, home
from workers.processes import Child

log = structlog.get_logger(__name__)

#: The processes of a whole Replymill beside Redis, in the order in which they are started and stopped.
ROLES = ("web", "answer", "deliver", "jobs")

#: Exit status of a process that no restart can help: wrong usage or settings.
UNUSABLE = 2

#: Seconds after which a process counts as healthy, and its next crash as its first.
STEADY = 60.0

#: Crashes of one process before everything is up that end the start.
START_FAILURES = 3

#: Seconds the web process may take to be ready.
READY_TIMEOUT = 120.0

#: Seconds on top of `drain_timeout`, which the child counts for itself.
DRAIN_MARGIN = 2.0

#: Seconds a hastened Redis gets to flush its file.
HASTY_REDIS = 5.0


class StopAsked(Exception):  # noqa: N818 - control flow, not a fault
    """A person or the system asked for the end."""


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
        # A signal ignored from the start (`nohup`) stays ignored.
        stops = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
        self._signals = {number for number in stops if signal.getsignal(number) is not signal.SIG_IGN} | {signal.SIGCHLD}

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


def up(settings: Settings, *, prepare: Callable[[Settings], None], verbose: bool = False) -> None:
    """Run everything until a signal asks for the end; `prepare` fetches and converts the model.

    :raises StartError: port in use, folder not writable, another Replymill on the folder, or a process cannot run.
    """
    # Until the crew takes signals up, an end asked for by the system unwinds like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    check_port(settings.host, settings.port)
    logs = home.private_folder(home.private_folder(settings.data_dir) / "logs")
    with ExitStack() as stack:
        redis = None
        if not settings.redis_url:
            redis = embedded.EmbeddedRedis(settings.data_dir / "redis", log=logs / "redis.log")
            stack.callback(redis.close)
        prepare(settings)
        to_files = sys.stderr.isatty() and not verbose
        roles = {role: _role(role, settings, log=logs / f"{role}.log" if to_files else None) for role in ROLES}
        run(settings, roles, redis)


def _role(role: str, settings: Settings, *, log: Path | None) -> Child:
    return Child(role, [sys.executable, "-P", "-m", "workers.cli", role], environ=settings.to_environ(), log=log)


def run(settings: Settings, roles: Mapping[str, Child], redis: embedded.EmbeddedRedis | None) -> None:
    """Run the roles, and Redis before and after them, until a signal asks for the end.

    :raises StartError: one of them cannot run.
    """
    grace = settings.drain_timeout + DRAIN_MARGIN
    stages = [Stage([roles["web"]], grace), Stage([roles["answer"]], grace), Stage([roles["deliver"], roles["jobs"]], grace)]
    if redis:
        stages.append(Stage([redis.child], embedded.STOP_TIMEOUT, HASTY_REDIS))
    try:
        with home.announced(settings.data_dir, redis.url) if redis else nullcontext(), Crew(stages) as crew:
            if redis:
                crew.start(redis.child)
                crew.until(redis.answers, "Redis", timeout=embedded.LOAD_TIMEOUT)
            for child in roles.values():
                crew.start(child)
            crew.until(lambda: ready(settings), "the web process", timeout=READY_TIMEOUT)
            print(f"Replymill answers at {address(settings)} (Ctrl-C stops it)", flush=True)
            crew.watch()
    except StopAsked as asked:
        log.info("Everything has stopped", action="supervisor.stopped", reason=str(asked))


def check_port(host: str, port: int) -> None:
    """Nothing, if the web process can listen there.

    :raises StartError: saying why not and what to do.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise StartError(f"REPLYMILL_HOST {host!r} is no address: {error.strerror}") from error
    for family, kind, protocol, _, place in found:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(place)
                probe.listen(1)
            except OSError as error:
                raise StartError(
                    f"cannot listen on port {port} of {host} ({error.strerror}): stop what uses it, "
                    "or set REPLYMILL_PORT (and REPLYMILL_HOST) to another"
                ) from error


def address(settings: Settings) -> str:
    """Where a person on this machine finds the chat page."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}/"


def ready(settings: Settings) -> bool:
    """True when the web process says that it can take messages."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared, not bound
    connection = http.client.HTTPConnection(host, settings.port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
