"""Markdown, which models write, in the markup of each platform; nobody's text becomes a mention, a tag or a hidden link.

The source is CommonMark with `~~strikethrough~~` (see `connectors.markup`). Everything a person reads is escaped where it enters
the output; only what is written here can be markup:

    Slack     `*bold* _italic_ ~strike~`, code, `<url|label>`, `<url>`; of text only & < > need escaping. Without `<` there is no
              mention where Slack is told to look for none by itself (`verbatim`), for which addresses are made links here
    Telegram  <b> <i> <s> <code> <pre> <a> <blockquote> of its HTML mode; entities are counted after parsing, in UTF-16 units
    HTML      p br strong em code pre a ul ol li blockquote, for support tools
    plain     none

A link keeps its target only for http, https and mailto; others are written out. One whose label looks like another address shows
both. Images are links: none is loaded on its own. Controls that turn the direction of what follows never leave their line.
"""

import re

from connectors.dialects import Html, Slack, Telegram
from connectors.markup import Plain, parsed
from connectors.splitting import split, utf16

__all__ = ["split", "to_html", "to_plain", "to_slack", "to_telegram", "utf16"]

#: An element of ours; a link of Slack is none.
_TAGS = re.compile(r"</?[a-z]+(?: [^>]*)?>")


def to_slack(text: str) -> str:
    """Slack's mrkdwn."""
    return _rendered(text, Slack())


def to_telegram(text: str) -> str:
    """Telegram's HTML."""
    return _rendered(text, Telegram())


def to_html(text: str) -> str:
    """HTML for support tools."""
    return _rendered(text, Html())


def to_plain(text: str) -> str:
    """What is left without any markup; links are written out."""
    return _rendered(text, Plain())


def _rendered(text: str, dialect: Plain) -> str:
    """What nothing is left of, such as a lone `#`, is shown as it was written."""
    if not text.strip():
        return text
    shown = "\n".join(dialect.blocks(iter(parsed(text))))
    return shown if _TAGS.sub("", shown).strip() else dialect.whole(text)
