"""Indexing: in the jobs worker or in the command, a chunk at a time, resumed where it was killed; and what workers notice."""

import dataclasses
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import redis

from engine.encoder import Encoder
from engine.errors import ModelError, UnknownModel
from engine.indexing import Indexer, Lease, left, read_job, work
from engine.keys import KNOWLEDGE_WANTED
from engine.knowledge import Passage
from engine.knowledge_base import Knowledge
from engine.knowledge_records import CHUNK, encoder_tag, texts_of
from engine.knowledge_store import KnowledgeStore, wanted
from engine.publishing import publish
from engine.settings import Settings
from engine.store import connect
from tests.conftest import wait_for
from tests.system import Receiver, System
from workers import kb_desk

pytestmark = pytest.mark.one_redis


class Counting:
    """The encoder, with the texts it was asked for."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.identity = encoder.identity
        self.dimension = encoder.dimension
        self.texts: list[str] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.texts += texts
        return self._encoder.encode(texts)


def answers(document: str, count: int, *, start: int = 0) -> list[Passage]:
    numbers = range(start, start + count)
    return [Passage(document=document, text=f"The answer is {n}.", questions=(f"What is {n}?",)).identified() for n in numbers]


@pytest.fixture
def store(settings: Settings, redis_client: redis.Redis) -> KnowledgeStore:
    return KnowledgeStore(settings, redis_client)


@pytest.fixture
def encoder(default_encoder: Encoder) -> Counting:
    return Counting(default_encoder)


@pytest.fixture
def knowledge(settings: Settings, redis_client: redis.Redis, encoder: Counting) -> Knowledge:
    return Knowledge(settings, redis_client, load_encoder=lambda: encoder)


def index(store: KnowledgeStore, encoder: Counting) -> None:
    assert work(store, lambda: encoder, seconds=60)


def test_a_draft_is_indexed_with_the_vectors_of_its_texts(store: KnowledgeStore, encoder: Counting) -> None:
    store.add([*answers("faq", 2), Passage(document="page", text="Prices", heading=("Shop",)).identified()], source="/help")
    seen: list[tuple[int, int]] = []
    assert left(store, encoder.identity) == 3
    assert work(store, lambda: encoder, seconds=60, tell=lambda job: seen.append((job.done, job.total)))
    assert left(store, encoder.identity) == 0
    assert sorted(encoder.texts) == ["Shop\nPrices", "What is 0?", "What is 1?"]
    _, page = store.draft()
    _, (vectors,) = store.documents.loaded(page, encoder_tag(encoder.identity))
    assert float(vectors[0] @ encoder.encode(["Shop\nPrices"])[0]) > 0.9999
    job = read_job(store)
    assert (job.state, job.done, job.total, job.encoder) == ("done", 3, 3, encoder.identity)
    assert seen == sorted(seen)
    assert not store.client.exists(KNOWLEDGE_WANTED)
    assert not Lease.held(store)


def test_indexing_goes_on_where_it_was_stopped_and_encodes_nothing_twice(store: KnowledgeStore, encoder: Counting) -> None:
    store.add(answers("faq", 2 * CHUNK + 5), source="/faq")
    assert not work(store, lambda: encoder, seconds=0)
    assert len(encoder.texts) == CHUNK
    assert store.client.sismember(KNOWLEDGE_WANTED, store.base.digest)
    index(store, encoder)
    assert len(encoder.texts) == len(set(encoder.texts)) == 2 * CHUNK + 5


def test_what_has_not_changed_in_a_document_is_not_encoded_again(store: KnowledgeStore, encoder: Counting) -> None:
    store.add(answers("faq", CHUNK + 10), source="/faq")
    index(store, encoder)
    publish(store, settings_of(store), encoder=encoder.identity)
    encoder.texts.clear()
    store.add(answers("faq", CHUNK + 10, start=1), source="/faq")
    index(store, encoder)
    assert encoder.texts == [f"What is {CHUNK + 10}?"]
    (document,) = store.draft()
    passages, vectors = store.documents.loaded(document, encoder_tag(encoder.identity))
    assert (np.concatenate(vectors) * encoder.encode(texts_of(passages))).sum(axis=1).min() > 0.999


def settings_of(store: KnowledgeStore) -> Settings:
    return Settings(redis_url="redis://unused", secret_key="a secret key of the tests")


def test_two_do_not_index_one_base_and_who_died_is_followed(store: KnowledgeStore, encoder: Counting) -> None:
    store.add(answers("faq", 1), source="/faq")
    dead = Lease(store)
    assert dead.take()
    assert dead.take(), "it is renewed"
    assert not work(store, lambda: encoder, seconds=60)
    store.client.pexpire(store.base.key("lease"), 1)
    wait_for(lambda: not Lease.held(store))
    index(store, encoder)


def test_a_failed_job_says_why_and_can_be_asked_for_again(store: KnowledgeStore, encoder: Counting) -> None:
    def refuse() -> Counting:
        raise UnknownModel("there is no such encoder: check REPLYMILL_ENCODER")

    store.add(answers("faq", 1), source="/faq")
    with pytest.raises(ModelError):
        work(store, refuse, seconds=60)
    assert (read_job(store).state, read_job(store).error) == ("failed", "there is no such encoder: check REPLYMILL_ENCODER")
    index(store, encoder)
    assert read_job(store).state == "done"


def test_a_worker_notices_what_is_published_and_rolled_back_and_loads_no_encoder_for_nothing(
    store: KnowledgeStore, settings: Settings, encoder: Counting, knowledge: Knowledge
) -> None:
    def notice(version: int) -> float:
        began = time.monotonic()

        def noticed() -> bool:
            knowledge.refresh()
            return knowledge.version("shop").split(".")[1:2] == [str(version)]

        wait_for(noticed, timeout=10)
        return time.monotonic() - began

    assert knowledge.settle(10)
    assert knowledge.encoder is None
    assert (knowledge.version("shop"), knowledge.search("shop", ["What is 1?"])[0].hits) == ("", ())

    store.add(answers("faq", 3), source="/faq")
    index(store, encoder)
    publish(store, settings, encoder=encoder.identity)
    assert notice(1) < 1
    assert knowledge.encoder is not None
    one, two = (found.hits for found in knowledge.search("shop", ["What is 1?", "what's 2"], k=2))
    assert (one[0].passage.text, two[0].passage.text) == ("The answer is 1.", "The answer is 2.")
    assert len(one) == 2

    store.add(answers("faq", 1, start=7), source="/faq")
    index(store, encoder)
    publish(store, settings, encoder=encoder.identity)
    assert notice(2) < 1
    assert [hit.passage.text for hit in knowledge.search("", ["What is 1?"])[0].hits] == ["The answer is 7."]
    store.rollback()
    assert notice(1) < 1
    assert not store.client.exists(store.base.key("lent"))


def test_a_tenant_with_a_base_of_its_own_is_answered_from_that_alone(
    store: KnowledgeStore, settings: Settings, encoder: Counting, knowledge: Knowledge
) -> None:
    shop = KnowledgeStore(settings, store.client, "shop")
    for base, start in ((store, 0), (shop, 5)):
        base.add(answers("faq", 1, start=start), source="/faq")
        index(base, encoder)
        publish(base, settings, encoder=encoder.identity)
    assert knowledge.settle(10)
    assert knowledge.version("shop") != knowledge.version("other") == knowledge.version("")
    assert [hit.passage.text for hit in knowledge.search("shop", ["What is 0?"])[0].hits] == ["The answer is 5."]
    assert [hit.passage.text for hit in knowledge.search("other", ["What is 0?"])[0].hits] == ["The answer is 0."]


def test_a_version_of_another_encoder_is_not_used_before_it_is_indexed_again(
    store: KnowledgeStore, settings: Settings, encoder: Counting, knowledge: Knowledge
) -> None:
    store.add(answers("faq", 1), source="/faq")
    older = Counting(encoder._encoder)
    older.identity = "an older encoder"
    index(store, older)
    publish(store, settings, encoder=older.identity)
    assert knowledge.settle(10)
    assert knowledge.version("") == ""
    assert store.client.sismember(KNOWLEDGE_WANTED, store.base.digest), "the worker has asked for it"
    index(store, encoder)
    assert left(store, older.identity) == 0, "workers that have the older encoder still use its vectors"
    wait_for(lambda: knowledge.settle(10) and knowledge.version(""))
    assert knowledge.search("", ["What is 0?"])[0].hits


def test_an_indexer_goes_on_when_a_document_is_removed_under_it(store: KnowledgeStore, encoder: Counting) -> None:
    store.add([*answers("a", 1), *answers("b", 1, start=1)], source="/help")
    for document in store.draft():
        store.client.hdel(store.base.document(document.id), "p:0") if document.name == "a" else None
    Indexer(store, encoder).run(60)
    assert encoder.texts == ["What is 1?"]


@pytest.fixture
def system(tmp_path: Path, tiny_model: Path, redis_url: str, free_port: Callable[[], int]) -> Iterator[System]:
    receiver = Receiver()
    found = System(redis_url, free_port(), tmp_path, receiver)
    found.extra |= {"MODEL": f"path:{tiny_model}", "COMPUTE_TYPE": "float32"}
    yield found
    found.stop_all()
    receiver.close()


@pytest.mark.slow
def test_the_jobs_worker_indexes_at_the_lowest_priority_and_what_a_killed_job_left_is_indexed_later(
    system: System, settings: Settings, store: KnowledgeStore, default_encoder: Encoder
) -> None:
    count = 60 * CHUNK
    system.start("jobs")
    wait_for(lambda: system.check_alive() or "ready." in system.log("jobs"), timeout=60)
    pid = system.processes["jobs"].pid
    assert Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[16] == "19"
    store.add(answers("faq", count), source="/faq")
    kb_desk.ask(settings)
    wait_for(lambda: read_job(store).done > CHUNK)
    wait_for(lambda: Lease.held(store))
    system.stop("jobs", by=signal.SIGKILL)
    before = left(store, default_encoder.identity)
    assert 0 < before < count
    assert [one.tenant for one in wanted(settings, store.client)] == [""], "the beat of the next jobs worker looks there"
    # The lease of the dead runs out in half a minute.
    store.client.delete(store.base.key("lease"))
    assert not work(store, lambda: default_encoder, seconds=0)
    assert 0 < before - left(store, default_encoder.identity) <= CHUNK


def test_nobody_waits_for_a_jobs_worker_that_is_not_there(settings: Settings, default_encoder: Encoder) -> None:
    with connect(settings) as client:
        store = KnowledgeStore(dataclasses.replace(settings, kb_versions=2), client)
        store.add(answers("faq", 3), source="/faq")
        began = time.monotonic()
        job = kb_desk.index(settings, store, here=False, tell=lambda job: None)
        assert (job.state, job.encoder) == ("done", default_encoder.identity)
        assert time.monotonic() - began < kb_desk.PICKUP + 10
        client.set(store.base.key("lease"), "another has begun, and nothing waits for it")
        assert kb_desk.index(settings, store, here=False, tell=lambda job: None) == job, "there is nothing left to do"
