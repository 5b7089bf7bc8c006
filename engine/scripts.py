"""Lua scripts as values: a `Call` holds a script with its arguments, and either client runs it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from redis.exceptions import NoScriptError

from engine.store import AsyncClient, Client, reachable

T = TypeVar("T")
#: What makes a value of the reply of a script.
Reading = Callable[[Any], T]


class Slot(Protocol):
    """Keys that live together: a shard of the lanes, or a bucket of a rate limit."""

    @property
    def prefix(self) -> str:
        """What their names begin with."""


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
                raw = client.evalsha(digest, 1, *self._argv())
            except NoScriptError:
                raw = client.eval(text, 1, *self._argv())
        return self.read(raw)

    async def run_async(self, client: AsyncClient) -> T:
        text, digest = _script(self.script)
        with reachable():
            try:
                raw = await client.evalsha(digest, 1, *self._argv())
            except NoScriptError:
                raw = await client.eval(text, 1, *self._argv())
        return self.read(raw)

    def _argv(self) -> tuple[str | bytes, ...]:
        return (self.slot.prefix, msgspec.msgpack.encode(self.arguments), *self.blobs)


class Blobs:
    """Collects opaque bytes; the arguments hold their positions in ARGV, of which the first is the arguments."""

    def __init__(self) -> None:
        self.collected: list[bytes] = []

    def add(self, raw: bytes) -> int:
        self.collected.append(raw)
        return len(self.collected) + 1
