"""The delivery loop on real lanes: a tiny platform that does what a script says, and connections that can be cut."""

import asyncio
import dataclasses
import time
from collections import Counter

import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engine.errors import DeliveryRefused, RetryLater, Unclear, Withdrawn
from engine.keys import Direction, worker
from engine.limits import Limit
from engine.messages import Address, Delivery, Receipt
from engine.settings import Settings
from tests import lane_probe
from tests.desk import Desk, address
from tests.loops import Mailbox, Post, delivering, queue
from workers.waiting import FIRST_BACKOFF, LONGEST_BACKOFF, backoff

pytestmark = pytest.mark.one_redis


@pytest.fixture
def quick(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Short times: nothing here waits for a second attempt as long as people would."""
    monkeypatch.setattr("workers.waiting.FIRST_BACKOFF", 0.05)
    monkeypatch.setattr("workers.delivering.AWAY_PAUSE", 0.01)
    return dataclasses.replace(settings, send_timeout=0.3, lease=2.0, drain_timeout=5.0)


def state(desk: Desk, delivery_id: str) -> dict[str, str]:
    """The record of the message that a delivery answers."""
    return desk.lanes.look(delivery_id.rpartition("-")[0]).run(desk.client).record


def dead_letters(desk: Desk) -> dict[str, str]:
    names = desk.client.zrange(desk.shard.dead_index, 0, -1)
    return {name.decode(): desk.client.hget(desk.shard.dead(name.decode()), "reason").decode() for name in names}


def places(count: int) -> list[Address]:
    return [address(f"thread {number}") for number in range(count)]


# -- the ordinary way -----------------------------------------------------------------------------------------------------------


def test_a_reply_is_posted_once_and_its_message_is_marked_delivered(quick: Settings, redis_client: redis.Redis) -> None:
    async def body(post: Post) -> None:
        (one,) = queue(post.desk, address(), "hello")
        await post.until(lambda: state(post.desk, one).get("state") == "delivered")
        assert post.mailbox.posted == [one]
        assert state(post.desk, one)["platform_id"] == "post-1"
        assert 0 <= int(state(post.desk, one)["delivered_at"]) - time.time() * 1000 + 2000 < 4000
        lane_probe.audit(redis_client, post.desk.lanes)

    delivering(quick, redis_client, Mailbox(), body)


def test_the_replies_of_a_conversation_keep_their_order_while_one_is_tried_again(
    quick: Settings, redis_client: redis.Redis
) -> None:
    mailbox = Mailbox()
    mailbox.script = [RetryLater("busy", after=0), 0.0, RetryLater("busy", after=0)]

    async def body(post: Post) -> None:
        ids = queue(post.desk, address(), "one", "two", "three")
        await post.until(lambda: len(mailbox.posted) == 3)
        assert mailbox.posted == ids

    delivering(quick, redis_client, mailbox, body)


def test_many_conversations_are_served_side_by_side(quick: Settings, redis_client: redis.Redis) -> None:
    mailbox = Mailbox()
    mailbox.script = [0.25] * 20

    async def body(post: Post) -> None:
        ids = [queue(post.desk, to, "hello")[0] for to in places(20)]
        started = time.monotonic()
        await post.until(lambda: all(state(post.desk, one).get("state") == "delivered" for one in ids))
        assert time.monotonic() - started < 20 * 0.25 / 2
        assert Counter(mailbox.posted) == Counter(ids)

    delivering(quick, redis_client, mailbox, body)


def test_no_more_is_sent_at_a_time_than_the_setting_allows(quick: Settings, redis_client: redis.Redis) -> None:
    class Counting(Mailbox):
        now = most = 0

        async def send(self, delivery: Delivery) -> Receipt:
            self.now += 1
            self.most = max(self.most, self.now)
            try:
                return await super().send(delivery)
            finally:
                self.now -= 1

    mailbox = Counting()
    mailbox.script = [0.02] * 12

    async def body(post: Post) -> None:
        for to in places(12):
            queue(post.desk, to, "hello")
        await post.until(lambda: len(mailbox.posted) == 12)
        assert mailbox.most == 3

    delivering(dataclasses.replace(quick, deliveries=3), redis_client, mailbox, body)


def test_a_shard_that_is_never_empty_starves_no_other(quick: Settings, redis_client: redis.Redis) -> None:
    mailbox = Mailbox()
    mailbox.script = [0.02] * 60

    async def body(post: Post) -> None:
        conversations = [address(channel=f"channel {number}") for number in range(60)]
        numbers = [post.desk.lanes.shard_of(to).number for to in conversations]
        busy = [to for to, number in zip(conversations, numbers, strict=True) if number == 0]
        other = conversations[numbers.index(1)]
        post.loop.draining = True
        ids = [put(post.desk, to) for to in busy]
        last = put(post.desk, other)
        post.loop.draining = False
        await post.until(lambda: last in mailbox.posted)
        assert len(mailbox.posted) < len(ids)
        await post.until(lambda: len(mailbox.posted) == len(ids) + 1)

    def put(desk: Desk, to: Address) -> str:
        accepted = desk.accept("hello", to=to)
        shard = desk.lanes.shard_of(to)
        (lane,) = desk.claim(shard=shard.number).lanes
        desk.commit(lane, replies=1, to=to)
        return f"{accepted.id}-0"

    delivering(dataclasses.replace(quick, deliveries=1, shards=2), redis_client, mailbox, body)


# -- platforms that do not take it ----------------------------------------------------------------------------------------------


def test_a_platform_that_names_a_time_is_asked_again_after_it(quick: Settings, redis_client: redis.Redis) -> None:
    mailbox = Mailbox()
    mailbox.script = [RetryLater("slow down", after=0.6)]

    async def body(post: Post) -> None:
        started = time.monotonic()
        (one,) = queue(post.desk, address(), "hello")
        await post.until(lambda: mailbox.posted == [one])
        assert 0.6 <= time.monotonic() - started < 3

    delivering(quick, redis_client, mailbox, body)


@pytest.mark.parametrize("hours", [1, -1], ids=["ahead", "behind"])
def test_the_wait_before_another_attempt_does_not_depend_on_this_machines_clock(
    quick: Settings, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    real = time.time_ns
    monkeypatch.setattr("engine.trace.time.time_ns", lambda: real() + hours * 3600 * 10**9)
    mailbox = Mailbox()
    mailbox.script = [RetryLater("slow down", after=0.6)]

    async def body(post: Post) -> None:
        started = time.monotonic()
        (one,) = queue(post.desk, address(), "hello")
        await post.until(lambda: state(post.desk, one).get("state") == "delivered")
        assert 0.6 <= time.monotonic() - started < 3
        assert abs(int(state(post.desk, one)["delivered_at"]) - real() / 1e6) < 3000

    delivering(quick, redis_client, mailbox, body)


def test_a_refused_reply_becomes_a_dead_letter_and_the_next_one_goes_out(quick: Settings, redis_client: redis.Redis) -> None:
    mailbox = Mailbox()
    mailbox.script = [DeliveryRefused("the chat is gone")]

    async def body(post: Post) -> None:
        one, two = queue(post.desk, address(), "one", "two")
        await post.until(lambda: mailbox.posted == [two])
        assert dead_letters(post.desk) == {one: "the chat is gone"}
        assert state(post.desk, one) | {"state": "dead", "reason": "the chat is gone"} == state(post.desk, one)

    delivering(quick, redis_client, mailbox, body)


def test_a_reply_for_a_platform_that_this_worker_has_not_becomes_a_dead_letter(quick: Settings, redis_client: redis.Redis) -> None:
    async def body(post: Post) -> None:
        (one,) = queue(post.desk, address(), "hello")
        await post.until(lambda: dead_letters(post.desk))
        assert "no platform 'webhook'" in dead_letters(post.desk)[one]

    delivering(quick, redis_client, Mailbox("telegram"), body)


def test_bytes_that_are_no_delivery_become_a_dead_letter_and_hold_up_nobody(quick: Settings, redis_client: redis.Redis) -> None:
    async def body(post: Post) -> None:
        post.loop.draining = True
        await asyncio.sleep(0.05)
        one, two = queue(post.desk, address(), "one", "two")
        name = f"{post.desk.shard.prefix}out:q:{post.desk.lanes.digests.lane(address())}"
        head = redis_client.lindex(name, 0).partition(b"\n")[0]
        redis_client.lset(name, 0, head + b"\n{}")
        post.loop.draining = False
        await post.until(lambda: post.mailbox.posted == [two])
        assert list(dead_letters(post.desk)) == [one]
        assert state(post.desk, one)["state"] == "dead"

    delivering(quick, redis_client, Mailbox(), body)


def test_a_reply_is_given_up_after_its_attempts_and_the_dead_letter_says_what_the_last_one_met(
    quick: Settings, redis_client: redis.Redis
) -> None:
    mailbox = Mailbox()
    mailbox.script = [RetryLater(f"the receiver answered {500 + n}", after=0) for n in range(3)]

    async def body(post: Post) -> None:
        (one,) = queue(post.desk, address(), "hello")
        await post.until(lambda: dead_letters(post.desk))
        assert dead_letters(post.desk) == {one: "not delivered: 3 attempts failed, the last with: the receiver answered 502"}
        assert mailbox.posted == []

    delivering(dataclasses.replace(quick, delivery_attempts=3), redis_client, mailbox, body)


def test_a_reply_past_its_deadline_becomes_a_dead_letter(quick: Settings, redis_client: redis.Redis) -> None:
    mailbox = Mailbox()
    mailbox.script = [RetryLater("away", after=30.0)]

    async def body(post: Post) -> None:
        (one,) = queue(post.desk, address(), "hello")
        await post.until(lambda: post.desk.backlog()[1].deferred == 1)
        await post.until(lambda: dead_letters(post.desk))
        assert dead_letters(post.desk) == {one: "not delivered: its deadline is over"}

    delivering(dataclasses.replace(quick, deadline_delivery=1.0), redis_client, mailbox, body)


def test_a_platform_with_a_bug_is_asked_again_and_the_others_go_on(quick: Settings, redis_client: redis.Redis) -> None:
    mailbox = Mailbox()
    mailbox.script = [KeyError("channel")]

    async def body(post: Post) -> None:
        ids = [queue(post.desk, to, "hello")[0] for to in places(3)]
        await post.until(lambda: sorted(mailbox.posted) == sorted(ids))
        assert post.loop.figures.snapshot()["failed"] == "1"

    delivering(quick, redis_client, mailbox, body)


def test_a_platform_that_recognises_repeats_gets_a_reply_again_after_no_answer(quick: Settings, redis_client: redis.Redis) -> None:
    mailbox = Mailbox()
    mailbox.script = [5.0]

    async def body(post: Post) -> None:
        (one,) = queue(post.desk, address(), "hello")
        await post.until(lambda: state(post.desk, one).get("state") == "delivered")
        assert mailbox.posted == [one, one]

    delivering(quick, redis_client, mailbox, body)


@pytest.mark.parametrize("unclear", [5.0, KeyError("after the request was sent")], ids=["no answer", "a bug"])
def test_a_platform_that_recognises_no_repeats_is_not_asked_again_when_it_may_have_the_reply(
    quick: Settings, redis_client: redis.Redis, unclear: BaseException | float
) -> None:
    mailbox = Mailbox(idempotent=False)
    mailbox.script = [unclear]

    async def body(post: Post) -> None:
        one, two = queue(post.desk, address(), "one", "two")
        await post.until(lambda: mailbox.posted[-1:] == [two])
        assert mailbox.posted.count(one) <= 1
        assert "may have been sent" in dead_letters(post.desk)[one]

    delivering(dataclasses.replace(quick, unclear="at-most-once"), redis_client, mailbox, body)


def test_where_losing_a_reply_is_worse_than_saying_it_twice_it_is_sent_again(quick: Settings, redis_client: redis.Redis) -> None:
    mailbox = Mailbox(idempotent=False)
    mailbox.script = [Unclear("the connection broke")]

    async def body(post: Post) -> None:
        (one,) = queue(post.desk, address(), "hello")
        await post.until(lambda: state(post.desk, one).get("state") == "delivered")
        assert mailbox.posted == [one]

    delivering(quick, redis_client, mailbox, body)


class Remembering(Mailbox):
    """A platform that can be asked what it has."""

    asked = 0
    busy = 0

    async def find(self, delivery: Delivery) -> Receipt | None:
        self.asked += 1
        if self.busy:
            self.busy -= 1
            raise RetryLater("ask again", after=0.05)
        return Receipt(delivery=delivery.id, platform_id="found") if delivery.id in self.posted else None


@pytest.mark.parametrize("unclear", [5.0, Unclear("the connection broke")], ids=["it has it", "it does not have it"])
def test_a_platform_that_can_be_asked_is_asked_before_anything_is_sent_again(
    quick: Settings, redis_client: redis.Redis, unclear: BaseException | float
) -> None:
    mailbox = Remembering(idempotent=False)
    mailbox.script = [unclear]

    async def body(post: Post) -> None:
        (one,) = queue(post.desk, address(), "hello")
        await post.until(lambda: state(post.desk, one).get("state") == "delivered")
        assert mailbox.posted == [one]
        assert mailbox.asked == 1

    delivering(quick, redis_client, mailbox, body)


def test_a_platform_that_cannot_say_now_is_asked_again(quick: Settings, redis_client: redis.Redis) -> None:
    mailbox = Remembering(idempotent=False)
    mailbox.script, mailbox.busy = [5.0], 2

    async def body(post: Post) -> None:
        (one,) = queue(post.desk, address(), "hello")
        await post.until(lambda: state(post.desk, one).get("state") == "delivered")
        assert (mailbox.posted, mailbox.asked) == ([one], 3)

    delivering(quick, redis_client, mailbox, body)


def test_a_reply_that_a_person_overtook_is_withdrawn_and_no_dead_letter(quick: Settings, redis_client: redis.Redis) -> None:
    mailbox = Mailbox()
    mailbox.script = [Withdrawn("an agent has opened the conversation")]

    async def body(post: Post) -> None:
        (one,) = queue(post.desk, address(), "hello")
        await post.until(lambda: state(post.desk, one).get("state") == "handed-over")
        assert (mailbox.posted, dead_letters(post.desk)) == ([], {})

    delivering(quick, redis_client, mailbox, body)


# -- parts and limits -----------------------------------------------------------------------------------------------------------


def test_a_long_reply_is_posted_in_parts_before_what_follows_it(quick: Settings, redis_client: redis.Redis) -> None:
    async def body(post: Post) -> None:
        long, short = queue(post.desk, address(), "one|two|three", "four")
        await post.until(lambda: state(post.desk, short).get("state") == "delivered")
        stem = long.removesuffix("-0")
        assert post.mailbox.posted == [f"{stem}-0", f"{stem}-1", f"{stem}-2", short]
        assert state(post.desk, long)["state"] == "delivered"
        assert state(post.desk, long)["platform_id"] == "post-3"
        assert post.desk.backlog()[1].messages == 0

    delivering(quick, redis_client, Mailbox(), body)


def test_a_pause_that_a_platform_asks_for_holds_for_the_whole_chat_and_is_no_failure(
    quick: Settings, redis_client: redis.Redis
) -> None:
    class Strict(Mailbox):
        def limits(self, delivery: Delivery) -> list[Limit]:
            return [Limit(("chat", delivery.reply.address.channel), 30, 1.0)]

    mailbox = Strict()
    mailbox.script = [RetryLater("too many", after=0.6)] * 3

    async def body(post: Post) -> None:
        (_first,) = queue(post.desk, address("one topic"), "one")
        await post.until(lambda: len(mailbox.script) < 3)
        began = time.monotonic()
        queue(post.desk, address("another topic"), "two")
        await post.until(lambda: len(mailbox.posted) == 2)
        assert time.monotonic() - began >= 0.5
        assert dead_letters(post.desk) == {}

    delivering(dataclasses.replace(quick, delivery_attempts=2), redis_client, mailbox, body)


def test_redis_away_while_a_place_is_taken_is_no_failure_of_the_platform(quick: Settings, redis_client: redis.Redis) -> None:
    limit = Limit(("chat",), 30, 1.0)

    async def body(post: Post) -> None:
        post.mailbox.limited = [limit]
        post.loop.draining = True
        await post.until(lambda: not post.loop._sending)
        (one,) = queue(post.desk, address(), "hello")
        lane = post.desk.take(Direction.OUT)
        post.cuts.before = {post.cuts.count}
        await post.loop.deliver(lane)
        assert dead_letters(post.desk) == {}
        post.loop.draining = False
        await post.until(lambda: post.mailbox.posted == [one])

    delivering(dataclasses.replace(quick, delivery_attempts=1), redis_client, Mailbox(), body)


def test_a_split_whose_reply_is_lost_on_the_wire_doubles_no_part(quick: Settings, redis_client: redis.Redis) -> None:
    async def body(post: Post) -> None:
        post.loop.draining = True
        await post.until(lambda: not post.loop._sending)
        (one,) = queue(post.desk, address(), "one|two|three")
        lane = post.desk.take(Direction.OUT)
        post.cuts.after = {post.cuts.count}
        await post.loop.deliver(lane)
        post.loop.draining = False
        stem = one.removesuffix("-0")
        await post.until(lambda: post.desk.backlog()[1].messages == 0)
        assert post.mailbox.posted == [f"{stem}-0", f"{stem}-1", f"{stem}-2"]

    delivering(quick, redis_client, Mailbox(), body)


def test_a_chat_at_its_limit_waits_and_holds_up_no_other(quick: Settings, redis_client: redis.Redis) -> None:
    class Limited(Mailbox):
        def limits(self, delivery: Delivery) -> list[Limit]:
            return [Limit(("chat", delivery.reply.address.thread), 1, 1.0)]

    async def body(post: Post) -> None:
        slow = queue(post.desk, address("busy"), "one", "two")
        other = queue(post.desk, address("calm"), "three")
        began = time.monotonic()
        await post.until(lambda: len(post.mailbox.posted) == 3)
        assert time.monotonic() - began >= 0.9
        assert post.mailbox.posted[-1] == slow[1]
        assert set(post.mailbox.posted[:2]) == {slow[0], *other}

    delivering(quick, redis_client, Limited(), body)


def test_a_platform_that_recognises_no_repeats_is_asked_again_when_it_surely_has_not_the_reply(
    quick: Settings, redis_client: redis.Redis
) -> None:
    mailbox = Mailbox(idempotent=False)
    mailbox.script = [RetryLater("busy", after=0)]

    async def body(post: Post) -> None:
        (one,) = queue(post.desk, address(), "hello")
        await post.until(lambda: mailbox.posted == [one])

    delivering(quick, redis_client, mailbox, body)


@pytest.mark.parametrize("idempotent", [True, False], ids=["repeats recognised", "repeats not recognised"])
def test_what_a_worker_that_died_was_about_to_send_is_sent_again_only_where_repeats_are_recognised(
    quick: Settings, redis_client: redis.Redis, idempotent: bool
) -> None:
    async def body(post: Post) -> None:
        post.loop.draining = True
        await post.until(lambda: not post.loop._sending)
        (one,) = queue(post.desk, address(), "hello")
        lane = post.desk.take(Direction.OUT)
        assert post.desk.lanes.intend(lane, one).run(redis_client) == (True, "")
        post.desk.advance(quick.lease + 1)
        post.loop.draining = False
        await post.until(lambda: post.mailbox.posted or dead_letters(post.desk))
        assert post.mailbox.posted == ([one] if idempotent else [])

    configured = dataclasses.replace(quick, unclear="at-most-once")
    delivering(configured, redis_client, Mailbox(idempotent=idempotent), body)


# -- Redis away -----------------------------------------------------------------------------------------------------------------


def test_a_reply_that_was_sent_while_redis_went_away_is_not_sent_again(quick: Settings, redis_client: redis.Redis) -> None:
    mailbox = Mailbox()
    mailbox.script = [0.2]

    async def body(post: Post) -> None:
        (one,) = queue(post.desk, address(), "hello")
        await post.until(lambda: mailbox.posted == [one])
        post.cuts.away = True
        await asyncio.sleep(0.4)
        post.cuts.away = False
        await post.until(lambda: state(post.desk, one).get("state") == "delivered")
        assert mailbox.posted == [one]

    delivering(quick, redis_client, mailbox, body)


def test_a_reply_that_was_sent_before_a_long_absence_of_redis_is_not_sent_again_by_the_same_worker(
    quick: Settings, redis_client: redis.Redis
) -> None:
    mailbox = Mailbox()
    mailbox.script = [0.2]

    async def body(post: Post) -> None:
        (one,) = queue(post.desk, address(), "hello")
        await post.until(lambda: mailbox.posted == [one])
        post.cuts.away = True
        post.desk.advance(quick.lease + 1)
        await asyncio.sleep(0.4)
        post.cuts.away = False
        await post.until(lambda: state(post.desk, one).get("state") == "delivered")
        await post.until(lambda: not post.loop._sending)
        assert len(mailbox.posted) <= 2
        lane_probe.audit(redis_client, post.desk.lanes)

    delivering(quick, redis_client, mailbox, body)


positions = st.sets(st.integers(0, 50), max_size=6)


@pytest.mark.slow
@hypothesis_settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=positions, after=positions)
def test_whenever_redis_goes_away_every_reply_is_posted_once_and_in_order(
    quick: Settings, redis_client: redis.Redis, before: set[int], after: set[int]
) -> None:
    redis_client.flushall()
    mailbox = Mailbox(idempotent=False)

    async def body(post: Post) -> None:
        post.cuts.before, post.cuts.after = before, after
        ids = {to.thread: queue(post.desk, to, "one", "two") for to in places(3)}
        every = [one for pair in ids.values() for one in pair]

        def over() -> bool:
            if not post.loop._sending and post.desk.backlog()[1].leased:
                post.desk.advance(quick.lease + 1)  # A claim whose reply was lost comes back when its lease runs out.
            return all(state(post.desk, one).get("state") == "delivered" for one in every)

        await post.until(over)
        assert Counter(mailbox.posted) == Counter(every)
        for pair in ids.values():
            assert [one for one in mailbox.posted if one in pair] == pair

    delivering(dataclasses.replace(quick, delivery_attempts=1000), redis_client, mailbox, body)


# -- drains ---------------------------------------------------------------------------------------------------------------------


def test_a_drain_lets_what_is_being_sent_finish(quick: Settings, redis_client: redis.Redis) -> None:
    mailbox = Mailbox()
    mailbox.script = [0.25]

    async def body(post: Post) -> None:
        (one,) = queue(post.desk, address(), "hello")
        await post.until(lambda: mailbox.posted == [one])
        await post.stop()
        assert state(post.desk, one)["state"] == "delivered"
        assert mailbox.closed
        assert not redis_client.exists(worker(post.loop.figures.name))

    delivering(quick, redis_client, mailbox, body)


@pytest.mark.parametrize("hurried", [True, False], ids=["hurried", "out of time"])
def test_a_drain_that_may_not_wait_gives_back_what_is_being_sent_and_notes_that_it_may_have_been(
    quick: Settings, redis_client: redis.Redis, hurried: bool
) -> None:
    mailbox = Mailbox()
    mailbox.script = [9.0]

    async def body(post: Post) -> None:
        (one,) = queue(post.desk, address(), "hello")
        await post.until(lambda: mailbox.posted == [one])
        if hurried:
            post.thread.hurried.set()
        started = time.monotonic()
        await post.stop()
        assert time.monotonic() - started < 3
        lane = post.desk.take(Direction.OUT)
        assert (lane.attempts, lane.intent) == (0, one)

    slow = dataclasses.replace(quick, send_timeout=10.0, lease=30.0, drain_timeout=60.0 if hurried else 0.2)
    delivering(slow, redis_client, mailbox, body)


def test_a_drain_with_redis_away_ends_in_time(quick: Settings, redis_client: redis.Redis) -> None:
    mailbox = Mailbox()
    mailbox.script = [0.1]

    async def body(post: Post) -> None:
        (one,) = queue(post.desk, address(), "hello")
        await post.until(lambda: mailbox.posted == [one])
        post.cuts.away = True
        started = time.monotonic()
        await post.stop()
        assert time.monotonic() - started < 5
        assert mailbox.closed

    delivering(dataclasses.replace(quick, drain_timeout=0.5), redis_client, mailbox, body)


def test_a_draining_worker_claims_nothing_until_it_is_told_to_go_on(quick: Settings, redis_client: redis.Redis) -> None:
    async def body(post: Post) -> None:
        post.loop.draining = True
        await asyncio.sleep(0.05)
        (one,) = queue(post.desk, address(), "hello")
        await asyncio.sleep(0.3)
        assert post.mailbox.posted == []
        assert post.loop.describe() == {"platforms": ["webhook"], "sending": 0, "draining": True}
        post.loop.draining = False
        await post.until(lambda: post.mailbox.posted == [one])

    delivering(quick, redis_client, Mailbox(), body)


# -- policy ---------------------------------------------------------------------------------------------------------------------


@given(attempts=st.integers(0, 10_000), jitter=st.floats(0, 1))
def test_waits_between_attempts_grow_and_stay_within_their_bounds(attempts: int, jitter: float) -> None:
    assert FIRST_BACKOFF / 2 <= backoff(attempts, jitter) <= LONGEST_BACKOFF
    assert backoff(attempts, jitter) <= backoff(attempts + 1, jitter)
    assert backoff(attempts, 1.0) <= 2 * backoff(attempts, 0.0)
