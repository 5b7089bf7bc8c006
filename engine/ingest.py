"""Reads documents into passages: a file, a folder or an address, of every kind a support desk keeps its knowledge in.

Whatever is read is bounded: bytes, files, passages, depth, seconds. A document that cannot be read does not stop the others; it is
named in the reading, with the reason and the line, row or page.
"""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urljoin, urlsplit

from engine.errors import Unreadable
from engine.ingest_cut import Block, pieces
from engine.ingest_files import content, files
from engine.ingest_html import charset_of, read_html
from engine.ingest_json import read_json
from engine.ingest_links import absolute, at
from engine.ingest_markdown import Document, Draft, read_markdown
from engine.ingest_pairs import read_lines, read_table
from engine.ingest_pdf import read_pdf
from engine.ingest_text import text_of
from engine.ingest_url import KINDS, fetch
from engine.knowledge import Passage
from engine.language import recognise

#: Kinds of files by the end of their names.
_ENDS = {
    **dict.fromkeys((".md", ".markdown", ".mdown", ".mkd", ".mdx"), "markdown"),
    **dict.fromkeys((".html", ".htm", ".xhtml"), "html"),
    **dict.fromkeys((".csv", ".tsv"), "table"),
    **dict.fromkeys((".jsonl", ".ndjson"), "lines"),
    **dict.fromkeys((".txt", ".text"), "text"),
    ".json": "json",
    ".pdf": "pdf",
}
_DATA = ("table", "lines", "json")
_CODE = re.compile(r"([A-Za-z]{2})(?:[-_][A-Za-z0-9_-]{2,20})?")
#: Characters by which the language of a document is judged, for passages too short to tell.
_SAMPLE = 1_000


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much is read of one source."""

    #: Bytes of one PDF: pictures make them large.
    pdf_bytes: int = 64 << 20
    #: Bytes of any other file: a book of 1,000 pages has 3 MB of text.
    bytes: int = 8 << 20
    #: Files of a folder.
    files: int = 20_000
    #: Folders inside each other.
    depth: int = 32
    #: Passages of a source: what a worker searches exactly.
    passages: int = 100_000
    #: Seconds for everything, and for one PDF or one page that is fetched.
    seconds: float = 1_800.0
    seconds_each: float = 120.0


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What came of reading a source."""

    passages: tuple[Passage, ...] = ()
    #: Names of what was not read, and why, with the line or page where there is one.
    skipped: tuple[tuple[str, str], ...] = ()


def read(source: str, *, link: str = "", inside: Sequence[str] = (), limits: Limits | None = None) -> Reading:
    """The passages of a file, a folder or an http address.

    :param link: where people read it: of a folder, or with a `/` at its end, the address that the names of files are joined to; of
        a file its own. Links inside the documents start from there, too.
    :param inside: hosts of one's own network that an address may lead to.
    :raises Unreadable: nothing can be read there, or more than `limits` allow.
    """
    bounds = limits or Limits()
    if re.match(r"https?://", source, re.IGNORECASE):
        return _gathered([_from_address(source, link, inside, bounds)], bounds)
    path = Path(source)
    if not path.exists():
        raise Unreadable(f"{source}: there is no such file or folder")
    if path.is_dir():
        return _folder(path, link, bounds)
    return _gathered([_from_file(path, path.name, urljoin(link, quote(path.name)) if link.endswith("/") else link, bounds)], bounds)


@dataclass(frozen=True, kw_only=True)
class _Read:
    """A document with its name and place."""

    name: str
    #: Where it lies, which its own links start from.
    link: str
    document: Document
    #: Where people read it; data lies somewhere, too, but nobody reads it there.
    page: str


def _from_address(url: str, link: str, inside: Sequence[str], bounds: Limits) -> _Read:
    found = fetch(url, most=bounds.pdf_bytes, seconds=bounds.seconds_each, inside=inside)
    end = KINDS[found.kind] or Path(unquote(urlsplit(found.url).path)).suffix.lower()
    kind = _ENDS.get(end, "text" if found.kind == "text/plain" else "")
    if not kind:
        raise Unreadable(f"{url}: the server does not say what kind of document it is, nor does its name")
    base = link or found.url
    try:
        document = _document(kind, found.content, base, bounds, found.charset)
        return _Read(name=url, link=base, document=document, page=_page(kind, base))
    except Unreadable as error:
        raise Unreadable(f"{url}: {error}") from error


def _page(kind: str, link: str) -> str:
    """Where people read what lies at a link: a table of answers is read nowhere by its own name."""
    return "" if kind in _DATA and Path(urlsplit(link).path).suffix.lower() in _ENDS else link


def _from_file(path: Path, name: str, link: str, bounds: Limits) -> _Read:
    kind = _ENDS.get(path.suffix.lower(), "")
    try:
        if not kind:
            raise Unreadable(f"{path.suffix or 'a name without an end'} is no kind that is read: {', '.join(sorted(_ENDS))} are")
        most = bounds.pdf_bytes if kind == "pdf" else bounds.bytes
        document = _document(kind, content(path, most=most), link, bounds)
        return _Read(name=name, link=link, document=document, page=_page(kind, link))
    except Unreadable as error:
        raise Unreadable(f"{name}: {error}") from error


def _document(kind: str, raw: bytes, base: str, bounds: Limits, charset: str = "") -> Document:
    if kind == "pdf":
        return read_pdf(raw, seconds=bounds.seconds_each)
    if len(raw) > bounds.bytes:
        raise Unreadable(f"it is larger than {bounds.bytes >> 20} MiB: split it")
    text = text_of(raw, charset or (charset_of(raw) if kind == "html" else ""))
    if kind == "markdown":
        return read_markdown(text, base=base)
    if kind == "html":
        return read_html(text, base=base)
    if kind == "table":
        return read_table(text)
    if kind == "lines":
        return read_lines(text)
    return read_json(text) if kind == "json" else _plain(text)


def _plain(text: str) -> Document:
    blocks = [Block("text", part.strip()) for part in re.split(r"\r?\n[ \t]*\r?\n", text) if part.strip()]
    return Document(drafts=tuple(Draft(text=piece) for piece in pieces(blocks)))


def _folder(folder: Path, link: str, bounds: Limits) -> Reading:
    """Every document of a folder, by name; what cannot be read is named."""
    skipped: list[tuple[str, str]] = []
    read: list[_Read] = []
    ends = time.monotonic() + bounds.seconds
    for path, name in files(folder, most=bounds.files, depth=bounds.depth, skipped=skipped):
        if time.monotonic() > ends:
            skipped.append((name, f"not read: {bounds.seconds:.0f} s are over; add the rest as a folder of its own"))
            continue
        try:
            read.append(_from_file(path, name, urljoin(f"{link.rstrip('/')}/", quote(name)) if link else "", bounds))
        except Unreadable as error:
            skipped.append((name, str(error).removeprefix(f"{name}: ")))
    found = _gathered(read, bounds)
    return Reading(passages=found.passages, skipped=(*skipped, *found.skipped))


def _gathered(read: Sequence[_Read], bounds: Limits) -> Reading:
    passages: list[Passage] = []
    skipped: list[tuple[str, str]] = []
    for one in read:
        passages += _passages(one)
        skipped += [(f"{one.name}: {place}" if place else one.name, reason) for place, reason in one.document.skipped]
        if not one.document.drafts and not one.document.skipped:
            skipped.append((one.name, "nothing is said in it"))
        if len(passages) > bounds.passages:
            raise Unreadable(f"{one.name}: with it there are more than {bounds.passages} passages: make several knowledge bases")
    return Reading(passages=tuple(passages), skipped=tuple(skipped))


def _passages(one: _Read) -> Iterator[Passage]:
    """The passages of a document; of two that say the same under the same heading the first."""
    document = one.document
    page = absolute(document.link, one.link) if document.link else one.page
    named = _code(document.language)
    usual = named or recognise(" ".join(draft.text[:200] for draft in document.drafts[:20])[:_SAMPLE])
    seen: set[tuple[str, ...]] = set()
    for draft in document.drafts:
        same = tuple(_letters(part) for part in (*draft.heading, draft.text))
        if same in seen or not draft.text.strip():
            continue
        seen.add(same)
        own = absolute(draft.link, one.link) if draft.link else ""
        yield Passage(
            document=one.name,
            text=draft.text,
            heading=draft.heading,
            questions=draft.questions,
            link=own or at(page, draft.anchor),
            language=_code(draft.language) or named or recognise(" ".join((*draft.questions[:1], draft.text))) or usual,
        ).identified()


def _letters(text: str) -> str:
    """What is compared: words and numbers, without case, markup and punctuation."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def _code(language: str) -> str:
    found = _CODE.fullmatch(language.strip())
    return found[1].lower() if found else ""
