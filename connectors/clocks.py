"""Whether our clock and that of a platform agree, by the `Date` of any answer of it over HTTP."""

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from connectors.contract import Check

#: Seconds that a platform's clock may be off ours.
MOST_SKEW = 60.0
#: Seconds beyond which no signature that bears a time is taken.
FATAL_SKEW = 300.0


def seconds_ahead(headers: Mapping[str, str]) -> float | None:
    """Seconds that the platform's clock is ahead of ours; None where the answer names no time of now."""
    found = {name.lower(): value for name, value in headers.items()}
    if "age" in found:  # a cache's answer of some time ago
        return None
    try:
        return parsedate_to_datetime(found.get("date", "")).timestamp() - time.time()
    except (ValueError, TypeError, IndexError, OverflowError):  # a time that is none says nothing
        return None


def apart(what: str, ahead: float | None) -> tuple[Check, ...]:
    """A check where the clocks are too far apart; nothing where they agree."""
    if ahead is None or abs(ahead) <= MOST_SKEW:
        return ()
    fatal = abs(ahead) >= FATAL_SKEW
    advice = "synchronise the clock of this machine (NTP): signatures and deadlines depend on it"
    if fatal:
        advice += "; every signed request is refused until then"
    return (Check(f"{what} clock", False, f"the platform's clock is {ahead:+.0f} s off ours", advice, fatal),)
