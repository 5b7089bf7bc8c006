"""Around every request: bounds on its body, one shape of error, security headers, and the figures of it.

Raw ASGI, so that a body over the limit is refused before the rest of it is read, and a message costs little beyond its move.
"""

import asyncio
import time

import msgspec
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from connectors import arrival
from connectors.figures import Figures
from engine.errors import BodyTooLarge, MalformedRequest, Overloaded, RequestError, StoreError, UnsupportedEncoding

log = structlog.get_logger()

#: A body must be complete within this time, seconds.
BODY_TIMEOUT = 30.0
#: What a caller is asked to wait after 429 and 503, seconds.
RETRY_AFTER = "5"

_NO_SNIFF = (b"x-content-type-options", b"nosniff")


def answer(content: object, status: int = 200, *, headers: dict[str, str] | None = None) -> Response:
    """A JSON response."""
    body = msgspec.json.encode(content)
    return Response(body, status, {"cache-control": "no-store", **(headers or {})}, media_type="application/json")


def problem(status: int, message: str, *, headers: dict[str, str] | None = None) -> Response:
    """An error, in the one shape all errors have."""
    return answer({"error": {"status": status, "message": message}}, status, headers=headers)


def explain(error: Exception, *, away: int = 503) -> Response:
    """What a caller is told of an error: the fault if it is theirs, and nothing of our insides if it is ours.

    `away` is the status that makes this caller come back later; some platforms know but one.
    """
    match error:
        case Overloaded():
            status = error.status if away == 503 else away
            return problem(status, str(error), headers={"retry-after": RETRY_AFTER})
        case RequestError():
            return problem(error.status, str(error))
        case HTTPException():
            return problem(error.status_code, error.detail, headers=dict(error.headers or {}))
        case StoreError():
            message = "the message store cannot be reached; nothing was taken, try again in some seconds"
            return problem(away, message, headers={"retry-after": RETRY_AFTER})
        case _:
            return problem(500, "something unexpected happened here; it was logged")


class Guard:
    """Starlette middleware, the only one."""

    def __init__(self, app: ASGIApp, *, limit: int, figures: Figures) -> None:
        self.app = app
        self.limit = limit
        self.figures = figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = time.perf_counter()
        arrival.begin(begun, scope["headers"])
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], _NO_SNIFF]
            await send(message)

        try:
            check_headers(scope, self.limit)
            await self.app(scope, Bounded(receive, self.limit), sending)
        except ClientDisconnect:
            status = status or 499
        except Exception as error:  # the boundary of one request: whatever went wrong, the caller gets an answer
            if not isinstance(error, RequestError | StoreError | HTTPException):
                log.exception("a request failed unexpectedly", action="web.failed", route=_route(scope))
            if status == 0:
                await explain(error)(scope, receive, sending)
        self.figures.requested(_route(scope), status, time.perf_counter() - begun)


class Bounded:
    """An ASGI `receive` that ends a body which is too long or too slow."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._size = 0
        self._complete = False
        self._give_up = 0.0

    async def __call__(self) -> Message:
        if self._complete:
            return await self._receive()
        loop = asyncio.get_running_loop()
        self._give_up = self._give_up or loop.time() + BODY_TIMEOUT
        try:
            async with asyncio.timeout_at(self._give_up):
                message = await self._receive()
        except TimeoutError as error:
            raise MalformedRequest(f"the body did not arrive within {BODY_TIMEOUT:g} s") from error
        self._size += len(message.get("body", b""))
        if self._size > self._limit:
            raise too_large(self._limit)
        self._complete = not message.get("more_body", False)
        return message


def check_headers(scope: Scope, limit: int) -> None:
    """Refuse by its headers a body that is too large, or compressed.

    :raises BodyTooLarge:
    :raises UnsupportedEncoding:
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and not (value.isdigit() and len(value) < 20 and int(value) <= limit):
            raise too_large(limit)
        if name == b"content-encoding" and value.strip().lower() not in {b"", b"identity"}:
            raise UnsupportedEncoding("the body must not be compressed: leave out Content-Encoding")


def too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than {limit} bytes")


def _route(scope: Scope) -> str:
    """The name of the endpoint, never the path: that would make as many counters as there are paths."""
    return getattr(scope.get("endpoint"), "__name__", "none")
