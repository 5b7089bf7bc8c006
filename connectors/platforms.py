"""The table of platforms: adding one costs its file, a line here, a section of the settings and a test file.

A platform's module is imported where it is set up, so that nobody pays for the libraries of another.
"""

import importlib
from collections.abc import Mapping
from typing import Any

from connectors import page
from connectors.bridge import bridge
from connectors.contract import Platform
from connectors.page import Page
from engine.handoff import BRIDGE
from engine.messages import Address
from engine.settings import Settings
from engine.store import AsyncClient

#: Module and class of each platform with accounts, made with the settings and a client of Redis.
_WITH_ACCOUNTS: Mapping[str, tuple[str, str]] = {
    "slack": ("connectors.slack", "Slack"),
    "telegram": ("connectors.telegram", "Telegram"),
    "chatwoot": ("connectors.chatwoot", "Chatwoot"),
    "zendesk": ("connectors.zendesk", "Zendesk"),
    "sunshine": ("connectors.sunshine", "Sunshine"),
    "intercom": ("connectors.intercom", "Intercom"),
    "freshchat": ("connectors.freshchat", "Freshchat"),
    "zammad": ("connectors.zammad", "Zammad"),
}

#: Platforms that show a reply while it is generated, and those that show that somebody writes.
STREAMING = frozenset({page.NAME, "slack", "telegram"})
TYPING = STREAMING | {"chatwoot", "sunshine"}

#: Platforms where people sit beside the bot, to whom a conversation can be handed.
STAFFED = frozenset({"chatwoot", "zendesk", "sunshine", "intercom", "freshchat", "zammad"})


def bridged(address: Address, settings: Settings) -> bool:
    """Whether people are reached by the bridge there."""
    return bool(settings.bridge) and address.platform not in STAFFED


def staffed(address: Address, settings: Settings) -> bool:
    """Whether there are people at all to whom a conversation there can be handed."""
    return bool(settings.bridge) or address.platform in STAFFED


def table(settings: Settings, client: AsyncClient) -> Mapping[str, Platform]:
    """Every platform by its name. `client` is where the chat page's replies go: only sending uses it.

    :raises SettingsError: a platform's settings cannot be used.
    """
    made: dict[str, Platform] = {
        "webhook": _class("connectors.webhook", "Webhook")(settings),
        page.NAME: Page(settings, client),
    }
    for name, place in _WITH_ACCOUNTS.items():
        if settings.accounts.get(name):
            made[name] = _class(*place)(settings, client)
    leads_to = made.get(settings.bridge_place.platform) if settings.bridge_place else None
    return {**made, BRIDGE: bridge(settings, client, leads_to)} if leads_to else made


def _class(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)
