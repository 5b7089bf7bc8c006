"""The markup of each platform. `connectors.formatting` says what may be in it."""

import re
from collections.abc import Iterator, Sequence

from markdown_it.token import Token

from connectors.markup import LINKED, Plain, Verbatim, item_tokens

_ZERO_WIDTH = "\u200b"
#: A zero-width space that separates a mark from no letter.
_NEEDLESS = re.compile(r"(?<![^\W_])\u200b(?=[*_~`])|(?<=[*_~`])\u200b(?![^\W_])")
#: What an address consists of beside pairs of brackets, and what it may end with: the sign after it belongs to the sentence.
_WITHIN = r"""[^\s<>()|"'`\\^{}]"""
_LAST = r"""[^\s<>()|"'`\\^{}.,;:!?*_~\[\]]"""
_ADDRESS = re.compile(rf"https?://(?:\({_WITHIN}*\)|{_WITHIN})*(?:\({_WITHIN}*\)|{_LAST})", re.IGNORECASE)


class Slack(Plain):
    """Slack has no way to escape `*` and the like; what cannot be said is left without its mark."""

    bullet = "• "
    marks: dict[str, str] = {"strong": "*", "em": "_", "s": "~"}  # noqa: RUF012 # a table

    def escape(self, text: str) -> str:
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    def piece(self, token: Token, tokens: Iterator[Token]) -> str:
        """Slack is told to look for nothing in a text by itself, so that addresses in it are made links here."""
        return self.words(token.content) if token.type == "text" else super().piece(token, tokens)

    def words(self, text: str) -> str:
        """A text with its addresses as links, each of which shows where it leads."""
        pieces, end = [], 0
        for found in _ADDRESS.finditer(text):
            pieces += [self.escape(text[end : found.start()]), f"<{self.escape(found[0])}>"]
            end = found.end()
        return "".join([*pieces, self.escape(text[end:])])

    def mark(self, kind: str, inner: str) -> str:
        """Marks work only within a line, and beside something that is no letter."""
        sign = self.marks[kind]
        return "\n".join(_wrapped(line, sign) for line in inner.split("\n"))

    def code(self, text: str) -> str:
        return self.escape(text) if "`" in text or not text.strip() else _wrapped(self.escape(text), "`")

    def link(self, label: str, url: str) -> str:
        return f"<{self.escape(url)}|{label}>"

    def label(self, tokens: Sequence[Token]) -> str:
        """Marks inside a label are shown as they are, so there are none."""
        return self.escape(" ".join(Plain().inside(iter(tokens)).split()))

    def bare(self, words: str, url: str) -> str:
        return f"<{self.escape(url)}|{self.escape(words)}>" if LINKED.match(url) else self.escape(words)

    def inline(self, token: Token) -> str:
        return _NEEDLESS.sub("", super().inline(token))

    def heading(self, token: Token) -> list[str]:
        return [_NEEDLESS.sub("", line) for line in super().heading(token)]

    def fence(self, content: str, language: str) -> list[str]:
        inner = self.escape(content).replace("```", f"``{_ZERO_WIDTH}`")
        return [Verbatim(line) for line in ("```", *inner.split("\n"), "```")]


def _wrapped(line: str, sign: str) -> str:
    """Zero-width spaces keep a mark apart from letters; `_NEEDLESS` ones are taken away again."""
    inner = line.strip()
    before, _, after = line.partition(inner)
    return f"{before}{_ZERO_WIDTH}{sign}{inner}{sign}{_ZERO_WIDTH}{after}" if inner else line


class Telegram(Plain):
    """Quotes cannot stand inside quotes, and nothing can stand inside code."""

    bullet = "• "
    marks: dict[str, str] = {"strong": "b", "em": "i", "s": "s"}  # noqa: RUF012 # a table

    def escape(self, text: str) -> str:
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")

    def mark(self, kind: str, inner: str) -> str:
        return f"<{self.marks[kind]}>{inner}</{self.marks[kind]}>"

    def code(self, text: str) -> str:
        return f"<code>{self.escape(text)}</code>" if text.strip() else text

    def link(self, label: str, url: str) -> str:
        return f'<a href="{self.escape(url)}">{label}</a>'

    def bare(self, words: str, url: str) -> str:
        return self.link(self.escape(words), url) if LINKED.match(url) else self.escape(words)

    def quote(self, tokens: Iterator[Token]) -> list[str]:
        if "quote" in self.open:
            return [f"&gt; {line}" for line in self.blocks(tokens)]
        self.open.add("quote")
        lines = self.blocks(tokens) or [""]
        self.open.discard("quote")
        lines[0] = type(lines[0])(f"<blockquote>{lines[0]}")
        lines[-1] = type(lines[-1])(f"{lines[-1]}</blockquote>")
        return lines

    def fence(self, content: str, language: str) -> list[str]:
        inner = self.escape(content)
        marked = f'<code class="language-{self.escape(language)}">{inner}</code>' if language else inner
        return [Verbatim(line) for line in f"<pre>{marked}</pre>".split("\n")]


class Html(Telegram):
    """Blocks are elements."""

    newline = "<br>\n"
    rule = "<p>———</p>"
    marks: dict[str, str] = {"strong": "strong", "em": "em"}  # noqa: RUF012 # a table

    def whole(self, text: str) -> str:
        return f"<p>{super().whole(text)}</p>".replace("\n", self.newline)

    def mark(self, kind: str, inner: str) -> str:
        return super().mark(kind, inner) if kind in self.marks else f"~~{inner}~~"

    def link(self, label: str, url: str) -> str:
        return f'<a href="{self.escape(url)}" rel="nofollow">{label}</a>'

    def blocks(self, tokens: Iterator[Token]) -> list[str]:
        return [line for line in super().blocks(tokens) if line or isinstance(line, Verbatim)]

    def paragraph(self, token: Token, *, hidden: bool) -> list[str]:
        return [self.inline(token) if hidden else f"<p>{self.inline(token)}</p>"]

    def heading(self, token: Token) -> list[str]:
        lines = "\n".join(super().heading(token))
        return [f"<p>{lines}</p>"] if lines else []

    def items(self, tokens: Iterator[Token], start: int | None) -> list[str]:
        kind = "ul" if start is None else "ol"
        first = "" if start in {None, 1} else f' start="{start}"'
        inner = ["<li>" + "\n".join(self.blocks(tokens)) + "</li>" for _ in item_tokens(tokens)]
        return [f"<{kind}{first}>", *inner, f"</{kind}>"]

    def quote(self, tokens: Iterator[Token]) -> list[str]:
        return ["<blockquote>", *self.blocks(tokens), "</blockquote>"]
