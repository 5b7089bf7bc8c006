"""The near-match cache in memory, as an evaluation plays a stream through it: `engine.near` without Redis and its comparisons."""

from engine.cache import normalise
from engine.near_entry import Entry, bar, packed
from engine.near_index import NearIndex, neighbours
from engine.subject import Encodes, ExactMemory
from engine.verifier import candidate, features, shipped
from engine.wording import worded


class NearMemory:
    """The same question gets the same answer, and so does one in other words, where the verifier is sure."""

    name = "exact and near"

    def __init__(self, encoder: Encodes, *, threshold: float) -> None:
        self._encoder = encoder
        self._threshold = threshold
        self._exact = ExactMemory()
        self._index = NearIndex()
        self._verifier = shipped()

    def recall(self, question: str) -> str | None:
        """The key of the answer it would get."""
        known = self._exact.recall(question)
        if known is not None or bar(question) or not len(self._index):
            return known
        near = neighbours(self._index.around(self._encoder.encode([question])[0]))
        chosen = candidate(near)
        p = self._verifier.probability(features(worded(question), near, chosen, self._index.idf))
        return near[chosen].key if p >= self._threshold else None

    def keep(self, question: str, key: str) -> None:
        """An answered question."""
        self._exact.keep(question, key)
        if not bar(question):
            vector = packed(self._encoder.encode([question])[0])
            self._index.put(Entry(id=normalise(question), question=question, key=key, reply="", vector=vector, at=0))
