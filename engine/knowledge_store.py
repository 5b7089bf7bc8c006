"""Knowledge bases in Redis, one for each tenant: a draft, and versions that never change.

A document has an id of its own, and so its passages and vectors are kept once, however many versions have it. Publishing names the
documents of the draft and makes the version current in one step; so does rolling back. The empty tenant's base is used by every
tenant that has none of its own. Every failure to reach Redis rises as `StoreUnavailable`.
"""

import difflib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from engine.crypto import Digests
from engine.errors import KnowledgeError, NoSuchDocument, NoSuchVersion, NothingToPublish
from engine.keys import KNOWLEDGE_BASES, KNOWLEDGE_CHANGES, KNOWLEDGE_WANTED, Base
from engine.knowledge import Passage
from engine.knowledge_documents import Documents
from engine.knowledge_records import Document, Version, content_of
from engine.known import PUBLIC, Calibration
from engine.scripts import Blobs, Call
from engine.settings import Settings
from engine.store import Client, reachable


@dataclass(frozen=True)
class Change:
    """What adding did to a draft: names of documents."""

    added: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    #: Read from the same source before, and no longer there.
    removed: tuple[str, ...] = ()


class KnowledgeStore:
    """One tenant's knowledge base."""

    def __init__(self, settings: Settings, client: Client, tenant: str = "") -> None:
        self.tenant = tenant
        self.client = client
        self._digests = Digests(settings.secret_key)
        self._keep = settings.kb_versions
        self.base = Base(self._digests.tenant(tenant))
        self.documents = Documents(client, self.base)

    # -- the draft

    def add(self, passages: Sequence[Passage], *, source: str) -> Change:
        """Put the documents of `passages` into the draft; each replaces one of its name, and what `source` no longer has leaves."""
        named: dict[str, list[Passage]] = {}
        for passage in passages:
            named.setdefault(passage.document, []).append(passage)
        before = {document.name: document for document in self.draft()}
        gone = [name for name, document in before.items() if document.source == source and name not in named]
        fresh = {name: found for name, found in named.items() if name not in before or before[name].content != content_of(found)}
        entries = [(self._name(name), self.documents.write(name, found, source=source)) for name, found in fresh.items()]
        self._adopt(entries, gone)
        return Change(
            added=tuple(name for name in fresh if name not in before),
            replaced=tuple(name for name in fresh if name in before),
            unchanged=tuple(name for name in named if name not in fresh),
            removed=tuple(gone),
        )

    def remove(self, name: str) -> None:
        """Take a document out of the draft.

        :raises NoSuchDocument: if it has none of this name.
        """
        names = [document.name for document in self.draft()]
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "`replymill kb list` shows what there is"
            raise NoSuchDocument(f"there is no document {name!r}: {hint}")
        self._adopt([], [name])

    def draft(self) -> list[Document]:
        """The documents of the draft, by name."""
        return sorted(self.documents.read(self.draft_ids()), key=lambda document: document.name)

    def draft_ids(self) -> list[str]:
        with reachable():
            return sorted(raw.decode() for raw in self.client.hvals(self.base.key("draft")))

    def _adopt(self, entries: Sequence[tuple[str, str]], gone: Sequence[str]) -> None:
        if not entries and not gone:
            return
        with reachable():
            self.client.set(self.base.key("name"), msgspec.json.encode(self.tenant))
            self.client.sadd(KNOWLEDGE_BASES, self.base.digest)
        if not self._act("adopt", entries=entries, dropped=[self._name(name) for name in gone]):
            raise KnowledgeError("what was read was given up meanwhile, as it took more than a day: add it again")
        self.forget_job()
        self.want()

    # -- versions

    def publish(
        self, ids: Sequence[str], *, encoder: str, note: str = "", remote: str = "", calibration: Calibration = PUBLIC
    ) -> Version:
        """Make the draft, which must still hold these documents, a version and that one current, in one step.

        :raises NothingToPublish: if there is nothing to publish, or nothing new.
        :raises KnowledgeError: if the draft has changed meanwhile.
        """
        self.check_new(ids)
        documents = self.documents.read(ids)
        version = Version(
            created_at=time.time(),
            documents=len(documents),
            passages=sum(document.passages for document in documents),
            texts=sum(document.texts for document in documents),
            encoder=encoder,
            note=note,
            remote=remote,
            calibration=calibration,
        )
        blobs = Blobs()
        number = self._act("publish", blobs, ids=" ".join(ids), body=blobs.add(version.encode()), keep=self._keep)
        if not number:
            raise KnowledgeError("the draft has changed since publishing began: publish again")
        self._changed()
        return msgspec.structs.replace(version, number=number)

    def check_new(self, ids: Sequence[str]) -> None:
        """:raises NothingToPublish: if there is nothing in these documents, or nothing new."""
        current = self.current()
        if (not ids and not current) or (current and self.ids(current.number) == list(ids)):
            said = f"the draft is what version {current.number} has" if current else "the draft is empty"
            raise NothingToPublish(f"nothing to publish: {said}; add documents with `replymill kb add`")

    def rollback(self, number: int = 0) -> Version:
        """Make an older version current: `number`, or the one that the current one replaced.

        :raises NoSuchVersion: if there is none.
        """
        found = self._act("rollback", number=number)
        if not found:
            wanted = f"version {number} is not kept" if number else "there is no version before the current one"
            raise NoSuchVersion(f"{wanted}: `replymill kb versions` shows which there are")
        self._changed()
        return self.version(found)

    def current(self) -> Version | None:
        """The version that is used; None: nothing was published."""
        with reachable():
            raw = self.client.get(self.base.key("now"))
        return self.version(int(raw)) if raw else None

    def version(self, number: int) -> Version:
        """:raises NoSuchVersion: if it was never published, or is no longer kept."""
        with reachable():
            raw = self.client.hget(self.base.version(number), "body")
        if raw is None:
            raise NoSuchVersion(f"version {number} is not kept: `replymill kb versions` shows which there are")
        return msgspec.structs.replace(Version.decode(raw), number=number)

    def versions(self) -> list[Version]:
        """Those that are kept, the newest first."""
        with reachable():
            numbers = sorted((int(raw) for raw in self.client.hkeys(self.base.key("versions"))), reverse=True)
        return [self.version(number) for number in numbers]

    def ids(self, number: int) -> list[str]:
        """Ids of the documents of a version, sorted."""
        with reachable():
            raw = self.client.hget(self.base.version(number), "ids")
        return raw.decode().split() if raw else []

    def lend(self, number: int, who: str, *, seconds: float) -> bool:
        """Nobody removes the version for so long; False: it has gone already."""
        return bool(self._act("lend", number=str(number), who=who, ms=round(seconds * 1000)))

    def give_back(self, number: int, who: str) -> None:
        with reachable():
            self.client.zrem(self.base.key("lent"), f"{number}|{who}")

    def all_ids(self) -> list[str]:
        """Of every document that the draft or a version has."""
        with reachable():
            return sorted(raw.decode() for raw in self.client.smembers(self.base.key("docs")))

    # -- what others are told

    def want(self) -> None:
        """Somebody is to index what has no vectors yet."""
        with reachable():
            self.client.sadd(KNOWLEDGE_WANTED, self.base.digest)

    def forget_job(self) -> None:
        """What was said of an indexing that has ended says nothing of the next."""
        with reachable():
            self.client.delete(self.base.key("job"))

    def satisfied(self) -> None:
        """Nothing is left to index."""
        with reachable():
            self.client.srem(KNOWLEDGE_WANTED, self.base.digest)

    def _changed(self) -> None:
        with reachable():
            self.client.incr(KNOWLEDGE_CHANGES)

    def _name(self, name: str) -> str:
        return self._digests.of("kb", self.tenant, name)

    def _act(self, act: str, blobs: Blobs | None = None, **arguments: object) -> int:
        return Call("knowledge", self.base, {"act": act, **arguments}, tuple((blobs or Blobs()).collected), int).run(self.client)


def bases(settings: Settings, client: Client) -> list[KnowledgeStore]:
    """The knowledge base of every tenant that has, or had, one."""
    with reachable():
        digests = sorted(raw.decode() for raw in client.smembers(KNOWLEDGE_BASES))
        pipeline = client.pipeline(transaction=False)
        for digest in digests:
            pipeline.get(Base(digest).key("name"))
        names = pipeline.execute() if digests else []
    return [KnowledgeStore(settings, client, msgspec.json.decode(raw, type=str)) for raw in names if raw]


def wanted(settings: Settings, client: Client) -> list[KnowledgeStore]:
    """Those with something to index."""
    with reachable():
        digests = {raw.decode() for raw in client.smembers(KNOWLEDGE_WANTED)}
    return [store for store in bases(settings, client) if store.base.digest in digests] if digests else []
