"""What is asked of the bot itself."""

import pytest

from connectors.contract import HandOver, Stop
from connectors.wishes import read
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
