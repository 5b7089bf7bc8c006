"""Conversations that people have, for those who look after the service: listed, given back, and taken."""

import secrets
from collections.abc import Sequence

from connectors.lookup import readings
from connectors.platforms import bridged
from engine import saying
from engine.errors import NoSuchMessage
from engine.handing import Held, hand, recall, watch
from engine.handoff import Hand, Reason, noted, opening, told
from engine.lanes import Lanes
from engine.messages import Address, Owner
from engine.settings import Settings
from engine.store import adopt, connect
from engine.trail import of_conversation

#: Conversations that are listed.
MOST = 1_000
_BACK = "An operator gave the conversation back to the bot, and the user was told so."


def held(settings: Settings) -> list[Held]:
    """Who waits for a person, or has one behind the bridge: whom somebody must look after first, first."""
    lanes = Lanes(settings)
    with connect(settings) as client:
        adopt(client, settings)
        found = [one for shard in lanes.shards for one in watch(lanes, shard, due=False, most=MOST).run(client)[1]]
    return sorted(found, key=lambda one: one.at)


def name_of(address: Address) -> str:
    """As a conversation is named on the command line."""
    return "/".join(filter(None, (address.platform, address.channel, address.thread)))


def give_back(settings: Settings, name: str) -> Address:
    """The bot answers again, and the user is told so.

    :raises NoSuchMessage: no person has a conversation of that name.
    """
    named = [one.address for one in held(settings) if name in (one.ref, name_of(one.address))]
    address = named[0] if named else _address(settings, name)
    text = saying.say(settings, address.tenant, "given_back", _language(settings, address))
    deliveries = (told(address, _id("back"), text), noted(address, _id("back"), _BACK))
    before = _move(settings, Hand(address=address, owner=Owner.BOT, reason=Reason.DONE, deliveries=deliveries))
    if before == Owner.BOT:
        raise NoSuchMessage(f"the bot has {name!r} already: `replymill handoff list` names those that people have")
    return address


def take(settings: Settings, name: str) -> Address:
    """A person has the conversation from now on; behind the bridge a thread is opened for it.

    :raises NoSuchMessage: nothing is known by that name.
    """
    address = _address(settings, name)
    with_bridge = bridged(address, settings)
    head = (opening(address, _id("take"), Reason.AGENT),) if with_bridge else ()
    _move(settings, Hand(address=address, owner=Owner.HUMAN, reason=Reason.AGENT, deliveries=head, bridged=with_bridge))
    return address


def waiting(settings: Settings) -> Sequence[Held]:
    """Those whom nobody has picked up yet."""
    return [one for one in held(settings) if one.owner is Owner.WAITING]


def _language(settings: Settings, address: Address) -> str:
    with connect(settings) as client:
        adopt(client, settings)
        return recall(Lanes(settings), address).run(client).language


def _move(settings: Settings, move: Hand) -> str:
    with connect(settings) as client:
        adopt(client, settings)
        return hand(Lanes(settings), move).run(client)


def _address(settings: Settings, name: str) -> Address:
    """The conversation `platform/channel/thread` of which something is known."""
    lanes = Lanes(settings)
    with connect(settings) as client:
        adopt(client, settings)
        for address, logical_id in readings(settings, name):
            known = None if logical_id else of_conversation(lanes, address).run(client)
            if known and (known.events or known.waiting):
                return address
    raise NoSuchMessage(f"nothing is known of {name!r}: name a conversation as platform/channel/thread")


def _id(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(8)}"
