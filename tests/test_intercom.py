"""Intercom in both directions: signed notifications over HTTP, replies into the conversations of a simulated workspace."""

import asyncio
import dataclasses
import hashlib
import hmac
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from connectors.contract import HandOver, Hosting, Inbound, Notice, Ownership, Receiver, Request, Stop
from connectors.intercom import MOST_HTML, REQUESTS_EACH, Intercom
from connectors.intercom_items import to_text
from connectors.simulators.intercom import BOT, TEAM, TEAMMATE, IntercomSimulator
from connectors.simulators.server import Fault
from engine.accounts import IntercomApp
from engine.errors import DeliveryRefused, RejectedRequest, RetryLater, Unclear, UnparseableMessage, Withdrawn
from engine.lanes import Lanes
from engine.messages import Action, Address, Delivery, InboundMessage, Owner, Receipt, Reply, Source
from engine.settings import Settings
from tests.conftest import wait_for
from tests.desk import Desk, texts
from tests.doors import Door, opened, ready
from tests.loops import Post, delivering, waiting
from workers.embedded import free_port

pytestmark = pytest.mark.one_redis

SECRET = "a-client-secret-of-the-tests"
TOKEN = "an-access-token-of-the-tests"


def with_app(settings: Settings, url: str = "http://127.0.0.1:9", **fields: Any) -> Settings:
    """The settings with one Intercom app; nothing waits for fragments."""
    app = IntercomApp(
        **{
            "name": "acme",
            "tenant": "acme",
            "base_url": url,
            "access_token": TOKEN,
            "client_secret": SECRET,
            "admin_id": BOT,
            **fields,
        }
    )
    return dataclasses.replace(settings, quiet_chat=0.0, quiet_chat_max=0.0, accounts={"intercom": {app.name: app}})


PLATFORM = Intercom(with_app(Settings()), None)
#: A workspace whose notifications are read without its server.
PAPER = IntercomSimulator(client_secret=SECRET, token=TOKEN)


def parsed(raw: bytes) -> tuple[Inbound, ...]:
    return PLATFORM.parse(Request("acme", {}, raw))


def one(notified: tuple[dict[str, str], bytes]) -> Any:
    (found,) = parsed(notified[1])
    return found


def begun(html: str = "<p>Where is my order?</p>", **source: Any) -> tuple[str, Any]:
    """A new conversation: its id and what its notification says."""
    headers_and_body = PAPER.begin(html, **source)
    return json.loads(headers_and_body[1])["data"]["item"]["id"], headers_and_body


def number_of(raw: bytes) -> str:
    found: str = json.loads(raw)["data"]["item"]["id"]
    return found


@pytest.fixture
def workspace() -> Iterator[IntercomSimulator]:
    with IntercomSimulator(client_secret=SECRET, token=TOKEN) as running:
        yield running


@pytest.fixture
def door(settings: Settings) -> Iterator[Door]:
    with opened(with_app(settings)) as door:
        wait_for(lambda: ready(door))
        yield door


def come(door: Door, notified: tuple[dict[str, str], bytes], name: str = "acme") -> httpx.Response:
    headers, raw = notified
    return door.http.post(f"/intercom/{name}", content=raw, headers=headers)


def desk_of(door: Door, client: redis.Redis) -> Desk:
    return Desk(client, Lanes(door.settings))


def address(number: str) -> Address:
    return Address(platform="intercom", tenant="acme", channel="acme", thread=number)


def test_it_is_a_platform_that_receives_and_brings_a_route() -> None:
    assert isinstance(PLATFORM, Receiver)
    assert isinstance(PLATFORM, Hosting)


# -- what a notification says ------------------------------------------------------------------------------------------------------


def test_a_new_conversation_is_a_message_in_plain_text() -> None:
    number, notified = begun("<p>Where is my order?</p><p>It is <b>late</b> &amp; cold.</p>")
    found = one(notified)

    assert isinstance(found, InboundMessage)
    assert (found.address, found.sender) == (address(number), "6748")
    assert found.text == "Where is my order?\n\nIt is late & cold."
    assert found.dedupe_ids == (f"acme/source/{number}-source", f"acme/{json.loads(notified[1])['id']}")


@pytest.mark.parametrize("author", ["user", "lead", "contact"])
def test_what_a_person_adds_is_a_message_of_the_same_conversation(author: str) -> None:
    number, _ = begun()
    found = one(PAPER.write(number, "<p>And when?</p>", author=author))

    assert (found.address, found.text) == (address(number), "And when?")
    assert found.dedupe_ids[0].startswith("acme/part/")


def test_an_answer_that_opens_a_closed_conversation_again_is_a_message() -> None:
    number, _ = begun()

    assert one(PAPER.write(number, "<p>Once more</p>", part_type="open")).text == "Once more"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("plain", "plain"),
        ("<p>a</p>\n<p>b<br>c</p>", "a\n\nb\nc"),
        ("<ul><li>one</li><li>two</li></ul>", "one\n\ntwo"),
        ("5 &lt; 6 &#128077; &nbsp; x", "5 < 6 👍 x"),
        ("<style>p{}</style><p>seen</p><script>alert(1)</script>", "seen"),
        ("<p>unclosed <b>bold", "unclosed bold"),
        ("<![unknown[ x", "<![unknown[ x"),
        ("a <", "a <"),
    ],
)
def test_html_is_read_as_people_see_it(html: str, text: str) -> None:
    assert to_text(html) == text


@given(st.text() | st.text("<>![]&-/ abp=\"'#;x\n").map(lambda text: text * 3))
def test_any_html_has_some_text(html: str) -> None:
    assert isinstance(to_text(html), str)


def test_what_teammates_bots_and_the_bot_write_starts_nothing() -> None:
    number, _ = begun()

    assert parsed(PAPER.write(number, "<p>Fin here</p>", author="bot")[1]) == ()
    assert parsed(PAPER.write(number, "<p>me</p>", author="admin", author_id=BOT)[1]) == ()
    assert parsed(PAPER.write(number, "<p>me</p>", author="admin", author_id=BOT, topic="conversation.user.replied")[1]) == ()
    assert parsed(PAPER.write(number, "<p>psst</p>", author="user", part_type="note")[1]) == ()
    assert parsed(begun(author="admin")[1][1]) == ()
    assert parsed(begun(author="bot")[1][1]) == ()


@pytest.mark.parametrize(
    "topic", ["ping", "conversation.admin.noted", "contact.created", "conversation.rating.added", "tomorrow's"]
)
def test_topics_that_say_nothing_to_us_are_taken_in_silence(topic: str) -> None:
    number, _ = begun()

    assert parsed(PAPER.notify(topic, number)[1]) == ()


def test_a_ping_needs_no_conversation() -> None:
    ping = {"type": "notification_event", "topic": "ping", "id": None, "data": {"item": {"type": "ping", "message": "something"}}}

    assert parsed(json.dumps(ping).encode()) == ()


def test_a_picture_without_words_gets_the_notice_and_nothing_at_all_gets_nothing() -> None:
    number, _ = begun()
    picture = one(PAPER.write(number, None, attachments=[{"type": "upload", "url": "https://example.com/a.png"}]))

    assert isinstance(picture, Notice)
    assert (picture.address, picture.name) == (address(number), "no_text")
    assert isinstance(one(PAPER.write(number, '<p><img src="https://example.com/a.png"></p>')), Notice)
    assert parsed(PAPER.write(number, None)[1]) == ()
    assert parsed(PAPER.write(number, "<p>\u200b</p>")[1]) == ()


def test_a_person_may_ask_for_a_person_or_take_it_back() -> None:
    number, _ = begun()

    assert isinstance(one(PAPER.write(number, "<p>I want to talk to a human</p>")), HandOver)
    stop = one(PAPER.write(number, "<p>Never mind!</p>"))
    assert isinstance(stop, Stop)
    assert stop.address == address(number)


def test_two_apps_may_number_their_conversations_alike() -> None:
    settings = with_app(Settings())
    accounts = {name: dataclasses.replace(settings.accounts["intercom"]["acme"], name=name) for name in ("acme", "other")}
    both = Intercom(dataclasses.replace(settings, accounts={"intercom": accounts}), None)
    _, (_, raw) = begun()
    found = [message for name in accounts for message in both.parse(Request(name, {}, raw)) if isinstance(message, InboundMessage)]

    assert len({message.address for message in found}) == 2
    assert not set(found[0].dedupe_ids) & set(found[1].dedupe_ids)


def broken(topic: str = "conversation.user.replied", **item: Any) -> bytes:
    return json.dumps({"topic": topic, "id": "notif_1", "data": {"item": item}}).encode()


PERSON = {"type": "user", "id": "1"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"not json",
        b"\xff\xfe",
        b"[]",
        b'{"topic": "ping", "topic": "ping"}',
        b"[" * 100_000,
        b"{}",
        b'{"topic": 5}',
        b'{"topic": "conversation.user.created"}',
        b'{"topic": "conversation.user.created", "data": {"item": []}}',
        broken(),
        broken(id="../../admins"),
        broken(id="12", conversation_parts={"conversation_parts": []}),
        broken(id="12", conversation_parts=[5, None]),
        broken("conversation.user.created", id="12"),
        broken("conversation.user.created", id="12", source="hello"),
        broken("conversation.admin.closed", id=True),
    ],
)
def test_a_broken_shape_says_so_and_has_an_origin(raw: bytes) -> None:
    with pytest.raises(UnparseableMessage):
        parsed(raw)
    address, logical_id = PLATFORM.origin(Request("acme", {}, raw))

    assert (address.channel, address.thread) == ("acme", "")
    assert logical_id.startswith("acme/")


def test_a_message_without_any_id_says_so() -> None:
    item = {"id": 12, "conversation_parts": [{"body": "hi", "author": PERSON}]}

    with pytest.raises(UnparseableMessage, match="id"):
        parsed(json.dumps({"topic": "conversation.user.replied", "data": {"item": item}}).encode())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
topics = st.sampled_from(["conversation.user.created", "conversation.user.replied", "conversation.admin.assigned", "ping"])
parts = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("id", "part_type", "body", "author", "attachments", "created_at"), json_values),
)


@given(
    topic=topics | json_values,
    item=st.fixed_dictionaries(
        {"id": st.just("12") | json_values},
        optional={
            "source": parts | json_values,
            "conversation_parts": st.lists(parts | json_values, max_size=3) | json_values,
            "admin_assignee_id": json_values,
            "team_assignee_id": json_values,
        },
    )
    | json_values,
)
def test_any_notification_is_read_or_says_that_it_is_broken(topic: Any, item: Any) -> None:
    raw = json.dumps({"topic": topic, "id": "notif_1", "data": {"item": item}}).encode()
    try:
        found = parsed(raw)
    except UnparseableMessage:
        return
    for inbound in found:
        if isinstance(inbound, InboundMessage):
            inbound.encode()


# -- who has the conversation ------------------------------------------------------------------------------------------------------


def owner(notified: tuple[dict[str, str], bytes]) -> Owner | None:
    found = parsed(notified[1])
    return found[0].owner if found and isinstance(found[0], Ownership) else None


def test_a_teammate_who_answers_or_is_assigned_has_the_conversation() -> None:
    number, _ = begun()

    assert owner(PAPER.write(number, "<p>Let me see</p>", author="admin")) is Owner.HUMAN
    assert owner(PAPER.assign(number, admin=TEAMMATE)) is Owner.HUMAN
    assert owner(PAPER.assign(number, admin=TEAMMATE, author="bot", by="1")) is Owner.HUMAN


def test_a_private_note_takes_nothing_over() -> None:
    number, _ = begun()

    assert owner(PAPER.write(number, "<p>psst</p>", author="admin", part_type="note")) is None


def test_a_teammate_who_moves_it_to_a_team_leaves_it_waiting_and_a_rule_does_not() -> None:
    number, _ = begun()

    assert owner(PAPER.assign(number, team=TEAM)) is Owner.WAITING
    assert owner(PAPER.assign(number, team=TEAM, author="bot", by="1")) is None


def test_it_comes_back_when_a_teammate_gives_it_to_the_bot_or_to_nobody_or_closes_it() -> None:
    number, _ = begun()

    assert owner(PAPER.assign(number, admin=BOT)) is Owner.BOT
    assert owner(PAPER.assign(number)) is Owner.BOT
    assert owner(PAPER.shut(number)) is Owner.BOT


def test_a_closed_conversation_stays_with_the_teammate_it_is_assigned_to() -> None:
    number, _ = begun()
    PAPER.assign(number, admin=TEAMMATE)

    assert owner(PAPER.shut(number)) is None


def test_what_the_bots_own_admin_does_is_no_news() -> None:
    number, _ = begun()

    assert owner(PAPER.assign(number, by=BOT)) is None
    assert owner(PAPER.assign(number, team=TEAM, by=BOT)) is None
    assert owner(PAPER.assign(number, admin=TEAMMATE, by=BOT)) is None
    assert owner(PAPER.shut(number, by=BOT)) is None


def test_an_assignment_to_the_bot_by_nobody_knows_whom_is_no_news() -> None:
    raw = broken("conversation.admin.assigned", id="12", admin_assignee_id=int(BOT))

    assert parsed(raw) == ()


# -- signatures --------------------------------------------------------------------------------------------------------------------


def test_what_the_openssl_command_signs_is_taken(door: Door) -> None:
    _, (_, raw) = begun()
    made = subprocess.run(["openssl", "dgst", "-sha1", "-hmac", SECRET, "-r"], input=raw, capture_output=True, check=True).stdout

    assert come(door, ({"x-hub-signature": f"sha1={made.decode().partition(' ')[0]}"}, raw)).status_code == 200


def test_forged_and_malformed_signatures_and_unknown_names_look_the_same(door: Door, redis_client: redis.Redis) -> None:
    _, (headers, raw) = begun()
    good = headers["x-hub-signature"]
    other = hmac.new(b"another secret of the tests", raw, hashlib.sha1).hexdigest()
    sha256 = hmac.new(SECRET.encode(), raw, hashlib.sha256).hexdigest()
    faults: list[tuple[str, bytes, str]] = [
        ("", raw, "acme"),
        (f"sha1={other}", raw, "acme"),
        (f"sha256={sha256}", raw, "acme"),
        (f"sha1={sha256}", raw, "acme"),
        (good.removeprefix("sha1="), raw, "acme"),
        (good.upper(), raw, "acme"),
        (good, raw + b" ", "acme"),
        (good, json.dumps(json.loads(raw), indent=1).encode(), "acme"),
        ("sha1=\xff\xfe", raw, "acme"),
        (good, raw, "nobody"),
    ]
    answers = [
        door.http.post(f"/intercom/{name}", content=body, headers={b"x-hub-signature": header.encode("latin-1")})
        for header, body, name in faults
    ]

    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert desk_of(door, redis_client).backlog()[0].messages == 0


@given(st.text(), st.dictionaries(st.sampled_from(["x-hub-signature", "x-hub-signature-256"]), st.text()), st.binary())
def test_whatever_is_not_signed_is_rejected(name: str, headers: dict[str, str], raw: bytes) -> None:
    with pytest.raises(RejectedRequest):
        PLATFORM.verify(Request(name, headers, raw))


# -- over HTTP ---------------------------------------------------------------------------------------------------------------------


def test_a_message_is_on_its_lane_when_it_is_acknowledged_within_half_a_second(door: Door, redis_client: redis.Redis) -> None:
    number, notified = begun()
    come(door, begun("<p>the first pays for the connection</p>")[1])
    started = time.monotonic()
    answered = come(door, notified)

    assert time.monotonic() - started < 0.5
    assert (answered.status_code, answered.content) == (200, b"")
    desk = desk_of(door, redis_client)
    waiting_here = [lane for lane in desk.claim().lanes if lane.ref == desk.lanes.digests.lane(address(number))]
    assert [texts(lane) for lane in waiting_here] == [["Where is my order?"]]


def test_eleven_copies_at_once_are_one_message(door: Door, redis_client: redis.Redis) -> None:
    _, notified = begun()
    with ThreadPoolExecutor(11) as pool:
        answers = list(pool.map(lambda _: come(door, notified), range(11)))

    assert {answer.status_code for answer in answers} == {200}
    assert desk_of(door, redis_client).backlog()[0].messages == 1


def test_a_second_notification_of_the_same_part_is_a_repeat(door: Door, redis_client: redis.Redis) -> None:
    number, notified = begun()
    assert come(door, notified).status_code == 200
    assert come(door, PAPER.notify("conversation.user.created", number)).status_code == 200

    assert desk_of(door, redis_client).backlog()[0].messages == 1


def test_setting_up_the_address_is_answered_and_says_nothing_of_the_accounts(door: Door) -> None:
    for name in ("acme", "nobody"):
        assert door.http.head(f"/intercom/{name}").status_code == 200
        assert (door.http.get(f"/intercom/{name}").status_code, door.http.get(f"/intercom/{name}").content) == (200, b"")
    ping = {"type": "notification_event", "topic": "ping", "data": {"item": {"type": "ping"}}}
    assert come(door, PAPER.signed(json.dumps(ping).encode())).status_code == 200


def test_a_broken_notification_becomes_one_dead_letter_and_is_acknowledged(door: Door, redis_client: redis.Redis) -> None:
    for raw in (b"not json", b"not json", broken(id="../x")):
        assert come(door, PAPER.signed(raw)).status_code == 200

    desk = desk_of(door, redis_client)
    assert redis_client.zcard(desk.shard.dead_index) == 2
    assert desk.backlog()[0].messages == 0


def test_while_redis_is_away_intercom_is_asked_to_hold_back(settings: Settings) -> None:
    away = dataclasses.replace(settings, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    with opened(with_app(away)) as door:
        answered = come(door, begun()[1])

    assert answered.status_code == 429
    assert int(answered.headers["retry-after"]) > 0


def test_a_teammate_silences_the_bot_until_the_conversation_comes_back(door: Door, redis_client: redis.Redis) -> None:
    number, _ = begun()
    desk = desk_of(door, redis_client)
    come(door, PAPER.write(number, "<p>I am on it</p>", author="admin"))
    come(door, PAPER.write(number, "<p>Thanks, Bo</p>"))
    assert desk.backlog()[0].messages == 0
    assert [turn.text for turn in desk.history(address(number))] == ["Thanks, Bo"]

    come(door, PAPER.assign(number))
    come(door, PAPER.write(number, "<p>Something else</p>"))
    assert desk.backlog()[0].messages == 1


# -- replies -----------------------------------------------------------------------------------------------------------------------


def delivery(number: str, text: str = "It is on its way.", *, action: Action = Action.NONE, part: int = 0) -> Delivery:
    reply = Reply(in_reply_to=("msg_1",), address=address(number), text=text, source=Source.MODEL)
    return Delivery(id=f"abc-{part}", reply=reply, part=part, action=action)


def sent(workspace: IntercomSimulator, *deliveries: Delivery, **account: Any) -> list[Any]:
    """What became of each delivery: a receipt, or what was raised."""
    platform = Intercom(with_app(Settings(), workspace.url, **account), None)

    async def sending() -> list[Any]:
        found = [(await asyncio.gather(platform.send(one), return_exceptions=True))[0] for one in deliveries]
        await platform.close()
        return found

    return asyncio.run(sending())


def opened_in(workspace: IntercomSimulator) -> str:
    return number_of(workspace.begin()[1])


def test_a_reply_is_posted_as_html_by_the_bots_admin(workspace: IntercomSimulator) -> None:
    number = opened_in(workspace)
    (receipt,) = sent(workspace, delivery(number, "1 < 2 & <script>alert(1)</script>"))

    (posted,) = workspace.said(number)
    assert "1 &lt; 2 &amp; &lt;script&gt;" in posted
    (call,) = workspace.to("/reply")
    assert {name: call.body[name] for name in ("message_type", "type", "admin_id")} == {
        "message_type": "comment",
        "type": "admin",
        "admin_id": BOT,
    }
    assert call.headers["intercom-version"] == "2.14"
    assert receipt == Receipt(delivery="abc-0", platform_id=workspace.parts(number)[-1]["id"])


def test_a_long_reply_is_split_into_parts_that_hold_all_of_it() -> None:
    words = [f"word{number}" for number in range(4000)]
    found = PLATFORM.split(" ".join(words))

    assert len(found) > 1
    assert all(len(part) <= MOST_HTML for part in found)
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
        (Fault(status=401, body={"type": "error.list"}), DeliveryRefused, None),
        (Fault(status=403), DeliveryRefused, None),
        (Fault(status=404), DeliveryRefused, None),
    ],
)
def test_what_goes_wrong_with_a_reply_decides(
    workspace: IntercomSimulator, fault: Fault, kind: type[Exception], after: float | None
) -> None:
    number = opened_in(workspace)
    workspace.go_wrong("/reply", fault)
    (raised,) = sent(workspace, delivery(number))

    assert type(raised) is kind
    assert getattr(raised, "after", None) == after
    assert TOKEN not in str(raised)


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(drop=True), Fault(status=429)])
def test_when_the_owner_cannot_be_asked_nothing_is_posted_and_all_is_clear(workspace: IntercomSimulator, fault: Fault) -> None:
    number = opened_in(workspace)
    workspace.go_wrong(f"/conversations/{number}", fault)
    (raised,) = sent(workspace, delivery(number))

    assert type(raised) is RetryLater
    assert workspace.to("/reply") == []


def test_an_answer_of_html_with_a_good_status_is_taken(workspace: IntercomSimulator) -> None:
    number = opened_in(workspace)
    workspace.go_wrong("/reply", Fault(status=200, body="<html></html>", after_effect=True))

    assert sent(workspace, delivery(number)) == [Receipt(delivery="abc-0")]


def test_a_wrong_token_and_a_conversation_that_is_gone_are_refused_for_good(workspace: IntercomSimulator) -> None:
    number = opened_in(workspace)
    (unauthorized,) = sent(workspace, delivery(number), access_token="revoked-since-yesterday")
    (gone,) = sent(workspace, delivery("999999"))

    assert isinstance(unauthorized, DeliveryRefused)
    assert isinstance(gone, DeliveryRefused)
    assert "revoked-since-yesterday" not in str(unauthorized)


def test_an_account_that_is_gone_refuses_its_replies(workspace: IntercomSimulator) -> None:
    (raised,) = sent(workspace, delivery(opened_in(workspace)), name="other")

    assert isinstance(raised, DeliveryRefused)
    assert workspace.calls == []


def by_assignment(workspace: IntercomSimulator, number: str) -> None:
    workspace.assign(number, admin=TEAMMATE)


def by_answer(workspace: IntercomSimulator, number: str) -> None:
    workspace.write(number, "<p>I am on it</p>", author="admin")


@pytest.mark.parametrize("takes_over", [by_assignment, by_answer])
@pytest.mark.parametrize("action", list(Action))
def test_nothing_is_posted_once_a_teammate_has_taken_over(
    workspace: IntercomSimulator, takes_over: Callable[[IntercomSimulator, str], None], action: Action
) -> None:
    number = opened_in(workspace)
    takes_over(workspace, number)
    before = workspace.conversations[number]["admin_assignee_id"]
    (raised,) = sent(workspace, delivery(number, action=action))

    assert isinstance(raised, Withdrawn)
    assert workspace.said(number) == []
    assert workspace.conversations[number]["admin_assignee_id"] == before


def test_a_conversation_that_came_back_is_answered_again(workspace: IntercomSimulator) -> None:
    number = opened_in(workspace)
    by_answer(workspace, number)
    workspace.shut(number)
    workspace.write(number, "<p>Something else</p>")
    workspace.write(number, "<p>only for us</p>", author="admin", part_type="note")

    assert isinstance(sent(workspace, delivery(number))[0], Receipt)


def test_the_requests_of_one_app_stay_below_a_sixth_of_a_minutes_share() -> None:
    (limit,) = PLATFORM.limits(delivery("12"))

    assert limit.bucket == ("intercom", "acme", "acme")
    assert limit.count * REQUESTS_EACH / limit.seconds * 60 <= 10_000


# -- handing over ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("assignee", "admin", "team"), [(TEAM, None, TEAM), (TEAMMATE, int(TEAMMATE), None), ("0", None, None)])
@pytest.mark.parametrize("assigns_replies", [False, True])
def test_a_hand_over_says_so_and_gives_the_conversation_away(
    workspace: IntercomSimulator, assignee: str, admin: int | None, team: str | None, assigns_replies: bool
) -> None:
    number = opened_in(workspace)
    workspace.assigns_replies = assigns_replies
    (receipt,) = sent(workspace, delivery(number, "Somebody will be here soon.", action=Action.HAND_OVER), assignee_id=assignee)

    assert isinstance(receipt, Receipt)
    assert len(workspace.said(number)) == 1
    found = workspace.conversations[number]
    assert (found["admin_assignee_id"], found["team_assignee_id"]) == (admin, team)
    assert workspace.to("/parts")[0].body == {
        "message_type": "assignment",
        "type": "admin",
        "admin_id": BOT,
        "assignee_id": assignee,
    }


@pytest.mark.parametrize("assignee", [TEAM, TEAMMATE, "0"])
def test_a_hand_over_whose_text_was_refused_for_now_is_repeated_whole(workspace: IntercomSimulator, assignee: str) -> None:
    number = opened_in(workspace)
    workspace.go_wrong("/reply", Fault(status=429))
    handed = delivery(number, action=Action.HAND_OVER)
    first, second = sent(workspace, handed, handed, assignee_id=assignee)

    assert isinstance(first, RetryLater)
    assert isinstance(second, Receipt)
    assert len(workspace.said(number)) == 1


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(drop=True, after_effect=True)])
def test_an_assignment_that_broke_is_surely_no_text(workspace: IntercomSimulator, fault: Fault) -> None:
    number = opened_in(workspace)
    workspace.go_wrong("/parts", fault)
    handed = delivery(number, action=Action.HAND_OVER)
    first, second = sent(workspace, handed, handed, assignee_id=TEAMMATE)

    assert isinstance(first, RetryLater)
    assert isinstance(second, Receipt)
    assert len(workspace.said(number)) == 1


def test_a_hand_over_without_a_text_posts_none(workspace: IntercomSimulator) -> None:
    number = opened_in(workspace)
    (receipt,) = sent(workspace, delivery(number, "", action=Action.HAND_OVER), assignee_id=TEAM)

    assert isinstance(receipt, Receipt)
    assert workspace.to("/reply") == []


def test_a_text_that_keeps_the_conversation_with_the_bot_is_unclear(workspace: IntercomSimulator) -> None:
    number = opened_in(workspace)
    workspace.assigns_replies = True
    workspace.go_wrong("/parts", None, Fault(status=500))
    (raised,) = sent(workspace, delivery(number, action=Action.HAND_OVER))

    assert isinstance(raised, Unclear)


# -- with the delivery loop --------------------------------------------------------------------------------------------------------


def test_a_wish_for_a_person_travels_from_the_door_to_the_team(
    settings: Settings, redis_client: redis.Redis, workspace: IntercomSimulator
) -> None:
    number = opened_in(workspace)
    ours = dataclasses.replace(with_app(settings, workspace.url, assignee_id=TEAM), send_timeout=5.0)
    with opened(ours) as door:
        wait_for(lambda: ready(door))
        assert come(door, workspace.write(number, "<p>Can I talk to a person, please?</p>")).status_code == 200

    async def body(post: Post) -> None:
        await post.until(lambda: waiting(post.desk) == 0)

    platform: Any = Intercom(ours, None)
    delivering(ours, redis_client, platform, body)

    assert len(workspace.said(number)) == 1
    assert workspace.conversations[number]["team_assignee_id"] == TEAM


# -- choices ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [None, Fault(status=400), Fault(drop=True)])
def test_choices_are_a_list_and_buttons_below_it_where_those_can_be_had(workspace: IntercomSimulator, fault: Fault | None) -> None:
    headers_and_body = workspace.begin()
    number = number_of(headers_and_body[1])
    asked = Reply(in_reply_to=("a",), address=address(number), text="Which?", source=Source.FALLBACK, choices=("One", "Two"))
    workspace.go_wrong("/reply", None, fault)

    async def sending() -> None:
        platform = Intercom(with_app(Settings(), workspace.url), None)
        assert platform.offers(asked)
        assert (await platform.send(Delivery(id="a-0", reply=asked))).platform_id
        await platform.close()

    asyncio.run(sending())
    posted = workspace.to("/reply")
    assert posted[0].body["body"].count("<li>") == 2
    assert len(posted) == 2
    assert workspace.offered.get(number, []) == ([["One", "Two"]] if fault is None else [])
