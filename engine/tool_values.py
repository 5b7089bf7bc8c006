"""Typed parameters of tools: how a value is found in what a person wrote, and what it is then sent as."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

import regex  # type: ignore[import-untyped] # it brings no annotations
import structlog

from engine.choices import chosen, listed

log = structlog.get_logger()

#: Characters of a message that are looked at, and of a value that is sent.
MOST_TEXT, MOST_VALUE = 2_000, 100
#: Seconds that one pattern may take on one message; a pattern that is checked at start may take twice as long.
PATTERN_TIMEOUT = 0.02
#: Days from today by a word, in the languages whose speakers we expect.
_DAYS = {
    **dict.fromkeys(("today", "heute", "aujourd'hui", "hoy", "oggi", "hoje", "vandaag", "今天", "اليوم"), 0),
    **dict.fromkeys(("yesterday", "gestern", "hier", "ayer", "ieri", "ontem", "gisteren", "昨天", "أمس"), -1),
    **dict.fromkeys(("tomorrow", "morgen", "demain", "mañana", "domani", "amanhã", "明天", "غدا"), 1),
}
_ISO = re.compile(r"(?<!\d)(\d{4})-(\d{1,2})-(\d{1,2})(?!\d)")
_DAY_FIRST = re.compile(r"(?<!\d)(\d{1,2})[./-](\d{1,2})[./-](\d{4})(?!\d)")
_WHOLE = re.compile(r"(?<![\w.,-])-?\d{1,18}(?![\w]|[.,]\d)")
_WORD = re.compile(r"[\w']+")


class Kind(StrEnum):
    """What a parameter may be."""

    #: Text that its pattern describes.
    STRING = "string"
    #: A whole number, within its bounds.
    INTEGER = "integer"
    #: One of a few values, each with the words people use for it.
    ENUM = "enum"
    #: A day: 2026-11-24, 24.11.2026, 24/11/2026, today.
    DATE = "date"


def normal(text: str) -> str:
    """The beginning of a text, one form for each character, so that full-width digits are digits."""
    return unicodedata.normalize("NFKC", text[:MOST_TEXT])[:MOST_TEXT]


def search(pattern: Any, text: str, *, whole: bool = False) -> Any:
    """What `regex` finds, or None: also where it would take too long, which is logged."""
    try:
        return (pattern.fullmatch if whole else pattern.search)(text, timeout=PATTERN_TIMEOUT)
    except TimeoutError:
        log.warning("a pattern of a tool takes too long and is passed over", action="tools.slow", pattern=pattern.pattern[:80])
        return None


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One thing a tool must know."""

    name: str
    kind: Kind
    #: Of a string: a compiled pattern of `regex`.
    pattern: Any = None
    minimum: int = -(10**18)
    maximum: int = 10**18
    #: Of an enum: by value the words for it, the first of which is shown.
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: What people are asked, by language.
    ask: Mapping[str, str] = field(default_factory=dict)
    #: Whether 3/4/2026 is the fourth of March.
    month_first: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """What there is to choose from."""
        return tuple((words or (value,))[0] for value, words in self.values.items())

    def read(self, said: str, today: date) -> str | None:
        """The value that a text is, as it is sent; None where it is none."""
        text = normal(said).strip()
        if not text or len(text) > MOST_VALUE:
            return None
        if self.kind is Kind.STRING:
            # A value of dots alone would be a step in the path of an address.
            return text if search(self.pattern, text, whole=True) and text.strip(".") else None
        if self.kind is Kind.ENUM:
            return self._enum(text)
        return self.find(text, today)

    def find(self, said: str, today: date) -> str | None:
        """The first value in a text."""
        text = normal(said)
        if self.kind is Kind.STRING:
            found = search(self.pattern, text)
            return self.read(found[0], today) if found and found[0].strip() else None
        if self.kind is Kind.INTEGER:
            return next((number for number in map(self._whole, _WHOLE.findall(text)) if number), None)
        return self._enum(text) if self.kind is Kind.ENUM else self._date(text, today)

    def answer(self, said: str, today: date) -> str | None:
        """The value in the answer to its question: of an enum it may also be a number or a part of what was offered."""
        found = self.find(said, today)
        if found or self.kind is not Kind.ENUM:
            return found
        label = chosen(said, listed("", self.labels))
        return next((value for value, one in zip(self.values, self.labels, strict=True) if one == label), None)

    def _whole(self, digits: str) -> str | None:
        return str(int(digits)) if self.minimum <= int(digits) <= self.maximum else None

    def _enum(self, text: str) -> str | None:
        """The value whose words stand in the text, if it is one alone."""
        folded = f" {' '.join(_WORD.findall(text.casefold()))} "
        named = [value for value, words in self.values.items() if any(_stands(word, folded) for word in (value, *words))]
        return named[0] if len(named) == 1 else None

    def _date(self, text: str, today: date) -> str | None:
        found = _ISO.search(text)
        if found:
            return _day(found[1], found[2], found[3])
        if found := _DAY_FIRST.search(text):
            first, second = (found[2], found[1]) if self.month_first else (found[1], found[2])
            return _day(found[3], second, first)
        words = [*_WORD.findall(text.casefold()), *(word for word in ("今天", "昨天", "明天") if word in text)]
        days = next((_DAYS[word] for word in words if word in _DAYS), None)
        return None if days is None else (today + timedelta(days=days)).isoformat()


def _stands(word: str, folded: str) -> bool:
    """Whether words stand in a text as words; where a script has no spaces, anywhere."""
    wanted = " ".join(_WORD.findall(word.casefold()))
    return bool(wanted) and ((wanted if _unspaced(wanted) else f" {wanted} ") in folded)


def _unspaced(text: str) -> bool:
    return any("\u3040" <= character <= "\u9fff" or "\u0e00" <= character <= "\u0e7f" for character in text)


def _day(year: str, month: str, day: str) -> str | None:
    try:
        return date(int(year), int(month), int(day)).isoformat()
    except ValueError:  # the thirty-first of February
        return None


def compiled(pattern: str) -> Any:
    """A pattern of an operator.

    :raises ValueError: it is no pattern, or takes too long on some texts.
    """
    try:
        made = regex.compile(pattern, regex.IGNORECASE | regex.VERSION1)
    except regex.error as error:
        raise ValueError(f"{pattern!r} is no pattern: {error}") from error
    for text in _trials(pattern):
        for probe in (made.search, made.fullmatch):
            try:
                probe(text, timeout=2 * PATTERN_TIMEOUT)
            except TimeoutError as error:
                raise ValueError(f"{pattern!r} takes too long on some texts: avoid repeats of repeats such as (a+)+") from error
    return made


def _trials(pattern: str) -> list[str]:
    """Texts that make a pattern backtrack, if it does: long repeats of what it may match, and then what it does not."""
    letters = dict.fromkeys([*"a0 -.", *(character for character in pattern if character.isalnum())])
    words = re.findall(r"\w{2,}", pattern)
    # What must stand somewhere stands at the end, lest the search is given up before it begins.
    end = f"\x00{''.join(dict.fromkeys(pattern))}"
    return [piece * (MOST_TEXT // len(piece) - 1) + end for piece in [*letters, *words, "a ", "a0", "0 "][:60]]
