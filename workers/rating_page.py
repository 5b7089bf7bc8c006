"""Rating on a page of this machine: served on the loopback alone, to whoever has the token in its address."""

import hmac
import secrets
import socket
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.errors import EvaluationError, StartError
from engine.rating import MOST_NOTE, Session, Shown

HOST = "127.0.0.1"
#: Most bytes of a judgement: a note in any script, and its escapes.
MOST_BODY = MOST_NOTE * 12 + 1000
_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


class _Judged(msgspec.Struct):
    """What the page sends."""

    item: str
    side: str
    note: str = ""
    seconds: float = 0.0


class RatingPage:
    """The page of one rater."""

    def __init__(self, session: Session) -> None:
        self.session = session
        #: Whoever knows it may rate; 32 random bytes.
        self.token = secrets.token_urlsafe(32)
        ours, chat = files("workers") / "pages", files("connectors") / "pages"
        names = {"": ours / "rate.html", "rate.css": ours / "rate.css", "rate.js": ours / "rate.js"}
        names |= {name: chat / name for name in ("palette.css", "icon.svg")}
        self._files = {name: (file.read_bytes(), _TYPES[file.name.rpartition(".")[2]]) for name, file in names.items()}

    def app(self) -> Starlette:
        """The application; every path begins with the token."""
        return Starlette(
            routes=[
                Route("/{token}/next", self._next),
                Route("/{token}/judge", self._judge, methods=["POST"]),
                Route("/{token}/undo", self._undo, methods=["POST"]),
                Route("/{token}/{name:path}", self._file),
            ]
        )

    async def _file(self, request: Request) -> Response:
        self._check(request)
        found = self._files.get(request.path_params["name"])
        if not found:
            raise HTTPException(404)
        return Response(found[0], media_type=found[1], headers=_HEADERS)

    async def _next(self, request: Request) -> Response:
        self._check(request)
        return self._state(self.session.next)

    async def _judge(self, request: Request) -> Response:
        self._check(request)
        said = await _body(request)
        one = self.session.find(said.item)
        if not one:
            raise HTTPException(404, "no such pair")
        try:
            self.session.judge(one, said.side, note=said.note, seconds=said.seconds)
        except EvaluationError as error:
            raise HTTPException(400, str(error)) from error
        return self._state(self.session.next)

    async def _undo(self, request: Request) -> Response:
        self._check(request)
        return self._state(self.session.undo() or self.session.next)

    def _state(self, one: Shown | None) -> Response:
        """The pair to judge, without a word of who said what."""
        done, total = self.session.progress
        pair: dict[str, Any] = {}
        if one:
            pair = {"item": one.pair.id, "question": one.pair.question, "left": one.left, "right": one.right}
        return JSONResponse({"done": done, "total": total, **pair}, headers=_HEADERS)

    def _check(self, request: Request) -> None:
        """A page that was made to resolve to this machine has another host; a stranger has no token."""
        host = request.headers.get("host", "").rpartition(":")[0]
        known = hmac.compare_digest(request.path_params["token"].encode(), self.token.encode())
        if host not in (HOST, "localhost") or not known:
            raise HTTPException(404)


async def _body(request: Request) -> _Judged:
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MOST_BODY:
            raise HTTPException(413, f"a judgement has at most {MOST_BODY} bytes")
    try:
        return msgspec.json.decode(raw, type=_Judged)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise HTTPException(400, "no judgement") from error


def serve(session: Session, *, port: int = 0, tell: Callable[[str], None]) -> None:
    """Serve until Ctrl-C; `tell` is called with the address.

    :raises StartError: if the port is in use.
    """
    page = RatingPage(session)
    try:
        listening = socket.create_server((HOST, port))
    except OSError as error:
        raise StartError(f"cannot listen on port {port} ({error.strerror}): choose another with --port") from error
    tell(f"http://{HOST}:{listening.getsockname()[1]}/{page.token}/")
    config = uvicorn.Config(page.app(), log_config=None, access_log=False, server_header=False)
    with listening:
        uvicorn.Server(config).run(sockets=[listening])
