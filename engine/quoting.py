"""Passages as a prompt holds them: quoted data between marks, after the instruction to answer from nothing else. Pure.

No text of a passage can end its quotation: what looks like a mark in it is changed. (Its tokens cannot be control tokens
either: see `engine.prompt`.)
"""

import re
from collections.abc import Sequence

from engine.knowledge import Passage

_MARK = re.compile(r"<(?=\s*/?\s*passage)", re.IGNORECASE)
#: Characters of one passage: the tokens are counted by the caller, which need not make more.
_LONGEST = 4_000


def quoted(passage: Passage, number: int) -> tuple[str, str, str]:
    """(What begins the quotation of a passage, its title and text, what ends it)."""
    title = " > ".join(passage.heading) or "".join(passage.questions[:1])
    text = _MARK.sub("(", "\n".join(filter(None, (title, passage.text)))[:_LONGEST])
    return f"<passage {number}>\n", text, "\n</passage>\n"


def instructed(instruction: str, passages: Sequence[Passage]) -> str:
    """What leads the quotations; empty where there are none."""
    return f"{instruction.strip()}\n\n" if passages and instruction.strip() else ""


#: What leads the question below the quotations.
ASKED = "\nQuestion: "
