"""How the model of one worker does: whether it still answers anything, and when it may give memory back."""

import math
import time

from engine.errors import ModelError
from engine.model import Model

#: Memory goes back to the system after this long without a batch, seconds.
REST_AFTER = 5.0
#: So many turns that fail in a row, each by itself and none answered between, say that the engine is broken and not what is asked.
MOST_FAILURES = 10


class Health:
    """Kept by the answering loop."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._next_rest = time.monotonic() + REST_AFTER
        #: Turns that failed since the model last answered one.
        self._failures = 0

    def rest(self, *, busy: bool) -> None:
        """Give memory back once the model has had nothing to do for a while."""
        if busy:
            self._next_rest = time.monotonic() + REST_AFTER
        elif time.monotonic() > self._next_rest:
            self._next_rest = math.inf
            self._model.rest()

    def answered(self) -> None:
        """The model has answered a turn."""
        self._failures = 0

    def failed(self, error: BaseException) -> None:
        """A turn has failed by itself.

        :raises ModelError: if too many have, one after the other.
        """
        self._failures += 1
        if self._failures >= MOST_FAILURES:
            raise ModelError(f"{self._failures} turns have failed in a row: the engine is broken") from error
