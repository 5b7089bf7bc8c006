"""What a run sends and breaks, and when: made of a seed alone, so that the same seed makes the same plan."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

#: Of how many messages one has company: a further one in the same conversation at once, a swap with the next one, ten repeats.
_BURST, _SWAP, _REPEAT = 0.3, 0.1, 0.05
#: Repeats of one message; with the message itself eleven.
REPEATS = 10
#: Seconds between the parts of a burst, and within which messages change places.
_BURST_GAP, _SWAP_WITHIN = 0.05, 10.0
#: Seconds after which the last repeat of a message comes.
_LAST_REPEAT = 20.0

#: Of so many conversations on a chat platform one ends by asking for a person.
_ASKS = 20
#: Where a person can be asked for in words.
_CHATS = frozenset({"slack", "telegram"})

#: What the plan itself does, beside the faults that are injected.
DUPLICATE, REORDER = "duplicate", "reorder"


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One message."""

    number: int
    platform: str
    #: Numbered through all platforms.
    conversation: int
    #: Seconds from the start.
    at: float
    #: When the same request is sent once more, seconds from the start.
    repeats: tuple[float, ...] = ()
    #: It asks for a person.
    asks: bool = False

    @property
    def text(self) -> str:
        """What the reply must repeat."""
        return "/human" if self.asks else f"m{self.number}"


@dataclass(frozen=True, kw_only=True)
class Strike:
    """One fault at its time; `seed` decides what it hits and how long it lasts."""

    name: str
    #: Seconds from the start.
    at: float
    seed: int


@dataclass(frozen=True)
class Size:
    """How much is sent and broken."""

    messages: int = 10_000
    conversations: int = 500
    platforms: tuple[str, ...] = ("webhook", "slack", "telegram")
    #: Messages a second.
    rate: float = 50.0
    #: Seconds between faults.
    spacing: float = 4.0


@dataclass(frozen=True)
class Plan:
    """A whole run."""

    messages: Sequence[Planned] = ()
    strikes: Sequence[Strike] = field(default=())

    @classmethod
    def make(cls, seed: int, size: Size, faults: Sequence[str]) -> "Plan":
        """The plan of a seed; `faults` are the names of what goes wrong, `duplicate` and `reorder` among them."""
        # Apart, so that another choice of faults does not change what is sent.
        messages = _messages(random.Random(f"{seed}-messages"), size)  # noqa: S311 - a schedule, no secret
        if REORDER in faults:
            messages = _swapped(random.Random(f"{seed}-{REORDER}"), messages)  # noqa: S311
        if DUPLICATE in faults:
            messages = _repeated(random.Random(f"{seed}-{DUPLICATE}"), messages)  # noqa: S311
        messages = _asked(messages)
        struck = [name for name in faults if name not in (DUPLICATE, REORDER)]
        return cls(messages, _strikes(random.Random(f"{seed}-strikes"), struck, size))  # noqa: S311


def _messages(rng: random.Random, size: Size) -> list[Planned]:
    """Evenly over time, by chance over the conversations; some come in bursts, as people write."""
    made: list[Planned] = []
    for number in range(size.messages):
        at = number / size.rate
        if made and rng.random() < _BURST:
            made.append(replace(made[-1], number=number, at=max(made[-1].at + _BURST_GAP, at - 1 / size.rate)))
            continue
        conversation = rng.randrange(size.conversations)
        platform = size.platforms[conversation % len(size.platforms)]
        made.append(Planned(number=number, platform=platform, conversation=conversation, at=at))
    return made


def _swapped(rng: random.Random, messages: Sequence[Planned]) -> list[Planned]:
    """Some messages come after the next one of their conversation."""
    made = list(messages)
    latest: dict[int, int] = {}
    for place, message in enumerate(messages):
        before = latest.get(message.conversation)
        if before is not None and rng.random() < _SWAP and message.at - made[before].at < _SWAP_WITHIN:
            made[before], made[place] = replace(made[before], at=message.at), replace(message, at=made[before].at)
            # Neither changes places again.
            latest.pop(message.conversation)
        else:
            latest[message.conversation] = place
    return made


def _repeated(rng: random.Random, messages: Sequence[Planned]) -> list[Planned]:
    """Some come eleven times: half of the repeats at once, the others over the time in which they are answered and after it."""
    return [
        replace(message, repeats=tuple(sorted(message.at + _later(rng, turn) for turn in range(REPEATS))))
        if rng.random() < _REPEAT
        else message
        for message in messages
    ]


def _asked(messages: Sequence[Planned]) -> list[Planned]:
    """The last message of some conversations asks for a person."""
    last = {message.conversation: message for message in sorted(messages, key=lambda message: message.at)}
    asking = {
        message.number for message in last.values() if message.conversation % _ASKS == _ASKS - 1 and message.platform in _CHATS
    }
    return [replace(message, asks=message.number in asking) for message in messages]


def _later(rng: random.Random, turn: int) -> float:
    return rng.uniform(0, 0.05) if turn < REPEATS // 2 else rng.uniform(0.05, _LAST_REPEAT)


def _strikes(rng: random.Random, faults: Sequence[str], size: Size) -> list[Strike]:
    """One at a time, each kind as often as the others, while messages come."""
    count = max(len(faults), int(size.messages / size.rate / size.spacing)) if faults else 0
    rounds = [rng.sample(faults, len(faults)) for _ in range(-(-count // max(1, len(faults))))]
    names = [name for names in rounds for name in names][:count]
    gap = size.messages / size.rate / max(1, count)
    return [Strike(name=name, at=(place + 0.5) * gap, seed=rng.getrandbits(32)) for place, name in enumerate(names)]
