"""Replies while they are made, on their way from the engine to whoever watches; apart from the lanes, and nothing waits for them.

The chat page is told by a published message. For other platforms the text so far is kept under its turn, the latest alone, and the
turn is queued once: a delivery worker takes it and shows what is there by then, so that a slow platform sees fewer steps, and no
queue grows.
"""

import msgspec

from connectors import page
from engine.keys import LIVE, live
from engine.messages import Address
from engine.store import AsyncClient, Client, reachable

#: What nobody came to show is gone after this time, seconds.
LIFE = 60


class Progress(msgspec.Struct, frozen=True, array_like=True):
    """A reply that is being made."""

    address: Address
    #: Empty: it has just begun.
    text: str


def announce(client: Client, to: Address, turn: str, text: str) -> None:
    """The text so far of the reply to a turn; empty: it has just begun.

    :raises StoreUnavailable: if Redis is away; nothing is lost but the sight of it.
    """
    if to.platform == page.NAME:
        page.announce(client, to, "text" if text else "typing", text)
        return
    with reachable():
        client.set(live(turn), msgspec.json.encode(Progress(to, text)), ex=LIFE)
        client.zadd(LIVE, {turn: 0})


def over(client: Client, to: Address, turn: str) -> None:
    """The reply is committed: what was shown of it is not shown again.

    :raises StoreUnavailable: if Redis is away.
    """
    if to.platform != page.NAME:
        with reachable():
            client.delete(live(turn))


async def next_turn(client: AsyncClient, wait: float) -> str:
    """A turn of which there is something to show, waiting so many seconds for one; empty: none.

    :raises StoreUnavailable: if Redis is away.
    """
    with reachable():
        found = await client.bzpopmin(LIVE, timeout=wait)
    return found[1].decode() if found else ""


async def latest(client: AsyncClient, turn: str) -> Progress | None:
    """What there is to show of a turn now; None once it is committed.

    :raises StoreUnavailable: if Redis is away.
    """
    with reachable():
        raw = await client.get(live(turn))
    return msgspec.json.decode(raw, type=Progress) if raw else None
