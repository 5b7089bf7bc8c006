"""Zammad: a bot that answers tickets which no agent owns, and leaves a ticket to a group when a person is needed.

A trigger posts a ticket and its newest article to `POST /zammad/<name>`, signed and without a time. The ticket is read again right
before a reply is posted, because an agent may have taken it meanwhile. A posted article carries its delivery's id among its
`preferences`, which Zammad keeps as they are; a message id or a comment in the HTML it would replace.
"""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from connectors import formatting, zammad_events
from connectors.api import Api
from connectors.attachments import legible, written
from connectors.contract import Acknowledgement, Check, Inbound, Notice, Ownership, Request, Take, Taken, Times
from connectors.links import Located, parts_of
from connectors.signatures import verify
from connectors.wishes import read
from connectors.zammad_api import files_of, is_answered, is_ours, load, marks_of, note, post_article, reply_to, text_of
from connectors.zammad_checks import checks
from connectors.zammad_events import SCHEME, Article, delivery_of, ids_of, is_asked, owner_of, probe
from connectors.zammad_known import AGAIN, NOBODY_ID, Known, learn
from engine.accounts import ZammadDesk
from engine.errors import DeliveryRefused, NothingToAnswer, Withdrawn
from engine.limits import Limit
from engine.messages import Action, Address, Delivery, InboundMessage, Media, Owner, Receipt
from engine.settings import Settings
from engine.store import AsyncClient

NAME = "zammad"

#: Characters of a reply: an article takes 1,500,000 (`app/models/ticket/article.rb` [S]), and HTML is not 20 times as long.
LONGEST = 1_500_000 // 20
#: What an agent copies: a ticket, or one of its articles.
TICKET_LINK = r"/?#ticket/zoom/(?P<ticket>[0-9]{1,19})(/(?P<article>[0-9]{1,19}))?"


class Zammad:
    """All desks of `Settings.accounts`."""

    name = NAME
    paths = ("/zammad/{name}",)
    idempotent = False
    #: Mail is answered by machines too.
    bots_meet = True
    timeless = True
    #: Everything but 2xx is repeated, up to four times [D].
    away = 503

    def __init__(self, settings: Settings, client: AsyncClient | None = None) -> None:
        self.times = Times.chat(settings)
        self._settings = settings
        self._desks = {name: desk for name, desk in settings.accounts.get(NAME, {}).items() if isinstance(desk, ZammadDesk)}
        #: Stands in for the secret of a desk that does not exist.
        self._nobody = (secrets.token_bytes(32),)
        self._apis: dict[str, Api] = {}
        #: What each desk has said of itself, or its settings.
        self._known = {name: Known(bot=desk.user_id) for name, desk in self._desks.items()}

    async def listen(self, take: Take) -> None:
        """Ask each desk who the bot is and what its states mean, now and then: what a webhook says depends on it."""
        while self._desks:
            for desk in self._desks.values():
                await self._learned(desk)
            await asyncio.sleep(AGAIN)

    def verify(self, request: Request) -> None:
        desk = self._desks.get(request.name)
        keys = tuple(key.encode() for key in desk.webhook_secret.split()) if desk else self._nobody
        verify(SCHEME, keys, headers=request.headers, body=request.body)

    def parse(self, request: Request) -> tuple[Inbound, ...]:
        event, known = zammad_events.read(request.body), self._known[request.name]
        address = self._address(request.name, str(event.ticket.id))
        owner = owner_of(event, known)
        owned: tuple[Inbound, ...] = (Ownership(address, owner),) if owner else ()
        over = known.is_over(event.ticket.state, event.ticket.state_id)
        if over or not is_asked(event.article, self._settings.dedupe_ttl):
            return owned
        return (*owned, *self._said(address, ids_of(request, event), event.article, person=owner is Owner.HUMAN))

    def origin(self, request: Request) -> tuple[Address, str]:
        named = delivery_of(request) or hashlib.sha256(request.body).hexdigest()
        return self._address(request.name, ""), f"{request.name}/event/{named}"

    def acknowledge(self, taken: Sequence[Taken]) -> Acknowledgement:
        return Acknowledgement()

    def split(self, text: str) -> Sequence[str]:
        return formatting.split(text, lambda part: len(part) <= LONGEST)

    def limits(self, delivery: Delivery) -> Sequence[Limit]:
        """Zammad has none of its own."""
        return ()

    async def send(self, delivery: Delivery) -> Receipt:
        """Answer a ticket that nobody owns, or leave it to the agents; what is there already is not posted again."""
        api, ticket_id = self._reach(delivery.reply.address)
        ticket, articles = await load(api, ticket_id)
        posted = marks_of(articles)
        known = await self._learned(self._desks[delivery.reply.address.channel])
        if known.is_gone(ticket.get("state"), ticket.get("state_id")) and delivery.id not in posted:
            raise DeliveryRefused(f"the ticket is {ascii(ticket.get('state'))[:40]}, and nobody reads it any more")
        ours = await is_ours(api, ticket, known)
        if delivery.action is Action.HAND_OVER and ours:
            return await self._hand_over(delivery, api, ticket, articles, known)
        if delivery.action is Action.HAND_OVER or delivery.id in posted:
            return Receipt(delivery=delivery.id, platform_id=posted.get(delivery.id, ""))
        if not ours or is_answered(articles):
            raise Withdrawn("an agent owns the ticket, or has answered it")
        if known.is_over(ticket.get("state"), ticket.get("state_id")):
            raise Withdrawn(f"the ticket is {ascii(ticket.get('state'))[:40]}")
        return await self._post(delivery, api, ticket_id, articles)

    async def find(self, delivery: Delivery) -> Receipt | None:
        """The article of an earlier attempt.

        :raises RetryLater: it cannot be asked now.
        """
        if delivery.action is Action.HAND_OVER:
            return None  # each of its steps can be repeated
        api, ticket_id = self._reach(delivery.reply.address)
        _, articles = await load(api, ticket_id)
        posted = marks_of(articles)
        return Receipt(delivery=delivery.id, platform_id=posted[delivery.id]) if delivery.id in posted else None

    async def fetch(self, address: Address, media: Media, most: int) -> bytes:
        api, ticket_id = self._reach(address)
        place = f"{self._desks[address.channel].base_url.rstrip('/')}/api/v1/ticket_attachment/{ticket_id}/{media.reference}"
        return await api.file(place, most=most, opened=True)

    async def check(self) -> Sequence[Check]:
        return [one for desk in self._desks.values() for one in await checks(self._client(desk), desk)]

    async def locate(self, link: str) -> Sequence[Located]:
        found = [(name, parts_of(link, desk.base_url, TICKET_LINK)) for name, desk in self._desks.items()]
        return [self._located(name, parts["ticket"], parts.get("article", "")) for name, parts in found if parts]

    def probes(self) -> Mapping[str, Request]:
        return {f"/zammad/{name}": probe(name, desk.webhook_secret.split()[0]) for name, desk in self._desks.items()}

    async def close(self) -> None:
        for api in self._apis.values():
            await api.close()
        self._apis.clear()

    def _said(self, address: Address, ids: tuple[str, ...], article: Article, *, person: bool) -> tuple[Inbound, ...]:
        """What a person answers is kept for the history; it asks nothing of the bot."""
        try:
            media = () if person else legible(files_of(article.id, article.attachments), self._settings.media)
            text = written(text_of(article.body or "", article.content_type or ""), media)
        except NothingToAnswer:
            return () if person else (Notice(address, ids, "no_text"),)
        message = InboundMessage(address=address, sender=str(article.created_by_id or ""), text=text, dedupe_ids=ids, media=media)
        return (message if person else read(message),)

    def _address(self, name: str, ticket: str) -> Address:
        return Address(platform=NAME, tenant=self._desks[name].tenant, channel=name, thread=ticket)

    def _located(self, name: str, ticket: str, article: str) -> Located:
        return Located(self._address(name, ticket), f"{name}/{ticket}/{article}" if article else "")

    def _reach(self, address: Address) -> tuple[Api, str]:
        """The client of the desk, and the id of the ticket.

        :raises DeliveryRefused: the desk is not configured any more.
        """
        desk = self._desks.get(address.channel)
        if desk is None:
            raise DeliveryRefused(f"the Zammad desk {address.channel!r} is not configured any more")
        return self._client(desk), address.thread

    def _client(self, desk: ZammadDesk) -> Api:
        """One for each desk, made inside the event loop that uses it."""
        if desk.name not in self._apis:
            headers = {"authorization": f"Token token={desk.token}"}
            self._apis[desk.name] = Api("Zammad", desk.base_url, headers=headers, connections=self._settings.deliveries)
        return self._apis[desk.name]

    async def _post(self, delivery: Delivery, api: Api, ticket_id: str, articles: Sequence[Any]) -> Receipt:
        body = formatting.to_html(delivery.reply.text)
        article = await post_article(api, ticket_id, body, mark=delivery.id, fields=reply_to(articles))
        return Receipt(delivery=delivery.id, platform_id=article)

    async def _hand_over(
        self, delivery: Delivery, api: Api, ticket: Mapping[str, Any], articles: Sequence[Any], known: Known
    ) -> Receipt:
        """The text, then state, group, owner and an internal note in one request; the note says that it was done."""
        mark, posted = f"{delivery.id}/note", marks_of(articles)
        ticket_id, name = delivery.reply.address.thread, delivery.reply.address.channel
        receipt = Receipt(delivery=delivery.id, platform_id=posted.get(delivery.id, ""))
        if mark in posted:
            return receipt
        text = delivery.reply.text
        if text and delivery.id not in posted:
            receipt = await self._post(delivery, api, ticket_id, articles)
        group = {"group": self._desks[name].group} if self._desks[name].group else {}
        # The bot's own ticket would be seen by nobody who looks for those without an owner.
        nobody = {} if ticket.get("owner_id") in (None, NOBODY_ID) else {"owner_id": NOBODY_ID}
        change = {**known.opening(), **group, **nobody, "article": note(formatting.to_html(text) if text else "", mark=mark)}
        await api.call("PUT", f"/api/v1/tickets/{ticket_id}", change)
        return receipt

    async def _learned(self, desk: ZammadDesk) -> Known:
        """What is known of a desk, asked anew once it is old."""
        before = self._known[desk.name]
        if time.monotonic() >= before.until:
            self._known[desk.name] = await learn(self._client(desk), before)
        return self._known[desk.name]
