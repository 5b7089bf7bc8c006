"""What `replymill doctor` says of knowledge bases."""

from collections.abc import Iterator

from connectors.contract import Check
from engine.errors import ReplymillError
from engine.indexing import left, read_job
from engine.knowledge_records import Version, encoder_tag
from engine.knowledge_store import KnowledgeStore, bases
from engine.settings import Settings
from engine.store import connect
from engine.vector_index import RedisVectors


def look(settings: Settings) -> Iterator[Check]:
    """A check for each base, and one for the vector server if there is one."""
    if settings.vectors:
        yield _server(settings.vectors)
    with connect(settings) as client:
        stores = bases(settings, client)
        if not stores:
            yield Check("knowledge", True, "none: answers come from the model alone", "`replymill kb add PATH` gives it documents")
        for store in stores:
            yield _base(store)


def _base(store: KnowledgeStore) -> Check:
    name = f"knowledge of {store.tenant}" if store.tenant else "knowledge"
    job, version = read_job(store), store.current()
    if job.state == "failed":
        return Check(name, False, f"indexing failed: {job.error}", "mend that, then `replymill kb publish` indexes it again")
    if not version:
        return Check(name, False, "nothing is published", "`replymill kb publish` lets the documents of the draft be used")
    found = _found(version)
    if missing := left(store, version.encoder, store.ids(version.number)):
        return Check(name, False, f"{found}; {missing} texts lack vectors", "run a jobs worker: `replymill jobs`")
    if job.encoder and job.encoder != version.encoder:
        found += f"; indexed again by encoder {encoder_tag(job.encoder)}"
    return Check(name, True, found, "")


def _found(version: Version) -> str:
    where = ", on the vector server" if version.remote else ""
    return f"version {version.number}, {version.passages} passages, encoder {encoder_tag(version.encoder)}{where}"


def _server(url: str) -> Check:
    try:
        RedisVectors.connect(url)
    except ReplymillError as error:
        return Check("vectors", False, "no vector sets", str(error), fatal=True)
    return Check("vectors", True, "the server has vector sets", "")
