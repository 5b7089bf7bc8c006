"""Where Markdown source may be cut.

Graphemes, each of which a person takes for one character, are those of Unicode as `\\X` of the `regex` package finds them: families
of emoji, flags, letters with their marks, Hangul syllables.
"""

import re
from collections.abc import Iterator

import regex  # type: ignore[import-untyped] # it brings no annotations

from connectors.spans import Span, around, merged, spans
from connectors.structure import WITHIN_GRAPHEME, Fence, Structure

#: What begins like this would become a list, a quote, a heading or code at the start of a line.
_NOT_BEFORE = rf"(?!{WITHIN_GRAPHEME}|>|#{{1,6}}\s|[-+*]\s|\d{{1,9}}[.)]\s|```|~~~)"
_SENTENCES = regex.compile(r"(?:[.!?…]['\")\]»”’*_`]*\s+|[。！？][」』）”’]*)" + _NOT_BEFORE)  # these are meant
_WORDS = regex.compile(r"\s+" + _NOT_BEFORE)
_GRAPHEMES = regex.compile(r"\X")
#: What a line begins with before its text: nothing is cut off in the middle of it.
_PREFIX = re.compile(r"^[ \t>]*(?:(?:[-*+]|\d{1,9}[.)]|#{1,6})[ \t]+)*(?=[^\s])", re.MULTILINE)

#: What is kept whole: emphasis, links, code and the edges of lines and fences; the same without emphasis; edges alone; nothing.
TIERS = (0, 1, 2, 3)
_EMPHASIS, _LINKS, _EDGES, _NOTHING = TIERS
KINDS = ("blocks", "items", "lines", "sentences", "words", "graphemes")


class Source(Structure):
    """A text with the places to cut it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._cuts: dict[tuple[str, int], list[int]] = {}
        self._whole: dict[int, list[Span]] = {}

    def cuts(self, kind: str, tier: int) -> list[int]:
        """Positions in order, with the end as the last."""
        if (kind, tier) not in self._cuts:
            found = self._outside(self.whole(tier), getattr(self, f"_{kind}")())
            self._cuts[kind, tier] = [*found, len(self.text)]
        return self._cuts[kind, tier]

    def too_long(self, position: int, tier: int, length: int) -> bool:
        """Whether a position is in something that is longer than this, so that keeping it whole is in vain."""
        kept = around(self.whole(tier), position)
        return kept is not None and kept[1] - kept[0] > length

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
