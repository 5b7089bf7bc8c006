"""A message is understood after its conversation, and it is decided how it is answered: by rule, then in three bands."""

import dataclasses
import time

import hypothesis.strategies as st
import pytest
from hypothesis import given

from engine import wordings
from engine.choices import listed
from engine.dialogue import Act, Circumstances, Decision, claims_to_be_a_person, decide, language_before, settle, understand
from engine.handoff import Reason
from engine.knowledge import Hit, Passage
from engine.messages import Address, Conversation, Role, Turn
from engine.settings import Settings
from engine.understanding import Kind, Understood

pytestmark = pytest.mark.one_redis

SETTINGS = Settings.load({})
ALONE, PEOPLE = Circumstances(), Circumstances(people=True)
ADDRESS = Address(platform="page", tenant="shop", channel="c")

RETURNS = Passage(
    document="faq.csv",
    text="You can return an item within 30 days.",
    questions=("How do I return an item?",),
    link="https://shop.example/r",
)
REFUNDS = Passage(
    document="faq.csv", text="Refunds take 5 days.", questions=("How long does a refund take?",), link="https://shop.example/f"
)
SECTION = Passage(
    document="guide.md",
    text="Shipping to Norway takes 4 days. It costs 9 euros.",
    heading=("Guide", "Shipping"),
    link="https://shop.example/s",
)


def hit(passage: Passage, score: float = 0.9) -> Hit:
    return Hit(passage=passage, score=score, cosine=score, lexical=1.0, nearest=passage.searched[0])


def talk(*said: str) -> Conversation:
    """A conversation that the person began."""
    turns = [Turn(role=Role.ASSISTANT if place % 2 else Role.USER, text=text, at=place) for place, text in enumerate(said)]
    return Conversation(address=ADDRESS, turns=tuple(turns))


def understood(text: str, *said: str, language: str = "en", settings: Settings = SETTINGS) -> Understood:
    return understand(text, talk(*said), settings, language=language)


def decided(
    text: str,
    hits: list[Hit],
    confidence: float,
    *said: str,
    around: Circumstances = ALONE,
    language: str = "en",
    **changed: object,
) -> Decision:
    settings = dataclasses.replace(SETTINGS, **changed)  # type: ignore[arg-type]
    return decide(understood(text, *said, language=language, settings=settings), [hits], [confidence], settings, around)


# -- understood -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("Hello", Kind.SMALL_TALK, None),
        ("Hello, where is my order?", Kind.QUESTION, None),
        ("This does not help, I want to talk to a real person", Kind.PERSON, Reason.ASKED),
        ("Ich möchte bitte mit einem Menschen sprechen", Kind.PERSON, Reason.ASKED),
        ("我要人工客服", Kind.PERSON, Reason.ASKED),
        ("This is ridiculous, you are useless", Kind.PERSON, Reason.ANGER),
        ("which agent delivers my parcel?", Kind.QUESTION, None),
        ("yes", Kind.UNCLEAR, None),
    ],
)
def test_a_message_is_of_a_kind(text: str, kind: Kind, reason: Reason | None) -> None:
    found = understood(text)

    assert (found.kind, found.reason) == (kind, reason)


def test_the_same_question_again_and_again_needs_a_person() -> None:
    asked = ["Where is my order?", "On its way."] * 3

    assert understood("where is my ORDER", *asked).reason is Reason.REPEATED


def test_the_questions_of_a_message_stand_alone_without_its_small_talk() -> None:
    found = understood("Hi! How do I return a lamp? And how long does it take?", "Do you sell lamps?", "Yes.")

    assert found.questions == ("How do I return a lamp?", "How long does the lamp take?")
    assert found.rewritten


@pytest.mark.parametrize("gap", [" ", "\n", "\t ", "\u00a0", "\u2028"])
def test_a_message_of_white_space_is_understood_at_once(gap: str) -> None:
    begun = time.perf_counter()
    found = understood(f"and for{gap * 3000}Norway, please{gap * 500}", "Do you ship to Germany?", f"Yes.{gap * 3000}")

    assert found.questions
    assert time.perf_counter() - begun < 3


def test_the_language_of_a_short_message_is_told_by_those_before() -> None:
    said = talk("Wie kann ich bestellen?", "So.", "Und bezahlen?", "So.")

    assert language_before(said.turns) == "Und bezahlen?\nWie kann ich bestellen?"


# -- by rule --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "language", "said"),
    [
        ("Hello", "en", "Hello! What can I help you with?"),
        ("Hallo", "de", "Hallo! Womit kann ich Ihnen helfen?"),
        ("你好", "zh", "您好！有什么可以帮您？"),
        ("مرحبا", "ar", "مرحبًا! كيف يمكنني مساعدتك؟"),
        ("Are you a real person?", "en", "I am a bot, a computer program, not a person."),
        ("你是真人吗？", "zh", "我是机器人，是一个计算机程序，不是真人。"),
    ],
)
def test_small_talk_is_answered_in_its_language_with_knowledge_and_without(text: str, language: str, said: str) -> None:
    for around in (Circumstances(), Circumstances(knowledge=False), PEOPLE):
        answer = decided(text, [], 0.0, around=around, language=language)

        assert (answer.act, answer.text) == (Act.SAY, said)


def test_without_scripted_small_talk_the_model_answers_all_but_whether_it_is_a_person() -> None:
    assert decided("Hello", [], 0.0, small_talk=False).act is Act.FREE
    assert decided("Are you human?", [], 0.0, small_talk=False).text == SETTINGS.bot


def test_who_asks_beside_a_question_whether_this_is_a_bot_is_told_so() -> None:
    answer = decided("Are you a bot? How do I return an item?", [hit(RETURNS)], 0.9)

    assert answer.text.startswith(f"{SETTINGS.bot}\n\n{RETURNS.text}")


def test_a_person_comes_before_everything_where_there_are_any() -> None:
    around = Circumstances(people=True, tool="orders")
    answer = decided("Please get me a human being", [hit(RETURNS)], 0.9, around=around)

    assert (answer.act, answer.reason) == (Act.HAND_OVER, Reason.ASKED)


def test_who_asks_for_a_person_where_there_is_none_is_told_the_truth() -> None:
    answer = decided("Please get me a human being", [hit(RETURNS)], 0.9)

    assert (answer.act, answer.text) == (Act.SAY, SETTINGS.nobody_here)


def test_the_angry_get_their_answer_where_there_is_no_person() -> None:
    assert decided("How do I return an item, this is ridiculous", [hit(RETURNS)], 0.9).text.startswith(RETURNS.text)


def test_a_tool_that_a_rule_calls_for_comes_before_knowledge() -> None:
    answer = decided("Where is order 17?", [hit(RETURNS)], 0.9, around=Circumstances(tool="orders"))

    assert (answer.act, answer.tool) == (Act.TOOL, "orders")


def test_without_a_knowledge_base_the_model_answers_freely() -> None:
    for text in ("Where is my order?", "yes", "and for Germany?"):
        assert decided(text, [], 0.0, around=Circumstances(knowledge=False)).act is Act.FREE


# -- three bands ----------------------------------------------------------------------------------------------------------------


def test_an_approved_answer_is_given_word_by_word_with_its_link() -> None:
    answer = decided("How can I send something back?", [hit(RETURNS), hit(REFUNDS, 0.5)], 0.9)

    assert answer.act is Act.SAY
    assert answer.text == f"{RETURNS.text}\n\nSee also: [How do I return an item?](https://shop.example/r)"
    assert (answer.passages, answer.confidence, answer.verbatim) == ((RETURNS,), 0.9, True)


def test_an_approved_answer_is_put_in_the_models_words_where_that_is_set() -> None:
    answer = decided("How can I send something back?", [hit(RETURNS)], 0.9, verbatim=False)

    assert (answer.act, answer.passages, answer.question) == (Act.MODEL, (RETURNS,), "How can I send something back?")


def test_a_section_goes_to_the_model_with_the_passages() -> None:
    answer = decided("How long does it take to Norway?", [hit(SECTION), hit(RETURNS, 0.4)], 0.8)

    assert (answer.act, answer.passages) == (Act.MODEL, (SECTION, RETURNS))


def test_several_questions_are_answered_together() -> None:
    asked = understood("How can I return an item? How long do refunds take?")
    answer = decide(asked, [[hit(RETURNS)], [hit(REFUNDS)]], [0.9, 0.8], SETTINGS)

    assert answer.text.startswith(f"{RETURNS.text}\n\n{REFUNDS.text}\n\nSee also: ")
    assert (answer.passages, answer.confidence) == ((RETURNS, REFUNDS), 0.8)


def test_what_of_several_questions_is_not_known_is_said() -> None:
    asked = understood("How do I return an item? Who is your president?")
    answer = decide(asked, [[hit(RETURNS)], [hit(REFUNDS)]], [0.9, 0.1], SETTINGS)

    assert answer.unanswered == ("Who is your president?",)
    assert "I have no answer to this: Who is your president?" in answer.text


def test_the_middle_band_asks_once_with_the_likely_topics() -> None:
    answer = decided("refund", [hit(REFUNDS, 0.8), hit(RETURNS, 0.7), hit(SECTION, 0.1)], 0.4)

    assert (answer.act, answer.because, answer.text) == (Act.SAY, "clarify", SETTINGS.clarify)
    assert answer.choices == ("How long does a refund take?", "How do I return an item?")


@pytest.mark.parametrize(
    ("asked", "phrasing", "answer", "same"),
    [
        ("How long does delivery take to Spain?", "How long does delivery to France take?", "Three days.", False),
        ("How long does delivery take to Spain?", "How long does delivery to France take?", "Three days, as to Spain.", True),
        ("What is the fee for transfers of 5000 euros?", "What is the fee for transfers of 500 euros?", "Five euros.", False),
        ("How can I disable two-factor login?", "How do I enable two-factor login?", "Go to Security.", False),
        ("How can I enable two-factor login?", "How do I enable two-factor login?", "Go to Security.", True),
        ("How do I return an item for order 12345?", "How do I return an item?", "Print the label.", True),
        ("How long does delivery take?", "How long does delivery to France take?", "Three days.", True),
    ],
)
def test_the_answer_to_a_question_that_differs_in_what_matters_is_asked_about(
    asked: str, phrasing: str, answer: str, same: bool
) -> None:
    passage = Passage(document="faq.csv", text=answer, questions=(phrasing,))

    decision = decided(asked, [hit(passage)], 0.99)

    assert decision.because == ("answer" if same else "clarify")


def test_one_likely_topic_is_asked_about_by_itself() -> None:
    answer = decided("refund", [hit(REFUNDS, 0.8), hit(SECTION, 0.1)], 0.4)

    assert (answer.text, answer.choices) == (SETTINGS.clarify_one, ("How long does a refund take?",))


@pytest.mark.parametrize("language", ["en", "de", "zh"])
def test_there_are_never_two_clarifying_questions_in_a_row(language: str) -> None:
    before = listed(wordings.said(SETTINGS, "clarify", language), ["How long does a refund take?", "How do I return an item?"])
    said = ("refund", before)

    assert decided("the money thing", [hit(REFUNDS), hit(RETURNS)], 0.4, *said).text == SETTINGS.unknown
    handed = decided("the money thing", [hit(REFUNDS), hit(RETURNS)], 0.4, *said, around=PEOPLE)
    assert (handed.act, handed.reason) == (Act.HAND_OVER, Reason.UNSURE)
    assert decided("no", [hit(REFUNDS)], 0.4, *said).text == SETTINGS.unknown


@pytest.mark.parametrize("pressed", ["How do I return an item?", "2", "the second one", "the last"])
def test_what_was_chosen_is_answered_whatever_the_confidence(pressed: str) -> None:
    before = listed(SETTINGS.clarify, ["How long does a refund take?", "How do I return an item?"])
    answer = decided(pressed, [hit(REFUNDS, 0.6), hit(RETURNS, 0.5)], 0.2, "refund", before)

    assert answer.text.startswith(RETURNS.text)
    assert answer.passages == (RETURNS,)


def test_the_lowest_band_goes_to_a_person_with_what_was_nearest_or_is_not_known() -> None:
    handed = decided("Who is your president?", [hit(REFUNDS, 0.2)], 0.1, around=PEOPLE)
    alone = decided("Who is your president?", [hit(REFUNDS, 0.2)], 0.1)

    assert (handed.act, handed.reason, handed.passages) == (Act.HAND_OVER, Reason.UNSURE, (REFUNDS,))
    assert (alone.act, alone.text, alone.unanswered) == (Act.SAY, SETTINGS.unknown, ("Who is your president?",))


def test_nothing_found_is_not_known() -> None:
    assert decided("Who is your president?", [], 0.0).text == SETTINGS.unknown


def test_yes_to_nothing_is_asked_what_is_needed() -> None:
    assert decided("yes", [], 0.0).text == SETTINGS.say_more


def test_the_thresholds_are_the_tenants() -> None:
    loaded = Settings.load({"REPLYMILL_TENANT_SHOP_ANSWER_CONFIDENCE": "0.4", "REPLYMILL_TENANT_SHOP_GREETING": "Ahoy!"})
    asked = understood("How can I send something back?")

    assert decide(asked, [[hit(RETURNS)]], [0.4], loaded.for_tenant("shop")).because == "answer"
    assert decide(asked, [[hit(RETURNS)]], [0.4], loaded.for_tenant("other")).because == "clarify"
    assert decide(understood("Hello"), [], [], loaded.for_tenant("shop")).text == "Ahoy!"


# -- languages that the model does not speak ------------------------------------------------------------------------------------


def entry(question: str, answer: str, language: str) -> Hit:
    return hit(Passage(document="faq", text=answer, questions=(question,), language=language), 0.9)


FOREIGN = {
    "de": (
        [
            entry("Wie kann ich mein Passwort zurücksetzen?", "Klicken Sie auf „Passwort vergessen“.", "de"),
            entry("Wie kann ich meine Bestellung stornieren?", "Öffnen Sie die Bestellung und klicken Sie auf „Stornieren“.", "de"),
            entry("Wie lange dauert der Versand?", "Drei Tage.", "de"),
        ],
        "Ich muss mein Passwort zurücksetzen",
        "Haben Sie einen Laden in München?",
    ),
    "zh": (
        [
            entry("怎么重置密码？", "请点击“忘记密码”。", "zh"),
            entry("怎么取消订单？", "请打开订单并点击“取消”。", "zh"),
            entry("运费是多少？", "运费五元。", "zh"),
        ],
        "我想重置密码",
        "你们在上海有商店吗？",
    ),
    "ar": (
        [
            entry("كيف أعيد تعيين كلمة المرور؟", "انقر على «نسيت كلمة المرور».", "ar"),
            entry("كيف ألغي طلبي؟", "افتح الطلب وانقر على «إلغاء».", "ar"),
            entry("كم تكلفة الشحن؟", "خمسة يورو.", "ar"),
        ],
        "أريد إعادة تعيين كلمة المرور",
        "هل لديكم متجر في دبي؟",
    ),
}


@pytest.mark.parametrize("language", FOREIGN)
def test_an_approved_answer_in_that_language_is_given_by_its_letters(language: str) -> None:
    hits, asked, _ = FOREIGN[language]
    for order in (hits, hits[::-1]):
        answer = decided(asked, list(order), 0.0, language=language)

        assert (answer.act, answer.because, answer.text) == (Act.SAY, "answer", hits[0].passage.text)


@pytest.mark.parametrize("language", FOREIGN)
def test_a_confident_encoder_is_not_trusted_in_a_language_it_does_not_know(language: str) -> None:
    hits, _, asked = FOREIGN[language]
    handed = decided(asked, list(hits), 0.99, language=language, around=PEOPLE)
    alone = decided(asked, list(hits), 0.99, language=language)

    assert (handed.act, handed.because) == (Act.HAND_OVER, "language")
    assert (alone.act, alone.text) == (Act.SAY, wordings.said(SETTINGS, "not_spoken", language))


@pytest.mark.parametrize("language", FOREIGN)
def test_the_model_is_never_asked_in_a_language_it_does_not_speak(language: str) -> None:
    hits, asked, other = FOREIGN[language]
    sections = [hit(dataclasses_replace(one.passage)) for one in hits]
    for text in (asked, other):
        for found in (list(hits), sections, [hit(SECTION)], []):
            for around in (Circumstances(), PEOPLE, Circumstances(knowledge=False)):
                for verbatim in (True, False):
                    answer = decided(text, found, 1.0, language=language, around=around, verbatim=verbatim)
                    assert answer.act in (Act.SAY, Act.HAND_OVER)


def dataclasses_replace(passage: Passage) -> Passage:
    """The same as a section, which is no approved answer."""
    return Passage(document="guide", text=passage.text, heading=(passage.questions[0],), language=passage.language)


def test_a_language_that_is_set_as_spoken_is_answered_by_the_model() -> None:
    around = Circumstances(knowledge=False)

    asked = "Wo ist meine Bestellung?"

    assert decided(asked, [], 0.0, language="de", languages=("en", "de"), around=around).act is Act.FREE
    assert decided(asked, [], 0.0, language="de", around=around).text == wordings.said(SETTINGS, "not_spoken", "de")


def test_a_clarifying_question_in_another_language_offers_that_languages_topics() -> None:
    hits, _, _ = FOREIGN["de"]
    answer = decided("Passwort oder Bestellung ändern", list(hits), 0.0, language="de")

    assert answer.because in ("clarify", "language")
    assert SETTINGS.clarify not in answer.text


# -- what the model made --------------------------------------------------------------------------------------------------------


def modelled(*passages: Passage, **facts: object) -> Decision:
    return Decision(act=Act.MODEL, because="answer", passages=passages, question="?", language="en", **facts)  # type: ignore[arg-type]


def test_what_the_passages_support_is_sent_with_those_that_support_it() -> None:
    said = settle(modelled(RETURNS, SECTION), "Shipping to Norway takes 4 days.", SETTINGS)

    assert said.text == "Shipping to Norway takes 4 days.\n\nSee also: [Shipping](https://shop.example/s)"
    assert (said.act, said.passages) == (Act.SAY, (SECTION,))


@pytest.mark.parametrize(
    "made",
    [
        "Shipping to Norway takes 9 days.",
        "We do not ship to Norway.",
        "Shipping to Sweden takes 4 days.",
        "Ask our friendly staff in Oslo.",
    ],
)
def test_what_the_passages_do_not_support_is_not_sent(made: str) -> None:
    section = settle(modelled(SECTION), made, SETTINGS)
    approved = settle(modelled(RETURNS), made, SETTINGS)

    assert section.text == f"{SETTINGS.found_only}\n\n{SECTION.text}\n\nSee also: [Shipping](https://shop.example/s)"
    assert approved.text.startswith(RETURNS.text)
    assert approved.verbatim


def test_a_supported_beginning_is_sent_without_what_follows() -> None:
    said = settle(modelled(SECTION), "Shipping to Norway takes 4 days. It costs 9 euros. It is free on Mars.", SETTINGS)

    assert said.text.startswith("Shipping to Norway takes 4 days. It costs 9 euros.\n\n")
    assert "Mars" not in said.text


def test_a_model_that_does_not_know_hands_over_or_says_so() -> None:
    made = "I do not know, the passages do not say."

    assert settle(modelled(SECTION), made, SETTINGS, people=True).act is Act.HAND_OVER
    assert settle(modelled(SECTION), made, SETTINGS).text == SETTINGS.unknown


@pytest.mark.parametrize(
    "made",
    [
        "I am a human.",
        "Yes, I'm a real person!",
        "I'm not a bot.",
        "Ich bin ein Mensch.",
        "Je suis une vraie personne.",
        "我是真人。",
        "أنا إنسان",
    ],
)
def test_no_reply_claims_to_be_a_person(made: str) -> None:
    for decision in (modelled(SECTION), Decision(act=Act.FREE, because="no-knowledge", language="en")):
        assert settle(decision, made, SETTINGS).text == SETTINGS.bot


@pytest.mark.parametrize(
    "text",
    [
        "A person will help you.",
        "I am happy to help a person.",
        "I am a bot, not a person.",
        "I am not sure.",
    ],
)
def test_people_may_be_spoken_of(text: str) -> None:
    assert not claims_to_be_a_person(text)


def test_the_fixed_texts_never_claim_to_be_a_person() -> None:
    for code in ("en", "de", "fr", "es", "zh", "ar"):
        for one in dataclasses.fields(SETTINGS):
            if one.name in ("bot", "who", "how_are_you", "greeting", "nobody_here", "handing_over"):
                assert not claims_to_be_a_person(wordings.said(SETTINGS, one.name, code))


def test_without_a_check_the_models_words_stand() -> None:
    unchecked = dataclasses.replace(SETTINGS, grounding=False, citations=0)

    assert settle(modelled(SECTION), "It costs 99 euros.", unchecked).text == "It costs 99 euros."


# -- whatever is said -----------------------------------------------------------------------------------------------------------

spoken = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "hi",
            "yes",
            "no",
            "2",
            "and for Germany?",
            "it",
            "你好",
            "are you human?",
            "",
        ]
    ),
)
some_hits = st.lists(st.builds(hit, st.sampled_from([RETURNS, REFUNDS, SECTION]), st.floats(0, 1)), max_size=4)


@given(
    text=spoken,
    said=st.lists(spoken, max_size=4),
    hits=st.lists(some_hits, max_size=4),
    confidence=st.lists(st.floats(0, 1), max_size=4),
    around=st.builds(Circumstances, people=st.booleans(), knowledge=st.booleans()),
    language=st.sampled_from(["", "en", "de", "zh"]),
)
def test_every_message_gets_one_decision_that_can_be_carried_out(
    text: str, said: list[str], hits: list[list[Hit]], confidence: list[float], around: Circumstances, language: str
) -> None:
    decision = decide(understood(text, *said, language=language), hits, confidence, SETTINGS, around)

    assert decision.text or decision.act in (Act.HAND_OVER, Act.FREE, Act.MODEL)
    assert decision.act is not Act.HAND_OVER or (around.people and decision.reason)
    assert decision.act is not Act.MODEL or (decision.passages and decision.question)
    assert decision.act not in (Act.MODEL, Act.FREE) or language in ("", "en") or decision.language in ("", "en")
    assert decision.choices == () or decision.because == "clarify"
