"""Periodic jobs, run by the `jobs` worker."""

import time

import msgspec
from celery import current_app, shared_task

from engine.keys import FIGURES, FIGURES_TASK, RETENTION_TASK
from engine.lanes import Lanes
from engine.settings import Settings
from engine.store import connect, reachable

#: An hour of samples, one every 15 s.
SAMPLES = 240


@shared_task(name=FIGURES_TASK)  # type: ignore[untyped-decorator]
def figures() -> None:
    """Note how long and how old the backlog is."""
    settings: Settings = current_app.settings
    with connect(settings) as client, reachable():
        pairs = [Lanes(settings).backlog(shard).run(client) for shard in Lanes(settings).shards]
        sample = {
            "at": int(time.time()),
            "inbound": sum(inbound.messages for inbound, _ in pairs),
            "outbound": sum(outbound.messages for _, outbound in pairs),
            "age_ms": max(inbound.age_ms for inbound, _ in pairs),
        }
        client.lpush(FIGURES, msgspec.json.encode(sample))
        client.ltrim(FIGURES, 0, SAMPLES - 1)


@shared_task(name=RETENTION_TASK)  # type: ignore[untyped-decorator]
def retention() -> int:
    """Drop what is past its time and has no life of its own in Redis: the index of dead letters; says how many were dropped."""
    settings: Settings = current_app.settings
    horizon = (time.time() - settings.dead_ttl) * 1000
    with connect(settings) as client, reachable():
        return sum(int(client.zremrangebyscore(shard.dead_index, 0, horizon)) for shard in Lanes(settings).shards)
