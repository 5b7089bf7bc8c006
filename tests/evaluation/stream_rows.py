"""Rows of a stream of support traffic: how much is answered without the model, and how much of that wrongly.

The queries are Bitext's (CDLA-Sharing-1.0; they are read from REPLYMILL_EVAL_DATA), the 27 answers in `bitext_answers.jsonl` were
written for this project (CC0). An owner's knowledge base is made of ten phrasings an answer, out of the part of the queries that
the hash of their text puts there; the stream is drawn from the rest. Placeholders are filled in by the text alone. The confidence
from which answers are given is the one that the owner's other queries show to be right in 97 of 100 (`--target` of
`replymill eval`); beside it stands what the setting gives as it is shipped.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import bounds, cases
from engine.cases import Case
from engine.metrics import coverage_curve, threshold_for
from engine.settings import Settings
from engine.subject import Memory, Subject
from tests.bench.rows import Row
from tests.evaluation.data import load
from workers.evaluating import subject

ANSWERS = Path(__file__).parent / "bitext_answers.jsonl"
#: Share of the queries that phrasings are taken from.
OWNERS = 0.3
PHRASINGS = 10
STREAM = 5000
#: Queries of the owner, beside the phrasings, that the confidence is chosen by, and the precision that is asked for.
OTHERS, PRECISION = 3000, 0.97
#: Queries that are searched together.
BATCH = 64
SEED = 0
#: Least share answered without the model, and most of those that may be wrong.
GOAL, MOST_WRONG = 0.75, 0.03

_PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}")
_VALUES: Mapping[str, tuple[str, ...]] = {
    "Account Type": ("free", "standard", "premium", "gold", "platinum"),
    "Account Category": ("free", "standard", "premium", "gold", "platinum"),
    "Person Name": ("Anna Weber", "John Miller", "Priya Nair", "Luis Ortega", "Chen Wei", "Fatima Haddad"),
    "Currency Symbol": ("$", "€", "£"),
    "Delivery City": ("Oslo", "Lyon", "Graz", "Leeds", "Porto", "Denver"),
    "Delivery Country": ("Norway", "France", "Austria", "Portugal", "Canada", "Japan"),
}


def without_model() -> Row:
    """Answered from the cache, or word by word from knowledge in the answer band."""
    known, stream = queries()
    settings = Settings.load({})
    passages = cases.knowledge(known, phrasings=PHRASINGS)
    asked = subject(settings, passages)
    given = {text for passage in passages for text in passage.questions}
    others = shuffled([case for case in known if case.question not in given])[:OTHERS]
    owner = searched(asked, others)
    curve = coverage_curve(
        [one.confidence for one in owner], [one.key == case.label for one, case in zip(owner, others, strict=True)]
    )
    chosen = threshold_for(curve, PRECISION)
    found = searched(asked, stream)
    least = chosen.point.threshold if chosen else 1.0
    at = played(stream, found, asked.memory(), least)
    shipped = played(stream, found, asked.memory(), settings.answer_confidence)
    is_ok = bool(at["share"] >= GOAL and at["wrong_share"] <= MOST_WRONG)
    detail = {"stream": len(stream), "cache": asked.memory().name, "confidence": round(least, 4), **at}
    detail["answer_confidence as shipped"] = {"confidence": settings.answer_confidence, **shipped}
    return Row(at["share"], f"at least {GOAL} without the model, at most {MOST_WRONG} of them wrong", is_ok, detail)


@dataclass(frozen=True)
class Found:
    """What a search says: the entry of its first hit, and how sure it is."""

    key: str
    confidence: float


def searched(asked: Subject, queried: Sequence[Case]) -> list[Found]:
    """All of them, a batch at a time."""
    found = []
    for batch in (queried[i : i + BATCH] for i in range(0, len(queried), BATCH)):
        hits, sure = asked.search([case.question for case in batch], k=10)
        found += [Found(best.passage.document, confidence) for (best, *_), confidence in zip(hits, sure, strict=True)]
    return found


def played(stream: Sequence[Case], found: Sequence[Found], memory: Memory, least: float) -> dict[str, Any]:
    """The stream in its order: cache, else knowledge that is sure enough, which the cache then remembers, else the model."""
    came, wrong = Counter[str](), Counter[str]()
    for case, one in zip(stream, found, strict=True):
        source, key = "cache", memory.recall(case.question)
        if key is None and one.confidence >= least:
            source, key = "knowledge", one.key
            memory.keep(case.question, key)
        source = source if key else "model"
        came[source] += 1
        wrong[source] += bool(key) and key != case.label
    answered, faults = came.total() - came["model"], wrong.total()
    return {
        "share": round(answered / len(stream), 4),
        "answered": dict(came),
        "wrong": dict(wrong),
        "wrong_share": round(faults / max(1, answered), 4),
        "wrong_at_most": round(bounds.upper(faults, answered), 4),
    }


def queries() -> tuple[list[Case], list[Case]]:
    """What an owner's phrasings are taken from, each with its answer, and the stream in its order."""
    answers = {row["intent"]: row["answer"] for row in map(json.loads, ANSWERS.read_text().splitlines())}
    rows = {row["text"]: row["intent"] for row in load("bitext27k_queries", "queries")}
    known, stream = [], []
    for text, intent in rows.items():
        case = Case(question=filled(text), label=intent, reference=answers[intent])
        (known if cases.fraction(text) < OWNERS else stream).append(case)
    seen = {case.question for case in known}
    fresh = [case for case in stream if case.question not in seen]
    return known, shuffled(fresh)[:STREAM]


def shuffled(found: Sequence[Case]) -> list[Case]:
    """In an order that only their texts decide."""
    return sorted(found, key=lambda case: cases.fraction(case.question, salt=f"{SEED} stream "))


def filled(text: str) -> str:
    """The query with values as people write them, the same for the same text."""
    draw = random.Random(f"{SEED} {text}")

    def value(found: re.Match[str]) -> str:
        name = found[1].strip()
        if name in _VALUES:
            return draw.choice(_VALUES[name])
        return str(draw.randint(10, 400)) if name == "Refund Amount" else f"#{draw.randint(10_000, 99_999)}"

    return _PLACEHOLDER.sub(value, text)


ROWS = {"without-model": without_model}
