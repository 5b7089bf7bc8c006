"""What a tool's server answers, as a text: its values are data, shown as they are and never obeyed."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from engine.tool_requests import PLACE
from engine.tools import Call, OnError, by_language

#: Characters of one value that are shown.
MOST_SHOWN = 200
#: Formats that belong to the writing of Persian and Indian languages, and to emoji.
_JOINERS = "\u200c\u200d"
_PATH = re.compile(r"[^.\[\]]+|\[(\d{1,4})\]")


class Result(StrEnum):
    """How a call ended."""

    FOUND = "found"
    NOT_FOUND = "not_found"
    ERROR = "error"


@dataclass(frozen=True)
class Said:
    """What a person is told of a call."""

    result: Result
    text: str
    #: A person is to take over.
    hand_over: bool = False
    #: Why it failed, for logs; nothing of the answer or of a secret stands in it.
    reason: str = ""


def path_of(written: str) -> tuple[str | int, ...]:
    """A path such as `orders[0].status`.

    :raises ValueError: it is none.
    """
    found = list(_PATH.finditer(written))
    if not found or re.sub(r"\.(?=[^.])", "", written) != "".join(one[0] for one in found):
        raise ValueError(f"{written!r} is no path: write names with dots between them and [0] for an element of a list")
    return tuple(one[0] if one[1] is None else int(one[1]) for one in found)


def at(found: Any, path: tuple[str | int, ...]) -> Any:
    """What is at a path; None where nothing is."""
    for step in path:
        if isinstance(step, int):
            found = found[step] if isinstance(found, list) and step < len(found) else None
        else:
            found = found.get(step) if isinstance(found, dict) else None
    return found


def said_of(call: Call, status: int, body: bytes) -> Said:
    """What an answer of the server means to the person."""
    if status in call.tool.not_found:
        return not_found(call)
    if not 200 <= status < 300:
        return failed(call, f"the server answered {status}")
    try:
        answer = msgspec.json.decode(body) if body.strip() else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return failed(call, "the server answered something that is no JSON")
    if call.tool.found and at(answer, call.tool.found) in (None, "", [], {}, False):
        return not_found(call)
    values: dict[str, str] = {}
    for name, path in call.tool.fields.items():
        value = _worded(call, name, at(answer, path))
        if value is None and name not in call.tool.optional:
            return failed(call, f"the answer has no text or number at the path of {name!r}")
        values[name] = value or ""
    return Said(Result.FOUND, _filled(call.tool.texts(call.language).reply, call, values))


def not_found(call: Call) -> Said:
    """There is nothing of the kind."""
    return Said(Result.NOT_FOUND, _filled(call.tool.texts(call.language).not_found, call, {}))


def failed(call: Call, reason: str) -> Said:
    """The tool does not work now."""
    text = _filled(call.tool.texts(call.language).error, call, {})
    return Said(Result.ERROR, text, hand_over=call.tool.on_error is OnError.PERSON, reason=reason)


def shown(value: str) -> str:
    """A value on one line, without marks that nobody sees, and with what Markdown would act on shown as it is."""
    seen = "".join(" " if character.isspace() else character for character in value[: 4 * MOST_SHOWN])
    seen = "".join(one for one in seen if one in _JOINERS or unicodedata.category(one) not in ("Cc", "Cf", "Cs", "Co", "Cn"))
    short = " ".join(seen.split())
    short = short if len(short) <= MOST_SHOWN else f"{short[: MOST_SHOWN - 1]}…"
    return re.sub(r"([\\`*\[\]<>])", r"\\\1", short)


def _worded(call: Call, name: str, value: Any) -> str | None:
    """The words for a value; None for what is no text, number or truth."""
    if isinstance(value, bool):
        value = "true" if value else "false"
    elif isinstance(value, int | float):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        return None
    words = call.tool.words.get(name, {}).get(value)
    return by_language(words, call.language) if words else shown(value)


def _filled(template: str, call: Call, values: Mapping[str, str]) -> str:
    given = {**{name: shown(value) for name, value in call.parameters.items()}, **values}
    return PLACE.sub(lambda place: given.get(place[1], ""), template).strip()
