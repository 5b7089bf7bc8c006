"""A simulated receiver of callbacks: it checks what is signed, and knows a repeat by its webhook-id, as its sender asks it to."""

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from connectors.bodies import read_object
from connectors.signatures import STANDARD, secret_bytes, verify
from connectors.simulators.server import Simulator
from engine.errors import MalformedRequest, RejectedRequest


class WebhookReceiver(Simulator):
    """The customer's own server."""

    def __init__(self, secret: str) -> None:
        super().__init__()
        self._secret = secret_bytes(secret)
        #: The data of each reply, once, in the order in which they came.
        self.replies: list[dict[str, Any]] = []
        #: Ids of deliveries, each as often as it came.
        self.ids: list[str] = []
        self._known: set[str] = set()

    @property
    def callback(self) -> str:
        return f"{self.url}/replies"

    def routes(self) -> Sequence[web.RouteDef]:
        return [web.post("/replies", self._take)]

    async def _take(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = await request.read()
        try:
            verify(STANDARD, (self._secret,), headers=headers, body=body)
            data = read_object(body)["data"]
        except (RejectedRequest, MalformedRequest, KeyError) as error:
            return web.Response(status=400, text=type(error).__name__)
        delivery = headers["webhook-id"]
        self.ids.append(delivery)
        if delivery not in self._known:
            self._known.add(delivery)
            self.replies.append(data)
            self.took_effect(data)
        return web.Response(status=204)
