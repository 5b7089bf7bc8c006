"""Rate limits that all workers share."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest
import redis
import redis.asyncio
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engine.limits import Limit, Limits
from engine.settings import Settings
from tests.conftest import wait_for

CHAT = Limit(("telegram", "shop", "chat", "1"), 1, 60.0)
ALL = Limit(("telegram", "shop"), 30, 60.0)


def with_limits(settings: Settings, body: Callable[[Limits], Awaitable[None]]) -> None:
    async def main() -> None:
        async with redis.asyncio.Redis.from_url(settings.redis_url, protocol=2) as client:
            await body(Limits(settings, client))

    asyncio.run(main())


def test_a_place_is_free_until_the_limit_and_then_in_its_turn(settings: Settings, redis_client: redis.Redis) -> None:
    async def body(limits: Limits) -> None:
        waits = [await limits.take([CHAT], f"delivery {number}") for number in range(4)]
        assert waits[0] == 0
        assert [round(wait) for wait in waits[1:]] == [60, 120, 180]

    with_limits(settings, body)


def test_who_waits_keeps_its_place_and_takes_no_second(settings: Settings, redis_client: redis.Redis) -> None:
    async def body(limits: Limits) -> None:
        await limits.take([CHAT], "first")
        waits = [await limits.take([CHAT], "second") for _ in range(3)]
        assert waits == sorted(waits, reverse=True)
        assert waits[-1] > 59
        assert round(await limits.take([CHAT], "third")) == 120

    with_limits(settings, body)


def test_a_place_that_came_is_given_once(settings: Settings, redis_client: redis.Redis) -> None:
    short = Limit(("chat",), 1, 0.2)

    async def body(limits: Limits) -> None:
        await limits.take([short], "first")
        assert await limits.take([short], "second") > 0
        assert wait_for(lambda: redis_client.keys("rm:limit:*:t:second"))
        await asyncio.sleep(await limits.take([short], "second") + 0.01)
        assert await limits.take([short], "second") == 0
        assert await limits.take([short], "second") > 0, "its next send needs a place of its own"

    with_limits(settings, body)


def test_who_waits_for_its_chat_takes_no_place_of_all_the_others(settings: Settings, redis_client: redis.Redis) -> None:
    async def body(limits: Limits) -> None:
        assert await limits.take([CHAT, ALL], "one") == 0
        for number in range(40):
            assert await limits.take([CHAT, ALL], f"waits {number}") > 0
        others = [await limits.take([Limit(("chat", str(n)), 1, 60.0), ALL], f"other {n}") for n in range(29)]
        assert others == [0] * 29

    with_limits(settings, body)


def test_what_may_be_left_out_takes_free_places_alone(settings: Settings, redis_client: redis.Redis) -> None:
    async def body(limits: Limits) -> None:
        assert await limits.spare([CHAT])
        assert not await limits.spare([CHAT])
        assert round(await limits.take([CHAT], "final")) == 60, "asking in vain has taken nothing"

    with_limits(settings, body)


def test_nobody_gets_a_place_before_the_platform_said_so(settings: Settings, redis_client: redis.Redis) -> None:
    async def body(limits: Limits) -> None:
        await limits.block(ALL, 30)
        await limits.block(ALL, 10)
        assert 29 < await limits.take([ALL], "one") <= 30

    with_limits(settings, body)


def test_after_an_outage_those_who_waited_do_not_go_at_once(settings: Settings, redis_client: redis.Redis) -> None:
    limit = Limit(("bot",), 1, 0.2)

    async def body(limits: Limits) -> None:
        for number in range(8):
            await limits.take([limit], str(number))
        await asyncio.sleep(3.0)
        waits = [await limits.take([limit], str(number)) for number in range(8)]
        assert waits.count(0) <= 2
        assert max(waits) > 0.8

    with_limits(settings, body)


def test_after_a_pause_those_who_had_a_place_before_its_end_queue_anew(settings: Settings, redis_client: redis.Redis) -> None:
    limit = Limit(("bot",), 1, 0.2)

    async def body(limits: Limits) -> None:
        for number in range(5):
            await limits.take([limit], str(number))
        await limits.block(limit, 5.0)
        waits = sorted([await limits.take([limit], str(number)) for number in range(1, 5)])
        assert all(later - earlier > 0.15 for earlier, later in itertools.pairwise(waits))
        assert waits[0] > 4.5

    with_limits(settings, body)


@pytest.mark.one_redis
@given(count=st.integers(1, 5), asks=st.integers(1, 30))
@hypothesis_settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_in_no_window_are_there_more_than_the_limit(settings: Settings, redis_client: redis.Redis, count: int, asks: int) -> None:
    redis_client.flushall()
    limit = Limit(("any",), count, 60.0)

    async def body(limits: Limits) -> None:
        times = [await limits.take([limit], str(number)) for number in range(asks)]
        assert all(later - earlier > 59 for earlier, later in zip(times, times[count:], strict=False))

    with_limits(settings, body)
