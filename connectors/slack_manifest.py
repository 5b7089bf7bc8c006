"""The manifest of a Slack app that fits an account: what to paste at api.slack.com, instead of forty clicks."""

import json
from collections.abc import Mapping, Sequence

from engine.accounts import SlackApp

#: What the bot may do, each with what needs it.
SCOPES: Mapping[str, str] = {
    "app_mentions:read": "app_mention",
    "channels:history": "follow-ups in threads of public channels, and looking for a message that may have been sent",
    "groups:history": "the same in private channels",
    "im:history": "direct messages",
    "im:read": "looking for the reply to /ask that may have been sent to the person alone",
    "mpim:history": "the same in group messages",
    "chat:write": "replies, the status and streaming",
    "commands": "/ask",
    "files:read": "voice notes and images, where reading them is configured",
}

#: What the app subscribes to. All others are none of our business.
EVENTS = (
    "app_mention",
    "message.channels",
    "message.groups",
    "message.im",
    "message.mpim",
    "agent_session_stopped",
    "app_uninstalled",
    "tokens_revoked",
)

#: The slash command.
COMMAND = "/ask"

#: Slack's own limit on the name of an app, characters. [D]
_LONGEST_NAME = 35

Yaml = str | bool | Sequence["Yaml"] | Mapping[str, "Yaml"]


def manifest(account: SlackApp, *, url: str = "https://example.com", title: str = "Replymill") -> str:
    """YAML for one account; `url` is the public address of the web process."""
    events = f"{_base(account, url)}/slack/{account.name}/events"
    sockets = bool(account.app_token)
    reached: dict[str, Yaml] = {} if sockets else {"request_url": events}
    command: dict[str, Yaml] = {
        "command": COMMAND,
        "description": "Ask a question",
        "usage_hint": "your question",
        "should_escape": True,
        **({} if sockets else {"url": events}),
    }
    redirects: dict[str, Yaml] = {}
    if account.client_id:
        redirects = {"redirect_urls": [account.redirect_url or f"{_base(account, url)}/slack/{account.name}/oauth_redirect"]}
    whole: dict[str, Yaml] = {
        "display_information": {"name": title[:_LONGEST_NAME]},
        "features": {
            "agent_view": {"agent_description": "Answers questions."},
            "app_home": {"home_tab_enabled": False, "messages_tab_enabled": True, "messages_tab_read_only_enabled": False},
            "bot_user": {"display_name": title[:_LONGEST_NAME], "always_online": True},
            "slash_commands": [command],
        },
        "oauth_config": {**redirects, "scopes": {"bot": list(SCOPES)}},
        "settings": {
            "event_subscriptions": {**reached, "bot_events": list(EVENTS)},
            "interactivity": {"is_enabled": True, **reached},
            "org_deploy_enabled": False,
            "socket_mode_enabled": sockets,
            "token_rotation_enabled": bool(account.client_id),
        },
    }
    return "\n".join(_lines(whole, 0)) + "\n"


def _base(account: SlackApp, url: str) -> str:
    """The public address, taken from the redirect where the account has one."""
    known, found, _ = account.redirect_url.partition(f"/slack/{account.name}/")
    return known if found else url.rstrip("/")


def _lines(value: Mapping[str, Yaml], depth: int) -> list[str]:
    """Block style; a text is written as JSON writes it, which YAML reads the same."""
    indent, found = "  " * depth, []
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            found += [f"{indent}{name}:", *_lines(inner, depth + 1)]
        elif isinstance(inner, str | bool):
            found.append(f"{indent}{name}: {json.dumps(inner)}")
        else:
            found += [f"{indent}{name}:", *(line for one in inner for line in _item(one, depth + 1))]
    return found


def _item(value: Yaml, depth: int) -> list[str]:
    indent = "  " * depth
    if not isinstance(value, Mapping):
        return [f"{indent}- {json.dumps(value)}"]
    first, *rest = _lines(value, depth + 1)
    return [f"{indent}- {first.lstrip()}", *rest]
