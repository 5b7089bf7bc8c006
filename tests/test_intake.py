"""The door puts each message on its lane once, and tells its sender what became of it."""

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
import redis

from connectors import wishes
from connectors.contract import Deletion, Edit, Feedback, Forget, HandOver, Inbound, Notice, Ownership, Request, Stop, Taken
from connectors.crowd import Crowd
from connectors.intake import Intake
from connectors.webhook import Webhook
from engine.errors import LaneFull, Overloaded, StoreUnavailable
from engine.handing import recall, watch
from engine.keys import DISLIKED, Direction
from engine.lanes import Lanes
from engine.messages import Action, Address, Delivery, InboundMessage, Owner, Source
from engine.settings import Settings
from engine.store import connect_async
from engine.wordings import said
from tests import lane_probe
from tests.desk import Desk
from tests.doors import with_endpoint
from workers import embedded
from workers.watching import taken_back

T = TypeVar("T")


def message(text: str, id_: str, conversation: str = "c1") -> InboundMessage:
    return Webhook(_SHOP).parse(
        Request("shop", {"webhook-id": id_}, f'{{"conversation": "{conversation}", "text": "{text}"}}'.encode())
    )[0]  # type: ignore[return-value]


_SHOP = with_endpoint(Settings())


def with_intake(settings: Settings, use: Callable[[Intake], Awaitable[T]]) -> T:
    async def using() -> T:
        client = await connect_async(settings)
        crowd = Crowd(Lanes(settings))
        try:
            return await use(Intake(settings, Lanes(settings), client, crowd))
        finally:
            await crowd.close()
            await client.aclose()

    return asyncio.run(using())


def settle(settings: Settings, *inbound: Inbound) -> list[Taken]:
    async def use(intake: Intake) -> list[Taken]:
        platform = Webhook(with_endpoint(settings))
        return [await intake.settle(platform, one) for one in inbound]

    return with_intake(settings, use)


def waiting(settings: Settings, client: redis.Redis, direction: Direction = Direction.IN) -> list[bytes]:
    """The bodies that a worker would get."""
    lanes = Lanes(settings)
    claim = lanes.claim(lanes.shards[0], direction, items=100, tokens=100_000, empty=True).run(client)
    return [entry.body for lane in claim.lanes for entry in lane.entries]


def test_a_message_waits_on_its_lane(settings: Settings, redis_client: redis.Redis) -> None:
    taken = settle(settings, message("hello", "msg_1"))

    assert [one.state for one in taken] == ["accepted"]
    assert [InboundMessage.decode(body).text for body in waiting(settings, redis_client)] == ["hello"]


def test_a_repeat_gets_the_same_answer_and_is_not_queued(settings: Settings, redis_client: redis.Redis) -> None:
    first, second = settle(settings, message("hello", "msg_1"), message("hello", "msg_1"))

    assert (first.id, first.state) == (second.id, second.state)
    assert (first.verdict, second.verdict) == ("accepted", "repeat")
    assert len(waiting(settings, redis_client)) == 1


def test_twenty_at_once_queue_one(settings: Settings, redis_client: redis.Redis) -> None:
    async def use(intake: Intake) -> list[Taken]:
        platform = Webhook(with_endpoint(settings))
        return await asyncio.gather(*(intake.settle(platform, message("hello", "msg_1")) for _ in range(20)))

    taken = with_intake(settings, use)

    assert len({one.id for one in taken}) == 1
    assert sorted(one.verdict for one in taken) == ["accepted"] + ["repeat"] * 19
    assert len(waiting(settings, redis_client)) == 1


def test_an_edit_replaces_what_still_waits(settings: Settings, redis_client: redis.Redis) -> None:
    original, edit = settle(settings, message("helo", "msg_1"), Edit(message("hello", "msg_1")))

    assert (edit.id, edit.state) == (original.id, "amended")
    assert [InboundMessage.decode(body).text for body in waiting(settings, redis_client)] == ["hello"]


def test_a_deletion_takes_back_what_still_waits(settings: Settings, redis_client: redis.Redis) -> None:
    gone = message("hello", "msg_1")
    original, deletion = settle(settings, gone, Deletion(gone.address, gone.dedupe_ids[0]))

    assert (deletion.id, deletion.state) == (original.id, "cancelled")
    assert waiting(settings, redis_client) == []


def test_a_deletion_that_comes_first_waits_for_its_message(settings: Settings, redis_client: redis.Redis) -> None:
    gone = message("hello", "msg_1")
    deletion, original = settle(settings, Deletion(gone.address, gone.dedupe_ids[0]), gone)

    assert (deletion.state, original.state) == ("unseen", "cancelled")
    assert waiting(settings, redis_client) == []


def test_a_deletion_of_another_conversations_message_does_nothing(settings: Settings, redis_client: redis.Redis) -> None:
    original = message("hello", "msg_1")
    settle(settings, original)
    elsewhere = msgspec.structs.replace(original.address, thread="another")
    (said,) = settle(settings, Deletion(elsewhere, original.dedupe_ids[0]))

    assert said.state == "elsewhere"
    assert len(waiting(settings, redis_client)) == 1


def test_a_full_lane_is_said_to_the_sender_always_and_to_the_person_once(settings: Settings, redis_client: redis.Redis) -> None:
    full = dataclasses.replace(settings, lane_messages=2)
    settle(full, message("one", "msg_1"), message("two", "msg_2"))

    for number in (3, 4):
        with pytest.raises(LaneFull):
            settle(full, message("more", f"msg_{number}"))

    notices = [Delivery.decode(body) for body in waiting(full, redis_client, Direction.OUT)]
    assert [(notice.reply.text, notice.reply.source) for notice in notices] == [(settings.lane_full, Source.FALLBACK)]
    assert (notices[0].reply.reference, notices[0].reply.in_reply_to) == ("", ())


def test_a_full_tenant_is_told_apart_from_a_full_lane(settings: Settings, redis_client: redis.Redis) -> None:
    full = dataclasses.replace(settings, tenant_messages=2, lane_messages=1)
    with pytest.raises(LaneFull):
        settle(full, message("one", "msg_1"), message("two", "msg_2"))
    with pytest.raises(Overloaded) as crowded:
        settle(full, message("three", "msg_3", "c2"), message("four", "msg_4", "c3"))

    assert not isinstance(crowded.value, LaneFull)
    with pytest.raises(Overloaded):
        settle(full, message("four", "msg_4", "c3"))
    (first, second) = sorted(
        (Delivery.decode(body) for body in waiting(full, redis_client, Direction.OUT)), key=lambda post: post.reply.text
    )
    assert (first.reply.text, second.reply.text) == (settings.lane_full, settings.tenant_full)
    assert second.reply.address.thread == "c3"


def test_a_notice_without_a_text_posts_nothing_and_its_ids_are_known(settings: Settings, redis_client: redis.Redis) -> None:
    taken = settle(settings, Notice(TO, ("album",), ""), Notice(TO, ("another", "album"), "no_text"))

    assert [one.verdict for one in taken] == ["accepted", "repeat"]
    assert waiting(settings, redis_client, Direction.OUT) == []


def test_a_refused_message_is_taken_when_there_is_room_again(settings: Settings, redis_client: redis.Redis) -> None:
    full = dataclasses.replace(settings, lane_messages=1)
    first = message("one", "msg_1")
    settle(full, first)
    with pytest.raises(Overloaded):
        settle(full, message("two", "msg_2"))

    settle(full, Deletion(first.address, first.dedupe_ids[0]))

    assert settle(full, message("two", "msg_2"))[0].verdict == "accepted"


def test_what_a_person_answers_does_not_go_onto_the_lane(settings: Settings, redis_client: redis.Redis) -> None:
    first = message("hello", "msg_1")
    Lanes(settings).own(first.address, Owner.HUMAN).run(redis_client)

    assert settle(settings, first)[0].state == "handed-over"
    assert waiting(settings, redis_client) == []


def test_what_is_no_message_is_kept_as_a_dead_letter(settings: Settings, redis_client: redis.Redis) -> None:
    raw = b'{"type": "invoice.paid"}'

    async def use(intake: Intake) -> Taken:
        platform = Webhook(with_endpoint(settings))
        return await intake.bury(platform, Request("shop", {"webhook-id": "msg_1"}, raw), reason="unknown type")

    buried = with_intake(settings, use)

    letter = redis_client.hgetall(Lanes(settings).shards[0].dead(buried.id))
    assert buried.state == "dead"
    assert (letter[b"reason"], letter[b"entry"]) == (b"unknown type", raw)


@pytest.mark.one_redis
def test_redis_away_says_so_and_a_second_try_is_no_repeat(tmp_path: Path) -> None:
    with embedded.serving(tmp_path / "redis", log=tmp_path / "log") as server:
        settings = Settings(redis_url=server.url, secret_key="a secret key of the tests")

        async def use(intake: Intake) -> Taken:
            platform = Webhook(with_endpoint(settings))
            server.stop()
            with pytest.raises(StoreUnavailable):
                await intake.settle(platform, message("hello", "msg_1"))
            server.start()
            return await intake.settle(platform, message("hello", "msg_1"))

        assert with_intake(settings, use).verdict == "accepted"


# -- what needs no answer -------------------------------------------------------------------------------------------------------

TO = message("hello", "x").address


def _said(to: Address, text: str, id_: str) -> InboundMessage:
    return InboundMessage(address=to, sender="u", text=text, dedupe_ids=(id_,))


def test_a_fixed_text_is_posted_once_however_often_it_is_asked_for(settings: Settings, redis_client: redis.Redis) -> None:
    taken = settle(settings, *[Notice(TO, ("start",), "help")] * 3)

    assert [one.verdict for one in taken] == ["accepted", "repeat", "repeat"]
    assert [Delivery.decode(body).reply.text for body in waiting(settings, redis_client, Direction.OUT)] == [settings.help]


def test_who_asks_for_a_person_twice_is_handed_over_once_and_the_bot_is_silent(
    settings: Settings, redis_client: redis.Redis
) -> None:
    taken = settle(settings, HandOver(TO, ("one",)), HandOver(TO, ("two",)))

    assert [one.state for one in taken] == ["accepted", "accepted"]
    (post,) = [Delivery.decode(body) for body in waiting(settings, redis_client, Direction.OUT)]
    assert (post.action, post.reply.text) == (Action.HAND_OVER, settings.handing_over)
    (silent,) = settle(settings, _said(TO, "are you there?", "three"))
    assert silent.state == "handed-over"
    assert waiting(settings, redis_client) == []


def test_who_has_a_person_already_is_not_taken_from_them(settings: Settings, redis_client: redis.Redis) -> None:
    settle(settings, Ownership(TO, Owner.HUMAN), HandOver(TO, ("again",)))

    assert waiting(settings, redis_client, Direction.OUT) == []
    desk = Desk(redis_client, Lanes(settings))
    assert redis_client.get(desk.shard.owner(desk.lanes.digests.lane(TO))) == b"human"


def test_where_no_person_comes_the_bot_answers_again(settings: Settings, redis_client: redis.Redis) -> None:
    settle(settings, HandOver(TO, ("one",)))
    desk = Desk(redis_client, Lanes(settings))
    (held,) = watch(desk.lanes, desk.shard, due=False).run(redis_client)[1]
    assert (held.address, held.owner, held.reason) == (TO, Owner.WAITING, "asked")
    assert held.at - held.since == settings.person_wait * 1000
    assert redis_client.pttl(desk.shard.owner(held.ref)) > settings.person_wait * 1000

    assert taken_back(desk.lanes, held).run(redis_client) == "waiting"
    assert taken_back(desk.lanes, held).run(redis_client) == "gone"
    assert redis_client.exists(desk.shard.owner(held.ref)) == 0
    assert desk.backlog()[1].messages == 2


def test_what_is_being_answered_is_forgotten_too(settings: Settings, redis_client: redis.Redis) -> None:
    settle(settings, _said(TO, "my card is 4111", "one"))
    desk = Desk(redis_client, Lanes(settings))
    lane = desk.take()
    settle(settings, Forget(TO, ("forget",)))

    assert desk.commit(lane, replies=1, to=TO) == "changed"


def test_what_the_platform_says_of_the_owner_holds_until_it_says_otherwise(settings: Settings, redis_client: redis.Redis) -> None:
    states = settle(
        settings,
        Ownership(TO, Owner.HUMAN),
        _said(TO, "to the agent", "one"),
        Ownership(TO, Owner.BOT),
        _said(TO, "to the bot", "two"),
    )

    assert [one.state for one in states] == ["human", "handed-over", "bot", "accepted"]
    assert [InboundMessage.decode(body).text for body in waiting(settings, redis_client)] == ["to the bot"]


def test_what_was_said_is_forgotten_when_a_person_asks_for_it(settings: Settings, redis_client: redis.Redis) -> None:
    settle(settings, Ownership(TO, Owner.HUMAN), _said(TO, "my card is 4111", "one"), Ownership(TO, Owner.BOT))
    desk = Desk(redis_client, Lanes(settings))
    assert [turn.text for turn in desk.history(TO)] == ["my card is 4111"]

    settle(settings, Forget(TO, ("forget",)))

    assert desk.history(TO) == []
    assert [Delivery.decode(body).reply.text for body in waiting(settings, redis_client, Direction.OUT)] == [settings.forgotten]


def test_records_and_dead_letters_are_forgotten_too_and_those_of_others_are_not(
    settings: Settings, redis_client: redis.Redis
) -> None:
    desk, other = Desk(redis_client, Lanes(settings)), msgspec.structs.replace(TO, thread="c2")
    mine, theirs = settle(settings, _said(TO, "my card is 4111", "one"), _said(other, "mine is 4222", "two"))
    for lane in desk.claim().lanes:
        to = TO if lane.entries[0].id == mine.id else other
        desk.commit(lane, replies=1, to=to, record={"state": "answered", "text": "a secret"}, dead="3 attempts failed")
    for lane in desk.claim(Direction.OUT).lanes:
        desk.commit(lane, owner="", record={}, dead="blocked")
    assert redis_client.zcard(desk.shard.dead_index) == 4

    settle(settings, Forget(TO, ("forget",)))

    assert desk.lanes.look(mine.id).run(redis_client).state == "over"
    assert desk.lanes.look(theirs.id).run(redis_client).record["text"] == "a secret"
    left = {f"{desk.shard.prefix}dead:{theirs.id}{part}".encode() for part in ("", "-0")}
    assert set(redis_client.keys("rm:*:dead:*")) == left
    assert redis_client.zcard(desk.shard.dead_index) == 2
    lane_probe.audit(redis_client, desk.lanes)


def test_what_can_be_forgotten_is_noted_for_as_long_as_it_lives(settings: Settings, redis_client: redis.Redis) -> None:
    desk = Desk(redis_client, Lanes(settings))
    for number, dead in enumerate(("", "3 attempts failed", "")):
        settle(settings, _said(TO, "hello", f"{number}"))
        desk.commit(desk.take(), dead=dead)
    (noted,) = redis_client.keys("rm:*:r:*")

    assert redis_client.zcard(noted) == 3
    assert abs(redis_client.ttl(noted) - settings.dead_ttl) < 60
    assert (
        sum(
            score > (time.time() + settings.record_ttl + 60) * 1000
            for _, score in redis_client.zrange(noted, 0, -1, withscores=True)
        )
        == 1
    )


def test_a_verdict_is_kept_with_the_message_it_is_about(settings: Settings, redis_client: redis.Redis) -> None:
    (taken,) = settle(settings, _said(TO, "hello", "one"))
    desk = Desk(redis_client, Lanes(settings))
    desk.commit(desk.take(), replies=1)

    states = settle(settings, Feedback(taken.id, "down"), Feedback("nobody-0", "up"), Feedback("junk", "up"))

    assert [one.state for one in states] == ["kept", "unknown", "unknown"]
    assert desk.lanes.look(taken.id).run(redis_client).record["feedback"] == "down"
    assert redis_client.lrange(DISLIKED, 0, -1) == [taken.id.encode()]


def test_a_platform_whose_requests_carry_no_time_has_its_ids_kept_for_a_week(settings: Settings, redis_client: redis.Redis) -> None:
    class Timeless(Webhook):
        timeless = True

    async def use(intake: Intake) -> list[str]:
        platform = Timeless(with_endpoint(settings))
        return [(await intake.settle(platform, one)).verdict for one in (_said(TO, "hello", "one"), Notice(TO, ("two",), "help"))]

    assert with_intake(settings, use) == ["accepted", "accepted"]
    lives = [redis_client.pttl(name) / 1000 for name in redis_client.scan_iter("*}:d:*")]
    assert len(lives) == 2
    assert min(lives) > 600_000


def test_stop_takes_back_everything_that_is_not_answered_yet(settings: Settings, redis_client: redis.Redis) -> None:
    one, two = settle(settings, _said(TO, "hello", "one"), _said(TO, "and this", "two"))
    desk = Desk(redis_client, Lanes(settings))
    lane = desk.take()

    assert [taken.state for taken in settle(settings, Stop(TO, ("stop",)), Stop(TO))] == ["stopped", "stopped"]
    assert desk.commit(lane, replies=1, to=TO) == "gone"
    assert {desk.lanes.look(taken.id).run(redis_client).record["state"] for taken in (one, two)} == {"cancelled"}
    lane_probe.audit(redis_client, desk.lanes)


def test_a_repeated_stop_leaves_what_was_asked_after_the_first(settings: Settings, redis_client: redis.Redis) -> None:
    settle(settings, _said(TO, "hello", "one"), Stop(TO, ("stop",)), _said(TO, "another question", "two"), Stop(TO, ("stop",)))

    assert [InboundMessage.decode(body).text for body in waiting(settings, redis_client)] == ["another question"]


def test_beside_a_person_the_bot_says_nothing_by_itself(settings: Settings, redis_client: redis.Redis) -> None:
    settle(settings, Ownership(TO, Owner.HUMAN), Notice(TO, ("photo",), "no_text"))

    assert waiting(settings, redis_client, Direction.OUT) == []


def test_two_bots_that_answer_each_other_stop(settings: Settings, redis_client: redis.Redis) -> None:
    class Meeting(Webhook):
        bots_meet = True

    configured = dataclasses.replace(with_endpoint(settings), turns_per_minute=3)
    desk = Desk(redis_client, Lanes(settings))

    def say(number: int) -> str:
        async def use(intake: Intake) -> Taken:
            return await intake.settle(Meeting(configured), _said(TO, f"answer {number}", f"id {number}"))

        return with_intake(configured, use).state

    states = []
    for number in range(6):
        states.append(say(number))
        for lane in desk.claim().lanes:
            desk.commit(lane, replies=1, to=TO)

    assert states == ["accepted"] * 3 + ["paused"] * 3
    texts = [Delivery.decode(body).reply.text for body in waiting(settings, redis_client, Direction.OUT)]
    assert texts.count(settings.paused) <= 1
    assert desk.lanes.look(desk.lanes.message_id(TO, "id 5")).run(redis_client).record["state"] == "paused"
    desk.advance(61)
    assert say(9) == "accepted"


def test_two_slow_bots_that_answer_each_other_stop_too(settings: Settings, redis_client: redis.Redis) -> None:
    class Meeting(Webhook):
        bots_meet = True

    configured = dataclasses.replace(with_endpoint(settings), turns_per_minute=3, turns_per_hour=5)
    desk = Desk(redis_client, Lanes(settings))
    states = []
    for number in range(8):
        said = _said(TO, f"answer {number}", f"id {number}")
        states.append(with_intake(configured, lambda intake, said=said: intake.settle(Meeting(configured), said)).state)  # type: ignore[misc]
        for lane in desk.claim().lanes:
            desk.commit(lane, replies=1, to=TO)
        desk.advance(31)

    (lane,) = redis_client.scan_iter(match=f"{desk.shard.prefix}out:q:*")
    posted = [Delivery.decode(raw.partition(b"\n")[2]).reply.text for raw in redis_client.lrange(lane, 0, -1)]

    assert states == ["accepted"] * 5 + ["paused"] * 3
    assert posted == ["an answer"] * 5 + [settings.paused]


#: A question, and a wish for a person, in languages of three scripts.
SPOKEN = pytest.mark.parametrize(
    ("language", "question", "wish"),
    [
        ("de", "Wo ist mein Paket, und wann kommt es?", "Ich möchte mit einem Menschen sprechen"),
        ("zh", "我的包裹在哪里？", "转人工"),
        ("ar", "أين طردي الآن؟", "أريد التحدث مع شخص"),
    ],
)


def texts_out(settings: Settings, client: redis.Redis) -> list[str]:
    return [Delivery.decode(body).reply.text for body in waiting(settings, client, Direction.OUT)]


@SPOKEN
def test_what_the_door_says_of_a_message_is_in_its_language(
    settings: Settings, redis_client: redis.Redis, language: str, question: str, wish: str
) -> None:
    class Meeting(Webhook):
        bots_meet = True

    full = dataclasses.replace(with_endpoint(settings), tenant_messages=2, lane_messages=1, turns_per_minute=1)
    with pytest.raises(LaneFull):
        settle(full, _said(TO, question, "1"), _said(TO, question, "2"))
    settle(full, message("hello", "3", "c2"))
    with pytest.raises(Overloaded):
        settle(full, _said(msgspec.structs.replace(TO, thread="c3"), question, "4"))
    assert set(texts_out(full, redis_client)) == {said(full, name, language) for name in ("lane_full", "tenant_full")}

    redis_client.flushdb()
    desk = Desk(redis_client, Lanes(settings))
    for number in range(3):
        posted = _said(TO, question, f"{number}")
        with_intake(full, lambda intake, posted=posted: intake.settle(Meeting(full), posted))  # type: ignore[misc]
        for lane in desk.claim().lanes:
            desk.commit(lane, replies=1, to=TO)
    (lane_of,) = redis_client.scan_iter(match=f"{desk.shard.prefix}out:q:*")
    bodies = [raw.partition(b"\n")[2] for raw in redis_client.lrange(lane_of, 0, -1)]
    assert said(full, "paused", language) in [Delivery.decode(body).reply.text for body in bodies]


@SPOKEN
def test_a_wish_for_a_person_is_answered_in_its_language_and_so_is_what_follows(
    settings: Settings, redis_client: redis.Redis, language: str, question: str, wish: str
) -> None:
    found = wishes.read(_said(TO, wish, "one"))
    assert isinstance(found, HandOver)
    settle(settings, found)
    assert texts_out(settings, redis_client) == [said(settings, "handing_over", language)]

    desk = Desk(redis_client, Lanes(settings))
    assert recall(desk.lanes, TO).run(redis_client).language == language


@SPOKEN
def test_without_words_the_language_is_that_of_the_history_or_what_the_platform_says(
    settings: Settings, redis_client: redis.Redis, language: str, question: str, wish: str
) -> None:
    settle(settings, Notice(msgspec.structs.replace(TO, thread="new"), ("start",), "help", language))
    assert texts_out(settings, redis_client) == [said(settings, "help", language)]

    settle(settings, Ownership(TO, Owner.HUMAN), _said(TO, question, "one"), Ownership(TO, Owner.BOT))
    for name, inbound in {
        "no_text": Notice(TO, ("photo",), "no_text", "fr"),
        "handing_over": HandOver(TO, ("human",)),
        "forgotten": Forget(TO, ("forget",)),
    }.items():
        redis_client.delete(*redis_client.scan_iter(match="*out:*"))
        settle(settings, inbound)
        lanes = list(redis_client.scan_iter(match="*out:q:*"))
        bodies = [raw.partition(b"\n")[2] for lane in lanes for raw in redis_client.lrange(lane, 0, -1)]
        assert [Delivery.decode(body).reply.text for body in bodies] == [said(settings, name, language)]


def test_a_tenant_says_at_the_door_what_it_has_set(settings: Settings, redis_client: redis.Redis) -> None:
    own = dataclasses.replace(settings, tenants={"shop": {"help": "Ask the shop.", "no_text": "Words, please."}})
    settle(own, Notice(TO, ("start",), "help", "de"), Notice(msgspec.structs.replace(TO, thread="c2"), ("photo",), "no_text"))

    assert sorted(texts_out(own, redis_client)) == ["Ask the shop.", "Words, please."]
