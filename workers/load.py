"""How much waits, as one worker sees it, and what it does about that: see `engine.overload`."""

import time

from engine import roster
from engine.lanes import Lanes
from engine.overload import Forecast, Rung, forecast, rung
from engine.settings import Settings
from engine.store import Client
from workers.batching import AHEAD, FAR_AHEAD

#: Between looks, seconds.
LOOK_EVERY = 1.0


class Load:
    """What awaits a message that is accepted now, looked at once a second."""

    def __init__(self, settings: Settings, client: Client, lanes: Lanes) -> None:
        self._settings = settings
        self._client = client
        self._lanes = lanes
        self._next_look = 0.0
        self.forecast = Forecast()

    @property
    def rung(self) -> Rung:
        return rung(self.forecast.wait, self._settings)

    @property
    def brief(self) -> bool:
        """Whether replies are kept short."""
        return self.rung >= Rung.BRIEF

    @property
    def ahead(self) -> int:
        """How many batches of turns a busy worker holds."""
        return FAR_AHEAD if self.rung >= Rung.CACHED and self._settings.cache else AHEAD

    def look(self) -> None:
        """Look again, if it is time.

        :raises StoreUnavailable: if Redis is away.
        """
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_EVERY
        backlogs = [self._lanes.backlog(shard).run(self._client)[0] for shard in self._lanes.shards]
        # A few messages are a matter of seconds, whatever the others can do.
        crowded = sum(one.messages - one.deferred for one in backlogs) > self._settings.batch_items
        self.forecast = forecast(backlogs, roster.read(self._client) if crowded else ())
