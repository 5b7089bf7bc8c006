"""A text in parts that a platform takes."""

from collections.abc import Callable

import regex  # type: ignore[import-untyped] # it brings no annotations

Fits = Callable[[str], bool]


def utf16(text: str) -> int:
    """The length in UTF-16 units, which Telegram counts in: an emoji is two."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def split(text: str, fits: Fits) -> tuple[str, ...]:
    """Parts of Markdown source for which `fits` holds."""
    parts = []
    rest = text
    while rest and not fits(rest):
        pieces = regex.findall(r"\X", rest)
        low, high = 1, len(pieces)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits("".join(pieces[:middle])) else (low, middle)
        parts.append("".join(pieces[:low]))
        rest = "".join(pieces[low:])
    return (*parts, rest) if rest or not parts else tuple(parts)
