"""A platform that speaks for many conversations is not slowed down because one of them is full."""

import dataclasses
import functools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import redis

from connectors.simulators import chatwoot, freshchat, intercom, sunshine, zammad, zendesk
from engine.accounts import Account, ChatwootBot, FreshchatBot, IntercomApp, SunshineApp, TelegramBot, ZammadDesk, ZendeskDesk
from engine.keys import Direction
from engine.lanes import Lanes
from engine.messages import InboundMessage
from engine.settings import Settings
from tests.conftest import wait_for
from tests.desk import Desk
from tests.doors import Door, opened, ready

pytestmark = pytest.mark.one_redis

SECRET = "a-webhook-secret-of-the-tests"
TOKEN = "an-access-token-of-the-tests"
KNOWN = {"name": "desk", "tenant": "acme"}

#: Headers and body of a request.
Signed = tuple[dict[str, str], bytes]


@dataclass
class Tool:
    """A support tool: its account, and the request for something that a customer writes into the first or second conversation."""

    account: Account
    asked: Callable[[int, str], Signed]


def a_chatwoot() -> Tool:
    inbox = chatwoot.SimulatedChatwoot(TOKEN, SECRET)
    talks = [inbox.opened(number) for number in (1, 2)]

    def asked(place: int, text: str) -> Signed:
        body = chatwoot.raw(inbox.written(talks[place], text))
        return inbox.signed(body), body

    return Tool(ChatwootBot(**KNOWN, base_url="http://127.0.0.1:9", access_token=TOKEN, secret=SECRET), asked)


def a_zammad() -> Tool:
    desk = zammad.SimulatedZammad(TOKEN, SECRET)
    tickets = [desk.opened(number) for number in (1, 2)]

    def asked(place: int, text: str) -> Signed:
        body = zammad.raw(desk.written(tickets[place], text))
        return desk.signed(body), body

    return Tool(ZammadDesk(**KNOWN, base_url="http://127.0.0.1:9", token=TOKEN, webhook_secret=SECRET), asked)


def a_zendesk() -> Tool:
    comments = iter(range(1, 100))

    def asked(place: int, text: str) -> Signed:
        comment = str(next(comments))
        raw = json.dumps(zendesk.triggered(ticket_id=str(17 + place), comment_id=comment, comment_text=text)).encode()
        return zendesk.signed(raw, invocation=f"invocation-{comment}"), raw

    where = {"base_url": "https://shop.zendesk.com", "email": zendesk.EMAIL, "api_token": zendesk.API_TOKEN}
    return Tool(ZendeskDesk(**KNOWN, **where, webhook_secret=zendesk.WEBHOOK_SECRET, bot_user_id=str(zendesk.BOT_ID)), asked)


def a_telegram() -> Tool:
    numbers = iter(range(1, 100))

    def asked(place: int, text: str) -> Signed:
        chat = {"id": 42 + place, "type": "private", "first_name": "Anna"}
        number = next(numbers)
        sender = {"id": 42 + place, "is_bot": False, "first_name": "Anna"}
        message = {"message_id": number, "date": int(time.time()), "chat": chat, "from": sender, "text": text}
        headers = {"x-telegram-bot-api-secret-token": SECRET, "content-type": "application/json"}
        return headers, json.dumps({"update_id": number, "message": message}).encode()

    where = {"webhook_url": "https://bot.example.com/telegram/desk", "api_base_url": "http://127.0.0.1:9"}
    return Tool(TelegramBot(**KNOWN, token="123456:a-token-of-the-tests", webhook_secret=SECRET, **where), asked)


def of_sunshine(*events: dict[str, Any]) -> Signed:
    headers = {"x-api-key": sunshine.WEBHOOK_SECRET, "content-type": "application/json"}
    return headers, json.dumps(sunshine.request_of(*events)).encode()


def message_in(place: int, text: str, number: int) -> dict[str, Any]:
    said = sunshine.said(text, number=number)
    said["payload"]["conversation"]["id"] = f"13f32c6cf7d0d38e6e0eba9{place}"
    return said


def a_sunshine() -> Tool:
    numbers = iter(range(1, 100))

    def asked(place: int, text: str) -> Signed:
        return of_sunshine(message_in(place, text, next(numbers)))

    key = {"app_id": sunshine.APP_ID, "key_id": sunshine.KEY_ID, "key_secret": sunshine.KEY_SECRET}
    return Tool(SunshineApp(**KNOWN, **key, webhook_secret=sunshine.WEBHOOK_SECRET, switchboard=sunshine.OURS), asked)


def an_intercom() -> Tool:
    workspace = intercom.IntercomSimulator(client_secret=SECRET, token=TOKEN)
    numbers = [json.loads(workspace.begin()[1])["data"]["item"]["id"] for _ in range(2)]

    def asked(place: int, text: str) -> Signed:
        return workspace.write(numbers[place], f"<p>{text}</p>")

    return Tool(IntercomApp(**KNOWN, access_token=TOKEN, client_secret=SECRET, admin_id=intercom.BOT), asked)


def a_freshchat() -> Tool:
    account = freshchat.FreshchatSimulator(token=TOKEN)
    numbers = [account.begin() for _ in range(2)]

    def asked(place: int, text: str) -> Signed:
        return account.write(numbers[place], text)

    key = {"base_url": "http://127.0.0.1:9", "token": TOKEN, "public_key": account.public_key}
    return Tool(FreshchatBot(**KNOWN, **key, actor_id=freshchat.BOT), asked)


TOOLS: dict[str, Callable[[], Tool]] = {
    "chatwoot": a_chatwoot,
    "zammad": a_zammad,
    "zendesk": a_zendesk,
    "sunshine": a_sunshine,
    "intercom": an_intercom,
    "freshchat": a_freshchat,
    "telegram": a_telegram,
}


@functools.cache
def the_tool(name: str) -> Tool:
    """One for all tests: each makes a simulator, which is never started."""
    return TOOLS[name]()


def with_tool(settings: Settings, name: str, tool: Tool, **changes: Any) -> Settings:
    return dataclasses.replace(
        settings, accounts={name: {"desk": tool.account}}, quiet_chat=0.0, quiet_chat_max=0.0, **{"lane_messages": 1, **changes}
    )


@pytest.fixture(params=TOOLS)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def tool(name: str) -> Tool:
    return the_tool(name)


@pytest.fixture
def door(settings: Settings, name: str, tool: Tool) -> Iterator[Door]:
    with opened(with_tool(settings, name, tool)) as door:
        wait_for(lambda: ready(door))
        yield door


def post(door: Door, name: str, signed: Signed) -> httpx.Response:
    headers, body = signed
    return door.http.post(f"/{name}/desk", content=body, headers=headers)


def waiting(door: Door, client: redis.Redis) -> list[str]:
    """The texts that wait to be answered, of every conversation."""
    desk = Desk(client, Lanes(door.settings))
    lanes = [lane for shard in range(door.settings.shards) for lane in desk.claim(shard=shard).lanes]
    return sorted(InboundMessage.from_entry(entry).text for lane in lanes for entry in lane.entries)


def notices(door: Door, client: redis.Redis) -> int:
    """How many fixed texts wait to be posted."""
    lanes = Lanes(door.settings)
    return sum(lanes.backlog(shard).run(client)[list(Direction).index(Direction.OUT)].messages for shard in lanes.shards)


def test_a_full_conversation_is_taken_and_does_not_hold_up_the_next(
    door: Door, name: str, tool: Tool, redis_client: redis.Redis
) -> None:
    answers = [post(door, name, tool.asked(place, text)) for place, text in ((0, "one"), (0, "two"), (0, "three"), (1, "four"))]

    assert [answered.status_code for answered in answers] == [200] * 4
    assert (waiting(door, redis_client), notices(door, redis_client)) == (["four", "one"], 1)
    assert f'replymill_inbound_total{{platform="{name}",verdict="full"}} 2.0' in door.http.get("/metrics").text


def test_a_full_tenant_and_an_outage_make_the_tool_come_back(settings: Settings, name: str, tool: Tool) -> None:
    away = {"chatwoot": 429, "zendesk": 429, "intercom": 429}.get(name, 503)
    with opened(with_tool(settings, name, tool, lane_messages=5, tenant_messages=1)) as door:
        wait_for(lambda: ready(door))
        crowded = [post(door, name, tool.asked(place, "hello")) for place in (0, 1)][1]
    with opened(with_tool(settings, name, tool, redis_url="redis://127.0.0.1:9/0")) as door:
        refused = post(door, name, tool.asked(0, "hello"))

    assert (crowded.status_code, refused.status_code) == (429 if away == 503 else away, away)
    assert int(crowded.headers["retry-after"]) < 60


def test_a_full_conversation_takes_no_other_event_of_its_request_with_it(settings: Settings, redis_client: redis.Redis) -> None:
    with opened(with_tool(settings, "sunshine", the_tool("sunshine"))) as door:
        wait_for(lambda: ready(door))
        several = of_sunshine(*(message_in(place, text, n) for n, (place, text) in enumerate(((1, "a"), (1, "b"), (2, "c")), 1)))
        answers = [post(door, "sunshine", several) for _ in range(2)]

        assert [answered.status_code for answered in answers] == [200, 200]
        assert waiting(door, redis_client) == ["a", "c"]
