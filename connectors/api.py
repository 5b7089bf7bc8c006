"""Calls to the APIs of platforms: one client and one reading of what went wrong; each platform's file says what it asks for.

Addresses are the operator's own settings, never taken from a message.
"""

from collections.abc import Mapping
from typing import Any

import httpx
import msgspec

from connectors.posting import CONNECT_TIMEOUT, KEEP_ALIVE, wait_asked
from engine.errors import DeliveryRefused, RetryLater, Unclear

#: Seconds for an answer; the delivery's own time-out is shorter where it is set so.
READ_TIMEOUT = 30.0


class Api:
    """A client of one platform's API; made inside the event loop that uses it."""

    def __init__(self, platform: str, base_url: str, *, headers: Mapping[str, str], connections: int) -> None:
        self._platform = platform
        self._client = httpx.AsyncClient(
            base_url=base_url,
            headers=dict(headers),
            timeout=httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=KEEP_ALIVE),
        )

    async def call(self, method: str, path: str, content: Any = None) -> Any:
        """The JSON that the platform answers, `{}` where it is none.

        :raises RetryLater: the request surely had no effect, and may be repeated.
        :raises Unclear: it may have had one.
        :raises DeliveryRefused: it never will.
        """
        try:
            answer = await self._client.request(method, path, json=content)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise RetryLater(f"{self._platform} cannot be reached ({type(error).__name__})", after=0) from error
        except httpx.RequestError as error:
            raise Unclear(f"the connection to {self._platform} broke ({type(error).__name__})") from error
        self._judge(answer)
        try:
            return msgspec.json.decode(answer.content) if answer.content else {}
        except msgspec.DecodeError:  # some answer an empty page; the status has said what matters
            return {}

    async def close(self) -> None:
        await self._client.aclose()

    def _judge(self, answer: httpx.Response) -> None:
        status = answer.status_code
        if 200 <= status < 300:
            return
        said = f"{self._platform} answered {status}"
        if status in (408, 409, 423, 425, 429, 503):
            raise RetryLater(said, after=wait_asked(answer.headers.get("retry-after", "")))
        if status >= 500:
            raise Unclear(said)
        raise DeliveryRefused(f"{said}: {_short(answer.text)}")


def _short(text: str) -> str:
    """The beginning of an answer on one line, for an operator."""
    return ascii(" ".join(text.split())[:200])
