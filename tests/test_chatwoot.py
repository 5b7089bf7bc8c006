"""Chatwoot, both directions: events of an inbox come in signed, replies are posted while the conversation is the bot's."""

import asyncio
import dataclasses
import hashlib
import hmac
import json
import subprocess
import time
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

from connectors.chatwoot import LONGEST, Chatwoot
from connectors.contract import (
    Askable,
    Checkable,
    Deletion,
    Edit,
    HandOver,
    Notice,
    Ownership,
    Probing,
    Receiver,
    Request,
    Showing,
    Stop,
)
from connectors.simulators.chatwoot import ACCOUNT, Conversation, SimulatedChatwoot, raw
from connectors.simulators.server import Fault
from engine.accounts import ChatwootBot
from engine.errors import DeliveryRefused, RejectedRequest, RetryLater, Unclear, UnparseableMessage, Withdrawn
from engine.lanes import Lanes
from engine.messages import Action, Address, Delivery, Owner, Reply, Source
from engine.settings import Settings
from tests import tools
from tests.conftest import wait_for
from tests.desk import Desk
from tests.doors import Door, opened, ready
from tests.tools import waiting

pytestmark = pytest.mark.one_redis

SECRET = "a-webhook-secret-of-Chatwoot"
OTHER_SECRET = "another-secret-of-Chatwoot"
TOKEN = "the access token of the bot"
ADDRESS = Address(platform="chatwoot", tenant="acme", channel=f"support/{ACCOUNT}", thread="1")


def with_bot(settings: Settings, url: str = "http://127.0.0.1:9", **fields: Any) -> Settings:
    """The settings with one bot, `support`; nothing waits for further fragments."""
    facts = {"name": "support", "tenant": "acme", "base_url": url, "access_token": TOKEN, "secret": SECRET}
    bots = {"chatwoot": {"support": ChatwootBot(**{**facts, **fields})}}
    return dataclasses.replace(settings, accounts=bots, quiet_chat=0.0, quiet_chat_max=0.0)


PLATFORM = Chatwoot(with_bot(Settings()))
#: Never started: it makes events.
INBOX = SimulatedChatwoot(TOKEN, SECRET)


@pytest.fixture
def chatwoot() -> Iterator[SimulatedChatwoot]:
    with SimulatedChatwoot(TOKEN, SECRET) as simulator:
        yield simulator


@pytest.fixture
def talk(chatwoot: SimulatedChatwoot) -> Conversation:
    """A conversation in which a customer has asked."""
    conversation = chatwoot.opened(1)
    chatwoot.written(conversation, "Where is my order?")
    return conversation


@pytest.fixture
def door(settings: Settings, chatwoot: SimulatedChatwoot) -> Iterator[Door]:
    with opened(with_bot(settings, chatwoot.url)) as door:
        wait_for(lambda: ready(door))
        yield door


def told(
    door: Door, chatwoot: SimulatedChatwoot, event: dict[str, Any] | bytes, *, name: str = "support", **how: Any
) -> httpx.Response:
    """What Chatwoot is answered for an event."""
    body = event if isinstance(event, bytes) else raw(event)
    return door.http.post(f"/chatwoot/{name}", content=body, headers=chatwoot.signed(body, **how))


def parsed(event: dict[str, Any] | bytes, **headers: str) -> tuple[Any, ...]:
    body = event if isinstance(event, bytes) else raw(event)
    return PLATFORM.parse(Request("support", headers, body))


def delivery(text: str = "It is on its **way**.", *, action: Action = Action.NONE, part: int = 0, **fields: Any) -> Delivery:
    reply = Reply(in_reply_to=("abc",), address=ADDRESS, text=text, source=Source.MODEL, reference=f"support/{ACCOUNT}/100")
    return Delivery(id=f"abc-{part}", reply=msgspec.structs.replace(reply, **fields), part=part, action=action)


def attempt(settings: Settings, *steps: tuple[str, Any]) -> list[Any]:
    return tools.attempt(lambda: Chatwoot(settings), *steps)


def sent(chatwoot: SimulatedChatwoot, *deliveries: Delivery, **bot: Any) -> list[Any]:
    return attempt(with_bot(Settings(), chatwoot.url, **bot), *(("send", each) for each in deliveries))


def test_it_is_a_platform_that_receives_and_shows_and_can_be_asked() -> None:
    assert isinstance(PLATFORM, Receiver)
    assert isinstance(PLATFORM, Showing)
    assert isinstance(PLATFORM, Askable)


# -- what an event says ------------------------------------------------------------------------------------------------------------


def test_a_customers_message_in_a_pending_conversation_is_one() -> None:
    event = INBOX.written(INBOX.opened(1), "Where is my order?")
    (found,) = parsed(event, **{"x-chatwoot-delivery": "0b7c-1"})

    assert (found.address, found.text, found.sender) == (ADDRESS, "Where is my order?", "11")
    assert found.dedupe_ids == (f"support/{ACCOUNT}/{event['id']}", "support/event/0b7c-1")


@pytest.mark.parametrize(
    "fields",
    [
        {"message_type": "outgoing"},
        {"message_type": "template"},
        {"message_type": "activity"},
        {"message_type": 1},
        {"private": True},
        {"sender": {"id": 1, "type": "user"}},
        {"sender": {"id": 1, "type": "agent_bot"}},
        {"conversation": {"id": 1, "status": "open"}},
        {"conversation": {"id": 1, "status": "resolved"}},
        {"conversation": {"id": 1, "status": "snoozed"}},
        {"event": "webwidget_triggered"},
        {"event": "conversation_typing_on"},
        {"event": "contact_updated"},
    ],
)
def test_what_no_customer_wrote_to_the_bot_is_none_of_its_business(fields: dict[str, Any]) -> None:
    event = INBOX.written(INBOX.opened(1), "Where is my order?")

    assert parsed({**event, **fields}) == ()
    assert parsed({**event, "event": "message_updated", **fields}) == ()


#: An agent answers in the customer's sight.
ANSWERED: dict[str, Any] = {"message_type": "outgoing", "sender": {"id": 1, "name": "Ann", "type": "user"}}


def test_an_agent_who_answers_a_pending_conversation_has_it() -> None:
    event = INBOX.written(INBOX.opened(1), "On its way.")

    assert parsed({**event, **ANSWERED}) == (Ownership(ADDRESS, Owner.HUMAN),)


@pytest.mark.parametrize(
    "fields",
    [
        {"private": True},
        {"content_attributes": {"replymill_id": "abc-0"}},
        {"sender": {"id": 1, "type": "agent_bot"}},
        {"sender": None},
        {"message_type": "template"},
        {"message_type": "activity"},
        {"event": "message_updated"},
        {"conversation": {"id": 1, "status": "resolved"}},
    ],
)
def test_notes_bots_automatic_messages_and_our_own_take_nothing_from_the_bot(fields: dict[str, Any]) -> None:
    assert parsed({**INBOX.written(INBOX.opened(1), "On its way."), **ANSWERED, **fields}) == ()


def test_a_pending_conversation_that_an_agent_answered_meanwhile_gets_no_reply(
    chatwoot: SimulatedChatwoot, talk: Conversation
) -> None:
    chatwoot.answered(talk, "On its way.")
    (raised,) = sent(chatwoot, delivery())
    assert isinstance(raised, Withdrawn)

    chatwoot.written(talk, "Thank you!")
    sent(chatwoot, delivery())
    assert len(talk.public()) == 2


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_a_picture_alone_gets_a_notice(content: str | None) -> None:
    event = INBOX.written(INBOX.opened(1), content, attachments=[{"file_type": "image"}])

    assert parsed(event) == (Notice(ADDRESS, (f"support/{ACCOUNT}/{event['id']}",), "no_text"),)


def test_a_wish_for_a_person_and_to_stop_is_heard() -> None:
    talk = INBOX.opened(1)

    assert isinstance(parsed(INBOX.written(talk, "I want to talk to a human"))[0], HandOver)
    assert isinstance(parsed(INBOX.written(talk, "stop"))[0], Stop)


def test_an_edit_and_a_deletion_name_the_original() -> None:
    talk = INBOX.opened(1)
    created = INBOX.written(talk, "Where is it?")
    original, message = f"support/{ACCOUNT}/{created['id']}", talk.messages[-1]
    edited = INBOX.event("message_updated", talk, {**message, "content": "Where is order 17?"})
    deleted = INBOX.event("message_updated", talk, {**message, "content": "deleted", "content_attributes": {"deleted": True}})

    (edit,) = parsed(edited)
    assert isinstance(edit, Edit)
    assert (edit.message.text, edit.message.dedupe_ids) == ("Where is order 17?", (original,))
    assert parsed(deleted) == (Deletion(ADDRESS, original),)


def test_an_update_of_something_else_is_no_edit() -> None:
    event = {**INBOX.written(INBOX.opened(1), "Where is it?"), "event": "message_updated"}

    assert parsed({**event, "changed_attributes": [{"content_attributes": {}}]}) == ()
    assert len(parsed({**event, "changed_attributes": [{"content": {}}]})) == 1
    assert len(parsed({**event, "changed_attributes": {"content": ["a", "b"]}})) == 1
    assert parsed({**event, "content": None}) == ()


@pytest.mark.parametrize(
    ("name", "status", "owner"),
    [
        ("conversation_opened", "open", Owner.HUMAN),
        ("conversation_status_changed", "open", Owner.HUMAN),
        ("conversation_status_changed", "snoozed", Owner.HUMAN),
        ("conversation_status_changed", "pending", Owner.BOT),
        ("conversation_resolved", "resolved", Owner.BOT),
    ],
)
def test_the_status_of_a_conversation_says_who_answers(name: str, status: str, owner: Owner) -> None:
    talk = INBOX.opened(1, status)
    INBOX.written(talk, "Where is it?")

    assert parsed(INBOX.status_event(name, talk)) == (Ownership(ADDRESS, owner),)


def test_a_conversation_of_no_known_account_or_status_changes_nothing() -> None:
    talk = INBOX.opened(1)
    assert parsed(INBOX.status_event("conversation_opened", talk)) == ()

    INBOX.written(talk, "Where is it?")
    assert parsed({**INBOX.status_event("conversation_opened", talk), "status": "unheard-of"}) == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"event": 5}',
        b'{"event": "message_created"}',
        b'{"event": "message_created", "event": "message_created"}',
        b'{"event": "conversation_opened", "id": "one", "status": "open"}',
        raw({"event": "message_created", "id": "x", "account": {"id": 1}, "conversation": {"id": 1, "status": "pending"}}),
        raw({"event": "message_created", "id": 1, "account": None, "conversation": {"id": 1, "status": "pending"}}),
    ],
)
def test_what_is_broken_is_no_event_we_know(body: bytes) -> None:
    with pytest.raises(UnparseableMessage):
        parsed(body)


COMPLETE: dict[str, Any] = {
    "event": "message_created",
    "id": 1,
    "account": {"id": ACCOUNT},
    "conversation": {"id": 1, "status": "pending"},
    "message_type": "incoming",
    "content": "hello",
    "sender": {"id": 1, "type": "contact"},
    "content_attributes": {},
}


@given(
    st.sampled_from(sorted(COMPLETE)),
    st.none() | st.text() | st.integers() | st.floats() | st.lists(st.integers()) | st.dictionaries(st.text(), st.text()),
)
@examples(max_examples=200)
def test_any_field_of_a_message_may_be_anything(name: str, value: Any) -> None:
    with suppress(UnparseableMessage):
        parsed({**COMPLETE, name: value})


# -- over HTTP ---------------------------------------------------------------------------------------------------------------------


def test_a_signed_message_is_durable_when_it_is_acknowledged(
    door: Door, chatwoot: SimulatedChatwoot, redis_client: redis.Redis
) -> None:
    answered = told(door, chatwoot, chatwoot.written(chatwoot.opened(1), "Where is my order?"))

    assert (answered.status_code, answered.content) == (200, b"")
    assert waiting(door, redis_client) == ["Where is my order?"]


def test_copies_of_one_event_are_one_message(door: Door, chatwoot: SimulatedChatwoot, redis_client: redis.Redis) -> None:
    event = chatwoot.written(chatwoot.opened(1), "Where is my order?")
    with ThreadPoolExecutor(11) as pool:
        answers = list(pool.map(lambda n: told(door, chatwoot, event, delivery="d-1" if n % 2 else ""), range(11)))

    assert {answered.status_code for answered in answers} == {200}
    assert waiting(door, redis_client) == ["Where is my order?"]


def test_openssl_signs_as_chatwoot_does(door: Door, chatwoot: SimulatedChatwoot, tmp_path: Path) -> None:
    body, timestamp = raw(chatwoot.written(chatwoot.opened(1), "Hello 👋")), str(int(time.time()))
    (tmp_path / "signed").write_bytes(timestamp.encode() + b"." + body)
    command = ["openssl", "dgst", "-sha256", "-hmac", SECRET, "-r", str(tmp_path / "signed")]
    digest = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0]
    headers = {"x-chatwoot-signature": f"sha256={digest}", "x-chatwoot-timestamp": timestamp}

    assert door.http.post("/chatwoot/support", content=body, headers=headers).status_code == 200


def test_a_forged_request_and_an_unknown_bot_look_the_same(
    door: Door, chatwoot: SimulatedChatwoot, redis_client: redis.Redis
) -> None:
    body = raw(chatwoot.written(chatwoot.opened(1), "Where is my order?"))
    good = chatwoot.signed(body)
    stamp = good["x-chatwoot-timestamp"]
    without_time = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    other = "sha256=" + hmac.new(OTHER_SECRET.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    sha1 = "sha1=" + hmac.new(SECRET.encode(), f"{stamp}.".encode() + body, hashlib.sha1).hexdigest()
    wrong = [
        {},
        {**good, "x-chatwoot-signature": without_time},
        {**good, "x-chatwoot-signature": other},
        {**good, "x-chatwoot-signature": sha1},
        {**good, "x-chatwoot-signature": good["x-chatwoot-signature"].removeprefix("sha256=")},
        {**good, "x-chatwoot-timestamp": "abc"},
        {**good, "x-chatwoot-timestamp": ""},
        {**good, "x-chatwoot-timestamp": str(int(stamp) + 1)},
        chatwoot.signed(body, age=301),
        chatwoot.signed(body, age=-302),
        chatwoot.signed(body + b" "),
    ]
    answers = [door.http.post("/chatwoot/support", content=body, headers=headers) for headers in wrong]
    answers.append(door.http.post("/chatwoot/support", content=json.dumps(json.loads(body), indent=1), headers=good))
    answers.append(door.http.post("/chatwoot/unknown", content=body, headers=good))

    assert {answered.status_code for answered in answers} == {401}
    assert len({answered.text for answered in answers}) == 1
    assert redis_client.keys("rm:{0}:in:*") == []


@given(
    st.text(),
    st.dictionaries(st.sampled_from(["x-chatwoot-signature", "x-chatwoot-timestamp", "x-chatwoot-delivery"]), st.text()),
    st.binary(),
)
def test_whatever_is_not_signed_is_rejected(name: str, headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(RejectedRequest):
        PLATFORM.verify(Request(name, headers, body))


def test_two_secrets_hold_while_one_follows_the_other() -> None:
    platform = Chatwoot(with_bot(Settings(), secret=f"{OTHER_SECRET} {SECRET}"))

    platform.verify(Request("support", INBOX.signed(b"{}"), b"{}"))


def test_a_broken_event_becomes_a_dead_letter_and_is_acknowledged(
    door: Door, chatwoot: SimulatedChatwoot, redis_client: redis.Redis
) -> None:
    answers = [told(door, chatwoot, body) for body in (b"{}", b"{}", b"not JSON", b'{"event": "message_created"}')]

    assert {answered.status_code for answered in answers} == {200}
    assert redis_client.zcard("rm:{0}:dead") == 4
    assert told(door, chatwoot, b"{}", delivery="d-1").status_code == told(door, chatwoot, b"{}", delivery="d-1").status_code == 200
    assert redis_client.zcard("rm:{0}:dead") == 5


def test_chatwoot_is_made_to_come_back_by_429(settings: Settings, chatwoot: SimulatedChatwoot) -> None:
    away = with_bot(dataclasses.replace(settings, redis_url="redis://127.0.0.1:9/0"), chatwoot.url)
    with opened(away) as door:
        event = chatwoot.written(chatwoot.opened(1), "Where is my order?")
        assert told(door, chatwoot, event).status_code == 429


def test_the_bot_is_silent_while_an_agent_has_the_conversation(
    door: Door, chatwoot: SimulatedChatwoot, redis_client: redis.Redis
) -> None:
    talk = chatwoot.opened(1)
    told(door, chatwoot, chatwoot.written(talk, "first"))
    talk.status = "open"
    told(door, chatwoot, chatwoot.status_event("conversation_opened", talk))
    told(door, chatwoot, chatwoot.written(talk, "second"))
    assert Desk(redis_client, Lanes(door.settings)).claim().lanes[0].owner is Owner.HUMAN

    talk.status = "pending"
    told(door, chatwoot, chatwoot.status_event("conversation_status_changed", talk))
    other = chatwoot.opened(2)
    told(door, chatwoot, chatwoot.written(other, "third"))
    assert waiting(door, redis_client) == ["third"]


# -- replies -----------------------------------------------------------------------------------------------------------------------


def test_a_reply_holds_no_html_and_loads_no_image(chatwoot: SimulatedChatwoot, talk: Conversation) -> None:
    text = "**Yes** <img src=x onerror=alert(1)> ![x](https://e.example/leak)"
    sent(chatwoot, delivery(text), delivery(text, action=Action.HAND_OVER, part=1))

    assert talk.public() == [r"**Yes** &lt;img src=x onerror=alert(1)> \![x](https://e.example/leak)"] * 2
    assert "<img" not in talk.notes()[0]


def test_a_reply_is_posted_as_markdown_into_its_conversation(chatwoot: SimulatedChatwoot, talk: Conversation) -> None:
    (receipt,) = sent(chatwoot, delivery())

    assert (receipt.delivery, receipt.platform_id) == ("abc-0", str(talk.messages[-1]["id"]))
    (call,) = chatwoot.to("/messages")
    assert call.path == f"/api/v1/accounts/{ACCOUNT}/conversations/1/messages"
    assert call.headers["api_access_token"] == TOKEN
    assert call.body == {
        "content": "It is on its **way**.",
        "message_type": "outgoing",
        "private": False,
        "content_type": "text",
        "content_attributes": {"replymill_id": "abc-0"},
    }


def test_the_echo_of_a_reply_starts_nothing(chatwoot: SimulatedChatwoot, talk: Conversation) -> None:
    sent(chatwoot, delivery())

    assert parsed(chatwoot.event("message_created", talk, talk.messages[-1])) == ()


def test_a_long_reply_comes_in_parts_that_chatwoot_takes(chatwoot: SimulatedChatwoot, talk: Conversation) -> None:
    text = "word " * 40_000
    parts = PLATFORM.split(text)
    results = sent(chatwoot, *(delivery(each, part=number) for number, each in enumerate(parts)))

    assert len(parts) == 2
    assert max(map(len, parts)) <= LONGEST
    assert [result.delivery for result in results] == ["abc-0", "abc-1"]
    assert " ".join(talk.public()).split() == text.split()


@pytest.mark.parametrize("status", ["open", "resolved", "snoozed"])
def test_a_conversation_that_an_agent_took_meanwhile_gets_no_reply(
    chatwoot: SimulatedChatwoot, talk: Conversation, status: str
) -> None:
    talk.status = status
    (raised,) = sent(chatwoot, delivery())

    assert isinstance(raised, Withdrawn)
    assert talk.public() == []


def test_a_version_that_shows_a_bot_nothing_is_trusted_to_have_said_who_answers(
    chatwoot: SimulatedChatwoot, talk: Conversation
) -> None:
    chatwoot.shows = False
    sent(chatwoot, delivery())

    assert talk.public() == ["It is on its **way**."]


def test_typing_is_shown_and_ends_with_the_reply(chatwoot: SimulatedChatwoot, talk: Conversation) -> None:
    settings = with_bot(Settings(), chatwoot.url)
    attempt(settings, ("show", (ADDRESS, "abc", "")), ("send", delivery()))
    assert talk.typing == ["on", "off"]

    chatwoot.go_wrong("/toggle_typing_status", Fault(status=401), Fault(status=429, headers={"retry-after": "7"}))
    (receipt, later) = attempt(settings, ("send", delivery(part=1)), ("show", (ADDRESS, "abc", "")))
    assert receipt.delivery == "abc-1"
    assert (type(later), later.after) == (RetryLater, 7)


PAGE = "<html>a page of some proxy</html>"


@pytest.mark.parametrize(
    ("fault", "kind", "after"),
    [
        (Fault(status=429), RetryLater, 0),
        (Fault(status=429, headers={"retry-after": "30"}), RetryLater, 30),
        (Fault(status=429, headers={"retry-after": "soon"}), RetryLater, 0),
        (Fault(status=503, body=PAGE), RetryLater, 0),
        (Fault(status=422, body={"error": "Validation failed: Too many messages"}), RetryLater, 60),
        (Fault(status=500, body=PAGE), Unclear, None),
        (Fault(status=502, body=PAGE), Unclear, None),
        (Fault(drop=True), Unclear, None),
        (Fault(drop=True, after_effect=True), Unclear, None),
        (Fault(status=401, body={"error": "Invalid Access Token"}), DeliveryRefused, None),
        (Fault(status=404, body=PAGE), DeliveryRefused, None),
        (Fault(status=422, body={"error": "Validation failed: Content is too long"}), DeliveryRefused, None),
    ],
)
def test_what_chatwoot_answers_decides(
    chatwoot: SimulatedChatwoot, talk: Conversation, fault: Fault, kind: type[Exception], after: float | None
) -> None:
    chatwoot.go_wrong("/messages", fault)
    (raised,) = sent(chatwoot, delivery())

    assert isinstance(raised, kind)
    assert getattr(raised, "after", None) == after
    assert TOKEN not in str(raised)


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(drop=True), Fault(status=429)])
def test_a_status_that_cannot_be_read_has_sent_nothing(chatwoot: SimulatedChatwoot, talk: Conversation, fault: Fault) -> None:
    chatwoot.go_wrong("/conversations/1", fault)
    (raised,) = sent(chatwoot, delivery())

    assert isinstance(raised, RetryLater)
    assert talk.public() == []


def test_a_chatwoot_that_is_not_there_is_tried_again() -> None:
    (raised,) = attempt(with_bot(Settings()), ("send", delivery()))

    assert isinstance(raised, RetryLater)


def test_a_bot_that_is_gone_refuses_its_replies(chatwoot: SimulatedChatwoot) -> None:
    elsewhere = msgspec.structs.replace(ADDRESS, channel="closed/7")
    (raised,) = sent(chatwoot, delivery(address=elsewhere))

    assert isinstance(raised, DeliveryRefused)
    assert chatwoot.calls == []


def test_a_conversation_has_a_limit_of_its_own() -> None:
    (limit,) = PLATFORM.limits(delivery())

    assert (limit.bucket, limit.count, limit.seconds) == (("chatwoot", "acme", "support/7", "1"), 200, 60)


def test_more_messages_than_chatwoot_takes_wait_a_minute(chatwoot: SimulatedChatwoot, talk: Conversation) -> None:
    chatwoot.per_minute = 1
    (raised,) = sent(chatwoot, delivery())

    assert (type(raised), raised.after) == (RetryLater, 60)


# -- unclear sends -----------------------------------------------------------------------------------------------------------------


def found(chatwoot: SimulatedChatwoot, wanted: Delivery, **changes: Any) -> Any:
    settings = dataclasses.replace(with_bot(Settings(), chatwoot.url), **changes)
    return attempt(settings, ("find", wanted))[0]


def test_a_reply_that_arrived_is_found(chatwoot: SimulatedChatwoot, talk: Conversation) -> None:
    sent(chatwoot, delivery())

    assert found(chatwoot, delivery()).platform_id == str(talk.messages[-1]["id"])


def test_a_reply_after_which_nothing_came_is_surely_not_there(chatwoot: SimulatedChatwoot, talk: Conversation) -> None:
    assert found(chatwoot, delivery(), unclear="at-most-once") is None

    sent(chatwoot, delivery())
    assert found(chatwoot, delivery(part=1), unclear="at-most-once") is None


def test_a_reply_that_may_be_hidden_is_left_to_the_setting(chatwoot: SimulatedChatwoot, talk: Conversation) -> None:
    sent(chatwoot, delivery())
    chatwoot.written(talk, "Are you there?")

    assert found(chatwoot, delivery(), unclear="at-least-once") is None
    assert isinstance(found(chatwoot, delivery(), unclear="at-most-once"), DeliveryRefused)


def test_a_token_that_may_list_finds_what_is_hidden(chatwoot: SimulatedChatwoot, talk: Conversation) -> None:
    sent(chatwoot, delivery())
    chatwoot.written(talk, "Are you there?")
    chatwoot.lists = True

    assert found(chatwoot, delivery(), unclear="at-most-once").delivery == "abc-0"


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(drop=True), Fault(status=429)])
def test_a_doubt_remains_while_chatwoot_cannot_say(chatwoot: SimulatedChatwoot, talk: Conversation, fault: Fault) -> None:
    chatwoot.go_wrong("/conversations/1", fault)

    assert isinstance(found(chatwoot, delivery()), RetryLater)


# -- giving over to a person -------------------------------------------------------------------------------------------------------


def handing_over(text: str = "A colleague will answer.") -> Delivery:
    return delivery(text, action=Action.HAND_OVER)


def test_a_hand_over_opens_the_conversation_with_a_note(chatwoot: SimulatedChatwoot, talk: Conversation) -> None:
    (receipt,) = sent(chatwoot, handing_over(), team_id="4")

    assert receipt.delivery == "abc-0"
    assert (talk.public(), talk.status, talk.team) == (["A colleague will answer."], "open", "4")
    assert ["to a person" in note for note in talk.notes()] == [True]
    assert [call.path.rpartition("/")[2] for call in chatwoot.calls if call.method == "POST"] == [
        "messages",
        "messages",
        "assignments",
        "toggle_status",
    ]


def test_a_hand_over_without_text_or_team_opens_the_conversation(chatwoot: SimulatedChatwoot, talk: Conversation) -> None:
    sent(chatwoot, handing_over(""))

    assert (talk.public(), talk.status, talk.team, len(talk.notes())) == ([], "open", None, 1)


def test_a_team_that_is_gone_does_not_keep_a_conversation_from_the_agents(chatwoot: SimulatedChatwoot, talk: Conversation) -> None:
    sent(chatwoot, handing_over(), team_id="404")

    assert talk.status == "open"


@pytest.mark.parametrize("step", ["/assignments", "/toggle_status"])
@pytest.mark.parametrize("fault", [Fault(status=429), Fault(status=500), Fault(drop=True, after_effect=True)])
def test_a_hand_over_can_be_repeated_after_any_step(
    chatwoot: SimulatedChatwoot, talk: Conversation, step: str, fault: Fault
) -> None:
    chatwoot.go_wrong(step, fault)
    settings = with_bot(Settings(), chatwoot.url, team_id="4")
    (raised, found, _, again) = attempt(settings, *[("send", handing_over()), ("find", handing_over())] * 2)[:4]
    sent(chatwoot, handing_over(), team_id="4")

    assert isinstance(raised, RetryLater | Unclear)
    assert (found, again) == (None, None)
    assert (talk.public(), talk.status, len(talk.notes())) == (["A colleague will answer."], "open", 1)


def test_a_hand_over_whose_posts_broke_off_says_everything_once(chatwoot: SimulatedChatwoot, talk: Conversation) -> None:
    dropped = Fault(drop=True, after_effect=True)
    chatwoot.go_wrong("/messages", dropped, dropped)
    results = sent(chatwoot, handing_over(), handing_over(), handing_over())

    assert [type(result) for result in results[:2]] == [Unclear, Unclear]
    assert (talk.public(), talk.status, len(talk.notes())) == (["A colleague will answer."], "open", 1)


def test_a_conversation_that_an_agent_has_already_is_left_alone(chatwoot: SimulatedChatwoot, talk: Conversation) -> None:
    talk.status = "open"
    (receipt,) = sent(chatwoot, handing_over(), team_id="4")

    assert (receipt.delivery, talk.public(), talk.team) == ("abc-0", [], None)


def test_a_note_calls_nobody_by_what_the_bot_said(chatwoot: SimulatedChatwoot, talk: Conversation) -> None:
    sent(chatwoot, handing_over("[@all](mention://team/1/all)"))

    assert "mention://" not in talk.notes()[0]


# -- the whole way -----------------------------------------------------------------------------------------------------------------


def queued(client: redis.Redis, settings: Settings, event: dict[str, Any], text: str) -> None:
    (message,) = parsed(event)
    tools.queued(client, settings, message, delivery(text))


def delivered(settings: Settings, done: Callable[[], bool]) -> None:
    tools.delivered(settings, Chatwoot(settings), done)


def test_a_reply_whose_connection_broke_is_there_once(
    settings: Settings, redis_client: redis.Redis, chatwoot: SimulatedChatwoot
) -> None:
    talk, settings = chatwoot.opened(1), with_bot(settings, chatwoot.url)
    queued(redis_client, settings, chatwoot.written(talk, "Where is it?"), "On its way.")
    chatwoot.go_wrong("/messages", Fault(drop=True, after_effect=True))
    lanes = Lanes(settings)

    delivered(settings, lambda: lanes.backlog(lanes.shards[0]).run(redis_client)[1].messages == 0)
    assert talk.public() == ["On its way."]
    assert redis_client.zcard("rm:{0}:dead") == 0


def test_a_reply_that_an_agent_overtook_is_no_dead_letter(
    settings: Settings, redis_client: redis.Redis, chatwoot: SimulatedChatwoot
) -> None:
    talk, settings = chatwoot.opened(1), with_bot(settings, chatwoot.url)
    queued(redis_client, settings, chatwoot.written(talk, "Where is it?"), "On its way.")
    talk.status = "open"
    lanes = Lanes(settings)

    delivered(settings, lambda: lanes.backlog(lanes.shards[0]).run(redis_client)[1].messages == 0)
    assert talk.public() == []
    assert redis_client.zcard("rm:{0}:dead") == 0


# -- the doctor --------------------------------------------------------------------------------------------------------------------


def checked(url: str, **bot: Any) -> Any:
    async def checking() -> Any:
        platform = Chatwoot(with_bot(Settings(), url, **bot))
        (found,) = await asyncio.gather(platform.check(), return_exceptions=True)
        await platform.close()
        return found

    return asyncio.run(checking())


def test_the_doctor_tells_the_token_of_a_bot_from_that_of_a_user_and_of_nobody(chatwoot: SimulatedChatwoot) -> None:
    (bot,) = checked(chatwoot.url)
    (nobody,) = checked(chatwoot.url, access_token="some other access token")
    chatwoot.lists = True
    (user,) = checked(chatwoot.url)

    assert isinstance(PLATFORM, Checkable)
    assert (bot.ok, user.ok, nobody.ok) == (True, True, False)
    assert "of a bot" in bot.found
    assert "of a user" in user.found
    assert "Invalid Access Token" in nobody.found
    assert isinstance(checked("http://127.0.0.1:9"), RetryLater)


@pytest.mark.parametrize("version", ["4.12.1", "v3.9", "4.2"])
def test_the_doctor_says_that_an_older_chatwoot_does_not_sign(chatwoot: SimulatedChatwoot, version: str) -> None:
    chatwoot.version = version
    _, old = checked(chatwoot.url)

    assert (old.what, old.ok, old.fatal) == ("chatwoot support version", False, True)
    assert "4.13" in old.advice


@pytest.mark.parametrize(
    "fault", [None, Fault(status=404), Fault(status=200, body=[]), Fault(status=200, body={"version": "next"})]
)
def test_a_version_that_is_new_or_not_told_is_no_check(chatwoot: SimulatedChatwoot, fault: Fault | None) -> None:
    chatwoot.version = "5.0.0"
    chatwoot.go_wrong("/api", fault)

    assert [one.what for one in checked(chatwoot.url)] == ["chatwoot support"]


@pytest.mark.parametrize(
    ("bot", "found", "well"),
    [
        ({}, "it leads to bot.example.com/chatwoot/support", True),
        ({"secret": SECRET}, "it leads to", True),
        ({"secret": OTHER_SECRET}, "another secret", False),
        ({"outgoing_url": "https://bot.example.com/chatwoot/other"}, "none leads to /chatwoot/support", False),
        ({"outgoing_url": None}, "none leads to /chatwoot/support", False),
    ],
)
def test_an_administrators_token_shows_the_doctor_where_the_bots_send_to(
    chatwoot: SimulatedChatwoot, bot: dict[str, Any], found: str, well: bool
) -> None:
    chatwoot.lists = True
    chatwoot.bots = [{"id": 1, "outgoing_url": "https://bot.example.com/chatwoot/support", **bot}]
    _, webhook = checked(chatwoot.url)

    assert (webhook.what, webhook.ok) == ("chatwoot support webhook", well)
    assert found in webhook.found


def test_the_doctor_says_that_the_clocks_differ(chatwoot: SimulatedChatwoot) -> None:
    far = {"date": format_datetime(datetime.now(UTC) - timedelta(minutes=2), usegmt=True)}
    chatwoot.go_wrong("/profile", Fault(status=401, headers=far, body={"error": "Invalid Access Token"}))
    _, clock = checked(chatwoot.url)

    assert (clock.what, clock.ok, clock.fatal) == ("chatwoot support clock", False, False)


def test_the_doctors_own_event_is_taken_and_starts_nothing(door: Door, redis_client: redis.Redis) -> None:
    assert isinstance(PLATFORM, Probing)
    ((path, request),) = PLATFORM.probes().items()

    assert door.http.post(path, content=request.body, headers=dict(request.headers)).status_code == 200
    assert redis_client.keys("rm:{0}:*") == []


# -- choices ----------------------------------------------------------------------------------------------------

TOPICS = ("Delivery time", "Refund status")


def test_choices_are_items_to_select_on_a_website_and_a_list_elsewhere(chatwoot: SimulatedChatwoot, talk: Conversation) -> None:
    sent(chatwoot, delivery("Which?", choices=TOPICS))
    chatwoot.channel = "Channel::Email"
    sent(chatwoot, delivery("Which?", part=1, choices=TOPICS))
    chatwoot.shows = False
    sent(chatwoot, delivery("Which?", part=2, choices=TOPICS))
    buttons, listed, unseen = [message for message in talk.messages if message["message_type"] == 1]

    assert (buttons["content"], buttons["content_type"]) == ("Which?", "input_select")
    assert buttons["content_attributes"]["items"] == [{"title": choice, "value": choice} for choice in TOPICS]
    for one in (listed, unseen):
        assert (one["content_type"], one["content"]) == ("text", "Which?\n\n1. Delivery time\n2. Refund status")


def test_what_is_chosen_is_what_the_customer_says_once(
    door: Door, chatwoot: SimulatedChatwoot, talk: Conversation, redis_client: redis.Redis
) -> None:
    sent(chatwoot, delivery("Which?", choices=TOPICS))
    chosen = chatwoot.chosen(talk, "Refund status")
    for _ in range(2):
        assert told(door, chatwoot, chosen).status_code == 200

    assert waiting(door, redis_client) == ["Refund status"]
    (found,) = parsed(chosen)
    assert (found.sender, found.address) == ("11", ADDRESS)


def test_only_a_choice_below_a_message_of_ours_in_our_conversation_counts(chatwoot: SimulatedChatwoot, talk: Conversation) -> None:
    sent(chatwoot, delivery("Which?", choices=TOPICS))
    chosen = chatwoot.chosen(talk, "Refund status")
    for change in (
        {"content_attributes": {**chosen["content_attributes"], "replymill_id": None} | {"submitted_values": []}},
        {"content_attributes": {"submitted_values": [{"title": "x", "value": "x"}]}},
        {"conversation": {**chosen["conversation"], "status": "open"}},
        {"content_attributes": {"replymill_id": "a", "submitted_values": "x"}},
        {"content_attributes": {"replymill_id": "a", "submitted_values": [{"value": 7}]}},
    ):
        assert parsed({**chosen, **change}) == ()
