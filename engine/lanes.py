"""The lanes: one FIFO per conversation and direction, every move one Lua script.

Each method makes a `Call`, a value that either client runs, so that the asynchronous web process and the synchronous loops share
one implementation. A commit is decided by what it answers: it wins if the (id, revision) pairs it names stand at the head of the
lane; the lease only avoids double work. The legend of the keys is in `engine/keys.py`, the rules of each script at its top.
"""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from engine.crypto import Digests
from engine.items import item, ms, turn_of
from engine.keys import Direction, Shard
from engine.messages import Address, Delivery, InboundMessage, Owner
from engine.moves import (
    Accepted,
    Backlog,
    Circumstances,
    Claim,
    Lane,
    Outcome,
    Release,
    Settled,
    Swept,
    Verdict,
    Whereabouts,
    estimate,
    read_claim,
    read_swept,
    read_whereabouts,
    text_of,
)
from engine.scripts import Blobs, Call, Reading, T
from engine.settings import Settings

#: How long an edit or a deletion waits for its message, ms.
TOMBSTONE_TTL = 3_600_000
#: The notice that a lane is full is sent at most this often, ms.
NOTICE_EVERY = 600_000
#: Seconds in which a repeat is recognised where requests carry no time; platforms repeat for a day at most.
WEEK = 604_800.0
#: Lanes one `sweep` handles; the rest wait for the next.
SWEEP_LIMIT = 100


class Lanes:
    """All moves of messages. Holds no connection and no state but a random nonce for lease tokens."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.digests = Digests(settings.secret_key)
        self.shards = tuple(Shard(number, settings.durability == "fsync") for number in range(settings.shards))
        self._nonce = secrets.token_hex(8)
        self._trace_ttl = ms(settings.trace_ttl)
        self._history = {"turns": settings.history_turns, "ttl": ms(settings.history_ttl)}

    @cached_property
    def patient(self) -> "Lanes":
        """The same lanes, in which a repeat is recognised for a week at least."""
        return Lanes(replace(self.settings, dedupe_ttl=max(self.settings.dedupe_ttl, WEEK)))

    @cached_property
    def forgetful(self) -> "Lanes":
        """The same lanes, in which a repeat is recognised as long as one notice holds."""
        return Lanes(replace(self.settings, dedupe_ttl=NOTICE_EVERY / 1000))

    def shard_of(self, address: Address) -> Shard:
        return self.shards[self.digests.shard(address, len(self.shards))]

    def message_id(self, address: Address, logical_id: str) -> str:
        """The id a message gets from the first of its logical ids: the same for every repeat, without asking Redis."""
        return f"{self.digests.message(address, logical_id)}-{self.shard_of(address).number}"

    def accept(
        self,
        message: InboundMessage,
        *,
        deadline: float,
        quiet: tuple[float, float],
        notice: Delivery,
        given: Circumstances | None = None,
    ) -> Call[Accepted]:
        """Put one message on its lane, once; times in seconds, `quiet` after a fragment and in all.

        `notice` is sent once when the lane is full, what the circumstances say once while they last.
        """
        blobs, settings = Blobs(), self.settings
        shard = self.shard_of(message.address)
        arguments = self._once(message.address, message.dedupe_ids) | {
            "dir": Direction.IN,
            "item": item(
                self.message_id(message.address, message.dedupe_ids[0]),
                message.encode(),
                blobs,
                cost=estimate(message.text),
                deadline=deadline,
            )
            | {"quiet": ms(quiet[0]), "quiet_max": ms(quiet[1])},
            "lane_messages": settings.lane_messages,
            "lane_bytes": settings.lane_bytes,
            "tenant_messages": settings.tenant_messages,
            "turn": blobs.add(turn_of(message)),
            "history": self._history,
            "notice": self._posted(notice, blobs),
            "notice_every": NOTICE_EVERY,
            "record_ttl": ms(settings.record_ttl),
        }
        if given and given.pause:
            arguments["pause"] = {"turns": given.pause.turns, "notice": self._posted(given.pause.notice, blobs)}
        if given and given.tell:
            arguments["tell"] = self._posted(given.tell, blobs)
        if given and given.person:
            arguments["person"] = {"ttl": ms(settings.person_wait), "item": self._posted(given.person, blobs)}
        return self.noted("accept", shard, arguments, tuple(blobs.collected), _accepted)

    def notify(
        self,
        address: Address,
        logical_ids: Sequence[str],
        *,
        deliveries: Sequence[Delivery] = (),
        owner: Owner | None = None,
        forget: bool = False,
    ) -> Call[Accepted]:
        """Take what needs no answer of the loops, once: post fixed texts, set the owner, forget what was said.

        A change to the owner there is already posts nothing.
        """
        blobs, shard = Blobs(), self.shard_of(address)
        arguments = self._once(address, logical_ids) | {
            "out": [self._posted(delivery, blobs) for delivery in deliveries],
            "forget": forget,
        }
        if owner:
            arguments |= {"owner": owner, "ttl": ms(self.settings.person_wait), "record_ttl": ms(self.settings.record_ttl)}
        return self.noted("notify", shard, arguments, tuple(blobs.collected), _accepted)

    def amend(self, message: InboundMessage) -> Call[str]:
        """Replace a message not yet answered; says `amended`, `answered`, `unseen` (then the edit waits for it) or `elsewhere`."""
        blobs = Blobs()
        parts = {"cost": estimate(message.text), "body": blobs.add(message.encode()), "turn": blobs.add(turn_of(message))}
        arguments = self._named(message.address, message.dedupe_ids[0]) | parts
        return self.noted("amend", self.shard_of(message.address), arguments, tuple(blobs.collected), text_of)

    def cancel(self, address: Address, logical_id: str) -> Call[str]:
        """Drop a message not yet answered; says `cancelled`, `answered`, `elsewhere` or `unseen` (then the deletion waits)."""
        arguments = self._named(address, logical_id) | {"record_ttl": ms(self.settings.record_ttl)}
        return self.noted("cancel", self.shard_of(address), arguments, (), text_of)

    def stop(self, address: Address, logical_ids: Sequence[str]) -> Call[int]:
        """Drop every message of a conversation that is not answered yet, once; says how many."""
        arguments = self._once(address, logical_ids) | {"record_ttl": ms(self.settings.record_ttl)}
        return self.noted("stop", self.shard_of(address), arguments, (), int)

    def claim(self, shard: Shard, direction: Direction, *, items: int, tokens: int, empty: bool) -> Call[Claim]:
        """Lease up to `items` lanes within `tokens`. Inbound lanes come whole (one turn), outbound ones delivery by delivery."""
        arguments = {
            "dir": direction,
            "items": items,
            "tokens": tokens,
            "take": 1 if direction is Direction.OUT else 0,
            "lease": ms(self.settings.lease),
            "nonce": self._nonce,
            "alone": direction is Direction.IN,
            "empty": empty,
        }
        return Call("claim", shard, arguments, (), lambda raw: read_claim(raw, shard, direction))

    def renew(self, shard: Shard, direction: Direction, lanes: Sequence[Lane]) -> Call[frozenset[str]]:
        """Extend leases; says the refs that are no longer ours."""
        arguments = {"dir": direction, "lease": ms(self.settings.lease), "held": [(lane.ref, lane.token) for lane in lanes]}
        return Call("renew", shard, arguments, (), lambda raw: frozenset(text_of(ref) for ref in raw))

    def commit(self, lane: Lane, outcome: Outcome) -> Call[Settled]:
        """Write an outcome if what it answers still stands at the head of the lane."""
        blobs, settings = Blobs(), self.settings
        arguments = {
            "dir": lane.direction,
            "ref": lane.ref,
            "token": lane.token,
            "pairs": lane.pairs,
            "owner": outcome.owner,
            "turns": [blobs.add(turn.encode()) for turn in outcome.turns],
            "history": self._history,
            "out": [self._posted(delivery, blobs) for delivery in outcome.deliveries],
            "record": [text for pair in outcome.record.items() for text in pair],
            "record_ttl": ms(settings.record_ttl),
            "records": [id_ for id_, _ in lane.pairs] if outcome.records is None else outcome.records,
            "dead": {"reason": outcome.dead, "ttl": ms(settings.dead_ttl), "tried": outcome.tried} if outcome.dead else None,
            "note": outcome.note,
        }
        return self.noted("commit", self.shards[lane.shard], arguments, tuple(blobs.collected), lambda raw: Settled(text_of(raw)))

    def release(self, shard: Shard, direction: Direction, releases: Sequence[Release]) -> Call[int]:
        """Give leased lanes back, at once or after a delay; says how many were still ours."""
        lanes = [(r.lane.ref, r.lane.token, r.delay, r.failed, r.keep_intent, r.reason, r.newer) for r in releases]
        return self.noted("release", shard, self._bounds(direction) | {"lanes": lanes}, (), int)

    def intend(self, lane: Lane, delivery_id: str) -> Call[tuple[bool, str]]:
        """Record that a delivery is about to be sent; says whether the lease is still ours, and what was intended before."""
        arguments = {"ref": lane.ref, "token": lane.token, "delivery": delivery_id, "lease": ms(self.settings.lease)}
        return Call("intend", self.shards[lane.shard], arguments, (), lambda raw: (raw[0] == 1, text_of(raw[1])))

    def split(self, lane: Lane, parts: Sequence[Delivery]) -> Call[bool]:
        """Replace the delivery at the head of a leased outbound lane by its parts; says whether it was still ours to split."""
        blobs = Blobs()
        arguments = {
            "ref": lane.ref,
            "token": lane.token,
            "delivery": lane.entries[0].id,
            "whole": blobs.add(lane.entries[0].body),
            "parts": [(part.id, blobs.add(part.encode())) for part in parts],
        }
        return Call("split", self.shards[lane.shard], arguments, tuple(blobs.collected), bool)

    def rate(self, message_id: str, verdict: str) -> Call[bool]:
        """Keep what a person thinks of the reply to a message, `up` or `down`; says whether the message is known.

        :raises ValueError: for an id that is none of ours.
        """
        shard, named = self._located(message_id)
        arguments = named | {"verdict": verdict, "ttl": ms(self.settings.feedback_ttl)}
        return self.noted("rate", shard, arguments, (), bool)

    def own(self, address: Address, owner: Owner) -> Call[int]:
        """Set who answers; says how many messages wait in the lane for whoever claims them to move to history."""
        arguments = {"ref": self.digests.lane(address), "owner": owner, "ttl": ms(self.settings.history_ttl)}
        return self.noted("own", self.shard_of(address), arguments, (), int)

    def sweep(self, shard: Shard, direction: Direction) -> Call[Swept]:
        """Take back lanes whose lease ran out, and list those whose head needs an outcome now."""
        take = 1 if direction is Direction.OUT else 0
        arguments = self._bounds(direction) | {"limit": SWEEP_LIMIT, "take": take}
        return self.noted("sweep", shard, arguments, (), lambda raw: read_swept(raw, shard, direction))

    def look(self, message_id: str) -> Call[Whereabouts]:
        """Where a message is.

        :raises ValueError: for an id that is none of ours.
        """
        shard, named = self._located(message_id)
        return Call("look", shard, named, (), read_whereabouts)

    def backlog(self, shard: Shard) -> Call[tuple[Backlog, Backlog]]:
        """Figures of one shard, inbound and outbound."""
        return Call("backlog", shard, {}, (), lambda raw: (Backlog(*raw[0]), Backlog(*raw[1])))

    def bury(self, address: Address, logical_id: str, raw: bytes, *, reason: str) -> Call[bool]:
        """Keep bytes that were verified but are no message we know, as a dead letter; says whether they are new."""
        arguments = {
            "id": self.message_id(address, logical_id),
            "ref": self.digests.lane(address),
            "reason": reason,
            "body": 2,
            "ttl": ms(self.settings.dead_ttl),
        }
        return self.noted("bury", self.shard_of(address), arguments, (raw,), bool)

    def noted(self, script: str, shard: Shard, arguments: dict[str, Any], blobs: tuple[bytes, ...], read: Reading[T]) -> Call[T]:
        """A call of a script that tells the trace what it does."""
        return Call(script, shard, {**arguments, "trace": self._trace_ttl}, blobs, read)

    def _once(self, address: Address, logical_ids: Sequence[str]) -> dict[str, Any]:
        """What a script needs to do something for the first of some repeats alone."""
        return {
            "ref": self.digests.lane(address),
            "digests": [self.digests.message(address, logical) for logical in logical_ids],
            "suffix": f"-{self.shard_of(address).number}",
            "id": self.message_id(address, logical_ids[0]) if logical_ids else "",
            "dedupe_ttl": ms(self.settings.dedupe_ttl),
        }

    def _located(self, message_id: str) -> tuple[Shard, dict[str, Any]]:
        digest, _, number = message_id.rpartition("-")
        if not digest or not number.isdecimal() or int(number) >= len(self.shards):
            raise ValueError(f"{message_id!r} is no message id")
        return self.shards[int(number)], {"id": message_id, "digest": digest}

    def _posted(self, delivery: Delivery, blobs: Blobs) -> dict[str, Any]:
        return item(delivery.id, delivery.encode(), blobs, cost=1, deadline=self.settings.deadline_delivery)

    def _bounds(self, direction: Direction) -> dict[str, Any]:
        inbound = direction is Direction.IN
        attempts = self.settings.attempts if inbound else self.settings.delivery_attempts
        return {"dir": direction, "attempts": attempts, "alone": inbound}

    def _named(self, address: Address, logical_id: str) -> dict[str, Any]:
        return {
            "ref": self.digests.lane(address),
            "digest": self.digests.message(address, logical_id),
            "id": self.message_id(address, logical_id),
            "ttl": TOMBSTONE_TTL,
        }


def _accepted(raw: Any) -> Accepted:
    return Accepted(Verdict(text_of(raw[0])), text_of(raw[1]))
