"""Near matches of one worker: the bridge between `engine.near` and what was decided about a turn.

There are some only where there is a knowledge base: an entry's answer is a passage of it, and nothing else may be given to somebody
who asked in other words.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from engine import near
from engine.advice import Case
from engine.answer import Answer, evidence
from engine.knowledge import Passage
from engine.knowledge_base import Knowledge
from engine.messages import Source
from engine.near import NearCache, NearKey, Outcome, Verdict
from engine.settings import Settings
from engine.store import Client

#: Comparisons that wait for their turn to be answered; a turn that is never committed leaves its own behind.
_MOST_COMPARED = 1_000


class NearAnswers:
    """Looks near matches up and keeps what may be one. Used by one thread."""

    def __init__(self, settings: Settings, client: Client, knowledge: Knowledge) -> None:
        self._settings = settings
        self._client = client
        self._knowledge = knowledge
        self._cache: NearCache | None = None
        #: The version of its knowledge that each tenant's entries must be of, and its passages.
        self._versions: dict[str, tuple[str, Mapping[str, Passage]]] = {}
        #: Would-be hits that are answered anew, by the key of their turn, until that is committed.
        self._compared: dict[str, Verdict] = {}
        #: Hits that were given, until they are committed.
        self._given: dict[str, Verdict] = {}

    def sync(self) -> None:
        """Take over what other workers kept and what people disliked.

        :raises StoreUnavailable: if Redis is away.
        """
        if self._cache is not None:
            self._cache.sync()

    def recall(self, cases: Sequence[Case]) -> dict[str, Answer]:
        """Answers by near match, by the key of their turn; of cases that stand alone.

        :raises StoreUnavailable: if Redis is away.
        """
        possible = [case for case in cases if self._may(case)]
        self._knowledge.prepare([case.asked for case in possible])
        found = {case.question.key: self._look(case) for case in possible}
        return {key: answer for key, answer in found.items() if answer}

    def keep(self, answer: Answer) -> None:
        """What follows from a committed answer: a hit that was given, a comparison, or a new entry.

        :raises StoreUnavailable: if Redis is away.
        """
        key, messages = answer.key, answer.reply.in_reply_to
        if given := self._given.pop(key, None):
            self._opened().served(given, messages)
        compared, advice = self._compared.pop(key, None), answer.advice
        passage = _only(answer)
        if advice is None or passage is None or not self._may(advice.case):
            return
        cache, case = self._opened(), advice.case
        if compared and compared.entry:
            cache.confirm(compared, right=compared.entry.key == passage.id)
        kept = near.Answer(key=passage.id, reply=answer.reply.text, messages=messages)
        vector = self._vectors(case)[0]
        cache.keep(case.question.address.tenant, case.understood.language, case.asked, vector, kept)

    def _look(self, case: Case) -> Answer | None:
        cache, tenant = self._opened(), case.question.address.tenant
        self._follow(cache, case)
        language = case.understood.language
        (verdict,) = cache.lookup(tenant, language, [case.asked], self._vectors(case), mode=case.settings.near)
        if verdict.outcome is Outcome.SHADOW:
            self._remember(self._compared, case.question.key, verdict)
        if verdict.outcome is not Outcome.HIT or verdict.entry is None:
            return None
        self._remember(self._given, case.question.key, verdict)
        passage = self._knowledge.passages(tenant).get(verdict.entry.key)
        reply = case.question.reply(
            verdict.entry.reply,
            Source.CACHE,
            evidence=evidence([passage] if passage else []),
            confidence=verdict.p,
            tier="near",
            similarity=round(float(verdict.features[0]), 4) if verdict.features is not None else 0.0,
        )
        return Answer(reply=reply, key=case.question.key)

    def _may(self, case: Case) -> bool:
        """Whether there can be a near match: none in a language that the encoder does not know."""
        at_hand = case.knowledge and self._knowledge.encoder and self._knowledge.passages(case.question.address.tenant)
        return bool(at_hand) and case.alone and not case.foreign and case.settings.near != "off"

    def _vectors(self, case: Case) -> NDArray[np.float32]:
        encoder = self._knowledge.encoder
        if encoder is None:
            raise ValueError("there is no encoder without a knowledge base")
        return encoder.encode([case.asked])

    def _opened(self) -> NearCache:
        if self._cache is None:
            encoder = self._knowledge.encoder
            self._cache = NearCache(self._settings, self._client, NearKey.of(self._settings, encoder.identity if encoder else ""))
        return self._cache

    def _follow(self, cache: NearCache, case: Case) -> None:
        """Entries of passages that the current version does not have are given no more; those that it has lost are removed."""
        tenant, version = case.question.address.tenant, case.knowledge
        before, had = self._versions.get(tenant, ("", {}))
        if before == version:
            return
        passages = self._knowledge.passages(tenant)
        cache.publish(tenant, passages)
        self._versions[tenant] = version, passages
        if gone := had.keys() - passages.keys():
            cache.purge_by_key(tenant, ("", *case.settings.encoder_languages), gone)

    def _remember(self, place: dict[str, Verdict], key: str, verdict: Verdict) -> None:
        while len(place) >= _MOST_COMPARED:
            place.pop(next(iter(place)))
        place[key] = verdict


def _only(answer: Answer) -> Passage | None:
    """The one passage that an answer gives, word by word or in the model's words; None where it is not so simple."""
    advice, decision = answer.advice, answer.decision
    if advice is None or decision is None or answer.reason or decision.because != "answer" or decision.unanswered:
        return None
    whole = not answer.reply.trace.get("truncated") and not answer.reply.trace.get("brief")
    apart = decision.verbatim or not advice.question.conversation.turns
    return decision.passages[0] if len(decision.passages) == 1 and whole and apart else None
