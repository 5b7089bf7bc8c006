"""The sentence encoder: texts to vectors of unit length, whose product is their cosine.

It runs in CTranslate2 on the CPU, one thread, beside the language model. In front of it stands a cache by the digest of the text:
most texts are asked about more than once (by reply cache, search and calibration of one question), and in INT8 a text's vector
depends a little on what it was computed with, so that only the cache makes it the same each time.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import ctranslate2
import numpy as np
from numpy.typing import NDArray

from engine.card import Card, Kind
from engine.convert import ensure
from engine.errors import DamagedModel, UnsupportedModel
from engine.settings import Settings
from engine.tokenizer import read_json_tokenizer

#: One row a text, float32.
Vectors = NDArray[np.float32]

#: Texts whose vectors are kept: 1.5 KB each at 384 dimensions.
CACHED_TEXTS = 8192
#: Characters of a text that are looked at. Tokens of prose have four or five; what is longer is cut by the model's length anyway.
MOST_CHARACTERS = 16_384
#: Tokens of one batch, padding included: more is no faster on one thread, and attention needs memory by the square of a length.
_BATCH_TOKENS = 2048
#: Texts of one batch.
_BATCH_TEXTS = 32


class Encoder:
    """A loaded encoder. Threads may share it; they take turns."""

    def __init__(self, engine: Any, folder: Path, card: Card) -> None:
        self._engine = engine
        self._tokenizer = read_json_tokenizer(folder / card.tokenizer)
        # What a person writes is never a control token, whatever it looks like.
        self._tokenizer.encode_special_tokens = True
        self._pooling = card.pooling
        self._lock = threading.Lock()
        self._cache: OrderedDict[bytes, Vectors] = OrderedDict()
        #: Numbers in a vector.
        self.dimension = card.dimension
        #: Changes with whatever changes the vectors: weights, pooling, length, precision.
        self.identity = f"{card.sha256[:16]}-{card.pooling}-{card.context_length}-{engine.compute_type}-{card.converter}"

    @classmethod
    def load(cls, settings: Settings) -> Self:
        """The encoder that the settings name; fetched and converted where that was not done before.

        :raises ModelError: one of its kinds, saying what is wrong and what to do.
        """
        folder = ensure(settings.encoder, settings, compute_type=settings.encoder_compute_type)
        return cls.open(folder, compute_type=settings.encoder_compute_type)

    @classmethod
    def open(cls, folder: Path, *, compute_type: str = "float32") -> Self:
        """The encoder in a folder made by `engine.convert.ensure`.

        :raises UnsupportedModel: for a model that makes replies.
        :raises DamagedModel: for files that are cut or do not belong together.
        """
        card = Card.read(folder)
        if card.kind is not Kind.ENCODER:
            raise UnsupportedModel(
                f"{card.source} makes replies, not vectors of texts: name a sentence encoder in REPLYMILL_ENCODER"
            )
        try:
            engine = ctranslate2.Encoder(str(folder), device="cpu", compute_type=compute_type, inter_threads=1, intra_threads=1)
        except (RuntimeError, ValueError) as error:
            raise DamagedModel(f"{folder} cannot be loaded ({error}): delete it and convert again") from error
        return cls(engine, folder, card)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """One row of unit length a text, in their order. A text that is longer than the model takes is cut."""
        keys = [_digest(text) for text in texts]
        with self._lock:
            known = {key: self._cache[key] for key in dict.fromkeys(keys) if key in self._cache}
            missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
            known |= zip(missing, self._compute(list(missing.values())), strict=True)
            self._keep(known)
        return np.array([known[key] for key in keys], np.float32).reshape(len(keys), self.dimension)

    def _keep(self, vectors: dict[bytes, Vectors]) -> None:
        """Remembers them as the latest used. What would turn out everything else, a knowledge base say, is not remembered."""
        if len(vectors) > CACHED_TEXTS // 4:
            return
        for key, vector in vectors.items():
            self._cache[key] = vector
            self._cache.move_to_end(key)
        while len(self._cache) > CACHED_TEXTS:
            self._cache.popitem(last=False)

    def _compute(self, texts: list[str]) -> Vectors:
        found = np.zeros((len(texts), self.dimension), np.float32)
        # One by one: the library's batches start threads of their own, which no forked process may have.
        tokens = [self._tokenizer.encode(_readable(text)).ids for text in texts]
        for positions in _batches([len(ids) for ids in tokens]):
            found[positions] = self._forward([tokens[position] for position in positions])
        return found

    def _forward(self, batch: list[list[int]]) -> Vectors:
        lengths = np.array([len(ids) for ids in batch], np.int32)
        padded = np.zeros((len(batch), int(lengths.max())), np.int32)
        for row, ids in enumerate(batch):
            padded[row, : len(ids)] = ids
        output = self._engine.forward_batch(
            ctranslate2.StorageView.from_array(padded), lengths=ctranslate2.StorageView.from_array(lengths)
        )
        hidden = np.asarray(output.last_hidden_state)
        if self._pooling == "cls":
            pooled = hidden[:, 0]
        else:
            inside = np.arange(padded.shape[1]) < lengths[:, None]
            pooled = np.einsum("btd,bt->bd", hidden, inside.astype(np.float32)) / lengths[:, None]
        return _unit(pooled)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _readable(text: str) -> str:
    """Half a surrogate pair is no text; it is read as the character that stands for what cannot be read."""
    return text[:MOST_CHARACTERS].encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Positions of texts that run together: of like length, so that little is padding, and bounded."""
    batch: list[int] = []
    for position in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) == _BATCH_TEXTS or lengths[position] * (len(batch) + 1) > _BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch


def _unit(vectors: Vectors) -> Vectors:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, np.finfo(np.float32).tiny), np.float32)
