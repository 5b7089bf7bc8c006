"""The embedded Redis keeps what it acknowledged, and its folder to itself."""

import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from engine.errors import StartError
from tests.conftest import gone, missing, redis_binary, wait_for
from workers import embedded
from workers.embedded import EmbeddedRedis, serving


@pytest.fixture(params=["6.2", "7"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A server of the test's own, started, to be killed at will."""
    binary = redis_binary(request.param) or missing(f"Redis {request.param}")
    with embedded.serving(tmp_path / "redis", log=tmp_path / "log", binary=binary) as running:
        yield running


def connect(server: EmbeddedRedis) -> redis.Redis:
    return redis.Redis.from_url(server.url)


def test_a_stop_and_a_start_lose_nothing_and_keep_the_address(server: EmbeddedRedis) -> None:
    url = server.url
    with connect(server) as client:
        client.rpush("lane", *range(1000))

    assert server.stop()
    server.start()

    assert server.url == url
    with connect(server) as client:
        assert client.llen("lane") == 1000


def test_a_killed_server_comes_back_with_all_it_acknowledged(server: EmbeddedRedis) -> None:
    with connect(server) as client:
        for number in range(1000):
            client.rpush("lane", number)
        # Counts the fsync of every second; the one after the last write is what a power loss would leave.
        wait_for(lambda: client.info("persistence")["aof_pending_bio_fsync"] == 0)

    server.child.signal(signal.SIGKILL)
    assert server.child.wait(5)
    server.child.sweep()
    server.start()

    with connect(server) as client:
        assert client.lrange("lane", 0, -1) == [b"%d" % number for number in range(1000)]


def test_its_settings_cannot_lose_messages(server: EmbeddedRedis) -> None:
    with connect(server) as client:
        found = {name: client.config_get(name)[name] for name in ("appendonly", "appendfsync", "maxmemory-policy", "bind")}

    assert found == {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "bind": "127.0.0.1"}


def test_what_must_be_on_the_disk_is_written_there_at_once(tmp_path: Path) -> None:
    with serving(tmp_path / "redis", log=tmp_path / "log", durability="fsync") as server, connect(server) as client:
        assert client.config_get("appendfsync") == {"appendfsync": "always"}


def test_strangers_are_refused_and_the_password_shows_nowhere(server: EmbeddedRedis) -> None:
    with redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0)) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()

    wait_for(lambda: "redis-server" in psutil.Process(server.child.pid).name())
    assert server.password not in " ".join(psutil.Process(server.child.pid).cmdline())
    assert stat.S_IMODE((server.folder / "redis.conf").stat().st_mode) == 0o600


def test_a_second_start_on_the_same_folder_is_refused(server: EmbeddedRedis, tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"another Replymill \(process \d+\) uses .*REPLYMILL_DATA_DIR"):
        EmbeddedRedis(server.folder, log=tmp_path / "log2", binary=server.binary)


def test_a_stopped_server_gives_its_folder_back(tmp_path: Path) -> None:
    for _ in range(2):
        with embedded.serving(tmp_path / "redis", log=tmp_path / "log") as server:
            pid = server.child.pid
        assert not psutil.pid_exists(pid or 0)


def test_a_folder_with_blanks_and_quotes_is_fine(tmp_path: Path) -> None:
    folder = tmp_path / 'a "strange" folder\\here'
    with embedded.serving(folder, log=tmp_path / "log") as server, connect(server) as client:
        client.set("key", 1)
    assert list(folder.glob("appendonly*"))


def test_a_file_that_redis_cannot_read_is_one_clear_line(tmp_path: Path) -> None:
    folder = tmp_path / "redis"
    folder.mkdir()
    (folder / "appendonly.aof").write_bytes(b"this is not an append-only file\n")

    with (
        pytest.raises(StartError, match=r"Redis does not start: .*Bad file format"),
        embedded.serving(folder, log=tmp_path / "log"),
    ):
        pass


def test_data_of_redis_7_is_never_hidden_by_redis_6(tmp_path: Path) -> None:
    binary = redis_binary("6.2") or missing("Redis 6.2")
    (tmp_path / "appendonlydir").mkdir()

    with pytest.raises(StartError, match=r"written by Redis 7"):
        EmbeddedRedis(tmp_path, log=tmp_path / "log", binary=binary)


def test_data_of_redis_6_is_read_by_redis_7(tmp_path: Path) -> None:
    older, newer = (redis_binary(version) or missing(f"Redis {version}") for version in ("6.2", "7"))
    with embedded.serving(tmp_path / "redis", log=tmp_path / "log", binary=older) as server, connect(server) as client:
        client.set("key", "kept")

    with embedded.serving(tmp_path / "redis", log=tmp_path / "log", binary=newer) as server, connect(server) as client:
        assert client.get("key") == b"kept"


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StartError, match=r"cannot write to .*REPLYMILL_DATA_DIR"):
        EmbeddedRedis(tmp_path / "file" / "redis", log=tmp_path / "log")


def test_a_machine_without_redis_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(embedded, "packaged_binary", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(StartError, match=r"install redis-server 6.2 or newer, or set REPLYMILL_REDIS_URL"):
        embedded.find_binary()


def test_without_the_package_the_server_on_the_path_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    on_path = tmp_path / "redis-server"
    on_path.write_text("#!/bin/sh\n")
    on_path.chmod(0o755)
    monkeypatch.setattr(embedded, "packaged_binary", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert embedded.find_binary() == on_path


@pytest.mark.parametrize("says", ["Redis server v=6.0.16 sha=00000000", "something else"])
def test_an_old_or_strange_binary_is_refused(tmp_path: Path, says: str) -> None:
    binary = tmp_path / "redis-server"
    binary.write_text(f"#!/bin/sh\necho '{says}'\n")
    binary.chmod(0o755)

    with pytest.raises(StartError, match=r"needs Redis 6.2 or newer"):
        embedded.version_of(binary)


def test_a_binary_that_does_not_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"does not run"):
        embedded.version_of(tmp_path / "no-such-binary")


def test_the_server_dies_with_its_parent_even_when_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time, pathlib; from workers import embedded; root = pathlib.Path(sys.argv[1]);"
        "server = embedded.EmbeddedRedis(root / 'redis', log=root / 'log'); server.start();"
        "print(server.child.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.kill()

    wait_for(lambda: gone(pid))
    with embedded.serving(tmp_path / "redis", log=tmp_path / "log"):
        pass
