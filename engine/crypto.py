"""Digests of ids. Key names in Redis hold only keyed digests, so that who talks to whom cannot be read off them."""

import base64
import hashlib
import hmac
from dataclasses import dataclass

from engine.messages import Address

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


def same(left: str, right: str) -> bool:
    """Constant-time comparison of two secrets."""
    return hmac.compare_digest(left.encode(), right.encode())
