"""The loops in the process of a test: stepped by hand on a real server, with a tiny model, on connections that can be cut."""

import asyncio
import dataclasses
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import redis
import redis.asyncio
from celery import Celery
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Cut
from redis.exceptions import ResponseError
from redis.retry import Retry

from connectors.contract import Times
from connectors.platforms import staffed, table
from engine.errors import StoreUnavailable
from engine.generation import OnText, Request
from engine.keys import Direction
from engine.lanes import Lanes
from engine.limits import Limit
from engine.messages import Address, Delivery, Receipt
from engine.model import Model
from engine.moves import Accepted, Outcome
from engine.pending import Pending
from engine.responder import Responder
from engine.settings import Settings
from engine.store import connect_async
from engine.tools_file import load as load_tools
from tests.desk import Desk, reply
from workers.answering import Answering
from workers.delivering import Delivering
from workers.events import BatchEvents
from workers.loop import LoopThread


def small(settings: Settings, **changes: Any) -> Settings:
    """Settings for a tiny model: short replies, one replica."""
    return dataclasses.replace(
        settings, **{"max_tokens": 6, "replicas": 1, "compute_type": "float32", "small_talk": False} | changes
    )


@dataclass
class Cuts:
    """Which commands of a client fail, counted from 0: before the server gets them, or with the reply lost on its way."""

    before: set[int] = field(default_factory=set)
    after: set[int] = field(default_factory=set)
    #: Every command fails until it is set to False.
    away: bool = False
    count: int = 0

    def enter(self) -> bool:
        """Called for each command; True if its reply gets lost."""
        number, self.count = self.count, self.count + 1
        if self.away or number in self.before:
            raise Cut("cut before the command")
        return number in self.after


class CutConnection(redis.Connection):
    """A connection that fails as its `Cuts` say."""

    def __init__(self, *, cuts: Cuts, **options: Any) -> None:
        super().__init__(**options)
        self.cuts = cuts
        self.lost = False

    def on_connect_check_health(self, check_health: bool = True) -> None:
        """The commands that greet the server are not counted."""
        self.cuts, cuts = Cuts(), self.cuts
        super().on_connect_check_health(check_health)
        self.cuts = cuts

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        self.lost = self.cuts.enter()
        super().send_packed_command(command, check_health)

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        if not self.lost:
            return super().read_response(*arguments, **options)
        self.lost = False
        with suppress(ResponseError):
            super().read_response(*arguments, **options)
        self.disconnect()
        raise Cut("cut before the reply")


class AsyncCutConnection(redis.asyncio.Connection):
    """The asynchronous twin."""

    def __init__(self, *, cuts: Cuts, **options: Any) -> None:
        super().__init__(**options)
        self.cuts = cuts
        self.lost = False

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        self.cuts, cuts = Cuts(), self.cuts
        await super().on_connect_check_health(check_health)
        self.cuts = cuts

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        self.lost = self.cuts.enter()
        await super().send_packed_command(command, check_health)

    async def read_response(self, *arguments: Any, **options: Any) -> Any:
        if not self.lost:
            return await super().read_response(*arguments, **options)
        self.lost = False
        with suppress(ResponseError):
            await super().read_response(*arguments, **options)
        await self.disconnect()
        raise Cut("cut before the reply")


def cut_client(url: str, cuts: Cuts) -> redis.Redis:
    """A client that does not try again by itself."""
    pool = redis.ConnectionPool.from_url(url, connection_class=CutConnection, cuts=cuts, protocol=2, retry=Retry(NoBackoff(), 0))
    return redis.Redis.from_pool(pool)


def cut_async_client(url: str, cuts: Cuts) -> redis.asyncio.Redis:
    """The asynchronous twin."""
    pool = redis.asyncio.ConnectionPool.from_url(
        url, connection_class=AsyncCutConnection, cuts=cuts, protocol=2, retry=AsyncRetry(NoBackoff(), 0)
    )
    return redis.asyncio.Redis.from_pool(pool)


class Gated(Model):
    """A model that keeps the replies of its next batch until the test lets them go; its replicas are busy so long."""

    _held: list[Pending] | None = None

    def hold(self) -> None:
        self._held = []

    def let_go(self) -> None:
        self._held = None

    def submit(
        self,
        requests: Sequence[Request],
        *,
        most: int = 0,
        on_text: OnText | None = None,
        on_finish: Callable[[], None] | None = None,
    ) -> Pending:
        pending = super().submit(requests, most=most, on_text=on_text, on_finish=on_finish)
        if self._held is not None:
            self._held.append(pending)
            take = pending.ready
            pending.ready = lambda: take() if self._held is None else []  # type: ignore[method-assign]
        return pending

    def idle(self) -> int:
        return 0 if self._held else super().idle()


@dataclass
class Mill:
    """An answering loop, stepped by hand, and a desk that fills its lanes and looks at them."""

    loop: Answering
    desk: Desk
    cuts: Cuts
    model: Gated

    def until(self, condition: Callable[[], Any], timeout: float = 20.0) -> None:
        """Step until the condition holds."""
        give_up = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < give_up, f"stepped {timeout:g} s in vain for {condition}"
            self.step()
            self.loop.wake.wait(0.01)
            self.loop.wake.clear()

    def until_running(self, batches: int = 1) -> None:
        """Step until the model is at so many batches, and keep it there."""
        self.model.hold()
        self.until(lambda: len(self.loop._running) == batches)

    def step(self) -> bool:
        """One step; False if Redis was away."""
        try:
            self.loop.step()
        except StoreUnavailable:
            return False
        return True

    def settled(self, *accepted: Accepted) -> bool:
        """Whether each of the messages has an outcome."""
        return all(self.record(message.id).get("state") for message in accepted)

    def record(self, message_id: str) -> dict[str, str]:
        """What is known of a message."""
        return self.desk.lanes.look(message_id).run(self.desk.client).record

    def posted(self) -> list[Delivery]:
        """All that waits in the outbound lanes, read without taking it."""
        client, found = self.desk.client, []
        for shard in self.desk.lanes.shards:
            for name in sorted(client.scan_iter(match=f"{shard.prefix}out:q:*")):
                found += [Delivery.decode(raw.partition(b"\n")[2]) for raw in client.lrange(name, 0, -1)]
        return found


@contextmanager
def mill(settings: Settings, model: Path | Gated, client: redis.Redis) -> Iterator[Mill]:
    """An answering loop on the lanes of `settings`; nothing runs but what the test steps."""
    cuts = Cuts()
    loaded = model if isinstance(model, Gated) else Gated.load(model, settings)
    events = BatchEvents(Celery("tests", broker=settings.broker_url), "answer@tests")
    with cut_client(settings.redis_url, cuts) as own:
        people = partial(staffed, settings=settings)
        responder = Responder(settings, own, loaded, staffed=people, tools=load_tools(settings))
        loop = Answering(settings, own, responder, name="answer@tests", events=events)
        try:
            yield Mill(loop, Desk(client, Lanes(settings)), cuts, loaded)
        finally:
            loop.acting.close()
            loop.perceiving.close()
            events.close()
            loaded.close()


class Mailbox:
    """A tiny real platform: keeps what is posted; a script says what goes wrong first."""

    def __init__(self, name: str = "webhook", *, idempotent: bool = True) -> None:
        self.name = name
        self.idempotent = idempotent
        self.times = Times(60.0, 0.0, 0.0)
        self.bots_meet = self.timeless = False
        self.posted: list[str] = []
        #: What the next sends do: an error is raised, a number of seconds is waited after the post is kept.
        self.script: list[BaseException | float] = []
        self.closed = False
        #: The rate limits of every delivery.
        self.limited: Sequence[Limit] = ()

    def split(self, text: str) -> Sequence[str]:
        return text.split("|")

    def limits(self, delivery: Delivery) -> Sequence[Limit]:
        return self.limited

    async def send(self, delivery: Delivery) -> Receipt:
        step = self.script.pop(0) if self.script else 0.0
        if isinstance(step, BaseException):
            raise step
        self.posted.append(delivery.id)
        await asyncio.sleep(step)
        return Receipt(delivery=delivery.id, platform_id=f"post-{len(self.posted)}")

    async def close(self) -> None:
        self.closed = True


@dataclass
class Post:
    """A delivery loop that runs, and a desk that fills its lanes and looks at them."""

    loop: Delivering
    desk: Desk
    cuts: Cuts
    mailbox: Mailbox
    thread: LoopThread
    running: asyncio.Task[None]

    async def until(self, condition: Callable[[], Any]) -> None:
        """Let the loop run until the condition holds, 20 seconds at most."""
        give_up = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < give_up, f"waited in vain for {condition}"
            assert not self.running.done() or self.running.exception() is None
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Let the loop drain."""
        self.thread.stop()
        await asyncio.wait_for(self.running, 30)


def delivering(
    settings: Settings, client: redis.Redis, mailbox: Mailbox, body: Callable[[Post], Coroutine[Any, Any, None]]
) -> None:
    """Run `body` beside a delivery loop on the lanes of `settings`; then the loop drains."""

    async def main() -> None:
        cuts = Cuts()
        own = cut_async_client(settings.redis_url, cuts)
        try:
            loop = Delivering(settings, own, {mailbox.name: mailbox}, name="deliver@tests")
            thread = LoopThread("deliver", lambda thread: None, patience=60)
            post = Post(loop, Desk(client, Lanes(settings)), cuts, mailbox, thread, asyncio.create_task(loop.run(thread)))
            await body(post)
            await post.stop()
        finally:
            await own.aclose()

    asyncio.run(main())


@contextmanager
def posting(settings: Settings) -> Iterator[None]:
    """A delivery loop with every platform of the settings, in a thread of its own; it drains at the end."""
    thread = LoopThread("deliver", lambda thread: asyncio.run(_posting(settings, thread)), patience=60)
    thread.start()
    try:
        yield
    finally:
        thread.stop()
        thread.join(30)
        assert not thread.is_alive()


async def _posting(settings: Settings, thread: LoopThread) -> None:
    client = await connect_async(settings)
    try:
        await Delivering(settings, client, table(settings, client), name="deliver@posting").run(thread)
    finally:
        await client.aclose()


def queue(desk: Desk, to: Address, *texts: str) -> list[str]:
    """Replies that wait in the outbound lane of a conversation, each to a message of its own; their delivery ids."""
    ids = []
    for text in texts:
        accepted = desk.accept(text, to=to)
        lane = next(lane for lane in desk.claim().lanes if lane.entries[0].id == accepted.id)
        delivery = Delivery(id=f"{accepted.id}-0", reply=reply(to, text))
        record = {"state": "answered", "text": text}
        assert desk.lanes.commit(lane, Outcome(deliveries=(delivery,), record=record)).run(desk.client) == "committed"
        ids.append(delivery.id)
    return ids


def waiting(desk: Desk, direction: Direction = Direction.OUT) -> int:
    """Messages or deliveries that wait in a direction."""
    return desk.backlog()[list(Direction).index(direction)].messages
