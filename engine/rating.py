"""Replies of two systems rated by people: blind, side by side, in an order that the seed shuffles. Pure but for its files.

Who rates sees a question and two replies, never which system gave which. Each judgement is one line of JSONL, so that a session can
be broken off anywhere and gone on with.
"""

import datetime
import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from engine import agreement, bounds
from engine.cases import fraction, rows
from engine.errors import EvaluationError

#: Longest note that is kept, characters.
MOST_NOTE = 2000


class Choice(StrEnum):
    """What a rater says of a pair."""

    FIRST = "first"
    SECOND = "second"
    TIE = "tie"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One question with the replies of both systems."""

    question: str
    #: Of the first and of the second system.
    replies: tuple[str, str]

    @property
    def id(self) -> str:
        """The same for the same texts, so that a changed reply is rated anew."""
        return hashlib.sha256(repr((self.question, self.replies)).encode("utf-8", "surrogatepass")).hexdigest()[:16]


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the results."""

    item: str
    rater: str
    #: By system, not by side.
    choice: Choice
    #: The system that stood on the left: whoever prefers a side shows here.
    left: Choice
    note: str = ""
    #: ISO 8601, UTC.
    at: str = ""
    #: From the showing to the choice.
    seconds: float = 0.0
    question: str = ""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A pair as a rater sees it."""

    pair: Pair
    left: str
    right: str
    is_swapped: bool

    def judged(self, side: str, *, rater: str, note: str = "", seconds: float = 0.0) -> Judgement:
        """The judgement of `left`, `right` or `tie`.

        :raises EvaluationError: for anything else.
        """
        if side not in ("left", "right", "tie"):
            raise EvaluationError(f"{side!r} is no choice: left, right or tie")
        chosen = Choice.TIE if side == "tie" else (Choice.SECOND if (side == "left") == self.is_swapped else Choice.FIRST)
        return Judgement(
            item=self.pair.id,
            rater=rater,
            choice=chosen,
            left=Choice.SECOND if self.is_swapped else Choice.FIRST,
            note=note[:MOST_NOTE],
            at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            seconds=round(seconds, 1),
            question=self.pair.question,
        )


def pairs(first: Path, second: Path | None) -> list[Pair]:
    """The pairs of two files of replies, joined by question, or of one whose rows hold both as `a` and `b`.

    :raises EvaluationError: for files that cannot be read, and where no pair is left to rate.
    """
    if second is None:
        found = [_both(row, f"{first.name}, line {number}") for number, row in rows(first)]
    else:
        ours, theirs = _replies(first), _replies(second)
        found = [
            Pair(question=question, replies=(reply, theirs[question])) for question, reply in ours.items() if question in theirs
        ]
    different = [pair for pair in found if pair.replies[0].strip() != pair.replies[1].strip()]
    if not different:
        raise EvaluationError("there is nothing to rate: no question has two replies that differ")
    return list({pair.id: pair for pair in different}.values())


def _replies(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, row in rows(path):
        where = f"{path.name}, line {number}"
        found[_field(row, ("text", "question", "query"), where)] = _field(row, ("reply", "answer"), where)
    return found


def _both(row: dict[str, Any], where: str) -> Pair:
    question = _field(row, ("text", "question", "query"), where)
    return Pair(question=question, replies=(_field(row, ("a",), where), _field(row, ("b",), where)))


def _field(row: dict[str, Any], names: Sequence[str], where: str) -> str:
    for name in names:
        if isinstance(row.get(name), str):
            return str(row[name])
    raise EvaluationError(f"{where}: no text in {' or '.join(names)}; it has {', '.join(row) or 'nothing'}")


def shown(found: Iterable[Pair], *, seed: int, rater: str) -> list[Shown]:
    """All pairs in an order and with sides of this rater's own."""
    order = sorted(found, key=lambda pair: fraction(pair.id, salt=f"{seed} order {rater} "))
    return [_shown(pair, fraction(pair.id, salt=f"{seed} side {rater} ") < 0.5) for pair in order]


def _shown(pair: Pair, is_swapped: bool) -> Shown:
    left, right = reversed(pair.replies) if is_swapped else pair.replies
    return Shown(pair=pair, left=left, right=right, is_swapped=is_swapped)


@dataclass
class Session:
    """One rater at work: what is left, and the file that each judgement goes to at once."""

    queue: list[Shown]
    path: Path
    rater: str
    done: dict[str, Judgement] = field(default_factory=dict)

    @classmethod
    def begun(cls, found: Iterable[Pair], path: Path, *, seed: int, rater: str) -> "Session":
        """Goes on where this rater left off."""
        mine = {one.item: one for one in judgements([path]) if one.rater == rater} if path.exists() else {}
        return cls(queue=shown(found, seed=seed, rater=rater), path=path, rater=rater, done=mine)

    @property
    def next(self) -> Shown | None:
        """The pair to judge now."""
        return next((one for one in self.queue if one.pair.id not in self.done), None)

    @property
    def progress(self) -> tuple[int, int]:
        """How many of how many are judged."""
        return sum(one.pair.id in self.done for one in self.queue), len(self.queue)

    def find(self, item: str) -> Shown | None:
        """The pair of an id."""
        return next((one for one in self.queue if one.pair.id == item), None)

    def judge(self, one: Shown, side: str, *, note: str = "", seconds: float = 0.0) -> None:
        """Writes a judgement; a later one of the same pair counts instead.

        :raises EvaluationError: for a choice that is none, and for a file that cannot be written.
        """
        judgement = one.judged(side, rater=self.rater, note=note, seconds=seconds)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(msgspec.json.encode(judgement) + b"\n")
        except OSError as error:
            raise EvaluationError(f"{self.path} cannot be written ({error.strerror}): name another file with --out") from error
        self.done[judgement.item] = judgement

    def undo(self) -> Shown | None:
        """Takes the latest judgement back for now; the pair is asked again, and its new judgement counts."""
        if not self.done:
            return None
        item = next(reversed(self.done))
        del self.done[item]
        return self.find(item)


def judgements(paths: Iterable[Path]) -> list[Judgement]:
    """All judgements of these files, the latest of each rater and pair; a last line that was cut off is left out.

    :raises EvaluationError: naming the line that is no judgement.
    """
    latest: dict[tuple[str, str], Judgement] = {}
    for path in paths:
        try:
            lines = path.read_bytes().splitlines(keepends=True)
        except OSError as error:
            raise EvaluationError(f"{path} cannot be read ({error.strerror}): name a file of judgements") from error
        if lines and not lines[-1].endswith(b"\n"):
            del lines[-1]  # the process died while it wrote; the pair is asked again
        for number, line in enumerate(lines, 1):
            if line.strip():
                one = _judgement(line, f"{path.name}, line {number}")
                latest[one.rater, one.item] = one
    return list(latest.values())


def _judgement(line: bytes, where: str) -> Judgement:
    try:
        return msgspec.json.decode(line, type=Judgement)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EvaluationError(f"{where}: no judgement ({error})") from error


def summary(found: Sequence[Judgement], *, names: tuple[str, str] = ("first", "second")) -> dict[str, Any]:
    """Who won how often, how sure that is, and how far raters agree.

    A pair counts once, by what most of its raters said; a tie, and what they are split about, is half a win of each.
    """
    by_item: dict[str, Counter[Choice]] = {}
    by_rater: dict[str, dict[str, Choice]] = {}
    for one in found:
        by_item.setdefault(one.item, Counter())[one.choice] += 1
        by_rater.setdefault(one.rater, {})[one.item] = one.choice
    votes = Counter(_majority(said) for said in by_item.values())
    wins, losses = votes[Choice.FIRST], votes[Choice.SECOND]
    decided = bounds.share(wins, wins + losses)
    left = sum(one.choice is one.left for one in found)
    sided = sum(one.choice is not Choice.TIE for one in found)
    count = len(by_item)
    return {
        "pairs": count,
        "judgements": len(found),
        "wins": {names[0]: wins, names[1]: losses, "tie": votes[Choice.TIE]},
        "win_rate": (wins + votes[Choice.TIE] / 2) / count if count else None,
        "win_rate_without_ties": {
            "value": wins / (wins + losses) if wins + losses else None,
            "low": decided.low,
            "high": decided.high,
        },
        "left_preferred": left / sided if sided else None,
        "raters": {rater: len(said) for rater, said in by_rater.items()},
        "agreement": _agreement(by_rater),
    }


def _majority(said: Counter[Choice]) -> Choice:
    most = said.most_common(2)
    return Choice.TIE if len(most) > 1 and most[0][1] == most[1][1] else most[0][0]


def _agreement(by_rater: dict[str, dict[str, Choice]]) -> dict[str, Any]:
    """Kappa for two raters, alpha for any number."""
    found: dict[str, Any] = {"alpha": _told(agreement.alpha(by_rater))}
    if len(by_rater) == 2:
        first, second = by_rater.values()
        both = [item for item in first if item in second]
        found["kappa"] = _told(agreement.kappa([first[item] for item in both], [second[item] for item in both]))
        found["both"] = len(both)
    return found


def _told(value: float) -> float | None:
    return None if math.isnan(value) else value
