"""Characters that would reach beyond their line, or could not be sent at all.

A text that mixes directions is laid out by the Unicode bidirectional algorithm. Overrides and embeddings can show a line in another
order than it is read in, so they are left out. Isolates hold what is inside apart from the rest; each is closed on its line.
"""

import re

#: Left-to-right and right-to-left embeddings and overrides, and their end: Unicode itself prefers isolates.
_EMBEDDINGS = re.compile("[\u202a-\u202e]")
_ISOLATES = re.compile("[\u2066-\u2069]")
_END_OF_ISOLATE = "\u2069"
#: Half a surrogate pair cannot be sent; control characters other than tab and line feed are refused or shown as boxes.
_UNSENDABLE = re.compile("[\ud800-\udfff\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def sendable(text: str) -> str:
    """The text with a sign in place of what cannot be sent."""
    return _UNSENDABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def settled(text: str) -> str:
    """The text with its overrides left out, and every isolate closed on its line."""
    text = _EMBEDDINGS.sub("", text)
    return "\n".join(_isolated(line) for line in text.split("\n")) if _ISOLATES.search(text) else text


def _isolated(line: str) -> str:
    depth = 0

    def keep(found: re.Match[str]) -> str:
        nonlocal depth
        ends = found[0] == _END_OF_ISOLATE
        depth += 1 - 2 * ends
        if depth < 0:
            depth = 0
            return ""
        return found[0]

    return _ISOLATES.sub(keep, line) + _END_OF_ISOLATE * depth
