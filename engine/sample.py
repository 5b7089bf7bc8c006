"""Replymill's own documentation as knowledge: its README, its pages in `docs/`, and questions with answers that point to them."""

import importlib.metadata
from pathlib import Path

import msgspec

from engine.ingest import Reading, read

FAQ = "faq.jsonl"
#: Pages that nobody asks a support bot about: measurements and libraries.
_LEFT_OUT = frozenset({"performance.md", "dependencies.md"})
#: The README's table of all settings, whose short rows have words in common with every question; `replymill settings` prints them.
_TABLE = ("README.md", "Configuration")


def sources() -> dict[str, Path]:
    """The documents by their names, in the source tree or where the installed package keeps them; none where there are none."""
    tree = Path(__file__).resolve().parent.parent
    faq = tree / "deploy" / "sample-kb" / FAQ
    found = (tree, faq) if faq.is_file() else _installed()
    if found is None:
        return {}
    root, faq = found
    pages = [root / "README.md", *(page for page in sorted((root / "docs").glob("*.md")) if page.name not in _LEFT_OUT)]
    return {FAQ: faq} | {page.relative_to(root).as_posix(): page for page in pages if page.is_file()}


def _installed() -> tuple[Path, Path] | None:
    try:
        files = importlib.metadata.files("replymill") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = next((file for file in files if file.parts[-2:] == ("sample-kb", FAQ)), None)
    if found is None:
        return None
    faq = Path(str(found.locate())).resolve()
    return faq.parent.parent, faq


def read_sample() -> Reading:
    """The passages of the documentation; their links are names of its files, such as `docs/slack.md#set-up`."""
    readings = {name: read(str(path), link=name) for name, path in sources().items()}
    passages = [
        msgspec.structs.replace(one, document=name).identified()
        for name, got in readings.items()
        for one in got.passages
        if not (name == _TABLE[0] and _TABLE[1] in one.heading)
    ]
    return Reading(passages=tuple(passages), skipped=tuple(skipped for got in readings.values() for skipped in got.skipped))
