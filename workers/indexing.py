"""The indexing of knowledge bases as a Celery job: a few seconds at a time, so that other jobs go on between.

A job that was killed leaves its base in the set of those that are wanted; the beat sends another.
"""

import time

import structlog
from celery import current_app, shared_task

from engine import indexing
from engine.encoder import Encoder
from engine.errors import ReplymillError, StoreUnavailable
from engine.keys import INDEXING_QUEUE, INDEXING_TASK
from engine.knowledge_store import KnowledgeStore, wanted
from engine.settings import Settings
from engine.store import connect

log = structlog.get_logger(__name__)

#: One job takes about so long; what is left is the next one's, seconds.
SLICE = 2.0
#: What failed is tried again after so long, unless somebody asks for it before, seconds.
AFTER_FAILURE = 60.0

#: The encoder while there is something to index; no process keeps it for nothing.
_loaded: dict[str, Encoder] = {}


@shared_task(name=INDEXING_TASK)  # type: ignore[untyped-decorator]
def index() -> None:
    """Index every knowledge base that has something to index, for a while."""
    settings: Settings = current_app.settings
    with connect(settings) as client:
        stores = [store for store in wanted(settings, client) if not _rests(store)]
        unfinished = [store for store in stores if not _indexed(store, settings)]
        if not stores or not unfinished:
            _loaded.clear()
        elif not all(indexing.Lease.held(store) for store in unfinished):
            current_app.send_task(INDEXING_TASK, queue=INDEXING_QUEUE)


def _rests(store: KnowledgeStore) -> bool:
    """Whether it has failed just now."""
    job = indexing.read_job(store)
    return job.state == "failed" and time.time() - job.at < AFTER_FAILURE


def _indexed(store: KnowledgeStore, settings: Settings) -> bool:
    """Index a base for a while; whether nothing is left to do about it now."""
    try:
        return indexing.work(store, lambda: _encoder(settings), seconds=SLICE)
    except StoreUnavailable:
        raise
    except ReplymillError as error:
        log.error("A knowledge base could not be indexed", action="indexing.failed", tenant=store.tenant, error=str(error))
        return True


def _encoder(settings: Settings) -> Encoder:
    if not _loaded:
        _loaded[settings.encoder] = Encoder.load(settings)
    return _loaded[settings.encoder]
