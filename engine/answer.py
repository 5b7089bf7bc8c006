"""What a decision becomes: a reply, or a conversation that a person is to have. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine import wordings
from engine.advice import Advice
from engine.dialogue import Act, Decision
from engine.handoff import Reason
from engine.knowledge import Passage
from engine.messages import Fact, Reply, Source

#: Characters of a passage's name in the evidence of a reply.
LONGEST_NAME = 200
#: What is said of a question and is no answer to it; the rest is the model's, or an approved one.
_FIXED = frozenset({"clarify", "unclear", "unknown", "abstained", "small-talk", "honest", "person", "language", "tool", "empty"})


#: The source of a reply says as much; a trace counts its bytes.
_ORDINARY = frozenset({"answer", "no-knowledge"})


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is answered to a turn."""

    reply: Reply
    #: Of its turn.
    key: str = ""
    #: Why a person is to answer instead; the reply is then what the bot would have said, for that person alone.
    reason: Reason | None = None
    #: What led to it; None where nothing was looked at.
    advice: Advice | None = None
    #: What was decided at last.
    decision: Decision | None = None


def said(advice: Advice, decision: Decision, *, made: bool = False, **facts: Fact) -> Answer:
    """The answer that a decision is; `made`: the model had to do with it."""
    handed = decision.act is Act.HAND_OVER
    text = decision.passages[0].text if handed and decision.passages else decision.text
    if not text and not handed:
        text = wordings.said(advice.case.settings, "apology", decision.language)
    reply = advice.question.reply(
        text,
        source_of(decision, made=made),
        evidence=(*evidence(decision.passages), *((f"tool:{decision.tool}",) if decision.tool else ())),
        confidence=decision.confidence,
        choices=decision.choices,
        **({} if decision.because in _ORDINARY else {"because": decision.because}),
        **({} if advice.similarity is None else {"similarity": round(advice.similarity, 4)}),
        **facts,
    )
    failed = Reason.ERROR if decision.because == "empty" and advice.case.people else None
    return Answer(
        reply=reply, key=advice.question.key, reason=decision.reason if handed else failed, advice=advice, decision=decision
    )


def source_of(decision: Decision, *, made: bool) -> Source:
    """Where the text of a decision comes from; with a hand-over, the text that people are shown."""
    if decision.act is Act.HAND_OVER:
        return Source.KNOWLEDGE if decision.passages else Source.FALLBACK
    if decision.because in _FIXED and not (made and decision.because == "small-talk"):
        return Source.FALLBACK
    return Source.KNOWLEDGE if decision.verbatim or decision.because == "passage" or not made else Source.MODEL


def evidence(passages: Sequence[Passage]) -> tuple[str, ...]:
    """What people read of the passages that a reply rests on: their names, and where they stand."""
    return tuple(f"{one.title[:LONGEST_NAME]} <{one.link}>" if one.link else one.title[:LONGEST_NAME] for one in passages)
