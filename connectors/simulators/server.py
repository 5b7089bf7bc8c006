"""What every simulated platform is: an HTTP server in a thread, which keeps what was asked of it and goes wrong as it is told."""

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with one request."""

    #: The answer instead of the platform's own; 0: none.
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    #: Text is sent as it is, anything else as JSON.
    body: Any = ""
    #: The request takes effect first; then comes the fault.
    after_effect: bool = False
    #: The connection is dropped without an answer.
    drop: bool = False
    #: Seconds before anything happens.
    delay: float = 0.0


@dataclass(frozen=True)
class Call:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    #: Of JSON or a form; `raw` where it is neither.
    body: Any
    raw: bytes
    query: dict[str, str]
    #: By `time.monotonic`.
    at: float


class Simulator:
    """One platform on a free port of 127.0.0.1; subclasses add its routes and what they answer."""

    def __init__(self) -> None:
        #: Every request, in order, those that went wrong too.
        self.calls: list[Call] = []
        #: For the next requests whose path ends so, in order; `None` serves one well.
        self._faults: list[tuple[str, deque[Fault | None]]] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def routes(self) -> Sequence[web.RouteDef]:
        """The platform's own routes."""
        raise NotImplementedError

    def go_wrong(self, path: str, *faults: Fault | None) -> None:
        """What becomes of the next requests whose path ends with `path`."""
        self._faults.append((path, deque(faults)))

    def to(self, path: str) -> list[Call]:
        """The requests whose path ends so."""
        return [call for call in self.calls if call.path.endswith(path)]

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        application = web.Application(middlewares=[self._guard], client_max_size=64 * 1024 * 1024)
        application.add_routes(self.routes())
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        self._loop.run_until_complete(self._start(runner))
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _start(self, runner: web.AppRunner) -> None:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        self._started.set()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.calls.append(await _read(request, self._loop.time()))
        fault = self._fault(request.path)
        if fault is None:
            response: web.StreamResponse = await handler(request)
            return response
        await asyncio.sleep(fault.delay)
        answer: web.StreamResponse | None = None
        if fault.after_effect or not (fault.status or fault.drop):
            answer = await handler(request)
        if fault.drop and request.transport:
            request.transport.abort()
        if answer is not None and not fault.status:
            return answer
        if isinstance(fault.body, str):
            return web.Response(status=fault.status or 500, headers=fault.headers, text=fault.body)
        return web.json_response(fault.body, status=fault.status, headers=fault.headers)

    def _fault(self, path: str) -> Fault | None:
        for ending, faults in self._faults:
            if path.endswith(ending) and faults:
                return faults.popleft()
        return None


async def _read(request: web.Request, at: float) -> Call:
    raw = await request.read()
    kind = request.content_type
    if kind == "application/json":
        body: Any = await request.json() if raw else {}
    elif kind.startswith(("application/x-www-form-urlencoded", "multipart/")):
        body = dict(await request.post())
    else:
        body = raw
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Call(request.method, request.path, headers, body, raw, dict(request.query), at)
