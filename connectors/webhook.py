"""The generic signed webhook: `POST /webhooks/<endpoint>` in, a signed callback out. Standard Webhooks both ways.

Two shapes of body are messages: `{"conversation", "text", "user"}`, and the envelope `{"type", "timestamp", "data": {...}}` with
type `message.created`, `message.updated` or `message.deleted`; the `message_id` of the last two is the webhook-id of the original.
"""

import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec

from connectors.bodies import answerable, read_as, read_object, well_formed
from connectors.contract import Acknowledgement, Deletion, Edit, Inbound, Request, Taken
from connectors.posting import guarded_client, port_of, post
from connectors.signatures import STANDARD, secret_bytes, sign, verify
from engine.errors import DeliveryRefused, MalformedRequest, SettingsError, UnparseableMessage
from engine.limits import Limit
from engine.messages import Address, Delivery, InboundMessage, Receipt
from engine.settings import PREFIX, Settings, WebhookEndpoint

NAME = "webhook"

#: Characters of a conversation's or a person's id; each waiting message carries both.
LONGEST_ID = 512
_MESSAGE_ID = re.compile(r"[!-\-/-~]{1,256}")


class Content(msgspec.Struct, frozen=True):
    """What a message consists of; unknown fields are left alone."""

    conversation: str | None = None
    text: str | None = None
    user: str | None = None
    message_id: str | None = None


class Envelope(msgspec.Struct, frozen=True):
    """Standard Webhooks' payload."""

    type: str | None = None
    data: dict[str, Any] | None = None


@dataclass(frozen=True)
class Endpoint:
    """A registered endpoint with its secrets decoded."""

    registered: WebhookEndpoint
    secrets: tuple[bytes, ...]
    callback_secret: bytes


class Webhook:
    """All endpoints of `Settings.webhooks`."""

    name = NAME
    paths = ("/webhooks/{name}",)
    #: A callback bears its delivery's id as webhook-id, which receivers use to recognise a repeat.
    idempotent = True
    bots_meet = False
    away = 503

    def __init__(self, settings: Settings) -> None:
        """:raises SettingsError: an endpoint whose secret or callback address cannot be used."""
        self.deadline = settings.deadline_webhook
        self.quiet = settings.quiet_webhook
        self.quiet_max = settings.quiet_webhook_max
        self._endpoints = {name: _endpoint(registered) for name, registered in settings.webhooks.items()}
        #: Stands in for the secrets of an endpoint that does not exist.
        self._nobody = (secrets.token_bytes(32),)
        self._connections = settings.deliveries
        self._clients: dict[str, httpx.AsyncClient] = {}

    def verify(self, request: Request) -> None:
        endpoint = self._endpoints.get(request.name)
        # Where nobody is, nobody knows the secret: the caller cannot tell this from a forged signature.
        verify(STANDARD, endpoint.secrets if endpoint else self._nobody, headers=request.headers, body=request.body)

    def parse(self, request: Request) -> tuple[Inbound, ...]:
        kind, content = _read(request.body)
        if not content.conversation:
            raise UnparseableMessage(f"{kind} without `conversation`")
        address = self._address(request.name, _short("conversation", content.conversation))
        if kind == "message.created":
            return (_message(address, content, _logical(request.name, request.headers["webhook-id"])),)
        if not content.message_id:
            raise UnparseableMessage(f"{kind} without `message_id`")
        if not _MESSAGE_ID.fullmatch(content.message_id):
            raise MalformedRequest("`message_id` must be the webhook-id of the original message")
        original = _logical(request.name, content.message_id)
        if kind == "message.deleted":
            return (Deletion(address, original),)
        return (Edit(_message(address, content, original)),)

    def origin(self, request: Request) -> tuple[Address, str]:
        return self._address(request.name, ""), _logical(request.name, request.headers["webhook-id"])

    def acknowledge(self, taken: Sequence[Taken]) -> Acknowledgement:
        return Acknowledgement(202, {"id": taken[0].id, "state": taken[0].state})

    def split(self, text: str) -> Sequence[str]:
        return (text,)

    def limits(self, delivery: Delivery) -> Sequence[Limit]:
        return ()

    async def send(self, delivery: Delivery) -> Receipt:
        """Post a reply to the callback address of its endpoint; without one it can only be asked for by its id."""
        name = delivery.reply.address.channel
        endpoint = self._endpoints.get(name)
        if endpoint is None:
            raise DeliveryRefused(f"the webhook endpoint {name!r} is not configured any more")
        if endpoint.registered.callback_url:
            body = _callback(delivery)
            headers = sign(endpoint.callback_secret, delivery.id, timestamp=int(time.time()), body=body)
            await post(
                self._client(endpoint.registered),
                endpoint.registered.callback_url,
                body=body,
                headers={**headers, "content-type": "application/json", "user-agent": "replymill"},
            )
        return Receipt(delivery=delivery.id)

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    def _address(self, name: str, conversation: str) -> Address:
        return Address(platform=NAME, tenant=self._endpoints[name].registered.tenant, channel=name, thread=conversation)

    def _client(self, endpoint: WebhookEndpoint) -> httpx.AsyncClient:
        """One for each endpoint, made inside the event loop that uses it: what one may reach, another may not."""
        if endpoint.name not in self._clients:
            self._clients[endpoint.name] = guarded_client(
                endpoint.callback_url, private=endpoint.callback_private, connections=self._connections
            )
        return self._clients[endpoint.name]


def _endpoint(registered: WebhookEndpoint) -> Endpoint:
    variable = f"{PREFIX}WEBHOOK_{registered.name.upper().replace('-', '_')}"
    try:
        keys = tuple(secret_bytes(secret) for secret in registered.secrets)
        callback_secret = secret_bytes(registered.callback_secret or registered.secrets[0])
    except ValueError as error:
        raise SettingsError(f"{variable}: a secret is {error}; make one with 32 random bytes") from error
    _check_callback(variable, registered)
    return Endpoint(registered, keys, callback_secret)


def _check_callback(variable: str, registered: WebhookEndpoint) -> None:
    if not registered.callback_url:
        return
    try:
        url = httpx.URL(registered.callback_url)
    except httpx.InvalidURL as error:
        raise SettingsError(f"{variable}_CALLBACK_URL is {registered.callback_url!r}, but must be a URL: {error}") from error
    if not registered.callback_private and port_of(url) != 443:
        raise SettingsError(
            f"{variable}_CALLBACK_URL leads to port {port_of(url)}, but must lead to 443 "
            f"(set {variable}_CALLBACK_PRIVATE=true for another port)"
        )


def _read(body: bytes) -> tuple[str, Content]:
    """The kind of message and its content, from either shape of body."""
    found = read_object(body)
    if "type" not in found:
        return "message.created", read_as(found, Content)
    envelope = read_as(found, Envelope)
    if envelope.type not in {"message.created", "message.updated", "message.deleted"}:
        raise UnparseableMessage(f"unknown type {ascii(envelope.type)[:80]}")
    if envelope.data is None:
        raise UnparseableMessage(f"{envelope.type} without `data`")
    return envelope.type, read_as(envelope.data, Content)


def _message(address: Address, content: Content, logical_id: str) -> InboundMessage:
    text = answerable(content.text)
    sender = _short("user", content.user or "")
    return InboundMessage(address=address, sender=sender, text=text, dedupe_ids=(logical_id,))


def _short(name: str, value: str) -> str:
    if len(value) > LONGEST_ID:
        raise MalformedRequest(f"`{name}` is longer than {LONGEST_ID} characters")
    return well_formed(value)


def _logical(name: str, webhook_id: str) -> str:
    """Endpoints of one tenant number their messages apart; a webhook-id has no dot but may have a slash, a name has none."""
    return f"{name}/{webhook_id}"


def _callback(delivery: Delivery) -> bytes:
    reply = delivery.reply
    data: Mapping[str, Any] = {
        "id": reply.in_reply_to[0] if reply.in_reply_to else "",
        "ids": reply.in_reply_to,
        "in_reply_to": reply.reference.partition("/")[2],
        "conversation": reply.address.thread,
        "text": reply.text,
        "source": reply.source,
        "confidence": reply.confidence,
        "evidence": reply.evidence,
        "part": delivery.part,
    }
    return msgspec.json.encode({"type": "reply.created", "timestamp": datetime.now(UTC).isoformat(), "data": data})
