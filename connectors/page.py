"""The chat page as a platform, and `replymill ask` with it: a session is one browser tab or one console.

A reply is added to the session's stream, which bears a reconnect, and a published nudge tells the web process to read it. While a
reply is generated its text so far is published only: whoever is not there misses nothing but the sight of it.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from connectors.contract import Times
from engine.errors import DecodeError, DeliveryRefused, RetryLater, StoreUnavailable
from engine.keys import page, progress
from engine.limits import Limit
from engine.messages import Address, Delivery, InboundMessage, Receipt, Reply
from engine.settings import Settings
from engine.store import AsyncClient, Client, reachable

log = structlog.get_logger()

NAME = "page"
TENANT = "default"

#: Replies kept for a reconnect, roughly, and for how long in seconds.
KEPT = 200
LIFE = 3600
#: Most replies read at once.
READ = 100

#: The kind of progress that says: read the stream.
NUDGE = "reply"


class Progress(msgspec.Struct, frozen=True, array_like=True):
    """What is published while a reply is made."""

    #: `typing`, `text` (the text so far) or `reply`.
    kind: str
    text: str = ""


@dataclass(frozen=True)
class PageEvent:
    """One reply in a session's stream."""

    #: Redis's id of it: what a reconnect names as the last it has seen.
    id: str
    delivery: Delivery

    @property
    def delivered_at(self) -> int:
        """Unix time in milliseconds."""
        return int(self.id.partition("-")[0])


class Page:
    """The sending half; a tab's messages arrive through `connectors/chat.py`, not through a signed request."""

    name = NAME
    #: Readers leave out a delivery they have seen.
    idempotent = True
    bots_meet = False
    timeless = False

    def __init__(self, settings: Settings, client: AsyncClient) -> None:
        self.times = Times.chat(settings)
        self._client = client

    def split(self, text: str) -> Sequence[str]:
        return (text,)

    def limits(self, delivery: Delivery) -> Sequence[Limit]:
        return ()

    def offers(self, reply: Reply) -> bool:
        """The page has a button for each, whose press it sends as if it were typed."""
        return True

    async def send(self, delivery: Delivery) -> Receipt:
        """Add the reply to its session's stream and tell the web process."""
        session = delivery.reply.address.channel
        if not session:
            raise DeliveryRefused("the reply names no session of the chat page")
        try:
            with reachable():
                pipeline = self._client.pipeline(transaction=False)
                pipeline.xadd(page(session), {"delivery": delivery.encode()}, maxlen=KEPT, approximate=True)
                pipeline.expire(page(session), LIFE)
                entry, _ = await pipeline.execute()
                await self._client.publish(progress(session), msgspec.json.encode(Progress(NUDGE)))
        except StoreUnavailable as error:
            raise RetryLater(str(error), after=0) from error
        return Receipt(delivery=delivery.id, platform_id=entry.decode())

    async def close(self) -> None:
        """Nothing of its own is open."""


def new_session() -> str:
    """A session that nobody else can name."""
    return secrets.token_hex(16)


def tab_session(browser: str, tab: str) -> str:
    """The session of one tab: found from the browser's cookie and the tab's own id together, and from neither alone."""
    return hashlib.blake2b(f"{browser}:{tab}".encode(), digest_size=16, person=b"replymill page").hexdigest()


def address(session: str) -> Address:
    """Where the replies of a session go."""
    return Address(platform=NAME, tenant=TENANT, channel=session)


def message(session: str, text: str, *, message_id: str) -> InboundMessage:
    """What was typed; `message_id` is the sender's own, unique in its session."""
    return InboundMessage(address=address(session), sender=session, text=text, dedupe_ids=(f"{session}:{message_id}",))


def announce(client: Client, to: Address, kind: str, text: str) -> None:
    """Show `typing`, or the `text` so far, to whoever is looking.

    :raises StoreUnavailable: if Redis is away; nothing is lost.
    """
    with reachable():
        client.publish(progress(to.channel), msgspec.json.encode(Progress(kind, text)))


def events_after(client: Client, session: str, last_id: str, *, wait: float = 0) -> list[PageEvent]:
    """Replies after the one named (`0` is from the start), waiting up to `wait` seconds (at most 4) for the first.

    :raises StoreUnavailable: if Redis is away.
    """
    with reachable():
        found = client.xread({page(session): last_id}, count=READ, block=round(wait * 1000) or None)
    return _events(found)


async def events_after_async(client: AsyncClient, session: str, last_id: str) -> list[PageEvent]:
    """The asynchronous twin of `events_after`, which does not wait."""
    with reachable():
        found = await client.xread({page(session): last_id}, count=READ)
    return _events(found)


def _events(found: Any) -> list[PageEvent]:
    entries = [entry for _, entries in (found or []) for entry in entries]
    return [event for id_, fields in entries if (event := _event(id_, fields))]


def _event(id_: bytes, fields: dict[bytes, bytes]) -> PageEvent | None:
    try:
        return PageEvent(id_.decode(), Delivery.decode(fields.get(b"delivery", b"")))
    except DecodeError as error:
        log.error("a reply in a page's stream cannot be read", action="page.unreadable", entry=id_.decode(), error=str(error))
        return None
