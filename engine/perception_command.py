"""A program of this machine as a transcriber or a describer."""

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from pathlib import Path

from engine.errors import SettingsError, Unreadable
from engine.messages import MediaKind
from engine.perceived import MOST_ANSWER, kind_of, words_of
from engine.settings import open_environ
from engine.values import FILE


class Command:
    """A program on this machine, run without a shell for each file; what it prints is the text."""

    def __init__(self, kind: MediaKind, words: list[str], *, variable: str) -> None:
        """:raises SettingsError: there is no such program."""
        program = shutil.which(words[0])
        if program is None:
            raise SettingsError(f"{variable} runs {words[0]!r}, but this machine has no such program: install it, or give its path")
        self._kind = kind
        self._words = [program, *words[1:]]

    async def read(self, content: bytes) -> str:
        _, ending = kind_of(content, self._kind)
        with tempfile.TemporaryDirectory(prefix="replymill-") as folder:
            file = Path(folder) / f"{self._kind}.{ending}"
            file.write_bytes(content)
            return words_of(await self._run([word.replace(FILE, str(file)) for word in self._words]))

    async def check(self) -> str:
        return f"runs {self._words[0]}"

    async def close(self) -> None:
        """Nothing is kept."""

    async def _run(self, words: list[str]) -> str:
        """What the program prints. Ending the wait ends it, with all that it has started."""
        pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        try:
            process = await asyncio.create_subprocess_exec(
                *words, stdin=nothing, stdout=pipe, stderr=pipe, env=open_environ(), start_new_session=True
            )
        except OSError as error:
            raise Unreadable(f"{words[0]} cannot be run: {error.strerror}") from error
        try:
            assert process.stdout
            assert process.stderr
            said, complained = await asyncio.gather(_kept(process.stdout), _kept(process.stderr))
            status = await process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself, and left nothing behind
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        if status:
            last = complained.decode(errors="replace").strip().rpartition("\n")[2]
            raise Unreadable(f"{words[0]} ended with status {status}: {last[:200]!a}")
        return said.decode(errors="replace")


async def _kept(stream: asyncio.StreamReader) -> bytes:
    """The beginning of what a program writes; the rest is read and let go, so that the program can end."""
    found = bytearray()
    while chunk := await stream.read(65_536):
        found += chunk[: MOST_ANSWER - len(found)]
    return bytes(found)
