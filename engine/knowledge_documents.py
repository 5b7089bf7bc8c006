"""The documents of a knowledge base in Redis: each a hash with what it is, its passages, and their vectors by each encoder."""

import secrets
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import NoSuchDocument
from engine.keys import Base
from engine.knowledge import Passage
from engine.knowledge_records import (
    Document,
    chunks_of,
    content_of,
    pack_passages,
    pack_vectors,
    texts_of,
    unpack_passages,
    unpack_vectors,
)
from engine.scripts import Blobs, Call
from engine.store import Client, reachable

#: A document that was written and not adopted within this time is forgotten, seconds.
ORPHAN = 86_400
#: Chunks or documents in one trip to Redis.
TRIP = 50


class Documents:
    """Reads and writes documents by their ids. Every failure to reach Redis rises as `StoreUnavailable`."""

    def __init__(self, client: Client, base: Base) -> None:
        self._client = client
        self._base = base

    def write(self, name: str, passages: Sequence[Passage], *, source: str) -> str:
        """Write a new document, to be adopted by a draft; its id."""
        document = Document(
            id=secrets.token_hex(8),
            name=name,
            source=source,
            content=content_of(passages),
            passages=len(passages),
            texts=len(texts_of(passages)),
            added_at=time.time(),
        )
        key = self._base.document(document.id)
        with reachable():
            pipeline = self._client.pipeline(transaction=False)
            pipeline.hset(key, "m", document.encode())
            pipeline.expire(key, ORPHAN)
            for number, chunk in enumerate(chunks_of(passages)):
                pipeline.hset(key, f"p:{number}", pack_passages(chunk))
                if len(pipeline) >= TRIP:
                    pipeline.execute()
            pipeline.execute()
        return document.id

    def read(self, ids: Sequence[str]) -> list[Document]:
        """Those of the ids that are still there, in that order."""
        return [Document.decode(found[0]) for found in self._many("hmget", ids, "m") if found[0]]

    def chunk(self, document: Document, number: int) -> list[Passage]:
        """Some of its passages.

        :raises NoSuchDocument: if the document has gone.
        """
        return unpack_passages(self._field(document.id, f"p:{number}"))

    def vectors(self, document: Document, number: int, tag: str, *, rows: int) -> NDArray[np.float32]:
        """The vectors of a chunk, a row for each of its texts.

        :raises NoSuchDocument: if there are none of this encoder, or the document has gone.
        """
        return unpack_vectors(self._field(document.id, f"x:{tag}:{number}"), rows)

    def loaded(self, document: Document, tag: str) -> tuple[list[Passage], list[NDArray[np.float32]]]:
        """All passages of a document, and their vectors chunk by chunk.

        :raises NoSuchDocument: if a part of it is not there.
        """
        passages: list[Passage] = []
        vectors: list[NDArray[np.float32]] = []
        for number in range(document.chunks):
            chunk = self.chunk(document, number)
            passages += chunk
            vectors.append(self.vectors(document, number, tag, rows=len(texts_of(chunk))))
        return passages, vectors

    def together(self, documents: Sequence[Document], tag: str) -> tuple[list[Passage], list[NDArray[np.float32]]]:
        """The same of several documents.

        :raises NoSuchDocument: if a part of one is not there.
        """
        passages: list[Passage] = []
        vectors: list[NDArray[np.float32]] = []
        for document in documents:
            found, rows = self.loaded(document, tag)
            passages += found
            vectors += rows
        return passages, vectors

    def keep_vectors(self, document: Document, number: int, tag: str, vectors: NDArray[np.float32]) -> None:
        """Keep the vectors of a chunk, unless its document has gone meanwhile."""
        blobs = Blobs()
        arguments = {"act": "keep", "id": document.id, "field": f"x:{tag}:{number}", "value": blobs.add(pack_vectors(vectors))}
        Call("knowledge", self._base, arguments, tuple(blobs.collected), int).run(self._client)

    def forget_vectors(self, ids: Sequence[str], *, but: Sequence[str]) -> None:
        """Drop the vectors of every encoder but those."""
        for one, names in zip(ids, self._many("hkeys", ids), strict=True):
            old = [name for name in names if name.startswith(b"x:") and name.split(b":")[1].decode() not in but]
            if old:
                with reachable():
                    self._client.hdel(self._base.document(one), *old)

    def indexed(self, ids: Sequence[str], tag: str) -> dict[str, set[int]]:
        """Numbers of the chunks that have vectors of an encoder, by document."""
        start = f"x:{tag}:".encode()
        names = self._many("hkeys", ids)
        return {
            one: {int(name.removeprefix(start)) for name in found if name.startswith(start)}
            for one, found in zip(ids, names, strict=True)
        }

    def _field(self, document: str, field: str) -> bytes:
        with reachable():
            raw: bytes | None = self._client.hget(self._base.document(document), field)
        if raw is None:
            raise NoSuchDocument(f"a part ({field}) of a document is missing: it was removed, or is not indexed yet")
        return raw

    def _many(self, command: str, ids: Sequence[str], *arguments: str) -> list[Any]:
        """What a command says of each document."""
        found: list[Any] = []
        for start in range(0, len(ids), TRIP):
            with reachable():
                pipeline = self._client.pipeline(transaction=False)
                for one in ids[start : start + TRIP]:
                    getattr(pipeline, command)(self._base.document(one), *arguments)
                found += pipeline.execute()
        return found
