"""What is measured of answers, as pure functions of what was expected and what came: labels, rankings, confidence, time.

Shares lie between 0 and 1. Where nothing can be said (no case, no positive) a figure is NaN, never 0.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine import bounds

Floats = NDArray[np.float64]

#: Shares of answered questions at which a threshold is looked for; each costs a part of the confidence.
CANDIDATES = 20


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """How well labels were given. An abstention is given as None: it misses its label and claims no other."""

    accuracy: float
    #: Over all decisions together.
    micro: "Scores"
    #: Mean over the labels that were expected, rare ones as heavy as frequent ones.
    macro: "Scores"
    #: For each label that was expected.
    each: dict[str, "Scores"]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Precision, recall and their harmonic mean."""

    precision: float
    recall: float
    f1: float
    #: Cases that have the label.
    support: int


def labelled(expected: Sequence[str], given: Sequence[str | None]) -> Labelled:
    """Compares labels, pair by pair."""
    if len(expected) != len(given):
        raise ValueError(f"{len(expected)} expected labels and {len(given)} given ones")
    wanted, claimed = Counter(expected), Counter(label for label in given if label is not None)
    hits = Counter(label for label, other in zip(expected, given, strict=True) if label == other)
    each = {label: _scores(hits[label], claimed[label], count) for label, count in sorted(wanted.items())}
    right = sum(hits.values())
    return Labelled(
        accuracy=_ratio(right, len(expected)),
        micro=_scores(right, sum(claimed.values()), len(expected)),
        macro=_mean_scores(list(each.values()), support=len(expected)),
        each=each,
    )


def _scores(hits: int, claimed: int, wanted: int) -> Scores:
    """A label that was never given has no wrong claims: its precision counts as 0, as its recall is."""
    precision, recall = hits / claimed if claimed else 0.0, _ratio(hits, wanted)
    both = precision + recall
    return Scores(precision=precision, recall=recall, f1=2 * precision * recall / both if both else 0.0, support=wanted)


def _mean_scores(each: Sequence[Scores], *, support: int) -> Scores:
    def mean(values: Sequence[float]) -> float:
        return math.fsum(values) / len(values) if values else math.nan

    return Scores(
        precision=mean([one.precision for one in each]),
        recall=mean([one.recall for one in each]),
        f1=mean([one.f1 for one in each]),
        support=support,
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def place(ranking: Sequence[Hashable], wanted: frozenset[Hashable]) -> int:
    """Where the first wanted thing stands, from 1; 0 if it is not there."""
    return next((i for i, found in enumerate(ranking, 1) if found in wanted), 0)


def auroc(positive: ArrayLike, score: ArrayLike) -> float:
    """Probability that a positive scores above a negative, ties counting half (Mann and Whitney); NaN without one of either."""
    is_positive, scores = np.asarray(positive, bool), np.asarray(score, np.float64)
    positives, negatives = np.sort(scores[is_positive]), np.sort(scores[~is_positive])
    if not len(positives) or not len(negatives):
        return math.nan
    below = np.searchsorted(negatives, positives, "left") + np.searchsorted(negatives, positives, "right")
    return float(below.sum() / 2 / (len(positives) * len(negatives)))


def roc(positive: ArrayLike, score: ArrayLike) -> list[tuple[float, float]]:
    """(false positive rate, true positive rate) at each threshold, from none to all."""
    is_positive, scores = np.asarray(positive, bool), np.asarray(score, np.float64)
    order = np.argsort(-scores, kind="stable")
    last = _last_of_ties(scores[order])
    hits, misses = np.cumsum(is_positive[order])[last], np.cumsum(~is_positive[order])[last]
    total, rest = max(1, int(is_positive.sum())), max(1, int((~is_positive).sum()))
    return [(0.0, 0.0), *((float(miss / rest), float(hit / total)) for miss, hit in zip(misses, hits, strict=True))]


def _last_of_ties(ordered: Floats) -> NDArray[np.intp]:
    """Positions after which the score changes: what scores alike is answered together or not at all."""
    return np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) if len(ordered) else np.empty(0, np.intp)


@dataclass(frozen=True, kw_only=True)
class Point:
    """What is answered at a threshold, and how much of it is right."""

    #: Answered is whatever has at least this confidence.
    threshold: float
    answered: int
    right: int
    #: Share of all cases that is answered.
    coverage: float

    @property
    def precision(self) -> float:
        """Share of the answered that is right."""
        return _ratio(self.right, self.answered)


def coverage_curve(confidence: ArrayLike, right: ArrayLike) -> list[Point]:
    """Coverage and precision at every threshold that changes anything, the most confident first."""
    scores, is_right = np.asarray(confidence, np.float64), np.asarray(right, bool)
    order = np.argsort(-scores, kind="stable")
    ordered, sums = scores[order], np.cumsum(is_right[order])
    return [
        Point(threshold=float(ordered[i]), answered=int(i) + 1, right=int(sums[i]), coverage=(int(i) + 1) / len(scores))
        for i in _last_of_ties(ordered)
    ]


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A threshold that keeps a promise about precision."""

    point: Point
    #: Precision is at least this with the confidence that was asked for.
    bound: float


def threshold_for(curve: Sequence[Point], precision: float, *, confidence: float = bounds.CONFIDENCE) -> Threshold | None:
    """The threshold that answers most while precision is at least so much, with that confidence; None where no one can be shown.

    It is chosen among `CANDIDATES` thresholds by share of answered questions, each tested at a part of the allowed error
    (Bonferroni), so that the choice itself does not spoil the bound.
    """
    each = 1 - (1 - confidence) / CANDIDATES
    for point in reversed(_spread(curve)):
        bound = bounds.lower(point.right, point.answered, confidence=each)
        if bound >= precision:
            return Threshold(point=point, bound=bound)
    return None


def _spread(curve: Sequence[Point]) -> list[Point]:
    """For each of the even shares the last point that answers no more."""
    chosen: dict[int, Point] = {}
    for point in curve:
        chosen[min(CANDIDATES, math.floor(point.coverage * CANDIDATES + 1e-9))] = point
    return [point for step, point in sorted(chosen.items()) if step]


def calibration(confidence: ArrayLike, right: ArrayLike, *, bins: int = 10) -> list[tuple[float, float, int]]:
    """(mean confidence, share right, cases) of each tenth of the confidence that has cases."""
    scores, is_right = np.asarray(confidence, np.float64), np.asarray(right, np.float64)
    which = np.minimum((scores * bins).astype(int), bins - 1)
    members = [which == b for b in sorted(set(which.tolist()))]
    return [(float(scores[one].mean()), float(is_right[one].mean()), int(one.sum())) for one in members]


def calibration_error(confidence: ArrayLike, right: ArrayLike, *, bins: int = 10) -> float:
    """Mean distance of confidence and share right, over the bins (Naeini and others, AAAI 2015)."""
    found = calibration(confidence, right, bins=bins)
    total = sum(count for _, _, count in found)
    return _ratio(math.fsum(abs(said - was) * count for said, was, count in found), total)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least so large a share of all does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan
