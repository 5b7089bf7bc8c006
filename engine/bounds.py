"""How sure a measured figure is: exact bounds of a share, and intervals by resampling.

A share gets the interval of Clopper and Pearson (Biometrika 26, 1934), which holds at least as often as it says, for few cases and
for shares of 0 and 1 too. Everything else is resampled (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: How often an interval must hold the truth, unless something else is asked for.
CONFIDENCE = 0.95
#: Halvings of an interval of length 1; beyond 2**-40 nobody reads a share.
_HALVINGS = 40
#: Resamples for an interval: the standard error of its ends is then a few percent of its length.
RESAMPLES = 1000
#: Values that are drawn together: 8 MB of them.
_AT_ONCE = 1_000_000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """Where a figure lies, as far as the data tell."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def share(successes: int, cases: int, *, confidence: float = CONFIDENCE) -> Interval:
    """The two-sided interval of a share; from 0 to 1 where there is no case."""
    if not cases:
        return Interval(0.0, 1.0)
    tail = (1 - confidence) / 2
    return Interval(_at_least(successes, cases, tail), 1 - _at_least(cases - successes, cases, tail))


def lower(successes: int, cases: int, *, confidence: float = CONFIDENCE) -> float:
    """The share is above this with so much confidence: one-sided."""
    return _at_least(successes, cases, 1 - confidence) if cases else 0.0


def upper(successes: int, cases: int, *, confidence: float = CONFIDENCE) -> float:
    """The share is below this with so much confidence: one-sided."""
    return 1 - _at_least(cases - successes, cases, 1 - confidence) if cases else 1.0


def _at_least(successes: int, cases: int, tail: float) -> float:
    """The share at which so many successes or more have the probability `tail`, by halving."""
    if not 0 <= successes <= cases:
        raise ValueError(f"{successes} of {cases} is no share")
    if not successes:
        return 0.0
    ways = _log_ways(successes, cases)
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _tail(ways, successes, cases, middle) < tail else (low, middle)
    return low


def _log_ways(successes: int, cases: int) -> Floats:
    """Logarithms of the binomial coefficients from `successes` on."""
    return np.array([math.lgamma(cases + 1) - math.lgamma(i + 1) - math.lgamma(cases - i + 1) for i in range(successes, cases + 1)])


def _tail(ways: Floats, successes: int, cases: int, probability: float) -> float:
    counts = np.arange(successes, cases + 1)
    terms = ways + counts * math.log(probability) + (cases - counts) * math.log1p(-probability)
    return float(np.exp(terms).sum())


def resampled(measure: Callable[[NDArray[np.intp]], float], cases: int, *, seed: int, resamples: int = RESAMPLES) -> Interval:
    """The percentile interval of what `measure` says of cases, given by their positions, drawn anew with replacement.

    Draws of which it says nothing (NaN, as of an AUROC without a negative) are left out.
    """
    if not cases:
        return Interval(math.nan, math.nan)
    random = np.random.default_rng(seed)
    return _middle(np.array([measure(random.integers(0, cases, cases)) for _ in range(resamples)]))


def mean(values: Floats, *, seed: int) -> Interval:
    """The interval of a mean."""
    cases = len(values)
    if not cases:
        return Interval(math.nan, math.nan)
    random = np.random.default_rng(seed)
    rows = max(1, _AT_ONCE // cases)
    sizes = [min(rows, RESAMPLES - done) for done in range(0, RESAMPLES, rows)]
    return _middle(np.concatenate([values[random.integers(0, cases, (size, cases))].mean(axis=1) for size in sizes]))


def _middle(found: Floats) -> Interval:
    told = found[~np.isnan(found)]
    if not len(told):
        return Interval(math.nan, math.nan)
    low, high = np.quantile(told, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(low), float(high))
