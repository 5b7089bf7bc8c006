"""Both vector indexes under the same tests: the one in memory and that of a real Redis 8; and knowledge that is searched there."""

import dataclasses
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import redis

from engine.encoder import Encoder
from engine.errors import DecodeError, StartError, StoreUnavailable
from engine.indexing import work
from engine.knowledge import Passage
from engine.knowledge_base import Knowledge
from engine.knowledge_loading import RemoteIndex
from engine.knowledge_store import KnowledgeStore
from engine.publishing import publish
from engine.settings import Settings
from engine.vector_index import VECTOR_NAMES, RedisVectors, Row, VectorIndex, Vectors
from tests.conftest import missing, newest_binary
from workers import doctor_knowledge, embedded

pytestmark = pytest.mark.one_redis


@pytest.fixture(scope="module")
def newest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.EmbeddedRedis]:
    """A Redis 8 with vector sets."""
    folder = tmp_path_factory.mktemp("vectors")
    binary = newest_binary() or missing("Redis 8.2")
    with embedded.serving(folder, log=folder / "log", binary=binary) as server:
        yield server


class MemoryVectors:
    """Exact search in this process: what the graph is held against."""

    def __init__(self) -> None:
        self._indexes: dict[str, tuple[list[Row], np.ndarray, Vectors]] = {}

    def publish(self, rows: Iterable[Row]) -> str:
        name, held = secrets.token_hex(8), list(rows)
        owners = np.repeat(np.arange(len(held)), [len(row.vectors) for row in held])
        stacked = np.concatenate([row.vectors for row in held]) if held else np.empty((0, 0), np.float32)
        self._indexes[name] = held, owners, stacked
        return name

    def search(self, name: str, questions: Vectors, k: int) -> list[list[Row]]:
        rows, owners, stacked = self._indexes[name]
        if not rows:
            return [[] for _ in questions]
        found = []
        for cosines in questions @ stacked.T:
            best = dict.fromkeys(int(owner) for owner in owners[np.argsort(-cosines, kind="stable")])
            found.append([rows[owner] for owner in list(best)[:k]])
        return found

    def drop(self, name: str) -> None:
        self._indexes.pop(name, None)


@pytest.fixture(params=["memory", "redis"])
def index(request: pytest.FixtureRequest, newest: embedded.EmbeddedRedis) -> VectorIndex:
    return MemoryVectors() if request.param == "memory" else RedisVectors.connect(newest.url)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def made_up(count: int, seed: int) -> np.ndarray:
    """Vectors in groups, as those of texts are."""
    chance = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(50, 64))
    return unit(centres[chance.integers(50, size=count)] + chance.normal(size=(count, 64)) * 0.7)


def rows(vectors: np.ndarray, texts: int = 1) -> list[Row]:
    passages = [Passage(document="d", text=f"passage {number}").identified() for number in range(len(vectors) // texts)]
    return [Row(passage, vectors[texts * number :][:texts]) for number, passage in enumerate(passages)]


def test_passages_are_found_by_the_best_of_their_texts_each_once(index: VectorIndex) -> None:
    axes = np.eye(6, dtype=np.float32)
    name = index.publish(rows(axes, texts=2))
    found = index.search(name, unit(np.array([axes[3] * 2 + axes[5], axes[0] + axes[1] * 0.9 + axes[4] * 0.5])), 2)
    assert [[row.passage.text for row in one] for one in found] == [["passage 1", "passage 2"], ["passage 0", "passage 2"]]
    assert np.allclose(found[0][0].vectors, axes[2:4], atol=1e-3)
    assert index.search(name, np.empty((0, 6), np.float32), 2) == []
    index.drop(name)


def test_an_index_without_passages_finds_nothing(index: VectorIndex) -> None:
    assert index.search(index.publish([]), np.eye(2, dtype=np.float32), 3) == [[], []]


def test_the_graph_finds_nearly_all_that_exact_search_finds(newest: embedded.EmbeddedRedis) -> None:
    exact, graph = MemoryVectors(), RedisVectors.connect(newest.url)
    held, asked = rows(made_up(2000, seed=1)), made_up(50, seed=2)
    expected = exact.search(exact.publish(held), asked, 10)
    name = graph.publish(held)
    found = graph.search(name, asked, 10)
    shared = [
        len({row.passage.id for row in one} & {row.passage.id for row in other}) for one, other in zip(expected, found, strict=True)
    ]
    assert sum(shared) / (10 * len(asked)) > 0.95
    graph.drop(name)


def test_a_server_that_cannot_search_vectors_is_refused_with_what_to_do(redis_url: str, settings: Settings) -> None:
    with pytest.raises(StartError, match="no vector sets: it must be Redis 8"):
        RedisVectors.connect(redis_url)
    with redis.Redis.from_url(settings.redis_url) as client, pytest.raises(StartError):
        Knowledge(dataclasses.replace(settings, vectors=redis_url), client, load_encoder=lambda: pytest.fail("nothing to encode"))
    with pytest.raises(StoreUnavailable):
        RedisVectors.connect(f"redis://127.0.0.1:{embedded.free_port()}")


@pytest.mark.parametrize("raw", [b"", b"1234567", b"\1\0\0\0\5\0\0\0[]", b"\1\0\0\0\xff\xff\xff\xff"])
def test_a_damaged_passage_on_the_server_is_refused(newest: embedded.EmbeddedRedis, raw: bytes) -> None:
    graph = RedisVectors.connect(newest.url)
    name = graph.publish(rows(np.eye(2, dtype=np.float32)))
    with redis.Redis.from_url(newest.url) as client:
        (key,) = client.scan_iter(match=f"*{name}*rows")
        client.hset(key, "0", raw)
    with pytest.raises(DecodeError):
        graph.search(name, np.eye(2, dtype=np.float32)[:1], 1)


def test_a_large_base_is_searched_on_the_server_and_old_versions_leave_it(
    settings: Settings, redis_client: redis.Redis, newest: embedded.EmbeddedRedis, default_encoder: Encoder
) -> None:
    chosen = dataclasses.replace(settings, vectors=newest.url, vectors_from=2, kb_versions=2)
    store = KnowledgeStore(chosen, redis_client)
    knowledge = Knowledge(chosen, redis_client, load_encoder=lambda: default_encoder)

    def publish_answers(*numbers: int) -> str:
        found = [Passage(document="faq", text=f"Answer {n}", questions=(f"How do I do thing {n}?",)) for n in numbers]
        store.add([passage.identified() for passage in found], source="/faq")
        assert work(store, lambda: default_encoder, seconds=60)
        return publish(store, chosen, encoder=default_encoder.identity).remote

    with redis.Redis.from_url(newest.url) as client:
        client.flushall()
        names = [publish_answers(*range(count)) for count in (3, 4, 5, 6)]
        assert all(names)
        assert {name.decode() for name in client.zrange(VECTOR_NAMES, 0, -1)} == set(names[2:])
        assert knowledge.settle(10)
        hits = knowledge.search("", ["how to do thing 5"], k=2)[0].hits
        assert hits[0].passage.text == "Answer 5"
        assert len(hits) == 2
        assert isinstance(knowledge._held[store.base.digest].index, RemoteIndex)
        assert [check.ok for check in doctor_knowledge.look(chosen)] == [True, True]

        assert not publish_answers(9), "few passages are searched in memory"
        assert knowledge.settle(10)
        assert [hit.passage.text for hit in knowledge.search("", ["thing 5"])[0].hits] == ["Answer 9"]
        store.rollback()
        client.flushall()
        assert knowledge.settle(10)
        assert knowledge.search("", ["how to do thing 5"])[0].hits[0].passage.text == "Answer 5", (
            "what the server lost is held in memory"
        )


def test_what_was_never_finished_leaves_the_server_after_a_day(newest: embedded.EmbeddedRedis, tmp_path: Path) -> None:
    graph = RedisVectors.connect(newest.url)
    name = graph.publish(rows(np.eye(2, dtype=np.float32)))
    assert name not in graph.unfinished()
    with redis.Redis.from_url(newest.url) as client:
        client.zadd(VECTOR_NAMES, {name: 0})
    assert name in graph.unfinished()
    assert graph.has(name)
    graph.drop(name)
    assert not graph.has(name)
