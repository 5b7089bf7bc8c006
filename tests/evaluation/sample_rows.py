"""Row of the sample knowledge base: what a newcomer is told without the model, about Replymill and about other things.

The questions in `sample_questions.jsonl` were written for this project (CC0). `right` names what answers one: the first phrasing of
an answer, or the start of a link for a section; nothing is right where Replymill's documentation does not know. A bit of the digest
of the text puts each into one half: settings and phrasings were chosen by one, and the row is the figure of the other.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import dialogue, language
from engine.confidence import fitted, judge
from engine.decision import Act, Decision
from engine.encoder import Encoder
from engine.handoff import Reason
from engine.knowledge import Passage
from engine.messages import Address, Conversation
from engine.retrieval import Index
from engine.sample import read_sample
from engine.settings import Settings
from tests.bench.rows import Row

QUESTIONS = Path(__file__).parent / "sample_questions.jsonl"
#: In English: least share right of what is answered, least share answered of what it knows, most of what it does not know.
RIGHT, ANSWERED, ASTRAY = 0.9, 0.6, 0.1
DEPTH = 10

_ALONE = Conversation(address=Address(platform="page", tenant="", channel="sample"))


@dataclass(frozen=True)
class Told:
    """What is done about one question."""

    language: str
    #: Whether the sample knows it.
    known: bool
    #: Whether an answer or sections are given for it, and whether the first of them answers it.
    answered: bool
    right: bool
    #: Whether it is asked which topic is meant.
    clarified: bool
    #: Whether the right one is among the choices.
    offered: bool


def sample() -> Row:
    """The half that was not fitted on, though its totals were seen; beside it the other half, and the other languages."""
    halves = told(json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines())
    held = figures([one for one in halves[1] if one.language == "en"])
    detail = {
        "held": held,
        "chosen_by": figures([one for one in halves[0] if one.language == "en"]),
        "held_de_zh_ar": figures([one for one in halves[1] if one.language != "en"]),
        "chosen_by_de_zh_ar": figures([one for one in halves[0] if one.language != "en"]),
    }
    ok = held["right"] >= RIGHT and held["answered"] >= ANSWERED and held["out_of_scope_answered"] <= ASTRAY
    goal = f"of what is answered {RIGHT} right; answered at least {ANSWERED} in scope, at most {ASTRAY} out of scope"
    return Row(held["right"], goal, ok, detail)


def told(questions: Iterable[dict[str, Any]]) -> tuple[list[Told], list[Told]]:
    """By halves, in order."""
    settings = Settings.load({})
    encoder, passages = Encoder.load(settings), read_sample().passages
    vectors = encoder.encode([text for passage in passages for text in passage.searched])
    index, known = Index.build(passages, vectors), fitted(passages, vectors)
    halves: tuple[list[Told], list[Told]] = ([], [])
    for row in questions:
        text, right = str(row["text"]), answers(row["right"], passages)
        spoken = language.recognise(text)
        understood = dialogue.understand(text, _ALONE, settings, language=spoken)
        asked = understood.questions
        vectors = encoder.encode(list(asked))
        foreign = [bool(understood.language) and understood.language not in settings.encoder_languages] * len(asked)
        hits = index.search(asked, vectors, k=DEPTH, foreign=foreign)
        sure = [
            judge(question, found, vector=vector, known=known).right
            for question, found, vector in zip(asked, hits, vectors, strict=True)
        ]
        decided = dialogue.decide(understood, hits, sure, settings)
        halves[half(text)].append(outcome(row, decided, right))
    return halves


def outcome(row: dict[str, Any], decided: Decision, right: set[str]) -> Told:
    """What became of a question, in the terms of the figures."""
    given = decided.passages if decided.because == "answer" and decided.act in (Act.SAY, Act.MODEL) else ()
    # Who asks for a person, is told at once how to get one: that is the answer.
    person = decided.because == "person" and decided.reason in (None, Reason.ASKED)
    return Told(
        language=row["language"],
        known=bool(row["right"]),
        answered=bool(given) or person,
        right=(person and bool(row["right"])) or (bool(given) and given[0].id in right),
        clarified=decided.because == "clarify",
        offered=decided.because == "clarify" and any(passage.id in right for passage in decided.passages),
    )


def answers(named: Sequence[str], passages: Sequence[Passage]) -> set[str]:
    """The ids of the passages that answer a question: those named, and sections under the heading that a named answer points to."""
    chosen = [passage for passage in passages if passage.questions and passage.questions[0] in named]
    places = {passage.link for passage in chosen if "#" in passage.link}
    beneath = [passage for passage in passages if not passage.verbatim and _stands(passage.link, named, places)]
    return {passage.id for passage in (*chosen, *beneath)}


def _stands(link: str, named: Sequence[str], places: set[str]) -> bool:
    return link in places or any(link == name or link.startswith(f"{name}#") for name in named)


def half(text: str) -> int:
    """0: chosen by; 1: held."""
    return hashlib.sha256(text.encode()).digest()[0] % 2


def figures(told: Sequence[Told]) -> dict[str, float]:
    """Shares; `right` is of all that is answered, whether or not the sample knows it."""
    inside, outside = [one for one in told if one.known], [one for one in told if not one.known]
    answered = [one for one in told if one.answered]
    clarified = [one for one in inside if one.clarified]

    def share(some: Sequence[Told], of: Sequence[Told]) -> float:
        return round(len(some) / max(1, len(of)), 4)

    return {
        "in_scope": len(inside),
        "out_of_scope": len(outside),
        "right": share([one for one in answered if one.right], answered),
        "answered": share([one for one in inside if one.answered], inside),
        "clarified": share(clarified, inside),
        "clarified_with_the_right_choice": share([one for one in clarified if one.offered], clarified),
        "out_of_scope_answered": share([one for one in outside if one.answered], outside),
        "out_of_scope_clarified": share([one for one in outside if one.clarified], outside),
    }


ROWS = {"sample": sample}
