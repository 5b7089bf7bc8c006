"""What the variables of a webhook endpoint must be, alone and together, before one is made of them."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

from engine import values
from engine.endpoints import PARTS, WEBHOOK_PARTS, WebhookEndpoint
from engine.errors import SettingsError

#: Seconds a repeat must be recognised where nothing signed says when a request was made: the longest that senders try again.
LONGEST_RETRY = 604_800

_STANDARD_SECRET = re.compile(r"whsec_[A-Za-z0-9+/]{32,86}={0,2}")

#: What does nothing under a scheme.
_IDLE: Mapping[str, tuple[str, ...]] = {
    "standard": ("SIGNATURE_PREFIX", "ENCODING", "HASH", "TEMPLATE", "TIMESTAMP_FORMAT", "ID_FIELD"),
    # The verifier knows one kind: PKCS #1 v1.5 with SHA-256, in base64.
    "rsa": ("ENCODING", "HASH"),
    "secret": ("ENCODING", "HASH", "TEMPLATE", "TIMESTAMP_HEADER", "TIMESTAMP_FORMAT", "TOLERANCE"),
}


def build(prefix: str, found: Mapping[str, Mapping[str, str]]) -> dict[str, WebhookEndpoint]:
    """The endpoints from the texts of their variables, by name.

    :raises SettingsError: naming the variable, the value and what is accepted.
    """
    return {name: _Reading(prefix, name, texts).endpoint() for name, texts in found.items()}


def check(prefix: str, endpoint: WebhookEndpoint, *, dedupe_ttl: float) -> None:
    """Make sure that ids are remembered for as long as a signature can be used again.

    :raises SettingsError: naming what is needed.
    """
    least, why = endpoint.tolerance * 2, "a signature is good for twice the tolerance of"
    if endpoint.scheme != "standard" and not endpoint.timestamp_header:
        least, why = LONGEST_RETRY, "only its id tells a repeat at"
    if dedupe_ttl < least:
        raise SettingsError(
            f"{prefix}DEDUPE_TTL is {dedupe_ttl:g} s, but must be at least {least} s: {why} the webhook {endpoint.name!r}"
        )


class _Reading:
    """One endpoint's variables on their way to a value."""

    def __init__(self, prefix: str, name: str, texts: Mapping[str, str]) -> None:
        self.name = name
        self.stem = f"{prefix}WEBHOOK_{name.upper().replace('-', '_')}"
        #: An empty variable is one that is not set.
        self.texts = {word: text for word, text in texts.items() if text}

    def endpoint(self) -> WebhookEndpoint:
        others = {word: one for word, one in PARTS.items() if word in self.texts and word not in ("SECRET", "CALLBACK_SECRET")}
        read = {one.name: self.value(word, one.metadata["parse"]) for word, one in others.items()}
        endpoint = WebhookEndpoint(**{"name": self.name, "tenant": self.name, **read})
        endpoint = dataclasses.replace(endpoint, secrets=self.secrets(endpoint.scheme))
        self.check_scheme(endpoint)
        self.check_id(endpoint)
        self.check_callback(endpoint)
        return dataclasses.replace(endpoint, callback_secret=self.callback_secret(endpoint))

    def value(self, word: str, parse: Callable[[str], Any]) -> Any:
        try:
            return parse(self.texts[word])
        except ValueError as error:
            raise self.bad(word, f"but must be {error}") from error

    def secrets(self, scheme: str) -> tuple[str, ...]:
        if "SECRET" not in self.texts:
            raise SettingsError(f"{self.stem}_SECRET is missing: the endpoint {self.name!r} needs {_SECRETS[scheme][0]}")
        accepted, parse = _SECRETS[scheme]
        found = parse(self.texts["SECRET"])
        if not found:
            raise self.bad("SECRET", f"but must be {accepted}")
        return found

    def callback_secret(self, endpoint: WebhookEndpoint) -> str:
        if "CALLBACK_SECRET" not in self.texts:
            if endpoint.scheme == "standard":
                return endpoint.secrets[0]
            if endpoint.callback_url:
                raise SettingsError(f"{self.stem}_CALLBACK_SECRET is missing: replies are signed with {_SECRETS['standard'][0]}")
            return ""
        found = _standard_secrets(self.texts["CALLBACK_SECRET"])
        if len(found) != 1:
            raise self.bad("CALLBACK_SECRET", f"but must be {_SECRETS['standard'][0]}")
        return found[0]

    def check_scheme(self, endpoint: WebhookEndpoint) -> None:
        for word in _IDLE.get(endpoint.scheme, ()):
            self.forbid(word, f"{self.stem}_SCHEME is {endpoint.scheme}")
        if endpoint.scheme == "standard":
            return
        if not endpoint.signature_header:
            raise SettingsError(f"{self.stem}_SIGNATURE_HEADER is missing: {WEBHOOK_PARTS['SIGNATURE_HEADER']}")
        signed = "{timestamp}" in endpoint.template
        if signed and not endpoint.timestamp_header:
            raise self.bad("TEMPLATE", f"but {{timestamp}} needs {self.stem}_TIMESTAMP_HEADER")
        if not signed:
            for word in ("TIMESTAMP_HEADER", "TIMESTAMP_FORMAT", "TOLERANCE"):
                self.forbid(word, f"{self.stem}_TEMPLATE has no {{timestamp}}")

    def check_id(self, endpoint: WebhookEndpoint) -> None:
        if endpoint.scheme == "standard":
            return
        signed = "{id}" in endpoint.template
        if signed and not endpoint.id_header:
            raise self.bad("TEMPLATE", f"but {{id}} needs {self.stem}_ID_HEADER")
        if not endpoint.id_header and not endpoint.id_field:
            raise SettingsError(
                f"{self.stem}_ID_FIELD is missing: without an id in the body, or in a header ({self.stem}_ID_HEADER), "
                "a repeat would be answered again"
            )
        if endpoint.id_field and not signed:
            self.forbid("ID_HEADER", f"{self.stem}_ID_FIELD is set and {self.stem}_TEMPLATE has no {{id}}")

    def check_callback(self, endpoint: WebhookEndpoint) -> None:
        url, private = endpoint.callback_url, endpoint.callback_private
        if url and not re.fullmatch(rf"http{'s?' if private else 's'}://[^/@\s]+(/\S*)?", url):
            raise self.bad(
                "CALLBACK_URL",
                "but must be an https:// URL without a user name "
                f"(set {self.stem}_CALLBACK_PRIVATE=true for http or a private address)",
            )

    def forbid(self, word: str, why: str) -> None:
        if word in self.texts:
            raise self.bad(word, f"but must be left out: it does nothing where {why}")

    def bad(self, word: str, fault: str) -> SettingsError:
        shown = "(hidden)" if PARTS[word].metadata["secret"] else repr(self.texts[word])
        return SettingsError(f"{self.stem}_{word} is {shown}, {fault}")


def _standard_secrets(text: str) -> tuple[str, ...]:
    found = values.words(text)
    return found if all(_STANDARD_SECRET.fullmatch(secret) for secret in found) else ()


def _plain_secrets(text: str) -> tuple[str, ...]:
    found = tuple(text.split())
    return found if all(len(secret) >= 16 for secret in found) else ()


def _header_secrets(text: str) -> tuple[str, ...]:
    """Only ASCII travels through headers unchanged."""
    return _plain_secrets(text) if text.isascii() else ()


#: What the secrets of a scheme must be, and how their text is read; empty where it is none.
_SECRETS: Mapping[str, tuple[str, Callable[[str], tuple[str, ...]]]] = {
    "standard": ("a `whsec_` secret: `whsec_` and 24 to 64 random bytes in base64", _standard_secrets),
    "hmac": ("at least 16 characters for each secret, without spaces", _plain_secrets),
    "secret": ("at least 16 visible ASCII characters for each secret", _header_secrets),
    "rsa": ("a public key, PEM or base64", lambda text: (text,)),
}
