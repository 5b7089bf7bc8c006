"""Whether the answer of a cached question answers another question too: a logistic regression over features that cost microseconds.

Cosine alone cannot tell. Two questions about different orders are closer than two ways to ask one thing; what can tell is whether
the entries around a question agree on one answer, how far the next answer is, and in what the wordings differ. A difference counts
for less where the entries of one answer differ in the same way among themselves: then the answer does not depend on it.
"""

import importlib.resources
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.wording import Difference, Wording, difference, overlap

#: Entries that are looked at around a question, and those of them that vote.
AROUND, VOTERS = 20, 5
#: What an absent neighbour's cosine is taken for: that of two unrelated questions.
_NOBODY = 0.2
#: Makes cosines into votes: entries a tenth apart weigh 1 to 7.
_SHARPNESS = 20.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Neighbour:
    """An entry near a question."""

    cosine: float
    #: Names the answer: a passage or an approved reply.
    key: str
    wording: Wording


#: Named in this order by `features`. The *lone* ones fade as more entries of the answer stand around the question: what one entry
#: alone differs in matters, what many have in common has been seen to.
FEATURES = (
    "cosine",
    "nearness",
    "mean gap",
    "share",
    "vote",
    "support",
    "overlap",
    "uncovered here",
    "uncovered there",
    "lone cosine",
    "lone nearness",
    "lone vote",
    "lone overlap",
    "lone number",
    "lone negation",
    "lone opposite",
    "lone name",
    "lone order",
    "lone slot",
    "lone same words",
)


class Verifier(msgspec.Struct, frozen=True):
    """The regression: how it was made, and its numbers."""

    features: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    #: Sets, licences, date, seed and figures.
    card: dict[str, object]

    @classmethod
    def read(cls, raw: bytes) -> Self:
        """A regression from its JSON.

        :raises msgspec.ValidationError: if it is none, or of other features.
        """
        found = msgspec.json.decode(raw, type=cls)
        if found.features != FEATURES or {len(found.mean), len(found.scale), len(found.weights)} != {len(FEATURES)}:
            raise msgspec.ValidationError("this verifier was trained on other features: train it again")
        return found

    def probability(self, features: Floats) -> float:
        """That the answer is right."""
        return 1 / (1 + math.exp(-max(min(self.logit(features), 40.0), -40.0)))

    def logit(self, features: Floats) -> float:
        return self.bias + float(sum(self.contributions(features)))

    def contributions(self, features: Floats) -> Floats:
        """What each feature adds to the logit."""
        return np.asarray((features - self.mean) / self.scale * self.weights, dtype=np.float64)


@cache
def shipped() -> Verifier:
    """The one that comes with the package; `engine.training.verifier` made it."""
    return Verifier.read(importlib.resources.files("engine").joinpath("verifier.json").read_bytes())


def candidate(neighbours: Sequence[Neighbour]) -> int:
    """The nearest entry of the answer that the entries around a question vote for; neighbours come nearest first.

    The vote is taken among all of `AROUND`, each by its nearness.
    """
    votes: dict[str, float] = {}
    for near in neighbours[:AROUND]:
        votes[near.key] = votes.get(near.key, 0.0) + math.exp(_SHARPNESS * near.cosine)
    key = max(votes, key=votes.__getitem__)
    return next(place for place, near in enumerate(neighbours) if near.key == key)


def features(question: Wording, neighbours: Sequence[Neighbour], chosen: int, idf: Mapping[str, float]) -> Floats:
    """The features of giving the answer of one neighbour to a question, in the order of `FEATURES`."""
    entry = neighbours[chosen]
    around = neighbours[:AROUND]
    same = [near for near in around if near.key == entry.key]
    others = [near for near in around if near.key != entry.key]
    shared, here, there = overlap(question, entry.wording, idf)
    apart = _difference(question, [near.wording for near in same[:VOTERS]])
    support = min(len(same), VOTERS) / VOTERS
    lone = 1 - support
    nearness, vote = -math.log(max(1 - entry.cosine, 0.005)), _vote(same, around)
    return np.array(
        [
            entry.cosine,
            nearness,
            _mean(same) - _mean(others),
            sum(near.key == entry.key for near in around[:VOTERS]) / max(len(around[:VOTERS]), 1),
            vote,
            support,
            shared,
            here,
            there,
            *(lone * value for value in (entry.cosine, nearness, vote, shared)),
            *(lone * value for value in (apart.number, apart.negation, apart.opposite, apart.name, apart.order, apart.slot)),
            lone * (question.content == entry.wording.content),
        ]
    )


def _mean(near: Sequence[Neighbour]) -> float:
    nearest = [one.cosine for one in near[:VOTERS]]
    return sum(nearest) / len(nearest) if nearest else _NOBODY


def _vote(same: Sequence[Neighbour], around: Sequence[Neighbour]) -> float:
    """The log odds of the answer by the votes around it; one vote of an unrelated answer stands for those that nobody asked yet."""
    ours = sum(math.exp(_SHARPNESS * near.cosine) for near in same)
    every = sum(math.exp(_SHARPNESS * near.cosine) for near in around)
    return math.log(ours / (every - ours + math.exp(_SHARPNESS * 0.5)))


def _difference(question: Wording, same: Sequence[Wording]) -> Difference:
    """The least difference from the entries of one answer, each kind by itself: what they differ in themselves says nothing."""
    found = [difference(question, wording) for wording in same]
    return Difference(
        number=min(one.number for one in found),
        negation=min(one.negation for one in found),
        opposite=min(one.opposite for one in found),
        name=min(one.name for one in found),
        order=min(one.order for one in found),
        slot=min(one.slot for one in found),
    )
