"""How a reply names the passages it rests on: their titles with links, in Markdown, which platforms render. Pure."""

import re
from collections.abc import Sequence

from engine.grounding import Grounds
from engine.handoff import literal
from engine.knowledge import Passage

#: Characters of a title.
_LONGEST_TITLE = 80
_LINK = re.compile(r"https?://[^\s<>\"'\\`]+", re.IGNORECASE)


def linked(passages: Sequence[Passage], *, most: int) -> list[str]:
    """Titles with links, as Markdown; one a place, and none for a passage that stands nowhere on the web."""
    found: dict[str, str] = {}
    for passage in passages:
        if _LINK.fullmatch(passage.link) and passage.link not in found:
            found[passage.link] = f"[{literal(_title(passage))}]({_target(passage.link)})"
    return list(found.values())[:most]


def supporting(text: str, passages: Sequence[Passage]) -> list[Passage]:
    """The passages that each support a sentence of the text, those that support most first; all where none does by itself."""
    scored = []
    for place, passage in enumerate(passages):
        judged = Grounds([passage.text]).check(text).sentences
        good = sum(not one.fault and one.covered > 0 for one in judged)
        scored.append((-good, place, passage))
    best = [passage for good, _, passage in sorted(scored, key=lambda one: one[:2]) if good]
    return best or list(passages)


def _title(passage: Passage) -> str:
    """The last heading, which names the section, or the question."""
    title = passage.heading[-1] if passage.heading else passage.title
    return title if len(title) <= _LONGEST_TITLE else f"{title[: _LONGEST_TITLE - 1]}…"


def _target(link: str) -> str:
    """A link that ends where the Markdown around it says."""
    return link.replace("(", "%28").replace(")", "%29")
