"""Slack's way in: Bolt behind a guard of ours, over HTTP and over Socket Mode.

Bolt acknowledges only once its listener is done (`process_before_response`), and the listener only translates and takes: what
cannot be made durable is answered 503, or not acknowledged on a socket, and Slack sends it again.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec
import structlog
from slack_bolt.adapter.starlette.async_handler import AsyncSlackRequestHandler
from slack_bolt.app.async_app import AsyncApp
from slack_bolt.authorization.async_authorize import AsyncCallableAuthorize
from slack_bolt.authorization.authorize_result import AuthorizeResult
from slack_bolt.context.ack.async_ack import AsyncAck
from slack_bolt.oauth.async_oauth_flow import AsyncOAuthFlow
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_bolt.response import BoltResponse
from slack_sdk.socket_mode.request import SocketModeRequest
from starlette.requests import Request
from starlette.responses import Response

from connectors import slack_events, slack_presses
from connectors.bodies import read_object
from connectors.contract import Deletion, Edit, Feedback, Ownership, Take
from connectors.doors import headers_of
from connectors.guard import RETRY_AFTER
from connectors.people import AgentWord
from connectors.signatures import Clock, Scheme, verify
from connectors.slack_agents import words
from connectors.slack_calls import QUIET, client
from connectors.slack_events import NAME, Said
from connectors.slack_oauth import App
from connectors.slack_store import GONE_LIFE, Kept
from engine import saying
from engine.errors import MalformedRequest, Overloaded, StoreUnavailable, UnparseableMessage
from engine.lanes import Lanes
from engine.messages import Address

log = structlog.get_logger()

#: https://docs.slack.dev/authentication/verifying-requests-from-slack
SCHEME = Scheme(
    signature_header="x-slack-signature",
    prefix="v0=",
    template=b"v0:{timestamp}:{body}",
    timestamp_header="x-slack-request-timestamp",
    clock=Clock.UNIX,
)

#: Shorter words are part of one secret; Slack's have 32 characters. [D]
SHORTEST_SECRET = 16

#: Everything Bolt can be asked to match.
_ANY = re.compile("")
#: What Bolt raises over a body of another shape than Slack documents.
MISREAD = (AttributeError, IndexError, KeyError, TypeError, ValueError)
#: What a Socket Mode request of each type is called in HTTP.
_SOCKET_TYPES = frozenset({"events_api", "interactive", "slash_commands"})


class Door:
    """One account's requests."""

    def __init__(self, app: App, kept: Kept, *, lanes: Lanes, take: Take) -> None:
        self._account = app.account
        self._kept = kept
        self._installations = app.installations
        self._lanes = lanes
        self._take = take
        # Longer than its reply may be looked for.
        self._below_life = 2 * (lanes.settings.deadline_chat + lanes.settings.deadline_delivery)
        place = lanes.settings.bridge_place
        #: The channel in which people answer; empty: none of this account.
        self._bridge = place.channel if place and (place.platform, place.account) == (NAME, app.account.name) else ""
        self._no_text = saying.say(lanes.settings, app.account.tenant, "no_text")
        self._kinds = lanes.settings.media
        self._secrets = secrets_of(app.account.signing_secret)
        self._app = self._bolt(app.pages)
        self._handler = AsyncSlackRequestHandler(self._app)

    async def receive(self, request: Request) -> Response:
        """A signed request.

        :raises RejectedRequest:
        :raises MalformedRequest:
        """
        raw = await request.body()
        verify(SCHEME, self._secrets, headers=headers_of(request), body=raw)
        body = read_body(request.headers.get("content-type", ""), raw)
        try:
            answer = await self._handler.handle(request)
        except MISREAD as error:
            # Bolt reads a verified body before it asks us, and takes the shapes that Slack documents for granted.
            return await self._unreadable(raw, body, f"Bolt cannot read it ({type(error).__name__})")
        # Bolt answers 404 to what nobody listens to, and Slack would send it again.
        return Response() if answer.status_code == 404 else answer

    async def hear(self, request: SocketModeRequest) -> tuple[bool, Any]:
        """Whether a request of a socket may be acknowledged, and with what."""
        if request.type not in _SOCKET_TYPES:
            return True, None
        try:
            answer: BoltResponse = await self._app.async_dispatch(
                AsyncBoltRequest(mode="socket_mode", body=request.payload, headers={})
            )
        except MISREAD as error:
            raw = msgspec.json.encode(request.payload)
            gone = await self._unreadable(raw, request.payload, f"Bolt cannot read it ({type(error).__name__})")
            return gone.status_code == 200, None
        # Only what may be well at another attempt is left for Slack to send again.
        return answer.status < 500, (msgspec.json.decode(answer.body) if _is_json(answer) else None)

    def _bolt(self, flow: AsyncOAuthFlow) -> AsyncApp:
        """An app that verifies nothing, since the guard did, and asks Slack nothing before it takes a message."""

        async def authorize(enterprise_id: str | None, team_id: str | None) -> AuthorizeResult:
            return AuthorizeResult(enterprise_id=enterprise_id, team_id=team_id)

        app = AsyncApp(
            name=self._account.name,
            logger=QUIET,
            process_before_response=True,
            signing_secret=self._account.signing_secret,
            client=client(self._account, None, None),
            authorize=AsyncCallableAuthorize(logger=QUIET, func=authorize),  # type: ignore[arg-type]  # Bolt takes it beside a flow
            oauth_flow=flow,
            request_verification_enabled=False,
            ignoring_self_events_enabled=False,
            attaching_function_token_enabled=False,
            attaching_conversation_kwargs_enabled=False,
        )
        app.event(_ANY)(self._event)
        app.command(_ANY)(self._command)
        app.action(_ANY)(self._action)
        app.error(_failed)
        return app

    async def _event(self, body: dict[str, Any]) -> None:
        try:
            uninstalled = slack_events.gone(body)
            said = self._said(body)
        except UnparseableMessage as error:
            await self._bury(msgspec.json.encode(body), body, str(error))
            return
        if uninstalled:
            await self._uninstall(uninstalled, str(body.get("event_id") or ""))
        await self._settle(said)

    def _said(self, body: dict[str, Any]) -> tuple[Said, ...]:
        """In the channel of the bridge people answer, and nobody asks."""
        name, tenant = self._account.name, self._account.tenant
        by_agent = words(name, tenant, body, channel=self._bridge)
        if by_agent is not None:
            return by_agent
        return slack_events.event(name, tenant, body, kinds=self._kinds)

    async def _command(self, body: dict[str, Any], ack: AsyncAck) -> None:
        try:
            said = slack_events.command(self._account.name, self._account.tenant, body)
        except UnparseableMessage as error:
            await self._bury(msgspec.json.encode(body), body, str(error))
            await ack()
            return
        await self._settle(said)
        if said:
            # Shows the command to everybody who will read its reply.
            await ack(response_type="in_channel")
        else:
            await ack(self._no_text, response_type="ephemeral")

    async def _action(self, body: dict[str, Any], ack: AsyncAck) -> None:
        try:
            said = slack_presses.read(self._account.name, self._account.tenant, body)
        except UnparseableMessage as error:
            await self._bury(msgspec.json.encode(body), body, str(error))
            await ack()
            return
        await self._settle(said)
        await ack()

    async def _uninstall(self, place: str, event_id: str) -> None:
        """Once: the same event, sent again five minutes later, must not take a newer installation with it."""
        key = self._kept.key("gone", self._account.name, place, event_id)
        if event_id and await self._kept.get(key) is not None:
            return
        await self._installations.delete(place)
        await self._kept.put(key, b"1", life=GONE_LIFE)

    async def _settle(self, said: tuple[Said, ...]) -> None:
        for one in said:
            if await self._is_ours(one):
                await self._note(one)
                await self._take(one.inbound)

    async def _note(self, said: Said) -> None:
        """Where a direct message is answered; first, since its reply may be quick."""
        inbound = said.inbound
        ids = getattr(inbound, "dedupe_ids", ()) or getattr(inbound, "logical_ids", ())
        if not said.below or not ids or isinstance(inbound, AgentWord | Deletion | Edit | Feedback | Ownership):
            return
        message_id = self._lanes.message_id(inbound.address, ids[0])
        await self._kept.put(self._kept.key("below", message_id), said.below.encode(), life=self._below_life)

    async def _is_ours(self, said: Said) -> bool:
        """In a channel: where the bot is mentioned, and in the thread below."""
        if said.thread is None:
            return True
        ask = self._kept.engage if said.engages else self._kept.engaged
        return await ask(self._account.name, *said.thread)

    async def _unreadable(self, raw: bytes, body: Mapping[str, Any], reason: str) -> Response:
        try:
            await self._bury(raw, body, reason)
        except StoreUnavailable:
            return Response(status_code=503, headers={"retry-after": RETRY_AFTER})
        return Response()

    async def _bury(self, raw: bytes, body: Mapping[str, Any], reason: str) -> None:
        """Keep what was verified but is no message we know, once."""
        address = Address(platform=NAME, tenant=self._account.tenant, channel=f"{self._account.name}/")
        event_id = body.get("event_id")
        logical = event_id if isinstance(event_id, str) else hashlib.sha256(raw).hexdigest()
        named = f"{self._account.name}/{logical!a}"
        await self._lanes.bury(address, named, raw, reason=reason).run_async(await self._kept.client())
        log.warning("a verified request is no message we know", action="slack.buried", account=self._account.name, reason=reason)


def secrets_of(setting: str) -> tuple[bytes, ...]:
    """The signing secret; two of them, separated by a space, while one takes the place of the other."""
    words = setting.split()
    return tuple(word.encode() for word in (words if all(len(word) >= SHORTEST_SECRET for word in words) else [setting]))


async def nobody(request: Request) -> Response:
    """An account that does not exist: the caller cannot tell this from a forged signature.

    :raises RejectedRequest:
    """
    verify(SCHEME, (secrets.token_bytes(32),), headers=headers_of(request), body=await request.body())
    return Response()


def read_body(kind: str, raw: bytes) -> dict[str, Any]:
    """What Bolt will find in a body: JSON, a form with JSON in `payload`, or the form of a command.

    :raises MalformedRequest: naming the fault.
    """
    if kind.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        found = read_object(raw)
        if found.get("type") == "url_verification" and not isinstance(found.get("challenge"), str):
            raise MalformedRequest("url_verification without `challenge`")
        return found
    try:
        form = parse_qs(raw.decode(), keep_blank_values=True, strict_parsing=bool(raw), errors="strict", max_num_fields=100)
    except ValueError as error:
        raise MalformedRequest("the body is no form") from error
    if "payload" in form:
        return read_object(form["payload"][0].encode(errors="surrogatepass"))
    return {name: values[0] for name, values in form.items()}


async def _failed(error: Exception) -> BoltResponse:
    """What went wrong in a listener, as a status that Slack understands."""
    if isinstance(error, StoreUnavailable | Overloaded):
        return BoltResponse(status=503, body="", headers={"retry-after": RETRY_AFTER})
    if isinstance(error, MISREAD):
        raise error
    log.error("a request of Slack failed unexpectedly", action="slack.failed", exc_info=error)
    return BoltResponse(status=500, body="")


def _is_json(answer: BoltResponse) -> bool:
    return bool(answer.body) and "json" in str(answer.headers.get("content-type", ""))
