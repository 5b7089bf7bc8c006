"""A reply in parts that a platform takes.

`fits` may be as dear as rendering the part: it is asked about a handful of candidates for each part, found by bisection that begins
at the size of the part before, and about the whole text once.
"""

import bisect
import re
from collections.abc import Callable

from connectors.cuts import KINDS, TIERS, Source
from connectors.structure import QUOTED, match_end

Fits = Callable[[str], bool]

#: Code points that the first part is tried with.
_FIRST_SIZE = 4000

#: The start of an item of a list: its indentation, and its number if it has one.
_ITEM = re.compile(r"( *)(?:[-*+]|(\d{1,9})[.)])(?: |$)")


def utf16(text: str) -> int:
    """The length in UTF-16 units, which Telegram counts in: an emoji is two."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def split(text: str, fits: Fits) -> tuple[str, ...]:
    """Parts of Markdown source for which `fits` holds; together they carry all of it but white space at the cuts.

    A cut is between blocks rather than items of a list, lines, sentences, words and graphemes, in this order, wherever that makes a
    part at least half as long as it could be. Code that is cut has its fence closed and opened again, a quote goes on as a quote,
    and lines of a list lose the indentation that would make code of them. A grapheme for which `fits` does not hold is a part all
    the same.
    """
    if not text.strip() or fits(text):
        return (text,)
    cutter = _Cutter(Source(text.replace("\r\n", "\n").replace("\r", "\n").rstrip()), fits)
    return cutter.parts()


def _outdented(body: str, spaces: int) -> str:
    """Lines of a list without the indentation of the first, or of an item that is less indented from that item on."""
    lines = []
    for line in body.split("\n"):
        quoted = line[: match_end(QUOTED, line, 0)]
        text = line[len(quoted) :]
        item = _ITEM.match(text)
        if item and len(item[1]) < spaces:
            spaces = len(item[1])
            # Without an empty line before it, a number other than 1 would go on with the paragraph.
            lines += [quoted.rstrip()] if item[2] else []
        lines.append(quoted + text[min(spaces, len(text) - len(text.lstrip(" "))) :])
    return "\n".join(lines)


class _Cutter:
    """The state of one split."""

    def __init__(self, source: Source, fits: Fits) -> None:
        self.source = source
        self.fits = fits
        self.end = len(source.text)
        #: Code points that are thought to fit.
        self.size = _FIRST_SIZE

    def parts(self) -> tuple[str, ...]:
        parts, start = [], self.source.begin(0)
        while start < self.end:
            part = (
                _Part(self, start, bare=False).best()
                or _Part(self, start, bare=True).best()
                or _Part(self, start, bare=True).least()
            )
            parts.append(part.candidate(part.low))
            self.size = max((part.low + min(part.high, self.end)) // 2 - start, 1)
            start = self.source.begin(part.low)
        return tuple(parts) or (self.source.text,)


class _Part:
    """One part that begins at `start`: the best end known so far, and the first one that is too far."""

    def __init__(self, cutter: _Cutter, start: int, *, bare: bool) -> None:
        self.cutter = cutter
        self.source = cutter.source
        self.start = self.low = start
        self.high = cutter.end + 1
        self.bare = bare
        self.size = cutter.size
        graphemes = cutter.source.cuts("graphemes", TIERS[-1])
        #: The first end with which the part is not empty.
        self.first = graphemes[bisect.bisect_right(graphemes, cutter.source.solid(start))]

    def best(self) -> "_Part | None":
        """Itself with its end found, if there is one."""
        if not self.cutter.fits(self.candidate(self.first)):
            return None
        for tier in TIERS if self.bare else TIERS[:-1]:
            for kind in KINDS:
                self._reach(self.source.cuts(kind, tier))
                if self._enough():
                    return self
            if self.low > self.start and not self.source.too_long(self.high - 1, tier, self.high - self.start):
                return self
        return self if self.low > self.start else None

    def _enough(self) -> bool:
        """Whether the part is at least half as long as it could be."""
        twice = 2 * self.low - self.start
        if twice >= self.high or self.low in {self.start, self.cutter.end}:
            return self.low > self.start
        graphemes = self.source.cuts("graphemes", TIERS[-1])
        near = graphemes[bisect.bisect_left(graphemes, twice)]
        if near < self.high and self.cutter.fits(self.candidate(near)):
            return False
        self.high = min(self.high, near)
        return True

    def least(self) -> "_Part":
        """Itself, with at least one grapheme, or what fits of it."""
        whole, self.first = self.first, self.start + 1
        self._reach(list(range(self.first, whole)))
        self.low = self.low if self.low > self.start else whole
        return self

    def candidate(self, cut: int) -> str:
        """The part if it ended there."""
        source, start = self.source, self.start
        if self.bare:
            return source.text[start:cut].strip()
        opened, closed = source.fence_at(start), source.fence_at(cut) if cut < self.cutter.end else None
        spaces, inside = source.indentation(start)
        opening = f"{opened.prefix}{opened.opening}\n" if opened else ""
        closing = f"\n{closed.prefix}{closed.markup}" if closed else ""
        text = source.text[start:cut].rstrip() + closing
        first, rest = (text, "") if cut <= inside else (text[: inside - start], text[inside - start :])
        indented = " " * spaces if not opened and start > source.line_start(start) else ""
        first = f"{opening}{source.lead(start)}{indented}{first}"
        return (_outdented(first, spaces) if spaces else first) + rest

    def _reach(self, cuts: list[int]) -> None:
        """Move `low` and `high` together as far as these cuts allow, from the size that is thought to fit."""
        first, last = bisect.bisect_left(cuts, max(self.low + 1, self.first)), bisect.bisect_left(cuts, self.high)
        probe, step, ways = bisect.bisect_right(cuts, self.start + self.size) - 1, 1, set[bool]()
        while first < last:
            probe = min(max(probe, first), last - 1)
            if self._too_far(cuts[probe]):
                last = bisect.bisect_left(cuts, self.high)
                continue
            fits = self.cutter.fits(self.candidate(cuts[probe]))
            if fits:
                self.low, first = cuts[probe], probe + 1
            else:
                self.high, last = cuts[probe], probe
            ways.add(fits)
            probe = (first + last) // 2 if len(ways) == 2 else first + step - 1 if fits else last - step
            step *= 2

    def _too_far(self, cut: int) -> bool:
        """Whether a nearer cut is known not to fit: so none is tried that is much longer than what is thought to fit."""
        graphemes = self.source.cuts("graphemes", TIERS[-1])
        while cut - self.start > 2 * self.size:
            near = graphemes[bisect.bisect_left(graphemes, self.start + 2 * self.size)]
            if near >= cut:
                return False
            if not self.cutter.fits(self.candidate(near)):
                self.high = min(self.high, near)
                return True
            self.size *= 2
        return False
