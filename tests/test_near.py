"""The near-match cache on a real server: what is kept, who gets it, and what removes it again."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import redis
from numpy.typing import NDArray

from engine.errors import StoreUnavailable
from engine.keys import DISLIKED, NEAR_PATTERN, NEAR_STATE_PATTERN, NearPartition
from engine.near import Answer, NearCache, NearKey, Outcome, Verdict, calibrated
from engine.near_entry import LONGEST, Entry, packed
from engine.near_index import ROUGH_FROM, NearIndex, highest, products
from engine.near_store import NearStore
from engine.near_threshold import CLASSES, ENOUGH, NEVER, class_of, threshold
from engine.settings import Settings
from tests.loops import Cuts, cut_client

pytestmark = pytest.mark.one_redis

KEY = NearKey(model="model", prompt="prompt", encoder="encoder")
ANSWER = Answer(key="reset", reply="Press forgot password.", messages=("m1",))
ASKED = "How do I reset my password?"
AGAIN = "hi, how can I reset my password please"


def unit(*seeds: int) -> NDArray[np.float32]:
    """A vector of a text's own, near those that share its first seed."""
    vector = np.random.default_rng(seeds[0]).normal(size=384)
    for seed in seeds[1:]:
        vector += 0.05 * np.random.default_rng(seed).normal(size=384)
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


def near(settings: Settings, client: redis.Redis, key: NearKey = KEY, **changes: object) -> NearCache:
    chosen: dict[str, object] = {"near": "on", "near_check": 0.0, **changes}
    return NearCache(dataclasses.replace(settings, **chosen), client, key)  # type: ignore[arg-type]


@pytest.fixture
def cache(settings: Settings, redis_client: redis.Redis) -> NearCache:
    return near(settings, redis_client)


def asked(cache: NearCache, question: str = AGAIN, *, tenant: str = "acme", language: str = "en", mode: str = "") -> Verdict:
    (verdict,) = cache.lookup(tenant, language, [question], unit(1, 2)[None], mode=mode)
    return verdict


def kept(
    cache: NearCache, question: str = ASKED, answer: Answer = ANSWER, *, tenant: str = "acme", vector: Sequence[int] = (1,)
) -> str:
    return cache.keep(tenant, "en", question, unit(*vector), answer)


def test_the_same_question_in_other_words_gets_the_kept_reply(cache: NearCache) -> None:
    assert kept(cache)
    verdict = asked(cache)
    assert (verdict.outcome, verdict.entry and verdict.entry.reply) == (Outcome.HIT, ANSWER.reply)


@pytest.mark.parametrize("other", ["How do I set my payment limit?", "don't reset my password", "How do I delete my password?"])
def test_another_question_is_a_miss_though_its_vector_is_near(cache: NearCache, other: str) -> None:
    kept(cache)
    assert asked(cache, other).outcome is Outcome.MISS


def test_another_tenant_or_language_never_gets_it(cache: NearCache) -> None:
    kept(cache)
    assert asked(cache, tenant="globex").entry is None
    assert asked(cache, tenant="").entry is None
    assert asked(cache, language="de").entry is None


@pytest.mark.parametrize("part", ["model", "prompt", "encoder", "bot"])
def test_another_model_prompt_encoder_or_bot_never_gets_it(
    settings: Settings, redis_client: redis.Redis, cache: NearCache, part: str
) -> None:
    kept(cache)
    assert asked(near(settings, redis_client, dataclasses.replace(KEY, **{part: "another"}))).entry is None


@pytest.mark.parametrize(
    "private", ["my mail is a@b.example", "where is order 88421?", "my name is Jane, hello", "x" * (LONGEST + 1), " "]
)
def test_personal_data_identifiers_and_long_texts_are_neither_kept_nor_looked_up(
    cache: NearCache, redis_client: redis.Redis, private: str
) -> None:
    assert kept(cache, private) == ""
    assert asked(cache, private).barred
    assert redis_client.keys(NEAR_PATTERN) == []


@pytest.mark.parametrize("answer", [Answer(key="", reply="It is on its way."), Answer(key="reset", reply="")])
def test_an_answer_without_a_key_or_a_text_is_not_kept(cache: NearCache, answer: Answer) -> None:
    assert kept(cache, answer=answer) == ""


def test_an_entry_dies_with_the_passage_it_came_from(cache: NearCache) -> None:
    kept(cache)
    cache.publish("acme", {"reset", "ship"})
    assert asked(cache).outcome is Outcome.HIT
    cache.publish("acme", {"ship"})
    assert asked(cache).entry is None


def test_what_came_from_a_passage_that_is_gone_is_removed_everywhere(
    settings: Settings, redis_client: redis.Redis, cache: NearCache
) -> None:
    other = near(settings, redis_client)
    kept(cache)
    assert asked(other).outcome is Outcome.HIT
    assert cache.purge_by_key("acme", ["en", "de"], {"reset"}) == 1
    assert other.sync() == 1
    assert asked(other).entry is None
    assert asked(cache).entry is None


def test_another_worker_sees_a_new_entry_at_its_next_look(settings: Settings, redis_client: redis.Redis, cache: NearCache) -> None:
    other = near(settings, redis_client)
    assert asked(other).entry is None
    kept(cache)
    assert other.sync() == 1
    assert asked(other).outcome is Outcome.HIT
    assert other.sync() == 0


def test_a_worker_that_missed_too_much_reads_everything_anew(
    settings: Settings, redis_client: redis.Redis, cache: NearCache
) -> None:
    kept(cache)
    assert asked(cache).outcome is Outcome.HIT
    log = NearPartition.of(redis_client.keys(NEAR_PATTERN)[0]).key("log")
    kept(near(settings, redis_client), "How do I pay?", Answer(key="pay", reply="By card."), vector=(9,))
    redis_client.xtrim(log, maxlen=0)
    redis_client.xadd(log, {"id": "nobody"})
    assert cache.sync() == 1
    assert asked(cache).outcome is Outcome.HIT


def test_in_shadow_nothing_is_given_and_what_would_be_is_counted(settings: Settings, redis_client: redis.Redis) -> None:
    shadow = near(settings, redis_client, near="shadow")
    kept(shadow)
    verdict = asked(shadow)
    assert verdict.outcome is Outcome.SHADOW
    assert verdict.entry
    assert asked(shadow, mode="on").outcome is Outcome.HIT


def test_the_share_that_is_set_is_answered_anew_and_compared(settings: Settings, redis_client: redis.Redis) -> None:
    always = near(settings, redis_client, near_check=1.0)
    kept(always)
    assert asked(always).outcome is Outcome.SHADOW


def test_a_cache_that_is_off_finds_nothing(settings: Settings, redis_client: redis.Redis, cache: NearCache) -> None:
    kept(cache)
    off = near(settings, redis_client, near="off")
    assert asked(off).entry is None


def test_lookups_are_counted_at_the_next_look_for_changes(settings: Settings, redis_client: redis.Redis, cache: NearCache) -> None:
    kept(cache)
    for question in (AGAIN, AGAIN, "How do I set my payment limit?"):
        asked(cache, question)
    cache.sync()
    (figures,) = (redis_client.hgetall(name) for name in redis_client.keys(NEAR_STATE_PATTERN))
    assert figures == {b"hit": b"2", b"miss": b"1"}


def test_one_wrong_answer_that_was_confirmed_removes_its_entry_for_good(cache: NearCache) -> None:
    kept(cache)
    cache.confirm(asked(cache), right=False)
    assert asked(cache).entry is None
    assert kept(cache) == ""


def test_a_right_answer_that_was_confirmed_keeps_it(cache: NearCache) -> None:
    kept(cache)
    cache.confirm(asked(cache), right=True)
    assert asked(cache).outcome is Outcome.HIT


def test_a_thumb_down_removes_the_entry_behind_the_reply(settings: Settings, redis_client: redis.Redis, cache: NearCache) -> None:
    other = near(settings, redis_client)
    kept(cache)
    verdict = asked(other)
    other.served(verdict, ["m2"])
    redis_client.rpush(DISLIKED, "unknown", "m2")
    assert cache.sync() == 1
    assert asked(cache).entry is None
    other.sync()
    assert asked(other).entry is None


def test_a_thumb_down_about_the_reply_it_was_made_from_removes_it_too(cache: NearCache) -> None:
    kept(cache)
    assert cache.purge_by_reply("m1")
    assert not cache.purge_by_reply("m9")
    assert asked(cache).entry is None


def test_a_partition_that_is_full_loses_its_oldest_entry(settings: Settings, redis_client: redis.Redis) -> None:
    store = NearStore(redis_client, most=3, ttl=600, feedback_ttl=600)
    partition = NearPartition("p")
    for at in range(5):
        store.put(partition, Entry(id=str(at), question="q", key="k", reply="r", vector=packed(unit(at)), at=1_000 + at))
    assert sorted(entry.id for entry in store.all(partition)) == ["2", "3", "4"]


def test_what_is_kept_has_an_end(cache: NearCache, redis_client: redis.Redis) -> None:
    kept(cache)
    asked(cache)
    cache.confirm(asked(cache), right=False)
    endless = {name for name in redis_client.keys("rm:near*") if redis_client.ttl(name) < 0}
    assert all(name.startswith(b"rm:near-state:") for name in endless)


def test_redis_away_is_said_as_such(settings: Settings, redis_client: redis.Redis) -> None:
    with cut_client(settings.redis_url, Cuts(away=True)) as own:
        away = near(settings, own)
        for attempt in (lambda: asked(away), lambda: kept(away), away.sync, lambda: away.purge_by_reply("m1")):
            with pytest.raises(StoreUnavailable):
                attempt()


def test_every_feature_is_explained_and_adds_up_to_the_probability(cache: NearCache) -> None:
    kept(cache)
    told = cache.explain("acme", "en", AGAIN, unit(1, 2))
    adds = [one["adds"] for one in told["features"]]  # type: ignore[attr-defined]
    assert told["would_hit"] is True
    assert told["p"] == pytest.approx(1 / (1 + np.exp(-(told["bias"] + sum(adds)))), abs=0.01)
    assert "order" not in str(told["barred"])
    assert cache.explain("acme", "en", "order 88421", unit(1))["barred"]


def test_wrong_comparisons_make_the_threshold_of_their_tenant_stricter_and_of_no_other(
    settings: Settings, cache: NearCache
) -> None:
    kept(cache)
    verdict = dataclasses.replace(asked(cache), p=settings.near_threshold + 0.01)
    for _ in range(5):
        cache.confirm(verdict, right=False)
    assert settings.near_threshold < cache.threshold("acme") < NEVER
    assert cache.threshold("globex") == settings.near_threshold


def test_comparisons_that_go_wrong_at_every_probability_stop_the_near_matches_of_a_tenant(cache: NearCache) -> None:
    kept(cache)
    verdict = asked(cache)
    for p in CLASSES:
        for _ in range(3):
            cache.confirm(dataclasses.replace(verdict, p=p), right=False)
    assert cache.threshold("acme") == NEVER
    kept(cache, "How can I reset my password?")
    assert asked(cache).outcome is Outcome.MISS


@pytest.mark.parametrize("set_to", [0.5, 0.87, 0.95, 1.0])
def test_few_right_comparisons_never_lower_a_threshold(set_to: float) -> None:
    few = {class_of(0.995): ENOUGH - 1}
    assert threshold(few, {}, start=set_to, target=0.015) >= set_to


def test_without_comparisons_the_threshold_is_the_one_that_is_set(settings: Settings) -> None:
    assert calibrated({}, settings) == settings.near_threshold


def test_wrong_answers_raise_the_threshold_and_right_ones_lower_it_slowly() -> None:
    start, target = 0.87, 0.015
    many = dict.fromkeys(range(4, len(CLASSES)), 300)
    assert threshold(many, {}, start=start, target=target) < start
    assert threshold({len(CLASSES) - 1: 20}, {}, start=start, target=target) == start
    worse = threshold(many, {class_of(0.88): 40, class_of(0.91): 20}, start=start, target=target)
    assert start < worse < NEVER
    assert threshold({}, dict.fromkeys(range(len(CLASSES)), 50), start=start, target=target) == NEVER


def test_the_index_finds_what_a_full_scan_finds_while_entries_come_and_go() -> None:
    rng = np.random.default_rng(3)
    size = ROUGH_FROM + 500
    raw = rng.normal(size=(60, 384))[np.arange(size) % 60] + 1.2 * rng.normal(size=(size, 384))
    vectors = (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)
    index = NearIndex()
    for at, vector in enumerate(vectors):
        index.put(Entry(id=str(at), question="q", key=str(at % 60), reply="r", vector=packed(vector), at=0))
    index.prepare()
    gone = np.arange(0, 300, 3)
    for at in gone:
        index.drop(str(at))
    for query in vectors[1:size:500]:
        found = index.around(query)
        cosines = vectors @ query
        cosines[gone] = -1
        assert [found[0][0].id] == [str(cosines.argmax())]
        assert [cosine for _, cosine in found] == sorted((cosine for _, cosine in found), reverse=True)


@pytest.mark.parametrize("size", [0, 1, 22, 23, 24, 400, 401, 1000])
@pytest.mark.parametrize("width", [1, 48, 384, 10_000])
def test_products_in_pieces_are_those_of_the_whole(size: int, width: int) -> None:
    rng = np.random.default_rng(size)
    rows, vector = rng.normal(size=(size + 5, width)).astype(np.float32), rng.normal(size=width).astype(np.float32)
    found = products(rows[:size], vector)
    assert np.allclose(found, rows[:size] @ vector, rtol=1e-3, atol=1e-2)
    best = highest(found, 20)
    assert sorted(found[best]) == sorted(found)[-20:]


def test_what_a_tenant_sets_for_itself_parts_its_entries_from_those_made_before() -> None:
    plain, own, other = (
        Settings.load(one)
        for one in ({}, {"REPLYMILL_TENANT_SHOP_SYSTEM_PROMPT": "Be brief."}, {"REPLYMILL_TENANT_SHOP_THANKS": "Sure."})
    )

    assert NearKey.of(plain, "e") == NearKey.of(Settings.load({}), "e")
    assert NearKey.of(own, "e").prompt not in {NearKey.of(plain, "e").prompt, NearKey.of(other, "e").prompt}
