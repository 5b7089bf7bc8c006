"""Cutting what a document says into pieces of the size that an encoder reads at once, at seams that a reader would choose.

A size is counted in bytes of UTF-8, which follow an encoder's tokens better than characters do: a letter of English is one byte
and a quarter of a token, one of Chinese three bytes and a whole token.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

#: Bytes that a piece grows to: 256 word pieces, all that MiniLM reads (Wang et al. 2020), are about 1,000 letters of English.
NEAR = 1_000
#: A paragraph, list or table stays whole up to this many bytes; a longer one is cut between its sentences, items or rows.
MOST = 1_500
#: Code is worth little in halves: it stays whole up to this many bytes, and is then cut between its lines.
MOST_CODE = 4_000
#: A last piece below this many bytes joins the one before it.
SMALL = 200

Kind = Literal["text", "list", "table", "code"]


@dataclass(frozen=True)
class Block:
    """A paragraph, a list, a table or a piece of code, as Markdown."""

    kind: Kind
    text: str


def size(text: str) -> int:
    """Bytes of UTF-8; half a surrogate pair, which has none, counts as one of its escapes."""
    return len(text.encode("utf-8", "surrogatepass"))


def pieces(blocks: Sequence[Block]) -> list[str]:
    """The blocks as pieces of about `NEAR` bytes, in order; a lead-in such as "Do this:" stays with what it leads to."""
    units: list[str] = []
    for part in (part for block in blocks for part in _parts(block)):
        if units and units[-1].endswith((":", "\N{FULLWIDTH COLON}")) and size(units[-1]) < NEAR:
            units[-1] = f"{units[-1]}\n\n{part}"
        else:
            units.append(part)
    found = list(_grouped(units, "\n\n", NEAR))
    if len(found) > 1 and size(found[-1]) < SMALL:
        last = found.pop()
        found[-1] = f"{found[-1]}\n\n{last}"
    return found


def _parts(block: Block) -> list[str]:
    most = MOST_CODE if block.kind == "code" else MOST
    if size(block.text) <= most:
        return [block.text] if block.text.strip() else []
    if block.kind == "code":
        return _code(block.text)
    if block.kind == "table":
        return _table(block.text)
    if block.kind == "list":
        return _list(block.text)
    return _text(block.text)


def _grouped(units: Sequence[str], joint: str, most: int) -> Iterator[str]:
    """Neighbours together up to a size."""
    group: list[str] = []
    held = 0
    for unit in units:
        if group and held + size(unit) > most:
            yield joint.join(group)
            group, held = [], 0
        group.append(unit)
        held += size(unit)
    if group:
        yield joint.join(group)


def _code(text: str) -> list[str]:
    """Between lines, each piece in a fence of its own."""
    lines = text.split("\n")
    fence = re.match(r"\s{0,3}(`{3,50}|~{3,50})", text)
    if fence is None:
        return [cut for piece in _grouped(lines, "\n", MOST) for cut in _hard(piece)]
    first, closes = lines[0], fence[1]
    body = lines[1:-1] if lines[-1].strip().startswith(closes) else lines[1:]
    whole = [cut for piece in _grouped(body, "\n", MOST) for cut in _hard(piece)]
    return [f"{first}\n{piece}\n{closes}" for piece in whole]


def _table(text: str) -> list[str]:
    """Between rows, each piece under the table's own head."""
    lines = text.split("\n")
    head = "\n".join(lines[:2])
    if size(head) > MOST:
        return _text(text)
    return [f"{head}\n{rows}" for piece in _grouped(lines[2:], "\n", NEAR) for rows in _hard(piece)]


def _list(text: str) -> list[str]:
    """Between items; what belongs to an item stays with it, unless it is long by itself."""
    indent = len(text) - len(text.lstrip(" "))
    starts = re.compile(rf" {{0,{min(indent, 3)}}}(?:[-*+]|\d{{1,9}}[.)])(?:\s|$)")
    items: list[list[str]] = []
    for line in text.split("\n"):
        if starts.match(line) or not items:
            items.append([])
        items[-1].append(line)
    whole = ["\n".join(item).rstrip() for item in items]
    return [cut for piece in _grouped(whole, "\n", NEAR) for cut in (_text(piece) if size(piece) > MOST else [piece])]


#: The end of a sentence, in the scripts that mark one.
_SENTENCE = re.compile(r"(?<=[.!?\u061f\u06d4\u0964])\s+|(?<=[\u3002\uff01\uff1f])\s*|\n")


def _text(text: str) -> list[str]:
    """Between sentences."""
    sentences = [cut for sentence in _SENTENCE.split(text) if sentence.strip() for cut in _hard(sentence.strip())]
    return list(_grouped(sentences, " ", NEAR))


def _hard(text: str) -> list[str]:
    """Between words, or anywhere: what has no seams and is too long."""
    if size(text) <= MOST:
        return [text]
    words = [word[i : i + NEAR // 4] for word in text.split(" ") for i in range(0, max(1, len(word)), NEAR // 4)]
    return list(_grouped(words, " ", NEAR))
