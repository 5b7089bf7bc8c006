"""What `replymill doctor` asks of Slack, and of the running service in Slack's name: nothing is changed by it."""

import hashlib
import hmac
import re
import time
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from connectors.clocks import apart, seconds_ahead
from connectors.contract import Check, Request
from connectors.slack_calls import PASSING, fault, judged
from connectors.slack_door import SCHEME, secrets_of
from connectors.slack_manifest import SCOPES
from engine.accounts import SlackApp

_REINSTALL = "install the app again and take its Bot User OAuth Token"
_ADVICE = {
    "token_revoked": f"the app was uninstalled or its token withdrawn: {_REINSTALL}",
    "account_inactive": f"the app's user or workspace is no more: {_REINSTALL}",
    "token_expired": "the app rotates its tokens: install it by OAuth (client id and secret), or turn token rotation off",
    "not_allowed_token_type": "this is no bot token: take the Bot User OAuth Token, `xoxb-...`",
}
_SOCKET_ADVICE = {
    "missing_scope": "the app token lacks connections:write: Basic Information, App-Level Tokens, make a new one with it",
    "not_allowed_token_type": "this is no app-level token: Basic Information, App-Level Tokens, `xapp-...`",
}
#: The id of an app stands in its app-level tokens. [R]
_APP_TOKEN = re.compile(r"xapp-[0-9]+-(A[A-Z0-9]+)-")

#: Answered with its challenge.
_PROBE = b'{"type": "url_verification", "challenge": "replymill-doctor"}'


async def checks(calls: AsyncWebClient, sockets: AsyncWebClient, account: SlackApp) -> Sequence[Check]:
    """Whether the tokens work and belong to one app, whether the bot may do what it does, and whether the clocks agree.

    :param sockets: calls with the token for Socket Mode.
    :raises DeliveryError: Slack cannot be asked.
    """
    what = f"slack {account.name}"
    bot, app_id = Check(what, True, "installed by OAuth, each workspace on its own"), ""
    clock: tuple[Check, ...] = ()
    if account.bot_token:
        said, headers, code = await _told(calls.auth_test())
        clock = apart(what, seconds_ahead(headers))
        bot = _bot(what, said, headers, code)
        app_id = await _app_of(calls, said) if account.app_token and not code else ""
    return [bot, *([await _socket(what, sockets, account, app_id)] if account.app_token else []), *clock]


async def check_channel(calls: AsyncWebClient, name: str, channel: str) -> Check:
    """Whether the bot is in the channel of the bridge.

    :raises DeliveryError: Slack cannot be asked.
    """
    what = f"bridge slack {name}"
    said, _, code = await _told(calls.conversations_info(channel=channel))
    if code == "missing_scope":
        return Check(what, True, "the token lacks channels:read (groups:read), so that nobody can tell whether the bot is in it")
    if code:
        return Check(what, False, f"Slack says {code} of {channel}", "take the id from the channel's details", fatal=True)
    found = said.get("channel")
    if not isinstance(found, dict) or not found.get("is_member"):
        return Check(what, False, f"the bot is not in {channel}", "write `/invite @<the bot>` in the channel", fatal=True)
    return Check(what, True, f"the bot is in #{found.get('name', channel)}")


def _bot(what: str, said: Mapping[str, Any], headers: Mapping[str, str], code: str) -> Check:
    if code:
        advice = _ADVICE.get(code, _REINSTALL)
        return Check(what, False, f"Slack says {code}", advice, fatal=True)
    words = [value.split(",") for name, value in headers.items() if name.lower() == "x-oauth-scopes"]
    granted = {scope.strip() for found in words for scope in found}
    missing = [f"{scope} ({use})" for scope, use in sorted(SCOPES.items()) if scope not in granted] if granted else []
    if missing:
        advice = "paste `replymill slack manifest` into the app's manifest and install it again"
        return Check(what, False, f"the token lacks {', '.join(missing)}", advice)
    return Check(what, True, f"{said.get('user', 'the bot')} in {said.get('team', 'its workspace')}")


async def _socket(what: str, sockets: AsyncWebClient, account: SlackApp, app_id: str) -> Check:
    """Asking for the address of a socket opens none."""
    what = f"{what} Socket Mode"
    _, _, code = await _told(sockets.apps_connections_open(app_token=account.app_token))
    if code:
        advice = _SOCKET_ADVICE.get(code, "Basic Information, App-Level Tokens: make one with connections:write (`xapp-...`)")
        return Check(what, False, f"Slack says {code} to the app token", advice, fatal=True)
    theirs = _APP_TOKEN.match(account.app_token)
    if app_id and theirs and theirs[1] != app_id:
        advice = "take both tokens from one app: what people write to the bot does not come over the socket of another"
        return Check(what, False, f"the app token is of the app {theirs[1]}, the bot token of {app_id}", advice, fatal=True)
    return Check(what, True, "the app token is taken")


async def _app_of(calls: AsyncWebClient, said: Mapping[str, Any]) -> str:
    """The app of a bot; empty where Slack does not say, as without the scope users:read."""
    known = said.get("app_id")
    if not known and said.get("bot_id"):
        answer, _, code = await _told(calls.bots_info(bot=str(said["bot_id"])))
        bot = {} if code else answer.get("bot")
        known = bot.get("app_id") if isinstance(bot, dict) else ""
    return known if isinstance(known, str) else ""


async def _told(call: Awaitable[AsyncSlackResponse]) -> tuple[Mapping[str, Any], Mapping[str, str], str]:
    """(what Slack answers, the headers, its word for what is wrong; empty: nothing is).

    :raises DeliveryError: Slack cannot be asked.
    """
    with judged():
        try:
            answer = await call
        except SlackApiError as error:
            code = fault(error).code
            if not code or code in PASSING:
                raise
            return {}, getattr(error.response, "headers", None) or {}, ascii(code)[1:-1]
    return (answer.data if isinstance(answer.data, dict) else {}), answer.headers, ""


def probe(account: SlackApp) -> Request:
    """What Slack asks when an address is registered."""
    return Request(account.name, _signed(account), _PROBE)


def _signed(account: SlackApp) -> Mapping[str, str]:
    timestamp = str(int(time.time()))
    digest = hmac.new(secrets_of(account.signing_secret)[0], b"v0:" + timestamp.encode() + b":" + _PROBE, hashlib.sha256)
    return {
        "content-type": "application/json",
        SCHEME.timestamp_header: timestamp,
        SCHEME.signature_header: SCHEME.prefix + digest.hexdigest(),
    }
