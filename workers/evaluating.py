"""Puts together what `replymill eval` evaluates, and writes its report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engine import cases, confidence, ingest, public_sets
from engine.cases import Case, Cases
from engine.confidence import fitted
from engine.convert import ensure
from engine.encoder import Encoder
from engine.errors import EvaluationError
from engine.evaluate import PARTS, evaluate
from engine.evaluation import Options, Progress, Run
from engine.knowledge import Hit, Passage
from engine.knowledge_store import KnowledgeStore
from engine.model import Model
from engine.near_memory import NearMemory
from engine.retrieval import Index
from engine.settings import Settings
from engine.store import connect, reachable
from engine.subject import ExactMemory, Memory, Subject, Vectors
from workers import report_page
from workers.home import complete

#: Texts that are encoded between two looks at the progress.
_CHUNK = 256


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which questions, and which knowledge."""

    #: A file, or the name of a public set.
    what: str
    #: Read now; None: the set's own, or what is published.
    knowledge: Path | None
    tenant: str
    #: Of a public set, a held-out part of its training part.
    is_development: bool
    #: Phrasings an answer, in knowledge that is made of labelled questions.
    phrasings: int


def evaluated(settings: Settings, plan: Plan, *, progress: Progress, only: str, threshold: float | None, **asked: Any) -> Run:
    """The evaluation that was asked for.

    :raises EvaluationError: for files or parts that cannot be used.
    :raises ModelError: if encoder or model cannot be had.
    """
    settings = settings.for_tenant(plan.tenant)
    found, known = _questions(plan, settings)
    sure = settings.answer_confidence if threshold is None else threshold
    options = Options(parts=_parts(only, found.cases), threshold=sure, **asked)
    passages = known if known is not None else published(settings, plan.tenant)
    asked_of = subject(settings, passages, with_model=_needs_model(options, found.cases), progress=progress)
    return evaluate(found, asked_of, options, name=Path(plan.what).stem, progress=progress)


def _questions(plan: Plan, settings: Settings) -> tuple[Cases, list[Passage] | None]:
    path = Path(plan.what)
    known: list[Passage] | None = None
    if path.is_file():
        found = cases.read([path])
    else:
        found, train = public_sets.load(plan.what, settings.eval_data, is_development=plan.is_development)
        known = cases.knowledge(train, phrasings=plan.phrasings)
    return found, known if plan.knowledge is None else _knowledge(plan.knowledge, plan.phrasings)


def _knowledge(path: Path, phrasings: int) -> list[Passage]:
    """Labelled questions of a JSONL file, or whatever `replymill kb add` reads."""
    if path.suffix != ".jsonl":
        return list(ingest.read(str(path)).passages)
    found = cases.knowledge(cases.read([path]).cases, phrasings=phrasings)
    if not found:
        raise EvaluationError(f"{path} holds no knowledge: its lines need a label or an answer beside the question")
    return found


def published(settings: Settings, tenant: str) -> list[Passage]:
    """What the tenant answers from now: its own, or what all share."""
    filled = complete(settings)
    with connect(filled) as client, reachable():
        for name in dict.fromkeys((tenant, "")):
            store = KnowledgeStore(filled, client, name)
            if version := store.current():
                documents = store.documents.read(store.ids(version.number))
                return [passage for one in documents for part in range(one.chunks) for passage in store.documents.chunk(one, part)]
    raise EvaluationError("no knowledge base is published: `replymill kb publish` does that, or name a file with --knowledge")


def _parts(only: str, asked: Sequence[Case]) -> frozenset[str]:
    """What was named; else everything that can tell something."""
    if only:
        return frozenset(name.strip() for name in only.split(",") if name.strip())
    has_answers = any(case.reference or case.reply for case in asked)
    return frozenset(PARTS) - (frozenset() if has_answers else {"replies"})


def _needs_model(options: Options, asked: Sequence[Case]) -> bool:
    return "replies" in options.parts and not any(case.reply for case in asked)


def subject(
    settings: Settings, passages: Sequence[Passage], *, with_model: bool = False, progress: Progress = lambda *_: None
) -> Subject:
    """What is evaluated, of these settings and passages."""
    encoder = Encoder.load(settings)
    texts = [text for passage in passages for text in passage.searched]
    vectors = np.empty((len(texts), encoder.dimension), np.float32)
    for start in range(0, len(texts), _CHUNK):
        vectors[start : start + _CHUNK] = encoder.encode(texts[start : start + _CHUNK])
        progress("knowledge", min(start + _CHUNK, len(texts)), len(texts))
    described = {"encoder": f"{settings.encoder} ({encoder.identity})", "knowledge": f"{len(passages)} entries, {len(texts)} texts"}
    model = None
    if with_model:
        model = Model.load(ensure(settings.model, settings), settings)
        described["model"] = f"{settings.model} ({model.compute_type} on {model.device})"
    known = fitted(passages, vectors)
    questions = known.calibration.questions
    described["calibration"] = f"fitted on {questions} questions" if questions else "public weights"

    def assess(question: str, hits: Sequence[Hit], vector: Vectors) -> float:
        return confidence.assess(question, hits, vector=vector, known=known)

    def memory() -> Memory:
        return ExactMemory() if settings.near == "off" else NearMemory(encoder, threshold=settings.near_threshold)

    return Subject(
        encoder=encoder,
        index=Index.build(passages, vectors),
        assess=assess,
        is_verbatim=settings.verbatim,
        model=model,
        described=described,
        memory=memory,
    )


def write(run: Run, folder: Path) -> list[Path]:
    """`report.json` and `report.html`, and `replies.jsonl` where there are replies.

    :raises EvaluationError: if they cannot be written.
    """
    contents = {"report.json": run.report.encode(), "report.html": report_page.page(run.report).encode()}
    if run.answers:
        contents["replies.jsonl"] = b"".join(msgspec.json.encode(row) + b"\n" for row in _replies(run))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (folder / name).write_bytes(content)
    except OSError as error:
        raise EvaluationError(f"{folder} cannot be written ({error.strerror}): name another folder with --out") from error
    return [folder / name for name in contents]


def _replies(run: Run) -> list[dict[str, Any]]:
    """What was replied, as `replymill eval rate` reads it."""
    return [
        {"id": run.cases[i].id, "text": run.cases[i].question, "reply": one.text, "origin": one.origin.value}
        for i, one in sorted(run.answers.items())
    ]
