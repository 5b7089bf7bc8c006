"""Publishing a draft: everything a version needs is there before the one step that makes it current."""

from collections.abc import Iterator, Sequence

import numpy as np

from engine.confidence import fitted
from engine.errors import KnowledgeError, NotIndexed
from engine.indexing import left
from engine.knowledge_records import Document, Version, encoder_tag
from engine.knowledge_store import KnowledgeStore, bases
from engine.known import PUBLIC, Calibration
from engine.settings import Settings
from engine.vector_index import RedisVectors, Row


def publish(store: KnowledgeStore, settings: Settings, *, encoder: str, note: str = "") -> Version:
    """Publish the draft, indexed by the encoder of this identity.

    :raises NotIndexed: if a part of it has no vectors yet.
    :raises NothingToPublish: if there is nothing to publish, or nothing new.
    """
    ids = store.draft_ids()
    if missing := left(store, encoder, ids):
        raise NotIndexed(f"{missing} texts are not indexed yet: `replymill kb list` shows how far the indexing is")
    store.check_new(ids)
    documents = store.documents.read(ids)
    if not settings.vectors or sum(document.passages for document in documents) < settings.vectors_from:
        return store.publish(ids, encoder=encoder, note=note, calibration=_calibration(store, documents, encoder_tag(encoder)))
    return _publish_remote(store, settings, documents, encoder=encoder, note=note)


def _publish_remote(
    store: KnowledgeStore, settings: Settings, documents: Sequence[Document], *, encoder: str, note: str
) -> Version:
    server = RedisVectors.connect(settings.vectors)
    name = server.publish(_rows(store, documents, encoder_tag(encoder)))
    before = {version.remote for version in store.versions() if version.remote}
    try:
        version = store.publish([document.id for document in documents], encoder=encoder, note=note, remote=name)
    except KnowledgeError:
        server.drop(name)
        raise
    kept = {one.remote for base in bases(settings, store.client) for one in base.versions()}
    for old in before.union(server.unfinished()) - kept:
        server.drop(old)
    return version


def _calibration(store: KnowledgeStore, documents: Sequence[Document], tag: str) -> Calibration:
    """How sure its searches are: fitted once, when it is published, since that takes seconds."""
    passages, rows = store.documents.together(documents, tag)
    return fitted(passages, np.concatenate(rows)).calibration if rows else PUBLIC


def _rows(store: KnowledgeStore, documents: Sequence[Document], tag: str) -> Iterator[Row]:
    for document in documents:
        passages, chunks = store.documents.loaded(document, tag)
        vectors = iter([row for chunk in chunks for row in chunk])
        for passage in passages:
            yield Row(passage, np.stack([next(vectors) for _ in passage.searched]))
