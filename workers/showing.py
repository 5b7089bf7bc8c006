"""Shows replies while they are made, beside the delivery loop. A reply outranks it: what cannot be shown now is left out."""

import asyncio
from collections.abc import Mapping

import structlog

from connectors import progress
from connectors.contract import Platform, Showing
from engine.errors import DeliveryError, RetryLater, StoreUnavailable
from engine.limits import Limit, Limits
from engine.settings import Settings
from engine.store import AsyncClient
from workers.loop import AWAY_PAUSE
from workers.waiting import WAIT, cancelled

log = structlog.get_logger()

#: Seconds between two steps of one reply: Telegram takes one message a second in a chat, Slack about 100 appends a minute.
EVERY = 1.0
#: Steps that one worker shows at a time.
MOST = 16


class Shows:
    """One worker's share of it."""

    def __init__(self, settings: Settings, client: AsyncClient, platforms: Mapping[str, Platform]) -> None:
        self._settings = settings
        self._client = client
        self._platforms = {name: platform for name, platform in platforms.items() if isinstance(platform, Showing)}
        self._limits = Limits(settings, client)
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Runs until it is cancelled, over every outage of Redis."""
        if not self._platforms:
            return
        try:
            while True:
                await self._step()
        finally:
            await cancelled(self._running)

    async def _step(self) -> None:
        if len(self._running) >= MOST:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        try:
            turn = await progress.next_turn(self._client, WAIT)
        except StoreUnavailable:
            # The delivery loop notices by itself and says so.
            await asyncio.sleep(AWAY_PAUSE)
            return
        if turn:
            task = asyncio.create_task(self._show(turn))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _show(self, turn: str) -> None:
        limit = Limit(("show", turn), 1, EVERY)
        try:
            if not await self._limits.spare([limit]):
                return
            found = await progress.latest(self._client, turn)
            if found is None or found.address.platform not in self._platforms:
                return
            async with asyncio.timeout(self._settings.send_timeout):
                await self._platforms[found.address.platform].show(found.address, turn, found.text)
        except RetryLater as later:
            await self._pause(limit, later.after)
        except (DeliveryError, TimeoutError, StoreUnavailable) as error:
            log.debug("a step of a reply was not shown", action="progress.left_out", message=turn, reason=str(error))
        except Exception as error:  # the boundary around one step: the reply itself still comes
            log.warning("a platform failed to show a reply", action="progress.failed", message=turn, exc_info=error)

    async def _pause(self, limit: Limit, seconds: float) -> None:
        try:
            await self._limits.block(limit, seconds or EVERY)
        except StoreUnavailable as error:
            log.debug("a pause was not kept", action="progress.left_out", reason=str(error))
