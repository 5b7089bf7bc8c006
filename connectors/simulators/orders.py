"""A shop's own API as a registered tool meets it: the state of orders, and their cancellation, which must not happen twice."""

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from connectors.simulators.server import Simulator


class SimulatedOrders(Simulator):
    """Orders by number; whoever asks needs the key."""

    def __init__(self, key: str = "a-key-of-the-shop") -> None:
        super().__init__()
        self.key = key
        self.orders: dict[str, dict[str, Any]] = {}
        #: Numbers of cancelled orders, once for each time that somebody did it.
        self.cancelled: list[str] = []

    def routes(self) -> Sequence[web.RouteDef]:
        return [web.get("/orders/{number}", self._show), web.post("/orders/{number}/cancel", self._cancel)]

    async def _show(self, request: web.Request) -> web.Response:
        return web.json_response({"order": self._order(request)})

    async def _cancel(self, request: web.Request) -> web.Response:
        order = self._order(request)
        self.cancelled.append(request.match_info["number"])
        return web.json_response({"order": {**order, "state": "cancelled"}})

    def _order(self, request: web.Request) -> dict[str, Any]:
        if request.headers.get("authorization") != f"Bearer {self.key}":
            raise web.HTTPUnauthorized
        order = self.orders.get(request.match_info["number"])
        if order is None:
            raise web.HTTPNotFound
        return order
