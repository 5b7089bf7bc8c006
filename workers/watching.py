"""The watch over conversations that people have: one that nobody picks up is called out once more where there is a bridge, and goes
back to the bot then; so does one whose person has fallen silent. The user is told each time.
"""

import structlog
from msgspec import structs

from engine import saying
from engine.errors import StoreUnavailable
from engine.handing import Held, escalate, hand, recall, watch
from engine.handoff import Hand, Reason, noted, told
from engine.keys import Direction, Shard
from engine.lanes import Lanes
from engine.messages import Delivery, Owner
from engine.moves import Outcome
from engine.scripts import Call
from engine.store import AsyncClient
from workers.handoffs import sorry
from workers.outcomes import overdue

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
            known = await recall(lanes, held.address).run_async(client)
            await taken_back(lanes, held, known.language).run_async(client)


async def sweep(lanes: Lanes, client: AsyncClient, shard: Shard, direction: Direction, *, at: int) -> None:
    """Take back lanes whose lease ran out, whoever held it, and settle what is overdue."""
    for found in (await lanes.sweep(shard, direction).run_async(client)).overdue:
        lane, outcome = overdue(found, lanes.settings, at=at)
        settled = await lanes.commit(lane, await worded(lanes, client, outcome)).run_async(client)
        log.warning("settled overdue", action=f"{direction}.{found.reason}", conversation=lane.ref, result=settled)


async def worded(lanes: Lanes, client: AsyncClient, outcome: Outcome) -> Outcome:
    """The same, in the person's language where they are told that nobody could be reached."""
    if outcome.hand is None or outcome.hand.reason is not Reason.FAILED:
        return outcome
    try:
        known = await recall(lanes, outcome.hand.address).run_async(client)
    except StoreUnavailable:  # the outcome itself is tried until it is taken; which language it speaks matters less
        return outcome
    return sorry(outcome, lanes.settings, known.language)


def taken_back(lanes: Lanes, held: Held, language: str = "") -> Call[str]:
    """The bot answers again, and says so to everybody."""
    waiting = held.owner is Owner.WAITING
    name, aside = ("nobody_came", _NOBODY) if waiting else ("given_back", _IDLE)
    text = saying.say(lanes.settings, held.address.tenant, name, language)
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
