"""The platforms of a run: simulated servers that keep what the bot said, and how a message comes from each to a Replymill."""

import base64
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from connectors.signatures import secret_bytes, sign
from connectors.simulators.server import Fault, Simulator
from connectors.simulators.slack import Slack
from connectors.simulators.telegram import SimulatedTelegram
from connectors.simulators.webhook import WebhookReceiver
from engine.messages import Source
from engine.settings import Settings
from engine.wordings import variants
from workers.chaos.ledger import Kind, Post
from workers.chaos.plan import Planned

#: Name of the account on every platform.
_NAME = "chaos"
#: Slack counts messages by workspace, several hundred a minute.
_WORKSPACES = 20
#: Ids of chats and updates begin here; those of groups would be negative.
_FIRST_CHAT, _FIRST_UPDATE = 100_000, 1_000_000
#: The number of a message that nobody sent.
_UNKNOWN = 10**12
#: Seconds a platform asks to wait when it has enough.
PAUSE = 1

_NAMED = re.compile(r"\bm([0-9]+)\b")
_FIXED = {
    text: kind
    for name, kind in (("apology", Kind.APOLOGY), ("handing_over", Kind.HAND_OVER))
    for text in variants(Settings(), name)
}


@dataclass(frozen=True)
class Request:
    """What the platform posts to the bot."""

    path: str
    body: bytes
    headers: Mapping[str, str]


class Side:
    """One platform. What it has of the bot is kept as it comes; it is read when the run is over."""

    #: As in the settings.
    platform = ""
    #: It takes an id by which it knows a repeat, or can be asked what it has.
    sure = True
    #: Where the bot sends to, and what a platform answers that has enough.
    sends = ""
    enough = Fault(status=429, headers={"retry-after": str(PAUSE)})

    def __init__(self) -> None:
        self.server: Simulator
        #: When each message of the bot took effect, by `time.monotonic`.
        self.kept: list[tuple[float, dict[str, Any]]] = []
        #: Which messages a reply answers is read from the ids it bears, not from its text.
        self.by_ids = False
        #: Sends that were dropped: the bot cannot tell whether they took effect.
        self.dropped = 0

    def environ(self) -> dict[str, str]:
        """The settings of the account."""
        raise NotImplementedError

    def request(self, message: Planned) -> Request:
        """How the message comes in; signed anew at each attempt."""
        raise NotImplementedError

    async def deliver(self, http: aiohttp.ClientSession, url: str, message: Planned) -> bool:
        """Send a message to the bot at `url`, once; whether the bot has acknowledged it."""
        asked = self.request(message)
        async with http.post(url + asked.path, data=asked.body, headers=dict(asked.headers)) as answer:
            said = await answer.read()
            if 200 <= answer.status < 300:
                self.accepted(message, said)
                return True
        return False

    def accepted(self, message: Planned, answer: bytes) -> None:
        """The bot has acknowledged a message so."""

    def said(self, message: Mapping[str, Any]) -> tuple[int, str]:
        """The conversation and the text of a message of the bot."""
        raise NotImplementedError

    def posts(self) -> list[Post]:
        """Everything the platform has of the bot, each conversation in order."""
        return [self._post(at, *self.said(message)) for at, message in list(self.kept)]

    def keep(self, message: dict[str, Any]) -> None:
        """A message of the bot has taken effect."""
        self.kept.append((time.monotonic(), message))

    def limit(self, count: int) -> None:
        """The next sends are answered 429."""
        self.server.go_wrong(self.sends, *[self.enough] * count)

    def drop(self, count: int, *, after_effect: bool) -> None:
        """The connection of the next sends is dropped, before they take effect or after."""
        self.dropped += count
        self.server.go_wrong(self.sends, *[Fault(drop=True, after_effect=after_effect)] * count)

    def sent_between(self, begin: float, end: float) -> int:
        """Messages of the bot that took effect then."""
        return sum(begin <= at <= end for at, _ in list(self.kept))

    def _post(self, at: float, conversation: int, text: str) -> Post:
        covers = tuple(int(number) for number in _NAMED.findall(text))
        kind = Kind.ANSWER if covers else _FIXED.get(text, Kind.NOTICE)
        return Post(platform=self.platform, conversation=conversation, at=at, kind=kind, covers=covers)


class WebhookSide(Side):
    """A customer's own server: it recognises a repeat by its webhook-id."""

    platform = "webhook"
    sends = "/replies"

    def __init__(self) -> None:
        super().__init__()
        self._numbers: dict[str, int] = {}
        self._secret = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
        self.server = self._receiver = _keeping(WebhookReceiver, self.keep)(self._secret)

    def environ(self) -> dict[str, str]:
        stem = f"WEBHOOK_{_NAME.upper()}"
        callback = {f"{stem}_CALLBACK_URL": self._receiver.callback, f"{stem}_CALLBACK_PRIVATE": "true"}
        return {f"{stem}_SECRET": self._secret, **callback}

    def request(self, message: Planned) -> Request:
        body = json.dumps({"conversation": str(message.conversation), "user": "u", "text": message.text}).encode()
        signed = sign(secret_bytes(self._secret), f"msg_{message.number}", timestamp=int(time.time()), body=body)
        return Request(f"/webhooks/{_NAME}", body, {**signed, "content-type": "application/json"})

    def accepted(self, message: Planned, answer: bytes) -> None:
        if self.by_ids:
            self._numbers[json.loads(answer)["id"]] = message.number

    def said(self, message: Mapping[str, Any]) -> tuple[int, str]:
        text = str(message["text"])
        if self.by_ids and message["source"] != Source.FALLBACK:
            text = " ".join(f"m{self._numbers.get(id_, _UNKNOWN)}" for id_ in message["ids"])
        return int(message["conversation"]), text


class SlackSide(Side):
    """Direct messages in several workspaces; Slack can be asked what it has."""

    platform = "slack"
    sends = "/chat.postMessage"
    enough = Fault(status=429, headers={"retry-after": str(PAUSE)}, body={"ok": False, "error": "ratelimited"})

    def __init__(self) -> None:
        super().__init__()
        #: A reply bears our metadata once it is whole.
        self.marked = True
        self._secret = secrets.token_hex(16)
        self.server = self._slack = _keeping(Slack, self.keep)()

    def environ(self) -> dict[str, str]:
        stem = f"SLACK_{_NAME.upper()}"
        api = {f"{stem}_API_BASE_URL": self._slack.api, f"{stem}_BOT_TOKEN": f"xoxb-{secrets.token_hex(8)}"}
        return {f"{stem}_SIGNING_SECRET": self._secret, **api}

    def request(self, message: Planned) -> Request:
        team, now = f"T{message.conversation % _WORKSPACES}", int(time.time())
        event = {
            "type": "message",
            "channel": f"D{message.conversation}",
            "channel_type": "im",
            "user": f"U{message.conversation}",
            "text": message.text,
            "ts": f"1700000000.{message.number:06d}",
        }
        envelope = {
            "type": "event_callback",
            "team_id": team,
            "event_id": f"Ev{message.number}",
            "authorizations": [{"team_id": team, "user_id": "UBOT", "is_bot": True}],
            "event": event,
        }
        body = json.dumps(envelope).encode()
        digest = hmac.new(self._secret.encode(), f"v0:{now}:".encode() + body, hashlib.sha256).hexdigest()
        headers = {"x-slack-signature": f"v0={digest}", "x-slack-request-timestamp": str(now)}
        return Request(f"/slack/{_NAME}/events", body, {**headers, "content-type": "application/json"})

    def posts(self) -> list[Post]:
        """As Slack has it now. What grew while it was made counts from when it was whole; what was only begun is left over."""
        latest = {message["ts"]: at for at, message in list(self.kept)}
        found = [
            self._read(latest.get(message["ts"], 0.0), int(channel[1:]), message)
            for channel, messages in list(self._slack.messages.items())
            for message in list(messages)
        ]
        return sorted(found, key=lambda post: post.at)

    def _read(self, at: float, conversation: int, message: Mapping[str, Any]) -> Post:
        if message.get("metadata") or not self.marked:
            return self._post(at, conversation, str(message["text"]))
        return Post(platform=self.platform, conversation=conversation, at=at, kind=Kind.LEFT_OVER)


class TelegramSide(Side):
    """Private chats of a bot with a webhook; nobody can ask Telegram what it has, and it takes no id of ours."""

    platform = "telegram"
    sure = False
    sends = "/sendMessage"
    enough = Fault(
        status=429,
        body={
            "ok": False,
            "error_code": 429,
            "description": f"Too Many Requests: retry after {PAUSE}",
            "parameters": {"retry_after": PAUSE},
        },
    )

    def __init__(self) -> None:
        super().__init__()
        self._secret = secrets.token_hex(16)
        self.server = self._telegram = _keeping(SimulatedTelegram, self.keep)()

    def environ(self) -> dict[str, str]:
        stem = f"TELEGRAM_{_NAME.upper()}"
        webhook = {f"{stem}_WEBHOOK_URL": f"https://bot.example/telegram/{_NAME}", f"{stem}_WEBHOOK_SECRET": self._secret}
        return {f"{stem}_TOKEN": self._telegram.token, f"{stem}_API_BASE_URL": self._telegram.url, **webhook}

    def request(self, message: Planned) -> Request:
        said = self._telegram.message(message.text, chat=_FIRST_CHAT + message.conversation) | {"message_id": message.number + 1}
        body = json.dumps({"update_id": _FIRST_UPDATE + message.number, "message": said}).encode()
        headers = {"x-telegram-bot-api-secret-token": self._secret, "content-type": "application/json"}
        return Request(f"/telegram/{_NAME}", body, headers)

    def said(self, message: Mapping[str, Any]) -> tuple[int, str]:
        return int(message["chat_id"]) - _FIRST_CHAT, str(message["seen"])


SIDES: Mapping[str, type[Side]] = {side.platform: side for side in (WebhookSide, SlackSide, TelegramSide)}


def _keeping(simulator: type[Any], keep: Callable[[dict[str, Any]], None]) -> Any:
    """The simulator, telling what takes effect."""
    return type(simulator.__name__, (simulator,), {"took_effect": lambda _, message: keep(message)})
