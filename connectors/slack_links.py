"""Links to messages as people copy them from Slack. They name the workspace by its domain alone, so Slack is asked for its id."""

import re

from slack_sdk.web.async_client import AsyncWebClient

from connectors.links import Located
from connectors.slack_calls import judged
from connectors.slack_events import Place
from engine.accounts import SlackApp

#: `p` and the time of the message without its point; of one inside a thread also the root's.
_LINK = re.compile(
    r"https://[a-z0-9.-]+/archives/(?P<channel>[A-Z0-9]{1,64})/p(?P<seconds>[0-9]{1,16})(?P<micros>[0-9]{6})"
    r"(?:\?(?:[^#]*&)?thread_ts=(?P<root>[0-9]{1,16}\.[0-9]{1,16})[^#]*|\?\S*)?"
)


def parse(link: str) -> re.Match[str] | None:
    """A link of Slack, or of a server that speaks its language."""
    return _LINK.fullmatch(link)


async def place_of(calls: AsyncWebClient, account: SlackApp) -> Place:
    """Where the bot token of an account is installed.

    :raises DeliveryError: Slack cannot be asked.
    """
    with judged():
        answer = await calls.auth_test()
    whole = answer.get("is_enterprise_install") is True
    place = str(answer.get("enterprise_id" if whole else "team_id") or "")
    return Place(account.name, account.tenant, place, str(answer.get("user_id") or ""))


def located(place: Place, found: re.Match[str]) -> list[Located]:
    """The message, and then the conversation it is in: a thread, or a direct message that has none."""
    channel, ts = found["channel"], f"{found['seconds']}.{found['micros']}"
    thread = place.address(channel, found["root"] or ts)
    return [Located(thread, place.logical(place.id, channel, ts)), Located(thread), Located(place.address(channel, ""))]
