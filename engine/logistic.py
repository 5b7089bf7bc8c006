"""Logistic regression in NumPy: the little of it that is needed to tell how sure an answer is."""

import math

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

#: Newton's method is there after about six steps.
_STEPS = 50
_CLOSE = 1e-8


def probability(logit: float) -> float:
    """Between 0 and 1, without overflow."""
    return 1.0 / (1.0 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1.0 + math.exp(logit))


def logits(rows: Numbers, weights: Numbers) -> Numbers:
    """Of each row; the constant is the last weight."""
    found: Numbers = rows @ weights[:-1] + weights[-1]
    return found


def fit(rows: Numbers, right: NDArray[np.bool_], mass: Numbers, *, penalty: float, prior: Numbers | None = None) -> Numbers:
    """Weights, the constant last: the most likely ones under a normal prior of precision `penalty` around `prior`.

    `mass` is how much each row counts. The constant is as free as the weights where a prior is given, and quite free otherwise.
    """
    design = np.hstack([rows, np.ones((len(rows), 1))])
    around = np.zeros(design.shape[1]) if prior is None else prior
    stiff = np.full(design.shape[1], penalty)
    if prior is None:
        stiff[-1] = 1e-9

    def loss(at: Numbers) -> float:
        signed = np.where(right, 1.0, -1.0) * (design @ at)
        return float(mass @ np.logaddexp(0.0, -signed) + 0.5 * stiff @ (at - around) ** 2)

    weights = around.copy()
    for _ in range(_STEPS):
        guessed = 1.0 / (1.0 + np.exp(-np.clip(design @ weights, -30, 30)))
        slope = design.T @ (mass * (guessed - right)) + stiff * (weights - around)
        curve = (design * (mass * guessed * (1 - guessed))[:, None]).T @ design + np.diag(stiff)
        step = np.linalg.solve(curve, slope)
        # Where many are surely wrong a whole step leads far beyond the goal.
        while loss(weights - step) > loss(weights) and np.abs(step).max() >= _CLOSE:
            step = step / 2
        weights = weights - step
        if np.abs(step).max() < _CLOSE:
            break
    found: Numbers = weights
    return found


def platt(logit: Numbers, right: NDArray[np.bool_], mass: Numbers) -> tuple[float, float]:
    """Slope and offset that make logits say how often they are right (Platt 1999), drawn towards leaving them as they are."""
    slope, offset = fit(logit[:, None], right, mass, penalty=5.0, prior=np.array([1.0, 0.0]))
    # A line that falls would call the sure ones unsure; it is what a handful of odd phrasings can lead to.
    return max(0.1, float(slope)), float(offset)
