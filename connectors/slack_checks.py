"""What `replymill doctor` asks of Slack, and of the running service in Slack's name: nothing is changed by it."""

import hashlib
import hmac
import time
from collections.abc import Mapping

from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from connectors.contract import Check, Request
from connectors.slack_calls import fault, judged
from connectors.slack_door import SCHEME, secrets_of
from connectors.slack_manifest import SCOPES
from engine.accounts import SlackApp

#: Answered with its challenge.
_PROBE = b'{"type": "url_verification", "challenge": "replymill-doctor"}'


async def check(calls: AsyncWebClient, account: SlackApp) -> Check:
    """Whether the token works, and whether it may do what the bot does.

    :raises DeliveryError: Slack cannot be asked.
    """
    what = f"slack {account.name}"
    if not account.bot_token:
        return Check(what, True, "installed by OAuth, each workspace on its own")
    with judged():
        try:
            answer = await calls.auth_test()
        except SlackApiError as error:
            code = fault(error).code
            if not code:
                raise
            return Check(what, False, f"Slack says {ascii(code)[1:-1]}", "install the app again and take its Bot User OAuth Token")
    granted = {scope for name, value in answer.headers.items() if name.lower() == "x-oauth-scopes" for scope in value.split(",")}
    missing = sorted(set(SCOPES) - granted) if granted else []
    if missing:
        advice = "paste `replymill slack manifest` into the app's manifest and install it again"
        return Check(what, False, f"the token lacks {', '.join(missing)}", advice)
    return Check(what, True, f"{answer.get('user', 'the bot')} in {answer.get('team', 'its workspace')}")


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
