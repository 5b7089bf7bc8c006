"""How many turns a worker holds, and which of them the model gets next. Pure policy: the loop applies it.

Two budgets bound a batch, items and prompt tokens. What is due first goes first; which of the chosen run together on one replica is
decided by their lengths, in `engine.grouping`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar


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
