"""Plain programs under the faults of `replymill chaos`: worlds that hold a Bolt app, a polling Telegram bot, or a Celery task.

They repeat their question as the model of a run does. The same plan, ledger and faults apply, as far as a fault finds what it hits.
"""

import functools
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from connectors.simulators.telegram import SimulatedTelegram
from engine.settings import foreign_environ
from tests.system import ROOT
from workers import embedded
from workers.chaos.plan import Planned
from workers.chaos.sides import Request, Side, SlackSide, TelegramSide, WebhookSide
from workers.chaos.world import World
from workers.processes import Child

#: Seconds each program takes for an answer.
THINKING = 0.1
#: The lease of Replymill beside which they stand; the visibility time-out of Celery is as long.
LEASE = 5.0
#: Seconds until a program must be up.
START = 60.0
#: Of the faults those that something in such a world feels.
_PLATFORM = ("limit-sends", "drop-before-send", "drop-after-send", "reorder")
APPLY = {
    "bolt": ("kill-worker", "pause-worker", "duplicate", *_PLATFORM),
    "telegram": ("kill-worker", "pause-worker", *_PLATFORM),
    "celery": (
        "kill-worker", "pause-worker", "kill-web", "kill-redis", "cut-connections", "silent-network", "duplicate", *_PLATFORM,
    ),
}  # fmt: skip


class PolledTelegram(SimulatedTelegram):
    """Updates come from another thread, each once."""

    def __init__(self) -> None:
        super().__init__()
        self._arrived: set[int] = set()

    def arrive(self, number: int, text: str, *, chat: int) -> None:
        """Somebody has written; Telegram keeps it until it is fetched and confirmed, and never has it twice."""
        if number not in self._arrived:
            self._arrived.add(number)
            self._loop.call_soon_threadsafe(functools.partial(self.says, text, chat=chat, sender=chat))


class PolledSide(TelegramSide):
    """A bot that is polled: whatever Telegram has counts as taken."""

    def __init__(self) -> None:
        super().__init__()
        keep = self.keep
        self.server = self._polled = type("Kept", (PolledTelegram,), {"took_effect": lambda _, message: keep(message)})()

    @property
    def token(self) -> str:
        return str(self._polled.token)

    async def deliver(self, http: aiohttp.ClientSession, url: str, message: Planned) -> bool:
        self._polled.arrive(message.number, message.text, chat=message.conversation + 1)
        return True

    def said(self, message: Mapping[str, Any]) -> tuple[int, str]:
        return int(message["chat_id"]) - 1, str(message["text"])


class OwnDoor(WebhookSide):
    """Posts where the plain server listens."""

    def request(self, message: Planned) -> Request:
        asked = super().request(message)
        return Request("/", asked.body, asked.headers)


@contextmanager
def bolt(folder: Path) -> Iterator[World]:
    """A Bolt app."""
    with ExitStack() as stack:
        side, port = SlackSide(), embedded.free_port()
        side.marked = False
        stack.enter_context(side.server)
        account = side.environ()
        command = ("tests.bench.plain_bolt", str(port), account["SLACK_CHAOS_API_BASE_URL"], account["SLACK_CHAOS_SIGNING_SECRET"])
        world = stack.enter_context(_world({"answer-1": _child(folder, "bolt", *command)}, side, port))
        _wait(lambda: _listens(port))
        yield world


@contextmanager
def telegram(folder: Path) -> Iterator[World]:
    """A polling Telegram bot."""
    with ExitStack() as stack:
        side = PolledSide()
        stack.enter_context(side.server)
        child = _child(folder, "telegram", "tests.bench.plain_telegram", side.server.url, side.token)
        world = stack.enter_context(_world({"answer-1": child}, side, 0))
        _wait(lambda: bool(side.server.to("/getUpdates")))
        yield world


@contextmanager
def celery(folder: Path) -> Iterator[World]:
    """A server that queues, and two Celery workers, on a Redis of their own behind the proxy."""
    with ExitStack() as stack:
        side, port, proxied = OwnDoor(), embedded.free_port(), embedded.free_port()
        stack.enter_context(side.server)
        account = side.environ()
        redis = embedded.EmbeddedRedis(folder / "redis", log=folder / "redis.log")
        stack.callback(redis.close)
        environ = {
            "PLAIN_BROKER": redis.url.replace(f":{redis.port}/", f":{proxied}/"),
            "PLAIN_VISIBILITY": str(LEASE),
            "PLAIN_CALLBACK": account["WEBHOOK_CHAOS_CALLBACK_URL"],
            "PLAIN_SECRET": account["WEBHOOK_CHAOS_SECRET"],
        }
        children = {
            "redis": redis.child,
            "proxy": _child(folder, "proxy", "workers.chaos.proxy", str(proxied), str(redis.port)),
            "web": _child(folder, "web", "tests.bench.plain_celery", str(port), **environ),
        }
        for name in ("answer-1", "answer-2"):
            worker = (
                "celery",
                "-A",
                "tests.bench.plain_celery",
                "worker",
                "--concurrency",
                "4",
                "--hostname",
                name,
                "--loglevel",
                "INFO",
            )
            children[name] = _child(folder, name, *worker, **environ)
        redis.start()
        world = stack.enter_context(_world(children, side, port))
        _wait(lambda: _listens(port) and all(_says(folder / f"{name}.log", " ready.") for name in ("answer-1", "answer-2")))
        yield world


WORLDS: Mapping[str, Callable[[Path], Any]] = {"bolt": bolt, "telegram": telegram, "celery": celery}


@contextmanager
def _world(children: dict[str, Child], side: Side, port: int) -> Iterator[World]:
    with World(children, {side.platform: side}, f"http://127.0.0.1:{port}", LEASE, lambda: 0) as world:
        for name, child in children.items():
            if child.pid is None:
                world.bring_back(name)
        yield world


def _child(folder: Path, name: str, module: str, *arguments: str, **environ: str) -> Child:
    command = [sys.executable, "-m", module, *arguments]
    return Child(name, command, environ={**foreign_environ(), **environ}, log=folder / f"{name}.log", folder=ROOT)


def _wait(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + START
    while not condition():
        assert time.monotonic() < ends, "a plain program does not start"
        time.sleep(0.05)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _says(log: Path, text: str) -> bool:
    return log.exists() and text in log.read_text(errors="replace")
