"""How a message is answered, as a value; and the pieces that a reply is put together from. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from engine import citations, wordings
from engine.answers import Answers
from engine.grounding import Support
from engine.handoff import Reason
from engine.knowledge import Passage


class Act(StrEnum):
    """What is done about a message."""

    TOOL = "tool"
    SAY = "say"
    HAND_OVER = "hand-over"
    MODEL = "model"
    FREE = "free"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """How a message is answered."""

    act: Act
    #: Why, in a word, for the trace: `answer`, `clarify`, `unknown`, `small-talk`, `person`, `language`, ...
    because: str
    #: What is said; with `HAND_OVER` nothing, with `MODEL` what stands before the model's words.
    text: str = ""
    #: Likely topics, for `Reply.choices`.
    choices: tuple[str, ...] = ()
    #: What the reply rests on; its evidence. With `MODEL` what the model is given.
    passages: tuple[Passage, ...] = ()
    #: What the model is asked.
    question: str = ""
    #: For a hand-over.
    reason: Reason | None = None
    #: Of the best hit; None where nothing was looked up.
    confidence: float | None = None
    language: str = ""
    #: Name of the tool.
    tool: str = ""
    #: Whether the text is an approved answer or fixed, word by word: only then may it be cached for others.
    verbatim: bool = False
    #: Questions of the message that have no answer.
    unanswered: tuple[str, ...] = ()
    #: How far a model's words were supported.
    support: Support | None = None


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What is decided in the light of, beside the message and what was found."""

    #: Whether there is anybody to hand over to.
    people: bool = False
    #: Whether the tenant has a knowledge base.
    knowledge: bool = True
    #: The tool that a rule has called for.
    tool: str = ""


def ended(text: str, passages: Sequence[Passage], decision: Decision, settings: Answers) -> str:
    """The reply with what it could not answer, and with its sources."""
    language, links = decision.language, citations.linked(passages, most=settings.citations)
    left = wordings.said(settings, "partly", language, questions=" ".join(decision.unanswered)) if decision.unanswered else ""
    return paragraphs(text, left, wordings.said(settings, "sources", language, links=", ".join(links)) if links else "")


def paragraphs(*texts: str) -> str:
    """The texts that are there, one below the other."""
    return "\n\n".join(text for text in texts if text)
