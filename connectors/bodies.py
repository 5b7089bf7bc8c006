"""Strict reading of JSON bodies: every fault is named, and nothing but `MalformedRequest` comes out."""

import json
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from engine.errors import MalformedRequest, NothingToAnswer

T = TypeVar("T")


def read_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in `raw`.

    The parser of the standard library, because it shows repeated names and takes the lone surrogates that JavaScript sends.

    :raises MalformedRequest: not UTF-8, not JSON, not an object, a repeated name, or nested too deeply.
    """
    try:
        found = json.loads(raw.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise MalformedRequest(f"the body is not UTF-8: byte {error.start} is wrong") from error
    except json.JSONDecodeError as error:
        raise MalformedRequest(f"the body is not JSON: {error.msg} at character {error.pos}") from error
    except RecursionError as error:
        raise MalformedRequest("the body is nested too deeply") from error
    except ValueError as error:  # a number of thousands of digits
        raise MalformedRequest("the body holds a number that is too long") from error
    if not isinstance(found, dict):
        raise MalformedRequest("the body must be a JSON object")
    return found


def read_as(found: Any, wanted: type[T]) -> T:
    """`found` as a value of type `wanted`, without lone surrogates in its texts.

    :raises MalformedRequest: naming the field and its type.
    """
    try:
        return msgspec.convert(found, wanted, strict=True)
    except msgspec.ValidationError as error:
        raise MalformedRequest(f"the body is not what is expected: {error}") from error


def well_formed(text: str) -> str:
    """The text with each lone surrogate replaced by U+FFFD, so that it can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def answerable(text: str | None) -> str:
    """The text, well-formed.

    :raises NothingToAnswer: if nothing in it can be seen.
    """
    if text is None or not any(character.isprintable() and not character.isspace() for character in text):
        raise NothingToAnswer("the message has no text to answer")
    return well_formed(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise MalformedRequest(f"the name {_repeated(name for name, _ in pairs)} stands twice in one object")
    return found


def _repeated(names: Iterable[str]) -> str:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return ascii(name[:80])
        seen.add(name)
    return ""


def _no_constant(name: str) -> Any:
    raise MalformedRequest(f"the body is not JSON: {name} is no number")
