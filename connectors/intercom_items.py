"""What Intercom sends: a conversation with what was written in it, read without trust in any field, and HTML as plain text."""

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any, Self

from connectors.attachments import File
from connectors.tags import bounded
from engine.messages import MediaKind

#: Authors who are asking, by `author.type`; teammates are `admin`, Fin and the workflows `bot`.
PERSONS = frozenset({"user", "lead", "contact"})

#: Elements after which a line ends.
_BLOCKS = frozenset({"p", "div", "br", "li", "ul", "ol", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "blockquote"})
_UNSEEN = frozenset({"script", "style"})


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that was written or done in a conversation."""

    id: str
    #: `source` is what opened the conversation, `part` all else.
    kind: str
    #: `comment`, `note`, `assignment` and others; a reply that opens the conversation again is `open`.
    action: str
    author_type: str
    author: str
    #: Plain.
    text: str
    #: What there is beside the text: attachments, and pictures in it.
    files: tuple[File, ...]
    #: Unix time in seconds.
    at: float

    @classmethod
    def of(cls, found: Any, *, kind: str) -> Self | None:
        """The part in a piece of JSON, if it is one."""
        if not isinstance(found, dict):
            return None
        author = _object(found.get("author"))
        body = found.get("body")
        html = body if isinstance(body, str) else ""
        at = found.get("created_at")
        return cls(
            id=identifier(found.get("id")),
            kind=kind,
            action=identifier(found.get("part_type")) if kind == "part" else "comment",
            author_type=identifier(author.get("type")),
            author=identifier(author.get("id")),
            text=to_text(html),
            files=(*_files(found.get("attachments")), *_pictures(html)),
            at=float(at) if isinstance(at, int | float) and not isinstance(at, bool) else 0.0,
        )

    @property
    def by_person(self) -> bool:
        return self.author_type in PERSONS and self.action != "note"

    def by_admin(self, admin_id: str = "") -> bool:
        """Whether a teammate did it, or that one."""
        return self.author_type == "admin" and admin_id in ("", self.author)


@dataclass(frozen=True, slots=True)
class Item:
    """A conversation as the API and the webhooks show it."""

    id: str
    source: Part | None
    #: Oldest first.
    parts: tuple[Part, ...]
    #: The teammate and the team it is assigned to; empty or `0`: nobody.
    admin: str
    team: str

    @classmethod
    def read(cls, notification: dict[str, Any]) -> Self:
        """The conversation in a notification."""
        return cls.of(_object(notification.get("data")).get("item"))

    @classmethod
    def of(cls, found: Any) -> Self:
        """The conversation in a piece of JSON; fields that are missing or strange are empty."""
        item = _object(found)
        held = item.get("conversation_parts")
        listed = held.get("conversation_parts") if isinstance(held, dict) else held
        parts = [Part.of(one, kind="part") for one in listed] if isinstance(listed, list) else []
        return cls(
            id=identifier(item.get("id")),
            source=Part.of(item.get("source"), kind="source"),
            parts=tuple(sorted((part for part in parts if part), key=lambda part: part.at)),
            admin=identifier(item.get("admin_assignee_id")),
            team=identifier(item.get("team_assignee_id")),
        )

    @property
    def last(self) -> Part | None:
        return self.parts[-1] if self.parts else None

    @property
    def last_comment(self) -> Part | None:
        """What was said last, by whomever."""
        return next((part for part in reversed(self.parts) if part.text and part.action != "note"), None)


def identifier(found: Any) -> str:
    """An id, which Intercom writes now as a number and now as a text."""
    if isinstance(found, str):
        return found[:256].encode("utf-8", "replace").decode()
    return str(found) if isinstance(found, int) and not isinstance(found, bool) and abs(found) < 10**30 else ""


def to_text(html: str) -> str:
    """What a reader of the HTML sees, in lines."""
    reader = _Reader()
    # The parser of the standard library fails on a marked section of a kind it does not know.
    reader.feed(bounded(html.replace("<![", "&lt;![")))
    reader.close()
    lines = (re.sub(r"[^\S\n]+", " ", line).strip() for line in "".join(reader.texts).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _files(attachments: Any) -> tuple[File, ...]:
    listed = attachments if isinstance(attachments, list) else [attachments] if attachments else []
    return tuple(_file(_object(one)) for one in listed)


def _file(one: dict[str, Any]) -> File:
    return File(reference=one.get("url"), mime=one.get("content_type"), name=one.get("name"), size=one.get("filesize"))


def _pictures(html: str) -> tuple[File, ...]:
    reader = _Reader()
    reader.feed(bounded(html.replace("<![", "&lt;![")) if "<img" in html else "")
    reader.close()
    return tuple(File(reference=address, kind=MediaKind.IMAGE) for address in reader.pictures)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.texts: list[str] = []
        self._unseen = 0
        #: Addresses of what is shown.
        self.pictures: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._unseen += tag in _UNSEEN
        if tag == "img":
            self.pictures.append(dict(attrs).get("src"))
        if tag == "br" or (tag in _BLOCKS and self.texts):
            self.texts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._unseen = max(0, self._unseen - (tag in _UNSEEN))
        if tag in _BLOCKS and tag != "br":
            self.texts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.texts.append(data)


def _object(found: Any) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}
