"""What surrounds each place of Markdown source where a part of it may begin or end.

Only the block structure is parsed, which takes a tenth of the time of parsing all. Positions are counted in code points. Lines end
with `\\n`.
"""

import bisect
import re
from dataclasses import dataclass

import regex  # type: ignore[import-untyped] # it brings no annotations
from markdown_it import MarkdownIt
from markdown_it.token import Token

from connectors.markup import DEEPEST, LANGUAGE
from connectors.spans import Span, around

_BLOCKS = MarkdownIt("commonmark", {"html": False, "maxNesting": DEEPEST}).disable(["inline", "reference"])

#: No grapheme begins here, but one goes on.
WITHIN_GRAPHEME = r"[\p{GCB=Extend}\p{GCB=ZWJ}\p{GCB=SpacingMark}]"
_BLANK_LINES = re.compile(r"(?:[^\S\n]*\n)*")
_BLANK_QUOTES = re.compile(r"(?:[^\S\n]*(?:>[^\S\n]*)*\n)*")
_SPACES = regex.compile(rf"[^\S\n]*(?!{WITHIN_GRAPHEME})")
_SPACE, _QUOTED_SPACE = re.compile(r"\s*"), re.compile(r"[\s>]*")
_INDENTATION = re.compile(" *")
_BULLETS = re.compile(r" *(?:(?:[-*+]|\d{1,9}[.)]) +)*")
#: How the lines of a quote begin.
QUOTED = re.compile(r" {0,3}(?:> ?)+")

#: Outermost blocks that matter to what is inside.
LISTS = ("bullet_list_open", "ordered_list_open")
QUOTES = ("blockquote_open",)
CODE = ("code_block",)


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
    #: The opening line without the prefix, and without what is no language.
    opening: str
    #: Three or more backticks or tildes.
    markup: str


class Structure:
    """A text with its lines, its fences and its outermost blocks."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self.tokens = _BLOCKS.parse(text)
        self.fences = [self._fence(token) for token in self.tokens if token.type == "fence"]
        self._outer: dict[tuple[str, ...], list[Span]] = {
            kinds: [self.span(token) for token in self.tokens if token.level == 0 and token.type in kinds]
            for kinds in (LISTS, QUOTES, CODE)
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
        opening = token.markup + (info.strip() if LANGUAGE.fullmatch(info.strip()) else "")
        return Fence(start, last if closed else after, after, re.sub(r"[^>\s]", " ", before), opening, token.markup)

    def fence_at(self, position: int) -> Fence | None:
        """The fence whose code a position is in, or begins."""
        found = self.fence_before(position)
        return found if found and position < found.end else None

    def fence_before(self, position: int) -> Fence | None:
        index = bisect.bisect_right(self.fences, position, key=lambda fence: fence.start) - 1
        return self.fences[index] if index >= 0 else None

    def outermost(self, position: int, kinds: tuple[str, ...]) -> Span | None:
        """Where the outermost block of these kinds around a position begins and ends."""
        return around(self._outer[kinds], position)

    def begin(self, position: int) -> int:
        """Where a part begins that is cut off there: without empty lines, and without the spaces that separate words."""
        start = match_end(_BLANK_LINES, self.text, position)
        fence = self.fence_before(position)
        if fence and fence.end <= start and position < fence.after:
            return self.begin(fence.after)
        if start == self.line_start(start) and self.outermost(start, QUOTES) and not self.fence_at(start):
            start = match_end(_BLANK_QUOTES, self.text, start)
        if start == self.line_start(start) and (self.fence_at(start) or self.outermost(start, CODE)):
            return start
        return match_end(_SPACES, self.text, start)

    def solid(self, start: int) -> int:
        """Where the text of a part begins: what ends before would be empty."""
        fence = self.fence_at(start)
        pattern = _QUOTED_SPACE if fence and ">" in fence.prefix else _SPACE
        found = match_end(pattern, self.text, start)
        return min(found, fence.end - 1) if fence else found

    def indentation(self, start: int) -> tuple[int, int]:
        """How many spaces the lines of a part lose that begins inside a list or a quote, and where that ends."""
        block = self.outermost(start, LISTS) or self.outermost(start, QUOTES)
        if block is None or start == block[0]:
            return 0, start
        fence, line = self.fence_at(start), self.line_start(start)
        text = fence.prefix if fence else self.text[line : self.text.find("\n", start) + 1 or None]
        quoted = match_end(QUOTED, text, 0) if self.outermost(start, QUOTES) else 0
        spaces = match_end(_INDENTATION, text, quoted)
        within = spaces if fence or start - line <= spaces else match_end(_BULLETS, text, quoted)
        return within - quoted, block[1]

    def lead(self, start: int) -> str:
        """What a part begins with that is cut off inside a line of a quote or of code in one."""
        fence, line = self.fence_at(start), self.line_start(start)
        if start == line:
            return ""
        if fence:
            return fence.prefix
        quoted = self.outermost(start, QUOTES) is not None and self.text[line:start].strip(" ")
        found = QUOTED.match(self.text, line)
        return (found[0] if found else "> ") if quoted else ""


def match_end(pattern: re.Pattern[str], text: str, position: int) -> int:
    """Where what matches there ends; the position itself where nothing does."""
    found = pattern.match(text, position)
    return found.end() if found else position
