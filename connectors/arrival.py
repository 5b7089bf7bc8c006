"""When the request came that is being handled, and when it was verified: the first moments of its messages, for their trace.

They are kept beside the request, in a context variable of its task, since every platform has a door of its own.
"""

import time
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Arrival:
    """Moments by `time.perf_counter`."""

    begun: float
    verified: float = 0.0


_ARRIVAL: ContextVar[Arrival | None] = ContextVar("arrival", default=None)


def begin(begun: float) -> None:
    """A request has come."""
    _ARRIVAL.set(Arrival(begun))


def verified() -> None:
    """Its platform has sent it."""
    if found := _ARRIVAL.get():
        found.verified = time.perf_counter()


def door() -> tuple[int, ...]:
    """`InboundMessage.door`; empty where no request brought the message."""
    found = _ARRIVAL.get()
    if found is None:
        return ()
    since = _tenths(time.perf_counter() - found.begun)
    return (since, _tenths(found.verified - found.begun)) if found.verified else (since,)


def _tenths(seconds: float) -> int:
    return round(seconds * 10_000)
