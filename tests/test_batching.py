"""Which turns the model gets next."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from engine.keys import Shard
from workers.batching import AHEAD, Limits, Round, choose, room


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
def test_what_is_due_first_goes_first_with_those_of_like_length(waiting: list[Turn], idle: int, bounds: Limits) -> None:
    chosen = choose(waiting, idle, bounds)
    assert bool(chosen) == bool(waiting)
    if waiting:
        first = chosen[0]
        assert first.deadline == min(turn.deadline for turn in waiting)
        distances = [abs(turn.prompt_tokens - first.prompt_tokens) for turn in chosen]
        assert distances == sorted(distances)
        assert all(abs(turn.prompt_tokens - first.prompt_tokens) >= distances[-1] for turn in waiting if turn not in chosen)


def test_of_turns_of_one_length_those_that_are_due_first_go_first() -> None:
    waiting = [Turn(number, 20, deadline) for number, deadline in enumerate((5, 1, 4, 2, 3))]
    assert [turn.deadline for turn in choose(waiting, 1, Limits(items=3, tokens=8192))] == [1, 2, 3]


@given(st.lists(st.integers(1, 400), min_size=1, max_size=60), limits)
def test_no_turn_waits_for_ever_while_others_keep_coming(lengths: list[int], bounds: Limits) -> None:
    patient = [Turn(number, tokens, number) for number, tokens in enumerate(lengths)]
    waiting, rounds = list(patient), 0
    while any(turn in waiting for turn in patient):
        rounds += 1
        waiting = [turn for turn in waiting if turn not in choose(waiting, 1, bounds)]
        waiting += [Turn(1000 * rounds + n, 50, 1000 * rounds + n) for n in range(3)]
    assert rounds <= len(patient)


def test_a_turn_longer_than_the_token_budget_goes_alone() -> None:
    long, short = Turn(0, 9000, 1), Turn(1, 10, 2)
    assert choose([long, short], 1, Limits(items=8, tokens=8192)) == [long]


@given(st.integers(0, 500), st.integers(1, 8), limits)
def test_an_idle_worker_claims_what_its_replicas_take_at_once(waiting: int, idle: int, bounds: Limits) -> None:
    assert waiting + room(waiting, idle, bounds) == max(waiting, bounds.items * idle)


@given(st.integers(0, 500), limits)
def test_a_busy_worker_claims_ahead_to_have_a_choice_and_no_more(waiting: int, bounds: Limits) -> None:
    assert waiting + room(waiting, 0, bounds) == max(waiting, bounds.items * AHEAD)


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
