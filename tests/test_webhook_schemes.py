"""A tool that is not listed, connected by settings alone: how its requests are signed, and where its bodies hold a message."""

import asyncio
import base64
import dataclasses
import hashlib
import hmac
import json
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from dotenv import dotenv_values
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from standardwebhooks import Webhook as Reference

from connectors.contract import Deletion, Request
from connectors.webhook import Webhook
from engine.endpoints import WEBHOOK_PARTS
from engine.errors import MalformedRequest, NothingToAnswer, RejectedRequest, SettingsError, UnparseableMessage
from engine.keys import Direction
from engine.lanes import Lanes
from engine.messages import Address, Delivery, InboundMessage, Reply, Source
from engine.settings import PREFIX, Settings
from tests.conftest import wait_for
from tests.doors import OTHER_SECRET, SECRET, Door, Receiver, opened, ready, signed

pytestmark = pytest.mark.one_redis

ROOT = Path(__file__).parent.parent

KEY = "a-plain,-shared-signing-key"
OLD_KEY = "the-key-before-that-one"
WEEK = "604800"

#: A body as some tool may send it.
EVENT = {
    "event": "message_created",
    "data": {
        "id": 9007199254740993,
        "conversation": {"id": 42},
        "author": {"id": "u-7", "type": "contact"},
        "messages": [{"text": "Where is my order?"}],
    },
}
FIELDS = {
    "ID_FIELD": "data.id",
    "CONVERSATION_FIELD": "$.data.conversation.id",
    "USER_FIELD": "data.author.id",
    "TEXT_FIELD": "data.messages[0].text",
}
HMAC = {"SCHEME": "hmac", "SECRET": KEY, "SIGNATURE_HEADER": "X-Signature"}
SHARED = {"SCHEME": "secret", "SECRET": KEY, "SIGNATURE_HEADER": "X-Token"}


def loaded(dedupe_ttl: str = WEEK, **parts: str) -> Settings:
    """Settings with the endpoint `desk` of these parts, as the environment has them."""
    parts = {f"{PREFIX}WEBHOOK_DESK_{part}": value for part, value in parts.items()}
    return Settings.load({f"{PREFIX}DEDUPE_TTL": dedupe_ttl, **parts})


def endpoint(**parts: str) -> Webhook:
    return Webhook(loaded(**parts))


def taken(platform: Webhook, headers: dict[str, str], raw: bytes) -> bool:
    """Whether a request is believed."""
    try:
        platform.verify(Request("desk", headers, raw))
    except RejectedRequest:
        return False
    return True


def parsed(platform: Webhook, body: Any, **headers: str) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    (one,) = platform.parse(Request("desk", {name.replace("_", "-"): value for name, value in headers.items()}, raw))
    return one


def openssl(*arguments: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *arguments], input=stdin, capture_output=True, check=True).stdout


def openssl_hmac(key: str, content: bytes, hash_: str = "sha256") -> bytes:
    """The digest as another program makes it."""
    return openssl("dgst", f"-{hash_}", "-mac", "HMAC", "-macopt", f"key:{key}", "-binary", stdin=content)


# -- how requests are signed -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hash_", ["sha256", "sha1", "sha512"])
@pytest.mark.parametrize(("encoding", "write"), [("hex", bytes.hex), ("base64", lambda raw: base64.b64encode(raw).decode())])
def test_an_hmac_of_the_body_in_any_form_is_believed(hash_: str, encoding: str, write: Callable[[bytes], str]) -> None:
    platform = endpoint(**HMAC, **FIELDS, HASH=hash_, ENCODING=encoding, SIGNATURE_PREFIX=f"{hash_}=")
    raw = json.dumps(EVENT).encode()
    signature = write(openssl_hmac(KEY, raw, hash_))

    assert taken(platform, {"x-signature": f"{hash_}={signature}"}, raw)
    assert taken(platform, {"x-signature": f"{hash_}={signature.upper()}"}, raw) is (encoding == "hex")
    assert not taken(platform, {"x-signature": signature}, raw)
    assert not taken(platform, {"x-signature": f"{hash_}={signature}"}, raw + b" ")
    assert not taken(platform, {"x-signature": f"{hash_}={write(openssl_hmac(OLD_KEY, raw, hash_))}"}, raw)
    assert not taken(platform, {}, raw)


@pytest.mark.parametrize("form", ["unix", "iso"])
def test_a_signed_time_is_believed_within_its_tolerance_alone(form: str) -> None:
    template = "v0:{timestamp}:{body}"
    timed = {"TEMPLATE": template, "TIMESTAMP_HEADER": "X-Time", "TIMESTAMP_FORMAT": form, "TOLERANCE": "60"}
    platform = endpoint(**HMAC, **FIELDS, **timed)
    raw = json.dumps(EVENT).encode()

    def at(age: float) -> bool:
        moment = datetime.now(UTC) - timedelta(seconds=age)
        stamp = str(int(moment.timestamp())) if form == "unix" else moment.astimezone(timezone(timedelta(hours=5))).isoformat()
        digest = hmac.new(KEY.encode(), f"v0:{stamp}:".encode() + raw, hashlib.sha256).hexdigest()
        assert not taken(platform, {"x-signature": digest}, raw)
        return taken(platform, {"x-signature": digest, "x-time": stamp}, raw)

    assert [at(age) for age in (-70, -50, 0, 50, 70)] == [False, True, True, True, False]


def test_an_id_can_be_signed_with_the_rest() -> None:
    timed = {"TEMPLATE": "{id}.{timestamp}.{body}", "TIMESTAMP_HEADER": "X-Time", "ID_HEADER": "X-Id"}
    platform = endpoint(**HMAC, **timed)
    raw, stamp = json.dumps({"conversation": "c1", "text": "hello"}).encode(), str(int(time.time()))
    headers = {"x-id": "m1", "x-time": stamp, "x-signature": openssl_hmac(KEY, f"m1.{stamp}.".encode() + raw).hex()}

    assert taken(platform, headers, raw)
    assert not taken(platform, {**headers, "x-id": "m2"}, raw)
    assert parsed(platform, raw, x_id="m1").dedupe_ids == ("desk/m1",)


def test_two_keys_at_once_allow_a_rotation() -> None:
    platform = endpoint(**{**HMAC, "SECRET": f"{KEY} {OLD_KEY}"}, **FIELDS)
    raw = json.dumps(EVENT).encode()

    assert all(taken(platform, {"x-signature": openssl_hmac(key, raw).hex()}, raw) for key in (KEY, OLD_KEY))
    assert not taken(platform, {"x-signature": openssl_hmac("another-key-altogether", raw).hex()}, raw)


def test_a_shared_secret_in_a_header_is_believed() -> None:
    platform = endpoint(**{**SHARED, "SECRET": f"{KEY} {OLD_KEY}"}, SIGNATURE_PREFIX="Bearer ", **FIELDS)

    assert taken(platform, {"x-token": f"Bearer {KEY}"}, b"{}")
    assert taken(platform, {"x-token": f"Bearer {OLD_KEY}"}, b"{}")
    for wrong in ("", KEY, f"bearer {KEY}", f"Bearer {KEY},{KEY}", f"Bearer {KEY} {OLD_KEY}", f"Bearer {KEY[:-1]}", "Bearer "):
        assert not taken(platform, {"x-token": wrong}, b"{}")


@pytest.fixture(scope="module")
def key_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The file of a private key, and the public one as PEM."""
    private = tmp_path_factory.mktemp("rsa") / "private.pem"
    openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(private))
    return str(private), openssl("rsa", "-in", str(private), "-pubout").decode()


def one_line(pem: str) -> str:
    return pem.replace("\n", "\\n")


def bare(pem: str) -> str:
    return "".join(line for line in pem.splitlines() if not line.startswith("-----"))


@pytest.mark.parametrize("write", [str, one_line, bare])
def test_a_signature_by_a_private_key_is_believed(key_pair: tuple[str, str], write: Callable[[str], str]) -> None:
    private, public = key_pair
    parts = {"SCHEME": "rsa", "SECRET": write(public), "SIGNATURE_HEADER": "X-Signature", "SIGNATURE_PREFIX": "rsa="}
    platform = endpoint(**parts, **FIELDS)
    raw = json.dumps(EVENT).encode()
    signature = "rsa=" + base64.b64encode(openssl("dgst", "-sha256", "-sign", private, stdin=raw)).decode()

    assert taken(platform, {"x-signature": signature}, raw)
    assert not taken(platform, {"x-signature": signature}, raw + b" ")
    assert not taken(platform, {"x-signature": "rsa=" + openssl_hmac(public.strip(), raw).hex()}, raw)


def test_standard_webhooks_under_other_header_names_are_believed() -> None:
    names = {"SIGNATURE_HEADER": "Svix-Signature", "TIMESTAMP_HEADER": "Svix-Timestamp", "ID_HEADER": "Svix-Id"}
    platform = endpoint(SECRET=SECRET, **names, CONVERSATION_FIELD="data.chat", TEXT_FIELD="data.body")
    raw = json.dumps({"type": "chat.message", "data": {"chat": "c1", "body": "hello"}}).encode()
    headers = {name.replace("webhook-", "svix-"): value for name, value in signed(raw, "m1").items()}

    assert taken(platform, headers, raw)
    assert not taken(platform, signed(raw, "m1"), raw)
    assert not taken(platform, {**headers, "svix-id": "m2"}, raw)
    assert parsed(platform, raw, svix_id="m1").dedupe_ids == ("desk/m1",)


ENDPOINTS = {
    "hmac": endpoint(**HMAC, **FIELDS, TEMPLATE="{timestamp}{body}", TIMESTAMP_HEADER="X-Time", TIMESTAMP_FORMAT="iso"),
    "prefixed": endpoint(**HMAC, **FIELDS, SIGNATURE_PREFIX="sha256="),
    "secret": endpoint(**SHARED, ID_HEADER="X-Id"),
    "standard": endpoint(SECRET=SECRET),
}


@given(
    st.sampled_from(sorted(ENDPOINTS)),
    st.dictionaries(st.sampled_from(["x-signature", "x-token", "x-time", "x-id", "webhook-signature"]), st.text()),
    st.binary(),
)
def test_whatever_is_not_signed_is_rejected_under_every_scheme(scheme: str, headers: dict[str, str], raw: bytes) -> None:
    assert not taken(ENDPOINTS[scheme], headers, raw)


# -- where bodies hold a message ---------------------------------------------------------------------------------------------------


def test_the_places_that_settings_name_make_a_message() -> None:
    found = parsed(endpoint(**HMAC, **FIELDS), EVENT)

    assert found.address == Address(platform="webhook", tenant="desk", channel="desk", thread="42")
    assert (found.text, found.sender, found.dedupe_ids) == ("Where is my order?", "u-7", ("desk/9007199254740993",))


@pytest.mark.parametrize("path", ["a.0.b", "$.a.0.b", "a[0].b", "$.a[0].b"])
def test_a_path_can_be_written_in_several_ways(path: str) -> None:
    platform = endpoint(**HMAC, ID_FIELD="id", CONVERSATION_FIELD="c", TEXT_FIELD=path)

    assert parsed(platform, {"id": "1", "c": "1", "a": [{"b": "hello"}]}).text == "hello"
    assert parsed(platform, {"id": "1", "c": "1", "a": {"0": {"b": "hello"}}}).text == "hello"


def test_places_that_are_not_named_are_ours() -> None:
    platform = endpoint(**HMAC, ID_FIELD="id", TEXT_FIELD="message.body")

    found = parsed(platform, {"id": "1", "conversation": "c1", "user": "anna", "message": {"body": "hello"}, "type": "whatever"})
    assert (found.text, found.sender, found.address.thread) == ("hello", "anna", "c1")


def test_our_own_shapes_are_read_where_no_place_is_named() -> None:
    platform = endpoint(**HMAC, ID_FIELD="data.uuid")
    deletion = {"type": "message.deleted", "data": {"conversation": "c1", "message_id": "m1"}}

    found = parsed(platform, {"type": "message.created", "data": {"conversation": "c1", "text": "hello", "uuid": "m1"}})
    assert found.dedupe_ids == ("desk/m1",)
    assert parsed(platform, deletion) == Deletion(found.address, "desk/m1")


def test_an_id_in_a_header_that_is_not_signed_may_be_of_any_form() -> None:
    platform = endpoint(**SHARED, ID_HEADER="X-Id")
    body = {"conversation": "c1", "text": "hello"}

    assert parsed(platform, body, x_id="delivery.1 of 7/a").dedupe_ids == ("desk/delivery.1 of 7/a",)
    with pytest.raises(MalformedRequest, match="`x-id` is longer than 512"):
        parsed(platform, body, x_id="x" * 513)
    with pytest.raises(UnparseableMessage, match="no header `x-id`"):
        parsed(platform, body)


def changed(**places: Any) -> dict[str, Any]:
    """The event with other values in it; `__` stands for a step."""
    body = json.loads(json.dumps(EVENT))
    for place, value in places.items():
        *steps, last = place.split("__")
        found = body
        for step in steps:
            found = found[step]
        found[last] = value
    return body  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (changed(data__messages=[{"text": 5}]), r"`data\.messages\.0\.text` must be a text, but is a number"),
        (changed(data__messages=[{"text": True}]), "must be a text, but is true or false"),
        (changed(data__messages=[{"text": ["a"]}]), "must be a text, but is a list"),
        (changed(data__id=5.5), r"`data\.id` must be a text or a whole number, but is a number with a fraction"),
        (changed(data__id=1e25), "a number with a fraction"),
        (changed(data__id=True), "but is true or false"),
        (changed(data__id={"id": 5}), "but is an object"),
        (changed(data__id="x" * 513), r"`data\.id` is longer than 512"),
        (changed(data__conversation={"id": [1]}), r"`data\.conversation\.id` must be a text or a whole number, but is a list"),
        (changed(data__conversation={"id": "c" * 513}), "longer than 512"),
        (changed(data__author={"id": {}}), r"`data\.author\.id`"),
    ],
)
def test_a_wrong_type_in_a_place_is_named(body: dict[str, Any], fault: str) -> None:
    with pytest.raises(MalformedRequest, match=fault):
        parsed(endpoint(**HMAC, **FIELDS), body)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({}, r"no conversation at `data\.conversation\.id`"),
        ({"data": []}, "no conversation"),
        ({"data": "text"}, "no conversation"),
        (changed(data__conversation=None), "no conversation"),
        (changed(data__conversation={"id": ""}), "no conversation"),
        (changed(data__id=None), r"no id at `data\.id`"),
        (changed(data__id=""), "no id"),
    ],
)
def test_a_body_without_conversation_or_id_is_no_message(body: dict[str, Any], fault: str) -> None:
    with pytest.raises(UnparseableMessage, match=fault):
        parsed(endpoint(**HMAC, **FIELDS), body)


@pytest.mark.parametrize("messages", [[], [{}], [{"text": None}], [{"text": " "}], None, "none"])
def test_a_body_without_text_is_nothing_to_answer(messages: Any) -> None:
    with pytest.raises(NothingToAnswer):
        parsed(endpoint(**HMAC, **FIELDS), changed(data__messages=messages))


def test_nobody_need_have_written_it() -> None:
    assert parsed(endpoint(**HMAC, **FIELDS), changed(data__author=None)).sender == ""


def test_lone_surrogates_are_replaced_in_every_place() -> None:
    raw = json.dumps(changed(data__id="\ud800", data__conversation={"id": "\udc00"}, data__author={"id": "\ud83d"})).encode()
    found = parsed(endpoint(**HMAC, **FIELDS), raw)

    assert (found.dedupe_ids, found.address.thread, found.sender) == (("desk/�",), "�", "�")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["data", "id", "conversation", "messages", "text"]), inner),
    )
)
@examples(suppress_health_check=[HealthCheck.too_slow])
def test_any_body_is_a_message_or_has_a_named_fault(body: Any) -> None:
    platform = ENDPOINTS["prefixed"]
    raw = json.dumps(body).encode()

    platform.origin(Request("desk", {}, raw))
    with suppress(MalformedRequest, NothingToAnswer, UnparseableMessage):
        assert isinstance(parsed(platform, raw), InboundMessage)


# -- which events are messages -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("only", "passes"),
    [
        ("event=message_created", True),
        ("event=message_created data.author.type!=bot", True),
        ("event=message_updated", False),
        ("event=message_created data.author.type!=contact", False),
        ("data.conversation.id=42", True),
        ("data.private=null", True),
        ("data.private!=null", False),
        ("data.author!=null", True),
        ("data.author={}", False),
        ("$.data.messages[0].text=hello", False),
    ],
)
def test_events_that_do_not_say_what_they_must_are_left_alone(only: str, passes: bool) -> None:
    platform = endpoint(**HMAC, **FIELDS, ONLY=only)
    found = platform.parse(Request("desk", {}, json.dumps(EVENT).encode()))

    assert [type(one) for one in found] == ([InboundMessage] if passes else [])


def test_true_is_written_as_json_writes_it() -> None:
    platform = endpoint(**HMAC, **FIELDS, ONLY="data.incoming=true")

    assert isinstance(parsed(platform, changed(data__incoming=True)), InboundMessage)
    assert platform.parse(Request("desk", {}, json.dumps(changed(data__incoming=False)).encode())) == ()


# -- what is refused at start ------------------------------------------------------------------------------------------------------

TIMED = {"TEMPLATE": "{timestamp}.{body}", "TIMESTAMP_HEADER": "X-Time"}


@pytest.mark.parametrize(
    ("parts", "named", "accepted"),
    [
        ({"SECRET": SECRET, "SCHEME": "hmac-sha256"}, "SCHEME is 'hmac-sha256'", "one of standard, hmac, secret, rsa"),
        ({**HMAC, **FIELDS, "HASH": "md5"}, "HASH is 'md5'", "one of sha256, sha1, sha512"),
        ({**HMAC, **FIELDS, "ENCODING": "HEX"}, "ENCODING is 'HEX'", "one of hex, base64"),
        ({**HMAC, **FIELDS, "SIGNATURE_HEADER": "X Signature"}, "SIGNATURE_HEADER is 'X Signature'", "the name of a header"),
        ({**HMAC, **FIELDS, "SIGNATURE_PREFIX": "é"}, "SIGNATURE_PREFIX is 'é'", "visible ASCII"),
        ({**HMAC, **FIELDS, "TEMPLATE": "{nonce}{body}"}, "TEMPLATE is '{nonce}{body}'", "no other places"),
        ({**HMAC, **FIELDS, "TEMPLATE": "{timestamp}"}, "TEMPLATE is '{timestamp}'", "{body} once"),
        ({**HMAC, **FIELDS, "TEMPLATE": "{body}{body}"}, "TEMPLATE is '{body}{body}'", "{body} once"),
        ({**HMAC, **FIELDS, "TEMPLATE": "{timestamp}{body}"}, "TEMPLATE is '{timestamp}{body}'", "DESK_TIMESTAMP_HEADER"),
        ({**HMAC, **FIELDS, "TEMPLATE": "{id}{body}"}, "TEMPLATE is '{id}{body}'", "DESK_ID_HEADER"),
        ({**HMAC, **FIELDS, **TIMED, "TIMESTAMP_FORMAT": "ms"}, "TIMESTAMP_FORMAT is 'ms'", "one of unix, iso"),
        ({**HMAC, **FIELDS, **TIMED, "TOLERANCE": "5m"}, "TOLERANCE is '5m'", "a whole number from 1 to 86400"),
        ({**HMAC, **FIELDS, **TIMED, "TOLERANCE": "0"}, "TOLERANCE is '0'", "a whole number from 1 to 86400"),
        ({**HMAC, **FIELDS, "TEXT_FIELD": "data..text"}, "TEXT_FIELD is 'data..text'", "a dotted path"),
        ({**HMAC, **FIELDS, "TEXT_FIELD": "$"}, "TEXT_FIELD is '$'", "a dotted path"),
        ({**HMAC, **FIELDS, "TEXT_FIELD": "messages[*].text"}, "TEXT_FIELD is 'messages[*].text'", "a dotted path"),
        ({**HMAC, **FIELDS, "TEXT_FIELD": "messages[-1]"}, "TEXT_FIELD is 'messages[-1]'", "a dotted path"),
        ({**HMAC, **FIELDS, "USER_FIELD": "data author"}, "USER_FIELD is 'data author'", "a dotted path"),
        ({**HMAC, **FIELDS, "ONLY": "message_created"}, "ONLY is 'message_created'", "words such as event=message_created"),
        ({**HMAC, **FIELDS, "ONLY": " "}, "ONLY is ' '", "words such as event=message_created"),
        ({**HMAC, **FIELDS, "ONLY": "a..b=c"}, "ONLY is 'a..b=c'", "a dotted path"),
        ({**HMAC, **FIELDS, "SECRET": "too-short"}, "SECRET is (hidden)", "at least 16 characters"),
        ({**HMAC, **FIELDS, "SECRET": f"{KEY} too-short"}, "SECRET is (hidden)", "at least 16 characters"),
        ({**SHARED, **FIELDS, "SECRET": "a sécret"}, "SECRET is (hidden)", "visible ASCII"),
        ({**SHARED, **FIELDS, "SECRET": "sécret-in-a-header"}, "SECRET is (hidden)", "visible ASCII"),
        ({**HMAC, **FIELDS, "SECRET": ""}, "SECRET is missing", "16 characters"),
        ({**FIELDS, "SCHEME": "rsa", "SIGNATURE_HEADER": "X-S"}, "SECRET is missing", "a public key"),
        ({**HMAC, **FIELDS, "SIGNATURE_HEADER": ""}, "SIGNATURE_HEADER is missing", "header of the signature"),
        ({**HMAC, "TEXT_FIELD": "t"}, "ID_FIELD is missing", "DESK_ID_HEADER"),
        ({**HMAC, "TEXT_FIELD": "t", **TIMED}, "ID_FIELD is missing", "DESK_ID_HEADER"),
        ({**HMAC, **FIELDS, "CALLBACK_URL": "https://example.com/"}, "CALLBACK_SECRET is missing", "a `whsec_` secret"),
        ({**HMAC, **FIELDS, "CALLBACK_SECRET": KEY}, "CALLBACK_SECRET is (hidden)", "a `whsec_` secret"),
    ],
)
def test_what_cannot_work_is_refused_naming_variable_value_and_what_is_accepted(
    parts: dict[str, str], named: str, accepted: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        loaded(**parts)

    text = str(caught.value)
    assert f"{PREFIX}WEBHOOK_DESK_{named}" in text
    assert accepted in text
    assert not [secret for secret in parts.get("SECRET", "").split() if len(secret) > 8 and secret in text]


@pytest.mark.parametrize(
    ("parts", "idle", "why"),
    [
        *(
            ({"SECRET": SECRET}, part, "DESK_SCHEME is standard")
            for part in ("SIGNATURE_PREFIX", "ENCODING", "HASH", "TEMPLATE", "TIMESTAMP_FORMAT", "ID_FIELD")
        ),
        *(
            ({**SHARED, **FIELDS}, part, "DESK_SCHEME is secret")
            for part in ("ENCODING", "HASH", "TEMPLATE", "TIMESTAMP_HEADER", "TIMESTAMP_FORMAT", "TOLERANCE")
        ),
        *(({**HMAC, **FIELDS, "SCHEME": "rsa"}, part, "DESK_SCHEME is rsa") for part in ("ENCODING", "HASH")),
        *(
            ({**HMAC, **FIELDS}, part, "DESK_TEMPLATE has no {timestamp}")
            for part in ("TIMESTAMP_HEADER", "TIMESTAMP_FORMAT", "TOLERANCE")
        ),
        ({**HMAC, **FIELDS}, "ID_HEADER", "DESK_ID_FIELD is set"),
    ],
)
def test_what_would_do_nothing_is_refused(parts: dict[str, str], idle: str, why: str) -> None:
    values = {"HASH": "sha256", "ENCODING": "hex", "TEMPLATE": "{body}", "TIMESTAMP_FORMAT": "unix", "TOLERANCE": "300"}
    with pytest.raises(SettingsError) as caught:
        loaded(**parts, **{idle: values.get(idle, "x-id")})

    assert f"{PREFIX}WEBHOOK_DESK_{idle} is '{values.get(idle, 'x-id')}', but must be left out" in str(caught.value)
    assert why in str(caught.value)


@given(
    st.sampled_from([HMAC, SHARED, {"SECRET": SECRET}, {**HMAC, "SCHEME": "rsa"}]),
    st.dictionaries(
        st.sampled_from(sorted(WEBHOOK_PARTS)), st.text(max_size=40) | st.sampled_from(["{body}", "a.b=c", "9", "hex", "x-id"])
    ),
)
def test_any_text_in_any_part_is_taken_or_refused_in_words(scheme: dict[str, str], parts: dict[str, str]) -> None:
    with suppress(SettingsError):
        assert isinstance(endpoint(**{**scheme, **FIELDS, **parts}), Webhook)


def test_a_variable_left_empty_is_not_set() -> None:
    full = loaded(**HMAC, **FIELDS)

    assert loaded(**HMAC, **FIELDS, ID_HEADER="", TOLERANCE="", HASH="", CALLBACK_URL="", ONLY="") == full


def test_a_public_key_that_is_none_is_refused_at_start() -> None:
    settings = loaded(
        SCHEME="rsa", SECRET="-----BEGIN PUBLIC KEY-----\\nAAAA\\n-----END PUBLIC KEY-----", SIGNATURE_HEADER="X-S", **FIELDS
    )

    with pytest.raises(SettingsError, match="REPLYMILL_WEBHOOK_DESK_SECRET: a secret must be an RSA public key"):
        Webhook(settings)


@pytest.mark.parametrize("parts", [{**HMAC, **FIELDS}, {**SHARED, "ID_HEADER": "X-Id"}])
def test_without_a_signed_time_ids_must_be_known_for_a_week(parts: dict[str, str]) -> None:
    assert loaded("604800", **parts).webhooks

    with pytest.raises(SettingsError) as caught:
        loaded("86400", **parts)
    assert "REPLYMILL_DEDUPE_TTL is 86400 s, but must be at least 604800 s" in str(caught.value)
    assert "only its id tells a repeat at the webhook 'desk'" in str(caught.value)


def test_with_a_signed_time_ids_must_be_known_while_it_is_good() -> None:
    assert loaded("600", **HMAC, **FIELDS, **TIMED).webhooks
    assert loaded("86400", SECRET=SECRET).webhooks

    with pytest.raises(SettingsError, match=r"REPLYMILL_DEDUPE_TTL is 86400 s, but must be at least 86402 s"):
        loaded("86400", SECRET=SECRET, TOLERANCE="43201")


# -- over HTTP ---------------------------------------------------------------------------------------------------------------------


def served(settings: Settings, **parts: str) -> Settings:
    return dataclasses.replace(settings, dedupe_ttl=604_800.0, webhooks=loaded(**parts).webhooks)


def send(door: Door, body: Any, *, key: str = KEY, signature: bytes = b"") -> httpx.Response:
    raw = json.dumps(body).encode()
    made = f"sha256={hmac.new(key.encode(), raw, hashlib.sha256).hexdigest()}".encode()
    headers = [(b"x-signature", signature or made), (b"content-type", b"application/json")]
    return door.http.post("/webhooks/desk", content=raw, headers=headers)


PARTS = {**HMAC, **FIELDS, "SIGNATURE_PREFIX": "sha256=", "ONLY": "event=message_created"}


def test_a_foreign_tool_is_served_over_http(settings: Settings, redis_client: redis.Redis) -> None:
    with opened(served(settings, **PARTS)) as door:
        wait_for(lambda: ready(door))
        with ThreadPoolExecutor(11) as pool:
            answers = list(pool.map(lambda _: send(door, EVENT), range(11)))
        assert {(answer.status_code, answer.json()["id"]) for answer in answers} == {(202, answers[0].json()["id"])}

        statuses = {
            "another event": send(door, {**EVENT, "event": "typing"}),
            "forged": send(door, EVENT, key=OLD_KEY),
            "unsigned": door.http.post("/webhooks/desk", json=EVENT),
            "junk": send(door, EVENT, signature=b"sha256=\xe9"),
            "wrong type": send(door, changed(data__id=[])),
            "no text": send(door, changed(data__id=2, data__messages=[])),
        }
        assert {name: answer.status_code for name, answer in statuses.items()} == {
            "another event": 202,
            "forged": 401,
            "unsigned": 401,
            "junk": 401,
            "wrong type": 400,
            "no text": 422,
        }
        assert statuses["another event"].json() == {"state": "ignored"}

    lanes = Lanes(settings)
    (lane,) = lanes.claim(lanes.shards[0], Direction.IN, items=9, tokens=1000, empty=True).run(redis_client).lanes
    assert [InboundMessage.from_entry(entry).text for entry in lane.entries] == ["Where is my order?"]
    assert redis_client.zcard("rm:{0}:dead") == 0


def test_a_foreign_event_that_is_no_message_is_one_dead_letter(settings: Settings, redis_client: redis.Redis) -> None:
    with opened(served(settings, **PARTS)) as door:
        wait_for(lambda: ready(door))
        answers = [
            send(door, body) for body in ({"event": "message_created"}, {"event": "message_created"}, changed(data__id=None))
        ]

    assert [(answer.status_code, answer.json()["state"]) for answer in answers] == [(202, "dead")] * 3
    assert answers[0].json() == answers[1].json() != answers[2].json()
    assert redis_client.zcard("rm:{0}:dead") == 2


def test_the_example_of_the_documentation_works() -> None:
    text = (ROOT / "docs" / "webhooks.md").read_text()
    section = text[text.index("## A tool of others") : text.index("## A program that sends")]
    environ = dotenv_values(stream=StringIO(section.partition("```bash\n")[2].partition("```")[0]))
    raw = section.partition("```json\n")[2].partition("```")[0].encode()
    platform = Webhook(Settings.load({name: value for name, value in environ.items() if value}))

    stamp = str(int(time.time()))
    digest = openssl_hmac("the-signing-secret-that-it-shows", f"{stamp}.".encode() + raw).hex()
    headers = {"x-desk-signature": f"sha256={digest}", "x-desk-timestamp": stamp}
    assert taken(platform, headers, raw)
    found = parsed(platform, raw)
    assert (found.text, found.sender, found.address.thread) == ("Where is my order?", "u-7", "42")
    assert found.dedupe_ids == ("desk/9001",)
    assert platform.parse(Request("desk", headers, raw.replace(b'"contact"', b'"agent"'))) == ()


def test_every_part_stands_in_the_documentation() -> None:
    text = (ROOT / "docs" / "webhooks.md").read_text()

    assert [part for part in WEBHOOK_PARTS if f"_{part}" not in text] == []


def test_ids_are_remembered_for_the_whole_week(settings: Settings, redis_client: redis.Redis) -> None:
    with opened(served(settings, **PARTS)) as door:
        wait_for(lambda: ready(door))
        send(door, EVENT)

    assert max(redis_client.ttl(key) for key in redis_client.keys("rm:*")) > 604_000


def test_a_reply_is_called_back_by_standard_webhooks() -> None:
    with Receiver() as receiver:
        platform = endpoint(**HMAC, **FIELDS, CALLBACK_URL=receiver.url, CALLBACK_SECRET=OTHER_SECRET, CALLBACK_PRIVATE="true")
        asked = parsed(platform, EVENT)
        reply = Reply(
            in_reply_to=("abc-0",), address=asked.address, text="On its way.", source=Source.MODEL, reference=asked.dedupe_ids[0]
        )

        async def sending() -> None:
            await platform.send(Delivery(id="abc-0-0", reply=reply))
            await platform.close()

        asyncio.run(sending())

    (came,) = receiver.received
    said = Reference(OTHER_SECRET).verify(came["raw"], came["headers"])["data"]
    assert (said["conversation"], said["in_reply_to"], said["text"]) == ("42", "9007199254740993", "On its way.")
