"""Search in a knowledge base: every passage is compared with the question, by meaning and by words.

By meaning: the cosine to the nearest text of a passage, and the cosine to the mean of its texts, which is steadier where an answer
has many phrasings. By words: BM25, divided by the best of the search. The two are added, not ranked against each other: fusing
ranks lost to the better of the two at the first place on every set that was tried. Recall@1 with ten phrasings an answer, on parts
of the sets that are kept for development:

| | banking77 | CLINC150 | hwu64 |
|---|---|---|---|
| nearest | .797 | .821 | .732 |
| nearest + mean | .828 | .877 | .785 |
| nearest + mean + .2 BM25 | .835 | .883 | .792 |
| BM25 alone | .613 | .718 | .597 |
"""

from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engine.knowledge import Hit, Passage
from engine.lexical import Lexicon

#: What BM25 counts for beside the two cosines, which count for one each.
LEXICAL = 0.2
#: The same for a section, which is long: its words tell more, and a vector holds its beginning only. Of FAQ articles a weight of 2
#: found 84.6 % at the first place, BM25 alone 82.0, vectors alone 72.5; on single short phrasings any weight costs. This lies
#: between and is not tuned further.
LEXICAL_OF_SECTIONS = 0.8
#: What the score of a section counts for beside answers, whose phrasings are what people ask, and which are given word by word. Of
#: 401 phrasings of a FAQ, each left out in turn among 236 sections of documentation, 0.521 found their answer first with 1, and 61
#: a wrong section; 0.549 and 10 with this, 0.546 and 6 with 0.8, 0.544 and 5 with 0.7. Among themselves sections keep their order.
SECTIONS = 0.85
#: What BM25 counts for where the encoder does not understand the language of a question. Of 18 in Chinese, German and Arabic 17
#: found their answer with anything from 2 to 20, and 16 with up to 1.
LEXICAL_OF_FOREIGN = 4.0
#: Numbers of one block of scores, 16 MB: bounds the memory of a search for many questions at once.
_BLOCK = 4_000_000

Floats = NDArray[np.float32]


class Index:
    """Passages, ready to be searched; never changed, so that threads may share it.

    It keeps the vectors it was built of as float32: 154 MB for 100,000 texts of 384 dimensions.
    """

    def __init__(self, passages: Sequence[Passage], vectors: Floats) -> None:
        self.passages = tuple(passages)
        texts = [passage.searched for passage in passages]
        counts = np.array([len(found) for found in texts], np.intp)
        if vectors.ndim != 2 or len(vectors) != counts.sum():
            raise ValueError(f"{counts.sum()} texts need as many rows, but there are {vectors.shape}")
        self._texts = [text for found in texts for text in found]
        #: Position of each passage's first text.
        self._starts = np.cumsum(counts) - counts
        self._vectors = np.ascontiguousarray(vectors, np.float32)
        #: Passages with several texts, and the mean of each, of unit length.
        self._several = np.flatnonzero(counts > 1)
        self._means = _means(self._vectors, self._starts, counts)[self._several]
        self._lexicon = Lexicon.build(self._texts)
        answers = np.array([passage.verbatim for passage in passages], bool)
        self._lexical = np.where(answers, LEXICAL, LEXICAL_OF_SECTIONS).astype(np.float32)
        self._counts = np.where(answers | (not answers.any()), 1.0, SECTIONS).astype(np.float32)

    @classmethod
    def build(cls, passages: Sequence[Passage], vectors: Floats) -> Self:
        """The index of passages; `vectors` has a row of unit length for each of their `searched` texts, in order."""
        return cls(passages, vectors)

    def __len__(self) -> int:
        return len(self.passages)

    def search(
        self, questions: Sequence[str], vectors: Floats, *, k: int, foreign: Sequence[bool] | None = None
    ) -> list[list[Hit]]:
        """The best `k` passages of each question, best first, one hit a passage.

        `vectors` has a row of unit length a question. `foreign` tells which questions are in a language that the encoder does not
        understand: for them words decide.
        """
        if len(questions) != len(vectors):
            raise ValueError(f"{len(questions)} questions need as many rows, but there are {len(vectors)}")
        if not self.passages or k < 1:
            return [[] for _ in questions]
        if vectors.shape[1:] != self._vectors.shape[1:]:
            raise ValueError(f"rows of {vectors.shape[1:]} in an index of {self._vectors.shape[1:]}: another encoder built it")
        vectors = np.asarray(vectors, np.float32)
        return [
            self._hits(question, cosines, vector, k=k, foreign=bool(foreign and foreign[position]))
            for position, (question, vector, cosines) in enumerate(zip(questions, vectors, self._cosines(vectors), strict=True))
        ]

    def _cosines(self, vectors: Floats) -> Iterator[Floats]:
        """The cosine to every text, question by question, computed for as many questions at once as memory allows."""
        size = max(1, _BLOCK // len(self._vectors))
        for start in range(0, len(vectors), size):
            yield from vectors[start : start + size] @ self._vectors.T

    def _hits(self, question: str, cosines: Floats, vector: Floats, *, k: int, foreign: bool) -> list[Hit]:
        nearest = np.maximum.reduceat(cosines, self._starts)
        meaning = nearest.copy()
        meaning[self._several] += self._means @ vector
        meaning[self._several] /= 2
        lexical = np.maximum.reduceat(self._lexicon.scores(question), self._starts)
        lexical /= max(float(lexical.max()), np.finfo(np.float32).tiny)
        weight = np.float32(LEXICAL_OF_FOREIGN) if foreign else self._lexical
        scores = np.clip((2 * np.maximum(meaning, 0) + weight * lexical) / (2 + weight), 0, 1) * self._counts
        return [
            Hit(
                passage=self.passages[position],
                score=float(scores[position]),
                cosine=min(1.0, float(nearest[position])),
                lexical=float(lexical[position]),
                nearest=self._texts[self._nearest(position, cosines)],
            )
            for position in _best(scores, k)
        ]

    def _nearest(self, position: int, cosines: Floats) -> int:
        start = int(self._starts[position])
        return start + int(np.argmax(cosines[start : start + len(self.passages[position].searched)]))


def _best(scores: Floats, k: int) -> list[int]:
    """Positions of the `k` largest, in order; of equals the first."""
    if k >= len(scores):
        return [int(position) for position in np.argsort(-scores, kind="stable")]
    least = np.partition(scores, len(scores) - k)[len(scores) - k]
    among = np.flatnonzero(scores >= least)
    return [int(position) for position in among[np.argsort(-scores[among], kind="stable")][:k]]


def _means(vectors: Floats, starts: NDArray[np.intp], counts: NDArray[np.intp]) -> Floats:
    if not len(starts):
        return np.zeros((0, vectors.shape[1]), np.float32)
    means = np.add.reduceat(vectors, starts) / counts[:, None]
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    return np.asarray(means / np.maximum(norms, np.finfo(np.float32).tiny), np.float32)
