"""The files of a folder, and what is in them: nothing outside it, nothing hidden, nothing that would wait or never end."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from engine.errors import Unreadable


def content(path: Path, *, most: int) -> bytes:
    """The bytes of a regular file.

    :raises Unreadable: it is none, empty, or has more than `most` bytes.
    """
    try:
        # A pipe would wait for its writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Unreadable("this is no regular file")
            found = file.read(most + 1)
    except OSError as error:
        raise Unreadable(f"it cannot be opened: {error.strerror}") from error
    if len(found) > most:
        raise Unreadable(f"it is larger than {most >> 20} MiB: split it")
    if not found.strip():
        raise Unreadable("it is empty")
    return found


def files(folder: Path, *, most: int, depth: int, skipped: list[tuple[str, str]]) -> Iterator[tuple[Path, str]]:
    """Files below a folder that are not hidden, each with its name as it is shown, in the order of their names.

    :param skipped: gets what is not gone into, and why.
    :raises Unreadable: there are more than `most`.
    """
    count = 0
    for above, folders, names in os.walk(folder, onerror=lambda error: _refused(error, skipped)):
        here = Path(above)
        _choose(folders, folder, here, depth, skipped)
        for name in sorted(name for name in names if not name.startswith(".")):
            path, shown = here / name, _shown(here / name, folder)
            count += 1
            if count > most:
                raise Unreadable(f"{folder}: it holds more than {most} files: add its folders one by one")
            if path.is_symlink():
                skipped.append((shown, "a link is not followed"))
            else:
                yield path, shown


def _choose(folders: list[str], folder: Path, here: Path, depth: int, skipped: list[tuple[str, str]]) -> None:
    """Leave of `folders`, in place as `os.walk` wants it, those that are gone into."""
    folders[:] = sorted(name for name in folders if not name.startswith("."))
    skipped += [
        (_shown(here / name, folder), "a link to a folder is not followed") for name in folders if (here / name).is_symlink()
    ]
    if len(here.relative_to(folder).parts) >= depth and folders:
        skipped.append((_shown(here, folder), f"the folders inside it are not read: they are more than {depth} deep"))
        folders.clear()


def _refused(error: OSError, skipped: list[tuple[str, str]]) -> None:
    skipped.append((str(error.filename), f"it cannot be opened: {error.strerror}"))


def _shown(path: Path, folder: Path) -> str:
    """A name that can be printed and stored: bytes that are no UTF-8 are shown as such."""
    return path.relative_to(folder).as_posix().encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
