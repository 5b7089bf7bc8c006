"""What is asked of the bot itself."""

import time

import pytest

from connectors.contract import HandOver, Stop
from connectors.wishes import read
from engine import wishes
from tests.desk import message


@pytest.mark.parametrize("text", ["stop", "Stop!", " /stop ", "never mind", "Cancel that."])
def test_stop_is_a_whole_message(text: str) -> None:
    assert isinstance(read(message(text, "id")), Stop)


@pytest.mark.parametrize(
    "text",
    [
        "/human", "human", "talk to a human", "I want to speak to a real person", "can I talk to an agent please?",
        "Please connect me to a representative", "speak with a person!", "I need a human", "agent",
        "Ich möchte mit einem Menschen sprechen", "Mitarbeiter bitte", "Je voudrais parler à un conseiller",
        "quiero hablar con una persona",
        "我要人工客服", "转人工", "أريد التحدث مع شخص حقيقي",
    ],
)  # fmt: skip
def test_who_wants_a_person_gets_one(text: str) -> None:
    assert read(message(text, "id")) == HandOver(message(text, "id").address, ("id",))


@pytest.mark.parametrize(
    "text",
    ["how do I stop my subscription?", "which agent delivers my parcel?", "is a person under 18 allowed?", "", "?", "please",
     "can I", "talk to", "bitte", "ich möchte", "mit", "je voudrais", "quiero", "我想", "Wie viele Mitarbeiter habt ihr?",
     "agent de voyage", "我要退货", "stop the delivery of order 7", "i want to", "human resources address?"],
)  # fmt: skip
def test_a_question_stays_a_question(text: str) -> None:
    asked = message(text, "id")
    assert read(asked) is asked


@pytest.mark.parametrize("piece", [" ", "\n", "\u00a0", " !", "i want ", "to ", "can i talk to a ", "ich möchte mit ", "我要"])
def test_a_wish_is_looked_for_in_time_in_proportion_to_the_message(piece: str) -> None:
    text = f"{piece * (2_000 // len(piece) - 1)}x"
    begun = time.perf_counter()

    assert not wishes.person(text)
    assert not wishes.person_within(text)

    assert time.perf_counter() - begun < 2


def test_spaces_around_and_inside_a_wish_do_not_hide_it() -> None:
    assert wishes.person("\n\n  I  want to\ttalk to\n a  human  \n\n please")
    assert wishes.person_within("My lamp broke.\n\nI want   to talk\nto a human, it is urgent")
