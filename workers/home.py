"""What a process finds in the data folder when a setting is empty: the embedded Redis, the secret key, an API key."""

import dataclasses
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.errors import SettingsError, StartError
from engine.settings import Settings

#: Written while an embedded Redis runs: its URL with the password.
REDIS_URL = "redis.url"
SECRET_KEY = "secret.key"  # noqa: S105 - the name of a file
API_KEY = "api.key"
SEALING_KEY = "sealing.key"

#: Shorter secrets are refused by `engine.settings` too.
_LEAST = 16


def complete(settings: Settings) -> Settings:
    """The settings with every empty secret and URL filled in; keys are made at first need and kept.

    :raises StartError: no Redis is set and none runs, or the data folder cannot be written.
    :raises SettingsError: a key file holds no key.
    """
    redis_url = settings.redis_url or running_redis(settings.data_dir)
    return dataclasses.replace(
        settings,
        redis_url=redis_url,
        broker_url=settings.broker_url or redis_url,
        secret_key=settings.secret_key or kept_key(settings.data_dir, SECRET_KEY),
        sealing_keys=settings.sealing_keys or tuple(kept_key(settings.data_dir, SEALING_KEY).split()),
        api_keys=settings.api_keys or tuple(kept_key(settings.data_dir, API_KEY).split()),
    )


def running_redis(data_dir: Path) -> str:
    """The URL of the embedded Redis of this data folder.

    :raises StartError: if none runs.
    """
    try:
        return (data_dir / REDIS_URL).read_text().strip()
    except OSError as error:
        raise StartError("no Redis is running here: run `replymill up`, or set REPLYMILL_REDIS_URL") from error


@contextmanager
def announced(data_dir: Path, url: str) -> Iterator[None]:
    """Inside the `with` block other commands find the embedded Redis at `url`."""
    path = data_dir / REDIS_URL
    write_private(path, url + "\n")
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            path.unlink()


def kept_key(data_dir: Path, name: str) -> str:
    """The key in the file `name`, made with 256 random bits if there is none; processes that race get the same one."""
    path = private_folder(data_dir) / name
    try:
        if not path.exists():
            _create(path, secrets.token_urlsafe(32) + "\n")
        key = path.read_text().strip()
    except OSError as error:
        raise _not_writable(data_dir, error) from error
    if any(len(word) < _LEAST for word in key.split() or [""]):
        raise SettingsError(f"{path} holds no key of at least {_LEAST} characters: restore it, or delete it for a new one")
    return key


def private_folder(path: Path) -> Path:
    """`path`, made if need be, for this user alone.

    :raises StartError: if it cannot be written.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(path, error) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise _not_writable(path, PermissionError(13, "Permission denied"))
    return path


def write_private(path: Path, text: str) -> None:
    """Replace the file at once, readable by this user alone.

    :raises StartError: if it cannot be written.
    """
    try:
        with _temporary(path, text) as temporary:
            temporary.replace(path)
    except OSError as error:
        raise _not_writable(path.parent, error) from error


def _create(path: Path, text: str) -> None:
    """Like `write_private`, but the first of several writers wins."""
    with _temporary(path, text) as temporary, suppress(FileExistsError):
        path.hardlink_to(temporary)


@contextmanager
def _temporary(path: Path, text: str) -> Iterator[Path]:
    """A complete file beside `path`, readable by this user alone, gone after the block if it still has its name."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _not_writable(path: Path, error: OSError) -> StartError:
    return StartError(f"cannot write to {path} ({error.strerror}): make it writable, or set REPLYMILL_DATA_DIR to a folder that is")
