"""Reads PDF: each page in pieces, under the bookmark it stands below, without its running heads and the breaks of its lines.

The pages come from `engine.ingest_pdf_pages`, a process of its own that ends with the file.
"""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from engine.errors import Unreadable
from engine.ingest_cut import Block, pieces
from engine.ingest_markdown import Document, Draft
from engine.ingest_pdf_pages import Page, Pages

#: A line at the top or bottom of this share of the pages is a running head, a foot or a page number.
REPEATED = 0.5

_HYPHEN = re.compile(r"(?<=[^\W\d_])-\n(?=[^\W\d_A-Z])")
_WRAPPED = re.compile(r"(?<![.!?:;\n\u2022])\n(?![\n\u2022*\-\u2013]|\d{1,3}[.)])")
_DIGITS = re.compile(r"\d{1,9}")


def read_pdf(raw: bytes, *, seconds: float) -> Document:
    """The passages of a PDF, each with its page as the anchor.

    :raises Unreadable: it is encrypted, damaged, scanned without text, or asks for too much.
    """
    command = [sys.executable, "-m", Page.__module__, str(int(seconds) + 1)]
    try:
        ended = subprocess.run(command, input=raw, capture_output=True, timeout=seconds, check=False)  # noqa: S603 - ourselves
    except subprocess.TimeoutExpired as error:
        raise Unreadable(f"it takes longer than {seconds:.0f} s to read: split it, or print it to a new PDF") from error
    try:
        found = msgspec.json.decode(ended.stdout, type=Pages)
    except msgspec.DecodeError as error:
        raise Unreadable("reading it takes too much memory or time, or fails: print it to a new PDF") from error
    if found.refused:
        raise Unreadable(found.refused)
    return Document(drafts=tuple(_drafts(found)), skipped=tuple(found.skipped))


def _drafts(found: Pages) -> Iterator[Draft]:
    for number, page in enumerate(_without_running_heads(found.pages), 1):
        blocks = [Block("text", part.strip()) for part in re.split(r"\n[ \t]*\n", page.text) if part.strip()]
        heading = tuple(filter(None, (found.title, *page.heading)))
        yield from (Draft(text=piece, heading=heading, anchor=f"page={number}") for piece in pieces(blocks))


def _without_running_heads(pages: Sequence[Page]) -> list[Page]:
    """Pages without the first and last lines that most of them share, numbers aside."""
    edges = Counter(edge for page in pages for edge in {_DIGITS.sub("#", line) for line in _edges(page.text.split("\n"))})
    shared = {edge for edge, count in edges.items() if len(pages) > 2 and count > REPEATED * len(pages)}
    return [msgspec.structs.replace(page, text=_flowing(_trimmed(page.text.split("\n"), shared))) for page in pages]


def _edges(lines: Sequence[str]) -> list[str]:
    said = [line.strip() for line in lines if line.strip()]
    most = min(2, len(said) // 4)
    return said[:most] + said[len(said) - most :]


def _trimmed(lines: list[str], shared: set[str]) -> str:
    edges = set(_edges(lines))
    return "\n".join(line for line in lines if not (line.strip() in edges and _DIGITS.sub("#", line.strip()) in shared))


def _flowing(text: str) -> str:
    """Lines that the width of the page broke, joined; lines that end a sentence or begin an item stay."""
    return _WRAPPED.sub(" ", _HYPHEN.sub("", re.sub(r"[ \t]+\n", "\n", text))).strip()
