"""What a message carries beside its text, as far as it can be read for the person who sent it."""

import mimetypes
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from connectors.bodies import answerable, well_formed
from engine.errors import NothingToAnswer
from engine.messages import Media, MediaKind

#: Files of one message that are read; the rest are left alone.
MOST_FILES = 8
#: Characters of a reference; a signed address of a file has about 1,000.
MOST_REFERENCE = 4_096


@dataclass(frozen=True, kw_only=True)
class File:
    """One attachment as a payload shows it; nothing of it is trusted."""

    reference: Any
    mime: Any = ""
    name: Any = ""
    size: Any = 0
    #: Where the platform itself says what it is.
    kind: MediaKind | None = None


def legible(files: Iterable[File], wanted: Collection[MediaKind]) -> tuple[Media, ...]:
    """Those that can be read, in their order."""
    found = [media for file in files if wanted and (media := _media(file)) and media.kind in wanted]
    return tuple(dict.fromkeys(found))[:MOST_FILES]


def written(text: str | None, media: Collection[Media]) -> str:
    """The text, well-formed; empty is enough beside a file that can be read.

    :raises NothingToAnswer: there is neither.
    """
    try:
        return answerable(text)
    except NothingToAnswer:
        if not media:
            raise
        return ""


def name_in(address: Any) -> str:
    """The name of a file in its address: Zendesk puts it into the query."""
    if not isinstance(address, str):
        return ""
    try:
        parts = urlsplit(address)
        named = parse_qs(parts.query, max_num_fields=100).get("name")
    except ValueError:  # no address at all: fetching it will say so
        return ""
    return named[0] if named else parts.path.rpartition("/")[2]


def _media(file: File) -> Media | None:
    mime = file.mime.partition(";")[0].strip().lower()[:128] if isinstance(file.mime, str) else ""
    kind = file.kind or _kind(mime) or _kind(_guessed(file.name) or _guessed(name_in(file.reference)))
    reference = file.reference
    if kind is None or not isinstance(reference, str) or not 0 < len(reference) <= MOST_REFERENCE:
        return None
    size = file.size if isinstance(file.size, int) and not isinstance(file.size, bool) and 0 <= file.size < 2**53 else 0
    return Media(kind=kind, reference=well_formed(reference), mime=well_formed(mime), size=size)


def _kind(mime: str) -> MediaKind | None:
    if mime == "application/ogg":
        return MediaKind.VOICE
    return {"audio": MediaKind.VOICE, "image": MediaKind.IMAGE}.get(mime.partition("/")[0])


def _guessed(name: Any) -> str:
    """The MIME type that the ending of a name stands for."""
    ending = f".{name.rpartition('.')[2].lower()}" if isinstance(name, str) and "." in name else ""
    return _ENDINGS.get(ending, mimetypes.types_map.get(ending, ""))


#: What the standard library does not know everywhere.
_ENDINGS = {
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".m4a": "audio/mp4",
    ".amr": "audio/amr",
    ".webp": "image/webp",
    ".heic": "image/heic",
}
