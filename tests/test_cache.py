"""The exact reply cache on a real server."""

import dataclasses
import unicodedata

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from engine import cache
from engine.cache import CacheKey, ReplyCache, normalise
from engine.errors import StoreUnavailable
from engine.keys import CACHE_PATTERN
from engine.settings import Settings
from tests.loops import Cuts, cut_client

pytestmark = pytest.mark.one_redis

KEY = CacheKey(model="model", prompt="prompt")


@pytest.fixture
def kept(settings: Settings, redis_client: redis.Redis) -> ReplyCache:
    return ReplyCache(settings, redis_client, KEY)


def test_the_same_question_gets_the_kept_reply_however_it_is_typed(kept: ReplyCache) -> None:
    kept.keep("acme", "Where is my order?", "On its way.")
    assert kept.recall([("acme", "  where IS\tmy\n order? "), ("acme", "Where is my other order?")]) == ["On its way.", None]


def test_another_tenant_never_gets_it(kept: ReplyCache) -> None:
    kept.keep("acme", "Where is my order?", "On its way.")
    assert kept.recall([("globex", "Where is my order?"), ("", "Where is my order?")]) == [None, None]


@pytest.mark.parametrize("part", ["model", "prompt", "knowledge"])
def test_another_model_prompt_or_knowledge_never_gets_it(settings: Settings, redis_client: redis.Redis, part: str) -> None:
    ReplyCache(settings, redis_client, KEY).keep("acme", "Hello?", "Hello.")
    other = ReplyCache(settings, redis_client, dataclasses.replace(KEY, **{part: "another"}))
    assert other.recall([("acme", "Hello?")]) == [None]


def test_what_people_asked_cannot_be_read_from_the_names_of_keys(kept: ReplyCache, redis_client: redis.Redis) -> None:
    kept.keep("acme", "my password is tulip", "Do not tell me.")
    names = b" ".join(redis_client.keys("*"))
    assert b"tulip" not in names
    assert b"acme" not in names


def test_a_kept_reply_lives_as_long_as_the_setting_says(settings: Settings, redis_client: redis.Redis) -> None:
    ReplyCache(dataclasses.replace(settings, cache_ttl=90.0), redis_client, KEY).keep("acme", "Hello?", "Hello.")
    (name,) = redis_client.keys(CACHE_PATTERN)
    assert 80_000 < redis_client.pttl(name) <= 90_000


def test_a_cache_that_is_off_keeps_and_recalls_nothing(settings: Settings, redis_client: redis.Redis, kept: ReplyCache) -> None:
    off = ReplyCache(dataclasses.replace(settings, cache=False), redis_client, KEY)
    off.keep("acme", "Hello?", "Hello.")
    assert redis_client.keys("*") == []
    kept.keep("acme", "Hello?", "Hello.")
    assert off.recall([("acme", "Hello?")]) == [None]


def test_hits_and_misses_are_counted_and_a_purge_forgets_every_reply(kept: ReplyCache, redis_client: redis.Redis) -> None:
    kept.keep("acme", "one", "1")
    kept.keep("globex", "two", "2")
    kept.recall([("acme", "one"), ("acme", "two"), ("globex", "two")])
    assert cache.stats(redis_client) == {"entries": 2, "hits": 2, "misses": 1}
    assert cache.purge(redis_client) == 2
    assert kept.recall([("acme", "one")]) == [None]
    assert cache.stats(redis_client) == {"entries": 0, "hits": 2, "misses": 2}
    assert cache.purge(redis_client) == 0


def test_a_purge_leaves_everything_else_alone(kept: ReplyCache, redis_client: redis.Redis) -> None:
    redis_client.set("rm:{0}:fence", 7)
    kept.keep("acme", "one", "1")
    cache.purge(redis_client)
    assert redis_client.get("rm:{0}:fence") == b"7"


def test_redis_away_is_said_as_such(settings: Settings, redis_client: redis.Redis) -> None:
    cuts = Cuts(away=True)
    with cut_client(settings.redis_url, cuts) as own:
        away = ReplyCache(settings, own, KEY)
        with pytest.raises(StoreUnavailable):
            away.recall([("acme", "Hello?")])
        with pytest.raises(StoreUnavailable):
            away.keep("acme", "Hello?", "Hello.")
        with pytest.raises(StoreUnavailable):
            cache.purge(own)


def test_a_batch_of_questions_takes_two_trips_to_redis(settings: Settings, redis_client: redis.Redis) -> None:
    cuts = Cuts()
    with cut_client(settings.redis_url, cuts) as own:
        ReplyCache(settings, own, KEY).recall([("acme", str(n)) for n in range(32)])
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
