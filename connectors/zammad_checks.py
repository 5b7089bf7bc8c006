"""What `replymill doctor` asks a Zammad: calls that change nothing."""

from connectors.api import Api
from connectors.contract import Check
from engine.accounts import ZammadDesk
from engine.errors import DeliveryRefused


async def checks(api: Api, desk: ZammadDesk) -> list[Check]:
    """Whose token it is."""
    what = f"zammad {desk.name}"
    try:
        me = await api.call("GET", "/api/v1/users/me")
    except DeliveryRefused as error:
        return [Check(what, False, f"the token is refused ({error})", "it needs the permission ticket.agent")]
    return [Check(what, True, f"the token of {me.get('login') if isinstance(me, dict) else 'nobody'} is taken")]
