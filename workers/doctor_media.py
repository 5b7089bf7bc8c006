"""`replymill doctor` for voice notes and images: whether what reads them answers."""

import asyncio
from collections.abc import Mapping

from connectors.contract import Check
from engine.errors import RetryLater, SettingsError, Unreadable
from engine.messages import MediaKind
from engine.perception import Reader, readers
from engine.settings import PREFIX, Settings

#: Seconds for an answer.
TIMEOUT = 10.0

_NAMES: Mapping[MediaKind, tuple[str, str]] = {
    MediaKind.VOICE: ("voice notes", "TRANSCRIBE"),
    MediaKind.IMAGE: ("images", "DESCRIBE"),
}


def look(settings: Settings) -> list[Check]:
    """A check of each reader that is configured."""
    try:
        return asyncio.run(_look(readers(settings)))
    except SettingsError as error:
        return [Check("voice notes and images", False, "refused", str(error))]


async def _look(configured: Mapping[MediaKind, Reader]) -> list[Check]:
    return [await _ask(*_NAMES[kind], reader) for kind, reader in configured.items()]


async def _ask(what: str, variable: str, reader: Reader) -> Check:
    advice = f"check {PREFIX}{variable}, {PREFIX}{variable}_MODEL and {PREFIX}{variable}_KEY, and that the server runs"
    try:
        async with asyncio.timeout(TIMEOUT):
            return Check(what, True, await reader.check())
    except (RetryLater, Unreadable) as error:
        return Check(what, False, str(error), advice)
    except TimeoutError:
        return Check(what, False, f"no answer within {TIMEOUT:g} s", advice)
    finally:
        await reader.close()
