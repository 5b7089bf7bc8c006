"""How much waits, as one web process sees it: looked at beside the messages, so that none is held up by it."""

import asyncio
import time

import structlog

from engine import roster
from engine.errors import StoreUnavailable
from engine.lanes import Lanes
from engine.overload import Forecast, forecast
from engine.store import AsyncClient

log = structlog.get_logger()

#: A forecast is good for so long, seconds; one that is older than a few of them is none.
FRESH, STALE = 1.0, 10.0


class Crowd:
    """The newest forecast."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._found = Forecast()
        self._found_at = -STALE
        #: The look that is being taken, if any.
        self.looking: asyncio.Task[None] | None = None

    def forecast(self, client: AsyncClient) -> Forecast:
        """What awaits a message that is accepted now; a newer one is sought meanwhile, where it is time."""
        age = time.monotonic() - self._found_at
        if age > FRESH and (self.looking is None or self.looking.done()):
            self.looking = asyncio.create_task(self._look(client))
        return self._found if age < STALE else Forecast()

    async def close(self) -> None:
        """Look no more; before the client is closed."""
        if self.looking:
            self.looking.cancel()
            await asyncio.gather(self.looking, return_exceptions=True)

    async def _look(self, client: AsyncClient) -> None:
        try:
            backlogs = [(await self._lanes.backlog(shard).run_async(client))[0] for shard in self._lanes.shards]
            workers = await roster.read_async(client) if any(one.messages for one in backlogs) else []
        except StoreUnavailable as error:
            # The message at hand meets the same, and says so to its sender.
            log.debug("no forecast while Redis is away", action="crowd.away", error=str(error))
            return
        self._found, self._found_at = forecast(backlogs, workers), time.monotonic()
