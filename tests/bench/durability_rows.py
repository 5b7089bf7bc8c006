"""What it costs to acknowledge a message only once it is on the disk."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.load import percentile, requests, send
from tests.bench.rows import Row
from tests.conftest import newest_binary
from tests.system import Receiver, System
from workers import embedded

ROUNDS, MESSAGES, RATE = 5, 400, 200
WAYS = ("everysec", "fsync")


@contextmanager
def web(durability: str, binary: Path | None) -> Iterator[System]:
    """A web process on a Redis of its own, both as `replymill up` starts them under that setting."""
    with (
        tempfile.TemporaryDirectory() as name,
        embedded.serving(Path(name) / "redis", log=Path(name) / "log", binary=binary, durability=durability) as server,
    ):
        receiver = Receiver()
        system = System(server.url, embedded.free_port(), Path(name), receiver, {"DURABILITY": durability})
        try:
            system.start("web")
            yield system
        finally:
            system.stop_all()
            receiver.close()


def fsync_overhead() -> Row:
    """Rounds with and without take turns, on Redis 6.2 (`appendfsync always`) and, where there is one, on 8.2 (`WAITAOF`)."""
    found: dict[str, dict[str, list[float]]] = {}
    for server, binary in (("redis-6.2", embedded.packaged_binary()), ("redis-8.2", newest_binary())):
        if binary is not None:
            found[server] = _medians(binary)
    detail = {f"{server} {way}": values for server, ways in found.items() for way, values in ways.items()}
    worst = max(sorted(values)[len(values) // 2] for name, values in detail.items() if name.endswith("fsync"))
    return Row(worst, "p50 under 50 ms with fsync", worst < 50, {"p50_ms": detail, "offered_per_s": RATE, "messages": MESSAGES})


def _medians(binary: Path) -> dict[str, list[float]]:
    medians: dict[str, list[float]] = {way: [] for way in WAYS}
    with web("everysec", binary) as without, web("fsync", binary) as with_fsync:
        systems = dict(zip(WAYS, (without, with_fsync), strict=True))
        for turn in range(ROUNDS + 1):
            for way, system in systems.items():
                latencies, _ = asyncio.run(send(system.port, requests(MESSAGES, port=system.port), rate=RATE))
                # The first round warms up.
                if turn:
                    medians[way].append(percentile(latencies, 50))
    return medians


ROWS = {"fsync-overhead": fsync_overhead}
