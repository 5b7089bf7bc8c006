"""The delivery loop: claim outbound lanes, post each reply through its platform, write the receipt.

One delivery of a conversation at a time, in order; conversations side by side. Before each send the lease is checked and the intent
recorded, so that a stale worker sends nothing, and the next one knows what may have been sent.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, TypeVar

import structlog

from connectors.contract import Platform
from connectors.fence import open_until
from connectors.offering import fitting
from engine import roster
from engine.errors import DecodeError, DeliveryRefused, NewerSchema, RetryLater, Stale, StoreUnavailable, Unclear, Withdrawn
from engine.keys import Direction
from engine.lanes import Lanes
from engine.messages import Delivery
from engine.moves import Lane, Outcome, Release, Settled
from engine.scripts import Call
from engine.settings import Settings
from engine.store import AsyncClient, reachable
from engine.trace import Clock
from workers import watching
from workers.batching import Round
from workers.figures import Figures
from workers.loop import AWAY_PAUSE, Away, LoopThread
from workers.newer import NEWER_WAIT, Newer
from workers.outcomes import delivered, parts_of, undelivered, withdrawn
from workers.sending import Sending
from workers.waiting import WAIT, backoff, bell_groups, cancelled

log = structlog.get_logger()

T = TypeVar("T")

#: Between looks at what is still being sent while the worker drains, seconds.
DRAIN_EVERY = 0.1


class Delivering:
    """One worker's loop and the deliveries it is at."""

    def __init__(self, settings: Settings, client: AsyncClient, platforms: Mapping[str, Platform], *, name: str) -> None:
        self.settings = settings
        self.client = client
        self.platforms = platforms
        self.lanes = Lanes(settings)
        self.sending = Sending(settings, client)
        self.figures = Figures(name, "deliver", settings)
        self.draining = False
        self._clock = Clock()
        self._round = Round(self.lanes.shards)
        self._away = Away("deliver")
        self._newer = Newer(Direction.OUT)
        #: What is being sent, by task.
        self._sending: dict[asyncio.Task[None], Lane] = {}
        self._bells: list[asyncio.Task[None]] = []
        self._groups = bell_groups(settings, Direction.OUT)
        self._next_due = 0
        self._next_tend = 0.0

    async def run(self, thread: LoopThread) -> None:
        """Step until told to stop, then finish what is being sent."""
        stopping = asyncio.Event()
        thread.wake = partial(asyncio.get_running_loop().call_soon_threadsafe, stopping.set)
        asked = asyncio.create_task(stopping.wait())
        while not thread.stopping.is_set():
            await self._guarded(self.step())
            await self._guarded(self._sleep(asked))
            thread.beat()
        asked.cancel()
        await self.drain(thread)

    async def step(self) -> None:
        """One round: tend the leases, claim for the room there is."""
        await self.tend()
        self._next_due = 0
        for shard in self._round.shards():
            room = self.settings.deliveries - len(self._sending)
            if room <= 0 or self.draining:
                return
            claim = await self.lanes.claim(shard, Direction.OUT, items=room, tokens=room, empty=False).run_async(self.client)
            self._clock.learn(claim.now)
            self._next_due = min(filter(None, (self._next_due, claim.next_due)), default=0)
            for lane in claim.lanes:
                self._sending[asyncio.create_task(self.deliver(lane))] = lane

    async def deliver(self, lane: Lane) -> None:
        """Post one delivery and write what came of it, however long Redis is away."""
        bound = log.bind(delivery=lane.entries[0].id, conversation=lane.ref)
        try:
            await self._post(lane)
        except RetryLater as later:
            await self._again(lane, f"{later}", after=later.after, keep_intent=bool(lane.intent))
        except StoreUnavailable as error:
            self._away.note(error)
            await self._defer(lane, 0)
        except TimeoutError:
            # What is still on its way gets as long again to arrive, before the platform is asked or it is sent once more.
            patience = self.settings.send_timeout
            await self._again(lane, f"no answer within {patience:g} s", least=patience, keep_intent=True)
        except Unclear as unclear:
            await self._again(lane, f"{unclear}", keep_intent=True)
        except Stale as stale:
            bound.info("too late to send; nothing is sent", action="delivery.stale", reason=str(stale))
            # An earlier request of the same send may have had its effect.
            await self._defer(lane, 0, unclear=True)
        except Withdrawn as taken_over:
            bound.info("a person has taken over; nothing is sent", action="delivery.withdrawn", reason=str(taken_over))
            await self._commit(lane, withdrawn(lane))
        except DeliveryRefused as refused:
            bound.warning("refused for good; kept as a dead letter", action="delivery.refused", reason=str(refused))
            await self._commit(lane, undelivered(lane, str(refused), self.settings, tried=str(refused)))
        except NewerSchema as newer:
            self._newer.note(newer)
            await self._defer(lane, NEWER_WAIT, newer=True)
        except DecodeError as error:
            bound.error("not a delivery; kept as a dead letter", action="delivery.unreadable", error=str(error))
            await self._commit(lane, undelivered(lane, str(error), self.settings))
        except Exception as error:  # noqa: BLE001 - the boundary around one delivery: it is tried again, the others go on
            bound.error("a platform failed", action="delivery.failed", exc_info=error)
            await self._again(lane, f"the platform failed ({type(error).__name__})", keep_intent=True)

    async def tend(self) -> None:
        """Every third of a lease, at least each second: extend leases, take back those that ran out, bury what is overdue."""
        if time.monotonic() < self._next_tend:
            return
        self._next_tend = time.monotonic() + min(self.settings.lease / 3, WAIT)
        with reachable():
            pipeline = self.client.pipeline(transaction=False)
            roster.enter(pipeline, self.figures.name, self.figures.fields(running=len(self._sending)))
            await pipeline.execute()
        for shard in self.lanes.shards:
            mine = [lane for lane in self._sending.values() if lane.shard == shard.number]
            if mine:
                await self.lanes.renew(shard, Direction.OUT, mine).run_async(self.client)
            for direction in Direction:
                await watching.sweep(self.lanes, self.client, shard, direction, at=self._clock.now())
            await watching.look(self.lanes, self.client, shard)

    async def drain(self, thread: LoopThread) -> None:
        """Finish what is being sent, within `drain_timeout`; give the rest back, with a note that it may have been sent."""
        for bell in self._bells:
            bell.cancel()
        ends = time.monotonic() + self.settings.drain_timeout
        while self._sending and time.monotonic() < ends and not thread.hurried.is_set():
            await self._guarded(self.tend())
            done, _ = await asyncio.wait(self._sending, timeout=DRAIN_EVERY)
            self._reap(done)
            thread.beat()
        left = list(self._sending.values())
        await cancelled({*self._sending, *self._bells})
        await self._guarded(self._leave(left))
        for platform in self.platforms.values():
            await platform.close()

    def describe(self) -> dict[str, Any]:
        """What the loop is at."""
        return {"platforms": sorted(self.platforms), "sending": len(self._sending), "draining": self.draining}

    async def _post(self, lane: Lane) -> None:
        entry = lane.entries[0]
        delivery = Delivery.decode(entry.body)
        platform = self.platforms.get(delivery.reply.address.platform)
        if platform is None:
            raise DeliveryRefused(f"this worker has no platform {delivery.reply.address.platform!r}: check its settings")
        delivery = fitting(delivery, platform)
        if await self._split(lane, delivery, platform) or await self._limited(lane, delivery, platform):
            return
        ours, before, fence = await self._intend(lane, entry.id)
        if not ours:
            log.info("the lease is lost; nothing is sent", action="delivery.stale", delivery=entry.id)
            return
        with fence:
            sent = await self.sending.send(platform, delivery, again=before == entry.id, replayed=entry.revision > 0)
        log.info("delivered", action="delivery.sent", delivery=entry.id, conversation=lane.ref, platform=platform.name)
        outcome = delivered(lane, delivery, sent.receipt, at=self._clock.now(), seconds=sent.seconds)
        if await self._commit(lane, outcome) is Settled.COMMITTED:
            self.figures.done()

    async def _intend(self, lane: Lane, delivery_id: str) -> tuple[bool, str, AbstractContextManager[None]]:
        """Whether the lease is ours, what was intended before, and in what to send: the lease begins no earlier than this clock."""
        while True:
            begun = time.monotonic()
            try:
                ours, before = await self.lanes.intend(lane, delivery_id).run_async(self.client)
            except StoreUnavailable as error:
                self._away.note(error)
                await asyncio.sleep(AWAY_PAUSE)
                continue
            return ours, before, open_until(begun + self.settings.lease - self.settings.send_timeout)

    async def _split(self, lane: Lane, delivery: Delivery, platform: Platform) -> bool:
        """Whether a reply that is too long for one message now waits as its parts instead."""
        texts = () if delivery.parts else platform.split(delivery.reply.text)
        if len(texts) < 2:
            return False
        await self._insist(self.lanes.split(lane, parts_of(delivery, texts)))
        await self._defer(lane, 0)
        return True

    async def _limited(self, lane: Lane, delivery: Delivery, platform: Platform) -> bool:
        """Whether the platform's rate limits make the delivery wait; then it has a place, and its lane is deferred until then."""
        wait = await self.sending.wait(platform, delivery)
        if wait:
            await self._defer(lane, wait)
        return wait > 0

    async def _defer(self, lane: Lane, delay: int, *, newer: bool = False, unclear: bool = False) -> None:
        """Give the lane back for so many milliseconds; nothing has failed."""
        release = Release(lane=lane, delay=delay, keep_intent=unclear or bool(lane.intent), newer=newer)
        await self._insist(self.lanes.release(self.lanes.shards[lane.shard], Direction.OUT, [release]))

    async def _again(self, lane: Lane, reason: str, *, after: float = 0, least: float = 0, keep_intent: bool = False) -> None:
        """Defer a delivery that failed; the last of its attempts makes it a dead letter that says why."""
        self.figures.failed()
        # A platform that names a time is slow, not broken: the deadline alone ends that.
        failed = lane.attempts + (not after)
        if failed >= self.settings.delivery_attempts:
            log.warning("given up; kept as a dead letter", action="delivery.exhausted", delivery=lane.entries[0].id, reason=reason)
            given_up = f"not delivered: {failed} attempts failed, the last with: {reason}"
            await self._commit(lane, undelivered(lane, given_up, self.settings, tried=reason))
            return
        wait = after or max(least, backoff(lane.attempts, random.random()))  # noqa: S311  # jitter, not a secret
        log.warning("not delivered yet", action="delivery.retry", delivery=lane.entries[0].id, reason=reason, after=round(wait, 1))
        release = Release(lane=lane, delay=round(wait * 1000), failed=not after, keep_intent=keep_intent, reason=reason)
        await self._insist(self.lanes.release(self.lanes.shards[lane.shard], Direction.OUT, [release]))

    async def _commit(self, lane: Lane, outcome: Outcome) -> Settled:
        return await self._insist(self.lanes.commit(lane, await watching.worded(self.lanes, self.client, outcome)))

    async def _insist(self, call: Call[T]) -> T:
        """Run a move until Redis takes it: what was sent must not be sent again for want of a receipt."""
        while True:
            try:
                return await call.run_async(self.client)
            except StoreUnavailable as error:
                self._away.note(error)
                await asyncio.sleep(AWAY_PAUSE)

    async def _leave(self, left: list[Lane]) -> None:
        """Give lanes back and take the figures away; if Redis is away their time runs out."""
        for shard in self.lanes.shards:
            releases = [Release(lane=lane, keep_intent=True) for lane in left if lane.shard == shard.number]
            if releases:
                await self.lanes.release(shard, Direction.OUT, releases).run_async(self.client)
        with reachable():
            pipeline = self.client.pipeline(transaction=False)
            roster.leave(pipeline, self.figures.name)
            await pipeline.execute()

    async def _guarded(self, step: Awaitable[None]) -> None:
        try:
            await step
        except StoreUnavailable as error:
            self._away.note(error)
            await asyncio.sleep(AWAY_PAUSE)
        else:
            self._away.over()

    async def _sleep(self, asked: asyncio.Task[Any]) -> None:
        """Until a delivery is done, a lane gets ready or is due, or the loop is `asked` to stop."""
        wait = WAIT if not self._next_due else min(WAIT, max(0.001, (self._next_due - self._clock.now()) / 1000))
        if not self._bells and len(self._sending) < self.settings.deliveries and not self.draining:
            self._bells = [asyncio.create_task(self._listen())]
        done, _ = await asyncio.wait({asked, *self._sending, *self._bells}, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
        rung = done & set(self._bells)
        self._bells = [bell for bell in self._bells if bell not in rung]
        self._reap(done - rung - {asked})
        for bell in rung:
            bell.result()

    async def _listen(self) -> None:
        for bells, seconds in self._groups:
            with reachable():
                rung = await self.client.blpop(bells, timeout=seconds)
                if rung and (self.draining or len(self._sending) >= self.settings.deliveries):
                    # The loop has filled up meanwhile: the ring is for another worker.
                    await self.client.rpush(rung[0], 1)
            if rung:
                return

    def _reap(self, done: Iterable[asyncio.Task[None]]) -> None:
        for task in done:
            del self._sending[task]
            task.result()
