"""What a worker holds, on real lanes: nothing is dropped, and each way to let go of a turn leaves its lane to somebody."""

import dataclasses
from collections import Counter
from collections.abc import Iterator

import pytest
import redis

from engine.answer import Answer
from engine.errors import StoreUnavailable
from engine.keys import Direction
from engine.lanes import Lanes
from engine.messages import Owner, Reply, Source
from engine.moves import Outcome
from engine.question import Question
from engine.settings import Settings
from tests import lane_probe
from tests.desk import Desk, address
from tests.loops import Cuts, cut_client
from workers.turns import Turns

pytestmark = pytest.mark.one_redis


class Holder:
    """A worker's turns, and a desk on the same lanes."""

    def __init__(self, settings: Settings, client: redis.Redis, own: redis.Redis, cuts: Cuts) -> None:
        self.cuts = cuts
        self.desk = Desk(client, Lanes(settings))
        self.committed: list[str] = []
        self.turns = Turns(settings, own, on_committed=lambda question, reply: self.committed.append(question.message))

    def take(self) -> list[Question]:
        """Claim what is ready in every shard."""
        shards = range(len(self.desk.lanes.shards))
        return [question for shard in shards for question in self.turns.hold(self.desk.claim(shard=shard))]

    def answer(self, question: Question) -> Reply:
        said = question.reply(f"an answer to {question.text}", Source.MODEL)
        self.turns.answer(question.key, Answer(reply=said))
        return said


@pytest.fixture
def holder(settings: Settings, redis_client: redis.Redis) -> Iterator[Holder]:
    cuts = Cuts()
    with cut_client(settings.redis_url, cuts) as own:
        yield Holder(settings, redis_client, own, cuts)


def test_a_turn_says_how_long_it_waited_by_the_clock_of_redis(holder: Holder) -> None:
    holder.desk.accept("hello")
    holder.desk.advance(3)
    (question,) = holder.take()
    assert 3000 <= question.waited_ms < 5000


def test_an_answer_is_kept_until_redis_takes_it_and_is_then_reported_once(holder: Holder) -> None:
    accepted = holder.desk.accept("hello")
    (question,) = holder.take()
    holder.answer(question)
    holder.cuts.away = True
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            holder.turns.save()
    assert (holder.turns.saved, holder.committed) == (False, [])
    holder.cuts.away = False
    holder.turns.save()
    holder.turns.save()
    assert (holder.turns.saved, holder.committed) == (True, [accepted.id])


def test_an_answer_whose_commit_lost_its_reply_is_written_once(holder: Holder, redis_client: redis.Redis) -> None:
    holder.desk.accept("the server knows the script from here on", to=address("before"))
    holder.answer(*holder.take())
    holder.turns.save()
    accepted = holder.desk.accept("hello")
    holder.answer(*holder.take())
    holder.cuts.after = {holder.cuts.count}
    with pytest.raises(StoreUnavailable):
        holder.turns.save()
    holder.turns.save()
    assert holder.turns.saved
    assert holder.desk.lanes.look(accepted.id).run(redis_client).record["state"] == "answered"
    assert holder.desk.backlog()[1].messages == 2
    lane_probe.audit(redis_client, holder.desk.lanes)


def test_a_turn_that_is_not_held_any_more_is_not_answered(holder: Holder) -> None:
    holder.desk.accept("hello")
    (question,) = holder.take()
    holder.turns.forget({question.key})
    holder.answer(question)
    assert holder.turns.saved


def test_turns_given_back_while_redis_is_away_are_free_when_it_is_back(holder: Holder) -> None:
    places = [address(f"thread {n}") for n in range(3)]
    for to in places:
        holder.desk.accept("hello", to=to)
    first, second, third = holder.take()
    holder.cuts.away = True
    holder.turns.give_back([first.key], failed="it broke")
    holder.turns.give_back([second.key])
    assert len(holder.turns) == 1
    with pytest.raises(StoreUnavailable):
        holder.turns.save()
    holder.cuts.away = False
    holder.turns.save()
    assert third.key in holder.turns
    lanes = holder.desk.claim().lanes
    assert Counter(lane.attempts for lane in lanes) == Counter([0, 1])


def test_turns_of_several_shards_are_told_apart_though_their_tokens_are_equal(
    settings: Settings, redis_client: redis.Redis
) -> None:

    split = dataclasses.replace(settings, shards=4)
    with cut_client(settings.redis_url, Cuts()) as own:
        holder = Holder(split, redis_client, own, Cuts())
        accepted = {holder.desk.accept("hello", to=address(channel=f"channel {n}")).id for n in range(40)}
        questions = [question for _ in range(20) for question in holder.take()]
        assert {question.message for question in questions} == accepted
        assert len({question.key for question in questions}) == len(holder.turns) == 40
        for question in questions:
            holder.answer(question)
        holder.turns.save()
        for one in accepted:
            found = holder.desk.lanes.look(one).run(redis_client)
            assert found.record["state"] == "answered"
        assert Counter(holder.committed) == Counter(accepted)


def test_a_renewed_lease_outlives_its_time_and_a_lost_one_is_named(holder: Holder) -> None:
    for name in ("kept", "lost"):
        holder.desk.accept("hello", to=address(name))
    claim = holder.desk.claim()
    kept, lost = sorted(holder.turns.hold(claim), key=lambda question: question.address.thread)
    (stolen,) = [lane for lane in claim.lanes if lane.entries[0].id == lost.message]
    holder.desk.advance(20)
    assert holder.turns.renew() == set()
    holder.desk.advance(20)
    holder.desk.lanes.commit(stolen, Outcome()).run(holder.desk.client)
    assert holder.turns.renew() == {lost.key}
    assert kept.key in holder.turns


def test_a_lane_held_twice_is_renewed_under_its_later_lease(holder: Holder) -> None:
    holder.desk.accept("hello")
    (earlier,) = holder.take()
    holder.desk.advance(31)
    holder.desk.sweep()
    (later,) = holder.take()
    assert earlier.key != later.key
    assert holder.turns.renew() == set()
    holder.answer(later)
    holder.answer(earlier)
    holder.turns.save()
    assert holder.committed == [later.message]


def test_a_turn_on_its_last_attempt_is_recognised(holder: Holder) -> None:
    holder.desk.accept("hello")
    for failed in (False, False, True):
        (question,) = holder.take()
        assert holder.turns.last_chance is failed
        holder.turns.give_back([question.key], failed="it broke")
        holder.turns.save()


def test_a_person_who_gives_the_conversation_back_meanwhile_gets_the_bot_to_answer(
    holder: Holder, redis_client: redis.Redis
) -> None:
    holder.desk.accept("hello")
    holder.desk.own(Owner.HUMAN)
    assert holder.take() == []
    holder.desk.own(Owner.BOT)
    holder.turns.save()
    (question,) = holder.take()
    holder.answer(question)
    holder.turns.save()
    assert holder.committed == [question.message]
    assert len(holder.desk.history()) == 2


def test_sweeping_settles_what_others_left_behind(holder: Holder, redis_client: redis.Redis) -> None:
    expired = holder.desk.accept("too late", to=address("a"), deadline=5)
    exhausted = holder.desk.accept("too often", to=address("b"))
    for _ in range(3):
        for lane in holder.desk.claim().lanes:
            holder.desk.release(lane, failed=lane.entries[0].id == exhausted.id)
    holder.desk.advance(6)
    holder.turns.sweep()
    for one in (expired, exhausted):
        assert holder.desk.lanes.look(one.id).run(redis_client).record["state"] == "apologised"
    assert holder.desk.client.zrange(holder.desk.shard.dead_index, 0, -1) == [exhausted.id.encode()]
    assert holder.desk.backlog()[list(Direction).index(Direction.OUT)].messages == 2


def test_nothing_of_what_people_wrote_is_logged(holder: Holder, capsys: pytest.CaptureFixture[str]) -> None:
    holder.desk.accept("my password is tulip")
    (question,) = holder.take()
    holder.answer(question)
    holder.turns.save()
    printed = capsys.readouterr()
    assert "tulip" not in printed.out + printed.err
