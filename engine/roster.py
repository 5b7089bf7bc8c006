"""Who works here: what each worker says of itself, kept for ten seconds at a time, and found without looking through every key.

A set names the workers; a name whose figures have gone is a worker that has gone, and is taken off the set by whoever reads it.
"""

from collections.abc import Mapping
from typing import Any

from engine.keys import WORKERS, worker
from engine.store import AsyncClient, Client, reachable

#: A worker that has not written for this long is gone, seconds.
LIFE = 10


def enter(pipeline: Any, name: str, fields: Mapping[str, str]) -> None:
    """Put into a pipeline of either client what a worker says of itself now."""
    pipeline.sadd(WORKERS, name)
    pipeline.hset(worker(name), mapping=fields)
    pipeline.expire(worker(name), LIFE)


def leave(pipeline: Any, name: str) -> None:
    """Put into a pipeline of either client that a worker goes."""
    pipeline.delete(worker(name))
    pipeline.srem(WORKERS, name)


def read(client: Client) -> list[dict[str, str]]:
    """What all workers say, in the order of their names.

    :raises StoreUnavailable: if Redis is away.
    """
    with reachable():
        names = sorted(name.decode() for name in client.smembers(WORKERS))
        pipeline = client.pipeline(transaction=False)
        for name in names:
            pipeline.hgetall(worker(name))
        found = pipeline.execute() if names else []
        if gone := [name for name, raw in zip(names, found, strict=True) if not raw]:
            client.srem(WORKERS, *gone)
    return _texts(found)


async def read_async(client: AsyncClient) -> list[dict[str, str]]:
    """`read` by the other client; it leaves the names of those that have gone.

    :raises StoreUnavailable: if Redis is away.
    """
    with reachable():
        names = sorted(name.decode() for name in await client.smembers(WORKERS))
        pipeline = client.pipeline(transaction=False)
        for name in names:
            pipeline.hgetall(worker(name))
        found = await pipeline.execute() if names else []
    return _texts(found)


def _texts(found: list[dict[bytes, bytes]]) -> list[dict[str, str]]:
    return [{field.decode(): value.decode() for field, value in raw.items()} for raw in found if raw]
