"""A follow-up is rewritten to stand alone; a question that stands alone is left as it is."""

import time

import hypothesis.strategies as st
import pytest
from hypothesis import given

from engine import questions, smalltalk
from engine.choices import listed
from engine.followup import Bearing, Context, context, resolve
from engine.messages import Role, Turn
from engine.smalltalk import SmallTalk

pytestmark = pytest.mark.one_redis

OFFERED = listed("Which of these do you mean?", ["Refund for an order", "Refund for a plan", "Change of address"])


def turns(*said: str) -> list[Turn]:
    """A conversation that the person begins."""
    return [Turn(role=Role.ASSISTANT if place % 2 else Role.USER, text=text, at=place) for place, text in enumerate(said)]


#: What was said, what is said now, and what that means.
REWRITTEN = [
    # the same about something else
    (["Do you ship to Norway?", "Yes."], "and for Germany?", "Do you ship to Germany?"),
    (["Do you ship to Norway?", "Yes."], "And to Germany", "Do you ship to Germany?"),
    (["do you ship to norway", "Yes."], "and germany?", "do you ship to germany"),
    (["How long does shipping take?", "3 days."], "And for Germany?", "How long does shipping take for Germany?"),
    (["How long does shipping to Norway take?", "3 days."], "what about Sweden?", "How long does shipping to Sweden take?"),
    (["How much is shipping for students?", "Free."], "and for teachers?", "How much is shipping for teachers?"),
    (["Can I return an item after 14 days?", "Yes."], "and after 30 days?", "Can I return an item after 30 days?"),
    (["Is there a fee for transfers over $50?", "No."], "what about $500?", "Is there a fee for transfers over $500?"),
    (["How much is the Basic plan?", "5 euros."], "And Premium?", "How much is the Premium plan?"),
    (["Does Nimbus Pro work with Alexa?", "Yes."], "and with Siri?", "Does Nimbus Pro work with Siri?"),
    (["Are you open on Monday?", "Yes."], "Sunday?", "Are you open on Sunday?"),
    (["Do you ship to Norway?", "Yes.", "thanks", "You are welcome."], "and to Italy?", "Do you ship to Italy?"),
    (
        ["Wie lange dauert der Versand nach Österreich?", "3 Tage."],
        "und nach Deutschland?",
        "Wie lange dauert der Versand nach Deutschland?",
    ),
    (["Livrez-vous en France ?", "Oui."], "et en Belgique ?", "Livrez-vous en Belgique ?"),
    # a word that points back
    (["Where can I buy the Nimbus lamp?", "In shops."], "how much is it?", "How much is the Nimbus lamp?"),
    (["How do I get a refund?", "Ask."], "and how long does it take?", "How long does the refund take?"),
    (["What is the price of the premium plan?", "10."], "does it include support?", "Does the premium plan include support?"),
    (["Where is my order?", "On its way."], "Can I cancel it?", "Can I cancel my order?"),
    (["Where are my shoes?", "On their way."], "when do they arrive?", "When do my shoes arrive?"),
    (["Do you ship to Norway?", "Yes.", "and for Germany?", "Yes."], "how much is it?", "Do you ship to Germany? How much is it?"),
    (["How do I cancel my plan?", "So."], "can you do it for me?", "How do I cancel my plan? Can you do it for me?"),
    (["How much is the Basic plan?", "5."], "and the premium one?", "How much is the Basic plan? And the premium one?"),
    (
        ["Wie kann ich mein Konto löschen?", "So."],
        "Wie lange dauert das?",
        "Wie kann ich mein Konto löschen? Wie lange dauert das?",
    ),
    # questions that are no sentence
    (["How do I get a refund?", "Ask."], "and how long?", "How do I get a refund? And how long?"),
    (["How do I reset my password?", "Click."], "why?", "How do I reset my password? Why?"),
    (["How do I reset my password?", "Click."], "it does not work", "How do I reset my password? It does not work"),
    (["How do I reset my password?", "Click."], "still doesn't work!", "How do I reset my password? Still doesn't work!"),
    (["How do I reset my password?", "Click."], "tell me more", "How do I reset my password? Tell me more"),
    (["Wie lösche ich mein Konto?", "So."], "warum?", "Wie lösche ich mein Konto? Warum?"),
    (["怎么退货？", "这样。"], "多久？", "怎么退货？ 多久？"),
    (["运费多少？", "五元。"], "那德国呢？", "运费多少？ 那德国呢？"),
    (["كم تكلفة الشحن؟", "خمسة."], "وماذا عن ألمانيا؟", "كم تكلفة الشحن؟ وماذا عن ألمانيا؟"),
    # answers to a question of the bot
    (["My card was declined", "Is the card expired?"], "yes", "My card was declined. Is the card expired? Yes"),
    (["My card was declined", "Is the card expired?"], "no", "My card was declined. Is the card expired? No"),
    (["My card was declined", "Would you like to know how to unblock your card?"], "yes please", "How to unblock my card?"),
    (["My card was declined", "Do you want to order a new card?"], "Ja", "Order a new card"),
    (["How much is shipping?", "To which country?"], "Germany", "How much is shipping? To which country? Germany"),
]


@pytest.mark.parametrize(("said", "now", "means"), REWRITTEN, ids=[now for _, now, _ in REWRITTEN])
def test_a_follow_up_means_what_it_means_after_what_was_said(said: list[str], now: str, means: str) -> None:
    resolved = resolve(now, context(turns(*said)))

    assert resolved.questions == (means,)
    assert resolved.bearing is Bearing.REWRITTEN


@pytest.mark.parametrize(
    "text",
    [
        "How do I change my address?",
        "Is it possible to change my address?",
        "I bought a lamp and it does not work",
        "How long does it take to get a refund?",
        "refund",
        "Can I pay by card?",
        "I think that my card is stolen",
        "My lamp arrived broken and I want it replaced",
        "what is the return policy",
        "can I get my money back?",
        "Where is the invoice for order 17?",
        "Which payment methods do you accept?",
        "At what age can a person open an account?",
        "What time is it?",
        "Is there anyone who can help me with a chargeback?",
        "do you ship to Norway",
        "Gibt es einen Rabatt?",
        "Wie kann ich mein Passwort ändern?",
        "怎么修改地址？",
        "كيف أغير عنواني؟",
        "For whom is the plan?",
    ],
)
def test_a_question_that_stands_alone_is_left_as_it_is(text: str) -> None:
    resolved = resolve(text, context(turns("How do I reset my password?", "Click on the link.")))

    assert resolved.questions == (text,)
    assert resolved.bearing is Bearing.ALONE


@pytest.mark.parametrize(
    ("answer", "means"),
    [
        ("the second one", "Refund for a plan"),
        ("2", "Refund for a plan"),
        ("#2", "Refund for a plan"),
        ("the last", "Change of address"),
        ("first", "Refund for an order"),
        ("Refund for an order", "Refund for an order"),
        ("address", "Change of address"),
        ("die zweite", "Refund for a plan"),
        ("第二个", "Refund for a plan"),
        ("the plan please", "Refund for a plan"),
    ],
)
def test_an_answer_to_choices_is_the_choice(answer: str, means: str) -> None:
    resolved = resolve(answer, context(turns("refund", OFFERED)))

    assert (resolved.questions, resolved.bearing) == ((means,), Bearing.CHOSEN)


def test_both_is_all_of_them() -> None:
    assert resolve("both", context(turns("refund", OFFERED))).questions == (
        "Refund for an order",
        "Refund for a plan",
        "Change of address",
    )


def test_what_was_chosen_is_what_the_next_follow_up_is_about() -> None:
    known = context(turns("refund", OFFERED, "the second one", "Within a week."))

    assert known.open == "Refund for a plan"
    assert resolve("why?", known).questions == ("Refund for a plan. Why?",)


@pytest.mark.parametrize("answer", ["no", "none of these", "something else", "Nein", "都不是", "لا"])
def test_no_to_choices_declines_them(answer: str) -> None:
    assert resolve(answer, context(turns("refund", OFFERED))).bearing is Bearing.DECLINED


def test_yes_to_a_single_choice_takes_it() -> None:
    known = context(turns("refund", listed("Do you mean this?", ["Refund for a plan"])))

    assert resolve("yes", known).questions == ("Refund for a plan",)


def test_a_full_question_after_choices_is_asked_itself() -> None:
    resolved = resolve("Which payment methods do you accept?", context(turns("refund", OFFERED)))

    assert resolved == resolve("Which payment methods do you accept?", Context())


@pytest.mark.parametrize("text", ["yes", "no", "the second one", "2", "?", "ja", "是"])
def test_what_means_nothing_by_itself_is_unclear(text: str) -> None:
    assert resolve(text, Context()).bearing is Bearing.UNCLEAR


def test_no_to_an_offer_of_more_is_enough() -> None:
    assert resolve("no", context(turns("Thanks", "Can I help you with anything else?"))).bearing is Bearing.ENOUGH


# -- several questions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            "How do I reset my password and where can I see my orders?",
            ["How do I reset my password?", "where can I see my orders?"],
        ),
        ("Where is my order? When does it arrive?", ["Where is my order?", "When does my order arrive?"]),
        ("Do you have the Nimbus lamp? How much is it?", ["Do you have the Nimbus lamp?", "How much is the Nimbus lamp?"]),
        (
            "I bought a lamp. It broke. Can I return it, and how long does a refund take?",
            ["I bought a lamp. It broke. Can I return it?", "how long does a refund take?"],
        ),
        ("Wie lange dauert der Versand und wie kann ich bezahlen?", ["Wie lange dauert der Versand?", "wie kann ich bezahlen?"]),
        ("怎么退货？运费多少？", ["怎么退货？", "运费多少？"]),
        ("Do you ship to Norway, Sweden and Denmark?", ["Do you ship to Norway, Sweden and Denmark?"]),
        ("Can I pay by card or by invoice?", ["Can I pay by card or by invoice?"]),
        ("Tell me how and when you ship.", ["Tell me how and when you ship."]),
        ("How do I cancel and get a refund?", ["How do I cancel and get a refund?"]),
        ("My card is broken. I need help.", ["My card is broken. I need help."]),
        ("Is the fee 3.5 percent?", ["Is the fee 3.5 percent?"]),
    ],
)
def test_each_question_of_a_message_stands_alone(text: str, parts: list[str]) -> None:
    assert list(resolve(text, Context()).questions) == parts


def test_no_more_questions_are_made_of_a_message_than_are_looked_up() -> None:
    asked = questions.split(" ".join(f"Where is order {number}?" for number in range(50)))

    assert len(asked) == questions.MOST_QUESTIONS
    assert asked[-1].endswith("order 49?")


# -- small talk -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Hi", SmallTalk.GREETING),
        ("hello there!!", SmallTalk.GREETING),
        ("Guten Tag", SmallTalk.GREETING),
        ("你好", SmallTalk.GREETING),
        ("مرحبا", SmallTalk.GREETING),
        ("Bonjour !", SmallTalk.GREETING),
        ("¡Hola!", SmallTalk.GREETING),
        ("Thank you so much for your help!", SmallTalk.THANKS),
        ("Vielen Dank", SmallTalk.THANKS),
        ("谢谢", SmallTalk.THANKS),
        ("شكرا", SmallTalk.THANKS),
        ("Thanks, bye", SmallTalk.GOODBYE),
        ("Auf Wiedersehen", SmallTalk.GOODBYE),
        ("Hallo, wie geht's?", SmallTalk.WELL),
        ("how are you doing today", SmallTalk.WELL),
        ("Are you a bot?", SmallTalk.BOT),
        ("are you human", SmallTalk.BOT),
        ("Am I talking to a real person or a bot?", SmallTalk.BOT),
        ("Bist du ein Mensch?", SmallTalk.BOT),
        ("你是真人吗？", SmallTalk.BOT),
        ("هل أنت إنسان؟", SmallTalk.BOT),
        ("who are you", SmallTalk.WHO),
        ("What can you do?", SmallTalk.WHO),
        ("ok", SmallTalk.FINE),
        ("hello 👋", SmallTalk.GREETING),
    ],
)
def test_small_talk_is_known(text: str, kind: SmallTalk) -> None:
    parted = smalltalk.part(text)

    assert (smalltalk.weightiest(parted.kinds), parted.rest) == (kind, "")


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("Hi, where is my order?", "where is my order?"),
        ("Thanks! And how do I return it?", "how do I return it?"),
        ("你好请问怎么退货", "请问怎么退货"),
        ("Are you a bot? Where is my order?", "Where is my order?"),
        ("who are you shipping with?", "who are you shipping with?"),
        ("thanks to your update it broke", "thanks to your update it broke"),
        ("no refund came", "no refund came"),
        ("what can you do about my refund?", "what can you do about my refund?"),
        ("high fees?", "high fees?"),
        ("goods arrived damaged", "goods arrived damaged"),
        ("this worked until today", "this worked until today"),
    ],
)
def test_small_talk_at_the_head_is_taken_off_what_is_asked(text: str, rest: str) -> None:
    assert smalltalk.part(text).rest == rest


# -- whatever is said -------------------------------------------------------------------------------------------------------

words = st.sampled_from(
    [
        "it",
        "that",
        "yes",
        "no",
        "and",
        "for",
        "Germany",
        "what",
        "about",
        "how",
        "much",
        "is",
        "the",
        "second",
        "one",
        "?",
        ".",
        ",",
        "2",
        "\n",
        "hello",
        "thanks",
        "my",
        "order",
        "那",
        "呢",
        "؟",
        "und",
        "für",
        "das",
        "💡",
    ]
)
texts = st.one_of(st.text(max_size=80), st.lists(words, max_size=12).map(" ".join), st.just(OFFERED))


@given(said=st.lists(texts, max_size=6), now=texts)
def test_no_conversation_breaks_it_and_no_question_is_lost(said: list[str], now: str) -> None:
    resolved = resolve(now, context(turns(*said)))

    assert all(question.strip() for question in resolved.questions) or not now.strip()
    assert 0 < len(resolved.questions) <= questions.MOST_QUESTIONS
    assert smalltalk.part(now).rest in now


@pytest.mark.parametrize(
    "piece",
    [
        "it ",
        "and for ",
        "yes ",
        "what about ",
        "is it a ",
        "hello ",
        "a.b? ",
        "?",
        "and how ",
        "my ",
        "no, ",
        "Aa ",
        "1 ",
        " ",
        "那",
        "the one ",
    ],
)
def test_hostile_texts_take_time_in_proportion(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    known = context(turns(text, OFFERED, text, "Which one?" + text))
    before = time.process_time()
    resolve(text, known)
    resolve(text[:3_900], known)
    smalltalk.part(text)

    assert time.process_time() - before < 5
