"""What the near-match cache keeps, and what it never keeps."""

from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import DecodeError
from engine.redaction import private

#: A longer question is more than one, and worth its own answer.
LONGEST = 400


class Entry(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """An answered question."""

    id: str
    question: str
    #: Names the answer: the id of a passage, or of an approved reply.
    key: str
    reply: str
    #: Its vector in half precision, which changes a cosine by less than 0.001.
    vector: bytes
    #: When it was kept, Unix time in seconds.
    at: int

    def encode(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """:raises DecodeError: for bytes that `encode` cannot have made."""
        try:
            return msgspec.msgpack.decode(raw, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise DecodeError(cls.__name__, raw, error) from error

    @property
    def unpacked(self) -> NDArray[np.float32]:
        vector = np.frombuffer(self.vector, dtype=np.float16).astype(np.float32)
        return vector / max(float(np.linalg.norm(vector)), 1e-9)


def packed(vector: NDArray[np.float32]) -> bytes:
    """A vector as entries hold it."""
    return np.asarray(vector, dtype=np.float16).tobytes()


def bar(question: str) -> str:
    """Why a question is neither kept nor looked up; empty if it may be."""
    if not question.strip():
        return "there is no text"
    if len(question) > LONGEST:
        return f"it is longer than {LONGEST} characters"
    return "it holds personal data or an identifier" if private(question) else ""
