"""The frozen types that travel: what a platform sent, what is answered, what is posted back.

Bodies are JSON arrays with a leading schema number: compact (a waiting message costs its lane little beyond its text), readable in
`redis-cli`, and extensible by appending fields that have defaults.
"""

from enum import StrEnum
from typing import Annotated, NamedTuple, Self, TypeVar

import msgspec

from engine.errors import DecodeError, NewerSchema

#: Version of the encodings below. A reader refuses a version it does not know.
SCHEMA = 1


class Entry(NamedTuple):
    """One element of a lane as the scripts keep it: a header they read, and a body they do not."""

    #: Digest of the first logical id, with the shard: see `engine.crypto.Digests.message`.
    id: str
    #: Counts the edits of the message, from 0.
    revision: int
    #: When Redis accepted it, Unix time in milliseconds.
    received_at: int
    #: When an outcome is due, Unix time in milliseconds.
    deadline: int
    #: Estimated tokens, for the token budget of a claim.
    cost: int
    #: The opaque rest.
    body: bytes


T = TypeVar("T")


def _element(raw: bytes, place: int, kind: type[T]) -> T | None:
    """One element of an array, whatever the others are; None if it is not there or of another kind."""
    try:
        return msgspec.json.decode(msgspec.json.decode(raw, type=list[msgspec.Raw])[place], type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, IndexError):
        return None


class Wire(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """A type that encodes and decodes itself; decoding fails with `DecodeError` alone."""

    def encode(self) -> bytes:
        """The value as the bytes kept in Redis."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """The value from bytes made by `encode`.

        :raises NewerSchema: for bytes of a newer version.
        :raises DecodeError: for any others that `encode` cannot have made.
        """
        schema = _element(raw, 0, int) if "schema" in cls.__struct_fields__ else None
        if schema is not None and schema != SCHEMA:
            kind = NewerSchema if schema > SCHEMA else DecodeError
            raise kind(cls.__name__, raw, ValueError(f"schema {schema}, this version reads {SCHEMA}"))
        try:
            return msgspec.json.decode(raw, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise DecodeError(cls.__name__, raw, error) from error


class Address(Wire, frozen=True, array_like=True, kw_only=True):
    """Where to answer. All four fields together name a conversation, and so its lane."""

    #: Key of the platform table, such as `webhook` or `page`.
    platform: str
    #: Whose bot this is: settings, limits and caches are kept apart by tenant.
    tenant: str
    #: The place on the platform: an endpoint, a channel, a chat.
    channel: str
    #: The conversation inside that place; empty where the channel is the conversation.
    thread: str = ""


class MediaKind(StrEnum):
    """What can be read for the person who sent it."""

    #: Speech, which is transcribed.
    VOICE = "voice"
    #: A picture, which is described.
    IMAGE = "image"

    @property
    def label(self) -> str:
        """Leads the words that were read, in the history too."""
        return "[voice note]" if self is MediaKind.VOICE else "[image]"


class Media(Wire, frozen=True, array_like=True, kw_only=True):
    """A file beside the text of a message, which is fetched when the message is answered."""

    kind: MediaKind
    #: What its platform fetches it by, such as an id or a URL; never a token.
    reference: str
    #: As the platform names it; empty where it does not.
    mime: str = ""
    #: Bytes; 0 where the platform does not say.
    size: int = 0


class InboundMessage(Wire, frozen=True, array_like=True, kw_only=True):
    """One message from a person."""

    schema: int = SCHEMA
    address: Address
    #: The platform's id of who wrote it.
    sender: str
    text: str
    #: Every logical id of the message (a platform may deliver one post as several events); the first names it to its sender.
    dedupe_ids: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    #: Not read yet; only where reading it is configured.
    media: tuple[Media, ...] = ()
    #: Tenths of a millisecond from the request that brought it to its acceptance, and to its verification where that is known.
    door: tuple[int, ...] = ()
    #: The step that brought it, as W3C Trace Context; empty where no spans are recorded.
    traceparent: str = ""
    #: Set by the lane, not part of the body: see `Entry`.
    id: str = ""
    received_at: int = 0
    deadline: int = 0
    revision: int = 0

    def encode(self) -> bytes:
        """The body only: what the lane's header holds is left out, and so is an empty end."""
        beside = [self.media, self.door, self.traceparent]
        while beside and not beside[-1]:
            beside.pop()
        return msgspec.json.encode((self.schema, self.address, self.sender, self.text, self.dedupe_ids, *beside))

    @property
    def shown(self) -> str:
        """The text, and a line for each file that nobody has read."""
        return "\n".join((*filter(None, (self.text,)), *(media.kind.label for media in self.media)))

    @classmethod
    def from_entry(cls, entry: Entry) -> Self:
        """The message kept in a lane.

        :raises DecodeError: for a body that is not one.
        """
        message = cls.decode(entry.body)
        return msgspec.structs.replace(
            message, id=entry.id, received_at=entry.received_at, deadline=entry.deadline, revision=entry.revision
        )

    @classmethod
    def outline(cls, entry: Entry) -> Self | None:
        """What can be read of a message that a newer version wrote: its address, without which None, and its first id."""
        address = _element(entry.body, 1, Address)
        ids = _element(entry.body, 4, tuple[str, ...]) or (entry.id,)
        if address is None:
            return None
        found = cls(address=address, sender="", text="", dedupe_ids=ids, id=entry.id)
        return msgspec.structs.replace(found, received_at=entry.received_at, deadline=entry.deadline, revision=entry.revision)


class Role(StrEnum):
    """Who said a turn."""

    #: The person asking.
    USER = "user"
    #: Replymill.
    ASSISTANT = "assistant"
    #: A human agent.
    AGENT = "agent"


class Owner(StrEnum):
    """Who answers a conversation now."""

    #: Replymill.
    BOT = "bot"
    #: Handed over, nobody has picked it up yet.
    WAITING = "waiting"
    #: A human agent.
    HUMAN = "human"


#: Most characters of a turn that a history keeps, as many as the default prompt holds; a claim reads whole histories.
TURN_CHARACTERS = 4_000


class Turn(Wire, frozen=True, array_like=True, kw_only=True):
    """One thing said in a conversation."""

    role: Role
    text: str
    #: Unix time in milliseconds.
    at: int

    @classmethod
    def kept(cls, role: Role, text: str, *, at: int) -> Self:
        """The turn as a history keeps it: of a text that is too long, its beginning and its end."""
        half = TURN_CHARACTERS // 2
        short = text if len(text) <= TURN_CHARACTERS else f"{text[:half]} ... {text[-half:]}"
        return cls(role=role, text=short, at=at)


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """What was said before, oldest first."""

    address: Address
    turns: tuple[Turn, ...] = ()
    owner: Owner = Owner.BOT


class Source(StrEnum):
    """Where a reply came from."""

    #: The reply cache.
    CACHE = "cache"
    #: The knowledge base.
    KNOWLEDGE = "knowledge"
    #: The language model.
    MODEL = "model"
    #: A fixed text: an apology, a notice, a policy.
    FALLBACK = "fallback"
    #: A human agent.
    AGENT = "agent"


#: Measured facts of a message's way: milliseconds for names ending in `_ms`, counts and flags otherwise.
Fact = int | float | str | bool


class Reply(Wire, frozen=True, array_like=True, kw_only=True):
    """What is answered to one turn."""

    #: The ids of all the messages this answers, oldest first.
    in_reply_to: tuple[str, ...]
    address: Address
    text: str
    source: Source
    #: What the reply rests on: passages, cache entries.
    evidence: tuple[str, ...] = ()
    #: Between 0 and 1 where a source measures it.
    confidence: float | None = None
    #: The first message's id as its sender knows it.
    reference: str = ""
    #: How the reply was made: see `engine.trace`.
    trace: dict[str, Fact] = {}
    #: What the person may be after, to choose from: buttons where the platform has them, a numbered list elsewhere.
    choices: tuple[str, ...] = ()


class Action(StrEnum):
    """What a delivery asks a platform to do beside posting a text."""

    NONE = ""
    #: Give the conversation to a person, in the platform's own way.
    HAND_OVER = "hand-over"


class Delivery(Wire, frozen=True, array_like=True, kw_only=True):
    """One thing to post. Its id is the idempotency key wherever a platform takes one."""

    schema: int = SCHEMA
    #: `<first inbound id>-<part>`: the same for every attempt, different for every part.
    id: str
    reply: Reply
    #: Position of this part among the parts of a long reply, from 0.
    part: int = 0
    #: How many parts there are; 0 while the platform has not been asked to split it.
    parts: int = 0
    #: What the platform is to do beside posting the text.
    action: Action = Action.NONE
    #: Who is called by it, in the platform's own words; from the settings alone.
    mention: str = ""

    @property
    def turn(self) -> str:
        """Id of the first message it answers: the same for all parts, and for what is shown while the reply is made."""
        return self.id.rpartition("-")[0]

    @property
    def last(self) -> bool:
        """Whether no further part follows."""
        return self.part + 1 >= self.parts


class Receipt(Wire, frozen=True, array_like=True, kw_only=True):
    """The platform took a delivery."""

    delivery: str
    #: The platform's own id of the posted message; empty where it gives none.
    platform_id: str = ""
