"""Slack's markup as the plain text that a model reads."""

import html
import re

from connectors.bodies import well_formed

_REFERENCE = re.compile(r"<([@#!]?)([^<>|]*)(?:\|([^<>]*))?>")


def readable(text: str, *, bot: str) -> str:
    """Slack's markup as plain text; who is addressed by it is left out where it is the bot."""

    def plain(found: re.Match[str]) -> str:
        sign, target, label = found.groups()
        if sign == "@" and target == bot:
            return ""
        if sign:
            kind = "#" if sign == "#" else "@"
            return kind + (label or target.rpartition("^")[2]).lstrip("@#")
        return f"{label} ({target})" if label and label != target and not target.endswith(label) else target

    return well_formed(html.unescape(_REFERENCE.sub(plain, text))).strip()


def addressed(text: str) -> str:
    """The user that a text begins with."""
    found = re.match(r"\s*<@([A-Z0-9]+)(\|[^<>]*)?>", text)
    return found[1] if found else ""
