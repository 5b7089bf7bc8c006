"""Zammad: a bot that answers tickets which no agent owns, and leaves a ticket to a group when a person is needed.

A trigger posts a ticket and its newest article to `POST /zammad/<name>`, signed and without a time. The ticket is read again right
before a reply is posted, because an agent may have taken it meanwhile. A posted article carries its delivery's id among its
`preferences`, which Zammad keeps as they are; a message id or a comment in the HTML it would replace.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from connectors import formatting
from connectors.api import Api
from connectors.attachments import legible, written
from connectors.bodies import read_as, read_object
from connectors.contract import Acknowledgement, Check, Inbound, Notice, Ownership, Request, Taken, Times
from connectors.links import Located, parts_of
from connectors.signatures import Scheme, verify
from connectors.wishes import read
from connectors.zammad_api import check, files_of, is_answered, is_ours, load, marks_of, note, post_article, reply_to, text_of
from engine.accounts import ZammadDesk
from engine.errors import DeliveryRefused, MalformedRequest, NothingToAnswer, UnparseableMessage, Withdrawn
from engine.limits import Limit
from engine.messages import Action, Address, Delivery, InboundMessage, Media, Owner, Receipt
from engine.settings import Settings
from engine.store import AsyncClient

NAME = "zammad"

#: `lib/user_agent.rb` [S]. There is no time: what is sent again is known by its ids, for REPLYMILL_DEDUPE_TTL.
SCHEME = Scheme(signature_header="x-hub-signature", prefix="sha1=", hash="sha1")

#: Characters of a reply: an article takes 1,500,000 (`app/models/ticket/article.rb` [S]), and HTML is not 20 times as long.
LONGEST = 1_500_000 // 20
#: The user that owns what nobody owns, and its login [S].
_NOBODY_ID, _NOBODY = 1, "-"
#: States in which a conversation is over; the names are those of a fresh installation.
_OVER = frozenset({"closed", "merged", "removed"})

#: What an agent copies: a ticket, or one of its articles.
TICKET_LINK = r"/?#ticket/zoom/(?P<ticket>[0-9]{1,19})(/(?P<article>[0-9]{1,19}))?"

_DELIVERY = re.compile(r"[A-Za-z0-9-]{1,64}")


class _Ticket(msgspec.Struct, frozen=True):
    id: int
    state: str | None = None
    #: The user in full; the login where the payload was customised.
    owner: dict[str, Any] | str | None = None
    owner_id: int | None = None


class _Article(msgspec.Struct, frozen=True):
    id: int | None = None
    sender: str | None = None
    internal: bool | None = None
    body: str | None = None
    content_type: str | None = None
    created_at: str | None = None
    created_by_id: int | None = None
    preferences: dict[str, Any] | None = None
    attachments: Any = None


class _Event(msgspec.Struct, frozen=True):
    ticket: _Ticket | None = None
    article: _Article | None = None


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

    def verify(self, request: Request) -> None:
        desk = self._desks.get(request.name)
        keys = tuple(key.encode() for key in desk.webhook_secret.split()) if desk else self._nobody
        verify(SCHEME, keys, headers=request.headers, body=request.body)

    def parse(self, request: Request) -> tuple[Inbound, ...]:
        """What broke is a dead letter: to repeat it would not mend it."""
        try:
            event = read_as(read_object(request.body), _Event)
        except MalformedRequest as error:
            raise UnparseableMessage(str(error)) from error
        if event.ticket is None:
            raise UnparseableMessage("a body without `ticket`")
        address = self._address(request.name, str(event.ticket.id))
        owner = _owner(event.ticket)
        owned: tuple[Inbound, ...] = (Ownership(address, owner),) if owner else ()
        if event.ticket.state in _OVER or not event.article or not self._is_asked(event.article):
            return owned
        ids = _ids(request, event.ticket, event.article)
        return (*owned, *self._said(address, ids, event.article, person=owner is Owner.HUMAN))

    def origin(self, request: Request) -> tuple[Address, str]:
        named = _delivery(request) or hashlib.sha256(request.body).hexdigest()
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
        ours = await is_ours(api, ticket)
        if delivery.action is Action.HAND_OVER and ours:
            return await self._hand_over(delivery, api, ticket_id, articles)
        if delivery.action is Action.HAND_OVER or delivery.id in posted:
            return Receipt(delivery=delivery.id, platform_id=posted.get(delivery.id, ""))
        if not ours or is_answered(articles):
            raise Withdrawn("an agent owns the ticket, or has answered it")
        if ticket.get("state") in _OVER:
            raise Withdrawn(f"the ticket is {ticket['state']}")
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
        return [await check(self._client(desk), desk.name) for desk in self._desks.values()]

    async def locate(self, link: str) -> Sequence[Located]:
        found = [(name, parts_of(link, desk.base_url, TICKET_LINK)) for name, desk in self._desks.items()]
        return [self._located(name, parts["ticket"], parts.get("article", "")) for name, parts in found if parts]

    def probes(self) -> Mapping[str, Request]:
        return {f"/zammad/{name}": _probe(name, desk.webhook_secret.split()[0]) for name, desk in self._desks.items()}

    async def close(self) -> None:
        for api in self._apis.values():
            await api.close()
        self._apis.clear()

    def _is_asked(self, article: _Article) -> bool:
        """Whether a customer wrote it to be read, lately: a trigger may show a ticket's last article long after."""
        public = article.sender == "Customer" and article.internal is False and article.id is not None
        automatic = (article.preferences or {}).get("is-auto-response") is True
        return public and not automatic and not _is_old(article.created_at, self._settings.dedupe_ttl)

    def _said(self, address: Address, ids: tuple[str, ...], article: _Article, *, person: bool) -> tuple[Inbound, ...]:
        """What a person answers is kept for the history; it asks nothing of the bot."""
        try:
            media = () if person else legible(files_of(article.id, article.attachments), self._settings.media)
            text = written(text_of(article.body or "", article.content_type or ""), media)
        except NothingToAnswer:
            return () if person else (Notice(address, ids, self._settings.no_text),)
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

    async def _hand_over(self, delivery: Delivery, api: Api, ticket_id: str, articles: Sequence[Any]) -> Receipt:
        """The text, then state, group and an internal note in one request; the note says that it was done."""
        mark, posted = f"{delivery.id}/note", marks_of(articles)
        receipt = Receipt(delivery=delivery.id, platform_id=posted.get(delivery.id, ""))
        if mark in posted:
            return receipt
        text = delivery.reply.text
        if text and delivery.id not in posted:
            receipt = await self._post(delivery, api, ticket_id, articles)
        group = self._desks[delivery.reply.address.channel].group
        change = {"state": "open", "article": note(formatting.to_html(text) if text else "", mark=mark)}
        await api.call("PUT", f"/api/v1/tickets/{ticket_id}", {**change, "group": group} if group else change)
        return receipt


def _owner(ticket: _Ticket) -> Owner | None:
    """Who answers, as far as a ticket tells: an unowned one may wait for an agent as well as for the bot, until it is over."""
    owner = ticket.owner.get("id") if isinstance(ticket.owner, dict) else ticket.owner
    owner = owner if owner is not None else ticket.owner_id
    if owner not in (None, _NOBODY_ID, _NOBODY):
        return Owner.HUMAN
    return Owner.BOT if ticket.state in _OVER else None


def _ids(request: Request, ticket: _Ticket, article: _Article) -> tuple[str, ...]:
    logical_id, delivery = f"{request.name}/{ticket.id}/{article.id}", _delivery(request)
    return (logical_id, f"{request.name}/event/{delivery}") if delivery else (logical_id,)


def _is_old(created_at: str | None, seconds: float) -> bool:
    """Whether an article is older than its id would be remembered; one that does not say is not."""
    try:
        created = datetime.fromisoformat(created_at or "")
    except ValueError:
        return False
    created = created if created.tzinfo else created.replace(tzinfo=UTC)
    return datetime.now(UTC) - created > timedelta(seconds=seconds)


def _delivery(request: Request) -> str:
    """Zammad's id of the job that sent the request, the same for its repeats; empty if there is none."""
    found = request.headers.get("x-zammad-delivery", "")
    return found if _DELIVERY.fullmatch(found) else ""


def _probe(name: str, secret: str) -> Request:
    """A signed webhook that says nothing."""
    body = b'{"ticket":{"id":0}}'
    digest = hmac.digest(secret.encode(), body, hashlib.sha1).hex()
    return Request(name, {"content-type": "application/json", SCHEME.signature_header: f"{SCHEME.prefix}{digest}"}, body)
