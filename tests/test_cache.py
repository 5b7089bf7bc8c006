"""The exact reply cache on a real server."""

import dataclasses
import unicodedata

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from engine import cache
from engine.cache import CacheKey, Kept, ReplyCache, normalise
from engine.errors import StoreUnavailable
from engine.keys import CACHE_PATTERN
from engine.settings import Settings
from tests.loops import Cuts, cut_client

pytestmark = pytest.mark.one_redis

KEY = CacheKey(model="model", prompt="prompt")


@pytest.fixture
def kept(settings: Settings, redis_client: redis.Redis) -> ReplyCache:
    return ReplyCache(settings, redis_client)


def keep(cache: ReplyCache, tenant: str, question: str, text: str) -> None:
    cache.keep(tenant, KEY, question, Kept(text=text))


def recalled(cache: ReplyCache, *questions: tuple[str, str], key: CacheKey = KEY) -> list[str | None]:
    return [found and found.text for found in cache.recall([(tenant, key, question) for tenant, question in questions])]


def test_the_same_question_gets_the_kept_reply_however_it_is_typed(kept: ReplyCache) -> None:
    keep(kept, "acme", "Where is my order?", "On its way.")
    assert recalled(kept, ("acme", "  where IS\tmy\n order? "), ("acme", "Where is my other order?")) == ["On its way.", None]


def test_another_tenant_never_gets_it(kept: ReplyCache) -> None:
    keep(kept, "acme", "Where is my order?", "On its way.")
    assert recalled(kept, ("globex", "Where is my order?"), ("", "Where is my order?")) == [None, None]


@pytest.mark.parametrize("part", ["model", "prompt", "knowledge", "language"])
def test_another_model_prompt_knowledge_or_language_never_gets_it(settings: Settings, redis_client: redis.Redis, part: str) -> None:
    keep(ReplyCache(settings, redis_client), "acme", "Hello?", "Hello.")
    other = dataclasses.replace(KEY, **{part: "another"})
    assert recalled(ReplyCache(settings, redis_client), ("acme", "Hello?"), key=other) == [None]


def test_what_people_asked_cannot_be_read_from_the_names_of_keys(kept: ReplyCache, redis_client: redis.Redis) -> None:
    keep(kept, "acme", "my password is tulip", "Do not tell me.")
    names = b" ".join(redis_client.keys("*"))
    assert b"tulip" not in names
    assert b"acme" not in names


def test_a_kept_reply_lives_as_long_as_the_setting_says(settings: Settings, redis_client: redis.Redis) -> None:
    keep(ReplyCache(dataclasses.replace(settings, cache_ttl=90.0), redis_client), "acme", "Hello?", "Hello.")
    (name,) = redis_client.keys(CACHE_PATTERN)
    assert 80_000 < redis_client.pttl(name) <= 90_000


def test_a_cache_that_is_off_keeps_and_recalls_nothing(settings: Settings, redis_client: redis.Redis, kept: ReplyCache) -> None:
    off = ReplyCache(dataclasses.replace(settings, cache=False), redis_client)
    keep(off, "acme", "Hello?", "Hello.")
    assert redis_client.keys("*") == []
    keep(kept, "acme", "Hello?", "Hello.")
    assert recalled(off, ("acme", "Hello?")) == [None]


def test_hits_and_misses_are_counted_and_a_purge_forgets_every_reply(kept: ReplyCache, redis_client: redis.Redis) -> None:
    keep(kept, "acme", "one", "1")
    keep(kept, "globex", "two", "2")
    recalled(kept, ("acme", "one"), ("acme", "two"), ("globex", "two"))
    assert cache.stats(redis_client) == {"entries": 2, "hits": 2, "misses": 1}
    assert cache.purge(redis_client) == 2
    assert recalled(kept, ("acme", "one")) == [None]
    assert cache.stats(redis_client) == {"entries": 0, "hits": 2, "misses": 2}
    assert cache.purge(redis_client) == 0


def test_a_purge_leaves_everything_else_alone(kept: ReplyCache, redis_client: redis.Redis) -> None:
    redis_client.set("rm:{0}:fence", 7)
    keep(kept, "acme", "one", "1")
    cache.purge(redis_client)
    assert redis_client.get("rm:{0}:fence") == b"7"


def test_redis_away_is_said_as_such(settings: Settings, redis_client: redis.Redis) -> None:
    cuts = Cuts(away=True)
    with cut_client(settings.redis_url, cuts) as own:
        away = ReplyCache(settings, own)
        with pytest.raises(StoreUnavailable):
            recalled(away, ("acme", "Hello?"))
        with pytest.raises(StoreUnavailable):
            keep(away, "acme", "Hello?", "Hello.")
        with pytest.raises(StoreUnavailable):
            cache.purge(own)


def test_a_batch_of_questions_takes_two_trips_to_redis(settings: Settings, redis_client: redis.Redis) -> None:
    cuts = Cuts()
    with cut_client(settings.redis_url, cuts) as own:
        recalled(ReplyCache(settings, own), *(("acme", str(n)) for n in range(32)))
    assert cuts.count == 2


@given(st.text())
def test_a_normalised_question_stays_as_it_is(question: str) -> None:
    assert normalise(normalise(question)) == normalise(question)


@given(st.lists(st.text(st.characters(categories=["L", "N", "P"]), min_size=1), min_size=1), st.data())
def test_white_space_and_composition_of_characters_make_no_difference(words: list[str], data: st.DataObject) -> None:
    spaces = st.text(st.sampled_from(" \t\n\r\u00a0\u3000"), min_size=1)
    typed = "".join(data.draw(spaces) + word for word in words)
    assert normalise(typed) == normalise(" ".join(words))
    assert normalise(unicodedata.normalize("NFD", typed)) == normalise(unicodedata.normalize("NFC", typed))


def test_a_reply_is_kept_with_what_it_rests_on(kept: ReplyCache) -> None:
    said = Kept(text="In 14 days.", evidence=("Returns <https://shop.example/returns>",), confidence=0.93)
    kept.keep("acme", KEY, "When?", said)
    assert kept.recall([("acme", KEY, "When?")]) == [said]


def test_what_another_version_kept_is_as_if_it_were_not_there(kept: ReplyCache, redis_client: redis.Redis) -> None:
    keep(kept, "acme", "When?", "In 14 days.")
    (name,) = redis_client.keys(CACHE_PATTERN)
    redis_client.set(name, b"In 14 days.")
    assert recalled(kept, ("acme", "When?")) == [None]
