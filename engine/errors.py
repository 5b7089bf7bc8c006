"""Every error Replymill raises on purpose.

    ReplymillError
    ├── SettingsError           an environment variable is unknown or has a bad value
    │   └── UnusableTest        a file of conversation tests cannot be used; names line and key
    ├── StartError              a process cannot start as asked (port in use, no Redis binary, no permission)
    ├── DecodeError             stored bytes are not what their type says
    │   └── NewerSchema         a newer version wrote them: they wait for a process that knows it
    ├── NoSuchLetter            no dead letter has this id, or more than one begins with it
    ├── NotReplayable           a dead letter that is no message, or that somebody else was faster with
    ├── SealError               sealed bytes cannot be opened: a key is missing, or they were changed
    ├── StoreError              Redis
    │   ├── StoreUnavailable    it cannot be reached, or refuses writes
    │   │   └── StoreUnsafe     it cannot tell when something is on its disk, as REPLYMILL_DURABILITY=fsync needs
    │   └── StoreMismatch       it was first used with other shards or another secret key
    ├── RequestError            an HTTP caller's fault; carries the status it is answered with
    │   ├── RejectedRequest     401: unsigned, stale, forged or malformed credentials
    │   ├── MalformedRequest    400: the body is not what the route accepts
    │   ├── Forbidden           403: a foreign page or host name asks, or a browser without our cookie
    │   ├── NoSuchMessage       404
    │   ├── BodyTooLarge        413
    │   ├── UnsupportedEncoding 415: a compressed body
    │   ├── NothingToAnswer     422: no text to answer
    │   └── Overloaded          429: the tenant is full
    │       └── LaneFull        429: one conversation is; its person was told
    ├── UnparseableMessage      verified, but not a message we know: becomes a dead letter, then 2xx
    ├── ModelError
    │   ├── UnknownModel        the source names nothing that exists
    │   ├── DownloadFailed      it exists, but could not be fetched
    │   ├── DamagedModel        a hash or a file does not match
    │   └── UnsupportedModel    an architecture, tokenizer or device we do not serve
    ├── KnowledgeError          a knowledge base cannot do what was asked
    │   ├── NoSuchDocument      the draft has no document of this name
    │   ├── NoSuchVersion       it was never published, or is no longer kept
    │   ├── NotIndexed          some of its passages have no vectors of this encoder yet
    │   └── NothingToPublish    the draft is empty, or as it was published
    ├── Unreadable              a voice note, an image or a document cannot be fetched or read
    ├── EvaluationError         what is to be evaluated or compared cannot be read, or says too little
    ├── ToolFailed              a registered tool did not answer, or with something that is no answer
    ├── Unreadable              a voice note, an image or a document cannot be fetched or read
    └── DeliveryError
        ├── RetryLater          a signal, not a fault: try again, not before `after` seconds
        ├── Unclear             it may have been sent: a connection broke after the request went out
        ├── Withdrawn           a signal, not a fault: a person has taken the conversation over meanwhile
        └── DeliveryRefused     the platform will never take this message

Each text says what happened and what to do about it.
"""


class ReplymillError(Exception):
    """Base of all errors raised on purpose; its text is fit to show to an operator."""


class SettingsError(ReplymillError):
    """An environment variable is unknown or has a bad value."""


class UnusableTest(SettingsError):
    """A file of conversation tests cannot be used; the text names line and key."""


class StartError(ReplymillError):
    """A process cannot start as asked."""


class DecodeError(ReplymillError):
    """Stored bytes are not what their type says."""

    def __init__(self, kind: str, raw: bytes, cause: Exception) -> None:
        super().__init__(f"cannot read {kind} from {len(raw)} bytes: {cause}; the raw bytes are kept as a dead letter")
        #: The type that was expected.
        self.kind = kind
        #: The bytes as they were stored.
        self.raw = raw
        #: What the decoder said.
        self.cause = cause


class NoSuchLetter(ReplymillError):
    """No dead letter has this id, or more than one begins with it."""


class NotReplayable(ReplymillError):
    """A dead letter that is no message, or that somebody else was faster with."""


class NewerSchema(DecodeError):
    """A newer version wrote the bytes: they wait for a process that knows it."""


class SealError(ReplymillError):
    """Sealed bytes cannot be opened."""


class StoreError(ReplymillError):
    """Redis does not do what it must."""


class StoreUnavailable(StoreError):
    """Redis cannot be reached, or refuses writes."""


class KnowledgeAway(StoreUnavailable):
    """The server that a knowledge base is searched on cannot be reached; all else can be answered."""


class StoreUnsafe(StoreUnavailable):
    """Redis cannot tell when something is on its disk, as REPLYMILL_DURABILITY=fsync needs."""


class StoreMismatch(StoreError):
    """Redis was first used with other settings that cannot change."""


class RequestError(ReplymillError):
    """An HTTP caller's fault."""

    #: The HTTP status the caller gets.
    status = 400


class RejectedRequest(RequestError):
    """Unsigned, stale, forged or malformed credentials. The text never says which to the caller."""

    status = 401


class MalformedRequest(RequestError):
    """The body is not what the route accepts; the text names the fault."""

    status = 400


class Forbidden(RequestError):
    """A foreign page or host name asks, or a browser without our cookie."""

    status = 403


class NoSuchMessage(RequestError):
    """No message has this id, or its record has long expired."""

    status = 404


class BodyTooLarge(RequestError):
    """The body is over the limit."""

    status = 413


class UnsupportedEncoding(RequestError):
    """The body is compressed; what it would unpack to is not looked at."""

    status = 415


class NothingToAnswer(RequestError):
    """The message has no text to answer."""

    status = 422


class Overloaded(RequestError):
    """No room now; the caller should come back later."""

    status = 429


class LaneFull(Overloaded):
    """Too much of one conversation waits; the person was told, so that nothing else need wait for it."""


class UnparseableMessage(ReplymillError):
    """Verified, but not a message we know."""


class ModelError(ReplymillError):
    """A model cannot be had or run."""


class UnknownModel(ModelError):
    """The source names nothing that exists."""


class DownloadFailed(ModelError):
    """The model exists, but could not be fetched or stored."""


class DamagedModel(ModelError):
    """A hash or a file of the model does not match."""


class UnsupportedModel(ModelError):
    """An architecture, tokenizer or device that we do not serve."""


class KnowledgeError(ReplymillError):
    """A knowledge base cannot do what was asked."""


class NoSuchDocument(KnowledgeError):
    """The draft has no document of this name."""


class NoSuchVersion(KnowledgeError):
    """The version was never published, or is no longer kept."""


class NotIndexed(KnowledgeError):
    """Some passages have no vectors of this encoder yet."""


class NothingToPublish(KnowledgeError):
    """The draft is empty, or as it was published."""


class EvaluationError(ReplymillError):
    """What is to be evaluated, compared or rated cannot be read, or says too little."""


class Unreadable(ReplymillError):
    """A voice note or an image cannot be fetched, transcribed or described, or a document read; what is beside it goes on."""

    @classmethod
    def too_large(cls, most: int) -> "Unreadable":
        """It has more than so many bytes."""
        return cls(f"the file is larger than {most} bytes: see REPLYMILL_MEDIA_BYTES")


class ToolFailed(ReplymillError):
    """A registered tool did not work; `unsent`: nothing was sent, so that another attempt cannot act twice."""

    def __init__(self, reason: str, *, unsent: bool) -> None:
        super().__init__(reason)
        self.unsent = unsent


class DeliveryError(ReplymillError):
    """A reply did not reach its platform."""


class RetryLater(DeliveryError):
    """Try again, not before `after` seconds; control flow, not a fault to log as an error."""

    def __init__(self, reason: str, *, after: float) -> None:
        super().__init__(reason)
        #: Seconds to wait before the next attempt.
        self.after = after


class DeliveryRefused(DeliveryError):
    """The platform will never take this message."""


class Stale(DeliveryError):
    """The worker stood still for longer than it may before it wrote anything: whoever holds the lease sends it."""


class Unclear(DeliveryError):
    """It may have been sent; nobody knows. The platform is asked, or the setting for unclear sends decides."""


class Withdrawn(DeliveryError):
    """A person has taken the conversation over meanwhile; nothing is sent."""
