"""The verifier takes what a holder of the secret signed a moment ago, and for anything else raises one error alone."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook as Reference

from connectors.signatures import STANDARD, Clock, Encoding, Method, Scheme, secret_bytes, sign, verify
from engine.errors import RejectedRequest
from tests.doors import OTHER_SECRET, SECRET, signed

KEY = secret_bytes(SECRET)
OTHER = secret_bytes(OTHER_SECRET)
BODY = b'{"conversation":"c","text":"hello"}'

bodies = st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)).map(
    lambda found: json.dumps(found).encode()
)
ids = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="."), min_size=1, max_size=256)
#: Whatever may stand in a header: bytes as latin-1, and worse than a server would ever hand on.
junk = st.text() | st.binary().map(lambda raw: raw.decode("latin-1")) | st.text(st.characters())


def rejected(headers: dict[str, str], body: bytes = BODY, *, keys: tuple[bytes, ...] = (KEY,), scheme: Scheme = STANDARD) -> bool:
    try:
        verify(scheme, keys, headers=headers, body=body)
    except RejectedRequest:
        return True
    return False


@given(body=bodies, id_=ids)
def test_the_reference_library_accepts_what_we_sign(body: bytes, id_: str) -> None:
    headers = sign(KEY, id_, timestamp=int(time.time()), body=body)

    assert Reference(SECRET).verify(body, headers) == json.loads(body)


@given(body=bodies, id_=ids)
def test_we_accept_what_the_reference_library_signs(body: bytes, id_: str) -> None:
    now = datetime.now(UTC)
    signature = Reference(SECRET).sign(id_, now, body.decode())

    assert not rejected({"webhook-id": id_, "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}, body)


@given(body=st.binary(), id_=ids)
def test_any_bytes_can_be_signed_and_verified(body: bytes, id_: str) -> None:
    assert not rejected(signed(body, id_), body)


@given(st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), junk), st.binary())
def test_junk_is_rejected_and_nothing_else_happens(headers: dict[str, str], body: bytes) -> None:
    assert rejected(headers, body)


@given(junk, st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]))
def test_one_junk_header_among_good_ones_is_rejected(value: str, name: str) -> None:
    good = signed(BODY, "msg_1")

    assert rejected({**good, name: value}) or value == good[name]


@given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_one_changed_byte_is_rejected(position: int, difference: int) -> None:
    changed = bytearray(BODY)
    changed[position] ^= difference

    assert rejected(signed(BODY, "msg_1"), bytes(changed))


def test_the_body_written_anew_is_rejected() -> None:
    assert rejected(signed(BODY, "msg_1"), json.dumps(json.loads(BODY), indent=1).encode())


@pytest.mark.parametrize(("age", "accepted"), [(0, True), (298, True), (-298, True), (302, False), (-302, False), (86_400, False)])
def test_a_signature_lives_five_minutes_in_both_directions(age: float, accepted: bool) -> None:
    assert rejected(signed(BODY, "msg_1", age=age)) is not accepted


@pytest.mark.parametrize(
    "timestamp",
    [
        "",
        "abc",
        "{now}.9",
        " {now}",
        "{now} ",
        "+{now}",
        "-{now}",
        "{now}e0",
        "0x65",
        "٣",
        "١٧٩٥٣٣٠٨٤٦",
        "{now}\n",
        "9" * 400,
        "nan",
        "inf",
    ],
)
def test_a_timestamp_is_digits_and_nothing_else(timestamp: str) -> None:
    found = timestamp.format(now=int(time.time()))
    content = f"msg_1.{found}.".encode() + BODY
    signature = "v1," + base64.b64encode(hmac.digest(KEY, content, "sha256")).decode()

    assert rejected({"webhook-id": "msg_1", "webhook-timestamp": found, "webhook-signature": signature})


@pytest.mark.parametrize("id_", ["", "a.b", " ", "a b", "a\n", "é", "x" * 257, "\ud800", "a\x00"])
def test_an_id_is_visible_has_no_dot_and_is_not_endless(id_: str) -> None:
    now = int(time.time())
    content = f"{id_}.{now}.".encode("utf-8", "surrogatepass") + BODY
    signature = "v1," + base64.b64encode(hmac.digest(KEY, content, "sha256")).decode()

    assert rejected({"webhook-id": id_, "webhook-timestamp": str(now), "webhook-signature": signature})


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_rejected(name: str) -> None:
    headers = signed(BODY, "msg_1")
    del headers[name]

    assert rejected(headers)


def test_any_of_several_signatures_will_do() -> None:
    good = signed(BODY, "msg_1")["webhook-signature"]
    stale = signed(BODY, "msg_1", secret=OTHER_SECRET)["webhook-signature"]
    headers = signed(BODY, "msg_1")

    assert not rejected({**headers, "webhook-signature": f"{stale} v1a,AAAA {good}"})
    assert rejected({**headers, "webhook-signature": f"{stale} v1a,AAAA"})


def test_the_other_algorithms_of_the_standard_prove_nothing() -> None:
    headers = signed(BODY, "msg_1")

    assert rejected({**headers, "webhook-signature": headers["webhook-signature"].replace("v1,", "v1a,")})
    assert rejected({**headers, "webhook-signature": headers["webhook-signature"].removeprefix("v1,")})


def test_two_secrets_are_accepted_while_they_are_rotated() -> None:
    for secret in (SECRET, OTHER_SECRET):
        assert not rejected(signed(BODY, "msg_1", secret=secret), keys=(KEY, OTHER))
    assert rejected(signed(BODY, "msg_1", secret=OTHER_SECRET), keys=(KEY,))


def test_every_fault_reads_the_same() -> None:
    texts = set()
    for headers in ({}, signed(BODY, "a.b"), signed(BODY, "msg_1", age=999), signed(BODY, "msg_1", secret=OTHER_SECRET)):
        with pytest.raises(RejectedRequest) as caught:
            verify(STANDARD, (KEY,), headers=headers, body=BODY)
        texts.add(str(caught.value))

    assert len(texts) == 1


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_" + "A" * 16, "whpk_" + "A" * 44, "whsec_" + "A" * 33, "whsec_" + "é" * 40]
)
def test_a_secret_that_is_none_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="base64"):
        secret_bytes(secret)


def test_a_secret_may_lack_its_padding() -> None:
    assert secret_bytes(SECRET.rstrip("=")) == KEY


def _hex(key: bytes, content: bytes, name: str = "sha256") -> str:
    return hmac.new(key, content, getattr(hashlib, name)).hexdigest()


#: Rows of other platforms, as their vendors describe them, each with a signer written from the same description.
_ROWS: dict[str, tuple[Scheme, Callable[[bytes, float], dict[str, str]]]] = {
    "slack": (
        Scheme(
            signature_header="x-slack-signature",
            prefix="v0=",
            template=b"v0:{timestamp}:{body}",
            timestamp_header="x-slack-request-timestamp",
            clock=Clock.UNIX,
        ),
        lambda body, at: {
            "x-slack-request-timestamp": str(int(at)),
            "x-slack-signature": "v0=" + _hex(KEY, f"v0:{int(at)}:".encode() + body),
        },
    ),
    "chatwoot": (
        Scheme(
            signature_header="x-chatwoot-signature",
            prefix="sha256=",
            template=b"{timestamp}.{body}",
            timestamp_header="x-chatwoot-timestamp",
            clock=Clock.UNIX,
        ),
        lambda body, at: {
            "x-chatwoot-timestamp": str(int(at)),
            "x-chatwoot-signature": "sha256=" + _hex(KEY, f"{int(at)}.".encode() + body),
        },
    ),
    "zendesk": (
        Scheme(
            signature_header="x-zendesk-webhook-signature",
            encoding=Encoding.BASE64,
            template=b"{timestamp}{body}",
            timestamp_header="x-zendesk-webhook-signature-timestamp",
            clock=Clock.ISO,
        ),
        lambda body, at: {
            "x-zendesk-webhook-signature-timestamp": (moment := datetime.fromtimestamp(at, UTC).isoformat()),
            "x-zendesk-webhook-signature": base64.b64encode(hmac.digest(KEY, moment.encode() + body, "sha256")).decode(),
        },
    ),
    "intercom": (
        Scheme(signature_header="x-hub-signature", prefix="sha1=", hash="sha1"),
        lambda body, _: {"x-hub-signature": "sha1=" + _hex(KEY, body, "sha1")},
    ),
    "telegram": (
        Scheme(signature_header="x-telegram-bot-api-secret-token", method=Method.SECRET),
        lambda _, __: {"x-telegram-bot-api-secret-token": KEY.decode()},
    ),
}


@pytest.mark.parametrize("row", _ROWS)
def test_a_row_is_all_that_another_platform_needs(row: str) -> None:
    scheme, signer = _ROWS[row]
    headers = signer(BODY, time.time())

    assert not rejected(headers, scheme=scheme)
    assert rejected(headers, scheme=scheme, keys=(OTHER,))
    assert rejected({}, scheme=scheme)
    if scheme.method is Method.HMAC:
        assert rejected(headers, BODY + b" ", scheme=scheme)
        assert rejected({**headers, scheme.signature_header: "sha512=" + headers[scheme.signature_header]}, scheme=scheme)
    if scheme.clock is not Clock.NONE:
        assert rejected(signer(BODY, time.time() - 302), scheme=scheme)
        assert rejected(signer(BODY, time.time() + 302), scheme=scheme)


@given(junk)
def test_junk_for_an_iso_time_is_rejected(found: str) -> None:
    scheme, signer = _ROWS["zendesk"]

    assert rejected({**signer(BODY, time.time()), "x-zendesk-webhook-signature-timestamp": found}, scheme=scheme)


def test_an_iso_time_without_an_offset_is_rejected() -> None:
    scheme, _ = _ROWS["zendesk"]
    naive = datetime.now(UTC).replace(tzinfo=None).isoformat()
    signature = base64.b64encode(hmac.digest(KEY, naive.encode() + BODY, "sha256")).decode()

    assert rejected({"x-zendesk-webhook-signature-timestamp": naive, "x-zendesk-webhook-signature": signature}, scheme=scheme)
