"""The verifier takes what a holder of the secret signed a moment ago, and for anything else raises one error alone."""

import base64
import hashlib
import hmac
import json
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook as Reference

from connectors.signatures import STANDARD, Clock, Encoding, Method, Scheme, public_key, secret_bytes, sign, verify
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


# -- keyed with SHA-1, and a secret that travels -----------------------------------------------------------------------------------


def test_the_openssl_command_signs_with_sha1_what_we_accept() -> None:
    made = openssl("dgst", "-sha1", "-mac", "HMAC", "-macopt", f"hexkey:{KEY.hex()}", "-r", given=BODY)
    scheme, _ = _ROWS["intercom"]
    digest = made.decode().partition(" ")[0]

    assert not rejected({"x-hub-signature": f"sha1={digest}"}, scheme=scheme)
    assert rejected({"x-hub-signature": digest}, scheme=scheme)
    assert rejected({"x-hub-signature": f"sha256={digest}"}, scheme=scheme)
    assert not rejected({"x-hub-signature": f"sha1={digest.upper()}"}, scheme=scheme)
    assert rejected({"x-hub-signature": "sha1=" + _hex(KEY, BODY)}, scheme=scheme)


@given(st.sampled_from(["intercom", "telegram"]), junk)
def test_junk_in_the_one_header_is_rejected(row: str, value: str) -> None:
    scheme, signer = _ROWS[row]

    assert rejected({scheme.signature_header: value}, scheme=scheme) or value in signer(BODY, 0).values()


def test_a_secret_that_travels_must_be_whole_and_nothing_more() -> None:
    scheme, _ = _ROWS["telegram"]
    secret = KEY.decode()

    for wrong in (secret[:-1], secret + "x", secret.upper(), f"{secret},{secret}", ""):
        assert rejected({scheme.signature_header: wrong}, scheme=scheme)
    assert not rejected({scheme.signature_header: secret}, scheme=scheme, keys=(OTHER, KEY))


# -- RSA ---------------------------------------------------------------------------------------------------------------------------

RSA = Scheme(signature_header="x-freshchat-signature", method=Method.RSA, encoding=Encoding.BASE64)


def openssl(*arguments: str, given: bytes = b"") -> bytes:
    """What the openssl command says."""
    return subprocess.run(["openssl", *arguments], input=given, capture_output=True, check=True).stdout


class RsaPair:
    """A private key in a file, made and used by the openssl command alone."""

    def __init__(self, folder: Path, *, bits: int = 2048) -> None:
        self.private = folder / f"{bits}.pem"
        openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{bits}", "-out", str(self.private))
        self.public_once = self.public()

    def public(self, *form: str) -> bytes:
        return openssl("rsa", "-in", str(self.private), *(form or ("-pubout",)))

    def header(self, body: bytes, digest: str = "-sha256", *options: str) -> dict[str, str]:
        raw = openssl("dgst", digest, "-sign", str(self.private), *options, given=body)
        return {RSA.signature_header: base64.b64encode(raw).decode()}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> RsaPair:
    return RsaPair(tmp_path_factory.mktemp("rsa"))


@pytest.fixture(scope="module")
def other_pair(tmp_path_factory: pytest.TempPathFactory) -> RsaPair:
    return RsaPair(tmp_path_factory.mktemp("other-rsa"))


@pytest.mark.parametrize(
    "form",
    [("-pubout",), ("-pubout", "-outform", "DER"), ("-RSAPublicKey_out",), ("-RSAPublicKey_out", "-outform", "DER")],
)
def test_what_the_openssl_command_signs_is_accepted_by_every_form_of_the_key(pair: RsaPair, form: tuple[str, ...]) -> None:
    key = pair.public(*form)

    assert not rejected(pair.header(BODY), scheme=RSA, keys=(key,))
    assert rejected(pair.header(BODY), BODY + b" ", scheme=RSA, keys=(key,))


def test_another_key_another_hash_or_another_padding_proves_nothing(pair: RsaPair, other_pair: RsaPair) -> None:
    keys = (pair.public(),)

    assert rejected(other_pair.header(BODY), scheme=RSA, keys=keys)
    assert rejected(pair.header(BODY, "-sha1"), scheme=RSA, keys=keys)
    assert rejected(pair.header(BODY, "-sha256", "-sigopt", "rsa_padding_mode:pss"), scheme=RSA, keys=keys)
    assert rejected({RSA.signature_header: base64.b64encode(hmac.digest(keys[0], BODY, "sha256")).decode()}, scheme=RSA, keys=keys)


def test_two_public_keys_are_accepted_while_they_are_rotated(pair: RsaPair, other_pair: RsaPair) -> None:
    keys = (pair.public(), other_pair.public())

    assert not rejected(pair.header(BODY), scheme=RSA, keys=keys)
    assert not rejected(other_pair.header(BODY), scheme=RSA, keys=keys)


def test_a_key_that_is_none_proves_nothing_and_hides_no_good_one(pair: RsaPair) -> None:
    curve = openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout")
    elliptic = openssl("ec", "-pubout", given=curve)

    for bad in (b"", b"not a key", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", elliptic):
        assert rejected(pair.header(BODY), scheme=RSA, keys=(bad,))
        assert not rejected(pair.header(BODY), scheme=RSA, keys=(bad, pair.public()))


@given(value=junk)
def test_junk_for_an_rsa_signature_is_rejected(pair: RsaPair, value: str) -> None:
    assert rejected({RSA.signature_header: value}, scheme=RSA, keys=(pair.public_once,))


@given(raw=st.binary(max_size=300))
def test_any_bytes_in_base64_are_no_rsa_signature(pair: RsaPair, raw: bytes) -> None:
    assert rejected({RSA.signature_header: base64.b64encode(raw).decode()}, scheme=RSA, keys=(pair.public_once,))


@given(raw=st.binary(max_size=300))
def test_any_bytes_for_a_key_prove_nothing(raw: bytes) -> None:
    assert rejected({RSA.signature_header: base64.b64encode(b"x" * 256).decode()}, scheme=RSA, keys=(raw,))


def test_a_public_key_is_read_in_every_way_an_operator_may_paste_it(pair: RsaPair) -> None:
    pem = pair.public().decode()
    inner = "".join(line for line in pem.splitlines() if not line.startswith("-----"))
    old = pair.public("-RSAPublicKey_out").decode()

    for text in (pem, pem.replace("\n", "\\n"), pem.replace("\n", " "), inner, old):
        assert not rejected(pair.header(BODY), scheme=RSA, keys=(public_key(text),))


@given(st.text() | st.binary().map(lambda raw: base64.b64encode(raw).decode()))
def test_a_text_that_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="an RSA public key"):
        public_key(text)
