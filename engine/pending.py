"""A batch that runs in the engine's threads: its replies come back one by one, the short ones first."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import structlog

from engine.errors import ModelError
from engine.generation import Completion, Growing, OnText

log = structlog.get_logger()


class Pending:
    """A batch that runs. Positions are those of the requests given to `Model.submit`."""

    def __init__(self, growing: Sequence[Growing], notify: Callable[[], None] | None) -> None:
        self._growing = growing
        self._notify = notify
        self._handles: list[Any] = [None] * len(growing)
        self._parts: list[Sequence[int]] = []
        self._taken: set[int] = set()
        #: True after the first failure of a listener.
        self._deaf = False

    def ready(self) -> list[tuple[int, Completion]]:
        """The replies that were finished since the last call.

        :raises ModelError: if the engine failed; every reply not yet taken is lost.
        """
        fresh = [i for i, reply in enumerate(self._growing) if i not in self._taken and self._finished(i, reply)]
        self._taken.update(fresh)
        return [(i, self._growing[i].completion()) for i in fresh]

    def busy(self) -> int:
        """Parts of the batch that still make tokens; the engine itself counts one for a moment longer."""
        return sum(any(self._grows(position) for position in part) for part in self._parts)

    def done(self) -> bool:
        """True if nothing of the batch runs any more."""
        return all(handle.done() for handle in self._handles)

    def result(self) -> list[Completion]:
        """All replies, waiting for them.

        :raises ModelError: if the engine failed.
        """
        for i, reply in enumerate(self._growing):
            self._outcome(i, reply)
        return [reply.completion() for reply in self._growing]

    def wait(self) -> None:
        """Returns when nothing of the batch runs any more, whether it went well or not."""
        for handle in filter(None, self._handles):
            with suppress(RuntimeError):
                handle.result()

    def cancel(self, position: int | None = None) -> None:
        """Ends one reply, or all, at the next token."""
        for i, reply in enumerate(self._growing):
            if position in (None, i):
                reply.cancelled = True

    def _grows(self, position: int) -> bool:
        return self._growing[position].finish is None and not self._handles[position].done()

    def _finished(self, position: int, reply: Growing) -> bool:
        if reply.finish is None and self._handles[position].done():
            self._outcome(position, reply)
        return reply.finish is not None

    def _outcome(self, position: int, reply: Growing) -> None:
        try:
            outcome = self._handles[position].result()
        except RuntimeError as error:
            raise ModelError(f"the model failed on a batch of {len(self._growing)}: {error}") from error
        if reply.finish is None:
            reply.settle(_tokens(outcome))

    def start(self, positions: Sequence[int], handles: Sequence[Any]) -> None:
        """Notes the engine's handles of a part of the batch, which runs on one replica."""
        self._parts.append(positions)
        for position, handle in zip(positions, handles, strict=True):
            self._handles[position] = handle

    def callback(self, positions: Sequence[int], on_text: OnText | None, streams: frozenset[int]) -> Callable[[Any], bool]:
        """What CTranslate2 calls for each token of a part; True ends that sequence."""

        def step(result: Any) -> bool:
            position: int = positions[result.batch_id]
            reply = self._growing[position]
            ended = reply.take(result.token, is_last=result.is_last)
            if (position in streams and not self._deaf) or (ended and self._notify):
                self._tell(position, reply, on_text if position in streams else None)
            return ended

        return step

    def _tell(self, position: int, reply: Growing, on_text: OnText | None) -> None:
        try:
            if reply.finish and self._notify:
                self._notify()
            if on_text and not self._deaf:
                on_text(position, reply.text())
        except Exception as error:  # noqa: BLE001 - must not cross CTranslate2's C++ thread, nor cost the reply
            self._deaf = True
            log.error("A listener to growing replies failed.", action="model.listener_failed", reason=repr(error))


def _tokens(outcome: Any) -> list[str]:
    sequences = getattr(outcome, "sequences", None) or outcome.hypotheses
    return list(sequences[0])
