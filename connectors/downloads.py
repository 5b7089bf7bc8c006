"""Fetching the files of messages. Their addresses come from a payload, so that they are guarded like callbacks.

A token goes to its platform's own host and nowhere else, and with the first request alone: where that leads elsewhere, the rest of
the way is gone without it. Everybody else's files must come by https from the open Internet, unless the operator lists their host.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx
from httpx_secure import SSRFProtectionError

from connectors.posting import guarded_client, port_of, wait_asked
from engine.errors import DeliveryRefused, RetryLater, Unreadable

#: Redirects that are followed: a help desk's own address, its storage, and what stands before that.
MOST_REDIRECTS = 3
#: Refused for now.
_PASSING = frozenset({408, 409, 425, 429})
_HTTPS = 443
#: What is no file that could be heard or seen, unless a server calls everything so.
_PAGES = ("text/", "application/json")


@dataclass(frozen=True, kw_only=True)
class Home:
    """Where the files of one account lie."""

    #: The platform, for errors.
    platform: str
    #: Address of the API: the operator's own, which may be inside.
    base_url: str
    #: What opens it.
    headers: Mapping[str, str] = field(default_factory=dict)
    #: `REPLYMILL_MEDIA_HOSTS`.
    hosts: tuple[str, ...] = ()
    #: The host's sub-domains are the platform's own too, and files lie nowhere else.
    alone: bool = False

    def owns(self, url: httpx.URL) -> bool:
        """Whether a token may be shown there."""
        base = httpx.URL(self.base_url)
        if (url.scheme, url.host, port_of(url)) == (base.scheme, base.host, port_of(base)):
            return True
        below = url.scheme == "https" and port_of(url) == _HTTPS and url.host.endswith(f".{base.host}")
        return self.alone and below

    def lists(self, url: httpx.URL) -> bool:
        """Whether the operator vouches for a host."""
        return url.scheme in ("http", "https") and bool({url.host, f"{url.host}:{port_of(url)}"} & set(self.hosts))


async def download(home: Home, address: str, *, most: int) -> bytes:
    """The file at an address, or at a path of the platform's own.

    :raises RetryLater: not now.
    :raises Unreadable: never: it is gone, too large, or leads where we do not go.
    """
    url = _joined(httpx.URL(home.base_url), address)
    headers = dict(home.headers) if home.owns(url) else {}
    for _ in range(MOST_REDIRECTS + 1):
        _check(home, url)
        found = await _get(home, url, headers, most)
        if isinstance(found, bytes):
            return found
        if home.alone:
            raise Unreadable(f"{home.platform} leads elsewhere instead of giving the file: check the token's rights")
        url, headers = _joined(url, found), {}
    raise Unreadable(f"the file is not there after {MOST_REDIRECTS} redirects")


def _joined(base: httpx.URL, address: str) -> httpx.URL:
    try:
        url = base.join(address)
        _ = url.host, url.raw_host
    except (httpx.InvalidURL, ValueError) as error:
        raise Unreadable("the file has no address that can be read") from error
    return url


def _check(home: Home, url: httpx.URL) -> None:
    if url.userinfo:
        raise Unreadable("the file's address holds a password, which is not sent")
    if home.owns(url) or (home.lists(url) and not home.alone):
        return
    if home.alone:
        raise Unreadable(f"the file does not lie at {home.platform}: it is not fetched from elsewhere")
    if url.scheme != "https" or port_of(url) != _HTTPS or not url.host:
        raise Unreadable("the file does not lie at an https address on port 443: see REPLYMILL_MEDIA_HOSTS")


async def _get(home: Home, url: httpx.URL, headers: Mapping[str, str], most: int) -> bytes | str:
    """The file, or where it is said to be."""
    trusted = home.owns(url) or home.lists(url)
    wanted = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "replymill", **headers}
    try:
        async with (
            guarded_client(str(url), private=trusted, connections=1) as client,
            client.stream("GET", url, headers=wanted) as answer,
        ):
            if answer.has_redirect_location:
                return str(answer.headers["location"])
            _judge(answer, most)
            return await _content(answer, most)
    except (SSRFProtectionError, DeliveryRefused) as error:
        raise Unreadable("the file's address leads inside, which is not allowed: see REPLYMILL_MEDIA_HOSTS") from error
    except (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL) as error:
        raise Unreadable(f"no request can be made of the file's address ({type(error).__name__})") from error
    except httpx.RequestError as error:
        raise RetryLater(f"the file cannot be fetched ({type(error).__name__})", after=0) from error


def _judge(answer: httpx.Response, most: int) -> None:
    status, size = answer.status_code, answer.headers.get("content-length", "")
    if status in _PASSING or status >= 500:
        raise RetryLater(f"the file's server answered {status}", after=wait_asked(answer.headers.get("retry-after", "")))
    if not answer.is_success:
        raise Unreadable(f"the file's server answered {status}")
    if size.isdigit() and int(size[:20]) > most:
        raise Unreadable.too_large(most)


async def _content(answer: httpx.Response, most: int) -> bytes:
    found = bytearray()
    async for chunk in answer.aiter_bytes():
        found += chunk
        if len(found) > most:
            raise Unreadable.too_large(most)
    page = answer.headers.get("content-type", "").lower().startswith(_PAGES)
    if page and found.lstrip().startswith((b"<", b"{", b"[")):
        # Slack answers so where the token may not read files, and so does any page to log in.
        raise Unreadable("a page came instead of the file: check the token's rights")
    return bytes(found)
