"""How a piece of personal data is recognised: a kind, a pattern, what a match must pass, and what a text needs to be looked at.

The rows themselves are in `engine.personal_data`.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from engine import checksums

Spans = Iterator[tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class Recogniser:
    """One row."""

    kind: str
    pattern: re.Pattern[str]
    #: Tells what of a match it is; by default all of it, or its group `it`.
    spans: Callable[[re.Match[str]], Spans] | None = None
    #: Every text that can match has this sign,
    needs: str = ""
    #: and as many digits: most texts have few, and most rows need not look at them.
    digits: int = 0
    #: A date is none of it.
    not_dates: bool = False

    def find(self, view: str) -> Spans:
        """Where it stands in a folded text."""
        for match in self.pattern.finditer(view):
            if self.spans:
                yield from self.spans(match)
            else:
                yield match.span("it") if "it" in self.pattern.groupindex else match.span()


def _bare(text: str) -> str:
    return re.sub(r"[^0-9A-Za-z]", "", text).upper()


def passing(check: Callable[[str], bool]) -> Callable[[re.Match[str]], Spans]:
    """The match, if its digits and letters pass."""

    def spans(match: re.Match[str]) -> Spans:
        whole = "it" if "it" in match.re.groupindex else 0
        if check(_bare(match[whole])):
            yield match.span(whole)

    return spans


def cards(match: re.Match[str]) -> Spans:
    """Runs of whole groups of digits with 13 to 19 digits that a card can have: an expiry date may stand beside it."""
    groups = [(found.start(), found.end()) for found in re.finditer(r"\d+", match[0])]
    first = 0
    while first < len(groups):
        last = _card_from(match[0], groups, first)
        if last is not None:
            yield match.start() + groups[first][0], match.start() + groups[last][1]
            first = last
        first += 1


def _card_from(text: str, groups: list[tuple[int, int]], first: int) -> int | None:
    """The last group of the card that begins with a group."""
    digits, found = "", None
    if not checksums.issued(text[groups[first][0]]):
        return None
    for last in range(first, min(first + 19, len(groups))):
        digits += text[slice(*groups[last])]
        if len(digits) > 19:
            break
        if len(digits) >= 13 and checksums.card(digits):
            found = last
    return found


def iban(match: re.Match[str]) -> Spans:
    """The signs that its country's IBAN has, if they pass."""
    left = checksums.IBAN_LENGTHS.get(match[0][:2].upper(), 99)
    for place, sign in enumerate(match[0]):
        left -= sign.isalnum()
        if left == 0:
            if checksums.iban(_bare(match[0][: place + 1])):
                yield match.start(), match.start() + place + 1
            return


def ip(match: re.Match[str]) -> Spans:
    """An IP address, and no time of day."""
    try:
        ipaddress.ip_address(match[0].strip("."))
    except ValueError:
        return
    if len(match[0]) > 3:
        yield match.span()


def between(least: int, most: int) -> Callable[[re.Match[str]], Spans]:
    """The match, if it has as many digits."""
    return passing(lambda text: least <= sum(sign.isdigit() for sign in text) <= most)


def phone(match: re.Match[str]) -> Spans:
    """A number that begins as a call does: with a trunk zero and no fewer than 9 digits."""
    digits = _bare(match[0])
    if 9 <= len(digits) <= 12 and not digits.startswith("000"):
        yield match.span()


#: What stands inside "12 on the way" and inside no address.
_NO_STREET = frozenset(
    re.split(
        " ",
        "a an and are at by card cards day days do does for from have hour hours i in is it month months my of on or order orders"
        " our per than that the they this time times to was we week weeks when with year years you your",
    )
)


def street(match: re.Match[str]) -> Spans:
    """A house number and a street, unless the words between are those of a sentence."""
    words = match["street"].lower().split()
    if not _NO_STREET.intersection(words):
        yield match.span()


def code(match: re.Match[str]) -> Spans:
    """A token with a digit, long enough to name one thing; a word before it that says so makes three signs long enough."""
    code = match["it"]
    digits = sum(sign.isdigit() for sign in code)
    told = match["told"] is not None
    if digits and len(_bare(code)) >= (2 if told else 4) and (told or digits >= 2):
        yield match.span("it")


def row(
    kind: str,
    *parts: str,
    spans: Callable[[re.Match[str]], Spans] | None = None,
    needs: str = "",
    digits: int = 0,
    not_dates: bool = False,
) -> Recogniser:
    """A row whose pattern is the parts joined; letters stand for both of their cases."""
    pattern = re.compile("".join(parts), re.IGNORECASE)
    return Recogniser(kind=kind, pattern=pattern, spans=spans, needs=needs, digits=digits, not_dates=not_dates)


def national(pattern: str, digits: int, check: Callable[[str], bool] | None = None) -> Recogniser:
    """A national identity number, which no letter or digit goes on from."""
    spans = passing(check) if check else None
    return row("national_id", r"(?<!\w)", pattern, r"(?!\w)", spans=spans, digits=digits, not_dates=True)


def either(words: str) -> str:
    """A pattern for one of the patterns that stand between blanks."""
    return f"(?:{'|'.join(words.split())})"
