"""Zendesk tickets: a trigger's webhook in, a public comment out. docs/zendesk.md has the body that the trigger sends.

The channel of an address is the account's name, its thread the ticket. Zendesk repeats a webhook after 429 with a `Retry-After` of
less than a minute, and never after 500.
"""

import asyncio
import base64
import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from connectors import wishes, zendesk_events
from connectors.api import Api
from connectors.attachments import File, legible, written
from connectors.contract import Acknowledgement, Check, Inbound, Notice, Request, Taken, Times
from connectors.formatting import split, to_html
from connectors.links import Located, parts_of
from connectors.signatures import verify
from connectors.zendesk_checks import checks, probe
from connectors.zendesk_events import SCHEME, Event, Role, plain, word
from engine.accounts import ZendeskDesk
from engine.errors import DeliveryRefused, NothingToAnswer, RetryLater, SettingsError, Withdrawn
from engine.limits import Limit
from engine.messages import Action, Address, Delivery, InboundMessage, Media, Receipt
from engine.settings import PREFIX, Settings
from engine.store import AsyncClient

NAME = "zendesk"

#: Signs what the button "Test webhook" sends, in every Zendesk there is: whoever has it for a secret has none [R].
STATIC_TEST_SECRET = "dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmdfb25seQ=="  # noqa: S105 - public
_INVOCATION = "x-zendesk-webhook-invocation-id"

#: Bytes of a comment: 64 kB [R].
COMMENT_BYTES = 64_000
#: Updates of one ticket by one user: 30 in 10 minutes [R].
UPDATES, UPDATES_SECONDS = 30, 600
#: Requests a minute to the whole Zendesk; 200 in the smallest plan [R]. A delivery takes two, one to read and one to write.
REQUESTS_A_MINUTE = 200
REQUESTS_A_DELIVERY = 2
#: Audits on one page, the most there may be [D].
AUDITS = 100

ANSWERED_TAG = "kb_answered"
NEEDED_TAG = "needs_human"
#: For the agents alone.
SUMMARY = "The bot hands this ticket over: a person is needed. What was said before stands above."
#: In the audit of each update of ours: the delivery, and which part of it.
MARK, STEP = "replymill_delivery", "replymill_step"

_VISIBLE = re.compile(r"[!-~]{1,128}")


#: What an agent copies.
TICKET_LINK = r"/agent/tickets/(?P<ticket>[0-9]{1,19})(/.*)?"


@dataclass(frozen=True)
class Desk:
    """An account and its secrets."""

    account: ZendeskDesk
    secrets: tuple[bytes, ...]


class Zendesk:
    """All accounts of `Settings.accounts`."""

    name = NAME
    paths = ("/zendesk/{name}",)
    idempotent = False
    #: Tickets come by e-mail too, and mail boxes answer by themselves.
    bots_meet = True
    timeless = False
    away = 429

    def __init__(self, settings: Settings, client: AsyncClient | None = None) -> None:
        """:raises SettingsError: an account whose secret is the public one for tests."""
        self.times = Times.chat(settings)
        self._kinds, self._hosts = settings.media, settings.media_hosts
        self._connections = settings.deliveries
        self._desks = {name: _desk(one) for name, one in settings.accounts.get(NAME, {}).items() if isinstance(one, ZendeskDesk)}
        #: Stands in for the secrets of an account that does not exist.
        self._nobody = (secrets.token_bytes(32),)
        self._apis: dict[str, Api] = {}

    def verify(self, request: Request) -> None:
        desk = self._desks.get(request.name)
        verify(SCHEME, desk.secrets if desk else self._nobody, headers=request.headers, body=request.body)

    def parse(self, request: Request) -> tuple[Inbound, ...]:
        account = self._desks[request.name].account
        event, bot = zendesk_events.read(request.body, account), account.bot_user_id
        if event.updater == bot:
            return ()
        address = self._address(request.name, event.ticket)
        return (*zendesk_events.owned(event, address, bot), *self._said(event, address, request))

    def origin(self, request: Request) -> tuple[Address, str]:
        return self._address(request.name, ""), _invocation(request)

    def acknowledge(self, taken: Sequence[Taken]) -> Acknowledgement:
        return Acknowledgement(200)

    def split(self, text: str) -> Sequence[str]:
        return split(text, lambda part: len(to_html(part).encode()) <= COMMENT_BYTES)

    def limits(self, delivery: Delivery) -> Sequence[Limit]:
        address = delivery.reply.address
        place = self._desk(address).account.base_url
        return (
            Limit((NAME, place, address.thread), UPDATES, UPDATES_SECONDS),
            Limit((NAME, place), REQUESTS_A_MINUTE // REQUESTS_A_DELIVERY, 60),
        )

    async def send(self, delivery: Delivery) -> Receipt:
        """One update for a reply; for a hand-over one with the text, and one that opens the ticket and says what is needed."""
        address = delivery.reply.address
        desk = self._desk(address)
        ticket = await self._ticket(address)
        _check(ticket, desk.account.bot_user_id)
        steps = _steps(delivery)
        # A hand-over has two effects, and one may be there already, even where the earlier attempt is known to have failed.
        done = await self._done(delivery) if delivery.action is Action.HAND_OVER else {}
        for step in steps:
            if step not in done:
                ticket, done[step] = await self._update(address, ticket, _changes(step, delivery, ticket, desk.account))
        return Receipt(delivery=delivery.id, platform_id=done[steps[-1]])

    async def find(self, delivery: Delivery) -> Receipt | None:
        """Every update of ours bears its delivery in the metadata, which Zendesk keeps in the ticket's audits."""
        done = await self._done(delivery)
        steps = _steps(delivery)
        return Receipt(delivery=delivery.id, platform_id=done[steps[-1]]) if all(step in done for step in steps) else None

    async def fetch(self, address: Address, media: Media, most: int) -> bytes:
        return await self._api(self._desk(address).account).file(media.reference, most=most, hosts=self._hosts, opened=True)

    async def check(self) -> Sequence[Check]:
        asked = (checks(self._api(desk.account), desk.account) for desk in self._desks.values())
        return [check for found in await asyncio.gather(*asked) for check in found]

    async def locate(self, link: str) -> Sequence[Located]:
        found = [(name, parts_of(link, one.account.base_url, TICKET_LINK)) for name, one in self._desks.items()]
        return [Located(self._address(name, parts["ticket"])) for name, parts in found if parts]

    def probes(self) -> Mapping[str, Request]:
        return {f"/zendesk/{name}": probe(desk.account, desk.secrets[0]) for name, desk in self._desks.items()}

    async def close(self) -> None:
        for api in self._apis.values():
            await api.close()
        self._apis.clear()

    def _said(self, event: Event, address: Address, request: Request) -> tuple[Inbound, ...]:
        """What a person wrote; an update by somebody else shows the latest comment once more."""
        if event.role is not Role.PERSON or not event.public or event.updater not in ("", event.author):
            return ()
        comment = (f"{request.name}/{event.ticket}/{event.comment}",) if event.comment else ()
        ids = (*comment, _invocation(request))
        try:
            media = legible((File(reference=address) for address in event.files), self._kinds)
            text = written(event.text, media)
        except NothingToAnswer:
            return (Notice(address, ids, "no_text"),)
        return (wishes.read(InboundMessage(address=address, sender=event.author, text=text, dedupe_ids=ids, media=media)),)

    def _address(self, name: str, ticket: str) -> Address:
        return Address(platform=NAME, tenant=self._desks[name].account.tenant, channel=name, thread=ticket)

    def _desk(self, address: Address) -> Desk:
        desk = self._desks.get(address.channel)
        if desk is None:
            raise DeliveryRefused(f"the Zendesk account {address.channel!r} is not configured any more")
        return desk

    def _api(self, account: ZendeskDesk) -> Api:
        """One for each account, made inside the event loop that uses it."""
        if account.name not in self._apis:
            proof = base64.b64encode(f"{account.email}/token:{account.api_token}".encode()).decode()
            headers = {"authorization": f"Basic {proof}", "accept": "application/json"}
            self._apis[account.name] = Api("Zendesk", account.base_url, headers=headers, connections=self._connections)
        return self._apis[account.name]

    async def _read(self, address: Address, path: str) -> Mapping[str, Any]:
        found = await self._api(self._desk(address).account).call("GET", f"/api/v2/tickets/{address.thread}{path}")
        return found if isinstance(found, dict) else {}

    async def _ticket(self, address: Address) -> Mapping[str, Any]:
        ticket = (await self._read(address, ".json")).get("ticket")
        if not isinstance(ticket, dict):
            raise RetryLater("Zendesk answered without a ticket", after=0)
        return ticket

    async def _update(
        self, address: Address, ticket: Mapping[str, Any], changes: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], str]:
        """The ticket as it is then, and the id of the audit.

        :raises RetryLater: somebody has changed it since it was read (409); the next attempt reads it again.
        """
        stamp = ticket.get("updated_at")
        safe = {"safe_update": True, "updated_stamp": stamp} if stamp else {}
        content = {"ticket": {**changes, **safe}}
        said = await self._api(self._desk(address).account).call("PUT", f"/api/v2/tickets/{address.thread}.json", content)
        answer = said if isinstance(said, dict) else {}
        audit = answer.get("audit")
        return answer.get("ticket") or ticket, plain(audit.get("id")) if isinstance(audit, dict) else ""

    async def _done(self, delivery: Delivery) -> dict[str, str]:
        """The steps of a delivery that are there, with the ids of their audits."""
        done: dict[str, str] = {}
        cursor = ""
        while True:
            page = await self._read(delivery.reply.address, f"/audits.json?page[size]={AUDITS}{cursor}")
            for audit in page.get("audits") or ():
                custom = (audit.get("metadata") or {}).get("custom") or {}
                if custom.get(MARK) == delivery.id:
                    done[plain(custom.get(STEP))] = plain(audit.get("id"))
            meta = page.get("meta") or {}
            if not meta.get("has_more") or not meta.get("after_cursor"):
                return done
            cursor = f"&page[after]={quote(plain(meta['after_cursor'], 1024), safe='')}"


def _desk(account: ZendeskDesk) -> Desk:
    known = account.webhook_secret.split()
    if STATIC_TEST_SECRET in known:
        variable = f"{PREFIX}ZENDESK_{account.name.upper().replace('-', '_')}_WEBHOOK_SECRET"
        raise SettingsError(f"{variable} is the secret of Zendesk's test button, which everybody knows: reveal the webhook's own")
    return Desk(account, tuple(secret.encode() for secret in known))


def _check(ticket: Mapping[str, Any], bot: str) -> None:
    """Right before anything is posted.

    :raises Withdrawn: a person has the ticket.
    :raises DeliveryRefused: it cannot be changed any more.
    """
    assignee = plain(ticket.get("assignee_id"))
    if assignee and assignee != bot:
        raise Withdrawn("the ticket is assigned to a person")
    if word(ticket.get("status")) == "closed":
        raise DeliveryRefused("the ticket is closed, and cannot be changed any more")


def _steps(delivery: Delivery) -> tuple[str, ...]:
    if delivery.action is not Action.HAND_OVER:
        return ("reply",)
    return ("reply", "hand-over") if delivery.reply.text.strip() else ("hand-over",)


def _changes(step: str, delivery: Delivery, ticket: Mapping[str, Any], account: ZendeskDesk) -> dict[str, Any]:
    """What one update asks for."""
    marked = {"metadata": {MARK: delivery.id, STEP: step}}
    if step == "reply":
        return {**marked, **_tagged(ticket, ANSWERED_TAG), "comment": {"html_body": to_html(delivery.reply.text), "public": True}}
    changes = {**marked, **_tagged(ticket, NEEDED_TAG), "status": "open", "comment": {"body": SUMMARY, "public": False}}
    if account.group_id:
        changes["group_id"] = int(account.group_id) if account.group_id.isdecimal() else account.group_id
    if plain(ticket.get("assignee_id")):
        changes["assignee_id"] = None
    return changes


def _tagged(ticket: Mapping[str, Any], tag: str) -> dict[str, Any]:
    """One more tag. `additional_tags` is documented for many tickets at once alone [D]; the full list is safe in a safe update."""
    kept = [one for one in ticket.get("tags") or () if isinstance(one, str) and one != tag]
    return {"tags": [*kept, tag], "additional_tags": [tag]}


def _invocation(request: Request) -> str:
    """The same for every attempt of one webhook; without it, the bytes that were signed."""
    found = request.headers.get(_INVOCATION, "")
    if not _VISIBLE.fullmatch(found):
        found = hashlib.sha256(request.body).hexdigest()
    return f"{request.name}/invocation/{found}"
