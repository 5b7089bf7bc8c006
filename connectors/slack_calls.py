"""Calls to Slack's Web API, and what went wrong with them in our words.

Nothing is repeated by the library: a repeated chat.postMessage is a second message. What it raises never reaches a log, since its
text holds the answer of Slack.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from connectors.posting import CONNECT_TIMEOUT, wait_asked
from connectors.slack_fence import FencedRequest
from engine.accounts import SlackApp
from engine.errors import DeliveryError, DeliveryRefused, RetryLater, Unclear

#: Seconds for an answer; the delivery's own time-out is shorter where it is set so.
READ_TIMEOUT = 30.0

#: The libraries log texts and bodies at lower levels.
QUIET = logging.getLogger("connectors.slack")
QUIET.setLevel(logging.CRITICAL)

#: The installation is no more: its tokens will never work again. [D]
GONE = frozenset({"token_revoked", "account_inactive", "invalid_auth"})
#: Slack does not take these blocks, though it may take the text. [S]
BLOCKS = frozenset(
    {"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "msg_blocks_too_many", "invalid_arguments", "no_text"}
)
#: The bot cannot write there. [D]
OUTSIDE = frozenset({"not_in_channel", "channel_not_found"})

#: Both spellings are documented. [D]
_LIMITED = frozenset({"ratelimited", "rate_limited"})
#: Refused now, and gone at a later attempt. [D]
_PASSING = frozenset({"service_unavailable", "request_timeout", "team_added_to_org", "token_expired"})
#: What says nothing about an account.
PASSING = _LIMITED | _PASSING - {"token_expired"} | {"internal_error", "fatal_error"}
#: "It is possible that some aspect of the operation succeeded before the error was raised." [D]
_UNCERTAIN = frozenset({"internal_error", "fatal_error"})


class Fault(NamedTuple):
    """What Slack answered."""

    status: int
    #: Slack's word for it; empty where the answer is not Slack's, such as a page of a proxy.
    code: str
    retry_after: str


def session(connections: int) -> aiohttp.ClientSession:
    """Connections for all accounts; made inside the event loop that uses it."""
    timeout = aiohttp.ClientTimeout(total=READ_TIMEOUT, sock_connect=CONNECT_TIMEOUT)
    return aiohttp.ClientSession(
        timeout=timeout, trust_env=False, connector=aiohttp.TCPConnector(limit=connections), request_class=FencedRequest
    )


def client(account: SlackApp, token: str | None, connections: aiohttp.ClientSession | None) -> AsyncWebClient:
    made = AsyncWebClient(
        token=token,
        base_url=account.api_base_url,
        session=connections,
        retry_handlers=[],
        logger=QUIET,
        timeout=round(READ_TIMEOUT),
    )
    made.proxy = None  # the library takes one from the environment otherwise
    return made


def fault(error: SlackApiError) -> Fault:
    """Of an answer that may be of any shape: the library keeps its own response there, or that of the HTTP library."""
    response = error.response
    status = getattr(response, "status_code", None) or getattr(response, "status", None) or 0
    data = getattr(response, "data", None)
    code = data.get("error") if isinstance(data, dict) else ""
    headers = getattr(response, "headers", None) or {}
    waits = [value for name, value in headers.items() if name.lower() == "retry-after"]
    return Fault(status, code if isinstance(code, str) else "", waits[0] if waits else "")


def judge(found: Fault) -> DeliveryError:
    """What an answer that is no success means for a delivery."""
    said = f"Slack answered {found.status} {ascii(found.code)[1:-1][:80]}".rstrip()
    if found.status in (408, 409, 423, 425, 429, 503) or found.code in _LIMITED | _PASSING:
        return RetryLater(said, after=wait_asked(found.retry_after))
    if found.status >= 500 or found.code in _UNCERTAIN or (found.status == 200 and not found.code):
        return Unclear(said)
    return DeliveryRefused(said)


@contextmanager
def judged() -> Iterator[None]:
    """Turn what the libraries raise into our errors.

    :raises RetryLater: the request surely had no effect.
    :raises Unclear: it may have had one.
    :raises DeliveryRefused: it never will.
    """
    try:
        yield
    except SlackApiError as error:
        raise judge(fault(error)) from None
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise RetryLater(f"Slack cannot be reached ({type(error).__name__})", after=0) from error
    except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
        raise Unclear(f"the connection to Slack broke ({type(error).__name__})") from error
    except (AttributeError, ValueError) as error:  # the library meets an answer that is no JSON object
        raise Unclear(f"Slack answered something that cannot be read ({type(error).__name__})") from error
