"""A request that is written too late is not written: a process that was stopped goes on as if no time had passed.

Between the look at its lease and the first byte of a send a worker may be stopped, past its lease; then another one has sent. So
the clients of platforms look once more at the last moment, right before they write, and raise `Stale`.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from engine.errors import Stale

if TYPE_CHECKING:
    import httpx

#: Until when the running task may begin to write a request, by `time.monotonic`, which goes on while a process is stopped.
_until: ContextVar[float] = ContextVar("until", default=math.inf)
#: What httpcore is about to do. A body may come after its headers, and a request without its body has no effect.
_WRITES = ("send_request_headers.started", "send_request_body.started")


@contextmanager
def open_until(end: float) -> Iterator[None]:
    """Inside the block requests are written until `end`, by `time.monotonic`."""
    token = _until.set(end)
    try:
        yield
    finally:
        _until.reset(token)


def check() -> None:
    """:raises Stale: it is too late."""
    late = time.monotonic() - _until.get()
    if late >= 0:
        raise Stale(f"this process stood still: nothing was sent, {late:.1f} s too late")


async def fenced(request: "httpx.Request") -> None:
    """For the event hooks of a client of httpx."""
    request.extensions = {**request.extensions, "trace": _trace}


async def _trace(event: str, _: Any) -> None:
    if event.endswith(_WRITES):
        check()
