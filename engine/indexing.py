"""Gives the documents of a knowledge base their vectors, a chunk at a time, so that a job that was killed goes on where it was.

Nothing here knows of Celery: the jobs worker does it, or `replymill kb` itself where no jobs worker runs.
"""

import hashlib
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import NoSuchDocument, ReplymillError, StoreUnavailable
from engine.knowledge_records import Document, encoder_tag, texts_of
from engine.knowledge_store import KnowledgeStore
from engine.store import reachable

#: Whoever indexes says so again with each chunk; after this long without, another may, seconds. A chunk takes a second or two.
LEASE = 30.0
#: How far indexing is, or why it failed, can be asked for so long, seconds.
REMEMBERED = 86_400


class Encodes(Protocol):
    """Makes vectors of texts: see `engine.encoder`."""

    @property
    def identity(self) -> str:
        """Changes whenever the same text may get another vector."""

    @property
    def dimension(self) -> int:
        """Length of each vector."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """A row of unit length for each text."""


@dataclass(frozen=True)
class Job:
    """How far the indexing of a knowledge base is."""

    #: `running`, `done` or `failed`; empty: nobody has indexed it in the last day.
    state: str = ""
    #: Texts.
    done: int = 0
    total: int = 0
    #: Why it failed.
    error: str = ""
    #: Identity of the encoder.
    encoder: str = ""
    #: Unix time of the last word.
    at: float = 0.0


def read_job(store: KnowledgeStore) -> Job:
    """What whoever indexes the base said last."""
    with reachable():
        raw = store.client.hgetall(store.base.key("job"))
    found = {field.decode(): value.decode() for field, value in raw.items()}
    if not found:
        return Job()
    return msgspec.convert(found, Job, strict=False)


def write_job(store: KnowledgeStore, job: Job) -> None:
    """Say how far it is."""
    with reachable():
        pipeline = store.client.pipeline(transaction=False)
        pipeline.hset(store.base.key("job"), mapping=asdict(job))
        pipeline.expire(store.base.key("job"), REMEMBERED)
        pipeline.execute()


def left(store: KnowledgeStore, identity: str, ids: Sequence[str] | None = None) -> int:
    """Texts that have no vectors of this encoder yet, of some documents or of all."""
    missing = _missing(store, encoder_tag(identity), store.all_ids() if ids is None else ids)
    return sum(_texts_in(document, numbers) for document, numbers in missing)


def _missing(store: KnowledgeStore, tag: str, ids: Sequence[str]) -> list[tuple[Document, list[int]]]:
    """Documents with the chunks that lack vectors."""
    found = store.documents.indexed(ids, tag)
    pairs = [(document, sorted(set(range(document.chunks)) - found[document.id])) for document in store.documents.read(ids)]
    return [(document, numbers) for document, numbers in pairs if numbers]


def _texts_in(document: Document, numbers: Sequence[int]) -> int:
    """About how many texts so many of its chunks hold."""
    return round(document.texts * len(numbers) / max(1, document.chunks))


class Lease:
    """The right to index a base, held by one process at a time; both doing it would be a waste and no more."""

    def __init__(self, store: KnowledgeStore) -> None:
        self._client = store.client
        self._key = store.base.key("lease")
        self._token = secrets.token_hex(8)

    def take(self) -> bool:
        """Take or renew it; False: another has it."""
        with reachable():
            if self._client.set(self._key, self._token, nx=True, px=round(LEASE * 1000)):
                return True
            ours = self._client.get(self._key) == self._token.encode()
            return ours and bool(self._client.set(self._key, self._token, xx=True, px=round(LEASE * 1000)))

    def leave(self) -> None:
        with reachable():
            if self._client.get(self._key) == self._token.encode():
                self._client.delete(self._key)

    @staticmethod
    def held(store: KnowledgeStore) -> bool:
        """Whether somebody indexes the base now."""
        with reachable():
            return bool(store.client.exists(store.base.key("lease")))


def work(
    store: KnowledgeStore,
    load_encoder: Callable[[], Encodes],
    *,
    seconds: float,
    tell: Callable[[Job], None] = lambda job: None,
) -> bool:
    """Index a base for about so long, unless somebody else does; True once nothing is left. Why it failed is noted, and raised.

    :raises ReplymillError: if the encoder cannot be had, or what is stored cannot be read.
    """
    lease = Lease(store)
    if not lease.take():
        return False

    def said(job: Job) -> None:
        lease.take()
        tell(job)

    try:
        done = Indexer(store, load_encoder()).run(seconds, tell=said)
    except StoreUnavailable:
        raise
    except ReplymillError as error:
        write_job(store, Job(state="failed", error=str(error), at=time.time()))
        lease.leave()
        raise
    if done:
        store.satisfied()
    lease.leave()
    return done


class Indexer:
    """Indexes one base with one encoder; what is current comes first, then the draft, then older versions."""

    def __init__(self, store: KnowledgeStore, encoder: Encodes) -> None:
        self._store = store
        self._encoder = encoder
        self._tag = encoder_tag(encoder.identity)
        #: The document whose older texts are known, and their vectors.
        self._known_of = ""
        self._known: dict[bytes, NDArray[np.float32]] = {}

    def run(self, seconds: float, *, tell: Callable[[Job], None] = lambda job: None) -> bool:
        """Index for about so long; True once nothing is left. The caller has the lease, and renews it in `tell`."""
        ids = self._ids()
        documents = self._store.documents.read(ids)
        missing = _missing(self._store, self._tag, ids)
        total = sum(document.texts for document in documents)
        done = total - sum(_texts_in(document, numbers) for document, numbers in missing)
        ends = time.monotonic() + seconds
        for document, number in self._in_turn(missing):
            self._say("running", done, total, tell)
            self._recall(document, documents)
            done = min(total, done + self._index(document, number))
            if time.monotonic() > ends:
                self._say("running", done, total, tell)
                return False
        self._store.documents.forget_vectors(ids, but=self._kept_encoders())
        if left(self._store, self._encoder.identity):
            return False  # somebody has added to the draft meanwhile
        self._say("done", total, total, tell)
        return True

    def _ids(self) -> list[str]:
        current = self._store.current()
        first = [*(self._store.ids(current.number) if current else ()), *self._store.draft_ids()]
        return list(dict.fromkeys([*first, *self._store.all_ids()]))

    def _in_turn(self, missing: Sequence[tuple[Document, list[int]]]) -> Iterator[tuple[Document, int]]:
        return ((document, number) for document, numbers in missing for number in numbers)

    def _index(self, document: Document, number: int) -> int:
        """How many texts it had; none where the document was removed meanwhile."""
        try:
            texts = texts_of(self._store.documents.chunk(document, number))
        except NoSuchDocument:
            return 0
        fresh = [text for text in dict.fromkeys(texts) if _hash(text) not in self._known]
        made = dict(zip(map(_hash, fresh), self._encoder.encode(fresh), strict=True)) if fresh else {}
        known = self._known | made
        self._store.documents.keep_vectors(document, number, self._tag, np.stack([known[_hash(text)] for text in texts]))
        return len(texts)

    def _recall(self, document: Document, documents: Sequence[Document]) -> None:
        """Know the vectors of texts that older documents of the same name have: what has not changed is not encoded again."""
        if self._known_of == document.id:
            return
        self._known_of, self._known = document.id, {}
        older = [one for one in documents if one.name == document.name and one.id != document.id]
        indexed = self._store.documents.indexed([one.id for one in older], self._tag)
        for one in older:
            for number in sorted(indexed[one.id]):
                self._known |= self._rows(one, number)

    def _rows(self, document: Document, number: int) -> dict[bytes, NDArray[np.float32]]:
        try:
            texts = texts_of(self._store.documents.chunk(document, number))
            vectors = self._store.documents.vectors(document, number, self._tag, rows=len(texts))
        except NoSuchDocument:
            return {}
        return dict(zip(map(_hash, texts), vectors, strict=True))

    def _kept_encoders(self) -> list[str]:
        """This encoder and the one that the current version was published with: workers that are not renewed yet use that."""
        current = self._store.current()
        return [self._tag, *([encoder_tag(current.encoder)] if current else ())]

    def _say(self, state: str, done: int, total: int, tell: Callable[[Job], None]) -> None:
        job = Job(state=state, done=done, total=total, encoder=self._encoder.identity, at=time.time())
        write_job(self._store, job)
        tell(job)


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
