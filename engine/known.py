"""What a knowledge base knows of itself and what a confidence looks at: the features of a question and its hits."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.knowledge import Passage
from engine.messages import Wire

Vectors = NDArray[np.float32]
Numbers = NDArray[np.float64]

#: Texts whose answers are compared: an answer with five phrasings can have all of them.
NEIGHBOURS = 5
#: Longest question that is looked at, words: all of a question, and the beginning of a flood.
LONGEST = 200


#: In the order of the weights.
FEATURES = (
    "cosine",  # of the question and the nearest text of the first hit
    "gap",  # to the nearest text of any other hit
    "support",  # mean cosine of the first hit's three nearest texts
    "agreement",  # share of the nearest texts that are the first hit's
    "centroid",  # cosine to the mean of the first hit's texts
    "centroid_gap",  # to the mean of any other hit's
    "background",  # cosine to the mean of the knowledge base
    "spread",  # cosine less the mean of the other hits'
    "known",  # share of the question's words, by their rarity, that the knowledge base has
    "overlap",  # the same, that the nearest text has
    "length",  # logarithm of the number of words
    "texts",  # logarithm of the number of texts of the first hit
    "closest",  # cosine of the question and the nearest text of any hit
    "closest_centroid",  # to the nearest mean of any hit's texts
)

#: A word, or one character of a script that puts none between words.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")


def words(text: str) -> list[str]:
    """The words of a text as they are compared."""
    return [found[0] for found, _ in zip(_WORD.finditer(text.casefold()), range(LONGEST), strict=False)]


class Calibration(Wire, frozen=True, array_like=True, kw_only=True):
    """What one knowledge base has of its own; kept beside a version of it, since fitting it takes seconds."""

    #: The line over the logits.
    slope: float = 1.0
    offset: float = 0.0
    #: Weights for its own; empty: the public ones.
    scope: tuple[float, ...] = ()
    choice: tuple[float, ...] = ()
    #: Questions it was fitted on; 0: it is the public one.
    questions: int = 0


#: Of a knowledge base that has nothing of its own.
PUBLIC = Calibration()


@dataclass(frozen=True, eq=False)
class Known:
    """What of a knowledge base a confidence looks at; one for each version, shared by all searches."""

    #: One row a text, unit length, in the order of `Passage.searched`.
    vectors: Vectors
    #: Rows of each passage, by its id.
    rows: Mapping[str, slice]
    centroids: Mapping[str, Vectors]
    background: Vectors
    #: Rarity of each word: the logarithm of texts by texts that have it.
    rarity: Mapping[str, float]
    #: Rarity of a word that no text has.
    unknown: float
    calibration: Calibration

    @classmethod
    def of(cls, passages: Sequence[Passage], vectors: Vectors, calibration: Calibration = PUBLIC) -> "Known":
        """Of a version's passages and what was fitted on them. An empty knowledge base is one too."""
        counted = Counter(word for passage in passages for text in passage.searched for word in set(words(text)))
        ends = np.cumsum([len(passage.searched) for passage in passages], dtype=int).tolist()
        rows = {one.id: slice(end - len(one.searched), end) for one, end in zip(passages, ends, strict=True)}
        count = len(vectors)
        return cls(
            vectors=vectors,
            rows=rows,
            centroids={id_: unit(vectors[at].mean(axis=0)) for id_, at in rows.items()},
            background=unit(vectors.mean(axis=0)) if count else np.zeros(vectors.shape[-1], np.float32),
            rarity={word: float(np.log((1 + count) / (0.5 + seen))) for word, seen in counted.items()},
            unknown=float(np.log((1 + count) / 0.5)),
            calibration=calibration,
        )


@dataclass(frozen=True)
class Candidate:
    """A hit as the features see it."""

    cosines: Vectors
    #: Cosine to the mean of its texts.
    centroid: float
    nearest: str
    #: How many it has, one that is left out included.
    texts: int


def features(question: str, found: Sequence[Candidate], vector: Vectors, known: Known) -> Numbers:
    """The numbers named in `FEATURES`."""
    first, others = found[0], found[1:]
    asked = words(question)
    mine = np.sort(first.cosines)[::-1]
    best = float(mine[0])
    theirs = [float(one.cosines.max()) for one in others]
    means = [one.centroid for one in others]
    return np.array(
        [
            best,
            best - max(theirs, default=0.0),
            mine[:3].mean(),
            _agreement(mine, others),
            first.centroid,
            first.centroid - max(means, default=0.0),
            float(vector @ known.background),
            best - (float(np.mean(theirs)) if theirs else 0.0),
            _share(asked, known.rarity, known),
            _share(asked, set(words(first.nearest)), known),
            np.log1p(len(asked)),
            np.log(first.texts),
            max([best, *theirs]),
            max([first.centroid, *means]),
        ]
    )


def _agreement(mine: Vectors, others: Sequence[Candidate]) -> float:
    """As many texts are compared as the first hit has, or five."""
    count = min(NEIGHBOURS, len(mine))
    theirs = np.sort(np.concatenate([one.cosines for one in others]))[::-1][:count] if others else mine[:0]
    nearest = np.sort(np.concatenate([mine[:count], theirs]))[::-1][:count]
    return float((mine[:count] >= nearest[-1]).sum()) / count


def _share(asked: Sequence[str], had: Mapping[str, float] | set[str], known: Known) -> float:
    weight = [known.rarity.get(word, known.unknown) for word in asked]
    whole = sum(weight)
    return sum(one for word, one in zip(asked, weight, strict=True) if word in had) / whole if whole else 0.0


def unit(vector: Vectors) -> Vectors:
    """The vector at length 1."""
    scaled: Vectors = vector / max(float(np.linalg.norm(vector)), 1e-9)
    return scaled
