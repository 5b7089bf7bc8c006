"""What is said of what a model made: its own words if the passages support them, and what else if they do not. Pure."""

import re
from collections.abc import Sequence
from dataclasses import replace

from engine import citations, wordings
from engine.answers import Answers
from engine.decision import Act, Decision, ended, paragraphs
from engine.grounding import Grounds
from engine.handoff import Reason
from engine.knowledge import Passage

#: Where a model goes on and makes up passages of its own.
_QUOTED = re.compile(r"</?\s*passage", re.IGNORECASE)
#: Characters of a passage that is sent instead of an answer.
_EXCERPT = 600


def settle(decision: Decision, generated: str, settings: Answers, *, people: bool = False) -> Decision:
    """What is said of what a model made: its words if the passages support them, else the passage itself, or that nobody knows.

    Without passages the model's words stand, but it never claims to be a person.
    """
    text = _QUOTED.split(generated, maxsplit=1)[0].strip()
    if not text or claims_to_be_a_person(text):
        bot = wordings.said(settings, "bot", decision.language)
        return (
            replace(decision, act=Act.SAY, because="honest", text=bot)
            if text
            else replace(decision, act=Act.SAY, because="empty", text="")
        )
    if decision.act is not Act.MODEL or not settings.grounding:
        said = paragraphs(decision.text, text)
        return replace(decision, act=Act.SAY, text=ended(said, decision.passages, decision, settings))
    support = grounds(decision.passages).check(text)
    if support.abstains:
        return _abstained(replace(decision, support=support), settings, people=people)
    if not support.ok:
        return _instead(replace(decision, support=support), text, settings, people=people)
    resting = citations.supporting(text, decision.passages)
    said = ended(paragraphs(decision.text, text), resting, decision, settings)
    return replace(decision, act=Act.SAY, text=said, passages=tuple(resting), support=support)


def _instead(decision: Decision, text: str, settings: Answers, *, people: bool) -> Decision:
    """What is said where the passages do not support the model: its supported beginning, the passage itself, or nothing."""
    support = decision.support
    kept = text[: support.prefix].strip() if support else ""
    if support and kept and support.share >= 0.5 and len(kept) * 2 >= len(text):
        resting = citations.supporting(kept, decision.passages)
        said = ended(paragraphs(decision.text, kept), resting, decision, settings)
        return replace(decision, act=Act.SAY, because="supported-part", text=said, passages=tuple(resting))
    if not decision.passages:
        return _abstained(decision, settings, people=people)
    best = decision.passages[0]
    lead = "" if best.verbatim else wordings.said(settings, "found_only", decision.language)
    said = ended(paragraphs(decision.text, lead, excerpt(best.text)), (best,), decision, settings)
    return replace(decision, act=Act.SAY, because="passage", text=said, passages=(best,), verbatim=best.verbatim)


def _abstained(decision: Decision, settings: Answers, *, people: bool) -> Decision:
    if people:
        return replace(decision, act=Act.HAND_OVER, because="abstained", reason=Reason.UNSURE, text="")
    text = paragraphs(decision.text, wordings.said(settings, "unknown", decision.language))
    return replace(decision, act=Act.SAY, because="abstained", text=text, passages=())


def excerpt(text: str) -> str:
    """The beginning of a passage, in whole sentences where it has one."""
    if len(text) <= _EXCERPT:
        return text
    return whole_sentences(text[:_EXCERPT]) or f"{text[: _EXCERPT - 1]}…"


#: A sentence and what ends it, in the scripts that end one by a mark.
_SENTENCES = re.compile(r".*[.!?\u3002\uff01\uff1f\u0964\u061f](?=\s|$|[\u3000-\u9fff])[\"')\]]?", re.DOTALL)


def whole_sentences(text: str) -> str:
    """The text up to its last whole sentence; empty where it has none."""
    found = _SENTENCES.match(text)
    return found[0].strip() if found else ""


_PERSON = re.compile(
    r"\bi(?:'m| am)(?: actually| really| just)? (?:a |an )?(?:real |actual |live |human )?(?:human(?: being)?"
    r"|person|man|woman|real agent)\b"
    r"|\bi(?:'m| am) not (?:a |an )(?:\w+ )?(?:bot|chatbot|robot|machine|computer|program|ai\b|language model)"
    r"|\bich bin (?:ein(?:e)? )?(?:echter? |richtiger? )?(?:mensch|person)\b|\bich bin kein(?:e)? (?:bot|chatbot"
    r"|roboter|maschine|ki)\b"
    r"|\bje suis (?:un |une )?(?:vraie? )?(?:humain|humaine|personne)\b|\bje ne suis pas un (?:bot|robot|chatbot)\b"
    r"|\b(?:yo )?soy (?:un |una )?(?:humano|humana|persona)\b|\bno soy un (?:bot|robot)\b|我是(?:真人|人类|人工)|我不是机器人"
    r"|(?:^|\s)(?:أنا|انا) (?:إنسان|انسان|شخص حقيقي)|لست (?:روبوت|بوت)",
    re.IGNORECASE,
)


def claims_to_be_a_person(text: str) -> bool:
    """Whether a text says of its author that it is a human being, or no bot."""
    return bool(_PERSON.search(text.replace("’", "'")))


def grounds(passages: Sequence[Passage]) -> Grounds:
    """What a reply made of these passages is held against."""
    return Grounds(["\n".join((*one.heading, *one.questions[:1], one.text)) for one in passages])
