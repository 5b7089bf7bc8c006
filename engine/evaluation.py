"""What the parts of an evaluation share: what is asked for, the cases, what answers them, and what was found so far."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from engine.cases import Case
from engine.evaluated import Report
from engine.knowledge import Hit
from engine.subject import Answered, Subject, is_answer

#: Hits that are ranked for each question: the reciprocal rank of a later one is under 0.1.
HITS = 10
#: Questions that are encoded and searched together. The first of each is timed alone.
CHUNK = 64
#: Told what is done of what, by stage.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is measured, and how."""

    parts: frozenset[str]
    seed: int = 0
    #: Most cases; 0: all. Those that are left out are chosen by the seed, the same for every system.
    limit: int = 0
    #: Precision that a threshold is sought for.
    target: float = 0.95
    #: Confidence from which the first hit is given as the answer.
    threshold: float = 0.0
    #: Cases that are answered in full, as the model takes seconds for each.
    replies: int = 100
    #: Of those, how many at a time.
    batch: int = 8
    #: Price of the machine, an hour.
    price: float = 0.0


@dataclass
class Run:
    """What parts share: the cases, what answers them, and the report."""

    cases: Sequence[Case]
    subject: Subject
    options: Options
    report: Report
    progress: Progress
    #: For each case, so far.
    hits: list[list[Hit]] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    #: Of questions that were asked alone, ms.
    search_ms: list[float] = field(default_factory=list)
    #: What was replied, by position.
    answers: dict[int, Answered] = field(default_factory=dict)

    def search(self) -> None:
        """Looks every question up."""
        for start in range(0, len(self.cases), CHUNK):
            questions = [case.question for case in self.cases[start : start + CHUNK]]
            began = time.perf_counter()
            found, confidence = self.subject.search(questions[:1], k=HITS)
            self.search_ms.append((time.perf_counter() - began) * 1000)
            more = self.subject.search(questions[1:], k=HITS) if questions[1:] else ([], [])
            self.hits += found + more[0]
            self.confidence += confidence + more[1]
            self.progress("search", len(self.hits), len(self.cases))

    @cached_property
    def labelled(self) -> list[int]:
        """Positions of the cases that say what answers them."""
        return [i for i, case in enumerate(self.cases[: len(self.hits)]) if not case.oos and (case.label or case.reference)]

    def is_right(self, i: int) -> bool:
        """Whether the first hit of a case answers it."""
        return bool(self.hits[i]) and not self.cases[i].oos and is_answer(self.hits[i][0].passage, self.cases[i])
