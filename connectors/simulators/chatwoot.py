"""A simulated Chatwoot: conversations of one account, what a bot's token may do to them, and the events it sends, signed."""

import hashlib
import hmac
import itertools
import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from connectors.simulators.server import Simulator

ACCOUNT = 7
_NOT_FOR_BOTS = "Access to this endpoint is not authorized for bots"
_PLACE = "/api/v1/accounts/7/conversations/{conversation:[0-9]+}"


@dataclass
class Conversation:
    """One conversation, as agents see it."""

    id: int
    status: str = "pending"
    #: Oldest first, as `push_event_data` shows them.
    messages: list[dict[str, Any]] = field(default_factory=list)
    team: Any = None
    #: Every word of `toggle_typing_status`.
    typing: list[str] = field(default_factory=list)

    def public(self) -> list[str]:
        """What the customer reads of the bot."""
        return [each["content"] for each in self.messages if each["message_type"] == 1 and not each["private"]]

    def notes(self) -> list[str]:
        """What agents alone read."""
        return [each["content"] for each in self.messages if each["private"]]


class SimulatedChatwoot(Simulator):
    """What `token` may do depends on the version: see `shows` and `lists`."""

    def __init__(self, token: str, secret: str) -> None:
        super().__init__()
        self.token = token
        self.secret = secret
        #: Whether a bot's token may see a conversation (newer versions), and list its messages (a user's token only).
        self.shows, self.lists = True, False
        self.per_minute = 200
        #: Of the one inbox.
        self.channel = "Channel::WebWidget"
        #: Told to everybody.
        self.version = "4.13.0"
        #: What an administrator sees of the account's bots; None: the token is no administrator's.
        self.bots: list[dict[str, Any]] | None = None
        self.conversations: dict[int, Conversation] = {}
        self._ids = itertools.count(100)

    def routes(self) -> Sequence[web.RouteDef]:
        return [
            web.get("/api", self._about),
            web.get("/api/v1/profile", self._profile),
            web.get(f"/api/v1/accounts/{ACCOUNT}/agent_bots", self._bots),
            web.get(_PLACE, self._guarded(self._show)),
            web.get(f"{_PLACE}/messages", self._guarded(self._list)),
            web.post(f"{_PLACE}/messages", self._guarded(self._create)),
            web.post(f"{_PLACE}/toggle_status", self._guarded(self._toggle_status)),
            web.post(f"{_PLACE}/toggle_typing_status", self._guarded(self._toggle_typing)),
            web.post(f"{_PLACE}/assignments", self._guarded(self._assign)),
        ]

    def opened(self, number: int, status: str = "pending") -> Conversation:
        """A new conversation."""
        self.conversations[number] = Conversation(number, status)
        return self.conversations[number]

    def written(self, conversation: Conversation, content: str | None, **fields: Any) -> dict[str, Any]:
        """A customer writes; the event it makes."""
        message = self._kept(conversation, content, message_type=0, **fields)
        return self.event("message_created", conversation, message)

    def chosen(self, conversation: Conversation, title: str) -> dict[str, Any]:
        """The customer chooses below the last message that has choices; the event it makes."""
        message = next(one for one in reversed(conversation.messages) if one["content_type"] == "input_select")
        item = next(one for one in message["content_attributes"]["items"] if one["title"] == title)
        message["content_attributes"]["submitted_values"] = [item]
        return self.event("message_updated", conversation, message)

    def answered(self, conversation: Conversation, content: str) -> dict[str, Any]:
        """An agent answers the customer; the event it makes. A conversation of a bot stays pending."""
        message = self._kept(conversation, content, message_type=1, sender={"id": 1, "name": "Ann", "type": "user"})
        return self.event("message_created", conversation, message)

    def event(self, name: str, conversation: Conversation, message: dict[str, Any]) -> dict[str, Any]:
        """An event of a message."""
        words = {0: "incoming", 1: "outgoing", 2: "activity", 3: "template"}
        return {
            **message,
            "event": name,
            "message_type": words[message["message_type"]],
            "account": {"id": ACCOUNT, "name": "Acme"},
            "conversation": self._shown(conversation),
            "inbox": {"id": 3, "name": "Website"},
        }

    def status_event(self, name: str, conversation: Conversation) -> dict[str, Any]:
        """An event of a conversation, which does not name its account."""
        return {
            **self._shown(conversation),
            "event": name,
            "changed_attributes": [{"status": {"current_value": conversation.status}}],
        }

    def signed(self, body: bytes, *, age: float = 0, delivery: str = "") -> dict[str, str]:
        """The headers of a request signed `age` seconds ago."""
        timestamp = str(int(time.time() - age))
        digest = hmac.new(self.secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
        return {
            "content-type": "application/json",
            "x-chatwoot-signature": f"sha256={digest}",
            "x-chatwoot-timestamp": timestamp,
            "x-chatwoot-delivery": delivery or str(uuid.uuid4()),
        }

    def _kept(self, conversation: Conversation, content: str | None, *, message_type: int, **fields: Any) -> dict[str, Any]:
        kind = "contact" if message_type == 0 else "agent_bot"
        message = {
            "id": next(self._ids),
            "content": content,
            "message_type": message_type,
            "private": False,
            "account_id": ACCOUNT,
            "conversation_id": conversation.id,
            "content_type": "text",
            "content_attributes": {},
            "created_at": time.time(),
            "sender": {"id": 11, "name": "Anna", "type": kind},
            **fields,
        }
        conversation.messages.append(message)
        return message

    def _shown(self, conversation: Conversation) -> dict[str, Any]:
        spoken = [each for each in conversation.messages if each["message_type"] != 2]
        return {
            "id": conversation.id,
            "status": conversation.status,
            "messages": conversation.messages[-1:],
            "meta": {"channel": self.channel, "sender": {"id": 11, "name": "Anna", "type": "contact"}},
            "last_non_activity_message": spoken[-1] if spoken else None,
            "inbox_id": 3,
        }

    def _guarded(self, handle: Callable[[Conversation, dict[str, Any]], Any]) -> Callable[[web.Request], Any]:
        async def guarded(request: web.Request) -> web.StreamResponse:
            if request.headers.get("api_access_token") != self.token:
                return web.json_response({"error": "Invalid Access Token"}, status=401)
            listing = request.path.endswith("/messages")
            if request.method == "GET" and not (self.lists if listing else self.shows):
                return web.json_response({"error": _NOT_FOR_BOTS}, status=401)
            conversation = self.conversations.get(int(request.match_info["conversation"]))
            if conversation is None:
                return web.json_response({"error": "Resource could not be found"}, status=404)
            content = await request.json() if request.body_exists else {}
            answer = handle(conversation, content)
            return answer if isinstance(answer, web.StreamResponse) else web.json_response(answer)

        return guarded

    async def _profile(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("api_access_token") != self.token:
            return web.json_response({"error": "Invalid Access Token"}, status=401)
        if self.lists:
            return web.json_response({"id": 1, "name": "Agent", "accounts": [{"id": ACCOUNT, "role": "administrator"}]})
        return web.json_response({"error": _NOT_FOR_BOTS}, status=401)

    async def _about(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({"version": self.version, "queue_services": "ok", "data_services": "ok"})

    async def _bots(self, request: web.Request) -> web.StreamResponse:
        if self.bots is None or request.headers.get("api_access_token") != self.token:
            return web.json_response({"error": "You are not authorized to do this action"}, status=401)
        return web.json_response(self.bots)

    def _show(self, conversation: Conversation, _: dict[str, Any]) -> Any:
        return self._shown(conversation)

    def _list(self, conversation: Conversation, _: dict[str, Any]) -> Any:
        return {"meta": {}, "payload": conversation.messages[-20:]}

    def _create(self, conversation: Conversation, content: dict[str, Any]) -> Any:
        recent = [each for each in conversation.messages if each["created_at"] > time.time() - 60]
        faults = [
            *(["Too many messages"] if len(recent) >= self.per_minute else []),
            *(["Content is too long (maximum is 150000 characters)"] if len(content["content"]) > 150_000 else []),
        ]
        if faults:
            return web.json_response({"error": f"Validation failed: {', '.join(faults)}"}, status=422)
        kept = {name: content[name] for name in ("private", "content_type", "content_attributes")}
        return self._kept(conversation, content["content"], message_type=1, **kept)

    def _toggle_status(self, conversation: Conversation, content: dict[str, Any]) -> Any:
        conversation.status = content["status"]
        return {"meta": {}, "payload": {"success": True, "current_status": conversation.status}}

    def _toggle_typing(self, conversation: Conversation, content: dict[str, Any]) -> Any:
        conversation.typing.append(content["typing_status"])
        return web.Response()

    def _assign(self, conversation: Conversation, content: dict[str, Any]) -> Any:
        if str(content["team_id"]) == "404":
            return web.json_response({"error": "Resource could not be found"}, status=404)
        conversation.team = content["team_id"]
        return {"id": content["team_id"]}


def raw(event: dict[str, Any]) -> bytes:
    """An event as Chatwoot writes it."""
    return json.dumps(event).encode()
