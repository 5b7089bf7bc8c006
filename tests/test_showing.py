"""A reply is shown while it is made, and never holds up the one that is sent."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
import redis
import redis.asyncio

from connectors import progress
from connectors.contract import Showing
from engine.errors import RetryLater
from engine.keys import LIVE, live
from engine.messages import Address
from engine.settings import Settings
from tests.loops import Mailbox, mill, small
from workers.showing import Shows

pytestmark = pytest.mark.one_redis

TO = Address(platform="telegram", tenant="shop", channel="shop/1")


class Stage(Mailbox):
    """A platform that shows replies while they are made."""

    def __init__(self) -> None:
        super().__init__("telegram")
        self.shown: list[tuple[str, str]] = []
        self.faults: list[Exception] = []
        self.changed = asyncio.Event()

    async def show(self, address: Address, turn: str, text: str) -> None:
        if self.faults:
            raise self.faults.pop(0)
        self.shown.append((turn, text))
        self.changed.set()


def showing(settings: Settings, stage: Stage, body: Callable[[Callable[[int], Awaitable[None]]], Awaitable[None]]) -> None:
    """Run `body` beside the shows of a worker; it gets a function that waits until so many steps were shown."""

    async def main() -> None:
        async with redis.asyncio.Redis.from_url(settings.redis_url, protocol=2) as client:
            running = asyncio.create_task(Shows(settings, client, {"telegram": stage}).run())

            async def until(steps: int) -> None:
                async with asyncio.timeout(10):
                    while len(stage.shown) < steps:
                        stage.changed.clear()
                        await stage.changed.wait()

            await body(until)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())


def test_a_platform_of_that_kind_is_recognised() -> None:
    assert isinstance(Stage(), Showing)
    assert not isinstance(Mailbox(), Showing)


def test_of_a_growing_reply_the_latest_is_shown_and_nothing_queues_up(settings: Settings, redis_client: redis.Redis) -> None:
    stage = Stage()
    for text in ("", "It", "It is", "It is on its way"):
        progress.announce(redis_client, TO, "turn", text)

    async def body(until: Callable[[int], Awaitable[None]]) -> None:
        await until(1)
        assert stage.shown == [("turn", "It is on its way")]
        assert redis_client.zcard(LIVE) == 0

    showing(settings, stage, body)


def test_what_is_committed_is_shown_no_more(settings: Settings, redis_client: redis.Redis) -> None:
    stage = Stage()
    progress.announce(redis_client, TO, "answered", "It is")
    progress.over(redis_client, TO, "answered")
    progress.announce(redis_client, TO, "other", "")

    async def body(until: Callable[[int], Awaitable[None]]) -> None:
        await until(1)
        assert stage.shown == [("other", "")]

    showing(settings, stage, body)


def test_a_platform_that_fails_or_asks_for_a_pause_costs_the_sight_of_it_alone(
    settings: Settings, redis_client: redis.Redis
) -> None:
    stage = Stage()
    stage.faults = [RetryLater("slow down", after=30), KeyError("a bug")]
    for turn in ("one", "two", "three"):
        progress.announce(redis_client, TO, turn, "text")

    async def body(until: Callable[[int], Awaitable[None]]) -> None:
        await until(1)
        assert len(stage.shown) == 1

    showing(settings, stage, body)


def test_the_answering_loop_says_that_it_writes_and_that_it_is_done(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path
) -> None:
    with mill(small(settings, quiet_chat=0.0), tiny_model, redis_client) as it:
        accepted = it.desk.accept("hello", to=TO)
        it.loop.claim()
        it.loop.prepare()
        found = msgspec.json.decode(redis_client.get(live(accepted.id)), type=progress.Progress)
        assert (found.address, found.text) == (TO, "")
        it.until(lambda: it.settled(accepted))
        assert redis_client.get(live(accepted.id)) is None
