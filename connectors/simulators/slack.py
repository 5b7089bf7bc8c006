"""Slack as far as Replymill sees it: the Web API with its ways to refuse, and Socket Mode."""

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

from aiohttp import WSMsgType, web

from connectors.simulators.server import Simulator

#: Slack's own limits. [S]
LONGEST_TEXT, LONGEST_UPDATE, LONGEST_SECTION = 40_000, 4_000, 3_000
MOST_BLOCKS = 50
_KNOWN_BLOCKS = frozenset({"section", "context_actions", "markdown", "header", "divider", "context", "actions"})


class Slack(Simulator):
    """One Slack with any number of workspaces, told apart by their tokens."""

    def __init__(self) -> None:
        super().__init__()
        #: By channel, oldest first.
        self.messages: dict[str, list[dict[str, Any]]] = {}
        #: What every call with such a token is refused with.
        self.refused: dict[str, str] = {}
        #: What every call for such a channel is refused with.
        self.closed: dict[str, str] = {}
        #: Channels that the bot is not in.
        self.outside: set[str] = set()
        #: Methods that this Slack does not have.
        self.missing: set[str] = set()
        #: By code or refresh token: what `oauth.v2.access` answers.
        self.grants: dict[str, dict[str, Any]] = {}
        #: Status by (channel, thread).
        self.status: dict[tuple[str, str], str] = {}
        #: Sockets that are open, and every envelope id that was acknowledged.
        self.sockets: list[web.WebSocketResponse] = []
        self.acknowledged: list[str] = []
        self.opened = 0
        self._count = 0

    @property
    def api(self) -> str:
        return f"{self.url}/api/"

    def routes(self) -> Sequence[web.RouteDef]:
        return [
            web.post("/api/{method}", self._call),
            web.get("/api/{method}", self._call),
            web.get("/link", self._link),
        ]

    def push(self, envelope: dict[str, Any]) -> None:
        """Send an envelope over the newest socket."""
        coroutine = self.sockets[-1].send_str(json.dumps(envelope))
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _call(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        if method in self.missing:
            return web.json_response({"message": "Not Found"}, status=404)
        arguments: dict[str, Any] = dict(request.query)
        if request.content_type == "application/json":
            arguments |= await request.json()
        else:
            arguments |= dict(await request.post())
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        return web.json_response(self._answer(method, str(arguments.get("token") or bearer), arguments))

    def _answer(self, method: str, token: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if token in self.refused:
            return {"ok": False, "error": self.refused[token]}
        if method == "oauth.v2.access":
            grant = self.grants.pop(str(arguments.get("code") or arguments.get("refresh_token")), None)
            return {"ok": True, **grant} if grant else {"ok": False, "error": "invalid_code"}
        if not token:
            return {"ok": False, "error": "not_authed"}
        channel = str(arguments.get("channel") or arguments.get("channel_id") or "")
        if channel in self.closed:
            return {"ok": False, "error": self.closed[channel]}
        known = {
            "apps.connections.open": self._open,
            "auth.test": self._test,
            "bots.info": self._bot,
            "assistant.threads.setStatus": self._set_status,
            "chat.appendStream": self._append,
            "chat.delete": self._delete,
            "chat.postMessage": self._post,
            "chat.startStream": self._begin_stream,
            "chat.stopStream": self._stop,
            "chat.update": self._update,
            "conversations.history": self._history,
            "conversations.info": self._info,
            "conversations.list": self._list,
            "conversations.replies": self._history,
        }
        if method not in known:
            return {"ok": False, "error": "unknown_method"}
        return known[method](channel, arguments)

    def _test(self, _channel: str, _arguments: dict[str, Any]) -> dict[str, Any]:
        return {
            "ok": True,
            "bot_id": "B1",
            "user_id": "UBOT",
            "user": "replymill",
            "team": "Acme",
            "team_id": "T1",
            "url": "https://acme.slack.com/",
        }

    def _bot(self, _channel: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"ok": True, "bot": {"id": arguments.get("bot"), "app_id": "A1", "user_id": "UBOT"}}

    def _info(self, channel: str, _arguments: dict[str, Any]) -> dict[str, Any]:
        return {"ok": True, "channel": {"id": channel, "name": "support", "is_member": channel not in self.outside}}

    def _post(self, channel: str, arguments: dict[str, Any]) -> dict[str, Any]:
        text = arguments.get("text", "")
        blocks = arguments.get("blocks") or []
        if not text and not blocks:
            return {"ok": False, "error": "no_text"}
        if any(block.get("type") not in _KNOWN_BLOCKS for block in blocks) or not all(_fits(block) for block in blocks):
            return {"ok": False, "error": "invalid_blocks"}
        if len(blocks) > MOST_BLOCKS:
            return {"ok": False, "error": "msg_blocks_too_many"}
        kept = {key: arguments[key] for key in ("thread_ts", "metadata", "blocks") if arguments.get(key)}
        if channel.startswith("U"):  # a person: their direct messages with the bot
            channel = f"D{channel}"
        return self._keep(channel, {"text": text[:LONGEST_TEXT], **kept})

    def _keep(self, channel: str, message: dict[str, Any]) -> dict[str, Any]:
        self._count += 1
        kept = {"type": "message", "ts": f"{int(time.time())}.{self._count:06d}", "bot_id": "B1", "user": "UBOT", **message}
        self.messages.setdefault(channel, []).append(kept)
        self.took_effect(kept)
        return {"ok": True, "channel": channel, "ts": kept["ts"], "message": kept}

    def _find(self, channel: str, ts: str) -> dict[str, Any] | None:
        return next((one for one in self.messages.get(channel, []) if one["ts"] == ts), None)

    def _update(self, channel: str, arguments: dict[str, Any]) -> dict[str, Any]:
        found = self._find(channel, arguments["ts"])
        if found is None:
            return {"ok": False, "error": "message_not_found"}
        if len(arguments.get("text", "")) > LONGEST_UPDATE:
            return {"ok": False, "error": "msg_too_long"}
        if found.get("streaming"):
            return {"ok": False, "error": "streaming_state_conflict"}
        found |= {key: arguments[key] for key in ("text", "metadata", "blocks") if arguments.get(key)}
        self.took_effect(found)
        return {"ok": True, "ts": found["ts"]}

    def _delete(self, channel: str, arguments: dict[str, Any]) -> dict[str, Any]:
        found = self._find(channel, arguments["ts"])
        if found is None:
            return {"ok": False, "error": "message_not_found"}
        self.messages[channel].remove(found)
        return {"ok": True}

    def _list(self, _channel: str, arguments: dict[str, Any]) -> dict[str, Any]:
        known = [{"id": name, "user": name[1:], "is_im": True} for name in sorted(self.messages) if name.startswith("DU")]
        start, size = int(arguments.get("cursor") or 0), int(arguments.get("limit") or 100)
        cursor = str(start + size) if start + size < len(known) else ""
        return {"ok": True, "channels": known[start : start + size], "response_metadata": {"next_cursor": cursor}}

    def _history(self, channel: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if channel.startswith("U"):
            return {"ok": False, "error": "channel_not_found"}
        found = [one for one in self.messages.get(channel, []) if float(one["ts"]) >= float(arguments.get("oldest") or 0)]
        if root := arguments.get("ts"):
            found = [one for one in found if root in (one["ts"], one.get("thread_ts"))]
        start = int(arguments.get("cursor") or 0)
        size = int(arguments.get("limit") or 100)
        page = found[start : start + size]
        cursor = str(start + size) if start + size < len(found) else ""
        shown = page if arguments.get("include_all_metadata") else [{**one, "metadata": None} for one in page]
        return {"ok": True, "messages": shown, "response_metadata": {"next_cursor": cursor}}

    def _set_status(self, channel: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self.status[channel, arguments["thread_ts"]] = arguments["status"]
        return {"ok": True}

    def _begin_stream(self, channel: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if not arguments.get("thread_ts"):
            return {"ok": False, "error": "invalid_thread_ts"}
        text = arguments.get("markdown_text", "")
        return self._keep(channel, {"text": text, "thread_ts": arguments["thread_ts"], "streaming": True})

    def _append(self, channel: str, arguments: dict[str, Any]) -> dict[str, Any]:
        found = self._find(channel, arguments["ts"])
        if found is None or not found.get("streaming"):
            return {"ok": False, "error": "message_not_in_streaming_state"}
        found["text"] += arguments["markdown_text"]
        return {"ok": True, "ts": found["ts"]}

    def _stop(self, channel: str, arguments: dict[str, Any]) -> dict[str, Any]:
        found = self._find(channel, arguments["ts"])
        if found is None or not found.pop("streaming", False):
            return {"ok": False, "error": "message_not_in_streaming_state"}
        found["text"] += arguments.get("markdown_text") or ""
        found |= {key: arguments[key] for key in ("metadata", "blocks") if arguments.get(key)}
        self.took_effect(found)
        return {"ok": True, "ts": found["ts"]}

    def _open(self, _channel: str, _arguments: dict[str, Any]) -> dict[str, Any]:
        self.opened += 1
        return {"ok": True, "url": f"ws://127.0.0.1:{self.port}/link?ticket={self.opened}"}

    async def _link(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        await socket.send_str(json.dumps({"type": "hello", "num_connections": 1}))
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                self.acknowledged.append(json.loads(message.data)["envelope_id"])
        return socket


def _fits(block: dict[str, Any]) -> bool:
    return block["type"] != "section" or len(block["text"]["text"]) <= LONGEST_SECTION
