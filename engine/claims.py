"""What a sentence claims that can be checked against a text: its words, figures, names, addresses, and whether it denies. Pure.

Linear in the length of the text. Chinese, Japanese and Thai, which put no spaces between words, are read by pairs of characters.
"""

import re
import unicodedata
from dataclasses import dataclass
from itertools import pairwise

from engine import lexicon

#: Where a sentence ends; not in 3.5, in an address, or after an abbreviation.
_END = re.compile(
    r"(?<![\W_][A-Za-z])(?<!\be\.g)(?<!\bi\.e)(?<!\betc)(?<!\bNo)(?<!\bvs)[.!?]+[\"')\]]*(?=\s|$)|[。！？؟]+[”」』]*|\n+"
)
_WORD = re.compile(r"[^\W\d_][\w'’]*(?:-\w+)*")
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]+")
_ADDRESS = re.compile(
    r"https?://[^\s<>()\[\]]+|www\.[^\s<>()\[\]]+|[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+|\+?\d(?:[\d ()/-]{6,18})\d",
    re.IGNORECASE,
)
_SIGN = r"[$€£¥₹%°]"
_NUMBER = re.compile(
    rf"(?P<before>{_SIGN})?\s?(?<![A-Za-z0-9_])(?P<digits>\d+(?:[.,'’]\d+)*)(?![\w]*\d)"
    rf"\s?(?:(?:working|business|calendar) )?(?P<after>{_SIGN}|[^\W\d_]+)?"
)
#: Names of settings, commands and the like, which no other words can stand for.
_CODE = re.compile(r"\b[A-Za-z0-9]+(?:_[A-Za-z0-9]+)+\b")
_NEGATING = re.compile(r"[不没沒无無未别]")
_ENDINGS = (
    "ations",
    "ation",
    "ments",
    "ment",
    "ings",
    "ing",
    "ied",
    "ies",
    "edly",
    "ed",
    "es",
    "ly",
    "en",
    "er",
    "s",
    "e",
    "y",
    "n",
)


@dataclass(frozen=True)
class Sentence:
    """One sentence of a text, and what it claims."""

    text: str
    #: Where it stands.
    start: int
    end: int
    #: Stems of its words that say something, in order.
    stems: tuple[str, ...]
    #: All its words in lower case.
    words: frozenset[str]
    #: Digits with their unit; the unit is empty where it has none that is known.
    figures: frozenset[tuple[str, str]]
    #: Words with a capital inside the sentence, in lower case.
    names: frozenset[str]
    addresses: frozenset[str]
    denies: bool


def sentences(text: str) -> list[tuple[int, int]]:
    """Where the sentences of a text begin and end; the last one may be unfinished."""
    spans, start = [], 0
    for end in _END.finditer(text):
        spans.append((start, end.end()))
        start = end.end()
    spans.append((start, len(text)))
    stripped = ((begin + len(text[begin:end]) - len(text[begin:end].lstrip()), end) for begin, end in spans)
    return [(begin, end) for begin, end in stripped if begin < end]


def read(text: str) -> list[Sentence]:
    """The sentences of a text with what they claim."""
    return [_read(text[start:end], start, end) for start, end in sentences(text)]


def _read(text: str, start: int, end: int) -> Sentence:
    text = text if text.isascii() else unicodedata.normalize("NFKC", text)
    addresses = frozenset(_plain(match[0]) for match in _ADDRESS.finditer(text))
    addresses |= {match[0].casefold() for match in _CODE.finditer(text)}
    rest = _ADDRESS.sub(" ", text)
    found = list(_WORD.finditer(rest))
    words = [match[0].casefold().replace("’", "'") for match in found]
    pairs = [run[0][i : i + 2] for run in _UNSPACED.finditer(rest) for i in range(max(1, len(run[0]) - 1))]
    stems = [
        stem(word) for word in words if word not in lexicon.COMMON and word not in lexicon.NEGATORS and not _UNSPACED.match(word)
    ]
    return Sentence(
        text=text,
        start=start,
        end=end,
        stems=(*stems, *pairs),
        words=frozenset(words),
        figures=_figures(rest, words),
        names=frozenset(word for match, word in zip(found, words, strict=True) if _named(rest, match, word)),
        addresses=addresses,
        denies=bool(lexicon.NEGATORS & set(words)) != _twice(words) or bool(_NEGATING.search(rest)),
    )


def _twice(words: list[str]) -> bool:
    """Two that deny, of one another, deny nothing ("not without")."""
    return any(first in lexicon.NEGATORS and second == "without" for first, second in pairwise(words))


def _plain(address: str) -> str:
    if "@" in address or "://" in address or address.startswith("www"):
        return address.casefold().rstrip("/.,;:!?").removeprefix("https://").removeprefix("http://").removeprefix("www.")
    return re.sub(r"\D", "", address)


def _figures(text: str, words: list[str]) -> frozenset[tuple[str, str]]:
    found = set()
    for match in _NUMBER.finditer(text):
        unit = match["before"] or (match["after"] or "").casefold()
        found.add((_digits(match["digits"]), lexicon.UNITS.get(unit, "")))
    following = [*words[1:], ""][: len(words)]
    for word, after in zip(words, following, strict=True):
        if word in lexicon.SPELLED and (word not in lexicon.ARTICLES or after in lexicon.UNITS):
            found.add((lexicon.SPELLED[word], lexicon.UNITS.get(after, "")))
    return frozenset(found)


def _digits(written: str) -> str:
    """1,000 and 1.000 are 1000; 3,5 and 3.50 are 3.5."""
    written = re.sub(r"['’]", "", written)
    written = re.sub(r"[.,](?=\d{3}(?:\D|$))", "", written).replace(",", ".")
    return re.sub(r"\.?0+$", "", written) if "." in written else written.lstrip("0") or "0"


def _named(text: str, match: "re.Match[str]", word: str) -> bool:
    """A capital where a sentence does not ask for one; a whole word of capitals wherever it stands."""
    written = match[0]
    if not written[0].isupper() or word in lexicon.COMMON or len(word) < 2:
        return False
    inside = bool(text[: match.start()].strip(" \"'(*_-#>")) and text[: match.start()].rstrip()[-1:] not in ":;•"
    return inside or (len(written) > 1 and written[1:] != written[1:].lower())


def opposed(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether one text says the opposite of a word of the other, and not the word too."""
    for first, second in lexicon.OPPOSITES:
        here, there = (bool(one & first), bool(one & second)), (bool(other & first), bool(other & second))
        if here != there and any(here) and any(there) and not all(here) and not all(there):
            return True
    return False


def stem(word: str) -> str:
    """A word without its ending, coarsely: "cancelled", "cancelling" and "cancels" are one."""
    word = word.removesuffix("'s").removesuffix("'")
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word.removesuffix(ending)
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiou":
        word = word[:-1]
    return word[:9]
