"""Run as a script, `python -I -S leash.py PARENT COMMAND...`: becomes COMMAND, which the kernel kills when PARENT dies.

A step of its own between fork and exec, because code run inside `fork` may deadlock where other threads hold locks.
"""

import ctypes
import os
import signal
import sys

#: From linux/prctl.h; kept over exec.
_PR_SET_PDEATHSIG = 1


def tie(parent: int) -> None:
    """From here on this process dies with its parent, whose process id is `parent`; it ends at once if that is gone already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def main(parent: int, command: list[str]) -> None:
    """Never returns: the process becomes `command`, or ends if there is no such command."""
    tie(parent)
    for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored_by_python, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    try:
        os.execv(command[0], command)  # noqa: S606 - the command comes from the process that started this one
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
