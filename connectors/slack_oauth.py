"""Installations in many workspaces: who may install, the tokens that come of it, sealed in Redis, and their refreshing."""

import logging
import secrets
import time
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
import structlog
from slack_bolt.oauth.async_oauth_flow import AsyncOAuthFlow
from slack_bolt.oauth.async_oauth_settings import AsyncOAuthSettings
from slack_sdk.errors import SlackTokenRotationError
from slack_sdk.oauth.installation_store.async_installation_store import AsyncInstallationStore
from slack_sdk.oauth.installation_store.models.bot import Bot
from slack_sdk.oauth.installation_store.models.installation import Installation
from slack_sdk.oauth.state_store.async_state_store import AsyncOAuthStateStore
from slack_sdk.oauth.token_rotation.async_rotator import AsyncTokenRotator
from slack_sdk.web.async_client import AsyncWebClient

from connectors.slack_calls import QUIET, client, fault, judge
from connectors.slack_manifest import SCOPES
from connectors.slack_store import ROTATING_LIFE, STATE_LIFE, Kept
from engine.accounts import SlackApp
from engine.crypto import Sealer
from engine.errors import DeliveryRefused, RetryLater, SealError, SettingsError
from engine.settings import PREFIX, Settings

log = structlog.get_logger()

#: Tokens are refreshed when they expire within this time, minutes; they live twelve hours. [D]
REFRESH_WITHIN = 120
#: Seconds until a token is asked for again while another process refreshes it, or its sealing key is missing.
REFRESHING, UNSEALED = 1.0, 60.0
#: What Bolt is given where an account has no OAuth, so that it does not take one from the environment.
NONE = "none"


class States(AsyncOAuthStateStore):
    """Each state begins one installation and is good for one callback."""

    def __init__(self, account: SlackApp, kept: Kept) -> None:
        self._name = account.name
        self._kept = kept

    @property
    def logger(self) -> logging.Logger:
        return QUIET

    async def async_issue(self, *args: Any, **kwargs: Any) -> str:
        state = secrets.token_urlsafe(32)
        await self._kept.put(self._key(state), b"1", life=STATE_LIFE)
        return state

    async def async_consume(self, state: str) -> bool:
        return await self._kept.drop(self._key(state))

    def _key(self, state: str) -> str:
        return self._kept.key("state", self._name, state)


class Installations(AsyncInstallationStore):
    """The newest installation of one app in each workspace or organisation."""

    def __init__(self, account: SlackApp, kept: Kept, sealer: Sealer | None) -> None:
        self._name = account.name
        self._kept = kept
        self._sealer = sealer

    @property
    def logger(self) -> logging.Logger:
        return QUIET

    async def async_save(self, installation: Installation) -> None:
        place = (installation.enterprise_id if installation.is_enterprise_install else installation.team_id) or ""
        await self.save(place, installation)

    async def async_find_bot(
        self, *, enterprise_id: str | None, team_id: str | None, is_enterprise_install: bool | None = False
    ) -> Bot | None:
        found = await self.find((enterprise_id if is_enterprise_install else team_id) or "")
        return found.to_bot() if found else None

    async def async_find_installation(
        self,
        *,
        enterprise_id: str | None,
        team_id: str | None,
        user_id: str | None = None,
        is_enterprise_install: bool | None = False,
    ) -> Installation | None:
        return await self.find((enterprise_id if is_enterprise_install else team_id) or "")

    async def async_delete_bot(self, *, enterprise_id: str | None, team_id: str | None) -> None:
        await self.delete(team_id or enterprise_id or "")

    async def async_delete_installation(
        self, *, enterprise_id: str | None, team_id: str | None, user_id: str | None = None
    ) -> None:
        await self.delete(team_id or enterprise_id or "")

    async def save(self, place: str, installation: Installation) -> None:
        if self._sealer is not None:
            sealed = self._sealer.seal(self._purpose(place), msgspec.json.encode(vars(installation)))
            await self._kept.put(self._key(place), sealed)

    async def find(self, place: str) -> Installation | None:
        """:raises SealError: the key it was sealed with is missing."""
        sealed = await self._kept.get(self._key(place))
        if sealed is None or self._sealer is None:
            return None
        return Installation(**msgspec.json.decode(self._sealer.open(self._purpose(place), sealed)))

    async def delete(self, place: str) -> None:
        if await self._kept.drop(self._key(place)):
            log.info("a Slack app was uninstalled", action="slack.uninstalled", account=self._name, place=place)

    def _key(self, place: str) -> str:
        return self._kept.key("installed", self._name, place)

    def _purpose(self, place: str) -> str:
        return f"slack {self._name} {place}"


class Tokens:
    """The bot token of an account in one place, when it is needed."""

    def __init__(self, account: SlackApp, kept: Kept, installations: Installations) -> None:
        self._account = account
        self._kept = kept
        self._installations = installations

    async def token(self, place: str, calls: AsyncWebClient) -> str:
        """:raises DeliveryRefused: the app is not installed there.
        :raises RetryLater: it cannot be had now.
        """
        installation = await self._installation(place) if self._account.client_id else None
        if installation is None or not installation.bot_token:
            if not self._account.bot_token:
                raise DeliveryRefused(f"the Slack app {self._account.name!r} is not installed in this workspace any more")
            return self._account.bot_token
        expires = installation.bot_token_expires_at
        if expires is not None and expires < time.time() + REFRESH_WITHIN * 60:
            installation = await self._refreshed(place, installation, calls)
        return str(installation.bot_token)

    async def gone(self, place: str, token: str) -> None:
        """Slack says that this token will never work again; a newer installation stays."""
        installation = await self._installation(place) if self._account.client_id else None
        if installation is not None and installation.bot_token == token:
            await self._installations.delete(place)

    async def _installation(self, place: str) -> Installation | None:
        try:
            return await self._installations.find(place)
        except SealError as error:
            raise RetryLater(str(error), after=UNSEALED) from error

    async def _refreshed(self, place: str, old: Installation, calls: AsyncWebClient) -> Installation:
        """One process refreshes; the others use the old token as long as it lives."""
        lock = self._kept.key("rotating", self._account.name, place)
        lives = (old.bot_token_expires_at or 0) > time.time()
        if not await self._kept.put(lock, b"1", life=ROTATING_LIFE, new=True):
            if lives:
                return old
            raise RetryLater("another process refreshes the tokens of this Slack app", after=REFRESHING)
        try:
            # Another process may have refreshed it between our look and our lock.
            return await self._rotate(place, await self._installation(place) or old, calls, lives=lives)
        finally:
            await self._kept.drop(lock)

    async def _rotate(self, place: str, old: Installation, calls: AsyncWebClient, *, lives: bool) -> Installation:
        rotator = AsyncTokenRotator(client_id=self._account.client_id, client_secret=self._account.client_secret, client=calls)
        try:
            new = await rotator.perform_token_rotation(installation=old, minutes_before_expiration=REFRESH_WITHIN)
        except SlackTokenRotationError as error:
            found = fault(error.api_error)
            log.warning("Slack refreshed no token", action="slack.not_refreshed", account=self._account.name, status=found.status)
            if lives:
                return old
            raise judge(found) from None
        except (aiohttp.ClientError, TimeoutError, AttributeError, ValueError) as error:
            if lives:
                return old
            raise RetryLater(f"Slack refreshed no token ({type(error).__name__})", after=0) from None
        if new is None:
            return old
        await self._installations.save(place, new)
        return new


def flow(account: SlackApp, installations: Installations, states: States, calls: AsyncWebClient) -> AsyncOAuthFlow:
    """Bolt's pages of the installation; nothing is read from the environment."""
    settings = AsyncOAuthSettings(
        client_id=account.client_id or NONE,
        client_secret=account.client_secret or NONE,
        scopes=list(SCOPES),
        user_scopes=[],
        install_path=f"/slack/{account.name}/install",
        redirect_uri_path=f"/slack/{account.name}/oauth_redirect",
        authorization_url=account.authorize_url,
        installation_store=installations,
        state_store=states,
        state_expiration_seconds=STATE_LIFE,
        logger=QUIET,
    )
    settings.redirect_uri = account.redirect_url or None
    # The library puts it into the address as it is.
    settings.authorize_url_generator.redirect_uri = quote(account.redirect_url, safe="") or None
    return AsyncOAuthFlow(client=calls, logger=QUIET, settings=settings)


class App:
    """One account with its installations, its tokens and the pages of the installation."""

    def __init__(self, account: SlackApp, settings: Settings, kept: Kept) -> None:
        """:raises SettingsError: OAuth is set up by halves."""
        self.account = account
        _check(account, settings)
        self.installations = Installations(account, kept, Sealer(settings.sealing_keys) if account.client_id else None)
        self.states = States(account, kept)
        self.tokens = Tokens(account, kept, self.installations)
        self.pages = flow(account, self.installations, self.states, client(account, None, None))


def _check(account: SlackApp, settings: Settings) -> None:
    stem = f"{PREFIX}SLACK_{account.name.upper().replace('-', '_')}"
    if not account.bot_token and not account.client_id:
        raise SettingsError(
            f"{stem}_BOT_TOKEN is missing: set it, or {stem}_CLIENT_ID and {stem}_CLIENT_SECRET to install by OAuth"
        )
    if account.client_id and not account.client_secret:
        raise SettingsError(f"{stem}_CLIENT_SECRET is missing: {stem}_CLIENT_ID needs it")
    if account.client_id and not settings.sealing_keys:
        raise SettingsError(f"{PREFIX}SEALING_KEYS is missing: the tokens of {stem} are kept sealed")
