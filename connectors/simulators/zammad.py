"""A simulated Zammad: tickets with articles, its API for agents, and the webhooks of its triggers, signed."""

import hashlib
import hmac
import itertools
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from connectors.simulators.server import Simulator

#: The user that the token belongs to, an agent and a customer.
BOT, AGENT, CUSTOMER = 5, 6, 11
#: The types of states by their ids, as every Zammad has them.
TYPES = {1: "new", 2: "open", 3: "pending reminder", 4: "pending action", 5: "closed", 6: "merged", 7: "removed"}


@dataclass
class Ticket:
    """One ticket."""

    id: int
    state: str = "new"
    owner: int = 1
    group: str = "Users"
    #: Who changed it last.
    updater: int = CUSTOMER
    #: When, if not with its newest article.
    changed_at: str = ""
    #: Oldest first.
    articles: list[dict[str, Any]] = field(default_factory=list)

    @property
    def updated_at(self) -> str:
        return self.changed_at or (str(self.articles[-1]["created_at"]) if self.articles else _now())

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
        #: By id: name and type. Names can be changed, and states added.
        self.states = {
            1: ("new", "new"),
            2: ("open", "open"),
            3: ("pending reminder", "pending reminder"),
            4: ("closed", "closed"),
            5: ("merged", "merged"),
            6: ("removed", "removed"),
            7: ("pending close", "pending action"),
        }
        self.tickets: dict[int, Ticket] = {}
        #: Of the user that the token belongs to; its rights in groups.
        self.me: dict[str, Any] = {"id": BOT, "login": "bot", "group_ids": {"1": ["full"]}}
        #: What an administrator sees; None: the token is no administrator's.
        self.webhooks: list[dict[str, Any]] | None = None
        self.triggers: list[dict[str, Any]] | None = None
        self._ids = itertools.count(900)

    def routes(self) -> Sequence[web.RouteDef]:
        return [
            web.get("/api/v1/users/me", self._guarded(lambda *_: self.me)),
            web.get("/api/v1/webhooks", self._guarded(lambda *_: _administered(self.webhooks))),
            web.get("/api/v1/triggers", self._guarded(lambda *_: _administered(self.triggers))),
            web.get("/api/v1/tickets", self._guarded(lambda *_: [])),
            web.get("/api/v1/ticket_states", self._guarded(lambda *_: self._states())),
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
        article = {"type": "email", "sender": "Customer", **mail, "created_by_id": CUSTOMER, **fields}
        ticket.updater = article["created_by_id"]
        return self.triggered(ticket, self._kept(ticket, body, **article))

    def changed(self, ticket: Ticket, *, by: int = AGENT, **fields: Any) -> dict[str, Any]:
        """Somebody changes the owner or the state; what the trigger sends, with the newest article beside it."""
        for name, value in fields.items():
            setattr(ticket, name, value)
        ticket.updater = by
        ticket.changed_at = _now(minutes=1)
        return self.triggered(ticket)

    def triggered(self, ticket: Ticket, article: dict[str, Any] | None = None) -> dict[str, Any]:
        """The payload of a webhook: users in full, other relations by their names."""
        owner = {"id": ticket.owner, "login": "-" if ticket.owner == 1 else f"user{ticket.owner}"}
        shown = {**self._expanded(ticket), "owner": owner, "group": {"name": ticket.group}, "customer_id": CUSTOMER}
        return {
            "ticket": {**shown, "updated_by_id": ticket.updater},
            "article": article or (ticket.articles[-1] if ticket.articles else {}),
        }

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
            "created_at": _now(),
            **fields,
        }
        ticket.articles.append(article)
        ticket.changed_at = ""
        return article

    def _expanded(self, ticket: Ticket) -> dict[str, Any]:
        owner = "-" if ticket.owner == 1 else f"user{ticket.owner}"
        state = next(number for number, (name, _) in self.states.items() if name == ticket.state)
        shown = {"id": ticket.id, "state": ticket.state, "state_id": state, "updated_at": ticket.updated_at}
        return {**shown, "owner": owner, "owner_id": ticket.owner, "group": ticket.group}

    def _states(self) -> list[dict[str, Any]]:
        numbers = {name: number for number, name in TYPES.items()}
        return [
            {"id": number, "name": name, "state_type": kind, "state_type_id": numbers[kind], "active": True}
            for number, (name, kind) in self.states.items()
        ]

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
        ticket.updater = BOT
        return web.json_response(self._kept(ticket, content["body"], created_by_id=BOT, **fields), status=201)

    def _update(self, ticket: Ticket, content: dict[str, Any]) -> Any:
        if content.get("group", "Users") not in self.groups:
            return web.json_response({"error": "No lookup value found for 'group'"}, status=422)
        names = {name for name, _ in self.states.values()}
        if content.get("state", ticket.state) not in names:
            return web.json_response({"error": "No lookup value found for 'state'"}, status=422)
        if "state_id" in content:
            content["state"] = self.states[content["state_id"]][0]
        ticket.state, ticket.group = content.get("state", ticket.state), content.get("group", ticket.group)
        ticket.owner, ticket.updater = content.get("owner_id", ticket.owner), BOT
        if "article" in content:
            fields = {name: value for name, value in content["article"].items() if name != "body"}
            self._kept(ticket, content["article"]["body"], created_by_id=BOT, **fields)
        return self._expanded(ticket)


def _administered(found: list[dict[str, Any]] | None) -> Any:
    return web.json_response({"error": "Not authorized"}, status=403) if found is None else found


def _now(*, minutes: int = 0) -> str:
    return (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")


def raw(event: dict[str, Any]) -> bytes:
    """A payload as Zammad writes it."""
    return json.dumps(event).encode()
