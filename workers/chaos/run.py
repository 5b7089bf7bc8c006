"""One run: send what the plan says, let the faults strike, wait until everything is settled, and draw up the ledger."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import aiohttp
import uvloop

from workers.chaos.faults import FAULTS
from workers.chaos.ledger import Account, Post, Recovery, Rule, Sent, breaches, recoveries, settle
from workers.chaos.plan import Plan, Planned, Strike
from workers.chaos.world import World

#: Seconds before a sender tries again what was not acknowledged, and one attempt's patience.
_AGAIN, _PATIENCE = 0.3, 10.0
#: Seconds between looks whether all is settled.
_LOOK = 0.25
#: Between counts of what is settled while messages are sent, seconds; a count of 10,000 messages takes 50 ms.
_COUNT = 5.0
#: After everything is settled, so many leases are left to whoever was stopped or slow to say something twice.
_LATE = 1.5
#: With nothing on its way for so many leases, what is not settled never will be.
_GIVEN_UP = 3.0
#: A send counts as ambiguous if it took effect so short a time before a process or its connection failed, seconds.
_UNDER_WAY = 1.0
#: Requests of senders at a time.
_SENDERS = 64


@dataclass(frozen=True, kw_only=True)
class Struck:
    """A fault that has struck."""

    name: str
    at: float


@dataclass
class Progress:
    """How far a run is, for whoever watches."""

    messages: int
    sent: int = 0
    accepted: int = 0
    settled: int = 0
    strikes: int = 0
    latest: str = ""


@dataclass(kw_only=True)
class Result:
    """What a run has shown."""

    accounts: dict[str, Account]
    rules: dict[str, Rule]
    recoveries: list[Recovery]
    #: Seconds from the first message to the last outcome.
    seconds: float
    #: How often a process ended by itself, by name.
    ended: dict[str, int] = field(default_factory=dict)

    def breaches(self) -> dict[str, list[str]]:
        """What breaks the promise, by platform."""
        found = {platform: breaches(account, self.rules[platform]) for platform, account in self.accounts.items()}
        return {platform: list_ for platform, list_ in found.items() if list_}


class Run:
    """The senders, the faults and the clock of one run."""

    def __init__(self, world: World, plan: Plan, *, deadline: float, unclear: str, tell: Callable[[Progress], None]) -> None:
        self._world = world
        self._plan = plan
        self._deadline = deadline
        self._unclear = unclear
        self._tell = tell
        self.progress = Progress(len(plan.messages))
        self._began = 0.0
        self._sent_at: dict[int, float] = {}
        self._accepted_at: dict[int, float] = {}
        self._struck: list[Struck] = []
        #: Sends that were under way when something failed, by platform.
        self._under_way = dict.fromkeys(world.sides, 0)
        self._slots = asyncio.Semaphore(_SENDERS)

    def carry_out(self) -> Result:
        """The whole run."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(self._main())

    async def _main(self) -> Result:
        tending = asyncio.create_task(self._world.tend())
        telling = asyncio.create_task(self._keep_telling())
        self._began = time.monotonic() + 0.1
        try:
            async with aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_SENDERS), timeout=aiohttp.ClientTimeout(_PATIENCE)
            ) as http:
                striking = asyncio.create_task(self._strike_all())
                await self._send_all(http)
                await striking
            await self._wait_settled()
        finally:
            tending.cancel()
            telling.cancel()
        return self._result()

    # -- sending --------------------------------------------------------------------------------------------------------------

    async def _send_all(self, http: aiohttp.ClientSession) -> None:
        """Each message and each repeat at its time, whatever became of the others."""
        due = sorted(((at, one) for one in self._plan.messages for at in (one.at, *one.repeats)), key=lambda pair: pair[0])
        async with asyncio.TaskGroup() as sending:
            for at, message in due:
                await self._until(at)
                sending.create_task(self._send(http, message))

    async def _send(self, http: aiohttp.ClientSession, message: Planned) -> None:
        """Send until it is acknowledged, as platforms do, or its time is over."""
        gives_up = time.monotonic() + self._deadline
        while time.monotonic() < gives_up:
            async with self._slots:
                self._sent_at.setdefault(message.number, time.monotonic())
                if await self._attempt(http, message):
                    self._accepted_at.setdefault(message.number, time.monotonic())
                    return
            await asyncio.sleep(_AGAIN)

    async def _attempt(self, http: aiohttp.ClientSession, message: Planned) -> bool:
        side = self._world.sides[message.platform]
        try:
            return await side.deliver(http, self._world.url, message)
        except (aiohttp.ClientError, TimeoutError, OSError):  # no answer: it is sent again
            return False

    # -- breaking -------------------------------------------------------------------------------------------------------------

    async def _strike_all(self) -> None:
        async with asyncio.TaskGroup() as striking:
            for strike in self._plan.strikes:
                await self._until(strike.at)
                striking.create_task(self._strike(strike))

    async def _strike(self, strike: Strike) -> None:
        fault, at = FAULTS[strike.name], time.monotonic()
        self._struck.append(Struck(name=strike.name, at=at))
        self.progress.strikes, self.progress.latest = len(self._struck), strike.name
        for platform, side in self._world.sides.items() if fault.ambiguous else ():
            self._under_way[platform] += side.sent_between(at - _UNDER_WAY, at)
        await fault.inject(self._world, random.Random(strike.seed))  # noqa: S311 - a schedule, no secret

    # -- waiting --------------------------------------------------------------------------------------------------------------

    async def _until(self, at: float) -> None:
        await asyncio.sleep(max(0.0, self._began + at - time.monotonic()))

    async def _wait_settled(self) -> None:
        """Until every message has its outcome, or nothing can come any more; then a while for what must not come."""
        lease, quiet_since, known = self._world.lease, time.monotonic(), 0
        while self._unsettled():
            await asyncio.sleep(_LOOK)
            posted = len(self._posts())
            if posted > known or await asyncio.to_thread(self._world.waiting) != 0:
                quiet_since, known = time.monotonic(), posted
            if time.monotonic() - quiet_since > _GIVEN_UP * lease:
                break
        await asyncio.sleep(_LATE * lease)

    def _unsettled(self) -> bool:
        accounts = settle(self._sent(), self._posts())
        self.progress.settled = sum(a.answered + a.twice + a.apologised + a.handed_over for a in accounts.values())
        return any(account.lost for account in accounts.values())

    async def _keep_telling(self) -> None:
        counted = 0.0
        while True:
            self.progress.sent, self.progress.accepted = len(self._sent_at), len(self._accepted_at)
            if time.monotonic() - counted > _COUNT:
                self._unsettled()
                counted = time.monotonic()
            self._tell(self.progress)
            await asyncio.sleep(_LOOK)

    # -- drawing up -----------------------------------------------------------------------------------------------------------

    def _sent(self) -> list[Sent]:
        return [
            Sent(
                number=one.number,
                platform=one.platform,
                conversation=one.conversation,
                sent_at=self._sent_at[one.number],
                accepted_at=self._accepted_at.get(one.number),
                deadline=self._sent_at[one.number] + self._deadline,
                asks=one.asks,
            )
            for one in self._plan.messages
            if one.number in self._sent_at
        ]

    def _posts(self) -> Sequence[Post]:
        return [post for side in self._world.sides.values() for post in side.posts()]

    def _result(self) -> Result:
        sent, posts = self._sent(), self._posts()
        rules = {
            platform: Rule(sure=side.sure, unclear=self._unclear, ambiguous=side.dropped + self._under_way[platform])
            for platform, side in self._world.sides.items()
        }
        last = max((post.at for post in posts), default=self._began)
        return Result(
            accounts=settle(sent, posts),
            rules=rules,
            recoveries=recoveries([(struck.name, struck.at) for struck in self._struck], sent, posts),
            seconds=last - self._began,
            ended=dict(self._world.ended),
        )
