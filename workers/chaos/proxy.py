"""Run as a script, `python -m workers.chaos.proxy PORT TARGET`: a TCP proxy on 127.0.0.1, to be killed or stopped.

Killed, it cuts every connection that goes through it; stopped (SIGSTOP), it lets nothing through, like a network gone silent.
"""

import asyncio
import sys
from typing import cast

import uvloop

HOST = "127.0.0.1"
#: Bytes that may wait for a side that does not read.
_HIGH_WATER = 1 << 20


class Pipe(asyncio.Protocol):
    """One end of a connection; what it hears goes to the other."""

    def __init__(self, target: int = 0) -> None:
        self._target = target
        self._other: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self._mine: asyncio.Transport | None = None
        self._opening: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._mine = cast(asyncio.Transport, transport)
        self._mine.set_write_buffer_limits(high=_HIGH_WATER)
        if self._target:
            self._opening = asyncio.get_running_loop().create_task(self._open())

    def data_received(self, data: bytes) -> None:
        if self._other is not None:
            self._other.write(data)
        else:
            self._early.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._other is not None:
            self._other.close()

    def join(self, other: asyncio.Transport) -> None:
        """From here on this end speaks to the other."""
        self._other = other
        for data in self._early:
            other.write(data)

    async def _open(self) -> None:
        assert self._mine is not None
        try:
            transport, far = await asyncio.get_running_loop().create_connection(Pipe, HOST, self._target)
        except OSError:
            self._mine.abort()
            return
        far.join(self._mine)
        self.join(transport)


async def serve(port: int, target: int) -> None:
    """Pass on what comes to `port`, until the process ends."""
    server = await asyncio.get_running_loop().create_server(lambda: Pipe(target), HOST, port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
