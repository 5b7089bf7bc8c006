"""Rows about the platforms: how fast Slack is acknowledged, and how close deliveries come to what Telegram's limits allow."""

import asyncio
import hashlib
import hmac
import json
import math
import secrets
import statistics
import time
from typing import Any

import redis

from connectors.simulators.slack import Slack as SimulatedSlack
from connectors.simulators.telegram import SimulatedTelegram
from engine.lanes import Lanes
from engine.messages import Address
from engine.settings import Settings
from tests.bench.load import percentile, send
from tests.bench.rows import QUESTIONS, Row, running
from tests.conftest import wait_for
from tests.desk import Desk
from tests.loops import queue

SIGNING_SECRET = secrets.token_hex(16)
#: Telegram's limits: messages a second of a bot, and in one chat.
PER_BOT, PER_CHAT = 30, 1
CHATS, EACH = 100, 10


def slack_ack() -> Row:
    """Signed events at 200 a second while the model is at their questions."""
    rate, count, rounds = 200, 2000, 5
    p99s, p50s = [], []
    with SimulatedSlack() as slack:
        accounts = {
            "SLACK_SHOP_SIGNING_SECRET": SIGNING_SECRET,
            "SLACK_SHOP_BOT_TOKEN": "xoxb-simulated-token",
            "SLACK_SHOP_API_BASE_URL": f"{slack.url}/api/",
        }
        with running("web", "answer", "deliver", MAX_TOKENS="48", CACHE="false", DEADLINE_CHAT="3600", **accounts) as system:
            asyncio.run(send(system.port, events(200, system.port), status=200))
            for _ in range(rounds):
                latencies, _ = asyncio.run(send(system.port, events(count, system.port), rate=rate, status=200))
                p50s.append(percentile(latencies, 50))
                p99s.append(percentile(latencies, 99))
            busy = client_of(system.redis_url).hget("rm:{0}:in:stats", "messages")
    p99 = statistics.median(p99s)
    detail = {"p50_ms": p50s, "p99_ms": p99s, "offered_per_s": rate, "events": count, "waiting_at_the_end": int(busy)}
    return Row(p99, "p99 under 100 ms at 200 events/s", p99 < 100, detail)


def events(count: int, port: int) -> list[bytes]:
    """Signed direct messages, each of another person."""
    timestamp = str(int(time.time()))
    made = []
    for number in range(count):
        ts = f"{timestamp}.{secrets.randbelow(10**6):06}"
        event = {"type": "message", "channel_type": "im", "channel": f"D{secrets.token_hex(4).upper()}", "user": f"U{number:08}"}
        event |= {"text": QUESTIONS[number % len(QUESTIONS)], "ts": ts, "event_ts": ts, "team": "T1"}
        outer = {"type": "event_callback", "event_id": f"Ev{secrets.token_hex(6)}", "team_id": "T1", "api_app_id": "A1"}
        body = json.dumps(outer | {"event": event, "event_time": int(timestamp), "authorizations": []}).encode()
        signature = hmac.digest(SIGNING_SECRET.encode(), f"v0:{timestamp}:".encode() + body, hashlib.sha256).hex()
        head = (
            f"POST /slack/shop/events HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
            f"x-slack-request-timestamp: {timestamp}\r\nx-slack-signature: v0={signature}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        made.append(head.encode() + body)
    return made


def delivery_pace() -> Row:
    """1,000 replies to 100 chats under Telegram's own limits, unscaled; two delivery workers share them."""
    with SimulatedTelegram(token=f"700001:{secrets.token_hex(16)}") as telegram:
        accounts = {
            "TELEGRAM_SHOP_TOKEN": telegram.token,
            "TELEGRAM_SHOP_API_BASE_URL": telegram.url,
            "TELEGRAM_SHOP_WEBHOOK_URL": "https://bot.example/telegram/shop",
            "TELEGRAM_SHOP_WEBHOOK_SECRET": secrets.token_hex(16),
        }
        with running("web", DEADLINE_CHAT="3600", **accounts) as system:
            desk = Desk(client_of(system.redis_url), Lanes(Settings(secret_key=system.environ["REPLYMILL_SECRET_KEY"])))
            for chat in range(CHATS):
                to = Address(platform="telegram", tenant="shop", channel=f"shop/{chat + 1}")
                queue(desk, to, *(f"Reply {number} to chat {chat}." for number in range(EACH)))
            system.start("deliver", "deliver-2")
            wait_for(lambda: len(telegram.to("/sendMessage")) >= CHATS * EACH, timeout=180)
            calls = telegram.to("/sendMessage")
    took = calls[-1].at - calls[0].at
    # The first of a window go at once; whoever is next goes a whole second later.
    allowed = float(max(math.ceil(CHATS * EACH / PER_BOT), math.ceil(EACH / PER_CHAT)) - 1)
    ratio = round(took / allowed, 3)
    ordered = all(texts == sorted(texts, key=number_of) for texts in by_chat(calls).values())
    detail = {"seconds": round(took, 2), "the_limits_allow_s": round(allowed, 2), "replies": len(calls), "in_order": ordered}
    return Row(ratio, "at most 1.05 of what the limits allow", ratio <= 1.05 and ordered and len(calls) == CHATS * EACH, detail)


def by_chat(calls: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for call in calls:
        found.setdefault(str(call.body["chat_id"]), []).append(call.body["text"])
    return found


def number_of(text: str) -> int:
    return int(text.split()[1])


def client_of(url: str) -> Any:
    return redis.Redis.from_url(url)


ROWS = {"slack-ack": slack_ack, "delivery-pace": delivery_pace}
