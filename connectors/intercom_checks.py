"""What `replymill doctor` asks Intercom about an app: calls that change nothing."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from connectors.api import Api, clocks, examine
from connectors.contract import Check
from connectors.intercom_items import identifier
from engine.accounts import IntercomApp
from engine.settings import PREFIX


async def checks(api: Api, account: IntercomApp) -> Sequence[Check]:
    """The token and its app; if those are well, the admin that the bot writes as."""
    what, stem = f"intercom {account.name}", f"{PREFIX}INTERCOM_{account.name.upper().replace('-', '_')}"
    advice = {
        0: f"check {stem}_BASE_URL: workspaces in Europe and Australia have addresses of their own",
        401: f"copy the access token of the app anew into {stem}_ACCESS_TOKEN, and check {stem}_BASE_URL: regions differ",
        403: "give the app the right to read admins, and to read and write conversations: Developer Hub, Authentication",
    }
    token = await examine(api, what, "/me", told=_app, advice=advice)
    apart = clocks(api, what)
    if not token.ok:
        return (token, *apart)
    unknown = {404: f"{stem}_ADMIN_ID is the id of nobody here: GET /admins shows those of all teammates"}
    place = f"/admins/{quote(account.admin_id, safe='')}"
    admin = await examine(api, f"{what} admin", place, told=lambda found: _admin(found, account), advice={**advice, **unknown})
    return (token, admin, *apart)


def _app(found: Any) -> str:
    me = found if isinstance(found, dict) else {}
    app = me.get("app")
    named = app.get("name") or app.get("id_code") if isinstance(app, dict) else ""
    return f"the token is taken, for the app {identifier(named)!r}" if identifier(me.get("id")) else ""


def _admin(found: Any, account: IntercomApp) -> str:
    admin = found if isinstance(found, dict) else {}
    return f"writes as {identifier(admin.get('name'))!r}" if identifier(admin.get("id")) == account.admin_id else ""
