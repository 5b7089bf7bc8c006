"""Calls to the APIs of platforms: one client and one reading of what went wrong; each platform's file says what it asks for.

Addresses are the operator's own settings, never taken from a message.
"""

import math
import re
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from typing import Any, NamedTuple

import httpx
import msgspec

from connectors.clocks import apart, seconds_ahead
from connectors.contract import Check
from connectors.downloads import Home, download
from connectors.fence import fenced
from connectors.posting import CONNECT_TIMEOUT, KEEP_ALIVE, trust, wait_asked
from engine.errors import DeliveryError, DeliveryRefused, RetryLater, Unclear

#: Seconds for an answer; the delivery's own time-out is shorter where it is set so.
READ_TIMEOUT = 30.0
#: Bytes of an answer; no platform's page of messages comes near it.
MOST_ANSWER = 8 * 1024 * 1024
#: Refused for now, without an effect: time-out, conflict, locked, too early, too many, away.
_PASSING = frozenset({408, 409, 423, 425, 429, 503})
#: Headers that hold no secret.
_OPEN = frozenset({"accept", "content-type", "user-agent"})


class Heard(NamedTuple):
    """What an answer said besides its body."""

    status: int
    #: Seconds that the platform's clock is ahead of ours; None where it named no time.
    ahead: float | None


class Api:
    """A client of one platform's API; made inside the event loop that uses it."""

    def __init__(self, platform: str, base_url: str, *, headers: Mapping[str, str], connections: int) -> None:
        self._platform = platform
        self._base_url = base_url
        #: What opens files that lie at the platform.
        self._opening = {name: value for name, value in headers.items() if name.lower() not in _OPEN}
        self._secrets = tuple(_secrets(headers))
        #: Of the last answer, for who makes one call at a time; None where there was none.
        self.heard: Heard | None = None
        self._client = httpx.AsyncClient(
            base_url=base_url,
            headers=dict(headers),
            verify=trust(),
            timeout=httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
            follow_redirects=False,
            trust_env=False,
            event_hooks={"request": [fenced]},
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=KEEP_ALIVE),
        )

    async def call(self, method: str, path: str, content: Any = None) -> Any:
        """The JSON object or list that the platform answers, `{}` where it answers neither.

        :raises RetryLater: the request surely had no effect, as one that only reads, and may be repeated.
        :raises Unclear: it may have had one.
        :raises DeliveryRefused: it never will.
        """
        try:
            return await self._ask(method, path, content)
        except Unclear as error:
            if method != "GET":
                raise
            raise RetryLater(str(error), after=0) from error

    async def file(self, address: str, *, most: int, hosts: tuple[str, ...] = (), opened: bool = False) -> bytes:
        """A file of a message, by what the payload said; see `connectors.downloads`.

        :param opened: the platform itself has made the address, and wants to see the token; a person could have it opened for a
            page of the API otherwise.
        """
        headers = self._opening if opened else {}
        home = Home(platform=self._platform, base_url=self._base_url, headers=headers, hosts=hosts)
        return await download(home, address, most=most)

    async def close(self) -> None:
        await self._client.aclose()

    async def _ask(self, method: str, path: str, content: Any) -> Any:
        self.heard = None
        try:
            async with self._client.stream(method, path, json=content) as answer:
                self.heard = Heard(answer.status_code, seconds_ahead(answer.headers))
                raw = await self._body(answer)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise RetryLater(f"{self._platform} cannot be reached ({type(error).__name__})", after=0) from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
            raise DeliveryRefused(f"no request to {self._platform} can be made of this ({type(error).__name__})") from error
        except httpx.RequestError as error:
            raise Unclear(f"the connection to {self._platform} broke ({type(error).__name__})") from error
        self._judge(answer, raw)
        return self._read(answer, raw)

    async def _body(self, answer: httpx.Response) -> bytes:
        """An answer to its end. A status that says no stands, whatever becomes of the text after it."""
        found = bytearray()
        with nullcontext() if answer.is_success else suppress(httpx.RequestError):
            async for chunk in answer.aiter_bytes():
                found += chunk
                if len(found) > MOST_ANSWER:
                    raise Unclear(f"{self._platform} answered more than {MOST_ANSWER} bytes")
        return bytes(found)

    def _judge(self, answer: httpx.Response, raw: bytes) -> None:
        status = answer.status_code
        if answer.is_success:
            return
        said = f"{self._platform} answered {status}"
        if status in _PASSING:
            raise RetryLater(said, after=wait_asked(answer.headers.get("retry-after", "")) or _until_reset(answer))
        if status >= 500:
            raise Unclear(said)
        raise DeliveryRefused(f"{said}: {self._beginning(raw)}")

    def _read(self, answer: httpx.Response, raw: bytes) -> Any:
        if raw and answer.headers.get("content-type", "").startswith("text/html"):
            # Somebody else has answered, such as a proxy with a page to log in.
            raise Unclear(f"{self._platform} answered {answer.status_code} with a page of HTML: check its address")
        try:
            found = msgspec.json.decode(raw) if raw else {}
        except (msgspec.DecodeError, RecursionError):  # some answer a word; the status has said what matters
            return {}
        return found if isinstance(found, dict | list) else {}

    def _beginning(self, raw: bytes) -> str:
        """The beginning of an answer on one line, for an operator; should it repeat our secrets, without them."""
        text = " ".join(raw[:4096].decode("utf-8", "replace").split())
        for secret in self._secrets:
            text = text.replace(secret, "(hidden)")
        return ascii(text[:200])


async def examine(api: Api, what: str, path: str, *, told: Callable[[Any], str], advice: Mapping[int, str]) -> Check:
    """What `replymill doctor` finds by one GET. `told` says it in words, empty where the answer is not the platform's.

    :param advice: what to do about a refusal, by its status; 0 is for all others.
    """
    try:
        found = told(await api.call("GET", path))
    except DeliveryRefused as error:
        return Check(what, False, str(error), advice.get(api.heard.status if api.heard else 0, advice[0]))
    except DeliveryError as error:
        return Check(what, False, str(error), f"try again later; if it stays so: {advice[0]}")
    if not found:
        return Check(what, False, "answers, but not as it should", advice[0])
    return Check(what, True, found)


def clocks(api: Api, what: str) -> tuple[Check, ...]:
    """A check of the clocks by the last answer, where they are too far apart."""
    return apart(what, api.heard.ahead if api.heard else None)


def _until_reset(answer: httpx.Response) -> float:
    """Seconds until the moment, in Unix time, at which a limit ends: what Intercom says in place of `Retry-After` [D]."""
    text = answer.headers.get("x-ratelimit-reset", "").strip()
    if not re.fullmatch(r"[0-9]{10}", text):
        return 0.0
    return wait_asked(str(max(0, math.ceil(int(text) - time.time()))))


def _secrets(headers: Mapping[str, str]) -> list[str]:
    """Every word of a header that may be a secret, the longest first."""
    words = {word for name, value in headers.items() if name.lower() not in _OPEN for word in re.split(r"[\s,=\"]+", value)}
    return sorted((word for word in words if len(word) >= 8), key=len, reverse=True)
