"""What an operator does with knowledge bases: see `workers.kb_commands`, and docs/knowledge.md."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from engine import indexing, publishing
from engine.encoder import Encoder
from engine.errors import KnowledgeError, NoSuchDocument, NotIndexed
from engine.indexing import Job, Lease, left, read_job
from engine.keys import INDEXING_QUEUE, INDEXING_TASK
from engine.knowledge_base import Found, Searched
from engine.knowledge_loading import load_index, open_version
from engine.knowledge_records import Document, Version, encoder_tag
from engine.knowledge_store import KnowledgeStore
from engine.settings import Settings
from engine.vector_index import RedisVectors
from workers.broker import configuration

log = structlog.get_logger(__name__)

#: So long a jobs worker may take to begin before the command indexes by itself, seconds. A free one begins at once.
PICKUP = 3.0
#: Between looks at what a jobs worker does, seconds.
LOOK_EVERY = 0.1
#: One turn of indexing in the command's own process, seconds.
SLICE = 2.0

Tell = Callable[[Job], None]


def index(settings: Settings, store: KnowledgeStore, *, here: bool, tell: Tell) -> Job:
    """Have the draft indexed by a jobs worker, or in this process if it is to be `here` or none begins; tells how far it is.

    :raises KnowledgeError: if it failed, with the reason.
    """
    before = read_job(store)
    if before.state == "done" and not left(store, before.encoder, store.draft_ids()):
        return before
    if not Lease.held(store):
        store.forget_job()
    store.want()
    asked = False if here else ask(settings)
    patience = time.monotonic() + (PICKUP if asked else 0)
    while True:
        job = read_job(store)
        if job.state == "failed":
            raise KnowledgeError(f"indexing failed: {job.error}")
        if job.state == "done" and not left(store, job.encoder, store.draft_ids()):
            return job
        tell(job)
        if Lease.held(store):
            patience = time.monotonic() + PICKUP
        elif time.monotonic() > patience:
            if not here:
                log.warning("No jobs worker has begun: this process indexes by itself", action="kb.index_here")
            return _index_here(settings, store, tell)
        time.sleep(LOOK_EVERY)


def ask(settings: Settings) -> bool:
    """Send the job; False: the broker does not take it."""
    app = Celery("replymill", set_as_current=False)
    app.conf.update(configuration(settings.broker_url))
    try:
        app.send_task(INDEXING_TASK, queue=INDEXING_QUEUE, expires=60, retry=False)
    except OperationalError as error:
        log.warning("The broker does not take jobs", action="kb.no_broker", error=str(error))
        return False
    finally:
        app.close()
    return True


def _index_here(settings: Settings, store: KnowledgeStore, tell: Tell) -> Job:
    encoder = Encoder.load(settings)
    while not indexing.work(store, lambda: encoder, seconds=SLICE, tell=tell):
        time.sleep(LOOK_EVERY)
    return read_job(store)


def publish(settings: Settings, store: KnowledgeStore, job: Job, *, note: str) -> Version:
    """Publish the draft as that job has indexed it."""
    return publishing.publish(store, settings, encoder=job.encoder, note=note)


def search(settings: Settings, store: KnowledgeStore, question: str, *, k: int, draft: bool) -> tuple[str, Found]:
    """What was searched, and what was found, best first.

    :raises KnowledgeError: if there is nothing to search, or it has no vectors of the encoder of these settings.
    """
    version = None if draft else store.current() or KnowledgeStore(settings, store.client).current()
    if not draft and not version:
        raise KnowledgeError("no knowledge base is published: `replymill kb publish` does it, `--draft` searches what is not yet")
    encoder = Encoder.load(settings)
    try:
        found = _opened(settings, store, version, encoder)
    except NoSuchDocument as error:
        advice = "`replymill kb publish` indexes what is not indexed yet"
        raise NotIndexed(f"{error}; {advice}") from error
    (one,) = found.search([question], encoder.encode([question]), k=k)
    return f"version {version.number}" if version else "the draft", one


def _opened(settings: Settings, store: KnowledgeStore, version: Version | None, encoder: Encoder) -> Searched:
    if not version:
        return load_index(store, store.draft_ids(), encoder)
    server = RedisVectors.connect(settings.vectors) if version.remote and settings.vectors else None
    owner = store if store.current() else KnowledgeStore(settings, store.client)
    return open_version(owner, version, encoder, server)


def documents(store: KnowledgeStore) -> list[tuple[Document, str]]:
    """Every document of the draft and of the current version, with its state."""
    current = store.current()
    published = set(store.ids(current.number)) if current else set()
    drafted = store.draft_ids()
    encoder = read_job(store).encoder or (current.encoder if current else "")
    chunks = store.documents.indexed(drafted, encoder_tag(encoder))
    rows = [(one, _state(one, published, chunks)) for one in store.draft()]
    names = {one.name for one, _ in rows}
    leaving = [one for one in store.documents.read(sorted(published - set(drafted))) if one.name not in names]
    return [*rows, *((one, "leaves with the next publish") for one in leaving)]


def _state(document: Document, published: set[str], chunks: Mapping[str, set[int]]) -> str:
    if document.id in published:
        return "published"
    return "indexed" if len(chunks[document.id]) >= document.chunks else "to be indexed"


def versions(store: KnowledgeStore) -> list[dict[str, Any]]:
    """The versions that are kept, the newest first."""
    current = store.current()
    return [
        {
            "version": one.number,
            "current": bool(current and current.number == one.number),
            "created_at": one.created_at,
            "documents": one.documents,
            "passages": one.passages,
            "encoder": one.encoder,
            "note": one.note,
            "searched": "vector server" if one.remote else "worker",
        }
        for one in store.versions()
    ]


def rollback(settings: Settings, store: KnowledgeStore, number: int, *, tell: Tell) -> Version:
    """Make an older version current; one that has no vectors of the encoder in use gets them first."""
    before = store.current()
    if before and number:
        missing = left(store, before.encoder, store.ids(number))
        if missing:
            index(settings, store, here=False, tell=tell)
    return store.rollback(number)
