"""Freshchat as a bot sees it: events signed with its private key out, the conversations of its REST API in."""

import base64
import itertools
import json
import uuid
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from connectors.simulators.server import Simulator

#: Ids of the simulated account.
BOT = "c8fddfaf-622a-4a0e-b060-4f3ccbeab606"
AGENT = "41c85e6d-cf41-4275-904d-545849e6f22b"
GROUP = "4cf5d9b8-b782-499f-b93c-541229df3729"
USER = "882f3926-b292-414b-a411-96380db373cd"

#: The headers and the body of an event.
Event = tuple[dict[str, str], bytes]


class FreshchatSimulator(Simulator):
    """One account with the bot's agent, another agent and one group."""

    def __init__(self, *, token: str, private: RSAPrivateKey | None = None) -> None:
        super().__init__()
        self._token = token
        self._numbers = itertools.count(1)
        #: What it signs with; a new key unless one is given.
        self.private = private or generate_private_key(65_537, 2048)
        #: As the webhook settings show it.
        self.public_key = self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        #: By id, as the API shows them.
        self.conversations: dict[str, dict[str, Any]] = {}
        #: What was written, by conversation.
        self.messages: dict[str, list[dict[str, Any]]] = {}
        #: Whether a conversation that no agent has is assigned to the agent who writes.
        self.assigns_writers = False
        #: Whether the status `assigned` needs an agent.
        self.assigned_needs_agent = False

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v2/conversations/{id}", self._show),
            web.put("/v2/conversations/{id}", self._update),
            web.post("/v2/conversations/{id}/messages", self._write),
        ]

    def begin(self) -> str:
        """A new conversation that nobody has; its id."""
        number = str(uuid.uuid4())
        self.conversations[number] = {"conversation_id": number, "app_id": "55b190fa", "status": "new", "channel_id": "600a9b8d"}
        self.messages[number] = []
        return number

    def write(self, number: str, *texts: str, actor: str = "user", actor_id: str = "", **fields: Any) -> Event:
        """Somebody writes; the event of it."""
        actor_id = actor_id or {"user": USER, "agent": AGENT}.get(actor, "f0f0f0f0")
        parts = [{"text": {"content": text}} for text in texts]
        message = self._keep(number, parts, actor, actor_id)
        return self.event("message_create", {"message": {**message, **fields}}, actor=actor, actor_id=actor_id)

    def assign(self, number: str, *, agent: str = "", group: str = "", by: str = AGENT, actor: str = "agent") -> Event:
        """An agent, or a rule, assigns a conversation; to nobody by default."""
        found = self.conversations[number]
        assignment = {
            "assignor": actor,
            "assignor_id": by,
            "to_agent_id": agent,
            "to_group_id": group,
            "from_agent_id": found.get("assigned_agent_id", ""),
            "from_group_id": found.get("assigned_group_id", ""),
            "interaction_id": "487870040076744-1648793439927",
        }
        found |= {"assigned_agent_id": agent, "assigned_group_id": group, "status": "assigned" if agent or group else "new"}
        data = {"assignment": {**assignment, "conversation": dict(found)}}
        return self.event("conversation_assignment", data, actor=actor, actor_id=by)

    def resolve(self, number: str, *, by: str = AGENT) -> Event:
        """An agent resolves a conversation, which nobody has then."""
        found = self.conversations[number]
        found["status"] = "resolved"
        found.pop("assigned_agent_id", None)
        data = {"resolve": {"resolver": "agent", "resolver_id": by, "conversation": dict(found)}}
        return self.event("conversation_resolution", data, actor="agent", actor_id=by)

    def reopen(self, number: str, *, agent: str = "") -> Event:
        """A conversation is open again, by the user or by an agent who has it then."""
        found = self.conversations[number]
        found |= {"status": "reopened", **({"assigned_agent_id": agent} if agent else {})}
        actor, actor_id = ("agent", agent) if agent else ("user", USER)
        data = {"reopen": {"reopener": actor, "reopener_id": actor_id, "conversation": dict(found)}}
        return self.event("conversation_reopen", data, actor=actor, actor_id=actor_id)

    def event(self, action: str, data: Any, *, actor: str = "user", actor_id: str = USER) -> Event:
        """Any event, signed."""
        found = {"actor": {"actor_type": actor, "actor_id": actor_id}, "action": action, "action_time": "2022-11-22T10:55:23.126Z"}
        return self.signed(json.dumps({**found, "data": data}).encode())

    def signed(self, raw: bytes) -> Event:
        """The headers and the body of an event."""
        signature = base64.b64encode(self.private.sign(raw, PKCS1v15(), SHA256())).decode()
        return {"x-freshchat-signature": signature, "x-freshchat-payload-version": "v2", "content-type": "application/json"}, raw

    def said(self, number: str) -> list[str]:
        """What the bot has posted there."""
        return [one["message_parts"][0]["text"]["content"] for one in self.messages[number] if one["actor_id"] == BOT]

    def _keep(self, number: str, parts: list[dict[str, Any]], actor: str, actor_id: str) -> dict[str, Any]:
        message = {
            "message_parts": parts,
            "app_id": "55b190fa",
            "actor_id": actor_id,
            "id": f"7a454fde-{next(self._numbers)}",
            "channel_id": "600a9b8d",
            "conversation_id": number,
            "message_type": "normal",
            "actor_type": actor,
            "created_time": "2022-11-22T10:55:23.126Z",
        }
        self.messages[number].append(message)
        return message

    async def _show(self, request: web.Request) -> web.Response:
        return self._refused(request) or web.json_response(self.conversations[request.match_info["id"]])

    async def _update(self, request: web.Request) -> web.Response:
        if refused := self._refused(request):
            return refused
        asked, found = await request.json(), self.conversations[request.match_info["id"]]
        known = asked.get("status") in {"new", "assigned", "resolved", "reopened"}
        if not known or (self.assigned_needs_agent and asked["status"] == "assigned" and not asked.get("assigned_agent_id")):
            return web.json_response({"code": 400, "status": "INVALID_VALUE", "message": "assigned_agent_id"}, status=400)
        if "assigned_group_id" in asked:
            found.pop("assigned_agent_id", None)
        found |= asked
        return web.json_response(found)

    async def _write(self, request: web.Request) -> web.Response:
        if refused := self._refused(request):
            return refused
        asked, found = await request.json(), self.conversations[request.match_info["id"]]
        if not asked.get("message_parts") or asked.get("actor_type") not in {"agent", "bot"} or not asked.get("actor_id"):
            return web.json_response({"code": 400, "status": "INVALID_VALUE", "message": "message_parts"}, status=400)
        if self.assigns_writers and not found.get("assigned_agent_id"):
            found |= {"assigned_agent_id": asked["actor_id"], "status": "assigned"}
        return web.json_response(
            self._keep(found["conversation_id"], asked["message_parts"], asked["actor_type"], asked["actor_id"])
        )

    def _refused(self, request: web.Request) -> web.Response | None:
        if request.headers.get("authorization") != f"Bearer {self._token}":
            return web.json_response({"success": False, "errorMessage": "Authentication failed"}, status=401)
        known = request.match_info["id"] in self.conversations
        return None if known else web.json_response({"code": 404, "status": "NOT_FOUND"}, status=404)
