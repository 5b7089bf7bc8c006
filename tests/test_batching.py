"""Which turns the model gets next."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from workers.batching import Limits, choose, room


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
