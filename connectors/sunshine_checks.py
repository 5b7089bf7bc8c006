"""What `replymill doctor` asks Sunshine Conversations about an app: calls that change nothing."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from connectors.api import Api, clocks
from connectors.contract import Check
from connectors.hooks import Hook, judged, seen
from engine.accounts import SunshineApp
from engine.errors import DeliveryError, DeliveryRefused

_KEY = "see that base URL, app id, key id and secret belong together: Admin Center, Apps and integrations, Conversations API"
_PLACE = "docs/sunshine.md, `A place on the switchboard`, has the calls"
_HOOK = "an integration with a webhook for conversation:message: docs/sunshine.md says how it is set up"
_MESSAGE = "conversation:message"
_NEXT = "next"
#: Of the right form, and nobody's.
_NO_CONVERSATION = "0" * 24


async def checks(api: Api, account: SunshineApp) -> Sequence[Check]:
    """The key, the clocks, the webhook, and our place on the switchboard where it is to have one."""
    what = f"sunshine {account.name}"
    app = f"/v2/apps/{quote(account.app_id, safe='')}"
    found: list[Check] = []
    try:
        found += [await _key(api, what, app), *clocks(api, what)]
        if found[0].ok:
            found += await _webhook(api, what, app, account)
        if account.switchboard and found[0].ok:
            what = f"{what} switchboard"
            found.append(await _switchboard(api, what, app, account))
    except DeliveryError as error:
        return [*found, Check(what, False, "no answer", str(error))]
    return found


async def _key(api: Api, what: str, app: str) -> Check:
    """An integration's own key may not read the app; that it may write, a conversation that is not there tells by 404."""
    try:
        await api.call("GET", app)
    except DeliveryRefused as error:
        if _says(error, 403) and await _may_converse(api, app):
            return Check(what, True, "the key is taken, for conversations alone")
        return Check(what, False, f"the key is refused ({error})", _KEY)
    return Check(what, True, "the key is taken")


async def _webhook(api: Api, what: str, app: str, account: SunshineApp) -> list[Check]:
    """The webhooks of the integrations that may have some; a key for conversations alone is not shown them."""
    integrations = await seen(api, f"{app}/integrations?page[size]=100", "integrations")
    if integrations is None:
        return []
    hooks: list[Hook] = []
    for one in integrations:
        if one.get("type") in {"custom", "zd:conversations"}:
            place = f"{app}/integrations/{quote(str(one.get('id')), safe='')}/webhooks"
            active = one.get("status") != "inactive"
            hooks += [_hook(hook, active=active) for hook in await seen(api, place, "webhooks") or ()]
    return [judged(what, f"/sunshine/{account.name}", hooks, account.webhook_secret, _HOOK)]


def _hook(hook: Mapping[str, Any], *, active: bool) -> Hook:
    triggers = hook.get("triggers")
    told = not isinstance(triggers, list) or _MESSAGE in triggers
    return Hook(hook.get("target"), active, hook.get("secret"), "" if told else f"it is not told of {_MESSAGE}")


async def _may_converse(api: Api, app: str) -> bool:
    try:
        await api.call("GET", f"{app}/conversations/{_NO_CONVERSATION}")
    except DeliveryRefused as error:
        return _says(error, 404)
    return True


async def _switchboard(api: Api, what: str, app: str, account: SunshineApp) -> Check:
    """Our integration, on the first switchboard that has it."""
    try:
        boards = await _list(api, f"{app}/switchboards", "switchboards")
        for board in boards:
            place = f"{app}/switchboards/{quote(str(board.get('id')), safe='')}/switchboardIntegrations"
            integrations = await _list(api, place, "switchboardIntegrations")
            ours = _named(integrations, account.switchboard)
            if ours:
                return _ours(what, account, board, ours, integrations)
    except DeliveryRefused as error:
        if _says(error, 403):
            return Check(what, True, "not looked at: the key may not read it", f"a key of the whole app may. {_PLACE}")
        return Check(what, False, f"it cannot be read ({error})", _PLACE)
    return Check(what, False, f"no integration is called {account.switchboard!r}: the bot stays silent", _PLACE)


def _ours(
    what: str,
    account: SunshineApp,
    board: Mapping[str, Any],
    ours: Mapping[str, Any],
    integrations: Sequence[Mapping[str, Any]],
) -> Check:
    if board.get("enabled") is False:
        return Check(what, False, "it is switched off: nobody is the active one, and the bot stays silent", _PLACE)
    wanted = account.hand_over_to
    if wanted == _NEXT and not ours.get("nextSwitchboardIntegrationId"):
        return Check(what, False, f"nobody comes after {account.switchboard!r}: a hand-over has no target", _PLACE)
    if wanted != _NEXT and not _named(integrations, wanted):
        return Check(what, False, f"no integration is called {wanted!r}: a hand-over has no target", _PLACE)
    if ours.get("deliverStandbyEvents") is False:
        advice = "without `deliverStandbyEvents` the bot does not hear of control that others pass and release"
        return Check(what, True, f"{account.switchboard!r} is on it", advice)
    return Check(what, True, f"{account.switchboard!r} is on it")


def _named(integrations: Sequence[Mapping[str, Any]], called: str) -> Mapping[str, Any] | None:
    """A name or an id stands for an integration."""
    return next((one for one in integrations if called in (one.get("name"), one.get("id"))), None)


async def _list(api: Api, path: str, name: str) -> list[Mapping[str, Any]]:
    said = await api.call("GET", path)
    found = said.get(name) if isinstance(said, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _says(error: DeliveryRefused, status: int) -> bool:
    """Whether that is the status in the error's text, as `Api` words it."""
    return f" answered {status}:" in str(error)
