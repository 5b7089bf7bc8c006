"""A simulated app of Sunshine Conversations: conversations with messages and a switchboard, and what its webhook sends."""

import base64
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from connectors.simulators.server import Simulator

APP_ID = "5698edbf2a43bd081be982f1"
KEY_ID = "app_61f0a8e5"
KEY_SECRET = "a-secret-of-the-api-key"  # noqa: S105 - of the simulation
WEBHOOK_SECRET = "the-shared-secret-of-the-webhook"  # noqa: S105 - of the simulation
BOARD = "5ef21b86e933b7355c11c600"
OURS, AGENTS = "replymill", "zd-agentWorkspace"
_MOST_TEXT, _MOST_ACTION = 4_096, 128


@dataclass
class Talk:
    """One conversation."""

    id: str
    #: Name of the active switchboard integration; empty: nobody is in control.
    active: str = OURS
    messages: list[dict[str, Any]] = field(default_factory=list)
    activities: list[dict[str, Any]] = field(default_factory=list)
    #: What each passControl asked for.
    passed: list[dict[str, Any]] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"id": self.id, "type": "personal"}
        if self.active:
            shown["activeSwitchboardIntegration"] = {"id": f"id-of-{self.active}", "name": self.active, "integrationType": "custom"}
        return shown


class SunshineSimulator(Simulator):
    """One app, whose switchboard leads from us to the agents, and from them to a third one."""

    def __init__(self) -> None:
        super().__init__()
        self.talks: dict[str, Talk] = {}
        #: Messages on a page.
        self.page_size = 100
        self.after = {OURS: AGENTS, AGENTS: "archive"}
        #: Of the switchboard; without it there is none.
        self.enabled: bool | None = True
        #: Whether integrations hear what happens while others are active.
        self.standby = True
        #: The webhooks of the one custom integration; None: it is not shown.
        self.webhooks: list[dict[str, Any]] | None = None
        #: The key is that of an integration, which reaches conversations alone.
        self.narrow = False
        self._ids = itertools.count(1)

    def routes(self) -> Sequence[web.RouteDef]:
        """At both addresses of the API: a host of its own, and a path of the Zendesk."""
        apps = [f"{path}/v2/apps/{{app}}" for path in ("", "/sc")]
        places = [f"{path}/v2/apps/{APP_ID}/conversations/{{id}}" for path in ("", "/sc")]
        return [
            *(web.get(app, self._app) for app in apps),
            *(web.get(f"{app}/integrations", self._connected) for app in apps),
            *(web.get(f"{app}/integrations/{{integration}}/webhooks", self._hooks) for app in apps),
            *(web.get(f"{app}/switchboards", self._boards) for app in apps),
            *(web.get(f"{app}/switchboards/{BOARD}/switchboardIntegrations", self._integrations) for app in apps),
            *(web.get(place, self._show) for place in places),
            *(web.get(f"{place}/messages", self._list) for place in places),
            *(web.post(f"{place}/messages", self._post) for place in places),
            *(web.post(f"{place}/activity", self._activity) for place in places),
            *(web.post(f"{place}/passControl", self._pass) for place in places),
        ]

    def open(self, conversation: str, **fields: Any) -> Talk:
        """A conversation that is there."""
        self.talks[conversation] = Talk(conversation, **fields)
        return self.talks[conversation]

    def _authenticate(self, request: web.Request) -> None:
        proof = base64.b64encode(f"{KEY_ID}:{KEY_SECRET}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {proof}":
            raise web.HTTPUnauthorized(text='{"errors":[{"code":"unauthorized","title":"Authorization is required"}]}')

    def _administer(self, request: web.Request) -> None:
        """What concerns the app as a whole."""
        self._authenticate(request)
        if self.narrow or request.match_info["app"] != APP_ID:
            raise web.HTTPForbidden(text='{"errors":[{"code":"forbidden","title":"Forbidden"}]}')

    async def _app(self, request: web.Request) -> web.Response:
        self._administer(request)
        return web.json_response({"app": {"id": APP_ID, "displayName": "Shop"}})

    async def _connected(self, request: web.Request) -> web.Response:
        self._administer(request)
        if self.webhooks is None:
            raise web.HTTPForbidden(text='{"errors":[{"code":"forbidden","title":"Forbidden"}]}')
        return web.json_response({"integrations": [{"id": "web-1", "type": "web"}, {"id": "custom-1", "type": "custom"}]})

    async def _hooks(self, request: web.Request) -> web.Response:
        self._administer(request)
        if request.match_info["integration"] != "custom-1":
            raise web.HTTPBadRequest(text='{"errors":[{"code":"bad_request","title":"No webhooks"}]}')
        return web.json_response({"webhooks": self.webhooks})

    async def _boards(self, request: web.Request) -> web.Response:
        self._administer(request)
        boards = [] if self.enabled is None else [{"id": BOARD, "enabled": self.enabled}]
        return web.json_response({"switchboards": boards})

    async def _integrations(self, request: web.Request) -> web.Response:
        self._administer(request)
        names = sorted({*self.after, *filter(None, self.after.values())})
        found = [{"id": f"id-of-{name}", "name": name, "deliverStandbyEvents": self.standby} for name in names]
        for one in found:
            if after := self.after.get(str(one["name"])):
                one["nextSwitchboardIntegrationId"] = f"id-of-{after}"
        return web.json_response({"switchboardIntegrations": found})

    def _talk(self, request: web.Request) -> Talk:
        self._authenticate(request)
        talk = self.talks.get(request.match_info["id"])
        if talk is None:
            raise web.HTTPNotFound(text='{"errors":[{"code":"conversation_not_found","title":"Conversation not found"}]}')
        return talk

    async def _show(self, request: web.Request) -> web.Response:
        return web.json_response({"conversation": self._talk(request).shown()})

    async def _list(self, request: web.Request) -> web.Response:
        """The latest page, or the one before a message."""
        messages = self._talk(request).messages
        before = request.query.get("page[before]")
        end = next((place for place, one in enumerate(messages) if one["id"] == before), len(messages))
        begin = max(0, end - self.page_size)
        meta: dict[str, Any] = {"hasMore": begin > 0}
        if begin > 0:
            meta["beforeCursor"] = messages[begin]["id"]
        return web.json_response({"messages": messages[begin:end], "meta": meta})

    async def _post(self, request: web.Request) -> web.Response:
        talk, asked = self._talk(request), await request.json()
        content = asked["content"]
        if len(content.get("text") or content.get("markdownText") or "") > _MOST_TEXT:
            return web.json_response({"errors": [{"code": "bad_request", "title": "text is too long"}]}, status=400)
        for action in content.get("actions", ()):
            if action.get("type") != "reply" or not 0 < len(action.get("text", "")) <= _MOST_ACTION or "payload" not in action:
                return web.json_response({"errors": [{"code": "bad_request", "title": "Invalid action"}]}, status=400)
        message = {"id": f"message-{next(self._ids)}", **asked}
        talk.messages.append(message)
        return web.json_response({"messages": [message]}, status=201)

    async def _activity(self, request: web.Request) -> web.Response:
        self._talk(request).activities.append(await request.json())
        return web.json_response({})

    async def _pass(self, request: web.Request) -> web.Response:
        """`next` is the one after whoever is active: the app's key does not say who asks."""
        talk, asked = self._talk(request), await request.json()
        wanted = asked["switchboardIntegration"]
        talk.active = self.after.get(talk.active, AGENTS) if wanted == "next" else wanted
        talk.passed.append(asked)
        return web.json_response({})


def said(text: str | None = "Where is my order?", *, number: int = 1, active: str | None = OURS, **author: Any) -> dict[str, Any]:
    """The event of one message; without an author's fields, a person's."""
    content = {"type": "text", "text": text} if text is not None else {"type": "image", "mediaUrl": "https://example.com/a.png"}
    conversation = Talk("13f32c6cf7d0d38e6e0eba93", active=active or "").shown()
    who = {"type": "user", "userId": "cbec0073faeda4dfcd21d0f1", "displayName": "Anna", "user": {"id": "cbec0073faeda4dfcd21d0f1"}}
    message = {"id": f"5e55622dac66fb73a3c0{number:04}", "content": content, "author": {**who, **author}, "source": {"type": "web"}}
    return event("conversation:message", number, conversation=conversation, message=message)


def switched(kind: str, active: str | None, *, number: int = 1) -> dict[str, Any]:
    """The event of the switchboard after which an integration is active."""
    return event(
        f"switchboard:{kind}", number, conversation=Talk("13f32c6cf7d0d38e6e0eba93", active=active or "").shown(), metadata={}
    )


def event(kind: str, number: int = 1, **payload: Any) -> dict[str, Any]:
    """One event."""
    return {"id": f"0ca7d56ba7b2e081e479{number:04}", "type": kind, "createdAt": "2026-11-24T08:00:00.000Z", "payload": payload}


def request_of(*events: Any, app: str = APP_ID) -> dict[str, Any]:
    """The body of one request."""
    return {"app": {"id": app}, "webhook": {"id": "5e554d2cac66fb73a3c01869", "version": "v2"}, "events": list(events)}
