"""Digests of ids, and sealing: key names in Redis hold only keyed digests, so that who talks to whom cannot be read off them, and
tokens are kept there sealed.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from engine.errors import SealError
from engine.messages import Address

#: What sealed bytes begin with: a version, then the id of the key and the nonce (12 bytes, NIST SP 800-38D).
_SEALED = b"\x01"
_KEY_ID, _NONCE = 4, 12

#: 16 bytes: with a billion ids the chance of one collision is below 10^-20.
_SIZE = 16


def _base32(raw: bytes) -> str:
    return base64.b32encode(raw).decode().rstrip("=").lower()


@dataclass(frozen=True)
class Digests:
    """Keyed BLAKE2b (RFC 7693) of what identifies people, conversations and messages."""

    #: `Settings.secret_key`.
    key: str

    def of(self, purpose: str, *parts: str) -> str:
        """26 characters of `a-z2-7`; different purposes never meet, and no two tuples of parts run together."""
        return _base32(self._hash(purpose, parts, _SIZE))

    def shard(self, address: Address, shards: int) -> int:
        """The shard of both lanes of every conversation in one channel."""
        raw = self._hash("shard", (address.platform, address.tenant, address.channel), 8)
        return int.from_bytes(raw, "big") % shards

    def tenant(self, tenant: str) -> str:
        """13 characters."""
        return _base32(self._hash("tenant", (tenant,), 8))

    def lane(self, address: Address) -> str:
        """`<tenant>.<conversation>`: names a conversation inside its shard."""
        thread = self.of("lane", address.platform, address.tenant, address.channel, address.thread)
        return f"{self.tenant(address.tenant)}.{thread}"

    def message(self, address: Address, logical_id: str) -> str:
        """Digest of one logical id, unique to its platform and tenant."""
        return self.of("message", address.platform, address.tenant, logical_id)

    def fingerprint(self) -> str:
        """Tells two secret keys apart without giving either away."""
        return self.of("fingerprint")

    def _hash(self, purpose: str, parts: tuple[str, ...], size: int) -> bytes:
        framed = b"".join(len(raw).to_bytes(4, "big") + raw for raw in (part.encode() for part in (purpose, *parts)))
        key = hashlib.sha256(self.key.encode()).digest()
        return hashlib.blake2b(framed, key=key, digest_size=size).digest()


class Sealer:
    """AES-256-GCM. The first key seals and every key opens, so that keys can be changed while what is sealed stays readable."""

    def __init__(self, keys: Sequence[str]) -> None:
        digests = [hashlib.sha256(b"replymill seal" + key.encode()).digest() for key in keys]
        self._keys = {hashlib.sha256(digest).digest()[:_KEY_ID]: AESGCM(digest) for digest in digests}
        self._first = next(iter(self._keys))

    def seal(self, purpose: str, raw: bytes) -> bytes:
        """The bytes, to be read with one of the keys and the same `purpose` alone."""
        nonce = secrets.token_bytes(_NONCE)
        return _SEALED + self._first + nonce + self._keys[self._first].encrypt(nonce, raw, purpose.encode())

    def open(self, purpose: str, sealed: bytes) -> bytes:
        """What was sealed.

        :raises SealError: for a key that is gone, another purpose, or bytes that were changed.
        """
        version, key_id = sealed[:1], sealed[1 : 1 + _KEY_ID]
        nonce, rest = sealed[1 + _KEY_ID : 1 + _KEY_ID + _NONCE], sealed[1 + _KEY_ID + _NONCE :]
        if version != _SEALED or key_id not in self._keys:
            raise SealError("it was sealed with a key that is not in REPLYMILL_SEALING_KEYS: add the old key after the new one")
        try:
            return self._keys[key_id].decrypt(nonce, rest, purpose.encode())
        except (InvalidTag, ValueError) as error:
            raise SealError("sealed bytes were changed, or are of another purpose: what they held must be set up again") from error


def same(left: str, right: str) -> bool:
    """Constant-time comparison of two secrets."""
    return hmac.compare_digest(left.encode(), right.encode())
