"""The reply cache, exact: the same question, normalised, gets the same reply without the model.

Keyed by tenant, model, prompt, knowledge version and language, so that no reply outlives what it was made from. What may be kept is
said in `engine.remembering`.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.crypto import Digests
from engine.errors import DecodeError
from engine.keys import CACHE_PATTERN, CACHE_STATS_PATTERN, cache_stats, cached_reply
from engine.messages import Wire
from engine.settings import Settings
from engine.store import Client, reachable


def normalise(question: str) -> str:
    """The question in Unicode NFKC, case folded, white space collapsed."""
    return " ".join(unicodedata.normalize("NFKC", question).casefold().split())


@dataclass(frozen=True)
class CacheKey:
    """What a cached reply depends on, its question apart."""

    model: str
    #: Digest of the system prompt and the generation settings.
    prompt: str
    #: Version of the knowledge base; empty: there is none.
    knowledge: str = ""
    #: Of the conversation: a name alone is asked about in any.
    language: str = ""


class Kept(Wire, frozen=True, array_like=True, kw_only=True):
    """A reply that may be given again."""

    text: str
    evidence: tuple[str, ...] = ()
    confidence: float | None = None


class ReplyCache:
    """Replies by question. Every failure to reach Redis rises as `StoreUnavailable`."""

    def __init__(self, settings: Settings, client: Client) -> None:
        self._on = settings.cache
        self._ttl = round(settings.cache_ttl * 1000)
        self._client = client
        self._digests = Digests(settings.secret_key)

    def recall(self, questions: Sequence[tuple[str, CacheKey, str]]) -> list[Kept | None]:
        """The kept reply, or None, for each (tenant, key, question); counts hits and misses."""
        if not self._on or not questions:
            return [None] * len(questions)
        with reachable():
            pipe = self._client.pipeline(transaction=False)
            for question in questions:
                pipe.get(self._name(*question))
            found: list[bytes | None] = pipe.execute()
            for (tenant, _, _), raw in zip(questions, found, strict=True):
                pipe.hincrby(cache_stats(self._digests.tenant(tenant)), "misses" if raw is None else "hits", 1)
            pipe.execute()
        return [_read(raw) for raw in found]

    def keep(self, tenant: str, key: CacheKey, question: str, kept: Kept) -> None:
        """Keep a reply for `cache_ttl`."""
        if not self._on:
            return
        with reachable():
            self._client.set(self._name(tenant, key, question), kept.encode(), px=self._ttl)

    def _name(self, tenant: str, key: CacheKey, question: str) -> str:
        digest = self._digests.of("cache", tenant, key.model, key.prompt, key.knowledge, key.language, normalise(question))
        return cached_reply(self._digests.tenant(tenant), digest)


def _read(raw: bytes | None) -> Kept | None:
    try:
        return Kept.decode(raw) if raw else None
    except DecodeError:  # of another version: it is made anew, and replaced
        return None


def purge(client: Client) -> int:
    """Forget every cached reply; says how many there were."""
    with reachable():
        names: list[Any] = list(client.scan_iter(match=CACHE_PATTERN, count=1000))
        return sum(int(client.unlink(name)) for name in names)


def stats(client: Client) -> dict[str, int]:
    """Cached replies, hits and misses, over all tenants."""
    with reachable():
        entries = sum(1 for _ in client.scan_iter(match=CACHE_PATTERN, count=1000))
        totals = {"entries": entries, "hits": 0, "misses": 0}
        for name in client.scan_iter(match=CACHE_STATS_PATTERN, count=1000):
            for field, value in client.hgetall(name).items():
                totals[field.decode()] += int(value)
    return totals
