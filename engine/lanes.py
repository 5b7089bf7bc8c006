"""The lanes: one FIFO per conversation and direction, every move one Lua script.

Each method makes a `Call`, a value that either client runs, so that the asynchronous web process and the synchronous loops share
one implementation. A commit is decided by what it answers: it wins if the (id, revision) pairs it names stand at the head of the
lane; the lease only avoids double work. The legend of the keys is in `engine/keys.py`, the rules of each script at its top.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from engine.handoff import Hand, Reason
from engine.items import Arguments, item, ms, turn_of
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
from engine.scripts import Blobs, Call

#: The notice that a lane is full is sent at most this often, ms.
NOTICE_EVERY = 600_000
#: Seconds in which a repeat is recognised where requests carry no time; platforms repeat for a day at most.
WEEK = 604_800.0
#: Lanes one `sweep` handles; the rest wait for the next.
SWEEP_LIMIT = 100


class Lanes(Arguments):
    """All moves of messages."""

    @cached_property
    def patient(self) -> "Lanes":
        """The same lanes, in which a repeat is recognised for a week at least."""
        return Lanes(replace(self.settings, dedupe_ttl=max(self.settings.dedupe_ttl, WEEK)))

    @cached_property
    def forgetful(self) -> "Lanes":
        """The same lanes, in which a repeat is recognised as long as one notice holds."""
        return Lanes(replace(self.settings, dedupe_ttl=NOTICE_EVERY / 1000))

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
        arguments = self.once(message.address, message.dedupe_ids) | {
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
            "history": self.history,
            "notice": self.posted(notice, blobs),
            "notice_every": NOTICE_EVERY,
            "record_ttl": ms(settings.record_ttl),
        }
        if given and given.pause:
            arguments["pause"] = given.pause.most | {"notice": self.posted(given.pause.notice, blobs)}
        if given and given.tell:
            arguments["tell"] = self.posted(given.tell, blobs)
        if given and given.person:
            arguments["person"] = self.handed(given.person, blobs)
        if given and given.relay:
            arguments["relay"] = self.posted(given.relay, blobs)
        return self.noted("accept", shard, arguments, tuple(blobs.collected), _accepted)

    def notify(
        self,
        address: Address,
        logical_ids: Sequence[str],
        *,
        deliveries: Sequence[Delivery] = (),
        hand: Hand | None = None,
        forget: bool = False,
    ) -> Call[Accepted]:
        """Take what needs no answer of the loops, once: post fixed texts, move it to another owner, forget what was said.

        What goes to the people behind the bridge is posted where they have the conversation, and the rest where they do not.
        """
        blobs, shard = Blobs(), self.shard_of(address)
        posts = [self.posted(delivery, blobs) for delivery in deliveries]
        arguments = self.once(address, logical_ids) | {
            "out": [item for item in posts if "ref" not in item],
            "aside": [item for item in posts if "ref" in item],
            "forget": forget,
        }
        if hand:
            arguments |= {"hand": self.handed(hand, blobs), "record_ttl": ms(self.settings.record_ttl)}
        return self.noted("notify", shard, arguments, tuple(blobs.collected), _accepted)

    def amend(self, message: InboundMessage) -> Call[str]:
        """Replace a message not yet answered; says `amended`, `answered`, `unseen` (then the edit waits for it) or `elsewhere`."""
        blobs = Blobs()
        parts = {"cost": estimate(message.text), "body": blobs.add(message.encode()), "turn": blobs.add(turn_of(message))}
        arguments = self.named(message.address, message.dedupe_ids[0]) | parts
        return self.noted("amend", self.shard_of(message.address), arguments, tuple(blobs.collected), text_of)

    def cancel(self, address: Address, logical_id: str) -> Call[str]:
        """Drop a message not yet answered; says `cancelled`, `answered`, `elsewhere` or `unseen` (then the deletion waits)."""
        arguments = self.named(address, logical_id) | {"record_ttl": ms(self.settings.record_ttl)}
        return self.noted("cancel", self.shard_of(address), arguments, (), text_of)

    def stop(self, address: Address, logical_ids: Sequence[str]) -> Call[int]:
        """Drop every message of a conversation that is not answered yet, once; says how many."""
        arguments = self.once(address, logical_ids) | {"record_ttl": ms(self.settings.record_ttl)}
        return self.noted("stop", self.shard_of(address), arguments, (), int)

    def claim(self, shard: Shard, direction: Direction, *, items: int, tokens: int, empty: bool) -> Call[Claim]:
        """Lease up to `items` lanes within `tokens`. Inbound lanes come whole (one turn), outbound ones delivery by delivery."""
        arguments = {
            "dir": direction,
            "items": items,
            "tokens": tokens,
            "take": 1 if direction is Direction.OUT else 0,
            "lease": ms(self.settings.lease),
            "nonce": self.nonce,
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
            "history": self.history,
            "out": [self.posted(delivery, blobs) for delivery in outcome.deliveries],
            "record": [text for pair in outcome.record.items() for text in pair],
            "record_ttl": ms(settings.record_ttl),
            "records": [id_ for id_, _ in lane.pairs] if outcome.records is None else outcome.records,
            "dead": {"reason": outcome.dead, "ttl": ms(settings.dead_ttl), "tried": outcome.tried} if outcome.dead else None,
            "note": outcome.note,
            "hand": self.handed(outcome.hand, blobs) if outcome.hand else None,
        }
        return self.noted("commit", self.shards[lane.shard], arguments, tuple(blobs.collected), lambda raw: Settled(text_of(raw)))

    def release(self, shard: Shard, direction: Direction, releases: Sequence[Release]) -> Call[int]:
        """Give leased lanes back, at once or after a delay; says how many were still ours."""
        lanes = [(r.lane.ref, r.lane.token, r.delay, r.failed, r.keep_intent, r.reason, r.newer) for r in releases]
        return self.noted("release", shard, self.bounds(direction) | {"lanes": lanes}, (), int)

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
        shard, named = self.located(message_id)
        arguments = named | {"verdict": verdict, "ttl": ms(self.settings.feedback_ttl)}
        return self.noted("rate", shard, arguments, (), bool)

    def own(self, address: Address, owner: Owner) -> Call[int]:
        """Set who answers; says how many messages wait in the lane for whoever claims them to move to history."""
        blobs = Blobs()
        hand = self.handed(Hand(address=address, owner=owner, reason=Reason.TOOL), blobs)
        arguments = {"ref": self.digests.lane(address), "hand": hand}
        return self.noted("own", self.shard_of(address), arguments, tuple(blobs.collected), int)

    def sweep(self, shard: Shard, direction: Direction) -> Call[Swept]:
        """Take back lanes whose lease ran out, and list those whose head needs an outcome now."""
        take = 1 if direction is Direction.OUT else 0
        arguments = self.bounds(direction) | {"limit": SWEEP_LIMIT, "take": take}
        return self.noted("sweep", shard, arguments, (), lambda raw: read_swept(raw, shard, direction))

    def look(self, message_id: str) -> Call[Whereabouts]:
        """Where a message is.

        :raises ValueError: for an id that is none of ours.
        """
        shard, named = self.located(message_id)
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


def _accepted(raw: Any) -> Accepted:
    return Accepted(Verdict(text_of(raw[0])), text_of(raw[1]))
