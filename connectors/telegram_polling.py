"""Polls one bot of Telegram: of all processes one at a time, and nothing is confirmed to Telegram before it is durable here."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import structlog
from redis.exceptions import LockError
from telegram.error import TelegramError

from connectors.contract import Inbound, Take
from connectors.telegram_client import ALLOWED, Client
from connectors.telegram_errors import Pause, judged
from connectors.telegram_updates import Me
from connectors.telegram_watch import Watch
from engine.errors import Overloaded, RequestError, StoreUnavailable, UnparseableMessage
from engine.settings import Settings
from engine.store import AsyncClient, connect_async, reachable

log = structlog.get_logger()

#: Seconds Telegram holds a poll while there is nothing to hear. [D] up to 50.
POLL = 10
#: Seconds between polls that find nothing, where they are not held. [S] The same poll within 0.5 s is answered with one update.
EMPTY = 0.5
#: Seconds after which another process takes over from one that has died; longer than a poll and its grace.
LOCK = 30.0
#: Seconds between looks whether the poller has died.
LOOK = 2.0
#: Seconds before what could not be taken is tried again.
AGAIN = 1.0
#: First and longest pause between attempts while Telegram is away, seconds.
FIRST_BACKOFF, LONGEST_BACKOFF = 0.25, 30.0

#: The values in one raw update.
Read = Callable[[Any], Sequence[Inbound]]


class Trouble:
    """Says once that something is away, and once that it is back."""

    def __init__(self, **bound: str) -> None:
        self._log = log.bind(**bound)
        self._failures = 0

    def note(self, reason: str) -> float:
        """Seconds to wait before the next attempt."""
        if not self._failures:
            self._log.warning("Telegram cannot be heard; trying again", action="telegram.away", reason=reason)
        self._failures += 1
        return float(min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(self._failures - 1, 10)))

    def over(self) -> None:
        if self._failures:
            self._log.info("Telegram is heard again", action="telegram.back", failures=self._failures)
        self._failures = 0


async def insist(step: Callable[[], Awaitable[None]], trouble: Trouble) -> None:
    """Run a step until Telegram takes it."""
    while True:
        try:
            await step()
        except TelegramError as error:
            await asyncio.sleep(pause_after(error, trouble))
        else:
            trouble.over()
            return


def pause_after(error: TelegramError, trouble: Trouble) -> float:
    """Seconds to wait after an error, which is logged if it is the first."""
    wait = trouble.note(str(judged(error)))
    return max(wait, error.seconds) if isinstance(error, Pause) else wait


class Lost(Exception):
    """Another process polls the bot now."""


class Poller:
    """One bot's poller; every web process has one, and one of them works."""

    def __init__(self, settings: Settings, me: Me, client: Client, *, read: Read) -> None:
        self._settings = settings
        self._client = client
        self._read = read
        self._log = log.bind(account=me.account.name)
        self._telegram = Trouble(account=me.account.name)
        self._watch = Watch(settings, me.id)
        #: The first update that is not durable yet; 0: whatever Telegram holds.
        self._offset = 0
        self._store: AsyncClient = None
        self._lock: Any = None
        self._unavailable = False

    async def run(self, take: Take) -> None:
        """Runs until it is cancelled, over every outage of Redis and Telegram."""
        try:
            while True:
                wait = await self._round(take)
                await asyncio.sleep(wait)
        finally:
            await self._leave()

    async def _round(self, take: Take) -> float:
        """One poll, if it is ours to do; returns the seconds to wait before the next."""
        begun = time.monotonic()
        try:
            if not await self._hold():
                return LOOK
            found = await self._poll(take)
        except Lost:
            return LOOK
        except StoreUnavailable as error:
            self._away(error)
            return AGAIN
        except TelegramError as error:
            # `Conflict` too: another program polls this bot, or somebody has set a webhook since.
            await self._watch.note(self._store, str(judged(error)))
            return pause_after(error, self._telegram)
        self._telegram.over()
        held = time.monotonic() - begun >= EMPTY
        return 0.0 if found or held else EMPTY

    async def _poll(self, take: Take) -> int:
        """Take what there is; says how many updates there were."""
        found = await self._client.updates(offset=self._offset, wait=POLL, allowed=ALLOWED)
        numbered = sorted((_number(update), place) for place, update in enumerate(found))
        if found and not numbered[-1][0]:
            raise TelegramError("what answers numbers no updates")
        for number, place in numbered:
            for inbound in self._translated(found[place], number):
                await self._settle(take, inbound, number)
            # Not the greatest ever seen: after a week without updates Telegram numbers them anew, and may begin lower.
            self._offset = number + 1
        return len(found)

    def _translated(self, update: Any, number: int) -> Sequence[Inbound]:
        try:
            return self._read(update)
        except UnparseableMessage as error:
            # It would come back for ever: it is passed over.
            event = "an update cannot be read and is passed over"
            self._log.error(event, action="telegram.unreadable", update=number, reason=str(error))
            return ()

    async def _settle(self, take: Take, inbound: Inbound, number: int) -> None:
        """Take one, however long Redis is away or the tenant is full; :raises Lost: another process will."""
        while True:
            try:
                await take(inbound)
            except (StoreUnavailable, Overloaded) as error:
                self._away(error)
                await asyncio.sleep(AGAIN)
                await self._still_ours()
            except RequestError as error:
                event = "an update is refused and passed over"
                self._log.error(event, action="telegram.refused", update=number, reason=str(error))
                return
            else:
                self._unavailable = False
                return

    async def _hold(self) -> bool:
        """Whether this process is the one that polls, for the next `LOCK` seconds."""
        if self._store is None:
            self._store = await connect_async(self._settings)
            self._lock = self._store.lock(self._watch.lock, timeout=LOCK, thread_local=False)
        with reachable():
            if self._lock.local.token is not None:
                with suppress(LockError):  # it ran out during an outage
                    return bool(await self._lock.reacquire())
            return bool(await self._lock.acquire(blocking=False))

    async def _still_ours(self) -> None:
        try:
            if not await self._hold():
                raise Lost
        except StoreUnavailable as error:
            # Nobody can take over now.
            self._away(error)

    def _away(self, error: Exception) -> None:
        if not self._unavailable:
            self._log.warning("updates wait at Telegram", action="telegram.waiting", reason=str(error))
        self._unavailable = True

    async def _leave(self) -> None:
        """Let the next process begin at once; where Redis is away the lock runs out by itself."""
        if self._store is None:
            return
        with suppress(StoreUnavailable, LockError), reachable():
            await self._lock.release()
        await self._store.aclose()


def _number(update: Any) -> int:
    """The id of an update, 0 where it has none."""
    found = update.get("update_id") if isinstance(update, dict) else None
    return found if isinstance(found, int) and found > 0 else 0
