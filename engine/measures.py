"""What is measured of search, confidence and cache. Each function adds to the report, or returns why it cannot."""

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from engine import bounds, metrics
from engine.cases import fraction
from engine.evaluation import CHUNK, Run
from engine.subject import is_answer

T = TypeVar("T")

#: Points of a curve that are kept; more cannot be seen.
POINTS = 200
#: What stands for the label of a question that nothing answers.
OUTSIDE = "(out of scope)"


def retrieval(run: Run) -> str:
    """Whether the right entry is found, and how far up."""
    if not run.labelled:
        return "no case has a label or a reference answer"
    places = {
        i: metrics.place([is_answer(hit.passage, run.cases[i]) for hit in run.hits[i]], frozenset({True})) for i in run.labelled
    }
    if not any(places.values()):
        return "no label is the document, id, link or title of an entry, and no reference is an entry's answer"
    for k in (1, 3):
        run.report.add_each(f"retrieval.recall@{k}", {i: float(0 < at <= k) for i, at in places.items()}, is_share=True)
    run.report.add_each("retrieval.mrr", {i: 1 / at if at else 0.0 for i, at in places.items()})
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        run.report.add(f"retrieval.ms_{name}", metrics.percentile(run.search_ms, share), cases=len(run.search_ms))
    return ""


def labels(run: Run) -> str:
    """Whether each question gets its entry, silence where it is out of scope; whoever abstains claims nothing."""
    asked = [i for i, case in enumerate(run.cases[: len(run.hits)]) if case.label or case.oos]
    if not asked:
        return "no case has a label"
    expected = [run.cases[i].label if not run.cases[i].oos else OUTSIDE for i in asked]
    given = [_given(run, i) for i in asked]
    found = metrics.labelled(expected, given)
    right = {i: float(a == b) for i, a, b in zip(asked, expected, given, strict=True)}
    run.report.add_each("labels.accuracy", right, is_share=True)
    for kind, scores in (("micro", found.micro), ("macro", found.macro)):
        for name in ("precision", "recall", "f1"):
            run.report.add(f"labels.{kind}_{name}", getattr(scores, name), cases=len(asked))
    worst = sorted(found.each.items(), key=lambda pair: pair[1].f1)
    run.report.tables["labels"] = [[label, one.support, one.precision, one.recall, one.f1] for label, one in worst]
    return ""


def _given(run: Run, i: int) -> str | None:
    case, is_answered = run.cases[i], bool(run.hits[i]) and run.confidence[i] >= run.options.threshold
    if not is_answered:
        return OUTSIDE if case.oos else None
    return case.label if run.is_right(i) else run.hits[i][0].passage.document


def abstention(run: Run) -> str:
    """Whether confidence tells what can be answered: precision by coverage, a threshold, and what is out of scope."""
    told = [i for i, case in enumerate(run.cases[: len(run.hits)]) if case.oos or case.label or case.reference]
    if not told:
        return "no case has a label, a reference answer or oos"
    confidence = [run.confidence[i] for i in told]
    right = [run.is_right(i) for i in told]
    run.report.keep("abstention.confidence", dict(zip(told, confidence, strict=True)))
    run.report.keep("abstention.in_scope", {i: float(not run.cases[i].oos) for i in told})
    curve = metrics.coverage_curve(confidence, right)
    run.report.curves["coverage"] = [(p.coverage, p.precision, p.threshold) for p in _thinned(curve)]
    run.report.curves["calibration"] = [(said, was, float(count)) for said, was, count in metrics.calibration(confidence, right)]
    run.report.add("abstention.calibration_error", metrics.calibration_error(confidence, right), cases=len(told))
    _threshold(run, curve)
    answered = [was for was, sure in zip(right, confidence, strict=True) if sure >= run.options.threshold]
    run.report.add_share("abstention.precision", sum(answered), len(answered))
    run.report.add_share("abstention.coverage", len(answered), len(told))
    _out_of_scope(run, told)
    return ""


def _threshold(run: Run, curve: Sequence[metrics.Point]) -> None:
    """The threshold for the precision that is wanted; no figures where none can be shown."""
    found = metrics.threshold_for(curve, run.options.target)
    if not found:
        run.report.skipped["abstention.target"] = f"no threshold can be shown to give a precision of {run.options.target:g}"
        return
    point, cases = found.point, curve[-1].answered
    run.report.add("abstention.target_threshold", point.threshold, cases=cases)
    run.report.add("abstention.target_precision", point.precision, cases=point.answered, within=bounds.Interval(found.bound, 1.0))
    run.report.add_share("abstention.target_coverage", point.answered, cases)


def _out_of_scope(run: Run, told: Sequence[int]) -> None:
    inside = np.array([not run.cases[i].oos for i in told])
    if inside.all() or not inside.any():
        run.report.skipped["abstention.oos_auroc"] = "cases in scope and out of it are needed (oos: true)"
        return
    scores = np.array([run.confidence[i] for i in told])
    within = bounds.resampled(lambda drawn: metrics.auroc(inside[drawn], scores[drawn]), len(told), seed=run.options.seed)
    run.report.add("abstention.oos_auroc", metrics.auroc(inside, scores), cases=len(told), within=within)
    run.report.curves["roc"] = [(x, y) for x, y in _thinned(metrics.roc(inside, scores))]


def cache(run: Run) -> str:
    """The cases as a stream through the reply cache: how many are hits, and how many of those get another question's answer."""
    keys = [case.label or case.reference for case in run.cases]
    stream = [i for i in range(len(run.cases)) if keys[i] or run.cases[i].oos]
    if not any(keys):
        return "no case has a label or a reference answer"
    stream.sort(key=lambda i: fraction(run.cases[i].question, salt=f"{run.options.seed} stream {i} "))
    memory = run.subject.memory()
    wrong: dict[int, float] = {}
    for done, i in enumerate(stream, 1):
        found = memory.recall(run.cases[i].question)
        if found is not None:
            wrong[i] = float(found != keys[i])
        elif keys[i]:
            memory.keep(run.cases[i].question, keys[i])
        if done % CHUNK == 0 or done == len(stream):
            run.progress("cache", done, len(stream))
    hits = np.cumsum([i in wrong for i in stream])
    run.report.curves["cache"] = _thinned([(float(at), float(hits[at - 1]) / at) for at in range(1, len(stream) + 1)])
    run.report.add_each("cache.hit_rate", {i: float(i in wrong) for i in stream}, is_share=True)
    run.report.add_each("cache.wrong_rate", wrong, is_share=True)
    run.report.subject["cache"] = memory.name
    return ""


def _thinned(points: Sequence[T]) -> list[T]:
    step = max(1, math.ceil(len(points) / POINTS))
    kept = list(points[::step])
    return kept if (len(points) - 1) % step == 0 else [*kept, points[-1]]
