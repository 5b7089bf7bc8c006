"""The generic signed webhook: `POST /webhooks/<endpoint>` in, signed as its settings say; a callback out by Standard Webhooks.

Unless the settings name other places, two shapes of body are messages: `{"conversation", "text", "user"}`, and the envelope
`{"type", "timestamp", "data": {...}}` with type `message.created`, `message.updated` or `message.deleted`; the `message_id` of the
last two is the id of the original.
"""

import hashlib
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec

from connectors import wishes
from connectors.bodies import answerable, read_object
from connectors.contract import FULL, Acknowledgement, Deletion, Edit, Inbound, Request, Taken, Times
from connectors.posting import guarded_client, post
from connectors.signatures import STANDARD, sign, verify
from connectors.webhook_fields import Content, is_message, read_content, read_id, short
from connectors.webhook_schemes import Endpoint, endpoint_of
from engine.choices import listed
from engine.endpoints import WebhookEndpoint
from engine.errors import DeliveryRefused, LaneFull, MalformedRequest, UnparseableMessage
from engine.limits import Limit
from engine.messages import Address, Delivery, InboundMessage, Receipt, Reply
from engine.settings import Settings

NAME = "webhook"

#: What `replymill doctor` sends: takes back a message that nobody has sent.
_PROBE = b'{"type": "message.deleted", "data": {"conversation": "replymill-doctor", "message_id": "replymill-doctor"}}'

_MESSAGE_ID = re.compile(r"[!-\-/-~]{1,256}")


class Webhook:
    """All endpoints of `Settings.webhooks`."""

    name = NAME
    paths = ("/webhooks/{name}",)
    #: A callback bears its delivery's id as webhook-id, which receivers use to recognise a repeat.
    idempotent = True
    bots_meet = False
    timeless = False
    away = 503

    def __init__(self, settings: Settings) -> None:
        """:raises SettingsError: an endpoint whose secret or callback address cannot be used."""
        self.times = Times(settings.deadline_webhook, settings.quiet_webhook, settings.quiet_webhook_max)
        self._endpoints = {name: endpoint_of(registered) for name, registered in settings.webhooks.items()}
        #: Stands in for the secrets of an endpoint that does not exist.
        self._nobody = (secrets.token_bytes(32),)
        self._connections = settings.deliveries
        self._clients: dict[str, httpx.AsyncClient] = {}

    def verify(self, request: Request) -> None:
        endpoint = self._endpoints.get(request.name)
        # Where nobody is, nobody knows the secret: the caller cannot tell this from a forged signature.
        scheme, keys = (endpoint.scheme, endpoint.secrets) if endpoint else (STANDARD, self._nobody)
        verify(scheme, keys, headers=request.headers, body=request.body)

    def parse(self, request: Request) -> tuple[Inbound, ...]:
        endpoint, found = self._endpoints[request.name], read_object(request.body)
        if not is_message(endpoint.registered.only, found):
            return ()
        kind, content = read_content(endpoint.registered, found)
        if not content.conversation:
            raise UnparseableMessage(f"{kind} without `conversation`")
        address = self._address(request.name, short("conversation", content.conversation))
        if kind == "message.created":
            message = _message(address, content, logical_id(request.name, read_id(endpoint, request.headers, found)))
            return (wishes.read(message) if endpoint.registered.wishes else message,)
        if not content.message_id:
            raise UnparseableMessage(f"{kind} without `message_id`")
        if not _MESSAGE_ID.fullmatch(content.message_id):
            raise MalformedRequest("`message_id` must be the id of the original message")
        original = logical_id(request.name, content.message_id)
        if kind == "message.deleted":
            return (Deletion(address, original),)
        return (Edit(_message(address, content, original)),)

    def origin(self, request: Request) -> tuple[Address, str]:
        try:
            known = read_id(self._endpoints[request.name], request.headers, read_object(request.body))
        except (MalformedRequest, UnparseableMessage):  # then a repeat is known by its bytes
            known = "sha256." + hashlib.sha256(request.body).hexdigest()
        return self._address(request.name, ""), logical_id(request.name, known)

    def acknowledge(self, taken: Sequence[Taken]) -> Acknowledgement:
        if taken and taken[0].state == FULL:
            raise LaneFull("too many messages of this conversation wait already: send it again later")
        if taken and taken[0].state == "elsewhere":
            raise MalformedRequest("message_id names a message of another conversation")
        said = {"id": taken[0].id, "state": taken[0].state} if taken else {"state": "ignored"}
        return Acknowledgement(202, said)

    def split(self, text: str) -> Sequence[str]:
        return (text,)

    def limits(self, delivery: Delivery) -> Sequence[Limit]:
        return ()

    def offers(self, reply: Reply) -> bool:
        """The body carries them, and its text lists them for receivers that have no buttons."""
        return True

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

    def probes(self) -> Mapping[str, Request]:
        """Of endpoints signed by Standard Webhooks: how another sender signs is that sender's."""
        standard = {name: one for name, one in self._endpoints.items() if one.registered.scheme == "standard" and one.secrets}
        return {f"/webhooks/{name}": _probe(name, one) for name, one in standard.items() if _is_left_alone(one.registered)}

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


def _message(address: Address, content: Content, logical_id: str) -> InboundMessage:
    text = answerable(content.text)
    sender = short("user", content.user or "")
    return InboundMessage(address=address, sender=sender, text=text, dedupe_ids=(logical_id,))


def _probe(name: str, endpoint: Endpoint) -> Request:
    signed = sign(endpoint.secrets[0], f"doctor_{secrets.token_hex(8)}", timestamp=int(time.time()), body=_PROBE)
    scheme = endpoint.scheme
    own = {STANDARD.id_header: scheme.id_header, STANDARD.timestamp_header: scheme.timestamp_header}
    own[STANDARD.signature_header] = scheme.signature_header
    headers = {own[header]: value for header, value in signed.items()}
    return Request(name, {**headers, "content-type": "application/json"}, _PROBE)


def _is_left_alone(endpoint: WebhookEndpoint) -> bool:
    """Whether the probe starts nothing: where bodies are read by paths, everything that `only` lets pass is a new message."""
    mapped = endpoint.conversation_field or endpoint.text_field or endpoint.user_field
    return not mapped or not is_message(endpoint.only, read_object(_PROBE))


def logical_id(name: str, message_id: str) -> str:
    """Endpoints of one tenant number their messages apart; an id may have a slash, a name has none."""
    return f"{name}/{message_id}"


def _callback(delivery: Delivery) -> bytes:
    reply = delivery.reply
    data: Mapping[str, Any] = {
        "id": reply.in_reply_to[0] if reply.in_reply_to else "",
        "ids": reply.in_reply_to,
        "in_reply_to": reply.reference.partition("/")[2],
        "conversation": reply.address.thread,
        "text": listed(reply.text, reply.choices),
        "source": reply.source,
        "confidence": reply.confidence,
        "evidence": reply.evidence,
        "part": delivery.part,
        **({"choices": reply.choices, "prompt": reply.text} if reply.choices else {}),
        **({"action": delivery.action} if delivery.action else {}),
    }
    return msgspec.json.encode({"type": "reply.created", "timestamp": datetime.now(UTC).isoformat(), "data": data})
