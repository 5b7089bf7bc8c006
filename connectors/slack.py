"""Slack: events over HTTP (`/slack/<name>/events`) or Socket Mode in, chat.postMessage out.

The parts: `slack_events` translates, `slack_door` and `slack_socket` let in, `slack_posting` and `slack_showing` post, and
`slack_oauth` has the tokens; `slack_calls` knows what goes wrong.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

import aiohttp
import structlog
from slack_bolt.adapter.starlette.async_handler import to_async_bolt_request, to_starlette_response
from slack_bolt.oauth.async_oauth_flow import AsyncOAuthFlow
from slack_sdk.web.async_client import AsyncWebClient
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from connectors import contract, slack_files, slack_links, slack_posting, slack_socket
from connectors.contract import Check, Take, Times
from connectors.guard import problem
from connectors.links import Located
from connectors.slack_calls import GONE, client, session
from connectors.slack_checks import check_channel, checks, probe
from connectors.slack_door import Door, nobody
from connectors.slack_events import ASKED, NAME, locate
from connectors.slack_oauth import App
from connectors.slack_showing import Show
from connectors.slack_store import Kept
from engine.accounts import SlackApp
from engine.errors import DeliveryRefused, RetryLater, StoreUnavailable
from engine.lanes import Lanes
from engine.limits import Limit
from engine.messages import Address, Delivery, Media, Receipt, Reply
from engine.settings import Settings
from engine.store import AsyncClient

log = structlog.get_logger()

#: Messages a second in one channel; short bursts are tolerated, and not counted on. [D]
CHANNEL_LIMIT = 1
#: Messages a minute in one workspace: "several hundred". [R]
WORKSPACE_LIMIT = 300


class Slack:
    """All Slack apps of `Settings.accounts`."""

    name = NAME
    #: A repeated chat.postMessage is a second message; but Slack can be asked, see `find`.
    idempotent = False
    bots_meet = True
    timeless = False

    def __init__(self, settings: Settings, client: AsyncClient) -> None:
        """:raises SettingsError: an account cannot be used."""
        self.times = Times.chat(settings)
        self._settings = settings
        self._kept = Kept(settings, client)
        self._show = Show(self._kept, send_timeout=settings.send_timeout)
        found = settings.accounts.get(NAME, {}).items()
        self._apps = {name: App(account, settings, self._kept) for name, account in found if isinstance(account, SlackApp)}
        self._doors: dict[str, Door] = {}
        self._session: aiohttp.ClientSession | None = None

    def routes(self, take: Take) -> Sequence[BaseRoute]:
        for name in self._apps:
            self._door(name, take)
        return [
            Route("/slack/{name}/events", self._events, methods=["POST"]),
            Route("/slack/{name}/install", self._install, methods=["GET"]),
            Route("/slack/{name}/oauth_redirect", self._redirect, methods=["GET"]),
        ]

    async def listen(self, take: Take) -> None:
        apps = [app for app in self._apps.values() if app.account.app_token]
        async with asyncio.TaskGroup() as group:
            for app in apps:
                group.create_task(slack_socket.listen(app.account, self._door(app.account.name, take)))

    def split(self, text: str) -> Sequence[str]:
        return slack_posting.split(text)

    def limits(self, delivery: Delivery) -> Sequence[Limit]:
        address = delivery.reply.address
        name, place, channel = locate(address)
        return (
            Limit((NAME, address.tenant, name, place, channel), CHANNEL_LIMIT, 1.0),
            Limit((NAME, address.tenant, name, place), WORKSPACE_LIMIT, 60.0),
        )

    def offers(self, reply: Reply) -> bool:
        """A button shows the beginning of a long choice, and says all of it."""
        return True

    async def send(self, delivery: Delivery) -> Receipt:
        """Post a reply where the question was asked; a hand-over is its text in the same place."""
        if not delivery.reply.text.strip():
            return Receipt(delivery=delivery.id)
        name, place, channel = locate(delivery.reply.address)
        try:
            calls = await self._calls(name, place)
            thread = await self._kept.below(channel, delivery.reply.address.thread, delivery.turn)
            shown = await self._show.finish(calls, delivery, channel, thread=thread)
        except StoreUnavailable as error:
            raise RetryLater(str(error), after=0) from error
        try:
            receipt = shown or await slack_posting.post(calls, delivery, channel, thread=thread)
            await self._follow(delivery, receipt)
            return receipt
        except DeliveryRefused as refused:
            if any(str(refused).endswith(code) for code in GONE):
                await self._apps[name].tokens.gone(place, str(calls.token))
            raise

    async def find(self, delivery: Delivery) -> Receipt | None:
        """Look where it was posted, as far back as a delivery may be tried.

        :raises RetryLater: it cannot be told now.
        :raises DeliveryRefused: it never can.
        """
        name, place, channel = locate(delivery.reply.address)
        within = self._settings.deadline_chat + self._settings.deadline_delivery
        try:
            calls = await self._calls(name, place)
            thread = await self._kept.below(channel, delivery.reply.address.thread, delivery.turn)
        except StoreUnavailable as error:
            raise RetryLater(str(error), after=0) from error
        return await slack_posting.find(calls, delivery, channel, thread=thread, within=within)

    async def show(self, address: Address, turn: str, text: str) -> None:
        name, place, channel = locate(address)
        try:
            calls = await self._calls(name, place)
            thread = await self._kept.below(channel, address.thread, turn)
        except (DeliveryRefused, StoreUnavailable):  # then the reply will say what is wrong
            return
        if text:
            await self._show.text(calls, channel, thread, turn=turn, text=text)
        else:
            await self._show.status(calls, channel, thread)

    async def fetch(self, address: Address, media: Media, most: int) -> bytes:
        name, place, _ = locate(address)
        return await slack_files.fetch(await self._calls(name, place), self._apps[name].account, media, most)

    async def check(self) -> Sequence[Check]:
        found: list[Check] = []
        for app in self._apps.values():
            one = app.account
            found += await checks(self._client(one, one.bot_token), self._client(one, one.app_token), one)
        return found

    async def locate(self, link: str) -> Sequence[Located]:
        """Slack says which workspace a link is of; one that installed the app by OAuth is named by its id instead."""
        found = slack_links.parse(link)
        accounts = [app.account for app in self._apps.values() if app.account.bot_token] if found else []
        places = [await slack_links.place_of(self._client(account, account.bot_token), account) for account in accounts]
        return [one for place in places if found for one in slack_links.located(place, found)]

    async def check_place(self, account: str, team: str, channel: str) -> Check:
        return await check_channel(await self._calls(account, team), account, channel)

    def probes(self) -> Mapping[str, contract.Request]:
        return {f"/slack/{name}/events": probe(app.account) for name, app in self._apps.items()}

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        self._session = None
        await self._kept.close()

    async def _follow(self, delivery: Delivery, receipt: Receipt) -> None:
        """What is asked below the reply to a command is for the bot too."""
        if not delivery.reply.address.thread.startswith(ASKED):
            return
        with suppress(StoreUnavailable):  # it is sent; then a mention is needed below it
            await self._kept.engage(*locate(delivery.reply.address), receipt.platform_id)

    async def _calls(self, name: str, place: str) -> AsyncWebClient:
        """A client with the token of one installation, which is looked up each time: it may have been refreshed or withdrawn."""
        app = self._apps.get(name)
        if app is None:
            raise DeliveryRefused(f"the Slack account {name!r} is not configured any more")
        return self._client(app.account, await app.tokens.token(place, self._client(app.account, None)))

    def _client(self, account: SlackApp, token: str | None) -> AsyncWebClient:
        """Made inside the event loop that uses it."""
        if self._session is None:
            self._session = session(self._settings.deliveries)
        return client(account, token, self._session)

    def _door(self, name: str, take: Take) -> Door:
        if name not in self._doors:
            self._doors[name] = Door(self._apps[name], self._kept, lanes=Lanes(self._settings), take=take)
        return self._doors[name]

    async def _events(self, request: Request) -> Response:
        door = self._doors.get(request.path_params["name"])
        return await (door.receive(request) if door else nobody(request))

    async def _install(self, request: Request) -> Response:
        """Where a workspace's administrator begins."""
        asked = to_async_bolt_request(request, b"")
        return to_starlette_response(await self._pages(request).handle_installation(asked))

    async def _redirect(self, request: Request) -> Response:
        """Where Slack sends the browser back to."""
        pages = self._pages(request)
        try:
            return to_starlette_response(await pages.handle_callback(to_async_bolt_request(request, b"")))
        except (aiohttp.ClientError, TimeoutError, AttributeError, ValueError) as error:
            log.warning("Slack cannot be asked about an installation", action="slack.not_installed", error=type(error).__name__)
            return problem(503, "Slack cannot be reached: begin the installation again in some minutes")

    def _pages(self, request: Request) -> AsyncOAuthFlow:
        app = self._apps.get(request.path_params["name"])
        if app is None or not app.account.client_id:
            raise HTTPException(404)
        return app.pages
