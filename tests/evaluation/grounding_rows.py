"""`grounding`: of answers written for these rows (CC0), right ones and altered ones, which the check lets through.

The altered ones have another figure, unit, name or address, deny, say the opposite, mix up what belongs together, or are
invented. Every second passage was looked at while the check was made; the figure is of the others.
"""

import json
from collections import Counter
from pathlib import Path

from engine.grounding import supported
from tests.bench.rows import Row

ANSWERS = Path(__file__).with_name("grounding.jsonl")
#: Share of what is sent that is right, and share of what is right that is sent.
LEAST_PRECISION, LEAST_RECALL = 0.85, 0.85


def grounding() -> Row:
    rows = [json.loads(line) for line in ANSWERS.read_text(encoding="utf-8").splitlines()]
    passages = list(dict.fromkeys(row["passage"] for row in rows))
    held = [row for row in rows if row["passage"] in passages[1::2]]
    sent = [row for row in held if supported(row["answer"], [row["passage"]]).ok]
    right = sum(row["supported"] for row in held)
    good = sum(row["supported"] for row in sent)
    precision, recall = good / len(sent), good / right
    missed = dict(Counter(row["kind"] for row in sent if not row["supported"]))
    detail = {"precision": round(precision, 3), "recall": round(recall, 3), "answers": len(held), "let_through": missed}
    goal = f"precision at least {LEAST_PRECISION}, recall at least {LEAST_RECALL}"
    return Row(round(precision, 3), goal, precision >= LEAST_PRECISION and recall >= LEAST_RECALL, detail)


ROWS = {"grounding": grounding}
