"""Questions to evaluate on, read from JSONL: the user's own, or a public set's. Whatever is wrong with a file names its line.

| field | other names | what it is |
|---|---|---|
| `text` | `question`, `query` | what is asked; or `turns`, the last of which asks |
| `label` | `intent`, `key` | the knowledge entry that answers it: its document, id, link or title |
| `reference` | `answer` | a right answer |
| `reply` | | an answer that was already given, to be judged as it is |
| `language` | | ISO 639-1 |
| `oos` | | true where the knowledge base has no answer; a label `oos` or `out_of_scope` says the same |
| `turns` | | what was said, oldest first: texts, or `{"role": "user", "text": ...}`; texts alone alternate, the person last |
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from engine.errors import EvaluationError
from engine.knowledge import Passage
from engine.messages import Role, Turn

#: Bytes of one line; a conversation of book length fits.
MOST_LINE = 4_000_000
#: Labels that say that nothing answers the question.
OUT_OF_SCOPE = frozenset({"oos", "out_of_scope", "out-of-scope"})

_NAMES: Mapping[str, tuple[str, ...]] = {
    "text": ("text", "question", "query"),
    "label": ("label", "intent", "key"),
    "reference": ("reference", "answer"),
    "reply": ("reply",),
    "language": ("language",),
    "oos": ("oos",),
    "turns": ("turns",),
    "id": ("id",),
}
_FIELDS = {other: name for name, others in _NAMES.items() for other in others}
_ROLES = {**{role.value: role for role in Role}, "human": Role.USER, "customer": Role.USER, "bot": Role.ASSISTANT}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One question, with what is known of its answer."""

    question: str
    #: What was said before it, oldest first.
    turns: tuple[Turn, ...] = ()
    label: str = ""
    reference: str = ""
    reply: str = ""
    language: str = ""
    #: Out of scope: nothing answers it.
    oos: bool = False

    @property
    def id(self) -> str:
        """The same for the same question after the same turns, in whatever file it stands."""
        said = [turn.text for turn in self.turns]
        return hashlib.sha256(repr((self.question, said)).encode("utf-8", "surrogatepass")).hexdigest()[:12]


@dataclass
class Cases:
    """What a file holds."""

    cases: list[Case] = field(default_factory=list)
    #: Fields that mean nothing here, with the lines that have them.
    ignored: dict[str, int] = field(default_factory=dict)


def read(paths: Sequence[Path]) -> Cases:
    """All cases of these files.

    :raises EvaluationError: naming file and line.
    """
    found = Cases()
    for path in paths:
        for number, row in rows(path):
            where = f"{path.name}, line {number}"
            found.cases.append(_case(_known(row, where, found.ignored), where))
    if not found.cases:
        raise EvaluationError(f"{', '.join(path.name for path in paths)} has no question: a line is, say, " + '{"text": "Hi?"}')
    return found


def rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSONL file with the numbers of their lines; empty lines are passed over.

    :raises EvaluationError: for a file that cannot be read, and for a line that is no object.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MOST_LINE + 1):
                number += 1
                if len(line) > MOST_LINE:
                    raise EvaluationError(f"{path.name}, line {number}: longer than {MOST_LINE} bytes: put one object a line")
                if line.strip():
                    yield number, _row(line.removeprefix(b"\xef\xbb\xbf"), f"{path.name}, line {number}")
    except OSError as error:
        raise EvaluationError(f"{path} cannot be read ({error.strerror}): name a JSONL file") from error


def _row(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = msgspec.json.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EvaluationError(f"{where}: not JSON ({error}): each line is one object") from error
    if not isinstance(row, dict):
        raise EvaluationError(f"{where}: {type(row).__name__} instead of an object with fields such as text and label")
    return row


def _known(row: Mapping[str, Any], where: str, ignored: dict[str, int]) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for name, value in row.items():
        meant = _FIELDS.get(name)
        if meant is None:
            ignored[name] = ignored.get(name, 0) + 1
        elif meant in known and value not in (None, known[meant]):
            raise EvaluationError(f"{where}: {name} says again, and otherwise, what {meant} is: leave one of them out")
        elif value is not None:
            known[meant] = value
    return known


def _case(row: Mapping[str, Any], where: str) -> Case:
    turns = _turns(row.get("turns", []), where)
    question = _text(row, "text", where)
    if not question and turns and turns[-1].role is Role.USER:
        question, turns = turns[-1].text, turns[:-1]
    if not question.strip():
        raise EvaluationError(f"{where}: no question: text is missing or empty, and no turn of a person comes last")
    label, oos = _text(row, "label", where), row.get("oos", False)
    if oos not in (True, False):
        raise EvaluationError(f"{where}: oos is {oos!r}, but must be true or false")
    return Case(
        question=question,
        turns=turns,
        label="" if label in OUT_OF_SCOPE else label,
        reference=_text(row, "reference", where),
        reply=_text(row, "reply", where),
        language=_text(row, "language", where),
        oos=bool(oos) or label in OUT_OF_SCOPE,
    )


def _text(row: Mapping[str, Any], name: str, where: str) -> str:
    value = row.get(name, "")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise EvaluationError(f"{where}: {name} is {type(value).__name__}, but must be text")
    return str(value)


def _turns(said: Any, where: str) -> tuple[Turn, ...]:
    if not isinstance(said, list):
        raise EvaluationError(f"{where}: turns is {type(said).__name__}, but must be a list")
    last = len(said) - 1
    return tuple(_turn(turn, (last - i) % 2 == 0, f"{where}, turn {i + 1}") for i, turn in enumerate(said))


def _turn(said: Any, is_person: bool, where: str) -> Turn:
    """A text, a pair of role and text, or an object of both."""
    role: Any = Role.USER if is_person else Role.ASSISTANT
    match said:
        case str(text):
            pass
        case [str(given), str(text)]:
            role = _ROLES.get(given)
        case {"text": str(text), **rest} | {"content": str(text), **rest}:
            role = _ROLES.get(str(rest.get("role", "")))
        case _:
            raise EvaluationError(f"{where}: neither a text nor an object of role and text")
    if role is None:
        raise EvaluationError(f"{where}: the role must be user, assistant or agent")
    return Turn(role=role, text=text, at=0)


def fraction(text: str, *, salt: str = "") -> float:
    """From 0 to below 1, by the text alone: splits files the same way everywhere, so that no text is on both sides."""
    return int.from_bytes(hashlib.sha256(f"{salt}{text}".encode("utf-8", "surrogatepass")).digest()[:6]) / 2**48


def knowledge(cases: Sequence[Case], *, phrasings: int, seed: int = 0) -> list[Passage]:
    """A knowledge base of labelled questions: an entry a label, of so many of its phrasings, chosen by the seed.

    Its answer is the first that stands with the label, or the label itself; questions without a label are their answer's.
    """
    groups: dict[str, list[Case]] = {}
    for case in cases:
        if not case.oos and (case.label or case.reference):
            groups.setdefault(case.label or case.reference, []).append(case)
    found = []
    for label, members in sorted(groups.items()):
        chosen = sorted(dict.fromkeys(case.question for case in members), key=lambda text: fraction(text, salt=f"{seed} "))
        answer = next((case.reference for case in members if case.reference), label)
        language = members[0].language if len({case.language for case in members}) == 1 else ""
        passage = Passage(document=label, text=answer, questions=tuple(chosen[:phrasings]), language=language)
        found.append(passage.identified())
    return found
