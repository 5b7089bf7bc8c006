"""Links, code and emphasis inside of paragraphs, found well enough to keep them whole; each text is read once.

markdown-it does not say where in the source they are. One that is taken for another thing only moves a cut.
"""

import bisect
import re
from collections.abc import Iterable, Iterator

#: Two positions; a cut strictly between them is inside.
Span = tuple[int, int]

_MARKS = re.compile(
    r"""\\.
    | (?P<code> `+ )
    | (?P<address> <[a-z][a-z0-9+.-]*:[^\s<>]*> | https?://[^\s<>()\[\]]+ )
    | (?P<target> \]\( [^()\n]* (?:\([^()\n]*\)[^()\n]*)* \) )
    | (?P<close> \] )
    | (?P<open> !?\[ )
    | (?P<emphasis> \*+ | ~~ | (?<![^\W_])_+ | _+(?![^\W_]) )
    """,
    re.VERBOSE | re.IGNORECASE,
)


def merged(found: Iterable[Span]) -> list[Span]:
    """Spans in order, with those that overlap made one."""
    joined: list[Span] = []
    for first, last in sorted(found):
        if joined and first < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined


def around(ordered: list[Span], position: int) -> Span | None:
    """The span that a position is in, or begins."""
    index = bisect.bisect_right(ordered, position, key=lambda span: span[0]) - 1
    return ordered[index] if index >= 0 and position < ordered[index][1] else None


def spans(text: str, first: int, last: int, *, emphasis: bool) -> Iterator[Span]:
    """What is to be kept whole of one paragraph; `emphasis` too."""
    closing = _closing_ticks(text, first, last)
    brackets: list[int] = []
    marks: dict[str, int] = {}
    position = first
    while found := _MARKS.search(text, position, last):
        position = found.end()
        match found.lastgroup:
            case "code" if found.start() in closing:
                position = closing[found.start()]
                yield found.start(), position
            case "address":
                yield found.span()
            case "open":
                brackets.append(found.start())
            case "close" | "target" if brackets:
                begun = brackets.pop()
                if found.lastgroup == "target":
                    yield begun, found.end()
            case "emphasis" if emphasis:
                yield from _emphasised(text, found, marks)


def _closing_ticks(text: str, first: int, last: int) -> dict[int, int]:
    """For each run of backticks that another of its length follows: where that one ends."""
    closing: dict[int, int] = {}
    before: dict[int, int] = {}
    for found in re.finditer("`+", text[first:last]):
        length = len(found[0])
        if length in before:
            closing[before[length]] = first + found.end()
        before[length] = first + found.start()
    return closing


def _emphasised(text: str, found: re.Match[str], marks: dict[str, int]) -> Iterator[Span]:
    """A mark that closes an open one of its kind; or it is open from here on."""
    mark, (start, end) = found[0], found.span()
    if mark in marks and not text[start - 1].isspace():
        yield marks.pop(mark), end
    elif not text[end : end + 1].isspace():
        marks[mark] = start
