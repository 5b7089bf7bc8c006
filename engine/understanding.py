"""What a message is: its language, small talk, a wish for a person, and the questions it asks, each standing alone. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from engine import followup, smalltalk, wishes, wordings
from engine.answers import Answers
from engine.followup import Bearing
from engine.handoff import Reason, why
from engine.messages import Conversation, Role, Turn
from engine.smalltalk import SmallTalk


class Kind(StrEnum):
    """What a message asks for."""

    #: Nothing: a greeting, thanks, a question about the bot.
    SMALL_TALK = "small-talk"
    #: An answer.
    QUESTION = "question"
    #: A person: asked for, or needed (anger, the same question again).
    PERSON = "person"
    #: Nobody can tell: "yes" to nothing.
    UNCLEAR = "unclear"


@dataclass(frozen=True, kw_only=True)
class Understood:
    """A message, understood."""

    #: As it was written.
    text: str
    kind: Kind
    #: ISO 639-1; empty where it is not known.
    language: str = ""
    #: What is asked, each standing alone; empty where nothing is.
    questions: tuple[str, ...] = ()
    #: Whether `questions` are not what was written: then its history is in them.
    rewritten: bool = False
    #: What was said by the way, or all that was said.
    small_talk: SmallTalk | None = None
    #: Why a person should answer.
    reason: Reason | None = None
    #: What was chosen of the choices offered last; its answer is meant, whatever the confidence.
    chosen: tuple[str, ...] = ()
    #: Whether the bot's last turn asked which topic is meant: it does not ask again.
    clarified: bool = False


def understand(text: str, conversation: Conversation, settings: Answers, *, language: str = "") -> Understood:
    """What a message means after its conversation; `language` as `engine.language.recognise` says.

    A text that says nothing of its language ("ok", "2") is in that of the person's turns before, which the caller finds with
    `language_before`.
    """
    turns, said = conversation.turns, _tidy(text)
    known = followup.context(turns)
    clarified = _asked_which(turns, settings)
    parted = smalltalk.part(said)
    reason = Reason.ASKED if wishes.person_within(said) else why(said, turns, None, settings)
    whole = followup.resolve(said, known)
    answering = whole.bearing in (Bearing.CHOSEN, Bearing.DECLINED) or (whole.bearing is Bearing.REWRITTEN and not parted.rest)
    resolved = whole if answering or not parted.kinds else followup.resolve(parted.rest, known) if parted.rest else None
    small = smalltalk.weightiest(parted.kinds)
    if whole.bearing is Bearing.ENOUGH:
        resolved, small = None, SmallTalk.FINE
    kind, questions = Kind.SMALL_TALK, ()  # type: tuple[Kind, tuple[str, ...]]
    if resolved is not None:
        unclear = resolved.bearing is Bearing.UNCLEAR and small is None
        kind, questions = (Kind.UNCLEAR if unclear else Kind.QUESTION), resolved.questions
    return Understood(
        text=text,
        kind=Kind.PERSON if reason else kind,
        language=language or wordings.guessed(text),
        questions=questions,
        rewritten=resolved is not None and resolved.bearing in (Bearing.REWRITTEN, Bearing.CHOSEN),
        small_talk=small if not answering else None,
        reason=reason,
        chosen=questions if resolved is not None and resolved.bearing is Bearing.CHOSEN else (),
        clarified=clarified,
    )


def _tidy(text: str) -> str:
    """One space or line feed for each run of white space: patterns take time in proportion to a run's square."""
    return "\n".join(filter(None, (" ".join(line.split()) for line in text.split("\n"))))


def language_before(turns: Sequence[Turn]) -> str:
    """The text of the person's turns, newest first, from which the language of a short message is told."""
    said = (turn.text for turn in reversed(turns) if turn.role is Role.USER)
    return "\n".join(text for text, _ in zip(said, range(3), strict=False))


def _asked_which(turns: Sequence[Turn], settings: Answers) -> bool:
    """Whether the last turn was a clarifying question, in any wording."""
    if not turns or turns[-1].role is not Role.ASSISTANT:
        return False
    asked = wordings.variants(settings, "clarify") | wordings.variants(settings, "clarify_one")
    return any(line.strip() in asked for line in turns[-1].text.splitlines()[:12])
