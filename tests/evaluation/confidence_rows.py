"""Rows of the confidence of an answer: what is out of scope, and what is left to answer when 95 % of it must be right."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from engine.confidence import fitted, judge
from engine.encoder import Encoder
from engine.knowledge import Passage
from engine.metrics import auroc, calibration_error, coverage_curve, threshold_for
from engine.retrieval import Index
from engine.settings import Settings
from tests.bench.rows import Row
from tests.evaluation.data import load

#: Share of the intents that the knowledge base has where the others are what is out of scope.
KEPT = 0.75
SEED = 0
PRECISION = 0.95

Flags = NDArray[np.bool_]
Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Questions with their intents and vectors."""

    texts: NDArray[np.str_]
    intents: NDArray[np.str_]
    vectors: NDArray[np.float32]

    @classmethod
    def of(cls, name: str, *parts: str) -> Self:
        rows = [row for part in parts for row in load(name, part)]
        vectors = np.concatenate([encoded(name, part) for part in parts])
        return cls(np.array([row["text"] for row in rows]), np.array([row["intent"] for row in rows]), vectors)

    def where(self, chosen: Any) -> "Labelled":
        return Labelled(self.texts[chosen], self.intents[chosen], self.vectors[chosen])


@cache
def _encoder() -> Encoder:
    return Encoder.load(Settings.load({}))


@cache
def encoded(name: str, part: str) -> NDArray[np.float32]:
    """The vectors of one part of a set."""
    return _encoder().encode([str(row["text"]) for row in load(name, part)])


@dataclass(frozen=True, eq=False)
class Judged:
    """What a knowledge base says to questions."""

    #: Probability that the first hit is right, and that anything is.
    sure: Numbers
    scope: Numbers
    cosine: Numbers
    right: Flags
    inside: Flags

    @classmethod
    def by(cls, base: Labelled, asked: Labelled) -> Self:
        """Each intent of `base` is an answer; the others are out of scope."""
        passages = [
            Passage(document="eval", text=intent, questions=tuple(base.texts[base.intents == intent].tolist())).identified()
            for intent in sorted(set(base.intents.tolist()))
        ]
        vectors = np.concatenate([base.vectors[base.intents == passage.text] for passage in passages])
        index, known = Index.build(passages, vectors), fitted(passages, vectors)
        hits = index.search(asked.texts.tolist(), asked.vectors, k=10)
        said = [
            judge(str(text), found, vector=vector, known=known)
            for text, found, vector in zip(asked.texts, hits, asked.vectors, strict=True)
        ]
        return cls(
            sure=np.array([one.right for one in said]),
            scope=np.array([one.in_scope for one in said]),
            cosine=np.array([found[0].cosine for found in hits]),
            right=np.array([found[0].passage.text for found in hits]) == asked.intents,
            inside=np.isin(asked.intents, base.intents),
        )

    @property
    def figures(self) -> dict[str, float]:
        """AUROC of three ways to tell what is out of scope; how far a confidence of so much is from right so often."""
        ways = {"in_scope": self.scope, "confidence": self.sure, "best_cosine": self.cosine}
        found = {f"auroc_by_{name}": round(auroc(self.inside, way), 4) for name, way in ways.items()}
        return found | {"calibration_error": round(calibration_error(self.sure, self.right), 4), "questions": len(self.right)}


def oos_auroc() -> Row:
    """CLINC150, its training part as knowledge base; and two sets whose left-out intents lie close to the others."""
    clinc = Judged.by(Labelled.of("clinc150", "train"), Labelled.of("clinc150", "test", "oos_test")).figures
    near = {
        name: Judged.by(_kept(Labelled.of(name, "train")), Labelled.of(name, "test")).figures for name in ("banking77", "hwu64")
    }
    value = clinc["auroc_by_in_scope"]
    return Row(value, "AUROC at least 0.965 on CLINC150", value >= 0.965, {"clinc150": clinc, **near})


def _kept(base: Labelled) -> Labelled:
    """Without the intents that a fixed seed draws."""
    intents = np.random.default_rng(SEED).permutation(sorted(set(base.intents.tolist())))
    return base.where(np.isin(base.intents, intents[: round(KEPT * len(intents))]))


def abstention() -> Row:
    """A threshold for 95 % right is chosen on validation data, and tried on what was held out.

    Of banking77 also without a quarter of its intents: where nothing can be promised, nothing is answered.
    """
    found = {"clinc150": _clinc(), "banking77": _banking(lambda base: base), "banking77_left_out": _banking(_kept)}
    answered = [one["precision"] for one in found.values() if one["coverage"]]
    ok = len(answered) >= 2 and min(answered) >= PRECISION
    return Row(min(answered, default=0.0), "held-out precision at least the 95 % that the bound states", ok, found)


def _clinc() -> dict[str, float]:
    """As many questions of each kind are out of scope in what the threshold is chosen on as in the test part."""
    test, outside = Labelled.of("clinc150", "val"), Labelled.of("clinc150", "oos_val")
    share = len(load("clinc150", "test")) / len(load("clinc150", "oos_test"))
    drawn = np.random.default_rng(SEED).permutation(len(test.texts))[: round(share * len(outside.texts))]
    chosen_on = _joined(test.where(drawn), outside)
    base = Labelled.of("clinc150", "train")
    return _tried(Judged.by(base, chosen_on), Judged.by(base, Labelled.of("clinc150", "test", "oos_test")))


def _banking(kept: Callable[[Labelled], Labelled]) -> dict[str, float]:
    """Half of the training part is the knowledge base; the threshold is chosen on the other half."""
    train = Labelled.of("banking77", "train")
    half = np.random.default_rng(SEED).permutation(len(train.texts)) % 2 == 0
    base = kept(train.where(half))
    return _tried(Judged.by(base, train.where(~half)), Judged.by(base, Labelled.of("banking77", "test")))


def _joined(one: Labelled, other: Labelled) -> Labelled:
    return Labelled(
        np.concatenate([one.texts, other.texts]),
        np.concatenate([one.intents, other.intents]),
        np.concatenate([one.vectors, other.vectors]),
    )


def _tried(validation: Judged, test: Judged) -> dict[str, float]:
    chosen = threshold_for(coverage_curve(validation.sure, validation.right), PRECISION)
    if chosen is None:
        return {"coverage": 0.0, "chosen_on": len(validation.right), "out_of_scope": round(float(1 - test.inside.mean()), 3)}
    answered = test.sure >= chosen.point.threshold
    return {
        "precision": round(float(test.right[answered].mean()), 4),
        "coverage": round(float(answered.mean()), 4),
        "coverage_of_what_is_in_scope": round(float(answered[test.inside].mean()), 4),
        "threshold": round(chosen.point.threshold, 4),
        "bound": round(chosen.bound, 4),
        "answered": int(answered.sum()),
        "chosen_on": len(validation.right),
        "out_of_scope": round(float(1 - test.inside.mean()), 3),
    }


ROWS = {"oos-auroc": oos_auroc, "abstention": abstention}
