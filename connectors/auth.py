"""Who may ask: API keys as bearer tokens."""

import base64
import hashlib
import hmac
from collections.abc import Sequence

from engine.errors import RejectedRequest

#: Sent with every refusal (RFC 6750).
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="replymill"'}
#: The same for pages: a browser asks the operator, and sends the key with each request to this host alone (RFC 7617).
PAGE_CHALLENGE = {"WWW-Authenticate": 'Basic realm="replymill: any name, and an API key as the password", charset="UTF-8"'}


class ApiKeys:
    """The keys of `Settings.api_keys`; only their digests are held."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._digests = tuple(_digest(key) for key in keys)

    def check(self, authorization: str) -> None:
        """Accept an `Authorization` header that bears one of the keys; takes the same time for each wrong one.

        :raises RejectedRequest: and nothing else, whatever the header holds.
        """
        kind, _, key = authorization.partition(" ")
        asked = _digest(key.strip(" "))
        known = False
        for digest in self._digests:
            known |= hmac.compare_digest(asked, digest)
        if kind.lower() != "bearer" or not known:
            raise RejectedRequest("this needs an API key: Authorization: Bearer <key>")

    def check_page(self, authorization: str) -> None:
        """The same for a page: a browser bears the key as the password of whatever user name.

        :raises RejectedRequest: and nothing else, whatever the header holds.
        """
        kind, _, encoded = authorization.partition(" ")
        if kind.lower() == "basic":
            try:
                named = base64.b64decode(encoded.strip(" "), validate=True).decode()
            except ValueError as error:
                raise RejectedRequest("the credentials cannot be read") from error
            authorization = f"Bearer {named.partition(':')[2]}"
        self.check(authorization)


def _digest(key: str) -> bytes:
    """Digests have one length, so that a comparison tells nothing about the length of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
