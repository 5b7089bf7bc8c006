"""Knowledge bases in Redis: drafts, versions, and that a complete version is current whatever is done in whatever order."""

import dataclasses
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as examples

from engine.errors import DecodeError, KnowledgeError, NoSuchDocument, NoSuchVersion, NothingToPublish
from engine.knowledge import Passage
from engine.knowledge_records import (
    CHUNK,
    encoder_tag,
    pack_passages,
    pack_vectors,
    texts_of,
    unpack_passages,
    unpack_vectors,
)
from engine.knowledge_store import KnowledgeStore, bases, wanted
from engine.settings import Settings

ENCODER = "an encoder"
TAG = encoder_tag(ENCODER)


def passages(document: str, *texts: str) -> list[Passage]:
    return [Passage(document=document, text=text, heading=("Help",)).identified() for text in texts]


def rows(count: int, seed: int = 0) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def indexed(store: KnowledgeStore) -> list[str]:
    """Gives every document of the draft vectors; the ids to publish."""
    ids = store.draft_ids()
    for document in store.documents.read(ids):
        for number in range(document.chunks):
            count = len(texts_of(store.documents.chunk(document, number)))
            store.documents.keep_vectors(document, number, TAG, rows(count))
    return ids


def publish(store: KnowledgeStore, note: str = "") -> int:
    return store.publish(indexed(store), encoder=ENCODER, note=note).number


def said(store: KnowledgeStore, number: int) -> list[str]:
    """Every text of a version, loaded with its vectors."""
    texts: list[str] = []
    for document in store.documents.read(store.ids(number)):
        found, vectors = store.documents.loaded(document, TAG)
        assert sum(len(chunk) for chunk in vectors) == len(texts_of(found)) == document.texts
        texts += [passage.text for passage in found]
    return sorted(texts)


@pytest.fixture
def store(settings: Settings, redis_client: redis.Redis) -> KnowledgeStore:
    return KnowledgeStore(dataclasses.replace(settings, kb_versions=2), redis_client)


def test_a_draft_is_published_and_rolled_back_as_a_whole(store: KnowledgeStore) -> None:
    assert store.current() is None
    change = store.add([*passages("faq", "Open at nine."), *passages("terms", "No refunds.")], source="/help")
    assert (change.added, change.replaced, change.removed) == (("faq", "terms"), (), ())
    first = publish(store, note="the first")
    store.add(passages("faq", "Open at ten."), source="/faq")
    assert said(store, first) == ["No refunds.", "Open at nine."], "a version never changes"
    second = publish(store)
    assert (first, second) == (1, 2)
    assert said(store, second) == ["No refunds.", "Open at ten."]
    assert [version.note for version in store.versions()] == ["", "the first"]

    assert store.rollback().number == first
    current = store.current()
    assert current
    assert (current.number, current.note, current.documents, current.passages) == (1, "the first", 2, 2)
    with pytest.raises(NoSuchVersion, match="no version before"):
        store.rollback()
    assert store.rollback(second).number == second
    with pytest.raises(NoSuchVersion, match="version 9 is not kept"):
        store.rollback(9)


def test_rolling_back_leads_to_the_version_that_was_replaced_not_to_a_bad_one_before_it(store: KnowledgeStore) -> None:
    for text in ("good", "bad"):
        store.add(passages("faq", text), source="/faq")
        publish(store)
    store.rollback()
    store.add(passages("faq", "worse"), source="/faq")
    assert publish(store) == 3
    assert store.rollback().number == 1


def test_what_a_source_no_longer_has_leaves_the_draft_and_what_has_not_changed_stays_as_it_is(store: KnowledgeStore) -> None:
    store.add([*passages("a", "one"), *passages("b", "two")], source="/help")
    store.add(passages("c", "three"), source="/other")
    before = {document.name: document.id for document in store.draft()}
    change = store.add([*passages("a", "one"), *passages("d", "four")], source="/help")
    assert (change.added, change.unchanged, change.removed) == (("d",), ("a",), ("b",))
    after = {document.name: document.id for document in store.draft()}
    assert sorted(after) == ["a", "c", "d"]
    assert (after["a"], after["c"]) == (before["a"], before["c"])


def test_a_document_is_removed_by_its_name_and_gone_from_redis_with_the_last_version_that_has_it(
    store: KnowledgeStore, redis_client: redis.Redis
) -> None:
    store.add([*passages("faq", "a secret"), *passages("terms", "x")], source="/help")
    (faq,) = (document.id for document in store.draft() if document.name == "faq")
    publish(store)
    with pytest.raises(NoSuchDocument, match="did you mean 'faq'"):
        store.remove("fag")
    store.remove("faq")
    assert redis_client.exists(store.base.document(faq)), "the published version has it"
    publish(store)
    for text in ("y", "z"):
        store.add(passages("terms", text), source="/help")
        publish(store)
    assert [version.number for version in store.versions()] == [4, 3]
    assert not redis_client.exists(store.base.document(faq))
    kept = set(store.all_ids())
    assert {key.decode() for key in redis_client.scan_iter(match=f"{store.base.prefix}doc:*")} == {
        store.base.document(one) for one in kept
    }


def test_old_versions_go_but_never_the_current_one_or_one_that_a_worker_loads(store: KnowledgeStore) -> None:
    def another(text: str) -> int:
        store.add(passages("faq", text), source="/faq")
        return publish(store)

    numbers = [another(text) for text in "abc"]
    assert [version.number for version in store.versions()] == [3, 2]
    assert not store.lend(1, "worker", seconds=60), "it has gone"
    assert store.lend(2, "worker", seconds=60)
    numbers += [another(text) for text in "de"]
    assert [version.number for version in store.versions()] == [5, 4, 2]
    assert said(store, 2) == ["b"]
    store.give_back(2, "worker")
    store.rollback(4)
    another("f")
    another("g")
    assert [version.number for version in store.versions()] == [7, 6]


def test_publishing_nothing_new_is_refused_and_so_is_a_draft_that_changes_meanwhile(store: KnowledgeStore) -> None:
    with pytest.raises(NothingToPublish, match="the draft is empty"):
        store.publish([], encoder=ENCODER)
    store.add(passages("faq", "a"), source="/faq")
    publish(store)
    with pytest.raises(NothingToPublish, match="what version 1 has"):
        publish(store)
    store.add(passages("faq", "b"), source="/faq")
    seen = indexed(store)
    store.add(passages("faq", "c"), source="/faq")
    with pytest.raises(KnowledgeError, match="changed since"):
        store.publish(seen, encoder=ENCODER)
    current = store.current()
    assert current
    assert said(store, current.number) == ["a"]


def test_every_tenant_has_a_base_of_its_own_and_no_key_tells_whose(settings: Settings, redis_client: redis.Redis) -> None:
    shop, shared = KnowledgeStore(settings, redis_client, "the-shop"), KnowledgeStore(settings, redis_client)
    shop.add(passages("faq", "of the shop"), source="/faq")
    shared.add(passages("faq", "of all"), source="/faq")
    publish(shop)
    assert shared.current() is None
    assert {store.tenant for store in bases(settings, redis_client)} == {"", "the-shop"}
    assert {store.tenant for store in wanted(settings, redis_client)} == {"", "the-shop"}
    shop.satisfied()
    assert [store.tenant for store in wanted(settings, redis_client)] == [""]
    assert not [key for key in redis_client.scan_iter() if b"shop" in key]


def test_a_large_document_is_kept_in_chunks_and_read_back_in_order(store: KnowledgeStore) -> None:
    texts = [f"passage {number}" for number in range(2 * CHUNK + 1)]
    store.add([Passage(document="big", text=text, questions=("q", text)).identified() for text in texts], source="/big")
    (document,) = store.draft()
    assert (document.chunks, document.passages, document.texts) == (3, len(texts), 2 * len(texts))
    indexed(store)
    found, vectors = store.documents.loaded(document, TAG)
    assert [passage.text for passage in found] == texts
    assert [len(chunk) for chunk in vectors] == [2 * CHUNK, 2 * CHUNK, 2]


def test_vectors_of_another_encoder_are_not_taken_for_those_of_this(store: KnowledgeStore) -> None:
    store.add(passages("faq", "a"), source="/faq")
    (document,) = store.draft()
    indexed(store)
    with pytest.raises(NoSuchDocument):
        store.documents.loaded(document, encoder_tag("another"))
    store.documents.keep_vectors(document, 0, encoder_tag("another"), rows(1))
    store.documents.forget_vectors([document.id], but=[encoder_tag("another")])
    assert store.documents.indexed([document.id], TAG) == {document.id: set()}
    assert store.documents.indexed([document.id], encoder_tag("another")) == {document.id: {0}}


def test_vectors_of_a_document_that_has_gone_leave_nothing_behind(store: KnowledgeStore, redis_client: redis.Redis) -> None:
    store.add(passages("faq", "a"), source="/faq")
    (document,) = store.draft()
    store.remove("faq")
    store.documents.keep_vectors(document, 0, TAG, rows(1))
    assert not redis_client.exists(store.base.document(document.id))


def test_vectors_come_back_nearly_as_they_were_with_unit_length() -> None:
    vectors = rows(100, seed=1)
    back = unpack_vectors(pack_vectors(vectors), 100)
    assert np.abs((back * vectors).sum(axis=1) - 1).max() < 1e-5
    assert np.allclose(np.linalg.norm(back, axis=1), 1, atol=1e-6)


WHOLE = pack_passages(passages("a", "b"))
DAMAGED = [(unpack_passages, raw) for raw in (b"", b"x", b"\x78\x01", WHOLE[:-5], WHOLE[5:], pack_vectors(rows(2)))]
DAMAGED += [(lambda raw: unpack_vectors(raw, 3), raw) for raw in (b"", b"x", pack_vectors(rows(2)), pack_vectors(rows(3))[:-1])]


@pytest.mark.parametrize(("read", "raw"), DAMAGED)
def test_bytes_that_were_damaged_are_refused_in_one_way(read: Callable[[bytes], Any], raw: bytes) -> None:
    with pytest.raises(DecodeError):
        read(raw)


DOCUMENTS = st.sampled_from("abc")
MOVES = st.one_of(
    st.tuples(st.just("add"), DOCUMENTS, st.sampled_from(("1", "2", "3"))),
    st.tuples(st.just("remove"), DOCUMENTS),
    st.tuples(st.just("publish")),
    st.tuples(st.just("rollback"), st.integers(0, 6)),
    st.tuples(st.just("load")),
)


@given(moves=st.lists(MOVES, max_size=25))
@examples(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_in_whatever_order_things_are_done_the_current_version_is_whole_and_as_it_was_published(
    store: KnowledgeStore, redis_client: redis.Redis, moves: list[tuple[Any, ...]]
) -> None:
    redis_client.flushall()
    drafted: dict[str, str] = {}
    #: Texts of each version, and the one that must be current.
    published: dict[int, list[str]] = {}
    current = 0
    for act, *rest in moves:
        if act == "add":
            name, text = rest
            store.add(passages(name, name + text), source=name)
            drafted[name] = name + text
        elif act == "remove" and rest[0] in drafted:
            store.remove(rest[0])
            del drafted[rest[0]]
        elif act == "publish":
            try:
                current = publish(store)
                published[current] = sorted(drafted.values())
            except NothingToPublish:
                assert sorted(drafted.values()) == published.get(current, [])
        elif act == "rollback":
            try:
                current = store.rollback(rest[0]).number
            except NoSuchVersion:
                assert rest[0] not in {version.number for version in store.versions()}
        elif act == "load" and current:
            assert store.lend(current, "worker", seconds=60)
        found = store.current()
        assert (found.number if found else 0) == current
        assert sorted(document.name for document in store.draft()) == sorted(drafted)
        if current:
            assert said(store, current) == published[current]
            assert found
            assert found.passages == len(published[current])
