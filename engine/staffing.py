"""When a person takes a conversation over, and where people are reached without a support tool: a part of `engine.settings`."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from engine import values
from engine.errors import SettingsError
from engine.texts import Texts, setting

#: An account's name, and what the platform calls the channel or the chat.
_SLACK = re.compile(r"slack:([a-z0-9-]+)/(?:([TE][A-Z0-9]{1,63})/)?([CG][A-Z0-9]{1,63})")
_TELEGRAM = re.compile(r"telegram:([a-z0-9-]+)/(-[0-9]{1,20})")
#: Slack's `<!here>`, `<!channel>`, a group or a person; Telegram's `@name`.
_MENTION = re.compile(r"<!(here|channel|everyone)>|<!subteam\^S[A-Z0-9]+>|<@[UW][A-Z0-9]+>|@[A-Za-z0-9_]{4,32}")


class Place(NamedTuple):
    """The channel or group in which people answer."""

    platform: str
    account: str
    #: Slack's workspace or organisation; empty where the account has one alone.
    team: str
    #: The channel or the chat.
    channel: str

    @classmethod
    def read(cls, text: str) -> "Place":
        """:raises ValueError: with what is accepted as its text."""
        if found := _SLACK.fullmatch(text):
            return cls("slack", found[1], found[2] or "", found[3])
        if found := _TELEGRAM.fullmatch(text):
            return cls("telegram", found[1], "", found[2])
        raise ValueError("slack:ACCOUNT/C0CHANNEL, slack:ACCOUNT/T0TEAM/C0CHANNEL or telegram:BOT/-100CHAT")


def place(value: str) -> str:
    """A bridge, as it is written."""
    Place.read(value)
    return value


def mention(value: str) -> str:
    """Who is called where nobody has picked a conversation up."""
    if not _MENTION.fullmatch(value):
        raise ValueError("<!here>, <!channel>, <!subteam^S0GROUP> or <@U0PERSON> of Slack, or @name of Telegram")
    return value


@dataclass(frozen=True, kw_only=True)
class Staffing(Texts):
    """Everything about people who answer."""

    person_wait: float = setting(
        3600.0,
        values.number(1, 31_536_000),
        "seconds a conversation waits for a person: then they are called again where there is a bridge, or the bot answers again",
    )
    person_idle: float = setting(
        24.0,
        values.number(0.001, 8760),
        "hours without a word of a person in the bridge before the bot takes a conversation back",
    )
    bridge: str = setting(
        "",
        place,
        "where people answer without a support tool: `slack:<account>/<channel id>` or `telegram:<bot>/<chat id>`; empty: nowhere",
    )
    bridge_mention: str = setting("", mention, "who is called there when nobody has picked a conversation up, such as `<!here>`")
    handover_confidence: float = setting(
        0.0, values.number(0, 1), "a reply whose confidence is below this goes to a person instead, where there is one; 0: off"
    )
    handover_anger: bool = setting(True, values.flag, "whoever is angry gets a person, where there is one; see docs/handoff.md")
    handover_repeated: int = setting(
        3, values.whole(0, 100), "whoever asks the same again so many times gets a person, where there is one; 0: off"
    )

    @property
    def bridge_place(self) -> Place | None:
        """Where the bridge leads; None: there is none."""
        return Place.read(self.bridge) if self.bridge else None


def check(prefix: str, settings: Staffing, accounts: Mapping[str, Collection[str]]) -> None:
    """:raises SettingsError: the bridge leads to an account that is not set up."""
    found = settings.bridge_place
    if found and found.account not in accounts.get(found.platform, ()):
        variable = f"{prefix}{found.platform.upper()}_{found.account.upper().replace('-', '_')}_..."
        raise SettingsError(f"{prefix}BRIDGE is {settings.bridge!r}, but there is no such account: set {variable}")
    foreign = found and settings.bridge_mention and settings.bridge_mention.startswith("<") != (found.platform == "slack")
    if foreign:
        raise SettingsError(f"{prefix}BRIDGE_MENTION is {settings.bridge_mention!r}, which means nothing in {settings.bridge!r}")
