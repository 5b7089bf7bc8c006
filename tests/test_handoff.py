"""Who answers: the moves between bot, waiting and human, and the policy that asks for a person."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import SettingsError
from engine.handoff import MEANINGS, MOVES, Hand, Reason, angry, asked_again, behind, bridge_address, literal, normal, why
from engine.messages import Address, Owner, Reply, Role, Source, Turn
from engine.settings import Settings
from engine.wordings import variants
from tests.desk import address

SETTINGS = Settings(handover_confidence=0.5, handover_repeated=2)

turns = st.lists(
    st.builds(Turn, role=st.sampled_from(list(Role)), text=st.sampled_from(["Where is it?", "where is it", "Hello"]), at=st.just(0))
)


def said(text: str = "An answer.", *, confidence: float | None = None, source: Source = Source.MODEL) -> Reply:
    return Reply(in_reply_to=("first",), address=address(), text=text, source=source, confidence=confidence)


def asked(*texts: str, role: Role = Role.USER) -> list[Turn]:
    return [Turn(role=role, text=text, at=0) for text in texts]


def test_every_reason_has_a_meaning_and_a_move() -> None:
    assert set(MEANINGS) == set(MOVES) == set(Reason)


@pytest.mark.parametrize("reason", list(Reason))
def test_no_reason_leads_from_a_person_to_waiting_or_from_the_bot_to_the_bot(reason: Reason) -> None:
    before, after = MOVES[reason]
    assert before
    assert after
    if reason is not Reason.TOOL:
        assert not (Owner.HUMAN in before and Owner.WAITING in after)
        assert not (Owner.BOT in before and Owner.BOT in after)
    assert Hand(address=address(), owner=next(iter(after)), reason=reason).taken_from == before


@pytest.mark.parametrize(
    "text",
    [
        "This is ridiculous", "I am really angry now", "WTF", "I'm fed up with this", "what??!!", "😡",
        "I HAVE BEEN WAITING FOR THREE WEEKS", "Das ist eine Frechheit!", "C'est inacceptable", "Esto es inaceptable",
        "you are useless", "I will talk to my lawyer",
    ],
)  # fmt: skip
def test_anger_is_heard(text: str) -> None:
    assert angry(text)
    assert why(text, [], None, SETTINGS) is Reason.ANGER
    assert why(text, [], None, dataclasses.replace(SETTINGS, handover_anger=False)) is None


@pytest.mark.parametrize(
    "text",
    [
        "Where is my order?", "It does not work.", "Why?!", "ORDER 4711 DE", "I am not happy with the colour", "Really???",
        "Is the fuchsia one in stock?", "my USB-C HDMI SSD", "The bad weather delayed it", "Angry Birds for iPad?",
        "How do I report a bug?", "", "请问我的订单在哪里 已经等了很久了 麻烦看一下", "Ich bin sauerkraut", "the useful guide",
    ],
)  # fmt: skip
def test_what_may_be_meant_calmly_is_no_anger(text: str) -> None:
    assert not angry(text)


def test_who_asks_the_same_again_and_again_gets_a_person() -> None:
    once, twice = asked("Where is it?"), asked("Where is it?", "Hello", "where is  it")
    assert why("WHERE is it", once, None, SETTINGS) is None
    assert why("where is it!", twice, None, SETTINGS) is Reason.REPEATED
    assert why("where is it!", twice, None, dataclasses.replace(SETTINGS, handover_repeated=0)) is None


@given(turns, turns)
def test_what_was_asked_before_a_person_had_to_do_with_it_does_not_count(before: list[Turn], after: list[Turn]) -> None:
    handing_over = variants(SETTINGS, "handing_over")
    for mark in (asked("I see.", role=Role.AGENT), *(asked(text, role=Role.ASSISTANT) for text in sorted(handing_over))):
        whole = [*before, *mark, *after]
        assert asked_again("Where is it?", whole, handing_over=handing_over) == asked_again(
            "Where is it?", after, handing_over=handing_over
        )


@given(st.text(), turns, st.none() | st.floats(0, 1))
def test_a_reason_comes_only_from_what_is_switched_on(text: str, history: list[Turn], confidence: float | None) -> None:
    off = dataclasses.replace(SETTINGS, handover_anger=False, handover_repeated=0, handover_confidence=0.0)
    assert why(text, history, said(confidence=confidence), off) is None
    assert why(text, history, said(off.apology, source=Source.FALLBACK), off) is Reason.ERROR
    wanted = Reason.UNSURE if confidence is not None and confidence < 0.5 else None
    unsure = dataclasses.replace(off, handover_confidence=0.5)
    assert why(text, history, said(confidence=confidence), unsure) is wanted


@given(st.text())
def test_what_is_compared_is_compared_once(text: str) -> None:
    assert normal(normal(text)) == normal(text)


@given(st.text(min_size=1), st.text(), st.text(), st.text())
def test_an_address_of_the_bridge_leads_back(tenant: str, platform: str, channel: str, thread: str) -> None:
    conversation = Address(platform=platform.replace("/", ""), tenant=tenant, channel=channel, thread=thread)
    assert behind(bridge_address(conversation)) == conversation


@given(st.text())
def test_nobodys_text_becomes_markup_for_the_people_behind_the_bridge(text: str) -> None:
    shown = literal(text)
    assert "\n" not in shown
    assert shown.replace("\\", "") == " ".join(text.split()).replace("\\", "")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"REPLYMILL_BRIDGE": "slack:acme/C0STAFF"}, "set REPLYMILL_SLACK_ACME_"),
        ({"REPLYMILL_BRIDGE": "telegram:shop/-100"}, "set REPLYMILL_TELEGRAM_SHOP_"),
        (
            {
                "REPLYMILL_BRIDGE": "telegram:shop/-100",
                "REPLYMILL_TELEGRAM_SHOP_TOKEN": "700001:AAE-simulated_token",
                "REPLYMILL_BRIDGE_MENTION": "<!here>",
            },
            "means nothing in",
        ),
    ],
)
def test_a_bridge_that_leads_nowhere_is_refused_at_start(changes: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Settings.load(changes)
