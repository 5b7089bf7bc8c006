"""Choices as a numbered list and what an answer to them means."""

import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.chatwoot import Chatwoot
from connectors.freshchat import Freshchat
from connectors.intercom import Intercom
from connectors.offering import Offering, fitting
from connectors.page import Page
from connectors.slack import Slack
from connectors.sunshine import Sunshine
from connectors.telegram import Telegram
from connectors.webhook import Webhook
from connectors.zammad import Zammad
from connectors.zendesk import Zendesk
from engine.choices import LONGEST_CHOICE, MOST_CHOICES, chosen, listed, offered, tidy
from engine.keys import Direction
from engine.messages import Action, Delivery, Entry, Owner, Reply, Role, Source
from engine.moves import Lane
from engine.settings import Settings
from tests.desk import address, message
from workers.outcomes import answered, parts_of

TOPICS = ("Delivery time", "Refund status", "Cancel an order", "Change the address")
ASKED = listed("Which of these do you mean?", TOPICS)

visible = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


def clarifying(*choices: str, text: str = "Which?") -> Reply:
    return Reply(in_reply_to=("a",), address=address(), text=text, source=Source.FALLBACK, choices=choices)


def test_choices_stand_below_the_text_and_are_numbered() -> None:
    assert listed("Which?", ("One thing", "Another")) == "Which?\n\n1. One thing\n2. Another"
    assert listed("Which?", ()) == "Which?"
    assert listed("", ("One thing",)) == "1. One thing"


@given(text=visible, choices=st.lists(visible, max_size=15))
def test_choices_are_read_back_as_they_were_shown(text: str, choices: list[str]) -> None:
    shown = tidy(choices)

    assert len(shown) <= MOST_CHOICES
    assert all(0 < len(choice) <= LONGEST_CHOICE for choice in shown)
    assert tidy(shown) == shown
    if shown:
        assert offered(listed(text, choices)) == shown
    for choice in shown:
        # Two choices may be the same but for their case; then the first is meant.
        assert (chosen(choice, listed(text, choices)) or "").casefold().split() == choice.casefold().split() or len(shown) > 1


@pytest.mark.parametrize(
    ("answer", "means"),
    [
        ("2", 1),
        ("2.", 1),
        (" #2 ", 1),
        ("(2)", 1),
        ("number 3 please", 2),
        ("the second one", 1),
        ("the 2nd", 1),
        ("I mean the last one", 3),
        ("die zweite bitte", 1),
        ("das letzte", 3),
        ("le premier", 0),
        ("la segunda", 1),
        ("第三个", 2),
        ("٢", 1),
        ("\uff12", 1),
        ("Refund status", 1),
        ("refund STATUS?", 1),
        ("refund", 1),
        ("refunds", 1),
        ("cancel", 2),
        ("I want to change the address", 3),
        ("the address", 3),
        ("one", 0),
        ("5", None),
        ("0", None),
        ("99999999999999999999", None),
        ("the fifth", None),
        ("order status", None),
        ("hello", None),
        ("", None),
        ("2 3", None),
        ("where is my parcel, I have been waiting for weeks", None),
    ],
)
def test_an_answer_names_a_choice_by_its_number_or_its_words(answer: str, means: int | None) -> None:
    assert chosen(answer, ASKED) == (None if means is None else TOPICS[means])


@pytest.mark.parametrize(
    "last",
    ["", "No list here.", "1. Alone\n\nand text after it", "2. Begins at two\n3. Three", "1. One\n1. One again", "Call 1. 2. 3."],
)
def test_a_number_means_nothing_where_no_choices_were_offered(last: str) -> None:
    assert chosen("1", last) is None


@pytest.mark.parametrize("answer", ["1" * 200_000, "a " * 100_000, "\n" * 100_000, "第" * 100_000])
def test_an_answer_of_any_length_is_judged_at_once(answer: str) -> None:
    begun = time.perf_counter()

    assert chosen(answer, ASKED) is None
    assert chosen("2", answer + ASKED) == TOPICS[1]
    assert time.perf_counter() - begun < 5


def test_a_reply_of_an_older_version_has_no_choices() -> None:
    now = clarifying("One", "Two")
    older = msgspec.json.encode(msgspec.json.decode(now.encode())[:8])

    assert Reply.decode(older).choices == ()
    assert Reply.decode(now.encode()) == now


def test_history_and_record_hold_the_list_and_the_delivery_the_choices() -> None:
    body = message("hello", "logical a").encode()
    entry = Entry("a", 0, 1000, 9000, 10, body)
    lane = Lane(shard=0, direction=Direction.IN, ref="t.c", token="1:n", attempts=0, owner=Owner.BOT, entries=(entry,))

    outcome = answered(lane, clarifying("One", "Two"), question="hello", at=5000)

    assert [turn.text for turn in outcome.turns if turn.role is Role.ASSISTANT] == ["Which?\n\n1. One\n2. Two"]
    assert outcome.record["text"] == "Which?\n\n1. One\n2. Two"
    assert outcome.deliveries[0].reply.choices == ("One", "Two")


def test_only_the_last_part_of_a_long_reply_has_the_choices() -> None:
    parts = parts_of(Delivery(id="a-0", reply=clarifying("One", "Two")), ["begin", "middle", "end"])

    assert [part.reply.choices for part in parts] == [(), (), ("One", "Two")]


@pytest.mark.parametrize("kind", [Chatwoot, Freshchat, Intercom, Page, Slack, Sunshine, Telegram, Webhook, Zammad, Zendesk])
@pytest.mark.parametrize("action", Action)
def test_choices_are_left_to_platforms_with_buttons_and_are_in_the_text_elsewhere(kind: Any, action: Action) -> None:
    platform = kind(Settings()) if kind is Webhook else kind(Settings(), None)
    delivery = Delivery(id="a-0", reply=clarifying("One", " Two  words ", "One"), action=action)
    buttons = kind not in (Freshchat, Zammad, Zendesk) and action is Action.NONE

    shown = fitting(delivery, platform).reply

    assert (shown.text, shown.choices) == (("Which?", ("One", "Two words")) if buttons else ("Which?\n\n1. One\n2. Two words", ()))
    assert isinstance(platform, Offering) == (kind not in (Freshchat, Zammad, Zendesk))
    bare = Delivery(id="a-0", reply=clarifying())
    assert fitting(bare, platform) is bare
