"""The answering loop, stepped by hand: real lanes, a tiny model, and whatever can go wrong between the two."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from connectors.page import Progress
from engine.convert import ensure
from engine.errors import ModelError
from engine.generation import Growing, OnText, Request
from engine.keys import progress, worker
from engine.messages import Address, Owner
from engine.pending import Pending
from engine.settings import Settings
from tests import lane_probe
from tests.conftest import wait_for
from tests.desk import Desk, address
from tests.loops import Gated, mill, small
from tests.models import CHAT_TEMPLATE, TinyLlama
from workers.health import MOST_FAILURES
from workers.loop import Away, LoopThread

pytestmark = pytest.mark.one_redis


class Failed:
    """The engine's handle of a batch that went wrong."""

    def done(self) -> bool:
        return True

    def result(self) -> Any:
        raise RuntimeError("CUDA failed with error out of memory")


class Brittle(Gated):
    """A model whose engine fails on batches of more than `most` turns, and on those in which somebody says `broken`."""

    most = 1000

    def submit(
        self,
        requests: Sequence[Request],
        *,
        most: int = 0,
        on_text: OnText | None = None,
        on_finish: Callable[[], None] | None = None,
    ) -> Pending:
        said = " ".join(self._rules.tokenizer.decode(request.tokens) for request in requests)
        if "broken" not in said and len(requests) <= self.most:
            return super().submit(requests, most=most, on_text=on_text, on_finish=on_finish)
        pending = Pending([Growing(request, self._rules) for request in requests], on_finish)
        pending.start(range(len(requests)), [Failed()] * len(requests))
        return pending


class Refusing(Gated):
    """A model whose engine takes no batch at all in which somebody says `refused`."""

    def submit(
        self,
        requests: Sequence[Request],
        *,
        most: int = 0,
        on_text: OnText | None = None,
        on_finish: Callable[[], None] | None = None,
    ) -> Pending:
        if any("refused" in self._rules.tokenizer.decode(request.tokens) for request in requests):
            raise ValueError("a token is not in the vocabulary")
        return super().submit(requests, most=most, on_text=on_text, on_finish=on_finish)


@pytest.fixture(scope="session")
def forgetful_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose chat template refuses a conversation with more than one exchange, as those of some models do."""
    folder = tmp_path_factory.mktemp("forgetful")
    refuse = "{% if messages | length > 3 %}{{ raise_exception('one question at a time') }}{% endif %}"
    source = TinyLlama().write(folder / "forgetful.gguf", metadata={"tokenizer.chat_template": refuse + CHAT_TEMPLATE})
    return ensure(f"gguf:{source}", Settings(cache_dir=folder / "cache", compute_type="float32"))


def threads(count: int) -> list[Address]:
    return [address(f"thread {number}") for number in range(count)]


def on_shard(desk: Desk, number: int, count: int) -> list[Address]:
    """So many conversations of one shard."""
    places = (address(channel=f"channel {n}") for n in itertools.count())
    return list(itertools.islice((to for to in places if desk.lanes.shard_of(to).number == number), count))


def dead_letters(desk: Desk) -> dict[str, str]:
    """Reasons by id."""
    names = desk.client.zrange(desk.shard.dead_index, 0, -1)
    return {name.decode(): desk.client.hget(desk.shard.dead(name.decode()), "reason").decode() for name in names}


# -- the ordinary way -----------------------------------------------------------------------------------------------------------


def test_every_turn_gets_one_reply_and_the_lanes_are_left_empty(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path
) -> None:
    with mill(small(settings), tiny_model, redis_client) as it:
        accepted = [it.desk.accept(f"question {n}", to=to) for n, to in enumerate(threads(7))]
        it.until(lambda: it.settled(*accepted))
        assert [it.record(one.id)["state"] for one in accepted] == ["answered"] * 7
        assert Counter(delivery.id for delivery in it.posted()) == Counter(f"{one.id}-0" for one in accepted)
        assert len(it.loop.turns) == 0
        assert it.loop.turns.saved
        lane_probe.audit(redis_client, it.desk.lanes)


def test_fragments_that_wait_together_are_one_turn_and_get_one_reply(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path
) -> None:
    with mill(small(settings), tiny_model, redis_client) as it:
        accepted = [it.desk.accept(text) for text in ("my order", "number 7", "is late")]
        it.until(lambda: it.settled(*accepted))
        (delivery,) = it.posted()
        assert delivery.reply.in_reply_to == tuple(one.id for one in accepted)
        assert next(turn.text for turn in it.desk.history()) == "my order\nnumber 7\nis late"


def test_the_trace_says_how_long_each_step_took(settings: Settings, redis_client: redis.Redis, tiny_model: Path) -> None:
    with mill(small(settings), tiny_model, redis_client) as it:
        accepted = it.desk.accept("hello")
        it.until(lambda: it.settled(accepted))
        trace = it.posted()[0].reply.trace
        assert trace["waited_ms"] >= 0
        assert trace["prepared_ms"] >= 0
        assert 0 <= trace["first_token_ms"] <= trace["generated_ms"]
        assert trace["tokens"] <= 6
        assert trace["batch"] == 1


def test_a_platform_that_streams_is_shown_the_text_while_it_grows(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path
) -> None:
    with mill(small(settings, max_tokens=200), tiny_model, redis_client) as it, redis_client.pubsub() as ear:
        session = "a tab"
        ear.subscribe(progress(session))
        accepted = it.desk.accept("hello", to=Address(platform="page", tenant="default", channel=session))
        it.until(lambda: it.settled(accepted))
        heard = [message["data"] for message in iter(lambda: ear.get_message(timeout=0.05), None) if message["type"] == "message"]
        kinds = [msgspec.json.decode(data, type=Progress).kind for data in heard]
        assert kinds[0] == "typing"
        assert "text" in kinds


def test_every_shard_is_served_though_the_first_is_never_empty(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path
) -> None:
    with mill(small(settings, shards=3, batch_items=1, cache=False), tiny_model, redis_client) as it:
        first = [it.desk.accept("question", to=to) for to in on_shard(it.desk, 0, 30)]
        others = [it.desk.accept("question", to=to) for number in (1, 2) for to in on_shard(it.desk, number, 2)]
        it.until(lambda: it.settled(*others))
        assert not it.settled(*first)


def test_a_shard_with_a_lane_on_its_last_attempt_is_served_though_the_first_is_never_empty(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path
) -> None:
    with mill(small(settings, shards=2, batch_items=1, cache=False), tiny_model, redis_client) as it:
        (place,) = on_shard(it.desk, 1, 1)
        suspect = it.desk.accept("question", to=place)
        for _ in range(2):
            (lane,) = it.desk.claim(shard=1).lanes
            it.desk.release(lane, failed=True)
        first = [it.desk.accept("question", to=to) for to in on_shard(it.desk, 0, 30)]
        it.until(lambda: it.settled(suspect))
        assert not it.settled(*first)


# -- Redis away -----------------------------------------------------------------------------------------------------------------


positions = st.sets(st.integers(0, 60), max_size=8)


@hypothesis_settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=positions, after=positions)
@pytest.mark.slow
def test_whenever_redis_goes_away_every_message_gets_one_outcome(
    redis_url: str, redis_client: redis.Redis, tiny_model: Path, before: set[int], after: set[int]
) -> None:
    """Commands that fail before the server has them, and commands whose reply is lost, anywhere on the way."""
    redis_client.flushall()
    settings = small(Settings(redis_url=redis_url, broker_url=redis_url, secret_key="s" * 16, attempts=100))
    with mill(settings, tiny_model, redis_client) as it:
        it.cuts.before, it.cuts.after = before, after
        accepted = [it.desk.accept(f"question {n % 3}", to=to) for n, to in enumerate(threads(4))]
        accepted.append(it.desk.accept("and another", to=threads(4)[0]))
        last_cut = max((*before, *after, 0))

        def over() -> bool:
            if it.loop.turns.saved and not len(it.loop.turns) and it.desk.backlog()[0].leased:
                it.desk.advance(settings.lease + 1)  # A claim whose reply was lost comes back when its lease runs out.
                it.desk.sweep()
            return it.settled(*accepted) and it.loop.turns.saved and it.cuts.count > last_cut

        it.until(over)
        assert {it.record(one.id)["state"] for one in accepted} == {"answered"}
        answered = [name for delivery in it.posted() for name in delivery.reply.in_reply_to]
        assert Counter(answered) == Counter(one.id for one in accepted)
        assert len(it.loop.turns) == 0
        it.until(lambda: it.desk.backlog()[0].leased == 0)
        lane_probe.audit(redis_client, it.desk.lanes)


def test_what_the_model_made_while_redis_was_away_is_committed_when_it_is_back(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path
) -> None:
    with mill(small(settings), tiny_model, redis_client) as it:
        accepted = [it.desk.accept(f"question {n}", to=to) for n, to in enumerate(threads(3))]
        it.until_running()
        it.cuts.away = True
        it.model.let_go()
        wait_for(lambda: it.loop.finish() or not it.loop._running)
        assert not it.step()
        assert not it.loop.turns.saved
        it.cuts.away = False
        it.until(lambda: it.settled(*accepted))
        assert {it.record(one.id)["source"] for one in accepted} <= {"model", "fallback"}
        assert len(it.posted()) == 3


def test_a_batch_that_fails_while_redis_is_away_is_freed_when_it_is_back(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path
) -> None:
    configured = small(settings)
    with mill(configured, Brittle.load(tiny_model, configured), redis_client) as it:
        accepted = it.desk.accept("all is broken")
        while not it.loop._running:
            it.loop.claim()
            it.loop.prepare()
            it.loop.start()
        it.cuts.away = True
        it.loop.finish()
        assert not it.step()
        it.cuts.away = False
        it.until(lambda: it.settled(accepted))
        assert it.record(accepted.id)["state"] == "apologised"


def test_a_lane_that_comes_back_while_its_turn_is_with_the_model_loses_nothing(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path
) -> None:
    """The lease ran out unnoticed, a fragment came, and the same worker claims the lane again: two turns of one lane."""
    with mill(small(settings), tiny_model, redis_client) as it:
        first = it.desk.accept("my order is late")
        it.until_running()
        second = it.desk.accept("and broken")
        it.desk.advance(it.loop.settings.lease + 1)
        it.desk.sweep()
        it.loop.claim()
        assert len(it.loop.turns) == 2
        it.model.let_go()
        it.until(lambda: it.settled(first, second))
        answered = [name for delivery in it.posted() for name in delivery.reply.in_reply_to]
        assert Counter(answered) == Counter([first.id, second.id])
        it.until(lambda: not len(it.loop.turns))
        lane_probe.audit(redis_client, it.desk.lanes)


def test_a_turn_whose_lease_was_lost_before_it_began_is_left_to_its_new_holder(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path
) -> None:
    with mill(small(settings, batch_items=2), tiny_model, redis_client) as it:
        accepted = [it.desk.accept(f"question {n}", to=to) for n, to in enumerate(threads(2))]
        it.loop.claim()
        it.loop.prepare()
        assert it.loop.describe()["waiting"] == 2
        it.desk.advance(it.loop.settings.lease + 1)
        it.desk.sweep()
        stolen = it.desk.claim().lanes
        assert len(stolen) == 2
        it.loop.tend()
        assert it.loop.describe() | {"model": ""} == it.loop.describe() | {"model": "", "held": 0, "waiting": 0}
        for lane in stolen:
            it.desk.release(lane)
        it.until(lambda: it.settled(*accepted))


# -- failures -------------------------------------------------------------------------------------------------------------------


def test_a_turn_whose_prompt_cannot_be_made_is_given_up_after_its_attempts_and_its_neighbours_are_answered(
    settings: Settings, redis_client: redis.Redis, forgetful_model: Path
) -> None:
    with mill(small(settings, apology="Sorry."), forgetful_model, redis_client) as it:
        places = threads(5)
        opening = it.desk.accept("hello", to=places[0])
        it.until(lambda: it.settled(opening))
        accepted = [it.desk.accept(f"question {n}", to=to) for n, to in enumerate(places)]
        it.until(lambda: it.settled(*accepted))
        assert [it.record(one.id)["state"] for one in accepted] == ["apologised"] + ["answered"] * 4
        assert it.record(accepted[0].id)["text"] == "Sorry."
        assert dead_letters(it.desk) == {accepted[0].id: "3 attempts failed"}
        assert it.loop.figures.snapshot()["failed"] == "3"
        lane_probe.audit(redis_client, it.desk.lanes)


def test_a_turn_that_breaks_the_engine_is_given_up_after_its_attempts_and_its_neighbours_are_answered(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path
) -> None:
    configured = small(settings)
    with mill(configured, Brittle.load(tiny_model, configured), redis_client) as it:
        asked = ["one", "two", "all is broken", "four"]
        accepted = [it.desk.accept(text, to=to) for text, to in zip(asked, threads(4), strict=True)]
        it.until(lambda: it.settled(*accepted))
        states = [it.record(one.id)["state"] for one in accepted]
        assert states == ["answered", "answered", "apologised", "answered"]
        assert dead_letters(it.desk) == {accepted[2].id: "3 attempts failed"}
        assert it.loop.figures.snapshot()["failed"] == "3"


def test_a_turn_that_the_engine_does_not_take_is_given_up_and_its_neighbours_are_answered(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path
) -> None:
    configured = small(settings)
    with mill(configured, Refusing.load(tiny_model, configured), redis_client) as it:
        accepted = [it.desk.accept(text, to=to) for text, to in zip(["one", "refused", "three"], threads(3), strict=True)]
        it.until(lambda: it.settled(*accepted))
        assert [it.record(one.id)["state"] for one in accepted] == ["answered", "apologised", "answered"]


def test_a_batch_too_large_for_the_engine_costs_no_turn_an_attempt(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path
) -> None:
    configured = small(settings)
    model = Brittle.load(tiny_model, configured)
    model.most = 1
    with mill(configured, model, redis_client) as it:
        accepted = [it.desk.accept(f"question {n}", to=to) for n, to in enumerate(threads(4))]
        it.until(lambda: it.settled(*accepted))
        assert {it.record(one.id)["state"] for one in accepted} == {"answered"}
        assert it.loop.figures.snapshot()["failed"] == "0"


def test_an_engine_that_fails_on_everything_ends_the_loop_and_burns_no_backlog(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path
) -> None:
    configured = small(settings, attempts=50)
    with mill(configured, Brittle.load(tiny_model, configured), redis_client) as it:
        for to in threads(MOST_FAILURES + 5):
            it.desk.accept("all is broken", to=to)
        thread = LoopThread("answer", lambda thread: None, patience=60)
        with pytest.raises(ModelError, match="in a row"):
            it.loop.run(thread)
        inbound, outbound = it.desk.backlog()
        assert (inbound.messages, inbound.leased, outbound.messages) == (MOST_FAILURES + 5, 0, 0)
        it.loop.bell.stop()


def test_a_turn_on_its_last_attempt_shares_the_worker_with_no_other(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path
) -> None:
    with mill(small(settings), tiny_model, redis_client) as it:
        suspect = it.desk.accept("question", to=address("suspect"))
        it.desk.fail(2)
        others = [it.desk.accept("question", to=to) for to in threads(3)]
        it.until_running()
        for _ in range(3):
            it.step()
            assert len(it.loop.turns) == 1
        assert not it.settled(suspect)
        it.model.let_go()
        it.until(lambda: it.settled(suspect, *others))


def test_bytes_that_are_no_message_become_a_dead_letter_and_hold_up_nobody(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path
) -> None:
    with mill(small(settings), tiny_model, redis_client) as it:
        accepted = [it.desk.accept(text) for text in ("first", "second", "third", "fourth")]
        name = f"{it.desk.shard.prefix}in:q:{it.desk.lanes.digests.lane(address())}"
        for position, body in ((0, b"\xff\x00"), (2, b'[1,["webhook","t","c","d"],"ann","no ids",[]]')):
            head = redis_client.lindex(name, position).partition(b"\n")[0]
            redis_client.lset(name, position, head + b"\n" + body)
        it.until(lambda: it.settled(*accepted))
        assert [it.record(one.id)["state"] for one in accepted] == ["dead", "answered", "dead", "answered"]
        assert set(dead_letters(it.desk)) == {accepted[0].id, accepted[2].id}
        assert [delivery.reply.in_reply_to for delivery in it.posted()] == [(accepted[1].id,), (accepted[3].id,)]
        lane_probe.audit(redis_client, it.desk.lanes)


# -- what happens to a message meanwhile ----------------------------------------------------------------------------------------


def test_messages_of_a_conversation_that_a_person_owns_go_to_history_and_the_bot_is_silent(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path
) -> None:
    with mill(small(settings), tiny_model, redis_client) as it:
        accepted = [it.desk.accept(text) for text in ("I want", "a human")]
        it.desk.own(Owner.HUMAN)
        it.until(lambda: it.settled(*accepted))
        assert {it.record(one.id)["state"] for one in accepted} == {"handed-over"}
        assert [turn.text for turn in it.desk.history()] == ["I want", "a human"]
        assert it.posted() == []


def test_a_person_who_takes_over_while_the_model_is_at_it_silences_the_reply(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path
) -> None:
    with mill(small(settings), tiny_model, redis_client) as it:
        accepted = it.desk.accept("I want my money")
        it.until_running()
        it.desk.own(Owner.WAITING)
        it.model.let_go()
        it.until(lambda: it.settled(accepted))
        assert it.record(accepted.id)["state"] == "handed-over"
        assert it.posted() == []


def test_an_edit_while_the_model_is_at_it_is_what_gets_answered(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path
) -> None:
    with mill(small(settings), tiny_model, redis_client) as it:
        accepted = it.desk.accept("cancel my order", "m1")
        it.until_running()
        assert it.desk.amend("where is my order", "m1") == "amended"
        it.model.let_go()
        it.until(lambda: it.settled(accepted))
        assert next(turn.text for turn in it.desk.history()) == "where is my order"
        assert len(it.posted()) == 1


def test_a_message_deleted_while_the_model_is_at_it_gets_no_reply(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path
) -> None:
    with mill(small(settings), tiny_model, redis_client) as it:
        it.desk.accept("never mind", "m1")
        it.until_running()
        assert it.desk.cancel("m1") == "cancelled"
        it.model.let_go()
        it.until(lambda: not len(it.loop.turns) and it.loop.turns.saved)
        assert it.posted() == []
        assert it.desk.history() == []
        lane_probe.audit(redis_client, it.desk.lanes)


def test_of_two_fragments_one_of_which_is_deleted_meanwhile_the_other_is_answered(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path
) -> None:
    with mill(small(settings), tiny_model, redis_client) as it:
        kept = it.desk.accept("where is my order", "m1")
        it.desk.accept("you idiots", "m2")
        it.until_running()
        assert it.desk.cancel("m2") == "cancelled"
        it.model.let_go()
        it.until(lambda: it.settled(kept))
        (delivery,) = it.posted()
        assert delivery.reply.in_reply_to == (kept.id,)
        assert next(turn.text for turn in it.desk.history()) == "where is my order"


def test_a_message_past_its_deadline_gets_the_apology_though_the_model_is_at_it(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path
) -> None:
    with mill(small(settings, apology="Too late, sorry."), tiny_model, redis_client) as it:
        accepted = it.desk.accept("hello")
        it.until_running()
        it.desk.advance(301)
        it.loop._next_tend = 0.0
        it.until(lambda: it.settled(accepted))
        assert it.record(accepted.id)["state"] == "apologised"
        it.model.let_go()
        it.until(lambda: not len(it.loop.turns))
        assert [delivery.reply.text for delivery in it.posted()] == ["Too late, sorry."]


# -- room, drains, clocks -------------------------------------------------------------------------------------------------------


def test_a_draining_worker_claims_nothing_until_it_is_told_to_go_on(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path
) -> None:
    with mill(small(settings), tiny_model, redis_client) as it:
        it.loop.draining = True
        accepted = it.desk.accept("hello")
        for _ in range(5):
            assert it.step()
        assert it.desk.backlog()[0].leased == 0
        it.loop.draining = False
        it.until(lambda: it.settled(accepted))


def test_a_drain_finishes_what_the_model_is_at_and_gives_back_the_rest(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path
) -> None:
    with mill(small(settings, max_tokens=60, batch_items=1), tiny_model, redis_client) as it:
        accepted = [it.desk.accept(f"question {n}", to=to) for n, to in enumerate(threads(4))]
        it.until_running()
        threading.Timer(0.3, it.model.let_go).start()
        it.loop.drain(LoopThread("answer", lambda thread: None, patience=60), Away("answer"))
        inbound, _ = it.desk.backlog()
        assert inbound.leased == 0
        assert inbound.messages == 3
        assert sum(it.settled(one) for one in accepted) == 1
        assert all(lane.attempts == 0 for lane in it.desk.claim().lanes)


@pytest.mark.parametrize("hurried", [True, False], ids=["hurried", "out of time"])
def test_a_drain_that_may_not_wait_gives_back_what_the_model_is_at(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path, hurried: bool
) -> None:
    configured = small(settings, drain_timeout=30.0 if hurried else 0.0)
    with mill(configured, tiny_model, redis_client) as it:
        it.desk.accept("tell me a long story")
        it.until_running()
        thread = LoopThread("answer", lambda thread: None, patience=60)
        if hurried:
            thread.hurried.set()
        started = time.monotonic()
        it.loop.drain(thread, Away("answer"))
        assert time.monotonic() - started < 5
        (lane,) = it.desk.claim().lanes
        assert lane.attempts == 0


def test_a_drain_with_redis_away_ends_in_time(settings: Settings, redis_client: redis.Redis, tiny_model: Path) -> None:
    with mill(small(settings, drain_timeout=0.7), tiny_model, redis_client) as it:
        it.desk.accept("hello")
        it.until_running()
        it.cuts.away = True
        it.model.let_go()
        started = time.monotonic()
        it.loop.drain(LoopThread("answer", lambda thread: None, patience=60), Away("answer"))
        assert time.monotonic() - started < 5
        assert not it.loop.turns.saved


def test_a_worker_whose_clock_is_wrong_sleeps_as_long_as_redis_says(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour ahead it must not spin, an hour behind it must not report negative times."""
    real = time.time_ns
    for hours in (1, -1):
        monkeypatch.setattr("engine.trace.time.time_ns", lambda shift=hours * 3600 * 10**9: real() + shift)
        redis_client.flushall()
        with mill(small(settings), tiny_model, redis_client) as it:
            accepted = it.desk.accept("hello", quiet=0.4)
            it.step()
            started, steps = time.monotonic(), 0
            while not it.settled(accepted):
                it.loop._sleep()
                it.step()
                steps += 1
            assert 0.2 < time.monotonic() - started < 2
            assert steps < 25
            record, trace = it.record(accepted.id), it.posted()[0].reply.trace
            assert 0 <= int(record["answered_at"]) - int(record["received_at"]) < 3000
            assert 400 <= trace["waited_ms"] < 3000


def test_memory_is_given_back_once_nothing_was_asked_for_a_while(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path
) -> None:
    class Resting(Gated):
        rests = 0

        def rest(self) -> None:
            super().rest()
            self.rests += 1

    configured = small(settings)
    model = Resting.load(tiny_model, configured)
    with mill(configured, model, redis_client) as it:
        for _ in range(2):
            accepted = it.desk.accept("hello")
            it.until(lambda: it.settled(accepted))  # noqa: B023 - called at once
        assert model.rests == 0
        it.loop._health._next_rest = 0.0
        for _ in range(3):
            it.step()
        assert model.rests == 1


def test_what_a_worker_does_can_be_read_in_redis_while_it_lives(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path
) -> None:
    with mill(small(settings), tiny_model, redis_client) as it:
        accepted = it.desk.accept("hello")
        it.until(lambda: it.settled(accepted))
        it.loop._next_tend = 0.0
        it.step()
        kept = {name.decode(): value.decode() for name, value in redis_client.hgetall(worker(it.loop.figures.name)).items()}
        assert kept["done"] == "1"
        assert float(kept["rate"]) > 0
        assert int(kept["tokens"]) > 0
        assert 0 < redis_client.pttl(worker(it.loop.figures.name)) <= 10_000
        it.loop.drain(LoopThread("answer", lambda thread: None, patience=60), Away("answer"))
        assert not redis_client.exists(worker(it.loop.figures.name))
