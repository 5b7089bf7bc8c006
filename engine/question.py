"""One turn that is to be answered."""

from dataclasses import dataclass
from functools import cached_property

from engine.messages import Address, Conversation, Fact, InboundMessage, Reply, Source


@dataclass(frozen=True, kw_only=True)
class Question:
    """One turn: every message that waited in a lane, and what was said before."""

    #: Names the turn in its worker: a message that is claimed again is another turn.
    key: str
    conversation: Conversation
    #: Oldest first; at least one.
    messages: tuple[InboundMessage, ...]
    #: From the acceptance of the first message to the claim, ms by Redis's clock.
    waited_ms: int
    #: By `time.monotonic`.
    claimed_at: float
    #: Whether the platform shows the reply while it is generated.
    streamed: bool

    @property
    def address(self) -> Address:
        return self.conversation.address

    @property
    def message(self) -> str:
        """The id of the first message, for logs."""
        return self.messages[0].id

    @cached_property
    def text(self) -> str:
        """The fragments as one question; empty where a file was all, and could not be read."""
        return "\n".join(message.text for message in self.messages if message.text)

    @property
    def deadline(self) -> int:
        """When the first of its messages is due, Unix time in milliseconds."""
        return min(message.deadline for message in self.messages)

    def reply(
        self,
        text: str,
        source: Source,
        *,
        evidence: tuple[str, ...] = (),
        confidence: float | None = None,
        choices: tuple[str, ...] = (),
        **facts: Fact,
    ) -> Reply:
        """A reply to all its messages; `facts` are added to the trace."""
        return Reply(
            in_reply_to=tuple(message.id for message in self.messages),
            address=self.address,
            text=text,
            source=source,
            evidence=evidence,
            confidence=confidence,
            choices=choices,
            reference=self.messages[0].dedupe_ids[0],
            trace={"waited_ms": self.waited_ms, **facts},
        )
