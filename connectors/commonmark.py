"""Markdown for tools that render it themselves: without raw HTML, without images that load by themselves, and without odd links.

What a model or a document wrote is kept as Markdown where it is harmless; what is not is shown as it was written.
"""

import re

from markdown_it import MarkdownIt
from markdown_it.token import Token

from connectors.markup import DEEPEST

#: A laxer reader than any tool: it takes every address for one.
_READER = MarkdownIt("commonmark", {"html": True, "maxNesting": DEEPEST})
_READER.validateLink = lambda url: True  # type: ignore[method-assign]

#: Fences and spans of code, in which everything is text.
_CODE = re.compile(
    r"(^ {0,3}(?P<fence>```+|~~~+)[^\n]*\n.*?(?:^ {0,3}(?P=fence)|\Z)|(?<!`)(?P<tick>`+)(?!`).+?(?<!`)(?P=tick)(?!`))", re.S | re.M
)
#: `<`, but for a link in brackets; and an image, which is a link without its `!`.
_TAG, _IMAGE = re.compile(r"<(?!(?:https?://|mailto:)[^\s<>]*>)"), re.compile(r"!(?=\[)")
#: The middle of a link that leads elsewhere than to the open web or a mailbox.
_ODD = re.compile(r"\](?=\(\s*<?\s*(?!https?://|mailto:))", re.I)
_HARMLESS = ("http://", "https://", "mailto:")
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")


def to_markdown(text: str) -> str:
    """The same text as harmless Markdown."""
    tamed, end = "", 0
    for code in _CODE.finditer(text):
        tamed += _tamed(text[end : code.start()]) + code[0]
        end = code.end()
    tamed += _tamed(text[end:])
    return tamed if is_harmless(tamed) else _PUNCTUATION.sub(r"\\\1", text)


def is_harmless(text: str) -> bool:
    """Whether a reader of Markdown finds no HTML, no image, and no link but to the open web or a mailbox."""
    return all(_is_harmless(token) for token in _READER.parse(text))


def _tamed(text: str) -> str:
    return _ODD.sub(r"\\]", _IMAGE.sub(r"\\!", _TAG.sub("&lt;", text)))


def _is_harmless(token: Token) -> bool:
    if token.type in {"html_block", "html_inline", "image"}:
        return False
    if token.type == "link_open" and not str(token.attrGet("href")).lower().startswith(_HARMLESS):
        return False
    return all(_is_harmless(child) for child in token.children or ())
