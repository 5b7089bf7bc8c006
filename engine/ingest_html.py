"""Reads HTML: the main content of a page as Markdown, and the questions and answers that it declares to search engines."""

import json
import re
from collections.abc import Iterator

from bs4 import BeautifulSoup, Comment, Tag
from markdownify import MarkdownConverter

from engine.errors import Unreadable
from engine.ingest_markdown import Document, Draft, read_markdown
from engine.ingest_pairs import MOST_ANSWER

#: Elements of a page: a documentation page has some thousands.
MOST_ELEMENTS = 50_000
#: Elements inside each other: some dozens in a page that was made by hand, and what Python recurses through.
MOST_DEEP = 200
#: Never content.
_NOISE = (
    "script, style, noscript, template, nav, header, footer, aside, form, button, input, select, textarea, iframe, object, embed,"
    "svg, canvas, video, audio, dialog, menu, link, meta, img, picture, map, [hidden], [aria-hidden=true], [role=navigation],"
    "[role=banner], [role=contentinfo], [role=search], [role=complementary], [role=dialog], .headerlink, .visually-hidden, .sr-only"
)
#: Where the content is, the surest first.
_MAIN = ("main", "[role=main]", "article", "#content", "#main", "body")
_HIDDEN = re.compile(r"(?:^|;)\s{0,9}(?:display\s{0,9}:\s{0,9}none|visibility\s{0,9}:\s{0,9}hidden)", re.IGNORECASE)
_ID = re.compile(r"[\w.:-]{1,200}")
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_CHARSET = re.compile(rb"<meta[^<>]{0,200}?charset\s{0,9}=\s{0,9}[\"']?\s{0,9}([a-zA-Z0-9_:-]{1,40})", re.IGNORECASE)
#: Bytes in which a page names its charset.
_HEAD = 4_096


def charset_of(raw: bytes) -> str:
    """The charset that a page names in itself."""
    found = _CHARSET.search(raw[:_HEAD])
    return found[1].decode("ascii") if found else ""


def read_html(text: str, *, base: str = "") -> Document:
    """The passages of a page that stands at `base`.

    :raises Unreadable: it is built to be large or deep, or nothing is said in it.
    """
    # Each begins and ends with this sign, and counting is faster than parsing.
    if text.count("<") > 2 * MOST_ELEMENTS:
        raise Unreadable(f"the page has more than {MOST_ELEMENTS} elements: split it")
    page = BeautifulSoup(text, "lxml")
    if _deep(page):
        raise Unreadable("the page's elements are nested hundreds deep: this is no document")
    declared = tuple(_declared(page))
    title, language = _text(page.title), str((page.html or page).get("lang") or "")
    _clean(page)
    main = next((part for name in _MAIN if (part := page.select_one(name)) is not None and _text(part)), None)
    if main is None and not declared:
        raise Unreadable("the page says nothing without its scripts: save it from a browser, or as PDF")
    found = read_markdown(markdown_of(main) if main else "", base=base, title=title)
    return Document(drafts=declared + found.drafts, language=language)


def _deep(page: BeautifulSoup) -> bool:
    """Whether it is nested so deep that looking at it takes time in proportion to a square."""
    level: list[Tag] = [page]
    for _ in range(MOST_DEEP):
        level = [child for element in level for child in element.children if isinstance(child, Tag)]
    return bool(level)


def _clean(page: BeautifulSoup) -> None:
    for comment in page.find_all(string=lambda text: isinstance(text, Comment)):
        comment.extract()
    for element in page.select(_NOISE):
        element.decompose()
    for element in page.find_all(style=_HIDDEN):
        element.decompose()


def _text(element: Tag | None) -> str:
    return " ".join(element.get_text(" ").split()) if element is not None else ""


class _Converter(MarkdownConverter):
    """Markdown as `read_markdown` takes it: headings with the anchors they have, and what unfolds as a question."""

    def convert_hN(self, n: int, el: Tag, text: str, parent_tags: set[str]) -> str:  # noqa: N802 - named by markdownify
        """A heading with its anchor."""
        own = str(el.get("id") or "")
        anchor = f" {{#{own}}}" if _ID.fullmatch(own) else ""
        words = " ".join(text.split())
        return f"\n\n{'#' * min(n, 6)} {words}{anchor}\n\n" if words else ""

    def convert_details(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        """What unfolds ends where it ends."""
        return f"\n\n{text}\n\n---\n\n"

    def convert_summary(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        """What it unfolds under."""
        return f"\n\n**{' '.join(_text(el).split())}**\n\n"

    def convert_td(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        """A cell, on one line and without bars of its own."""
        words = " ".join(text.replace("|", "\\|").split())
        return f" {words} |"

    convert_th = convert_td


def markdown_of(element: Tag) -> str:
    """The Markdown of an element."""
    try:
        # Signs that only look like emphasis are left: Markdown reads them as they are.
        converter = _Converter(heading_style="ATX", bullets="-", escape_asterisks=False, escape_underscores=False)
        return str(converter.convert_soup(element))
    except RecursionError as error:
        raise Unreadable("the page's elements are nested hundreds deep: this is no document") from error


def _declared(page: BeautifulSoup) -> Iterator[Draft]:
    """The pairs of a page marked up as schema.org's FAQPage."""
    for script in page.find_all("script", type="application/ld+json"):
        try:
            said = json.loads(script.get_text())
        except (ValueError, RecursionError):
            continue  # Marked up badly, for search engines: what people read is read below.
        for item in _flat(said):
            yield from _pair(item)


def _flat(said: object) -> Iterator[dict[str, object]]:
    """Every question of what is marked up: one level of lists and graphs, as search engines read it."""
    for thing in said if isinstance(said, list) else [said]:
        graph = thing.get("@graph", [thing]) if isinstance(thing, dict) else []
        for page in graph if isinstance(graph, list) else []:
            if isinstance(page, dict) and "FAQPage" in str(page.get("@type"))[:100]:
                entity = page.get("mainEntity")
                yield from (item for item in (entity if isinstance(entity, list) else [entity]) if isinstance(item, dict))


def _pair(item: dict[str, object]) -> Iterator[Draft]:
    answer, asked = item.get("acceptedAnswer"), item.get("name")
    if isinstance(answer, list):
        answer = next(iter(answer), None)
    said = answer.get("text") if isinstance(answer, dict) else None
    if isinstance(asked, str) and isinstance(said, str) and len(said) <= MOST_ANSWER:
        body = BeautifulSoup(said, "lxml")
        _clean(body)
        question, text = _text(BeautifulSoup(asked, "lxml")), markdown_of(body).strip()
        if question and text:
            yield Draft(text=text, questions=(question,))
