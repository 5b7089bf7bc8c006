"""What is said: a message is understood, it is decided how it is answered, and what a model made of it is settled. Pure.

    understand(text, conversation, settings, language=...) -> Understood      engine/understanding.py
        .questions are looked up, each by itself: hits = index.search(...), confidence = [assess(...), ...]
    decide(understood, hits, confidence, settings, Circumstances(...)) -> Decision
        .act says what is to be done:
            TOOL      call the registered tool; its result is the answer
            SAY       reply with .text (a fixed text, an approved answer, a clarifying question with .choices)
            HAND_OVER give the conversation to a person, for .reason
            MODEL     ask the model .question with .passages: prompter.build(.question, turns, passages=.passages)
            FREE      ask the model what was written, with the history, as where there is no knowledge base
    settle(decision, generated, settings, people=...) -> Decision             what is said of a model's reply; SAY or HAND_OVER

`settings` are the tenant's: `Settings.for_tenant(address.tenant)`. In `decide` come first, by rule: a person who is asked for or
needed, where there are any; a tool; small talk; then three bands by confidence. A language that the encoder does not know is
answered from passages in that language by the letters they share (`engine.evidence`), never by a model that does not speak it.
A reply that is streamed is shown up to `engine.grounding.Grounds.prefix`.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine import evidence, wordings
from engine.answers import Answers
from engine.decision import Act, Circumstances, Decision, ended, paragraphs
from engine.handoff import Reason, normal
from engine.knowledge import Hit, Passage
from engine.settling import claims_to_be_a_person, settle
from engine.smalltalk import SmallTalk
from engine.understanding import Kind, Understood, language_before, understand
from engine.wording import apart

__all__ = ["Act", "Circumstances", "Decision", "claims_to_be_a_person", "decide", "language_before", "settle", "understand"]

#: Nobody to hand over to, a knowledge base, no tool.
_PLAIN = Circumstances()
#: Passages that a model is given for one question, and for all.
PASSAGES_EACH, PASSAGES = 3, 5
#: A topic is offered whose score is at least this share of the best.
_LIKELY = 0.6
#: Share of the confidence that answers: what is as sure as that is asked about.
_JUST_BELOW = 0.99


@dataclass(frozen=True)
class _Found:
    """What was found for one question."""

    question: str
    hits: tuple[Hit, ...]
    confidence: float


def decide(
    understood: Understood,
    hits: Sequence[Sequence[Hit]],
    confidence: Sequence[float],
    settings: Answers,
    around: Circumstances = _PLAIN,
) -> Decision:
    """How a message is answered: hits and confidence for each of its questions."""
    if first := _before_knowledge(understood, settings, people=around.people, tool=around.tool):
        return first
    if not _spoken(understood, settings) or not around.knowledge:
        return _without(understood, hits, settings, people=around.people, knowledge=around.knowledge)
    return _banded(understood, _found(understood, hits, confidence, settings), settings, people=around.people)


def _before_knowledge(understood: Understood, settings: Answers, *, people: bool, tool: str) -> Decision | None:
    """What is decided by rule, whatever the knowledge base holds."""
    language = understood.language
    if understood.reason and people:
        return Decision(act=Act.HAND_OVER, because="person", reason=understood.reason, language=language)
    if tool:
        return Decision(act=Act.TOOL, because="tool", tool=tool, language=language)
    if understood.reason is Reason.ASKED:
        return _say("nobody_here", "person", understood, settings)
    if understood.kind is Kind.SMALL_TALK:
        small = understood.small_talk or SmallTalk.FINE
        if settings.small_talk or small is SmallTalk.BOT:
            return _say(small.value, "small-talk", understood, settings)
        return Decision(act=Act.FREE, because="small-talk", language=language)
    return None


def _without(
    understood: Understood, hits: Sequence[Sequence[Hit]], settings: Answers, *, people: bool, knowledge: bool
) -> Decision:
    """No knowledge base, or a language that the model does not speak."""
    if _spoken(understood, settings):
        return Decision(act=Act.FREE, because="no-knowledge", language=understood.language, text=_truth(understood, settings))
    found = _found(understood, hits, (), settings)
    if understood.kind is Kind.QUESTION and knowledge and any(one.confidence >= settings.clarify_confidence for one in found):
        return _banded(understood, [replace(one, hits=_approved(one.hits)) for one in found], settings, people=people)
    if people:
        return Decision(act=Act.HAND_OVER, because="language", reason=Reason.UNSURE, confidence=0.0, language=understood.language)
    return _say("not_spoken", "language", understood, settings)


def _banded(understood: Understood, found: Sequence[_Found], settings: Answers, *, people: bool) -> Decision:
    """The three bands: answer, ask which is meant, hand over or say that it is not known."""
    answered = [one for one in found if one.hits and one.confidence >= settings.answer_confidence]
    if answered:
        left = tuple(one.question for one in found if one not in answered)
        return _answer(understood, answered, left, settings)
    best = max(found, key=lambda one: one.confidence, default=None)
    if understood.kind is Kind.UNCLEAR and (best is None or best.confidence < settings.clarify_confidence):
        return _say("say_more", "unclear", understood, settings)
    if best and best.hits and best.confidence >= settings.clarify_confidence and not understood.clarified:
        return _clarify(understood, best, settings)
    return _unknown(understood, best, settings, people=people)


def _answer(understood: Understood, answered: Sequence[_Found], left: tuple[str, ...], settings: Answers) -> Decision:
    """The approved answers word by word, or the model with passages; approved answers may be all there is in a foreign language."""
    best = [one.hits[0].passage for one in answered]
    common = Decision(
        act=Act.SAY,
        because="answer",
        confidence=min(one.confidence for one in answered),
        language=understood.language,
        unanswered=left,
        text=_truth(understood, settings),
    )
    if all(passage.verbatim for passage in best) and (settings.verbatim or not _spoken(understood, settings)):
        passages = tuple(dict.fromkeys(best))
        text = paragraphs(common.text, *(passage.text for passage in passages))
        return replace(common, text=ended(text, passages, common, settings), passages=passages, verbatim=True)
    given = dict.fromkeys(hit.passage for one in answered for hit in one.hits[:PASSAGES_EACH])
    return replace(common, act=Act.MODEL, passages=tuple(given)[:PASSAGES], question="\n".join(one.question for one in answered))


def _clarify(understood: Understood, best: _Found, settings: Answers) -> Decision:
    """One question, with the likely topics to choose from."""
    top = best.hits[0].score
    likely = [hit.passage for hit in best.hits if hit.score >= _LIKELY * top]
    choices = tuple(dict.fromkeys(topic(passage) for passage in likely))[: settings.clarify_choices]
    name = "clarify" if len(choices) > 1 else "clarify_one"
    said = _say(name, "clarify", understood, settings)
    return replace(said, choices=choices, confidence=best.confidence, passages=tuple(likely[: settings.clarify_choices]))


def _unknown(understood: Understood, best: _Found | None, settings: Answers, *, people: bool) -> Decision:
    confidence = best.confidence if best else 0.0
    if people:
        drafts = tuple(hit.passage for hit in best.hits[:1]) if best else ()
        return Decision(
            act=Act.HAND_OVER,
            because="unsure",
            reason=Reason.UNSURE,
            confidence=confidence,
            language=understood.language,
            passages=drafts,
        )
    return replace(_say("unknown", "unknown", understood, settings), confidence=confidence, unanswered=understood.questions)


def topic(passage: Passage) -> str:
    """A passage as a choice: the question it answers, or its section."""
    return passage.questions[0] if passage.questions else passage.heading[-1] if passage.heading else passage.document


def _found(understood: Understood, hits: Sequence[Sequence[Hit]], confidence: Sequence[float], settings: Answers) -> list[_Found]:
    """The hits of each question with a confidence that can be trusted in the language of the message."""
    found = []
    for place, question in enumerate(understood.questions):
        ranked = list(hits[place]) if place < len(hits) else []
        trusted = confidence[place] if question and place < len(confidence) else 0.0
        if understood.language and understood.language not in settings.encoder_languages:
            ranked, trusted = _by_letters(question, ranked, understood.language, settings)
        elif trusted >= settings.answer_confidence and _apart(question, ranked):
            trusted = _JUST_BELOW * settings.answer_confidence
        if meant := _meant(question, ranked, chosen=question in understood.chosen):
            ranked, trusted = [*meant, *(hit for hit in ranked if hit not in meant)], 1.0
        found.append(_Found(question, tuple(ranked), trusted))
    return found


def _apart(question: str, hits: Sequence[Hit]) -> bool:
    """Whether the best answer is to a question that differs in a number, a name or a word for its opposite.

    An encoder hardly tells such questions apart, and so neither does the confidence: it is asked which is meant.
    """
    return bool(hits) and apart(question, hits[0].passage.questions, hits[0].passage.text)


def _meant(question: str, hits: Sequence[Hit], *, chosen: bool) -> list[Hit]:
    """The hits that are meant, whatever the search is sure of: the topic that was chosen, or the answer to this very question.

    A question that several answers have been given says nothing by itself.
    """
    if chosen:
        return [hit for hit in hits if question in (topic(hit.passage), *hit.passage.questions)]
    wanted = normal(question)
    same = [hit for hit in hits if any(_normal(phrasing) == wanted for phrasing in hit.passage.questions)]
    return same if len({hit.passage.text for hit in same}) == 1 else []


@functools.lru_cache(20_000)
def _normal(phrasing: str) -> str:
    """Of an approved phrasing: each stands beside many questions."""
    return normal(phrasing)


def _by_letters(question: str, hits: Sequence[Hit], language: str, settings: Answers) -> tuple[list[Hit], float]:
    """The hits in the language of the question by the letters they share with it, and what that is worth."""
    alike = [hit for hit in hits if (hit.passage.language or wordings.guessed(hit.passage.text)) in ("", language)]
    fit = evidence.fits(question, alike)
    order = sorted(range(len(alike)), key=lambda i: -fit[i])
    ranked = [replace(alike[i], score=fit[i]) for i in order]
    return ranked, evidence.trust(fit, answer=settings.answer_confidence, clarify=settings.clarify_confidence)


def _approved(hits: Sequence[Hit]) -> tuple[Hit, ...]:
    """What may be said in a language that the model does not speak."""
    return tuple(hit for hit in hits if hit.passage.verbatim)


def _spoken(understood: Understood, settings: Answers) -> bool:
    return not understood.language or understood.language in settings.languages


def _say(name: str, because: str, understood: Understood, settings: Answers) -> Decision:
    text = wordings.said(settings, name, understood.language)
    return Decision(act=Act.SAY, because=because, text=text, language=understood.language, verbatim=True)


def _truth(understood: Understood, settings: Answers) -> str:
    """Who asks beside a question whether this is a person is told."""
    asked = understood.small_talk is SmallTalk.BOT
    return wordings.said(settings, "bot", understood.language) if asked else ""
