"""What is told of a file: its type, by its first bytes, and the words that were read in it, within a bound."""

import re
from typing import Any

from engine.errors import Unreadable
from engine.messages import MediaKind

#: Characters of a transcript or a description that are kept: about ten minutes of speech, most of what a prompt holds.
MOST_TEXT = 4_000
#: Bytes of a server's answer, or of a command's output, that are read.
MOST_ANSWER = 1_048_576

#: Beginnings of files, with the type and the ending that servers and commands know them by; platforms often say neither.
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (rb"\xff\xd8\xff", "image/jpeg", "jpg"),
    (rb"\x89PNG\r\n\x1a\n", "image/png", "png"),
    (rb"GIF8[79]a", "image/gif", "gif"),
    (rb"RIFF....WEBP", "image/webp", "webp"),
    (rb"RIFF....WAVE", "audio/wav", "wav"),
    (rb"OggS", "audio/ogg", "ogg"),
    (rb"fLaC", "audio/flac", "flac"),
    (rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]", "audio/mpeg", "mp3"),
    (rb"....ftypM4A", "audio/mp4", "m4a"),
    (rb"....ftyp", "video/mp4", "mp4"),
    (rb"\x1a\x45\xdf\xa3", "audio/webm", "webm"),
    (rb"#!AMR", "audio/amr", "amr"),
)
_UNKNOWN = {MediaKind.VOICE: ("audio/ogg", "ogg"), MediaKind.IMAGE: ("image/jpeg", "jpg")}


def kind_of(content: bytes, kind: MediaKind) -> tuple[str, str]:
    """MIME type and ending of a file, by its first bytes."""
    for beginning, mime, ending in _MAGIC:
        if re.match(beginning, content[:16], re.DOTALL):
            return mime, ending
    return _UNKNOWN[kind]


def words_of(found: Any) -> str:
    """The words in one paragraph or several, within the bound.

    :raises Unreadable: there is no text at all where one is due.
    """
    if not isinstance(found, str):
        raise Unreadable("the server answered without a text: check its address and the model")
    lines = (" ".join(line.split()) for line in found.encode(errors="replace").decode().splitlines())
    return "\n".join(line for line in lines if line)[:MOST_TEXT]
