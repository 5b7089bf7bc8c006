"""Fetches one page that the operator names. What the address leads to is checked where it is connected to, redirects included."""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

import httpx
from httpx_secure import SSRFProtectionError, httpx_ssrf_protection

from engine.addresses import IPAddress, is_public
from engine.errors import Unreadable

#: Seconds to connect, and between two pieces of an answer.
CONNECT_TIMEOUT, READ_TIMEOUT = 5.0, 20.0
#: Redirects that are followed: to https, to the host's full name, to the page's new place, and to a language.
MOST_REDIRECTS = 5
#: What is read, and under which name it would lie in a folder; the name decides where the server says nothing of use.
KINDS = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "text/markdown": ".md",
    "text/x-markdown": ".md",
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "application/pdf": ".pdf",
    "application/jsonl": ".jsonl",
    "application/x-ndjson": ".jsonl",
    "application/json": ".json",
    "text/plain": "",
    "application/octet-stream": "",
    "": "",
}
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A page as it came."""

    #: Where it lay in the end.
    url: str
    content: bytes
    #: As the server calls it: a key of `KINDS`.
    kind: str
    #: Charset that the server names, if it does.
    charset: str


def fetch(url: str, *, most: int, seconds: float, inside: Sequence[str] = ()) -> Fetched:
    """The page at an address.

    :param most: bytes it may have, unpacked.
    :param inside: hosts, or `host:port`, that may lie at addresses inside, because the operator says so.
    :raises Unreadable: it is not there, too large, no document, or leads inside.
    """

    async def bounded() -> Fetched:
        async with asyncio.timeout(seconds):
            return await _followed(url, most, tuple(inside))

    try:
        return asyncio.run(bounded())
    except TimeoutError as error:
        raise Unreadable(f"{url}: it did not come within {seconds:.0f} s") from error
    except SSRFProtectionError as error:
        raise Unreadable(f"{url}: it leads to an address inside: `--inside {error.hostname}` allows that") from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError, UnicodeError, ValueError) as error:
        raise Unreadable(f"{url}: this is no address that can be asked ({error})") from error
    except httpx.RequestError as error:
        raise Unreadable(f"{url}: it cannot be reached ({type(error).__name__})") from error


async def _followed(url: str, most: int, inside: tuple[str, ...]) -> Fetched:
    place = httpx.URL(url)
    async with _client(inside) as client:
        for _ in range(MOST_REDIRECTS + 1):
            _check(place)
            async with client.stream("GET", place, headers={"accept": "text/html, text/markdown, */*;q=0.5"}) as answer:
                if not answer.has_redirect_location:
                    return await _page(answer, most)
                place = place.join(answer.headers["location"])
    raise Unreadable(f"{url}: it is not there after {MOST_REDIRECTS} redirects")


def _check(place: httpx.URL) -> None:
    if place.scheme not in _DEFAULT_PORTS or not place.host:
        raise Unreadable(f"{place}: only http and https addresses are read")
    if place.userinfo:
        raise Unreadable(f"{place.copy_with(username=None, password=None)}: the address holds a password, which is not sent")


def _client(inside: tuple[str, ...]) -> httpx.AsyncClient:
    trust = httpx.create_ssl_context(trust_env=False)
    trust.load_default_certs(ssl.Purpose.SERVER_AUTH)
    client = httpx.AsyncClient(
        verify=trust,
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
        headers={"user-agent": "replymill"},
    )

    def allowed(host: str, address: IPAddress, port: int) -> bool:
        name = host.strip("[]")
        return is_public(address) or bool({name, f"{name}:{port}"} & set(inside))

    return httpx_ssrf_protection(client, check_globally_reachable=not inside, custom_validator=allowed)


async def _page(answer: httpx.Response, most: int) -> Fetched:
    if not answer.is_success:
        raise Unreadable(f"{answer.url}: the server answered {answer.status_code}")
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in KINDS:
        raise Unreadable(f"{answer.url}: {kind[:100]} is no kind of document that is read")
    found = bytearray()
    async for chunk in answer.aiter_bytes(65_536):
        found += chunk
        if len(found) > most:
            raise Unreadable(f"{answer.url}: it is larger than {most} bytes")
    return Fetched(url=str(answer.url), content=bytes(found), kind=kind, charset=answer.charset_encoding or "")
