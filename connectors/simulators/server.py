"""What every simulated platform is: an HTTP server in a thread, which keeps what was asked of it and goes wrong as it is told."""

import asyncio
import json
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

#: The files of a form, in its request.
_UPLOADS: web.RequestKey[list[Any]] = web.RequestKey("uploads", list)


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
    #: It is dropped in the midst of the answer; the status has come.
    cut: bool = False
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
    #: Empty for a form of several parts.
    raw: bytes
    query: dict[str, str]
    #: By `time.monotonic`.
    at: float


@dataclass(frozen=True)
class Stored:
    """A file that a platform keeps."""

    content: bytes
    mime: str = "application/octet-stream"
    #: Name and value of the header that opens it; empty: anybody may have it.
    opened_by: tuple[str, str] = ("", "")
    #: Where it says the file is instead.
    moved_to: str = ""


class Simulator:
    """One platform on a free port of 127.0.0.1; subclasses add its routes and what they answer."""

    def __init__(self) -> None:
        #: Every request, in order, those that went wrong too.
        self.calls: list[Call] = []
        #: By path; whatever the platform is, it gives them to GET.
        self.files: dict[str, Stored] = {}
        #: For the next requests whose path ends so, in order; `None` serves one well.
        self._faults: list[tuple[str, deque[Fault | None]]] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def routes(self) -> Sequence[web.RouteDef]:
        """The platform's own routes."""
        raise NotImplementedError

    def keep(self, path: str, content: bytes, **how: Any) -> str:
        """Keep a file; its address."""
        self.files[path] = Stored(content, **how)
        return self.url + path

    def go_wrong(self, path: str, *faults: Fault | None) -> None:
        """What becomes of the next requests whose path ends with `path`."""
        self._faults.append((path, deque(faults)))

    def took_effect(self, message: dict[str, Any]) -> None:
        """Called when the platform has one more message of the bot, or another text of one; for subclasses that keep when."""

    def to(self, path: str) -> list[Call]:
        """The requests whose path ends so."""
        return [call for call in self.calls if call.path.endswith(path)]

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._started.wait(10):
            raise RuntimeError(f"{type(self).__name__} does not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)
        if self._thread.is_alive():
            raise RuntimeError(f"{type(self).__name__} does not end")

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        application = web.Application(middlewares=[self._guard], client_max_size=64 * 1024 * 1024)
        application.add_routes([*self.routes(), web.get("/{path:.*}", self._file)])
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        self._started.set()
        await self._over.wait()
        await runner.cleanup()
        # Requests whose client has gone may still wait for their time.
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        file = self.files.get(request.path)
        if file is None:
            raise web.HTTPNotFound
        name, value = file.opened_by
        if name and request.headers.get(name) != value:
            raise web.HTTPUnauthorized
        if file.moved_to:
            raise web.HTTPFound(file.moved_to)
        return web.Response(body=file.content, content_type=file.mime)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.calls.append(await _read(request, self._loop.time()))
        try:
            return await self._answer_to(request, handler)
        finally:
            for file in request.get(_UPLOADS, ()):
                file.close()

    async def _answer_to(self, request: web.Request, handler: Any) -> web.StreamResponse:
        fault = self._fault(request.path)
        if fault is None:
            response: web.StreamResponse = await handler(request)
            return response
        await asyncio.sleep(fault.delay)
        answer: web.StreamResponse | None = None
        if fault.after_effect or not (fault.status or fault.drop or fault.cut):
            answer = await handler(request)
        if fault.drop:
            _hang_up(request)
        if answer is not None and not fault.status and not fault.cut:
            return answer
        return await _cut(request, fault) if fault.cut else _instead(fault)

    def _fault(self, path: str) -> Fault | None:
        for ending, faults in self._faults:
            if path.endswith(ending) and faults:
                return faults.popleft()
        return None


def _instead(fault: Fault) -> web.Response:
    """The answer that a fault gives."""
    status = fault.status or 500
    if isinstance(fault.body, str):
        return web.Response(status=status, headers=fault.headers, text=fault.body)
    return web.Response(
        status=status, headers={"content-type": "application/json"} | fault.headers, body=json.dumps(fault.body).encode()
    )


async def _cut(request: web.Request, fault: Fault) -> web.StreamResponse:
    """An answer that promises more than it brings."""
    answer = web.StreamResponse(status=fault.status or 200, headers={"content-length": "1000"} | fault.headers)
    await answer.prepare(request)
    await answer.write(b"{")
    if request.transport:
        # What was written goes out first; only then comes the end.
        request.transport.close()
    return answer


def _hang_up(request: web.Request) -> None:
    if request.transport:
        request.transport.abort()


async def _read(request: web.Request, at: float) -> Call:
    kind = request.content_type
    body: Any = await _form(request) if kind.startswith(("application/x-www-form-urlencoded", "multipart/")) else None
    raw = await request.read()
    if body is None:
        body = _json(raw) if kind == "application/json" else raw
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Call(request.method, request.path, headers, body, raw, dict(request.query), at)


async def _form(request: web.Request) -> dict[str, Any]:
    """The fields of a form; a file is its bytes."""
    form = await request.post()
    request[_UPLOADS] = [value.file for value in form.values() if isinstance(value, web.FileField)]
    return {name: value.file.read() if isinstance(value, web.FileField) else value for name, value in form.items()}


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else {}
    except ValueError:  # the call is kept as it came; what the platform says to it is the platform's affair
        return raw
