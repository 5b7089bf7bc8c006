"""The row of a stream of support traffic: how much is answered without the model, and how much of that wrongly.

The queries are Bitext's (CDLA-Sharing-1.0; they are read from REPLYMILL_EVAL_DATA), the 27 answers in `bitext_answers.jsonl` were
written for this project (CC0). An owner's knowledge base is made of ten phrasings an answer, out of the part of the queries that
the hash of their text puts there; the stream is drawn from the rest. Placeholders are filled in by the text alone. What becomes of
each query is decided as a worker decides it (`engine.advice`), by the settings as they are shipped, without the reply cache, which
would only add to it; beside it stands a confidence chosen by the owner's other queries for 97 right in 100.
"""

import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine import bounds, cases
from engine.advice import Adviser
from engine.cases import Case
from engine.dialogue import Act
from engine.encoder import Encoder
from engine.knowledge_loading import Given
from engine.messages import Address, Conversation, InboundMessage
from engine.metrics import coverage_curve, threshold_for
from engine.question import Question
from engine.settings import Settings
from engine.tools import Tools
from tests.bench.rows import Row
from tests.evaluation.data import load

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
#: Least share answered without the model.
GOAL = 0.75

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
    """Answered word by word from knowledge, by the settings as shipped."""
    known, stream = queries()
    settings = Settings.load({})
    passages = cases.knowledge(known, phrasings=PHRASINGS)
    base = Given(passages, Encoder.load(settings))
    given = {text for passage in passages for text in passage.questions}
    others = shuffled([case for case in known if case.question not in given])[:OTHERS]
    owner = [one for batch in batches(others) for one in base.search("", [case.question for case in batch], k=1)]
    right = [one.hits[0].passage.document == case.label for one, case in zip(owner, others, strict=True)]
    chosen = threshold_for(coverage_curve([one.confidence for one in owner], right), PRECISION)
    shipped = played(stream, base, settings)
    detail = {"stream": len(stream), "confidence": settings.answer_confidence, **shipped}
    if chosen:
        careful = replace(settings, answer_confidence=chosen.point.threshold)
        detail["chosen"] = {"confidence": round(chosen.point.threshold, 4), **played(stream, base, careful)}
    return Row(shipped["share"], f"at least {GOAL} without the model, as shipped", shipped["share"] >= GOAL, detail)


def played(stream: Sequence[Case], base: Given, settings: Settings) -> dict[str, Any]:
    """What is decided about each query of the stream; wrong is an answer of another intent."""
    adviser = Adviser(settings, knowledge=base, tools=Tools(), staffed=lambda _: False)
    came, wrong, answered = Counter[str](), 0, 0
    for batch in batches(stream):
        advised = adviser.advise([adviser.understand(asked(case)) for case in batch])
        for case in batch:
            decision = advised[case.question].decision
            came[decision.because if decision.act is Act.SAY else str(decision.act)] += 1
            if decision.act is Act.SAY and decision.because == "answer":
                answered += 1
                wrong += any(passage.document != case.label for passage in decision.passages)
    return {
        "share": round(answered / len(stream), 4),
        "decided": dict(came.most_common()),
        "wrong": wrong,
        "wrong_share": round(wrong / max(1, answered), 4),
        "wrong_at_most": round(bounds.upper(wrong, answered), 4),
    }


def asked(case: Case) -> Question:
    """The query as the first message of a conversation; its own text names the turn."""
    to = Address(platform="webhook", tenant="shop", channel="shop", thread="t")
    message = InboundMessage(address=to, sender="u", text=case.question, dedupe_ids=("m",), id="m")
    return Question(
        key=case.question,
        conversation=Conversation(address=to),
        messages=(message,),
        waited_ms=0,
        claimed_at=time.monotonic(),
        streamed=False,
    )


def batches(found: Sequence[Case]) -> Iterator[Sequence[Case]]:
    """Queries that are searched together."""
    return (found[start : start + BATCH] for start in range(0, len(found), BATCH))


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
