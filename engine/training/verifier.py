"""Train the verifier of near matches: `python -m engine.training.verifier DATA [--vectors FOLDER]`; `--help` names the rest.

DATA is the folder of the sets that `docs/cache.md` names. What is learnt, read from top to bottom:

1. A set of questions with intents becomes caches of random sizes: some questions are entries, whose answer key is their intent;
   each of some others is a query. What the entries vote for is right if it is the query's own intent.
2. A set of pairs becomes caches too, of one pair, of some, and of all, in which each first question has an answer of its own. The
   second one is the query.
3. Questions of the sets are edited into pairs, as no set has enough that look alike and are not.
4. Features of all of them, each set weighing the same (edits half), go into a logistic regression with an L2 penalty, by Newton's
   method.

The same seed and the same vectors give the same numbers. The last line of stdout is one JSON.
"""

import argparse
import datetime
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.encoder import Encoder
from engine.settings import Settings
from engine.training import edits
from engine.verifier import AROUND, FEATURES, Neighbour, Verifier, candidate, features
from engine.wording import inverse_frequency, worded

Vectors = NDArray[np.float32]
Floats = NDArray[np.float64]

#: Sizes of the caches that a set of intents is made into, and queries put to each.
CACHES, QUERIES = (150, 400, 1000, 2000, 3500), 700
#: Others that stand in the cache beside a pair, and rounds of each.
BESIDE = (0, 3, 30, 1000)
#: Share of the intents that no entry answers: their queries have no right answer, as those out of scope have none.
UNANSWERED = 0.15
#: Questions of each of these sets that are edited, and what the examples of one set weigh.
EDITED, EDITED_SETS = 900, ("banking77", "clinc150", "hwu64")
WEIGHT_OF_EDITS = 0.5
#: Strength of the penalty on standardised weights, in examples.
PENALTY = 2.0


@dataclass(frozen=True)
class Labelled:
    """Questions with the key of their answer; `oos` is none."""

    name: str
    licence: str
    texts: list[str]
    keys: list[str]
    vectors: Vectors


@dataclass(frozen=True)
class Pairs:
    """Two questions each, and whether one answer fits both."""

    name: str
    licence: str
    left: list[str]
    right: list[str]
    same: list[bool]
    left_vectors: Vectors
    right_vectors: Vectors


@dataclass(frozen=True)
class Examples:
    """Features, a row each, and whether the answer was right."""

    name: str
    licence: str
    rows: Floats
    right: NDArray[np.bool_]


#: Sets of intents: licence, and files with the field that holds the key. Test parts are never among them.
INTENTS: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "banking77": ("CC BY 4.0", (("train", "intent"),)),
    "clinc150": ("CC BY 3.0", (("train", "intent"), ("val", "intent"), ("oos_train", "intent"), ("oos_val", "intent"))),
    "hwu64": ("CC BY 4.0", (("train", "intent"), ("valid", "intent"))),
    "nlupp": ("CC BY 4.0", (("banking", "intents"), ("hotels", "intents"))),
    "bitext27k_queries": ("CDLA-Sharing-1.0", (("queries", "intent"),)),
    "dstc11_natcs": ("CDLA-Permissive-2.0", (("development", "intent"),)),
}
#: Sets of pairs: licence, file, and its fields.
PAIRS: dict[str, tuple[str, str, tuple[str, str, str]]] = {
    "covidqa_pairs": ("Apache-2.0", "eval_question_similarity_en", ("q1", "q2", "label")),
    "support_minimal_pairs": ("CC0", "pairs", ("a", "b", "same")),
}
#: Of these only what their hash leaves to training is used: the other half is held out for figures.
HALVED = ("bitext27k_queries", "support_minimal_pairs")


#: Begins the name of the edits of a set.
EDITS = "edits of"


def held_out(text: str) -> bool:
    """Whether a text belongs to the half that no training and no tuning sees."""
    return hashlib.sha256(text.encode()).digest()[0] % 2 == 1


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class Sets:
    """The sets in a folder with the vectors of their texts, which are kept in another folder where one is given."""

    def __init__(self, data: Path, vectors: Path | None, encode: Callable[[Sequence[str]], Vectors]) -> None:
        self._data, self._vectors, self._encode = data, vectors, encode

    def intents(self, name: str, parts: Sequence[tuple[str, str]], licence: str = "") -> Labelled:
        """Some files of one set."""
        texts, keys, vectors = [], [], []
        for part, field in parts:
            rows = rows_of(self._data / name / f"{part}.jsonl")
            keep = [at for at, row in enumerate(rows) if name not in HALVED or not held_out(row["text"])]
            found = self.vectors(f"{name}-{part}", [row["text"] for row in rows])
            texts += [rows[at]["text"] for at in keep]
            keys += [" ".join(sorted(value)) if isinstance(value := rows[at][field], list) else value for at in keep]
            vectors.append(found[keep])
        return Labelled(name, licence, texts, keys, np.concatenate(vectors))

    def pairs(self, name: str, *, other_half: bool = False) -> Pairs:
        """One set of pairs; where it is halved, by its first text, the half for training unless the other one is asked for."""
        licence, part, (left, right, same) = PAIRS[name]
        rows = rows_of(self._data / name / f"{part}.jsonl")
        keep = [at for at, row in enumerate(rows) if name not in HALVED or held_out(row[left]) == other_half]
        texts = [[str(row[field]) for row in rows] for field in (left, right)]
        vectors = [self.vectors(f"{name}-{field}", side)[keep] for field, side in zip((left, right), texts, strict=True)]
        first, second = ([side[at] for at in keep] for side in texts)
        return Pairs(name, licence, first, second, [bool(rows[at][same]) for at in keep], vectors[0], vectors[1])

    def vectors(self, name: str, texts: Sequence[str]) -> Vectors:
        """The vectors of a file's texts, from the folder of vectors if they are there."""
        path = self._vectors / f"{name}.npy" if self._vectors else None
        if path and path.exists():
            return np.asarray(np.load(path), dtype=np.float32)
        found = self._encode(texts)
        if path:
            np.save(path, found)
        return found


def neighbours(query: Vectors, vectors: Vectors, keys: Sequence[str], texts: Sequence[str]) -> list[Neighbour]:
    """The entries around a query, nearest first."""
    cosines = vectors @ query
    most = min(AROUND, len(cosines))
    nearest = np.argpartition(-cosines, most - 1)[:most]
    return [Neighbour(float(cosines[at]), keys[at], worded(texts[at])) for at in sorted(nearest, key=lambda at: -cosines[at])]


def weights_of(texts: Sequence[str]) -> dict[str, float]:
    return inverse_frequency(Counter(word for text in texts for word in set(worded(text).content)), len(texts))


def from_intents(data: Labelled, rng: np.random.Generator) -> Examples:
    """Caches of random questions, and queries that are not in them."""
    found: list[Floats] = []
    right: list[bool] = []
    for most in CACHES:
        order = rng.permutation(len(data.texts))
        size = min(most, len(order) * 2 // 3)
        unanswered = {"oos", *(key for key in sorted(set(data.keys)) if rng.random() < UNANSWERED)}
        stored = [at for at in order[:size] if data.keys[at] not in unanswered]
        keys, texts, vectors = [data.keys[at] for at in stored], [data.texts[at] for at in stored], data.vectors[stored]
        idf = weights_of(texts)
        for at in order[size : size + QUERIES]:
            near = neighbours(data.vectors[at], vectors, keys, texts)
            chosen = candidate(near)
            found.append(features(worded(data.texts[at]), near, chosen, idf))
            right.append(near[chosen].key == data.keys[at])
    return Examples(data.name, data.licence, np.array(found), np.array(right))


def from_pairs(data: Pairs, rng: np.random.Generator) -> Examples:
    """Each pair in caches of some others: its first question is an entry, its second one the query."""
    found: list[Floats] = []
    right: list[bool] = []
    for others in BESIDE:
        for at in range(len(data.left)):
            beside = [one for one in rng.permutation(len(data.left))[:others] if data.left[one] != data.left[at]]
            stored = list({data.left[one]: one for one in [at, *beside]}.values())
            texts = [data.left[one] for one in stored]
            near = neighbours(data.right_vectors[at], data.left_vectors[stored], texts, texts)
            chosen = candidate(near)
            found.append(features(worded(data.right[at]), near, chosen, weights_of(texts)))
            right.append(near[chosen].key in ({data.left[at], data.right[at]} if data.same[at] else {data.right[at]}))
    return Examples(data.name, data.licence, np.array(found), np.array(right))


def edited(data: Labelled, sets: Sets, seed: int) -> Pairs:
    """Pairs made of some questions of a set."""
    order = np.random.default_rng(seed).permutation(len(data.texts))[:EDITED]
    left, right, same = zip(*edits.pairs([data.texts[at] for at in order], seed), strict=True)
    digest = hashlib.sha256(repr((left, right)).encode()).hexdigest()[:8]
    vectors = [sets.vectors(f"{data.name}-edits-{digest}-{side}", texts) for side, texts in (("left", left), ("right", right))]
    return Pairs(f"{EDITS} {data.name}", data.licence, list(left), list(right), list(same), vectors[0], vectors[1])


def fit(examples: Sequence[Examples], card: dict[str, object]) -> Verifier:
    """The regression by Newton's method; every set weighs the same."""
    rows = np.concatenate([one.rows for one in examples])
    right = np.concatenate([one.right for one in examples]).astype(float)
    worth = [WEIGHT_OF_EDITS if one.name.startswith(EDITS) else 1.0 for one in examples]
    unit = len(rows) / sum(worth)
    share = np.concatenate([np.full(len(one.rows), unit * each / len(one.rows)) for one, each in zip(examples, worth, strict=True)])
    mean = np.average(rows, axis=0, weights=share)
    scale = np.sqrt(np.average((rows - mean) ** 2, axis=0, weights=share)) + 1e-9
    design = np.hstack([(rows - mean) / scale, np.ones((len(rows), 1))])
    penalty = np.full(design.shape[1], PENALTY)
    penalty[-1] = 0.0
    weights = np.zeros(design.shape[1])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-design @ weights))
        gradient = design.T @ (share * (chance - right)) + penalty * weights
        curvature = (design.T * (share * chance * (1 - chance))) @ design + np.diag(penalty + 1e-6)
        step = np.linalg.solve(curvature, gradient)
        weights -= step
        if float(np.abs(step).max()) < 1e-8:
            break
    return Verifier(FEATURES, tuple(mean), tuple(scale), tuple(weights[:-1]), float(weights[-1]), card)


def gather(sets: Sets, seed: int, without: Sequence[str] = ()) -> Iterator[Examples]:
    """The examples of every set but those left out."""
    for name, (licence, parts) in INTENTS.items():
        if name not in without:
            data = sets.intents(name, parts, licence)
            yield from_intents(data, np.random.default_rng(seed))
            if name in EDITED_SETS:
                yield from_pairs(edited(data, sets, seed), np.random.default_rng(seed))
    for name in PAIRS:
        if name not in without:
            yield from_pairs(sets.pairs(name), np.random.default_rng(seed))


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the verifier of near matches.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "verifier.json")
    parser.add_argument("--without", nargs="*", default=[], choices=[*INTENTS, *PAIRS], help="sets that are left out")
    parser.add_argument("--vectors", type=Path, help="folder in which the vectors of the sets are kept")
    parser.add_argument("--seed", type=int, default=5)
    chosen = parser.parse_args()
    encoder = Encoder.load(Settings.load())
    sets = Sets(chosen.data, chosen.vectors, encoder.encode)
    examples = list(gather(sets, chosen.seed, chosen.without))
    card: dict[str, object] = {
        "sets": {
            one.name: {"licence": one.licence, "examples": len(one.right), "right": round(float(one.right.mean()), 3)}
            for one in examples
        },
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "seed": chosen.seed,
        "encoder": encoder.identity,
    }
    made = fit(examples, card)
    chosen.out.write_text(json.dumps({field: getattr(made, field) for field in made.__struct_fields__}, indent=1) + "\n")
    print(json.dumps({"written": str(chosen.out), **card}))


if __name__ == "__main__":
    main()
