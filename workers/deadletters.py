"""Dead letters for those who look after the service: choose, show, edit, replay and drop them."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from msgspec import structs

from engine import letters
from engine.errors import DecodeError, NoSuchLetter, NotReplayable
from engine.keys import Shard
from engine.lanes import Lanes
from engine.letters import TOGETHER, Letter
from engine.messages import Address, Delivery, InboundMessage
from engine.scripts import Call
from engine.settings import Settings
from engine.store import Client, adopt, connect

Item = TypeVar("Item")
T = TypeVar("T")

#: What became of a replay, for a person.
REFUSED = {
    "waiting": "waits in its conversation already: somebody has replayed it",
    "changed": "was changed or given up anew meanwhile: look at it again",
    "known": "came again from its platform meanwhile, and was taken",
    "full": "finds its conversation full: replay it again when what waits there is answered",
    "gone": "is no dead letter any more: somebody has replayed or dropped it",
}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which letters are meant; everything that is empty means any."""

    #: Beginnings of ids, each of exactly one letter.
    ids: Sequence[str] = ()
    platform: str = ""
    #: Part of the reason, in any case.
    reason: str = ""
    #: Such as `2h`: given up longer ago, or more recently.
    older: str = ""
    newer: str = ""


def chosen(settings: Settings, choice: Choice) -> list[Letter]:
    """The letters that are meant, the longest accepted first.

    :raises NoSuchLetter: an id names none, or more than one.
    :raises ValueError: for a time that is none.
    """
    with _lanes(settings) as (lanes, client):
        found = sorted(letters.letters(lanes, client), key=lambda letter: letter.order)
    if choice.ids:
        named = {_named(found, prefix).id for prefix in choice.ids}
        found = [letter for letter in found if letter.id in named]
    return [letter for letter in found if _fits(letter, choice, now=time.time())]


def dead_letters(settings: Settings, choice: Choice | None = None) -> list[dict[str, Any]]:
    """What is known of the letters that are meant, the newest first."""
    found = sorted(chosen(settings, choice or Choice()), key=lambda letter: letter.at, reverse=True)
    return [described(letter) for letter in found]


def described(letter: Letter) -> dict[str, Any]:
    """Everything that is known of a letter."""
    address = address_of(letter)
    return {
        "id": letter.id,
        "direction": str(letter.direction),
        "reason": letter.reason,
        "at": letter.at,
        "accepted_at": letter.accepted_at,
        "attempts": letter.attempts,
        "tried": [{"at": one.at, "reason": one.reason} for one in letter.tried],
        "platform": address.platform if address else "",
        "channel": address.channel if address else "",
        "thread": address.thread if address else "",
        "ref": letter.ref,
        "bytes": len(letter.entry),
        "text": text_of(letter),
        "replayable": address is not None,
    }


def replay(settings: Settings, found: Sequence[Letter]) -> list[tuple[Letter, str]]:
    """Put letters back onto their lanes in the order of acceptance; says of each `replayed` or why not.

    :raises NotReplayable: one of them is no message; then none is replayed.
    """
    return _together([(letter, _content(letter)) for letter in found], letters.replay, settings, of=lambda pair: pair[0])


def drop(settings: Settings, found: Sequence[Letter]) -> list[tuple[Letter, bool]]:
    """Forget letters; says of each whether it was still there."""
    return _together(found, letters.discard, settings, of=lambda letter: letter)


def edit(settings: Settings, letter: Letter, text: str) -> str:
    """Give a letter another text, or other bytes if it is no message; says `edited`, `changed` or `gone`.

    :raises NotReplayable: the bytes would be no message, or one of another conversation.
    """
    try:
        entry = letter.with_body(_edited(letter, text))
    except UnicodeEncodeError as error:
        raise NotReplayable(f"the new text of {letter.id} is not UTF-8; nothing was changed") from error
    except DecodeError as error:
        raise NotReplayable(f"{letter.id} would be no message ({error.cause}); nothing was changed") from error
    address = address_of(replace(letter, entry=entry, foreign=False)) or Address(platform="", tenant="", channel="")
    with _lanes(settings) as (lanes, client):
        ref = lanes.digests.lane(address)
        if lanes.shard_of(address) != letter.shard or (address_of(letter) and ref != letter.ref):
            raise NotReplayable(f"{letter.id} would be a message of another conversation; nothing was changed")
        return letters.correct(lanes, letter, entry, ref=ref).run(client)


def text_of(letter: Letter) -> str:
    """What a person reads of a letter: its text, or all its bytes."""
    try:
        content = letter.content()
    except DecodeError:
        return letter.body.decode(errors="replace")
    return content.reply.text if isinstance(content, Delivery) else content.text


def address_of(letter: Letter) -> Address | None:
    """Where it belongs; None for bytes that are no message."""
    try:
        content = letter.content()
    except DecodeError:
        return None
    return content.reply.address if isinstance(content, Delivery) else content.address


def seconds(text: str) -> float:
    """Of a time such as `90s`, `30m`, `2h` or `7d`.

    :raises ValueError: for any other text.
    """
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    if not found:
        raise ValueError(f"{text!r} is no time: write it as 90s, 30m, 2h or 7d")
    return int(found[1]) * _SECONDS[found[2]]


def _edited(letter: Letter, text: str) -> bytes:
    """The body with another text; bytes that are no message are replaced whole."""
    try:
        content = letter.content()
    except DecodeError:
        return text.encode()
    if isinstance(content, Delivery):
        return structs.replace(content, reply=structs.replace(content.reply, text=text)).encode()
    return structs.replace(content, text=text).encode()


def _content(letter: Letter) -> InboundMessage | Delivery:
    try:
        return letter.content()
    except DecodeError as error:
        raise NotReplayable(
            f"{letter.id} is no message ({letter.reason}): it can be shown and dropped, and replayed once an edit makes it one; "
            "better let its platform send it again"
        ) from error


def _named(found: Sequence[Letter], prefix: str) -> Letter:
    """The letter whose id is `prefix`, or the only one that begins with it."""
    fitting = [letter for letter in found if letter.id == prefix] or [letter for letter in found if letter.id.startswith(prefix)]
    if not fitting or not prefix:
        raise NoSuchLetter(f"there is no dead letter {prefix!r}: `replymill dead list` names them all")
    if len(fitting) > 1:
        raise NoSuchLetter(f"{len(fitting)} dead letters begin with {prefix!r}: write more of the id")
    return fitting[0]


def _fits(letter: Letter, choice: Choice, *, now: float) -> bool:
    address = address_of(letter)
    age = now - letter.at / 1000
    return (
        (not choice.platform or (address is not None and address.platform == choice.platform))
        and choice.reason.casefold() in letter.reason.casefold()
        and (not choice.older or age >= seconds(choice.older))
        and (not choice.newer or age <= seconds(choice.newer))
    )


def _together(
    items: Sequence[Item],
    move: Callable[[Lanes, Shard, Sequence[Item]], Call[Sequence[T]]],
    settings: Settings,
    *,
    of: Callable[[Item], Letter],
) -> list[tuple[Letter, T]]:
    """Run a move on letters of one shard at a time, so many as one script takes; the order within a shard is kept."""
    said: list[tuple[Letter, T]] = []
    with _lanes(settings) as (lanes, client):
        for shard in lanes.shards:
            mine = [item for item in items if of(item).shard == shard]
            for start in range(0, len(mine), TOGETHER):
                part = mine[start : start + TOGETHER]
                said += zip(map(of, part), move(lanes, shard, part).run(client), strict=True)
    return said


@contextmanager
def _lanes(settings: Settings) -> Iterator[tuple[Lanes, Client]]:
    with connect(settings) as client:
        adopt(client, settings)
        yield Lanes(settings), client
