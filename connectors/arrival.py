"""When the request came that is being handled, and when it was verified: the first moments of its messages, for their trace.

They are kept beside the request, in a context variable of its task, since every platform has a door of its own.
"""

import time
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from engine.telemetry import read_traceparent


@dataclass(slots=True)
class Arrival:
    """Moments by `time.perf_counter`."""

    begun: float
    #: Of the request, names in lower case.
    headers: Sequence[tuple[bytes, bytes]] = ()
    verified: float = 0.0


_ARRIVAL: ContextVar[Arrival | None] = ContextVar("arrival", default=None)


def begin(begun: float, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """A request has come."""
    _ARRIVAL.set(Arrival(begun, headers))


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


def parent() -> str:
    """The `traceparent` of the request (W3C Trace Context); empty where it has none, or junk."""
    found = _ARRIVAL.get()
    given = (value for name, value in (found.headers if found else ()) if name == b"traceparent")
    return read_traceparent(next(given, b"").decode("latin-1"))


def begun_at() -> float:
    """When the request came, Unix time in milliseconds; without a request now."""
    found = _ARRIVAL.get()
    return (time.time() - (time.perf_counter() - found.begun if found else 0)) * 1000


def _tenths(seconds: float) -> int:
    return round(seconds * 10_000)
