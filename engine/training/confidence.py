"""Learn the public weights of `engine.confidence`: `python -m engine.training.confidence DATA VECTORS`.

DATA holds the sets banking77, clinc150 and hwu64 as JSON lines of `text` and `intent`; only their parts for training and validation
are read. VECTORS holds `<set>-<part>.npy`, the encoder's vectors of them in the order of the lines. Writes
`engine/confidence.json`; the last line of stdout says as JSON what it is worth on the validation parts.

A few hundred knowledge bases are drawn: some intents of a set, each an answer with one to a hundred phrasings. They are asked what
else these intents have, and what belongs to the intents that were left out, or to none.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engine.confidence import DEPTH
from engine.knowledge import Passage
from engine.known import FEATURES, Candidate, Known, Numbers, Vectors, features
from engine.logistic import fit, logits
from engine.metrics import auroc

SETS = {
    "clinc150": ("train", "oos_train"),
    "banking77": ("train",),
    "hwu64": ("train", "valid"),
}
#: What the weights are tried on: a whole set as knowledge base, and its validation parts.
VALIDATION = ("clinc150", "train", "val", "oos_val")
#: The intent of what belongs nowhere.
NOWHERE = "oos"
KNOWLEDGE_BASES = 300
#: Questions for each that it has the answer to, and that it has not.
ASKED, FOREIGN = 150, 75
PHRASINGS = (1, 2, 3, 5, 10, 30, 100)
#: Shares of the intents that a knowledge base has.
SHARES = (0.2, 0.4, 0.6, 0.8)
PENALTY = 1.0
SEED = 5
TARGET = Path(__file__).parent.parent / "confidence.json"


@dataclass(frozen=True, eq=False)
class Labelled:
    """Questions, whose they are, and their vectors."""

    texts: Sequence[str]
    intents: NDArray[np.str_]
    vectors: Vectors

    @classmethod
    def read(cls, data: Path, vectors: Path, name: str, *parts: str) -> Self:
        """The parts of a set, one after the other."""
        lines = [json.loads(line) for part in parts for line in (data / name / f"{part}.jsonl").read_text().splitlines()]
        rows = np.concatenate([np.load(vectors / f"{name}-{part}.npy") for part in parts])
        if len(rows) != len(lines):
            raise ValueError(f"{name}: {len(lines)} questions and {len(rows)} vectors; make the vectors again")
        return cls([line["text"] for line in lines], np.array([line["intent"] for line in lines]), rows)

    def some(self, rows: NDArray[np.intp]) -> "Labelled":
        return Labelled([self.texts[row] for row in rows], self.intents[rows], self.vectors[rows])

    def base(self) -> tuple[list[Passage], Vectors]:
        """A knowledge base: each intent an answer, whose text is its name."""
        rows = {intent: np.flatnonzero(self.intents == intent) for intent in dict.fromkeys(self.intents.tolist())}
        passages = [
            Passage(document="", text=intent, questions=tuple(self.texts[row] for row in own.tolist())).identified()
            for intent, own in rows.items()
        ]
        return passages, self.vectors[np.concatenate(list(rows.values()))]


def main(data: Path, vectors: Path) -> None:
    rows, right, foreign = _drawn({name: Labelled.read(data, vectors, name, *parts) for name, parts in SETS.items()})
    mean, deviation = rows.mean(axis=0), rows.std(axis=0) + 1e-9
    scaled, even = (rows - mean) / deviation, np.ones(len(rows))
    scope = fit(scaled, ~foreign, even, penalty=PENALTY)
    choice = fit(scaled[~foreign], right[~foreign], even[~foreign], penalty=PENALTY)
    numbers = {"mean": mean, "deviation": deviation, "scope": scope, "choice": choice}
    rounded = {name: [round(number, 5) for number in values.tolist()] for name, values in numbers.items()}
    TARGET.write_text(json.dumps({"features": FEATURES, **rounded}, indent=1) + "\n")
    print(json.dumps(_validated(data, vectors, lambda seen: logits((seen - mean) / deviation, scope)) | {"questions": len(rows)}))


def _drawn(sets: dict[str, Labelled]) -> tuple[Numbers, NDArray[np.bool_], NDArray[np.bool_]]:
    """Features of many questions; whether the first hit was right; whether nothing was."""
    random = np.random.default_rng(SEED)
    drawn = [one for _ in range(KNOWLEDGE_BASES // len(sets)) for found in sets.values() for one in _asked(found, random)]
    rows, right, foreign = zip(*drawn, strict=True)
    return np.array(rows), np.array(right), np.array(foreign)


def _asked(found: Labelled, random: np.random.Generator) -> Iterator[tuple[Numbers, bool, bool]]:
    """One knowledge base, and what it is asked."""
    intents = sorted(set(found.intents.tolist()) - {NOWHERE})
    kept = random.permutation(intents)[: round(random.choice(SHARES) * len(intents))]
    count, mixed = random.choice(PHRASINGS), bool(random.random() < 0.5)
    order = random.permutation(len(found.texts))
    own = [order[found.intents[order] == intent] for intent in kept]
    passages, vectors = found.some(np.concatenate([rows[:count] for rows in own])).base()
    inside = random.permutation(np.concatenate([rows[count:] for rows in own]))[:ASKED]
    outside = order[~np.isin(found.intents[order], kept)]
    nowhere = outside[found.intents[outside] == NOWHERE]
    asked = np.concatenate([inside, outside[: FOREIGN - len(nowhere[:25])], nowhere[:25]])
    known = Known.of(passages, vectors)
    for row, (seen, intent) in zip(asked, searched(passages, known, found.some(asked), mixed=mixed), strict=True):
        yield seen, intent == found.intents[row], found.intents[row] not in kept


def searched(passages: Sequence[Passage], known: Known, asked: Labelled, *, mixed: bool) -> Iterator[tuple[Numbers, str]]:
    """Features of each question and the text of its first hit; hits are ordered by their nearest text, or by it and their mean."""
    starts = np.array([known.rows[one.id].start for one in passages])
    centroids = np.stack([known.centroids[one.id] for one in passages])
    texts = [text for one in passages for text in one.searched]
    for question, vector in zip(asked.texts, asked.vectors, strict=True):
        cosines, means = known.vectors @ vector, centroids @ vector
        best = np.maximum.reduceat(cosines, starts) + (means if mixed else 0)
        found = []
        for at in np.argsort(-best)[:DEPTH]:
            own = known.rows[passages[at].id]
            nearest = texts[own.start + int(cosines[own].argmax())]
            found.append(Candidate(cosines[own], float(means[at]), nearest, own.stop - own.start))
        yield features(question, found, vector, known), passages[int(best.argmax())].text


def _validated(data: Path, vectors: Path, scope: Callable[[Numbers], Numbers]) -> dict[str, float]:
    name, part, inside, outside = VALIDATION
    passages, rows = Labelled.read(data, vectors, name, part).base()
    known = Known.of(passages, rows)
    asked = Labelled.read(data, vectors, name, inside, outside)
    seen = np.array([row for row, _ in searched(passages, known, asked, mixed=True)])
    belongs = asked.intents != NOWHERE
    found = scope(seen)
    return {"oos_auroc": round(auroc(belongs, found), 4), "oos_auroc_of_the_best_cosine": round(auroc(belongs, seen[:, 0]), 4)}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
