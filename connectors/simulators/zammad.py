"""A simulated Zammad: tickets with articles, its API for agents, and the webhooks of its triggers, signed."""

import hashlib
import hmac
import itertools
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from connectors.simulators.server import Simulator

#: The user that the token belongs to, and an agent.
BOT, AGENT = 5, 6


@dataclass
class Ticket:
    """One ticket."""

    id: int
    state: str = "new"
    owner: int = 1
    group: str = "Users"
    #: Oldest first.
    articles: list[dict[str, Any]] = field(default_factory=list)

    def by_bot(self, *, internal: bool = False) -> list[dict[str, Any]]:
        """What the bot wrote."""
        return [each for each in self.articles if each["sender"] == "Agent" and each["internal"] is internal]


class SimulatedZammad(Simulator):
    """What `token` may do, and what triggers send."""

    def __init__(self, token: str, secret: str) -> None:
        super().__init__()
        self.token = token
        self.secret = secret
        self.groups = {"Users", "Second level"}
        self.tickets: dict[int, Ticket] = {}
        self._ids = itertools.count(900)

    def routes(self) -> Sequence[web.RouteDef]:
        return [
            web.get("/api/v1/users/me", self._guarded(lambda *_: {"id": BOT, "login": "bot"})),
            web.get("/api/v1/tickets/{ticket}", self._guarded(lambda ticket, _: self._expanded(ticket))),
            web.put("/api/v1/tickets/{ticket}", self._guarded(self._update)),
            web.get("/api/v1/ticket_articles/by_ticket/{ticket}", self._guarded(lambda ticket, _: ticket.articles)),
            web.post("/api/v1/ticket_articles", self._guarded(self._create)),
        ]

    def opened(self, number: int, **fields: Any) -> Ticket:
        """A new ticket."""
        self.tickets[number] = Ticket(number, **fields)
        return self.tickets[number]

    def written(self, ticket: Ticket, body: str, **fields: Any) -> dict[str, Any]:
        """A customer writes; what the trigger sends."""
        mail = {"from": "Anna <anna@example.com>", "message_id": f"<m{len(ticket.articles)}@example.com>", "subject": "Printer"}
        article = {"type": "email", "sender": "Customer", **mail, "created_by_id": 11, **fields}
        return self.triggered(ticket, self._kept(ticket, body, **article))

    def triggered(self, ticket: Ticket, article: dict[str, Any] | None = None) -> dict[str, Any]:
        """The payload of a webhook: users in full, other relations by their names."""
        owner = {"id": ticket.owner, "login": "-" if ticket.owner == 1 else f"user{ticket.owner}"}
        shown = {"id": ticket.id, "state": ticket.state, "owner": owner, "owner_id": ticket.owner, "group": {"name": ticket.group}}
        return {"ticket": shown, "article": article or (ticket.articles[-1] if ticket.articles else {})}

    def signed(self, body: bytes, *, delivery: str = "") -> dict[str, str]:
        """The headers of a webhook."""
        return {
            "content-type": "application/json; charset=utf-8",
            "user-agent": "Zammad User Agent",
            "x-zammad-trigger": "Replymill",
            "x-zammad-delivery": delivery or str(uuid.uuid4()),
            "x-hub-signature": "sha1=" + hmac.new(self.secret.encode(), body, hashlib.sha1).hexdigest(),
        }

    def _kept(self, ticket: Ticket, body: str, **fields: Any) -> dict[str, Any]:
        article = {
            "id": next(self._ids),
            "ticket_id": ticket.id,
            "body": body,
            "content_type": "text/plain",
            "internal": False,
            "preferences": {},
            "created_at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            **fields,
        }
        ticket.articles.append(article)
        return article

    def _expanded(self, ticket: Ticket) -> dict[str, Any]:
        owner = "-" if ticket.owner == 1 else f"user{ticket.owner}"
        return {"id": ticket.id, "state": ticket.state, "owner": owner, "owner_id": ticket.owner, "group": ticket.group}

    def _guarded(self, handle: Callable[[Any, dict[str, Any]], Any]) -> Callable[[web.Request], Any]:
        async def guarded(request: web.Request) -> web.StreamResponse:
            if request.headers.get("authorization") != f"Token token={self.token}":
                return web.json_response({"error": "Authentication required"}, status=403)
            content = await request.json() if request.body_exists else {}
            number = int(request.match_info.get("ticket", content.get("ticket_id", 0)))
            if number and number not in self.tickets:
                return web.json_response({"error": f"Couldn't find Ticket with 'id'={number}"}, status=404)
            answer = handle(self.tickets.get(number), content)
            return answer if isinstance(answer, web.StreamResponse) else web.json_response(answer)

        return guarded

    def _create(self, ticket: Ticket, content: dict[str, Any]) -> Any:
        if content["type"] == "email" and not content.get("to"):
            return web.json_response({"error": "Sending an email without a valid recipient is not possible."}, status=422)
        # As Zammad does: a message id of its own.
        fields = {name: value for name, value in content.items() if name not in {"body", "ticket_id", "message_id"}}
        return web.json_response(self._kept(ticket, content["body"], created_by_id=BOT, **fields), status=201)

    def _update(self, ticket: Ticket, content: dict[str, Any]) -> Any:
        if content.get("group", "Users") not in self.groups:
            return web.json_response({"error": "No lookup value found for 'group'"}, status=422)
        ticket.state, ticket.group = content.get("state", ticket.state), content.get("group", ticket.group)
        if "article" in content:
            fields = {name: value for name, value in content["article"].items() if name != "body"}
            self._kept(ticket, content["article"]["body"], created_by_id=BOT, **fields)
        return self._expanded(ticket)


def raw(event: dict[str, Any]) -> bytes:
    """A payload as Zammad writes it."""
    return json.dumps(event).encode()
