"""What waits for the model in one worker."""

from collections.abc import Collection, Sequence

from engine.generating import Prepared
from workers.batching import Limits, choose


class Pool:
    """Turns that are ready for the model."""

    def __init__(self) -> None:
        self._waiting: list[Prepared] = []
        #: Of batches that the model failed on: each is tried by itself.
        self._isolated: list[Prepared] = []

    def __len__(self) -> int:
        return len(self._waiting) + len(self._isolated)

    @property
    def keys(self) -> set[str]:
        """Of the turns."""
        return {prepared.key for prepared in (*self._waiting, *self._isolated)}

    def add(self, prepared: Prepared) -> None:
        """One more waits."""
        self._waiting.append(prepared)

    def isolate(self, batch: Sequence[Prepared]) -> None:
        """They wait to be tried one by one, before all others."""
        self._isolated += batch

    def take(self, idle: int, limits: Limits) -> list[Prepared]:
        """The next batch for one of so many idle replicas; nothing where none is idle, or a fuller one is worth waiting for."""
        batch = self._isolated[:1] if idle and self._isolated else choose(self._waiting, idle, limits)
        self.drop({prepared.key for prepared in batch})
        return batch

    def drop(self, keys: Collection[str]) -> None:
        """Turns that are held no more."""
        self._waiting = [prepared for prepared in self._waiting if prepared.key not in keys]
        self._isolated = [prepared for prepared in self._isolated if prepared.key not in keys]
