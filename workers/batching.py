"""From where a worker takes turns, how many it holds, and which of them the model gets next. Pure policy: the loops apply it.

Two budgets bound a batch, items and prompt tokens. The turn that is due first leads the next batch, and those nearest to it in
length go along: each token of difference costs the whole batch a decoding step (see `engine.grouping`, which decides what of the
chosen runs together). So a busy worker holds some batches ahead to choose from; nothing is passed over once it is due first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from engine.keys import Shard


class Sized(Protocol):
    """A turn that is ready for the model."""

    @property
    def prompt_tokens(self) -> int:
        """Length of its prompt."""

    @property
    def deadline(self) -> int:
        """When its outcome is due, Unix time in milliseconds."""


S = TypeVar("S", bound=Sized)


@dataclass(frozen=True)
class Limits:
    #: Most turns in one batch.
    items: int
    #: Most prompt tokens in one batch; a longer turn travels alone.
    tokens: int


#: Batches of turns that a busy worker holds ahead to choose from; more would keep turns from workers that are idle soon.
AHEAD = 3
#: The same while much waits and what needs no model is sought further on.
FAR_AHEAD = 12
#: Most lanes of one claim, a script of some milliseconds in which Redis does nothing else.
CLAIM = 64


def room(waiting: int, idle: int, limits: Limits, *, ahead: int = AHEAD) -> int:
    """How many turns to claim beside those that wait here for the model.

    What idle replicas take at once; a busy worker claims ahead. So a burst reaches every idle worker before any holds turns back.
    """
    return max(0, limits.items * max(idle or AHEAD, ahead if ahead > AHEAD else 0) - waiting)


def choose(waiting: Sequence[S], idle: int, limits: Limits) -> list[S]:
    """The turns to give to `idle` replicas now, within the budgets of all of them: the one that is due first, and its like."""
    if not waiting or not idle:
        return []
    first = min(waiting, key=lambda turn: turn.deadline)
    chosen: list[S] = []
    tokens = 0
    for turn in sorted(waiting, key=lambda turn: (turn is not first, abs(turn.prompt_tokens - first.prompt_tokens), turn.deadline)):
        tokens += turn.prompt_tokens
        if chosen and (tokens > idle * limits.tokens or len(chosen) == idle * limits.items):
            break
        chosen.append(turn)
    return chosen


class Round:
    """The order in which a worker serves the shards: each comes first in its turn, so that a busy one starves no other."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = tuple(shards)
        self._suspects: set[Shard] = set()

    @property
    def suspects(self) -> bool:
        """Whether a lane on its last attempt waits somewhere for an empty worker."""
        return bool(self._suspects)

    def note(self, shard: Shard, *, suspects: bool) -> None:
        """Whether a claim left such lanes behind."""
        if suspects:
            self._suspects.add(shard)
        else:
            self._suspects.discard(shard)

    def shards(self) -> list[Shard]:
        """All of them for the next round, those first where such a lane waits."""
        order = sorted(self._shards, key=lambda shard: shard not in self._suspects)
        self._shards = (*self._shards[1:], *self._shards[:1])
        return order
