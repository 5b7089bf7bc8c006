"""Rate limits that every worker shares: sliding windows in Redis, each bucket in a slot of its own.

A delivery that must wait reserves its place, so that a hundred that wait for one bucket each know their moment and none asks twice.
The buckets of a delivery are taken one after the other, the narrowest first: a reservation in a wide one, made long before a narrow
one lets the delivery go, would hold up everybody else.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.crypto import Digests
from engine.keys import Bucket
from engine.scripts import Call
from engine.settings import Settings
from engine.store import AsyncClient


@dataclass(frozen=True)
class Limit:
    """At most `count` in any `seconds`."""

    #: What is limited: the platform, whose bot, and the chat or group where it is not all of them.
    bucket: tuple[str, ...]
    count: int
    seconds: float


class Limits:
    """Takes places in buckets. Every method raises `StoreUnavailable` while Redis is away."""

    def __init__(self, settings: Settings, client: AsyncClient) -> None:
        self._digests = Digests(settings.secret_key)
        self._client = client

    async def take(self, limits: Sequence[Limit], ticket: str) -> float:
        """A place in each bucket, or the seconds until it is worth to ask again; `ticket` names who waits.

        Once it says 0, the places are used up and the ticket is forgotten: the next take of the same name begins anew.
        """
        for number, limit in enumerate(limits):
            wait = await self._call("take", limit, ticket=ticket, reserve=True).run_async(self._client)
            if wait:
                for passed in limits[:number]:
                    await self._call("take", passed, ticket=ticket, keep=wait).run_async(self._client)
                return wait / 1000
        for limit in limits:
            await self._call("take", limit, ticket=ticket, done=True).run_async(self._client)
        return 0.0

    async def spare(self, limits: Sequence[Limit]) -> bool:
        """A place in each bucket if all are free now: for what may as well be left out, such as progress."""
        for limit in limits:
            if await self._call("take", limit).run_async(self._client):
                return False
        return True

    async def block(self, limit: Limit, seconds: float) -> None:
        """Nobody gets a place before so many seconds have passed: the platform said so."""
        await self._call("block", limit, delay=round(seconds * 1000)).run_async(self._client)

    def _call(self, script: str, limit: Limit, **arguments: object) -> Call[int]:
        facts = {"count": limit.count, "period": round(limit.seconds * 1000), **arguments}
        return Call(script, Bucket(self._digests.of("limit", *limit.bucket)), facts, (), int)
