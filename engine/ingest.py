"""Reads documents into passages: a file, a folder or an address, of every kind a support desk keeps its knowledge in."""

from dataclasses import dataclass

from engine.knowledge import Passage


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What came of reading a source."""

    passages: tuple[Passage, ...] = ()
    #: Names of what was not read, and why, with the line or page where there is one.
    skipped: tuple[tuple[str, str], ...] = ()


def read(source: str, *, link: str = "") -> Reading:
    """The passages of a file, a folder or an http address.

    :param link: where people read it: the address that a file's own links and the links to its passages start from.
    :raises Unreadable: nothing can be read there.
    """
    del link
    raise NotImplementedError(source)
