"""What a knowledge base keeps in Redis: documents, passages and vectors as opaque bytes, and versions.

Nothing but this module knows what the bytes are.
"""

import hashlib
import zlib
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import DecodeError
from engine.knowledge import Passage
from engine.known import PUBLIC, Calibration
from engine.messages import Wire

#: Passages that are kept together: a second of an encoder's work, and what a killed indexing job does again at most.
CHUNK = 200
#: Bytes that the passages of one chunk may unpack to.
LARGEST_CHUNK = 256_000_000
#: Halves of floats: what they change of a cosine is below a thousandth.
STORED = np.float16


class Document(Wire, frozen=True, array_like=True, kw_only=True):
    """A document of a draft or of a version; another content is another document."""

    #: Random; names it in Redis.
    id: str
    #: As `replymill kb list` shows it.
    name: str
    #: Where it was read from, as it was typed: reading that again replaces it.
    source: str
    #: Digest of its passages: the same for the same content.
    content: str
    passages: int
    #: Texts that passages are found by, each with a vector.
    texts: int
    #: Unix time.
    added_at: float

    @property
    def chunks(self) -> int:
        return -(-self.passages // CHUNK)


class Version(Wire, frozen=True, array_like=True, kw_only=True):
    """What was published at once."""

    created_at: float
    documents: int
    passages: int
    texts: int
    #: Identity of the encoder with which it was published.
    encoder: str
    note: str = ""
    #: Name of its index in the vector store; empty where workers search in their memory.
    remote: str = ""
    #: Known to whoever reads it: the key under which it stands.
    number: int = 0
    #: What was fitted on its own phrasings.
    calibration: Calibration = PUBLIC


def content_of(passages: Sequence[Passage]) -> str:
    """Digest of passages in their order."""
    digest = hashlib.sha256()
    for passage in passages:
        digest.update((passage.id or passage.identified().id).encode())
    return digest.hexdigest()[:32]


def chunks_of(passages: Sequence[Passage]) -> Iterator[Sequence[Passage]]:
    """The passages in the portions that are kept together."""
    return (passages[start : start + CHUNK] for start in range(0, len(passages), CHUNK))


def texts_of(passages: Sequence[Passage]) -> list[str]:
    """What the passages are found by, in their order: a row of the vectors for each."""
    return [text for passage in passages for text in passage.searched]


def encoder_tag(identity: str) -> str:
    """Stands for an encoder in the names of fields."""
    return hashlib.sha256(identity.encode()).hexdigest()[:12]


def pack_passages(passages: Sequence[Passage]) -> bytes:
    return zlib.compress(msgspec.json.encode(passages), 1)


def unpack_passages(raw: bytes) -> list[Passage]:
    """:raises DecodeError: for bytes that `pack_passages` cannot have made."""
    try:
        stream = zlib.decompressobj()
        text = stream.decompress(raw, LARGEST_CHUNK)
        if not stream.eof:
            raise zlib.error(f"it does not end, or not within {LARGEST_CHUNK} bytes")
        return msgspec.json.decode(text, type=list[Passage])
    except (zlib.error, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DecodeError("passages", raw, error) from error


def pack_vectors(vectors: NDArray[np.float32]) -> bytes:
    return vectors.astype(STORED).tobytes()


def unpack_vectors(raw: bytes, rows: int) -> NDArray[np.float32]:
    """Vectors of unit length, `rows` of them.

    :raises DecodeError: for bytes that are not so many vectors.
    """
    flat = np.frombuffer(raw, dtype=STORED) if len(raw) % 2 == 0 else np.empty(0, STORED)
    if not rows or not flat.size or flat.size % rows:
        raise DecodeError("vectors", raw, ValueError(f"{len(raw)} bytes are not {rows} vectors"))
    found: NDArray[np.float32] = flat.reshape(rows, -1).astype(np.float32)
    found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), np.float32(1e-12))
    return found
