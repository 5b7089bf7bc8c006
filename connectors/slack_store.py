"""What Slack's part keeps in Redis, on a connection that is made when it is first needed."""

import asyncio

from engine import store
from engine.crypto import Digests
from engine.keys import slack
from engine.limits import Limit, Limits
from engine.settings import Settings
from engine.store import AsyncClient, reachable

#: How long the bot stays part of a thread in which nothing is said, seconds.
ENGAGED_LIFE = 30 * 86_400
#: An installation must be completed within this time, seconds. [D]
STATE_LIFE = 600
#: Longer than a refresh of tokens takes, with its look before and the keeping after, seconds: a refresh token is good once.
ROTATING_LIFE = 120
#: Longer than Slack sends one event again, seconds.
GONE_LIFE = 86_400
#: Longer than a reply is shown while it is made, seconds.
STREAM_LIFE = 3600


class Kept:
    """Every method raises `StoreUnavailable` while Redis is away."""

    def __init__(self, settings: Settings, client: AsyncClient) -> None:
        """`client` None: one of our own is made."""
        self._settings = settings
        self._digests = Digests(settings.secret_key)
        self._client = client
        self._own: AsyncClient = None
        self._opening = asyncio.Lock()

    async def client(self) -> AsyncClient:
        """The connection, made on first use."""
        if self._client is not None:
            return self._client
        async with self._opening:
            if self._own is None:
                self._own = await store.connect_async(self._settings, quick=True)
        return self._own

    async def close(self) -> None:
        own, self._own = self._own, None
        if own is not None:
            await own.aclose()

    def key(self, kind: str, *parts: str) -> str:
        return slack(kind, self._digests.of(f"slack-{kind}", *parts))

    async def get(self, key: str) -> bytes | None:
        client = await self.client()
        with reachable():
            found: bytes | None = await client.get(key)
        return found

    async def put(self, key: str, value: bytes, *, life: float | None = None, new: bool = False) -> bool:
        """Keep it for `life` seconds, or for good; `new`: only where nothing is kept. Says whether it is kept."""
        client = await self.client()
        with reachable():
            return bool(await client.set(key, value, px=round(life * 1000) if life else None, nx=new))

    async def drop(self, key: str) -> bool:
        """Says whether there was one: of several who ask at once, one alone is told so."""
        client = await self.client()
        with reachable():
            return bool(await client.delete(key))

    async def engaged(self, *thread: str) -> bool:
        """Whether the bot is part of a thread, named by account, installation, channel and root; for another while then."""
        return await self.get(self.key("thread", *thread)) is not None and await self.engage(*thread)

    async def engage(self, *thread: str) -> bool:
        """The bot becomes part of a thread; says so."""
        return await self.put(self.key("thread", *thread), b"1", life=ENGAGED_LIFE)

    async def below(self, channel: str, thread: str, turn: str) -> str:
        """The thread of the reply to a turn; that of a direct message was noted when it came."""
        if thread or not channel.startswith("D"):
            return thread
        return (await self.get(self.key("below", turn)) or b"").decode()

    async def spare(self, limit: Limit) -> bool:
        """Whether there is room for what may as well be left out; it is taken then."""
        return await Limits(self._settings, await self.client()).spare([limit])

    async def fields(self, key: str) -> dict[str, str]:
        client = await self.client()
        with reachable():
            found = await client.hgetall(key)
        return {name.decode(): value.decode() for name, value in found.items()}

    async def set_fields(self, key: str, fields: dict[str, str], *, life: int) -> None:
        client = await self.client()
        with reachable():
            pipeline = client.pipeline(transaction=False)
            pipeline.hset(key, mapping=fields)
            pipeline.expire(key, life)
            await pipeline.execute()

    async def first(self, key: str, field: str, value: str, *, life: int) -> bool:
        """Set a field that is not there; says whether it was not."""
        client = await self.client()
        with reachable():
            pipeline = client.pipeline(transaction=False)
            pipeline.hsetnx(key, field, value)
            pipeline.expire(key, life)
            return bool((await pipeline.execute())[0])
