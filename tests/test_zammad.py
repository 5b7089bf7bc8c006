"""Zammad, both directions: triggers send tickets with their newest article, replies are articles of tickets that no agent owns."""

import asyncio
import dataclasses
import hashlib
import hmac
import json
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import redis
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from connectors.contract import Askable, Checkable, HandOver, Notice, Ownership, Probing, Receiver, Request, Stop
from connectors.simulators.server import Fault
from connectors.simulators.zammad import AGENT, BOT, CUSTOMER, SimulatedZammad, Ticket, raw
from connectors.zammad import LONGEST, Zammad
from connectors.zammad_api import text_of
from engine.accounts import ZammadDesk
from engine.errors import DeliveryRefused, RejectedRequest, RetryLater, Unclear, UnparseableMessage, Withdrawn
from engine.lanes import Lanes
from engine.messages import Action, Address, Delivery, InboundMessage, Owner, Reply, Source
from engine.settings import Settings
from tests import tools
from tests.conftest import wait_for
from tests.desk import Desk
from tests.doors import Door, opened, ready
from tests.tools import waiting

pytestmark = pytest.mark.one_redis

SECRET = "a-signature-token-of-Zammad"
OTHER_SECRET = "another-token-of-Zammad"
TOKEN = "the access token of the bot"
ADDRESS = Address(platform="zammad", tenant="acme", channel="desk", thread="1")


def with_desk(settings: Settings, url: str = "http://127.0.0.1:9", **fields: Any) -> Settings:
    """The settings with one desk, `desk`; nothing waits for further fragments."""
    facts = {"name": "desk", "tenant": "acme", "base_url": url, "token": TOKEN, "webhook_secret": SECRET}
    desks = {"zammad": {"desk": ZammadDesk(**{**facts, **fields})}}
    return dataclasses.replace(settings, accounts=desks, quiet_chat=0.0, quiet_chat_max=0.0)


PLATFORM = Zammad(with_desk(Settings()))
#: Never started: it makes payloads.
TRIGGERS = SimulatedZammad(TOKEN, SECRET)


@pytest.fixture
def zammad() -> Iterator[SimulatedZammad]:
    with SimulatedZammad(TOKEN, SECRET) as simulator:
        yield simulator


@pytest.fixture
def ticket(zammad: SimulatedZammad) -> Ticket:
    """A ticket in which a customer has asked by mail."""
    opened_now = zammad.opened(1)
    zammad.written(opened_now, "The printer is on fire.")
    return opened_now


@pytest.fixture
def door(settings: Settings, zammad: SimulatedZammad) -> Iterator[Door]:
    with opened(with_desk(settings, zammad.url)) as door:
        wait_for(lambda: ready(door))
        yield door


def told(door: Door, zammad: SimulatedZammad, payload: dict[str, Any] | bytes, **how: Any) -> httpx.Response:
    """What Zammad is answered for a webhook."""
    body = payload if isinstance(payload, bytes) else raw(payload)
    return door.http.post("/zammad/desk", content=body, headers=zammad.signed(body, **how))


def parsed(payload: dict[str, Any] | bytes, **headers: str) -> tuple[Any, ...]:
    body = payload if isinstance(payload, bytes) else raw(payload)
    return PLATFORM.parse(Request("desk", headers, body))


def delivery(text: str = "It is **not**.", *, action: Action = Action.NONE, part: int = 0, **fields: Any) -> Delivery:
    reply = Reply(in_reply_to=("abc",), address=ADDRESS, text=text, source=Source.MODEL)
    return Delivery(id=f"abc-{part}", reply=msgspec.structs.replace(reply, **fields), part=part, action=action)


def attempt(settings: Settings, *steps: tuple[str, Any]) -> list[Any]:
    return tools.attempt(lambda: Zammad(settings), *steps)


def sent(zammad: SimulatedZammad, *deliveries: Delivery, **desk: Any) -> list[Any]:
    return attempt(with_desk(Settings(), zammad.url, **desk), *(("send", each) for each in deliveries))


def test_it_is_a_platform_that_receives_and_can_be_asked() -> None:
    assert isinstance(PLATFORM, Receiver)
    assert isinstance(PLATFORM, Askable)


# -- what a webhook says -----------------------------------------------------------------------------------------------------------


def test_a_customers_article_is_a_message() -> None:
    payload = TRIGGERS.written(TRIGGERS.opened(1), "The printer is on fire.")
    (found,) = parsed(payload, **{"x-zammad-delivery": "0b7c-1"})

    assert (found.address, found.text, found.sender) == (ADDRESS, "The printer is on fire.", "11")
    assert found.dedupe_ids == (f"desk/1/{payload['article']['id']}", "desk/event/0b7c-1")


@pytest.mark.parametrize(
    "fields",
    [
        {"sender": "System"},
        {"sender": None},
        {"internal": True},
        {"preferences": {"is-auto-response": True}},
        {"id": None},
        {"created_at": (datetime.now(UTC) - timedelta(days=2)).isoformat()},
        {"created_at": (datetime.now(UTC) - timedelta(days=2)).replace(tzinfo=None).isoformat()},
    ],
)
def test_what_no_customer_wrote_lately_to_be_read_starts_nothing(fields: dict[str, Any]) -> None:
    payload = TRIGGERS.written(TRIGGERS.opened(1), "The printer is on fire.")

    assert parsed({**payload, "article": {**payload["article"], **fields}}) == ()


@pytest.mark.parametrize("created_at", [None, "", "yesterday"])
def test_an_article_that_does_not_say_its_age_is_new(created_at: str | None) -> None:
    payload = TRIGGERS.written(TRIGGERS.opened(1), "The printer is on fire.")

    assert len(parsed({**payload, "article": {**payload["article"], "created_at": created_at}})) == 1


def test_a_ticket_that_an_agent_owns_is_a_persons() -> None:
    payload = TRIGGERS.written(TRIGGERS.opened(1, owner=AGENT, state="open"), "I want to talk to a human")
    (ownership, message) = parsed(payload)

    assert ownership == Ownership(ADDRESS, Owner.HUMAN)
    assert isinstance(message, InboundMessage)  # kept for the history, whatever it asks for
    assert parsed(TRIGGERS.written(TRIGGERS.tickets[1], "<p></p>", content_type="text/html")) == (ownership,)


@pytest.mark.parametrize(
    ("owner", "owner_id", "says"),
    [
        ("-", None, None),
        ("anna", None, Owner.HUMAN),
        (None, 1, None),
        (None, 6, Owner.HUMAN),
        ({}, 6, Owner.HUMAN),
        ({"id": 1}, 1, None),
    ],
)
def test_an_owner_is_known_in_every_shape(owner: Any, owner_id: int | None, says: Owner | None) -> None:
    payload = {"ticket": {"id": 1, "state": "open", "owner": owner, "owner_id": owner_id}, "article": {}}

    assert parsed(payload) == ((Ownership(ADDRESS, says),) if says else ())


@pytest.mark.parametrize("state", ["closed", "merged", "removed"])
def test_a_ticket_that_is_over_goes_back_to_the_bot_and_asks_nothing(state: str) -> None:
    payload = TRIGGERS.written(TRIGGERS.opened(1, state=state), "The printer is on fire.")

    assert parsed(payload) == (Ownership(ADDRESS, Owner.BOT),)


def test_a_webhook_without_an_article_starts_nothing() -> None:
    ticket = TRIGGERS.opened(1)

    assert parsed(TRIGGERS.triggered(ticket)) == ()
    assert parsed({**TRIGGERS.triggered(ticket), "article": None}) == ()


def test_a_wish_for_a_person_and_to_stop_is_heard() -> None:
    ticket = TRIGGERS.opened(1)

    assert isinstance(parsed(TRIGGERS.written(ticket, "I want to talk to a human"))[0], HandOver)
    assert isinstance(parsed(TRIGGERS.written(ticket, "stop"))[0], Stop)


def test_an_article_without_text_gets_a_notice() -> None:
    payload = TRIGGERS.written(TRIGGERS.opened(1), '<img src="cid:1">', content_type="text/html")

    assert parsed(payload) == (Notice(ADDRESS, (f"desk/1/{payload['article']['id']}",), "no_text"),)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<div>Hello,<br>the <b>printer</b>\nburns.</div><p>Anna</p>", "Hello,\nthe printer burns.\nAnna"),
        ("<p>Yes.</p><blockquote><p>Does it <blockquote>old</blockquote> burn?</p></blockquote><p>Anna</p>", "Yes.\nAnna"),
        ("<style>p { }</style><script>alert(1)</script>5 &lt; 6 &amp; 7", "5 < 6 & 7"),
        ("a<![foo[b]]>c", "ac"),
        ("<ul><li>one</li><li>two</li></ul></blockquote>three", "one\ntwo\nthree"),
    ],
)
def test_the_text_of_a_mail_is_what_the_person_wrote(body: str, text: str) -> None:
    assert text_of(body, "text/html; charset=utf-8") == text
    assert text_of(f" {body}\n", "text/plain") == body


@given(st.text(st.sampled_from("<>![]-/?&#;a \"'=")) | st.text())
def test_any_html_is_read(body: str) -> None:
    assert isinstance(text_of(body, "text/html"), str)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"ticket": null}',
        b'{"ticket": 5}',
        b'{"ticket": {}}',
        b'{"ticket": {"id": "1"}}',
        b'{"ticket": {"id": 1}, "ticket": {"id": 1}}',
        b'{"ticket": {"id": 1}, "article": []}',
        b'{"ticket": {"id": 1}, "article": {"id": 1, "body": 5}}',
    ],
)
def test_what_is_broken_is_no_webhook_we_know(body: bytes) -> None:
    with pytest.raises(UnparseableMessage):
        parsed(body)


COMPLETE: dict[str, Any] = TRIGGERS.written(TRIGGERS.opened(1), "The printer is on fire.")


@given(
    st.sampled_from([(part, name) for part in ("ticket", "article") for name in COMPLETE[part]]),
    st.none() | st.text() | st.integers() | st.floats() | st.lists(st.integers()) | st.dictionaries(st.text(), st.text()),
)
@examples(max_examples=200)
def test_any_field_of_a_webhook_may_be_anything(place: tuple[str, str], value: Any) -> None:
    part, name = place
    with suppress(UnparseableMessage):
        parsed({**COMPLETE, part: {**COMPLETE[part], name: value}})


# -- over HTTP ---------------------------------------------------------------------------------------------------------------------


def test_a_signed_article_is_durable_when_it_is_acknowledged(
    door: Door, zammad: SimulatedZammad, redis_client: redis.Redis
) -> None:
    answered = told(door, zammad, zammad.written(zammad.opened(1), "The printer is on fire."))

    assert (answered.status_code, answered.content) == (200, b"")
    assert waiting(door, redis_client) == ["The printer is on fire."]


def test_copies_of_one_webhook_and_two_triggers_are_one_message(
    door: Door, zammad: SimulatedZammad, redis_client: redis.Redis
) -> None:
    payload = zammad.written(zammad.opened(1), "The printer is on fire.")
    with ThreadPoolExecutor(11) as pool:
        answers = list(pool.map(lambda n: told(door, zammad, payload, delivery="d-1" if n % 2 else ""), range(11)))

    assert {answered.status_code for answered in answers} == {200}
    assert waiting(door, redis_client) == ["The printer is on fire."]


def test_openssl_signs_as_zammad_does(door: Door, zammad: SimulatedZammad, tmp_path: Path) -> None:
    body = raw(zammad.written(zammad.opened(1), "Hello 👋"))
    (tmp_path / "signed").write_bytes(body)
    command = ["openssl", "dgst", "-sha1", "-hmac", SECRET, "-r", str(tmp_path / "signed")]
    digest = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0]

    assert door.http.post("/zammad/desk", content=body, headers={"x-hub-signature": f"sha1={digest}"}).status_code == 200


def test_a_forged_webhook_and_an_unknown_desk_look_the_same(door: Door, zammad: SimulatedZammad, redis_client: redis.Redis) -> None:
    body = raw(zammad.written(zammad.opened(1), "The printer is on fire."))
    good = zammad.signed(body)
    other = "sha1=" + hmac.new(OTHER_SECRET.encode(), body, hashlib.sha1).hexdigest()
    sha256 = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    wrong = [
        {},
        {**good, "x-hub-signature": ""},
        {**good, "x-hub-signature": other},
        {**good, "x-hub-signature": sha256},
        {**good, "x-hub-signature": good["x-hub-signature"].removeprefix("sha1=")},
        {**good, "x-hub-signature": good["x-hub-signature"][:-1]},
        zammad.signed(body + b" "),
    ]
    answers = [door.http.post("/zammad/desk", content=body, headers=headers) for headers in wrong]
    answers.append(door.http.post("/zammad/desk", content=json.dumps(json.loads(body), indent=1), headers=good))
    answers.append(door.http.post("/zammad/unknown", content=body, headers=good))

    assert {answered.status_code for answered in answers} == {401}
    assert len({answered.text for answered in answers}) == 1
    assert redis_client.keys("rm:{0}:in:*") == []


@given(st.text(), st.dictionaries(st.sampled_from(["x-hub-signature", "x-zammad-delivery"]), st.text()), st.binary())
def test_whatever_is_not_signed_is_rejected(name: str, headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(RejectedRequest):
        PLATFORM.verify(Request(name, headers, body))


def test_two_tokens_hold_while_one_follows_the_other() -> None:
    platform = Zammad(with_desk(Settings(), webhook_secret=f"{OTHER_SECRET} {SECRET}"))

    platform.verify(Request("desk", TRIGGERS.signed(b"{}"), b"{}"))


def test_a_broken_webhook_becomes_one_dead_letter_and_is_acknowledged(
    door: Door, zammad: SimulatedZammad, redis_client: redis.Redis
) -> None:
    answers = [told(door, zammad, body, delivery="d-1") for body in (b"{}", b"{}")]
    answers.append(told(door, zammad, b"not JSON", delivery="d-2"))

    assert {answered.status_code for answered in answers} == {200}
    assert redis_client.zcard("rm:{0}:dead") == 2


def test_zammad_is_made_to_come_back_while_redis_is_away(settings: Settings, zammad: SimulatedZammad) -> None:
    away = with_desk(dataclasses.replace(settings, redis_url="redis://127.0.0.1:9/0"), zammad.url)
    with opened(away) as door:
        assert told(door, zammad, zammad.written(zammad.opened(1), "The printer is on fire.")).status_code == 503


def test_the_bot_is_silent_while_an_agent_owns_the_ticket_and_comes_back(
    door: Door, zammad: SimulatedZammad, redis_client: redis.Redis
) -> None:
    ticket, desk = zammad.opened(1), Desk(redis_client, Lanes(door.settings))
    ticket.owner = AGENT
    told(door, zammad, zammad.written(ticket, "first"))
    assert waiting(door, redis_client) == []
    assert [turn.text for turn in desk.history(ADDRESS)] == ["first"]

    ticket.owner, ticket.state = 1, "closed"
    told(door, zammad, zammad.triggered(ticket))
    ticket.state = "open"
    told(door, zammad, zammad.written(ticket, "second"))
    assert waiting(door, redis_client) == ["second"]


def owner_in(event: dict[str, Any], platform: Zammad = PLATFORM) -> list[Owner]:
    """Who is said to answer from now on."""
    found = platform.parse(Request("desk", {}, raw(event)))
    return [one.owner for one in found if isinstance(one, Ownership)]


#: A desk whose bot is known by its setting.
BOTS_OWN = Zammad(with_desk(Settings(), user_id=BOT))


def test_a_ticket_that_an_agent_gives_back_to_nobody_is_the_bots_again() -> None:
    ticket = TRIGGERS.opened(1)
    TRIGGERS.written(ticket, "Where is my order?")

    assert owner_in(TRIGGERS.changed(ticket, owner=AGENT, state="open"), BOTS_OWN) == [Owner.HUMAN]
    assert owner_in(TRIGGERS.changed(ticket, owner=1), BOTS_OWN) == [Owner.BOT]


def test_a_ticket_that_is_assigned_to_the_bots_user_is_the_bots() -> None:
    ticket = TRIGGERS.opened(1)
    asked = TRIGGERS.written(ticket, "Where is my order?")
    asked["ticket"] |= {"owner_id": BOT, "owner": {"id": BOT, "login": "user5"}}

    assert owner_in(TRIGGERS.changed(ticket, owner=BOT, state="open"), BOTS_OWN) == [Owner.BOT]
    assert [type(one) for one in BOTS_OWN.parse(Request("desk", {}, raw(asked)))] == [InboundMessage]
    assert owner_in(asked) == [Owner.HUMAN]


@pytest.mark.parametrize("by", [BOT, 1, CUSTOMER])
def test_a_ticket_that_waits_for_an_agent_is_given_back_by_nobody_else(by: int) -> None:
    ticket = TRIGGERS.opened(1)
    TRIGGERS.written(ticket, "A person, please.")

    assert owner_in(TRIGGERS.changed(ticket, by=by, state="open"), BOTS_OWN) == []
    assert owner_in(TRIGGERS.changed(ticket, by=by, owner=BOT), BOTS_OWN) == []
    assert owner_in(TRIGGERS.changed(ticket, state="pending reminder", owner=1), BOTS_OWN) == []


def test_an_agent_who_answers_a_ticket_that_nobody_owns_has_it() -> None:
    ticket = TRIGGERS.opened(1)
    TRIGGERS.written(ticket, "Where is my order?")
    fields = {"sender": "Agent", "created_by_id": AGENT}

    assert owner_in(TRIGGERS.written(ticket, "On its way.", **fields), BOTS_OWN) == [Owner.HUMAN]
    assert owner_in(TRIGGERS.changed(ticket, owner=1, state="open"), BOTS_OWN) == [Owner.BOT]
    assert owner_in(TRIGGERS.written(ticket, "for us", internal=True, **fields), BOTS_OWN) == []
    assert owner_in(TRIGGERS.written(ticket, "the bot's", sender="Agent", created_by_id=BOT), BOTS_OWN) == []
    assert owner_in(TRIGGERS.written(ticket, "the bot's", preferences={"replymill_id": "abc-0"}, **fields), BOTS_OWN) == []
    # Nobody can tell who that was.
    assert owner_in(TRIGGERS.written(ticket, "On its way.", sender="Agent", created_by_id=None), BOTS_OWN) == []
    assert owner_in(TRIGGERS.written(ticket, "On its way.", **fields)) == []


@pytest.mark.parametrize("name", ["geschlossen", "fertig"])
def test_a_state_is_over_by_its_type_whatever_it_is_called(settings: Settings, zammad: SimulatedZammad, name: str) -> None:
    zammad.states |= {4: ("geschlossen", "closed"), 8: ("fertig", "closed"), 2: ("offen", "open"), 1: ("neu", "new")}
    ticket = zammad.opened(1, state="neu")
    zammad.written(ticket, "Where is my order?")
    ticket.state = name
    (raised,) = sent(zammad, delivery())
    assert isinstance(raised, Withdrawn)

    ticket.state = "neu"
    sent(zammad, handing_over())
    assert ticket.state == "offen"
    with opened(with_desk(settings, zammad.url)) as door:
        platform = door.server.web.platforms["zammad"]
        assert isinstance(platform, Zammad)
        wait_for(lambda: owner_in(zammad.changed(ticket, state=name), platform) == [Owner.BOT])
        assert owner_in(zammad.changed(ticket, owner=BOT, state="offen"), platform) == [Owner.BOT]


def test_a_renamed_state_of_a_fresh_installation_is_known_by_its_id_until_zammad_tells() -> None:
    ticket = TRIGGERS.opened(1)
    closed = TRIGGERS.changed(ticket, state="closed")
    closed["ticket"]["state"] = "geschlossen"

    assert owner_in(closed) == [Owner.BOT]


def test_where_zammad_does_not_show_its_states_their_english_names_count(zammad: SimulatedZammad, ticket: Ticket) -> None:
    zammad.go_wrong("/ticket_states", Fault(status=403))
    ticket.state = "closed"
    (raised,) = sent(zammad, delivery())

    assert isinstance(raised, Withdrawn)


def test_a_hand_over_gives_the_bots_own_ticket_to_nobody(zammad: SimulatedZammad, ticket: Ticket) -> None:
    ticket.owner = BOT
    sent(zammad, handing_over())

    assert (ticket.owner, ticket.state) == (1, "open")


# -- replies -----------------------------------------------------------------------------------------------------------------------


def test_a_mail_is_answered_by_a_mail_in_html(zammad: SimulatedZammad, ticket: Ticket) -> None:
    (receipt,) = sent(zammad, delivery())

    (call,) = zammad.to("/ticket_articles")
    assert call.headers["authorization"] == f"Token token={TOKEN}"
    assert {name: value for name, value in call.body.items() if name != "body"} == {
        "ticket_id": 1,
        "content_type": "text/html",
        "type": "email",
        "internal": False,
        "sender": "Agent",
        "to": "Anna <anna@example.com>",
        "subject": "Printer",
        "in_reply_to": "<m0@example.com>",
        "preferences": {"replymill_id": "abc-0"},
    }
    assert "<strong>not</strong>" in call.body["body"] or "<b>not</b>" in call.body["body"]
    assert (receipt.delivery, receipt.platform_id) == ("abc-0", str(ticket.articles[-1]["id"]))


@pytest.mark.parametrize(("kind", "answer"), [("web", "web"), ("note", "note"), ("phone", "note"), ("sms", "note")])
def test_anything_else_is_answered_where_the_portal_shows_it(zammad: SimulatedZammad, kind: str, answer: str) -> None:
    ticket = zammad.opened(1)
    zammad.written(ticket, "The printer is on fire.", type=kind)
    sent(zammad, delivery())

    (article,) = ticket.by_bot()
    assert article["type"] == answer
    assert "to" not in article


def test_the_newest_article_that_the_customer_meant_to_be_read_is_answered(zammad: SimulatedZammad, ticket: Ticket) -> None:
    zammad.written(ticket, "an agent's word", sender="Agent")
    zammad.written(ticket, "And now the desk.", reply_to="desk@example.com")
    zammad.written(ticket, "only for agents", internal=True)
    zammad.written(ticket, "an agent's note", sender="Agent", internal=True)
    sent(zammad, delivery())

    (call,) = zammad.to("/ticket_articles")
    assert (call.body["to"], call.body["in_reply_to"]) == ("desk@example.com", "<m2@example.com>")


def test_markup_in_a_reply_is_text(zammad: SimulatedZammad, ticket: Ticket) -> None:
    sent(zammad, delivery("<script>alert(1)</script> & <img src=x onerror=alert(1)>"))

    assert "<script" not in ticket.articles[-1]["body"]
    assert "<img" not in ticket.articles[-1]["body"]


def test_a_reply_longer_than_an_article_comes_in_parts() -> None:
    parts = PLATFORM.split("word " * (LONGEST // 4))

    assert len(parts) == 2
    assert max(map(len, parts)) <= LONGEST
    assert PLATFORM.split("short") == ("short",)
    assert PLATFORM.limits(delivery()) == ()


def test_the_echo_of_a_reply_starts_nothing(zammad: SimulatedZammad, ticket: Ticket) -> None:
    sent(zammad, delivery())

    assert parsed(zammad.triggered(ticket)) == ()


@pytest.mark.parametrize("change", [{"owner": AGENT}, {"state": "closed"}])
def test_a_ticket_that_an_agent_took_or_closed_meanwhile_gets_no_reply(
    zammad: SimulatedZammad, ticket: Ticket, change: dict[str, Any]
) -> None:
    for name, value in change.items():
        setattr(ticket, name, value)
    (raised,) = sent(zammad, delivery())

    assert isinstance(raised, Withdrawn)
    assert ticket.by_bot() == []


@pytest.mark.parametrize("state", ["merged", "removed"])
@pytest.mark.parametrize("action", [Action.NONE, Action.HAND_OVER])
def test_a_ticket_that_is_no_more_refuses_its_reply(zammad: SimulatedZammad, ticket: Ticket, state: str, action: Action) -> None:
    ticket.state = state
    (raised,) = sent(zammad, delivery(action=action))

    assert isinstance(raised, DeliveryRefused)
    assert state in str(raised)
    assert ticket.by_bot() == []


def test_a_ticket_that_an_agent_answered_without_owning_it_gets_no_second_answer(zammad: SimulatedZammad, ticket: Ticket) -> None:
    zammad.written(ticket, "We are on our way.", sender="Agent")
    (raised,) = sent(zammad, delivery())

    assert isinstance(raised, Withdrawn)


def test_the_parts_of_a_reply_follow_each_other(zammad: SimulatedZammad, ticket: Ticket) -> None:
    sent(zammad, delivery("one"), delivery("two", part=1))

    assert [mark for article in ticket.by_bot() for mark in article["preferences"].values()] == ["abc-0", "abc-1"]


def test_a_ticket_that_the_bot_itself_owns_is_its_own(zammad: SimulatedZammad, ticket: Ticket) -> None:
    ticket.owner = BOT
    sent(zammad, delivery())

    assert len(ticket.by_bot()) == 1


PAGE = "<html>a page of some proxy</html>"


@pytest.mark.parametrize(
    ("fault", "kind", "after"),
    [
        (Fault(status=429), RetryLater, 0),
        (Fault(status=429, headers={"retry-after": "30"}), RetryLater, 30),
        (Fault(status=429, headers={"retry-after": "soon"}), RetryLater, 0),
        (Fault(status=503, body=PAGE), RetryLater, 0),
        (Fault(status=500, body=PAGE), Unclear, None),
        (Fault(status=502, body=PAGE), Unclear, None),
        (Fault(drop=True), Unclear, None),
        (Fault(drop=True, after_effect=True), Unclear, None),
        (Fault(status=401, body=PAGE), DeliveryRefused, None),
        (Fault(status=403, body={"error": "Not authorized"}), DeliveryRefused, None),
        (Fault(status=404, body={"error": "Couldn't find Ticket"}), DeliveryRefused, None),
        (Fault(status=422, body={"error": "Sending an email without a valid recipient is not possible."}), DeliveryRefused, None),
    ],
)
def test_what_zammad_answers_decides(
    zammad: SimulatedZammad, ticket: Ticket, fault: Fault, kind: type[Exception], after: float | None
) -> None:
    zammad.go_wrong("/ticket_articles", fault)
    (raised,) = sent(zammad, delivery())

    assert isinstance(raised, kind)
    assert getattr(raised, "after", None) == after
    assert TOKEN not in str(raised)


@pytest.mark.parametrize("path", ["/tickets/1", "/by_ticket/1"])
@pytest.mark.parametrize("fault", [Fault(status=500), Fault(drop=True), Fault(status=429)])
def test_a_ticket_that_cannot_be_read_gets_nothing_yet(zammad: SimulatedZammad, ticket: Ticket, path: str, fault: Fault) -> None:
    zammad.go_wrong(path, fault, fault)
    (raised, doubt) = attempt(with_desk(Settings(), zammad.url), ("send", delivery()), ("find", delivery()))

    assert isinstance(raised, RetryLater)
    assert isinstance(doubt, RetryLater)
    assert ticket.by_bot() == []


def test_a_zammad_that_is_not_there_is_tried_again() -> None:
    (raised,) = attempt(with_desk(Settings()), ("send", delivery()))

    assert isinstance(raised, RetryLater)


def test_a_desk_that_is_gone_refuses_its_replies(zammad: SimulatedZammad) -> None:
    (raised,) = sent(zammad, delivery(address=msgspec.structs.replace(ADDRESS, channel="closed")))

    assert isinstance(raised, DeliveryRefused)
    assert zammad.calls == []


def test_a_reply_is_found_however_much_came_after_it(zammad: SimulatedZammad, ticket: Ticket) -> None:
    settings = with_desk(Settings(), zammad.url)
    assert attempt(settings, ("find", delivery())) == [None]

    sent(zammad, delivery())
    zammad.written(ticket, "Are you there?")
    (found, again) = attempt(settings, ("find", delivery()), ("send", delivery()))
    assert found == again
    assert found.platform_id == str(ticket.by_bot()[0]["id"])
    assert len(ticket.by_bot()) == 1


# -- giving over to a person -------------------------------------------------------------------------------------------------------


def handing_over(text: str = "A colleague will answer.") -> Delivery:
    return delivery(text, action=Action.HAND_OVER)


def test_a_hand_over_leaves_the_ticket_to_the_group_with_a_note(zammad: SimulatedZammad, ticket: Ticket) -> None:
    (receipt,) = sent(zammad, handing_over(), group="Second level")

    (said,), (note,) = ticket.by_bot(), ticket.by_bot(internal=True)
    assert receipt.platform_id == str(said["id"])
    assert (ticket.state, ticket.group, ticket.owner) == ("open", "Second level", 1)
    assert "A colleague will answer." in said["body"]
    assert ("to a person" in note["body"], note["type"]) == (True, "note")


def test_a_hand_over_without_text_or_group_opens_the_ticket(zammad: SimulatedZammad, ticket: Ticket) -> None:
    sent(zammad, handing_over(""))

    assert (ticket.by_bot(), len(ticket.by_bot(internal=True)), ticket.state, ticket.group) == ([], 1, "open", "Users")


@pytest.mark.parametrize("step", ["/ticket_articles", "/tickets/1"])
@pytest.mark.parametrize("fault", [Fault(status=429), Fault(status=500), Fault(drop=True), Fault(drop=True, after_effect=True)])
def test_a_hand_over_can_be_repeated_after_any_step(zammad: SimulatedZammad, ticket: Ticket, step: str, fault: Fault) -> None:
    zammad.go_wrong(step, *([None] if step == "/tickets/1" else []), fault)
    (raised, found, receipt) = attempt(
        with_desk(Settings(), zammad.url), ("send", handing_over()), ("find", handing_over()), ("send", handing_over())
    )

    assert isinstance(raised, RetryLater | Unclear)
    assert found is None
    assert receipt.delivery == "abc-0"
    assert (len(ticket.by_bot()), len(ticket.by_bot(internal=True)), ticket.state) == (1, 1, "open")


def test_a_ticket_that_an_agent_owns_already_is_left_alone(zammad: SimulatedZammad, ticket: Ticket) -> None:
    ticket.owner, before = AGENT, len(ticket.articles)
    (receipt,) = sent(zammad, handing_over(), group="Second level")

    assert (receipt.delivery, ticket.group, len(ticket.articles)) == ("abc-0", "Users", before)


def test_a_group_that_is_gone_is_said(zammad: SimulatedZammad, ticket: Ticket) -> None:
    (raised,) = sent(zammad, handing_over(), group="Nobody")

    assert isinstance(raised, DeliveryRefused)
    assert "No lookup value found" in str(raised)


# -- the whole way -----------------------------------------------------------------------------------------------------------------


def queued(client: redis.Redis, settings: Settings, event: dict[str, Any], text: str) -> None:
    (message,) = parsed(event)
    tools.queued(client, settings, message, delivery(text))


def delivered(settings: Settings, done: Callable[[], bool]) -> None:
    tools.delivered(settings, Zammad(settings), done)


def test_a_reply_whose_connection_broke_is_there_once(
    settings: Settings, redis_client: redis.Redis, zammad: SimulatedZammad
) -> None:
    ticket, settings = zammad.opened(1), with_desk(settings, zammad.url)
    queued(redis_client, settings, zammad.written(ticket, "The printer is on fire."), "It is not.")
    zammad.go_wrong("/ticket_articles", Fault(drop=True, after_effect=True))
    lanes = Lanes(settings)

    delivered(settings, lambda: lanes.backlog(lanes.shards[0]).run(redis_client)[1].messages == 0)
    assert len(ticket.by_bot()) == 1
    assert redis_client.zcard("rm:{0}:dead") == 0


# -- the doctor --------------------------------------------------------------------------------------------------------------------


def checked(url: str, **desk: Any) -> Any:
    async def checking() -> Any:
        platform = Zammad(with_desk(Settings(), url, **desk))
        (found,) = await asyncio.gather(platform.check(), return_exceptions=True)
        await platform.close()
        return found

    return asyncio.run(checking())


def test_the_doctor_says_whose_token_it_is(zammad: SimulatedZammad) -> None:
    (known,) = checked(zammad.url)
    (unknown,) = checked(zammad.url, token="some other access token")

    assert isinstance(PLATFORM, Checkable)
    assert (known.ok, unknown.ok) == (True, False)
    assert "bot" in known.found
    assert "Authentication required" in unknown.found
    assert isinstance(checked("http://127.0.0.1:9"), RetryLater)


HOOK: dict[str, Any] = {"id": 4, "endpoint": "https://bot.example.com/zammad/desk", "signature_token": SECRET, "active": True}
TRIGGER: dict[str, Any] = {"active": True, "perform": {"notification.webhook": {"webhook_id": "4"}}}


def hooked(zammad: SimulatedZammad, hook: dict[str, Any], trigger: dict[str, Any]) -> Any:
    zammad.webhooks, zammad.triggers = [{"id": 3, "endpoint": "https://elsewhere.example/", "active": True}, hook], [trigger]
    *_, webhook = checked(zammad.url)
    assert webhook.what == "zammad desk webhook"
    assert SECRET not in repr(webhook)
    return webhook


def test_the_doctor_sees_the_webhook_where_the_token_is_an_administrators(zammad: SimulatedZammad) -> None:
    assert [one.what for one in checked(zammad.url)] == ["zammad desk"]

    webhook = hooked(zammad, HOOK, TRIGGER)
    assert (webhook.ok, webhook.found) == (True, "it leads to bot.example.com/zammad/desk")


@pytest.mark.parametrize(
    ("hook", "trigger", "found"),
    [
        ({"endpoint": "https://bot.example.com/zammad/other"}, {}, "none leads to /zammad/desk"),
        ({"active": False}, {}, "switched off"),
        ({"signature_token": OTHER_SECRET}, {}, "another secret"),
        ({}, {"active": False}, "no active trigger"),
        ({}, {"perform": {"notification.webhook": {"webhook_id": 3}}}, "no active trigger"),
    ],
)
def test_the_doctor_says_what_is_wrong_with_the_webhook(
    zammad: SimulatedZammad, hook: dict[str, Any], trigger: dict[str, Any], found: str
) -> None:
    webhook = hooked(zammad, {**HOOK, **hook}, {**TRIGGER, **trigger})

    assert not webhook.ok
    assert found in webhook.found
    assert "Webhooks" in webhook.advice


def test_the_doctor_says_what_the_bots_user_lacks(zammad: SimulatedZammad) -> None:
    zammad.go_wrong("/api/v1/tickets", Fault(status=403))
    _, tickets = checked(zammad.url)
    zammad.me["group_ids"] = {}
    (groups,) = checked(zammad.url)
    (other,) = checked(zammad.url, user_id=AGENT)

    assert (tickets.ok, groups.ok, other.ok) == (False, False, False)
    assert "ticket.agent" in tickets.advice
    assert "no rights in any group" in groups.found
    assert f"REPLYMILL_ZAMMAD_DESK_USER_ID={BOT}" in other.advice


@pytest.mark.parametrize("status", [200, 403])
def test_the_doctor_says_that_the_clocks_differ(zammad: SimulatedZammad, status: int) -> None:
    far = {"date": format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)}
    zammad.go_wrong("/users/me", Fault(status=status, headers=far, body=zammad.me))
    clock = next(one for one in checked(zammad.url) if one.what == "zammad desk clock")

    assert (clock.ok, clock.fatal) == (False, True)


def test_the_doctors_own_webhook_is_taken_and_starts_nothing(door: Door, redis_client: redis.Redis) -> None:
    assert isinstance(PLATFORM, Probing)
    ((path, request),) = PLATFORM.probes().items()

    assert door.http.post(path, content=request.body, headers=dict(request.headers)).status_code == 200
    assert redis_client.keys("rm:{0}:*") == []
