"""What the verifier sees in two questions, and what it says of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.verifier import AROUND, FEATURES, Neighbour, candidate, features, shipped
from engine.wording import Difference, difference, worded

ALIKE = [
    ("How do I track my parcel?", "HOW DO I TRACK MY PARCEL?"),
    ("Can I get a refund?", "Hello there, can I get a refund? Thanks!"),
    ("How do I download an invoice?", "How do I donload an invoice?"),
    ("How do I add a user to my team?", "Hey, how can I add a user to my taem thx"),
]
APART = [
    ("number", "Has order 88421 shipped yet?", "Has order 88422 shipped yet?"),
    ("number", "Is there a fee above $20?", "Is there a fee above $200?"),
    ("negation", "The top up went through", "The top up did not go through"),
    ("negation", "Kann ich zahlen?", "Kann ich nicht zahlen?"),
    ("opposite", "How do I enable alerts?", "How do I disable alerts?"),
    ("opposite", "How do I mute a channel?", "How do I unmute a channel?"),
    ("name", "Are you open on Monday?", "Are you open on Sunday?"),
    ("name", "Can I log in with Apple?", "Can I log in with Google?"),
    ("name", "How do I delete a message?", "How do I delete all messages?"),
    ("order", "How do I convert EUR to USD?", "How do I convert USD to EUR?"),
    ("order", "Is Pro better than Team?", "Is Team better than Pro?"),
    ("slot", "How do I delete my account?", "How do I delete my card?"),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_how_a_question_is_typed_makes_no_difference(one: str, other: str) -> None:
    assert difference(worded(one), worded(other)) == Difference(number=0, negation=0, opposite=0, name=0, order=0, slot=0)


@pytest.mark.parametrize(("kind", "one", "other"), APART)
def test_what_makes_it_another_question_is_seen(kind: str, one: str, other: str) -> None:
    assert getattr(difference(worded(one), worded(other)), kind) >= 0.5


@given(st.text(max_size=200), st.text(max_size=200))
def test_differences_are_shares_whatever_is_typed(one: str, other: str) -> None:
    found = difference(worded(one), worded(other))
    assert all(0 <= getattr(found, kind) <= 1 for kind in ("number", "negation", "opposite", "name", "order", "slot"))
    same = difference(worded(one), worded(one))
    assert (same.number, same.negation, same.opposite, same.name, same.slot) == (0, 0, 0, 0, 0)


def beside(*entries: tuple[float, str, str]) -> list[Neighbour]:
    return [Neighbour(cosine, key, worded(text)) for cosine, key, text in entries]


def said(question: str, near: list[Neighbour]) -> float:
    return shipped().probability(features(worded(question), near, candidate(near), {}))


def test_the_answer_that_most_entries_around_vote_for_is_the_candidate() -> None:
    near = beside((0.81, "a", "one"), (0.80, "b", "two"), (0.79, "b", "three"), (0.78, "b", "four"))
    assert candidate(near) == 1


@given(
    st.lists(st.tuples(st.floats(-1, 1), st.sampled_from("abc"), st.text(max_size=40)), min_size=1, max_size=AROUND + 5),
    st.text(max_size=40),
)
def test_every_feature_is_a_number_and_the_probability_is_one(entries: list[tuple[float, str, str]], question: str) -> None:
    near = beside(*sorted(entries, key=lambda entry: -entry[0]))
    row = features(worded(question), near, candidate(near), {})
    assert row.shape == (len(FEATURES),)
    assert np.isfinite(row).all()
    assert 0 <= shipped().probability(row) <= 1


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_the_same_question_is_sure_even_where_one_entry_stands_alone(one: str, other: str) -> None:
    assert said(other, beside((0.93, "a", one))) > 0.87


@pytest.mark.parametrize(("one", "other"), [(one, other) for _, one, other in APART if "all" not in other])
def test_another_question_is_not_though_it_is_near(one: str, other: str) -> None:
    assert said(other, beside((0.93, "a", one))) < 0.87


def test_a_number_counts_for_little_where_the_entries_of_an_answer_differ_in_it_too() -> None:
    alone = beside((0.9, "a", "transfer 100 dollars to savings"))
    many = beside(*((0.9 - at / 200, "a", f"transfer {at}00 dollars to savings") for at in range(1, 8)))
    assert said("transfer 950 dollars to savings", many) > 0.87 > said("transfer 950 dollars to savings", alone)


def test_the_card_says_what_it_was_trained_on() -> None:
    card = shipped().card
    assert {"sets", "date", "seed", "encoder"} <= set(card)
