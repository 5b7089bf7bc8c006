"""Child processes that leave nothing behind: each has a session of its own and dies with its parent, even one killed with -9."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from workers import leash


@dataclass
class Child:
    """One command that can be started again after it ended."""

    name: str
    command: Sequence[str]
    #: The whole environment; None: the parent's.
    environ: Mapping[str, str] | None = None
    #: Its output is appended here; None: it shares the parent's stderr.
    log: Path | None = None
    #: Where it is started; None: where the parent is.
    folder: Path | None = None
    #: File descriptors it inherits, such as the one that holds a lock.
    keep: Sequence[int] = ()
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def pid(self) -> int | None:
        """The process id while one was started and not yet reaped."""
        return self._process.pid if self._process else None

    def spawn(self) -> None:
        """Start the command; the child gets no terminal signals and no standard input."""
        leashed = [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), *self.command]
        output = self._open_log()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the commands are ours
                leashed,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.environ,
                cwd=self.folder,
                pass_fds=self.keep,
                start_new_session=True,
            )
        finally:
            if self.log:
                os.close(output)

    def ended(self) -> int | None:
        """The exit status (negative: the signal that ended it), or None while it runs or was never started."""
        return self._process.poll() if self._process else None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process alone, if it still runs."""
        if self._process:
            self._process.send_signal(number)

    def wait(self, timeout: float) -> bool:
        """True if it has ended within `timeout` seconds."""
        if not self._process:
            return True
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)
        return self._process.returncode is not None

    def sweep(self) -> None:
        """Kill the process and whatever it started and left behind; forget it."""
        if not self._process:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def stop(self, timeout: float) -> bool:
        """Ask it to end, then kill what is left; True if it ended by itself within `timeout` seconds."""
        self.signal(signal.SIGTERM)
        obeyed = self.wait(timeout)
        self.sweep()
        return obeyed

    def last_words(self) -> str:
        """The last line of its log, for a message about its end."""
        if not self.log or not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            lines = file.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else ""

    def _open_log(self) -> int:
        if not self.log:
            return sys.__stderr__.fileno() if sys.__stderr__ else subprocess.DEVNULL
        return os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
