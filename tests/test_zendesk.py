"""Zendesk tickets, both directions: what the trigger sends over HTTP, and what becomes of a simulated Zendesk."""

import asyncio
import base64
import dataclasses
import json
import re
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import redis
import structlog
from hypothesis import given
from hypothesis import strategies as st

from connectors.contract import Askable, Check, Checkable, HandOver, Notice, Ownership, Probing, Receiver, Request, Stop
from connectors.simulators.server import Fault
from connectors.simulators.zendesk import API_TOKEN, BOT_ID, EMAIL, WEBHOOK_SECRET, Ticket, ZendeskSimulator, signed, triggered
from connectors.zendesk import COMMENT_BYTES, STATIC_TEST_SECRET, SUMMARY, Zendesk
from connectors.zendesk_events import Body
from engine.accounts import ZendeskDesk
from engine.errors import DeliveryRefused, RejectedRequest, RetryLater, SettingsError, Unclear, UnparseableMessage, Withdrawn
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

TICKET = Address(platform="zendesk", tenant="shop", channel="shop", thread="17")


def with_desk(settings: Settings, **fields: Any) -> Settings:
    """The settings with the account `shop`."""
    account = {
        "name": "shop",
        "tenant": "shop",
        "base_url": "https://shop.zendesk.com",
        "email": EMAIL,
        "api_token": API_TOKEN,
        "webhook_secret": WEBHOOK_SECRET,
        "bot_user_id": str(BOT_ID),
        "group_id": "77",
    }
    accounts = {**settings.accounts, "zendesk": {"shop": ZendeskDesk(**{**account, **fields})}}
    return dataclasses.replace(settings, port=free_port(), quiet_chat=0.0, quiet_chat_max=0.0, accounts=accounts)


SHOP = Zendesk(with_desk(Settings()))


def parsed(**fields: Any) -> tuple[Any, ...]:
    return SHOP.parse(Request("shop", {"x-zendesk-webhook-invocation-id": "01M0"}, json.dumps(triggered(**fields)).encode()))


@pytest.fixture
def door(settings: Settings) -> Iterator[Door]:
    with opened(with_desk(settings)) as door:
        wait_for(lambda: ready(door))
        yield door


def post(door: Door, body: Any = None, *, name: str = "shop", headers: dict[str, str] | None = None, **how: Any) -> httpx.Response:
    """A webhook; without a body that of a customer's comment."""
    raw = body if isinstance(body, bytes) else json.dumps(triggered() if body is None else body).encode()
    return door.http.post(f"/zendesk/{name}", content=raw, headers={**signed(raw, **how), **(headers or {})})


def desk_of(door: Door, client: redis.Redis) -> Desk:
    return Desk(client, Lanes(door.settings))


# -- who may come in ---------------------------------------------------------------------------------------------------------------


def test_it_is_a_platform_that_receives_and_can_be_asked() -> None:
    assert isinstance(SHOP, Receiver)
    assert isinstance(SHOP, Askable)


def test_a_signature_of_openssl_is_taken() -> None:
    raw, headers = b'{"a": "\xc3\xa9"}', signed(b"")
    moment = headers["x-zendesk-webhook-signature-timestamp"]
    command = ["openssl", "dgst", "-sha256", "-hmac", WEBHOOK_SECRET, "-binary"]
    digest = subprocess.run(command, input=moment.encode() + raw, capture_output=True, check=True).stdout
    SHOP.verify(Request("shop", {**headers, "x-zendesk-webhook-signature": base64.b64encode(digest).decode()}, raw))


@pytest.mark.parametrize(
    ("how", "changed"),
    [
        ({"secret": "another secret altogether"}, {}),
        ({"secret": STATIC_TEST_SECRET}, {}),
        ({"age": 301}, {}),
        ({"age": -302}, {}),
        ({}, {"x-zendesk-webhook-signature": ""}),
        ({}, {"x-zendesk-webhook-signature": "é"}),
        ({}, {"x-zendesk-webhook-signature-timestamp": "yesterday"}),
        ({}, {"x-zendesk-webhook-signature-timestamp": ""}),
        ({}, {"x-zendesk-webhook-signature-timestamp": "1795507200"}),
        ({}, {"x-zendesk-webhook-signature-timestamp": "2026-11-24T08:00:00"}),
    ],
)
def test_whoever_does_not_know_the_secret_or_comes_late_is_rejected(how: dict[str, Any], changed: dict[str, str]) -> None:
    with pytest.raises(RejectedRequest):
        SHOP.verify(Request("shop", {**signed(b"{}", **how), **changed}, b"{}"))


def test_a_body_that_was_changed_is_rejected() -> None:
    raw = json.dumps(triggered()).encode()
    for changed in (raw + b" ", json.dumps(triggered(), indent=1).encode(), raw.replace(b"order", b"0rder")):
        with pytest.raises(RejectedRequest):
            SHOP.verify(Request("shop", signed(raw), changed))


@pytest.mark.parametrize("age", [-295, 0, 295])
def test_five_minutes_of_two_clocks_are_forgiven(age: float) -> None:
    SHOP.verify(Request("shop", signed(b"{}", age=age), b"{}"))


@given(
    st.text(), st.dictionaries(st.sampled_from(["x-zendesk-webhook-signature", "x-zendesk-webhook-signature-timestamp"]), st.text())
)
def test_whatever_the_headers_hold_it_is_a_rejection(name: str, headers: dict[str, str]) -> None:
    with pytest.raises(RejectedRequest):
        SHOP.verify(Request(name, headers, b"{}"))


def test_two_secrets_allow_a_rotation() -> None:
    both = Zendesk(with_desk(Settings(), webhook_secret=f"the-new-signing-secret {WEBHOOK_SECRET}"))
    for secret in ("the-new-signing-secret", WEBHOOK_SECRET):
        both.verify(Request("shop", signed(b"{}", secret=secret), b"{}"))


def test_the_public_secret_of_the_test_button_is_refused_at_start() -> None:
    with pytest.raises(SettingsError, match="REPLYMILL_ZENDESK_SHOP_WEBHOOK_SECRET"):
        Zendesk(with_desk(Settings(), webhook_secret=STATIC_TEST_SECRET))


def test_a_forged_request_and_an_unknown_account_look_the_same(door: Door, redis_client: redis.Redis) -> None:
    answers = [
        post(door, secret="another secret altogether"),
        post(door, name="unknown"),
        post(door, age=301),
        post(door, headers={"x-zendesk-webhook-signature": "x"}),
        door.http.post("/zendesk/shop", json=triggered()),
    ]

    assert {answered.status_code for answered in answers} == {401}
    assert len({answered.text for answered in answers}) == 1
    assert redis_client.keys("rm:{0}:in:*") == []


# -- what a webhook says -----------------------------------------------------------------------------------------------------------


def test_a_comment_of_a_customer_is_a_message() -> None:
    (found,) = parsed()

    assert found.address == TICKET
    assert (found.text, found.sender) == ("Where is my order?", "501")
    assert found.dedupe_ids == ("shop/17/54509363035291", "shop/invocation/01M0")


@pytest.mark.parametrize(
    "fields",
    [
        {
            "ticket_id": 17,
            "comment_id": 54509363035291,
            "author_id": 501,
            "updater_id": 501,
            "comment_public": True,
            "assignee_id": None,
        },
        {"ticket_id": 17.0, "author_id": 501.0, "updater_id": "501"},
        {"ticket_id": " 17 ", "comment_public": "True", "updater_role": "end_user"},
        {"updater_role": "End user", "ticket_status": "NEW"},
        {"assignee_id": BOT_ID},
        {"updater_id": ""},
        {"comment_public": 1, "another": {"deep": []}},
    ],
)
def test_placeholders_are_read_with_and_without_quotes(fields: dict[str, Any]) -> None:
    assert parsed(**fields) == parsed()


@pytest.mark.parametrize(
    "fields",
    [
        {"updater_role": "Agent", "updater_id": "601"},
        {"updater_role": "Admin", "updater_id": "601"},
        {"updater_role": "", "updater_id": ""},
        {"updater_role": "Agent", "updater_id": str(BOT_ID), "author_id": str(BOT_ID)},
        {"updater_role": "Agent", "updater_id": BOT_ID, "author_id": BOT_ID, "assignee_id": "601", "ticket_status": "Solved"},
        {"comment_public": "false"},
        {"comment_public": ""},
        {"updater_id": "502"},
    ],
)
def test_agents_admins_automations_notes_and_the_bot_itself_start_nothing(fields: dict[str, Any]) -> None:
    assert parsed(**fields) == ()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"assignee_id": "601", "updater_role": "Agent", "updater_id": "601"}, Owner.HUMAN),
        ({"assignee_id": 601}, Owner.HUMAN),
        ({"author_id": "601", "updater_id": "601", "updater_role": "Agent"}, Owner.HUMAN),
        ({"assignee_id": "601", "ticket_status": "Solved", "updater_role": "Agent", "updater_id": "601"}, Owner.BOT),
        ({"assignee_id": "601", "ticket_status": "closed", "updater_role": "", "updater_id": ""}, Owner.BOT),
        ({"assignee_id": BOT_ID, "updater_role": "Agent", "updater_id": "601"}, Owner.BOT),
    ],
)
def test_who_answers_is_told_by_the_assignee_and_the_status(fields: dict[str, Any], expected: Owner) -> None:
    assert parsed(**fields)[0] == Ownership(TICKET, expected)


#: An account in German: its placeholders say these words.
GERMAN = Zendesk(
    with_desk(Settings(), end_user_words=("Endbenutzer", "Kunde"), staff_words=("Agent*in", "Helfer in"), ended_words=("Gelöst",))
)


def in_german(**fields: Any) -> tuple[Any, ...]:
    return GERMAN.parse(Request("shop", {"x-zendesk-webhook-invocation-id": "01M0"}, json.dumps(triggered(**fields)).encode()))


def test_an_account_in_another_language_has_words_of_its_own_beside_the_english_ones() -> None:
    by_agent = {"author_id": "601", "updater_id": "601"}
    solved = {"assignee_id": "601", "ticket_status": "gelöst"}

    assert in_german(updater_role="Endbenutzer") == in_german(updater_role="KUNDE") == in_german() == parsed()
    assert in_german(updater_role="Helfer in", **by_agent) == (Ownership(TICKET, Owner.HUMAN),)
    assert in_german(updater_role="agent*in", **by_agent, **solved) == (Ownership(TICKET, Owner.BOT),)


def test_a_role_that_is_not_known_says_which_setting_would_make_it_so() -> None:
    with pytest.raises(UnparseableMessage, match="REPLYMILL_ZENDESK_SHOP_END_USER_WORDS"):
        in_german(updater_role="Utilisateur final")


def test_a_comment_on_a_ticket_of_an_agent_is_taken_after_the_owner_is() -> None:
    owned, message = parsed(assignee_id="601")

    assert (owned, type(message)) == (Ownership(TICKET, Owner.HUMAN), InboundMessage)


def test_a_comment_without_text_gets_a_notice_and_wishes_are_heard() -> None:
    (notice,) = parsed(comment_text=" \n")
    (handed,) = parsed(comment_text="I want to talk to a human, please!")
    (stopped,) = parsed(comment_text="stop")

    assert isinstance(notice, Notice)
    assert notice.logical_ids[0] == "shop/17/54509363035291"
    assert (type(handed), type(stopped)) == (HandOver, Stop)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"ticket_id": "17", "comment_text": "a quote " of its own"}',
        json.dumps({"ticket_id": "17"}).encode(),
        json.dumps(triggered(ticket_id="")).encode(),
        json.dumps(triggered(ticket_id="../users/1")).encode(),
        json.dumps(triggered(ticket_id="{{ticket.id}}")).encode(),
        json.dumps(triggered(comment_id="x")).encode(),
        json.dumps(triggered(comment_text=["a"])).encode(),
        json.dumps(triggered(updater_role="Endbenutzer")).encode(),
    ],
)
def test_a_body_that_is_not_as_documented_says_so(raw: bytes) -> None:
    with pytest.raises(UnparseableMessage):
        SHOP.parse(Request("shop", {}, raw))


@given(
    st.binary()
    | st.dictionaries(st.sampled_from(sorted(triggered())), st.none() | st.text() | st.integers() | st.floats()).map(
        lambda found: json.dumps(triggered(**found)).encode()
    )
)
def test_any_body_is_parsed_or_has_a_named_fault(raw: bytes) -> None:
    with suppress(UnparseableMessage):
        assert isinstance(SHOP.parse(Request("shop", {}, raw)), tuple)


def test_the_body_to_paste_has_every_field_that_is_read() -> None:
    page = (Path(__file__).parent.parent / "docs" / "zendesk.md").read_text()
    pasted = json.loads(page.partition("```json")[2].partition("```")[0])

    assert list(pasted) == list(triggered())
    assert set(pasted) == set(Body.__struct_fields__)
    loop = pasted.pop("attachments")
    assert all(re.fullmatch(r"\{\{[a-z_.]+\}\}", value) for value in pasted.values())
    assert re.fullmatch(r"\{% for (\w+) in [a-z_.]+ %\}\{\{\1\.url\}\} \{% endfor %\}", loop)


# -- over HTTP ---------------------------------------------------------------------------------------------------------------------


def test_a_comment_waits_on_the_lane_of_its_ticket_once_however_often_it_comes(door: Door, redis_client: redis.Redis) -> None:
    with ThreadPoolExecutor(11) as pool:
        answers = list(pool.map(lambda _: post(door), range(11)))
    answers.append(post(door, invocation="01M07AMDNSHP8D7584XEZDTQMP"))

    assert {answered.status_code for answered in answers} == {200}
    lane = desk_of(door, redis_client).take()
    assert [InboundMessage.from_entry(entry).address for entry in lane.entries] == [TICKET]


def test_a_comment_without_an_id_is_known_by_its_invocation(door: Door, redis_client: redis.Redis) -> None:
    for invocation in ("01A", "01A", "01B"):
        post(door, triggered(comment_id=""), invocation=invocation)

    assert len(desk_of(door, redis_client).take().entries) == 2


def test_a_broken_body_becomes_a_dead_letter_and_is_acknowledged(door: Door, redis_client: redis.Redis) -> None:
    assert post(door, b'{"ticket_id": "17", "comment_text": "a "quote""}').status_code == 200
    assert post(door, b'{"ticket_id": "17", "comment_text": "a "quote""}').status_code == 200
    assert redis_client.zcard("rm:{0}:dead") == 1


def test_a_person_silences_the_bot_until_the_ticket_is_solved(door: Door, redis_client: redis.Redis) -> None:
    desk = desk_of(door, redis_client)
    post(door, triggered(assignee_id="601", updater_role="Agent", updater_id="601"), invocation="01A")
    post(door, triggered(assignee_id="601", comment_id="2"), invocation="01B")
    assert desk.backlog()[0].messages == 0
    assert [turn.text for turn in desk.history(TICKET)] == ["Where is my order?"]

    post(door, triggered(assignee_id="601", ticket_status="Solved", updater_role="Agent", updater_id="601"), invocation="01C")
    post(door, triggered(comment_id="3", comment_text="One more thing."), invocation="01D")
    lane = desk.take()
    assert (lane.owner, [InboundMessage.from_entry(entry).text for entry in lane.entries]) == (Owner.BOT, ["One more thing."])


def test_after_a_hand_over_the_bot_waits_though_the_ticket_is_still_its_own(door: Door, redis_client: redis.Redis) -> None:
    post(door, triggered(comment_text="human please"), invocation="01A")
    post(door, triggered(comment_id="2", assignee_id=BOT_ID), invocation="01B")

    desk = desk_of(door, redis_client)
    assert [backlog.messages for backlog in desk.backlog()] == [0, 1]
    delivery = Delivery.decode(desk.take(Direction.OUT).entries[0].body)
    assert (delivery.action, delivery.reply.address) == (Action.HAND_OVER, TICKET)


def test_redis_away_is_429_with_a_time_that_zendesk_waits(settings: Settings) -> None:
    with opened(with_desk(dataclasses.replace(settings, redis_url=f"redis://127.0.0.1:{free_port()}"))) as door:
        refused = post(door)

    assert refused.status_code == 429
    assert 5 <= int(refused.headers["retry-after"]) < 60


def test_neither_texts_nor_secrets_are_logged(door: Door) -> None:
    with structlog.testing.capture_logs() as logs:
        post(door)
        post(door, secret="another secret altogether")
        post(door, b'{"comment_text": "Where is "my" order?"}')

    assert WEBHOOK_SECRET not in str(logs)
    assert "order" not in str(logs)


# -- what is posted ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def zendesk() -> Iterator[ZendeskSimulator]:
    with ZendeskSimulator() as simulator:
        simulator.open(17)
        yield simulator


def delivery(text: str = "It is **on its way**.", *, number: int = 0, **fields: Any) -> Delivery:
    reply = Reply(in_reply_to=("abc-0",), address=TICKET, text=text, source=Source.MODEL)
    return Delivery(id=f"abc-0-{number}", reply=reply, **fields)


HAND_OVER = delivery("A person will answer you here.", action=Action.HAND_OVER)


def asked(simulator: ZendeskSimulator, ask: Callable[[Zendesk], Awaitable[T]], **account: Any) -> T:
    """What the platform says to a question."""

    async def asking() -> T:
        platform = Zendesk(with_desk(Settings(), **{"base_url": simulator.url, **account}))
        try:
            return await ask(platform)
        finally:
            await platform.close()

    return asyncio.run(asking())


def send(simulator: ZendeskSimulator, *deliveries: Delivery, **account: Any) -> list[Any]:
    """What each send gives: a receipt, or the error it raised."""

    async def sending(platform: Zendesk) -> list[Any]:
        return [(await asyncio.gather(platform.send(one), return_exceptions=True))[0] for one in deliveries]

    return asked(simulator, sending, **account)


def ticket(simulator: ZendeskSimulator) -> Ticket:
    return simulator.tickets[17]


def test_a_reply_is_a_public_comment_with_a_tag_beside_the_others(zendesk: ZendeskSimulator) -> None:
    (receipt,) = send(zendesk, delivery())

    (comment,) = ticket(zendesk).comments
    assert (comment["public"], comment["html_body"]) == (True, "<p>It is <strong>on its way</strong>.</p>")
    assert ticket(zendesk).tags == ["web", "kb_answered"]
    assert (receipt.delivery, receipt.platform_id) == ("abc-0-0", str(ticket(zendesk).audits[0]["id"]))
    (put,) = [call.body["ticket"] for call in zendesk.calls if call.method == "PUT"]
    assert put["additional_tags"] == ["kb_answered"]
    assert (put["safe_update"], put["updated_stamp"]) == (True, "2026-11-24T00:00:00+00:00")
    assert ticket(zendesk).status == "new"


def test_markup_in_a_reply_is_no_markup_in_the_ticket(zendesk: ZendeskSimulator) -> None:
    send(zendesk, delivery("<script>alert(1)</script> & [x](javascript:alert(1))"))

    assert "<script" not in ticket(zendesk).comments[0]["html_body"]
    assert "href" not in ticket(zendesk).comments[0]["html_body"]


def test_a_ticket_of_a_person_gets_nothing(zendesk: ZendeskSimulator) -> None:
    zendesk.touch(ticket(zendesk), assignee_id=601)

    assert [type(raised) for raised in send(zendesk, delivery(), HAND_OVER)] == [Withdrawn, Withdrawn]
    assert ticket(zendesk).audits == []


def test_a_ticket_of_the_bot_itself_is_answered(zendesk: ZendeskSimulator) -> None:
    zendesk.touch(ticket(zendesk), assignee_id=BOT_ID)
    send(zendesk, delivery())

    assert len(ticket(zendesk).comments) == 1


class Busy(ZendeskSimulator):
    """Somebody takes the ticket between our reading it and our writing."""

    def routes(self) -> Any:
        show = self._show

        async def shown(request: Any) -> Any:
            answer = await show(request)
            if len(self.calls) == 1:
                self.touch(self.tickets[17], assignee_id=601)
            return answer

        self._show = shown  # type: ignore[method-assign]
        return super().routes()


def test_whoever_takes_the_ticket_at_the_last_moment_has_it() -> None:
    with Busy() as busy:
        busy.open(17)
        first, second = send(busy, delivery(), delivery())

    assert (type(first), type(second)) == (RetryLater, Withdrawn)
    assert busy.tickets[17].comments == []


def test_a_hand_over_tells_the_customer_and_opens_the_ticket_for_a_group(zendesk: ZendeskSimulator) -> None:
    zendesk.touch(ticket(zendesk), status="pending", assignee_id=BOT_ID)
    (receipt,) = send(zendesk, HAND_OVER)

    assert receipt.delivery == "abc-0-0"
    assert [(comment["public"], comment.get("body")) for comment in ticket(zendesk).comments] == [(True, None), (False, SUMMARY)]
    assert (ticket(zendesk).status, ticket(zendesk).group_id, ticket(zendesk).assignee_id) == ("open", 77, None)
    assert ticket(zendesk).tags == ["web", "kb_answered", "needs_human"]
    last = [call.body["ticket"] for call in zendesk.calls if call.method == "PUT"][-1]
    assert (last["status"], last["additional_tags"]) == ("open", ["needs_human"])


def test_a_hand_over_without_a_text_or_a_group_needs_neither(zendesk: ZendeskSimulator) -> None:
    send(zendesk, delivery("", action=Action.HAND_OVER), group_id="")

    assert [comment["public"] for comment in ticket(zendesk).comments] == [False]
    assert (ticket(zendesk).status, ticket(zendesk).group_id) == ("open", None)


@pytest.mark.parametrize("fault", [Fault(status=429), Fault(status=500, after_effect=True), Fault(drop=True, after_effect=True)])
def test_a_hand_over_that_broke_in_the_middle_is_finished_and_not_begun_again(zendesk: ZendeskSimulator, fault: Fault) -> None:
    zendesk.go_wrong("/tickets/17.json", None, None, fault)
    first, second, third = send(zendesk, HAND_OVER, HAND_OVER, HAND_OVER)

    assert isinstance(first, RetryLater | Unclear)
    assert second == third
    assert [comment["public"] for comment in ticket(zendesk).comments] == [True, False]


@pytest.mark.parametrize(
    ("fault", "kind", "after"),
    [
        (Fault(status=429, headers={"retry-after": "7"}, body={"error": "APIRateLimitExceeded"}), RetryLater, 7),
        (Fault(status=429), RetryLater, 0),
        (Fault(status=429, headers={"retry-after": "soon"}), RetryLater, 0),
        (Fault(status=409, body={"error": "UpdateConflict"}), RetryLater, 0),
        (Fault(status=503, body="<html>We are down</html>"), RetryLater, 0),
        (Fault(status=500, body="<html>Oops</html>"), Unclear, None),
        (Fault(drop=True), Unclear, None),
        (Fault(status=401), DeliveryRefused, None),
        (Fault(status=403), DeliveryRefused, None),
        (Fault(status=422, body={"error": "RecordInvalid"}), DeliveryRefused, None),
    ],
)
def test_what_zendesk_answers_to_an_update_decides(
    zendesk: ZendeskSimulator, fault: Fault, kind: type[Exception], after: float | None
) -> None:
    zendesk.go_wrong("/tickets/17.json", None, fault)
    (raised,) = send(zendesk, delivery())

    assert isinstance(raised, kind)
    assert getattr(raised, "after", None) == after
    assert ticket(zendesk).comments == []
    assert API_TOKEN not in str(raised)


@pytest.mark.parametrize(
    "fault", [Fault(status=500), Fault(drop=True), Fault(status=200, body="<html>"), Fault(status=200, body=[])]
)
def test_what_breaks_while_a_ticket_is_read_was_surely_not_sent(zendesk: ZendeskSimulator, fault: Fault) -> None:
    zendesk.go_wrong("/tickets/17.json", fault)
    raised, receipt = send(zendesk, delivery(), delivery())

    assert isinstance(raised, RetryLater)
    assert receipt.delivery == "abc-0-0"


def test_a_ticket_that_is_gone_or_closed_refuses_its_replies(zendesk: ZendeskSimulator) -> None:
    zendesk.touch(ticket(zendesk), status="closed")
    closed = send(zendesk, delivery(), HAND_OVER)
    del zendesk.tickets[17]
    gone = send(zendesk, delivery())

    assert {type(raised) for raised in [*closed, *gone]} == {DeliveryRefused}


def test_an_account_that_is_gone_and_a_token_that_is_wrong_refuse_their_replies(zendesk: ZendeskSimulator) -> None:
    (wrong,) = send(zendesk, delivery(), api_token="a-token-that-is-wrong")
    elsewhere = Delivery(
        id="abc-0-0",
        reply=Reply(in_reply_to=(), address=Address(platform="zendesk", tenant="x", channel="x"), text="", source=Source.MODEL),
    )
    (unknown,) = send(zendesk, elsewhere)

    assert (type(wrong), type(unknown)) == (DeliveryRefused, DeliveryRefused)
    assert "a-token-that-is-wrong" not in str(wrong)
    with pytest.raises(DeliveryRefused):
        SHOP.limits(elsewhere)


@pytest.mark.parametrize("pages", [100, 2])
def test_an_earlier_send_is_found_in_the_audits(zendesk: ZendeskSimulator, pages: int) -> None:
    zendesk.page_size = pages
    send(zendesk, *(delivery(number=number) for number in range(5)))

    found = asked(zendesk, lambda platform: platform.find(delivery(number=4)))
    assert found is not None
    assert found.platform_id == str(ticket(zendesk).audits[4]["id"])
    assert asked(zendesk, lambda platform: platform.find(delivery(number=5))) is None
    assert asked(zendesk, lambda platform: platform.find(HAND_OVER)) is None


def test_a_hand_over_is_found_once_all_of_it_is_there(zendesk: ZendeskSimulator) -> None:
    send(zendesk, HAND_OVER)

    found = asked(zendesk, lambda platform: platform.find(HAND_OVER))
    assert found is not None
    assert found.platform_id == str(ticket(zendesk).audits[-1]["id"])


def test_where_the_audits_cannot_be_read_nobody_knows(zendesk: ZendeskSimulator) -> None:
    zendesk.go_wrong("/audits.json", Fault(status=500), Fault(status=403))

    with pytest.raises(RetryLater):
        asked(zendesk, lambda platform: platform.find(delivery()))
    with pytest.raises(DeliveryRefused):
        asked(zendesk, lambda platform: platform.find(delivery()))


@pytest.mark.parametrize(
    "text", ["x" * COMMENT_BYTES, "é👍 & <b> " * 9_000, "```\n" + "line & line\n" * 9_000 + "```", "👩‍👩‍👧‍👦" * 4_000]
)
def test_a_long_reply_comes_in_parts_that_a_comment_takes(zendesk: ZendeskSimulator, text: str) -> None:
    parts = SHOP.split(text)
    send(zendesk, *(delivery(part, number=number) for number, part in enumerate(parts)))

    assert len(parts) > 1
    assert len(ticket(zendesk).comments) == len(parts)


def test_limits_name_the_ticket_and_then_the_whole_zendesk() -> None:
    narrow, wide = SHOP.limits(delivery())

    assert (narrow.count, narrow.seconds, wide.count, wide.seconds) == (30, 600, 100, 60)
    assert narrow.bucket[:2] == wide.bucket


def test_a_reply_whose_connection_broke_is_delivered_once(
    settings: Settings, redis_client: redis.Redis, zendesk: ZendeskSimulator
) -> None:
    zendesk.go_wrong("/tickets/17.json", None, Fault(drop=True, after_effect=True))
    ready_settings = with_desk(settings, base_url=zendesk.url)
    platform: Any = Zendesk(ready_settings)

    async def body(running: Post) -> None:
        queue(running.desk, TICKET, "one", "two")
        await running.until(lambda: len(ticket(zendesk).comments) >= 2 and running.desk.backlog()[1].messages == 0)

    delivering(ready_settings, redis_client, platform, body)
    assert [comment["html_body"] for comment in ticket(zendesk).comments] == ["<p>one</p>", "<p>two</p>"]


# -- the doctor --------------------------------------------------------------------------------------------------------------------


def checked(simulator: ZendeskSimulator, **account: Any) -> list[Check]:
    async def checking(platform: Zendesk) -> list[Check]:
        return list(await platform.check())

    return asked(simulator, checking, **account)


def test_the_doctors_own_webhook_is_taken_and_starts_nothing(door: Door, redis_client: redis.Redis) -> None:
    assert isinstance(SHOP, Probing)
    ((path, request),) = SHOP.probes().items()

    assert door.http.post(path, content=request.body, headers=dict(request.headers)).status_code == 200
    assert redis_client.keys("rm:{0}:*") == []


def test_the_doctor_signs_with_the_first_of_two_secrets() -> None:
    both = Zendesk(with_desk(Settings(), webhook_secret=f"{WEBHOOK_SECRET} an-old-signing-secret"))
    ((path, request),) = both.probes().items()

    assert path == "/zendesk/shop"
    SHOP.verify(request)
    assert SHOP.parse(request) == ()


def test_the_doctor_sees_the_user_and_the_group_and_changes_nothing(zendesk: ZendeskSimulator) -> None:
    user, group = checked(zendesk)

    assert isinstance(SHOP, Checkable)
    assert user == Check("zendesk shop", True, "the user 900, agent")
    assert (group.what, group.ok) == ("zendesk shop group", True)
    assert [check.ok for check in checked(zendesk, group_id="")] == [True]
    assert {call.method for call in zendesk.calls} == {"GET"}


@pytest.mark.parametrize(
    ("me", "found", "advice"),
    [
        ({"id": None, "role": "end-user"}, "stranger", "API token"),
        ({"id": 901, "role": "agent"}, "the user 901", "REPLYMILL_ZENDESK_SHOP_BOT_USER_ID=901"),
        ({"id": BOT_ID, "role": "end-user"}, "is end-user", "agent"),
        ({"id": BOT_ID}, "without a role", "agent"),
        ({"id": BOT_ID, "role": "agent", "role_type": 1}, "a light agent", "comment publicly"),
        ({"id": BOT_ID, "role": "agent", "role_type": 3}, "a contributor", "comment publicly"),
    ],
)
def test_the_doctor_says_what_is_wrong_with_the_user(
    zendesk: ZendeskSimulator, me: dict[str, Any], found: str, advice: str
) -> None:
    zendesk.me = me
    (user,) = checked(zendesk)

    assert not user.ok
    assert found in user.found
    assert advice in user.advice


ENDPOINT = "https://bot.example.com/zendesk/shop"


@pytest.mark.parametrize(
    ("hook", "action", "secret", "found", "well"),
    [
        ({}, "W1", WEBHOOK_SECRET, "it leads to bot.example.com/zendesk/shop", True),
        ({"endpoint": "https://bot.example.com/zendesk/other"}, "W1", WEBHOOK_SECRET, "none leads to /zendesk/shop", False),
        ({"status": "inactive"}, "W1", WEBHOOK_SECRET, "switched off", False),
        ({}, "W1", "the secret of another webhook", "another secret", False),
        ({}, "W2", WEBHOOK_SECRET, "no active trigger", False),
    ],
)
def test_the_doctor_sees_the_webhook_where_the_bot_is_an_administrator(
    zendesk: ZendeskSimulator, hook: dict[str, Any], action: str, secret: str, found: str, well: bool
) -> None:
    zendesk.webhooks = [{"id": "W1", "endpoint": ENDPOINT, "status": "active", **hook}]
    notify = {"field": "notification_webhook", "value": [action, json.dumps(triggered())]}
    zendesk.triggers = [{"actions": [{"field": "status", "value": "open"}, notify]}]
    zendesk.signing_secret = secret
    *_, webhook = checked(zendesk)

    assert (webhook.what, webhook.ok) == ("zendesk shop webhook", well)
    assert found in webhook.found
    assert secret not in repr(webhook)


def test_the_doctor_says_what_the_body_of_a_trigger_lacks(zendesk: ZendeskSimulator) -> None:
    body = triggered()
    del body["updater_role"], body["comment_id"]
    notify = {"field": "notification_webhook", "value": ["W1", json.dumps(body)]}
    zendesk.webhooks = [{"id": "W1", "endpoint": ENDPOINT, "status": "active"}]
    zendesk.triggers = [{"actions": [notify]}]
    *_, webhook = checked(zendesk)

    assert (webhook.ok, webhook.found) == (False, "the body of its trigger lacks comment_id, updater_role")


def test_the_doctor_says_that_the_clocks_differ(zendesk: ZendeskSimulator) -> None:
    far = {"date": format_datetime(datetime.now(UTC) + timedelta(minutes=6), usegmt=True)}
    zendesk.go_wrong("/me.json", Fault(status=401, headers=far))
    _, clock = checked(zendesk)

    assert (clock.what, clock.ok, clock.fatal) == ("zendesk shop clock", False, True)


def test_the_doctor_warns_of_a_user_who_sees_some_tickets_only(zendesk: ZendeskSimulator) -> None:
    zendesk.me["ticket_restriction"] = "assigned"
    user, _ = checked(zendesk)

    assert user.ok
    assert "assigned" in user.advice


def test_the_doctor_says_that_the_group_is_gone(zendesk: ZendeskSimulator) -> None:
    for groups in ({}, {"77": {"id": 77, "deleted": True}}):
        zendesk.groups = groups
        user, group = checked(zendesk)

        assert (user.ok, group.ok) == (True, False)
        assert "REPLYMILL_ZENDESK_SHOP_GROUP_ID" in group.advice


def test_the_doctor_tells_a_wrong_token_from_a_zendesk_that_is_away_and_shows_neither(zendesk: ZendeskSimulator) -> None:
    (refused,) = checked(zendesk, api_token="a-wrong-token-of-zendesk")
    (away,) = checked(zendesk, base_url=f"http://127.0.0.1:{free_port()}")
    zendesk.go_wrong("/me.json", Fault(status=429, headers={"retry-after": "7"}))
    (busy,) = checked(zendesk)
    zendesk.go_wrong("/groups/77.json", Fault(drop=True))
    _, broken = checked(zendesk)

    assert (refused.ok, away.ok, busy.ok, broken.ok) == (False, False, False, False)
    assert "401" in refused.found
    assert (away.found, busy.found, broken.found) == ("no answer",) * 3
    assert "a-wrong-token" not in str((refused, away))
    assert API_TOKEN not in str((busy, broken))


def test_an_account_that_is_away_does_not_hide_another(zendesk: ZendeskSimulator) -> None:
    shop = with_desk(Settings(), base_url=zendesk.url, group_id="").accounts["zendesk"]
    away = with_desk(Settings(), name="away", base_url=f"http://127.0.0.1:{free_port()}").accounts["zendesk"]

    async def checking() -> list[Check]:
        platform = Zendesk(dataclasses.replace(Settings(), accounts={"zendesk": {"away": away["shop"], **shop}}))
        try:
            return list(await platform.check())
        finally:
            await platform.close()

    assert [(check.what, check.ok) for check in asyncio.run(checking())] == [("zendesk away", False), ("zendesk shop", True)]
