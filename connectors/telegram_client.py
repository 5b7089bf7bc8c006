"""The client of Telegram's Bot API: python-telegram-bot's, kept from taking strange answers for good ones and from telling tokens.

Its server, its poller and its Application are not used: they acknowledge an update before it is durable.
"""

import json
import logging
import math
import re
from collections.abc import Sequence
from typing import Any

from telegram import Bot
from telegram.error import TelegramError
from telegram.request import HTTPXRequest

from connectors.downloads import Home, download
from connectors.fence import fenced
from connectors.posting import CONNECT_TIMEOUT
from connectors.telegram_errors import Pause
from engine.errors import Unreadable

#: Seconds for an answer; the time-out of a delivery is shorter where it is set so.
READ_TIMEOUT = 30.0
#: Seconds that an answer may come later than the long poll it ends.
POLL_GRACE = 10.0
#: Longest pause that Telegram is believed to ask for, seconds: a day.
LONGEST_PAUSE = 86_400
#: The kinds of update that are asked for; without this list Telegram sends new kinds as they are invented.
ALLOWED = ("message", "edited_message", "callback_query", "my_chat_member")
#: Without a time of its own these say: come back.
_COME_BACK = (429, 503)

#: `getFile` of a server in the cloud answers such a path.
_PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_./-]{0,511}")

# The token is part of every URL. httpx tells URLs at info, python-telegram-bot at debug, and whole answers at error; what matters
# is raised.
for _name, _level in (("httpx", logging.WARNING), ("httpcore", logging.WARNING), ("telegram", logging.CRITICAL)):
    logging.getLogger(_name).setLevel(max(_level, logging.getLogger(_name).level))


class Request(HTTPXRequest):
    """One pool of connections to the API, past proxies of the environment."""

    def __init__(self, *, connections: int, read_timeout: float) -> None:
        super().__init__(
            connection_pool_size=connections,
            read_timeout=read_timeout,
            write_timeout=READ_TIMEOUT,
            connect_timeout=CONNECT_TIMEOUT,
            pool_timeout=READ_TIMEOUT,
            httpx_kwargs={"trust_env": False, "event_hooks": {"request": [fenced]}},
        )

    async def do_request(self, *arguments: Any, **options: Any) -> tuple[int, bytes]:
        """:raises TelegramError: a pause is asked for, or what answers is not the API."""
        status, payload = await super().do_request(*arguments, **options)
        said = _object(payload)
        if 200 <= status < 300:
            if "result" not in said:
                raise TelegramError("what answers is not Telegram's API")
            return status, payload
        parameters = said.get("parameters")
        parameters = parameters if isinstance(parameters, dict) else {}
        pause = _seconds(parameters.get("retry_after"))
        if pause or status in _COME_BACK:
            raise Pause(min(pause, LONGEST_PAUSE))
        return status, _error(said, _whole(parameters.get("migrate_to_chat_id")))


class Client(Bot):
    """One bot."""

    def __init__(self, token: str, base_url: str, *, connections: int) -> None:
        base = base_url.rstrip("/").removesuffix("/bot")
        #: Where files lie; the token is part of each address there.
        self._files = f"{base}/file/bot{token}"
        super().__init__(
            token,
            base_url=f"{base}/bot",
            request=Request(connections=connections, read_timeout=READ_TIMEOUT),
            get_updates_request=Request(connections=1, read_timeout=READ_TIMEOUT),
        )

    async def updates(self, *, offset: int, wait: int, most: int = 0, allowed: Sequence[str] = ()) -> list[Any]:
        """Updates as they came, after `wait` seconds at most, so that one which cannot be parsed does not hide the others.

        At `most` so many, 0 for as many as Telegram gives; without kinds that are `allowed`, those that were last.

        :raises TelegramError: as every call.
        """
        asked = {"offset": offset or None, "timeout": wait, "limit": most or None, "allowed_updates": allowed or None}
        found = await self._post("getUpdates", asked, read_timeout=wait + POLL_GRACE)
        return found if isinstance(found, list) else []

    async def ask(self, method: str, **asked: Any) -> dict[str, Any]:
        """What a method answers, as it came: whatever else a newer Telegram says does not hide it.

        :raises TelegramError: as every call.
        """
        found: Any = await self._post(method, asked)
        return found if isinstance(found, dict) else {}

    async def fetch(self, file_id: str, *, most: int) -> bytes:
        """A file that somebody sent.

        :raises TelegramError: as every call.
        :raises Unreadable: it is too large, or gone.
        """
        found = await self._post("getFile", {"file_id": file_id})
        path, size = (found.get("file_path"), found.get("file_size")) if isinstance(found, dict) else (None, 0)
        if isinstance(size, int) and size > most:
            raise Unreadable.too_large(most)
        if not isinstance(path, str) or not _PATH.fullmatch(path) or ".." in path:
            raise Unreadable("Telegram names no path of the file; one on the disk of a local Bot API server is not read")
        home = Home(platform="Telegram", base_url=self._files, alone=True)
        return await download(home, f"{self._files}/{path}", most=most)

    async def close_connections(self) -> None:
        """Let connections go; the bot stays as it is."""
        for request in self._request:
            await request.shutdown()


def _object(payload: bytes) -> dict[str, Any]:
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError):  # a page of some proxy: the status says enough
        return {}
    return found if isinstance(found, dict) else {}


def _seconds(value: Any) -> float:
    """A pause that is asked for, 0 where it is no time."""
    return max(0.0, float(value)) if isinstance(value, int | float) and not isinstance(value, bool) and value < math.inf else 0.0


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _error(said: dict[str, Any], migrated: int) -> bytes:
    """An answer in the shape the library expects, whatever shape it had."""
    description = said.get("description")
    told: dict[str, Any] = {"description": description} if isinstance(description, str) else {}
    return json.dumps(told | ({"parameters": {"migrate_to_chat_id": migrated}} if migrated else {})).encode()
