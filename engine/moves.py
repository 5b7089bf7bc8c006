"""What goes into a move of the lanes and what comes out of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import structlog

from engine.errors import DecodeError
from engine.handoff import Hand
from engine.keys import Direction, Shard
from engine.messages import Delivery, Entry, Owner, Turn

log = structlog.get_logger()

#: Characters per token in the estimate a claim's budget works with; English text in a 49,152-token vocabulary has about 4.
CHARACTERS_PER_TOKEN = 4


def estimate(text: str) -> int:
    """Tokens of a text, roughly, without a tokenizer."""
    return len(text) // CHARACTERS_PER_TOKEN + 8


class Verdict(StrEnum):
    """What became of an accepted message."""

    #: It waits in its lane.
    ACCEPTED = "accepted"
    #: It was known already.
    REPEAT = "repeat"
    #: Its deletion came before it.
    CANCELLED = "cancelled"
    #: A person owns the conversation: it went to history.
    OWNED = "owned"
    #: The bot has said so much here that it pauses: it went to history.
    PAUSED = "paused"
    #: The lane is full: it was not taken, and the person was told.
    FULL = "full"
    #: The tenant has too much waiting in all its lanes: it was not taken.
    CROWDED = "crowded"


class Settled(StrEnum):
    """What became of a commit."""

    COMMITTED = "committed"
    #: Others answered it, or it was cancelled.
    GONE = "gone"
    #: It was edited meanwhile.
    CHANGED = "changed"
    #: The owner is not the one the outcome was made for.
    OWNED = "owned"


@dataclass(frozen=True)
class Pause:
    """Beyond so many replies the bot pauses, and says so once: whoever it talks to may be a bot too."""

    #: In a minute.
    turns: int
    notice: Delivery
    #: In an hour, which two slow bots reach; 0: any number.
    hourly: int = 0

    @property
    def most(self) -> dict[str, Any]:
        return {"turns": self.turns, "hourly": self.hourly}


@dataclass(frozen=True)
class Circumstances:
    """What else holds where a message is accepted."""

    #: Where bots may meet each other.
    pause: Pause | None = None
    #: Much waits: tells the person so, once in a while.
    tell: Delivery | None = None
    #: So much waits that a person is to answer: hands the conversation over; the message goes to history.
    person: Hand | None = None
    #: The message for the people behind the bridge, where they have the conversation.
    relay: Delivery | None = None


@dataclass(frozen=True)
class Accepted:
    verdict: Verdict
    #: The id under which the message was first taken.
    id: str


@dataclass(frozen=True, kw_only=True)
class Lane:
    """What a claim or a sweep hands out of one lane."""

    shard: int
    direction: Direction
    ref: str
    #: Empty where nothing is leased.
    token: str
    #: Attempts that failed before.
    attempts: int
    owner: Owner
    #: Oldest first; inbound lanes only.
    history: tuple[Turn, ...] = ()
    entries: tuple[Entry, ...] = ()
    #: The delivery that an earlier lease was about to send, or empty.
    intent: str = ""

    @property
    def pairs(self) -> tuple[tuple[str, int], ...]:
        """What an outcome of this lane answers."""
        return tuple((entry.id, entry.revision) for entry in self.entries)


@dataclass(frozen=True)
class Claim:
    lanes: tuple[Lane, ...]
    #: Redis's time, ms.
    now: int
    #: When the next deferred lane is due, ms, or 0.
    next_due: int
    #: A lane on its last attempt waits for an empty worker.
    suspects: bool


@dataclass(frozen=True)
class Overdue:
    """A lane whose head needs an outcome now."""

    #: `expired` or `exhausted`.
    reason: str
    lane: Lane


@dataclass(frozen=True)
class Swept:
    requeued: int
    overdue: tuple[Overdue, ...]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What `commit` writes, all or nothing."""

    #: `bot`, `person` (anyone but the bot) or empty for any.
    owner: str = "bot"
    turns: tuple[Turn, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    #: Fields of the message's record.
    record: dict[str, str] = field(default_factory=dict)
    #: Messages whose record is written; by default those that the outcome answers.
    records: tuple[str, ...] | None = None
    #: The reason, if the messages become dead letters.
    dead: str = ""
    #: Why the attempt that ended in this failed, if it is one that no `Release` has told.
    tried: str = ""
    #: What the trace is told: see `engine.trace`.
    note: str = ""
    #: Moves a conversation to another owner.
    hand: Hand | None = None


@dataclass(frozen=True, kw_only=True)
class Release:
    """How a leased lane is given back."""

    lane: Lane
    #: How long it must not be claimed, ms; 0 is no time at all.
    delay: int = 0
    #: Counts as an attempt.
    failed: bool = False
    #: The intended delivery may have been sent: keep it for the next attempt to know.
    keep_intent: bool = False
    #: Why an attempt failed, for the dead letter and the trace.
    reason: str = ""
    #: What leads the lane is of a newer version.
    newer: bool = False


@dataclass(frozen=True)
class Backlog:
    """Figures of one direction, over all shards."""

    messages: int
    #: Of these, how many wait for a time; they do not count towards scaling.
    deferred: int
    #: Lanes ready or leased.
    lanes: int
    leased: int
    #: Now minus the oldest unanswered received_at, deferred lanes apart, ms.
    age_ms: int


@dataclass(frozen=True)
class Whereabouts:
    """Where a message is: waiting, answering, answered, dead, over (its record has expired) or unknown."""

    state: str
    received_at: int
    record: dict[str, str]


def read_entry(raw: bytes) -> Entry:
    """An element of a lane: `id revision received_at deadline cost`, a line feed, the body."""
    head, _, body = raw.partition(b"\n")
    id_, revision, received, deadline, cost = head.decode().split(" ")
    return Entry(id_, int(revision), int(received), int(deadline), int(cost), body)


def read_history(ref: str, raw: Sequence[bytes]) -> tuple[Turn, ...]:
    """The turns of a conversation; one that cannot be read is left out, since it must not hold up every lane of the claim."""
    turns = []
    for position, turn in enumerate(raw):
        try:
            turns.append(Turn.decode(turn))
        except DecodeError as error:
            log.error(
                "a turn of the history cannot be read", action="history.unreadable", lane=ref, position=position, kind=error.kind
            )
    return tuple(turns)


def read_claim(raw: Any, shard: Shard, direction: Direction) -> Claim:
    now, next_due, suspects, picked = raw
    lanes = tuple(
        Lane(
            shard=shard.number,
            direction=direction,
            ref=text_of(ref),
            token=text_of(token),
            attempts=attempts,
            owner=Owner(text_of(owner)),
            history=read_history(text_of(ref), history),
            entries=tuple(read_entry(entry) for entry in entries),
            intent=text_of(intent),
        )
        for ref, token, attempts, owner, intent, history, entries in picked
    )
    return Claim(lanes, now, next_due, bool(suspects))


def read_swept(raw: Any, shard: Shard, direction: Direction) -> Swept:
    requeued, found = raw
    overdue = tuple(
        Overdue(
            text_of(reason),
            Lane(
                shard=shard.number,
                direction=direction,
                ref=text_of(ref),
                token="",
                attempts=attempts,
                owner=Owner(text_of(owner)),
                entries=tuple(read_entry(entry) for entry in entries),
            ),
        )
        for reason, ref, attempts, owner, entries in found
    )
    return Swept(requeued, overdue)


def read_whereabouts(raw: Any) -> Whereabouts:
    state, received, flat = raw
    texts = [text_of(text) for text in flat]
    return Whereabouts(text_of(state), received, dict(zip(texts[::2], texts[1::2], strict=True)))


def text_of(raw: bytes) -> str:
    """A reply of Redis that is text."""
    return raw.decode()
