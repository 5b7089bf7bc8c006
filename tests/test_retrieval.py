"""Search by meaning and by words finds what was asked for, in any language, whatever the knowledge base holds."""

import threading
from collections.abc import Sequence

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples

from engine import lexical
from engine.encoder import Encoder
from engine.knowledge import Hit, Passage
from engine.lexical import Lexicon, overlap, tokens
from engine.retrieval import Index

pytestmark = pytest.mark.one_redis

#: Topic to two phrasings of its question, by language.
ANSWERS = {
    "en": {
        "refund": ("How do I get a refund?", "How long do refunds take?"),
        "delivery": ("When will my parcel arrive?", "How many days does shipping take?"),
        "password": ("I forgot my password", "How can I reset my login?"),
        "cancel": ("How do I cancel my order?", "I want to cancel an order"),
    },
    "zh": {
        "refund": ("我怎么申请退款", "退款需要多长时间"),
        "delivery": ("快递什么时候送到", "配送要几天"),
        "password": ("忘记密码怎么办", "如何重置我的密码"),
        "cancel": ("怎么取消订单", "我想取消我的订单"),
    },
    "de": {
        "refund": ("Wie kann ich Ware zurücksenden?", "Wie lange habe ich Rückgaberecht?"),
        "delivery": ("Wann kommt mein Paket an?", "Wie lange dauert die Lieferung?"),
        "password": ("Ich habe mein Passwort vergessen", "Wie setze ich mein Kennwort zurück?"),
        "cancel": ("Wie storniere ich meine Bestellung?", "Ich möchte meine Bestellung stornieren"),
    },
    "ar": {
        "refund": ("كيف أطلب استرداد المبلغ؟", "كم يستغرق استرداد الأموال؟"),
        "delivery": ("متى تصل شحنتي؟", "كم يوما يستغرق التوصيل؟"),
        "password": ("نسيت كلمة المرور", "كيف أعيد تعيين كلمة السر؟"),
        "cancel": ("كيف ألغي طلبي؟", "أريد إلغاء الطلب"),
    },
}
#: What somebody asks, and what it is about; none is a phrasing of above.
ASKED = {
    "en": {"refund": "I'd like my money back", "delivery": "where is my package", "cancel": "please stop my order"},
    "zh": {"refund": "退款多久能到账", "delivery": "我的快递还没送到", "password": "密码忘记了", "cancel": "请帮我取消这个订单"},
    "de": {"refund": "Rückgabe der Ware?", "delivery": "Wann kommen die Pakete?", "password": "Passwort vergessen, was nun"},
    "ar": {"refund": "أريد استرداد المال", "delivery": "متى سيتم التوصيل", "password": "لقد نسيت كلمة مروري"},
}


def index(encoder: Encoder, passages: Sequence[Passage]) -> Index:
    return Index.build(passages, encoder.encode([text for passage in passages for text in passage.searched]))


def found(encoder: Encoder, passages: Sequence[Passage], question: str, *, k: int = 3, foreign: bool = False) -> list[Hit]:
    (hits,) = index(encoder, passages).search([question], encoder.encode([question]), k=k, foreign=[foreign])
    return hits


def answer(text: str, *questions: str) -> Passage:
    return Passage(document="faq", text=text, questions=questions)


def section(text: str, *heading: str) -> Passage:
    return Passage(document="guide", text=text, heading=heading)


@pytest.fixture(scope="module")
def shop(default_encoder: Encoder) -> Index:
    """The answers of all languages in one knowledge base."""
    return index(
        default_encoder, [answer(f"{code} {topic}", *said) for code, told in ANSWERS.items() for topic, said in told.items()]
    )


@pytest.mark.parametrize(("code", "topic"), [(code, topic) for code, asked in ASKED.items() for topic in asked])
def test_a_question_finds_its_answer_in_its_language(shop: Index, default_encoder: Encoder, code: str, topic: str) -> None:
    question = ASKED[code][topic]
    (hits,) = shop.search([question], default_encoder.encode([question]), k=2, foreign=[code != "en"])

    assert hits[0].passage.text == f"{code} {topic}"
    assert hits[0].nearest in ANSWERS[code][topic]


@pytest.mark.parametrize("code", ["zh", "de", "ar"])
def test_overlap_tells_a_foreign_question_that_is_answered_from_one_that_is_not(
    shop: Index, default_encoder: Encoder, code: str
) -> None:
    unknown = {"zh": ["推荐一部电影", "你们招聘吗"], "de": ["Empfiehl mir einen Film"], "ar": ["أوصني بفيلم", "ما هو الطقس اليوم"]}

    def best(question: str) -> float:
        (hits,) = shop.search([question], default_encoder.encode([question]), k=1, foreign=[True])
        return overlap(question, hits[0].nearest)

    assert min(map(best, ASKED[code].values())) > max(map(best, unknown[code]))


def test_a_word_that_the_encoder_cannot_know_is_found_by_its_letters(default_encoder: Encoder) -> None:
    codes = [section(f"The light blinks {code}. Call us.", "Faults") for code in ("E-4711", "E-4712", "E-5808", "F-0042")]

    assert found(default_encoder, codes, "what does E-5808 mean?")[0].passage == codes[2]


def test_a_question_in_the_very_words_of_an_answer_scores_one(default_encoder: Encoder) -> None:
    passages = [answer("A", "How do I get a refund?"), answer("B", "Where is my order?")]
    hit = found(default_encoder, passages, "Where is my order?")[0]

    assert hit.passage.text == "B"
    assert (hit.score, hit.cosine, hit.lexical) == pytest.approx((1, 1, 1), abs=1e-5)


def test_the_nearest_text_of_a_passage_is_shown(default_encoder: Encoder) -> None:
    passages = [answer("A", "Do you ship to Norway?", "How do I reset my password?", "Opening hours?"), answer("B", "Refunds")]

    assert found(default_encoder, passages, "password reset")[0].nearest == "How do I reset my password?"


def test_a_section_is_found_under_its_heading(default_encoder: Encoder) -> None:
    passages = [section("Press the button for ten seconds.", "Router", "Factory reset"), section("Press play.", "Player", "Music")]

    assert found(default_encoder, passages, "how to reset the router")[0].passage == passages[0]


# -- whatever the knowledge base holds ------------------------------------------------------------------------------------------


def test_an_answer_is_put_before_a_section_that_fits_as_well_and_behind_one_that_fits_better(default_encoder: Encoder) -> None:
    answer = Passage(document="faq", text="Print the label.", questions=("How do I send my parcel back?",)).identified()
    section = Passage(document="page", text="How do I send my parcel back?").identified()
    other = Passage(document="page", text="Opening hours of the repair shop in Berlin.").identified()

    close = found(default_encoder, [section, answer, other], "How do I send my parcel back?")
    clear = found(default_encoder, [section, answer, other], "When is the repair shop in Berlin open?")

    assert [hit.passage for hit in close[:2]] == [answer, section]
    assert clear[0].passage == other
    assert found(default_encoder, [section, other], "How do I send my parcel back?")[0].score == pytest.approx(1, abs=1e-4)


def test_an_empty_knowledge_base_finds_nothing(default_encoder: Encoder) -> None:
    empty = Index.build([], np.zeros((0, 384), np.float32))

    assert len(empty) == 0
    assert empty.search(["a", "b"], default_encoder.encode(["a", "b"]), k=3) == [[], []]
    assert empty.search([], np.zeros((0, 384), np.float32), k=3) == []


def test_one_passage_is_the_only_hit(default_encoder: Encoder) -> None:
    only = answer("A", "Where is my order?")
    hits = found(default_encoder, [only], "Can I pay by card?", k=10)

    assert [hit.passage for hit in hits] == [only]
    assert 0 <= hits[0].score < 0.6


def test_the_same_passage_twice_is_two_hits_in_their_order(default_encoder: Encoder) -> None:
    same = [answer("A", "Where is my order?"), answer("A", "Where is my order?"), answer("B", "Can I pay by card?")]
    hits = found(default_encoder, same, "where is my order")

    assert [hit.passage.text for hit in hits] == ["A", "A", "B"]
    assert hits[0].score == hits[1].score


@pytest.mark.parametrize("question", ["", "   ", "???", "xyzzyqq", "\x00", "\ud800", "🙂", "١٢٣"])
def test_a_question_without_a_known_word_still_has_hits_in_order(question: str, shop: Index, default_encoder: Encoder) -> None:
    (hits,) = shop.search([question], default_encoder.encode([question]), k=4)

    assert len(hits) == 4
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_texts_without_a_word_can_be_searched(default_encoder: Encoder) -> None:
    assert len(found(default_encoder, [answer("A", "???"), answer("B", "!"), section("")], "...")) == 3
    assert found(default_encoder, [answer("A", "???"), answer("B", "order")], "order")[0].passage.text == "B"


def test_more_hits_than_passages_are_all_passages_and_none_are_none(shop: Index, default_encoder: Encoder) -> None:
    vector = default_encoder.encode(["refund"])

    assert len(shop.search(["refund"], vector, k=1000)[0]) == len(shop)
    assert shop.search(["refund"], vector, k=0) == [[]]


def test_vectors_that_do_not_belong_to_the_texts_are_refused(shop: Index, default_encoder: Encoder) -> None:
    with pytest.raises(ValueError, match="2 texts need as many rows"):
        Index.build([answer("A", "one", "two")], default_encoder.encode(["one"]))
    with pytest.raises(ValueError, match="questions need as many rows"):
        shop.search(["one", "two"], default_encoder.encode(["one"]), k=1)
    with pytest.raises(ValueError, match="another encoder built it"):
        shop.search(["one"], np.ones((1, 24), np.float32), k=1)


# -- the same whatever stands beside it -----------------------------------------------------------------------------------------

_WORDS = ("order", "refund", "card", "lost", "订单", "退款", "bestellung", "شحنة", "?")
_PHRASES = st.lists(st.sampled_from(_WORDS), min_size=1, max_size=4).map(" ".join)


@given(
    base=st.lists(st.lists(_PHRASES, min_size=1, max_size=3), min_size=1, max_size=8),
    questions=st.lists(_PHRASES, min_size=1, max_size=5),
    k=st.integers(1, 9),
)
@examples(max_examples=40, deadline=None)
def test_hits_are_bounded_in_order_once_a_passage_and_do_not_depend_on_the_batch(
    base: list[list[str]], questions: list[str], k: int
) -> None:
    passages = [answer(str(number), *said) for number, said in enumerate(base)]
    made = Index.build(passages, vectors([text for said in base for text in said]))

    together = made.search(questions, vectors(questions), k=k)

    for question, hits in zip(questions, together, strict=True):
        (alone,) = made.search([question], vectors([question]), k=k)
        assert [hit.score for hit in alone] == pytest.approx([hit.score for hit in hits], abs=1e-6)
        assert len({hit.passage.text for hit in hits}) == len(hits) == min(k, len(passages))
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert all(0 <= hit.score <= 1 and 0 <= hit.lexical <= 1 and -1 <= hit.cosine <= 1 for hit in hits)
        assert all(hit.nearest in hit.passage.searched for hit in hits)


def vectors(texts: Sequence[str]) -> np.ndarray:
    """Any vectors, the same for the same text."""
    rows = [np.random.default_rng(list(text.encode())).normal(size=8) for text in texts]
    return np.array([row / np.linalg.norm(row) for row in rows], np.float32).reshape(len(texts), 8)


def test_many_questions_at_once_are_searched_in_blocks_of_bounded_memory() -> None:
    rows = np.random.default_rng(3).normal(size=(30_000, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    made = Index.build([answer(str(number), "") for number in range(len(rows))], rows)

    found = made.search([""] * 300, rows[:300], k=1)

    assert [hits[0].passage.text for hits in found] == [str(number) for number in range(300)]


def test_threads_share_an_index(shop: Index, default_encoder: Encoder) -> None:
    questions = [question for asked in ASKED.values() for question in asked.values()]
    rows = default_encoder.encode(questions)
    expected, seen = shop.search(questions, rows, k=3), []
    threads = [threading.Thread(target=lambda: seen.append(shop.search(questions, rows, k=3))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == [expected] * 4


# -- words ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Reset", {"reset", " res", "rese", "eset", "set "}),
        ("RÜCK", {"ruck", " ruc", "uck "}),
        ("É e\u0301", {"e"}),
        ("退款单", {"退", "款", "单", "退款", "款单"}),
        ("iPhone15手机", {"iphone15", " iph", "手", "机", "手机"}),
        ("طلب", {"طلب", " طل", "لب "}),
        ("طَلَبـــي", {"طلبي", " طل", "بي "}),
        ("\uff21\uff22\uff11\uff12", {"ab12"}),
        ("\U0001d400\U0001d401", {"ab"}),
        ("E-4711", {"e", "4711"}),
    ],
    ids=lambda value: repr(value)[:12] if isinstance(value, str) else "",
)
def test_words_of_every_script_have_their_pieces(text: str, wanted: set[str]) -> None:
    assert wanted <= set(tokens(text))


@given(st.text(max_size=200))
def test_any_text_has_tokens_that_do_not_depend_on_case_or_composition(text: str) -> None:
    assert all(token and token == token.casefold() for token in tokens(text) if token.isascii())
    assert overlap(text, text) in (0.0, 1.0)


def test_rare_words_count_for_more_than_common_ones() -> None:
    lexicon = Lexicon.build(["the order of the day", "the order", "the invoice", "the the the"])
    scores = lexicon.scores("the invoice")

    assert scores.argmax() == 2
    assert scores[3] < scores[2] / 2


def test_a_hostile_question_costs_no_more_than_a_long_one() -> None:
    lexicon = Lexicon.build([f"order {number} of {number % 7} things" for number in range(5000)])
    long = " ".join(str(number) for number in range(lexical._QUESTION_CHARACTERS // 4))

    assert np.array_equal(lexicon.scores(long[:2000]), lexicon.scores(long[:2000] + " order 4999" * 1_000_000))


def test_long_texts_are_kept_by_their_words_alone() -> None:
    """A hundred thousand sections would otherwise need more memory for pieces of words than for vectors."""
    lexicon = Lexicon.build(["zurücksenden" + " " * 1_300_000] * 10)

    assert lexicon.scores("zurücksenden").all()
    assert not lexicon.scores("zurücksende").any()
