"""From where a worker takes turns, how many it holds, and which of them the model gets next. Pure policy: the loops apply it.

Two budgets bound a batch, items and prompt tokens. What is due first goes first; which of the chosen run together on one replica is
decided by their lengths, in `engine.grouping`.
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


def room(held: int, replicas: int, limits: Limits) -> int:
    """How many more turns a worker may claim: a batch for each replica, and one ahead so that no replica waits for a claim."""
    return max(0, limits.items * (replicas + 1) - held)


def choose(waiting: Sequence[S], idle: int, limits: Limits) -> list[S]:
    """The turns to give to `idle` replicas now: those that are due first, within the budgets of all of them together."""
    chosen: list[S] = []
    tokens = 0
    for turn in sorted(waiting, key=lambda turn: turn.deadline)[: idle * limits.items]:
        tokens += turn.prompt_tokens
        if chosen and tokens > idle * limits.tokens:
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
