"""Accounts of platforms: REPLYMILL_<PLATFORM>_<NAME>_<PART>, so that one Replymill serves several bots. Read by `engine.settings`.

Each platform has a frozen class here, its section of the settings. The name stands in the path that the platform calls, and is the
tenant unless one is given; caches, limits and conversations are kept apart by tenant.
"""

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from engine import values
from engine.errors import SettingsError


def part(
    meaning: str, *, default: Any = "", parse: Callable[[str], Any] = values.text, secret: bool = False, required: bool = False
) -> Any:
    """One variable of an account."""
    return field(default=default, metadata={"parse": parse, "meaning": meaning, "secret": secret, "required": required})


@dataclass(frozen=True, kw_only=True)
class Account:
    """What every account has."""

    #: What to do at the platform itself, in a few lines; `{name}` is the account's.
    STEPS: ClassVar[str] = ""
    #: What `replymill init` asks for beside what is required; it may be left empty.
    USUAL: ClassVar[tuple[str, ...]] = ()

    #: The name in the path: lower case, `-` for `_`.
    name: str
    tenant: str = part("whose bot this is (default: the account's name)")


@dataclass(frozen=True, kw_only=True)
class SlackApp(Account):
    """One Slack app, in one workspace (`bot_token`) or in many (`client_id` and `client_secret`)."""

    STEPS: ClassVar[str] = (
        "1. https://api.slack.com/apps, Create New App, From a manifest:\n"
        "   choose YAML and paste the manifest of `replymill slack manifest --name {name}`.\n"
        "2. Install it; Basic Information has the signing secret, OAuth & Permissions the bot token.\n"
        "3. Without a public address: an app-level token with connections:write, and Socket Mode on."
    )
    USUAL: ClassVar[tuple[str, ...]] = ("bot_token", "app_token")

    signing_secret: str = part("the app's signing secret (Basic Information)", parse=values.secret, secret=True, required=True)
    bot_token: str = part("`xoxb-` token of the one workspace; empty: installed by OAuth", secret=True)
    app_token: str = part("`xapp-` token: listen by Socket Mode too", secret=True)
    client_id: str = part("for installation by OAuth")
    client_secret: str = part("for installation by OAuth", secret=True)
    redirect_url: str = part("public address of /slack/<name>/oauth_redirect", parse=values.url("https", "http"))
    api_base_url: str = part("Slack's Web API", default="https://slack.com/api/", parse=values.url("https", "http"))
    authorize_url: str = part(
        "where an installation begins", default="https://slack.com/oauth/v2/authorize", parse=values.url("https", "http")
    )


@dataclass(frozen=True, kw_only=True)
class TelegramBot(Account):
    """One Telegram bot, polled unless it has a webhook."""

    STEPS: ClassVar[str] = (
        "1. In Telegram write to @BotFather: /newbot, a name, a user name that ends in `bot`; it answers with the token.\n"
        "2. For groups: add the bot; it hears commands, replies to it, and messages that name it.\n"
        "3. Nothing more: it is polled. With ..._WEBHOOK_URL, https://<this service>/telegram/{name}, it is called."
    )

    token: str = part("the bot's token from BotFather", parse=values.secret, secret=True, required=True)
    webhook_url: str = part("public https address of /telegram/<name>; empty: the bot is polled", parse=values.url("https", "http"))
    webhook_secret: str = part("secret token of the webhook, 16 to 256 of A-Z a-z 0-9 _ -", parse=values.secret, secret=True)
    api_base_url: str = part("Telegram's Bot API", default="https://api.telegram.org", parse=values.url("https", "http"))


@dataclass(frozen=True, kw_only=True)
class ChatwootBot(Account):
    """One AgentBot of Chatwoot."""

    STEPS: ClassVar[str] = (
        "1. Settings, Bots, Add Bot: webhook URL https://<this service>/chatwoot/{name}; copy its access token and secret.\n"
        "2. Settings, Inboxes, your inbox, Bot configuration: choose the bot."
    )

    base_url: str = part("address of Chatwoot", parse=values.url("https", "http"), required=True)
    access_token: str = part("the AgentBot's access token", parse=values.secret, secret=True, required=True)
    secret: str = part("the AgentBot's webhook secret (Chatwoot 4.13 and newer)", parse=values.secret, secret=True, required=True)
    team_id: str = part("team that a conversation is assigned to when a person is needed")


@dataclass(frozen=True, kw_only=True)
class ZendeskDesk(Account):
    """Tickets of one Zendesk."""

    STEPS: ClassVar[str] = (
        "1. Add an agent for the bot, and an API token.\n"
        "2. Webhooks, Create webhook: https://<this service>/zendesk/{name}, POST, JSON; reveal its signing secret.\n"
        "3. A trigger with the body that docs/zendesk.md shows."
    )

    base_url: str = part("https://<subdomain>.zendesk.com", parse=values.url("https", "http"), required=True)
    email: str = part("e-mail of the user that the bot writes as", required=True)
    api_token: str = part("API token", parse=values.secret, secret=True, required=True)
    webhook_secret: str = part("signing secret of the webhook", parse=values.secret, secret=True, required=True)
    bot_user_id: str = part("id of the user that the bot writes as, whose own comments start nothing", required=True)
    group_id: str = part("group that a ticket goes to when a person is needed")
    end_user_words: tuple[str, ...] = part(
        "the account's words for end users beside `end-user`, separated by `|`", default=(), parse=values.lines
    )
    staff_words: tuple[str, ...] = part(
        "the account's words for agents and admins beside `agent` and `admin`, separated by `|`", default=(), parse=values.lines
    )
    ended_words: tuple[str, ...] = part(
        "the account's words for solved and closed tickets beside `solved` and `closed`, separated by `|`",
        default=(),
        parse=values.lines,
    )


@dataclass(frozen=True, kw_only=True)
class SunshineApp(Account):
    """One app of Sunshine Conversations (Zendesk messaging)."""

    STEPS: ClassVar[str] = (
        "1. An integration with the webhook https://<this service>/sunshine/{name} and conversation:message;\n"
        "   copy its shared secret.\n"
        "2. A Conversations API key: app id, key id, secret.\n"
        "3. A place on the switchboard: three calls that docs/sunshine.md shows."
    )

    base_url: str = part("API address", default="https://api.smooch.io", parse=values.url("https", "http"))
    app_id: str = part("id of the app", required=True)
    key_id: str = part("id of the API key", required=True)
    key_secret: str = part("secret of the API key", parse=values.secret, secret=True, required=True)
    webhook_secret: str = part("shared secret of the webhook", parse=values.secret, secret=True, required=True)
    switchboard: str = part("name of our switchboard integration; the bot answers while it is the active one")
    hand_over_to: str = part("switchboard integration that takes over", default="next")


@dataclass(frozen=True, kw_only=True)
class IntercomApp(Account):
    """One Intercom workspace."""

    STEPS: ClassVar[str] = (
        "1. A teammate for the bot; its id is the admin id.\n"
        "2. Developer Hub, New app: access token and client secret.\n"
        "3. Webhooks: https://<this service>/intercom/{name}, with the topics that docs/intercom.md lists."
    )

    base_url: str = part("API address", default="https://api.intercom.io", parse=values.url("https", "http"))
    access_token: str = part("access token of the app", parse=values.secret, secret=True, required=True)
    client_secret: str = part("client secret of the app, which signs its webhooks", parse=values.secret, secret=True, required=True)
    admin_id: str = part("id of the admin that the bot writes as", required=True)
    assignee_id: str = part("team or admin that a conversation goes to when a person is needed; 0: nobody", default="0")


@dataclass(frozen=True, kw_only=True)
class FreshchatBot(Account):
    """One Freshchat account."""

    STEPS: ClassVar[str] = (
        "1. An agent for the bot, and an API token.\n"
        "2. Admin settings, Webhooks: https://<this service>/freshchat/{name}; the same page shows the public key."
    )

    base_url: str = part("https://<account>.freshchat.com", parse=values.url("https", "http"), required=True)
    token: str = part("API token", parse=values.secret, secret=True, required=True)
    public_key: str = part("RSA public key of the webhook, PEM or its base64 lines", required=True)
    actor_id: str = part("id of the agent that the bot writes as", required=True)
    group_id: str = part("group that a conversation goes to when a person is needed")


@dataclass(frozen=True, kw_only=True)
class ZammadDesk(Account):
    """Tickets of one Zammad."""

    STEPS: ClassVar[str] = (
        "1. A user for the bot with the role Agent, and an access token of it with ticket.agent.\n"
        "2. Manage, Webhooks: https://<this service>/zammad/{name}, with a signature token of your own.\n"
        "3. The two triggers that docs/zammad.md shows."
    )

    base_url: str = part("address of Zammad", parse=values.url("https", "http"), required=True)
    token: str = part("access token of the user that the bot writes as", parse=values.secret, secret=True, required=True)
    webhook_secret: str = part("signature token of the webhook", parse=values.secret, secret=True, required=True)
    user_id: int = part("id of the user that the bot writes as; 0: Zammad is asked", default=0, parse=values.whole(0, 10**15))
    group: str = part("group that a ticket goes to when a person is needed")


#: The class of each platform's accounts, by the word in its variables.
SECTIONS: Mapping[str, type[Account]] = {
    "slack": SlackApp,
    "telegram": TelegramBot,
    "chatwoot": ChatwootBot,
    "zendesk": ZendeskDesk,
    "sunshine": SunshineApp,
    "intercom": IntercomApp,
    "freshchat": FreshchatBot,
    "zammad": ZammadDesk,
}

#: By platform, then by name.
Accounts = Mapping[str, Mapping[str, Account]]


def parts(section: type[Account]) -> dict[str, "dataclasses.Field[Any]"]:
    """The fields of a section by the last word of their variables."""
    return {f.name.upper(): f for f in dataclasses.fields(section) if f.name != "name"}


def match(prefix: str, variable: str) -> tuple[str, str, str] | None:
    """(platform, name, part) that a variable names, if it is one of an account."""
    for platform, section in SECTIONS.items():
        known = "|".join(sorted(parts(section), key=len, reverse=True))
        found = re.fullmatch(rf"{prefix}{platform.upper()}_([A-Z0-9]+(?:_[A-Z0-9]+)*?)_({known})", variable)
        if found:
            return platform, found[1].lower().replace("_", "-"), found[2]
    return None


def near(prefix: str, variable: str) -> list[str]:
    """What a misspelt variable of an account may have been meant to be."""
    for platform, section in SECTIONS.items():
        stem = f"{prefix}{platform.upper()}_"
        if variable.startswith(stem):
            words = variable.removeprefix(stem).split("_")
            if "_".join(words) in parts(section):
                return [f"{stem}<NAME>_{'_'.join(words)}"]
            meant = [f"{stem}{'_'.join(words[:end])}_{name}" for end in range(1, len(words)) for name in parts(section)]
            return difflib.get_close_matches(variable, meant, n=1)
    return []


def build(prefix: str, found: Mapping[tuple[str, str], Mapping[str, str]]) -> Accounts:
    """The accounts from the texts of their variables, by (platform, name).

    :raises SettingsError: naming the variable, and what is accepted.
    """
    accounts: dict[str, dict[str, Account]] = {}
    for (platform, name), texts in found.items():
        stem = f"{prefix}{platform.upper()}_{name.upper().replace('-', '_')}"
        accounts.setdefault(platform, {})[name] = _account(SECTIONS[platform], stem, name, texts)
    return accounts


def describe(prefix: str) -> list[tuple[str, str, str]]:
    """(variable, default, meaning) of every part of every section."""
    return [
        (f"{prefix}{platform.upper()}_<NAME>_{word}", _shown(one.default), one.metadata["meaning"])
        for platform, section in SECTIONS.items()
        for word, one in parts(section).items()
    ]


def _account(section: type[Account], stem: str, name: str, texts: Mapping[str, str]) -> Account:
    known = parts(section)
    for word, one in known.items():
        if one.metadata["required"] and not texts.get(word):
            raise SettingsError(f"{stem}_{word} is missing: {one.metadata['meaning']}")
    read = {known[word].name: _value(f"{stem}_{word}", known[word], text) for word, text in texts.items() if text}
    return section(**{"name": name, "tenant": name, **read})


def _value(variable: str, one: "dataclasses.Field[Any]", text: str) -> Any:
    try:
        return one.metadata["parse"](text)
    except ValueError as error:
        # A URL may hold a password.
        shown = "(hidden)" if one.metadata["secret"] or "@" in text else repr(text)
        raise SettingsError(f"{variable} is {shown}, but must be {error}") from error


def _shown(default: Any) -> str:
    if isinstance(default, tuple):
        return " ".join(default)
    return str(default).lower() if isinstance(default, bool) else str(default)
