"""The knowledge that a worker holds: the current version of each tenant's base, ready to be searched.

`refresh` asks Redis for one number; what has changed is loaded in a thread of its own and put in the place of the old in one step,
so that no search waits for it and none sees half of it. Without any knowledge base no encoder is loaded.
"""

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import structlog

from engine.confidence import DEPTH, assess
from engine.crypto import Digests
from engine.errors import DecodeError, KnowledgeAway, KnowledgeError, ModelError, NoSuchDocument, NoSuchVersion, StoreUnavailable
from engine.indexing import Encodes
from engine.keys import KNOWLEDGE_CHANGES
from engine.knowledge import Hit, Passage
from engine.knowledge_records import Version, encoder_tag
from engine.knowledge_store import KnowledgeStore, bases
from engine.known import PUBLIC, Calibration, Known
from engine.retrieval import Index
from engine.settings import Settings
from engine.store import Client, reachable
from engine.vector_index import RedisVectors, Row, VectorIndex, Vectors

log = structlog.get_logger(__name__)

#: Between looks at the number of changes, seconds; a published version is noticed within it.
LOOK_EVERY = 0.5
#: All bases are looked at this often, whatever the number says: whoever changed one may have died before saying so, seconds.
LOOK_AT_ALL = 10.0
#: What could not be loaded is tried again after so long, seconds.
RETRY_AFTER = 3.0
#: A version that is being loaded is not removed for so long, seconds: 100,000 passages take a tenth of it.
LENT = 300.0
#: A vector server that was away is not asked again for so long, seconds: no turn of others waits for it meanwhile.
REST = 1.0
#: Tenants whose digests are remembered.
MOST_NAMES = 10_000
#: Candidates that the vector server is asked for; they are ranked here as all others are.
CANDIDATES = 50


@dataclass(frozen=True)
class Found:
    """What a search found for one question."""

    #: Best first.
    hits: tuple[Hit, ...] = ()
    #: Calibrated probability that the first one answers the question.
    confidence: float = 0.0


class Searched(Protocol):
    """What finds passages: all in this process's memory, or on the vector server."""

    @property
    def passages(self) -> Mapping[str, Passage]:
        """By id, where they are at hand."""

    def search(self, questions: Sequence[str], vectors: Vectors, *, k: int, foreign: bool = False) -> list[Found]:
        """What there is for each question; in a `foreign` language, which the encoder does not know, words decide."""


class LocalIndex:
    """Everything in memory."""

    def __init__(self, index: Index, known: Known) -> None:
        self._index = index
        self._known = known
        self.passages: Mapping[str, Passage] = {passage.id: passage for passage in index.passages}

    def search(self, questions: Sequence[str], vectors: Vectors, *, k: int, foreign: bool = False) -> list[Found]:
        found = self._index.search(questions, vectors, k=max(k, DEPTH), foreign=[foreign] * len(questions))
        return [
            Found(tuple(hits[:k]), assess(question, hits, vector=vector, known=self._known))
            for question, vector, hits in zip(questions, vectors, found, strict=True)
        ]


class RemoteIndex:
    """Candidates from the vector server by cosine, ranked and judged here like everything else, as if there were no others."""

    def __init__(self, server: VectorIndex, name: str) -> None:
        self._server = server
        self._name = name
        self._rests_until = 0.0
        self.passages: Mapping[str, Passage] = {}

    def search(self, questions: Sequence[str], vectors: Vectors, *, k: int, foreign: bool = False) -> list[Found]:
        if time.monotonic() < self._rests_until:
            raise KnowledgeAway("the vector server was away a moment ago")
        try:
            found = self._server.search(self._name, vectors, max(CANDIDATES, k))
        except StoreUnavailable as error:
            self._rests_until = time.monotonic() + REST
            log.warning("A knowledge base cannot be searched; its questions wait", action="knowledge.waited_for", error=str(error))
            raise KnowledgeAway(f"the vector server is away: {error}") from error
        pairs = zip(questions, vectors, found, strict=True)
        return [_among(question, vector, rows, k=k, foreign=foreign) for question, vector, rows in pairs]


def _among(question: str, vector: Vectors, rows: Sequence[Row], *, k: int, foreign: bool) -> Found:
    if not rows:
        return Found()
    passages, vectors = [row.passage for row in rows], np.concatenate([row.vectors for row in rows])
    index = LocalIndex(Index.build(passages, vectors), Known.of(passages, vectors))
    return index.search([question], vector[None], k=k, foreign=foreign)[0]


@dataclass(frozen=True)
class Held:
    """One version in memory."""

    version: Version
    index: Searched


class Knowledge:
    """The current version of every base. `search` and `version` may be called from any thread, `refresh` from one."""

    def __init__(self, settings: Settings, client: Client, *, load_encoder: Callable[[], Encodes]) -> None:
        self._settings = settings
        self._client = client
        self._digests = Digests(settings.secret_key)
        self._names: dict[str, str] = {}
        self._load_encoder = load_encoder
        self._encoder: Encodes | None = None
        # A server that cannot search vectors is refused here, before anything is claimed.
        self._server = RedisVectors.connect(settings.vectors) if settings.vectors else None
        self._who = secrets.token_hex(4)
        #: By digest of the tenant; replaced, never changed.
        self._held: Mapping[str, Held] = {}
        self._seen: bytes | None = None
        #: Why a base cannot be used, whoever waits; empty: it can, or may yet be.
        self.broken = ""
        self._next_look = self._next_look_at_all = 0.0
        self._loading: threading.Thread | None = None

    def refresh(self) -> None:
        """Notice what was published or rolled back; cheap, and at most twice a second.

        :raises StoreUnavailable: if Redis is away.
        """
        now = time.monotonic()
        if now < self._next_look or (self._loading and self._loading.is_alive()):
            return
        self._next_look = now + LOOK_EVERY
        with reachable():
            changes = self._client.get(KNOWLEDGE_CHANGES) or b""
        if changes == self._seen and now < self._next_look_at_all:
            return
        self._next_look_at_all = now + LOOK_AT_ALL
        self._loading = threading.Thread(target=self._load, args=(changes,), name="knowledge", daemon=True)
        self._loading.start()

    def settle(self, timeout: float) -> bool:
        """Look now and wait until what was found is loaded; False: it takes longer than `timeout` seconds."""
        self._next_look = self._next_look_at_all = 0.0
        self.refresh()
        if self._loading:
            self._loading.join(timeout)
        return not (self._loading and self._loading.is_alive())

    @property
    def complete(self) -> bool:
        """Whether every base that there was at the last look is held."""
        return self._seen is not None

    def version(self, tenant: str) -> str:
        """Names what a tenant is answered from, for the keys of caches; empty where there is no knowledge base."""
        digest, held = self._of(tenant)
        return f"{digest}.{held.version.number}.{encoder_tag(held.version.encoder)}" if held else ""

    def search(self, tenant: str, questions: Sequence[str], *, k: int = 3, foreign: bool = False) -> list[Found]:
        """What the tenant's base has for each question, or the one that all share.

        :raises KnowledgeAway: if the base is on a vector server and that is away.
        """
        _, held = self._of(tenant)
        if not held or not self._encoder or not questions:
            return [Found() for _ in questions]
        return held.index.search(questions, self._encoder.encode(questions), k=k, foreign=foreign)

    def passages(self, tenant: str) -> Mapping[str, Passage]:
        """Every passage that a tenant is answered from, by its id; none where they are on a vector server."""
        _, held = self._of(tenant)
        return held.index.passages if held else {}

    def prepare(self, questions: Sequence[str]) -> None:
        """Their vectors are made now, all at once, which is cheaper than one by one in the searches that follow."""
        if self._encoder and questions:
            self._encoder.encode(questions)

    @property
    def encoder(self) -> Encodes | None:
        """The encoder, if there is any knowledge base."""
        return self._encoder

    def _of(self, tenant: str) -> tuple[str, Held | None]:
        held = self._held
        names = (self._digest(tenant), self._digest(""))
        return next(((name, held[name]) for name in names if name in held), ("", None))

    def _digest(self, tenant: str) -> str:
        """That of a tenant, which is asked for several times a question."""
        if tenant not in self._names:
            if len(self._names) >= MOST_NAMES:
                self._names = {}
            self._names[tenant] = self._digests.tenant(tenant)
        return self._names[tenant]

    # -- in the thread that loads

    def _load(self, changes: bytes) -> None:
        # However it ends, what could not be loaded is not tried at every look.
        self._next_look = time.monotonic() + RETRY_AFTER
        self.broken = ""
        try:
            complete = [self._renew(store) for store in bases(self._settings, self._client)]
        except StoreUnavailable as error:
            log.warning("A knowledge base could not be loaded yet", action="knowledge.away", error=str(error))
            return
        if all(complete):
            self._seen = changes
            self._next_look = 0.0

    def _renew(self, store: KnowledgeStore) -> bool:
        """Bring one base up to date; False: it must be tried again."""
        version = store.current()
        held = self._held.get(store.base.digest)
        if not version or (held and held.version.number == version.number):
            return True
        if not store.lend(version.number, self._who, seconds=LENT):
            return False
        began = time.monotonic()
        try:
            fresh = Held(version, self._index(store, version))
        except (NoSuchDocument, NoSuchVersion):
            log.warning("A knowledge base is not indexed yet", action="knowledge.not_indexed", version=version.number)
            store.want()
            return False
        except (DecodeError, KnowledgeError, ModelError) as error:
            log.error("A knowledge base cannot be used", action="knowledge.broken", version=version.number, error=str(error))
            self.broken = str(error)
            return False
        finally:
            store.give_back(version.number, self._who)
        self._held = {**self._held, store.base.digest: fresh}
        seconds = round(time.monotonic() - began, 3)
        log.info("A knowledge base is used", action="knowledge.loaded", version=version.number, seconds=seconds)
        return True

    def _index(self, store: KnowledgeStore, version: Version) -> Searched:
        self._encoder = self._encoder or self._load_encoder()
        return open_version(store, version, self._encoder, self._server)


def open_version(store: KnowledgeStore, version: Version, encoder: Encodes, server: RedisVectors | None) -> Searched:
    """A version, to be searched: on the vector server if it is there, else in memory.

    :raises NoSuchDocument: if a part of it has gone, or has no vectors of this encoder.
    """
    if version.remote and server and version.encoder == encoder.identity and server.has(version.remote):
        return RemoteIndex(server, version.remote)
    return load_index(store, store.ids(version.number), encoder, version.calibration)


def load_index(store: KnowledgeStore, ids: Sequence[str], encoder: Encodes, calibration: Calibration = PUBLIC) -> LocalIndex:
    """The index of some documents, and what was fitted on them.

    :raises NoSuchDocument: if a part of them has gone, or has no vectors of this encoder.
    """
    documents = store.documents.read(ids)
    if len(documents) < len(ids):
        raise NoSuchDocument("a document of this version was removed meanwhile")
    passages, rows = store.documents.together(documents, encoder_tag(encoder.identity))
    if any(some.shape[1:] != (encoder.dimension,) for some in rows):
        raise KnowledgeError(f"its vectors are not of {encoder.dimension} numbers each: add its documents again, and publish")
    vectors = np.concatenate([np.empty((0, encoder.dimension), np.float32), *rows])
    return LocalIndex(Index.build(passages, vectors), Known.of(passages, vectors, calibration))
