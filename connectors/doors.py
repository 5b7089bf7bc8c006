"""The ways in of every platform, all to the intake: requests it signs, routes of its own, connections that we listen on."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from connectors import arrival, contract, journal
from connectors.contract import Hosting, Inbound, Listening, Platform, Receiver, Taken
from connectors.figures import Figures
from connectors.guard import answer, explain
from connectors.intake import Intake
from engine.errors import LaneFull, Overloaded, StoreUnavailable, UnparseableMessage

log = structlog.get_logger()


class Doors:
    """The doors of one web process."""

    def __init__(self, platforms: Mapping[str, Platform], intake: Callable[[], Intake], figures: Figures) -> None:
        self._platforms = platforms
        self._intake = intake
        self._figures = figures

    def routes(self) -> list[BaseRoute]:
        found: list[BaseRoute] = []
        for platform in self._platforms.values():
            if isinstance(platform, Receiver):
                found += [Route(path, self.door(platform), methods=["POST"]) for path in platform.paths]
            if isinstance(platform, Hosting):
                found += platform.routes(partial(self.take, platform))
        return found

    def listeners(self) -> list[asyncio.Task[None]]:
        """One background task for each platform that is listened to."""
        return [
            asyncio.create_task(platform.listen(partial(self.take, platform)), name=platform.name)
            for platform in self._platforms.values()
            if isinstance(platform, Listening)
        ]

    def door(self, platform: Receiver) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint at which a platform's requests come in."""

        async def receive(request: Request) -> Response:
            name = request.path_params.get("name", "")
            asked = contract.Request(name, headers_of(request), await request.body())
            platform.verify(asked)
            arrival.verified()
            try:
                taken = await self.receive(platform, asked)
            except (StoreUnavailable, Overloaded) as error:
                return explain(error, away=platform.away)
            said = platform.acknowledge(taken)
            return Response(status_code=said.status) if said.content is None else answer(said.content, said.status)

        return receive

    async def receive(self, platform: Receiver, asked: contract.Request) -> list[Taken]:
        """Make everything in a verified request durable; what cannot be parsed is kept as a dead letter."""
        try:
            inbound = platform.parse(asked)
        except UnparseableMessage as error:
            buried = await journal.bury(self._intake(), platform, asked, reason=str(error))
            self._figures.settled(platform.name, buried.verdict)
            return [buried]
        return [await self.take(platform, one) for one in inbound]

    async def take(self, platform: Platform, inbound: Inbound) -> Taken:
        """Do what came in asks for, and count it.

        That one conversation is full is no error: its person was told, and a refusal would make the platform throttle, repeat
        or give up all others too. Who sends for itself alone may refuse it in `acknowledge`.
        """
        intake = self._intake()
        try:
            taken = await journal.settle(intake, platform, inbound)
        except LaneFull:
            taken = journal.full(intake, inbound)
        self._figures.settled(platform.name, taken.verdict)
        return taken


def headers_of(request: Request) -> dict[str, str]:
    """Names in lower case; a repeated header is joined by commas, which no signature bears."""
    found: dict[str, str] = {}
    for raw_name, raw_value in request.scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        found[name] = f"{found[name]},{value}" if name in found else value
    return found
