"""Lua scripts as values: a `Call` holds a script with its arguments, and either client runs it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from redis.exceptions import NoScriptError

from engine import durability
from engine.store import AsyncClient, Client, reachable

T = TypeVar("T")
#: What makes a value of the reply of a script.
Reading = Callable[[Any], T]

#: Moves that a platform is told of.
ACKNOWLEDGED = frozenset({"accept", "notify", "amend", "cancel", "stop", "own", "hand", "rate", "bury"})


class Slot(Protocol):
    """Keys that live together: a shard of the lanes, or a bucket of a rate limit."""

    @property
    def prefix(self) -> str:
        """What their names begin with."""

    @property
    def mark(self) -> str:
        """The key to write for the disk to be waited for; empty: Redis's word is enough."""


@cache
def _script(name: str) -> tuple[str, str]:
    folder = files("engine") / "lua"
    text = (folder / "common.lua").read_text() + "\n" + (folder / f"{name}.lua").read_text()
    return text, sha1(text.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Call(Generic[T]):
    """One script with its arguments, to be run by either client.

    Both ways of running it raise `StoreUnavailable` when Redis is away or cannot write.
    """

    script: str
    slot: Slot
    arguments: dict[str, Any]
    blobs: tuple[bytes, ...]
    read: Reading[T]

    def run(self, client: Client) -> T:
        text, digest = _script(self.script)
        with reachable():
            try:
                raw = self._sent(client, "EVALSHA", digest)
            except NoScriptError:
                raw = self._sent(client, "EVAL", text)
        return self.read(raw)

    async def run_async(self, client: AsyncClient) -> T:
        text, digest = _script(self.script)
        with reachable():
            try:
                raw = await self._sent_async(client, "EVALSHA", digest)
            except NoScriptError:
                raw = await self._sent_async(client, "EVAL", text)
        return self.read(raw)

    def _sent(self, client: Client, verb: str, script: str) -> Any:
        command = (verb, script, 1, *self._argv())
        return durability.run(client, command, self._mark) if self._mark else client.execute_command(*command)

    async def _sent_async(self, client: AsyncClient, verb: str, script: str) -> Any:
        command = (verb, script, 1, *self._argv())
        return await (durability.run_async(client, command, self._mark) if self._mark else client.execute_command(*command))

    @property
    def _mark(self) -> str:
        return self.slot.mark if self.script in ACKNOWLEDGED else ""

    def _argv(self) -> tuple[str | bytes, ...]:
        return (self.slot.prefix, msgspec.msgpack.encode(self.arguments), *self.blobs)


class Blobs:
    """Collects opaque bytes; the arguments hold their positions in ARGV, of which the first is the arguments."""

    def __init__(self) -> None:
        self.collected: list[bytes] = []

    def add(self, raw: bytes) -> int:
        self.collected.append(raw)
        return len(self.collected) + 1
