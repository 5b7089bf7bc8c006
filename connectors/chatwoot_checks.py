"""What `replymill doctor` asks a Chatwoot: calls that change nothing. Its bots are shown to administrators alone."""

import re
from collections.abc import Mapping
from typing import Any

from connectors.api import Api, clocks
from connectors.chatwoot_api import get
from connectors.contract import Check
from connectors.hooks import Hook, judged, seen
from engine.accounts import ChatwootBot
from engine.errors import DeliveryError, DeliveryRefused

#: The first version that signs what it sends to bots: PR 13892 [D].
SIGNED_SINCE = (4, 13)
_BOTS = "Settings, Bots: docs/chatwoot.md says how it is set up"


async def checks(api: Api, bot: ChatwootBot) -> list[Check]:
    """Whether Chatwoot knows the token, the clocks, its version, and where the bot's requests go.

    :raises DeliveryError: it cannot be asked.
    """
    what = f"chatwoot {bot.name}"
    try:
        # It refuses a bot its profile, and says so otherwise than to a stranger.
        profile = await get(api, "/api/v1/profile")
    except DeliveryRefused as error:
        advice = "copy the token of the bot: Settings > Bots"
        return [Check(what, False, f"the access token is refused ({error})", advice), *clocks(api, what)]
    found = [Check(what, True, "the access token of a bot is taken"), *clocks(api, what), *await _version(api, what)]
    if profile is not None:
        found[0] = Check(what, True, "the access token of a user is taken", "replies bear the name of that user")
        found += await _bots(api, what, bot, profile if isinstance(profile, dict) else {})
    return found


async def _version(api: Api, what: str) -> list[Check]:
    """`GET /api` tells it to everybody, `app/controllers/api_controller.rb` [S]; a proxy may not let it through."""
    try:
        said = await api.call("GET", "/api")
    except DeliveryError:  # it is told by the first request then
        return []
    version = said.get("version") if isinstance(said, dict) else None
    numbers = re.match(r"v?(\d{1,4})\.(\d{1,4})", version) if isinstance(version, str) else None
    if not numbers or (int(numbers[1]), int(numbers[2])) >= SIGNED_SINCE:
        return []
    since = ".".join(map(str, SIGNED_SINCE))
    advice = f"upgrade it to {since} or newer; until then every request is refused with 401, and conversations go to the agents"
    return [Check(f"{what} version", False, f"Chatwoot {numbers[0]} does not sign what it sends to bots", advice, fatal=True)]


async def _bots(api: Api, what: str, bot: ChatwootBot, profile: Mapping[str, Any]) -> list[Check]:
    """Where the bots of the user's accounts send to."""
    accounts = profile.get("accounts")
    hooks: list[Hook] = []
    shown = False
    for account in accounts if isinstance(accounts, list) else ():
        number = account.get("id") if isinstance(account, dict) else None
        found = await seen(api, f"/api/v1/accounts/{number}/agent_bots") if isinstance(number, int) else None
        shown = shown or found is not None
        hooks += [Hook(one.get("outgoing_url"), secret=one.get("secret")) for one in found or ()]
    return [judged(what, f"/chatwoot/{bot.name}", hooks, bot.secret, _BOTS)] if shown else []
