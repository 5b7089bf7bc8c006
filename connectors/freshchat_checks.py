"""What `replymill doctor` asks Freshchat about a bot: a call that changes nothing."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from connectors.api import Api, clocks, examine
from connectors.contract import Check
from connectors.freshchat_events import text_of
from engine.accounts import FreshchatBot
from engine.settings import PREFIX


async def checks(api: Api, account: FreshchatBot) -> Sequence[Check]:
    """The token, and the agent that the bot writes as."""
    what, stem = f"freshchat {account.name}", f"{PREFIX}FRESHCHAT_{account.name.upper().replace('-', '_')}"
    advice = {
        0: f"check {stem}_BASE_URL: Freshchat shows it beside the API token",
        401: f"copy the API token anew into {stem}_TOKEN, and check {stem}_BASE_URL: tokens are good for one account",
        403: "the token's owner must have the role of an account admin, or another that may see agents and conversations",
        404: f"{stem}_ACTOR_ID is the id of no agent here: GET /v2/agents shows those of all",
    }
    place = f"/v2/agents/{quote(account.actor_id, safe='')}"
    agent = await examine(api, what, place, told=lambda found: _agent(found, account), advice=advice)
    return (agent, *clocks(api, what))


def _agent(found: Any, account: FreshchatBot) -> str:
    named = " ".join(filter(None, (text_of(found, "first_name"), text_of(found, "last_name"))))
    return f"the token is taken; writes as {named!r}" if text_of(found, "id") == account.actor_id else ""
