"""How sure a hit is: on clouds of vectors whose right answers are known, without an encoder."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.confidence import Confidence, assess, fitted, judge
from engine.knowledge import Hit, Passage
from engine.known import FEATURES, PUBLIC, Calibration, Known, Vectors, words
from engine.logistic import fit, logits, platt, probability

ANSWERS, PHRASINGS, DIMENSION = 30, 8, 64


def unit(rows: Vectors) -> Vectors:
    unit: Vectors = (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)
    return unit


class Cloud:
    """Answers around which their phrasings lie, and questions that lie there too or nowhere."""

    def __init__(self, *, phrasings: int = PHRASINGS, spread: float = 0.11) -> None:
        self.random = np.random.default_rng(3)
        self.spread = spread
        self.centres = unit(self.random.normal(size=(ANSWERS, DIMENSION)))
        self.passages = [
            Passage(
                document="faq",
                text=f"answer {at}",
                questions=tuple(f"how is topic{at} done in way{n}" for n in range(phrasings)) if phrasings else (),
            ).identified()
            for at in range(ANSWERS)
        ]
        self.vectors = np.concatenate([self.around(at, max(1, phrasings)) for at in range(ANSWERS)])
        self.known = fitted(self.passages, self.vectors)

    def around(self, at: int, count: int) -> Vectors:
        return unit(self.centres[at] + self.spread * self.random.normal(size=(count, DIMENSION)))

    def elsewhere(self) -> Vectors:
        return unit(self.random.normal(size=DIMENSION))

    def hits(self, vector: Vectors) -> list[Hit]:
        """As an exact search finds them."""
        found = []
        for passage in self.passages:
            cosines = self.known.vectors[self.known.rows[passage.id]] @ vector
            nearest = passage.searched[int(cosines.argmax())]
            found.append(
                Hit(passage=passage, score=float(cosines.max()), cosine=float(cosines.max()), lexical=0.0, nearest=nearest)
            )
        return sorted(found, key=lambda hit: -hit.score)[:10]

    def judge(self, question: str, vector: Vectors) -> Confidence:
        return judge(question, self.hits(vector), vector=vector, known=self.known)


@pytest.fixture(scope="module")
def cloud() -> Cloud:
    return Cloud()


def test_a_question_the_base_knows_is_surer_than_one_it_does_not(cloud: Cloud) -> None:
    inside = [cloud.judge(f"how do I do topic{at}", cloud.around(at, 1)[0]) for at in range(ANSWERS)]
    outside = [cloud.judge("what is the weather on mars", cloud.elsewhere()) for _ in range(ANSWERS)]

    assert np.mean([one.right for one in inside]) > 0.7
    assert np.mean([one.right for one in outside]) < 0.2
    assert np.mean([one.in_scope for one in inside]) > np.mean([one.in_scope for one in outside]) + 0.4


def test_a_question_between_two_answers_is_in_scope_and_unsure(cloud: Cloud) -> None:
    between = cloud.judge("how do I do topic", unit(cloud.centres[0] + cloud.centres[1]))
    clear = cloud.judge("how do I do topic0", cloud.centres[0])

    assert between.right < clear.right - 0.2
    assert between.in_scope > between.right


def test_a_base_is_fitted_on_its_own_phrasings_each_left_out_in_turn(cloud: Cloud) -> None:
    line = cloud.known.calibration

    assert line.questions == 2 * ANSWERS * PHRASINGS
    assert len(line.scope) == len(FEATURES) + 1


def test_few_phrasings_an_answer_keep_the_public_weights_and_line() -> None:
    assert Cloud(phrasings=7).known.calibration == PUBLIC
    assert Cloud(phrasings=8).known.calibration.questions


def test_a_base_of_sections_stands_on_the_public_weights() -> None:
    cloud = Cloud(phrasings=0)

    inside = cloud.judge("how is topic3 done", cloud.around(3, 1)[0]).right

    assert cloud.known.calibration == PUBLIC
    assert inside > cloud.judge("what is the weather on mars", cloud.elsewhere()).right


def test_a_kept_calibration_says_the_same_without_being_fitted_again(cloud: Cloud) -> None:
    kept = Calibration.decode(cloud.known.calibration.encode())
    known = Known.of(cloud.passages, cloud.vectors, kept)
    vector = cloud.around(5, 1)[0]

    again = judge("how do I do topic5", cloud.hits(vector), vector=vector, known=known)

    assert again == cloud.judge("how do I do topic5", vector)


def test_without_a_hit_nothing_is_sure(cloud: Cloud) -> None:
    empty = fitted([], np.zeros((0, DIMENSION), np.float32))

    assert assess("anything", [], vector=cloud.centres[0], known=empty) == 0.0


def test_a_single_passage_can_be_the_whole_base(cloud: Cloud) -> None:
    passage = cloud.passages[0]
    known = fitted([passage], cloud.vectors[:PHRASINGS])
    hit = Hit(passage=passage, score=1.0, cosine=1.0, lexical=1.0, nearest=passage.questions[0])

    inside = assess("how is topic0 done", [hit], vector=cloud.centres[0], known=known)

    assert assess("what is the weather on mars", [hit], vector=cloud.elsewhere(), known=known) < inside


@given(text=st.text(max_size=300))
def test_any_text_gets_a_probability(cloud: Cloud, text: str) -> None:
    assert 0 <= cloud.judge(text, cloud.elsewhere()).right <= 1


def test_a_flood_of_words_costs_no_more_than_a_question(cloud: Cloud) -> None:
    vector, flood = cloud.around(1, 1)[0], "word " * 200_000
    began = time.perf_counter()

    cloud.judge(flood, vector)

    assert time.perf_counter() - began < 2
    assert len(words(flood)) == 200


def test_words_of_scripts_without_spaces_are_characters() -> None:
    assert words("Wie geht's, 退货?") == ["wie", "geht", "s", "退", "货"]


def test_a_regression_finds_the_weights_that_made_its_data() -> None:
    random = np.random.default_rng(1)
    rows = random.normal(size=(20_000, 2))
    right = random.random(20_000) < 1 / (1 + np.exp(-(2 * rows[:, 0] - rows[:, 1] + 0.5)))

    found = fit(rows, right, np.ones(len(rows)), penalty=1.0)

    assert found == pytest.approx([2, -1, 0.5], abs=0.1)


def test_overconfident_logits_are_flattened() -> None:
    random = np.random.default_rng(2)
    true = random.normal(size=5_000)
    right = random.random(5_000) < 1 / (1 + np.exp(-true))

    slope, offset = platt(3 * true + 1, right, np.ones(len(true)))

    assert slope == pytest.approx(1 / 3, abs=0.05)
    assert offset == pytest.approx(-1 / 3, abs=0.1)


@given(st.integers(1, 40), st.booleans())
def test_a_handful_of_odd_phrasings_never_turns_the_line_over(count: int, upside_down: bool) -> None:
    logit = np.linspace(-4, 4, count)
    right = (logit > 0) ^ upside_down

    slope, offset = platt(logit, right, np.ones(count))

    assert slope > 0
    assert np.isfinite(offset)


@given(st.floats(-1e6, 1e6))
def test_no_logit_overflows(logit: float) -> None:
    assert 0 <= probability(logit) <= 1


def test_separable_data_has_weights_too() -> None:
    rows = np.array([[-1.0], [1.0]] * 50)

    found = fit(rows, rows[:, 0] > 0, np.ones(100), penalty=1.0)

    assert (logits(rows, found) > 0).tolist() == (rows[:, 0] > 0).tolist()
