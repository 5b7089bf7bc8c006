"""Where Markdown source may be cut, and what surrounds each of these places.

Only the block structure is parsed, which takes a tenth of the time of parsing all. Graphemes, each of which a person takes for one
character, are those of Unicode as `\\X` of the `regex` package finds them: families of emoji, flags, letters with their marks,
Hangul syllables. Positions are counted in code points. Lines end with `\\n`.
"""

import bisect
import re
from collections.abc import Iterator
from dataclasses import dataclass

import regex  # type: ignore[import-untyped] # it brings no annotations
from markdown_it import MarkdownIt
from markdown_it.token import Token

from connectors.markup import DEEPEST
from connectors.spans import Span, merged, spans

_BLOCKS = MarkdownIt("commonmark", {"html": False, "maxNesting": DEEPEST}).disable(["inline", "reference"])

#: No grapheme begins here, but one goes on.
_WITHIN = r"(?![\p{GCB=Extend}\p{GCB=ZWJ}\p{GCB=SpacingMark}])"
#: Nor may a line begin with this, which would make a list, a quote, a heading or code of it.
_NOT_BEFORE = _WITHIN + r"(?!>|#{1,6}\s|[-+*]\s|\d{1,9}[.)]\s|```|~~~)"
_SENTENCES = regex.compile(r"(?:[.!?…]['\")\]»”’*_`]*\s+|[。！？][」』）”’]*)" + _NOT_BEFORE)  # noqa: RUF001 # these are meant
_WORDS = regex.compile(r"\s+" + _NOT_BEFORE)
_GRAPHEMES = regex.compile(r"\X")
_BLANK_LINES = re.compile(r"(?:[^\S\n]*\n)*")
_BLANK_QUOTES = re.compile(r"(?:[^\S\n]*(?:>[^\S\n]*)*\n)*")
_SPACES = regex.compile(r"[^\S\n]*" + _WITHIN)
_BULLETS = re.compile(r" *(?:(?:[-*+]|\d{1,9}[.)]) +)*")
#: What a line begins with before its text: nothing is cut off in the middle of it.
_PREFIX = re.compile(r"^[ \t>]*(?:(?:[-*+]|\d{1,9}[.)]|#{1,6})[ \t]+)*(?=[^\s])", re.MULTILINE)
_SPACE, _QUOTED_SPACE = re.compile(r"\s*"), re.compile(r"[\s>]*")
_QUOTED = re.compile(r" {0,3}(?:> ?)+")

#: Longest words after an opening fence that are repeated in each part.
_LONGEST_INFO = 64

#: What is kept whole: emphasis, links, code and the edges of lines and fences; the same without emphasis; edges alone; nothing.
TIERS = (0, 1, 2, 3)
_EMPHASIS, _LINKS, _EDGES, _NOTHING = TIERS
KINDS = ("blocks", "items", "lines", "sentences", "words", "graphemes")


@dataclass(frozen=True, slots=True)
class Fence:
    """The inside of a fenced code block."""

    #: Where its first line of code begins.
    start: int
    #: Where its closing line begins; where the block ends without one.
    end: int
    #: Where what follows it begins.
    after: int
    #: What its lines begin with: `>` of quotes, and spaces in place of bullets.
    prefix: str
    #: The opening line without the prefix.
    opening: str
    #: Three or more backticks or tildes.
    markup: str


#: Outermost blocks that matter to what is inside.
LISTS = ("bullet_list_open", "ordered_list_open")
QUOTES = ("blockquote_open",)
CODE = ("code_block",)


class Source:
    """A text with all that is known of it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self.tokens = _BLOCKS.parse(text)
        self.fences = [self._fence(token) for token in self.tokens if token.type == "fence"]
        self._cuts: dict[tuple[str, int], list[int]] = {}
        self._whole: dict[int, list[Span]] = {}
        self._outer: dict[tuple[str, ...], list[Span]] = {
            kinds: [self.span(token) for token in self.tokens if _is(token, kinds)] for kinds in (LISTS, QUOTES, CODE)
        }

    def offset(self, line: int) -> int:
        return self.starts[line] if line < len(self.starts) else len(self.text)

    def span(self, token: Token) -> Span:
        first, last = token.map or (0, 0)
        return self.offset(first), self.offset(last)

    def line_start(self, position: int) -> int:
        return self.starts[bisect.bisect_right(self.starts, position) - 1]

    def _fence(self, token: Token) -> Fence:
        begin, after = self.span(token)
        start = min(self.text.find("\n", begin) + 1 or after, after)
        last = self.line_start(max(after - 1, start)) if after > start else after
        closed = re.fullmatch(rf"[\s>]*{re.escape(token.markup)}{re.escape(token.markup[0])}*\s*", self.text[last:after])
        before, _, info = self.text[begin:start].partition(token.markup)
        opening = token.markup + (info.rstrip() if len(info) <= _LONGEST_INFO else "")
        return Fence(start, last if closed else after, after, re.sub(r"[^>\s]", " ", before), opening, token.markup)

    def fence_at(self, position: int) -> Fence | None:
        """The fence whose code a position is in, or begins."""
        found = self._fence_before(position)
        return found if found and position < found.end else None

    def _fence_before(self, position: int) -> Fence | None:
        index = bisect.bisect_right(self.fences, position, key=lambda fence: fence.start) - 1
        return self.fences[index] if index >= 0 else None

    def outermost(self, position: int, kinds: tuple[str, ...]) -> Span | None:
        """Where the outermost block of these kinds around a position begins and ends."""
        return _around(self._outer[kinds], position)

    # Places to cut.

    def cuts(self, kind: str, tier: int) -> list[int]:
        """Positions in order, with the end as the last."""
        if (kind, tier) not in self._cuts:
            found = self._outside(self.whole(tier), getattr(self, f"_{kind}")())
            self._cuts[kind, tier] = [*found, len(self.text)]
        return self._cuts[kind, tier]

    def too_long(self, position: int, tier: int, length: int) -> bool:
        """Whether a position is in something that is longer than this, so that keeping it whole is in vain."""
        around = _around(self.whole(tier), position)
        return around is not None and around[1] - around[0] > length

    def whole(self, tier: int) -> list[Span]:
        """What is kept whole."""
        if tier not in self._whole:
            self._whole[tier] = merged(self._found(tier))
        return self._whole[tier]

    def _outside(self, kept: list[Span], positions: Iterator[int]) -> Iterator[int]:
        """Positions that are not inside of what is kept whole."""
        ends = iter(kept)
        first, last = next(ends, (len(self.text), len(self.text)))
        for position in positions:
            while position >= last < len(self.text):
                first, last = next(ends, (len(self.text), len(self.text)))
            if 0 < position < len(self.text) and not first < position < last:
                yield position

    def _found(self, tier: int) -> Iterator[Span]:
        if tier <= _EDGES:
            yield from ((found.start(), found.end() + 1) for found in _PREFIX.finditer(self.text) if found[0])
            for fence in self.fences:
                yield from self._edges(fence)
        if tier <= _LINKS:
            for token in self.tokens:
                if token.type == "inline":
                    yield from spans(self.text, *self.span(token), emphasis=tier == _EMPHASIS)

    def _edges(self, fence: Fence) -> Iterator[Span]:
        """The opening line keeps the first line of code, and the closing one the last."""
        yield self.line_start(max(fence.start - 1, 0)), fence.start + 1
        if fence.end < fence.after:
            yield fence.end - 1, fence.after

    def _blocks(self) -> Iterator[int]:
        """Where blocks begin, but none between a heading and what it is the heading of."""
        heading = False
        for token in self.tokens:
            if token.level == 0 and token.nesting >= 0 and not heading:
                yield self.span(token)[0]
            heading = token.type == "heading_close" if token.level == 0 else heading

    def _items(self) -> Iterator[int]:
        """Where items of lists and blocks inside of others begin, and code after an empty line."""
        begun = {self.span(token)[0] for token in self.tokens if token.nesting >= 0 and token.map and token.type != "inline"}
        blank = {found.end() for found in re.finditer(r"\n[^\S\n]*\n", self.text)}
        yield from sorted(begun | blank)

    def _lines(self) -> Iterator[int]:
        yield from self.starts

    def _sentences(self) -> Iterator[int]:
        return (found.end() for found in _SENTENCES.finditer(self.text) if not self.fence_at(found.end()))

    def _words(self) -> Iterator[int]:
        return (found.end() for found in _WORDS.finditer(self.text))

    def _graphemes(self) -> Iterator[int]:
        return (found.end() for found in _GRAPHEMES.finditer(self.text))

    # What surrounds a part.

    def begin(self, position: int) -> int:
        """Where a part begins that is cut off there: without empty lines, and without the spaces that separate words."""
        start = _match_end(_BLANK_LINES, self.text, position)
        fence = self._fence_before(position)
        if fence and fence.end <= start and position < fence.after:
            return self.begin(fence.after)
        if start == self.line_start(start) and self.outermost(start, QUOTES) and not self.fence_at(start):
            start = _match_end(_BLANK_QUOTES, self.text, start)
        if start == self.line_start(start) and (self.fence_at(start) or self.outermost(start, CODE)):
            return start
        return _match_end(_SPACES, self.text, start)

    def solid(self, start: int) -> int:
        """Where the text of a part begins: what ends before would be empty."""
        fence = self.fence_at(start)
        pattern = _QUOTED_SPACE if fence and ">" in fence.prefix else _SPACE
        found = _match_end(pattern, self.text, start)
        return min(found, fence.end - 1) if fence else found

    def indentation(self, start: int) -> tuple[int, int]:
        """How many spaces the lines of a part lose that begins inside a list, and where the list ends."""
        around = self.outermost(start, LISTS)
        if around is None or start == around[0]:
            return 0, start
        fence, line = self.fence_at(start), self.line_start(start)
        if fence:
            return len(fence.prefix), around[1]
        bullets = _match_end(_BULLETS, self.text, line) - line
        return start - line if not self.text[line:start].strip() else bullets, around[1]

    def lead(self, start: int) -> str:
        """What a part begins with that is cut off inside a line of a quote or of code in one."""
        fence, line = self.fence_at(start), self.line_start(start)
        if start == line:
            return ""
        if fence:
            return fence.prefix
        quoted = self.outermost(start, QUOTES) is not None and self.text[line:start].strip(" ")
        found = _QUOTED.match(self.text, line)
        return (found[0] if found else "> ") if quoted else ""


def _match_end(pattern: re.Pattern[str], text: str, position: int) -> int:
    found = pattern.match(text, position)
    return found.end() if found else position


def _is(token: Token, kinds: tuple[str, ...]) -> bool:
    return token.level == 0 and token.type in kinds


def _around(spans_of: list[Span], position: int) -> Span | None:
    index = bisect.bisect_right(spans_of, position, key=lambda span: span[0]) - 1
    return spans_of[index] if index >= 0 and position < spans_of[index][1] else None
