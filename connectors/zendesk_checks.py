"""What `replymill doctor` asks a Zendesk about its bot, and sends to ourselves in its name: nothing is changed or started."""

import base64
import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec

from connectors.api import Api, clocks
from connectors.contract import Check, Request
from connectors.hooks import Hook, judged, seen
from connectors.zendesk_events import SCHEME, Body, plain, word
from engine.accounts import ZendeskDesk
from engine.errors import DeliveryError, DeliveryRefused
from engine.settings import PREFIX

#: Roles that may write a public comment.
_WRITERS = frozenset({"agent", "admin"})
#: `role_type` of agents who may write internal comments alone. [D] The API reference, Users.
_LIMITED = {"1": "a light agent", "3": "a contributor"}
_TOKEN = "see that base URL, e-mail and API token belong together, and that Zendesk API, Settings, allows token access"  # noqa: S105 - advice

#: Fields of the body without which a webhook is a dead letter.
_NEEDED = tuple(field.name for field in msgspec.structs.fields(Body) if field.required)
_HOOKS = "Admin Center, Webhooks, and Triggers: docs/zendesk.md says how they are"


async def checks(api: Api, account: ZendeskDesk) -> Sequence[Check]:
    """The bot's user, and the group that gets a ticket when a person is needed."""
    what = f"zendesk {account.name}"
    try:
        found = [_user(what, account, await _read(api, "/api/v2/users/me.json", "user"))]
    except DeliveryRefused as error:
        return [Check(what, False, f"the API token is refused ({error})", _TOKEN), *clocks(api, what)]
    except DeliveryError as error:
        return [Check(what, False, "no answer", str(error))]
    found += clocks(api, what)
    if account.group_id and found[0].ok:
        found.append(await _group(api, f"{what} group", account))
    try:
        return [*found, *await _webhook(api, what, account)]
    except DeliveryError as error:
        return [*found, Check(f"{what} webhook", False, "no answer", str(error))]


async def _webhook(api: Api, what: str, account: ZendeskDesk) -> list[Check]:
    """Shown to administrators alone, as the secret and the triggers are."""
    listed = await seen(api, "/api/v2/webhooks?page[size]=100", "webhooks")
    if listed is None:
        return []
    triggers = await seen(api, "/api/v2/triggers/active.json?page[size]=100", "triggers")
    hooks: list[Hook] = []
    for one in listed:
        number = plain(one.get("id"))
        ours = str(one.get("endpoint")).rstrip("/").endswith(f"/zendesk/{account.name}")
        secret = await _secret(api, number) if ours and number else ""
        hooks.append(Hook(one.get("endpoint"), one.get("status") != "inactive", secret, _lacks(triggers, number)))
    return [judged(what, f"/zendesk/{account.name}", hooks, account.webhook_secret, _HOOKS)]


async def _secret(api: Api, number: str) -> str:
    try:
        found = await _read(api, f"/api/v2/webhooks/{quote(number, safe='')}/signing_secret", "signing_secret")
    except DeliveryRefused:
        return ""
    return plain(found.get("secret"), 1024)


def _lacks(triggers: Sequence[Mapping[str, Any]] | None, number: str) -> str:
    """What is amiss with the triggers that send a webhook: each may send a body of its own."""
    if triggers is None:
        return ""
    bodies = [body for trigger in triggers for body in _bodies(trigger, number)]
    if not bodies:
        return "no active trigger sends it"
    missing = [name for name in _NEEDED if not all(f'"{name}"' in body for body in bodies)]
    return f"the body of its trigger lacks {', '.join(missing)}" if missing else ""


def _bodies(trigger: Mapping[str, Any], number: str) -> Iterator[str]:
    """The bodies that a trigger sends to a webhook."""
    actions = trigger.get("actions")
    for action in actions if isinstance(actions, list) else ():
        value = action.get("value") if isinstance(action, dict) and action.get("field") == "notification_webhook" else None
        if isinstance(value, list) and len(value) > 1 and plain(value[0]) == number:
            yield str(value[1])


def probe(account: ZendeskDesk, secret: bytes) -> Request:
    """A signed webhook for a comment by the bot's own user, which starts nothing."""
    bot = account.bot_user_id
    body = msgspec.json.encode(Body("0", "", "", "true", author_id=bot, updater_id=bot, updater_role="agent"))
    timestamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    signature = base64.b64encode(hmac.digest(secret, timestamp.encode() + body, hashlib.sha256)).decode()
    signed = {SCHEME.signature_header: signature, SCHEME.timestamp_header: timestamp}
    return Request(account.name, {"content-type": "application/json", **signed}, body)


def _user(what: str, account: ZendeskDesk, user: Mapping[str, Any]) -> Check:
    known, role, kind = plain(user.get("id")), word(user.get("role")), plain(user.get("role_type"))
    if not known:
        # Zendesk answers this question to a stranger too.
        return Check(what, False, "the API token is not taken: Zendesk takes us for a stranger", _TOKEN)
    if known != account.bot_user_id:
        advice = f"set {_variable(account, 'BOT_USER_ID')}={known}, or the bot takes its own comments for a person's"
        return Check(what, False, f"the token writes as the user {known}, not as the bot's {account.bot_user_id}", advice)
    if role not in _WRITERS or kind in _LIMITED:
        advice = "make the user an agent that may comment publicly: Admin Center, People, Team members"
        return Check(what, False, f"the user {known} is {_LIMITED.get(kind) or role or 'without a role'}", advice)
    if limit := plain(user.get("ticket_restriction")):
        return Check(what, True, f"the user {known}, {role}", f"it is shown some tickets only ({limit}), and can answer no others")
    return Check(what, True, f"the user {known}, {role}")


async def _group(api: Api, what: str, account: ZendeskDesk) -> Check:
    advice = f"set {_variable(account, 'GROUP_ID')} to the id of a group: Admin Center, People, Groups"
    try:
        group = await _read(api, f"/api/v2/groups/{quote(account.group_id, safe='')}.json", "group")
    except DeliveryRefused as error:
        return Check(what, False, f"the group {account.group_id} cannot be read ({error})", advice)
    except DeliveryError as error:
        return Check(what, False, "no answer", str(error))
    if group.get("deleted") is True:
        return Check(what, False, f"the group {account.group_id} is deleted", advice)
    return Check(what, True, f"the group {account.group_id} gets a ticket when a person is needed")


async def _read(api: Api, path: str, name: str) -> Mapping[str, Any]:
    said = await api.call("GET", path)
    found = said.get(name) if isinstance(said, dict) else None
    return found if isinstance(found, dict) else {}


def _variable(account: ZendeskDesk, name: str) -> str:
    return f"{PREFIX}ZENDESK_{account.name.upper().replace('-', '_')}_{name}"
