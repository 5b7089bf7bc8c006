"""The web process's connection to Redis: made when Redis can be reached, so that the process starts without it and recovers."""

import asyncio

import redis.asyncio
import structlog

from engine import durability, store
from engine.errors import StoreError, StoreMismatch, StoreUnavailable, StoreUnsafe
from engine.keys import READY
from engine.settings import Settings
from engine.store import AsyncClient, reachable

log = structlog.get_logger()

#: Pauses between attempts to connect, seconds.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
#: Between looks whether Redis answers, and how long an answer may take, seconds; after two in vain nobody waits for it any more.
LOOK_EVERY, LOOK_TIMEOUT = 0.5, 1.0
IN_VAIN = 2
#: What the check of readiness writes is gone after this time, milliseconds.
READY_LIFE = 10_000


class Link:
    """Connects in the background and is used by all requests."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: AsyncClient = None
        self._listener: AsyncClient = None
        self._fault: StoreError = StoreUnavailable("Redis has not been reached yet")
        self._connected = asyncio.Event()
        #: Looks in a row that Redis did not answer.
        self._missed = 0

    @property
    def client(self) -> AsyncClient:
        """:raises StoreUnavailable: while Redis was never reached, is not ours, or is known to be away."""
        if self._client is None:
            raise StoreUnavailable(str(self._fault))
        if self._missed >= IN_VAIN:
            raise StoreUnavailable("Redis does not answer")
        return self._client

    async def connect(self) -> None:
        """Try until it succeeds; what is wrong is logged once for each change."""
        pause = SHORTEST_PAUSE
        while self._client is None:
            try:
                self._client = await self._open()
            except StoreError as error:
                if type(error) is not type(self._fault) or pause == SHORTEST_PAUSE:
                    log.warning("Redis cannot be used; trying on", action="web.redis_away", error=str(error))
                self._fault = error
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
        log.info("connected to Redis", action="web.redis_connected")
        self._connected.set()

    async def watch(self) -> None:
        """Know that Redis is away, so that requests are refused at once instead of piling up one time-out after the other.

        The nodes of a Cluster fail one by one; there each request finds out by itself.
        """
        await self._connected.wait()
        while not isinstance(self._client, redis.asyncio.RedisCluster):
            answers = await self._answers()
            if answers and self._missed >= IN_VAIN:
                log.info("Redis is back", action="web.redis_back")
            self._missed = 0 if answers else self._missed + 1
            if self._missed == IN_VAIN:
                log.warning("Redis does not answer; requests are refused until it does", action="web.redis_away")
            await asyncio.sleep(LOOK_EVERY)

    async def _answers(self) -> bool:
        try:
            with reachable():
                async with asyncio.timeout(LOOK_TIMEOUT):
                    await self._client.ping()
        except StoreUnavailable:
            return False
        return True

    async def listener(self) -> AsyncClient:
        """Waits for the first connection; the client to subscribe with.

        Each node of a cluster passes on what is published at any other, so there it is one plain connection.
        """
        await self._connected.wait()
        if self._listener is None and isinstance(self._client, redis.asyncio.RedisCluster):
            self._listener = redis.asyncio.Redis.from_url(self._settings.redis_url, protocol=2, health_check_interval=30)
        return self._listener or self._client

    async def check(self) -> None:
        """:raises StoreUnavailable: if Redis does not take a write now, or is not ours."""
        with reachable():
            await self.client.set(READY, b"", px=READY_LIFE)

    async def close(self) -> None:
        for client in (self._listener, self._client):
            if client is not None:
                await client.aclose()

    async def _open(self) -> AsyncClient:
        await asyncio.to_thread(check_store, self._settings)
        return await store.connect_async(self._settings, quick=True)


def check_store(settings: Settings) -> None:
    """Reach Redis and make sure it is ours; blocks for some seconds if it is far away.

    :raises StoreUnavailable: it cannot be reached.
    :raises StoreMismatch: it was first used with other shards or another secret key.
    :raises StoreUnsafe: it cannot tell when something is on its disk, and is asked to.
    """
    client = store.connect(settings)
    try:
        durability.adopt(client, settings)
    finally:
        client.close()


def mismatch(settings: Settings) -> StoreError | None:
    """Why this Redis can never be used; None if it can, or cannot be reached to tell."""
    try:
        check_store(settings)
    except (StoreMismatch, StoreUnsafe) as error:
        return error
    except StoreUnavailable as error:
        log.warning("Redis is away; starting without it", action="web.redis_away", error=str(error))
    return None
