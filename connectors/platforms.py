"""The table of platforms: adding one costs its file, a line here, a section of the settings and a test file."""

from collections.abc import Callable, Mapping

from connectors import page, webhook
from connectors.contract import Platform
from connectors.page import Page
from connectors.webhook import Webhook
from engine.settings import Settings
from engine.store import AsyncClient

_TABLE: Mapping[str, Callable[[Settings, AsyncClient], Platform]] = {
    webhook.NAME: lambda settings, _: Webhook(settings),
    page.NAME: Page,
}

#: Platforms that show a reply while it is generated.
STREAMING = frozenset({page.NAME})


def table(settings: Settings, client: AsyncClient) -> Mapping[str, Platform]:
    """Every platform by its name. `client` is where the chat page's replies go: only sending uses it.

    :raises SettingsError: a platform's settings cannot be used.
    """
    return {name: make(settings, client) for name, make in _TABLE.items()}
