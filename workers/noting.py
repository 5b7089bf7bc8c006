"""Which committed turns leave something to be desired; they are kept for `replymill gaps`."""

from engine import wordings
from engine.crypto import Digests
from engine.gaps import Gap, Why, note_gap, redacted
from engine.handoff import asked_again
from engine.messages import Reply, Source
from engine.question import Question
from engine.settings import Settings
from engine.store import Client
from engine.trace import now_ms

#: Fixed texts that are said where there is no answer.
_NO_ANSWER = ("apology", "unknown", "not_spoken")


def note(client: Client, settings: Settings, question: Question, reply: Reply, *, reason: str) -> bool:
    """Keep a committed turn that was not answered well; says whether it was not. `reason` is that of its hand-over, or empty.

    :raises StoreUnavailable: if Redis is away; the turn itself is committed.
    """
    found = gap_of(question, reply, settings, reason=reason, at=now_ms())
    if found:
        note_gap(client, settings, question.address.tenant, found)
    return found is not None


def gap_of(question: Question, reply: Reply, settings: Settings, *, reason: str, at: int) -> Gap | None:
    """What a turn leaves to be desired, if anything; pure."""
    why = _why(question, reply, reason, settings)
    if why is None or not question.text.strip():
        return None
    ref = Digests(settings.secret_key).lane(question.address)
    row = Gap(why=why, question=question.text, reply=reply.text, reason=reason, message=question.message, ref=ref, at=at)
    return redacted(row)


def _why(question: Question, reply: Reply, reason: str, settings: Settings) -> Why | None:
    if reason:
        return Why.HANDED_OVER
    if reply.confidence is not None and reply.confidence < settings.answer_confidence:
        return Why.UNSURE
    if reply.source is Source.FALLBACK and any(reply.text in wordings.variants(settings, name) for name in _NO_ANSWER):
        return Why.UNANSWERED
    handing_over = wordings.variants(settings, "handing_over")
    return Why.REPEATED if asked_again(question.text, question.conversation.turns, handing_over=handing_over) else None
