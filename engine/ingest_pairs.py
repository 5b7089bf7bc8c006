"""Reads pairs of questions and answers: a table (CSV, TSV) or objects (JSONL, JSON), one answer a row or one phrasing a row.

Rows with the same answer are phrasings of one question. A row that cannot be read is left out and named; the others are read.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from engine.errors import Unreadable
from engine.ingest_cut import size
from engine.ingest_markdown import Document, Draft

#: Phrasings of one answer; what has more is a log and not a list.
MOST_QUESTIONS = 2_000
#: Bytes of a question: longer ones are letters.
MOST_QUESTION = 2_000
#: Bytes of an answer that can be given word by word; chat platforms split what is longer.
MOST_ANSWER = 8_000
#: Bad rows that are named one by one.
MOST_NAMED = 20
#: Bytes of one field: a quotation mark that is never closed swallows the rest of the file.
MOST_FIELD = 131_072

#: What a column may be called: lower case, without spaces and punctuation; a number may follow.
_QUESTION = (
    "question questions q query queries utterance utterances phrasing phrasings phrase variant variants alternative alternatives"
    " alternativequestion alternativequestions alternatequestions alternatephrasings alias aliases paraphrase paraphrases synonyms"
    " frage fragen pregunta preguntas pergunta perguntas domanda domande vraag vragen 问题 問題 質問 вопрос سؤال السؤال"
    " title prompt input text"
)
_ANSWER = (
    "answer answers a response responses reply replies completion output antwort antworten respuesta resposta reponse réponse"
    " risposta antwoord 答案 回答 ответ جواب الجواب الإجابة content body solution"
)
_LINK = frozenset({"link", "url", "href"})
_LANGUAGE = frozenset({"language", "lang", "locale", "sprache"})
_TOPIC = frozenset({"heading", "topic", "category", "section", "group", "thema", "kategorie"})
_ROLES = {
    **dict.fromkeys(_TOPIC, "topic"),
    **dict.fromkeys(_LANGUAGE, "language"),
    **dict.fromkeys(_LINK, "link"),
    **dict.fromkeys(_QUESTION.split(), "question"),
    **dict.fromkeys(_ANSWER.split(), "answer"),
}
#: Columns that count as questions only where no better one is there.
_WEAK = frozenset({"title", "prompt", "input", "text"})
#: The first line that a spreadsheet writes for itself.
_SEPARATOR = re.compile(r"\Asep=.\r?\n", re.IGNORECASE)
_DELIMITERS = (",", ";", "\t", "|")


@dataclass
class _Answer:
    """What rows say of one answer."""

    heading: tuple[str, ...]
    link: str
    language: str
    #: By its letters, so that two spellings of one phrasing are one.
    questions: dict[str, str] = field(default_factory=dict)


class _BadRow(Exception):
    """A row says nothing that could be used; its text says why."""


def read_table(text: str) -> Document:
    """The answers of a table whose first row names its columns."""
    rows = _rows(_SEPARATOR.sub("", text, count=1))
    first = next(rows, None)
    return Document() if first is None else _gathered(rows, roles(first[1]))


def read_lines(text: str) -> Document:
    """The answers of one JSON object a line."""
    return answers_of(_lines(text))


def holds_pairs(items: Sequence[object]) -> bool:
    """Whether any of the objects has both a question and an answer."""
    return any({"question", "answer"} <= {_role(name) for name in item} for item in items if isinstance(item, dict))


def answers_of(objects: Iterable[tuple[str, object]]) -> Document:
    """The answers of objects, each with its place."""
    return _gathered(objects, ())


def roles(header: Sequence[str]) -> list[str]:
    """What each column of a table holds, by its name; empty where that is of no use.

    :raises Unreadable: there is no question or no answer among them.
    """
    found = [_role(name) for name in header]
    if any(role == "question" and _letters(name) not in _WEAK for role, name in zip(found, header, strict=True)):
        weak = [role == "question" and _letters(name) in _WEAK for role, name in zip(found, header, strict=True)]
        found = ["" if less else role for role, less in zip(found, weak, strict=True)]
    if not {"question", "answer"} <= set(found):
        said = ", ".join(repr(name[:40]) for name in header[:10])
        raise Unreadable(f"row 1 names no columns `question` and `answer`, but {said}: rename its columns")
    return found


def _letters(name: object) -> str:
    return re.sub(r"[\W\d_]+", "", str(name)[:100].casefold())


def _role(name: object) -> str:
    return _ROLES.get(_letters(name), "")


def _rows(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each row of a table that holds anything, with its place."""
    csv.field_size_limit(MOST_FIELD)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True, skipinitialspace=True)
    number = 0
    while True:
        number += 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise Unreadable(f"row {number} (line {reader.line_num}) cannot be read: {error}; check its quotation marks") from error
        if row is None:
            return
        if any(cell.strip() for cell in row):
            yield f"row {number}", row


def _delimiter(text: str) -> str:
    """The one that cuts the first line into columns with names we know, or else into most columns."""
    first = text.lstrip().split("\n", 1)[0][:MOST_FIELD]

    def fits(delimiter: str) -> tuple[int, int]:
        cells = [cell.strip(' "\r') for cell in first.split(delimiter)]
        return len({_role(cell) for cell in cells} - {""}), len(cells)

    return max(_DELIMITERS, key=fits)


def _lines(text: str) -> Iterator[tuple[str, object]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"line {number}", _parsed(line)


def _parsed(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return _BadRow(f"it is no JSON: {error}")


def _gathered(rows: Iterable[tuple[str, object]], named: Sequence[str]) -> Document:
    answers: dict[str, _Answer] = {}
    texts: dict[str, str] = {}
    skipped: list[tuple[str, str]] = []
    for place, row in rows:
        try:
            answer, found = _pair(row, named)
            known = answers.setdefault(_letters_of(answer), found)
            texts.setdefault(_letters_of(answer), answer)
            _add(known, found)
        except _BadRow as reason:
            skipped.append((place, str(reason)))
    more = len(skipped) - MOST_NAMED
    named_rows = skipped[:MOST_NAMED] + ([("", f"{more} more rows could not be read")] if more > 0 else [])
    drafts = tuple(
        Draft(text=texts[key], heading=one.heading, questions=tuple(one.questions.values()), link=one.link, language=one.language)
        for key, one in answers.items()
    )
    return Document(drafts=drafts, skipped=tuple(named_rows))


def _distinct(questions: Iterable[str]) -> dict[str, str]:
    """By their letters, each as it was first spelt."""
    kept: dict[str, str] = {}
    for question in questions:
        kept.setdefault(_letters_of(question), question)
    return kept


def _letters_of(text: str) -> str:
    return " ".join(text.split()).casefold()


def _add(known: _Answer, found: _Answer) -> None:
    for letters, question in found.questions.items():
        known.questions.setdefault(letters, question)
    known.link = known.link or found.link
    if len(known.questions) > MOST_QUESTIONS:
        known.questions = dict(list(known.questions.items())[:MOST_QUESTIONS])
        raise _BadRow(f"its answer has more than {MOST_QUESTIONS} phrasings already")


def _pair(row: object, named: Sequence[str]) -> tuple[str, _Answer]:
    """An answer, and what one row says of it."""
    if isinstance(row, _BadRow):
        raise row
    cells = _table_cells(row, named) if isinstance(row, list) and named else _object_cells(row)
    answer = "\n\n".join(cells.get("answer", ()))
    questions = cells.get("question", [])
    if not answer:
        raise _BadRow("it has no answer")
    if not questions:
        raise _BadRow("it has no question")
    if size(answer) > MOST_ANSWER:
        raise _BadRow(f"its answer is longer than {MOST_ANSWER} bytes: shorten it, or put it into a Markdown file")
    if any(size(question) > MOST_QUESTION for question in questions):
        raise _BadRow(f"a question is longer than {MOST_QUESTION} bytes")
    topics = tuple(part.strip() for topic in cells.get("topic", ()) for part in topic.split(" > ") if part.strip())
    single = {role: next(iter(cells.get(role, ())), "") for role in ("link", "language")}
    return answer, _Answer(topics, single["link"], single["language"], _distinct(questions))


def _table_cells(row: Sequence[str], named: Sequence[str]) -> dict[str, list[str]]:
    if len(row) > len(named) and any(cell.strip() for cell in row[len(named) :]):
        raise _BadRow(
            f"it has {len(row)} columns where the first row has {len(named)}: put what holds a delimiter into quotation marks"
        )
    cells: dict[str, list[str]] = {}
    for role, cell in zip(named, row, strict=False):
        for value in _split(cell, role) if role else ():
            cells.setdefault(role, []).append(value)
    return cells


def _split(cell: str, role: str) -> list[str]:
    """A cell of questions holds one a line, or several between bars."""
    parts = re.split(r"[\n|]", cell) if role == "question" else [cell]
    return [part.strip() for part in parts if part.strip()]


def _object_cells(row: object) -> dict[str, list[str]]:
    if not isinstance(row, dict):
        raise _BadRow("it is no object with `question` and `answer`")
    strong = {name for name in row if _role(name) == "question" and _letters(name) not in _WEAK}
    cells: dict[str, list[str]] = {}
    for name, value in row.items():
        role = _role(name)
        if role and (role != "question" or not strong or name in strong):
            cells.setdefault(role, []).extend(_texts(name, value))
    return cells


def _texts(name: str, value: object) -> list[str]:
    """A text, or a list of them."""
    values = value if isinstance(value, list) else [] if value is None else [value]
    for one in values:
        if not isinstance(one, str):
            raise _BadRow(f"its {name!r} is neither a text nor a list of texts")
    return [one.strip() for one in values if isinstance(one, str) and one.strip()]
