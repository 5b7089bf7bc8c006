"""The signed webhook, both directions: what comes in over HTTP, and what is called back."""

import asyncio
import base64
import dataclasses
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest
import redis
import structlog
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook as Reference

from connectors.contract import Deletion, Edit, Request, Stop
from connectors.contract import Receiver as ReceiverProtocol
from connectors.webhook import Webhook, _callback
from engine.errors import (
    DeliveryRefused,
    MalformedRequest,
    NothingToAnswer,
    RejectedRequest,
    RetryLater,
    SettingsError,
    UnparseableMessage,
)
from engine.keys import Direction
from engine.lanes import Lanes
from engine.messages import Action, Address, Delivery, InboundMessage, Receipt, Reply, Source
from engine.settings import Settings
from tests.conftest import wait_for
from tests.doors import OTHER_SECRET, Door, Receiver, opened, ready, signed, with_endpoint
from workers.outcomes import delivered

FLAT = {"conversation": "c1", "text": "Where is my order?", "user": "anna"}
SHOP = Webhook(with_endpoint(Settings()))


def parsed(body: Any, message_id: str = "msg_1") -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    (one,) = SHOP.parse(Request("shop", {"webhook-id": message_id}, raw))
    return one


def envelope(kind: Any, **data: Any) -> dict[str, Any]:
    return {"type": kind, "timestamp": "2026-11-22T00:00:00Z", "data": data}


@pytest.fixture
def door(settings: Settings) -> Iterator[Door]:
    with opened(with_endpoint(settings)) as door:
        wait_for(lambda: ready(door))
        yield door


def test_it_is_a_platform_that_receives() -> None:
    assert isinstance(SHOP, ReceiverProtocol)


# -- what a body says --------------------------------------------------------------------------------------------------------------


def test_a_flat_body_is_a_message() -> None:
    found = parsed(FLAT)

    assert found.address == Address(platform="webhook", tenant="shop", channel="shop", thread="c1")
    assert (found.text, found.sender, found.dedupe_ids) == ("Where is my order?", "anna", ("shop/msg_1",))


def test_an_envelope_says_the_same() -> None:
    assert parsed(envelope("message.created", **FLAT)) == parsed(FLAT)


def test_an_edit_and_a_deletion_name_the_original() -> None:
    edit = parsed(envelope("message.updated", message_id="msg_0", **FLAT), "msg_1")
    deletion = parsed(envelope("message.deleted", message_id="msg_0", conversation="c1"), "msg_2")

    assert edit == Edit(parsed(FLAT, "msg_0"))
    assert deletion == Deletion(parsed(FLAT, "msg_0").address, "shop/msg_0")


def test_fields_we_do_not_know_are_left_alone() -> None:
    assert parsed({**FLAT, "attachments": [], "extra": {"deep": [1]}}) == parsed(FLAT)


def test_two_endpoints_of_one_tenant_may_number_alike() -> None:
    settings = with_endpoint(with_endpoint(Settings(), "shop-b", tenant="shop"), "shop")
    both = Webhook(settings)
    requests = [Request(name, {"webhook-id": "1"}, json.dumps(FLAT).encode()) for name in ("shop", "shop-b")]
    ids = {message.dedupe_ids for request in requests for message in both.parse(request) if isinstance(message, InboundMessage)}

    assert len(ids) == 2


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({**FLAT, "text": 5}, r"`\$\.text`"),
        ({**FLAT, "text": ["a"]}, r"`\$\.text`"),
        ({**FLAT, "conversation": 5}, r"`\$\.conversation`"),
        ({**FLAT, "user": {}}, r"`\$\.user`"),
        ({**FLAT, "conversation": "c" * 513}, "longer than 512"),
        ({**FLAT, "user": "u" * 513}, "longer than 512"),
        (envelope(5, **FLAT), r"`\$\.type`"),
        ({"type": "message.created", "data": []}, r"`\$\.data`"),
        (envelope("message.created", conversation="c", text=True), r"`\$\.text`"),
        (envelope("message.deleted", conversation="c", message_id="a.b"), "`message_id`"),
        (envelope("message.deleted", conversation="c", message_id=7), r"`\$\.message_id`"),
    ],
)
def test_a_known_field_of_a_wrong_type_is_named(body: dict[str, Any], fault: str) -> None:
    with pytest.raises(MalformedRequest, match=fault):
        parsed(body)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": "hello"},
        {"text": "hello", "conversation": None},
        {"text": "hello", "conversation": ""},
        {"event": "invoice.paid"},
        envelope("invoice.paid", amount=5),
        envelope("message.created", text="hello"),
        envelope("message.updated", **FLAT),
        envelope("message.deleted", conversation="c1"),
        {"type": "message.created"},
        {"type": None, "conversation": "c1", "text": "hello"},
    ],
)
def test_what_is_no_message_we_know_says_so(body: dict[str, Any]) -> None:
    with pytest.raises(UnparseableMessage):
        parsed(body)


@pytest.mark.parametrize("text", ["", "  \n", None, "\u200b", "\x00"])
def test_a_message_without_text_is_nothing_to_answer(text: str | None) -> None:
    with pytest.raises(NothingToAnswer):
        parsed({"conversation": "c1", "text": text, "attachments": [{"url": "https://example.com/a.png"}]})


@given(st.binary() | st.recursive(st.none() | st.text() | st.floats(), st.lists).map(lambda found: json.dumps(found).encode()))
def test_any_body_is_parsed_or_has_a_named_fault(raw: bytes) -> None:
    with suppress(MalformedRequest, NothingToAnswer, UnparseableMessage):
        assert isinstance(parsed(raw), InboundMessage)


@given(
    st.text(), st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text()), st.binary()
)
def test_whatever_is_not_signed_is_rejected(name: str, headers: dict[str, str], raw: bytes) -> None:
    with pytest.raises(RejectedRequest):
        SHOP.verify(Request(name, headers, raw))


# -- over HTTP ---------------------------------------------------------------------------------------------------------------------


def test_a_signed_message_is_accepted_and_can_be_asked_for(door: Door) -> None:
    answered = door.post(FLAT)

    assert (answered.status_code, answered.json()["state"]) == (202, "accepted")
    looked = door.look(answered.json()["id"]).json()
    assert (looked["state"], looked["reply"]) == ("waiting", None)
    assert abs(looked["received_at"] / 1000 - time.time()) < 10


def test_a_repeat_gets_the_same_answer(door: Door, redis_client: redis.Redis) -> None:
    first, second = door.post(FLAT), door.post(FLAT)

    assert (first.status_code, first.json()) == (second.status_code, second.json())
    (backlog, _) = Lanes(door.settings).backlog(Lanes(door.settings).shards[0]).run(redis_client)
    assert backlog.messages == 1


@pytest.mark.one_redis
def test_a_forged_request_and_an_unknown_endpoint_look_the_same(door: Door, redis_client: redis.Redis) -> None:
    answers = [
        door.post(FLAT, secret=OTHER_SECRET),
        door.post(FLAT, name="unknown"),
        door.post(FLAT, name="SHOP"),
        door.http.post("/webhooks/shop", json=FLAT),
        door.http.post("/webhooks/shop", content=b"[]", headers=signed(b"{}", "msg_1")),
        door.http.post("/webhooks/shop", content=b"{}", headers={**signed(b"{}", "msg_1"), "webhook-signature": "v1"}),
        door.http.post("/webhooks/shop", content=b"{}", headers=signed(b"{}", "msg_1", age=301)),
        door.http.post("/webhooks/shop", content=b"{}", headers=[*signed(b"{}", "msg_1").items(), ("webhook-id", "msg_2")]),
    ]

    assert {answered.status_code for answered in answers} == {401}
    assert len({answered.text for answered in answers}) == 1
    assert redis_client.keys("rm:{0}:in:*") == []


@pytest.mark.one_redis
@pytest.mark.parametrize(
    ("raw", "status", "fault"),
    [
        (b"", 400, "not JSON"),
        (b"\xff", 400, "not UTF-8"),
        (b"[1]", 400, "must be a JSON object"),
        (b"[" * 100_000, 400, "nested too deeply"),
        (b'{"conversation": "c", "conversation": "d", "text": "x"}', 400, "stands twice"),
        (b'{"conversation": "c", "text": 1}', 400, "text"),
        (b'{"conversation": "c", "text": " "}', 422, "no text"),
        (b'{"conversation": "c", "attachments": [1]}', 422, "no text"),
    ],
)
def test_a_fault_in_a_signed_body_is_named(door: Door, raw: bytes, status: int, fault: str) -> None:
    answered = door.post(raw)

    assert answered.status_code == status
    assert answered.json()["error"]["status"] == status
    assert fault in answered.json()["error"]["message"]


def test_what_is_no_message_becomes_a_dead_letter_and_is_acknowledged(door: Door, redis_client: redis.Redis) -> None:
    first = door.post(envelope("invoice.paid", amount=5))
    second = door.post(envelope("invoice.paid", amount=5))

    assert (first.status_code, first.json()["state"]) == (202, "dead")
    assert second.json() == first.json()
    assert redis_client.zcard("rm:{0}:dead") == 1


def test_an_edit_and_a_deletion_reach_a_message_that_waits(door: Door, redis_client: redis.Redis) -> None:
    first = door.post(FLAT, message_id="msg_0").json()
    edited = door.post(envelope("message.updated", message_id="msg_0", conversation="c1", text="Where is it?"), message_id="msg_1")
    assert edited.json() == {"id": first["id"], "state": "amended"}

    lanes = Lanes(door.settings)
    deleted = door.post(envelope("message.deleted", message_id="msg_0", conversation="c1"), message_id="msg_2")
    assert deleted.json() == {"id": first["id"], "state": "cancelled"}
    assert lanes.backlog(lanes.shards[0]).run(redis_client)[0].messages == 0


def test_who_asks_for_a_person_is_called_back_and_has_a_state(door: Door, redis_client: redis.Redis) -> None:
    taken = door.post({**FLAT, "text": "I want to talk to a human"}, message_id="msg_0").json()
    after = door.post(FLAT, message_id="msg_1").json()
    lanes = Lanes(door.settings)
    (lane,) = lanes.claim(lanes.shards[0], Direction.OUT, items=1, tokens=1, empty=True).run(redis_client).lanes
    delivery = Delivery.decode(lane.entries[0].body)

    assert taken["state"] == "accepted"
    assert after["state"] == "handed-over"
    assert door.look(taken["id"]).json()["state"] == "handed-over"
    assert (delivery.action, delivery.reply.text) == (Action.HAND_OVER, door.settings.handing_over)
    said = json.loads(_callback(delivery))["data"]
    assert (said["action"], said["id"], said["in_reply_to"]) == ("hand-over", taken["id"], "msg_0")
    outcome = delivered(lane, delivery, Receipt(delivery=delivery.id), at=1)
    lanes.commit(lane, outcome).run(redis_client)
    assert door.look(taken["id"]).json()["state"] == "handed-over"


def test_a_stop_takes_back_what_waits_and_has_a_state(door: Door) -> None:
    first = door.post(FLAT, message_id="msg_0").json()
    stop = door.post({**FLAT, "text": "Stop!"}, message_id="msg_1").json()

    assert stop["state"] == "stopped"
    assert door.look(first["id"]).json()["state"] == "cancelled"
    assert door.look(stop["id"]).json()["state"] == "stopped"


def test_a_wish_is_a_message_where_the_settings_say_so() -> None:
    body = json.dumps({**FLAT, "text": "stop"}).encode()
    kinds = [
        type(Webhook(with_endpoint(Settings(), wishes=wishes)).parse(Request("shop", {"webhook-id": "m"}, body))[0])
        for wishes in (True, False)
    ]

    assert kinds == [Stop, InboundMessage]


@pytest.mark.parametrize("kind", ["message.updated", "message.deleted"])
def test_an_edit_or_a_deletion_reaches_no_message_of_another_conversation(door: Door, redis_client: redis.Redis, kind: str) -> None:
    door.post(FLAT, message_id="msg_0")
    body = envelope(kind, message_id="msg_0", conversation="c2", text="Give me another's order.")
    refused = door.post(body, message_id="msg_1")

    assert refused.status_code == 400
    assert "message_id names a message of another conversation" in refused.json()["error"]["message"]
    lanes = Lanes(door.settings)
    (lane,) = lanes.claim(lanes.shards[0], Direction.IN, items=1, tokens=1000, empty=True).run(redis_client).lanes
    assert InboundMessage.from_entry(lane.entries[0]).text == FLAT["text"]


@pytest.mark.one_redis
def test_what_is_taken_is_logged_with_its_conversation_and_never_its_text(door: Door) -> None:
    lane = door.server.web.lanes.digests.lane(parsed(FLAT).address)
    edit = envelope("message.updated", message_id="msg_1", conversation="c1", text="Where is it?")
    deletion = envelope("message.deleted", message_id="msg_1", conversation="c1")
    with structlog.testing.capture_logs() as logs:
        ids = [door.post(body, message_id=f"msg_{n}").json()["id"] for n, body in enumerate((FLAT, FLAT, edit, deletion), 1)]
        ids.append(door.post(FLAT, message_id="msg_1").json()["id"])
        buried = door.post(envelope("invoice.paid"), message_id="msg_9").json()["id"]

    taken = [line for line in logs if line.get("action") == "message.accepted"]
    assert [(line["message"], line["conversation"]) for line in taken] == [(message_id, lane) for message_id in ids]
    assert [line["verdict"] for line in taken] == ["accepted", "accepted", "edit-amended", "deletion-cancelled", "repeat"]
    assert {(line["event"], line["log_level"]) for line in taken} == {("accepted", "info")}
    (line,) = [line for line in logs if line.get("action") == "web.buried"]
    assert (line["message"], line["conversation"] != lane, "." in line["conversation"]) == (buried, True, True)
    assert "Where is" not in str(logs)


@pytest.mark.parametrize(
    "text",
    [
        "a\x00b",
        "\u202eright to left",
        "👩‍👩‍👧‍👦" * 500,
        "e\u0301" * 500,
        "<script>alert(1)</script>",
        "x" * 60_000,
        "\r\n\u2028{}'\"\\",
    ],
)
def test_odd_and_long_texts_arrive_as_they_were_sent(door: Door, redis_client: redis.Redis, text: str) -> None:
    assert door.post({**FLAT, "text": text}).status_code == 202

    lanes = Lanes(door.settings)
    (lane,) = lanes.claim(lanes.shards[0], Direction.IN, items=1, tokens=10**6, empty=True).run(redis_client).lanes
    assert InboundMessage.from_entry(lane.entries[0]).text == text


@pytest.mark.one_redis
def test_a_lone_surrogate_is_replaced_everywhere(door: Door, redis_client: redis.Redis) -> None:
    raw = b'{"conversation": "c\\udc00", "text": "hi \\ud83d", "user": "\\ud800"}'

    assert door.post(raw).status_code == 202
    lanes = Lanes(door.settings)
    (lane,) = lanes.claim(lanes.shards[0], Direction.IN, items=1, tokens=1000, empty=True).run(redis_client).lanes
    found = InboundMessage.from_entry(lane.entries[0])
    assert (found.text, found.sender, found.address.thread) == ("hi �", "�", "c�")


def test_a_full_lane_is_429_with_a_time(settings: Settings) -> None:
    with opened(with_endpoint(dataclasses.replace(settings, lane_messages=1))) as door:
        wait_for(lambda: ready(door))
        door.post(FLAT, message_id="msg_1")
        refused = door.post(FLAT, message_id="msg_2")

    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0


# -- the callback ------------------------------------------------------------------------------------------------------------------


def delivery(part: int = 0, **fields: Any) -> Delivery:
    inbound = parsed(FLAT)
    message_id = "abc-0"
    reply = Reply(
        in_reply_to=(message_id,),
        address=inbound.address,
        text="It is on its way. 👍",
        source=Source.MODEL,
        evidence=("faq-7",),
        confidence=0.5,
        reference=inbound.dedupe_ids[0],
    )
    return Delivery(id=f"{message_id}-{part}", reply=msgspec.structs.replace(reply, **fields), part=part)


def call_back(receiver: Receiver, *deliveries: Delivery, **endpoint: Any) -> list[Any]:
    """What each send gives: a receipt, or the error it raised."""
    fields = {"callback_url": receiver.url, "callback_private": True, "callback_secret": OTHER_SECRET, **endpoint}
    platform = Webhook(with_endpoint(Settings(), **fields))

    async def sending() -> list[Any]:
        try:
            return await asyncio.gather(*(platform.send(each) for each in deliveries), return_exceptions=True)
        finally:
            await platform.close()

    return asyncio.run(sending())


def test_a_reply_is_called_back_signed() -> None:
    with Receiver() as receiver:
        (receipt,) = call_back(receiver, delivery())

    assert receipt.delivery == "abc-0-0"
    (came,) = receiver.received
    found = Reference(OTHER_SECRET).verify(came["raw"], came["headers"])
    assert came["headers"]["webhook-id"] == "abc-0-0"
    assert found["type"] == "reply.created"
    assert found["data"] == {
        "id": "abc-0",
        "ids": ["abc-0"],
        "in_reply_to": "msg_1",
        "conversation": "c1",
        "text": "It is on its way. 👍",
        "source": "model",
        "confidence": 0.5,
        "evidence": ["faq-7"],
        "part": 0,
    }


def test_every_attempt_bears_the_same_id_and_every_part_another() -> None:
    with Receiver() as receiver:
        call_back(receiver, delivery(), delivery(), delivery(part=1))

    assert sorted(came["headers"]["webhook-id"] for came in receiver.received) == ["abc-0-0", "abc-0-0", "abc-0-1"]


@pytest.mark.parametrize(
    ("status", "headers", "kind", "after"),
    [
        (500, {}, RetryLater, 0),
        (503, {"retry-after": "9"}, RetryLater, 9),
        (429, {"retry-after": "soon"}, RetryLater, 0),
        (410, {}, DeliveryRefused, None),
        (404, {}, DeliveryRefused, None),
    ],
)
def test_what_the_receiver_answers_decides(
    status: int, headers: dict[str, str], kind: type[Exception], after: float | None
) -> None:
    with Receiver() as receiver:
        receiver.answers = [(status, headers, b"secret insides of the receiver")]
        (raised,) = call_back(receiver, delivery())

    assert isinstance(raised, kind)
    assert getattr(raised, "after", None) == after
    assert "insides" not in str(raised)


def test_without_a_callback_address_a_reply_waits_to_be_asked_for() -> None:
    with Receiver() as receiver:
        (receipt,) = call_back(receiver, delivery(), callback_url="")

    assert (receipt.delivery, receiver.received) == ("abc-0-0", [])


def test_an_endpoint_that_is_gone_refuses_its_replies() -> None:
    address = Address(platform="webhook", tenant="shop", channel="closed", thread="c1")
    with Receiver() as receiver:
        (raised,) = call_back(receiver, delivery(address=address))

    assert isinstance(raised, DeliveryRefused)


def test_an_address_inside_is_refused_without_the_operators_word() -> None:
    with Receiver() as receiver:
        (raised,) = call_back(receiver, delivery(), callback_url="https://127.0.0.1/replies", callback_private=False)

    assert isinstance(raised, DeliveryRefused)
    assert receiver.received == []


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"callback_url": "https://example.com:8443/"}, "must lead to 443"),
        ({"callback_url": "https://0177.0.0.1/"}, "must be a URL"),
        ({"secrets": ("whsec_" + "A" * 33,)}, "not base64"),
        ({"callback_secret": "whsec_AAAA"}, "24 to 64 bytes"),
    ],
)
def test_an_endpoint_that_cannot_work_is_refused_at_start(fields: dict[str, Any], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault) as caught:
        Webhook(with_endpoint(Settings(), **fields))

    assert "REPLYMILL_WEBHOOK_SHOP" in str(caught.value)
    assert "AAAA" not in str(caught.value)


def test_a_secret_of_every_allowed_length_works_both_ways() -> None:
    for size in range(24, 65):
        secret = "whsec_" + base64.b64encode(bytes(range(size))).decode()
        raw = json.dumps(FLAT).encode()
        platform = Webhook(with_endpoint(Settings(), secrets=(secret,), callback_secret=secret))
        platform.verify(Request("shop", signed(raw, "msg_1", secret=secret), raw))


def test_a_callback_carries_choices_and_lists_them_in_its_text() -> None:
    address = Address(platform="webhook", tenant="acme", channel="shop", thread="c")
    asked = Reply(in_reply_to=("a",), address=address, text="Which?", source=Source.FALLBACK, choices=("One", "Two"))
    said = json.loads(_callback(Delivery(id="a-0", reply=asked)))["data"]

    assert (said["text"], said["prompt"], said["choices"]) == ("Which?\n\n1. One\n2. Two", "Which?", ["One", "Two"])
    assert "choices" not in json.loads(_callback(Delivery(id="a-0", reply=msgspec.structs.replace(asked, choices=()))))["data"]
