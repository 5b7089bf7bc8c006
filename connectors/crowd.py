"""How much waits, as one web process sees it: looked at beside the messages, so that none is held up by it."""

import asyncio
import time

import structlog

from engine import roster
from engine.errors import StoreUnavailable
from engine.keys import Direction
from engine.lanes import Lanes
from engine.overload import Forecast, forecast
from engine.store import AsyncClient, reachable

log = structlog.get_logger()

#: A forecast is good for so long, seconds; one that is older than a few of them is none.
FRESH, STALE = 1.0, 10.0


class Crowd:
    """The newest forecast."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._found = Forecast()
        self._found_at = -STALE
        #: Tenants that were asked for since the last look, how much of theirs waited then, and how many tenants there were.
        self._asked: set[str] = set()
        self._own: dict[str, int] = {}
        self._tenants = 0
        #: The look that is being taken, if any.
        self.looking: asyncio.Task[None] | None = None

    def forecast(self, client: AsyncClient, tenant: str) -> Forecast:
        """What awaits a message of a tenant that is accepted now; a newer one is sought meanwhile, where it is time.

        Of a tenant that wrote nothing lately nothing is expected: the next look knows it.
        """
        self._asked.add(tenant)
        age = time.monotonic() - self._found_at
        if age > FRESH and (self.looking is None or self.looking.done()):
            self.looking = asyncio.create_task(self._look(client))
        return self._found.of_tenant(self._own.get(tenant, 0), self._tenants) if age < STALE else Forecast()

    async def close(self) -> None:
        """Look no more; before the client is closed."""
        if self.looking:
            self.looking.cancel()
            await asyncio.gather(self.looking, return_exceptions=True)

    async def _look(self, client: AsyncClient) -> None:
        try:
            backlogs = [(await self._lanes.backlog(shard).run_async(client))[0] for shard in self._lanes.shards]
            workers = await roster.read_async(client) if any(one.messages for one in backlogs) else []
            own, tenants = await self._shares(client)
        except StoreUnavailable as error:
            # The message at hand meets the same, and says so to its sender.
            log.debug("no forecast while Redis is away", action="crowd.away", error=str(error))
            return
        self._found, self._found_at = forecast(backlogs, workers), time.monotonic()
        self._own, self._tenants = own, tenants

    async def _shares(self, client: AsyncClient) -> tuple[dict[str, int], int]:
        """How much waits of each tenant that was asked for, and how many tenants there are at most in one shard."""
        asked, self._asked = sorted(self._asked), set()
        own, most = dict.fromkeys(asked, 0), 0
        digests = [self._lanes.digests.tenant(tenant) for tenant in asked]
        for shard in self._lanes.shards if asked else ():
            with reachable():
                counts = await client.hmget(shard.tenants(Direction.IN), digests)
                most = max(most, await client.hlen(shard.tenants(Direction.IN)))
            for tenant, count in zip(asked, counts, strict=True):
                own[tenant] += int(count or 0)
        return own, most
