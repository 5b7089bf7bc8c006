"""The page of one trace, for operators: static, without a script, readable without a style."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from html import escape
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from connectors import story
from connectors.auth import CHALLENGE, PAGE_CHALLENGE, ApiKeys
from connectors.chat import SECURITY
from connectors.guard import answer, problem
from connectors.lookup import Lookup
from connectors.story import Moment
from engine.errors import DeliveryError, NoSuchMessage, RejectedRequest
from engine.trail import Trail

#: As on the chat page, and no script at all; its form asks this server.
_SECURITY = SECURITY | {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "cache-control": "no-store",
}


class Traces:
    """Traces of one web process; a host name that is not ours is refused as on the chat page."""

    def __init__(self, keys: ApiKeys, lookup: Callable[[], Lookup], check_host: Callable[[Request], None]) -> None:
        self._keys = keys
        self._lookup = lookup
        self._check_host = check_host

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/trace", self.ask),
            Route("/trace/{asked:path}", self.page),
            Route("/v1/traces/{asked:path}", self.data),
        ]

    async def ask(self, request: Request) -> Response:
        """The page without a trace; what is asked for by its form has a page of its own."""
        if refused := self._refused(request):
            return refused
        asked = request.query_params.get("of", "").strip()
        if asked:
            return RedirectResponse(f"/trace/{quote(asked, safe=':/')}", 303, headers=_SECURITY)
        return _html(_document("Trace", ""))

    async def page(self, request: Request) -> Response:
        """One message moment by moment, or the messages of a conversation."""
        if refused := self._refused(request):
            return refused
        asked = request.path_params["asked"]
        # The query of a link that stands in ours as it was copied.
        asked = f"{asked}?{request.url.query}" if request.url.query else asked
        try:
            trail, models = await self._found(asked)
        except (NoSuchMessage, DeliveryError) as error:
            return _html(_document(asked, f'<p class="none">{escape(str(error))}</p>', asked=asked), status=404)
        return _html(_document(trail.id or trail.ref, _one(trail, models) if trail.id else _many(trail), asked=asked))

    async def data(self, request: Request) -> Response:
        """The same as JSON, for programs."""
        try:
            self._keys.check(request.headers.get("authorization", ""))
        except RejectedRequest as error:
            return problem(error.status, str(error), headers=CHALLENGE)
        trail, models = await self._found(request.path_params["asked"])
        return answer(told(trail, models))

    def _refused(self, request: Request) -> Response | None:
        self._check_host(request)
        try:
            self._keys.check_page(request.headers.get("authorization", ""))
        except RejectedRequest:
            return Response("This needs an API key.\n", 401, {**_SECURITY, **PAGE_CHALLENGE}, media_type="text/plain")
        return None

    async def _found(self, asked: str) -> tuple[Trail, Mapping[int, str]]:
        lookup = self._lookup()
        # A server in front may have made one slash of two.
        trail = await lookup.find(re.sub(r"^(https?):/+", r"\1://", asked))
        return trail, await lookup.models()


def told(trail: Trail, models: Mapping[int, str]) -> dict[str, object]:
    """A trace for programs: of one message, or of a conversation the messages in the order of their latest event."""
    if trail.id:
        return story.summary(trail, models)
    of = [story.summary(trail.about(name), models) for name in trail.messages]
    return {"conversation": trail.ref, "owner": trail.owner, "messages": of}


def _one(trail: Trail, models: Mapping[int, str]) -> str:
    rows = story.moments(trail, models)
    first = rows[0].at if rows else 0
    facts = (
        f'<p class="facts">Conversation <a href="/trace/{escape(trail.ref)}">{escape(trail.ref)}</a>, owned by {trail.owner}.</p>'
    )
    return facts + _table([_row(moment, first) for moment in rows])


def _many(trail: Trail) -> str:
    """The newest first."""
    rows = []
    for name in reversed(trail.messages):
        about = trail.about(name)
        last = about.events[-1] if about.events else None
        when, what = (_clock(last.at), last.name) if last else (_clock(about.waiting[0].received_at), "waiting")
        link = f'<a href="/trace/{escape(trail.ref)}/{escape(name)}">{escape(name)}</a>'
        rows.append(f"<tr><td>{when}</td><td>{link}</td><td>{escape(what)}</td><td></td></tr>")
    return f'<p class="facts">Owned by {escape(trail.owner)}; its latest messages first.</p>' + _table(rows)


def _row(moment: Moment, first: float) -> str:
    since = f"+{moment.at - first:.0f} ms"
    return f"<tr><td>{_clock(moment.at)}</td><td>{since}</td><td>{escape(moment.what)}</td><td>{escape(moment.detail)}</td></tr>"


def _table(rows: list[str]) -> str:
    return f'<div class="scroll"><table><tbody>{"".join(rows)}</tbody></table></div>'


def _clock(ms: float) -> str:
    at = datetime.fromtimestamp(ms / 1000, UTC)
    return f'<time datetime="{at.isoformat()}">{at:%d %b %H:%M:%S}.{at.microsecond // 1000:03d}</time>'


def _document(title: str, body: str, *, asked: str = "") -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)} - Replymill</title>"
        '<link rel="icon" href="/static/icon.svg" type="image/svg+xml"><link rel="stylesheet" href="/static/palette.css">'
        '<link rel="stylesheet" href="/static/trace.css"></head>'
        '<body><header><img src="/static/icon.svg" alt="" width="32" height="32"><h1>Trace</h1></header><main>'
        '<form action="/trace" method="get"><label for="of">A message id, a link to a message, or a conversation</label>'
        f'<div><input id="of" name="of" value="{escape(asked)}" autocomplete="off" spellcheck="false">'
        "<button>Show</button></div></form>"
        f'{body}<p class="facts">Times are UTC, by Redis\'s clock.</p></main></body></html>'
    )


def _html(text: str, *, status: int = 200) -> Response:
    return Response(text, status, _SECURITY, media_type="text/html")
