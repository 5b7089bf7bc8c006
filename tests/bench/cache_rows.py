"""The row of the near-match cache: one lookup among 100,000 entries of one tenant in the memory of a worker."""

import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import redis

from engine.encoder import Encoder
from engine.near import NearCache, NearKey
from engine.near_entry import Entry, packed
from engine.near_store import now
from engine.settings import Settings
from tests.bench.load import percentile
from tests.bench.rows import QUESTIONS, Row
from workers import embedded

ENTRIES, LOOKUPS = 100_000, 200
WORDS = ["order", "refund", "card", "password", "invoice", "parcel", "account", "address", "plan", "discount", "return", "payment"]
WORDS += ["email", "app", "delivery", "limit", "fee", "code"]


def cache_lookup() -> Row:
    """Entries lie around 2,000 questions of three words, 50 to each; lookups are new texts of the same kind."""
    encoder = Encoder.load(Settings.load({}))
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name, embedded.serving(Path(name) / "redis", log=Path(name) / "redis.log") as server:
        settings = dataclasses.replace(
            Settings(), redis_url=server.url, secret_key="a secret key of the bench", near="on", near_check=0.0
        )
        with redis.Redis.from_url(server.url) as client:
            cache = NearCache(settings, client, NearKey.of(settings, encoder.identity))
            fill(client, cache.partition("shop", "en").key("entries"), encoder, rng)
            began = time.perf_counter()
            cache.lookup("shop", "en", QUESTIONS[:1], encoder.encode(QUESTIONS[:1]))
            loaded = time.perf_counter() - began
            asked = [f"{question} {number}th time" for number in range(LOOKUPS // len(QUESTIONS)) for question in QUESTIONS]
            known, unknown = [], []
            for question in asked:
                unknown.append(milliseconds(lambda text=question: cache.lookup("shop", "en", [text], encoder.encode([text]))))
                known.append(milliseconds(lambda text=question: cache.lookup("shop", "en", [text], encoder.encode([text]))))
    p50, p99 = percentile(known, 50), percentile(known, 99)
    late = percentile(unknown, 50)
    detail = {"known_p50_ms": p50, "known_p99_ms": p99, "unknown_p50_ms": late, "unknown_p99_ms": percentile(unknown, 99)}
    detail |= {"entries": ENTRIES, "load_s": round(loaded, 1)}
    return Row(p50, "p50 under 5 ms with the vector known, under 15 ms without", p50 < 5 and late < 15, detail)


def fill(client: redis.Redis, name: str, encoder: Encoder, rng: np.random.Generator) -> None:
    """Put the entries into Redis as workers would have kept them."""
    texts = [f"How do I {' '.join(rng.choice(WORDS, 3))}?" for _ in range(ENTRIES // 50)]
    centres = encoder.encode(texts)
    at = now()
    for number, centre in enumerate(centres):
        noise = centre + 0.03 * rng.normal(size=(50, len(centre)))
        rows = {
            f"{number}-{place}": Entry(
                id=f"{number}-{place}", question=texts[number], key=str(number), reply="So.", vector=packed(row), at=at
            ).encode()
            for place, row in enumerate((noise / np.linalg.norm(noise, axis=1, keepdims=True)).astype(np.float32))
        }
        client.hset(name, mapping=rows)


def milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


ROWS = {"cache-lookup": cache_lookup}
