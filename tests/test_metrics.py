"""What figures of an evaluation are made of: bounds that hold, metrics with known values, agreement as the books compute it."""

import math
from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given, settings

from engine import bounds, metrics
from engine.agreement import alpha, kappa

shares = st.integers(0, 300).flatmap(lambda cases: st.tuples(st.integers(0, cases), st.just(cases)))
judged = st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=200)


# -- bounds ---------------------------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(shares, st.floats(0.5, 0.999))
def test_the_bounds_of_a_share_contain_it(share: tuple[int, int], confidence: float) -> None:
    successes, cases = share
    assume(cases)
    found = bounds.share(successes, cases, confidence=confidence)

    assert 0 <= found.low <= successes / cases <= found.high <= 1
    assert bounds.lower(successes, cases) <= successes / cases <= bounds.upper(successes, cases)


@settings(max_examples=30)
@given(shares)
def test_one_more_success_raises_both_bounds(share: tuple[int, int]) -> None:
    successes, cases = share
    assume(successes < cases)

    assert bounds.lower(successes, cases) <= bounds.lower(successes + 1, cases)
    assert bounds.upper(successes, cases) <= bounds.upper(successes + 1, cases)


@pytest.mark.parametrize(
    ("successes", "cases", "low", "high"),
    [(0, 10, 0.0, 0.3084971), (10, 10, 0.6915029, 1.0), (1, 10, 0.0025286, 0.4450161), (81, 263, 0.2527, 0.3676)],
)
def test_the_interval_of_a_share_is_that_of_clopper_and_pearson(successes: int, cases: int, low: float, high: float) -> None:
    found = bounds.share(successes, cases)

    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_without_an_error_in_59_answers_95_percent_are_shown_and_in_58_not() -> None:
    assert bounds.lower(59, 59) >= 0.95 > bounds.lower(58, 58)
    assert bounds.upper(0, 0) == 1
    assert bounds.share(0, 0) == bounds.Interval(0, 1)


def test_more_successes_than_cases_are_refused() -> None:
    with pytest.raises(ValueError, match="3 of 2 is no share"):
        bounds.share(3, 2)


def test_the_bound_holds_as_often_as_it_says_whatever_the_share() -> None:
    random = np.random.default_rng(3)
    for share in (0.01, 0.3, 0.95):
        drawn = random.binomial(80, share, 2000)
        found = {successes: bounds.share(successes, 80) for successes in set(drawn.tolist())}
        assert np.mean([share in found[successes] for successes in drawn.tolist()]) >= 0.95


@settings(max_examples=30)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=50), st.integers(0, 9))
def test_the_interval_of_a_mean_is_the_same_for_the_same_seed_and_lies_among_the_values(values: list[float], seed: int) -> None:
    array = np.array(values)
    found = bounds.mean(array, seed=seed)

    assert found == bounds.mean(array, seed=seed)
    assert array.min() - 1e-9 <= found.low <= found.high <= array.max() + 1e-9


# -- labels and rankings --------------------------------------------------------------------------------------------------------


def test_precision_recall_and_f1_are_those_of_the_textbook() -> None:
    found = metrics.labelled(["cat", "cat", "cat", "dog", "dog", "bird"], ["cat", "cat", "dog", "dog", None, "cat"])

    assert found.accuracy == 0.5
    assert (found.micro.precision, found.micro.recall) == pytest.approx((3 / 5, 3 / 6))
    assert (found.each["cat"].precision, found.each["cat"].recall) == pytest.approx((2 / 3, 2 / 3))
    assert found.each["bird"].f1 == 0
    assert found.macro.f1 == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=60))
def test_where_every_case_gets_a_label_micro_f1_is_the_accuracy(pairs: list[tuple[str, str]]) -> None:
    found = metrics.labelled([a for a, _ in pairs], [b for _, b in pairs])

    assert found.micro.f1 == pytest.approx(found.accuracy)
    assert 0 <= found.macro.f1 <= 1


def test_the_place_of_a_hit_counts_from_1_and_0_means_nowhere() -> None:
    assert metrics.place(["a", "b", "c"], frozenset({"b", "c"})) == 2
    assert metrics.place(["a"], frozenset({"z"})) == 0


# -- confidence -----------------------------------------------------------------------------------------------------------------


def test_auroc_counts_pairs_and_ties_half() -> None:
    assert metrics.auroc([True, True, False, False], [0.9, 0.5, 0.5, 0.1]) == pytest.approx(3.5 / 4)
    assert math.isnan(metrics.auroc([True, True], [0.1, 0.2]))


@given(judged)
def test_auroc_is_the_same_under_every_growing_change_of_the_score_and_turned_by_a_falling_one(
    cases: list[tuple[bool, float]],
) -> None:
    positive, score = [p for p, _ in cases], np.array([s for _, s in cases]).round(3)
    assume(any(positive) and not all(positive))
    found = metrics.auroc(positive, score)

    assert metrics.auroc(positive, np.exp(3 * score) - 7) == pytest.approx(found)
    assert metrics.auroc(positive, -score) == pytest.approx(1 - found)
    area = sum((x - before) * (y + was) / 2 for (before, was), (x, y) in pairwise(metrics.roc(positive, score)))
    assert area == pytest.approx(found)


@given(judged)
def test_the_curve_answers_ever_more_and_ends_with_everything(cases: list[tuple[bool, float]]) -> None:
    curve = metrics.coverage_curve([score for _, score in cases], [right for right, _ in cases])

    assert all(a.coverage < b.coverage and a.threshold > b.threshold and a.right <= b.right for a, b in pairwise(curve))
    assert (curve[-1].answered, curve[-1].right) == (len(cases), sum(right for right, _ in cases))
    for point in curve:
        assert point.answered == sum(score >= point.threshold for _, score in cases)


@settings(max_examples=30)
@given(judged, st.floats(0.3, 0.99))
def test_a_threshold_keeps_its_promise_on_what_it_was_chosen_by(cases: list[tuple[bool, float]], target: float) -> None:
    curve = metrics.coverage_curve([score for _, score in cases], [right for right, _ in cases])
    found = metrics.threshold_for(curve, target)

    if found:
        assert found.point.precision >= found.bound >= target


def test_a_threshold_keeps_its_promise_on_what_comes_later() -> None:
    random = np.random.default_rng(5)
    kept = []
    for _ in range(30):
        confidence = random.random(600)
        right = random.random(600) < 0.75 + confidence / 4
        found = metrics.threshold_for(metrics.coverage_curve(confidence, right), 0.9)
        truth = 0.75 + (1 + found.point.threshold) / 8 if found else 1.0
        kept.append(truth >= 0.9)

    assert np.mean(kept) >= 0.95


def test_where_no_threshold_can_be_shown_there_is_none() -> None:
    curve = metrics.coverage_curve([0.9] * 30, [True] * 30)

    assert metrics.threshold_for(curve, 0.99) is None
    assert metrics.threshold_for([], 0.5) is None


def test_who_is_right_as_often_as_they_say_has_no_calibration_error() -> None:
    confidence, right = [0.75] * 4 + [0.25] * 4, [True, True, True, False, True, False, False, False]

    assert metrics.calibration_error(confidence, right) == pytest.approx(0)
    assert metrics.calibration_error([1.0, 1.0], [True, False]) == pytest.approx(0.5)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(values: list[float], share: float) -> None:
    found = metrics.percentile(values, share)

    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-6


# -- agreement ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("counts", "expected"), [((20, 5, 10, 15), 0.4), ((45, 15, 25, 15), 0.1304), ((25, 35, 5, 35), 0.2593)])
def test_kappa_is_that_of_the_textbook(counts: tuple[int, int, int, int], expected: float) -> None:
    both_yes, first_yes, second_yes, both_no = counts
    first = "y" * (both_yes + first_yes) + "n" * (second_yes + both_no)
    second = "y" * both_yes + "n" * first_yes + "y" * second_yes + "n" * both_no

    assert kappa(first, second) == pytest.approx(expected, abs=1e-4)


def test_alpha_is_that_of_krippendorffs_four_observers() -> None:
    units = {
        "A": "1 2 3 3 2 1 4 1 2 * * *",
        "B": "1 2 3 3 2 2 4 1 2 5 * 3",
        "C": "* 3 3 3 2 3 4 2 2 5 1 *",
        "D": "1 2 3 3 2 4 4 1 2 5 1 *",
    }
    ratings = {rater: {str(i): value for i, value in enumerate(line.split()) if value != "*"} for rater, line in units.items()}

    assert alpha(ratings) == pytest.approx(0.743, abs=5e-4)


@given(st.lists(st.sampled_from("abt"), min_size=2, max_size=40))
def test_raters_of_one_mind_agree_fully(judgements: list[str]) -> None:
    assume(len(set(judgements)) > 1)
    mine = {str(i): category for i, category in enumerate(judgements)}

    assert kappa(judgements, judgements) == pytest.approx(1)
    assert alpha({"x": mine, "y": mine, "z": mine}) == pytest.approx(1)


def test_agreement_that_cannot_be_told_is_not_a_number() -> None:
    assert math.isnan(kappa("aaa", "aaa"))
    assert math.isnan(kappa("", ""))
    assert math.isnan(alpha({"x": {"1": "a"}, "y": {"2": "b"}}))
    with pytest.raises(ValueError, match="both raters must have judged the same items"):
        kappa("ab", "a")
