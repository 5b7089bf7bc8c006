"""A simulated Zendesk: tickets with their comments and audits, safe updates, and what its trigger sends."""

import base64
import hashlib
import hmac
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from connectors.simulators.server import Simulator

EMAIL = "bot@example.com"
API_TOKEN = "an-api-token-of-zendesk"  # noqa: S105 - of the simulation
WEBHOOK_SECRET = "the-signing-secret-of-the-webhook"  # noqa: S105 - of the simulation
BOT_ID = 900
#: The oldest moment of the simulated clock, which every update moves on by a second.
_BEGAN = datetime(2026, 11, 24, tzinfo=UTC)
_MOST_COMMENT = 65_535


@dataclass
class Ticket:
    """One ticket as its Zendesk has it."""

    id: int
    status: str = "new"
    assignee_id: int | None = None
    group_id: int | None = None
    tags: list[str] = field(default_factory=lambda: ["web"])
    updated_at: str = _BEGAN.isoformat()
    comments: list[dict[str, Any]] = field(default_factory=list)
    audits: list[dict[str, Any]] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        names = ("id", "status", "assignee_id", "group_id", "tags", "updated_at")
        return {name: getattr(self, name) for name in names}


class ZendeskSimulator(Simulator):
    """One Zendesk with one bot."""

    def __init__(self) -> None:
        super().__init__()
        self.tickets: dict[int, Ticket] = {}
        #: Whom the token speaks for.
        self.me: dict[str, Any] = {"id": BOT_ID, "role": "agent", "role_type": 0, "ticket_restriction": None}
        self.groups: dict[str, dict[str, Any]] = {"77": {"id": 77, "name": "Support", "deleted": False}}
        #: What an administrator sees; None: the token is no administrator's.
        self.webhooks: list[dict[str, Any]] | None = None
        self.triggers: list[dict[str, Any]] = []
        #: Of every webhook.
        self.signing_secret = WEBHOOK_SECRET
        #: Audits on a page, whatever is asked for.
        self.page_size = 100
        self._ids = itertools.count(54_509_363_035_291)
        self._ticks = itertools.count(1)

    def routes(self) -> Sequence[web.RouteDef]:
        return [
            web.get("/api/v2/users/me.json", self._whoami),
            web.get("/api/v2/webhooks", self._administered(lambda: {"webhooks": self.webhooks})),
            web.get("/api/v2/webhooks/{id}/signing_secret", self._administered(self._secret)),
            web.get("/api/v2/triggers/active.json", self._administered(lambda: {"triggers": self.triggers})),
            web.get("/api/v2/groups/{id}.json", self._group),
            web.get("/api/v2/tickets/{id}.json", self._show),
            web.put("/api/v2/tickets/{id}.json", self._put),
            web.get("/api/v2/tickets/{id}/audits.json", self._audits),
        ]

    def open(self, ticket_id: int, **fields: Any) -> Ticket:
        """A ticket that is there."""
        self.tickets[ticket_id] = Ticket(ticket_id, **fields)
        return self.tickets[ticket_id]

    def touch(self, ticket: Ticket, **fields: Any) -> None:
        """Somebody else changes a ticket."""
        for name, value in fields.items():
            setattr(ticket, name, value)
        ticket.updated_at = self._now()

    def _now(self) -> str:
        return (_BEGAN + timedelta(seconds=next(self._ticks))).isoformat()

    def _authenticate(self, request: web.Request) -> None:
        proof = base64.b64encode(f"{EMAIL}/token:{API_TOKEN}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {proof}":
            raise web.HTTPUnauthorized(text=json.dumps({"error": "Couldn't authenticate you"}))

    def _administered(self, show: Callable[[], Any]) -> Callable[[web.Request], Any]:
        async def shown(request: web.Request) -> web.Response:
            self._authenticate(request)
            if self.webhooks is None:
                raise web.HTTPForbidden(text='{"error":"Forbidden"}')
            return web.json_response(show())

        return shown

    def _secret(self) -> dict[str, Any]:
        return {"signing_secret": {"algorithm": "SHA256", "secret": self.signing_secret}}

    async def _whoami(self, request: web.Request) -> web.Response:
        self._authenticate(request)
        return web.json_response({"user": self.me})

    async def _group(self, request: web.Request) -> web.Response:
        self._authenticate(request)
        group = self.groups.get(request.match_info["id"])
        if group is None:
            raise web.HTTPNotFound(text=json.dumps({"error": "RecordNotFound", "description": "Not found"}))
        return web.json_response({"group": group})

    def _ticket(self, request: web.Request) -> Ticket:
        self._authenticate(request)
        ticket = self.tickets.get(int(request.match_info["id"]))
        if ticket is None:
            raise web.HTTPNotFound(text=json.dumps({"error": "RecordNotFound", "description": "Not found"}))
        return ticket

    async def _show(self, request: web.Request) -> web.Response:
        return web.json_response({"ticket": self._ticket(request).shown()})

    async def _audits(self, request: web.Request) -> web.Response:
        ticket = self._ticket(request)
        begin = int(request.query.get("page[after]", "0==").removesuffix("=="))
        page = ticket.audits[begin : begin + self.page_size]
        more = begin + len(page) < len(ticket.audits)
        meta = {"has_more": more, "after_cursor": f"{begin + len(page)}==" if more else None}
        return web.json_response({"audits": page, "meta": meta, "links": {"next": None}})

    async def _put(self, request: web.Request) -> web.Response:
        ticket = self._ticket(request)
        asked = (await request.json())["ticket"]
        if ticket.status == "closed":
            return web.json_response({"error": "RecordInvalid", "description": "Status: closed prevents ticket update"}, status=422)
        if asked.get("safe_update") and asked.get("updated_stamp") != ticket.updated_at:
            return web.json_response({"error": "UpdateConflict", "description": "Safe Update prevented the update"}, status=409)
        comment = asked.get("comment")
        if comment and len((comment.get("html_body") or comment.get("body")).encode()) > _MOST_COMMENT:
            return web.json_response({"error": "RecordInvalid", "description": "Comment: is too long"}, status=422)
        audit = self._apply(ticket, asked)
        return web.json_response({"ticket": ticket.shown(), "audit": audit})

    def _apply(self, ticket: Ticket, asked: dict[str, Any]) -> dict[str, Any]:
        """`additional_tags` is left alone: it is documented for many tickets at once alone."""
        for name in ("status", "assignee_id", "group_id", "tags"):
            if name in asked:
                setattr(ticket, name, asked[name])
        ticket.updated_at = self._now()
        audit: dict[str, Any] = {"id": next(self._ids), "ticket_id": ticket.id, "events": []}
        audit["metadata"] = {"custom": asked.get("metadata", {}), "system": {"client": "test"}}
        if comment := asked.get("comment"):
            kept = {"id": next(self._ids), "type": "Comment", "author_id": BOT_ID, **comment}
            ticket.comments.append(kept)
            audit["events"].append(kept)
        ticket.audits.append(audit)
        return audit


def triggered(**fields: Any) -> dict[str, Any]:
    """The body of docs/zendesk.md as Zendesk fills it in for a customer's comment."""
    body = {
        "ticket_id": "17",
        "ticket_status": "Open",
        "assignee_id": "",
        "comment_id": "54509363035291",
        "comment_public": "true",
        "comment_text": "Where is my order?",
        "attachments": "",
        "author_id": "501",
        "updater_id": "501",
        "updater_role": "End-user",
    }
    return {**body, **fields}


def signed(
    raw: bytes, *, secret: str = WEBHOOK_SECRET, age: float = 0, invocation: str = "01M079ZXEVECSTHCAP7EAP0SVA"
) -> dict[str, str]:
    """The headers of a webhook signed `age` seconds ago."""
    timestamp = (datetime.now(UTC) - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%SZ")
    digest = hmac.new(secret.encode(), timestamp.encode() + raw, hashlib.sha256).digest()
    return {
        "content-type": "application/json",
        "x-zendesk-webhook-id": "01GWK4Q0YKVX2K0M4MA4G6DB2N",
        "x-zendesk-webhook-invocation-id": invocation,
        "x-zendesk-webhook-signature-timestamp": timestamp,
        "x-zendesk-webhook-signature": base64.b64encode(digest).decode(),
    }
