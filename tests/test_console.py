"""What the command line asks of a running system."""

import asyncio
import dataclasses
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from connectors.page import NAME as PAGE
from connectors.page import Page
from engine.errors import Overloaded, ReplymillError, StoreMismatch, StoreUnavailable
from engine.keys import FIGURES
from engine.lanes import Lanes
from engine.messages import Address, Delivery, Reply
from engine.settings import Settings
from engine.store import adopt, connect_async
from tests.desk import Desk, address
from tests.loops import mill, small
from workers import console
from workers.figures import Figures

pytestmark = pytest.mark.one_redis


def test_a_question_goes_through_the_queue_and_comes_back_as_a_reply(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path
) -> None:
    """Asked in a thread, answered by a loop that is stepped here, posted to the page's stream by hand."""
    replies: list[Reply] = []
    asking = threading.Thread(target=lambda: replies.append(console.ask(settings, "What is a lamp?")))

    async def post(delivery: Delivery) -> None:
        client = await connect_async(settings)
        try:
            await Page(settings, client).send(delivery)
        finally:
            await client.aclose()

    with mill(small(settings), tiny_model, redis_client) as it:
        asking.start()
        it.until(it.posted)
        (delivery,) = it.posted()
        asyncio.run(post(delivery))
        asking.join(10)
    assert replies == [delivery.reply]
    assert delivery.reply.address.platform == PAGE


def test_a_question_that_nobody_answers_ends_at_its_deadline_with_a_hint(settings: Settings, redis_client: redis.Redis) -> None:
    with pytest.raises(ReplymillError, match=r"no reply within 1 s: is a worker running"):
        console.ask(dataclasses.replace(settings, deadline_chat=1.0), "Is anybody there?")


def test_a_question_that_a_full_tenant_cannot_take_says_so(settings: Settings, redis_client: redis.Redis) -> None:
    full = dataclasses.replace(settings, tenant_messages=1)
    desk = Desk(redis_client, Lanes(full))
    desk.accept("first", to=Address(platform=PAGE, tenant="default", channel="somebody"))
    with pytest.raises(Overloaded, match="try again later"):
        console.ask(full, "second")


def test_a_redis_that_was_first_used_with_another_key_is_refused(settings: Settings, redis_client: redis.Redis) -> None:
    adopt(redis_client, settings)
    with pytest.raises(StoreMismatch, match="REPLYMILL_SECRET_KEY"):
        console.ask(dataclasses.replace(settings, secret_key="another secret key"), "hello")


def test_status_tells_the_backlog_over_all_shards_and_what_the_workers_do(settings: Settings, redis_client: redis.Redis) -> None:
    split = dataclasses.replace(settings, shards=3)
    desk = Desk(redis_client, Lanes(split))
    for number in range(7):
        desk.accept("hello", to=address(channel=f"channel {number}"))
    worker = Figures("answer@here", "answer", split)
    worker.done(120)
    worker.write(redis_client, waiting=0, running=0)
    Figures("deliver@here", "deliver", split).write(redis_client, running=0)
    redis_client.lpush(FIGURES, json.dumps({"at": 1, "inbound": 2, "outbound": 3, "age_ms": 4}))
    found = console.status(split)
    assert found["inbound"] | {"messages": 7, "deferred": 0, "leased": 0, "lanes": 7} == found["inbound"]
    assert found["outbound"]["messages"] == 0
    assert [one["loop"] for one in found["workers"]] == ["answer", "deliver"]
    assert found["answered_per_s"] == 120.0
    assert found["tokens_per_s"] == 0.0
    assert found["history"] == [{"at": 1, "inbound": 2, "outbound": 3, "age_ms": 4}]


def test_status_of_an_empty_system_is_all_zero(settings: Settings, redis_client: redis.Redis) -> None:
    found = console.status(settings)
    assert (found["inbound"]["age_ms"], found["workers"], found["history"], found["answered_per_s"]) == (0, [], [], 0)


def test_without_redis_each_question_is_one_clear_error(settings: Settings, free_port: Callable[[], int]) -> None:
    nowhere = dataclasses.replace(settings, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        console.status(nowhere)
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        console.ask(nowhere, "hello")
