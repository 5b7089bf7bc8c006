"""The bridge: people without a support tool answer in a channel of Slack or a group of Telegram, one thread per conversation.

To the lanes it is a platform of its own. What is sent there goes through the platform of the place, into the thread of its
conversation; what people write there comes in through that platform (`connectors.agents`).
"""

from collections.abc import Sequence

from msgspec import structs

from connectors.bridge_store import TOPIC, Threads
from connectors.contract import Askable, Check, Platform, Times
from connectors.gathering import Gathering, Threading
from engine.errors import DeliveryRefused, RetryLater, StoreUnavailable, Unclear
from engine.handing import Recalled, recall
from engine.handoff import BRIDGE, SHOWN_TURNS, behind, summary
from engine.lanes import Lanes
from engine.limits import Limit
from engine.messages import Action, Address, Delivery, Receipt
from engine.settings import Settings
from engine.staffing import Place
from engine.store import AsyncClient

#: Below what opens a thread.
_HOW = "Write in this thread: it goes to the user. `/done` or `!done` gives the conversation back to the bot."
#: The name of a topic. [D] 128 characters at most.
_TITLE = 100


class Bridge:
    """What goes to the people in one place."""

    name = BRIDGE
    bots_meet = False
    timeless = False

    def __init__(self, settings: Settings, client: AsyncClient, place: Place, inner: Platform) -> None:
        self.times = Times.chat(settings)
        self.idempotent = inner.idempotent
        self._place = place
        self._inner = inner
        self._client = client
        self._lanes = Lanes(settings)
        self._threads = Threads(settings, client)
        self._tenant = settings.accounts[place.platform][place.account].tenant

    def split(self, text: str) -> Sequence[str]:
        return self._inner.split(text)

    def limits(self, delivery: Delivery) -> Sequence[Limit]:
        return self._inner.limits(self._there(delivery, ""))

    async def send(self, delivery: Delivery) -> Receipt:
        """Post it in the thread of its conversation; a hand-over opens one."""
        conversation = behind(delivery.reply.address)
        try:
            if delivery.action is Action.HAND_OVER:
                return await self._open(delivery, conversation)
            thread = await self._threads.thread(conversation)
        except StoreUnavailable as error:
            raise RetryLater(str(error), after=0) from error
        if not thread:
            raise DeliveryRefused("the conversation has no thread behind the bridge (any more)")
        return await self._belonging(conversation, await self._inner.send(self._there(delivery, thread)))

    async def check(self) -> Sequence[Check]:
        """Whether the bot can write and hear in the place."""
        if not isinstance(self._inner, Gathering):
            return ()
        return (await self._inner.check_place(self._place.account, self._place.team, self._place.channel),)

    async def close(self) -> None:
        """Nothing of its own is open."""

    async def _open(self, delivery: Delivery, conversation: Address) -> Receipt:
        """The thread is known as soon as it is there; of what is said in it before, the platform is asked again."""
        topic = await self._topic(delivery, conversation)
        known = await recall(self._lanes, conversation).run_async(self._client)
        text = self._told(delivery.reply.text, known)
        whole = structs.replace(delivery, reply=structs.replace(delivery.reply, text=text))
        await self._threads.begin(conversation)
        receipt = await self._inner.send(self._there(whole, topic))
        return await self._opened(conversation, receipt, topic)

    def _told(self, head: str, known: Recalled) -> str:
        """All that fits one message: of what was said before, the newest."""
        for turns in range(SHOWN_TURNS, -1, -1):
            parts = (head, summary(known.turns[max(0, len(known.turns) - turns) :], known.evidence), _HOW)
            text = "\n\n".join(part for part in parts if part)
            if len(self._inner.split(text)) == 1:
                return text
        return f"{head}\n\n{_HOW}"

    async def _topic(self, delivery: Delivery, conversation: Address) -> str:
        if not isinstance(self._inner, Threading):
            return ""
        topic = await self._threads.topic(delivery.id)
        if not topic:
            title = f"{conversation.platform} {conversation.channel} {conversation.thread}".strip()[:_TITLE]
            opened = await self._inner.open_thread(self._address(""), title)
            topic = f"{TOPIC}{opened}" if opened else ""
            if topic:
                await self._threads.keep_topic(delivery.id, topic)
        return topic

    async def _opened(self, conversation: Address, receipt: Receipt, topic: str) -> Receipt:
        """It is posted: whatever happens to Redis now, the receipt stands, and what cannot be kept is asked for again."""
        try:
            await self._threads.opened(self._place, conversation, topic or receipt.platform_id)
        except StoreUnavailable as error:
            raise Unclear(f"it is posted, but its thread cannot be kept: {error}") from error
        return receipt

    async def _belonging(self, conversation: Address, receipt: Receipt) -> Receipt:
        """Where threads are chains of replies, whoever answers this message answers in the thread."""
        if self._place.platform == "telegram" and receipt.platform_id:
            try:
                await self._threads.belongs(self._place, conversation, receipt.platform_id)
            except StoreUnavailable:  # posted it is: an answer to this one message would not be known, one to the first would
                return receipt
        return receipt

    def _address(self, thread: str) -> Address:
        place = self._place
        team = (place.team,) if place.platform == "slack" else ()
        channel = "/".join((place.account, *team, place.channel))
        return Address(platform=place.platform, tenant=self._tenant, channel=channel, thread=thread)

    def _there(self, delivery: Delivery, thread: str) -> Delivery:
        """As the platform of the place posts it: a topic or a thread is an address, a chain of replies a reference."""
        chained = self._place.platform == "telegram" and not thread.startswith(TOPIC)
        where = "" if chained else thread.removeprefix(TOPIC)
        reply = structs.replace(delivery.reply, address=self._address(where), reference=thread if chained else "")
        return structs.replace(delivery, reply=reply, action=Action.NONE)


class AskableBridge(Bridge):
    """A bridge to a platform that can be asked whether something is there."""

    async def find(self, delivery: Delivery) -> Receipt | None:
        """The receipt of an earlier send; a thread that was opened, and not kept, is kept now."""
        conversation = behind(delivery.reply.address)
        opens = delivery.action is Action.HAND_OVER
        if not isinstance(self._inner, Askable):
            return None
        try:
            thread = "" if opens else await self._threads.thread(conversation)
            receipt = await self._inner.find(self._there(delivery, thread))
        except StoreUnavailable as error:
            raise RetryLater(str(error), after=0) from error
        return await self._opened(conversation, receipt, "") if receipt and opens else receipt


def bridge(settings: Settings, client: AsyncClient, inner: Platform) -> Bridge:
    """The bridge of the settings, by way of the platform that its place is on."""
    place = settings.bridge_place
    if place is None:
        raise ValueError("no bridge is set")
    made = AskableBridge if isinstance(inner, Askable) else Bridge
    return made(settings, client, place, inner)
