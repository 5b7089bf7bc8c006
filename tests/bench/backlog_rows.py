"""The row of a backlog of a million: what a move costs on a server that holds it, against one that holds nothing."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import redis

from engine.keys import Direction
from engine.lanes import Lanes
from engine.messages import Address, Delivery, InboundMessage, Reply, Source
from engine.moves import Accepted, Claim, Release
from engine.scripts import Call
from engine.settings import Settings
from tests.bench.rows import Row, used
from workers import embedded

#: Waiting messages, each in a conversation of its own, which is the most that Redis can be asked to hold for them.
MESSAGES = 1_000_000
TEXT = "Where is my order number 4711, please?"
#: Messages of one exchange with Redis while the backlog is made.
EXCHANGE = 1000
#: Moves of one kind in one round on one server; rounds on the two servers take turns.
MOVES, ROUNDS = 500, 9
#: Lanes of one claim, as many as a worker with one replica takes.
LANES = 32
#: A command that takes longer stands in the log of slow ones, microseconds.
SLOW_US = 5000


@contextmanager
def server() -> Iterator[redis.Redis]:
    with (
        tempfile.TemporaryDirectory() as name,
        embedded.serving(Path(name) / "redis", log=Path(name) / "redis.log") as running,
        redis.Redis.from_url(running.url) as client,
    ):
        client.config_set("slowlog-log-slower-than", SLOW_US)
        yield client


class Bench:
    """One server and the moves that are timed on it."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self.client = client
        self.lanes = Lanes(settings)
        self.number = 0
        self.times: dict[str, list[float]] = {"accept": [], "claim": []}

    def message(self) -> Call[Accepted]:
        """The next one."""
        self.number += 1
        address = Address(platform="webhook", tenant=f"t{self.number % 10}", channel="shop", thread=f"c{self.number}")
        notice = Delivery(id="n-0", reply=Reply(in_reply_to=(), address=address, text="full", source=Source.FALLBACK))
        message = InboundMessage(address=address, sender="u", text=TEXT, dedupe_ids=(f"msg_{self.number:016x}",))
        return self.lanes.accept(message, deadline=86_400, quiet=(0, 0), notice=notice)

    def fill(self) -> None:
        """Put all messages on their lanes, many in each exchange with Redis; the first one teaches it the script."""
        self.message().run(self.client)
        with self.client.pipeline(transaction=False) as pipeline:
            for _ in range(MESSAGES // EXCHANGE):
                for _ in range(EXCHANGE):
                    replace(self.message(), read=lambda queued: queued).run(pipeline)
                pipeline.execute()

    def round(self) -> None:
        """Accept so many, and claim as many, whose lanes are given back at once."""
        self._timed("accept", self.message, MOVES)
        shard = self.lanes.shards[0]
        for _ in range(MOVES // LANES):
            (claim,) = self._timed("claim", self._claim, 1)
            given_back = [Release(lane=lane) for lane in claim.lanes]
            self.lanes.release(shard, Direction.IN, given_back).run(self.client)

    def _claim(self) -> Call[Claim]:
        return self.lanes.claim(self.lanes.shards[0], Direction.IN, items=LANES, tokens=1_000_000, empty=True)

    def _timed(self, name: str, move: Callable[[], Call[Any]], count: int) -> list[Any]:
        found = []
        for _ in range(count):
            call = move()
            began = time.perf_counter()
            found.append(call.run(self.client))
            self.times[name].append((time.perf_counter() - began) * 1000)
        return found

    def medians(self) -> dict[str, float]:
        """Milliseconds of each kind since the last call."""
        found = {name: statistics.median(times) for name, times in self.times.items()}
        self.times = {name: [] for name in self.times}
        return found


def backlog_1m() -> Row:
    """A million messages wait; accept and claim take turns on that server and on an empty one."""
    with server() as full, server() as empty:
        settings = Settings(redis_url=_url(full), secret_key="of the bench", tenant_messages=10 * MESSAGES)
        loaded, bare = Bench(full, settings), Bench(empty, replace(settings, redis_url=_url(empty)))
        before = used(full)
        loaded.fill()
        each = (used(full) - before) / MESSAGES - len(TEXT)
        ratios: dict[str, list[float]] = {"accept": [], "claim": []}
        costs: list[dict[str, float]] = []
        for number in range(ROUNDS + 1):
            empty.flushall()
            bare.round()
            loaded.round()
            theirs, mine = bare.medians(), loaded.medians()
            if number:  # the first round warms both
                costs.append(mine)
                for name, found in ratios.items():
                    found.append(mine[name] / theirs[name])
        slow = [f"{entry['command'].split()[0].decode()} {entry['duration']} us" for entry in full.slowlog_get(10)]
        waiting = int(full.hget("rm:{0}:in:stats", "messages") or 0)
    worst = {name: round(statistics.median(found), 3) for name, found in ratios.items()}
    detail = {
        "accept_ratio": worst["accept"],
        "claim_ratio": worst["claim"],
        "accept_ms": round(statistics.median(cost["accept"] for cost in costs), 3),
        "claim_ms": round(statistics.median(cost["claim"] for cost in costs), 3),
        "bytes_each": round(each),
        "slow_commands": slow,
        "waiting": waiting,
    }
    value = max(worst.values())
    goal = "accept and claim at most 1.10 of an empty queue, under 1,000 bytes each beyond the text, no command over 5 ms"
    return Row(value, goal, value <= 1.10 and each < 1000 and not slow and waiting >= MESSAGES, detail)


def _url(client: redis.Redis) -> str:
    found = client.connection_pool.connection_kwargs
    return f"redis://:{found['password']}@{found['host']}:{found['port']}/0"


ROWS: dict[str, Callable[[], Row]] = {"backlog-1m": backlog_1m}
