"""One table-driven verifier of signed requests, and the signer of our own.

A scheme is a row: which headers it uses and what is signed. Signatures are made over the raw bytes, compared as bytes in constant
time, against every secret (two at once allow a rotation). Whatever the headers hold, `RejectedRequest` alone comes out.
"""

import base64
import functools
import hashlib
import hmac
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

from engine.errors import RejectedRequest


class Method(StrEnum):
    """How a request proves where it comes from."""

    #: HMAC of the template, keyed by the secret.
    HMAC = "hmac"
    #: The header is the secret itself.
    SECRET = "secret"  # noqa: S105 - the name of a method
    #: RSA PKCS#1 v1.5 with SHA-256 over the template, in base64; the "secrets" are public keys, PEM or DER.
    RSA = "rsa"


class Encoding(StrEnum):
    """How the signature is written."""

    #: In lower or upper case.
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
    prove = _rsa_signed if scheme.method is Method.RSA else _equal
    proven = False
    for secret in secrets:
        proven |= prove(scheme, secret, fields, candidates)
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


def public_key(text: str) -> bytes:
    """The RSA key in a PEM, in a PEM written on one line with `\\n`, or in the base64 lines of one without its frame; as DER.

    :raises ValueError: if it is none.
    """
    lines = text.replace("\\n", "\n").strip()
    inner = re.sub(r"-----(BEGIN|END)[A-Z ]*-----", "", lines)
    try:
        key = base64.b64decode("".join(inner.split()), validate=True)
        _rsa_key(key)
    except ValueError as error:
        raise ValueError("an RSA public key, as PEM or as its base64 lines") from error
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
    found_bytes = [part.encode("utf-8", "surrogatepass") for part in prefixed]
    written_in_hex = scheme.method is Method.HMAC and scheme.encoding is Encoding.HEX
    return [one.lower() for one in found_bytes] if written_in_hex else found_bytes


def _equal(scheme: Scheme, secret: bytes, fields: Mapping[str, bytes], candidates: Sequence[bytes]) -> bool:
    expected = _expected(scheme, secret, fields)
    proven = False
    for candidate in candidates:
        proven |= hmac.compare_digest(candidate, expected)
    return proven


def _rsa_signed(scheme: Scheme, secret: bytes, fields: Mapping[str, bytes], candidates: Sequence[bytes]) -> bool:
    try:
        key = _rsa_key(secret)
    except ValueError:  # what is no key has signed nothing
        return False
    content = _content(scheme, fields)
    return any(_rsa_matches(key, candidate, content) for candidate in candidates)


def _rsa_matches(key: RSAPublicKey, candidate: bytes, content: bytes) -> bool:
    try:
        key.verify(base64.b64decode(candidate, validate=True), content, PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True


@functools.lru_cache(maxsize=64)
def _rsa_key(raw: bytes) -> RSAPublicKey:
    """:raises ValueError: no RSA public key, PEM or DER."""
    try:
        key = load_pem_public_key(raw) if raw.lstrip().startswith(b"-----") else load_der_public_key(raw)
    except UnsupportedAlgorithm as error:
        raise ValueError("a key of an unknown kind") from error
    if not isinstance(key, RSAPublicKey):
        raise ValueError("not an RSA key")
    return key


def _content(scheme: Scheme, fields: Mapping[str, bytes]) -> bytes:
    return _PLACES.sub(lambda place: fields[place[1].decode()], scheme.template)


def _expected(scheme: Scheme, secret: bytes, fields: Mapping[str, bytes]) -> bytes:
    if scheme.method is Method.SECRET:
        return secret
    digest = hmac.digest(secret, _content(scheme, fields), getattr(hashlib, scheme.hash))
    return digest.hex().encode() if scheme.encoding is Encoding.HEX else base64.b64encode(digest)


def _rejected() -> RejectedRequest:
    return RejectedRequest("the request is not signed as it must be")
