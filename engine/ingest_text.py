"""From bytes to text: which encoding a file is in, and what is no text at all."""

import codecs
import re

from engine.errors import Unreadable
from engine.language import recognise

#: The longest first: the mark of UTF-32 begins like that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
#: What a browser takes its label "latin-1" for, too.
_WINDOWS = "cp1252"
#: What a text of Western Europe has beside ASCII: letters, punctuation, money.
_WESTERN = re.compile(
    "[\u00a0-\u00a3\u00a7-\u00ab\u00ae\u00b0\u00b4\u00b7\u00ba\u00bb\u00bf-\u00ff\u0152\u0153\u0160\u0161\u0178\u017d\u017e"
    "\u2013\u2014\u2018-\u201a\u201c-\u201e\u2022\u2026\u20ac\u2122]*"
)
#: Languages that Windows writes so.
_SPOKEN_THERE = frozenset({"de", "en", "es", "fi", "fr", "it", "nl", "no", "pt", "sv", "da", "is", "ca"})
#: Characters by which the language of such a file is judged.
_SAMPLE = 4_000


def text_of(raw: bytes, charset: str = "") -> str:
    """The text of a file: UTF-8, UTF-16 or UTF-32, `charset` where somebody named it, or Windows-1252 where it is plainly that.

    :raises Unreadable: it is something else, or no text.
    """
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            return _decoded(raw[len(mark) :], encoding)
    if charset and (named := _known(charset)) and named != "utf-8":
        return _decoded(raw, named)
    if b"\0" in raw[:_SAMPLE]:
        return _decoded(raw, _wide(raw[:_SAMPLE]))
    try:
        return _printable(raw.decode())
    except UnicodeDecodeError as error:
        return _western(raw, error)


def _known(charset: str) -> str:
    try:
        name = codecs.lookup(charset).name
        b"".decode(name)
    except (LookupError, ValueError):
        return ""
    return _WINDOWS if name in ("iso8859-1", "ascii") else name


def _decoded(raw: bytes, encoding: str) -> str:
    try:
        return _printable(raw.decode(encoding))
    except UnicodeDecodeError as error:
        line = raw[: error.start].decode(encoding, "replace").count("\n") + 1
        raise Unreadable(f"line {line} is not {encoding} as the file says: save it as UTF-8") from error


def _printable(text: str) -> str:
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise Unreadable(f"line {line} holds a zero byte: this is no text; if it is one, save it as UTF-8")
    return text


def _wide(sample: bytes) -> str:
    """UTF-16 without a mark has its zero bytes at every other place."""
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if odd > len(sample) / 8 and not even:
        return "utf-16-le"
    if even > len(sample) / 8 and not odd:
        return "utf-16-be"
    raise Unreadable("this is no text but a binary file: save it as Markdown, HTML, PDF, CSV or plain text")


def _western(raw: bytes, error: UnicodeDecodeError) -> str:
    text = raw.decode(_WINDOWS, "replace")
    beside = "".join(character for character in text if character > "\x7f")
    if _WESTERN.fullmatch(beside) and recognise(_around(text)) in _SPOKEN_THERE:
        return _printable(text)
    line = raw[: error.start].count(b"\n") + 1
    raise Unreadable(f"line {line} is not UTF-8 (byte 0x{raw[error.start]:02x}): save the file as UTF-8") from error


def _around(text: str) -> str:
    """The part of a text that shows whether it was read rightly: what is around its first letter beyond ASCII."""
    first = next((place for place, character in enumerate(text) if character > "\x7f"), 0)
    return text[max(0, first - 500) : first + 500]
