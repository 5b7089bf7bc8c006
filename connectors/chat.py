"""Routes of the chat page: the page itself, the messages typed into it, and the event stream of each tab.

Who a tab is, its session, follows from the browser's cookie and an id that the tab has made itself. Only our own page, under a host
name that is ours, may use it: a foreign page is told by its `Origin`, a name bent to our address (DNS rebinding) by its `Host`.
"""

import hashlib
import re
import secrets
from collections.abc import Callable
from importlib.resources import files
from ipaddress import ip_address
from urllib.parse import urlsplit

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from connectors import journal, page, wishes
from connectors.bodies import answerable, read_as, read_object
from connectors.contract import HandOver, Inbound, Platform
from connectors.figures import Figures
from connectors.guard import answer
from connectors.intake import Intake
from connectors.link import Link
from connectors.platforms import bridged
from connectors.stream import Hub, follow
from engine import saying
from engine.errors import Forbidden, MalformedRequest, NothingToAnswer, Overloaded
from engine.messages import InboundMessage
from engine.settings import Settings

COOKIE = "replymill-page"
#: Tabs of one web process; each costs a connection and some kilobytes.
MOST_TABS = 1000

_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,64}")
_STREAM_ID = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")
_MEDIA = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}

#: Headers of every page.
SECURITY = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}


class Typed(msgspec.Struct, frozen=True):
    """What the page posts."""

    #: Made by the tab.
    tab: str
    text: str | None = None
    #: Made for this message, the same when it is sent again; empty: one is made here.
    id: str = ""


class Chat:
    """The chat page of one web process."""

    def __init__(self, settings: Settings, platform: Platform, *, link: Link, hub: Hub, intake: Callable[[], Intake]) -> None:
        self.settings = settings
        self.platform = platform
        self.link = link
        self.hub = hub
        self.intake = intake
        self.hosts = frozenset({"localhost", settings.host.lower(), *(host.lower() for host in settings.page_hosts)})
        self.assets = {file.name: _Asset(file.name, file.read_bytes()) for file in (files("connectors") / "pages").iterdir()}
        self.figures: Figures | None = None

    def routes(self, figures: Figures) -> list[BaseRoute]:
        self.figures = figures
        return [
            Route("/", self.page),
            Route("/static/{name}", self.asset),
            Route("/page/messages", self.take, methods=["POST"]),
            Route("/page/events", self.events),
        ]

    async def page(self, request: Request) -> Response:
        """The page, and a cookie for a browser that has none."""
        self.check_host(request)
        response = self.assets["index.html"].response(request)
        if not _TOKEN.fullmatch(request.cookies.get(COOKIE, "")):
            secure = request.url.scheme == "https"
            response.set_cookie(COOKIE, secrets.token_urlsafe(32), httponly=True, samesite="strict", secure=secure)
        return response

    async def asset(self, request: Request) -> Response:
        found = self.assets.get(request.path_params["name"])
        if found is None:
            raise HTTPException(404, "there is no such file")
        return found.response(request)

    async def take(self, request: Request) -> Response:
        """Put what was typed on its lane."""
        self.check_host(request)
        check_origin(request)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise MalformedRequest("the body must be sent as application/json")
        typed = read_as(read_object(await request.body()), Typed)
        session = session_of(request, typed.tab)
        if typed.id and not _TOKEN.fullmatch(typed.id):
            raise MalformedRequest("`id` must be 16 to 64 letters, digits, - or _")
        try:
            text = answerable(typed.text)
        except NothingToAnswer as error:
            raise NothingToAnswer(saying.say(self.settings, page.TENANT, "no_text")) from error
        message = page.message(session, text, message_id=typed.id or secrets.token_urlsafe(16))
        taken = await journal.settle(self.intake(), self.platform, self._wish(message))
        if self.figures:
            self.figures.settled(self.platform.name, taken.verdict)
        return answer({"id": taken.id, "state": taken.state}, 202)

    def _wish(self, message: InboundMessage) -> Inbound:
        """Where people answer behind the bridge, whoever wants one gets one."""
        wish = wishes.read(message)
        return wish if isinstance(wish, HandOver) and bridged(message.address, self.settings) else message

    async def events(self, request: Request) -> Response:
        """The event stream of one tab."""
        self.check_host(request)
        session = session_of(request, request.query_params.get("tab", ""))
        if self.hub.open >= MOST_TABS:
            raise Overloaded("too many pages are open; try again later")
        last_id = request.headers.get("last-event-id") or request.query_params.get("after", "")
        stream = follow(self.hub, self.link, session, last_id=last_id if _STREAM_ID.fullmatch(last_id) else "0")
        return StreamingResponse(
            stream, media_type="text/event-stream", headers={"cache-control": "no-store", "x-accel-buffering": "no"}
        )

    def check_host(self, request: Request) -> None:
        """:raises Forbidden: for a host name that is not ours."""
        host = host_of(request.headers.get("host", ""))
        if host not in self.hosts and not host.endswith(".localhost") and not _is_address(host):
            shown = ascii(host[:80])
            raise Forbidden(f"this server does not go by the name {shown}: add it to REPLYMILL_PAGE_HOSTS if it is yours")


class _Asset:
    """A static file in memory."""

    def __init__(self, name: str, body: bytes) -> None:
        self.body = body
        self.media = _MEDIA[name.rpartition(".")[2]]
        self.headers = {
            **SECURITY,
            "cache-control": "no-cache",
            "etag": f'"{hashlib.sha256(body).hexdigest()[:16]}"',
        }

    def response(self, request: Request) -> Response:
        if request.headers.get("if-none-match") == self.headers["etag"]:
            return Response(status_code=304, headers=self.headers)
        return Response(self.body, headers=self.headers, media_type=self.media)


def check_origin(request: Request) -> None:
    """:raises Forbidden: if another page than ours posts this; what is no browser names no origin."""
    origin = request.headers.get("origin")
    same_site = request.headers.get("sec-fetch-site", "same-origin") == "same-origin"
    same_host = origin is None or host_and_port(origin) == request.headers.get("host", "").lower()
    if not (same_site and same_host):
        raise Forbidden("only the chat page itself may post here")


def host_and_port(origin: str) -> str:
    """Of an origin such as `http://localhost:8080`; empty for junk and `null`."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def host_of(host_header: str) -> str:
    """The name or address in a Host header, without port and brackets."""
    text = host_header.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]


def session_of(request: Request, tab: str) -> str:
    """The session of a tab of this browser.

    :raises Forbidden: a browser without our cookie.
    :raises MalformedRequest: a tab without a proper id.
    """
    browser = request.cookies.get(COOKIE, "")
    if not _TOKEN.fullmatch(browser):
        raise Forbidden("this browser has no session here: allow cookies for this site, and load the page again")
    if not _TOKEN.fullmatch(tab):
        raise MalformedRequest("`tab` must be 16 to 64 letters, digits, - or _")
    return page.tab_session(browser, tab)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
