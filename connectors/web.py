"""The web process: doors of the platforms, the chat page, the state of messages, health and figures.

It imports nothing of the model, starts while Redis is away, and takes no message that is not durable before it says so.
"""

import asyncio
import resource
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from connectors import page
from connectors.auth import CHALLENGE, ApiKeys
from connectors.chat import Chat
from connectors.crowd import Crowd
from connectors.doors import Doors
from connectors.figures import CONTENT_TYPE, Figures, shared_text
from connectors.guard import Guard, answer, explain, problem
from connectors.haste import HastyProtocol
from connectors.intake import Intake
from connectors.link import Link, mismatch
from connectors.lookup import Lookup
from connectors.messages import show
from connectors.platforms import table
from connectors.stream import Hub
from connectors.traces import Traces
from engine.errors import NoSuchMessage, RejectedRequest, StartError, StoreUnavailable
from engine.lanes import Lanes
from engine.settings import Settings
from engine.telemetry import telemetry

log = structlog.get_logger()

#: Connections beyond which uvicorn answers 503 by itself.
MOST_CONNECTIONS = 4096
#: Connections waiting to be taken up.
BACKLOG = 2048
#: Idle connections of callers are kept this long, seconds.
KEEP_ALIVE = 30


class Web:
    """What one web process holds, and its routes."""

    def __init__(self, settings: Settings) -> None:
        """:raises SettingsError: a platform's settings cannot be used."""
        self.settings = settings
        telemetry(settings)  # refused here, not at the first message
        self.lanes = Lanes(settings)
        self.link = Link(settings)
        self.crowd = Crowd(self.lanes)
        self.hub = Hub(self.link)
        self.figures = Figures()
        self.keys = ApiKeys(settings.api_keys)
        self.platforms = table(settings, None)
        self.chat = Chat(settings, self.platforms[page.NAME], link=self.link, hub=self.hub, intake=self.intake)
        self.traces = Traces(self.keys, self.lookup, self.chat.check_host)
        self.doors = Doors(self.platforms, self.intake, self.figures)
        self.tasks: list[asyncio.Task[None]] = []

    def intake(self) -> Intake:
        """:raises StoreUnavailable: while there is no connection to Redis."""
        return Intake(self.settings, self.lanes, self.link.client, self.crowd)

    def lookup(self) -> Lookup:
        """:raises StoreUnavailable: while there is no connection to Redis."""
        return Lookup(self.settings, self.lanes, self.link.client, self.platforms)

    def routes(self) -> list[BaseRoute]:
        return [
            *self.doors.routes(),
            *self.chat.routes(self.figures),
            *self.traces.routes(),
            Route("/v1/messages/{id}", self.message),
            Route("/healthz", self.healthz),
            Route("/readyz", self.readyz),
            Route("/metrics", self.metrics),
        ]

    async def message(self, request: Request) -> Response:
        """State, reply and timings of one message."""
        try:
            self.keys.check(request.headers.get("authorization", ""))
        except RejectedRequest as error:
            return problem(error.status, str(error), headers=CHALLENGE)
        message_id = request.path_params["id"]
        try:
            look = self.lanes.look(message_id)
        except ValueError as error:
            raise NoSuchMessage("there is no message with this id") from error
        found = await look.run_async(self.link.client)
        if found.state == "unknown":
            raise NoSuchMessage("there is no message with this id, or it was forgotten long ago")
        return answer(show(message_id, found))

    async def healthz(self, _: Request) -> Response:
        """Whether the process lives: a background task that has died is a reason to restart it."""
        if any(died(task) for task in self.tasks):
            return problem(503, "a part of this process has died: restart it")
        return answer({"status": "alive"})

    async def readyz(self, _: Request) -> Response:
        """Whether it can take messages now."""
        try:
            await self.link.check()
        except StoreUnavailable as error:
            return explain(error)
        return answer({"status": "ready"})

    async def metrics(self, _: Request) -> Response:
        """Figures for Prometheus; what Redis knows is left out while it is away."""
        self.figures.tabs(self.hub.open)
        try:
            shared = await shared_text(self.lanes, self.link.client)
            self.figures.redis(up=True)
        except StoreUnavailable:
            shared = b""
            self.figures.redis(up=False)
        return Response(self.figures.text() + shared, media_type=CONTENT_TYPE)

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self.tasks = [
            asyncio.create_task(self.link.connect(), name="connect"),
            asyncio.create_task(self.link.watch(), name="watch"),
            asyncio.create_task(self.hub.listen(), name="listen"),
            *self.doors.listeners(),
        ]
        for task in self.tasks:
            task.add_done_callback(_report)
        yield
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for platform in self.platforms.values():
            await platform.close()
        await self.crowd.close()
        await self.link.close()


class Server(uvicorn.Server):
    """Uvicorn, which ends the event streams before it waits for open connections."""

    def __init__(self, web: Web) -> None:
        settings = web.settings
        super().__init__(
            uvicorn.Config(
                starlette(web),
                host=settings.host,
                port=settings.port,
                loop="uvloop",
                http=HastyProtocol,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=MOST_CONNECTIONS,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=max(1, round(settings.drain_timeout)),
            )
        )
        self.web = web

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        log.info("the web process listens", action="web.started", host=self.web.settings.host, port=self.web.settings.port)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.web.hub.close()
        await super().shutdown(sockets)
        log.info("the web process has stopped", action="web.stopped")


def died(task: asyncio.Task[None]) -> bool:
    """Whether a background task has ended by an error."""
    return task.done() and not task.cancelled() and task.exception() is not None


def _report(task: asyncio.Task[None]) -> None:
    if died(task):
        log.error("a part of the web process has died", action="web.task_died", task=task.get_name(), exc_info=task.exception())


def starlette(web: Web) -> Starlette:
    """The routes of `web` inside their guard."""
    made = Starlette(
        routes=web.routes(),
        middleware=[Middleware(Guard, limit=web.settings.max_body, figures=web.figures)],
        exception_handlers={HTTPException: _explained},
        lifespan=web.lifespan,
    )
    # A redirect would go to whatever host the caller names.
    made.router.redirect_slashes = False
    return made


async def _explained(_: Request, error: Exception) -> Response:
    return explain(error)


def app(settings: Settings) -> Starlette:
    """The web process as an ASGI application.

    :raises SettingsError: a platform's settings cannot be used.
    """
    return starlette(Web(settings))


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is open and return.

    :raises SettingsError: a platform's settings cannot be used.
    :raises StartError: the address cannot be listened on.
    :raises StoreMismatch: Redis belongs to another Replymill.
    :raises StoreUnsafe: it cannot do what `REPLYMILL_DURABILITY` asks for.
    """
    server = Server(Web(settings))
    listener = listen(settings.host, settings.port)
    if found := mismatch(settings):
        listener.close()
        raise found
    _allow_connections()
    with _survived_signals():
        server.run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    :raises StartError: saying what to do.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StartError(
            f"cannot listen on {host}:{port} ({reason}): stop what uses it, or set REPLYMILL_HOST or REPLYMILL_PORT"
        ) from error


def _allow_connections() -> None:
    """Each connection is an open file, and the usual soft limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MOST_CONNECTIONS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


@contextmanager
def _survived_signals() -> Iterator[None]:
    """Uvicorn raises the signal that ended it once more when it is done; here it must not end the process."""

    def ignore(_number: int, _frame: Any) -> None:
        return

    previous = {number: signal.signal(number, ignore) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
