"""Which turns the model gets next."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from engine.keys import Shard
from workers.batching import Limits, Round, choose, room


@dataclass(frozen=True)
class Turn:
    number: int
    prompt_tokens: int
    deadline: int


turns = st.lists(st.tuples(st.integers(1, 4000), st.integers(0, 1000)), max_size=80).map(
    lambda pairs: [Turn(number, tokens, deadline) for number, (tokens, deadline) in enumerate(pairs)]
)
limits = st.builds(Limits, items=st.integers(1, 40), tokens=st.integers(1, 8192))


@given(turns, st.integers(0, 4), limits)
def test_a_choice_keeps_both_budgets_and_names_no_turn_twice(waiting: list[Turn], idle: int, bounds: Limits) -> None:
    chosen = choose(waiting, idle, bounds)
    assert len(chosen) <= idle * bounds.items
    assert len(chosen) <= 1 or sum(turn.prompt_tokens for turn in chosen) <= idle * bounds.tokens
    assert len({turn.number for turn in chosen}) == len(chosen)


@given(turns, st.integers(1, 4), limits)
def test_nothing_that_waits_is_due_before_what_was_chosen(waiting: list[Turn], idle: int, bounds: Limits) -> None:
    chosen = choose(waiting, idle, bounds)
    left = [turn for turn in waiting if turn not in chosen]
    assert bool(chosen) == bool(waiting)
    assert all(turn.deadline <= other.deadline for turn in chosen for other in left)


def test_a_turn_longer_than_the_token_budget_goes_alone() -> None:
    long, short = Turn(0, 9000, 1), Turn(1, 10, 2)
    assert choose([long, short], 1, Limits(items=8, tokens=8192)) == [long]


@given(st.integers(0, 500), st.integers(1, 8), limits)
def test_a_worker_claims_one_batch_ahead_and_no_more(held: int, replicas: int, bounds: Limits) -> None:
    assert held + room(held, replicas, bounds) == max(held, bounds.items * (replicas + 1))


shards = st.integers(1, 8).map(lambda count: [Shard(number) for number in range(count)])


@given(shards)
def test_every_shard_comes_first_in_its_turn(every: list[Shard]) -> None:
    served = Round(every)
    firsts = [served.shards()[0] for _ in every * 2]
    assert firsts == every * 2


@given(shards, st.data())
def test_a_round_names_every_shard_once_those_first_where_a_lane_waits_for_an_empty_worker(
    every: list[Shard], data: st.DataObject
) -> None:
    served = Round(every)
    waiting: set[Shard] = set()
    for shard in data.draw(st.lists(st.sampled_from(every))):
        suspects = data.draw(st.booleans())
        served.note(shard, suspects=suspects)
        waiting = waiting | {shard} if suspects else waiting - {shard}
        order = served.shards()
        assert sorted(order, key=lambda one: one.number) == every
        assert set(order[: len(waiting)]) == waiting
        assert served.suspects is bool(waiting)


@given(shards.filter(lambda every: len(every) > 1))
def test_where_lanes_wait_in_several_shards_none_of_them_is_always_first(every: list[Shard]) -> None:
    served = Round(every)
    for shard in every[:2]:
        served.note(shard, suspects=True)
    assert {served.shards()[0] for _ in every * 2} == set(every[:2])
