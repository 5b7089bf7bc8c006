"""What a platform is to the rest of Replymill: how a request gets in and a delivery gets out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from engine.messages import Address, Delivery, InboundMessage, Receipt


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


Inbound = InboundMessage | Edit | Deletion


class Platform(Protocol):
    """One place where people write to Replymill and get their replies."""

    @property
    def name(self) -> str:
        """The key in the table and the `platform` of its addresses."""

    @property
    def idempotent(self) -> bool:
        """Whether the receiver recognises a repeated delivery id, so that an unclear send may be repeated."""

    @property
    def deadline(self) -> float:
        """Seconds until a message must have an outcome."""

    @property
    def quiet(self) -> float:
        """Seconds without a further fragment before a turn is answered."""

    @property
    def quiet_max(self) -> float:
        """Most seconds a turn waits for fragments."""

    async def send(self, delivery: Delivery) -> Receipt:
        """Post one delivery.

        :raises RetryLater: not now; `after` is 0 where the platform names no time.
        :raises DeliveryRefused: never.
        """

    async def close(self) -> None:
        """Let connections go."""


@runtime_checkable
class Receiver(Platform, Protocol):
    """A platform that sends signed requests."""

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

    def origin(self, request: Request) -> tuple[Address, str]:
        """Where a verified request that cannot be parsed belongs, and its logical id."""
