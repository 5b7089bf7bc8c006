"""Where the vectors of a knowledge base are searched that is too large for a worker's memory: in the vector sets of a Redis 8.

A vector set is an HNSW graph (Malkov and Yashunin, arXiv 1603.09320) of vectors with eight bits for each number: approximate, and
outside of the workers. Up to some 100,000 passages memory is the right place, and exact (`engine.knowledge_loading`).
"""

import secrets
import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import redis
from numpy.typing import NDArray

from engine.errors import DecodeError, StartError
from engine.keys import VECTOR_NAMES, vectors
from engine.knowledge import Passage
from engine.knowledge_records import pack_vectors, unpack_vectors
from engine.store import CONNECT_TIMEOUT, SOCKET_TIMEOUT, Client, reachable

Vectors = NDArray[np.float32]

#: Elements in one trip to the server: a quarter of a second of its work.
TRIP = 200
#: How many candidates the graph is searched among: more are found more surely, and later. At 200 nearly every nearest one is found.
EFFORT = 200
#: An index that no version has may be one that is being filled; after so long it is not any more, seconds.
UNFINISHED = 86_400


@dataclass(frozen=True)
class Row:
    """A passage with the vectors of its texts."""

    passage: Passage
    vectors: Vectors


class VectorIndex(Protocol):
    """Indexes by name: filled once, then searched."""

    def publish(self, rows: Iterable[Row]) -> str:
        """Make an index of passages; its name. Nobody knows it before it is complete."""

    def search(self, name: str, questions: Vectors, k: int) -> list[list[Row]]:
        """The passages nearest to each question by the best of their texts, nearest first, at most k."""

    def drop(self, name: str) -> None:
        """Forget an index."""


class RedisVectors:
    """Search in vector sets. Every failure to reach the server rises as `StoreUnavailable`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @classmethod
    def connect(cls, url: str) -> "RedisVectors":
        """Vectors on the server at `url`.

        :raises StartError: if it has no vector sets.
        :raises StoreUnavailable: if it cannot be reached.
        """
        client = redis.Redis.from_url(
            url, socket_timeout=SOCKET_TIMEOUT, socket_connect_timeout=CONNECT_TIMEOUT, health_check_interval=30, protocol=2
        )
        try:
            with reachable():
                client.execute_command("VCARD", vectors("none", "set"))  # type: ignore[no-untyped-call]
        except redis.ResponseError as error:
            client.close()
            raise StartError(
                "the server of REPLYMILL_VECTORS has no vector sets: it must be Redis 8 with its module `vectorset`; "
                "or leave the variable empty, and workers search in their own memory"
            ) from error
        return cls(client)

    def publish(self, rows: Iterable[Row]) -> str:
        name = secrets.token_hex(8)
        with reachable():
            self._client.zadd(VECTOR_NAMES, {name: time.time()})
            pipeline = self._client.pipeline(transaction=False)
            for number, row in enumerate(rows):
                pipeline.hset(vectors(name, "rows"), str(number), _packed(row))
                for place, vector in enumerate(row.vectors):
                    raw = vector.astype("<f4").tobytes()
                    pipeline.execute_command("VADD", vectors(name, "set"), "FP32", raw, f"{number}.{place}")
                if len(pipeline) >= TRIP:
                    pipeline.execute()
            pipeline.execute()
        return name

    def search(self, name: str, questions: Vectors, k: int) -> list[list[Row]]:
        with reachable():
            pipeline = self._client.pipeline(transaction=False)
            for question in questions:
                raw = question.astype("<f4").tobytes()
                pipeline.execute_command(
                    "VSIM", vectors(name, "set"), "FP32", raw, "COUNT", str(max(k * 4, EFFORT // 2)), "EF", str(max(EFFORT, k * 4))
                )
            found = pipeline.execute() if len(questions) else []
        return [self._rows(name, list(dict.fromkeys(element.partition(b".")[0] for element in elements))[:k]) for elements in found]

    def has(self, name: str) -> bool:
        """Whether the index is there: the server may have lost what it held."""
        with reachable():
            return bool(self._client.exists(vectors(name, "rows")))

    def unfinished(self) -> list[str]:
        """Names of indexes whose filling began more than a day ago: those that no version has were never finished."""
        with reachable():
            return [raw.decode() for raw in self._client.zrangebyscore(VECTOR_NAMES, 0, time.time() - UNFINISHED)]

    def drop(self, name: str) -> None:
        with reachable():
            self._client.unlink(vectors(name, "set"), vectors(name, "rows"))
            self._client.zrem(VECTOR_NAMES, name)

    def _rows(self, name: str, numbers: Sequence[bytes]) -> list[Row]:
        if not numbers:
            return []
        with reachable():
            found = self._client.hmget(vectors(name, "rows"), list(numbers))
        return [_unpacked(raw) for raw in found if raw is not None]


def _packed(row: Row) -> bytes:
    """Count of vectors and length of the passage, uint32 each; the passage; the vectors."""
    passage = row.passage.encode()
    return struct.pack("<II", len(row.vectors), len(passage)) + passage + pack_vectors(row.vectors)


def _unpacked(raw: bytes) -> Row:
    try:
        rows, length = struct.unpack_from("<II", raw)
    except struct.error as error:
        raise DecodeError("a passage with its vectors", raw, error) from error
    return Row(Passage.decode(raw[8 : 8 + length]), unpack_vectors(raw[8 + length :], rows))
