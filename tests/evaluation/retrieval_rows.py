"""Rows of the sentence encoder and of retrieval."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.encoder import Encoder
from engine.knowledge import Passage
from engine.retrieval import Index
from engine.settings import Settings
from engine.sources import Source, fetch
from tests.bench.rows import Row
from tests.evaluation.data import load
from tests.evaluation.reference_bert import ReferenceBert

#: What stands in no set: nothing, other scripts, control tokens' look, and more than the encoder reads.
ODD = ("", "?", "我的订单在哪里", "أين طلبي؟", "Wo ist mein Päckchen 📦", "\x00\ufeff", "refund " * 300)
PARTS = (("banking77", "train"), ("clinc150", "train"), ("hwu64", "train"), ("bitext27k_queries", "queries"), ("nlupp", "hotels"))
TEXTS_OF_EACH = 60
PHRASINGS = 10
SEED = 0
DRAWS = 10


def encoder_cosine() -> Row:
    """The encoder as it is set up against the reference, and in INT8."""
    random = np.random.default_rng(SEED)
    texts = [
        str(rows[i]["text"]) for rows in (load(*part) for part in PARTS) for i in random.choice(len(rows), TEXTS_OF_EACH, False)
    ]
    texts += ODD
    settings = Settings.load({})
    weights = fetch(Source.parse(settings.encoder), settings.cache_dir)
    reference = ReferenceBert(weights, length=256)
    wanted = np.array([reference.encode(text) for text in texts])
    exact = _cosines(Encoder.load(settings).encode(texts), wanted)
    rounded = _cosines(Encoder.load(Settings.load({"REPLYMILL_ENCODER_COMPUTE_TYPE": "int8"})).encode(texts), wanted)
    least = round(float(exact.min()), 6)
    detail = {"mean": round(float(exact.mean()), 6), "texts": len(texts), "compute_type": settings.encoder_compute_type}
    detail |= {"int8_least": round(float(rounded.min()), 4), "int8_mean": round(float(rounded.mean()), 4)}
    return Row(least, "least cosine to the float32 reference at least 0.9999", least >= 0.9999, detail)


def _cosines(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((found * wanted).sum(axis=1))


def recall() -> Row:
    """The test part of banking77 asked of ten phrasings an answer, drawn from its training part; the mean of ten draws.

    One draw is luck: which ten phrasings an answer has moves recall@1 by more than a point.
    """
    encoder = Encoder.load(Settings.load({}))
    rows, asked = load("banking77", "train"), load("banking77", "test")
    known = dict(zip([row["text"] for row in rows], encoder.encode([row["text"] for row in rows]), strict=True))
    questions = [str(row["text"]) for row in asked]
    vectors = encoder.encode(questions)
    draws = []
    for seed in range(DRAWS):
        passages = _answers(rows, seed)
        index = Index.build(passages, np.array([known[text] for passage in passages for text in passage.searched]))
        hits = index.search(questions, vectors, k=len(passages))
        draws.append([[hit.passage.text for hit in found].index(row["intent"]) + 1 for found, row in zip(hits, asked, strict=True)])
    ranks = np.array(draws)
    first, third = _within(ranks, 1), _within(ranks, 3)
    detail = {"recall_at_1": first, "recall_at_3": third, "mrr": round(float(np.mean(1 / ranks)), 4)}
    detail |= {"draws_at_1": [_within(draw, 1) for draw in ranks], "draws_at_3": [_within(draw, 3) for draw in ranks]}
    detail |= {"answers": len(passages), "phrasings": PHRASINGS, "questions": len(questions)}
    return Row(first, "recall@1 at least 84 %, recall@3 at least 95 %", first >= 84 and third >= 95, detail)


def _answers(rows: Sequence[dict[str, Any]], seed: int) -> list[Passage]:
    """An answer for each intent, with phrasings that the seed draws."""
    said: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        said[row["intent"]].append(row["text"])
    random = np.random.default_rng(seed)
    drawn = {intent: [said[intent][i] for i in random.permutation(len(said[intent]))[:PHRASINGS]] for intent in sorted(said)}
    return [Passage(document="banking77", text=intent, questions=tuple(texts)) for intent, texts in drawn.items()]


def _within(ranks: NDArray[np.intp], place: int) -> float:
    """Per cent."""
    return round(100 * float(np.mean(ranks <= place)), 2)


ROWS = {"encoder-cosine": encoder_cosine, "recall": recall}
