"""What is done as the wait grows: pure policy, applied where messages are accepted and where they are answered.

The ladder, by the wait that a message accepted now has before it, in seconds of the settings `REPLYMILL_OVERLOAD_*`:

1. `CACHED`: workers look ahead for what needs no model and answer that at once, beside all that waits for the model;
2. `BRIEF`: what the model answers is kept short;
3. `TELL`: whoever writes is told once how many are before them and how long it may take;
4. `PERSON`: what comes in is handed to a person at once, where there is one. Elsewhere it waits, and is told so.

Nothing is dropped on any rung: what waits is answered, handed over or apologised for by its deadline.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum

from engine.moves import Backlog
from engine.settings import Settings


class Rung(IntEnum):
    """How far up the ladder; each does what those below it do too."""

    NORMAL = 0
    CACHED = 1
    BRIEF = 2
    TELL = 3
    PERSON = 4


@dataclass(frozen=True)
class Forecast:
    """What awaits a message that is accepted now."""

    #: Messages before it that nobody has answered yet; such as wait for a time apart.
    ahead: int = 0
    #: Until its answer is begun, seconds.
    wait: float = 0.0
    #: Messages that all workers answer per second; 0 while none has been busy.
    rate: float = field(default=0.0, compare=False)

    def of_tenant(self, own: int, tenants: int) -> "Forecast":
        """The same for one of so many tenants with messages waiting, `own` of them its own: all are served alike."""
        ahead = min(self.ahead, own * max(1, tenants))
        return replace(self, ahead=ahead, wait=ahead / self.rate if self.rate else self.wait if own else 0.0)


def forecast(backlogs: Iterable[Backlog], workers: Iterable[Mapping[str, str]]) -> Forecast:
    """From the inbound backlogs of all shards and what the workers say of themselves.

    What waits is divided by what the workers answered per second while they were busy; the age of the oldest is all that is known
    while none has been. Where it is known, age is no sign: one lane that nobody can answer would make a queue of itself.
    """
    found = list(backlogs)
    ahead = sum(one.messages - one.deferred for one in found)
    rate = sum(float(worker.get("capacity", 0)) for worker in workers if worker.get("loop") == "answer")
    age = max((one.age_ms for one in found), default=0) / 1000
    return Forecast(ahead, ahead / rate if rate else age, rate)


def rung(wait: float, settings: Settings) -> Rung:
    """The highest rung whose wait is reached; one set to 0 is left out."""
    starts = {
        Rung.CACHED: settings.overload_cached,
        Rung.BRIEF: settings.overload_brief,
        Rung.TELL: settings.overload_tell,
        Rung.PERSON: settings.overload_person,
    }
    return max((step for step, start in starts.items() if start and wait >= start), default=Rung.NORMAL)


def lasting(seconds: float) -> tuple[str, int]:
    """A wait as a person says it: the name of its text, and how many; always more than one."""
    if seconds < 90:
        return "seconds", max(10, round(seconds / 10) * 10)
    minutes = round(seconds / 60)
    return ("minutes", minutes) if minutes < 90 else ("hours", round(minutes / 60))
