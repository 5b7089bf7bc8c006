"""The `replymill` command. Serving processes start from here at once; everything else is in `workers.commands`.

Exit status: 0 done, 1 failed (one line on stderr says why), 2 wrong usage or settings, 130 interrupted.
"""

import importlib
import sys
from collections.abc import Sequence
from typing import Any

from engine.errors import ReplymillError, SettingsError
from engine.settings import Settings

#: Serving processes: module and function that block until the process is asked to stop, and its arguments beside the settings.
SERVING: dict[str, tuple[str, str, dict[str, Any]]] = {
    "web": ("connectors.web", "serve", {}),
    "answer": ("workers.app", "run_worker", {"loops": ("answer",)}),
    "deliver": ("workers.app", "run_worker", {"loops": ("deliver",)}),
    "jobs": ("workers.app", "run_worker", {"loops": ("jobs",)}),
}

FAILED, UNUSABLE, INTERRUPTED = 1, 2, 130


def main() -> None:
    """Entry point of `replymill` and of `python -m workers.cli`."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Carry one command line out; the exit status."""
    try:
        if len(arguments) == 1 and arguments[0] in SERVING:
            serve(arguments[0])
        else:
            importlib.import_module("workers.commands").carry_out(arguments)
    except ReplymillError as error:
        print(f"replymill: {error}", file=sys.stderr)
        return UNUSABLE if isinstance(error, SettingsError) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def serve(role: str) -> None:
    """Run one serving process until it is asked to stop. Nothing that only a person's commands need is imported."""
    settings = Settings.load()
    importlib.import_module("engine.telemetry").check(settings)
    importlib.import_module("workers.logs").configure(settings)
    complete = importlib.import_module("workers.home").complete(settings)
    module, function, arguments = SERVING[role]
    getattr(importlib.import_module(module), function)(complete, **arguments)


if __name__ == "__main__":
    main()
