"""Server-Sent Events of the chat page: one pub/sub connection to Redis for all tabs, and one mailbox for each.

A mailbox holds what a tab has still to be told, each kind once, so that a slow reader costs no memory: a reply is read from the
stream, and of the text so far only the latest counts. Being subscribed (again) is itself a reason to read the stream.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog

from connectors.link import Link
from connectors.page import NUDGE, PageEvent, Progress, events_after_async
from engine.errors import StoreUnavailable
from engine.keys import progress
from engine.store import AsyncClient, reachable

log = structlog.get_logger()

#: Seconds between comments that keep proxies from closing an idle stream.
HEARTBEAT = 15.0
#: The same, between attempts to read the stream while Redis is away.
RETRY = 2.0
#: Seconds the listener waits for one message, between which it looks after its connection.
LISTEN = 1.0
#: Seconds between attempts to listen again.
PAUSE = 0.25
#: Subscribed all the time, so that there is always something to listen to.
_HOME = progress("")


@dataclass(eq=False)
class Mailbox:
    """What one tab has still to be told."""

    #: The stream is to be read.
    unread: bool = True
    #: The latest progress.
    progress: Progress | None = None
    #: Redis cannot be reached.
    away: bool = False
    #: The process is ending.
    closed: bool = False
    _filled: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, **facts: Any) -> None:
        """Leave something, and wake the reader."""
        for name, value in facts.items():
            setattr(self, name, value)
        self._filled.set()

    async def wait(self, seconds: float) -> bool:
        """True if something was left within that time."""
        try:
            async with asyncio.timeout(seconds):
                await self._filled.wait()
        except TimeoutError:
            return False
        self._filled.clear()
        return True

    def take_progress(self) -> Progress | None:
        found, self.progress = self.progress, None
        return found


class Hub:
    """The one listener of a web process."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._tabs: dict[str, set[Mailbox]] = {}
        self._gone: set[str] = set()
        self._listening: Any = None
        self._closed = False

    @property
    def open(self) -> int:
        """Tabs that listen."""
        return sum(len(boxes) for boxes in self._tabs.values())

    async def listen(self) -> None:
        """Runs until it is cancelled, over every outage of Redis."""
        client = await self._link.listener()
        away = False
        while True:
            try:
                await self._listen(client)
            except StoreUnavailable as error:
                if not away:
                    log.warning("the chat page's listener lost Redis", action="page.redis_away", error=str(error))
                away = True
                self._everyone(away=True)
                await asyncio.sleep(PAUSE)

    async def join(self, session: str) -> Mailbox:
        """A mailbox for one more tab."""
        box = Mailbox(closed=self._closed)
        self._tabs.setdefault(session, set()).add(box)
        await self._subscribe(session)
        return box

    def leave(self, session: str, box: Mailbox) -> None:
        """Give a mailbox back; the listener unsubscribes in its next round, since a tab that goes cannot wait."""
        boxes = self._tabs.get(session, set())
        boxes.discard(box)
        if not boxes and self._tabs.pop(session, None) is not None:
            self._gone.add(session)

    def close(self) -> None:
        """End all streams: the process is about to stop."""
        self._closed = True
        self._everyone(closed=True)

    async def _listen(self, client: AsyncClient) -> None:
        channels = {_HOME, *(progress(session) for session in self._tabs)}
        with reachable():
            async with client.pubsub() as listening:
                await listening.subscribe(*channels)
                self._listening = listening
                try:
                    while True:
                        self._heard(await listening.get_message(timeout=LISTEN))
                        await self._unsubscribe(listening)
                finally:
                    self._listening = None

    async def _subscribe(self, session: str) -> None:
        """An outage is the listener's to find, which then subscribes to everything anew."""
        if self._listening is None:
            return
        try:
            with reachable():
                await self._listening.subscribe(progress(session))
        except StoreUnavailable as error:
            log.warning("a tab could not be subscribed", action="page.redis_away", error=str(error))

    async def _unsubscribe(self, listening: Any) -> None:
        gone = [progress(session) for session in self._gone - self._tabs.keys()]
        self._gone.clear()
        if gone:
            await listening.unsubscribe(*gone)

    def _heard(self, heard: dict[str, Any] | None) -> None:
        if heard is None or heard["type"] not in {"message", "subscribe"}:
            return
        channel = heard["channel"].decode()
        if heard["type"] == "subscribe":
            self._tell(channel, unread=True)
            return
        found = _progress(heard["data"])
        if found is not None:
            self._tell(channel, **({"unread": True} if found.kind == NUDGE else {"progress": found}))

    def _tell(self, channel: str, **facts: Any) -> None:
        for box in self._tabs.get(channel.removeprefix(_HOME), ()):
            box.put(**facts)

    def _everyone(self, **facts: Any) -> None:
        for boxes in self._tabs.values():
            for box in boxes:
                box.put(**facts)


async def follow(hub: Hub, link: Link, session: str, *, last_id: str) -> AsyncIterator[bytes]:
    """The bytes of one tab's event stream, from after `last_id`, until the tab or the process ends."""
    box = await hub.join(session)
    away = False
    try:
        yield b"retry: 1000\n\n" + event("hello", {})
        while not box.closed:
            if latest := box.take_progress():
                yield event(latest.kind, {"text": latest.text})
            for reply in await _unread(link, session, box, last_id):
                last_id = reply.id
                yield event("reply", shown(reply), id_=reply.id)
            if box.away is not away:
                away = box.away
                yield event("store", {"away": away})
            if not await box.wait(RETRY if away else HEARTBEAT):
                box.unread = True
                yield b": still here\n\n"
    finally:
        hub.leave(session, box)


def event(name: str, data: Any, *, id_: str = "") -> bytes:
    """One event as the browser's EventSource reads it."""
    head = f"id: {id_}\n" if id_ else ""
    return f"{head}event: {name}\ndata: ".encode() + msgspec.json.encode(data) + b"\n\n"


def shown(found: PageEvent) -> dict[str, Any]:
    """A reply as the page gets it."""
    reply = found.delivery.reply
    return {
        "id": found.delivery.id,
        "part": found.delivery.part,
        "text": reply.text,
        "choices": reply.choices,
        "source": reply.source,
        "confidence": reply.confidence,
        "evidence": reply.evidence,
        "answers": reply.in_reply_to,
        "reference": reply.reference.partition(":")[2],
        "trace": reply.trace,
        "delivered_at": found.delivered_at,
    }


async def _unread(link: Link, session: str, box: Mailbox, last_id: str) -> list[PageEvent]:
    """Replies after `last_id` if there is reason to look; an outage is noted in the mailbox."""
    if not box.unread:
        return []
    box.unread = False
    try:
        found = await events_after_async(link.client, session, last_id)
    except StoreUnavailable:
        box.away = True
        return []
    box.away = False
    if found:
        box.put(unread=True)  # there may be more than one reading holds
    return found


def _progress(raw: bytes) -> Progress | None:
    try:
        return msgspec.json.decode(raw, type=Progress)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        log.error("unreadable progress was published", action="page.unreadable", error=str(error))
        return None
