"""Markdown's structure as lines of text, without markup; `connectors.dialects` adds that of each platform.

markdown-it-py gives a flat list of tokens, in which those with `nesting` 1 and -1 open and close what is between them. Raw HTML is
text (`html` is off), and so are reference definitions (`[1]: https://...`), which would otherwise vanish, and break when their part
of a reply is another one.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

from connectors.bidi import sendable, settled

#: Levels of quotes and lists that are told apart. markdown-it leaves out what is deeper.
DEEPEST = 40
_MARKDOWN = MarkdownIt("commonmark", {"html": False, "maxNesting": DEEPEST}).enable("strikethrough").disable("reference")

#: markdown-it takes ten seconds for the longest text of nothing else.
_MOST_BRACKETS = 5000

#: Targets that may hide behind a label.
LINKED = re.compile(r"(?:https?://|mailto:)[^\s]", re.IGNORECASE)
#: What ends or splits a link in Slack, or an attribute.
_UNSAFE = re.compile(r"[\s<>|\"'`\\^{}\x00-\x20\x7f]")
#: A label that makes people believe they know where it leads.
_LIKE_ADDRESS = re.compile(r"\w\.\w{2,}|://|@")
#: What stands beside a fence and can be the name of a language.
LANGUAGE = re.compile(r"[\w+#.-]{1,32}", re.ASCII)


def parsed(text: str) -> list[Token]:
    """The tokens of a text; none where it is nested too deeply to be told apart, or made to take long."""
    if text.count("[") > _MOST_BRACKETS:
        return []
    tokens = _MARKDOWN.parse(sendable(text))
    return tokens if all(token.level < DEEPEST - 2 for token in tokens) else []


class Verbatim(str):
    """A line of a code block: nothing is put before it."""

    __slots__ = ()


class Plain:
    """Text without markup, and the layout that chat platforms share: bullets, numbers and quotes are characters."""

    bullet = "- "
    newline = "\n"
    rule = "———"

    def __init__(self) -> None:
        #: Marks that are open, so that none is put inside itself.
        self.open: set[str] = set()

    def whole(self, text: str) -> str:
        """A text that no structure is read in."""
        return settled(self.escape(sendable(text)))

    # What is inside a line.

    def escape(self, text: str) -> str:
        return text

    def mark(self, kind: str, inner: str) -> str:
        """`kind` is `strong`, `em` or `s`."""
        return inner

    def code(self, text: str) -> str:
        return self.escape(text)

    def link(self, label: str, url: str) -> str:
        """`label` is rendered, `url` is a safe address, not yet escaped."""
        return f"{label} ({url})"

    def label(self, tokens: Sequence[Token]) -> str:
        return self.inside(iter(tokens))

    def inline(self, token: Token) -> str:
        """All of an inline token, with each line's isolates closed."""
        return settled(self.inside(iter(token.children or ())))

    def inside(self, tokens: Iterator[Token]) -> str:
        """Up to the token that closes this level, or the end."""
        pieces = []
        for token in tokens:
            if token.nesting < 0:
                break
            pieces.append(self.piece(token, tokens))
        return "".join(pieces)

    def piece(self, token: Token, tokens: Iterator[Token]) -> str:
        match token.type:
            case "softbreak" | "hardbreak":
                return self.newline
            case "code_inline":
                return self.code(token.content)
            case "link_open":
                return self.address(_until_closed(tokens), str(token.attrs.get("href", "")))
            case "image":
                return self.address(token.children or [], str(token.attrs.get("src", "")))
            case "strong_open" | "em_open" | "s_open":
                return self.marked(token.type.removesuffix("_open"), tokens)
        return self.escape(token.content)

    def marked(self, kind: str, tokens: Iterator[Token]) -> str:
        if kind in self.open:
            return self.inside(tokens)
        self.open.add(kind)
        inner = self.inside(tokens)
        self.open.remove(kind)
        return self.mark(kind, inner) if inner.strip() else inner

    def address(self, tokens: Sequence[Token], url: str) -> str:
        """A link: label and target, or the target alone where the label says the same."""
        url = _UNSAFE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), url)
        words = Plain().inside(iter(tokens)).strip()
        if _same(words, url) or not words:
            return self.bare(words or url or "[]()", url)
        if not LINKED.match(url):
            return f"{self.label(tokens)} ({self.escape(url)})" if url else self.label(tokens)
        if _LIKE_ADDRESS.search(words) and _host(words) != _host(url):
            return f"{self.label(tokens)} ({self.bare(url, url)})"
        return self.link(self.label(tokens), url)

    def bare(self, words: str, url: str) -> str:
        """A link that shows its address."""
        return self.escape(words)

    # What stands on lines of its own.

    def blocks(self, tokens: Iterator[Token]) -> list[str]:
        """The lines of all blocks up to the token that closes this level, or the end."""
        lines: list[str] = []
        for token in tokens:
            if token.nesting < 0:
                break
            block = self.block(token, tokens)
            if lines and block and not self.close(token):
                lines.append("")
            lines += block
        return lines

    def close(self, token: Token) -> bool:
        """Whether a block follows the one before without an empty line."""
        return token.hidden or (token.type in {"bullet_list_open", "ordered_list_open"} and token.level > 0)

    def block(self, token: Token, tokens: Iterator[Token]) -> list[str]:
        match token.type:
            case "paragraph_open" | "heading_open":
                inner = next(tokens)
                next(tokens)
                return self.heading(inner) if token.type == "heading_open" else self.paragraph(inner, hidden=token.hidden)
            case "bullet_list_open" | "ordered_list_open":
                start = int(token.attrs.get("start", 1)) if token.type == "ordered_list_open" else None
                return self.items(tokens, start)
            case "blockquote_open":
                return self.quote(tokens)
            case "fence" | "code_block":
                return self.program(token.info.strip(), token.content.rstrip("\n"))
            case "hr":
                return [self.rule]
        return [self.escape(token.content)]

    def paragraph(self, token: Token, *, hidden: bool) -> list[str]:
        return self.inline(token).split("\n")

    def heading(self, token: Token) -> list[str]:
        self.open.add("strong")
        inner = self.inline(token)
        self.open.discard("strong")
        return self.mark("strong", inner).split("\n") if inner.strip() else []

    def program(self, info: str, content: str) -> list[str]:
        """A block of code. What stands beside its fence is code too unless it can be the name of a language."""
        language = info if LANGUAGE.fullmatch(info) and content.strip() else ""
        content = content if language or not info else f"{info}\n{content}"
        return self.fence(settled(content), language) if content.strip() else []

    def items(self, tokens: Iterator[Token], start: int | None) -> list[str]:
        lines = []
        for number, _ in enumerate(item_tokens(tokens), start or 0):
            bullet = self.bullet if start is None else f"{number}. "
            first, *others = self.blocks(tokens) or [""]
            lines += [f"{bullet}{first}"] if not isinstance(first, Verbatim) else [bullet.rstrip(), first]
            lines += [line if isinstance(line, Verbatim) or not line else " " * len(bullet) + line for line in others]
        return lines

    def quote(self, tokens: Iterator[Token]) -> list[str]:
        return [f"> {line}" for line in self.blocks(tokens)]

    def fence(self, content: str, language: str) -> list[str]:
        return [Verbatim(line) for line in self.escape(content).split("\n")]


def _until_closed(tokens: Iterator[Token]) -> list[Token]:
    """The tokens inside a link, which holds no other."""
    return list(itertools.takewhile(lambda token: token.type != "link_close", tokens))


def item_tokens(tokens: Iterator[Token]) -> Iterator[Token]:
    """The opening tokens of a list's items; whoever takes one takes what is inside before the next."""
    return itertools.takewhile(lambda token: token.nesting > 0, tokens)


def _host(address: str) -> str:
    """The host that an address leads to, or that a label seems to name; the address itself where it has none."""
    try:
        return urlsplit(address if "://" in address else f"//{address}").hostname or address
    except ValueError:
        return address


def _same(words: str, url: str) -> bool:
    """Whether a label is the address it leads to."""
    return words.rstrip("/") == url.removeprefix("mailto:").rstrip("/")
