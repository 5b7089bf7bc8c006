"""Posting to addresses that others run, without being led astray (SSRF) and without waiting for long.

A client serves one registered address. It connects to the address it has checked, so that a second look-up cannot lead elsewhere;
it follows no redirect, uses no proxy of the environment, and reads at most 64 kB of an answer it has no use for.
"""

import asyncio
import email.utils
import re
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from ipaddress import ip_address

import httpx
from httpx_secure import SSRFProtectionError, httpx_ssrf_protection

from connectors.fence import fenced
from engine.addresses import IPAddress, is_public
from engine.errors import DeliveryRefused, RetryLater

#: Seconds.
CONNECT_TIMEOUT = 3.0
READ_TIMEOUT = 10.0
#: A receiver whose status is known may take this long to end its answer, seconds; then the connection is given up.
DRAIN_TIMEOUT = 1.0
#: Bytes of an answer that are read, so that its connection can serve again.
MOST_ANSWER = 65_536
#: Idle connections are kept this long, seconds.
KEEP_ALIVE = 30.0
#: A checked address serves new connections this long, seconds; a receiver that moves is found again after it.
DNS_LIFE = 30.0
#: Bounds on what a receiver may ask us to wait, seconds.
SHORTEST_WAIT, LONGEST_WAIT = 1.0, 3600.0
#: Refusals that may be gone at the next attempt: time-out, conflict, too early, too many.
_PASSING = frozenset({408, 409, 425, 429})


def guarded_client(url: str, *, private: bool, connections: int) -> httpx.AsyncClient:
    """A client for one registered address; `private` allows http and addresses inside, for this very host and port."""
    target = httpx.URL(url)
    client = httpx.AsyncClient(
        verify=trust(),
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
        event_hooks={"request": [fenced] if private else [OutwardOnly(), fenced]},
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=KEEP_ALIVE),
    )
    # The host as the transport sees it: without brackets, internationalised names encoded.
    host, port = target.raw_host.decode("ascii").strip("[]"), port_of(target)

    def allowed(hostname: str, address: IPAddress, connecting_to: int) -> bool:
        registered = (hostname.strip("[]"), connecting_to) == (host, port)
        return registered and (private or is_public(address))

    return httpx_ssrf_protection(client, check_globally_reachable=not private, custom_validator=allowed, dns_cache_ttl=DNS_LIFE)


class OutwardOnly:
    """Looks a host up before each request and refuses it if any address of it is inside; the transport itself connects to find out.

    What the transport then connects to is checked once more, so that a name whose addresses change in between leads nowhere either.
    """

    def __init__(self) -> None:
        #: The host that was found outside, and until when that holds.
        self._outside = ("", 0.0)

    async def __call__(self, request: httpx.Request) -> None:
        """:raises DeliveryRefused: an address is inside.
        :raises RetryLater: the name does not lead to an address at present.
        """
        host = request.url.raw_host.decode("ascii").strip("[]")
        if self._outside[0] == host and time.monotonic() < self._outside[1]:
            return
        if not all(is_public(address) for address in await resolve(host, port_of(request.url))):
            raise DeliveryRefused("the callback leads to an address inside, which is not allowed")
        self._outside = (host, time.monotonic() + DNS_LIFE)


async def resolve(host: str, port: int) -> list[IPAddress]:
    """Every address of a host.

    :raises RetryLater: there is none at present, or no name server answers in time.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise RetryLater(f"the name of the callback cannot be resolved ({type(error).__name__})", after=0) from error
    return [ip_address(sockaddr[0]) for *_, sockaddr in found]


def port_of(url: httpx.URL) -> int:
    """The port a URL leads to."""
    return url.port or (443 if url.scheme == "https" else 80)


async def post(client: httpx.AsyncClient, url: str, *, body: bytes, headers: Mapping[str, str]) -> None:
    """Post once; returns if the receiver answered 2xx.

    :raises RetryLater: it is away, busy or slow; `after` is 0 where it names no time.
    :raises DeliveryRefused: it will never take it, or its address is not one we may reach.
    """
    try:
        async with client.stream("POST", url, content=body, headers=dict(headers)) as answer:
            await _drain(answer)
            judge(answer.status_code, answer.headers.get("retry-after", ""))
    except SSRFProtectionError as error:
        raise DeliveryRefused(f"the callback leads to an address inside, which is not allowed ({type(error).__name__})") from error
    except httpx.RequestError as error:
        raise RetryLater(f"the callback cannot be reached ({type(error).__name__})", after=0) from error


def judge(status: int, retry_after: str) -> None:
    """What a status means for a delivery; see `post`."""
    if 200 <= status < 300:
        return
    if status in _PASSING or status >= 500:
        raise RetryLater(f"the receiver answered {status}", after=wait_asked(retry_after))
    hint = ": redirects are not followed, register the final address" if 300 <= status < 400 else ""
    raise DeliveryRefused(f"the receiver answered {status}{hint}")


def wait_asked(retry_after: str) -> float:
    """Seconds a `Retry-After` header asks for, between 1 and 3600; 0 if it says nothing that can be understood."""
    text = retry_after.strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        seconds = float(text)
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError, IndexError, OverflowError):
            return 0.0
    return min(max(seconds, SHORTEST_WAIT), LONGEST_WAIT)


async def _drain(answer: httpx.Response) -> None:
    """Read a short answer to its end; the status is known, so that a failure here changes nothing."""
    size = 0
    with suppress(TimeoutError, httpx.RequestError):
        async with asyncio.timeout(DRAIN_TIMEOUT):
            async for chunk in answer.aiter_raw():
                size += len(chunk)
                if size > MOST_ANSWER:
                    return


@cache
def trust() -> ssl.SSLContext:
    """The public authorities and those that this machine's operator has added."""
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    return context
