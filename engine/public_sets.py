"""Public sets that `replymill eval NAME` knows, in the folder of REPLYMILL_EVAL_DATA; docs/evaluation.md says where from."""

from dataclasses import dataclass
from pathlib import Path

from engine import cases
from engine.cases import Case, Cases
from engine.errors import EvaluationError

#: Share of a set without parts, or of a training part, from which knowledge is made when the rest is held out.
_KNOWN = 0.5


@dataclass(frozen=True, kw_only=True)
class PublicSet:
    """Where a set's parts lie."""

    #: What the knowledge base is made of.
    train: tuple[str, ...]
    #: What the final figure is measured on, and nothing else; empty for a set without parts, which is split by its texts.
    test: tuple[str, ...] = ()
    #: Questions out of scope that may be tuned on.
    outside: tuple[str, ...] = ()


SETS = {
    "banking77": PublicSet(train=("banking77/train.jsonl",), test=("banking77/test.jsonl",)),
    "clinc150": PublicSet(
        train=("clinc150/train.jsonl",),
        test=("clinc150/test.jsonl", "clinc150/oos_test.jsonl"),
        outside=("clinc150/oos_val.jsonl",),
    ),
    "hwu64": PublicSet(train=("hwu64/train.jsonl",), test=("hwu64/test.jsonl",)),
    "bitext": PublicSet(train=("bitext27k_queries/queries.jsonl",)),
    "natcs": PublicSet(train=("dstc11_natcs/development.jsonl",)),
}


def load(name: str, folder: str, *, is_development: bool) -> tuple[Cases, list[Case]]:
    """The cases of a set, and the questions that its knowledge base is made of; no question is in both.

    In development the cases come out of the training part, so that the test part stays unseen.

    :raises EvaluationError: for a set that is not there.
    """
    found = SETS.get(name)
    if found is None:
        raise EvaluationError(f"no such file, and no such set: {name}; the sets are {', '.join(SETS)}")
    if not folder:
        raise EvaluationError(f"{name} is a public set: set REPLYMILL_EVAL_DATA to its folder, see docs/evaluation.md")
    known = cases.read(_paths(folder, found.train))
    if found.test and not is_development:
        asked = cases.read(_paths(folder, found.test))
        seen = {case.question for case in known.cases}
        return Cases([case for case in asked.cases if case.question not in seen], asked.ignored), known.cases
    held = [case for case in known.cases if not _is_known(case)]
    outside = cases.read(_paths(folder, found.outside)).cases if found.outside else []
    return Cases(held + outside, known.ignored), [case for case in known.cases if _is_known(case)]


def _is_known(case: Case) -> bool:
    return cases.fraction(case.question) < _KNOWN


def _paths(folder: str, names: tuple[str, ...]) -> list[Path]:
    paths = [Path(folder).expanduser() / name for name in names]
    for path in paths:
        if not path.is_file():
            raise EvaluationError(f"{path} is not there: docs/evaluation.md says where the set comes from")
    return paths
