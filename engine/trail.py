"""The trace of a conversation: what happened to its messages, a line for each event, in few bytes and without their texts.

A line is `time ids what`: the time in milliseconds to base 36, the first characters of the ids it is about (`-` is the
conversation; `:n` after one says how many milliseconds before, to base 36, it was accepted), and a letter of `KINDS` with what
there is to tell. Scripts write it in moves that they make anyway. Facts of a reply are numbers to base 36, each behind a letter of
`_FACTS`; what has no letter follows as JSON.
"""

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from engine.choices import listed
from engine.keys import Shard
from engine.lanes import Lanes
from engine.messages import Address, Fact, Reply, Source
from engine.moves import text_of
from engine.scripts import Call

#: Events by their letter, as people read them.
KINDS = {
    "a": "answered",
    "p": "apologised",
    "h": "left to a person",
    "q": "paused: the other side may be a bot",
    "x": "cancelled",
    "e": "edited",
    "n": "repeated",
    "f": "attempt failed",
    "t": "send failed",
    "s": "sent",
    "w": "not sent: a person had taken over",
    "d": "dead letter",
    "b": "buried: no message we know",
    "r": "replayed",
    "g": "dead letter dropped",
    "v": "feedback",
    "o": "owner",
    "u": "refused: too much waits",
}
#: Facts by letter, and by how much each is multiplied to be a whole number.
_FACTS = {
    "R": ("door_ms", 10),
    "Y": ("verified_ms", 10),
    "W": ("waited_ms", 1),
    "P": ("prepared_ms", 10),
    "F": ("first_token_ms", 1),
    "G": ("generated_ms", 1),
    "T": ("tokens", 1),
    "Q": ("prompt_tokens", 1),
    "B": ("batch", 1),
    "N": ("batch_id", 1),
    "D": ("dropped_turns", 1),
    "X": ("truncated", 1),
    "C": ("confidence", 10_000),
    "V": ("similarity", 10_000),
    "M": ("model", 1),
    "Z": ("finish", 1),
    "K": ("part", 1),
    "L": ("send_ms", 10),
}
_LETTERS = {name: (letter, scale) for letter, (name, scale) in _FACTS.items()}
_SOURCES = {Source.CACHE: "c", Source.KNOWLEDGE: "k", Source.MODEL: "m", Source.FALLBACK: "f", Source.AGENT: "g"}
_SOURCE_OF = {letter: str(source) for source, letter in _SOURCES.items()}
#: Why generation ended, by number; most end by themselves, and say nothing.
_FINISHES = ("stop", "length")
#: Kinds whose words after the space are JSON.
_REPLIES = ("a", "p")

_LINE = re.compile(r"([0-9a-z]{1,12}) (\S+) ([a-z])(\S*)(?: (.*))?")
_NUMBER = re.compile(r"([A-Z])([0-9a-z]+)")
#: Characters of an id in a trace, and most of a text in one.
SHORT, LONGEST_TEXT = 7, 2000


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of a trace."""

    #: Unix time in milliseconds, by Redis.
    at: int
    #: A letter of `KINDS`.
    kind: str
    #: Short ids of the messages, each with when it was accepted (0: not told); empty: the whole conversation.
    messages: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    #: A reason, a platform's own id, an owner, a verdict.
    text: str = ""

    @property
    def name(self) -> str:
        return KINDS[self.kind]


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A message or a delivery that is in its lane."""

    direction: str
    id: str
    received_at: int
    deadline: int
    #: Edits or replays.
    revision: int
    leased: bool


@dataclass(frozen=True, kw_only=True)
class Trail:
    """What is known of a conversation."""

    #: Empty: nothing is.
    ref: str
    #: The id under which the message that was asked for was first taken, or empty.
    id: str
    now: int
    owner: str
    events: tuple[Event, ...]
    waiting: tuple[Waiting, ...]

    def about(self, message_id: str) -> "Trail":
        """The same for one message: its events, and what happened to the conversation meanwhile."""
        name = short(message_id)
        mine = [event for event in self.events if name in event.messages]
        waiting = tuple(one for one in self.waiting if short(one.id) == name)
        begun = min([event.messages[name] or event.at for event in mine] + [one.received_at for one in waiting], default=0)
        ended = self.now if waiting else max((event.at for event in mine), default=0)
        kept = (event for event in self.events if name in event.messages or (not event.messages and begun <= event.at <= ended))
        return replace(self, id=message_id, events=tuple(kept), waiting=waiting)

    @property
    def messages(self) -> tuple[str, ...]:
        """Short ids of its messages, the newest event last."""
        found: dict[str, None] = {}
        for name in [*(name for event in self.events for name in event.messages), *(short(one.id) for one in self.waiting)]:
            found.pop(name, None)
            found[name] = None
        return tuple(found)


def answered_note(reply: Reply, *, kind: str = "a", question: str = "", door: Sequence[int] = ()) -> str:
    """What the trace is told of a reply; `question` is given where texts may be kept."""
    facts: dict[str, Any] = dict(zip(("door_ms", "verified_ms"), (tenths / 10 for tenths in door), strict=False))
    facts |= {name: value for name, value in reply.trace.items() if name != "traceparent"}
    if reply.confidence is not None:
        facts["confidence"] = reply.confidence
    if reply.evidence:
        facts["evidence"] = reply.evidence
    if facts.get("finish") in _FINISHES:
        facts["finish"] = _FINISHES.index(facts["finish"])
    if model := facts.get("model"):
        facts["model"] = model_code(str(model))
    if question:
        facts |= {"question": question[:LONGEST_TEXT], "reply": listed(reply.text, reply.choices)[:LONGEST_TEXT]}
    return kind + _SOURCES[reply.source] + _written(facts)


def handed_note(answered: str, reason: str) -> str:
    """What the trace is told of a turn that a person is to answer: the facts of the note of its reply, which was not sent."""
    packed, _, told = answered[2:].partition(" ")
    rest = {name: value for name, value in _json(told).items() if name != "reply"}
    return f"h{packed} {msgspec.json.encode(rest | {'reason': reason}).decode()}"


def sent_note(*, part: int, seconds: float, platform_id: str) -> str:
    """What the trace is told of a delivery that its platform took."""
    facts = {"send_ms": seconds * 1000} | ({"part": part} if part else {})
    return f"s{_written(facts)} {' '.join(platform_id.split())}".rstrip()


def model_code(model: str) -> int:
    """A small number that stands for the name of a model; `rm:models` holds the names."""
    return zlib.crc32(model.encode()) % 36**3


def short(message_id: str) -> str:
    """How a trace names a message, or a delivery of it."""
    found = re.search(rf"(\w{{{SHORT}}})\w{{3,}}-\d", message_id)
    return found[1] if found else message_id


def trail(lanes: Lanes, shard: Shard, *, ref: str = "", message_id: str = "") -> Call[Trail]:
    """What is known of a conversation, or of the one that a message belongs to."""
    digest = message_id.partition("-")[0]
    return Call("trail", shard, {"ref": ref, "digest": digest, "id": message_id}, (), lambda raw: _read(raw, lanes))


def of_message(lanes: Lanes, message_id: str) -> Call[Trail]:
    """The trail of the conversation of a message, or of one of its deliveries.

    :raises ValueError: for an id that is none of ours.
    """
    found = re.fullmatch(r"([a-z2-7]{26}-([0-9]{1,3}))(-[0-9]+)?", message_id)
    if not found or int(found[2]) >= len(lanes.shards):
        raise ValueError(f"{message_id!r} is no message id")
    return trail(lanes, lanes.shards[int(found[2])], message_id=found[1])


def of_conversation(lanes: Lanes, address: Address) -> Call[Trail]:
    """The trail of a conversation."""
    return trail(lanes, lanes.shard_of(address), ref=lanes.digests.lane(address))


def events_of(raw: bytes) -> Iterator[Event]:
    """The events of a trace; a line that cannot be read, such as one of a later version, is left out."""
    for line in raw.decode(errors="replace").split("\n"):
        found = _LINE.fullmatch(line)
        if found and found[3] in KINDS:
            yield _event(int(found[1], 36), found[2], found[3], packed=found[4], text=found[5] or "")


def _event(at: int, ids: str, kind: str, *, packed: str, text: str) -> Event:
    named = (one.partition(":") for one in ids.split(",") if ids != "-")
    messages = {name: at - int(before, 36) if _is_base36(before) else 0 for name, _, before in named}
    if kind in _REPLIES:
        facts: dict[str, Any] = {"source": _SOURCE_OF.get(packed[:1], "")} | _facts(packed[1:]) | _json(text)
        if facts.get("tokens"):
            ended = facts.get("finish", 0)
            facts["finish"] = _FINISHES[ended] if ended in range(len(_FINISHES)) else ended
        return Event(at=at, kind=kind, messages=messages, facts=facts)
    if kind == "h" and (told := _json(text)):
        return Event(at=at, kind=kind, messages=messages, facts=_facts(packed) | told, text=str(told.pop("reason", "")))
    if kind in "onv":
        return Event(at=at, kind=kind, messages=messages, text=packed)
    return Event(at=at, kind=kind, messages=messages, facts=_facts(packed), text=text)


def _written(facts: Mapping[str, Fact | Any]) -> str:
    """Numbers that have a letter behind it, the rest as JSON."""
    packed, rest = "", {}
    for name, value in facts.items():
        letter, scale = _LETTERS.get(name, ("", 0))
        if letter and isinstance(value, int | float) and value >= 0:
            packed += letter + _base36(round(value * scale)) if value else ""
        elif value:
            rest[name] = value
    return f"{packed} {msgspec.json.encode(rest).decode()}" if rest else packed


def _facts(packed: str) -> dict[str, Any]:
    found = {}
    for letter, number in _NUMBER.findall(packed):
        if letter in _FACTS:
            name, scale = _FACTS[letter]
            found[name] = int(number, 36) if scale == 1 else int(number, 36) / scale
    return found


def _json(text: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(text) if text else {}
    except msgspec.MsgspecError:
        return {}
    return found if isinstance(found, dict) else {}


def _read(raw: Any, lanes: Lanes) -> Trail:
    ref, id_, now, owner, log, waiting = raw
    oldest = now - round(lanes.settings.trace_ttl * 1000)
    return Trail(
        ref=text_of(ref),
        id=text_of(id_),
        now=now,
        owner=text_of(owner),
        events=tuple(event for event in events_of(log) if event.at >= oldest),
        waiting=tuple(
            Waiting(
                direction=text_of(dir_),
                id=text_of(name),
                received_at=received,
                deadline=deadline,
                revision=revision,
                leased=bool(leased),
            )
            for dir_, name, revision, received, deadline, leased in waiting
        ),
    )


def _is_base36(text: str) -> bool:
    return bool(re.fullmatch(r"[0-9a-z]{1,12}", text))


def _base36(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    text = ""
    while True:
        number, digit = divmod(number, 36)
        text = digits[digit] + text
        if not number:
            return text
