"""The processes of a run: each can be killed, held down and paused, and comes back as a supervisor would bring it back."""

import asyncio
import secrets
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from engine import roster
from engine.convert import ensure
from engine.errors import StartError, StoreUnavailable
from engine.lanes import Lanes
from engine.settings import PREFIX, Settings, foreign_environ
from engine.store import connect
from workers import embedded, supervisor
from workers.chaos import echo
from workers.chaos.sides import SIDES, Side
from workers.processes import Child

#: Between looks at what has ended, seconds.
_LOOK = 0.05
#: Until everything must be up, seconds.
_START = 120.0

#: What the settings of a private copy are beside the accounts of its platforms.
_OWN = {"DEVICE": "cpu", "REPLICAS": "1", "TURNS_PER_MINUTE": "0", "LOG_FORMAT": "json", "DRAIN_TIMEOUT": "10"}
#: For the model that repeats its question, which may be a whole lane.
_ECHO = {
    "SYSTEM_PROMPT": "",
    "REPETITION_PENALTY": "1",
    "COMPUTE_TYPE": "float32",
    "MAX_TOKENS": "1000",
    "PROMPT_TOKENS": str(echo.LONGEST),
}
#: For another one: replies are short, as their number is what matters.
_OTHER = {"MAX_TOKENS": "16"}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a private copy consists of."""

    platforms: Sequence[str] = tuple(SIDES)
    #: Seconds; short, so that a run sees many of them.
    lease: float = 5.0
    #: Seconds to an outcome.
    deadline: float = 120.0
    #: Answering and delivery workers, of each so many.
    workers: int = 2
    unclear: str = "at-least-once"
    #: As in the settings.
    durability: str = "everysec"
    cache: bool = True
    #: Another model than the one that repeats its question.
    model: str = ""


@dataclass
class World:
    """The running processes by name, such as `answer-1`; a role is what stands before the dash."""

    children: dict[str, Child]
    sides: Mapping[str, Side]
    #: Where the platforms post to.
    url: str
    #: Seconds a worker may hold what it took; a pause that matters is longer.
    lease: float
    #: Messages on their way, inbound and outbound; None: it cannot be told now.
    waiting: Callable[[], int | None]
    #: Held down by a fault.
    down: set[str] = field(default_factory=set)
    #: How often a process ended by itself.
    ended: dict[str, int] = field(default_factory=dict)

    def names(self, *roles: str) -> list[str]:
        """The processes of some roles, in order."""
        return sorted(name for name in self.children if name.partition("-")[0] in roles)

    def kill(self, name: str) -> None:
        """SIGKILL; it stays down until it is brought back."""
        self.down.add(name)
        self.children[name].sweep()

    def bring_back(self, name: str) -> None:
        """Let it run again."""
        self.down.discard(name)
        if self.children[name].pid is None:
            self.children[name].spawn()

    def pause(self, name: str) -> None:
        """SIGSTOP."""
        self.children[name].signal(signal.SIGSTOP)

    def go_on(self, name: str) -> None:
        """SIGCONT."""
        self.children[name].signal(signal.SIGCONT)

    async def tend(self) -> None:
        """Bring back what ends, until cancelled."""
        while True:
            for name, child in self.children.items():
                if name not in self.down and child.ended() is not None:
                    self.ended[name] = self.ended.get(name, 0) + 1
                    child.sweep()
                    child.spawn()
            await asyncio.sleep(_LOOK)

    def stop(self) -> None:
        """End everything, in the order in which it was started."""
        for child in self.children.values():
            child.sweep()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@contextmanager
def replymill(folder: Path, shape: Shape) -> Iterator[World]:
    """A whole Replymill of its own in `folder`, with the servers of its platforms; up when the block begins.

    :raises StartError: it does not start; the logs in `folder` say more.
    """
    sides = {platform: SIDES[platform]() for platform in shape.platforms}
    for side in sides.values():
        side.by_ids = bool(shape.model)
    for side in sides.values():
        side.server.__enter__()
    redis = embedded.EmbeddedRedis(folder / "redis", log=folder / "redis.log", durability=shape.durability)
    try:
        proxied, port = embedded.free_port(), embedded.free_port()
        through = redis.url.replace(f":{redis.port}/", f":{proxied}/")
        environ = _environ(folder, shape, sides, port=port, redis_url=through)
        settings = Settings.load(environ)
        ensure(settings.model, settings)
        children = {"redis": redis.child, "proxy": _python(folder, "proxy", "workers.chaos.proxy", str(proxied), str(redis.port))}
        for name in ("web", *(f"{role}-{n + 1}" for role in ("answer", "deliver") for n in range(shape.workers))):
            children[name] = _python(folder, name, "workers.cli", name.partition("-")[0], environ=environ)
        direct = Settings.load({**environ, f"{PREFIX}REDIS_URL": redis.url})
        with World(children, sides, f"http://127.0.0.1:{port}", shape.lease, lambda: _waiting(direct)) as world:
            for name in children:
                redis.start() if name == "redis" else world.bring_back(name)
            _wait_ready(world, direct, workers=2 * shape.workers)
            yield world
    finally:
        redis.close()
        for side in sides.values():
            side.server.__exit__(None, None, None)


def _environ(folder: Path, shape: Shape, sides: Mapping[str, Side], *, port: int, redis_url: str) -> dict[str, str]:
    """Everything that is set; nothing of the user's own settings reaches a private copy."""
    ours = _OWN | {
        "REDIS_URL": redis_url,
        "PORT": str(port),
        "SECRET_KEY": secrets.token_hex(32),
        "API_KEYS": secrets.token_hex(32),
        "DATA_DIR": str(folder / "data"),
        "LEASE": str(shape.lease),
        "SEND_TIMEOUT": str(shape.lease * 0.4),
        "DEADLINE_CHAT": str(shape.deadline),
        "DEADLINE_WEBHOOK": str(shape.deadline),
        "UNCLEAR": shape.unclear,
        "DURABILITY": shape.durability,
        "CACHE": str(shape.cache).lower(),
    }
    if shape.model:
        ours |= {**_OTHER, "MODEL": shape.model}
    else:
        ours |= {**_ECHO, "MODEL": f"path:{echo.write(folder / 'echo')}", "CACHE_DIR": str(folder / "cache")}
    for side in sides.values():
        ours |= side.environ()
    return {**foreign_environ(), **{PREFIX + name: value for name, value in ours.items()}}


def _python(folder: Path, name: str, module: str, *arguments: str, environ: Mapping[str, str] | None = None) -> Child:
    """A process of ours; its working directory is the run's own, where no `.env` of the user lies."""
    command = [sys.executable, "-P", "-m", module, *arguments]
    return Child(name, command, environ=environ or foreign_environ(), log=folder / f"{name}.log", folder=folder)


def _wait_ready(world: World, settings: Settings, *, workers: int) -> None:
    async def watched() -> None:
        async with asyncio.timeout(_START):
            while not (supervisor.ready(settings) and _at_work(settings) >= workers):
                for name, child in world.children.items():
                    if child.ended() is not None:
                        raise StartError(f"{name} does not start: {child.last_words()} (see {child.log})")
                await asyncio.sleep(_LOOK)

    try:
        asyncio.run(watched())
    except TimeoutError as error:
        raise StartError(f"the private copy is not up within {_START:g} s: see the logs in its folder (--keep)") from error


def _at_work(settings: Settings) -> int:
    """Loops that have reported."""
    try:
        with connect(settings) as client:
            return len(roster.read(client))
    except StoreUnavailable:
        return 0


def _waiting(settings: Settings) -> int | None:
    lanes = Lanes(settings)
    try:
        with connect(settings) as client:
            found = [lanes.backlog(shard).run(client) for shard in lanes.shards]
    except StoreUnavailable:
        return None
    return sum(side.messages for both in found for side in both)
