"""Links that people copy from a platform, and what they name."""

import re
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable
from urllib.parse import parse_qs, urlsplit

from connectors.contract import Platform
from engine.messages import Address


class Located(NamedTuple):
    """What a link names."""

    address: Address
    #: Of one message; empty: the conversation is meant.
    logical_id: str = ""


@runtime_checkable
class Linking(Platform, Protocol):
    """A platform whose messages or conversations have links that people copy."""

    async def locate(self, link: str) -> Sequence[Located]:
        """What a link may name, the likeliest first; nothing for a link of somebody else's.

        :raises DeliveryError: the platform has to be asked, and cannot be.
        """


def parts_of(link: str, base_url: str, pattern: str) -> dict[str, str] | None:
    """The named groups of `pattern` in the path and fragment of a link whose host is that of `base_url`; None for any other link.

    What the query holds is added by its name, each once.
    """
    try:
        asked, base = urlsplit(link), urlsplit(base_url)
    except ValueError:  # such as an IPv6 address without its bracket
        return None
    if asked.netloc.lower() != base.netloc.lower() or not asked.path.startswith(base.path.rstrip("/")):
        return None
    place = asked.path.removeprefix(base.path.rstrip("/")) + (f"#{asked.fragment}" if asked.fragment else "")
    found = re.fullmatch(pattern, place)
    if found is None:
        return None
    named = {name: value for name, value in found.groupdict().items() if value}
    return {name: values[0] for name, values in parse_qs(asked.query).items()} | named
