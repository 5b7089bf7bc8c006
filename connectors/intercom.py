"""Intercom: `POST /intercom/<name>` in, replies by the REST API out. One account is one app in one workspace.

A conversation is the lane; its channel is the account's name, by which the token is found when something is sent. The webhook bears
no time, so a repeat is known by its ids alone: that of the part a person wrote, and that of the notification.
"""

import hashlib
import hmac
import re
import secrets
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from connectors.api import Api
from connectors.contract import Acknowledgement, Check, Inbound, Request, Take, Taken, Times
from connectors.formatting import split, to_html
from connectors.intercom_checks import checks
from connectors.intercom_events import NAME, NOBODY, notification_id, read
from connectors.intercom_items import Item
from connectors.links import Located
from connectors.signatures import Scheme, verify
from engine.accounts import IntercomApp
from engine.choices import listed
from engine.errors import DeliveryError, DeliveryRefused, RetryLater, Unclear, Withdrawn
from engine.limits import Limit
from engine.messages import Action, Address, Delivery, Media, Receipt, Reply
from engine.settings import Settings
from engine.store import AsyncClient

log = structlog.get_logger()

#: Keyed by the app's client secret [R].
SCHEME = Scheme(signature_header="x-hub-signature", prefix="sha1=", hash="sha1")
#: The REST API that the bodies below are written for [S: OpenAPI].
VERSION = "2.14"
#: Characters of HTML in one reply. Intercom names no limit; longer ones are split so that each stays readable in the messenger.
MOST_HTML = 10_000
#: Requests of one app in 10 seconds: 10,000 a minute, handed out in six parts [R].
REQUESTS, PERIOD = 1_666, 10.0
#: Most requests that one delivery costs: the look at its owner, a reply, and two assignments.
REQUESTS_EACH = 4
#: What a teammate copies from the inbox, whose host tells the region.
CONVERSATION_LINK = r"https://app\.(?:eu\.|au\.)?intercom\.com/a/\S*/conversations?/([0-9]{1,19})(?:[/?#]\S*)?"
#: What Intercom sends to try an address.
_PING = b'{"type": "notification_event", "topic": "ping", "data": {"type": "notification_event_data", "item": {"type": "ping"}}}'


class Intercom:
    """All apps of `Settings.accounts["intercom"]`."""

    name = NAME
    paths = ("/intercom/{name}",)
    #: Intercom recognises no repeated reply, and keeps no mark of ours by which one could be found.
    idempotent = False
    #: What bots and teammates write is never answered.
    bots_meet = False
    timeless = True
    #: After 429 Intercom holds notifications back for 1 minute to 2 hours, after any other error it tries once more [D].
    away = 429

    def __init__(self, settings: Settings, client: AsyncClient) -> None:
        self.times = Times.chat(settings)
        self._accounts: dict[str, IntercomApp] = {
            name: account for name, account in settings.accounts.get(NAME, {}).items() if isinstance(account, IntercomApp)
        }
        #: Stands in for the secret of an account that does not exist.
        self._nobody = secrets.token_bytes(32)
        self._kinds, self._hosts = settings.media, settings.media_hosts
        self._connections = settings.deliveries
        self._apis: dict[str, Api] = {}

    def routes(self, take: Take) -> Sequence[BaseRoute]:
        """Intercom asks with HEAD whether an address answers, when it is set; the answer says nothing about any account."""
        return [Route(path, _here, methods=["GET"]) for path in self.paths]

    def verify(self, request: Request) -> None:
        account = self._accounts.get(request.name)
        # Where nobody is, nobody knows the secret: the caller cannot tell this from a forged signature.
        secret = account.client_secret.encode() if account else self._nobody
        verify(SCHEME, (secret,), headers=request.headers, body=request.body)

    def parse(self, request: Request) -> tuple[Inbound, ...]:
        return read(self._accounts[request.name], request.body, kinds=self._kinds)

    def origin(self, request: Request) -> tuple[Address, str]:
        account = self._accounts[request.name]
        address = Address(platform=NAME, tenant=account.tenant, channel=account.name)
        return address, f"{account.name}/{notification_id(request.body) or hashlib.sha256(request.body).hexdigest()}"

    def acknowledge(self, taken: Sequence[Taken]) -> Acknowledgement:
        return Acknowledgement(200)

    def split(self, text: str) -> Sequence[str]:
        return split(text, lambda part: len(to_html(part)) <= MOST_HTML)

    def limits(self, delivery: Delivery) -> Sequence[Limit]:
        address = delivery.reply.address
        return (Limit((NAME, address.tenant, address.channel), REQUESTS // REQUESTS_EACH, PERIOD),)

    def offers(self, reply: Reply) -> bool:
        return True

    async def send(self, delivery: Delivery) -> Receipt:
        """Post a reply as the bot's admin, unless a person has the conversation; hand it over where that is asked.

        The assignment comes first: it can be repeated at will, a text cannot.
        """
        account = self._account(delivery.reply.address)
        api, place = self._api(account), f"/conversations/{delivery.reply.address.thread}"
        handing = delivery.action is Action.HAND_OVER
        conversation = Item.of(await _surely(api, "GET", place))
        if _taken_over(conversation, account, handing=handing):
            raise Withdrawn("a teammate has the conversation in Intercom")
        if handing:
            await _assign(api, place, account)
        posted = ""
        if delivery.reply.text:
            text = listed(delivery.reply.text, delivery.reply.choices)
            after = Item.of(await api.call("POST", f"{place}/reply", _comment(account, text)))
            await _offer(api, place, account, delivery)
            posted = after.last.id if after.last else ""
            if handing and after.admin == account.admin_id:
                await self._give_back(api, place, account)
        return Receipt(delivery=delivery.id, platform_id=posted)

    async def fetch(self, address: Address, media: Media, most: int) -> bytes:
        return await self._api(self._account(address)).file(media.reference, most=most, hosts=self._hosts)

    async def check(self) -> Sequence[Check]:
        return [check for account in self._accounts.values() for check in await checks(self._api(account), account)]

    async def locate(self, link: str) -> Sequence[Located]:
        """The inbox is at another host than the API, which differs by region."""
        found = re.fullmatch(CONVERSATION_LINK, link)
        thread, here = (found[1], self._accounts.values()) if found else ("", ())
        return [Located(Address(platform=NAME, tenant=one.tenant, channel=one.name, thread=thread)) for one in here]

    def probes(self) -> Mapping[str, Request]:
        return {f"/intercom/{name}": _ping(account) for name, account in self._accounts.items()}

    async def close(self) -> None:
        for api in self._apis.values():
            await api.close()
        self._apis.clear()

    async def _give_back(self, api: Api, place: str, account: IntercomApp) -> None:
        """Some workspaces assign a conversation to whoever replies; one that waits for a person must not stay with the bot."""
        try:
            await _assign(api, place, account)
        except RetryLater as error:
            raise Unclear(f"the text is posted, but the conversation is still the bot's: {error}") from error

    def _account(self, address: Address) -> IntercomApp:
        name = address.channel
        account = self._accounts.get(name)
        if account is None:
            raise DeliveryRefused(f"the Intercom account {name!r} is not configured any more")
        return account

    def _api(self, account: IntercomApp) -> Api:
        """One client for each account, made inside the event loop that uses it."""
        if account.name not in self._apis:
            headers = {
                "authorization": f"Bearer {account.access_token}",
                "intercom-version": VERSION,
                "accept": "application/json",
                "user-agent": "replymill",
            }
            self._apis[account.name] = Api("Intercom", account.base_url, headers=headers, connections=self._connections)
        return self._apis[account.name]


async def _here(_: HttpRequest) -> Response:
    return Response(status_code=200)


def _ping(account: IntercomApp) -> Request:
    signature = SCHEME.prefix + hmac.digest(account.client_secret.encode(), _PING, SCHEME.hash).hex()
    return Request(account.name, {SCHEME.signature_header: signature, "content-type": "application/json"}, _PING)


def _taken_over(item: Item, account: IntercomApp, *, handing: bool) -> bool:
    """Whether a teammate is assigned, or has answered last; the one we hand over to may be assigned by an earlier attempt."""
    free = NOBODY | {account.admin_id} | ({account.assignee_id} if handing else frozenset())
    comment = item.last_comment
    answered = comment is not None and comment.by_admin() and not comment.by_admin(account.admin_id)
    return item.admin not in free or answered


def _comment(account: IntercomApp, text: str) -> dict[str, str]:
    return {"message_type": "comment", "type": "admin", "admin_id": account.admin_id, "body": to_html(text)}


async def _offer(api: Api, place: str, account: IntercomApp, delivery: Delivery) -> None:
    """Buttons below the text, which lists the choices already: they go by a message of their own, and not in every channel. [S]"""
    if not delivery.reply.choices:
        return
    options = [{"text": choice, "uuid": _uuid(delivery.id, choice)} for choice in delivery.reply.choices]
    asked = {"message_type": "quick_reply", "type": "admin", "admin_id": account.admin_id, "reply_options": options}
    try:
        await api.call("POST", f"{place}/reply", asked)
    except DeliveryError as error:  # the text is there, and can be answered by typing
        log.info("choices are shown as text alone", action="intercom.choices", delivery=delivery.id, reason=str(error))


def _uuid(delivery: str, choice: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"replymill:{delivery}:{choice}"))


async def _assign(api: Api, place: str, account: IntercomApp) -> None:
    assignment = {"message_type": "assignment", "type": "admin", "admin_id": account.admin_id, "assignee_id": account.assignee_id}
    await _surely(api, "POST", f"{place}/parts", assignment)


async def _surely(api: Api, method: str, path: str, content: Any = None) -> Any:
    """A call that may be repeated at will, so that nothing about it is unclear."""
    try:
        return await api.call(method, path, content)
    except Unclear as error:
        raise RetryLater(str(error), after=0) from error
