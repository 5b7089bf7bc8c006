"""What `replymill kb add` reads, on the machine on which it is typed."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from engine import ingest
from engine.errors import KnowledgeError
from engine.knowledge import Passage


def read(source: str, *, link: str, name: str, inside: Sequence[str] = ()) -> tuple[str, list[Passage], Sequence[tuple[str, str]]]:
    """Where it was read from in full, the passages of a file, a folder or an address, and what was skipped and why.

    :param inside: hosts of one's own network that an address may lead to.
    :raises KnowledgeError: if there is nothing in it.
    """
    reading = ingest.read(source, link=link, inside=inside)
    passages = [_renamed(passage, name, len({one.document for one in reading.passages}) > 1) for passage in reading.passages]
    if not passages:
        why = "; ".join(f"{one}: {reason}" for one, reason in reading.skipped[:3]) or "it is empty"
        raise KnowledgeError(f"nothing was read from {source} ({why}): see docs/knowledge.md for what can be read")
    place = source if "://" in source else str(Path(source).expanduser().resolve())
    return f"{place} as {name}" if name else place, passages, reading.skipped


def _renamed(passage: Passage, name: str, several: bool) -> Passage:
    if not name:
        return passage
    document = f"{name}/{passage.document}" if several else name
    return msgspec.structs.replace(passage, document=document, id="").identified()
