"""Dead letters: what was given up, why, and what was tried; each can be corrected, replayed or dropped, all or nothing.

A replay keeps the id, so that a platform recognises a delivery it has, and counts a revision, so that no worker which still holds
the message can commit to it. A replayed letter goes behind what waits in its conversation: its turn was over when it was given
up, and nothing that waits may miss its deadline for it. Letters replayed together keep the order in which they were accepted.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.errors import DecodeError
from engine.keys import Direction, Shard
from engine.lanes import Lanes
from engine.messages import Delivery, InboundMessage
from engine.moves import estimate, text_of
from engine.scripts import Blobs, Call
from engine.store import Client, reachable

#: See `engine.messages.Entry`.
_HEADER = re.compile(rb"\A[^ \n]+ [0-9]+ ([0-9]{1,15}) [0-9]+ [0-9]+\n")
#: Letters moved by one script: some milliseconds of Redis, which does nothing else meanwhile.
TOGETHER = 20


@dataclass(frozen=True)
class Try:
    """One attempt that failed, or what a person did to the letter."""

    #: Unix time in milliseconds.
    at: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Letter:
    """One dead letter as it stands in Redis."""

    id: str
    shard: Shard
    direction: Direction
    ref: str
    reason: str
    #: When it was given up, Unix time in milliseconds.
    at: int
    #: How many attempts failed; of these the latest are in `tried`.
    attempts: int
    tried: tuple[Try, ...]
    #: An element of a lane, or bytes that never were one.
    entry: bytes
    #: Counts up with each that is given up: several are within one millisecond.
    place: int = 0
    #: Bytes of a request that read as a message of another conversation than they came by: whoever sent them has no say there.
    foreign: bool = False

    @property
    def body(self) -> bytes:
        """Without the header that an entry of a lane has."""
        return _HEADER.sub(b"", self.entry, count=1)

    @property
    def accepted_at(self) -> int:
        """Unix time in milliseconds; of bytes that were never accepted, when they were buried."""
        header = _HEADER.match(self.entry)
        return int(header[1]) if header else self.at

    @property
    def order(self) -> tuple[int, int, int, int, str]:
        """Puts letters of one conversation as they were accepted, and the parts of a reply as they follow each other."""
        part = self.id.rpartition("-")[2]
        later = int(part) if self.direction is Direction.OUT and part.isdecimal() else 0
        return self.accepted_at, self.at, self.place, later, self.id

    def content(self) -> InboundMessage | Delivery:
        """What it is.

        :raises DecodeError: bytes that are neither, or forged.
        """
        if self.foreign:
            raise DecodeError("InboundMessage", self.body, ValueError("names another conversation than it came by"))
        return _kind(self.direction).decode(self.body)

    def with_body(self, body: bytes) -> bytes:
        """Its entry with another body.

        :raises DecodeError: for bytes that are no such thing.
        """
        _kind(self.direction).decode(body)
        header = _HEADER.match(self.entry)
        return (header[0] if header else b"") + body


def letters(lanes: Lanes, client: Client) -> Iterator[Letter]:
    """All dead letters; of one whose time is over the index may still hold the name."""
    for shard in lanes.shards:
        with reachable():
            names = [name.decode() for name in client.zrange(shard.dead_index, 0, -1)]
            for start in range(0, len(names), 500):
                part = names[start : start + 500]
                pipeline = client.pipeline(transaction=False)
                for name in part:
                    pipeline.hgetall(shard.dead(name))
                yield from (_read(lanes, name, shard, raw) for name, raw in zip(part, pipeline.execute(), strict=True) if raw)


def replay(lanes: Lanes, shard: Shard, chosen: Sequence[tuple[Letter, InboundMessage | Delivery]]) -> Call[Sequence[str]]:
    """Put letters of one shard, oldest first, back onto their lanes.

    Says of each `replayed`, `waiting`, `changed`, `known`, `full` or `gone`.
    """
    blobs = Blobs()
    arguments = {
        "letters": [
            {"id": letter.id, "dir": letter.direction, "entry": blobs.add(letter.entry), "body": blobs.add(letter.body)}
            | _placed(lanes, letter, content)
            for letter, content in chosen
        ],
        "dedupe_ttl": round(lanes.settings.dedupe_ttl * 1000),
        "lane_messages": lanes.settings.lane_messages,
        "lane_bytes": lanes.settings.lane_bytes,
    }
    return lanes.noted("replay", shard, arguments, tuple(blobs.collected), _texts)


def discard(lanes: Lanes, shard: Shard, chosen: Sequence[Letter]) -> Call[Sequence[bool]]:
    """Drop letters of one shard; says of each whether it was there."""
    arguments = {"ids": [letter.id for letter in chosen], "refs": [letter.ref for letter in chosen]}
    return lanes.noted("discard", shard, arguments, (), lambda raw: tuple(map(bool, raw)))


def correct(lanes: Lanes, letter: Letter, after: bytes, *, ref: str) -> Call[str]:
    """Give a letter another entry; says `edited`, `changed` (it is not the one that was read any more) or `gone`."""
    arguments = {"id": letter.id, "ref": ref, "before": 2, "after": 3}
    return lanes.noted("correct", letter.shard, arguments, (letter.entry, after), text_of)


def _placed(lanes: Lanes, letter: Letter, content: InboundMessage | Delivery) -> dict[str, Any]:
    """Where a letter goes, and until when it must be done with."""
    settings = lanes.settings
    if isinstance(content, Delivery):
        deadline = settings.deadline_delivery
        return {"ref": letter.ref, "as": letter.id, "cost": 1, "deadline": round(deadline * 1000), "answers": content.turn}
    address = content.address
    deadline = settings.deadline_webhook if address.platform == "webhook" else settings.deadline_chat
    return {
        "ref": lanes.digests.lane(address),
        "as": lanes.message_id(address, content.dedupe_ids[0]),
        "cost": estimate(content.text),
        "deadline": round(deadline * 1000),
        "digests": [lanes.digests.message(address, logical) for logical in content.dedupe_ids],
    }


def _kind(direction: Direction) -> type[InboundMessage] | type[Delivery]:
    return InboundMessage if direction is Direction.IN else Delivery


def _read(lanes: Lanes, name: str, shard: Shard, raw: dict[bytes, bytes]) -> Letter:
    tried = (line.partition(" ") for line in raw.get(b"tried", b"").decode(errors="replace").splitlines())
    letter = Letter(
        id=name,
        shard=shard,
        direction=Direction(text_of(raw[b"direction"])),
        ref=text_of(raw[b"ref"]),
        reason=raw[b"reason"].decode(errors="replace"),
        at=int(raw[b"at"]),
        attempts=int(raw[b"attempts"]),
        tried=tuple(Try(int(at), reason) for at, _, reason in tried if at.isdecimal()),
        entry=raw[b"entry"],
        place=int(raw.get(b"place", 0)),
    )
    return replace(letter, foreign=_is_foreign(lanes, letter))


def _is_foreign(lanes: Lanes, letter: Letter) -> bool:
    """What was accepted, or edited by a person, stands under the conversation that it names."""
    try:
        content = letter.content()
    except DecodeError:
        return False
    return isinstance(content, InboundMessage) and lanes.digests.lane(content.address) != letter.ref


def _texts(raw: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(text_of(one) for one in raw)
