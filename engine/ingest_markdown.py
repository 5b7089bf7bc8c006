"""Reads Markdown: sections under their headings, and questions that are headings with the answers below them.

Only the structure of blocks is parsed; what stands in them stays Markdown, as replies are.
"""

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from engine.errors import Unreadable
from engine.ingest_cut import Block, Kind, pieces, size
from engine.ingest_links import Anchors, standing_alone

#: Bytes of an answer that is still given word by word; what is longer is an article that happens to have a question as its title.
MOST_ANSWER = 3_000
#: Bytes of a heading that are kept: more is no heading.
MOST_HEADING = 300
#: Characters of front matter: it holds a few lines, and the time that YAML takes grows with the square of its nesting.
MOST_FRONT = 4_000

_FRONT = re.compile(r"(---|\+\+\+)[ \t]*\n(.*?\n)?\1[ \t]*(?:\n|\Z)", re.DOTALL)
_OWN_ANCHOR = re.compile(r"\s{0,9}\{#([\w.:-]{1,200})\}\s{0,9}\Z")
_ASKS = re.compile(r"[?\N{FULLWIDTH QUESTION MARK}\u061f][\s*_)\]\"'\u201d\u00bb]{0,9}\Z")
_LABEL = re.compile(r"(?:\*\*|__)?(?:Q|Question|Frage)\s?\d{0,4}(?:\*\*|__)?\s?[:.](?:\*\*|__)?\s{1,9}", re.IGNORECASE)
_ANSWER_LABEL = re.compile(r"(?:\*\*|__)?(?:A|Answer|Antwort)(?:\*\*|__)?\s?[:.](?:\*\*|__)?\s{1,9}", re.IGNORECASE)
_BOLD = re.compile(r"(\*\*|__)([^*\n]{3,300})\1:?")
_NUMBER = re.compile(r"\A\(?\d{1,4}(?:\.\d{1,4}){0,4}[.):]\s{1,9}")
_SUMMARY = re.compile(r"<summary[^<>]{0,200}>(.{1,1000}?)</summary>", re.DOTALL | re.IGNORECASE)
_ANY_TAG = re.compile(r"<[^<>]{0,2000}>")

_KINDS: dict[str, Kind] = {
    "paragraph_open": "text",
    "blockquote_open": "text",
    "bullet_list_open": "list",
    "ordered_list_open": "list",
    "table_open": "table",
    "fence": "code",
    "code_block": "code",
}
#: Below all six levels of headings: a bold question, or one that unfolds.
_LOOSE = 7

_parser = MarkdownIt("commonmark").enable("table")
_blocks_only = MarkdownIt("commonmark").enable("table")
_blocks_only.core.ruler.enableOnly(["normalize", "block"])


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A passage to be: what a document says in one place."""

    text: str
    heading: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    #: Fragment of the document's link.
    anchor: str = ""
    #: A link of its own, relative to where the document's links start from.
    link: str = ""
    language: str = ""


@dataclass(frozen=True, kw_only=True)
class Document:
    """A document that was read, before it is known where it stands."""

    drafts: tuple[Draft, ...] = ()
    #: Of the whole document, where it says so.
    link: str = ""
    language: str = ""
    #: Places in it that were left out, and why.
    skipped: tuple[tuple[str, str], ...] = ()


@dataclass
class _Section:
    level: int
    heading: tuple[str, ...]
    anchor: str
    questions: tuple[str, ...] = ()
    blocks: list[Block] = field(default_factory=list)


def read_markdown(text: str, *, base: str = "", title: str = "") -> Document:
    """The passages of a Markdown document that stands at `base`.

    :param title: what it is called where it has neither front matter nor a first heading that say so.
    """
    front, body = _front_matter(text.replace("\r\n", "\n").replace("\r", "\n"))
    link = _said(front, "link", "url", "permalink")
    outline = _Outline(_said(front, "title") or title, base=link or base)
    outline.read(body)
    drafts = tuple(draft for section in outline.sections for draft in _drafts(section))
    return Document(drafts=drafts, link=link, language=_said(front, "language", "lang"))


def _said(front: dict[str, object], *names: str) -> str:
    """The first of some fields that holds a word; a list, which aliases may have made huge, is none."""
    found = (value for name in names if isinstance(value := front.get(name), str | int | float) and value != "")
    return str(next(found, "")).strip()


def _front_matter(text: str) -> tuple[dict[str, object], str]:
    found = _FRONT.match(text[:MOST_FRONT])
    if found is None:
        return {}, text
    try:
        front = yaml.safe_load(found[2] or "") if found[1] == "---" else tomllib.loads(found[2] or "")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise Unreadable(f"line {mark.line + 2 if mark else 1}: the front matter is no YAML: {error.args[0] or error}") from error
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise Unreadable(f"line 1: the front matter cannot be read: {error}") from error
    # A document may begin with a rule and have another one further down.
    return (front, text[found.end() :]) if isinstance(front, dict) else ({}, text)


class _Outline:
    """Sections as they are met."""

    def __init__(self, title: str, *, base: str) -> None:
        self._base = base
        self._anchors = Anchors()
        #: Level and words of the headings that are open.
        self._path: list[tuple[int, str]] = [(0, title)] if title else []
        self._anchor = ""
        self.sections = [_Section(0, (title,) if title else (), "")]

    def read(self, text: str) -> None:
        """Take in a whole document."""
        environment: dict[str, dict[str, dict[str, str]]] = {}
        lines = text.split("\n")
        tokens = _blocks_only.parse(text, environment)
        references = environment.get("references", {})
        for token, following in zip(tokens, [*tokens[1:], None], strict=False):
            if token.level or token.map is None:
                continue
            source = "\n".join(lines[token.map[0] : token.map[1]]).rstrip()
            if token.type == "heading_open" and following is not None:
                self._head(int(token.tag[1]), following)
            elif token.type in ("hr", "html_block"):
                self._aside(token, source)
            elif token.type in _KINDS:
                kind = _KINDS[token.type]
                alone = source if kind == "code" else standing_alone(source, self._base, references)
                self._block(Block(kind, alone.strip("\n")))

    def _head(self, level: int, inline: Token) -> None:
        words = _OWN_ANCHOR.split(plain(inline.content))
        text = words[0].strip()
        self._anchor = words[1] if len(words) > 1 else self._anchors.of(text)
        if not text:
            return
        first = len(self.sections) == 1 and level == 1 and not self.sections[0].blocks
        if first and self._path and self._path[0][0] == 0:
            # The first heading says what the title said, or says it better.
            self._path = []
        self._open(level, text)

    def _open(self, level: int, text: str) -> None:
        """Begin a section, which is an answer if its heading asks for one."""
        self._close(level)
        asked = _question(text)
        before = self.sections[-1]
        self._path.append((level, text[:MOST_HEADING]))
        if asked and before.questions and not before.blocks and before.level == level:
            before.questions += (asked,)
            return
        heading = tuple(words for _, words in self._path)
        self.sections.append(_Section(level, heading, self._anchor, (asked,) if asked else ()))

    def _close(self, level: int) -> None:
        while self._path and self._path[-1][0] >= level:
            self._path.pop()

    def _aside(self, token: Token, source: str) -> None:
        """A rule or raw HTML: both may end what a loose question began, and HTML may begin one."""
        summary = _SUMMARY.search(source[:MOST_FRONT])
        if token.type == "hr" or "</details" in source or summary:
            self._end_loose()
        if token.type == "hr":
            return
        if summary:
            self._open(_LOOSE, plain(_ANY_TAG.sub("", summary[1])))
        rest = _ANY_TAG.sub("", _without_comments(source[summary.end() :] if summary else source))
        if rest.strip():
            self.sections[-1].blocks.append(Block("text", rest.strip()))

    def _end_loose(self) -> None:
        if self.sections[-1].level == _LOOSE:
            self._close(_LOOSE)
            heading = tuple(words for _, words in self._path)
            self.sections.append(_Section(self._path[-1][0] if self._path else 0, heading, self._anchor))

    def _block(self, block: Block) -> None:
        asked, rest = _asked(block.text) if block.kind == "text" else ("", block.text)
        if asked:
            self._open(_LOOSE, asked)
        if self.sections[-1].questions and not self.sections[-1].blocks:
            rest = _ANSWER_LABEL.sub("", rest, count=1) if _ANSWER_LABEL.match(rest) else rest
        if rest.strip():
            self.sections[-1].blocks.append(replace(block, text=rest))


def _without_comments(html: str) -> str:
    first, *commented = html.split("<!--")
    return first + "".join(part.partition("-->")[2] for part in commented)


def plain(inline: str) -> str:
    """The words of a line of Markdown."""
    tokens = _parser.parseInline(inline[: 4 * MOST_HEADING])[0].children or []
    return " ".join("".join(_words(tokens)).split())


def _words(tokens: Sequence[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type in ("text", "code_inline", "image"):
            yield token.content
        elif token.type in ("softbreak", "hardbreak"):
            yield " "


def _question(heading: str) -> str:
    """What a heading asks, without its number or label; empty if it asks nothing."""
    labelled = _LABEL.match(heading)
    bare = _NUMBER.sub("", heading[labelled.end() :] if labelled else heading, count=1)
    return bare.strip() if labelled or (_ASKS.search(bare) and len(bare) > 4) else ""


def _asked(text: str) -> tuple[str, str]:
    """The question a paragraph begins with, if it is marked as one, and the rest of it."""
    first, _, rest = text.partition("\n")
    if len(first) > MOST_HEADING:
        return "", text
    labelled = _LABEL.match(first)
    bold = _BOLD.fullmatch(first.strip())
    if labelled:
        return plain(first[labelled.end() :]), rest
    if bold and _ASKS.search(bold[2]):
        return plain(bold[2]), rest
    return "", text


def _drafts(section: _Section) -> Iterator[Draft]:
    whole = "\n\n".join(block.text for block in section.blocks)
    if section.questions and whole and size(whole) <= MOST_ANSWER:
        yield Draft(text=whole, heading=section.heading, questions=section.questions, anchor=section.anchor)
        return
    for piece in pieces(section.blocks):
        yield Draft(text=piece, heading=section.heading, anchor=section.anchor)
