"""What a platform is to the rest of Replymill: how a request gets in and a delivery gets out."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from starlette.routing import BaseRoute

from connectors.people import AgentWord
from engine.limits import Limit
from engine.messages import Address, Delivery, InboundMessage, Media, Owner, Receipt
from engine.settings import Settings


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request as it came, before anything of it is believed."""

    #: What the path names, such as a webhook endpoint; empty where it names nothing.
    name: str
    #: Names in lower case; values of a repeated header are joined by commas.
    headers: Mapping[str, str]
    #: The raw bytes, over which signatures are made.
    body: bytes


@dataclass(frozen=True, slots=True)
class Edit:
    """A new text for a message sent before."""

    #: Its first dedupe id is that of the original.
    message: InboundMessage


@dataclass(frozen=True, slots=True)
class Deletion:
    """A message sent before is taken back."""

    address: Address
    #: The first dedupe id of the original.
    logical_id: str


@dataclass(frozen=True, slots=True)
class Notice:
    """A fixed text is due, once: help, or that text alone can be read. Without a text its ids are noted, no more."""

    address: Address
    #: Every logical id of what asked for it.
    logical_ids: tuple[str, ...]
    #: The name of the text, a setting of `engine.texts`; empty: none is due.
    name: str
    #: What the platform says of the person's language, as a code; what they wrote says more.
    language: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class HandOver:
    """Somebody (`sender`) asks for a person, by `text` or a command. The platform is told by a delivery with that action."""

    address: Address
    logical_ids: tuple[str, ...]
    sender: str = field(default="", compare=False)
    text: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Stop:
    """A person takes back everything that was not answered yet."""

    address: Address
    #: Every logical id of the request; empty where the platform gives none.
    logical_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Forget:
    """A person wants what was said to be forgotten."""

    address: Address
    logical_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ownership:
    """The platform says who answers a conversation from now on."""

    address: Address
    owner: Owner


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a person thinks of a reply, which its `Delivery.turn` names: `up` or `down`."""

    message_id: str
    verdict: str


Inbound = InboundMessage | Edit | Deletion | Notice | HandOver | Stop | Forget | Ownership | AgentWord | Feedback

#: State and verdict of a message that a full conversation does not take.
FULL = "full"


class Taken(NamedTuple):
    """What the sender of a request is told."""

    #: The message's id, for `GET /v1/messages/<id>`.
    id: str
    state: str
    #: For the counters: the verdict, or what an edit or a deletion met.
    verdict: str


#: Does what came in asks for; raises `StoreUnavailable` and `Overloaded`. A full conversation raises nothing: its person was told.
Take = Callable[[Inbound], Awaitable[Taken]]


class Acknowledgement(NamedTuple):
    """What a platform is answered once everything it sent is durable; `content` is JSON, None an empty body."""

    status: int = 200
    content: object = None


@dataclass(frozen=True)
class Times:
    """How long things may take at a platform, seconds; `deadline` is until a message must have an outcome."""

    deadline: float
    #: Without a further fragment before a turn is answered, and in all that a turn waits for fragments.
    quiet: float
    quiet_max: float

    @classmethod
    def chat(cls, settings: Settings) -> "Times":
        """Where people type."""
        return cls(settings.deadline_chat, settings.quiet_chat, settings.quiet_chat_max)


class Platform(Protocol):
    """One place where people write to Replymill and get their replies."""

    @property
    def name(self) -> str:
        """The key in the table and the `platform` of its addresses."""

    @property
    def idempotent(self) -> bool:
        """Whether the receiver recognises a repeated delivery id, so that an unclear send may be repeated."""

    @property
    def times(self) -> Times:
        """How long things may take there."""

    def split(self, text: str) -> Sequence[str]:
        """The text of a reply in parts that the platform takes, in order; together they carry all of it."""

    def limits(self, delivery: Delivery) -> Sequence[Limit]:
        """The platform's rate limits on this delivery, the narrowest first."""

    async def send(self, delivery: Delivery) -> Receipt:
        """Post one delivery, and do what its `action` asks for.

        :raises RetryLater: not now, and nothing was sent; `after` is 0 where the platform names no time.
        :raises Unclear: it may have been sent.
        :raises Withdrawn: a person has taken the conversation over.
        :raises DeliveryRefused: never.
        """

    @property
    def timeless(self) -> bool:
        """Whether its requests carry no time: then a replay is known by its ids alone, which are kept for a week."""

    @property
    def bots_meet(self) -> bool:
        """Whether other bots write where it is, so that a pause must end what two of them say to each other."""

    async def close(self) -> None:
        """Let connections go."""


@runtime_checkable
class Askable(Platform, Protocol):
    """A platform that can say whether a delivery is there."""

    async def find(self, delivery: Delivery) -> Receipt | None:
        """The receipt of an earlier send of this delivery, if it is there.

        :raises RetryLater: it cannot say now.
        :raises DeliveryRefused: it never can.
        """


@runtime_checkable
class Showing(Platform, Protocol):
    """A platform that shows a reply while it is made. What cannot be shown is left out: nothing waits for it."""

    async def show(self, address: Address, turn: str, text: str) -> None:
        """Show the text so far of the reply to a turn (`Delivery.turn`); empty: that one is being made.

        :raises RetryLater: the platform asks for a pause.
        """


@runtime_checkable
class Hosting(Platform, Protocol):
    """A platform that brings its own routes, guarded by ours; each answers only when what it took is durable."""

    def routes(self, take: Take) -> Sequence[BaseRoute]:
        """Routes that give what comes in to `take`."""


@runtime_checkable
class Listening(Platform, Protocol):
    """A platform that is listened to over a connection of ours, in the web process."""

    async def listen(self, take: Take) -> None:
        """Runs until it is cancelled, over every outage of Redis and the platform; returns where there is nothing to hear."""


@runtime_checkable
class Fetching(Platform, Protocol):
    """A platform whose messages carry files that can be read."""

    async def fetch(self, address: Address, media: Media, most: int) -> bytes:
        """A file of a message there, of at most so many bytes. Tokens are looked up now, and shown to the platform alone.

        :raises RetryLater: not now.
        :raises StoreUnavailable: the token cannot be looked up now.
        :raises Unreadable: never; or `DeliveryRefused`, where the account is gone.
        """


class Check(NamedTuple):
    """One thing that `replymill doctor` looked at, at a platform; `fatal`: nothing can work so."""

    what: str
    ok: bool
    found: str
    #: What to do where it is not well.
    advice: str = ""
    fatal: bool = False


@runtime_checkable
class Checkable(Platform, Protocol):
    """A platform that `replymill doctor` can look at, by real calls that change nothing."""

    async def check(self) -> Sequence[Check]:
        """What it says of every account: the token, the rights, where it sends to.

        :raises DeliveryError: it cannot be asked.
        """


@runtime_checkable
class Probing(Platform, Protocol):
    """A platform of which we can sign a request ourselves, as `replymill doctor` does to try the running service."""

    def probes(self) -> Mapping[str, Request]:
        """For each path a signed request that is accepted and starts nothing."""


@runtime_checkable
class Receiver(Platform, Protocol):
    """A platform that sends signed requests."""

    @property
    def away(self) -> int:
        """The status that makes it come back later, where Redis is away or too much waits."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Path patterns it receives at, such as `/webhooks/{name}`."""

    def verify(self, request: Request) -> None:
        """Make sure the platform sent this.

        :raises RejectedRequest: and nothing else, whatever the bytes are.
        """

    def parse(self, request: Request) -> tuple[Inbound, ...]:
        """What a verified request says.

        :raises MalformedRequest: naming the fault.
        :raises NothingToAnswer: no text.
        :raises UnparseableMessage: no message we know.
        """

    def acknowledge(self, taken: Sequence[Taken]) -> Acknowledgement:
        """The answer to a request whose messages are all durable, or that held none.

        :raises MalformedRequest: what was taken shows a fault of the sender.
        :raises LaneFull: the sender can hold back one conversation.
        """

    def origin(self, request: Request) -> tuple[Address, str]:
        """Where a verified request that cannot be parsed belongs, and its logical id."""
