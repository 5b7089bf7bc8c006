"""Telegram, both directions: updates by webhook and by polling, replies through a simulated Bot API."""

import asyncio
import dataclasses
import json
import logging
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
import pytest
import redis
import structlog
from hypothesis import given
from hypothesis import strategies as st

from connectors.contract import (
    Acknowledgement,
    Check,
    Checkable,
    Edit,
    Feedback,
    Forget,
    HandOver,
    Inbound,
    Listening,
    Notice,
    Probing,
    Receiver,
    Request,
    Showing,
    Stop,
    Taken,
)
from connectors.formatting import to_telegram
from connectors.simulators.server import Fault
from connectors.simulators.telegram import SimulatedTelegram
from connectors.simulators.telegram_markup import visible
from connectors.telegram import Telegram
from engine.accounts import TelegramBot
from engine.errors import (
    DeliveryRefused,
    Overloaded,
    RejectedRequest,
    RetryLater,
    SettingsError,
    Unclear,
    UnparseableMessage,
)
from engine.lanes import Lanes
from engine.messages import Action, Address, Delivery, InboundMessage, Reply, Source
from engine.settings import Settings
from tests.conftest import redis_binary, wait_for
from tests.desk import Desk
from tests.doors import Door, opened, ready
from tests.loops import delivering, queue
from workers import embedded, logs
from workers.doctor_platforms import look

pytestmark = pytest.mark.one_redis

T = TypeVar("T")

TOKEN = "700001:AAE-simulated_token"
SECRET = "a-webhook_secret-of-the-tests"
HEADER = "x-telegram-bot-api-secret-token"
HOOK = "https://example.com/telegram/shop"
ME = 700_001
GROUP = -1_001_234


def with_bot(settings: Settings, name: str = "shop", **fields: Any) -> Settings:
    """The settings with one more bot."""
    bot = TelegramBot(**{"name": name, "tenant": name, "token": TOKEN, "webhook_secret": SECRET, **fields})
    others = settings.accounts.get("telegram", {})
    return dataclasses.replace(settings, port=embedded.free_port(), accounts={"telegram": {**others, name: bot}})


#: Its name is known, as if it had asked.
SHOP = Telegram(with_bot(Settings(), api_base_url="http://127.0.0.1:9"), None)
SHOP._bots["shop"] = dataclasses.replace(SHOP._bots["shop"], username="shopbot")

#: Makes messages; never started.
MAKER = SimulatedTelegram()


def update(text: str | None = "hello", *, kind: str = "message", **fields: Any) -> dict[str, Any]:
    return MAKER.says(text, kind=kind, **fields)


def parsed(content: dict[str, Any], platform: Telegram = SHOP) -> tuple[Inbound, ...]:
    return platform.parse(Request("shop", {HEADER: SECRET}, json.dumps(content).encode()))


def the_message(content: dict[str, Any]) -> InboundMessage:
    (one,) = parsed(content)
    assert isinstance(one, InboundMessage)
    return one


def entity(text: str, part: str, kind: str = "mention", **fields: Any) -> dict[str, Any]:
    """Where `part` stands in `text`, counted as Telegram counts."""
    before = text[: text.index(part)]
    return {"type": kind, "offset": len(before.encode("utf-16-le")) // 2, "length": len(part.encode("utf-16-le")) // 2, **fields}


def command(text: str, **fields: Any) -> dict[str, Any]:
    return update(text, entities=[entity(text, text.split(maxsplit=1)[0], "bot_command")], **fields)


def mentioning(text: str, part: str = "@ShopBot", **fields: Any) -> dict[str, Any]:
    return update(text, chat=GROUP, entities=[entity(text, part)], **fields)


def by_me(text: str | None) -> dict[str, Any]:
    """A message of the bot in the group."""
    return MAKER.message(text, chat=GROUP) | {"from": {"id": ME, "is_bot": True, "first_name": "Shop"}}


@pytest.fixture
def telegram() -> Iterator[SimulatedTelegram]:
    with SimulatedTelegram() as simulated:
        yield simulated


@pytest.fixture
def door(settings: Settings, telegram: SimulatedTelegram) -> Iterator[Door]:
    """A web process with a bot that has a webhook."""
    with opened(with_bot(settings, api_base_url=telegram.url, webhook_url="https://example.com/telegram/shop")) as door:
        wait_for(lambda: ready(door))
        wait_for(lambda: telegram.commands)
        yield door


def push(door: Door, content: Any, *, name: str = "shop", secret: str | None = SECRET) -> Any:
    """What Telegram does with an update for a webhook."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    headers = {"content-type": "application/json"} | ({} if secret is None else {HEADER: secret})
    return door.http.post(f"/telegram/{name}", content=raw, headers=headers)


def waiting(settings: Settings, client: redis.Redis) -> int:
    """Messages in all inbound lanes."""
    lanes = Lanes(settings)
    return sum(lanes.backlog(shard).run(client)[0].messages for shard in lanes.shards)


def outbound(settings: Settings, client: redis.Redis) -> list[Delivery]:
    """All that waits in outbound lanes."""
    found: list[Delivery] = []
    for shard in Lanes(settings).shards:
        for name in sorted(client.scan_iter(match=f"{shard.prefix}out:q:*")):
            entries: list[Any] = client.lrange(name, 0, -1)
            found += [Delivery.decode(raw.partition(b"\n")[2]) for raw in entries]
    return found


def test_it_receives_and_listens_and_shows() -> None:
    assert isinstance(SHOP, Receiver)
    assert isinstance(SHOP, Listening)
    assert isinstance(SHOP, Showing)
    assert isinstance(SHOP, Checkable)
    assert isinstance(SHOP, Probing)


# -- what an update says -----------------------------------------------------------------------------------------------------------


def test_a_private_message_is_a_message() -> None:
    said = update("Where is my order?", chat=42)
    found = the_message(said)

    assert found.address == Address(platform="telegram", tenant="shop", channel="shop/42")
    assert (found.text, found.sender) == ("Where is my order?", "42")
    assert found.dedupe_ids == (f"{ME}/42/{said['message']['message_id']}", f"{ME}/{said['update_id']}")


def test_two_bots_in_one_chat_number_apart() -> None:
    other = Telegram(with_bot(Settings(), token="700002:x"), None)
    said = update()

    assert not set(the_message(said).dedupe_ids) & {one for i in parsed(said, other) for one in i.dedupe_ids}  # type: ignore[union-attr]


def album(number: int, *captions: str | None) -> list[dict[str, Any]]:
    """Photos sent together."""
    made = [
        {"photo": [photo()], "media_group_id": f"a{number}"} | ({"caption": caption} if caption else {}) for caption in captions
    ]
    return [update(None, **fields) for fields in made]


@pytest.mark.parametrize(
    ("captions", "messages", "notices"),
    [
        (("What is this?", None, None), 1, 0),
        ((None, "What is this?", None), 1, 1),
        ((None, None, "What is this?"), 1, 1),
        (("What is this?", "And this?", None), 2, 0),
        ((None, None, None), 0, 1),
    ],
)
def test_every_caption_of_an_album_is_read_and_the_rest_is_said_once(
    door: Door, redis_client: redis.Redis, captions: tuple[str | None, ...], messages: int, notices: int
) -> None:
    photos = album(1, *captions)
    assert {push(door, one).status_code for one in (*photos, *photos)} == {200}

    assert waiting(door.settings, redis_client) == messages
    assert [post.reply.text for post in outbound(door.settings, redis_client)] == [door.settings.no_text] * notices


def photo() -> dict[str, Any]:
    return {"file_id": "f", "file_unique_id": "u", "width": 1, "height": 1}


def test_an_edit_names_the_original() -> None:
    said = update("Where is order 7?")
    edited = {"update_id": 5, "edited_message": {**said["message"], "text": "Where is order 17?", "edit_date": 1}}
    (edit,) = parsed(edited)

    assert isinstance(edit, Edit)
    assert edit.message.text == "Where is order 17?"
    assert edit.message.dedupe_ids[0] == the_message(said).dedupe_ids[0]


@pytest.mark.parametrize("kind", ["voice", "photo", "sticker", "document"])
def test_what_has_no_text_gets_a_notice(kind: str) -> None:
    file = {"file_id": "f", "file_unique_id": "u"}
    contents: dict[str, Any] = {
        "voice": {**file, "duration": 1},
        "photo": [photo()],
        "sticker": {**file, "width": 1, "height": 1, "is_animated": False, "is_video": False, "type": "regular"},
        "document": file,
    }
    (notice,) = parsed(update(None, **{kind: contents[kind]}))

    assert isinstance(notice, Notice)
    assert notice.name == "no_text"


def test_a_caption_is_a_text() -> None:
    assert the_message(update(None, caption="What is this?", photo=[photo()])).text == "What is this?"


@pytest.mark.parametrize("text", ["/start", "/start from-a-link", "/help", "/HELP", "/help@ShopBot"])
def test_the_bot_says_what_it_can_do(text: str) -> None:
    (notice,) = parsed(command(text))

    assert isinstance(notice, Notice)
    assert notice.name == "help"


@pytest.mark.parametrize(("text", "kind"), [("/human", HandOver), ("/forget", Forget), ("/stop", Stop), ("stop", Stop)])
def test_a_wish_is_heard(text: str, kind: type[Inbound]) -> None:
    (found,) = parsed(command(text) if text.startswith("/") else update(text))

    assert isinstance(found, kind)


def test_a_command_we_do_not_know_is_a_message() -> None:
    assert the_message(command("/order 5")).text == "/order 5"


def test_a_command_to_another_bot_is_not_ours() -> None:
    assert parsed(command("/help@OtherBot")) == ()
    assert parsed(command("/help@OtherBot", chat=GROUP)) == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"from": {"id": 9, "is_bot": True, "first_name": "Bot"}},
        {"from": {"id": ME, "is_bot": True, "first_name": "Shop"}},
        {"via_bot": {"id": ME, "is_bot": True, "first_name": "Shop"}},
        {"via_bot": {"id": 9, "is_bot": True, "first_name": "Other"}},
        {"sender_chat": {"id": -5, "type": "channel"}},
        {"is_automatic_forward": True},
        {"chat": {"id": -5, "type": "channel"}},
    ],
)
def test_what_no_person_wrote_starts_nothing(fields: dict[str, Any]) -> None:
    said = mentioning("@ShopBot hello")

    assert parsed({"update_id": 1, "message": {**said["message"], **fields}}) == ()


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"channel_post": {"message_id": 1, "date": 1, "chat": {"id": -5, "type": "channel"}, "text": "hello"}},
        {"message": {**MAKER.message(None), "new_chat_members": [{"id": 5, "is_bot": False, "first_name": "Bob"}]}},
        {"message": {**MAKER.message(None), "pinned_message": MAKER.message("old")}},
        {"edited_message": MAKER.message(None, location={"latitude": 1.0, "longitude": 1.0})},
        {"edited_message": {**MAKER.message("/stop"), "entities": [entity("/stop", "/stop", "bot_command")]}},
        {"unheard_of": {"id": 1}},
    ],
)
def test_what_is_none_of_our_business_starts_nothing(content: dict[str, Any]) -> None:
    assert parsed({"update_id": 1, **content}) == ()


def test_being_blocked_starts_nothing() -> None:
    user = {"id": 42, "is_bot": False, "first_name": "Anna"}
    me = {"id": ME, "is_bot": True, "first_name": "Shop"}
    change = {
        "chat": {"id": 42, "type": "private"},
        "from": user,
        "date": 1,
        "old_chat_member": {"user": me, "status": "member"},
        "new_chat_member": {"user": me, "status": "kicked", "until_date": 0},
    }

    assert parsed({"update_id": 1, "my_chat_member": change}) == ()


# -- in groups ---------------------------------------------------------------------------------------------------------------------


def test_a_group_is_answered_only_where_the_bot_is_named() -> None:
    assert parsed(update("Where is my order?", chat=GROUP)) == ()
    assert parsed(mentioning("@OtherBot where is it?", "@OtherBot")) == ()
    assert parsed(update("write to a@ShopBot.com", chat=GROUP)) == ()
    assert parsed(command("/help", chat=GROUP)) == ()
    assert the_message(mentioning("@shopBOT, where is it?", "@shopBOT")).text == "where is it?"


def test_places_of_mentions_are_counted_in_utf16() -> None:
    said = mentioning("👨‍👩‍👧 😀😀 @ShopBot where is 📦 it?")

    assert the_message(said).text == "👨‍👩‍👧 😀😀  where is 📦 it?"


def test_a_mention_by_name_counts() -> None:
    text = "Shop, hello"
    mine, other = ({"id": number, "is_bot": True, "first_name": "Shop"} for number in (ME, 5))

    assert the_message(update(text, chat=GROUP, entities=[entity(text, "Shop", "text_mention", user=mine)])).text == "hello"
    assert parsed(update(text, chat=GROUP, entities=[entity(text, "Shop", "text_mention", user=other)])) == ()


def test_a_mention_below_a_photo_counts() -> None:
    text = "@ShopBot what is this?"

    assert the_message(update(None, chat=GROUP, caption=text, caption_entities=[entity(text, "@ShopBot")])).text == "what is this?"


def test_a_command_for_the_bot_counts() -> None:
    assert isinstance(parsed(command("/human@ShopBot", chat=GROUP))[0], HandOver)
    assert the_message(command("/order@ShopBot 5", chat=GROUP)).text == "/order 5"


def test_a_reply_to_the_bot_counts() -> None:
    mine = by_me("an answer")
    theirs = MAKER.message("something", chat=GROUP)

    assert the_message(update("and now?", chat=GROUP, reply_to_message=mine)).text == "and now?"
    assert parsed(update("and now?", chat=GROUP, reply_to_message=theirs)) == ()


def test_a_message_in_a_topic_that_the_bot_opened_is_no_reply_to_it() -> None:
    opened_by_me = by_me(None)
    topic = {"is_topic_message": True, "message_thread_id": opened_by_me["message_id"]}

    assert parsed(update("hello all", chat=GROUP, reply_to_message=opened_by_me, **topic)) == ()


def test_a_topic_is_a_conversation_and_a_chain_of_replies_is_none() -> None:
    in_topic = the_message(mentioning("@ShopBot hello", is_topic_message=True, message_thread_id=7))
    in_chain = the_message(mentioning("@ShopBot hello", message_thread_id=7))

    assert (in_topic.address.channel, in_topic.address.thread) == (f"shop/{GROUP}", "7")
    assert (in_chain.address.channel, in_chain.address.thread) == (f"shop/{GROUP}", "")


def test_a_bare_mention_gets_help() -> None:
    (notice,) = parsed(mentioning("@ShopBot"))

    assert isinstance(notice, Notice)
    assert notice.name == "help"


def test_until_the_bot_knows_its_name_a_mention_comes_again() -> None:
    nameless = Telegram(with_bot(Settings()), None)
    with pytest.raises(Overloaded):
        parsed(mentioning("@ShopBot hello"), nameless)

    assert parsed(update("hello all", chat=GROUP), nameless) == ()
    assert isinstance(parsed(command("/help@ShopBot"), nameless)[0], Notice)


# -- feedback ----------------------------------------------------------------------------------------------------------------------


def test_a_press_is_a_verdict_about_the_turn() -> None:
    assert parsed(MAKER.press("up:abc-0")) == (Feedback("abc-0", "up"),)
    assert parsed(MAKER.press("down:abc-0")) == (Feedback("abc-0", "down"),)


@pytest.mark.parametrize("data", ["", "up", "up:", "sideways:abc", "up:a b", "up:" + "a" * 61])
def test_a_press_of_something_else_is_none(data: str) -> None:
    assert parsed(MAKER.press(data)) == ()


def test_in_a_group_only_who_was_answered_has_a_verdict() -> None:
    reply = MAKER.message("an answer", chat=GROUP, reply_to_message=MAKER.message("a question", chat=GROUP, sender=42))

    assert parsed(MAKER.press("up:abc-0", sender=42, message=reply)) == (Feedback("abc-0", "up"),)
    assert parsed(MAKER.press("up:abc-0", sender=43, message=reply)) == ()


# -- broken shapes, and who may call -----------------------------------------------------------------------------------------------

BROKEN = [
    b"",
    b"[]",
    b"nonsense",
    b"\xff",
    b"[" * 100_000,
    b"{}",
    b'{"update_id": "1"}',
    b'{"update_id": 1, "message": 5}',
    b'{"update_id": 1, "message": {"message_id": 1}}',
    b'{"update_id": 1, "message": {"message_id": 1, "date": 1e300, "chat": {"id": 1, "type": "private"}}}',
]


@pytest.mark.parametrize("raw", BROKEN)
def test_a_broken_shape_says_so(raw: bytes) -> None:
    with pytest.raises(UnparseableMessage):
        SHOP.parse(Request("shop", {}, raw))


FIELDS = st.sampled_from(
    ["message_id", "date", "chat", "from", "id", "type", "text", "entities", "caption", "caption_entities", "data", "message"]
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
)


@hypothesis.settings(max_examples=50)
@given(
    st.fixed_dictionaries(
        {"message_id": JUNK, "date": st.integers(), "chat": st.just({"id": 5, "type": "private"}) | JUNK},
        optional={
            "from": st.just({"id": 1, "is_bot": False, "first_name": "A"}) | JUNK,
            "text": st.text() | JUNK,
            "entities": st.lists(st.fixed_dictionaries({"type": st.just("mention"), "offset": JUNK, "length": JUNK})) | JUNK,
            "message_thread_id": JUNK,
            "is_topic_message": st.booleans(),
        },
    )
)
def test_any_message_is_parsed_or_has_the_shape_of_none(message: dict[str, Any]) -> None:
    with suppress(UnparseableMessage):
        for one in parsed({"update_id": 1, "message": message}):
            assert isinstance(one, Inbound)


@given(st.sampled_from(["message", "edited_message", "callback_query", "my_chat_member"]), JUNK)
def test_any_update_is_parsed_or_has_the_shape_of_none(kind: str, content: Any) -> None:
    with suppress(UnparseableMessage):
        parsed({"update_id": 1, kind: content})


def test_entities_of_a_text_that_is_not_there_are_a_broken_shape() -> None:
    for name in ("entities", "caption_entities"):
        said = {**MAKER.message(None), name: [entity("/a", "/a", "bot_command")]}
        with suppress(UnparseableMessage):
            assert parsed({"update_id": 1, "message": said}) == ()


@given(st.text(), st.text() | st.none(), st.binary())
def test_whoever_does_not_know_the_secret_is_rejected(name: str, secret: str | None, raw: bytes) -> None:
    with pytest.raises(RejectedRequest):
        SHOP.verify(Request(name, {} if secret is None else {HEADER: secret}, raw))


def test_a_bot_without_a_secret_hears_nobody() -> None:
    polled = Telegram(with_bot(Settings(), webhook_secret=""), None)
    for headers in ({}, {HEADER: ""}):
        with pytest.raises(RejectedRequest):
            polled.verify(Request("shop", headers, b"{}"))


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"token": "no token at all, but long"}, "SHOP_TOKEN"),
        ({"webhook_secret": "a secret with blanks in it"}, "SHOP_WEBHOOK_SECRET"),
        ({"webhook_url": "https://example.com/", "webhook_secret": ""}, "SHOP_WEBHOOK_SECRET is missing"),
    ],
)
def test_a_bot_that_cannot_work_is_refused_at_start(fields: dict[str, Any], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault) as caught:
        Telegram(with_bot(Settings(), **fields), None)

    assert "blanks" not in str(caught.value)
    assert "at all" not in str(caught.value)


# -- by webhook --------------------------------------------------------------------------------------------------------------------


def test_the_webhook_is_set_with_its_secret_and_its_kinds(door: Door, telegram: SimulatedTelegram) -> None:
    assert telegram.webhook["url"] == "https://example.com/telegram/shop"
    assert telegram.webhook["secret_token"] == SECRET
    assert telegram.webhook["allowed_updates"] == ["message", "edited_message", "callback_query", "my_chat_member"]
    assert {"command": "human", "description": "talk to a person"} in telegram.commands


def test_an_update_is_taken_and_acknowledged_with_nothing(door: Door, redis_client: redis.Redis) -> None:
    answered = push(door, update())

    assert (answered.status_code, answered.content) == (200, b"")
    assert SHOP.acknowledge([Taken("id", "accepted", "accepted")]) == Acknowledgement(200, None)
    assert waiting(door.settings, redis_client) == 1


def test_an_edit_of_what_was_said_in_another_topic_is_taken_and_changes_nothing(door: Door, redis_client: redis.Redis) -> None:
    said = mentioning("@ShopBot where is order 7?")
    push(door, said)
    moved = {**said["message"], "is_topic_message": True, "message_thread_id": 7, "edit_date": 1}

    assert push(door, {"update_id": 5, "edited_message": moved}).status_code == 200
    assert waiting(door.settings, redis_client) == 1


def test_what_cannot_be_written_in_utf8_holds_nothing_up(door: Door, telegram: SimulatedTelegram) -> None:
    odd = update(None, photo=[photo()], media_group_id="\ud800")
    press = MAKER.press("up:x")
    press["callback_query"]["id"] = "\ud800"

    assert push(door, odd).status_code == 200
    assert push(door, press).status_code == 200
    push(door, MAKER.press("up:x"))
    wait_for(lambda: len(telegram.answered) == 2)
    assert door.http.get("/healthz").status_code == 200


def test_eleven_copies_at_once_are_one_message(door: Door, redis_client: redis.Redis) -> None:
    said = update()
    with ThreadPoolExecutor(11) as pool:
        statuses = {answered.status_code for answered in pool.map(lambda _: push(door, said), range(11))}

    assert statuses == {200}
    assert waiting(door.settings, redis_client) == 1


def test_the_same_message_in_another_update_is_a_repeat(door: Door, redis_client: redis.Redis) -> None:
    said = update()
    push(door, said)
    push(door, {**said, "update_id": 77})

    assert waiting(door.settings, redis_client) == 1


def test_a_forged_request_and_an_unknown_bot_look_the_same(door: Door, redis_client: redis.Redis) -> None:
    said = update()
    answers = [
        push(door, said, secret="another-secret-of-the-tests"),
        push(door, said, secret=None),
        push(door, said, secret=""),
        push(door, said, secret=SECRET[:-1]),
        push(door, said, secret=f"{SECRET},{SECRET}"),
        push(door, said, name="unknown"),
        push(door, b"\xff", secret="wrong"),
        door.http.post("/telegram/shop", content=b"{}", headers=[(HEADER, SECRET), (HEADER, SECRET)]),
        door.http.post("/telegram/shop", content=b"{}", headers={HEADER.encode(): b"\xfc"}),
    ]

    assert {answered.status_code for answered in answers} == {401}
    assert len({answered.text for answered in answers}) == 1
    assert waiting(door.settings, redis_client) == 0


def test_a_broken_update_is_kept_and_never_comes_again(door: Door, redis_client: redis.Redis) -> None:
    assert {push(door, raw).status_code for raw in (*BROKEN, *BROKEN)} == {200}
    assert len(redis_client.keys("rm:*:dead:*")) == len(BROKEN)


def test_an_update_comes_again_while_redis_is_away(settings: Settings, telegram: SimulatedTelegram) -> None:
    away = dataclasses.replace(settings, redis_url=f"redis://127.0.0.1:{embedded.free_port()}/0")
    with opened(with_bot(away, api_base_url=telegram.url, webhook_url="https://example.com/")) as door:
        answered = push(door, update())

    assert answered.status_code == 503
    assert answered.headers["retry-after"]


def test_a_press_is_answered_at_once(door: Door, telegram: SimulatedTelegram) -> None:
    assert push(door, MAKER.press("up:AAAAAAAAAAAAAAAAAAAAAAAAAA-0")).status_code == 200
    assert push(door, MAKER.press("something else")).status_code == 200
    wait_for(lambda: len(telegram.answered) == 2)


def test_a_verdict_about_a_reply_is_kept(door: Door, telegram: SimulatedTelegram, redis_client: redis.Redis) -> None:
    settings = dataclasses.replace(door.settings, quiet_chat=0.0)
    address = Address(platform="telegram", tenant="shop", channel="shop/42")
    (delivery_id,) = queue(Desk(redis_client, Lanes(settings)), address, "an answer")
    turn = delivery_id.rpartition("-")[0]
    sends(settings, delivery(id=delivery_id), telegram=telegram)
    (row,) = telegram.sent[0]["reply_markup"]["inline_keyboard"]
    push(door, MAKER.press(row[1]["callback_data"]))

    (kept,) = redis_client.keys("rm:*:v:*")
    assert turn in str(kept)
    assert redis_client.hget(kept, "verdict") == b"down"


def test_a_person_is_asked_for_by_a_command(door: Door, redis_client: redis.Redis) -> None:
    said = command("/human")
    push(door, said)
    push(door, said)
    push(door, update("still there?"))
    (posted,) = outbound(door.settings, redis_client)

    assert posted.action is Action.HAND_OVER
    assert waiting(door.settings, redis_client) == 0


# -- by polling --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def polled(settings: Settings, telegram: SimulatedTelegram) -> Settings:
    """Settings with a bot that is polled."""
    return with_bot(settings, api_base_url=telegram.url, webhook_secret="")


def test_a_polled_message_is_taken_and_then_confirmed(
    polled: Settings, telegram: SimulatedTelegram, redis_client: redis.Redis
) -> None:
    telegram.webhook = {"url": "https://example.com/old"}
    telegram.says("one")
    telegram.says("two", chat=43, sender=43)
    with opened(polled) as door:
        wait_for(lambda: waiting(polled, redis_client) == 2)
        wait_for(lambda: telegram.updates == [])
        telegram.press("up:AAAAAAAAAAAAAAAAAAAAAAAAAA-0")
        wait_for(lambda: telegram.answered)
        assert door.http.get("/healthz").status_code == 200

    asked = [call.body for call in telegram.to("/getUpdates")]
    assert "offset" not in asked[0]
    assert json.loads(asked[0]["allowed_updates"]) == ["message", "edited_message", "callback_query", "my_chat_member"]
    assert int(asked[1]["offset"]) == 1_003


def test_nothing_is_confirmed_before_redis_has_it(
    polled: Settings, telegram: SimulatedTelegram, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("away")
    with embedded.serving(folder, log=folder / "log", binary=redis_binary("6.2")) as server:
        settings = dataclasses.replace(polled, redis_url=server.url, broker_url=server.url)
        with redis.Redis.from_url(server.url) as client, opened(settings):
            wait_for(lambda: telegram.to("/getUpdates"))
            client.config_set("maxmemory", "1")
            said = telegram.says("one")
            wait_for(lambda: telegram.updates == [said])
            client.config_set("maxmemory", "0")
            wait_for(lambda: waiting(settings, client) == 1)
            wait_for(lambda: telegram.updates == [])


def test_polling_survives_the_end_of_redis(
    polled: Settings, telegram: SimulatedTelegram, free_port: Callable[[], int], tmp_path: Path
) -> None:
    port = free_port()
    settings = dataclasses.replace(polled, redis_url=f"redis://127.0.0.1:{port}/0")
    with opened(settings) as door, redis.Redis(port=port) as client:
        with serving(port, tmp_path):
            wait_for(lambda: telegram.to("/getUpdates"))
        telegram.says("one")
        wait_for(lambda: door.http.get("/readyz").status_code == 503)
        assert len(telegram.updates) == 1
        with serving(port, tmp_path):
            wait_for(lambda: telegram.updates == [])
            assert waiting(settings, client) == 1


@contextmanager
def serving(port: int, folder: Path) -> Iterator[None]:
    """A Redis that keeps nothing, on that port."""
    binary = redis_binary("6.2")
    assert binary
    process = subprocess.Popen([binary, "--port", str(port), "--save", "", "--dir", str(folder)], stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait(10)


def test_a_chat_whose_lane_is_full_is_told_so_and_holds_up_no_other(
    polled: Settings, telegram: SimulatedTelegram, redis_client: redis.Redis
) -> None:
    full = dataclasses.replace(polled, lane_messages=1)
    for text in ("one", "two", "three"):
        telegram.says(text)
    telegram.says("four", chat=43, sender=43)
    with opened(full):
        wait_for(lambda: telegram.updates == [])

    assert waiting(full, redis_client) == 2
    assert [post.reply.text for post in outbound(full, redis_client)] == [full.lane_full]


def test_what_a_full_tenant_does_not_take_waits_at_telegram(
    polled: Settings, telegram: SimulatedTelegram, redis_client: redis.Redis
) -> None:
    full = dataclasses.replace(polled, tenant_messages=1, quiet_chat=0.0, quiet_chat_max=0.0)
    desk = Desk(redis_client, Lanes(full))
    telegram.says("one")
    telegram.says("two", chat=43, sender=43)
    with structlog.testing.capture_logs() as lines, opened(full):
        wait_for(lambda: [line for line in lines if line["action"] == "telegram.waiting"])
        assert waiting(full, redis_client) == 1
        assert len(telegram.updates) == 2
        lanes = [lane for shard in range(full.shards) for lane in desk.claim(shard=shard).lanes]
        assert [desk.commit(lane) for lane in lanes] == ["committed"]
        wait_for(lambda: telegram.updates == [])
        assert waiting(full, redis_client) == 1


def test_updates_that_are_numbered_anew_are_confirmed(
    polled: Settings, telegram: SimulatedTelegram, redis_client: redis.Redis
) -> None:
    telegram.says("before the week of silence")
    with opened(polled):
        wait_for(lambda: telegram.updates == [])
        telegram.number_anew(7)
        telegram.says("after it")
        wait_for(lambda: telegram.updates == [])

    assert waiting(polled, redis_client) == 2


def test_a_poison_update_is_passed_over(polled: Settings, telegram: SimulatedTelegram, redis_client: redis.Redis) -> None:
    telegram.happens({"message": 5})
    telegram.says("after it")
    with structlog.testing.capture_logs() as lines, opened(polled):
        wait_for(lambda: waiting(polled, redis_client) == 1)
        wait_for(lambda: telegram.updates == [])

    (said,) = [line for line in lines if line["action"] == "telegram.unreadable"]
    assert said["update"] == 1_001


def test_of_two_processes_one_polls_and_the_other_takes_over(polled: Settings, telegram: SimulatedTelegram) -> None:
    again = dataclasses.replace(polled, port=embedded.free_port())
    with opened(again) as second:
        with opened(polled):
            wait_for(lambda: telegram.to("/getUpdates"))
            wait_for(lambda: len(telegram.to("/setMyCommands")) == 2)
            telegram.says("one")
            wait_for(lambda: telegram.updates == [])
        telegram.says("two")
        wait_for(lambda: telegram.updates == [])
        wait_for(lambda: ready(second))

    assert telegram.conflicts == 0


def test_a_poller_that_lost_its_lock_confirms_nothing(
    polled: Settings, telegram: SimulatedTelegram, redis_client: redis.Redis
) -> None:
    with opened(polled):
        wait_for(lambda: telegram.to("/getUpdates"))
        (lock,) = redis_client.keys("rm:poller:*")
        redis_client.set(lock, "another process", ex=60)
        said = telegram.says("one")
        wait_for(lambda: waiting(polled, redis_client) == 1)
        polls = len(telegram.to("/getUpdates"))
        looks = redis_client.info("commandstats")["cmdstat_set"]["calls"]
        wait_for(lambda: redis_client.info("commandstats")["cmdstat_set"]["calls"] > looks)
        assert telegram.updates == [said]
        assert len(telegram.to("/getUpdates")) == polls
        redis_client.delete(lock)
        wait_for(lambda: telegram.updates == [])

    assert waiting(polled, redis_client) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=409, body={"ok": False, "error_code": 409, "description": "Conflict: terminated by other getUpdates request"}),
        Fault(status=429, body={"ok": False, "error_code": 429, "description": "Too Many", "parameters": {"retry_after": 1}}),
        Fault(status=502, body="<html>bad gateway</html>"),
        Fault(status=200, body="<html>log in to this network</html>"),
        Fault(status=200, body={"ok": True, "result": [{"no": "id"}]}),
        Fault(drop=True),
    ],
)
def test_polling_goes_on_after(fault: Fault, polled: Settings, telegram: SimulatedTelegram, redis_client: redis.Redis) -> None:
    telegram.says("one")
    telegram.go_wrong("/getMe", Fault(status=502), None)
    telegram.go_wrong("/getUpdates", fault, None)
    with structlog.testing.capture_logs() as lines, opened(polled):
        wait_for(lambda: waiting(polled, redis_client) == 1)
        wait_for(lambda: telegram.updates == [])

    assert [line["action"] for line in lines if line["action"] in {"telegram.away", "telegram.back"}] == [
        "telegram.away",
        "telegram.back",
    ] * 2


def test_polls_that_are_not_held_are_spaced(polled: Settings, telegram: SimulatedTelegram) -> None:
    telegram.go_wrong("/getUpdates", *[Fault(status=200, body={"ok": True, "result": []})] * 3)
    with opened(polled):
        wait_for(lambda: len(telegram.to("/getUpdates")) == 4)

    # Of one pause a busy machine may swallow a part, not of all three.
    moments = [call.at for call in telegram.to("/getUpdates")]
    assert moments[-1] - moments[0] > 0.8


def test_a_token_is_never_logged(polled: Settings, telegram: SimulatedTelegram, redis_client: redis.Redis) -> None:
    root, stream = logging.getLogger(), Lines()
    handlers, level = root.handlers, root.level
    logs.configure(dataclasses.replace(polled, log_level="debug"), stream=stream)  # type: ignore[arg-type]
    # The loggers of the modules must not stay with this stream.
    structlog.configure(cache_logger_on_first_use=False)
    try:
        telegram.says("one")
        telegram.go_wrong("/getUpdates", Fault(status=502, body="<html>"), Fault(status=404), Fault(drop=True), None)
        with opened(polled):
            wait_for(lambda: waiting(polled, redis_client) == 1, timeout=20)
        (raised,) = sends(polled, delivery("hello"), faults=[Fault(status=500)], telegram=telegram)
    finally:
        root.handlers = handlers
        root.setLevel(level)
        logging.captureWarnings(capture=False)
        structlog.reset_defaults()

    # The simulator's own log of what it was asked is none of ours.
    text = "".join(line for line in stream.text.splitlines() if "aiohttp.access" not in line)
    assert "telegram.away" in text
    assert "simulated_token" not in text + repr(raised)


class Lines:
    """A stream that keeps what is written."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        return

    def isatty(self) -> bool:
        return False


# -- replies -----------------------------------------------------------------------------------------------------------------------


def delivery(
    text: str = "an answer",
    *,
    chat: int = 42,
    thread: str = "",
    reference: str = "",
    source: Source = Source.MODEL,
    account: str = "shop",
    **fields: Any,
) -> Delivery:
    address = Address(platform="telegram", tenant="shop", channel=f"{account}/{chat}", thread=thread)
    choices = fields.pop("choices", ())
    reply = Reply(in_reply_to=("first",), address=address, text=text, source=source, reference=reference, choices=choices)
    return Delivery(**{"id": "AAAAAAAAAAAAAAAAAAAAAAAAAA-0-0", "reply": reply, **fields})


def act(settings: Settings, step: Callable[[Telegram], Awaitable[T]]) -> T:
    """Do something with a platform of its own."""

    async def main() -> T:
        platform = Telegram(settings, None)
        try:
            return await step(platform)
        finally:
            await platform.close()

    return asyncio.run(main())


def sends(
    settings: Settings, *deliveries: Delivery, telegram: SimulatedTelegram, faults: list[Fault | None] | None = None
) -> list[Any]:
    """What becomes of each delivery: a receipt, or what was raised."""
    telegram.go_wrong("/sendMessage", *(faults or []))

    async def step(platform: Telegram) -> list[Any]:
        return list(await asyncio.gather(*map(platform.send, deliveries), return_exceptions=True))

    return act(settings, step)


@pytest.fixture
def bot(telegram: SimulatedTelegram) -> Settings:
    return with_bot(Settings(), api_base_url=telegram.url)


def test_a_reply_arrives_formatted_with_buttons_and_without_previews(bot: Settings, telegram: SimulatedTelegram) -> None:
    (receipt,) = sends(bot, delivery("See **this** & <that>: https://example.com"), telegram=telegram)
    (sent,) = telegram.sent

    assert receipt.platform_id.isdecimal()
    assert (sent["chat_id"], sent["parse_mode"]) == (42, "HTML")
    assert "<b>this</b>" in sent["text"]
    assert "<that>" in sent["seen"]
    assert sent["link_preview_options"] == {"is_disabled": True}
    assert "reply_parameters" not in sent
    (row,) = sent["reply_markup"]["inline_keyboard"]
    assert [button["callback_data"] for button in row] == ["up:AAAAAAAAAAAAAAAAAAAAAAAAAA-0", "down:AAAAAAAAAAAAAAAAAAAAAAAAAA-0"]


def test_buttons_stand_below_the_last_part_of_an_answer_only(bot: Settings, telegram: SimulatedTelegram) -> None:
    first, last = (delivery(f"part {part}", part=part, parts=2) for part in (0, 1))
    sends(bot, first, telegram=telegram)
    sends(bot, last, telegram=telegram)
    sends(bot, delivery("sorry", source=Source.FALLBACK), telegram=telegram)
    sends(bot, delivery(id="x" * 70 + "-0"), telegram=telegram)

    assert ["reply_markup" in sent for sent in telegram.sent] == [False, True, False, False]


def test_a_reply_in_a_group_answers_its_message_in_its_topic(bot: Settings, telegram: SimulatedTelegram) -> None:
    asked = the_message(mentioning("@ShopBot hello", is_topic_message=True, message_thread_id=7))
    sends(bot, delivery(chat=GROUP, thread="7", reference=asked.dedupe_ids[0]), telegram=telegram)
    (sent,) = telegram.sent

    number = int(asked.dedupe_ids[0].rpartition("/")[2])
    assert (sent["chat_id"], sent["message_thread_id"]) == (GROUP, 7)
    assert sent["reply_parameters"] == {"message_id": number, "allow_sending_without_reply": True}


def test_a_text_that_telegram_cannot_parse_goes_out_plain_once(bot: Settings, telegram: SimulatedTelegram) -> None:
    refusal = Fault(status=400, body={"ok": False, "error_code": 400, "description": "Bad Request: can't parse entities: x"})
    (receipt,) = sends(bot, delivery("**bold**"), telegram=telegram, faults=[refusal])
    (raised,) = sends(bot, delivery("**bold**"), telegram=telegram, faults=[refusal, refusal])

    assert receipt.platform_id
    assert [(sent["text"], sent.get("parse_mode")) for sent in telegram.sent] == [("bold", None)]
    assert isinstance(raised, DeliveryRefused)


@pytest.mark.parametrize("said", ["ENTITY_BOUNDS_INVALID", "can't parse entities: Unsupported start tag"])
def test_markup_that_is_refused_where_a_group_moved_to_goes_out_plain(
    bot: Settings, telegram: SimulatedTelegram, said: str
) -> None:
    telegram.migrated[-77] = GROUP
    refusal = Fault(status=400, body={"ok": False, "error_code": 400, "description": f"Bad Request: {said}"})
    (receipt,) = sends(bot, delivery("**bold**", chat=-77), telegram=telegram, faults=[None, refusal])

    assert receipt.platform_id
    assert [(sent["chat_id"], sent["text"]) for sent in telegram.sent] == [(GROUP, "bold")]


def test_a_group_that_moved_is_followed(bot: Settings, telegram: SimulatedTelegram) -> None:
    telegram.migrated[-77] = GROUP
    (receipt,) = sends(bot, delivery(chat=-77, reference=f"{ME}/-77/5"), telegram=telegram)
    (sent,) = telegram.sent

    assert receipt.platform_id
    assert sent["chat_id"] == GROUP
    assert "reply_parameters" not in sent


def problem(status: int, description: str, **parameters: Any) -> Fault:
    body = {"ok": False, "error_code": status, "description": description} | ({"parameters": parameters} if parameters else {})
    return Fault(status=status, body=body)


@pytest.mark.parametrize(
    ("fault", "expected", "after"),
    [
        (problem(429, "Too Many Requests: retry after 7", retry_after=7), RetryLater, 7),
        (problem(429, "Too Many Requests: retry after 2", retry_after=1.5), RetryLater, 1.5),
        (problem(429, "Too Many Requests", retry_after=-7), RetryLater, 0),
        (problem(429, "Too Many Requests"), RetryLater, 0),
        (problem(429, "Too Many Requests", retry_after="soon"), RetryLater, 0),
        (Fault(status=429, body="<html>slow down</html>"), RetryLater, 0),
        (Fault(status=503, body=""), RetryLater, 0),
        (problem(409, "Conflict"), RetryLater, 0),
        (Fault(status=500, body="<html>oops</html>"), Unclear, None),
        (Fault(status=502, body=["no", "object"]), Unclear, None),
        (Fault(status=200, body="<html>log in to this network</html>"), Unclear, None),
        (Fault(status=200, body={"ok": True}), Unclear, None),
        (Fault(drop=True), Unclear, None),
        (Fault(drop=True, after_effect=True), Unclear, None),
        (problem(400, "Bad Request: not enough rights to send text messages to the chat"), DeliveryRefused, None),
        (Fault(status=401, body="<html>who are you?</html>"), DeliveryRefused, None),
        (Fault(status=400, body={"parameters": 5}), DeliveryRefused, None),
    ],
)
def test_what_goes_wrong_is_told_apart(
    bot: Settings, telegram: SimulatedTelegram, fault: Fault, expected: type[Exception], after: float | None
) -> None:
    (raised,) = sends(bot, delivery(), telegram=telegram, faults=[fault])

    assert type(raised) is expected
    assert getattr(raised, "after", None) == after
    assert len(str(raised)) < 300
    assert len(telegram.to("/sendMessage")) == 1


def test_what_never_left_may_be_sent_again(telegram: SimulatedTelegram) -> None:
    nowhere = with_bot(Settings(), api_base_url=f"http://127.0.0.1:{embedded.free_port()}")
    (raised,) = sends(nowhere, delivery(), telegram=telegram)

    assert isinstance(raised, RetryLater)


def test_a_chat_that_does_not_want_us_is_left_alone(bot: Settings, telegram: SimulatedTelegram) -> None:
    telegram.blocked.add(1)
    telegram.closed.add(2)
    telegram.unknown.add(3)
    refused = sends(bot, *(delivery(chat=chat) for chat in (1, 2, 3)), delivery(account="gone"), delivery(" "), telegram=telegram)

    assert [type(one) for one in refused] == [DeliveryRefused] * 5
    assert telegram.sent == []


def test_a_hand_over_tells_the_person(bot: Settings, telegram: SimulatedTelegram) -> None:
    told = delivery("A person comes.", source=Source.FALLBACK, action=Action.HAND_OVER)
    sends(bot, told, telegram=telegram)
    sends(bot, delivery("", source=Source.FALLBACK, action=Action.HAND_OVER), telegram=telegram)

    assert [sent["text"] for sent in telegram.sent] == ["A person comes."]


@pytest.mark.parametrize("length", [3_999, 4_000, 4_001, 4_095, 4_096, 4_097, 9_000])
def test_every_part_of_a_long_reply_is_taken(length: int) -> None:
    text = "a" * length
    parts = SHOP.split(text)

    assert "".join(parts) == text
    assert len(parts) == -(-length // 4_000)


@pytest.mark.parametrize(
    "text",
    [
        "😀" * 2_049,
        "👨‍👩‍👧‍👦" * 700,
        "<script>&amp;" * 700,
        "**bold** _it_ `code` [link](https://example.com/a?b=1&c=2)\n" * 200,
        "```python\n" + "print('<>&')\n" * 700 + "```",
        "- one\n  - two\n    - three\n" * 300,
        "e\u0301\u202e\u05d0" * 2_000,
        "```\nnever closed\n" * 400,
    ],
)
def test_parts_of_any_text_are_taken_by_telegram(bot: Settings, telegram: SimulatedTelegram, text: str) -> None:
    parts = SHOP.split(text)
    receipts = sends(bot, *(delivery(part) for part in parts), telegram=telegram)

    assert len(parts) > 1
    assert all(receipt.platform_id for receipt in receipts)
    assert {sent.get("parse_mode") for sent in telegram.sent} == {"HTML"}


@pytest.mark.parametrize("word", ["[a](https://a.example/b) ", "**a** `b` ", "- **a** _b_\n"])
def test_no_part_has_more_formatting_than_telegram_shows(word: str) -> None:
    """Telegram leaves out what comes after the hundredth entity of a message: the target of a link would be lost."""
    parts = SHOP.split(word * 150)

    assert all(to_telegram(part).count("</") <= 100 for part in parts)
    assert sum(to_telegram(part).count("</") for part in parts) == to_telegram(word * 150).count("</")


def test_the_simulator_is_as_strict_as_telegram(bot: Settings, telegram: SimulatedTelegram) -> None:
    (raised,) = sends(bot, delivery("😀" * 2_049), telegram=telegram)

    assert "too long" in str(raised)
    assert visible("<b>a &lt; b</b>") == "a < b"
    for text in ("<b>a", "a</b>", "<b><i>a</b></i>", "<p>a</p>"):
        with pytest.raises(Exception, match="can't parse entities"):
            visible(text)


def test_limits_are_those_of_the_chat_the_group_and_the_bot() -> None:
    private, group = SHOP.limits(delivery(chat=42)), SHOP.limits(delivery(chat=GROUP))

    assert [(limit.count, limit.seconds) for limit in private] == [(1, 1), (30, 1)]
    assert [(limit.count, limit.seconds) for limit in group] == [(20, 60), (1, 1), (30, 1)]
    assert private[1].bucket == group[2].bucket
    assert private[0].bucket != group[1].bucket


def test_replies_go_out_in_order_through_the_loop(
    settings: Settings, telegram: SimulatedTelegram, redis_client: redis.Redis
) -> None:
    own = with_bot(settings, api_base_url=telegram.url)
    telegram.go_wrong("/sendMessage", problem(429, "Too Many Requests: retry after 1", retry_after=1))
    address = Address(platform="telegram", tenant="shop", channel="shop/42")

    async def body(post: Any) -> None:
        queue(post.desk, address, "a" * 5_000)
        await post.until(lambda: len(telegram.sent) == 2)

    delivering(own, redis_client, Telegram(own, None), body)  # type: ignore[arg-type]

    assert [len(sent["text"]) for sent in telegram.sent] == [4_000, 1_000]
    assert "reply_markup" in telegram.sent[1]
    moments = [call.at for call in telegram.to("/sendMessage")]
    assert moments[1] - moments[0] >= 0.9


# -- while a reply is made ---------------------------------------------------------------------------------------------------------


def show(settings: Settings, *steps: tuple[int, str]) -> None:
    async def step(platform: Telegram) -> None:
        for chat, text in steps:
            await platform.show(delivery(chat=chat).reply.address, "turn-0", text)

    act(settings, step)


def test_typing_is_shown_and_then_a_draft_in_a_private_chat(bot: Settings, telegram: SimulatedTelegram) -> None:
    show(bot, (42, ""), (42, "It"), (42, "It **is**"), (GROUP, ""), (GROUP, "It"), (GROUP, "It is"))

    assert [(action["chat_id"], action["action"]) for action in telegram.actions] == [(42, "typing"), (GROUP, "typing")]
    assert [draft["text"] for draft in telegram.drafts] == ["It", "It is"]
    assert len({draft["draft_id"] for draft in telegram.drafts}) == 1


def test_what_cannot_be_shown_is_left_out(bot: Settings, telegram: SimulatedTelegram) -> None:
    telegram.go_wrong("/sendMessageDraft", Fault(status=404, body={"detail": "Not Found"}), Fault(drop=True))
    telegram.go_wrong("/sendChatAction", Fault(status=501))
    show(bot, (42, ""), (42, "one"), (42, "two"), (42, "a" * 9_000))

    (draft,) = telegram.drafts
    assert len(draft["text"]) == 1_000


def test_a_pause_that_is_asked_for_is_told(bot: Settings, telegram: SimulatedTelegram) -> None:
    telegram.go_wrong("/sendChatAction", problem(429, "Too Many Requests: retry after 3", retry_after=3))
    with pytest.raises(RetryLater) as raised:
        show(bot, (42, ""))

    assert raised.value.after == 3


# -- what the doctor asks ----------------------------------------------------------------------------------------------------------


def test_the_doctor_sees_a_bot_and_its_way_in(bot: Settings, telegram: SimulatedTelegram) -> None:
    async def step(platform: Telegram) -> list[tuple[bool, str]]:
        return [(check.ok, check.found) for check in await platform.check()]

    assert act(bot, step) == [(True, "@ShopBot"), (True, "polled")]
    telegram.webhook = {"url": "https://example.com/other"}
    assert act(bot, step)[1] == (False, "has a webhook, but is to be polled")
    called = with_bot(Settings(), api_base_url=telegram.url, webhook_url=HOOK)
    assert act(called, step)[1] == (False, "has another webhook")
    telegram.webhook = {}
    assert act(called, step)[1] == (False, "has no webhook")
    telegram.go_wrong("/getMe", Fault(status=502))
    assert act(bot, step) == [(False, "no answer")]
    telegram.token = "700001:revoked"
    assert act(bot, step) == [(False, "Telegram says 'Unauthorized'")]


@pytest.mark.parametrize(
    ("facts", "found", "advice"),
    [
        ({}, None, ""),
        ({"allowed_updates": []}, None, ""),
        ({"allowed_updates": ["message", "my_chat_member"]}, "is not told of callback_query, edited_message", "replymill web"),
        (
            {"last_error_date": -60, "last_error_message": "Wrong response from the webhook: 401 Unauthorized"},
            "Telegram failed to call it: 'Wrong response from the webhook: 401 Unauthorized'",
            "another secret",
        ),
        ({"last_error_date": -60, "last_error_message": "Connection refused"}, "Connection refused", "running service"),
        ({"last_error_date": -6_000, "last_error_message": "Connection refused"}, None, ""),
        ({"pending_update_count": 101}, "101 updates wait", "log"),
    ],
)
def test_the_doctor_sees_what_is_wrong_with_a_webhook(
    telegram: SimulatedTelegram, facts: dict[str, Any], found: str | None, advice: str
) -> None:
    if "last_error_date" in facts:
        facts = {**facts, "last_error_date": int(time.time()) + facts["last_error_date"]}
    telegram.webhook = {"url": HOOK, **facts}

    async def step(platform: Telegram) -> Any:
        return await platform.check()

    _, *rest = act(with_bot(Settings(), api_base_url=telegram.url, webhook_url=HOOK), step)
    (check,) = rest
    assert check.ok is (found is None)
    assert (found or f"called at {HOOK}") in check.found
    assert advice in check.advice


def looked(settings: Settings) -> dict[str, Check]:
    """What `replymill doctor` says, by what it is of; of the bot itself the last."""
    found = look(settings)
    assert SECRET not in repr(found)
    assert "simulated_token" not in repr(found)
    return {check.what: check for check in found}


def test_the_doctor_sees_whether_a_bot_is_polled(polled: Settings, telegram: SimulatedTelegram) -> None:
    waits = telegram.says("one")
    assert looked(polled)["telegram shop"].found == "is polled by nobody"
    assert telegram.updates == [waits]
    with opened(polled):
        wait_for(lambda: looked(polled)["telegram shop"].ok)
        assert looked(polled)["telegram shop"].found == "polled"


def test_the_doctor_sees_a_second_poller(polled: Settings, telegram: SimulatedTelegram) -> None:
    with opened(polled):
        wait_for(lambda: looked(polled)["telegram shop"].ok)
        wait_for(lambda: telegram.to("/getUpdates"))
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(telegram.poll)
            wait_for(lambda: telegram.conflicts)
            telegram.says("one")
            assert other.result() == 200
        wait_for(lambda: not looked(polled)["telegram shop"].ok)
        found = looked(polled)["telegram shop"]

    assert "another program polls it too" in found.found
    assert "other program" in found.advice


def test_the_doctor_sees_a_second_poller_while_nobody_of_ours_polls(polled: Settings, telegram: SimulatedTelegram) -> None:
    telegram.go_wrong("/getUpdates", problem(409, "Conflict: terminated by other getUpdates request"))

    assert "another program polls it" in looked(polled)["telegram shop"].found


def test_the_doctor_sees_that_the_running_service_has_another_secret(settings: Settings, telegram: SimulatedTelegram) -> None:
    running = with_bot(settings, api_base_url=telegram.url, webhook_url=HOOK, webhook_secret="the-secret_of-yesterday")
    asking = dataclasses.replace(with_bot(settings, api_base_url=telegram.url, webhook_url=HOOK), port=running.port)
    with opened(running) as door:
        wait_for(lambda: ready(door))
        assert looked(running)["/telegram/shop"].ok
        found = looked(asking)["/telegram/shop"]

    assert (found.ok, found.found) == (False, "answered 401")
    assert "another secret" in found.advice


def test_a_probe_of_the_doctor_is_taken_and_starts_nothing() -> None:
    ((path, request),) = SHOP.probes().items()

    assert path == "/telegram/shop"
    SHOP.verify(request)
    assert SHOP.parse(request) == ()
    assert Telegram(with_bot(Settings(), webhook_secret=""), None).probes() == {}


# -- choices ----------------------------------------------------------------------------------------------------

TOPICS = ("Delivery time", "Refund status")


def test_choices_are_rows_of_buttons_that_name_their_place(bot: Settings, telegram: SimulatedTelegram) -> None:
    sends(bot, delivery("Which?", choices=TOPICS), telegram=telegram)
    (sent,) = telegram.sent
    rows = sent["reply_markup"]["inline_keyboard"]

    assert (sent["seen"], [[button["text"] for button in row] for row in rows]) == (
        "Which?",
        [["Delivery time"], ["Refund status"]],
    )
    assert [row[0]["callback_data"] for row in rows] == [f"pick:{place}:AAAAAAAAAAAAAAAAAAAAAAAAAA-0" for place in (0, 1)]
    assert SHOP.offers(delivery(choices=TOPICS).reply)
    assert not SHOP.offers(delivery(choices=("x" * 65,)).reply)


def test_a_press_of_a_choice_is_what_the_person_says_once_and_takes_the_buttons_away(
    door: Door, telegram: SimulatedTelegram, redis_client: redis.Redis
) -> None:
    sends(door.settings, delivery("Which?", choices=TOPICS), telegram=telegram)
    press = telegram.picks("Refund status")
    again = telegram.picks("Refund status")  # another press, with ids of its own
    for update_ in (press, press, again):
        assert push(door, update_).status_code == 200
    wait_for(lambda: telegram.sent[0]["reply_markup"] is None)
    (name,) = redis_client.keys("rm:*:in:q:*")
    (said,) = [InboundMessage.decode(raw.partition(b"\n")[2]) for raw in redis_client.lrange(name, 0, -1)]

    assert (said.text, said.sender, said.address.channel) == ("Refund status", "42", "shop/42")
    assert push(door, press, secret="wrong-secret").status_code == 401


def test_any_member_of_a_group_may_choose_and_a_message_that_is_shown_no_more_says_nothing() -> None:
    keyboard = {"inline_keyboard": [[{"text": "Talk to a person", "callback_data": "pick:0:t-0"}]]}
    below = by_me("Which?") | {"reply_markup": keyboard, "reply_to_message": MAKER.message("hello", chat=GROUP, sender=43)}

    (found,) = parsed(MAKER.press("pick:0:t-0", sender=42, message=below))
    assert isinstance(found, HandOver)
    assert found.address.channel == f"shop/{GROUP}"
    assert parsed(MAKER.press("pick:1:t-0", message=below)) == ()
    assert parsed(MAKER.press("pick:0:t-0")) == ()
    assert (
        parsed(MAKER.press("pick:0:t-0", message={"message_id": 1, "date": 0, "chat": {"id": GROUP, "type": "supergroup"}})) == ()
    )
