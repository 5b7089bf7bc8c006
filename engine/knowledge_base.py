"""The knowledge that a worker holds: the current version of each tenant's base, ready to be searched.

`refresh` asks Redis for one number; what has changed is loaded in a thread of its own and put in the place of the old in one step,
so that no search waits for it and none sees half of it. Without any knowledge base neither an encoder is loaded nor what searches:
that half second would be a part of every worker's start.
"""

import importlib
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from engine.crypto import Digests
from engine.errors import StoreUnavailable
from engine.keys import KNOWLEDGE_BASES, KNOWLEDGE_CHANGES
from engine.knowledge import Hit, Passage
from engine.settings import Settings
from engine.store import Client, reachable

if TYPE_CHECKING:
    from engine.indexing import Encodes
    from engine.vector_index import Vectors

log = structlog.get_logger(__name__)

#: Between looks at the number of changes, seconds; a published version is noticed within it.
LOOK_EVERY = 0.5
#: All bases are looked at this often, whatever the number says: whoever changed one may have died before saying so, seconds.
LOOK_AT_ALL = 10.0
#: What could not be loaded is tried again after so long, seconds.
RETRY_AFTER = 3.0
#: Tenants whose digests are remembered.
MOST_NAMES = 10_000


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

    def search(self, questions: Sequence[str], vectors: "Vectors", *, k: int, foreign: bool = False) -> list[Found]:
        """What there is for each question; in a `foreign` language, which the encoder does not know, words decide."""


@dataclass(frozen=True)
class Held:
    """One version in memory."""

    number: int
    #: Of its encoder, as it stands in names.
    tag: str
    index: Searched


class Knowledge:
    """The current version of every base. `search` and `version` may be called from any thread, `refresh` from one."""

    def __init__(self, settings: Settings, client: Client, *, load_encoder: Callable[[], "Encodes"]) -> None:
        self._settings = settings
        self._client = client
        self._digests = Digests(settings.secret_key)
        self._names: dict[str, str] = {}
        self._load_encoder = load_encoder
        self._encoder: Encodes | None = None
        # A server that cannot search vectors is refused here, before anything is claimed.
        self._server: Any = _part("vector_index").RedisVectors.connect(settings.vectors) if settings.vectors else None
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
        return f"{digest}.{held.number}.{held.tag}" if held else ""

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
    def encoder(self) -> "Encodes | None":
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
            with reachable():
                any_there = self._client.exists(KNOWLEDGE_BASES)
            complete = self._renewed() if any_there else []
        except StoreUnavailable as error:
            log.warning("A knowledge base could not be loaded yet", action="knowledge.away", error=str(error))
            return
        if all(complete):
            self._seen = changes
            self._next_look = 0.0

    def _renewed(self) -> list[bool]:
        """Bring every base up to date; False: it must be tried again."""
        loading = _part("knowledge_loading")
        found = []
        for store in _part("knowledge_store").bases(self._settings, self._client):
            held = self._held.get(store.base.digest)
            result = loading.renew(store, held.number if held else 0, self._encoding, self._server, who=self._who)
            if result.held:
                self._held = {**self._held, store.base.digest: result.held}
            self.broken = result.broken or self.broken
            found.append(result.complete)
        return found

    def _encoding(self) -> "Encodes":
        self._encoder = self._encoder or self._load_encoder()
        return self._encoder


def _part(name: str) -> Any:
    """A module that only workers with a knowledge base need."""
    return importlib.import_module(f"engine.{name}")
