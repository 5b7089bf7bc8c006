"""What an evaluation found: figures with their intervals, curves, and what each case gave, so that two reports can be compared."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine import bounds, metrics
from engine.bounds import Interval
from engine.errors import EvaluationError

#: Version of the file. A reader refuses one it does not know.
SCHEMA = 1


class Figure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One measured value; None where nothing can be said."""

    value: float | None
    #: Cases it rests on.
    cases: int
    #: 95 % interval, where there is one.
    low: float | None = None
    high: float | None = None


class Report(msgspec.Struct, kw_only=True):
    """Everything that `report.json` holds."""

    schema: int = SCHEMA
    #: File or set.
    name: str
    #: ISO 8601, UTC.
    made_at: str
    seed: int
    #: False where it was interrupted: the figures are of what was done.
    complete: bool = True
    #: What was evaluated: model, encoder, knowledge and so on, by name.
    subject: dict[str, str] = {}
    #: Parts that told nothing, with the reason.
    skipped: dict[str, str] = {}
    #: Fields of the input that mean nothing here, with the number of lines that have them.
    ignored: dict[str, int] = {}
    figures: dict[str, Figure] = {}
    #: Points (x, y) or more, by name.
    curves: dict[str, list[tuple[float, ...]]] = {}
    #: Rows of values, by name.
    tables: dict[str, list[list[str | float | int]]] = {}
    #: Digest of each case's question, in order.
    ids: list[str] = []
    #: What each case gave, by the name of its figure, in the order of `ids`; None where it does not count.
    each: dict[str, list[float | None]] = {}

    def add(self, name: str, value: float, *, cases: int, within: Interval | None = None) -> None:
        """A figure."""
        low, high = (None, None) if within is None else (_told(within.low), _told(within.high))
        self.figures[name] = Figure(value=_told(value), cases=cases, low=low, high=high)

    def add_share(self, name: str, successes: int, cases: int) -> None:
        """A share with its exact interval."""
        self.add(name, successes / cases if cases else math.nan, cases=cases, within=bounds.share(successes, cases))

    def add_each(self, name: str, values: Mapping[int, float], *, is_share: bool = False) -> None:
        """The mean of what cases gave, by their position; kept for comparisons."""
        self.keep(name, values)
        array = np.array(list(values.values()), np.float64)
        if is_share:
            self.add_share(name, round(float(array.sum())), len(array))
        else:
            self.add(name, _mean(array), cases=len(array), within=bounds.mean(array, seed=self.seed))

    def keep(self, name: str, values: Mapping[int, float]) -> None:
        """What cases gave, by their position."""
        self.each[name] = [None if (value := values.get(i)) is None else float(value) for i in range(len(self.ids))]

    def encode(self) -> bytes:
        """The report as JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def read(cls, path: Path) -> Self:
        """A report from its file.

        :raises EvaluationError: for a file that is none, or of a newer version.
        """
        try:
            found = msgspec.json.decode(path.read_bytes(), type=cls)
        except OSError as error:
            raise EvaluationError(f"{path} cannot be read ({error.strerror}): name a report.json of `replymill eval`") from error
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise EvaluationError(f"{path} is no report ({error}): name a report.json of `replymill eval`") from error
        if found.schema != SCHEMA:
            raise EvaluationError(f"{path} has schema {found.schema}, but this version reads {SCHEMA}: make it again")
        wrong = [name for name, values in found.each.items() if len(values) != len(found.ids)]
        if wrong:
            raise EvaluationError(f"{path} is no whole report ({wrong[0]} has not one value a case): make it again")
        return found


#: Two columns of `Report.each` that make a figure which is no mean of single cases.
RANKED = {"abstention.oos_auroc": ("abstention.in_scope", "abstention.confidence")}


def figure_of(name: str, columns: Sequence[NDArray[np.float64]]) -> float:
    """A figure anew from what cases gave."""
    if name in RANKED:
        return metrics.auroc(columns[0] > 0, columns[1])
    return _mean(columns[0])


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else math.nan


def _told(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
