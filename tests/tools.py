"""What tests of support tools share: calls of a platform one after another, lanes looked at, and a reply on its whole way."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec
import redis

from connectors.contract import Platform
from engine.keys import Direction
from engine.lanes import Lanes
from engine.messages import Delivery, InboundMessage
from engine.moves import Outcome
from engine.settings import Settings
from engine.store import connect_async
from tests.desk import Desk
from tests.doors import Door
from workers.delivering import Delivering
from workers.loop import LoopThread


def waiting(door: Door, client: redis.Redis) -> list[str]:
    """The texts that wait to be answered, of every conversation."""
    lanes = Lanes(door.settings)
    claim = lanes.claim(lanes.shards[0], Direction.IN, items=32, tokens=10**6, empty=True).run(client)
    return [InboundMessage.from_entry(entry).text for lane in claim.lanes for entry in lane.entries]


def attempt(make: Callable[[], Platform], *steps: tuple[str, Any]) -> list[Any]:
    """What each call of a platform gives, one after the other: its result, or the error it raised."""

    async def calling() -> list[Any]:
        platform = make()
        results: list[Any] = []
        for name, argument in steps:
            arguments = argument if isinstance(argument, tuple) else (argument,)
            results += await asyncio.gather(getattr(platform, name)(*arguments), return_exceptions=True)
        await platform.close()
        return results

    return asyncio.run(calling())


def queued(client: redis.Redis, settings: Settings, message: InboundMessage, reply: Delivery) -> None:
    """The message is answered; the reply waits to be delivered."""
    lanes = Lanes(settings)
    accepted = lanes.accept(message, deadline=60, quiet=(0, 0), notice=reply).run(client)
    lane = Desk(client, lanes).take()
    said = msgspec.structs.replace(reply.reply, in_reply_to=(accepted.id,), reference=message.dedupe_ids[0])
    outcome = Outcome(deliveries=(Delivery(id=f"{accepted.id}-0", reply=said),), record={"state": "answered"})
    assert lanes.commit(lane, outcome).run(client) == "committed"


def delivered(settings: Settings, platform: Platform, done: Callable[[], bool]) -> None:
    """The delivery loop runs until the condition holds."""

    async def main() -> None:
        client = await connect_async(settings)
        try:
            loop = Delivering(settings, client, {platform.name: platform}, name="deliver@tests")
            thread = LoopThread("deliver", lambda thread: None, patience=60)
            running = asyncio.create_task(loop.run(thread))
            give_up = time.monotonic() + 20
            while not done():
                assert time.monotonic() < give_up
                await asyncio.sleep(0.01)
            thread.stop()
            await running
        finally:
            await client.aclose()

    asyncio.run(main())
