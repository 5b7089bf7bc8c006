"""Sunshine Conversations (Zendesk messaging), API v2: signed by a shared secret, several events in one request.

The channel of an address is the account's name, its thread the conversation. The switchboard says who answers: we do while our
integration is the active one.
"""

import asyncio
import base64
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from connectors import sunshine_events
from connectors.api import Api
from connectors.bodies import read_as
from connectors.commonmark import to_markdown
from connectors.contract import Acknowledgement, Check, Inbound, Request, Taken, Times
from connectors.formatting import split, to_html, to_plain, utf16
from connectors.signatures import Method, Scheme, verify
from connectors.sunshine_checks import checks
from connectors.sunshine_events import NAME, Conversation, Integration, address_of
from engine.accounts import SunshineApp
from engine.errors import DeliveryRefused, MalformedRequest, Withdrawn
from engine.limits import Limit
from engine.messages import Action, Address, Delivery, Media, Receipt, Reply
from engine.settings import Settings
from engine.store import AsyncClient

#: The secret itself comes with each request, and no time: repeats are stopped by the ids of the events.
SCHEME = Scheme(signature_header="x-api-key", method=Method.SECRET)

#: Characters of a text, and of the HTML that the platform makes of Markdown [S].
LONGEST = 4_096
#: Characters of the text of an action [R]; some of the channels behind it cut it sooner.
LONGEST_ACTION = 128
#: An earlier send is looked for in so many pages of the latest messages; a page has 100 [S].
PAGES = 10
#: In the metadata of each message of ours.
MARK = "replymill_delivery"

_NEXT = "next"


class Sunshine:
    """All accounts of `Settings.accounts`."""

    name = NAME
    paths = ("/sunshine/{name}",)
    idempotent = False
    bots_meet = False
    timeless = True
    #: It comes back up to 5 times in about 15 minutes after 5xx, 429 and 408 [R].
    away = 503

    def __init__(self, settings: Settings, client: AsyncClient | None = None) -> None:
        self.times = Times.chat(settings)
        self._kinds, self._hosts = settings.media, settings.media_hosts
        self._connections = settings.deliveries
        accounts = settings.accounts.get(NAME, {})
        self._accounts = {name: one for name, one in accounts.items() if isinstance(one, SunshineApp)}
        #: Stands in for the secret of an account that does not exist.
        self._nobody = secrets.token_urlsafe(32)
        self._apis: dict[str, Api] = {}

    def verify(self, request: Request) -> None:
        account = self._accounts.get(request.name)
        known = account.webhook_secret if account else self._nobody
        verify(SCHEME, [one.encode() for one in known.split()], headers=request.headers, body=request.body)

    def parse(self, request: Request) -> tuple[Inbound, ...]:
        return sunshine_events.read(self._accounts[request.name], request.body, self._kinds)

    def origin(self, request: Request) -> tuple[Address, str]:
        address = address_of(self._accounts[request.name], "")
        return address, f"{request.name}/request/{hashlib.sha256(request.body).hexdigest()}"

    def acknowledge(self, taken: Sequence[Taken]) -> Acknowledgement:
        return Acknowledgement(200)

    def split(self, text: str) -> Sequence[str]:
        return split(text, _fits)

    def limits(self, delivery: Delivery) -> Sequence[Limit]:
        """No figure is published; where there are too many requests, 429 says so."""
        return ()

    def offers(self, reply: Reply) -> bool:
        return all(utf16(choice) <= LONGEST_ACTION for choice in reply.choices)

    async def send(self, delivery: Delivery) -> Receipt:
        address = delivery.reply.address
        account = self._account(address)
        if delivery.action is Action.HAND_OVER:
            return await self._hand_over(delivery, account)
        active = await self._active(address) if account.switchboard else None
        if active is not None and not active.known_as(account.switchboard):
            raise Withdrawn("our integration of the switchboard is not the active one any more")
        return await self._post(delivery)

    async def find(self, delivery: Delivery) -> Receipt | None:
        """Every message of ours bears its delivery in the metadata; a hand-over is done once another integration is active."""
        address = delivery.reply.address
        handing = delivery.action is Action.HAND_OVER
        if handing and not _passed(self._account(address), await self._active(address)):
            return None
        if handing and not delivery.reply.text.strip():
            return Receipt(delivery=delivery.id)
        return await self._posted(delivery)

    async def show(self, address: Address, turn: str, text: str) -> None:
        """That somebody writes; a text cannot be shown before it is whole."""
        if not text:
            typing = {"author": {"type": "business"}, "type": "typing:start"}
            await self._call(address, "POST", "/activity", typing)

    async def fetch(self, address: Address, media: Media, most: int) -> bytes:
        return await self._api(self._account(address)).file(media.reference, most=most, hosts=self._hosts)

    async def check(self) -> Sequence[Check]:
        asked = (checks(self._api(account), account) for account in self._accounts.values())
        return [check for found in await asyncio.gather(*asked) for check in found]

    def probes(self) -> Mapping[str, Request]:
        return {f"/sunshine/{name}": _probe(account) for name, account in self._accounts.items()}

    async def close(self) -> None:
        for api in self._apis.values():
            await api.close()
        self._apis.clear()

    async def _hand_over(self, delivery: Delivery, account: SunshineApp) -> Receipt:
        """The text, then the control; what an earlier attempt has done is not done again: `next` would pass it on once more."""
        address = delivery.reply.address
        passed = _passed(account, await self._active(address))
        receipt: Receipt | None = Receipt(delivery=delivery.id)
        if delivery.reply.text.strip():
            receipt = await self._posted(delivery)
        if passed and receipt is None:
            raise Withdrawn("another integration of the switchboard has the conversation already")
        receipt = receipt or await self._post(delivery)
        if not passed:
            metadata = {"reason": "needs_human", MARK: delivery.id}
            await self._call(
                address, "POST", "/passControl", {"switchboardIntegration": account.hand_over_to, "metadata": metadata}
            )
        return receipt

    async def _post(self, delivery: Delivery) -> Receipt:
        content = {
            "author": {"type": "business"},
            "content": _content(delivery.reply.text) | _actions(delivery.reply.choices),
            "metadata": {MARK: delivery.id},
        }
        said = await self._call(delivery.reply.address, "POST", "/messages", content)
        return Receipt(delivery=delivery.id, platform_id=_first_id(said))

    async def _posted(self, delivery: Delivery) -> Receipt | None:
        """The receipt of an earlier send, from the latest page backwards."""
        before = ""
        for _ in range(PAGES):
            page = await self._call(delivery.reply.address, "GET", f"/messages{before}")
            for message in page.get("messages") or ():
                if (message.get("metadata") or {}).get(MARK) == delivery.id:
                    return Receipt(delivery=delivery.id, platform_id=str(message.get("id", "")))
            meta = page.get("meta") or {}
            if not meta.get("hasMore") or not meta.get("beforeCursor"):
                return None
            before = f"?page[before]={quote(str(meta['beforeCursor']))}"
        return None

    async def _active(self, address: Address) -> Integration | None:
        """The integration in control now, one without a name where nobody is; None where the platform does not say."""
        try:
            found = await self._call(address, "GET", "")
            return read_as(found.get("conversation"), Conversation).active
        except (DeliveryRefused, MalformedRequest):
            # A key may be allowed to write and not to read; whether the conversation is gone, the post itself says.
            return None

    async def _call(self, address: Address, method: str, path: str, content: Any = None) -> Mapping[str, Any]:
        account = self._account(address)
        place = f"/v2/apps/{quote(account.app_id, safe='')}/conversations/{quote(address.thread, safe='')}"
        said = await self._api(account).call(method, f"{place}{path}", content)
        return said if isinstance(said, dict) else {}

    def _account(self, address: Address) -> SunshineApp:
        account = self._accounts.get(address.channel)
        if account is None:
            raise DeliveryRefused(f"the Sunshine account {address.channel!r} is not configured any more")
        return account

    def _api(self, account: SunshineApp) -> Api:
        """One for each account, made inside the event loop that uses it."""
        if account.name not in self._apis:
            proof = base64.b64encode(f"{account.key_id}:{account.key_secret}".encode()).decode()
            headers = {"authorization": f"Basic {proof}", "accept": "application/json"}
            self._apis[account.name] = Api(
                "Sunshine Conversations", account.base_url, headers=headers, connections=self._connections
            )
        return self._apis[account.name]


def _probe(account: SunshineApp) -> Request:
    """A request with one event that nobody knows, which starts nothing."""
    event = {"id": "replymill-probe", "type": "replymill:probe"}
    body = msgspec.json.encode({"app": {"id": account.app_id}, "events": [event]})
    secret = account.webhook_secret.split()[0]
    return Request(account.name, {"content-type": "application/json", SCHEME.signature_header: secret}, body)


def _passed(account: SunshineApp, active: Integration | None) -> bool:
    """Whether somebody else has the control already, as far as that can be told."""
    if active is None or not (active.name or active.id):
        return False
    if account.switchboard:
        return not active.known_as(account.switchboard)
    return account.hand_over_to != _NEXT and active.known_as(account.hand_over_to)


def _content(text: str) -> dict[str, Any]:
    """Text as it is where it has no formatting, Markdown otherwise."""
    return {"type": "text", "text": text} if to_plain(text) == text else {"type": "text", "markdownText": to_markdown(text)}


def _actions(choices: Sequence[str]) -> dict[str, Any]:
    """Replies to press: the person says their text. They are gone once something is said. [D]"""
    return {"actions": [{"type": "reply", "text": choice, "payload": choice} for choice in choices]} if choices else {}


def _fits(part: str) -> bool:
    """The platform turns Markdown into HTML and refuses what is too long then; ours is measured in place of its."""
    if to_plain(part) == part:
        return utf16(part) <= LONGEST
    return max(utf16(part), utf16(to_html(part)), utf16(to_markdown(part))) <= LONGEST


def _first_id(said: Mapping[str, Any]) -> str:
    messages = said.get("messages") or [said.get("message")]
    first = messages[0] if isinstance(messages, list) and messages else None
    return str(first.get("id", "")) if isinstance(first, dict) else ""
