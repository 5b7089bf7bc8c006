"""The public sets that the rows are measured on: a folder for each, with JSONL files. A test part gives the final figure alone."""

import json
import os
from pathlib import Path
from typing import Any

#: Names the folder of the sets; where it is not set and there is one beside the project, that is taken.
VARIABLE = "REPLYMILL_EVAL_DATA"
_BESIDE = Path(__file__).resolve().parents[2].parent / "shared" / "data"


class NoData(Exception):
    """The sets are not there; the text says what to do."""


def folder() -> Path:
    """Where the sets are.

    :raises NoData: if they are nowhere.
    """
    named = os.environ.get(VARIABLE, "")
    found = Path(named).expanduser() if named else _BESIDE
    if not found.is_dir():
        raise NoData(f"the public sets are not at {found}: fetch them and set {VARIABLE} to their folder, see docs/evaluation.md")
    return found


def load(name: str, part: str) -> list[dict[str, Any]]:
    """The rows of one part of a set.

    :raises NoData: if it is not there.
    """
    path = folder() / name / f"{part}.jsonl"
    if not path.is_file():
        raise NoData(f"there is no {path}: fetch the set {name}, or run other rows by ONLY=ROW")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
