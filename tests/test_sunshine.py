"""Sunshine Conversations, both directions: what the webhook sends over HTTP, and what becomes of a simulated app."""

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, TypeVar

import httpx
import msgspec
import pytest
import redis
import structlog
from hypothesis import given
from hypothesis import strategies as st

from connectors.contract import Askable, Check, Checkable, HandOver, Notice, Ownership, Probing, Receiver, Request, Showing, Stop
from connectors.simulators.server import Fault
from connectors.simulators.sunshine import (
    AGENTS,
    APP_ID,
    KEY_ID,
    KEY_SECRET,
    OURS,
    WEBHOOK_SECRET,
    SunshineSimulator,
    Talk,
    event,
    request_of,
    said,
    switched,
)
from connectors.sunshine import LONGEST, MARK, Sunshine
from engine.accounts import SunshineApp
from engine.errors import DeliveryRefused, RejectedRequest, RetryLater, Unclear, UnparseableMessage, Withdrawn
from engine.keys import Direction
from engine.lanes import Lanes
from engine.messages import Action, Address, Delivery, InboundMessage, Owner, Reply, Source
from engine.settings import Settings
from tests.conftest import wait_for
from tests.desk import Desk
from tests.doors import Door, opened, ready
from tests.loops import Post, delivering, queue
from workers.embedded import free_port

pytestmark = pytest.mark.one_redis

T = TypeVar("T")

#: The conversation of the simulated events.
PLACE = "13f32c6cf7d0d38e6e0eba93"
TALK = Address(platform="sunshine", tenant="shop", channel="shop", thread=PLACE)


def with_app(settings: Settings, **fields: Any) -> Settings:
    """The settings with the account `shop`."""
    account = {
        "name": "shop",
        "tenant": "shop",
        "app_id": APP_ID,
        "key_id": KEY_ID,
        "key_secret": KEY_SECRET,
        "webhook_secret": WEBHOOK_SECRET,
        "switchboard": OURS,
    }
    accounts = {**settings.accounts, "sunshine": {"shop": SunshineApp(**{**account, **fields})}}
    return dataclasses.replace(settings, port=free_port(), quiet_chat=0.0, quiet_chat_max=0.0, accounts=accounts)


SHOP = Sunshine(with_app(Settings()))


def parsed(*events: Any, **account: Any) -> tuple[Any, ...]:
    platform = Sunshine(with_app(Settings(), **account)) if account else SHOP
    return platform.parse(Request("shop", {}, json.dumps(request_of(*events)).encode()))


@pytest.fixture
def door(settings: Settings) -> Iterator[Door]:
    with opened(with_app(settings)) as door:
        wait_for(lambda: ready(door))
        yield door


def post(door: Door, *events: Any, raw: bytes = b"", name: str = "shop", secret: str = WEBHOOK_SECRET) -> httpx.Response:
    content = raw or json.dumps(request_of(*events)).encode()
    return door.http.post(f"/sunshine/{name}", content=content, headers={"x-api-key": secret, "content-type": "application/json"})


def desk_of(door: Door, client: redis.Redis) -> Desk:
    return Desk(client, Lanes(door.settings))


# -- who may come in ---------------------------------------------------------------------------------------------------------------


def test_it_is_a_platform_that_receives_can_be_asked_and_shows_typing() -> None:
    assert isinstance(SHOP, Receiver)
    assert isinstance(SHOP, Askable)
    assert isinstance(SHOP, Showing)


def test_the_shared_secret_is_taken_and_two_while_it_changes() -> None:
    both = Sunshine(with_app(Settings(), webhook_secret=f"the-new-shared-secret {WEBHOOK_SECRET}"))
    for secret in ("the-new-shared-secret", WEBHOOK_SECRET):
        both.verify(Request("shop", {"x-api-key": secret}, b"{}"))


@given(st.text(), st.none() | st.text() | st.sampled_from([WEBHOOK_SECRET[:-1], WEBHOOK_SECRET + "x", WEBHOOK_SECRET.upper()]))
def test_whatever_else_the_header_holds_it_is_a_rejection(name: str, secret: str | None) -> None:
    with pytest.raises(RejectedRequest):
        SHOP.verify(Request(name, {} if secret is None else {"x-api-key": secret}, b"{}"))


def test_a_forged_request_and_an_unknown_account_look_the_same(door: Door, redis_client: redis.Redis) -> None:
    answers = [
        post(door, said(), secret="another secret"),
        post(door, said(), secret=""),
        post(door, said(), name="unknown"),
        post(door, said(), name="SHOP"),
        door.http.post("/sunshine/shop", json=request_of(said())),
        door.http.post("/sunshine/shop", json=request_of(said()), headers=[("x-api-key", WEBHOOK_SECRET)] * 2),
    ]

    assert {answered.status_code for answered in answers} == {401}
    assert len({answered.text for answered in answers}) == 1
    assert redis_client.keys("rm:{0}:in:*") == []


# -- what a request says -----------------------------------------------------------------------------------------------------------


def test_every_message_of_a_request_is_taken() -> None:
    first, second = parsed(said(), said("And when?", number=2))

    assert (first.address, second.address) == (TALK, TALK)
    assert (first.text, second.text, first.sender) == ("Where is my order?", "And when?", "cbec0073faeda4dfcd21d0f1")
    assert first.dedupe_ids == ("shop/0ca7d56ba7b2e081e4790001", "shop/message/5e55622dac66fb73a3c00001")


@pytest.mark.parametrize(
    "one",
    [
        said(type="business", userId=None),
        said(type="business", displayName="An agent"),
        said(active=AGENTS),
        said(active=None),
        event("conversation:read", conversation={"id": PLACE}, activity={"type": "conversation:read"}),
        event("conversation:typing", conversation={"id": PLACE}),
        event("conversation:postback", conversation={"id": PLACE}, postback={"payload": "x"}),
        event("conversation:message:delivery:failure", conversation={"id": PLACE}),
        event("switchboard:offerControl", conversation={"id": PLACE}),
        event("switchboard:passControl:failure", conversation={"id": PLACE}, error={}),
        {"id": "x", "type": "user:merge", "createdAt": "2026-11-24T08:00:00.000Z"},
    ],
)
def test_what_is_no_message_of_a_person_to_us_starts_nothing(one: dict[str, Any]) -> None:
    assert parsed(one) == ()


def test_without_a_switchboard_of_ours_every_person_is_answered() -> None:
    assert len(parsed(said(active=None), said(number=2, active=AGENTS), switched("passControl", AGENTS), switchboard="")) == 2


def test_our_integration_may_be_named_by_its_id() -> None:
    assert len(parsed(said(), switchboard=f"id-of-{OURS}")) == 1


@pytest.mark.parametrize(
    ("kind", "active", "expected"),
    [
        ("passControl", AGENTS, Owner.HUMAN),
        ("acceptControl", AGENTS, Owner.HUMAN),
        ("passControl", None, Owner.HUMAN),
        ("passControl", OURS, Owner.BOT),
        ("acceptControl", OURS, Owner.BOT),
        ("releaseControl", None, Owner.BOT),
    ],
)
def test_the_switchboard_tells_who_answers(kind: str, active: str | None, expected: Owner) -> None:
    assert parsed(switched(kind, active)) == (Ownership(TALK, expected),)


def test_a_message_without_text_gets_a_notice_and_wishes_are_heard() -> None:
    notice, blank, handed, stopped = parsed(
        said(None), said(" \n", number=2), said("speak to an agent please", number=3), said("stop", number=4)
    )

    assert isinstance(notice, Notice)
    assert notice.logical_ids == ("shop/0ca7d56ba7b2e081e4790001", "shop/message/5e55622dac66fb73a3c00001")
    assert [type(one) for one in (blank, handed, stopped)] == [Notice, HandOver, Stop]


BROKEN: list[Any] = [
    None,
    "text",
    {},
    {"id": 5, "type": "conversation:message", "payload": {}},
    {"id": "x", "type": "conversation:message", "payload": []},
    event("conversation:message"),
    event("conversation:message", conversation={"id": PLACE, "activeSwitchboardIntegration": {"name": OURS}}),
    event("conversation:message", conversation={"id": "../users"}, message=said()["payload"]["message"]),
    event("conversation:message", conversation=said()["payload"]["conversation"], message={"id": "m", "author": "user"}),
    event("switchboard:passControl", conversation={}),
    {**said(), "id": ""},
]


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_event_does_not_take_the_others_with_it(broken: Any) -> None:
    with structlog.testing.capture_logs() as logs:
        assert len(parsed(said(), broken, said(number=2))) == 2
    with pytest.raises(UnparseableMessage):
        parsed(broken)

    assert [line["action"] for line in logs] == ["sunshine.unparseable"]
    assert "order" not in str(logs)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"trigger": "message:appUser", "messages": []}',
        b'{"events": {}}',
        json.dumps(request_of(said(), app="another")).encode(),
    ],
)
def test_a_request_that_is_none_of_ours_says_so(raw: bytes) -> None:
    with pytest.raises(UnparseableMessage):
        SHOP.parse(Request("shop", {}, raw))


def test_a_request_without_events_asks_for_nothing() -> None:
    assert parsed() == ()


@given(
    st.binary()
    | st.lists(
        st.none()
        | st.fixed_dictionaries(
            {"id": st.text(), "type": st.just("conversation:message"), "payload": st.dictionaries(st.text(), st.text())}
        )
        | st.text().map(said)
    ).map(lambda events: json.dumps(request_of(*events)).encode())
)
def test_any_body_is_parsed_or_has_a_named_fault(raw: bytes) -> None:
    with suppress(UnparseableMessage):
        assert isinstance(SHOP.parse(Request("shop", {}, raw)), tuple)


# -- over HTTP ---------------------------------------------------------------------------------------------------------------------


def test_each_event_waits_once_however_often_it_comes(door: Door, redis_client: redis.Redis) -> None:
    with ThreadPoolExecutor(11) as pool:
        answers = list(pool.map(lambda _: post(door, said(), said("And when?", number=2)), range(11)))
    answers.append(post(door, said("And when?", number=2), said("Thanks.", number=3)))
    answers.append(post(door, {**said(), "id": "the-event-of-another-webhook"}))

    assert {answered.status_code for answered in answers} == {200}
    lane = desk_of(door, redis_client).take()
    found = [InboundMessage.from_entry(entry) for entry in lane.entries]
    assert sorted(message.text for message in found) == ["And when?", "Thanks.", "Where is my order?"]
    assert {message.address for message in found} == {TALK}


def test_a_request_that_is_broken_as_a_whole_is_kept_and_acknowledged(door: Door, redis_client: redis.Redis) -> None:
    assert {post(door, {}).status_code, post(door, {}).status_code, post(door, raw=b"[1]").status_code} == {200}
    assert redis_client.zcard("rm:{0}:dead") == 2


def test_the_bot_is_silent_while_the_agents_have_the_conversation(door: Door, redis_client: redis.Redis) -> None:
    desk = desk_of(door, redis_client)
    post(door, switched("passControl", AGENTS))
    post(door, said(active=AGENTS), said("Late, from before.", number=2))
    assert desk.backlog()[0].messages == 0

    post(door, switched("passControl", OURS, number=3))
    post(door, said("One more thing.", number=4))
    lane = desk.take()
    assert (lane.owner, [InboundMessage.from_entry(entry).text for entry in lane.entries]) == (Owner.BOT, ["One more thing."])


def test_who_asks_for_a_person_is_handed_over_once(door: Door, redis_client: redis.Redis) -> None:
    post(door, said("human please"), said("human please", number=2), said("Hello?", number=3))

    desk = desk_of(door, redis_client)
    assert [backlog.messages for backlog in desk.backlog()] == [0, 1]
    delivery = Delivery.decode(desk.take(Direction.OUT).entries[0].body)
    assert (delivery.action, delivery.reply.address) == (Action.HAND_OVER, TALK)


def test_redis_away_is_503_which_brings_it_back(settings: Settings) -> None:
    with opened(with_app(dataclasses.replace(settings, redis_url=f"redis://127.0.0.1:{free_port()}"))) as door:
        refused = post(door, said())

    assert (refused.status_code, int(refused.headers["retry-after"]) > 0) == (503, True)


def test_neither_texts_nor_secrets_are_logged(door: Door) -> None:
    with structlog.testing.capture_logs() as logs:
        post(door, said(), {})
        post(door, said(), secret="another secret")
        post(door, {"id": "x", "text": "Where is my order?"})

    assert logs
    assert "order" not in str(logs)
    assert WEBHOOK_SECRET not in str(logs)


# -- what is posted ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def app() -> Iterator[SunshineSimulator]:
    with SunshineSimulator() as simulator:
        simulator.open(PLACE)
        yield simulator


def delivery(text: str = "It is on its way.", *, number: int = 0, **fields: Any) -> Delivery:
    reply = Reply(in_reply_to=("abc-0",), address=TALK, text=text, source=Source.MODEL)
    return Delivery(id=f"abc-0-{number}", reply=reply, **fields)


HAND_OVER = delivery("A person will answer you here.", action=Action.HAND_OVER)


def asked(simulator: SunshineSimulator, ask: Callable[[Sunshine], Awaitable[T]], **account: Any) -> T:
    """What the platform says to a question."""

    async def asking() -> T:
        platform = Sunshine(with_app(Settings(), **{"base_url": simulator.url, **account}))
        try:
            return await ask(platform)
        finally:
            await platform.close()

    return asyncio.run(asking())


def send(simulator: SunshineSimulator, *deliveries: Delivery, **account: Any) -> list[Any]:
    """What each send gives: a receipt, or the error it raised."""

    async def sending(platform: Sunshine) -> list[Any]:
        return [(await asyncio.gather(platform.send(one), return_exceptions=True))[0] for one in deliveries]

    return asked(simulator, sending, **account)


def talk(simulator: SunshineSimulator) -> Talk:
    return simulator.talks[PLACE]


def test_a_reply_is_a_message_of_the_business_that_bears_its_delivery(app: SunshineSimulator) -> None:
    plain, formatted = send(app, delivery(), delivery("It is **on its way**.", number=1))

    first, second = talk(app).messages
    assert first["author"] == {"type": "business"}
    assert (first["content"], second["content"]) == (
        {"type": "text", "text": "It is on its way."},
        {"type": "text", "markdownText": "It is **on its way**."},
    )
    assert (first["metadata"], second["metadata"]) == ({MARK: "abc-0-0"}, {MARK: "abc-0-1"})
    assert (plain.platform_id, formatted.platform_id) == (first["id"], second["id"])


def test_a_reply_holds_no_html_and_loads_no_image(app: SunshineSimulator) -> None:
    send(app, delivery("**Yes** <b> ![x](https://e.example/leak)"))

    assert talk(app).messages[0]["content"]["markdownText"] == r"**Yes** &lt;b> \![x](https://e.example/leak)"


def test_the_address_of_the_api_may_have_a_path(app: SunshineSimulator) -> None:
    (receipt,) = send(app, delivery(), base_url=f"{app.url}/sc")

    assert receipt.platform_id == talk(app).messages[0]["id"]
    assert {call.path.partition("/v2/")[0] for call in app.calls} == {"/sc"}


def test_whoever_took_the_control_meanwhile_has_it(app: SunshineSimulator) -> None:
    talk(app).active = AGENTS
    taken = send(app, delivery())
    talk(app).active = ""
    released = send(app, delivery())

    assert [type(raised) for raised in [*taken, *released]] == [Withdrawn, Withdrawn]
    assert talk(app).messages == []


def test_without_a_switchboard_of_ours_nobody_is_asked(app: SunshineSimulator) -> None:
    talk(app).active = AGENTS
    send(app, delivery(), switchboard="")

    assert [call.method for call in app.calls] == ["POST"]
    assert len(talk(app).messages) == 1


def test_a_key_that_may_not_read_still_posts(app: SunshineSimulator) -> None:
    app.go_wrong(PLACE, Fault(status=403))
    (receipt,) = send(app, delivery())

    assert receipt.delivery == "abc-0-0"


def test_a_hand_over_tells_the_person_and_passes_the_control(app: SunshineSimulator) -> None:
    (receipt,) = send(app, HAND_OVER)

    assert [message["content"]["text"] for message in talk(app).messages] == ["A person will answer you here."]
    assert receipt.platform_id == talk(app).messages[0]["id"]
    (passed,) = talk(app).passed
    assert (passed["switchboardIntegration"], talk(app).active) == ("next", AGENTS)


def test_a_hand_over_names_its_target_where_one_is_set_and_needs_no_text(app: SunshineSimulator) -> None:
    send(app, delivery("", action=Action.HAND_OVER), hand_over_to="second-line", switchboard="")

    assert (talk(app).messages, talk(app).active) == ([], "second-line")


@pytest.mark.parametrize("path", ["/messages", "/passControl"])
@pytest.mark.parametrize("fault", [Fault(status=429), Fault(status=500, after_effect=True), Fault(drop=True, after_effect=True)])
def test_a_hand_over_that_broke_in_the_middle_is_finished_and_not_begun_again(
    app: SunshineSimulator, path: str, fault: Fault
) -> None:
    app.go_wrong(path, *([None] if path == "/messages" else []), fault)
    first, second, third = send(app, HAND_OVER, HAND_OVER, HAND_OVER)

    assert isinstance(first, RetryLater | Unclear)
    assert second == third
    assert (len(talk(app).messages), len(talk(app).passed), talk(app).active) == (1, 1, AGENTS)


def test_a_conversation_that_the_agents_have_is_not_handed_over(app: SunshineSimulator) -> None:
    talk(app).active = AGENTS
    (raised,) = send(app, HAND_OVER)

    assert isinstance(raised, Withdrawn)
    assert (talk(app).messages, talk(app).passed) == ([], [])


@pytest.mark.parametrize(
    ("fault", "kind", "after"),
    [
        (Fault(status=429, headers={"retry-after": "7"}), RetryLater, 7),
        (Fault(status=429), RetryLater, 0),
        (Fault(status=503, body="<html>We are down</html>"), RetryLater, 0),
        (Fault(status=500, body="<html>Oops</html>"), Unclear, None),
        (Fault(drop=True), Unclear, None),
        (Fault(status=400, body={"errors": [{"code": "bad_request"}]}), DeliveryRefused, None),
        (Fault(status=401), DeliveryRefused, None),
        (Fault(status=404), DeliveryRefused, None),
    ],
)
def test_what_the_platform_answers_decides(
    app: SunshineSimulator, fault: Fault, kind: type[Exception], after: float | None
) -> None:
    app.go_wrong("/messages", fault)
    (raised,) = send(app, delivery())

    assert isinstance(raised, kind)
    assert getattr(raised, "after", None) == after
    assert talk(app).messages == []
    assert KEY_SECRET not in str(raised)


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(drop=True), Fault(status=429)])
def test_what_breaks_while_the_switchboard_is_asked_was_surely_not_sent(app: SunshineSimulator, fault: Fault) -> None:
    app.go_wrong(PLACE, fault)
    raised, receipt = send(app, delivery(), delivery())

    assert isinstance(raised, RetryLater)
    assert receipt.delivery == "abc-0-0"


def test_a_conversation_or_an_account_that_is_gone_refuses_its_replies(app: SunshineSimulator) -> None:
    nobody = Reply(
        in_reply_to=(), address=Address(platform="sunshine", tenant="x", channel="x", thread="y"), text="", source=Source.MODEL
    )
    app.talks.clear()
    raised = send(app, delivery(), Delivery(id="abc-0-1", reply=nobody))

    assert [type(one) for one in raised] == [DeliveryRefused, DeliveryRefused]


@pytest.mark.parametrize("page", [100, 2])
def test_an_earlier_send_is_found_among_the_messages(app: SunshineSimulator, page: int) -> None:
    app.page_size = page
    send(app, *(delivery(number=number) for number in range(5)))

    found = asked(app, lambda platform: platform.find(delivery()))
    assert found is not None
    assert found.platform_id == talk(app).messages[0]["id"]
    assert asked(app, lambda platform: platform.find(delivery(number=5))) is None


def test_a_hand_over_is_found_once_the_control_is_passed(app: SunshineSimulator) -> None:
    silent = delivery("", number=1, action=Action.HAND_OVER)
    assert asked(app, lambda platform: platform.find(HAND_OVER)) is None
    send(app, HAND_OVER)

    found = asked(app, lambda platform: platform.find(HAND_OVER))
    assert found is not None
    assert found.platform_id == talk(app).messages[0]["id"]
    assert asked(app, lambda platform: platform.find(silent)) is not None


def test_where_the_messages_cannot_be_read_nobody_knows(app: SunshineSimulator) -> None:
    app.go_wrong("/messages", Fault(status=500), Fault(status=403))

    with pytest.raises(RetryLater):
        asked(app, lambda platform: platform.find(delivery()))
    with pytest.raises(DeliveryRefused):
        asked(app, lambda platform: platform.find(delivery()))


def test_typing_is_shown_when_a_reply_begins_and_its_text_is_not(app: SunshineSimulator) -> None:
    asked(app, lambda platform: platform.show(TALK, "abc-0", ""))
    asked(app, lambda platform: platform.show(TALK, "abc-0", "It is"))

    assert talk(app).activities == [{"author": {"type": "business"}, "type": "typing:start"}]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("x" * 4_095, 1),
        ("x" * 4_096, 1),
        ("x" * 4_097, 2),
        ("👍" * 2_049, 2),
        ("👩‍👩‍👧‍👦" * 1_000, 3),
        ("a & b < c " * 400, 1),
        ("**a** & b\n\n" * 300, 2),
        ("```\n" + "x < y\n" * 1_000 + "```", 3),
    ],
)
def test_a_long_reply_comes_in_parts_that_a_message_takes(app: SunshineSimulator, text: str, parts: int) -> None:
    found = SHOP.split(text)
    send(app, *(delivery(part, number=number) for number, part in enumerate(found)))

    contents = [message["content"] for message in talk(app).messages]
    assert len(contents) == len(found) >= parts
    assert len(found) < 3 * parts
    assert all(len((content.get("text") or content["markdownText"]).encode("utf-16-le")) <= 2 * LONGEST for content in contents)


def test_no_limit_is_published_so_429_tells() -> None:
    assert SHOP.limits(delivery()) == ()


def test_a_reply_whose_connection_broke_is_delivered_once(
    settings: Settings, redis_client: redis.Redis, app: SunshineSimulator
) -> None:
    app.go_wrong("/messages", Fault(drop=True, after_effect=True))
    ready_settings = with_app(settings, base_url=app.url)
    platform: Any = Sunshine(ready_settings)

    async def body(running: Post) -> None:
        queue(running.desk, TALK, "one", "two")
        await running.until(lambda: len(talk(app).messages) >= 2 and running.desk.backlog()[1].messages == 0)

    delivering(ready_settings, redis_client, platform, body)
    assert [message["content"]["text"] for message in talk(app).messages] == ["one", "two"]


# -- the doctor --------------------------------------------------------------------------------------------------------------------


def checked(simulator: SunshineSimulator, **account: Any) -> list[Check]:
    async def checking(platform: Sunshine) -> list[Check]:
        return list(await platform.check())

    return asked(simulator, checking, **account)


def test_the_doctors_own_request_is_taken_and_starts_nothing(door: Door, redis_client: redis.Redis) -> None:
    assert isinstance(SHOP, Probing)
    ((path, request),) = SHOP.probes().items()

    assert door.http.post(path, content=request.body, headers=dict(request.headers)).status_code == 200
    assert redis_client.keys("rm:{0}:*") == []


def test_the_doctor_proves_itself_with_the_first_of_two_secrets() -> None:
    both = Sunshine(with_app(Settings(), webhook_secret=f"{WEBHOOK_SECRET} an-old-shared-secret"))
    ((path, request),) = both.probes().items()

    assert path == "/sunshine/shop"
    SHOP.verify(request)
    assert SHOP.parse(request) == ()


@pytest.mark.parametrize("path", ["", "/sc"])
@pytest.mark.parametrize("called", [OURS, f"id-of-{OURS}"])
def test_the_doctor_sees_the_key_and_the_switchboard_and_changes_nothing(app: SunshineSimulator, path: str, called: str) -> None:
    key, board = checked(app, base_url=app.url + path, switchboard=called)

    assert isinstance(SHOP, Checkable)
    assert key == Check("sunshine shop", True, "the key is taken")
    assert (board.what, board.ok, board.advice) == ("sunshine shop switchboard", True, "")
    assert {call.method for call in app.calls} == {"GET"}


def test_without_a_switchboard_of_ours_the_doctor_asks_for_the_key_alone(app: SunshineSimulator) -> None:
    assert checked(app, switchboard="") == [Check("sunshine shop", True, "the key is taken")]


@pytest.mark.parametrize(
    ("state", "account", "found"),
    [
        ({"enabled": None}, {}, "no integration is called 'replymill'"),
        ({}, {"switchboard": "another"}, "no integration is called 'another'"),
        ({"enabled": False}, {}, "switched off"),
        ({"after": {OURS: "", AGENTS: ""}}, {}, "nobody comes after 'replymill'"),
        ({}, {"hand_over_to": "nobody"}, "no integration is called 'nobody'"),
    ],
)
def test_the_doctor_says_what_is_wrong_with_the_switchboard(
    app: SunshineSimulator, state: dict[str, Any], account: dict[str, Any], found: str
) -> None:
    for name, value in state.items():
        setattr(app, name, value)
    key, board = checked(app, **account)

    assert (key.ok, board.ok) == (True, False)
    assert found in board.found
    assert "docs/sunshine.md" in board.advice


@pytest.mark.parametrize(
    ("hook", "found", "well"),
    [
        ({}, "it leads to bot.example.com/sunshine/shop", True),
        ({"target": "https://bot.example.com/sunshine/other"}, "none leads to /sunshine/shop", False),
        ({"target": None}, "none leads to /sunshine/shop", False),
        ({"secret": "the secret of another webhook"}, "another secret", False),
        ({"triggers": ["conversation:read"]}, "it is not told of conversation:message", False),
    ],
)
def test_the_doctor_sees_the_webhook_where_the_key_is_that_of_the_app(
    app: SunshineSimulator, hook: dict[str, Any], found: str, well: bool
) -> None:
    target = "https://bot.example.com/sunshine/shop"
    app.webhooks = [{"target": target, "secret": WEBHOOK_SECRET, "triggers": ["conversation:message"], **hook}]
    key, webhook = checked(app, switchboard="")

    assert (key.ok, webhook.what, webhook.ok) == (True, "sunshine shop webhook", well)
    assert found in webhook.found
    assert WEBHOOK_SECRET not in repr(webhook)


def test_the_doctor_says_that_the_clocks_differ(app: SunshineSimulator) -> None:
    far = {"date": format_datetime(datetime.now(UTC) + timedelta(minutes=2), usegmt=True)}
    app.go_wrong(APP_ID, Fault(status=401, headers=far))
    _, clock = checked(app)

    assert (clock.what, clock.ok) == ("sunshine shop clock", False)


def test_the_doctor_warns_of_an_integration_that_does_not_hear_of_others(app: SunshineSimulator) -> None:
    app.standby = False
    _, board = checked(app, hand_over_to=AGENTS)

    assert board.ok
    assert "deliverStandbyEvents" in board.advice


def test_the_key_of_an_integration_is_taken_though_it_may_not_read_the_app(app: SunshineSimulator) -> None:
    app.narrow = True
    key, board = checked(app)

    assert key == Check("sunshine shop", True, "the key is taken, for conversations alone")
    assert board.ok
    assert "may not read it" in board.found


def test_the_doctor_tells_a_wrong_key_from_a_platform_that_is_away_and_shows_neither(app: SunshineSimulator) -> None:
    (refused,) = checked(app, key_secret="a-wrong-secret-of-the-key")
    (away,) = checked(app, base_url=f"http://127.0.0.1:{free_port()}")
    app.go_wrong(APP_ID, Fault(status=403), Fault(status=503))
    app.go_wrong("0" * 24, Fault(status=403))
    (other,) = checked(app)
    (busy,) = checked(app)

    assert (refused.ok, away.ok, other.ok, busy.ok) == (False, False, False, False)
    assert "401" in refused.found
    assert "403" in other.found
    assert (away.found, busy.found) == ("no answer", "no answer")
    assert "a-wrong-secret" not in str((refused, away))
    assert KEY_SECRET not in str((other, busy))


def test_a_switchboard_that_does_not_answer_leaves_the_key_as_it_was_found(app: SunshineSimulator) -> None:
    for fault, found in ((Fault(status=404), "404"), (Fault(drop=True), "no answer")):
        app.go_wrong("/switchboards", fault)
        key, board = checked(app)

        assert (key.ok, board.ok) == (True, False)
        assert found in board.found


# -- choices ----------------------------------------------------------------------------------------------------


def test_choices_are_replies_to_press_and_a_press_is_a_message() -> None:
    with SunshineSimulator() as app:
        talk = app.open(PLACE)
        asked = Reply(in_reply_to=("a",), address=TALK, text="Which?", source=Source.FALLBACK, choices=("Delivery time", "Refund"))

        async def sending() -> None:
            platform = Sunshine(with_app(Settings(), base_url=app.url))
            assert platform.offers(asked)
            assert not platform.offers(msgspec.structs.replace(asked, choices=("x" * 129,)))
            await platform.send(Delivery(id="a-0", reply=asked))
            await platform.close()

        asyncio.run(sending())
    (message,) = talk.messages
    assert message["content"]["text"] == "Which?"
    assert message["content"]["actions"] == [
        {"type": "reply", "text": choice, "payload": choice} for choice in ("Delivery time", "Refund")
    ]
    pressed = said("Refund")
    pressed["payload"]["message"]["content"]["payload"] = "Refund"
    (found,) = parsed(pressed)
    assert found.text == "Refund"
