"""Run as a script by `test_processes`: an answering worker with a limit on its memory, which certain words kill or fill.

python -m tests.fragile GIGABYTES
"""

import resource
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from engine.answer import Answer
from engine.generating import Prepared
from engine.question import Question
from engine.responder import Errand, Responder
from workers.app import app, run_worker
from workers.loop import LoopThread
from workers.steps import AnsweringStep

DEADLY, HUGE = "deadly", "huge"


class Fragile(Responder):
    """Dies of one word as of a fault in native code, and needs more memory than there is for another."""

    def respond(self, batch: Sequence[Question]) -> list[Answer | Errand | Prepared]:
        words = {word for question in batch for word in question.text.split()}
        if DEADLY in words:
            # To this thread: sent to the process, it would wait for the main thread while this one goes on to answer.
            signal.raise_signal(signal.SIGSEGV)
        if HUGE in words:
            bytearray(2 * resource.getrlimit(resource.RLIMIT_AS)[0])
        return super().respond(batch)


class FragileStep(AnsweringStep):
    """The step of every worker, with that responder."""

    def build(self, worker: Any) -> Callable[[LoopThread], None]:
        body = super().build(worker)
        self.running.responder.__class__ = Fragile
        return body


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]) << 30, resource.RLIM_INFINITY))
    app.steps["worker"].discard(AnsweringStep)
    app.steps["worker"].add(FragileStep)
    run_worker(app.settings, loops=("answer",))
