"""`replymill up`: starts Redis, web, answering, delivery and jobs on this machine, keeps them running, and stops them in order."""

import http.client
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from pathlib import Path

import structlog

from engine import durability, roster
from engine.errors import StartError, StoreUnavailable
from engine.settings import Settings
from engine.store import connect
from workers import embedded, home
from workers.crew import Crew, Stage, StopAsked
from workers.processes import Child

log = structlog.get_logger(__name__)

#: The processes of a whole Replymill beside Redis, in the order in which they are started and stopped.
ROLES = ("web", "answer", "deliver", "jobs")

#: Seconds until everything must be up; loading a large model is most of it.
READY_TIMEOUT = 300.0

#: Seconds on top of `drain_timeout`, which the child counts for itself.
DRAIN_MARGIN = 10.0

#: Seconds a hastened Redis gets to flush its file.
HASTY_REDIS = 5.0


def up(settings: Settings, *, prepare: Callable[[Settings], None], verbose: bool = False) -> None:
    """Run everything until a signal asks for the end; `prepare` fetches and converts the model.

    :raises StartError: port in use, folder not writable, another Replymill on the folder, or a process cannot run.
    :raises StoreUnavailable: the Redis of the settings does not answer, or is not as durable as they ask for.
    """
    # Until the crew takes signals up, an end asked for by the system unwinds like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    check_port(settings.host, settings.port)
    logs = home.private_folder(home.private_folder(settings.data_dir) / "logs")
    with ExitStack() as stack:
        redis = None
        if not settings.redis_url:
            redis = embedded.EmbeddedRedis(settings.data_dir / "redis", log=logs / "redis.log", durability=settings.durability)
            stack.callback(redis.close)
        else:
            with connect(settings) as client:
                durability.require(client, settings)
        prepare(settings)
        to_files = sys.stderr.isatty() and not verbose
        roles = {role: _role(role, settings, log=logs / f"{role}.log" if to_files else None) for role in ROLES}
        sample = _role("kb sample", settings, log=logs / "sample.log") if settings.sample_kb else None
        run(settings, roles, redis, is_up=lambda: ready(settings) and working(settings, roles), then=sample)


def _role(role: str, settings: Settings, *, log: Path | None) -> Child:
    return Child(role, [sys.executable, "-P", "-m", "workers.cli", *role.split()], environ=settings.to_environ(), log=log)


def run(
    settings: Settings,
    roles: Mapping[str, Child],
    redis: embedded.EmbeddedRedis | None,
    *,
    is_up: Callable[[], bool],
    then: Child | None = None,
) -> None:
    """Run the roles, and Redis before and after them, until a signal asks for the end; say the address once `is_up`.

    `then` is run once, beside them, when everything is up; nobody waits for it.

    :raises StartError: one of them cannot run.
    """
    grace = settings.drain_timeout + DRAIN_MARGIN
    first = [roles["web"], *([then] if then else [])]
    stages = [Stage(first, grace), Stage([roles["answer"]], grace), Stage([roles["deliver"], roles["jobs"]], grace)]
    if redis:
        stages.append(Stage([redis.child], embedded.STOP_TIMEOUT, HASTY_REDIS))
    try:
        with home.announced(settings.data_dir, redis.url) if redis else nullcontext(), Crew(stages) as crew:
            if redis:
                crew.start(redis.child)
                crew.until(redis.answers, "Redis", timeout=embedded.LOAD_TIMEOUT)
            for role in ROLES[:-1]:
                crew.start(roles[role])
            crew.until(is_up, "Replymill", timeout=READY_TIMEOUT)
            # Nobody waits for the jobs, and a start is short of processor time.
            crew.start(roles[ROLES[-1]])
            print(f"Replymill answers at {address(settings)} (Ctrl-C stops it)", flush=True)
            if then:
                then.spawn()
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


def working(settings: Settings, roles: Mapping[str, Child]) -> bool:
    """True when the answering and the delivery worker among `roles` have reported in Redis that their loops run."""
    try:
        with connect(home.complete(settings)) as client:
            found = {int(worker["pid"]) for worker in roster.read(client)}
    except StoreUnavailable:
        return False
    return {roles["answer"].pid, roles["deliver"].pid} <= found
