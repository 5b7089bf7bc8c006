"""What is measured of whole replies: how near they come to references, how long they take and what they cost."""

import math
import time
from collections.abc import Mapping

import numpy as np

from engine import metrics
from engine.evaluation import Run
from engine.subject import Answered, Origin
from engine.text_quality import nearness

#: Seconds of an hour, for the price of a machine.
_HOUR = 3600.0


def replies(run: Run) -> str:
    """Replies that the cases bring, or that are made now, against their references; returns why it tells nothing, if so."""
    given = {i: case.reply for i, case in enumerate(run.cases) if case.reply}
    run.answers |= {i: Answered(text=text, origin=Origin.GIVEN) for i, text in given.items()}
    if not given and not run.subject.model:
        return "no case brings a reply, and there is no model to make one"
    if not given:
        _make(run)
    answered = {i: answer for i, answer in run.answers.items() if answer.text}
    run.report.add_each("replies.answered", {i: float(i in answered) for i in run.answers}, is_share=True)
    grounded = {i: float(one.is_grounded) for i, one in answered.items() if one.is_grounded is not None}
    if grounded:
        run.report.add_each("replies.grounded", grounded, is_share=True)
    _near(run, {i: answer.text for i, answer in answered.items() if run.cases[i].reference})
    _perplexity(run)
    return ""


def _make(run: Run) -> None:
    """Answers as many cases as were asked for, spread evenly, a batch at a time."""
    count = min(run.options.replies, len(run.hits))
    picked = [round(i * len(run.hits) / count) for i in range(count)]
    began = time.perf_counter()
    try:
        for start in range(0, count, run.options.batch):
            batch = picked[start : start + run.options.batch]
            made = run.subject.answer([(run.cases[i], run.hits[i], run.confidence[i] >= run.options.threshold) for i in batch])
            run.answers |= zip(batch, made, strict=True)
            run.progress("replies", start + len(batch), count)
    finally:
        _costs(run, time.perf_counter() - began)


def _costs(run: Run, seconds: float) -> None:
    """Time, tokens and money; `seconds` were spent on all of it."""
    made, report = list(run.answers.values()), run.report
    search = metrics.percentile(run.search_ms, 0.5)
    times = sorted(search + one.ms for one in made)
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        report.add(f"replies.ms_{name}", metrics.percentile(times, share), cases=len(made))
    report.curves["latency"] = [(ms, place / len(times)) for place, ms in enumerate(times, 1)]
    for origin in (Origin.VERBATIM, Origin.MODEL, Origin.NOBODY):
        report.add_share(f"replies.{origin.value}", sum(one.origin is origin for one in made), len(made))
    by_model = [one for one in made if one.origin is Origin.MODEL]
    tokens = sum(one.tokens for one in by_model)
    report.add("replies.tokens", tokens / len(by_model) if by_model else math.nan, cases=len(by_model))
    prompt = sum(one.prompt_tokens for one in by_model)
    report.add("replies.prompt_tokens", prompt / len(by_model) if by_model else math.nan, cases=len(by_model))
    report.add("replies.tokens_per_s", tokens / seconds if seconds else math.nan, cases=len(by_model))
    report.add("replies.per_s", len(made) / seconds if seconds else math.nan, cases=len(made))
    if run.options.price:
        cost = run.options.price * seconds / _HOUR / len(made) * 1000 if made else math.nan
        report.add("replies.cost_per_1000", cost, cases=len(made))


def _near(run: Run, texts: Mapping[int, str]) -> None:
    """BLEU, chrF, ROUGE-L and the cosine of meaning, where there is a reference."""
    if not texts:
        run.report.skipped["replies.quality"] = "no answered case has a reference answer"
        return
    places = list(texts)
    references = [run.cases[i].reference for i in places]
    found = nearness(list(texts.values()), references, languages=[run.cases[i].language for i in places])
    run.report.subject |= found.signatures
    run.report.add("replies.bleu", found.bleu, cases=len(places))
    run.report.add("replies.chrf", found.chrf, cases=len(places))
    run.report.add_each("replies.sentence_bleu", dict(zip(places, found.each_bleu, strict=True)))
    run.report.add_each("replies.sentence_chrf", dict(zip(places, found.each_chrf, strict=True)))
    run.report.add_each("replies.rouge_l", dict(zip(places, found.each_rouge, strict=True)))
    cosines = (run.subject.encoder.encode(list(texts.values())) * run.subject.encoder.encode(references)).sum(axis=1)
    run.report.add_each("replies.similarity", dict(zip(places, cosines.astype(float).tolist(), strict=True)))


def _perplexity(run: Run) -> None:
    """Of reference answers after their questions and passages; of single cases its logarithm is kept."""
    model = run.subject.model
    asked = {i: run.cases[i] for i in run.answers if run.cases[i].reference}
    if not model or not asked:
        return
    loss: dict[int, float] = {}
    words = tokens = 0.0
    for i, case in asked.items():
        prompt = run.subject.prompt(case, run.hits[i]).tokens
        scores = model.score([(prompt, case.reference)])[0]
        if scores:
            loss[i] = -float(np.mean(scores))
            words, tokens = words - math.fsum(scores), tokens + len(scores)
        run.progress("perplexity", len(loss), len(asked))
    run.report.add_each("replies.loss", loss)
    run.report.add("replies.perplexity", math.exp(words / tokens) if tokens else math.nan, cases=len(loss))
