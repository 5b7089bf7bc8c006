"""Takes the text out of a PDF, as a program: `python -m engine.ingest_pdf_pages SECONDS < FILE` prints the pages as JSON.

A PDF is a program for a small machine, and a hostile one can ask for all the memory there is, or never end. So it is read in a
process of its own with bounds on both, which ends instead.
"""

import io
import re
import resource
import sys
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import msgspec
from pypdf import PdfReader
from pypdf.errors import PyPdfError
from pypdf.generic import Destination

#: Pages of one file.
MOST_PAGES = 3_000
#: Address space of the process that reads, bytes.
MOST_MEMORY = 2 << 30
#: Characters of one page: a page of small print has 10,000.
MOST_CHARACTERS = 200_000
#: Levels of bookmarks.
MOST_LEVELS = 8
#: What pypdf raises over a damaged file, beside its own errors: it trusts the types of what it finds.
DAMAGE = (
    PyPdfError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    OSError,
    RecursionError,
    NotImplementedError,
    ArithmeticError,
    AssertionError,
)


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What one page says."""

    text: str
    heading: tuple[str, ...] = ()


class Pages(msgspec.Struct, frozen=True, kw_only=True):
    """What the program prints: pages, or why there are none."""

    pages: list[Page] = []
    title: str = ""
    refused: str = ""
    #: Pages that could not be read, and why.
    skipped: list[tuple[str, str]] = []


def _extracted(file: BinaryIO) -> Pages:
    """In the bounded process: open, check, and take the text of each page."""
    try:
        reader = PdfReader(file)
        if reader.is_encrypted and not reader.decrypt(""):
            return Pages(refused="it is encrypted: save a copy without a password")
        count = len(reader.pages)
    except (
        PyPdfError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        OSError,
        RecursionError,
        NotImplementedError,
    ) as error:
        return Pages(refused=f"it is damaged or no PDF ({type(error).__name__}: {str(error)[:200]}): print it to a new PDF")
    if count > MOST_PAGES:
        return Pages(refused=f"it has {count} pages, more than {MOST_PAGES}: split it")
    return _read_pages(reader, count)


def _read_pages(reader: PdfReader, count: int) -> Pages:
    headings = _headings(reader, count)
    pages: list[Page] = []
    skipped: list[tuple[str, str]] = []
    for number in range(count):
        try:
            text = reader.pages[number].extract_text()[:MOST_CHARACTERS]
        except (
            PyPdfError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            IndexError,
            RecursionError,
            NotImplementedError,
        ) as error:
            skipped.append((f"page {number + 1}", f"it is damaged ({type(error).__name__}: {str(error)[:200]})"))
            text = ""
        pages.append(Page(text=_clean(text), heading=headings[number]))
    if not any(page.text.strip() for page in pages):
        why = skipped[0][1] if skipped else "it holds pictures of pages and no text: run it through a text recogniser (OCR) first"
        return Pages(refused=why)
    return Pages(pages=pages, title=_title(reader), skipped=skipped[:20])


def _clean(text: str) -> str:
    """Without what no encoding of text can hold."""
    return text.encode("utf-8", "ignore").decode().replace("\0", "").replace("\u00ad", "")


def _title(reader: PdfReader) -> str:
    try:
        title = str((reader.metadata.title if reader.metadata else "") or "")
    except DAMAGE:
        return ""
    # Programs that make PDFs put the name of a file there.
    return "" if re.search(r"\.\w{2,5}$|^untitled|^Microsoft Word", title, re.IGNORECASE) else _clean(title).strip()[:300]


def _headings(reader: PdfReader, count: int) -> list[tuple[str, ...]]:
    """The bookmarks that each page stands under; none where they are damaged."""
    begins: dict[int, tuple[str, ...]] = {}
    try:
        for path, place in _bookmarks(reader, reader.outline, ()):
            begins.setdefault(place, path)
    except DAMAGE:
        return [()] * count
    found: list[tuple[str, ...]] = []
    for number in range(count):
        found.append(begins.get(number, found[-1] if found else ()))
    return found


def _bookmarks(reader: PdfReader, outline: Sequence[object], above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    path = above
    for item in outline:
        if isinstance(item, list) and len(above) < MOST_LEVELS:
            yield from _bookmarks(reader, item, path)
        elif isinstance(item, Destination) and (place := reader.get_destination_page_number(item)) is not None:
            path = (*above, _clean(str(item.title or "")).strip()[:300])
            yield path, place


def main(seconds: str) -> None:
    """Print the pages of what comes in."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds)))
    try:
        found = _extracted(io.BytesIO(sys.stdin.buffer.read()))
    except MemoryError:
        found = Pages(refused=f"it takes more than {MOST_MEMORY >> 30} GiB of memory to read: print it to a new PDF")
    sys.stdout.buffer.write(msgspec.json.encode(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
