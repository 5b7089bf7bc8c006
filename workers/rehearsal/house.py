"""A private copy of everything for a rehearsal: the user's settings, a Redis of its own, and platforms that record."""

import asyncio
import base64
import dataclasses
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectors.simulators.telegram import SimulatedTelegram
from connectors.simulators.webhook import WebhookReceiver
from engine import accounts, endpoints, roster
from engine.errors import StartError, StoreUnavailable
from engine.settings import PREFIX, Settings, foreign_environ
from engine.store import connect
from workers import embedded, supervisor
from workers.processes import Child
from workers.rehearsal.files import Suite

#: The endpoint that users write to, and the bot of the group in which people would answer.
DOOR, PEOPLE = "rehearsal", "people"
_GROUP = -1001
#: Until everything must be up, and until a knowledge base must be published, seconds.
_START, _KNOWLEDGE = 120.0, 1_800.0
_LOOK = 0.05
#: Seconds to end politely.
_GRACE = 3.0
_ROLES = ("web", "answer", "deliver")
#: What of the user's settings means nothing here, or leads out of here.
_LEFT_OUT = ("REDIS_URL", "BROKER_URL", "BRIDGE", "BRIDGE_MENTION", "OTLP_ENDPOINT", "VECTORS", "HOST")
#: Settings that may name a file from the user's folder.
_PLACES = ("path:", "gguf:")


class Recorder(WebhookReceiver):
    """The user's side: the data of each reply, and when it came, by the ids of the messages that it answers."""

    def __init__(self, secret: str) -> None:
        super().__init__(secret)
        self.heard: dict[str, tuple[float, dict[str, Any]]] = {}

    def took_effect(self, message: dict[str, Any]) -> None:
        for id_ in message["ids"]:
            self.heard.setdefault(id_, (time.monotonic(), message))


@dataclass(frozen=True, kw_only=True)
class House:
    """What runs."""

    url: str
    secret: str
    recorder: Recorder
    #: Seconds to an outcome.
    deadline: float


@contextmanager
def opened(settings: Settings, folder: Path, suite: Suite, *, quiet: bool) -> Iterator[House]:
    """A private copy in `folder`, what a file of tests needs published; up when the block begins. `quiet`: fragments are one turn.

    :raises StartError: it does not start, or its knowledge cannot be read.
    """
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    tenant, port = suite.tenant or DOOR, embedded.free_port()
    with (
        Recorder(secret) as recorder,
        SimulatedTelegram() as telegram,
        embedded.serving(folder / "redis", log=folder / "redis.log") as redis,
    ):
        door = f"WEBHOOK_{DOOR.upper()}_"
        ours = {
            "REDIS_URL": redis.url,
            "PORT": str(port),
            "DATA_DIR": str(folder / "data"),
            "SECRET_KEY": secrets.token_hex(32),
            "API_KEYS": secrets.token_hex(32),
            "LOG_FORMAT": "json",
            "TURNS_PER_MINUTE": "0",
            "DEADLINE_WEBHOOK": f"{settings.deadline_chat:g}",
            "QUIET_WEBHOOK": f"{settings.quiet_chat:g}" if quiet else "0",
            "QUIET_WEBHOOK_MAX": f"{settings.quiet_chat_max:g}" if quiet else "0",
            f"{door}SECRET": secret,
            f"{door}CALLBACK_URL": recorder.callback,
            f"{door}CALLBACK_PRIVATE": "true",
            f"{door}TENANT": tenant,
            **(_staff(telegram) if suite.people else {}),
        }
        environ = {**_theirs(settings), **{PREFIX + name: value for name, value in ours.items()}}
        for path in suite.knowledge:
            _kb(environ, folder, "add", "--here", "--tenant", tenant, str(path))
        if suite.knowledge:
            _kb(environ, folder, "publish", "--here", "--tenant", tenant)
        with _running(environ, folder):
            yield House(url=f"http://127.0.0.1:{port}", secret=secret, recorder=recorder, deadline=settings.deadline_chat)


def _staff(telegram: SimulatedTelegram) -> dict[str, str]:
    """People in a group of a simulated Telegram, so that a conversation can be handed to somebody."""
    stem = f"TELEGRAM_{PEOPLE.upper()}_"
    telegram.forums.add(_GROUP)
    return {
        "BRIDGE": f"telegram:{PEOPLE}/{_GROUP}",
        f"{stem}TOKEN": telegram.token,
        f"{stem}API_BASE_URL": telegram.url,
        f"{stem}WEBHOOK_URL": f"https://bot.example/telegram/{PEOPLE}",
        f"{stem}WEBHOOK_SECRET": secrets.token_hex(16),
    }


def _theirs(settings: Settings) -> dict[str, str]:
    """The user's settings without their accounts: a rehearsal reaches nobody."""
    here = {field.name: _absolute(getattr(settings, field.name)) for field in dataclasses.fields(settings)}
    changed = dataclasses.replace(settings, **{name: value for name, value in here.items() if value != getattr(settings, name)})
    named = {name: value for name, value in changed.to_environ().items() if name.startswith(PREFIX)}
    left_out = {PREFIX + name for name in _LEFT_OUT}
    own = {name: value for name, value in named.items() if name not in left_out and not _account(name)}
    return {**foreign_environ(), **own}


def _account(name: str) -> bool:
    return bool(endpoints.match(PREFIX, name) or accounts.match(PREFIX, name))


def _absolute(value: Any) -> Any:
    """A path of the user's folder means the same from another one."""
    if isinstance(value, Path):
        return value.absolute()
    if not isinstance(value, str):
        return value
    for kind in _PLACES:
        if value.startswith(kind):
            return kind + str(Path(value.removeprefix(kind)).expanduser().absolute())
    return str(Path(value).absolute()) if "/" in value and Path(value).is_file() else value


def _kb(environ: Mapping[str, str], folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-P", "-m", "workers.cli", "kb", *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - the command is ours
            command, env=environ, cwd=folder, capture_output=True, text=True, timeout=_KNOWLEDGE, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise StartError(f"the knowledge was not indexed within {_KNOWLEDGE:g} s: give the tests a smaller one") from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
        raise StartError(f"the knowledge base cannot be made ({' '.join(arguments)}): {said}")


@contextmanager
def _running(environ: Mapping[str, str], folder: Path) -> Iterator[None]:
    children = [
        Child(role, [sys.executable, "-P", "-m", "workers.cli", role], environ=environ, log=folder / f"{role}.log", folder=folder)
        for role in _ROLES
    ]
    try:
        for child in children:
            child.spawn()
        asyncio.run(_up(children, Settings.load(environ)))
        yield
    finally:
        for child in children:
            child.stop(_GRACE)


async def _up(children: Sequence[Child], settings: Settings) -> None:
    try:
        async with asyncio.timeout(_START):
            while not (supervisor.ready(settings) and _at_work(settings) >= len(_ROLES) - 1):
                _check(children)
                await asyncio.sleep(_LOOK)
    except TimeoutError as error:
        raise StartError(f"the private copy is not up within {_START:g} s") from error


def _check(children: Sequence[Child]) -> None:
    for child in children:
        if child.ended() is not None:
            raise StartError(f"{child.name} does not start: {child.last_words()}")


def _at_work(settings: Settings) -> int:
    """Loops that have reported."""
    try:
        with connect(settings) as client:
            return len(roster.read(client))
    except StoreUnavailable:
        return 0
