"""The sample knowledge base: Replymill's own documentation, for a store that has no knowledge base at all."""

from collections.abc import Callable

from engine.encoder import Encoder
from engine.indexing import work
from engine.ingest import Reading
from engine.knowledge_records import Version
from engine.knowledge_store import KnowledgeStore, bases
from engine.publishing import publish
from engine.sample import read_sample, sources
from engine.settings import Settings
from engine.store import Client

#: Where the documents are said to come from.
SOURCE = "sample"
NOTE = "Replymill's own documentation"
#: Seconds; a thousand times what it takes.
LONGEST = 600.0


def publish_sample(settings: Settings, client: Client, read: Callable[[], Reading] = read_sample) -> Version | None:
    """Publish what is read, if no tenant has a knowledge base and the sample is there; indexed in this process.

    :raises ReplymillError: if it cannot be indexed.
    """
    if not sources() or any(_in_use(store) for store in bases(settings, client)):
        return None
    store = KnowledgeStore(settings, client)
    store.add(read().passages, source=SOURCE)
    encoder = Encoder.load(settings)
    if not work(store, lambda: encoder, seconds=LONGEST):
        return None
    return publish(store, settings, encoder=encoder.identity, note=NOTE)


def _in_use(store: KnowledgeStore) -> bool:
    """Whether somebody has put anything into the base; an earlier try at the sample that was stopped does not count."""
    return store.current() is not None or any(document.source != SOURCE for document in store.draft())
