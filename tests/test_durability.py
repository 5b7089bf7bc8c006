"""With `REPLYMILL_DURABILITY=fsync`, what a platform is told that we have is on the disk of Redis."""

import asyncio
import dataclasses
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import redis

from engine import durability, store
from engine.errors import StoreUnavailable, StoreUnsafe
from engine.lanes import Lanes
from engine.messages import Delivery
from engine.moves import Accepted, Verdict
from engine.settings import Settings
from tests.conftest import missing, redis_binary, wait_for
from tests.desk import Desk, address, message, reply
from tests.doors import opened, ready, with_endpoint
from tests.system import ROOT
from workers import doctor
from workers.embedded import EmbeddedRedis, serving

#: Redis with WAITAOF, and one without that writes to its disk before it replies.
DURABLE = pytest.mark.parametrize("version", ["6.2", "7", "8.2"])
#: How often Redis is killed.
KILLS = 12


def on(server: EmbeddedRedis, folder: Path, **changes: object) -> Settings:
    """Settings on that server, that wait for its disk."""
    made = Settings(
        redis_url=server.url,
        broker_url=server.url,
        secret_key="a secret key of the tests",
        api_keys=("an-api-key-of-the-tests",),
        data_dir=folder / "data",
        durability="fsync",
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


@contextmanager
def server_of(version: str, folder: Path, *, fsync: str = "fsync") -> Iterator[EmbeddedRedis]:
    """A server of that version, as `replymill up` starts it under that durability."""
    binary = redis_binary(version) or missing(f"Redis {version}")
    with serving(folder / "redis", log=folder / "redis.log", binary=binary, durability=fsync) as server:
        yield server


def accept(settings: Settings, *ids: str) -> list[Accepted]:
    """Messages with these ids, taken by the asynchronous client as the web process takes them."""
    lanes = Lanes(settings)

    async def main() -> list[Accepted]:
        client = await store.connect_async(settings)
        try:
            return [await call.run_async(client) for call in calls]
        finally:
            await client.aclose()

    notice = Delivery(id="notice", reply=reply(address(), "full"))
    calls = [lanes.accept(message(id_, id_, to=address(id_)), deadline=300, quiet=(0, 0), notice=notice) for id_ in ids]
    return asyncio.run(main())


@DURABLE
def test_a_message_is_taken_once_its_server_has_it_on_disk(version: str, tmp_path: Path) -> None:
    with server_of(version, tmp_path) as server:
        settings = on(server, tmp_path)
        with store.connect(settings) as client:
            durability.adopt(client, settings)
            assert [taken.verdict for taken in accept(settings, "a", "b", "a")] == ["accepted", "accepted", "repeat"]
            # The synchronous client too, which `replymill ask` uses.
            assert Desk(client, Lanes(settings)).accept("c").verdict is Verdict.ACCEPTED


def test_a_message_that_the_disk_has_not_is_refused_and_its_repeat_too(tmp_path: Path) -> None:
    with server_of("8.2", tmp_path) as server, redis.Redis.from_url(server.url) as control:
        settings = on(server, tmp_path)
        # From now on Redis writes to its file and leaves it to the system when the disk gets it.
        control.config_set("appendfsync", "no")

        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="did not write to its disk within 2 s"):
                accept(settings, "a")

        control.config_set("appendfsync", "everysec")
        assert accept(settings, "a")[0].verdict is Verdict.REPEAT
        assert Lanes(settings).backlog(Lanes(settings).shards[0]).run(control)[0].messages == 1


@pytest.mark.parametrize("version", ["6.2", "7"])
def test_an_older_server_whose_setting_changes_takes_nothing_until_it_is_set_back(version: str, tmp_path: Path) -> None:
    with server_of(version, tmp_path) as server, redis.Redis.from_url(server.url) as control:
        settings = on(server, tmp_path)
        control.config_set("appendfsync", "everysec")

        with pytest.raises(StoreUnsafe, match=r"no WAITAOF.*set appendfsync always"):
            accept(settings, "a")

        control.config_set("appendfsync", "always")
        assert accept(settings, "a")[0].verdict is Verdict.REPEAT


@pytest.mark.parametrize(
    ("version", "option", "says"),
    [
        ("6.2", ("appendfsync", "everysec"), "set appendfsync always"),
        ("7", ("appendfsync", "no"), "set appendfsync always"),
        ("7", ("no-appendfsync-on-rewrite", "yes"), "set no-appendfsync-on-rewrite no"),
        ("7", ("appendonly", "no"), "set appendonly yes"),
        ("8.2", ("appendonly", "no"), "set appendonly yes"),
    ],
)
def test_a_server_that_cannot_promise_it_is_refused(version: str, option: tuple[str, str], says: str, tmp_path: Path) -> None:
    with server_of(version, tmp_path) as server, redis.Redis.from_url(server.url) as control:
        settings = on(server, tmp_path)
        control.config_set(*option)

        with pytest.raises(StoreUnsafe, match=says), store.connect(settings) as client:
            durability.adopt(client, settings)
        found = {finding.check: finding for finding in doctor.examine(settings)}
        assert found["durability"].level is doctor.Level.FAIL
        assert says in found["durability"].advice
        with store.connect(settings) as client:
            durability.adopt(client, dataclasses.replace(settings, durability="everysec"))


def test_every_process_says_at_its_start_what_the_server_lacks(tmp_path: Path) -> None:
    with server_of("6.2", tmp_path, fsync="everysec") as server:
        environ = on(server, tmp_path).to_environ()
        started = {
            role: subprocess.Popen([sys.executable, "-m", "workers.cli", role], env=environ, cwd=ROOT, stderr=subprocess.PIPE)
            for role in ("web", "deliver", "up")
        }
        for role, process in started.items():
            said = process.communicate(timeout=60)[1].decode()
            assert process.returncode == 1, (role, said)
            assert "set appendfsync always in its configuration" in said.splitlines()[-1], role


def test_a_platform_is_asked_to_come_back_while_the_disk_does_not_follow(tmp_path: Path) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(server_of("8.2", tmp_path))
        control = stack.enter_context(redis.Redis.from_url(server.url))
        door = stack.enter_context(opened(with_endpoint(on(server, tmp_path))))
        wait_for(lambda: ready(door))
        control.config_set("appendfsync", "no")

        refused = door.post({"conversation": "c", "text": "hello"})
        assert refused.status_code == 503
        assert refused.headers["retry-after"]

        control.config_set("appendfsync", "always")
        assert door.post({"conversation": "c", "text": "hello"}).status_code == 202


@DURABLE
def test_what_was_acknowledged_survives_every_kill_of_redis(version: str, tmp_path: Path) -> None:
    """Messages stream in while Redis is killed, again and again, each time right after it has acknowledged one."""
    with server_of(version, tmp_path) as server:
        settings = on(server, tmp_path)
        known: list[str] = []
        for kill in range(KILLS):
            known += _acknowledged_until_killed(server, settings, f"round-{kill}")
            server.start()
        with store.connect(settings) as client:
            desk = Desk(client, Lanes(settings))
            kept = {entry.id for lane in desk.claim(items=100_000, tokens=10**9).lanes for entry in lane.entries}
        assert len(known) >= KILLS
        assert kept >= set(known)


def _acknowledged_until_killed(server: EmbeddedRedis, settings: Settings, name: str) -> list[str]:
    """The ids of what was acknowledged before Redis was killed, by eight senders at once."""
    acknowledged: list[str] = []
    enough = random.Random(name).randrange(1, 40)
    killed = threading.Event()

    async def send(client: store.AsyncClient, sender: int) -> None:
        for number in range(1000):
            one = message("hello", f"{name}-{sender}-{number}", to=address(f"{name}-{sender}"))
            notice = Delivery(id="notice", reply=reply(address(), "full"))
            try:
                taken = await Lanes(settings).accept(one, deadline=3000, quiet=(0, 0), notice=notice).run_async(client)
            except StoreUnavailable:
                return
            if taken.verdict is Verdict.ACCEPTED:
                acknowledged.append(taken.id)
            if len(acknowledged) >= enough and not killed.is_set():
                killed.set()
                server.child.signal(signal.SIGKILL)

    async def main() -> None:
        client = await store.connect_async(settings)
        await asyncio.gather(*(send(client, sender) for sender in range(8)))
        await client.aclose()

    asyncio.run(main())
    server.child.sweep()
    return acknowledged
