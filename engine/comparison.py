"""Two reports against each other, case by case, and gates that a report must pass."""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import bounds
from engine.errors import EvaluationError
from engine.evaluated import RANKED, Report, figure_of

_GATE = re.compile(r"\s*(?P<key>[^<>=]+?)\s*(?P<sign>>=|<=|>|<)\s*(?P<value>-?\d+(\.\d+)?([eE]-?\d+)?)\s*")
_SIGNS: dict[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How a figure changed from the first report to the second."""

    first: float | None
    second: float | None
    change: float | None
    #: 95 % interval of the change, by resampling the cases that both reports have; None where a figure has no cases of its own.
    low: float | None = None
    high: float | None = None
    #: Cases that were paired.
    cases: int = 0

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves no doubt which is higher."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def compare(first: Report, second: Report, *, seed: int = 0) -> dict[str, Difference]:
    """Every figure that both have; a paired bootstrap tells how sure a change is (Koehn, EMNLP 2004).

    :raises EvaluationError: for reports that have nothing in common.
    """
    shared = [name for name in first.figures if name in second.figures]
    if not shared:
        raise EvaluationError("the two reports have no figure in common: evaluate the same parts of both")
    pairs = _paired(first.ids, second.ids)
    return {name: _difference(name, first, second, pairs, seed) for name in shared}


def _paired(first: Sequence[str], second: Sequence[str]) -> list[tuple[int, int]]:
    """Positions of the same case in both; of a case that stands there often, each once."""
    places: dict[str, list[int]] = {}
    for place, name in reversed(list(enumerate(second))):
        places.setdefault(name, []).append(place)
    return [(i, places[name].pop()) for i, name in enumerate(first) if places.get(name)]


def _difference(name: str, first: Report, second: Report, pairs: Sequence[tuple[int, int]], seed: int) -> Difference:
    was, now = first.figures[name].value, second.figures[name].value
    plain = Difference(first=was, second=now, change=None if was is None or now is None else now - was)
    columns = RANKED.get(name, (name,))
    if any(column not in report.each for column in columns for report in (first, second)):
        return plain
    ours = [np.array([first.each[column][i] for i, _ in pairs], np.float64) for column in columns]
    theirs = [np.array([second.each[column][j] for _, j in pairs], np.float64) for column in columns]
    there = ~np.isnan(np.stack([*ours, *theirs])).any(axis=0) if pairs else np.empty(0, bool)
    ours, theirs = [column[there] for column in ours], [column[there] for column in theirs]
    cases = int(there.sum())
    if not cases:
        return plain

    def change(drawn: NDArray[np.intp]) -> float:
        return figure_of(name, [column[drawn] for column in theirs]) - figure_of(name, [column[drawn] for column in ours])

    within = bounds.resampled(change, cases, seed=seed)
    low, high = (None, None) if np.isnan(within.low) else (within.low, within.high)
    return Difference(first=was, second=now, change=change(np.arange(cases)), low=low, high=high, cases=cases)


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A condition that a report must meet, such as `retrieval.recall@1>=0.84`."""

    text: str
    key: str
    sign: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> "Gate":
        """:raises EvaluationError: for what is no condition."""
        found = _GATE.fullmatch(text)
        if not found:
            raise EvaluationError(f"{text!r} is no gate: write one as retrieval.recall@1>=0.84")
        return cls(text=text.strip(), key=found["key"], sign=found["sign"], limit=float(found["value"]))

    def check(self, values: Mapping[str, float | None]) -> tuple[bool, float | None]:
        """Whether it is met, and the value that was found; a figure that says nothing meets no gate.

        :raises EvaluationError: if there is no such figure.
        """
        if self.key not in values:
            raise EvaluationError(f"no figure {self.key} for the gate {self.text}: there are {', '.join(sorted(values))}")
        value = values[self.key]
        return value is not None and _SIGNS[self.sign](value, self.limit), value


def values(report: Report, differences: Mapping[str, Difference] | None = None) -> dict[str, float | None]:
    """What gates may ask for: figures, their bounds (`.low`, `.high`), and changes (`change:`)."""
    found: dict[str, float | None] = {}
    for name, figure in report.figures.items():
        found[name] = figure.value
        if figure.low is not None:
            found |= {f"{name}.low": figure.low, f"{name}.high": figure.high}
    for name, difference in (differences or {}).items():
        found[f"change:{name}"] = difference.change
        if difference.low is not None:
            found |= {f"change:{name}.low": difference.low, f"change:{name}.high": difference.high}
    return found


def as_json(differences: Mapping[str, Difference]) -> dict[str, Any]:
    """The differences as JSON holds them."""
    return {name: asdict(difference) for name, difference in differences.items()}
