"""The reply cache, near matches: a question that is asked in other words gets the answer of the one that is kept, if that is sure.

Kept are only questions that stand alone and whose answer has a key: a passage of the knowledge base, or an approved reply. Entries
are apart by tenant, bot and language, and by the model, the prompt and the encoder they were made with; they die with the passage
they came from. Nothing with personal data or an identifier is kept or looked up. A hit takes the verifier's word
(`engine.verifier`) from a threshold on that each tenant's comparisons have set (`engine.near_threshold`); one wrong hit that was
confirmed, or a thumb down, removes its entry.

Nothing is given in the mode `shadow`, which counts what would have been given and compares it with what was answered.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from engine.cache import normalise
from engine.crypto import Digests
from engine.keys import DISLIKED, NearPartition
from engine.near_entry import Entry, bar, packed
from engine.near_index import NearIndex, neighbours
from engine.near_store import NearStore, now
from engine.near_threshold import CLASSES, class_of, threshold
from engine.settings import Settings
from engine.store import Client, reachable
from engine.verifier import FEATURES, Floats, candidate, features, shipped
from engine.wording import worded

#: Partitions in one worker's memory; the one that was used longest ago leaves.
_PARTITIONS = 200
#: Seconds for which a tenant's threshold is believed.
_BELIEVED = 5
#: Thumbs down that are seen to at one `sync`.
_AT_ONCE = 100


class Outcome(StrEnum):
    """What is done with a near match."""

    #: Its reply is given.
    HIT = "hit"
    #: Its reply would be given, but the question is answered anew, and the two are compared by `confirm`.
    SHADOW = "shadow"
    #: There is none.
    MISS = "miss"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the cache says of one question."""

    outcome: Outcome
    tenant: str
    #: The entry whose answer it would be; None where there is none at all, or the question is barred.
    entry: Entry | None = None
    partition: NearPartition | None = None
    #: That the answer is right, by the verifier; and from which probability it is given.
    p: float = 0.0
    threshold: float = 1.0
    #: In the order of `engine.verifier.FEATURES`.
    features: Floats | None = None
    #: Why the question is not looked up.
    barred: str = ""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a question was answered with."""

    #: Names the passage or the approved reply that was given.
    key: str
    reply: str
    #: Ids of the messages that were answered with it: a thumb down about one of them removes the entry.
    messages: tuple[str, ...] = ()


@dataclass(frozen=True)
class NearKey:
    """What entries depend on beside their question, tenant and language; `encoder` is `Encoder.identity`."""

    model: str
    prompt: str
    encoder: str
    bot: str = ""

    @classmethod
    def of(cls, settings: Settings, encoder: str, *, bot: str = "") -> "NearKey":
        """The key by the settings, those of tenants too, without a model at hand."""
        every = (settings, *(settings.for_tenant(name) for name in sorted(settings.tenants)))
        texts = repr([(one.system_prompt, one.passages_prompt, one.verbatim) for one in every])
        return cls(f"{settings.model} {settings.compute_type}", hashlib.sha256(texts.encode()).hexdigest(), encoder, bot)


class NearCache:
    """The near matches of one worker. `sync` is to be called each second, `lookup` and `keep` from the same thread."""

    def __init__(self, settings: Settings, client: Client, key: NearKey) -> None:
        self._settings, self._client, self._key = settings, client, key
        self._store = NearStore(client, most=settings.near_entries, ttl=settings.near_ttl, feedback_ttl=settings.feedback_ttl)
        self._verifier = shipped()
        self._digests = Digests(settings.secret_key)
        self._chance = random.Random()  # noqa: S311 - a sample, no secret
        self._loaded: dict[NearPartition, tuple[NearIndex, str]] = {}
        self._thresholds: dict[str, tuple[int, float]] = {}
        self._alive: dict[str, Container[str]] = {}
        self._counts: dict[str, Counter[str]] = {}
        self._counted = 0

    def lookup(
        self, tenant: str, language: str, questions: Sequence[str], vectors: NDArray[np.float32], *, mode: str = ""
    ) -> list[Verdict]:
        """A verdict for each question, which must stand alone; `mode` is the tenant's, by default that of the settings."""
        using = mode or self._settings.near
        if using == "off" or not questions:
            return [Verdict(outcome=Outcome.MISS, tenant=tenant, barred="near matches are off") for _ in questions]
        verdicts = [
            self._judged(tenant, language, question, vector, using) for question, vector in zip(questions, vectors, strict=True)
        ]
        self._counts.setdefault(tenant, Counter()).update(verdict.outcome.value for verdict in verdicts)
        if now() > self._counted:
            self._count()
        return verdicts

    def keep(self, tenant: str, language: str, question: str, vector: NDArray[np.float32], answer: Answer) -> str:
        """Keep the answer to a question that stands alone; the id of its entry, or nothing where it may not be kept.

        The result of a tool has no key, and so is not kept.
        """
        if not answer.key or not answer.reply or bar(question):
            return ""
        partition = self.partition(tenant, language)
        if self._store.quarantined(partition, id_ := self._id(partition, question)):
            return ""
        entry = Entry(id=id_, question=question, key=answer.key, reply=answer.reply, vector=packed(vector), at=now())
        self._store.put(partition, entry)
        self.served(Verdict(outcome=Outcome.MISS, tenant=tenant, entry=entry, partition=partition), answer.messages)
        if partition in self._loaded:
            self._loaded[partition][0].put(entry)
        return id_

    def served(self, verdict: Verdict, messages: Sequence[str]) -> None:
        """Remember that the reply of a verdict's entry went out as the answer to messages, by their ids."""
        if verdict.entry and verdict.partition and messages:
            self._store.served(verdict.partition, verdict.entry.id, messages)

    def confirm(self, verdict: Verdict, *, right: bool) -> None:
        """Count a comparison of a verdict with what was answered anew; a wrong one removes its entry for good."""
        if verdict.entry is None or verdict.partition is None:
            return
        tenant = self._digests.tenant(verdict.tenant)
        self._store.count(tenant, **{f"{'right' if right else 'wrong'}:{class_of(verdict.p)}": 1})
        self._thresholds.pop(verdict.tenant, None)
        if not right and verdict.p >= verdict.threshold:
            self._quarantine(verdict.partition, verdict.entry.id)

    def purge_by_reply(self, message: str) -> bool:
        """Remove for good the entry behind the reply to a message; says whether there was one."""
        found = self._store.behind(message)
        if found:
            self._quarantine(*found)
        return found is not None

    def purge_by_key(self, tenant: str, languages: Sequence[str], keys: Container[str]) -> int:
        """Remove what came from passages that are gone; says how many entries that were."""
        count = 0
        for partition in (self.partition(tenant, language) for language in languages):
            gone = [entry.id for entry in self._store.all(partition) if entry.key in keys]
            if gone:
                self._store.drop(partition, gone)
                self._forget(partition, gone)
            count += len(gone)
        return count

    def publish(self, tenant: str, keys: Container[str]) -> None:
        """From now on only entries with these keys are given to a tenant: those of the version of its knowledge that is current."""
        self._alive[tenant] = keys

    def sync(self) -> int:
        """Take over what other workers kept and removed, and what people disliked; says how many changes there were."""
        self._count()
        changes = sum(self._follow(partition) for partition in list(self._loaded))
        with reachable():
            disliked = self._client.lpop(DISLIKED, _AT_ONCE) or []
        return changes + sum(self.purge_by_reply(message.decode()) for message in disliked)

    def threshold(self, tenant: str) -> float:
        """The probability from which this tenant's near matches are given."""
        at, value = self._thresholds.get(tenant, (0, 0.0))
        if now() - at > _BELIEVED:
            value = calibrated(self._store.figures(self._digests.tenant(tenant)), self._settings)
            self._thresholds[tenant] = now(), value
        return value

    def partition(self, tenant: str, language: str) -> NearPartition:
        key = self._key
        return NearPartition(self._digests.of("near", tenant, key.bot, language, key.model, key.prompt, key.encoder))

    def explain(self, tenant: str, language: str, question: str, vector: NDArray[np.float32]) -> dict[str, object]:
        """Why a question is or is not a hit: the entries around it, and what each feature adds."""
        verdict = self._judged(tenant, language, question, vector, "shadow")
        found = self._near(tenant, self.partition(tenant, language), vector)
        given = verdict.features
        added: Sequence[float] = [] if given is None else self._verifier.contributions(given).tolist()
        return {
            "mode": self._settings.near,
            "barred": verdict.barred,
            "entries": [
                {"question": entry.question, "answer": entry.key, "cosine": round(cosine, 4)} for entry, cosine in found[:5]
            ],
            "same_text": self._id(self.partition(tenant, language), question) in {entry.id for entry, _ in found},
            "chosen": verdict.entry.question if verdict.entry else None,
            "features": [
                {"feature": name, "value": round(float(value), 4), "adds": round(float(add), 3)}
                for name, value, add in zip(FEATURES, [] if given is None else given, added, strict=False)
            ],
            "bias": round(self._verifier.bias, 3),
            "p": round(verdict.p, 4),
            "threshold": round(self.threshold(tenant), 4),
            "would_hit": verdict.outcome is not Outcome.MISS,
        }

    def _id(self, partition: NearPartition, question: str) -> str:
        return self._digests.of("near", partition.digest, normalise(question))

    def _judged(self, tenant: str, language: str, question: str, vector: NDArray[np.float32], mode: str) -> Verdict:
        if barred := bar(question):
            return Verdict(outcome=Outcome.MISS, tenant=tenant, barred=barred)
        partition, least = self.partition(tenant, language), self.threshold(tenant)
        found = self._near(tenant, partition, vector)
        if not found:
            return Verdict(outcome=Outcome.MISS, tenant=tenant, partition=partition, threshold=least)
        near = neighbours(found)
        chosen = candidate(near)
        given = features(worded(question), near, chosen, self._index(partition).idf)
        p = self._verifier.probability(given)
        compared = mode == "shadow" or self._chance.random() < self._settings.near_check
        outcome = Outcome.MISS if p < least else Outcome.SHADOW if compared else Outcome.HIT
        entry = found[chosen][0]
        return Verdict(outcome=outcome, tenant=tenant, entry=entry, partition=partition, p=p, threshold=least, features=given)

    def _near(self, tenant: str, partition: NearPartition, vector: NDArray[np.float32]) -> list[tuple[Entry, float]]:
        """The entries around a vector that may be given."""
        alive, oldest = self._alive.get(tenant), now() - self._settings.near_ttl
        found = self._index(partition).around(vector)
        return [(entry, cosine) for entry, cosine in found if entry.at > oldest and (alive is None or entry.key in alive)]

    def _index(self, partition: NearPartition) -> NearIndex:
        """The partition in memory, read from Redis at its first use."""
        if partition not in self._loaded:
            position, index = self._store.position(partition), NearIndex()
            for entry in self._store.all(partition):
                index.put(entry)
            index.prepare()
            self._loaded[partition] = index, position
            if len(self._loaded) > _PARTITIONS:
                del self._loaded[next(iter(self._loaded))]
        else:
            self._loaded[partition] = self._loaded.pop(partition)
        return self._loaded[partition][0]

    def _follow(self, partition: NearPartition) -> int:
        index, position = self._loaded[partition]
        found = self._store.changes(partition, position)
        if found is None:
            del self._loaded[partition]
            return 1
        for change in found[0]:
            if change.body is None:
                index.drop(change.id)
            else:
                index.put(Entry.decode(change.body))
        index.prepare()
        self._loaded[partition] = index, found[1]
        return len(found[0])

    def _count(self) -> None:
        """Add what was looked up in the last second to the figures: one second's hits and misses may be lost with a worker."""
        counts, self._counts, self._counted = self._counts, {}, now()
        for tenant, count in counts.items():
            self._store.count(self._digests.tenant(tenant), **count)

    def _quarantine(self, partition: NearPartition, id_: str) -> None:
        self._store.quarantine(partition, id_)
        self._forget(partition, [id_])

    def _forget(self, partition: NearPartition, ids: Sequence[str]) -> None:
        if partition in self._loaded:
            for id_ in ids:
                self._loaded[partition][0].drop(id_)


def calibrated(figures: dict[str, int], settings: Settings) -> float:
    """The threshold by the figures of a tenant."""
    right, wrong = ({place: figures.get(f"{word}:{place}", 0) for place in range(-1, len(CLASSES))} for word in ("right", "wrong"))
    return threshold(right, wrong, start=settings.near_threshold, target=settings.near_wrong)
