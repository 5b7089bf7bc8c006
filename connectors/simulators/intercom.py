"""Intercom as a bot sees it: signed notifications out, the conversations of its REST API in."""

import hashlib
import hmac
import itertools
import json
from typing import Any

from aiohttp import web

from connectors.simulators.server import Simulator

#: Ids of the simulated workspace.
BOT, TEAMMATE, TEAM = "814860", "991267", "5017690"


class IntercomSimulator(Simulator):
    """One workspace with an app, its bot's admin, one teammate and one team."""

    def __init__(self, *, client_secret: str, token: str) -> None:
        super().__init__()
        self._secret = client_secret.encode()
        self._token = token
        self._numbers = itertools.count(1000)
        #: By id, as the API shows them.
        self.conversations: dict[str, dict[str, Any]] = {}
        #: What there was to press, by conversation.
        self.offered: dict[str, list[list[str]]] = {}
        #: Whether a conversation that nobody has is assigned to whoever replies, as many workspaces are set.
        self.assigns_replies = False

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/conversations/{id}", self._show),
            web.post("/conversations/{id}/reply", self._reply),
            web.post("/conversations/{id}/parts", self._manage),
        ]

    def begin(
        self, html: str = "<p>Where is my order?</p>", *, author: str = "user", **source: Any
    ) -> tuple[dict[str, str], bytes]:
        """Somebody opens a conversation; the notification of it, with its headers."""
        number = str(next(self._numbers))
        self.conversations[number] = {
            "type": "conversation",
            "id": number,
            "admin_assignee_id": None,
            "team_assignee_id": None,
            "state": "open",
            "source": {
                "type": "conversation",
                "id": f"{number}-source",
                "body": html,
                "author": {"type": author, "id": "6748", "name": "Ann"},
                "attachments": [],
                **source,
            },
            "conversation_parts": {"type": "conversation_part.list", "conversation_parts": [], "total_count": 0},
        }
        return self.notify("conversation.user.created", number)

    def write(
        self, number: str, html: str | None, *, author: str = "user", topic: str = "", **part: Any
    ) -> tuple[dict[str, str], bytes]:
        """Somebody writes into a conversation."""
        writer = {"type": author, "id": part.pop("author_id", TEAMMATE if author == "admin" else "6748")}
        self._add(number, html, writer, **part)
        topics = {"admin": "conversation.admin.replied"}
        return self.notify(topic or topics.get(author, "conversation.user.replied"), number)

    def assign(
        self, number: str, *, admin: str | None = None, team: str | None = None, by: str = TEAMMATE, author: str = "admin"
    ) -> tuple[dict[str, str], bytes]:
        """A teammate, or a rule, assigns a conversation; to nobody by default."""
        found = self.conversations[number]
        found["admin_assignee_id"], found["team_assignee_id"] = int(admin) if admin else None, team
        self._add(number, None, {"type": author, "id": by}, part_type="assignment")
        return self.notify("conversation.admin.assigned", number)

    def shut(self, number: str, *, by: str = TEAMMATE) -> tuple[dict[str, str], bytes]:
        """A teammate closes a conversation."""
        self.conversations[number]["state"] = "closed"
        self._add(number, None, {"type": "admin", "id": by}, part_type="close")
        return self.notify("conversation.admin.closed", number)

    def notify(self, topic: str, number: str) -> tuple[dict[str, str], bytes]:
        """A notification holds the last part alone."""
        found = self.conversations[number]
        parts = self.parts(number)[-1:]
        item = {**found, "conversation_parts": {**found["conversation_parts"], "conversation_parts": parts}}
        notification = {
            "type": "notification_event",
            "app_id": "a86dr8yl",
            "id": f"notif_{next(self._numbers)}",
            "topic": topic,
            "data": {"type": "notification_event_data", "item": item},
            "delivery_attempts": 1,
            "created_at": 1_709_827_838,
        }
        return self.signed(json.dumps(notification).encode())

    def signed(self, raw: bytes) -> tuple[dict[str, str], bytes]:
        """The headers and the body of a notification."""
        digest = hmac.new(self._secret, raw, hashlib.sha1).hexdigest()
        return {"x-hub-signature": f"sha1={digest}", "content-type": "application/json"}, raw

    def parts(self, number: str) -> list[dict[str, Any]]:
        """Everything in a conversation after what opened it."""
        found: list[dict[str, Any]] = self.conversations[number]["conversation_parts"]["conversation_parts"]
        return found

    def said(self, number: str) -> list[str]:
        """The HTML that the bot has posted there."""
        return [part["body"] for part in self.parts(number) if part["author"]["id"] == BOT and part["part_type"] == "comment"]

    def _add(self, number: str, html: str | None, author: dict[str, str], *, part_type: str = "comment", **fields: Any) -> None:
        made = next(self._numbers)
        part = {"type": "conversation_part", "id": str(made), "part_type": part_type, "body": html, "author": author}
        self.parts(number).append({**part, "created_at": 1_709_827_000 + made, "attachments": [], **fields})

    async def _show(self, request: web.Request) -> web.Response:
        return self._refused(request) or self._conversation(request)

    async def _reply(self, request: web.Request) -> web.Response:
        if refused := self._refused(request):
            return refused
        asked, found = await request.json(), self.conversations[request.match_info["id"]]
        if asked.get("message_type") == "quick_reply":
            options = asked.get("reply_options") or [{}]
            if asked.get("type") != "admin" or not all(one.get("text") and one.get("uuid") for one in options):
                return _errors(400, "parameter_invalid")
            self._add(found["id"], None, {"type": "admin", "id": asked["admin_id"]}, part_type="quick_reply")
            self.offered.setdefault(found["id"], []).append([one["text"] for one in options])
            return self._conversation(request)
        if asked.get("message_type") not in {"comment", "note"} or asked.get("type") != "admin" or not asked.get("body"):
            return _errors(400, "parameter_invalid")
        self._add(found["id"], asked["body"], {"type": "admin", "id": asked["admin_id"]}, part_type=asked["message_type"])
        if self.assigns_replies and not found["admin_assignee_id"]:
            found["admin_assignee_id"] = int(asked["admin_id"])
        return self._conversation(request)

    async def _manage(self, request: web.Request) -> web.Response:
        if refused := self._refused(request):
            return refused
        asked, found = await request.json(), self.conversations[request.match_info["id"]]
        if asked.get("message_type") != "assignment" or asked.get("assignee_id") not in {"0", BOT, TEAMMATE, TEAM}:
            return _errors(400, "parameter_invalid")
        to_team = asked["assignee_id"] == TEAM
        found["team_assignee_id"] = TEAM if to_team else None
        found["admin_assignee_id"] = None if to_team or asked["assignee_id"] == "0" else int(asked["assignee_id"])
        self._add(found["id"], None, {"type": "admin", "id": asked["admin_id"]}, part_type="assignment")
        return self._conversation(request)

    def _conversation(self, request: web.Request) -> web.Response:
        return web.json_response(self.conversations[request.match_info["id"]])

    def _refused(self, request: web.Request) -> web.Response | None:
        if request.headers.get("authorization") != f"Bearer {self._token}":
            return _errors(401, "unauthorized")
        if not request.headers.get("intercom-version"):
            return _errors(400, "intercom_version_invalid")
        return None if request.match_info["id"] in self.conversations else _errors(404, "not_found")


def _errors(status: int, code: str) -> web.Response:
    return web.json_response({"type": "error.list", "request_id": "b1", "errors": [{"code": code, "message": code}]}, status=status)
