"""What `replymill doctor` asks a Zammad: calls that change nothing. Webhooks and triggers are shown to administrators alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from connectors.api import Api, clocks
from connectors.contract import Check
from connectors.hooks import Hook, judged, seen
from engine.accounts import ZammadDesk
from engine.errors import DeliveryRefused
from engine.settings import PREFIX

_RIGHTS = "make the token of a user with the role Agent, with the permission ticket.agent: Profile, Token Access"
_HOOKS = "Manage, Webhooks, and Manage, Triggers: docs/zammad.md says how they are"


async def checks(api: Api, desk: ZammadDesk) -> list[Check]:
    """Whose token it is and what it may, the clocks, and the webhook.

    :raises DeliveryError: it cannot be asked.
    """
    what = f"zammad {desk.name}"
    try:
        me = await api.call("GET", "/api/v1/users/me")
    except DeliveryRefused as error:
        return [Check(what, False, f"the token is refused ({error})", _RIGHTS), *clocks(api, what)]
    found = [_user(what, desk, me if isinstance(me, dict) else {}), *clocks(api, what)]
    if await seen(api, "/api/v1/tickets?per_page=1") is None:
        found.append(Check(f"{what} tickets", False, "the token may not read tickets", _RIGHTS))
    hooks = await seen(api, "/api/v1/webhooks")
    if hooks is not None:
        triggers = await seen(api, "/api/v1/triggers")
        shown = [_hook(one, triggers) for one in hooks]
        found.append(judged(what, f"/zammad/{desk.name}", shown, desk.webhook_secret, _HOOKS))
    return found


def _user(what: str, desk: ZammadDesk, me: Mapping[str, Any]) -> Check:
    found = f"the token of {me.get('login') or 'nobody'} is taken"
    if desk.user_id and me.get("id") != desk.user_id:
        variable = f"{PREFIX}ZAMMAD_{desk.name.upper().replace('-', '_')}_USER_ID"
        return Check(what, False, f"{found}, whose id is not {desk.user_id}", f"set {variable}={me.get('id')}, or leave it out")
    if me.get("group_ids") == {}:
        return Check(what, False, f"{found}, who has no rights in any group", "give the user full rights: Manage, Users")
    return Check(what, True, found)


def _hook(hook: Mapping[str, Any], triggers: Sequence[Mapping[str, Any]] | None) -> Hook:
    used = triggers is None or any(one.get("active") is not False and _sends(one, hook.get("id")) for one in triggers)
    lacks = "" if used else "no active trigger sends it"
    return Hook(hook.get("endpoint"), hook.get("active") is not False, hook.get("signature_token"), lacks)


def _sends(trigger: Mapping[str, Any], hook: Any) -> bool:
    perform = trigger.get("perform")
    action = perform.get("notification.webhook") if isinstance(perform, dict) else None
    return isinstance(action, dict) and str(action.get("webhook_id")) == str(hook)
