"""How the requests to a webhook endpoint are signed: from its settings to a row for the verifier."""

import dataclasses
from dataclasses import dataclass

import httpx

from connectors.posting import port_of
from connectors.signatures import STANDARD, Clock, Encoding, Method, Scheme, public_key, secret_bytes
from engine.endpoints import WebhookEndpoint
from engine.errors import SettingsError
from engine.settings import PREFIX


@dataclass(frozen=True)
class Endpoint:
    """A registered endpoint with its scheme and its secrets decoded."""

    registered: WebhookEndpoint
    scheme: Scheme
    secrets: tuple[bytes, ...]
    #: Empty where nothing is called back.
    callback_secret: bytes
    #: The header that holds the id of a message, in lower case; empty where its body does.
    id_header: str


def endpoint_of(registered: WebhookEndpoint) -> Endpoint:
    """:raises SettingsError: a secret or the callback address cannot be used."""
    variable = f"{PREFIX}WEBHOOK_{registered.name.upper().replace('-', '_')}"
    scheme = scheme_of(registered)
    keys = tuple(_key(variable, "SECRET", registered.scheme, secret) for secret in registered.secrets)
    callback_secret = b""
    if registered.callback_secret:
        callback_secret = _key(variable, "CALLBACK_SECRET", "standard", registered.callback_secret)
    _check_callback(variable, registered)
    id_header = "" if registered.id_field else registered.id_header or scheme.id_header
    return Endpoint(registered, scheme, keys, callback_secret, id_header)


def scheme_of(registered: WebhookEndpoint) -> Scheme:
    """The row of the verifier's table."""
    if registered.scheme == "standard":
        return dataclasses.replace(
            STANDARD,
            signature_header=registered.signature_header or STANDARD.signature_header,
            timestamp_header=registered.timestamp_header or STANDARD.timestamp_header,
            id_header=registered.id_header or STANDARD.id_header,
            tolerance=registered.tolerance,
        )
    return Scheme(
        signature_header=registered.signature_header,
        prefix=registered.signature_prefix,
        method=Method(registered.scheme),
        encoding=Encoding(registered.encoding),
        hash=registered.hash,
        template=registered.template.encode(),
        timestamp_header=registered.timestamp_header,
        clock=Clock(registered.timestamp_format) if registered.timestamp_header else Clock.NONE,
        tolerance=registered.tolerance,
        # An id that nothing signs is read with the message: it may be of any form.
        id_header=registered.id_header if "{id}" in registered.template else "",
    )


def _key(variable: str, part: str, scheme: str, secret: str) -> bytes:
    try:
        if scheme == "standard":
            return secret_bytes(secret)
        return public_key(secret) if scheme == "rsa" else secret.encode()
    except ValueError as error:
        hint = "; make one with 32 random bytes" if scheme == "standard" else ""
        what = "is" if scheme == "standard" else "must be"
        raise SettingsError(f"{variable}_{part}: a secret {what} {error}{hint}") from error


def _check_callback(variable: str, registered: WebhookEndpoint) -> None:
    if not registered.callback_url:
        return
    try:
        url = httpx.URL(registered.callback_url)
    except httpx.InvalidURL as error:
        raise SettingsError(f"{variable}_CALLBACK_URL is {registered.callback_url!r}, but must be a URL: {error}") from error
    if not registered.callback_private and port_of(url) != 443:
        raise SettingsError(
            f"{variable}_CALLBACK_URL leads to port {port_of(url)}, but must lead to 443 "
            f"(set {variable}_CALLBACK_PRIVATE=true for another port)"
        )
