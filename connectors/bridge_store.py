"""What the bridge keeps in Redis: which thread is about which conversation, in both directions."""

from collections.abc import Sequence

from engine.crypto import Digests
from engine.errors import DecodeError
from engine.handoff import bridge_address
from engine.keys import BRIDGE_OPENING, bridge
from engine.messages import Address
from engine.settings import Settings
from engine.staffing import Place
from engine.store import AsyncClient, reachable

#: Begins the name of a thread that is a topic.
TOPIC = "topic-"
#: How long a thread is known after its last message, seconds.
LIFE = 30 * 86_400
#: How long a topic without a message is known, seconds: as long as its first message may be tried.
TOPIC_LIFE = 3600


class Threads:
    """Every method raises `StoreUnavailable` while Redis is away."""

    def __init__(self, settings: Settings, client: AsyncClient) -> None:
        self._digests = Digests(settings.secret_key)
        self._client = client
        #: How long a thread may be there before anybody knows what it is about, seconds.
        self._unknown = 2 * settings.lease

    async def begin(self, conversation: Address) -> None:
        """A thread is about to be opened: what is said in one that nobody knows is to be heard again later."""
        with reachable():
            now = await self._now()
            pipeline = self._client.pipeline(transaction=False)
            pipeline.zadd(BRIDGE_OPENING, {self._digests.lane(conversation): now + self._unknown})
            pipeline.zremrangebyscore(BRIDGE_OPENING, 0, now)
            await pipeline.execute()

    async def opening(self) -> bool:
        """Whether there may be a thread that nobody knows yet."""
        with reachable():
            return bool(await self._client.zcount(BRIDGE_OPENING, await self._now(), "+inf"))

    async def opened(self, place: Place, conversation: Address, thread: str) -> None:
        """The thread is about that conversation."""
        with reachable():
            pipeline = self._client.pipeline(transaction=False)
            pipeline.set(self._from(place, thread), conversation.encode(), ex=LIFE)
            pipeline.set(self._to(conversation), thread, ex=LIFE)
            pipeline.zrem(BRIDGE_OPENING, self._digests.lane(conversation))
            await pipeline.execute()

    async def belongs(self, place: Place, conversation: Address, message: str) -> None:
        """A message is part of the thread: whoever answers it answers there."""
        with reachable():
            await self._client.set(self._from(place, message), conversation.encode(), ex=LIFE)

    async def conversation(self, place: Place, threads: Sequence[str]) -> tuple[Address, str] | None:
        """The conversation of the first of some threads that is known, with that thread."""
        for thread in threads:
            with reachable():
                found = await self._client.getex(self._from(place, thread), ex=LIFE)
            try:
                if found:
                    return Address.decode(found), thread
            except DecodeError:  # of another version: as if it were not known
                continue
        return None

    async def resume(self, conversation: Address, thread: str, *, chained: bool) -> None:
        """What the user says goes to this thread from now on; in a chain of replies it stays with the first message."""
        if not chained or thread.startswith(TOPIC):
            with reachable():
                await self._client.set(self._to(conversation), thread, ex=LIFE)

    async def thread(self, conversation: Address) -> str:
        """The thread that is about a conversation now; empty where there is none."""
        with reachable():
            return (await self._client.getex(self._to(conversation), ex=LIFE) or b"").decode()

    async def topic(self, delivery: str) -> str:
        """The topic that was opened for a message which is not posted yet."""
        with reachable():
            return (await self._client.get(self._topic(delivery)) or b"").decode()

    async def keep_topic(self, delivery: str, topic: str) -> None:
        """Remember it until its first message is posted."""
        with reachable():
            await self._client.set(self._topic(delivery), topic, ex=TOPIC_LIFE)

    def _from(self, place: Place, thread: str) -> str:
        return bridge("from", self._digests.of("bridge-from", place.platform, place.account, place.channel, thread))

    def _to(self, conversation: Address) -> str:
        address = bridge_address(conversation)
        return bridge("to", self._digests.of("bridge-to", address.tenant, address.channel, address.thread))

    def _topic(self, delivery: str) -> str:
        return bridge("topic", self._digests.of("bridge-topic", delivery))

    async def _now(self) -> float:
        seconds, microseconds = await self._client.time()
        return float(int(seconds) + int(microseconds) / 1_000_000)
