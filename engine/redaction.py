"""Recognises personal data in a text, so that it is neither kept for others nor shown to them.

A text is first folded: digits of every script, dashes and spaces become those of ASCII, and signs that nobody sees are left out, as
a number written with them is the same number. Then the table of `engine.personal_data` is gone through. What it cannot see is a
name that nobody introduces and an address that is written like a sentence.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from engine.personal_data import DATE, TABLE

#: Every kind that is found: `email`, `phone`, `identifier` and so on.
KINDS = tuple(dict.fromkeys(row.kind for row in TABLE))
#: Lines are looked at one by one as far as numbers go: these signs end one.
_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_DIGIT = re.compile("[0-9]")
#: Categories of signs that are not seen: format, control, marks that combine with what comes before, and those that enclose it.
_UNSEEN = {"Cf", "Cc", "Mn", "Me"}


@dataclass(frozen=True, order=True)
class Span:
    """A piece of personal data: where it stands in the text, in code points."""

    start: int
    end: int
    kind: str


def find(text: str, kinds: Collection[str] = KINDS) -> list[Span]:
    """Every piece of personal data of these kinds, in the order of the text; none overlap."""
    view, places = _folded(text)
    return [Span(places[start], places[end - 1] + 1, kind) for start, end, kind in _merged(_candidates(view, kinds))]


def private(text: str, kinds: Collection[str] = KINDS) -> bool:
    """Whether there is any."""
    return next(_candidates(_folded(text)[0], kinds), None) is not None


def redact(text: str, kinds: Collection[str] = KINDS) -> str:
    """The text with the kind of each piece, in brackets, in its place."""
    parts, done = [], 0
    for span in find(text, kinds):
        parts += [text[done : span.start], f"[{span.kind}]"]
        done = span.end
    return "".join((*parts, text[done:]))


def _folded(text: str) -> tuple[str, range | list[int]]:
    """The text as patterns see it, and where each of its signs stands in the text."""
    if text.isascii() and text.isprintable():
        return text, range(len(text))
    signs, places = [], []
    for place, sign in enumerate(text):
        if folded := _fold(sign):
            signs.append(folded)
            places.append(place)
    return "".join(signs), places


def _fold(sign: str) -> str:
    """One sign for each; none for a sign that is not seen."""
    if sign.isascii() and sign.isprintable():
        return sign
    if sign in _BREAKS:
        return "\n"
    category = unicodedata.category(sign)
    if category == "Nd":
        return str(unicodedata.decimal(sign))
    if category in ("Zs", "Pd") or sign in "\t\u2212":
        return " " if category == "Zs" or sign == "\t" else "-"
    if category in _UNSEEN:
        return ""
    plain = unicodedata.normalize("NFKC", sign)
    return plain if len(plain) == 1 else sign


def _candidates(view: str, kinds: Collection[str]) -> Iterator[tuple[int, int, str]]:
    """What the rows of the table find, the first row first; they may overlap."""
    digits = len(_DIGIT.findall(view))
    dates = _Dates(view)
    for row in TABLE:
        if digits >= row.digits and row.kind in kinds and row.needs in view:
            yield from ((*span, row.kind) for span in row.find(view) if not (row.not_dates and dates.cover(*span)))


class _Dates:
    """The dates in a text: most of a number that stands inside one is none."""

    def __init__(self, view: str) -> None:
        self._marks = bytearray(len(view))
        for match in DATE.finditer(view):
            self._marks[match.start() : match.end()] = b"\x01" * (match.end() - match.start())

    def cover(self, start: int, end: int) -> bool:
        return sum(self._marks[start:end]) * 2 > end - start


def _merged(found: Iterator[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Those that overlap as one, of the kind that came first in the table."""
    merged: list[tuple[int, int, int, str]] = []
    for start, end, rank, kind in sorted((start, end, rank, kind) for rank, (start, end, kind) in enumerate(found)):
        if merged and start < merged[-1][1]:
            before = merged.pop()
            first = min(before, (start, end, rank, kind), key=lambda one: one[2])
            merged.append((before[0], max(end, before[1]), first[2], first[3]))
        else:
            merged.append((start, end, rank, kind))
    return [(start, end, kind) for start, end, _, kind in merged]
