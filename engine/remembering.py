"""Answers that may be given again, and which those are: a question that stands alone, answered for no one in particular.

What holds personal data or an identifier is neither kept nor looked up; a tool's result, a reply to a history and one that was cut
are not kept.
"""

import hashlib
import importlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from engine.advice import Case
from engine.answer import Answer
from engine.answers import Answers
from engine.cache import CacheKey, Kept, ReplyCache
from engine.generation import Finish
from engine.knowledge_base import Knowledge
from engine.messages import Source
from engine.model import Model
from engine.redaction import private
from engine.settings import Settings
from engine.store import Client

if TYPE_CHECKING:
    from engine.near_answers import NearAnswers

#: Settings that decide a reply beside the model: how it generates, and all that a tenant may set.
_DECIDING = ("prompt_tokens", "max_tokens", "temperature", "top_p", "repetition_penalty", "stop", "system_prompt")


class Memory:
    """The reply cache of one worker."""

    def __init__(self, settings: Settings, client: Client, knowledge: Knowledge, *, model: Model) -> None:
        self._model = f"{model.card.sha256}:{model.card.weights}:{model.compute_type}"
        self._exact = ReplyCache(settings, client)
        self._settings = settings
        self._client = client
        self._knowledge = knowledge
        self._matches: NearAnswers | None = None
        self._versions: dict[str, str] = {}

    def recall(self, cases: Sequence[Case]) -> Mapping[str, Answer]:
        """What is known, by the key of its turn; of cases that stand alone.

        :raises StoreUnavailable: if Redis is away.
        """
        asked = [case for case in cases if not private(case.asked)]
        found = self._exact.recall([(case.question.address.tenant, self._key(case), case.asked) for case in asked])
        same = {case.question.key: _again(case, kept) for case, kept in zip(asked, found, strict=True) if kept}
        near = self._near()
        return same | near.recall([case for case in asked if case.question.key not in same]) if near else same

    def keep(self, answer: Answer) -> None:
        """Keep a committed answer, if it may be given to others.

        :raises StoreUnavailable: if Redis is away.
        """
        if near := self._near():
            near.keep(answer)
        if not answer.advice or not _for_others(answer, answer.advice.case):
            return
        case, reply = answer.advice.case, answer.reply
        kept = Kept(text=reply.text, evidence=reply.evidence, confidence=reply.confidence)
        self._exact.keep(case.question.address.tenant, self._key(case), case.asked, kept)

    def sync(self) -> None:
        """Take over what other workers keep, and what people disliked.

        :raises StoreUnavailable: if Redis is away.
        """
        if near := self._near():
            near.sync()

    def _near(self) -> "NearAnswers | None":
        """Near matches, from when there is a knowledge base: what they need is loaded then."""
        if self._matches is None and self._knowledge.encoder:
            kind = importlib.import_module("engine.near_answers").NearAnswers
            self._matches = kind(self._settings, self._client, self._knowledge)
        return self._matches

    def _key(self, case: Case) -> CacheKey:
        tenant = case.question.address.tenant
        if tenant not in self._versions:
            self._versions[tenant] = _prompt_version(case.settings)
        prompt, language = self._versions[tenant], case.understood.language
        return CacheKey(model=self._model, prompt=prompt, knowledge=case.knowledge, language=language)


def _for_others(answer: Answer, case: Case) -> bool:
    """Whether the model said it, whole, to a question that stands alone, in a prompt without history."""
    reply = answer.reply
    whole = not reply.trace.get("truncated") and not (reply.trace.get("brief") and reply.trace.get("finish") == Finish.LENGTH)
    made = reply.source is Source.MODEL and answer.reason is None
    return made and whole and case.alone and not case.question.conversation.turns and not private(case.asked)


def _again(case: Case, kept: Kept) -> Answer:
    took = round((time.monotonic() - case.question.claimed_at) * 1000, 1)
    return Answer(
        reply=case.question.reply(kept.text, Source.CACHE, evidence=kept.evidence, confidence=kept.confidence, prepared_ms=took),
        key=case.question.key,
    )


def _prompt_version(settings: Settings) -> str:
    """Changes with everything but the model and the knowledge that decides a reply."""
    names = sorted({*_DECIDING, *(one.name for one in fields(Answers))})
    return hashlib.sha256(repr([getattr(settings, name) for name in names]).encode()).hexdigest()
