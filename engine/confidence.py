"""How likely the best hit of a search answers the question: a calibrated probability, low for what is out of scope.

A dozen features of question, hits and knowledge base go through two logistic regressions, whose weights
`engine.training.confidence` learns on public data: whether the knowledge base has an answer at all, and whether it is this one.
Their product goes through a line. A knowledge base that has phrasings enough gets a line of its own and weights drawn from the
public ones, all fitted on its own phrasings, each of them left out in turn: once alone, when its answer ought to be found all
the same, and once with its answer, when nothing right is left to be found. Where an answer has a few phrasings, each was written to
say it in other words: what is left then finds the one that is left out much worse than it finds a person's question (the sample
knowledge base 55 % against 87 %), and a base fitted on that would doubt itself.
"""

import dataclasses
import functools
import importlib.resources
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.knowledge import Hit, Passage
from engine.known import FEATURES, Calibration, Candidate, Known, Numbers, Vectors, features, unit
from engine.logistic import fit, logits, platt, probability

Flags = NDArray[np.bool_]

#: Hits beyond these say nothing more about the first.
DEPTH = 10
#: Phrasings that a calibration leaves out in turn; more make it no better and take seconds.
LEFT_OUT = 600
#: Fewer say nothing about a knowledge base: the public weights stand alone.
LEAST_LEFT_OUT = 20
#: With fewer phrasings an answer on average, those that are left say too little of how it is with all of them: of 3 and 4 phrasings
#: of public sets, drawn at random, a line of its own is no better calibrated than the public one (error 0.045 to 0.105 against
#: 0.037 to 0.134), both without `TIED`.
PHRASED = 8
#: How much the weights of a knowledge base are held to the public ones: as much as about so many questions would.
HELD = 30.0
#: Difference of two scores, in a base without a line of its own, that is worth one logit: in the sets that the public weights come
#: from a question seldom fits two answers alike.
TIED = 0.02
#: Share of questions, as a support bot gets them, that no answer of the knowledge base fits.
FOREIGN = 0.2
#: No regression is surer than so, as a logit.
_SURE = 12.0


@dataclass(frozen=True)
class Confidence:
    """What a search is worth."""

    #: Probability that the first hit answers the question.
    right: float
    #: Probability that anything in the knowledge base does: what is unsure but in scope is worth a question back.
    in_scope: float


def assess(question: str, hits: Sequence[Hit], *, vector: Vectors, known: Known) -> float:
    """The calibrated probability that the first hit answers the question; 0 where there is no hit."""
    return judge(question, hits, vector=vector, known=known).right


def judge(question: str, hits: Sequence[Hit], *, vector: Vectors, known: Known) -> Confidence:
    """What a search is worth.

    `vector` is the question's; `hits` are best first, as `engine.retrieval` finds them in the knowledge base that is `known`.
    """
    if not hits:
        return Confidence(0.0, 0.0)
    found = [_candidate(hit, vector, known) for hit in hits[:DEPTH]]
    said = judged(features(question, found, vector, known)[None], known.calibration)[0]
    return said if known.calibration.questions else dataclasses.replace(said, right=said.right * _alone(hits))


def _alone(hits: Sequence[Hit]) -> float:
    """How likely the first hit is meant and not the second, by their scores alone: half, of two that fit as well."""
    return 1.0 if len(hits) < 2 else probability((hits[0].score - hits[1].score) / TIED)


def judged(rows: Numbers, line: Calibration) -> list[Confidence]:
    """The same from features, a row a question."""
    raw, scope = _logits(rows, line)
    right = (probability(line.slope * one + line.offset) for one in raw.tolist())
    return [Confidence(*pair) for pair in zip(right, map(probability, scope.tolist()), strict=True)]


def _candidate(hit: Hit, vector: Vectors, known: Known) -> Candidate:
    cosines = known.vectors[known.rows[hit.passage.id]] @ vector
    return Candidate(cosines, float(known.centroids[hit.passage.id] @ vector), hit.nearest, len(cosines))


# -- the line of a knowledge base -------------------------------------------------------------------------------------------------


def fitted(passages: Sequence[Passage], vectors: Vectors) -> Known:
    """What a version of a knowledge base knows of itself, fitted on its own phrasings; takes seconds, when it is published."""
    known = Known.of(passages, vectors)
    if sum(len(one.questions) for one in passages) < PHRASED * sum(one.verbatim for one in passages):
        return known
    seen = list(left_out(known, passages))
    if len(seen) < LEAST_LEFT_OUT:
        return known
    rows, right, foreign = (np.array(column) for column in zip(*seen, strict=True))
    own = _adapted(rows, right, foreign)
    mass = np.where(foreign, FOREIGN / max(1, foreign.sum()), (1 - FOREIGN) / max(1, (~foreign).sum()))
    slope, offset = platt(_logits(rows, own)[0], right, mass * len(seen))
    return dataclasses.replace(known, calibration=msgspec.structs.replace(own, slope=slope, offset=offset, questions=len(seen)))


def _adapted(rows: Numbers, right: Flags, foreign: Flags) -> Calibration:
    """The public weights, drawn towards a knowledge base."""
    public, even = _weights(), np.ones(len(rows))
    scaled = (rows - public.mean) / public.deviation
    scope = fit(scaled, ~foreign, even, penalty=HELD, prior=public.scope)
    choice = fit(scaled[~foreign], right[~foreign], even[~foreign], penalty=HELD, prior=public.choice)
    return Calibration(scope=tuple(scope.tolist()), choice=tuple(choice.tolist()))


def left_out(known: Known, passages: Sequence[Passage]) -> Iterator[tuple[Numbers, bool, bool]]:
    """For phrasings that are left out in turn: features, whether the answer is right, whether the right one was left out too."""
    texts = [(position, text) for position, one in enumerate(passages) for text in one.searched]
    phrased = [row for row, (position, _) in enumerate(texts) if len(passages[position].questions) > 1]
    if len(phrased) > LEFT_OUT:
        phrased = sorted(np.random.default_rng(0).choice(phrased, LEFT_OUT, replace=False).tolist())
    counts = np.array([len(one.searched) for one in passages], np.intp)
    starts = np.cumsum(counts) - counts
    for row in phrased:
        own, vector = texts[row][0], known.vectors[row]
        cosines = known.vectors @ vector
        cosines[row] = -1.0
        for foreign in (False, True):
            if foreign:
                cosines[known.rows[passages[own].id]] = -1.0
            best = np.maximum.reduceat(cosines, starts)
            order = np.argsort(-best)[:DEPTH]
            found = [_seen(passages[at], cosines, vector, known, texts) for at in order if best[at] > -1.0]
            if found:
                yield features(texts[row][1], found, vector, known), not foreign and order[0] == own, foreign


def _seen(passage: Passage, cosines: Vectors, vector: Vectors, known: Known, texts: Sequence[tuple[int, str]]) -> Candidate:
    """A passage without the text that was left out."""
    at = known.rows[passage.id]
    there = np.flatnonzero(cosines[at] > -1.0) + at.start
    centroid = known.centroids[passage.id]
    if len(there) < at.stop - at.start:
        centroid = unit(known.vectors[there].mean(axis=0))
    return Candidate(cosines[there], float(centroid @ vector), texts[there[np.argmax(cosines[there])]][1], at.stop - at.start)


# -- the public weights -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Weights:
    """Two logistic regressions over features that are brought to mean 0 and deviation 1 first."""

    mean: Numbers
    deviation: Numbers
    #: Whether there is an answer; one weight a feature, and the constant last.
    scope: Numbers
    #: Whether it is the first hit, if there is one.
    choice: Numbers


def _logits(rows: Numbers, own: Calibration) -> tuple[Numbers, Numbers]:
    """(That the first hit is right, that anything is), without the line of a knowledge base."""
    public = _weights()
    scaled = (rows - public.mean) / public.deviation
    pair = (np.array(own.scope), np.array(own.choice)) if own.scope else (public.scope, public.choice)
    scope, choice = (np.clip(logits(scaled, one), -_SURE, _SURE) for one in pair)
    both = 1.0 / ((1.0 + np.exp(-scope)) * (1.0 + np.exp(-choice)))
    return np.log(both) - np.log1p(-both), scope


@functools.cache
def _weights() -> Weights:
    raw = json.loads(importlib.resources.files("engine").joinpath("confidence.json").read_text())
    if tuple(raw["features"]) != FEATURES:
        raise ValueError("engine/confidence.json was trained on other features: run python -m engine.training.confidence")
    return Weights(*(np.array(raw[name]) for name in ("mean", "deviation", "scope", "choice")))
