"""A model's answer is sent if its passages support it, sentence by sentence."""

import time

import hypothesis.strategies as st
import pytest
from hypothesis import given

from engine.citations import linked, supporting
from engine.grounding import Fault, Grounds, supported
from engine.knowledge import Passage
from tests.evaluation.grounding_rows import grounding

pytestmark = pytest.mark.one_redis

PASSAGE = (
    "You can return an item within 30 days of delivery. Shipping costs $5 for the Basic plan and $12 for the Premium plan."
    " We do not ship to Norway. Write to help@shop.example or see https://shop.example/returns. REPLYMILL_MODEL names the model."
)


@pytest.mark.parametrize(
    "answer",
    [
        "You can return an item within 30 days.",
        "You can return items within thirty days of delivery.",
        "Shipping for the Premium plan costs $12.",
        "We don't ship to Norway.",
        "Write to help@shop.example. I hope this helps!",
        "REPLYMILL_MODEL names the model.",
    ],
)
def test_what_the_passages_say_is_supported(answer: str) -> None:
    assert supported(answer, [PASSAGE]).ok


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ("You can return an item within 60 days of delivery.", Fault.FIGURE),
        ("You can return an item within 30 weeks.", Fault.FIGURE),
        ("Shipping costs 5 euros for the Basic plan.", Fault.FIGURE),
        ("Shipping costs $12 for the Basic plan.", Fault.BELONGS_ELSEWHERE),
        ("We ship to Norway.", Fault.NEGATION),
        ("You can't return an item within 30 days of delivery.", Fault.NEGATION),
        ("We do not ship to Sweden.", Fault.NAME),
        ("Write to sales@shop.example.", Fault.ADDRESS),
        ("See https://evil.example/returns.", Fault.ADDRESS),
        ("REPLYMILL_MODELS names the model.", Fault.ADDRESS),
        ("You need a receipt for every return.", Fault.WORDS),
    ],
)
def test_what_they_do_not_say_is_not(answer: str, fault: Fault) -> None:
    support = supported(answer, [PASSAGE])

    assert not support.ok
    assert support.sentences[0].fault is fault


def test_a_growing_reply_is_shown_up_to_its_last_supported_sentence() -> None:
    grounds = Grounds([PASSAGE])
    first = "You can return an item within 30 days."

    assert grounds.prefix("You can return an item within 3") == ""
    assert grounds.prefix(f"{first} We ship") == first
    assert grounds.prefix(f"{first} We ship to Norway. We do not ship to Norway.") == first
    assert grounds.prefix(first.rstrip("."), finished=True) == first.rstrip(".")


@pytest.mark.parametrize("answer", ["I do not know.", "The passages do not say how long it takes.", "Ich weiß das leider nicht."])
def test_an_answer_that_does_not_know_says_so(answer: str) -> None:
    assert supported(answer, [PASSAGE]).abstains


def test_nothing_supports_an_empty_answer_or_one_without_passages() -> None:
    assert not supported(" ", [PASSAGE]).ok
    assert not supported("You can return an item within 30 days.", []).ok


def test_of_answers_made_to_deceive_it_lets_few_through() -> None:
    assert grounding().ok


def test_sources_are_links_whose_titles_cannot_be_markup() -> None:
    made = [
        Passage(document="a", text="x", heading=("Guide", "Re[turn]s*"), link="https://shop.example/a_(b)"),
        Passage(document="b", text="x", link="javascript:alert(1)"),
        Passage(document="c", text="x", questions=("How?",), link="https://shop.example/a_(b)"),
    ]

    assert linked(made, most=3) == [r"[Re\[turn\]s\*](https://shop.example/a_%28b%29)"]
    assert linked(made, most=0) == []


def test_only_passages_that_support_a_reply_are_named() -> None:
    right, other = Passage(document="a", text=PASSAGE), Passage(document="b", text="Our office is in Paris.")

    assert supporting("You can return an item within 30 days.", [other, right]) == [right]


@given(text=st.text(max_size=200), passages=st.lists(st.text(max_size=200), max_size=3))
def test_no_text_breaks_it_and_a_prefix_is_a_beginning(text: str, passages: list[str]) -> None:
    support = supported(text, passages)

    assert 0 <= support.share <= 1
    assert text.startswith(Grounds(passages).prefix(text, finished=True))


@pytest.mark.parametrize("piece", ["a ", "1 ", "1,", "not ", "A b. ", "x@", "+1 ", "那", "$", "a_", "."])
def test_it_takes_time_in_proportion(piece: str) -> None:
    text = piece * (50_000 // len(piece))
    before = time.process_time()
    supported(text, [text])

    assert time.process_time() - before < 3
