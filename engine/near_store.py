"""Entries of the near-match cache in Redis: one hash of them a partition, a stream of its changes for the workers' memories, and
what was learnt about each tenant's matches.

Every write is one transaction within one slot. A worker that missed more changes than the stream holds reads the whole hash.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.keys import NEAR_PATTERN, NearPartition, near
from engine.near_entry import Entry
from engine.store import Client, reachable

#: Changes that the stream of a partition holds, about; and entries read in one trip.
_CHANGES, _CHUNK = 20_000, 500
#: Wrong entries that are remembered.
_QUARANTINED = 10_000


@dataclass(frozen=True)
class Change:
    """Something that happened to an entry; without a body it is gone."""

    id: str
    body: bytes | None


class NearStore:
    """Every failure to reach Redis rises as `StoreUnavailable`."""

    def __init__(self, client: Client, *, most: int, ttl: float, feedback_ttl: float) -> None:
        self._client, self._most, self._ttl, self._feedback_ttl = client, most, round(ttl), round(feedback_ttl)

    def put(self, partition: NearPartition, entry: Entry) -> None:
        """Keep an entry; the oldest ones leave a partition that is full, and those that are too old."""
        with reachable():
            body, age, log = partition.key("entries"), partition.key("ages"), partition.key("log")
            with self._client.pipeline(transaction=True) as pipe:
                pipe.hset(body, entry.id, entry.encode())
                pipe.zadd(age, {entry.id: entry.at})
                pipe.xadd(log, {"id": entry.id}, maxlen=_CHANGES, approximate=True)
                for name in (body, age, log):
                    pipe.expire(name, self._ttl)
                pipe.zrangebyscore(age, "-inf", entry.at - self._ttl, start=0, num=100)
                pipe.zcard(age)
                *_, old, size = pipe.execute()
            surplus = self._client.zrange(age, 0, size - self._most - 1) if size > self._most else []
        if leaving := {one.decode() for one in (*old, *surplus)}:
            self.drop(partition, sorted(leaving))

    def drop(self, partition: NearPartition, ids: Sequence[str]) -> None:
        """Forget entries, in every worker within a second."""
        with reachable(), self._client.pipeline(transaction=True) as pipe:
            pipe.hdel(partition.key("entries"), *ids)
            pipe.zrem(partition.key("ages"), *ids)
            for id_ in ids:
                pipe.xadd(partition.key("log"), {"id": id_}, maxlen=_CHANGES, approximate=True)
            pipe.expire(partition.key("log"), self._ttl)
            pipe.execute()

    def quarantine(self, partition: NearPartition, id_: str) -> None:
        """Drop an entry whose answer was wrong; its question is not kept again for as long as entries live."""
        with reachable(), self._client.pipeline(transaction=True) as pipe:
            pipe.zadd(partition.key("wrong"), {id_: now()})
            pipe.zremrangebyrank(partition.key("wrong"), 0, -_QUARANTINED - 1)
            pipe.expire(partition.key("wrong"), self._ttl)
            pipe.execute()
        self.drop(partition, [id_])

    def quarantined(self, partition: NearPartition, id_: str) -> bool:
        with reachable():
            return self._client.zscore(partition.key("wrong"), id_) is not None

    def all(self, partition: NearPartition) -> Iterator[Entry]:
        """Every entry."""
        with reachable():
            for _, body in self._client.hscan_iter(partition.key("entries"), count=_CHUNK):
                yield Entry.decode(body)

    def position(self, partition: NearPartition) -> str:
        """The last change there was."""
        with reachable():
            last = self._client.xrevrange(partition.key("log"), count=1)
        return last[0][0].decode() if last else "0-0"

    def changes(self, partition: NearPartition, since: str) -> tuple[list[Change], str] | None:
        """What happened since a position, and the new one; None where the stream no longer reaches back to it."""
        with reachable():
            oldest = self._client.xrange(partition.key("log"), count=1)
            if since != "0-0" and (not oldest or _order(oldest[0][0]) > _order(since.encode())):
                return None
            found = self._client.xrange(partition.key("log"), min=f"({since}" if since != "0-0" else "-", count=_CHUNK)
            if not found:
                return [], since
            ids = list(dict.fromkeys(fields[b"id"].decode() for _, fields in found))
            bodies = self._client.hmget(partition.key("entries"), ids)
        return [Change(id_, body) for id_, body in zip(ids, bodies, strict=True)], found[-1][0].decode()

    def served(self, partition: NearPartition, entry: str, messages: Sequence[str]) -> None:
        """Remember which entry is behind the reply to messages, for as long as people may judge it."""
        with reachable():
            for message in messages:
                self._client.set(near("behind", message), f"{partition.digest} {entry}", ex=self._feedback_ttl)

    def behind(self, message: str) -> tuple[NearPartition, str] | None:
        """The entry behind the reply to a message."""
        with reachable():
            raw = self._client.get(near("behind", message))
        if raw is None:
            return None
        digest, _, entry = raw.decode().partition(" ")
        return NearPartition(digest), entry

    def count(self, tenant: str, **counts: int) -> None:
        """Add to the figures of a tenant, which is a digest."""
        with reachable(), self._client.pipeline(transaction=False) as pipe:
            for name, value in counts.items():
                pipe.hincrby(near("state", tenant), name, value)
            pipe.execute()

    def figures(self, tenant: str) -> dict[str, int]:
        """The figures of a tenant, which is a digest."""
        with reachable():
            return {name.decode(): int(value) for name, value in self._client.hgetall(near("state", tenant)).items()}

    def partitions(self) -> list[NearPartition]:
        """Those there are, for a person's commands."""
        with reachable():
            return sorted(
                (NearPartition.of(name) for name in self._client.scan_iter(match=NEAR_PATTERN, count=1000)),
                key=lambda one: one.digest,
            )

    def size(self, partition: NearPartition) -> int:
        with reachable():
            return int(self._client.hlen(partition.key("entries")))


def _order(position: bytes) -> tuple[int, int]:
    ms, _, number = position.partition(b"-")
    return int(ms), int(number)


def now() -> int:
    """Unix time in seconds."""
    return round(time.time())
