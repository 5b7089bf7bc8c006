"""`replymill eval`: asks a knowledge base, and a model with it, what cases ask, and measures what comes.

It needs neither Redis nor workers: what is evaluated is a `Subject`, put together in this process. Each part is a function that
adds its figures to the report; an interrupt ends the part at hand, and the report tells what was done.
"""

import datetime
from collections.abc import Callable, Mapping, Sequence

from engine.cases import Case, Cases, fraction
from engine.errors import EvaluationError
from engine.evaluated import Report
from engine.evaluation import Options, Progress, Run
from engine.measures import abstention, cache, labels, retrieval
from engine.reply_measures import replies
from engine.subject import Subject

#: By name, in the order of the report.
PARTS: Mapping[str, Callable[[Run], str]] = {
    "retrieval": retrieval,
    "labels": labels,
    "abstention": abstention,
    "cache": cache,
    "replies": replies,
}


def evaluate(found: Cases, subject: Subject, options: Options, *, name: str, progress: Progress) -> Run:
    """The report, and what was replied, of what was asked for.

    :raises EvaluationError: for parts that do not exist.
    """
    if unknown := options.parts - set(PARTS):
        raise EvaluationError(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    cases = chosen(found.cases, limit=options.limit, seed=options.seed)
    made_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    report = Report(name=name, made_at=made_at, seed=options.seed, ignored=found.ignored, ids=[case.id for case in cases])
    report.subject = {**subject.described, "cases": str(len(cases)), "threshold": f"{options.threshold:g}"}
    run = Run(cases, subject, options, report, progress)
    try:
        run.search()
    except KeyboardInterrupt:  # whoever is in a hurry gets the figures of what was done
        report.complete = False
    _measure(run)
    return run


def _measure(run: Run) -> None:
    """The parts, in their order, until one is interrupted."""
    if not run.report.complete:
        run.cases = run.cases[: len(run.hits)]
        run.report.ids = run.report.ids[: len(run.hits)]
    for name, part in PARTS.items():
        if name not in run.options.parts:
            continue
        try:
            missing = part(run)
        except KeyboardInterrupt:  # the parts before it stand
            run.report.complete = False
            return
        if missing:
            run.report.skipped[name] = missing


def chosen(cases: Sequence[Case], *, limit: int, seed: int) -> list[Case]:
    """At most so many cases in their order, chosen by seed and question alone."""
    if not limit or limit >= len(cases):
        return list(cases)
    ranked = sorted(range(len(cases)), key=lambda i: fraction(cases[i].question, salt=f"{seed} "))
    return [cases[i] for i in sorted(ranked[:limit])]
