"""What a person asks of the near matches: why a question is or is not one, how many there are, and to forget them."""

from typing import Any

from engine import cache, language
from engine.crypto import Digests
from engine.encoder import Encoder
from engine.errors import ReplymillError
from engine.keys import NEAR_STATE_PATTERN
from engine.messages import Address, Conversation
from engine.near import NearCache, NearKey, calibrated
from engine.near_entry import LONGEST
from engine.near_store import NearStore
from engine.near_threshold import NEVER
from engine.settings import Settings
from engine.store import Client, connect, reachable
from engine.understanding import Kind, understand

#: Bars a question that is no question, or that its conversation must be known for.
_BARS = {
    Kind.SMALL_TALK: "it asks for nothing that is known",
    Kind.PERSON: "it asks for a person",
    Kind.UNCLEAR: "it needs the conversation before it",
}


def explain(settings: Settings, question: str, tenant: str, spoken: str) -> dict[str, Any]:
    """Everything that decides whether a question is a near match."""
    if len(question) > LONGEST * 10:
        raise ReplymillError(f"a question of {len(question)} characters is never a near match: give one of at most {LONGEST}")
    encoder = Encoder.load(settings)
    alone = Conversation(address=Address(platform="", tenant=tenant, channel="", thread=""), turns=())
    found = spoken or language.recognise(question) or settings.languages[0]
    kind = understand(question, alone, settings, language=found).kind
    with connect(settings) as client:
        near = NearCache(settings, client, NearKey.of(settings, encoder.identity))
        told = near.explain(tenant, found, question, encoder.encode([question])[0])
    told["barred"] = told["barred"] or _BARS.get(kind, "")
    told["would_hit"] = bool(told["would_hit"]) and not told["barred"]
    return {"question": question, "tenant": tenant, "digest": digest(settings, tenant), "language": found, **told}


def stats(settings: Settings) -> dict[str, Any]:
    """Entries, hits and comparisons of the exact cache and of the near matches, and each tenant's threshold."""
    with connect(settings) as client:
        exact = cache.stats(client)
        store = _store(client, settings)
        kept = sum(store.size(partition) for partition in store.partitions())
        with reachable():
            digests = [name.decode().rpartition(":")[2] for name in client.scan_iter(match=NEAR_STATE_PATTERN, count=1000)]
        tenants = {digest: _tenant(store.figures(digest), settings) for digest in sorted(digests)}
    return {**exact, "near_mode": settings.near, "near_entries": kept, "near": tenants}


def purge(settings: Settings) -> int:
    """Forget every cached reply, exact and near; says how many there were."""
    with connect(settings) as client:
        store, count = _store(client, settings), cache.purge(client)
        for partition in store.partitions():
            ids = [entry.id for entry in store.all(partition)]
            count += len(ids)
            if ids:
                store.drop(partition, ids)
        return count


def digest(settings: Settings, tenant: str) -> str:
    """How a tenant is named in `stats`."""
    return Digests(settings.secret_key).tenant(tenant)


def _store(client: Client, settings: Settings) -> NearStore:
    return NearStore(client, most=settings.near_entries, ttl=settings.near_ttl, feedback_ttl=settings.feedback_ttl)


def _tenant(figures: dict[str, int], settings: Settings) -> dict[str, Any]:
    least = calibrated(figures, settings)
    return {
        "hits": figures.get("hit", 0),
        "would_be_hits": figures.get("shadow", 0),
        "misses": figures.get("miss", 0),
        "compared_right": sum(count for name, count in figures.items() if name.startswith("right:")),
        "compared_wrong": sum(count for name, count in figures.items() if name.startswith("wrong:")),
        "threshold": None if least >= NEVER else least,
    }
