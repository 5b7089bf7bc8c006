"""A lean HTTP load: requests signed beforehand, sent over kept-alive connections at set times, latency counted from the set time.

Counting from the time a request was due, not from when a connection was free, keeps a stall from hiding itself (coordinated
omission).
"""

import asyncio
import json
import secrets
import statistics
import time
from collections.abc import Sequence

from tests.system import SECRET, sign

#: Connections the load is spread over.
CONNECTIONS = 16


def requests(count: int, *, port: int, text: str = "Where is my order?", conversations: int = 0) -> list[bytes]:
    """Signed requests of messages, each in its own conversation unless told otherwise."""
    timestamp = str(int(time.time()))
    made = []
    for number in range(count):
        thread = f"c{number % conversations if conversations else number}-{secrets.token_hex(4)}"
        body = json.dumps({"conversation": thread, "user": "u", "text": text}).encode()
        webhook_id = "msg_" + secrets.token_hex(8)
        head = (
            f"POST /webhooks/shop HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
            f"webhook-id: {webhook_id}\r\nwebhook-timestamp: {timestamp}\r\n"
            f"webhook-signature: {sign(SECRET, webhook_id, timestamp, body)}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        made.append(head.encode() + body)
    return made


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    await reader.readexactly(length)
    return int(head.split(b" ", 2)[1])


async def send(port: int, made: Sequence[bytes], *, rate: float = 0, status: int = 202) -> tuple[list[float], float]:
    """Send all; `rate` per second, or as fast as the answers come. Says the latencies in ms and the seconds it took.

    :raises AssertionError: if any answer has another status.
    """
    latencies: list[float] = []
    started = time.perf_counter()
    numbers = iter(range(len(made)))

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in numbers:
            due = started + number / rate if rate else time.perf_counter()
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            answered = await _exchange(reader, writer, made[number])
            assert answered == status, f"answered {answered}"
            latencies.append((time.perf_counter() - due) * 1000)
        writer.close()

    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    return latencies, time.perf_counter() - started


def percentile(values: Sequence[float], percent: int) -> float:
    """By linear interpolation, rounded to hundredths."""
    return round(statistics.quantiles(values, n=100, method="inclusive")[percent - 1], 2)
