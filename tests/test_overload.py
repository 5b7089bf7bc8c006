"""As the wait grows, step after step of a ladder is taken, and nobody is left without a word."""

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from connectors.crowd import Crowd
from connectors.intake import Intake
from connectors.webhook import Webhook
from engine import roster
from engine.errors import SettingsError
from engine.keys import WORKERS, worker
from engine.lanes import Lanes
from engine.messages import Action, Address, Delivery, InboundMessage, Owner, Turn
from engine.moves import Backlog
from engine.overload import Forecast, Rung, forecast, lasting, rung
from engine.saying import say
from engine.settings import Settings
from engine.store import connect_async
from tests import lane_probe
from tests.conftest import wait_for
from tests.desk import Desk, address
from tests.doors import with_endpoint
from tests.loops import mill, small
from workers.figures import Capacity, Figures
from workers.load import Load
from workers.outcomes import kept_for_person, read

pytestmark = pytest.mark.one_redis

#: A worker that answers two messages a second while it is busy.
WORKER = {"loop": "answer", "capacity": "2.0"}


def waiting(messages: int, *, deferred: int = 0, age: float = 0.0) -> Backlog:
    return Backlog(messages=messages, deferred=deferred, lanes=messages, leased=0, age_ms=round(age * 1000))


# -- the policy -----------------------------------------------------------------------------------------------------------------


def test_the_wait_is_what_waits_divided_by_what_the_workers_do() -> None:
    assert forecast([waiting(30), waiting(10)], [WORKER, WORKER, {"loop": "deliver", "capacity": "9"}]) == Forecast(40, 10.0)


def test_what_waits_for_a_time_is_not_before_anybody() -> None:
    assert forecast([waiting(30, deferred=20)], [WORKER]) == Forecast(10, 5.0)


def test_while_no_worker_was_ever_busy_the_oldest_message_tells_the_wait() -> None:
    assert forecast([waiting(30, age=7.5), waiting(1, age=2)], [{"loop": "answer", "capacity": "0.000"}]) == Forecast(31, 7.5)
    assert forecast([waiting(30, age=7.5)], []) == Forecast(30, 7.5)


def test_a_quiet_tenant_does_not_wait_for_all_of_a_noisy_one() -> None:
    found = forecast([waiting(5000, age=200)], [{"loop": "answer", "capacity": "20"}])
    assert found == Forecast(5000, 250.0)
    assert found.of_tenant(own=4999, tenants=2) == Forecast(5000, 250.0)
    assert found.of_tenant(own=1, tenants=2) == Forecast(2, 0.1)
    assert found.of_tenant(own=0, tenants=1) == Forecast()


def test_one_old_message_makes_no_queue_where_workers_are_known() -> None:
    assert forecast([waiting(1, age=600)], [WORKER]) == Forecast(1, 0.5)


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(1, 50), st.floats(0, 50))
def test_no_tenant_waits_longer_than_all_together(messages: int, own: int, tenants: int, rate: float) -> None:
    found = forecast([waiting(messages, age=3)], [{"loop": "answer", "capacity": f"{rate}"}])
    assert found.of_tenant(min(own, messages), tenants).wait <= found.wait


def test_nothing_waits_where_nothing_waits() -> None:
    assert forecast([], []) == Forecast(0, 0.0)


@pytest.mark.parametrize(
    ("wait", "step"),
    [
        (0, Rung.NORMAL),
        (14.9, Rung.NORMAL),
        (15, Rung.CACHED),
        (30, Rung.BRIEF),
        (45, Rung.TELL),
        (90, Rung.PERSON),
        (9e9, Rung.PERSON),
    ],
)
def test_each_step_begins_at_its_setting(wait: float, step: Rung) -> None:
    assert rung(wait, Settings()) is step


def test_a_step_set_to_zero_is_left_out() -> None:
    assert rung(100, dataclasses.replace(Settings(), overload_person=0.0)) is Rung.TELL
    never = dict.fromkeys(("overload_cached", "overload_brief", "overload_tell", "overload_person"), 0.0)
    assert rung(1e9, dataclasses.replace(Settings(), **never)) is Rung.NORMAL


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=2).map(sorted))
def test_a_longer_wait_never_leads_down(waits: list[float]) -> None:
    shorter, longer = waits
    assert rung(shorter, Settings()) <= rung(longer, Settings())


@given(st.integers(0, 10_000), st.integers(1, 10_000), st.floats(0.1, 100))
def test_more_messages_never_wait_less_and_more_workers_never_longer(messages: int, more: int, rate: float) -> None:
    some = [{"loop": "answer", "capacity": f"{rate}"}]
    assert forecast([waiting(messages)], some).wait <= forecast([waiting(messages + more)], some).wait
    assert forecast([waiting(messages)], some * 2).wait <= forecast([waiting(messages)], some).wait


@pytest.mark.parametrize(
    ("seconds", "words", "german"),
    [
        (0, "10 seconds", "10 Sekunden"),
        (44, "40 seconds", "40 Sekunden"),
        (89, "90 seconds", "90 Sekunden"),
        (90, "2 minutes", "2 Minuten"),
        (600, "10 minutes", "10 Minuten"),
        (7200, "2 hours", "2 Stunden"),
    ],
)
def test_a_wait_is_said_as_people_say_it(seconds: float, words: str, german: str) -> None:
    name, count = lasting(seconds)
    assert say(Settings(), "acme", name, count=str(count)) == words
    assert say(Settings(), "acme", name, "de", count=str(count)) == german


@pytest.mark.parametrize("text", ["wait {minutes}", "wait {", "{0}", "{position.x}"])
def test_a_notice_that_cannot_be_filled_in_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"\{position\} and \{wait\}"):
        Settings.load({"REPLYMILL_IN_LINE": text})


# -- what the figures rest on ---------------------------------------------------------------------------------------------------


def test_a_capacity_counts_busy_time_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("workers.figures.time.monotonic", lambda: clock[0])
    capacity = Capacity()

    def pass_by(seconds: float, *, busy: bool, answered: int) -> None:
        capacity.add(answered)
        clock[0] += seconds
        capacity.tick(busy=busy)

    pass_by(1000, busy=False, answered=50)
    assert capacity.value == 0
    pass_by(1, busy=True, answered=4)
    pass_by(1, busy=True, answered=8)
    assert capacity.value == 6
    pass_by(3600, busy=False, answered=0)
    assert capacity.value == 6
    pass_by(2, busy=True, answered=32)
    assert capacity.value == pytest.approx(0.7 * 6 + 0.3 * 16)


def test_a_worker_is_no_slower_in_the_middle_of_a_long_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("workers.figures.time.monotonic", lambda: clock[0])
    capacity = Capacity()
    seen = []
    for second in range(1, 181):
        clock[0] += 1
        capacity.add(32 if second % 30 == 0 else 0)
        capacity.tick(busy=True)
        seen.append(capacity.value)
    assert seen[:29] == [0] * 29
    assert seen[30:] == pytest.approx([32 / 30] * 150)


def test_the_roster_forgets_who_has_gone(settings: Settings, redis_client: redis.Redis) -> None:
    Figures("answer@a", "answer", settings).write(redis_client)
    Figures("answer@b", "answer", settings).write(redis_client)
    redis_client.delete(worker("answer@a:answer"))

    assert [one["name"] for one in roster.read(redis_client)] == ["answer@b"]
    assert redis_client.smembers(WORKERS) == {b"answer@b:answer"}


# -- at the door ----------------------------------------------------------------------------------------------------------------


def support(text: str, id_: str, conversation: str = "one", platform: str = "chatwoot") -> InboundMessage:
    to = Address(platform=platform, tenant="acme", channel="shop/1", thread=conversation)
    return InboundMessage(address=to, sender="ann", text=text, dedupe_ids=(id_,))


def accept(settings: Settings, found: Forecast, *messages: InboundMessage) -> list[str]:
    """Their verdicts at a door that expects this."""

    class Expected(Crowd):
        def forecast(self, client: object, tenant: str) -> Forecast:
            return found

    async def taking() -> list[str]:
        client = await connect_async(settings)
        lanes = Lanes(settings)
        intake = Intake(settings, lanes, client, Expected(lanes))
        try:
            return [str((await intake.settle(Webhook(with_endpoint(settings)), message)).verdict) for message in messages]
        finally:
            await client.aclose()

    return asyncio.run(taking())


def posted(settings: Settings, client: redis.Redis) -> list[Delivery]:
    """What waits to be sent."""
    shard = Lanes(settings).shards[0]
    names = sorted(client.scan_iter(match=f"{shard.prefix}out:q:*"))
    return [Delivery.decode(raw.split(b"\n", 1)[1]) for name in names for raw in client.lrange(name, 0, -1)]


def test_whoever_writes_while_the_wait_is_long_is_told_once_and_still_answered(
    settings: Settings, redis_client: redis.Redis
) -> None:
    long = Forecast(ahead=120, wait=60)
    verdicts = accept(settings, long, *(support(f"question {n}", f"id{n}", platform="webhook") for n in range(3)))

    assert verdicts == ["accepted"] * 3
    (notice,) = posted(settings, redis_client)
    assert "about 121 messages are before yours" in notice.reply.text
    assert "about 60 seconds" in notice.reply.text
    assert Lanes(settings).backlog(Lanes(settings).shards[0]).run(redis_client)[0].messages == 3
    lane_probe.audit(redis_client, Lanes(settings))


def test_where_the_wait_is_too_long_a_person_is_called_and_the_message_is_kept_for_them(
    settings: Settings, redis_client: redis.Redis
) -> None:
    too_long = Forecast(ahead=5000, wait=100)
    verdicts = accept(settings, too_long, support("my order is late", "id1"), support("and wrong", "id2"))

    lanes = Lanes(settings)
    to = support("", "").address
    assert verdicts == ["owned", "owned"]
    (handed,) = posted(settings, redis_client)
    assert (handed.action, handed.reply.text) == (Action.HAND_OVER, settings.handing_over)
    shard, ref = lanes.shard_of(to), lanes.digests.lane(to)
    assert redis_client.get(shard.owner(ref)) == Owner.WAITING.encode()
    assert redis_client.llen(shard.history(ref)) == 2
    assert lanes.look(lanes.message_id(to, "id1")).run(redis_client).record["state"] == "handed-over"
    lane_probe.audit(redis_client, lanes)


def test_what_waited_before_a_person_was_called_stands_first_in_the_history(settings: Settings, redis_client: redis.Redis) -> None:
    accept(settings, Forecast(), support("my order is late", "id1"))
    assert accept(settings, Forecast(ahead=5000, wait=100), support("and wrong", "id2")) == ["owned"]

    desk = Desk(redis_client, Lanes(settings))
    for lane in desk.claim().lanes:
        messages, _ = read(lane.entries)
        desk.lanes.commit(lane, kept_for_person(lane, messages, settings)).run(redis_client)
    to = support("", "").address
    kept = redis_client.lrange(desk.lanes.shard_of(to).history(desk.lanes.digests.lane(to)), 0, -1)
    assert [Turn.decode(turn).text for turn in kept] == ["my order is late", "and wrong"]


def test_where_nobody_could_take_over_the_message_waits_and_its_sender_is_told(
    settings: Settings, redis_client: redis.Redis
) -> None:
    verdicts = accept(settings, Forecast(ahead=5000, wait=100), support("hello", "id1", platform="webhook"))

    assert verdicts == ["accepted"]
    assert [post.action for post in posted(settings, redis_client)] == [Action.NONE]


def test_a_repeat_of_a_message_that_was_handed_over_calls_nobody_again(settings: Settings, redis_client: redis.Redis) -> None:
    one = support("my order is late", "id1")
    assert accept(settings, Forecast(ahead=5000, wait=100), one, one) == ["owned", "repeat"]
    assert len(posted(settings, redis_client)) == 1


def test_a_web_process_looks_at_the_crowd_beside_the_messages(settings: Settings, redis_client: redis.Redis) -> None:
    desk = Desk(redis_client, Lanes(settings))
    crowded(desk, 10, rate=2.0)

    async def looking() -> Forecast:
        client = await connect_async(settings)
        crowd = Crowd(desk.lanes)
        try:
            assert crowd.forecast(client, "acme") == Forecast()
            assert crowd.looking is not None
            await crowd.looking
            assert crowd.forecast(client, "quiet") == Forecast()
            return crowd.forecast(client, "acme")
        finally:
            await client.aclose()

    assert asyncio.run(looking()) == Forecast(ahead=10, wait=5.0)


# -- in a worker ----------------------------------------------------------------------------------------------------------------


def crowded(desk: Desk, messages: int, *, rate: float) -> None:
    """So many conversations wait, and a worker somewhere says how fast it is."""
    other = Figures("answer@there", "answer", desk.lanes.settings)
    other.capacity.value = rate
    other.write(desk.client)
    for number in range(messages):
        desk.accept(f"{number}", to=address(f"thread {number}"))


@pytest.mark.parametrize(("rate", "step"), [(100.0, Rung.NORMAL), (2.0, Rung.CACHED), (1.0, Rung.BRIEF), (0.1, Rung.PERSON)])
def test_a_worker_learns_of_the_crowd(settings: Settings, redis_client: redis.Redis, rate: float, step: Rung) -> None:
    desk = Desk(redis_client, Lanes(settings))
    crowded(desk, 40, rate=rate)
    load = Load(settings, redis_client, desk.lanes)
    load.look()
    assert load.rung is step


def test_replies_are_short_while_the_wait_is_long(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path, state_of: Callable[..., str]
) -> None:
    busy = small(settings, max_tokens=12, overload_brief_tokens=3, batch_items=8, overload_tell=0.0, overload_person=0.0)
    with mill(busy, tiny_model, redis_client) as it:
        crowded(it.desk, 20, rate=0.1)
        it.loop.load.look()
        it.until(lambda: not it.desk.backlog()[0].messages)
        replies = [post.reply for post in it.posted()]
    assert len(replies) == 20
    assert {reply.trace.get("brief") for reply in replies[:8]} == {True}
    assert max(int(reply.trace["tokens"]) for reply in replies if reply.trace.get("brief")) <= 3
    assert state_of(it) == "normal"


def test_a_cached_answer_does_not_wait_behind_the_model(settings: Settings, redis_client: redis.Redis, tiny_model: Path) -> None:
    """More conversations than a busy worker holds otherwise; the one that is cached comes last."""
    busy = small(settings, batch_items=4, overload_cached=1.0, overload_brief=0.0, overload_tell=0.0, overload_person=0.0)
    with mill(busy, tiny_model, redis_client) as it:
        known = it.desk.accept("known", to=address("before"))
        it.until(lambda: it.settled(known))
        crowded(it.desk, 30, rate=0.1)
        it.until_running()
        it.until(lambda: it.loop.load.rung is Rung.CACHED)
        last = it.desk.accept("known", to=address("last"))
        it.until(lambda: it.settled(last))
        assert it.record(last.id)["source"] == "cache"
        assert it.desk.backlog()[0].messages == 30
        it.model.let_go()


@pytest.fixture
def state_of() -> Callable[..., str]:
    """What a loop says of the load once it has calmed down."""

    def say(it: object) -> str:
        loop = it.loop  # type: ignore[attr-defined]

        def calm() -> bool:
            loop.load._next_look = 0.0
            loop.load.look()
            return loop.load.rung is Rung.NORMAL

        wait_for(calm)
        return str(loop.describe()["load"])

    return say
