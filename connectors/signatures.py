"""One table-driven verifier of signed requests, and the signer of our own.

A scheme is a row: which headers it uses and what is signed. Signatures are made over the raw bytes, compared as bytes in constant
time, against every secret (two at once allow a rotation). Whatever the headers hold, `RejectedRequest` alone comes out.
"""

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from engine.errors import RejectedRequest


class Method(StrEnum):
    """How a request proves where it comes from."""

    #: HMAC of the template, keyed by the secret.
    HMAC = "hmac"
    #: The header is the secret itself.
    SECRET = "secret"  # noqa: S105 - the name of a method


class Encoding(StrEnum):
    """How the signature is written."""

    HEX = "hex"
    BASE64 = "base64"


class Clock(StrEnum):
    """How the time of signing is written."""

    #: Seconds since 1970, digits only.
    UNIX = "unix"
    #: ISO 8601 with an offset.
    ISO = "iso"
    #: There is none: repeats are stopped by their ids alone.
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """One row of the table."""

    #: Header names are in lower case.
    signature_header: str
    #: Before each signature.
    prefix: str = ""
    #: One header may hold several signatures.
    several: bool = False
    method: Method = Method.HMAC
    encoding: Encoding = Encoding.HEX
    hash: str = "sha256"
    #: What is signed, of `{id}`, `{timestamp}` and `{body}`.
    template: bytes = b"{body}"
    timestamp_header: str = ""
    clock: Clock = Clock.NONE
    #: Seconds the signature may be old, or ahead.
    tolerance: int = 300
    id_header: str = ""


#: https://www.standardwebhooks.com, version v1.
STANDARD = Scheme(
    signature_header="webhook-signature",
    prefix="v1,",
    several=True,
    encoding=Encoding.BASE64,
    template=b"{id}.{timestamp}.{body}",
    timestamp_header="webhook-timestamp",
    clock=Clock.UNIX,
    id_header="webhook-id",
)

#: 1 to 256 visible characters but the dot, which separates what is signed.
_ID = re.compile(r"[!-\-/-~]{1,256}")
_UNIX = re.compile(r"[0-9]{1,12}")
#: More than anyone needs for a rotation.
_MOST_SIGNATURES = 16
_PLACES = re.compile(rb"\{(id|timestamp|body)\}")


def verify(scheme: Scheme, secrets: Sequence[bytes], *, headers: Mapping[str, str], body: bytes) -> None:
    """Make sure that a holder of one of the secrets signed this request not long ago.

    :raises RejectedRequest: with the same text for every fault.
    """
    fields = {"id": _id(scheme, headers), "timestamp": _timestamp(scheme, headers), "body": body}
    candidates = _candidates(scheme, headers)
    proven = False
    for secret in secrets:
        expected = _expected(scheme, secret, fields)
        for candidate in candidates:
            proven |= hmac.compare_digest(candidate, expected)
    if not proven:
        raise _rejected()


def sign(secret: bytes, id_: str, *, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a request signed by Standard Webhooks; `timestamp` in Unix seconds."""
    fields = {"id": id_.encode(), "timestamp": str(timestamp).encode(), "body": body}
    return {
        "webhook-id": id_,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": STANDARD.prefix + _expected(STANDARD, secret, fields).decode(),
    }


def secret_bytes(secret: str) -> bytes:
    """The key in a `whsec_` secret, padded or not.

    :raises ValueError: if it is none.
    """
    kind, _, text = secret.partition("_")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise ValueError("not base64") from error
    if kind != "whsec" or not 24 <= len(key) <= 64:
        raise ValueError("not `whsec_` and 24 to 64 bytes in base64")
    return key


def _id(scheme: Scheme, headers: Mapping[str, str]) -> bytes:
    if not scheme.id_header:
        return b""
    found = headers.get(scheme.id_header, "")
    if not _ID.fullmatch(found):
        raise _rejected()
    return found.encode()


def _timestamp(scheme: Scheme, headers: Mapping[str, str]) -> bytes:
    if scheme.clock is Clock.NONE:
        return b""
    found = headers.get(scheme.timestamp_header, "")
    if abs(_seconds(scheme.clock, found) - time.time()) > scheme.tolerance:
        raise _rejected()
    return found.encode()


def _seconds(clock: Clock, found: str) -> float:
    if clock is Clock.UNIX:
        if not _UNIX.fullmatch(found):
            raise _rejected()
        return int(found)
    try:
        moment = datetime.fromisoformat(found) if found.isascii() else None
        # A time without an offset would be read in the zone of this machine.
        seconds = moment.timestamp() if moment and moment.utcoffset() is not None else None
    except (ValueError, OverflowError) as error:
        raise _rejected() from error
    if seconds is None:
        raise _rejected()
    return seconds


def _candidates(scheme: Scheme, headers: Mapping[str, str]) -> list[bytes]:
    found = headers.get(scheme.signature_header, "")
    parts = found.split(" ")[:_MOST_SIGNATURES] if scheme.several else [found]
    prefixed = [part.removeprefix(scheme.prefix) for part in parts if part.startswith(scheme.prefix)]
    # Any bytes will do for what is no signature: they are only compared.
    return [part.encode("utf-8", "surrogatepass") for part in prefixed]


def _expected(scheme: Scheme, secret: bytes, fields: Mapping[str, bytes]) -> bytes:
    if scheme.method is Method.SECRET:
        return secret
    content = _PLACES.sub(lambda place: fields[place[1].decode()], scheme.template)
    digest = hmac.digest(secret, content, getattr(hashlib, scheme.hash))
    return digest.hex().encode() if scheme.encoding is Encoding.HEX else base64.b64encode(digest)


def _rejected() -> RejectedRequest:
    return RejectedRequest("the request is not signed as it must be")
