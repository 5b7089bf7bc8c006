"""The entries of one partition in a worker's memory: vectors side by side, found by cosine, exactly.

From `ROUGH_FROM` entries on, a scan of the vectors' 64 strongest directions picks some hundred, whose cosines are then computed in
full: a full scan of 100,000 reads 150 MB.
"""

from collections import Counter, OrderedDict

import numpy as np
from numpy.typing import NDArray

from engine.near_entry import Entry
from engine.verifier import AROUND, Neighbour
from engine.wording import inverse_frequency, worded

Vectors = NDArray[np.float32]

ROUGH_FROM = 20_000
#: Of 65,180 questions of six public sets this finds the nearest for 99.4 % of 1,000 others and 98.2 % of the twenty nearest; where
#: the nearest has a cosine of .7, always and 99.0 %.
_DIRECTIONS, _PICKED = 64, 800
#: Numbers of a matrix up to which OpenBLAS multiplies on the thread that asks (interface/gemv.c: 2,304 times 4). Beyond, it waits
#: for a second thread, on a busy machine for that thread's turn of the processor: 8 ms for what takes one.
_ON_ONE_THREAD = 9000
#: After how many changes the weights of words are counted anew.
_RECOUNT = 200


class NearIndex:
    """Grows by `put` and shrinks by `drop`."""

    def __init__(self) -> None:
        self._vectors: Vectors = np.zeros((0, 0), dtype=np.float32)
        self._ids: list[str] = []
        self._places: dict[str, int] = {}
        self.entries: OrderedDict[str, Entry] = OrderedDict()
        self._counts: Counter[str] = Counter()
        self._changes = 0
        self._idf: dict[str, float] = {}
        #: The strongest directions, a row each.
        self._basis: Vectors = np.zeros((0, 0), dtype=np.float32)
        self._rough: Vectors = np.zeros((0, _DIRECTIONS), dtype=np.float32)
        self._fitted = 0

    def __len__(self) -> int:
        return len(self._ids)

    def put(self, entry: Entry) -> None:
        """An entry, or its newer form."""
        self.drop(entry.id)
        place, vector = len(self._ids), entry.unpacked
        if place == len(self._vectors):
            more = np.zeros((max(place, 64), len(vector)), dtype=np.float32)
            self._vectors = np.concatenate([self._vectors, more]) if place else more
        self._vectors[place] = vector
        self._ids.append(entry.id)
        self._places[entry.id] = place
        self.entries[entry.id] = entry
        self._counts.update(set(worded(entry.question).content))
        self._changed()

    def drop(self, id_: str) -> None:
        """Forget an entry, if it is there: the last one takes its place."""
        if id_ not in self._places:
            return
        place, last = self._places.pop(id_), len(self._ids) - 1
        if place != last:
            self._vectors[place] = self._vectors[last]
            self._ids[place] = self._ids[last]
            self._places[self._ids[place]] = place
            if place < self._fitted:
                self._rough[place] = products(self._basis, self._vectors[place])
        self._ids.pop()
        self._fitted = min(self._fitted, last)
        self._counts.subtract(set(worded(self.entries.pop(id_).question).content))
        self._changed()

    def around(self, vector: Vectors) -> list[tuple[Entry, float]]:
        """The `AROUND` nearest entries with their cosines, nearest first."""
        if not self._ids:
            return []
        vector = np.asarray(vector, dtype=np.float32)
        places = self._picked(vector) if len(self._ids) >= ROUGH_FROM else np.arange(len(self._ids))
        cosines = products(self._vectors[places] if len(self._ids) >= ROUGH_FROM else self._vectors[: len(self._ids)], vector)
        nearest = highest(cosines, AROUND)
        order = nearest[np.argsort(-cosines[nearest], kind="stable")]
        return [(self.entries[self._ids[int(places[at])]], float(cosines[at])) for at in order]

    def prepare(self) -> None:
        """Fit the rough scan to the entries there are, where they are many, which takes a second at 100,000."""
        size = len(self._ids)
        if size < ROUGH_FROM:
            return
        if not self._basis.size:
            sample = self._vectors[:: max(size // 5000, 1)][:5000]
            _, directions = np.linalg.eigh(sample.T @ sample)
            self._basis = np.ascontiguousarray(directions[:, -_DIRECTIONS:].T, dtype=np.float32)
        if len(self._rough) < len(self._vectors):
            self._rough = np.concatenate([self._rough, np.zeros((len(self._vectors) - len(self._rough), _DIRECTIONS), np.float32)])
        self._rough[self._fitted : size] = self._vectors[self._fitted : size] @ self._basis.T
        self._fitted = size

    @property
    def idf(self) -> dict[str, float]:
        """Weights of the words of the entries."""
        if self._changes >= min(_RECOUNT, max(len(self._ids) // 10, 1)) or not self._idf:
            self._idf = inverse_frequency(self._counts, len(self._ids))
            self._changes = 0
        return self._idf

    def _changed(self) -> None:
        self._changes += 1

    def _picked(self, vector: Vectors) -> NDArray[np.int64]:
        self.prepare()
        return highest(products(self._rough[: len(self._ids)], products(self._basis, vector)), _PICKED)


def products(rows: Vectors, vector: Vectors) -> Vectors:
    """Of each row and the vector, in pieces that BLAS multiplies on this thread."""
    width = len(vector)
    piece = max(_ON_ONE_THREAD // width, 1)
    whole = len(rows) // piece * piece
    found = np.empty(len(rows), dtype=np.float32)
    found[:whole] = (rows[:whole].reshape(-1, piece, width) @ vector).ravel()
    found[whole:] = rows[whole:] @ vector
    return found


def highest(scores: Vectors, most: int) -> NDArray[np.int64]:
    """Places of the highest scores, in no order."""
    if len(scores) <= most:
        return np.arange(len(scores))
    return np.argpartition(scores, len(scores) - most)[-most:]


def neighbours(found: list[tuple[Entry, float]]) -> list[Neighbour]:
    """Entries as the verifier sees them."""
    return [Neighbour(cosine, entry.key, worded(entry.question)) for entry, cosine in found]
