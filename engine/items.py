"""What the moves of the lanes hand to their scripts: items for a lane, turns for a history, times in ms."""

import secrets
import time
from collections.abc import Sequence
from typing import Any

from engine.crypto import Digests
from engine.handoff import BRIDGE, Hand, spans
from engine.keys import Direction, Shard
from engine.messages import Address, Delivery, InboundMessage, Role, Turn
from engine.scripts import Blobs, Call, Reading, T
from engine.settings import Settings

#: How long an edit or a deletion waits for its message, ms.
TOMBSTONE_TTL = 3_600_000


def turn_of(message: InboundMessage) -> bytes:
    """The message as it stands in the history of a conversation that a person owns."""
    return Turn.kept(Role.USER, message.shown, at=int(time.time() * 1000)).encode()


def item(item_id: str, body: bytes, blobs: Blobs, *, cost: int, deadline: float) -> dict[str, Any]:
    """One entry for a lane, due in `deadline` seconds; its body goes to the blobs."""
    return {"id": item_id, "cost": cost, "deadline": ms(deadline), "body": blobs.add(body)}


def ms(seconds: float) -> int:
    """Whole milliseconds."""
    return round(seconds * 1000)


class Arguments:
    """Where things are, and how the scripts are told. Holds no connection and no state but a random nonce for lease tokens."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.digests = Digests(settings.secret_key)
        self.shards = tuple(Shard(number, settings.durability == "fsync") for number in range(settings.shards))
        self.nonce = secrets.token_hex(8)
        self._trace_ttl = ms(settings.trace_ttl)
        self.history = {"turns": settings.history_turns, "ttl": ms(settings.history_ttl)}

    def shard_of(self, address: Address) -> Shard:
        """Where everything about a conversation is."""
        return self.shards[self.digests.shard(address, len(self.shards))]

    def message_id(self, address: Address, logical_id: str) -> str:
        """The id a message gets from the first of its logical ids: the same for every repeat, without asking Redis."""
        return f"{self.digests.message(address, logical_id)}-{self.shard_of(address).number}"

    def noted(self, script: str, shard: Shard, arguments: dict[str, Any], blobs: tuple[bytes, ...], read: Reading[T]) -> Call[T]:
        """A call of a script that tells the trace what it does."""
        return Call(script, shard, {**arguments, "trace": self._trace_ttl}, blobs, read)

    def once(self, address: Address, logical_ids: Sequence[str]) -> dict[str, Any]:
        """What a script needs to do something for the first of some repeats alone."""
        return {
            "ref": self.digests.lane(address),
            "digests": [self.digests.message(address, logical) for logical in logical_ids],
            "suffix": f"-{self.shard_of(address).number}",
            "id": self.message_id(address, logical_ids[0]) if logical_ids else "",
            "dedupe_ttl": ms(self.settings.dedupe_ttl),
        }

    def located(self, message_id: str) -> tuple[Shard, dict[str, Any]]:
        """:raises ValueError: for an id that is none of ours."""
        digest, _, number = message_id.rpartition("-")
        if not digest or not number.isdecimal() or int(number) >= len(self.shards):
            raise ValueError(f"{message_id!r} is no message id")
        return self.shards[int(number)], {"id": message_id, "digest": digest}

    def posted(self, delivery: Delivery, blobs: Blobs) -> dict[str, Any]:
        """A delivery as a script appends it; what goes to the people behind the bridge names its own lane."""
        made = item(delivery.id, delivery.encode(), blobs, cost=1, deadline=self.settings.deadline_delivery)
        address = delivery.reply.address
        return {**made, "ref": self.digests.lane(address)} if address.platform == BRIDGE else made

    def handed(self, hand: Hand, blobs: Blobs) -> dict[str, Any]:
        """A move to another owner as the scripts make it."""
        watch, life = spans(hand, self.settings)
        return {
            "ref": self.digests.lane(hand.address),
            "owner": hand.owner,
            "from": " ".join(sorted(hand.taken_from)),
            "reason": hand.reason,
            "address": blobs.add(hand.address.encode()),
            "bridged": hand.bridged,
            "language": hand.language,
            "watch": ms(watch),
            "ttl": ms(life),
            "out": [self.posted(delivery, blobs) for delivery in hand.deliveries],
        }

    def bounds(self, direction: Direction) -> dict[str, Any]:
        """How often a lane of a direction may fail."""
        inbound = direction is Direction.IN
        attempts = self.settings.attempts if inbound else self.settings.delivery_attempts
        return {"dir": direction, "attempts": attempts, "alone": inbound}

    def named(self, address: Address, logical_id: str) -> dict[str, Any]:
        """What a script needs to find one message."""
        return {
            "ref": self.digests.lane(address),
            "digest": self.digests.message(address, logical_id),
            "id": self.message_id(address, logical_id),
            "ttl": TOMBSTONE_TTL,
        }
