"""The sample knowledge base: Replymill's own documentation, for a store that has no knowledge base at all.

Its questions and answers are published first, after a few seconds; the pages take a core some twenty seconds more.
"""

from collections.abc import Callable

from engine.encoder import Encoder
from engine.indexing import work
from engine.ingest import Reading
from engine.knowledge_records import Version
from engine.knowledge_store import KnowledgeStore, bases
from engine.publishing import publish
from engine.sample import FAQ, read_sample, sources
from engine.settings import Settings
from engine.store import Client

#: Where the documents are said to come from.
SOURCE = "sample"
BEGINNING, NOTE = "Questions about Replymill", "Replymill's own documentation"
#: Seconds; ten times what it takes on a busy machine.
LONGEST = 600.0


def publish_sample(settings: Settings, client: Client, read: Callable[[], Reading] = read_sample) -> Version | None:
    """Publish what is read, if no tenant has a knowledge base and the sample is there; indexed in this process.

    :raises ReplymillError: if it cannot be indexed.
    """
    if not sources() or any(_in_use(store) for store in bases(settings, client)):
        return None
    store, encoder, everything = KnowledgeStore(settings, client), Encoder.load(settings), read().passages
    version = store.current()
    questions = [one for one in everything if one.document == FAQ]
    for note, passages in ((BEGINNING, questions), (NOTE, everything)):
        if version and len(passages) == len(questions):
            continue  # they are published already
        store.add(passages, source=SOURCE)
        if not work(store, lambda: encoder, seconds=LONGEST):
            return version
        version = publish(store, settings, encoder=encoder.identity, note=note)
    return version


def _in_use(store: KnowledgeStore) -> bool:
    """Whether somebody has put anything into the base; an earlier try at the sample that was stopped does not count."""
    version = store.current()
    return bool(version and version.note != BEGINNING) or any(document.source != SOURCE for document in store.draft())
