"""Freshchat in both directions: events signed with RSA over HTTP, messages into the conversations of a simulated account."""

import asyncio
import base64
import dataclasses
import hmac
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from connectors.contract import HandOver, Inbound, Notice, Ownership, Receiver, Request, Stop
from connectors.freshchat import MOST_CHARACTERS, Freshchat
from connectors.simulators.freshchat import AGENT, BOT, GROUP, USER, Event, FreshchatSimulator
from connectors.simulators.server import Fault
from engine.accounts import FreshchatBot
from engine.errors import (
    DeliveryRefused,
    RejectedRequest,
    RetryLater,
    SettingsError,
    Unclear,
    UnparseableMessage,
    Withdrawn,
)
from engine.lanes import Lanes
from engine.messages import Action, Address, Delivery, InboundMessage, Owner, Receipt, Reply, Source
from engine.settings import Settings
from tests.conftest import wait_for
from tests.desk import Desk, texts
from tests.doors import Door, opened, ready
from tests.loops import Post, delivering, waiting
from workers.embedded import free_port

pytestmark = pytest.mark.one_redis

TOKEN = "an-api-token-of-the-tests"
#: Accounts whose events are read without their servers.
PAPER, OTHER = FreshchatSimulator(token=TOKEN), FreshchatSimulator(token=TOKEN)


def with_bot(settings: Settings, account: FreshchatSimulator = PAPER, **fields: Any) -> Settings:
    """The settings with one Freshchat bot; nothing waits for fragments."""
    url = account.url if account.port else "http://127.0.0.1:9"
    known = {"name": "acme", "tenant": "acme", "base_url": url, "token": TOKEN, "public_key": account.public_key, "actor_id": BOT}
    bot = FreshchatBot(**{**known, **fields})
    return dataclasses.replace(settings, quiet_chat=0.0, quiet_chat_max=0.0, accounts={"freshchat": {bot.name: bot}})


PLATFORM = Freshchat(with_bot(Settings(), group_id=GROUP), None)


def parsed(raw: bytes) -> tuple[Inbound, ...]:
    return PLATFORM.parse(Request("acme", {}, raw))


def one(event: Event) -> Any:
    (found,) = parsed(event[1])
    return found


def address(number: str) -> Address:
    return Address(platform="freshchat", tenant="acme", channel="acme", thread=number)


@pytest.fixture
def account() -> Iterator[FreshchatSimulator]:
    with FreshchatSimulator(token=TOKEN, private=PAPER.private) as running:
        yield running


@pytest.fixture
def door(settings: Settings) -> Iterator[Door]:
    with opened(with_bot(settings)) as door:
        wait_for(lambda: ready(door))
        yield door


def come(door: Door, event: Event, name: str = "acme") -> httpx.Response:
    headers, raw = event
    return door.http.post(f"/freshchat/{name}", content=raw, headers=headers)


def desk_of(door: Door, client: redis.Redis) -> Desk:
    return Desk(client, Lanes(door.settings))


def test_it_is_a_platform_that_receives() -> None:
    assert isinstance(PLATFORM, Receiver)


# -- what an event says ------------------------------------------------------------------------------------------------------------


def test_what_a_user_writes_is_a_message() -> None:
    number = PAPER.begin()
    event = PAPER.write(number, "Where is my order?", "It is late.")
    found = one(event)

    assert isinstance(found, InboundMessage)
    assert (found.address, found.sender, found.text) == (address(number), USER, "Where is my order?\nIt is late.")
    assert found.dedupe_ids == (f"acme/{json.loads(event[1])['data']['message']['id']}",)


def test_an_event_of_today_has_no_kind_of_message() -> None:
    event = json.loads(PAPER.write(PAPER.begin(), "hello")[1])
    del event["data"]["message"]["message_type"]

    assert one(PAPER.signed(json.dumps(event).encode())).text == "hello"


@pytest.mark.parametrize("actor", ["bot", "system", "something new"])
def test_what_bots_and_the_system_write_starts_nothing(actor: str) -> None:
    assert parsed(PAPER.write(PAPER.begin(), "hello", actor=actor)[1]) == ()


def test_the_bots_own_messages_private_notes_and_mixed_actors_start_nothing() -> None:
    number = PAPER.begin()

    assert parsed(PAPER.write(number, "me", actor="agent", actor_id=BOT)[1]) == ()
    assert parsed(PAPER.write(number, "psst", actor="agent", message_type="private")[1]) == ()
    assert parsed(PAPER.write(number, "psst", actor="agent", botsPrivateNote=True)[1]) == ()
    assert parsed(PAPER.write(number, "psst", message_type="private")[1]) == ()
    assert parsed(PAPER.write(number, "mixed", actor_type="agent")[1]) == ()


@pytest.mark.parametrize("action", ["agent_activity", "user_update", "message_update", "tomorrow's"])
def test_events_that_say_nothing_to_us_are_taken_in_silence(action: str) -> None:
    assert parsed(PAPER.event(action, {})[1]) == ()


def test_a_picture_without_words_gets_the_notice_and_nothing_at_all_gets_nothing() -> None:
    number = PAPER.begin()
    picture = one(PAPER.write(number, message_parts=[{"image": {"url": "https://example.com/a.png"}}]))

    assert isinstance(picture, Notice)
    assert (picture.address, picture.name) == (address(number), "no_text")
    assert parsed(PAPER.write(number)[1]) == ()


def test_a_person_may_ask_for_a_person_or_take_it_back() -> None:
    number = PAPER.begin()

    assert isinstance(one(PAPER.write(number, "Can I talk to an agent?")), HandOver)
    stop = one(PAPER.write(number, "stop"))
    assert isinstance(stop, Stop)
    assert stop.address == address(number)


def created(**message: Any) -> bytes:
    return json.dumps({"action": "message_create", "actor": {"actor_type": "user"}, "data": {"message": message}}).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"not json",
        b"\xff\xfe",
        b"[]",
        b'{"action": "x", "action": "x"}',
        b"[" * 100_000,
        b"{}",
        b'{"action": 5}',
        b'{"action": "message_create"}',
        b'{"action": "message_create", "data": []}',
        created(),
        created(id="m1", message_parts=[]),
        created(id="m1", conversation_id="../../agents", message_parts=[]),
        created(id="m1", conversation_id=5, message_parts=[]),
        created(conversation_id="c1", message_parts=[]),
        created(id="m1", conversation_id="c1"),
        created(id="m1", conversation_id="c1", message_parts={"text": "x"}),
        b'{"action": "conversation_assignment", "data": {"assignment": {}}}',
        b'{"action": "conversation_resolution", "data": {"resolve": {"conversation": []}}}',
    ],
)
def test_a_broken_shape_says_so_and_has_an_origin(raw: bytes) -> None:
    with pytest.raises(UnparseableMessage):
        parsed(raw)
    origin, logical_id = PLATFORM.origin(Request("acme", {}, raw))

    assert (origin.channel, origin.thread) == ("acme", "")
    assert logical_id.startswith("acme/")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["user", "agent", BOT, AGENT, GROUP]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
conversations = st.fixed_dictionaries({"conversation_id": st.just("c1") | values}, optional={"assigned_agent_id": values})
messages = st.fixed_dictionaries(
    {"conversation_id": st.just("c1") | values, "id": st.just("m1") | values},
    optional={
        "message_parts": st.lists(st.fixed_dictionaries({"text": st.fixed_dictionaries({"content": values}) | values}) | values),
        "actor_type": values,
        "actor_id": values,
        "message_type": values,
    },
)
changes = st.fixed_dictionaries(
    {"conversation": conversations | values},
    optional=dict.fromkeys(("assignor", "assignor_id", "to_agent_id", "to_group_id", "from_agent_id"), values),
)
actions = st.sampled_from(["message_create", "conversation_assignment", "conversation_resolution", "conversation_reopen"])


@given(
    action=actions | values,
    actor=st.fixed_dictionaries({"actor_type": st.just("user") | values}, optional={"actor_id": values}) | values,
    data=st.dictionaries(st.sampled_from(["message", "assignment", "resolve", "reopen"]), messages | changes | values) | values,
)
def test_any_event_is_read_or_says_that_it_is_broken(action: Any, actor: Any, data: Any) -> None:
    raw = json.dumps({"action": action, "actor": actor, "data": data}).encode()
    try:
        found = parsed(raw)
    except UnparseableMessage:
        return
    for inbound in found:
        if isinstance(inbound, InboundMessage):
            inbound.encode()


# -- who has the conversation ------------------------------------------------------------------------------------------------------


def owner(event: Event) -> Owner | None:
    found = parsed(event[1])
    return found[0].owner if found and isinstance(found[0], Ownership) else None


def test_an_agent_who_writes_or_is_assigned_has_the_conversation() -> None:
    number = PAPER.begin()

    assert owner(PAPER.write(number, "Let me see", actor="agent")) is Owner.HUMAN
    assert owner(PAPER.assign(number, agent=AGENT)) is Owner.HUMAN
    assert owner(PAPER.assign(number, agent=AGENT, actor="system", by="x")) is Owner.HUMAN
    assert owner(PAPER.reopen(number, agent=AGENT)) is Owner.HUMAN


def test_a_group_waits_where_an_agent_chose_it_or_it_is_the_one_for_people() -> None:
    number = PAPER.begin()

    assert owner(PAPER.assign(number, group="another group")) is Owner.WAITING
    assert owner(PAPER.assign(number, group="another group", actor="system", by="x")) is None
    assert owner(PAPER.assign(number, group=GROUP, actor="system", by="x")) is Owner.WAITING


def test_it_comes_back_when_an_agent_gives_it_up_or_to_the_bot_or_resolves_it() -> None:
    number = PAPER.begin()
    PAPER.assign(number, agent=AGENT)

    assert owner(PAPER.assign(number)) is Owner.BOT
    assert owner(PAPER.assign(number, agent=BOT)) is Owner.BOT
    assert owner(PAPER.resolve(number)) is Owner.BOT
    assert owner(PAPER.reopen(number)) is None


def test_what_the_bots_own_agent_does_is_no_news_and_a_conversation_taken_from_it_neither() -> None:
    number = PAPER.begin()

    assert owner(PAPER.assign(number, group=GROUP, by=BOT)) is None
    assert owner(PAPER.assign(number, agent=BOT, by=BOT)) is None
    assert owner(PAPER.assign(number, by=AGENT)) is None


# -- signatures --------------------------------------------------------------------------------------------------------------------


def openssl(*arguments: str, given: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *arguments], input=given, capture_output=True, check=True).stdout


def test_what_the_openssl_command_signs_is_taken(settings: Settings, tmp_path: Path) -> None:
    private = str(tmp_path / "private.pem")
    openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", private)
    inner = "".join(openssl("rsa", "-in", private, "-pubout").decode().splitlines()[1:-1])
    # Freshchat shows the key on one line, under the name of another format than it has.
    shown = f"-----BEGIN RSA PUBLIC KEY----- {inner} -----END RSA PUBLIC KEY-----"
    _, raw = PAPER.write(PAPER.begin(), "hello")
    signature = base64.b64encode(openssl("dgst", "-sha256", "-sign", private, given=raw)).decode()

    with opened(with_bot(settings, public_key=shown)) as door:
        wait_for(lambda: ready(door))
        assert come(door, ({"x-freshchat-signature": signature}, raw)).status_code == 200
        assert come(door, PAPER.signed(raw)).status_code == 401


def test_forged_and_malformed_signatures_and_unknown_names_look_the_same(door: Door, redis_client: redis.Redis) -> None:
    headers, raw = PAPER.write(PAPER.begin(), "hello")
    good = headers["x-freshchat-signature"]
    by_hmac = base64.b64encode(hmac.digest(PAPER.public_key.encode(), raw, "sha256")).decode()
    other = OTHER.signed(raw)[0]["x-freshchat-signature"]
    faults: list[tuple[str, bytes, str]] = [
        ("", raw, "acme"),
        (other, raw, "acme"),
        (by_hmac, raw, "acme"),
        (good[:-4], raw, "acme"),
        (f"{good}{good}", raw, "acme"),
        (f"{good},{good}", raw, "acme"),
        (good, raw + b" ", "acme"),
        (good, json.dumps(json.loads(raw), indent=1).encode(), "acme"),
        ("\xff\xfe", raw, "acme"),
        ("A" * 20_000, raw, "acme"),
        (good, raw, "nobody"),
    ]
    answers = [
        door.http.post(f"/freshchat/{name}", content=body, headers={b"x-freshchat-signature": header.encode("latin-1")})
        for header, body, name in faults
    ]

    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert desk_of(door, redis_client).backlog()[0].messages == 0


@given(st.text(), st.dictionaries(st.sampled_from(["x-freshchat-signature", "x-hub-signature"]), st.text()), st.binary())
def test_whatever_is_not_signed_is_rejected(name: str, headers: dict[str, str], raw: bytes) -> None:
    with pytest.raises(RejectedRequest):
        PLATFORM.verify(Request(name, headers, raw))


@pytest.mark.parametrize("key", ["", "a shared secret", "AAAA", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"])
def test_a_public_key_that_is_none_is_refused_at_start(key: str) -> None:
    with pytest.raises(SettingsError, match="REPLYMILL_FRESHCHAT_MY_SHOP_PUBLIC_KEY must be an RSA public key"):
        Freshchat(with_bot(Settings(), name="my-shop", public_key=key), None)


# -- over HTTP ---------------------------------------------------------------------------------------------------------------------


def test_a_message_is_on_its_lane_when_it_is_acknowledged_within_three_seconds(door: Door, redis_client: redis.Redis) -> None:
    started = time.monotonic()
    answered = come(door, PAPER.write(PAPER.begin(), "Where is my order?"))

    assert time.monotonic() - started < 3
    assert (answered.status_code, answered.content) == (200, b"")
    assert texts(desk_of(door, redis_client).take()) == ["Where is my order?"]


def test_eleven_copies_at_once_are_one_message(door: Door, redis_client: redis.Redis) -> None:
    event = PAPER.write(PAPER.begin(), "hello")
    with ThreadPoolExecutor(11) as pool:
        answers = list(pool.map(lambda _: come(door, event), range(11)))

    assert {answer.status_code for answer in answers} == {200}
    assert desk_of(door, redis_client).backlog()[0].messages == 1


def test_a_broken_event_becomes_one_dead_letter_and_is_acknowledged(door: Door, redis_client: redis.Redis) -> None:
    for raw in (b"not json", b"not json", created(id="m1")):
        assert come(door, PAPER.signed(raw)).status_code == 200

    desk = desk_of(door, redis_client)
    assert redis_client.zcard(desk.shard.dead_index) == 2
    assert desk.backlog()[0].messages == 0


def test_while_redis_is_away_freshchat_is_asked_to_come_again(settings: Settings) -> None:
    away = dataclasses.replace(settings, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    with opened(with_bot(away)) as door:
        answered = come(door, PAPER.write(PAPER.begin(), "hello"))

    assert answered.status_code == 503


def test_an_agent_silences_the_bot_until_the_conversation_is_resolved(door: Door, redis_client: redis.Redis) -> None:
    number = PAPER.begin()
    desk = desk_of(door, redis_client)
    come(door, PAPER.write(number, "I am on it", actor="agent"))
    come(door, PAPER.write(number, "Thanks, Bo"))
    assert desk.backlog()[0].messages == 0
    assert [turn.text for turn in desk.history(address(number))] == ["Thanks, Bo"]

    come(door, PAPER.resolve(number))
    come(door, PAPER.write(number, "Something else"))
    assert desk.backlog()[0].messages == 1


# -- replies -----------------------------------------------------------------------------------------------------------------------


def delivery(number: str, text: str = "It is on its way.", *, action: Action = Action.NONE) -> Delivery:
    reply = Reply(in_reply_to=("msg_1",), address=address(number), text=text, source=Source.MODEL)
    return Delivery(id="abc-0", reply=reply, action=action)


def sent(account: FreshchatSimulator, *deliveries: Delivery, **fields: Any) -> list[Any]:
    """What became of each delivery: a receipt, or what was raised."""
    platform = Freshchat(with_bot(Settings(), account, **fields), None)

    async def sending() -> list[Any]:
        found = [(await asyncio.gather(platform.send(one), return_exceptions=True))[0] for one in deliveries]
        await platform.close()
        return found

    return asyncio.run(sending())


@pytest.mark.parametrize("suffix", ["", "/", "/v2", "/v2/"])
def test_a_reply_is_posted_as_plain_text_by_the_bots_agent(account: FreshchatSimulator, suffix: str) -> None:
    number = account.begin()
    (receipt,) = sent(account, delivery(number, "It is **late**: 1 < 2"), base_url=account.url + suffix)

    (call,) = account.to("/messages")
    assert call.path == f"/v2/conversations/{number}/messages"
    assert call.body == {
        "message_parts": [{"text": {"content": "It is late: 1 < 2"}}],
        "message_type": "normal",
        "actor_type": "agent",
        "actor_id": BOT,
    }
    assert receipt == Receipt(delivery="abc-0", platform_id=account.messages[number][-1]["id"])


def test_a_long_reply_is_split_into_parts_that_hold_all_of_it() -> None:
    words = [f"word{number}" for number in range(1500)]
    found = PLATFORM.split(" ".join(words))

    assert len(found) > 1
    assert all(len(part) <= MOST_CHARACTERS for part in found)
    assert "".join("".join(found).split()) == "".join(words)
    assert list(PLATFORM.split("short")) == ["short"]


@pytest.mark.parametrize(
    ("fault", "kind", "after"),
    [
        (Fault(status=429, headers={"retry-after": "7"}), RetryLater, 7),
        (Fault(status=429), RetryLater, 0),
        (Fault(status=429, headers={"retry-after": "soon"}), RetryLater, 0),
        (Fault(status=503, body="<html>busy</html>"), RetryLater, 0),
        (Fault(status=500, body="<html>oops</html>"), Unclear, None),
        (Fault(drop=True), Unclear, None),
        (Fault(drop=True, after_effect=True), Unclear, None),
        (Fault(status=401, body={"success": False}), DeliveryRefused, None),
        (Fault(status=403), DeliveryRefused, None),
        (Fault(status=404), DeliveryRefused, None),
    ],
)
def test_what_goes_wrong_with_a_reply_decides(
    account: FreshchatSimulator, fault: Fault, kind: type[Exception], after: float | None
) -> None:
    number = account.begin()
    account.go_wrong("/messages", fault)
    (raised,) = sent(account, delivery(number))

    assert type(raised) is kind
    assert getattr(raised, "after", None) == after
    assert TOKEN not in str(raised)


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(drop=True), Fault(status=429)])
def test_when_the_owner_cannot_be_asked_nothing_is_posted_and_all_is_clear(account: FreshchatSimulator, fault: Fault) -> None:
    number = account.begin()
    account.go_wrong(f"/conversations/{number}", fault)
    (raised,) = sent(account, delivery(number))

    assert type(raised) is RetryLater
    assert account.to("/messages") == []


def test_an_answer_of_html_with_a_good_status_is_taken(account: FreshchatSimulator) -> None:
    number = account.begin()
    account.go_wrong("/messages", Fault(status=202, body="<html></html>", after_effect=True))

    assert sent(account, delivery(number)) == [Receipt(delivery="abc-0")]


def test_a_wrong_token_a_conversation_and_an_account_that_are_gone_are_refused_for_good(account: FreshchatSimulator) -> None:
    number = account.begin()
    (unauthorized,) = sent(account, delivery(number), token="revoked-since-yesterday")
    (gone,) = sent(account, delivery("no-such-conversation"))
    (unknown,) = sent(account, delivery(number), name="other")

    assert {type(raised) for raised in (unauthorized, gone, unknown)} == {DeliveryRefused}
    assert "revoked-since-yesterday" not in str(unauthorized)


@pytest.mark.parametrize("action", list(Action))
def test_nothing_is_posted_once_an_agent_has_taken_over(account: FreshchatSimulator, action: Action) -> None:
    number = account.begin()
    account.assign(number, agent=AGENT)
    (raised,) = sent(account, delivery(number, action=action), group_id=GROUP)

    assert isinstance(raised, Withdrawn)
    assert account.said(number) == []
    assert account.conversations[number]["assigned_agent_id"] == AGENT


@pytest.mark.parametrize(
    "comes_back",
    [
        lambda account, number: account.resolve(number),
        lambda account, number: account.assign(number, agent=BOT),
        lambda account, number: account.assign(number),
    ],
)
def test_a_conversation_that_came_back_is_answered_again(
    account: FreshchatSimulator, comes_back: Callable[[FreshchatSimulator, str], Event]
) -> None:
    number = account.begin()
    account.assign(number, agent=AGENT)
    comes_back(account, number)

    assert isinstance(sent(account, delivery(number))[0], Receipt)


# -- handing over ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("group", "status"), [(GROUP, "assigned"), ("", "new")])
@pytest.mark.parametrize("assigns_writers", [False, True])
def test_a_hand_over_says_so_and_gives_the_conversation_away(
    account: FreshchatSimulator, group: str, status: str, assigns_writers: bool
) -> None:
    number = account.begin()
    account.assigns_writers = assigns_writers
    handed = delivery(number, "Somebody will be here soon.", action=Action.HAND_OVER)
    (receipt,) = sent(account, handed, group_id=group)

    assert isinstance(receipt, Receipt)
    assert account.said(number) == ["Somebody will be here soon."]
    found = account.conversations[number]
    assert (found.get("assigned_agent_id", ""), found.get("assigned_group_id", ""), found["status"]) == ("", group, status)


def test_an_account_that_assigns_to_agents_alone_gets_the_group_as_new(account: FreshchatSimulator) -> None:
    number = account.begin()
    account.assigned_needs_agent = True
    (receipt,) = sent(account, delivery(number, action=Action.HAND_OVER), group_id=GROUP)

    assert isinstance(receipt, Receipt)
    assert (account.conversations[number]["assigned_group_id"], account.conversations[number]["status"]) == (GROUP, "new")


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("/messages", Fault(status=429)),
        ("", Fault(status=500)),
        ("", Fault(drop=True, after_effect=True)),
    ],
)
def test_a_hand_over_that_broke_before_its_text_is_repeated_whole(account: FreshchatSimulator, path: str, fault: Fault) -> None:
    number = account.begin()
    # The first request to the conversation itself asks for its owner.
    account.go_wrong(f"/conversations/{number}{path}", *([fault] if path else [None, fault]))
    handed = delivery(number, action=Action.HAND_OVER)
    first, second = sent(account, handed, handed, group_id=GROUP)

    assert isinstance(first, RetryLater)
    assert isinstance(second, Receipt)
    assert len(account.said(number)) == 1


def test_a_hand_over_without_a_text_posts_none(account: FreshchatSimulator) -> None:
    number = account.begin()
    (receipt,) = sent(account, delivery(number, "", action=Action.HAND_OVER), group_id=GROUP)

    assert isinstance(receipt, Receipt)
    assert account.to("/messages") == []


def test_a_text_that_may_keep_the_conversation_with_the_bot_is_unclear(account: FreshchatSimulator) -> None:
    number = account.begin()
    account.go_wrong(f"/conversations/{number}", None, None, Fault(status=500))
    (raised,) = sent(account, delivery(number, action=Action.HAND_OVER), group_id=GROUP)

    assert isinstance(raised, Unclear)


def test_a_wish_for_a_person_travels_from_the_door_to_the_group(
    settings: Settings, redis_client: redis.Redis, account: FreshchatSimulator
) -> None:
    number = account.begin()
    ours = dataclasses.replace(with_bot(settings, account, group_id=GROUP), send_timeout=5.0)
    with opened(ours) as door:
        wait_for(lambda: ready(door))
        assert come(door, account.write(number, "I want to talk to a human")).status_code == 200

    async def body(post: Post) -> None:
        await post.until(lambda: waiting(post.desk) == 0)

    platform: Any = Freshchat(ours, None)
    delivering(ours, redis_client, platform, body)

    assert len(account.said(number)) == 1
    assert account.conversations[number]["assigned_group_id"] == GROUP
