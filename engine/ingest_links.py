"""Links in documents: anchors of headings as GitHub makes them, and what a document's links mean to who reads elsewhere."""

import re
import unicodedata
from collections.abc import Mapping
from urllib.parse import urldefrag, urljoin, urlsplit

from markdown_it.common.utils import normalizeReference

#: Schemes that a reply may link to.
_OPEN = ("http", "https", "mailto", "tel")
#: Runs of code, which nothing is changed in.
_CODE = re.compile(r"(``[^\n]{1,1000}?``|`[^`\n]{1,1000}`)")
_INLINE = re.compile(
    r"(!?)\[([^\[\]\n]{0,500})\]\(\s{0,9}<?([^()\s<>]{0,2000})>?(?:\s{1,9}(?:\"[^\"\n]{0,300}\"|'[^'\n]{0,300}'))?\s{0,9}\)"
)
_REFERENCE = re.compile(r"(!?)\[([^\[\]\n]{1,500})\](?:\[([^\[\]\n]{0,500})\])?(?![(:])")
_BREAK = re.compile(r"<br\s{0,9}/?>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z][a-zA-Z0-9-]{0,40}(?:\s[^<>]{0,1000})?/?>")


class Anchors:
    """Hands out the anchors of one document's headings: a repeated one gets a number."""

    def __init__(self) -> None:
        self._given: dict[str, int] = {}

    def of(self, heading: str) -> str:
        """The anchor of the next heading."""
        kept = (c for c in heading.strip().lower() if unicodedata.category(c)[0] in "LNM" or c in "-_ ")
        plain = "".join(kept).replace(" ", "-")
        anchor, number = plain, self._given.get(plain, 0)
        while anchor in self._given:
            number += 1
            anchor = f"{plain}-{number}"
        self._given[plain] = number
        self._given.setdefault(anchor, 0)
        return anchor


def absolute(target: str, base: str) -> str:
    """Where a link leads, seen from the document at `base`; empty where that is nowhere a reply may lead to."""
    try:
        joined = urljoin(base, target) if base else target
        scheme = urlsplit(joined).scheme
    except ValueError:
        return ""
    return joined if scheme in _OPEN or (base and not scheme) else ""


def at(link: str, fragment: str) -> str:
    """A place in a page: `fragment` takes the place of any that the link has."""
    return f"{urldefrag(link)[0]}#{fragment}" if link and fragment else link


def standing_alone(text: str, base: str, references: Mapping[str, Mapping[str, str]]) -> str:
    """Markdown that means the same away from its document: full links, no images, no tags."""
    parts = _CODE.split(text)
    parts[::2] = [_part(part, base, references) for part in parts[::2]]
    return "".join(parts)


def _part(text: str, base: str, references: Mapping[str, Mapping[str, str]]) -> str:
    def inline(found: re.Match[str]) -> str:
        return _link(found[1], found[2], found[3], base)

    def reference(found: re.Match[str]) -> str:
        meant = references.get(normalizeReference(found[3] or found[2]))
        return found[0] if meant is None else _link(found[1], found[2], meant["href"], base)

    text = _INLINE.sub(inline, text)
    # A picture that is a link itself: its words are in place now, and its own brackets can be read.
    text = _INLINE.sub(inline, text) if "[" in text else text
    text = _REFERENCE.sub(reference, text) if references else text
    return _TAG.sub("", _BREAK.sub(" ", text)) if "<" in text else text


def _link(picture: str, label: str, target: str, base: str) -> str:
    leads = "" if picture else absolute(target, base)
    return f"[{label}]({leads})" if leads and label else label
