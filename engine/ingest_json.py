"""Reads JSON: a list of questions and answers, or a tree of facts whose names become headings."""

import json
from collections.abc import Iterator

from engine.errors import Unreadable
from engine.ingest_cut import Block, pieces
from engine.ingest_markdown import Document, Draft
from engine.ingest_pairs import MOST_ANSWER, answers_of, holds_pairs

#: Levels of names that become headings; what lies deeper is written as it stands.
MOST_LEVELS = 8


def read_json(text: str) -> Document:
    """The passages of a JSON file.

    :raises Unreadable: it is no JSON, or no list and no object.
    """
    try:
        said = json.loads(text)
    except json.JSONDecodeError as error:
        raise Unreadable(f"line {error.lineno} is no JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"it is no JSON that can be read: {error}") from error
    whole = next(iter(said.values())) if isinstance(said, dict) and len(said) == 1 else said
    if isinstance(whole, list) and holds_pairs(whole):
        return answers_of((f"item {number}", item) for number, item in enumerate(whole, 1))
    if not isinstance(said, list | dict):
        raise Unreadable("it holds a single value, neither a list nor an object")
    return Document(drafts=tuple(_drafts(said, ())))


def _drafts(said: object, path: tuple[str, ...]) -> Iterator[Draft]:
    """What is said at one place of the tree, and then below it."""
    named = said.items() if isinstance(said, dict) else [("", item) for item in said] if isinstance(said, list) else []
    deep = [(name, value) for name, value in named if _has_parts(value) and len(path) < MOST_LEVELS]
    lines = [line for name, value in named if not (_has_parts(value) and len(path) < MOST_LEVELS) and (line := _line(name, value))]
    for piece in pieces([Block("list", "\n".join(lines))] if lines else []):
        yield Draft(text=piece, heading=path)
    for name, value in deep:
        yield from _drafts(value, (*path, _words(name)) if name else path)


def _has_parts(value: object) -> bool:
    """Whether a value has places of its own, and is not just a few words."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, dict) or any(isinstance(item, dict | list) for item in inner)


def _line(name: str, value: object) -> str:
    values = [value] if not isinstance(value, list) else value
    said = "; ".join(str(item)[:MOST_ANSWER] for item in values if item not in (None, ""))
    return f"- {_words(name)}: {said}" if name and said else f"- {said}" if said else ""


def _words(name: str) -> str:
    return " ".join(name.replace("_", " ").split())[:300]
