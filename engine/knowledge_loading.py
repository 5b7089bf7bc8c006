"""Loads a version of a knowledge base, to be searched in this process's memory or on the vector server."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import structlog

from engine.confidence import DEPTH, assess, fitted
from engine.errors import DecodeError, KnowledgeAway, KnowledgeError, ModelError, NoSuchDocument, NoSuchVersion, StoreUnavailable
from engine.indexing import Encodes
from engine.knowledge import Passage
from engine.knowledge_base import Found, Held, Searched
from engine.knowledge_records import Version, encoder_tag
from engine.knowledge_store import KnowledgeStore
from engine.known import PUBLIC, Calibration, Known
from engine.retrieval import Index
from engine.vector_index import RedisVectors, Row, VectorIndex, Vectors

log = structlog.get_logger(__name__)

#: A version that is being loaded is not removed for so long, seconds: 100,000 passages take a tenth of it.
LENT = 300.0
#: A vector server that was away is not asked again for so long, seconds: no turn of others waits for it meanwhile.
REST = 1.0
#: Candidates that the vector server is asked for; they are ranked here as all others are.
CANDIDATES = 50


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


class Given:
    """One base that stands in no store, such as that of an evaluation: to whoever searches, what `Knowledge` is."""

    def __init__(self, passages: Sequence[Passage], encoder: Encodes) -> None:
        self._encoder = encoder
        vectors = encoder.encode([text for passage in passages for text in passage.searched])
        self._index = LocalIndex(Index.build(passages, vectors), fitted(passages, vectors))

    def version(self, tenant: str) -> str:
        """The same for all."""
        return "given"

    def prepare(self, questions: Sequence[str]) -> None:
        """Make their vectors at once."""
        self._encoder.encode(questions)

    def search(self, tenant: str, questions: Sequence[str], *, k: int = 3, foreign: bool = False) -> list[Found]:
        """What there is for each question."""
        return self._index.search(questions, self._encoder.encode(questions), k=k, foreign=foreign)


@dataclass(frozen=True)
class Renewed:
    """What became of an attempt to bring a base up to date."""

    #: False: it must be tried again.
    complete: bool
    #: The new version; None: the old one stands.
    held: Held | None = None
    #: Why it cannot be used, whoever waits.
    broken: str = ""


def renew(store: KnowledgeStore, number: int, encoder: Callable[[], Encodes], server: RedisVectors | None, *, who: str) -> Renewed:
    """Load the current version of a base, unless it is the one of this number; `who` keeps it from being removed meanwhile.

    :raises StoreUnavailable: if Redis is away.
    """
    version = store.current()
    if not version or version.number == number:
        return Renewed(complete=True)
    if not store.lend(version.number, who, seconds=LENT):
        return Renewed(complete=False)
    began = time.monotonic()
    try:
        index = open_version(store, version, encoder(), server)
    except (NoSuchDocument, NoSuchVersion):
        log.warning("A knowledge base is not indexed yet", action="knowledge.not_indexed", version=version.number)
        store.want()
        return Renewed(complete=False)
    except (DecodeError, KnowledgeError, ModelError) as error:
        log.error("A knowledge base cannot be used", action="knowledge.broken", version=version.number, error=str(error))
        return Renewed(complete=False, broken=str(error))
    finally:
        store.give_back(version.number, who)
    seconds = round(time.monotonic() - began, 3)
    log.info("A knowledge base is used", action="knowledge.loaded", version=version.number, seconds=seconds)
    return Renewed(complete=True, held=Held(version.number, encoder_tag(version.encoder), index))


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
