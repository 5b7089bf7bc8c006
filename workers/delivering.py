"""The delivery loop: claim outbound lanes, post each reply through its platform, write the receipt.

One delivery of a conversation at a time, in order; conversations side by side. Before each send the lease is checked and the intent
recorded, so that a stale worker sends nothing, and the next one knows what may have been sent.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from connectors.contract import Platform
from connectors.platforms import table
from engine.errors import DecodeError, DeliveryRefused, RetryLater, StoreUnavailable
from engine.keys import Direction
from engine.lanes import Lanes
from engine.messages import Delivery
from engine.moves import Lane, Outcome, Release, Settled
from engine.settings import Settings
from engine.store import AsyncClient, adopt, connect, connect_async, reachable
from engine.trace import now_ms
from workers.figures import LIFE, Figures
from workers.loop import AWAY_PAUSE, Away, LoopStep, LoopThread
from workers.outcomes import answered_by, overdue, undelivered, unreadable
from workers.waiting import WAIT, bell_groups

log = structlog.get_logger()

#: First and longest wait between attempts, seconds; each attempt doubles it.
FIRST_BACKOFF, LONGEST_BACKOFF = 1.0, 300.0


def backoff(attempts: int, jitter: float) -> float:
    """Seconds before the next attempt after `attempts` failed ones; `jitter` is between 0 and 1."""
    doubled: float = FIRST_BACKOFF * 2.0 ** min(attempts, 16)
    return min(LONGEST_BACKOFF, doubled) * (0.5 + jitter / 2)


class Delivering:
    """One worker's loop and the deliveries it is at."""

    def __init__(self, settings: Settings, client: AsyncClient, platforms: Mapping[str, Platform], *, name: str) -> None:
        self.settings = settings
        self.client = client
        self.platforms = platforms
        self.lanes = Lanes(settings)
        self.figures = Figures(name, "deliver", settings)
        self.draining = False
        #: What is being sent, by task.
        self._sending: dict[asyncio.Task[None], Lane] = {}
        self._bells: list[asyncio.Task[Any]] = []
        self._groups = bell_groups(settings, Direction.OUT)
        self._next_due = 0
        self._next_tend = 0.0

    async def run(self, thread: LoopThread) -> None:
        """Step until told to stop, then finish what is being sent."""
        away = Away("deliver")
        while not thread.stopping.is_set():
            try:
                await self.step()
                away.over()
                await self._sleep()
            except StoreUnavailable as error:
                away.note(error)
                await asyncio.sleep(AWAY_PAUSE)
            thread.beat()
        await self.drain()

    async def step(self) -> None:
        """One round: tend the leases, claim for the room there is."""
        await self.tend()
        self._next_due = 0
        for shard in self.lanes.shards:
            room = self.settings.deliveries - len(self._sending)
            if room <= 0 or self.draining:
                return
            claim = await self.lanes.claim(shard, Direction.OUT, items=room, tokens=room, empty=False).run_async(self.client)
            self._next_due = min(filter(None, (self._next_due, claim.next_due)), default=0)
            for lane in claim.lanes:
                task = asyncio.create_task(self.deliver(lane))
                self._sending[task] = lane

    async def deliver(self, lane: Lane) -> None:
        """Post one delivery and write what came of it; whatever goes wrong, the lane is given back or its lease runs out."""
        entry = lane.entries[0]
        bound = log.bind(delivery=entry.id, conversation=lane.ref)
        try:
            delivery = Delivery.decode(entry.body)
            platform = self.platforms.get(delivery.reply.address.platform)
            if platform is None:
                raise DeliveryRefused(f"this worker has no platform {delivery.reply.address.platform!r}: check its settings")
            if await self._may_send(lane, delivery, platform):
                await self._send(lane, delivery, platform)
                bound.info("delivered", action="delivery.sent", platform=platform.name)
        except RetryLater as later:
            await self._again(lane, later.after, f"{later}")
        except TimeoutError:
            await self._again(lane, 0, f"no answer within {self.settings.send_timeout:g} s", keep_intent=True)
        except DeliveryRefused as refused:
            bound.warning("refused for good; kept as a dead letter", action="delivery.refused", reason=str(refused))
            await self._commit(lane, undelivered(lane, str(refused)))
        except DecodeError as error:
            bound.error("not a delivery; kept as a dead letter", action="delivery.unreadable", error=str(error))
            await self._commit(lane, unreadable(str(error)))

    async def tend(self) -> None:
        """Every third of a lease, at least each second: extend leases, take back those that ran out, bury what is overdue."""
        if time.monotonic() < self._next_tend:
            return
        self._next_tend = time.monotonic() + min(self.settings.lease / 3, WAIT)
        with reachable():
            await self.client.hset(self.figures.key, mapping=self.figures.fields(running=len(self._sending)))
            await self.client.expire(self.figures.key, LIFE)
        for shard in self.lanes.shards:
            mine = [lane for lane in self._sending.values() if lane.shard == shard.number]
            if mine:
                await self.lanes.renew(shard, Direction.OUT, mine).run_async(self.client)
            for direction in Direction:
                swept = await self.lanes.sweep(shard, direction).run_async(self.client)
                for found in swept.overdue:
                    lane, outcome = overdue(found, self.settings)
                    await self._commit(lane, outcome)
                    log.warning("settled overdue", action=f"{direction}.{found.reason}", conversation=lane.ref)

    async def drain(self) -> None:
        """Finish what is being sent, within `drain_timeout`."""
        for task in self._bells:
            task.cancel()
        sending = dict(self._sending)
        if sending:
            await asyncio.wait(sending, timeout=self.settings.drain_timeout)
        left = [lane for task, lane in sending.items() if not task.done()]
        for task in sending:
            task.cancel()
        for shard in self.lanes.shards:
            releases = [Release(lane=lane, keep_intent=True) for lane in left if lane.shard == shard.number]
            if releases:
                await self.lanes.release(shard, Direction.OUT, releases).run_async(self.client)
        with reachable():
            await self.client.delete(self.figures.key)
        for platform in self.platforms.values():
            await platform.close()

    def describe(self) -> dict[str, Any]:
        """What the loop is at."""
        return {"platforms": sorted(self.platforms), "sending": len(self._sending), "draining": self.draining}

    async def _may_send(self, lane: Lane, delivery: Delivery, platform: Platform) -> bool:
        ours, before = await self.lanes.intend(lane, delivery.id).run_async(self.client)
        if not ours:
            log.info("the lease is lost; nothing is sent", action="delivery.stale", delivery=delivery.id)
            return False
        if before == delivery.id and not platform.idempotent:
            raise DeliveryRefused("an earlier attempt may have been sent, and the platform cannot be asked")
        return True

    async def _send(self, lane: Lane, delivery: Delivery, platform: Platform) -> None:
        async with asyncio.timeout(self.settings.send_timeout):
            receipt = await platform.send(delivery)
        record = {"state": "delivered", "delivered_at": str(now_ms()), "platform_id": receipt.platform_id}
        outcome = Outcome(owner="", record=record, records=answered_by(lane.entries[0]))
        if await self._commit(lane, outcome) is Settled.COMMITTED:
            self.figures.done()

    async def _again(self, lane: Lane, after: float, reason: str, *, keep_intent: bool = False) -> None:
        wait = after or backoff(lane.attempts, random.random())  # noqa: S311  # jitter, not a secret
        self.figures.failed()
        log.warning("not delivered yet", action="delivery.retry", delivery=lane.entries[0].id, reason=reason, after=round(wait, 1))
        shard = self.lanes.shards[lane.shard]
        release = Release(lane=lane, not_before=now_ms() + round(wait * 1000), failed=True, keep_intent=keep_intent)
        await self.lanes.release(shard, Direction.OUT, [release]).run_async(self.client)

    async def _commit(self, lane: Lane, outcome: Outcome) -> Settled:
        return await self.lanes.commit(lane, outcome).run_async(self.client)

    async def _sleep(self) -> None:
        wait = WAIT if not self._next_due else min(WAIT, max(0.001, (self._next_due - now_ms()) / 1000))
        if not self._bells and len(self._sending) < self.settings.deliveries:
            self._bells = [asyncio.create_task(self._listen())]
        done, _ = await asyncio.wait({*self._sending, *self._bells}, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            self._sending.pop(task, None)
            if task in self._bells:
                self._bells.remove(task)
            self._check(task)

    async def _listen(self) -> None:
        for bells, seconds in self._groups:
            with reachable():
                if await self.client.blpop(bells, timeout=seconds):
                    return

    def _check(self, task: asyncio.Task[Any]) -> None:
        """A delivery that Redis left half-way is finished by whoever gets its lane next; anything else is a fault of ours."""
        error = task.exception()
        if isinstance(error, StoreUnavailable):
            raise error
        if error is not None:
            log.error("a delivery failed; its lease will run out", action="delivery.failed", exc_info=error)


class DeliveringStep(LoopStep):
    """Runs the delivery loop in a Celery worker."""

    loop = "deliver"

    def build(self, worker: Any) -> Callable[[LoopThread], None]:
        settings: Settings = worker.app.settings
        with connect(settings) as client:
            adopt(client, settings)
        return lambda thread: asyncio.run(self._main(settings, worker.hostname, thread))

    async def _main(self, settings: Settings, name: str, thread: LoopThread) -> None:
        client = await connect_async(settings)
        try:
            self.running = Delivering(settings, client, table(settings, client), name=name)
            await self.running.run(thread)
        finally:
            await client.aclose()
