"""The fence of `connectors.fence` for Slack's client, which sends by aiohttp: whoever has no Slack does not load that."""

from typing import Any

import aiohttp

from connectors.fence import check
from engine.errors import Stale


class FencedRequest(aiohttp.ClientRequest):
    """For sessions of aiohttp, which write the headers together with the body."""

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        check()
        return await super().send(conn)

    async def write_bytes(self, writer: Any, conn: Any, *arguments: Any, **options: Any) -> None:
        try:
            check()
        except Stale as stale:
            # Who waits for the answer hears of it.
            conn.protocol.set_exception(stale)
            conn.close()
            return
        await super().write_bytes(writer, conn, *arguments, **options)
