"""A connection must say soon what it wants: without that, silent ones would hold every place there is."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Headers must be complete within this time after connecting, or after the first byte of a further request; seconds.
HEADER_TIMEOUT = 10.0


class HastyProtocol(HttpToolsProtocol):
    """Uvicorn's protocol, which closes a connection whose headers do not come; between requests uvicorn's keep-alive does."""

    header_timeout = HEADER_TIMEOUT
    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm()

    def data_received(self, data: bytes) -> None:
        # Uvicorn ends its keep-alive at the first byte, be it a whole request or a lone newline.
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._arm()

    def on_headers_complete(self) -> None:
        self._disarm()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def _arm(self) -> None:
        """Further bytes win no further time."""
        if self._limit is None and not self.transport.is_closing():
            self._limit = self.loop.call_later(self.header_timeout, self.transport.close)

    def _disarm(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
