"""Links to messages as people copy them from Telegram: chats between two have none, and a public name only Telegram knows."""

import re
from collections.abc import Mapping

from connectors.links import Located
from connectors.telegram_updates import NAME, Me
from engine.messages import Address

#: In a private group: its chat without the -100 before it, in a forum the topic, and the message.
_LINK = re.compile(r"https://t\.me/c/(?P<chat>[0-9]{1,19})(?:/[0-9]{1,19})?/(?P<message>[0-9]{1,19})(?:\?\S*)?")


def located(link: str, bots: Mapping[str, Me]) -> list[Located]:
    """The message, as each bot of ours would know it."""
    found = _LINK.fullmatch(link)
    if found is None:
        return []
    chat = f"-100{found['chat']}"
    return [
        Located(Address(platform=NAME, tenant=me.account.tenant, channel=f"{name}/{chat}"), f"{me.id}/{chat}/{found['message']}")
        for name, me in bots.items()
    ]
