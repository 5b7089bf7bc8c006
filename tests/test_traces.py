"""The page of a trace, the same for programs and on the command line, found by id, by link and by name."""

import asyncio
import base64
import dataclasses
import json
from collections.abc import Iterator

import httpx
import pytest
import redis
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from connectors.lookup import Lookup
from connectors.platforms import table
from connectors.simulators.slack import Slack as SlackServer
from engine.errors import NoSuchMessage
from engine.lanes import Lanes
from engine.messages import Address
from engine.settings import Settings
from engine.store import connect_async
from engine.trail import Trail
from tests.conftest import wait_for
from tests.desk import Desk
from tests.doors import SECRET, Door, opened, ready, with_endpoint
from tests.test_cli import environ, replymill  # noqa: F401 - fixtures
from tests.test_dead_commands import Dead, variables  # noqa: F401 - fixtures

pytestmark = pytest.mark.one_redis

KEY = "an-api-key-of-the-tests"


@pytest.fixture
def door(settings: Settings, redis_client: redis.Redis) -> Iterator[Door]:
    with opened(with_endpoint(settings)) as door:
        wait_for(lambda: ready(door))
        yield door


def basic(key: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"ann:{key}".encode()).decode()}


def shown(door: Door, asked: str, **params: str) -> httpx.Response:
    return door.http.get(f"/trace/{asked}", headers=basic(KEY), params=params or None)


def test_a_message_that_came_in_is_on_its_page_with_its_first_moments(door: Door, redis_client: redis.Redis) -> None:
    message_id = door.post({"conversation": "c-42", "user": "u", "text": "hello"}).json()["id"]
    desk = Desk(redis_client, door.server.web.lanes)
    desk.commit(desk.take(), note='amW1F2G5kThM1 {"evidence":["<script>alert(1)</script>"]}')
    page = shown(door, message_id)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "accepted" in page.text
    assert "17 tokens at 85 a second" in page.text
    assert "rests on &lt;script&gt;" in page.text
    assert "<script" not in page.text


def test_the_page_loads_nothing_foreign_and_runs_no_script(door: Door) -> None:
    page = door.http.get("/trace", headers=basic(KEY))
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe" not in policy
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["x-frame-options"] == "DENY"
    assert door.http.get("/static/trace.css").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{}, basic("wrong"), {"authorization": "Basic !!"}, {"authorization": "Basic /w=="}, {"authorization": "Bearer x"}],
    ids=str,
)
@pytest.mark.parametrize("path", ["/trace", "/trace/anything"])
def test_without_a_key_nothing_is_shown(door: Door, headers: dict[str, str], path: str) -> None:
    refused = door.http.get(path, headers=headers)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Basic ")
    assert door.http.get("/v1/traces/anything", headers=headers).status_code == 401


def test_a_foreign_host_name_is_refused(door: Door) -> None:
    assert door.http.get("/trace", headers=basic(KEY) | {"host": "evil.example"}).status_code == 403


def test_the_form_leads_to_the_page_of_what_was_asked_for(door: Door) -> None:
    link = "https://chat.example/#ticket/zoom/7?a=b&c=d"
    moved = door.http.get("/trace", headers=basic(KEY), params={"of": f" {link} "}, follow_redirects=False)
    assert moved.status_code == 303
    page = door.http.get(moved.headers["location"], headers=basic(KEY))
    assert page.status_code == 404
    assert "https://chat.example/#ticket/zoom/7?a=b&amp;c=d" in page.text


def test_a_conversation_lists_its_messages_and_each_has_a_page(door: Door, redis_client: redis.Redis) -> None:
    first = door.post({"conversation": "c-42", "text": "one"}, message_id="msg_one").json()["id"]
    desk = Desk(redis_client, door.server.web.lanes)
    desk.commit(desk.take(), note="am")
    second = door.post({"conversation": "c-42", "text": "two"}, message_id="msg_two").json()["id"]
    page = shown(door, "webhook/shop/c-42").text
    assert page.index(second[:7]) < page.index(first[:7])
    ref = desk.lanes.digests.lane(Address(platform="webhook", tenant="shop", channel="shop", thread="c-42"))
    assert shown(door, ref).text.count("<tr>") == 2
    assert "answered" in shown(door, f"{ref}/{first[:7]}").text
    for name in ("webhook/shop/msg_one", first, f"{first}-0"):
        assert "answered" in shown(door, name).text


def test_a_program_reads_the_same_as_json(door: Door) -> None:
    message_id = door.post({"conversation": "c-42", "text": "one"}).json()["id"]
    headers = {"authorization": f"Bearer {KEY}"}
    found = door.http.get(f"/v1/traces/{message_id}", headers=headers).json()
    assert found["id"] == message_id
    assert found["waiting"][0]["direction"] == "in"
    whole = door.http.get("/v1/traces/webhook/shop/c-42", headers=headers).json()
    assert whole["messages"][0]["accepted_at"] == found["accepted_at"]
    assert door.http.get("/v1/traces/nobody", headers=headers).status_code == 404


ACCOUNTS = {
    "CHATWOOT_SHOP_BASE_URL": "https://chat.example/",
    "CHATWOOT_SHOP_ACCESS_TOKEN": "an access token of tests",
    "CHATWOOT_SHOP_SECRET": "a secret of the tests",
    "ZENDESK_SHOP_BASE_URL": "https://acme.zendesk.com",
    "ZENDESK_SHOP_EMAIL": "bot@example.com",
    "ZENDESK_SHOP_API_TOKEN": "an access token of tests",
    "ZENDESK_SHOP_WEBHOOK_SECRET": "a secret of the tests",
    "ZENDESK_SHOP_BOT_USER_ID": "1",
    "INTERCOM_SHOP_ACCESS_TOKEN": "an access token of tests",
    "INTERCOM_SHOP_CLIENT_SECRET": "a secret of the tests",
    "INTERCOM_SHOP_ADMIN_ID": "1",
    "FRESHCHAT_SHOP_BASE_URL": "https://acme.freshchat.com",
    "FRESHCHAT_SHOP_TOKEN": "an access token of tests",
    "FRESHCHAT_SHOP_PUBLIC_KEY": "",
    "FRESHCHAT_SHOP_ACTOR_ID": "1",
    "ZAMMAD_SHOP_BASE_URL": "https://desk.example/sub",
    "ZAMMAD_SHOP_TOKEN": "an access token of tests",
    "ZAMMAD_SHOP_WEBHOOK_SECRET": "a secret of the tests",
    "TELEGRAM_SHOP_TOKEN": "123456:" + "a" * 35,
    "SLACK_SHOP_SIGNING_SECRET": "a secret of the tests",
    "SLACK_SHOP_BOT_TOKEN": "xoxb-1",
}

#: Of each platform that has links: what is copied, and the channel, the thread and the logical id that it names.
LINKS = [
    ("https://chat.example/app/accounts/3/conversations/42", "chatwoot", "shop/3", "42", ""),
    ("https://chat.example/app/accounts/3/inbox/1/conversations/42?messageId=99", "chatwoot", "shop/3", "42", "shop/3/99"),
    ("https://acme.zendesk.com/agent/tickets/123", "zendesk", "shop", "123", ""),
    ("https://app.intercom.com/a/inbox/abc1/inbox/shared/all/conversation/215469?view=List", "intercom", "shop", "215469", ""),
    ("https://app.eu.intercom.com/a/apps/abc1/conversations/215469", "intercom", "shop", "215469", ""),
    ("https://acme.freshchat.com/a/9876/inbox/1/0/conversation/3885-aa", "freshchat", "shop", "3885-aa", ""),
    ("https://desk.example/sub/#ticket/zoom/7", "zammad", "shop", "7", ""),
    ("https://desk.example/sub/#ticket/zoom/7/81", "zammad", "shop", "7", "shop/7/81"),
    ("https://t.me/c/1234567/55", "telegram", "shop/-1001234567", "", "123456/-1001234567/55"),
    ("https://t.me/c/1234567/9/55?single", "telegram", "shop/-1001234567", "9", "123456/-1001234567/55"),
    ("https://acme.slack.com/archives/C2/p1732444444123456", "slack", "shop/T1/C2", "1732444444.123456", ""),
    (
        "https://acme.slack.com/archives/C2/p1732444444123456?thread_ts=1732444400.000100&cid=C2",
        "slack",
        "shop/T1/C2",
        "1732444400.000100",
        "shop/T1/C2/1732444444.123456",
    ),
    ("https://acme.slack.com/archives/D2/p1732444444123456", "slack", "shop/T1/D2", "", "shop/T1/D2/1732444444.123456"),
]


@pytest.fixture(scope="module")
def slack() -> Iterator[SlackServer]:
    with SlackServer() as server:
        yield server


@pytest.fixture
def linked(settings: Settings, slack: SlackServer) -> Settings:
    """Every platform that has links, with an account `shop`."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    named = ACCOUNTS | {"FRESHCHAT_SHOP_PUBLIC_KEY": pem, "SLACK_SHOP_API_BASE_URL": slack.api}
    accounts = Settings.load({f"REPLYMILL_{name}": value for name, value in named.items()}).accounts
    return dataclasses.replace(settings, accounts=accounts)


@pytest.mark.parametrize(("link", "platform", "channel", "thread", "logical_id"), LINKS, ids=[link for link, *_ in LINKS])
def test_a_link_copied_from_a_platform_finds_its_message_or_conversation(
    linked: Settings, redis_client: redis.Redis, link: str, platform: str, channel: str, thread: str, logical_id: str
) -> None:
    tenant = linked.accounts[platform]["shop"].tenant
    desk = Desk(redis_client, Lanes(linked))
    to = Address(platform=platform, tenant=tenant, channel=channel, thread=thread)
    accepted = desk.accept("hello", logical_id or "some message", to=to)
    found = found_by(linked, link)
    assert (found.ref, found.id) == (desk.lanes.digests.lane(to), accepted.id if logical_id else "")
    assert found_by(linked, f"{platform}/{channel}" + (f"/{thread}" if thread else "")).ref == found.ref


STRANGE = [
    "https://other.example/app/accounts/3/conversations/42",
    "https://chat.example/app/accounts/3/conversations/42x",
    "https://acme.zendesk.com.evil.example/agent/tickets/123",
    "https://[::1/agent/tickets/123",
    "https://t.me/somebody/55",
    "https://desk.example/#ticket/zoom/7",
    "webhook/shop/nothing",
    "webhook",
    "///",
    "nobody",
    "\x00",
    "",
]


@pytest.mark.parametrize("asked", STRANGE, ids=ascii)
def test_what_names_nothing_is_one_clear_sentence(linked: Settings, redis_client: redis.Redis, asked: str) -> None:
    with pytest.raises(NoSuchMessage, match="nothing is known of "):
        found_by(linked, asked)


def test_a_name_of_thousands_of_parts_costs_a_few_looks(linked: Settings, redis_client: redis.Redis) -> None:
    redis_client.config_resetstat()
    with pytest.raises(NoSuchMessage, match="nothing is known of "):
        found_by(linked, "webhook/" + "/".join("a" * 3000))
    calls = redis_client.info("commandstats")
    assert sum(calls[name]["calls"] for name in ("cmdstat_evalsha", "cmdstat_eval") if name in calls) < 20


def found_by(settings: Settings, asked: str) -> Trail:
    """What a lookup finds, on a connection of its own."""

    async def main() -> Trail:
        client = await connect_async(settings)
        platforms = table(settings, client)
        try:
            return await Lookup(settings, Lanes(settings), client, platforms).find(asked)
        finally:
            for platform in platforms.values():
                await platform.close()
            await client.aclose()

    return asyncio.run(main())


def test_the_command_line_shows_a_message_and_a_conversation(
    replymill: Dead,  # noqa: F811 - a fixture
    variables: dict[str, str],  # noqa: F811 - a fixture
    settings: Settings,
    redis_client: redis.Redis,
) -> None:
    desk = Desk(redis_client, Lanes(settings))
    accepted = desk.accept("hello")
    desk.commit(desk.take(), note="amW1F2G5kThM1")
    shown_to_people = replymill("trace", accepted.id, **variables).stdout
    assert "queued 1 ms" in shown_to_people
    assert "17 tokens" in shown_to_people
    assert accepted.id[:7] in replymill("trace", "webhook/support/thread", **variables | TENANT).stdout
    assert json.loads(replymill("trace", accepted.id, "--json", **variables).stdout)["tokens"] == 17
    refused = replymill("trace", "nobody", **variables)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
    assert refused.stderr.startswith("replymill: nothing is known of 'nobody'")


#: The endpoint whose conversations the desk moves.
TENANT = {"REPLYMILL_WEBHOOK_SUPPORT_SECRET": SECRET, "REPLYMILL_WEBHOOK_SUPPORT_TENANT": "acme"}
