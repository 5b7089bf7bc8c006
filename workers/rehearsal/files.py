"""Files of conversation tests: YAML, read strictly; what is wrong is told with its line and key. docs/testing.md has the format."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import regex  # type: ignore[import-untyped] # it brings no annotations
import yaml

from engine.errors import UnusableTest
from engine.messages import Source

#: Bytes of a file, and levels of one thing inside another: a test needs six.
LONGEST_FILE, DEEPEST = 1_000_000, 20
#: Seconds one turn may wait, and times one conversation is repeated.
LONGEST_WAIT, MOST_REPEATS = 600.0, 1_000
SUFFIXES = (".yaml", ".yml")

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What a reply must be; what is not given is not looked at."""

    contains: tuple[str, ...] = ()
    not_contains: tuple[str, ...] = ()
    #: Regular expressions, searched for.
    matches: tuple[str, ...] = ()
    #: Any of them.
    source: tuple[str, ...] = ()
    #: Each within the evidence.
    evidence: tuple[str, ...] = ()
    confidence_at_least: float | None = None
    choices: tuple[str, ...] = ()
    handed_over: bool | None = None
    language: str = ""
    max_seconds: float | None = None
    #: Nothing is to be said.
    silent: bool = False


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What a user does, and what must come of it."""

    line: int
    #: One message, or fragments that are sent one right after the other.
    says: tuple[str, ...]
    #: What the last of them is edited to before it is answered.
    edit: str = ""
    #: Seconds before it.
    wait: float = 0.0
    expect: Expectation = Expectation()


@dataclass(frozen=True, kw_only=True)
class Case:
    """One conversation."""

    name: str
    line: int
    turns: tuple[Turn, ...]
    tags: tuple[str, ...] = ()
    repeat: int = 1


@dataclass(frozen=True, kw_only=True)
class Suite:
    """One file."""

    path: Path
    cases: tuple[Case, ...]
    tenant: str = ""
    #: Published in the private copy before anything is said.
    knowledge: tuple[Path, ...] = ()
    #: Whether there are people to whom a conversation can be handed.
    people: bool = True


def found(paths: Sequence[Path]) -> list[Suite]:
    """The files that are named, and those in the folders that are named.

    :raises UnusableTest: there are none, or one cannot be used.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
        else:
            files.append(path)
    if not files:
        raise UnusableTest(f"no test in {', '.join(map(str, paths))}: name files or folders with {' or '.join(SUFFIXES)} files")
    return [read(path) for path in dict.fromkeys(files)]


def read(path: Path) -> Suite:
    """One file.

    :raises UnusableTest: naming line and key.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UnusableTest(f"{path} cannot be read ({error.strerror})") from error
    if len(raw) > LONGEST_FILE:
        raise UnusableTest(f"{path} has {len(raw)} bytes, more than the {LONGEST_FILE} of a test: cut it into several")
    return _suite(_Reader(path), _composed(path, raw))


class _Plain(yaml.SafeLoader):  # type: ignore[misc] # PyYAML brings no annotations
    """Without anchors, which can make a small file huge, and without depth."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()
        if getattr(event, "anchor", None):
            raise yaml.MarkedYAMLError(problem="anchors and aliases are not allowed", problem_mark=event.start_mark)
        if self.depth > DEEPEST:
            raise yaml.MarkedYAMLError(problem="too deeply nested", problem_mark=event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _composed(path: Path, raw: bytes) -> yaml.Node:
    try:
        node = yaml.compose(raw, Loader=_Plain)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UnusableTest(f"{path}:{line}: this is no YAML that can be used: {error.problem or error.context}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UnusableTest(f"{path}:1: this is no YAML: {str(error).splitlines()[0]}") from error
    if node is None:
        raise UnusableTest(f"{path}:1: the file is empty: see docs/testing.md")
    return node


class _Reader:
    """Reads nodes of one file; `key` is the way to what is read, for the error."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def wrong(self, node: yaml.Node, key: str, what: str) -> UnusableTest:
        return UnusableTest(f"{self.path}:{node.start_mark.line + 1}: {key or 'the file'}: {what}")

    def mapping(self, node: yaml.Node, key: str, known: Sequence[str], *, needs: Sequence[str] = ()) -> Mapping[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            raise self.wrong(node, key, f"must have keys, of {', '.join(known)}")
        values: dict[str, yaml.Node] = {}
        for name, value in node.value:
            called = str(name.value) if isinstance(name, yaml.ScalarNode) else "?"
            if called not in known:
                raise self.wrong(name, _below(key, called), f"is not known here; known are {', '.join(known)}")
            if called in values:
                raise self.wrong(name, _below(key, called), "is given twice")
            values[called] = value
        for need in needs:
            if need not in values:
                raise self.wrong(node, key, f"`{need}` is missing")
        return values

    def sequence(self, node: yaml.Node, key: str) -> list[yaml.Node]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            raise self.wrong(node, key, "must be a list of at least one")
        return list(node.value)

    def text(self, node: yaml.Node, key: str) -> str:
        if not isinstance(node, yaml.ScalarNode) or not node.value.strip():
            raise self.wrong(node, key, "must be a text that is not empty")
        return str(node.value)

    def texts(self, node: yaml.Node, key: str) -> tuple[str, ...]:
        """One text or a list of them."""
        if isinstance(node, yaml.SequenceNode):
            return tuple(self.text(one, f"{key}[{place}]") for place, one in enumerate(self.sequence(node, key)))
        return (self.text(node, key),)

    def number(self, least: float, most: float) -> Callable[[yaml.Node, str], float]:
        def number(node: yaml.Node, key: str) -> float:
            try:
                value = float(self.text(node, key))
            except ValueError:
                value = float("nan")
            if not least <= value <= most:
                raise self.wrong(node, key, f"must be a number from {least:g} to {most:g}")
            return value

        return number

    def flag(self, node: yaml.Node, key: str) -> bool:
        value = self.text(node, key).lower()
        if value not in ("true", "false"):
            raise self.wrong(node, key, "must be true or false")
        return value == "true"

    def patterns(self, node: yaml.Node, key: str) -> tuple[str, ...]:
        texts = self.texts(node, key)
        for one in texts:
            try:
                regex.compile(one)
            except regex.error as error:
                raise self.wrong(node, key, f"{one!r} is no regular expression: {error}") from error
        return texts

    def sources(self, node: yaml.Node, key: str) -> tuple[str, ...]:
        texts = self.texts(node, key)
        if unknown := set(texts) - set(Source):
            raise self.wrong(node, key, f"there is no source {min(unknown)!r}; there are {', '.join(Source)}")
        return texts

    def language(self, node: yaml.Node, key: str) -> str:
        value = self.text(node, key)
        if not re.fullmatch("[a-z]{2}", value):
            raise self.wrong(node, key, "must be a language as ISO 639-1 has it, such as de")
        return value

    def fields(self, node: yaml.Node, key: str, kinds: Mapping[str, Callable[[yaml.Node, str], Any]], **how: Any) -> dict[str, Any]:
        """The values of a mapping, each read by its kind."""
        values = self.mapping(node, key, list(kinds), **how)
        return {name: kinds[name](value, _below(key, name)) for name, value in values.items()}

    def each(self, read: Callable[[yaml.Node, str], T]) -> Callable[[yaml.Node, str], tuple[T, ...]]:
        return lambda node, key: tuple(read(one, f"{key}[{place}]") for place, one in enumerate(self.sequence(node, key)))


def _below(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _suite(reader: _Reader, node: yaml.Node) -> Suite:
    kinds: dict[str, Callable[[yaml.Node, str], Any]] = {
        "tenant": reader.text,
        "people": reader.flag,
        "knowledge": lambda node, key: _knowledge(reader, node, key),
        "conversations": reader.each(lambda node, key: _case(reader, node, key)),
    }
    fields = reader.fields(node, "", kinds, needs=("conversations",))
    suite = Suite(path=reader.path, cases=fields.pop("conversations"), **fields)
    names = [case.name for case in suite.cases]
    for case in suite.cases:
        if names.count(case.name) > 1:
            raise UnusableTest(f"{reader.path}:{case.line}: conversations: the name {case.name!r} is given twice")
    return suite


def _knowledge(reader: _Reader, node: yaml.Node, key: str) -> tuple[Path, ...]:
    """Paths are meant from the file's own folder."""
    paths = tuple((reader.path.parent / text).resolve() for text in reader.texts(node, key))
    for path in paths:
        if not path.exists():
            raise reader.wrong(node, key, f"there is no {path}")
    return paths


def _case(reader: _Reader, node: yaml.Node, key: str) -> Case:
    kinds: dict[str, Callable[[yaml.Node, str], Any]] = {
        "name": reader.text,
        "tags": reader.texts,
        "repeat": lambda node, key: int(reader.number(1, MOST_REPEATS)(node, key)),
        "turns": reader.each(lambda node, key: _turn(reader, node, key)),
    }
    return Case(line=node.start_mark.line + 1, **reader.fields(node, key, kinds, needs=("name", "turns")))


def _turn(reader: _Reader, node: yaml.Node, key: str) -> Turn:
    kinds: dict[str, Callable[[yaml.Node, str], Any]] = {
        "user": reader.texts,
        "edit": reader.text,
        "wait": reader.number(0, LONGEST_WAIT),
        "expect": lambda node, key: _expectation(reader, node, key),
    }
    fields = reader.fields(node, key, kinds, needs=("user",))
    return Turn(line=node.start_mark.line + 1, says=fields.pop("user"), **fields)


def _expectation(reader: _Reader, node: yaml.Node, key: str) -> Expectation:
    kinds: dict[str, Callable[[yaml.Node, str], Any]] = {
        "contains": reader.texts,
        "not_contains": reader.texts,
        "matches": reader.patterns,
        "source": reader.sources,
        "evidence": reader.texts,
        "confidence_at_least": reader.number(0, 1),
        "choices": reader.texts,
        "handed_over": reader.flag,
        "language": reader.language,
        "max_seconds": reader.number(0, LONGEST_WAIT),
        "silent": reader.flag,
    }
    expected = Expectation(**reader.fields(node, key, kinds))
    if expected.silent and expected != Expectation(silent=True):
        raise reader.wrong(node, key, "what is silent has no other properties")
    return expected
