"""A simulated Bot API: it holds updates until they are confirmed, checks what is sent, and refuses what Telegram refuses.

Texts of errors are those of tdlib's server.
"""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx
from aiohttp import web

from connectors.simulators.server import Simulator
from connectors.simulators.telegram_markup import Refused, buttons_of, made, visible

#: How far ahead of the newest update an offset may be. [S] tdlib's TQueue.
_FAR = 10
#: UTF-16 units of a text, and bytes of a button's data.
_LONGEST, _LONGEST_DATA = 4_096, 64
#: Fields that are text whatever stands in them.
_TEXTS = {"text", "url", "secret_token", "callback_query_id", "parse_mode", "action", "file_id"}


class SimulatedTelegram(Simulator):
    """One bot; every chat exists that is not said to be unknown."""

    def __init__(self, token: str = "700001:AAE-simulated_token", username: str = "ShopBot") -> None:  # noqa: S107 - opens nothing
        super().__init__()
        self.token = token
        self.id = int(token.partition(":")[0])
        self.username = username
        #: Not confirmed yet, oldest first.
        self.updates: list[dict[str, Any]] = []
        #: What the webhook was set to; empty: there is none.
        self.webhook: dict[str, Any] = {}
        self.commands: list[dict[str, str]] = []
        #: Messages of the bot, in order.
        self.sent: list[dict[str, Any]] = []
        self.drafts: list[dict[str, Any]] = []
        self.actions: list[dict[str, Any]] = []
        #: Presses of buttons that were answered.
        self.answered: list[str] = []
        #: Chats that have blocked the bot, or whose topics are closed, or that do not exist.
        self.blocked: set[int] = set()
        self.closed: set[int] = set()
        self.unknown: set[int] = set()
        #: Groups that have become supergroups, and their new ids.
        self.migrated: dict[int, int] = {}
        #: Groups with topics, the topics that were opened, and what the bot is in every group.
        self.forums: set[int] = set()
        self.topics: dict[int, str] = {}
        self.status = "creator"
        #: How often a poll was ended by another one.
        self.conflicts = 0
        self._polls = 0
        #: Paths by `file_id`.
        self.paths: dict[str, str] = {}
        self._next_update, self._next_message = 1_000, 500

    def routes(self) -> Sequence[web.RouteDef]:
        return [web.route("*", "/bot{token}/{method}", self._call)]

    def __exit__(self, *_: object) -> None:
        # A poll that is held ends.
        self._polls += 1
        super().__exit__()

    def says(self, text: str | None = "hello", *, kind: str = "message", **fields: Any) -> dict[str, Any]:
        """Somebody writes: an update, complete but for what `fields` add; it is held until it is confirmed."""
        message = self.message(text, **fields)
        return self.happens({kind: message})

    def happens(self, content: dict[str, Any]) -> dict[str, Any]:
        """An update with the next id."""
        self._next_update += 1
        update = {"update_id": self._next_update, **content}
        self.updates.append(update)
        return update

    def number_anew(self, first: int) -> None:
        """As Telegram does after a week without updates: the next ids have nothing to do with those before."""
        self._next_update = first - 1

    def message(self, text: str | None = "hello", *, chat: int = 42, sender: int = 42, **fields: Any) -> dict[str, Any]:
        """A message as Telegram writes it."""
        self._next_message += 1
        kind = "private" if chat > 0 else "supergroup"
        made: dict[str, Any] = {
            "message_id": self._next_message,
            "date": int(time.time()),
            "chat": {"id": chat, "type": kind},
            "from": {"id": sender, "is_bot": False, "first_name": "Anna"},
        }
        return made | ({} if text is None else {"text": text}) | fields

    def press(self, data: str, *, sender: int = 42, message: dict[str, Any] | None = None) -> dict[str, Any]:
        """Somebody presses a button below a message of the bot."""
        person = {"id": sender, "is_bot": False, "first_name": "Anna"}
        query = {"id": f"press-{self._next_update}", "from": person, "chat_instance": "1", "data": data}
        return self.happens({"callback_query": query | ({"message": message} if message else {})})

    def uploaded(self, file_id: str, content: bytes) -> str:
        """A file that somebody sent; its id."""
        self.paths[file_id] = f"voice/{file_id}.oga"
        self.keep(f"/file/bot{self.token}/{self.paths[file_id]}", content)
        return file_id

    def _get_file(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["file_id"] not in self.paths:
            raise Refused(400, "Bad Request: wrong file_id or the file is temporarily unavailable")
        return {"file_id": asked["file_id"], "file_unique_id": "u", "file_path": self.paths[asked["file_id"]]}

    async def _call(self, request: web.Request) -> web.Response:
        methods: dict[str, Callable[[dict[str, Any]], Any]] = {
            "getMe": self._me,
            "setWebhook": self._set_webhook,
            "deleteWebhook": self._delete_webhook,
            "getWebhookInfo": lambda _: {"url": "", "has_custom_certificate": False, "pending_update_count": 0} | self.webhook,
            "setMyCommands": self._set_commands,
            "sendMessage": self._send,
            "getChat": self._get_chat,
            "getChatMember": self._member,
            "createForumTopic": self._create_topic,
            "sendChatAction": self._act,
            "sendMessageDraft": self._draft,
            "answerCallbackQuery": self._answer,
            "editMessageReplyMarkup": self._edit_markup,
            "getFile": self._get_file,
        }
        method = request.match_info["method"]
        try:
            if request.match_info["token"] != self.token:
                raise Refused(401, "Unauthorized")
            asked = {name: _read(name, value) for name, value in {**request.query, **await _fields(request)}.items()}
            if method == "getUpdates":
                result: Any = await self._get_updates(asked)
            elif method in methods:
                result = methods[method](asked)
            else:
                raise Refused(404, "Not Found")
        except Refused as refused:
            return web.json_response(refused.answer, status=refused.status)
        return web.json_response({"ok": True, "result": result})

    async def _get_updates(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        if self.webhook:
            description = (
                "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
            )
            raise Refused(409, description)
        self._polls += 1
        mine = self._polls
        self._confirm(asked.get("offset", 0))
        ends = time.monotonic() + min(50, asked.get("timeout", 0))
        while not self.updates and time.monotonic() < ends and mine == self._polls:  # noqa: ASYNC110 - a test's thread fills it
            await asyncio.sleep(0.01)
        if mine != self._polls:
            self.conflicts += 1
            raise Refused(409, "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running")
        return self.updates[: asked.get("limit", 100)]

    def poll(self) -> int:
        """What another program does that polls this bot, once, without confirming anything; the status it gets."""
        with httpx.Client(base_url=self.url, trust_env=False) as other:
            return other.get(f"/bot{self.token}/getUpdates").status_code

    def _confirm(self, offset: int) -> None:
        """Lets go of what was confirmed. An offset far from all ids there are names none of them: the server passes it over."""
        if offset <= self._next_update + _FAR:
            self.updates = [update for update in self.updates if update["update_id"] >= offset]

    def _me(self, _: dict[str, Any]) -> dict[str, Any]:
        told = {"can_join_groups": True, "can_read_all_group_messages": False, "supports_inline_queries": False}
        return {"id": self.id, "is_bot": True, "first_name": "Shop", "username": self.username, **told}

    def _set_webhook(self, asked: dict[str, Any]) -> bool:
        if not str(asked.get("url", "")).startswith("https://"):
            raise Refused(400, "Bad Request: bad webhook: An HTTPS URL must be provided for webhook")
        self.webhook = asked
        return True

    def _delete_webhook(self, _: dict[str, Any]) -> bool:
        self.webhook = {}
        return True

    def _set_commands(self, asked: dict[str, Any]) -> bool:
        self.commands = asked["commands"]
        return True

    def _send(self, asked: dict[str, Any]) -> dict[str, Any]:
        chat = self._chat(asked)
        text = str(asked.get("text", ""))
        seen = visible(text) if asked.get("parse_mode") == "HTML" else text
        if not seen.strip():
            raise Refused(400, "Bad Request: message text is empty")
        if len(seen.encode("utf-16-le")) // 2 > _LONGEST:
            raise Refused(400, "Bad Request: message is too long")
        if any(len(button["callback_data"].encode()) > _LONGEST_DATA for button in buttons_of(asked)):
            raise Refused(400, "Bad Request: BUTTON_DATA_INVALID")
        self.sent.append({**asked, "text": text, "seen": seen})
        self.took_effect(self.sent[-1])
        self._next_message += 1
        author = {"id": self.id, "is_bot": True, "first_name": "Shop"}
        place = {"id": chat, "type": "private" if chat > 0 else "supergroup"}
        self.sent[-1]["message_id"] = self._next_message
        return {"message_id": self._next_message, "date": int(time.time()), "chat": place, "from": author, "text": seen}

    def _get_chat(self, asked: dict[str, Any]) -> dict[str, Any]:
        chat = self._chat(asked)
        kind = "private" if chat > 0 else "supergroup"
        return {"id": chat, "type": kind, "is_forum": chat in self.forums}

    def _member(self, asked: dict[str, Any]) -> dict[str, Any]:
        self._chat(asked)
        user = {"id": asked["user_id"], "is_bot": True, "first_name": "Shop"}
        return {"user": user, "status": self.status}

    def _create_topic(self, asked: dict[str, Any]) -> dict[str, Any]:
        if self._chat(asked) not in self.forums:
            raise Refused(400, "Bad Request: the chat is not a forum")
        self._next_message += 1
        self.topics[self._next_message] = str(asked["name"])
        return {"message_thread_id": self._next_message, "name": asked["name"], "icon_color": 7322096}

    def _act(self, asked: dict[str, Any]) -> bool:
        self._chat(asked)
        self.actions.append(asked)
        return True

    def _draft(self, asked: dict[str, Any]) -> bool:
        if self._chat(asked) < 0 or not asked.get("draft_id"):
            raise Refused(400, "Bad Request: TEXTDRAFT_PEER_INVALID")
        self.drafts.append(asked)
        return True

    def _answer(self, asked: dict[str, Any]) -> bool:
        if not asked.get("callback_query_id"):
            raise Refused(400, "Bad Request: query is too old and response timeout expired or query ID is invalid")
        self.answered.append(asked["callback_query_id"])
        return True

    def _edit_markup(self, asked: dict[str, Any]) -> Any:
        found = next((one for one in self.sent if one["message_id"] == asked.get("message_id")), None)
        if found is None:
            raise Refused(400, "Bad Request: message to edit not found")
        if found.get("reply_markup") == asked.get("reply_markup"):
            raise Refused(400, "Bad Request: message is not modified")
        found["reply_markup"] = asked.get("reply_markup")
        return made(found, self.id)

    def picks(self, words: str, *, sender: int = 42) -> dict[str, Any]:
        """Somebody presses the button with these words below the latest message that has it."""
        shown = ((sent, button) for sent in reversed(self.sent) for button in buttons_of(sent) if button["text"] == words)
        sent, button = next(shown)
        return self.press(button["callback_data"], sender=sender, message=made(sent, self.id))

    def _chat(self, asked: dict[str, Any]) -> int:
        chat = asked.get("chat_id", 0)
        if chat in self.migrated:
            description = "Bad Request: group chat was upgraded to a supergroup chat"
            raise Refused(400, description, migrate_to_chat_id=self.migrated[chat])
        if chat in self.blocked:
            raise Refused(403, "Forbidden: bot was blocked by the user")
        if chat in self.closed:
            raise Refused(400, "Bad Request: TOPIC_CLOSED")
        if not isinstance(chat, int) or not chat or chat in self.unknown:
            raise Refused(400, "Bad Request: chat not found")
        return chat


async def _fields(request: web.Request) -> dict[str, Any]:
    if request.content_type == "application/json":
        found = await request.json()
        return found if isinstance(found, dict) else {}
    return dict(await request.post())


def _read(name: str, value: Any) -> Any:
    """Forms hold numbers and objects as JSON."""
    if name in _TEXTS or not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:  # a plain word
        return value
