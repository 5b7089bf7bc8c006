"""Moves of a conversation between the bot and people, beside those that come with a message: each one Lua script.

What people behind the bridge say goes to the user by `hand`; a watch finds conversations that nobody cares for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from engine import saying
from engine.errors import DecodeError
from engine.handoff import Hand
from engine.items import ms
from engine.keys import Shard
from engine.lanes import Lanes
from engine.messages import Address, Delivery, Owner, Turn
from engine.moves import read_history, text_of
from engine.scripts import Blobs, Call

log = structlog.get_logger()

#: Conversations one watch handles; the rest wait for the next.
WATCHED = 100


@dataclass(frozen=True, kw_only=True)
class Held:
    """A conversation that people have, or are to have."""

    shard: int
    ref: str
    address: Address
    owner: Owner
    reason: str
    #: Since when it has this owner, Unix time in milliseconds.
    since: int
    #: When somebody must look, ms; it names the state that was found.
    at: int
    #: How often people were called again.
    calls: int
    bridged: bool


@dataclass(frozen=True)
class Recalled:
    """What a person is shown of a conversation."""

    turns: tuple[Turn, ...]
    #: What the last reply rested on.
    evidence: tuple[str, ...]
    #: Of the user when people got it; empty: unknown, or the bot has it.
    handed: str = ""

    @property
    def language(self) -> str:
        """The user's, by what they wrote; empty: it does not tell."""
        return saying.spoken(saying.written(self.turns)) or self.handed


def hand(lanes: Lanes, move: Hand, *, logical_ids: Sequence[str] = (), at: int = 0) -> Call[str]:
    """Move a conversation to another owner, once; says `repeat`, `gone` or the owner before.

    `at`: only while what a watch found still stands.
    """
    blobs = Blobs()
    arguments = lanes.once(move.address, logical_ids) | {
        "hand": lanes.handed(move, blobs),
        "at": at or None,
        "always": [lanes.posted(delivery, blobs) for delivery in move.always],
        "turns": [blobs.add(turn.encode()) for turn in move.turns],
        "history": lanes.history,
    }
    return lanes.noted("hand", lanes.shard_of(move.address), arguments, tuple(blobs.collected), _handed)


def escalate(lanes: Lanes, held: Held, deliveries: Sequence[Delivery]) -> Call[bool]:
    """Call people once more; says whether what the watch found still stood."""
    blobs = Blobs()
    arguments = {
        "ref": held.ref,
        "at": held.at,
        "wait": ms(lanes.settings.person_wait),
        "out": [lanes.posted(delivery, blobs) for delivery in deliveries],
    }
    return lanes.noted("escalate", lanes.shards[held.shard], arguments, tuple(blobs.collected), bool)


def watch(lanes: Lanes, shard: Shard, *, due: bool = True, most: int = WATCHED) -> Call[tuple[int, tuple[Held, ...]]]:
    """(Redis's time, conversations that people have and that somebody must look at now, or all of them)."""
    return lanes.noted("watch", shard, {"due": due, "limit": most}, (), lambda raw: (raw[0], _watched(raw[1], shard)))


def recall(lanes: Lanes, address: Address) -> Call[Recalled]:
    """What was said in a conversation, and what the last reply rested on."""
    ref = lanes.digests.lane(address)
    return lanes.noted("recall", lanes.shard_of(address), {"ref": ref}, (), lambda raw: _recalled(ref, raw))


def _handed(raw: Any) -> str:
    verdict, before = map(text_of, raw)
    return before if verdict == "accepted" else verdict


def _watched(raw: Any, shard: Shard) -> tuple[Held, ...]:
    found = []
    for ref, at, owner, flat in raw:
        fields = dict(zip(map(text_of, flat[::2]), flat[1::2], strict=True))
        try:
            address = Address.decode(fields.get("address", b""))
        except DecodeError as error:
            log.error("a hand-over cannot be read", action="handoff.unreadable", conversation=text_of(ref), error=str(error))
            continue
        found.append(
            Held(
                shard=shard.number,
                ref=text_of(ref),
                address=address,
                owner=Owner(text_of(owner)),
                reason=text_of(fields.get("reason", b"")),
                since=int(fields.get("since", 0)),
                at=at,
                calls=int(fields.get("calls", 0)),
                bridged=fields.get("bridged") == b"1",
            )
        )
    return tuple(found)


def _recalled(ref: str, raw: Any) -> Recalled:
    history, evidence, language = raw
    try:
        found = msgspec.json.decode(evidence, type=tuple[str, ...]) if evidence else ()
    except msgspec.MsgspecError:  # a record of another version: the turns say enough
        found = ()
    return Recalled(read_history(ref, history), found, text_of(language))
