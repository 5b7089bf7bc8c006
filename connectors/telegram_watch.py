"""How the polling of a bot goes: the process that polls it notes it, `replymill doctor` reads it."""

from contextlib import suppress
from typing import NamedTuple

from engine import keys
from engine.crypto import Digests
from engine.errors import StoreUnavailable
from engine.settings import Settings
from engine.store import AsyncClient, reachable

#: Seconds for which trouble is told after it was noted; longer than the longest pause between two polls.
NEWS = 60


class Seen(NamedTuple):
    """How it goes now."""

    #: Whether a process of ours holds the bot.
    held: bool
    #: What Telegram said to a poll within the last `NEWS` seconds; empty where every one was answered.
    trouble: str


class Watch:
    """What Redis holds about one bot's polling."""

    def __init__(self, settings: Settings, bot: int) -> None:
        digest = Digests(settings.secret_key).of("poller", str(bot))
        #: The lock of the process that polls.
        self.lock = keys.poller(digest)
        self._trouble = keys.poller_trouble(digest)

    async def note(self, store: AsyncClient, trouble: str) -> None:
        """A poll was not answered."""
        # Polling goes on without a note: that Redis is away is told by what needs it more.
        with suppress(StoreUnavailable), reachable():
            await store.set(self._trouble, trouble, ex=NEWS)

    async def seen(self, store: AsyncClient) -> Seen:
        """:raises StoreUnavailable: Redis is away."""
        with reachable():
            return Seen(bool(await store.exists(self.lock)), (await store.get(self._trouble) or b"").decode())
