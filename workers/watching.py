"""The watch over conversations that people have: one that nobody picks up is called out once more where there is a bridge, and goes
back to the bot then; so does one whose person has fallen silent. The user is told each time.
"""

import structlog
from msgspec import structs

from engine.handing import Held, escalate, hand, watch
from engine.handoff import Hand, Reason, noted, told
from engine.keys import Shard
from engine.lanes import Lanes
from engine.messages import Delivery, Owner
from engine.scripts import Call
from engine.store import AsyncClient

log = structlog.get_logger()

_STILL = "Nobody has picked this conversation up yet. Whoever writes here takes it; otherwise the bot answers again before long."
_NOBODY = "Nobody picked this conversation up: the bot answers again, and the user was told so."
_IDLE = "Nothing was said here for long: the bot answers again, and the user was told so."


async def look(lanes: Lanes, client: AsyncClient, shard: Shard) -> None:
    """Do what is due in one shard; each step is taken once, whoever looks."""
    _, due = await watch(lanes, shard).run_async(client)
    for held in due:
        log.warning("nobody cares for a conversation", action="handoff.watched", conversation=held.ref, owner=held.owner)
        if held.owner is Owner.WAITING and held.bridged and not held.calls:
            await escalate(lanes, held, (_called(held, lanes.settings.bridge_mention),)).run_async(client)
        else:
            await taken_back(lanes, held).run_async(client)


def taken_back(lanes: Lanes, held: Held) -> Call[str]:
    """The bot answers again, and says so to everybody."""
    waiting = held.owner is Owner.WAITING
    text, aside = (lanes.settings.nobody_came, _NOBODY) if waiting else (lanes.settings.given_back, _IDLE)
    move = Hand(
        address=held.address,
        owner=Owner.BOT,
        reason=Reason.NOBODY if waiting else Reason.IDLE,
        deliveries=(told(held.address, _id(held), text), noted(held.address, _id(held), aside)),
    )
    return hand(lanes, move, at=held.at)


def _called(held: Held, mention: str) -> Delivery:
    return structs.replace(noted(held.address, _id(held), _STILL), mention=mention)


def _id(held: Held) -> str:
    """Of one step: the next one is due at another time."""
    return f"watch-{held.ref.partition('.')[2]}-{held.at}"
