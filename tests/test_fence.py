"""A worker that stood still sends nothing late, whichever client its platform has."""

import asyncio
import dataclasses
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import redis
import redis.asyncio

from connectors import fence
from connectors.api import Api
from connectors.posting import guarded_client, post
from connectors.simulators.slack import Slack as SlackServer
from connectors.simulators.telegram import SimulatedTelegram
from connectors.slack import Slack
from connectors.telegram import Telegram
from engine.accounts import TelegramBot
from engine.errors import Stale
from engine.lanes import Lanes
from engine.messages import Address, Delivery, Receipt
from engine.settings import Settings
from tests.conftest import wait_for
from tests.desk import Desk, address, reply
from tests.doors import Receiver
from tests.loops import Mailbox, delivering, queue
from tests.test_slack import delivery, with_app

pytestmark = pytest.mark.one_redis


def raises_stale(body: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """It does so a moment after its time, and not before."""

    async def main() -> None:
        with fence.open_until(time.monotonic() + 60):
            await body()
        with fence.open_until(time.monotonic()), pytest.raises(Stale):
            await body()
        await body()

    asyncio.run(main())


def test_a_callback_is_not_posted_late() -> None:
    async def sent() -> None:
        async with guarded_client(receiver.url, private=True, connections=1) as client:
            await post(client, receiver.url, body=b"{}", headers={"content-type": "application/json"})

    with Receiver() as receiver:
        raises_stale(sent)
        assert len(receiver.received) == 2


def test_an_api_of_a_support_tool_is_not_called_late() -> None:
    async def called() -> None:
        api = Api("tool", receiver.url, headers={}, connections=1)
        await api.call("POST", "/messages", {"text": "hello"})
        await api.close()

    with Receiver() as receiver:
        raises_stale(called)
        assert len(receiver.received) == 2


def test_slack_is_not_written_to_late(settings: Settings) -> None:
    async def posted() -> None:
        client = redis.asyncio.Redis.from_url(settings.redis_url)
        platform = Slack(with_app(settings, slack.api), client)
        try:
            await platform.send(delivery("It is on its way."))
        finally:
            await platform.close()
            await client.aclose()

    with SlackServer() as slack:
        raises_stale(posted)
        assert len(slack.to("/chat.postMessage")) == 2


def test_telegram_is_not_written_to_late(settings: Settings) -> None:
    async def posted() -> None:
        bot = TelegramBot(name="shop", tenant="shop", token=telegram.token, api_base_url=telegram.url)
        platform = Telegram(dataclasses.replace(settings, accounts={"telegram": {"shop": bot}}), None)
        to = Address(platform="telegram", tenant="shop", channel="shop/42")
        try:
            await platform.send(Delivery(id="one-0", reply=reply(to, "hello"), parts=1))
        finally:
            await platform.close()

    with SimulatedTelegram() as telegram:
        raises_stale(posted)
        assert len(telegram.sent) == 2


def test_a_body_is_not_written_when_its_time_ends_after_its_headers() -> None:
    """The last moment counts: a process may be stopped while it waits for a connection."""

    async def main() -> None:
        async with guarded_client(receiver.url, private=True, connections=1) as client:
            # As if stopped: this thread does nothing while the request is under way to its connection.
            asyncio.get_running_loop().call_soon(time.sleep, 0.5)
            with fence.open_until(time.monotonic() + 0.3), pytest.raises(Stale):
                await post(client, receiver.url, body=b"{}", headers={})

    with Receiver() as receiver:
        asyncio.run(main())
        assert receiver.received == []


class Stalling(Mailbox):
    """Stands still, its whole process with it, until another worker has sent; then it goes on to write."""

    def __init__(self, others: list[str]) -> None:
        super().__init__(idempotent=False)
        self._others = others

    async def send(self, delivery: Delivery) -> Receipt:
        wait_for(lambda: self._others, timeout=20)
        fence.check()
        return await super().send(delivery)


def test_what_another_worker_has_sent_meanwhile_is_not_sent_by_one_that_stood_still(
    settings: Settings, redis_client: redis.Redis
) -> None:
    quick = dataclasses.replace(settings, lease=1.0, send_timeout=0.4)
    other = Mailbox(idempotent=False)
    stalled = Stalling(other.posted)

    def second() -> None:
        async def body(post: Any) -> None:
            await post.until(lambda: other.posted)

        delivering(quick, redis.Redis.from_url(quick.redis_url), other, body)

    async def first(post: Any) -> None:
        queue(Desk(redis_client, Lanes(quick)), address(), "It is on its way.")
        thread.start()
        await post.until(lambda: other.posted)
        await asyncio.to_thread(thread.join, 20)

    thread = threading.Thread(target=second)
    delivering(quick, redis_client, stalled, first)

    assert (len(other.posted), stalled.posted) == (1, [])
