"""Freshchat: `POST /freshchat/<name>` in, messages by the REST API out. One account is one bot, which writes as one agent.

A conversation is the lane; its channel is the account's name, by which the token is found when something is sent. The webhook is
signed with Freshchat's private key and bears no time, so a repeat is known by the id of its message alone.
"""

import functools
import hashlib
from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding as Form
from cryptography.hazmat.primitives.serialization import PublicFormat

from connectors.api import Api
from connectors.contract import Acknowledgement, Check, Inbound, Request, Taken, Times
from connectors.formatting import split, to_plain
from connectors.freshchat_checks import checks
from connectors.freshchat_events import NAME, read, text_of
from connectors.links import Located, parts_of
from connectors.signatures import Encoding, Method, Scheme, public_key, verify
from engine.accounts import FreshchatBot
from engine.errors import DeliveryRefused, RetryLater, SettingsError, Unclear, Withdrawn
from engine.limits import Limit
from engine.messages import Action, Address, Delivery, Media, Receipt
from engine.settings import PREFIX, Settings
from engine.store import AsyncClient

#: RSA PKCS#1 v1.5 with SHA-256 over the raw body [S].
SCHEME = Scheme(signature_header="x-freshchat-signature", method=Method.RSA, encoding=Encoding.BASE64)
#: Characters of one message. Freshchat names no limit; the shortest of the channels behind it, WhatsApp, takes 4,096 [D].
MOST_CHARACTERS = 4_000
#: What an agent copies.
CONVERSATION_LINK = r"/a/.*conversation/(?P<conversation>[A-Za-z0-9-]{1,64})/?"


class Freshchat:
    """All bots of `Settings.accounts["freshchat"]`."""

    name = NAME
    paths = ("/freshchat/{name}",)
    #: Freshchat recognises no repeated message, and keeps no mark of ours by which one could be found.
    idempotent = False
    #: What bots and agents write is never answered.
    bots_meet = False
    timeless = True
    #: Freshchat tells in X-Retry-Count that it comes again; any status but 2xx makes it [R].
    away = 503

    def __init__(self, settings: Settings, client: AsyncClient) -> None:
        """:raises SettingsError: a public key that is none."""
        self.times = Times.chat(settings)
        self._accounts: dict[str, FreshchatBot] = {
            name: account for name, account in settings.accounts.get(NAME, {}).items() if isinstance(account, FreshchatBot)
        }
        self._keys = {name: _key(account) for name, account in self._accounts.items()}
        self._nobody = _nobody()
        self._kinds, self._hosts = settings.media, settings.media_hosts
        self._connections = settings.deliveries
        self._apis: dict[str, Api] = {}

    def verify(self, request: Request) -> None:
        # Where nobody is, nobody has signed: the caller cannot tell this from a forged signature.
        verify(SCHEME, (self._keys.get(request.name, self._nobody),), headers=request.headers, body=request.body)

    def parse(self, request: Request) -> tuple[Inbound, ...]:
        return read(self._accounts[request.name], request.body, kinds=self._kinds)

    def origin(self, request: Request) -> tuple[Address, str]:
        account = self._accounts[request.name]
        address = Address(platform=NAME, tenant=account.tenant, channel=account.name)
        return address, f"{account.name}/{hashlib.sha256(request.body).hexdigest()}"

    def acknowledge(self, taken: Sequence[Taken]) -> Acknowledgement:
        return Acknowledgement(200)

    def split(self, text: str) -> Sequence[str]:
        return split(text, lambda part: len(to_plain(part)) <= MOST_CHARACTERS)

    def limits(self, delivery: Delivery) -> Sequence[Limit]:
        """Freshchat publishes no figure; it answers 429 with a time, which is kept."""
        return ()

    async def send(self, delivery: Delivery) -> Receipt:
        """Post a message as the bot's agent, unless a person has the conversation; hand it over where that is asked.

        The assignment comes first: it can be repeated at will, a text cannot.
        """
        account = self._account(delivery.reply.address)
        api, place = self._api(account), f"/v2/conversations/{delivery.reply.address.thread}"
        handing = delivery.action is Action.HAND_OVER
        if _taken_over(await _surely(api, "GET", place), account):
            raise Withdrawn("an agent has the conversation in Freshchat")
        if handing:
            await _hand_over(api, place, account)
        posted: Any = {}
        if delivery.reply.text:
            posted = await api.call("POST", f"{place}/messages", _content(account, to_plain(delivery.reply.text)))
            if handing:
                await self._give_back(api, place, account)
        return Receipt(delivery=delivery.id, platform_id=text_of(posted, "id"))

    async def fetch(self, address: Address, media: Media, most: int) -> bytes:
        return await self._api(self._account(address)).file(media.reference, most=most, hosts=self._hosts)

    async def check(self) -> Sequence[Check]:
        return [check for account in self._accounts.values() for check in await checks(self._api(account), account)]

    async def locate(self, link: str) -> Sequence[Located]:
        found = [(one, parts_of(link, one.base_url, CONVERSATION_LINK)) for one in self._accounts.values()]
        return [
            Located(Address(platform=NAME, tenant=one.tenant, channel=one.name, thread=parts["conversation"]))
            for one, parts in found
            if parts
        ]

    async def close(self) -> None:
        for api in self._apis.values():
            await api.close()
        self._apis.clear()

    async def _give_back(self, api: Api, place: str, account: FreshchatBot) -> None:
        """Freshchat may assign a conversation to whoever writes; one that waits for a person must not stay with the bot."""
        try:
            if text_of(await _surely(api, "GET", place), "assigned_agent_id") == account.actor_id:
                await _hand_over(api, place, account)
        except RetryLater as error:
            raise Unclear(f"the text is posted, but the conversation may still be the bot's: {error}") from error

    def _account(self, address: Address) -> FreshchatBot:
        name = address.channel
        account = self._accounts.get(name)
        if account is None:
            raise DeliveryRefused(f"the Freshchat account {name!r} is not configured any more")
        return account

    def _api(self, account: FreshchatBot) -> Api:
        """One client for each account, made inside the event loop that uses it."""
        if account.name not in self._apis:
            headers = {"authorization": f"Bearer {account.token}", "accept": "application/json", "user-agent": "replymill"}
            base_url = account.base_url.rstrip("/").removesuffix("/v2")
            self._apis[account.name] = Api("Freshchat", base_url, headers=headers, connections=self._connections)
        return self._apis[account.name]


@functools.cache
def _nobody() -> bytes:
    """Stands in for the key of an account that does not exist; its private half is forgotten."""
    return rsa.generate_private_key(65_537, 2048).public_key().public_bytes(Form.DER, PublicFormat.SubjectPublicKeyInfo)


def _key(account: FreshchatBot) -> bytes:
    try:
        return public_key(account.public_key)
    except ValueError as error:
        variable = f"{PREFIX}FRESHCHAT_{account.name.upper().replace('-', '_')}_PUBLIC_KEY"
        raise SettingsError(f"{variable} must be {error}; copy it from Freshchat's webhook settings") from error


def _taken_over(conversation: Any, account: FreshchatBot) -> bool:
    agent = text_of(conversation, "assigned_agent_id")
    return agent not in ("", account.actor_id) and text_of(conversation, "status") != "resolved"


def _content(account: FreshchatBot, text: str) -> dict[str, Any]:
    parts = [{"text": {"content": text}}]
    return {"message_parts": parts, "message_type": "normal", "actor_type": "agent", "actor_id": account.actor_id}


async def _hand_over(api: Api, place: str, account: FreshchatBot) -> None:
    """To the group, or to nobody. Some accounts take `assigned` for an agent alone; a group goes with `new` there [S]."""
    if not account.group_id:
        await _surely(api, "PUT", place, {"status": "new", "assigned_agent_id": ""})
        return
    try:
        await _surely(api, "PUT", place, {"status": "assigned", "assigned_group_id": account.group_id})
    except DeliveryRefused:
        await _surely(api, "PUT", place, {"status": "new", "assigned_group_id": account.group_id})


async def _surely(api: Api, method: str, path: str, content: Any = None) -> Any:
    """A call that may be repeated at will, so that nothing about it is unclear."""
    try:
        return await api.call(method, path, content)
    except Unclear as error:
        raise RetryLater(str(error), after=0) from error
