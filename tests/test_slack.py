"""Slack, both directions: events, commands and buttons in; messages out, against a simulated Slack."""

import asyncio
import dataclasses
import hashlib
import hmac
import json
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import httpx
import msgspec
import pytest
import redis
import redis.asyncio
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from connectors import slack_events, slack_presses
from connectors.contract import Askable, Deletion, Edit, Feedback, HandOver, Hosting, Listening, Notice, Showing, Stop
from connectors.signatures import verify
from connectors.simulators.server import Fault
from connectors.simulators.slack import Slack as SlackServer
from connectors.slack import Slack
from connectors.slack_door import SCHEME
from connectors.slack_events import Said
from engine.accounts import SlackApp
from engine.errors import DeliveryRefused, RejectedRequest, RetryLater, Unclear, UnparseableMessage
from engine.keys import Direction
from engine.lanes import Lanes
from engine.messages import Action, Address, Delivery, InboundMessage, Receipt, Reply, Source
from engine.settings import Settings
from tests.conftest import wait_for
from tests.doors import Door, opened, ready
from tests.loops import Post, delivering
from workers import embedded

pytestmark = pytest.mark.one_redis

SECRET = "a signing secret of the tests"
BOT = "xoxb-of-the-tests"
TEAM, DIRECT, CHANNEL, ANNA, ROOT = "T1", "D1", "C1", "UANNA", "1700000000.000100"
RETRY: dict[str, Any] = {"x-slack-retry-num": "1"}


def with_app(settings: Settings, api: str = "http://127.0.0.1:9/api/", name: str = "acme", **fields: Any) -> Settings:
    app = SlackApp(**{"name": name, "tenant": "acme", "signing_secret": SECRET, "bot_token": BOT, "api_base_url": api, **fields})
    known = settings.accounts.get("slack", {})
    return dataclasses.replace(settings, accounts={**settings.accounts, "slack": {**known, name: app}})


def signature(raw: bytes, *, at: float | None = None, secret: str = SECRET) -> dict[str, Any]:
    """As Slack's documentation describes it, written out."""
    timestamp = str(int(time.time() if at is None else at))
    digest = hmac.new(secret.encode(), b"v0:" + timestamp.encode() + b":" + raw, hashlib.sha256).hexdigest()
    return {"x-slack-request-timestamp": timestamp, "x-slack-signature": f"v0={digest}"}


def event(event_id: str = "Ev1", /, **fields: Any) -> dict[str, Any]:
    return {
        "type": "event_callback",
        "team_id": TEAM,
        "api_app_id": "A1",
        "event_id": event_id,
        "event_time": 1700000000,
        "event": fields,
        "authorizations": [
            {"enterprise_id": None, "team_id": TEAM, "user_id": "UBOT", "is_bot": True, "is_enterprise_install": False}
        ],
    }


def direct(text: Any = "Where is my order?", ts: Any = ROOT, event_id: str = "Ev1", **fields: Any) -> dict[str, Any]:
    said = {"type": "message", "channel_type": "im", "channel": DIRECT, "user": ANNA, "text": text, "ts": ts, **fields}
    return event(event_id, **said)


def mention(text: str = "<@UBOT> Where is my order?", ts: str = ROOT, event_id: str = "Ev1", **fields: Any) -> dict[str, Any]:
    return event(event_id, **{"type": "app_mention", "channel": CHANNEL, "user": ANNA, "text": text, "ts": ts, **fields})


def spoken(text: str = "And now?", ts: str = "1700000001.000200", event_id: str = "Ev2", **fields: Any) -> dict[str, Any]:
    """A message in a channel."""
    said = {"type": "message", "channel_type": "channel", "channel": CHANNEL, "user": ANNA, "text": text, "ts": ts, **fields}
    return event(event_id, **said)


def heard(body: dict[str, Any]) -> tuple[Said, ...]:
    return slack_events.event("acme", "acme", body)


def only(body: dict[str, Any]) -> Any:
    (said,) = heard(body)
    return said.inbound


def post(door: Door, body: Any, *, name: str = "acme", form: bool = False, **headers: Any) -> httpx.Response:
    text = urlencode(body) if form else body if isinstance(body, bytes) else json.dumps(body)
    raw = text if isinstance(text, bytes) else text.encode()
    kind = "application/x-www-form-urlencoded" if form else "application/json"
    return door.http.post(f"/slack/{name}/events", content=raw, headers={"content-type": kind, **signature(raw), **headers})


def waiting(client: Any, direction: Direction = Direction.IN) -> list[bytes]:
    """The bodies of all that waits."""
    names = sorted(client.scan_iter(match=f"rm:*{direction}:q:*"))
    return [raw.partition(b"\n")[2] for name in names for raw in client.lrange(name, 0, -1)]


def questions(client: redis.Redis) -> list[str]:
    return [InboundMessage.decode(raw).text for raw in waiting(client)]


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with SlackServer() as server:
        yield server


@pytest.fixture
def door(settings: Settings, slack: SlackServer) -> Iterator[Door]:
    with opened(with_app(settings, slack.api)) as door:
        wait_for(lambda: ready(door))
        yield door


def test_it_is_a_platform_that_hosts_listens_shows_and_can_be_asked() -> None:
    platform = Slack(with_app(Settings()), None)

    assert isinstance(platform, Hosting)
    assert isinstance(platform, Listening)
    assert isinstance(platform, Askable)
    assert isinstance(platform, Showing)


# -- what an event says --------------------------------------------------------------------------------------------------------


def test_a_direct_message_is_a_question_in_one_lane() -> None:
    found = only(direct())

    assert found.address == Address(platform="slack", tenant="acme", channel="acme/T1/D1")
    assert (found.text, found.sender) == ("Where is my order?", ANNA)
    assert found.dedupe_ids == (f"acme/T1/D1/{ROOT}", "acme/Ev1")


def test_a_direct_message_in_a_thread_is_answered_in_it() -> None:
    (said,) = heard(direct(ts="1700000005.000100", thread_ts=ROOT))

    assert (said.below, only(direct()).address) == (ROOT, said.inbound.address)  # type: ignore[union-attr]
    assert heard(direct())[0].below == heard(direct(thread_ts=ROOT))[0].below == ROOT


def test_a_mention_begins_a_thread_at_its_root() -> None:
    first, reply = only(mention()), only(mention(ts="1700000005.000100", thread_ts=ROOT))

    assert first.address == reply.address == Address(platform="slack", tenant="acme", channel="acme/T1/C1", thread=ROOT)
    assert first.text == "Where is my order?"


def test_a_mention_and_its_message_have_one_logical_id() -> None:
    reply = {"ts": "1700000005.000100", "thread_ts": ROOT}

    assert only(mention(**reply)).dedupe_ids[0] == only(spoken(**reply)).dedupe_ids[0]


def test_a_message_in_a_channel_is_for_the_bot_only_in_its_threads() -> None:
    (said,) = heard(spoken(thread_ts=ROOT))

    assert heard(spoken()) == ()
    assert said.thread == ("T1", "C1", ROOT)
    assert not said.engages


@pytest.mark.parametrize(
    "fields",
    [
        {"bot_id": "B1"},
        {"bot_id": "B2", "subtype": "bot_message"},
        {"user": "UBOT"},
        {"user": "USLACKBOT"},
        {"user": None},
        {"subtype": "channel_join"},
        {"subtype": "me_message"},
        {"subtype": "bot_message"},
        {"text": ""},
    ],
)
def test_what_no_person_wrote_says_nothing(fields: dict[str, Any]) -> None:
    assert heard(direct(**fields)) == ()
    assert heard(mention(thread_ts=ROOT, **fields)) == () or fields == {"text": ""}


@pytest.mark.parametrize("kind", ["app_home_opened", "app_context_changed", "reaction_added", "channel_created", "nonsense"])
def test_events_that_are_none_of_our_business_say_nothing(kind: str) -> None:
    assert heard(event(type=kind, channel={"id": "C1"}, user="U1")) == ()


def test_files_without_text_get_a_notice() -> None:
    found = only(direct("", subtype="file_share", files=[{"id": "F1"}]))

    assert found == Notice(only(direct()).address, only(direct()).dedupe_ids, "no_text")
    assert only(direct("What is this?", subtype="file_share", files=[{"id": "F1"}])).text == "What is this?"


def test_an_edit_and_a_deletion_name_the_original() -> None:
    now = {"user": ANNA, "text": "Where is order 17?", "ts": ROOT, "edited": {"user": ANNA, "ts": "1"}}
    before = {"user": ANNA, "text": "Where is my order?", "ts": ROOT}
    changed = event(
        type="message", channel=DIRECT, channel_type="im", subtype="message_changed", message=now, previous_message=before
    )
    removed = event(
        type="message", channel=DIRECT, channel_type="im", subtype="message_deleted", deleted_ts=ROOT, previous_message=before
    )
    edit = only(changed)

    assert isinstance(edit, Edit)
    assert edit.message.text == "Where is order 17?"
    assert edit.message.dedupe_ids == (f"acme/T1/D1/{ROOT}",)
    assert only(removed) == Deletion(only(direct()).address, f"acme/T1/D1/{ROOT}")


def test_a_change_that_is_no_edit_says_nothing() -> None:
    same = {"user": ANNA, "text": "See https://example.com", "ts": ROOT, "attachments": [{}]}
    own = {"user": "UBOT", "bot_id": "B1", "text": "new", "ts": ROOT}
    for message in (same, own):
        before = {**message, "text": "See https://example.com"}
        assert (
            heard(event(type="message", channel=DIRECT, subtype="message_changed", message=message, previous_message=before)) == ()
        )


def test_a_thread_that_keeps_its_replies_without_its_root_is_a_deletion() -> None:
    left = {"subtype": "tombstone", "user": "USLACKBOT", "text": "This message was deleted.", "ts": ROOT, "thread_ts": ROOT}
    found = only(event(type="message", channel=CHANNEL, subtype="message_changed", message=left, previous_message={"ts": ROOT}))

    assert found == Deletion(only(mention()).address, f"acme/T1/C1/{ROOT}")


def test_the_stop_button_stops_the_thread_and_the_conversation_around_it() -> None:
    found = heard(event(type="agent_session_stopped", channel=DIRECT, thread_ts=ROOT, user=ANNA, streaming_message_ts=[]))

    stops = [one.inbound for one in found if isinstance(one.inbound, Stop)]
    assert [stop.address for stop in stops] == [
        Address(platform="slack", tenant="acme", channel="acme/T1/D1", thread=thread) for thread in (ROOT, "")
    ]
    assert len({stop.logical_ids for stop in stops}) == 2


def test_a_repeat_of_the_stop_button_stops_no_newer_question(door: Door, redis_client: redis.Redis) -> None:
    stop = event("Ev9", type="agent_session_stopped", channel=DIRECT, thread_ts=ROOT, user=ANNA, streaming_message_ts=[])
    for number, fields in enumerate(({}, {"thread_ts": ROOT})):
        post(door, direct(ts=f"170000001{number}.000100", event_id=f"Ev{number}", **fields))
    post(door, stop)
    stopped = questions(redis_client)
    for number, fields in enumerate(({}, {"thread_ts": ROOT})):
        post(door, direct(ts=f"170000002{number}.000100", event_id=f"Ev2{number}", **fields))
    post(door, stop, **RETRY)

    assert stopped == []
    assert len(questions(redis_client)) == 2


def test_an_app_of_a_whole_organisation_is_found_by_it() -> None:
    body = direct()
    body["authorizations"][0] |= {"enterprise_id": "E1", "is_enterprise_install": True}

    assert only(body).address.channel == "acme/E1/D1"


def test_markup_becomes_plain_text() -> None:
    text = "<@UBOT>  is &lt;b&gt; in <#C2|general>, see <https://a.example/x|the page>, <https://b.example>, <!here> <@U2|bo>"

    assert only(mention(text)).text == "is <b> in #general, see the page (https://a.example/x), https://b.example, @here @bo"


@pytest.mark.parametrize(
    "body",
    [
        direct(ts=None),
        direct(ts=17),
        direct(ts="yesterday"),
        direct(channel=None),
        direct(channel="../C1"),
        direct(text=["a"]),
        direct(user={"id": "U"}),
        direct(thread_ts=5),
        {**direct(), "authorizations": "all"},
        {**direct(), "authorizations": [], "team_id": None},
        event(type="message", channel=DIRECT, subtype="message_changed"),
        event(type="message", channel=DIRECT, subtype="message_deleted"),
        {**direct(), "event": [1]},
    ],
)
def test_an_event_of_a_broken_shape_says_so(body: dict[str, Any]) -> None:
    with pytest.raises(UnparseableMessage):
        heard(body)


def test_a_command_is_a_lane_of_the_person_in_the_channel() -> None:
    form = {
        "command": "/ask",
        "text": "Where &amp; when?",
        "team_id": TEAM,
        "channel_id": CHANNEL,
        "user_id": ANNA,
        "trigger_id": "1.2",
    }
    (said,) = slack_events.command("acme", "acme", form)

    assert isinstance(said.inbound, InboundMessage)
    assert said.inbound.text == "Where & when?"
    assert (said.inbound.address.channel, said.inbound.address.thread) == ("acme/T1/C1", "/UANNA")
    assert slack_events.command("acme", "acme", {**form, "text": " "}) == ()


def test_a_press_of_our_buttons_is_feedback_on_the_turn() -> None:
    def pressed(action_id: str, value: str) -> dict[str, Any]:
        return {"type": "block_actions", "actions": [{"action_id": action_id, "value": value}]}

    (said,) = slack_presses.read("acme", "acme", pressed("replymill_feedback", "up:abc-1"))

    assert said.inbound == Feedback("abc-1", "up")
    for other in (pressed("other", "up:abc-1"), pressed("replymill_feedback", "x")):
        assert slack_presses.read("acme", "acme", other) == ()


def test_the_wish_for_a_person_or_an_end_is_heard() -> None:
    assert type(only(direct("/human"))).__name__ == "HandOver"
    assert isinstance(only(direct("stop")), Stop)


# -- signatures ----------------------------------------------------------------------------------------------------------------


def test_a_signature_of_openssl_is_taken() -> None:
    timestamp, raw = str(int(time.time())), b'{"a": "\xc3\xa9"}'
    signed = b"v0:" + timestamp.encode() + b":" + raw
    made = subprocess.run(["openssl", "dgst", "-sha256", "-hmac", SECRET], input=signed, capture_output=True, check=True).stdout
    headers = {"x-slack-request-timestamp": timestamp, "x-slack-signature": "v0=" + made.decode().split()[-1]}

    verify(SCHEME, (SECRET.encode(),), headers=headers, body=raw)


@given(timestamp=st.text() | st.integers().map(str), found=st.text(), raw=st.binary())
def test_junk_in_the_headers_is_rejected_and_nothing_else(timestamp: str, found: str, raw: bytes) -> None:
    headers = {"x-slack-request-timestamp": timestamp, "x-slack-signature": found}
    with pytest.raises(RejectedRequest):
        verify(SCHEME, (SECRET.encode(),), headers=headers, body=raw)


def test_a_stale_or_early_signature_is_refused(door: Door, redis_client: redis.Redis) -> None:
    raw = json.dumps(direct()).encode()
    statuses = {post(door, raw, **signature(raw, at=time.time() - age)).status_code for age in (-302, 302, 90_000)}

    assert statuses == {401}
    assert questions(redis_client) == []


def test_forged_and_malformed_requests_are_refused_without_500(door: Door, redis_client: redis.Redis) -> None:
    raw = json.dumps(direct()).encode()
    good = signature(raw)
    bad: list[dict[str, Any]] = [
        signature(raw, secret="another secret"),
        signature(raw + b" "),
        {"x-slack-signature": ""},
        {"x-slack-signature": good["x-slack-signature"].replace("v0=", "v1=")},
        {"x-slack-signature": good["x-slack-signature"].upper()},
        *({"x-slack-request-timestamp": junk} for junk in ("", "abc", "1e9", "-1", "9" * 400, "1700000000.5")),
    ]
    statuses = {post(door, raw, **headers).status_code for headers in bad}
    unsigned = door.http.post("/slack/acme/events", content=raw, headers={"content-type": "application/json"})
    unknown = post(door, raw, name="nobody")

    assert statuses == {401}
    assert unsigned.status_code == 401
    assert (unknown.status_code, unknown.content) == (unsigned.status_code, unsigned.content)
    assert questions(redis_client) == []


def test_signed_junk_is_refused_as_malformed(door: Door) -> None:
    texts = [b"not json", b"[1]", b'"text"', b"", b'{"a":1,"a":2}', b"[" * 5000, b'{"type":"url_verification"}']

    assert {post(door, raw).status_code for raw in (b"\xff\xfe", *texts)} == {400}


def test_a_signed_form_of_junk_is_refused_as_malformed(door: Door) -> None:
    for raw in (b"payload=%FF", b"payload=[1]", b"payload=", b"\xff", b"a"):
        headers = {"content-type": "application/x-www-form-urlencoded", **signature(raw)}
        assert door.http.post("/slack/acme/events", content=raw, headers=headers).status_code == 400


# -- over HTTP -----------------------------------------------------------------------------------------------------------------


def test_the_address_is_verified_with_its_challenge(door: Door) -> None:
    answer = post(door, {"type": "url_verification", "challenge": "c-1", "token": "t"})

    assert answer.status_code == 200
    assert "c-1" in answer.text


def test_a_question_is_durable_before_it_is_acknowledged(door: Door, redis_client: redis.Redis) -> None:
    assert post(door, direct()).status_code == 200
    assert questions(redis_client) == ["Where is my order?"]


def test_repeats_and_the_mention_beside_its_message_are_one_question(door: Door, redis_client: redis.Redis) -> None:
    reply = {"ts": "1700000005.000100", "thread_ts": ROOT, "text": "<@UBOT> and now?"}
    bodies = [mention(event_id="Ev1", **reply), spoken(event_id="Ev2", **reply)] * 5 + [mention(event_id="Ev1", **reply)]
    post(door, bodies[0])
    with ThreadPoolExecutor(11) as pool:
        statuses = set(pool.map(lambda body: post(door, body, **RETRY).status_code, bodies))

    assert statuses == {200}
    assert questions(redis_client) == ["and now?"]


def test_a_follow_up_is_heard_where_the_bot_was_mentioned_and_nowhere_else(door: Door, redis_client: redis.Redis) -> None:
    post(door, spoken("elsewhere", thread_ts=ROOT, event_id="Ev0"))
    post(door, mention())
    post(door, spoken("in the thread", thread_ts=ROOT, event_id="Ev2"))
    post(door, spoken("another thread", thread_ts="1600000000.000100", ts="1700000003.000300", event_id="Ev3"))

    assert questions(redis_client) == ["Where is my order?", "in the thread"]


def test_what_is_not_for_us_is_acknowledged_and_starts_nothing(door: Door, redis_client: redis.Redis) -> None:
    bodies = [
        {"type": "app_rate_limited", "team_id": TEAM, "minute_rate_limited": 1700000000, "api_app_id": "A1"},
        event(type="reaction_added", user=ANNA, item={"type": "message", "channel": CHANNEL, "ts": ROOT}),
        event(type="app_home_opened", user=ANNA, channel=DIRECT, tab="messages"),
        {"type": "something_new"},
        {},
        direct(bot_id="B1"),
        direct(subtype="channel_join"),
    ]

    assert {post(door, body).status_code for body in bodies} == {200}
    assert waiting(redis_client) == waiting(redis_client, Direction.OUT) == []


def test_a_verified_event_of_a_broken_shape_is_kept_once_and_acknowledged(door: Door, redis_client: redis.Redis) -> None:
    bodies = [
        direct(ts=5, event_id="Ev1"),
        direct(channel={"id": 5}, event_id="Ev2"),
        {**direct(), "event": "text", "event_id": "Ev3"},
        {**direct(), "authorizations": 5, "event_id": "Ev4"},
        {**direct(), "authorizations": [5], "event_id": "Ev5"},
        {**direct(), "team_id": {}, "event_id": "Ev6"},
    ]
    statuses = [post(door, body).status_code for body in bodies * 2]
    dead = [name for name in redis_client.scan_iter(match="rm:*dead:*") if redis_client.type(name) == b"hash"]

    assert statuses == [200] * 12
    assert len(dead) == 6
    assert questions(redis_client) == []


FIELDS = st.sampled_from(["id", "type", "text", "ts", "user", "channel", "team"])
ENVELOPE = st.sampled_from(["event", "authorizations", "team_id", "type", "team", "enterprise", "actions", "user", "event_id"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=3),
    max_leaves=6,
)


@given(field=ENVELOPE, junk=JSON)
@hypothesis_settings(max_examples=40, deadline=None)
def test_no_verified_body_is_answered_500(shared_door: Door, field: str, junk: Any) -> None:
    assert post(shared_door, {**direct(), field: junk}).status_code in (200, 400)
    payload = json.dumps({"type": "block_actions", "team": {"id": TEAM}, "actions": [], field: junk})
    assert post(shared_door, {"payload": payload}, form=True).status_code in (200, 400)


@pytest.fixture(scope="module")
def shared_door(_redis_servers: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    server = _redis_servers("6.2")
    with redis.Redis.from_url(server.url) as before:
        before.flushall()  # an earlier test had another secret key
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("slack"),
        redis_url=server.url,
        broker_url=server.url,
        secret_key="a secret key of the tests",
        api_keys=("an-api-key-of-the-tests",),
        port=embedded.free_port(),
    )
    with opened(with_app(settings)) as door:
        wait_for(lambda: ready(door))
        yield door


def test_while_redis_refuses_nothing_is_acknowledged_and_the_retry_is_taken_once(door: Door, redis_client: redis.Redis) -> None:
    redis_client.config_set("maxmemory", 1)
    try:
        away = [post(door, body).status_code for body in (direct(), mention(event_id="Ev9"))]
    finally:
        redis_client.config_set("maxmemory", 0)
    again = [post(door, direct(), **RETRY).status_code for _ in range(2)]

    assert away == [503, 503]
    assert again == [200, 200]
    assert questions(redis_client) == ["Where is my order?"]


def test_a_full_lane_is_taken_and_a_full_tenant_makes_slack_come_back(settings: Settings, redis_client: redis.Redis) -> None:
    with opened(
        with_app(dataclasses.replace(settings, lane_messages=1, tenant_messages=2, quiet_chat=0.0, quiet_chat_max=0.0))
    ) as door:
        wait_for(lambda: ready(door))
        full = [post(door, direct(ts=f"170000000{n}.000100", event_id=f"Ev{n}")).status_code for n in range(3)]
        others = [post(door, mention(ts=f"171000000{n}.000100", event_id=f"Ev1{n}")).status_code for n in range(2)]

    assert full == [200, 200, 200]
    assert others == [200, 503]
    assert sorted(questions(redis_client)) == ["Where is my order?"] * 2


def test_an_edit_changes_and_a_deletion_removes_what_was_not_answered(door: Door, redis_client: redis.Redis) -> None:
    post(door, mention())
    now = {"user": ANNA, "text": "<@UBOT> Where is order 17?", "ts": ROOT}
    before = {"user": ANNA, "text": "<@UBOT> Where is my order?", "ts": ROOT}
    fields: dict[str, Any] = {"type": "message", "channel": CHANNEL, "channel_type": "channel", "previous_message": before}
    post(door, event("Ev2", **fields, subtype="message_changed", message=now))
    edited = questions(redis_client)
    post(door, event("Ev3", **fields, subtype="message_deleted", deleted_ts=ROOT))

    assert edited == ["Where is order 17?"]
    assert questions(redis_client) == []


def test_a_command_is_taken_and_shown(door: Door, redis_client: redis.Redis) -> None:
    form = {"command": "/ask", "text": "Where?", "team_id": TEAM, "channel_id": CHANNEL, "user_id": ANNA, "trigger_id": "1.2"}
    asked, empty = post(door, form, form=True), post(door, {**form, "text": ""}, form=True)

    assert asked.status_code == 200
    assert asked.json()["response_type"] == "in_channel"
    assert empty.status_code == 200
    assert empty.json()["text"] == Settings().no_text
    assert questions(redis_client) == ["Where?"]


def test_a_press_of_a_button_is_kept_with_the_reply(door: Door, redis_client: redis.Redis) -> None:
    post(door, direct())
    message_id = Lanes(door.settings).message_id(only(direct()).address, f"acme/T1/D1/{ROOT}")
    action = {"type": "feedback_buttons", "action_id": "replymill_feedback", "block_id": "b", "value": f"down:{message_id}"}
    payload = {"type": "block_actions", "team": {"id": TEAM}, "user": {"id": ANNA}, "actions": [action]}

    assert post(door, {"payload": json.dumps(payload)}, form=True).status_code == 200


def test_the_environment_of_slacks_own_libraries_is_not_read(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "SLACK_BOT_TOKEN": "xoxb-other",
        "SLACK_CLIENT_ID": "1",
        "SLACK_CLIENT_SECRET": "2",
        "SLACK_SIGNING_SECRET": "3",
    }.items():
        monkeypatch.setenv(name, value)
    with opened(with_app(settings)) as door:
        wait_for(lambda: ready(door))

        assert post(door, direct()).status_code == 200
        assert door.http.get("/slack/acme/install").status_code == 404


def test_the_doctor_knocks_as_slack_does_and_starts_nothing(door: Door, redis_client: redis.Redis, slack: SlackServer) -> None:
    (asked,) = Slack(with_app(door.settings, slack.api), None).probes().items()
    answer = door.http.post(asked[0], content=asked[1].body, headers=dict(asked[1].headers))

    assert answer.status_code == 200
    assert waiting(redis_client) == []


def test_the_doctor_is_told_whether_the_token_works_and_what_it_lacks(settings: Settings, slack: SlackServer) -> None:
    def told(**fields: Any) -> Any:
        (found,) = use(settings, slack, lambda platform: platform.check(), **fields)
        return found

    well = told()
    slack.go_wrong("/auth.test", Fault(status=200, headers={"x-oauth-scopes": "chat:write,commands"}, body={"ok": True}))
    lacking = told()
    slack.refused[BOT] = "invalid_auth"
    refused = told()
    slack.go_wrong("/auth.test", Fault(status=503))

    assert well.ok
    assert "replymill in Acme" in well.found
    assert not lacking.ok
    assert "im:history" in lacking.found
    assert not refused.ok
    assert "invalid_auth" in refused.found
    with pytest.raises(RetryLater):
        told()


# -- sending -------------------------------------------------------------------------------------------------------------------


def delivery(text: str = "It is **on** its way.", *, channel: str = CHANNEL, thread: str = ROOT, **fields: Any) -> Delivery:
    address = Address(platform="slack", tenant="acme", channel=f"acme/T1/{channel}", thread=thread)
    reply = Reply(in_reply_to=("m1",), address=address, text=text, source=fields.pop("source", Source.MODEL))
    reply = msgspec.structs.replace(reply, choices=fields.pop("choices", ()))
    return Delivery(**{"id": "turn-1-0", "reply": reply, "parts": 1, **fields})


def use(settings: Settings, slack: SlackServer, body: Callable[[Slack], Awaitable[Any]], **fields: Any) -> Any:
    """Run `body` with a platform as a worker has it."""

    async def main() -> Any:
        client = redis.asyncio.Redis.from_url(settings.redis_url, protocol=2)
        platform = Slack(with_app(settings, slack.api, **fields), client)
        try:
            return await body(platform)
        finally:
            await platform.close()
            await client.aclose()

    return asyncio.run(main())


def sent(settings: Settings, slack: SlackServer, what: Delivery) -> Receipt:
    receipt: Receipt = use(settings, slack, lambda platform: platform.send(what))
    return receipt


def test_a_reply_is_posted_into_its_thread_once(settings: Settings, slack: SlackServer) -> None:
    receipt = sent(settings, slack, delivery())
    (call,) = slack.to("/chat.postMessage")
    body = call.body

    assert receipt == Receipt(delivery="turn-1-0", platform_id=slack.messages[CHANNEL][0]["ts"])
    assert (body["channel"], body["thread_ts"], body["text"].strip()) == (CHANNEL, ROOT, "It is *on* its way.")
    assert body["unfurl_links"] is False
    assert body["unfurl_media"] is False
    assert body["metadata"] == {"event_type": "replymill", "event_payload": {"answer_id": "turn-1-0"}}
    assert call.headers["authorization"] == f"Bearer {BOT}"
    assert "reply_broadcast" not in body


def test_nothing_in_a_reply_is_a_mention(settings: Settings, slack: SlackServer) -> None:
    sent(settings, slack, delivery("<!channel> <@U1> <https://evil.example|bank> & so"))
    raw = slack.to("/chat.postMessage")[0].raw

    assert b"<!channel>" not in raw
    assert b"<@U1>" not in raw
    assert b"<https://evil.example|bank>" not in raw


def test_slack_is_told_to_find_no_mentions_in_a_reply_by_itself(settings: Settings, slack: SlackServer) -> None:
    """Without `verbatim`, Slack looks for `@here`, `#general` and addresses in the text of a block."""
    sent(settings, slack, delivery("@here look at https://a.example/b"))
    (section, _) = slack.to("/chat.postMessage")[0].body["blocks"]

    assert section["text"]["verbatim"] is True
    assert section["text"]["text"] == "@here look at <https://a.example/b>"


def test_a_direct_message_is_answered_beside_it(settings: Settings, slack: SlackServer) -> None:
    sent(settings, slack, delivery(channel=DIRECT, thread=""))

    assert "thread_ts" not in slack.to("/chat.postMessage")[0].body


def test_buttons_stand_below_the_last_part_of_an_answer_alone(settings: Settings, slack: SlackServer) -> None:
    for what in (delivery(part=0, parts=2), delivery(part=1, parts=2), delivery(source=Source.FALLBACK)):
        sent(settings, slack, what)
    first, last, fixed = (call.body for call in slack.to("/chat.postMessage"))
    element = last["blocks"][-1]["elements"][0]

    assert "blocks" not in first
    assert "blocks" not in fixed
    assert element["type"] == "feedback_buttons"
    assert element["positive_button"]["value"] == "up:turn-1"


def test_a_slack_that_takes_no_blocks_gets_plain_text_once(settings: Settings, slack: SlackServer) -> None:
    slack.go_wrong("/chat.postMessage", Fault(status=200, body={"ok": False, "error": "invalid_blocks"}))
    sent(settings, slack, delivery())
    slack.go_wrong("/chat.postMessage", *[Fault(status=200, body={"ok": False, "error": "invalid_blocks"})] * 2)
    with pytest.raises(DeliveryRefused, match="invalid_blocks"):
        sent(settings, slack, delivery())

    assert ["blocks" in call.body for call in slack.to("/chat.postMessage")] == [True, False, True, False]


def test_a_long_reply_is_split_into_messages_that_slack_takes(settings: Settings, slack: SlackServer) -> None:
    text = (
        "\n\n".join(f"Paragraph {n} says this & that. " + "word " * 60 for n in range(40)) + "\n\n```\n" + "code\n" * 1500 + "```"
    )
    platform = Slack(with_app(settings, slack.api), None)
    parts = platform.split(text)
    for number, part in enumerate(parts):
        sent(settings, slack, delivery(part, part=number, parts=len(parts)))

    posted = slack.messages[CHANNEL]
    assert len(parts) > 3
    assert len(posted) == len(parts)
    assert all(len(one["text"]) <= 3_900 and one["thread_ts"] == ROOT for one in posted)


@pytest.mark.parametrize(
    ("fault", "expected", "after"),
    [
        (Fault(status=429, headers={"retry-after": "7"}, body={"ok": False, "error": "ratelimited"}), RetryLater, 7),
        (Fault(status=429, body={"ok": False, "error": "rate_limited"}), RetryLater, 0),
        (Fault(status=429, headers={"retry-after": "soon"}, body="slow down"), RetryLater, 0),
        (Fault(status=200, body={"ok": False, "error": "ratelimited"}), RetryLater, 0),
        (Fault(status=503, body="<html>away</html>"), RetryLater, 0),
        (Fault(status=500, body="<html>oops</html>"), Unclear, None),
        (Fault(status=500, body={"detail": "oops"}), Unclear, None),
        (Fault(status=200, body="<html>hello</html>"), Unclear, None),
        (Fault(status=200, body=[1]), Unclear, None),
        (Fault(status=200, body={"ok": False, "error": "internal_error"}), Unclear, None),
        (Fault(drop=True), Unclear, None),
        (Fault(drop=True, after_effect=True), Unclear, None),
        (Fault(status=404, body={"message": "Not Found"}), DeliveryRefused, None),
        *(
            (Fault(status=200, body={"ok": False, "error": code}), DeliveryRefused, None)
            for code in ("token_revoked", "account_inactive", "invalid_auth", "channel_not_found", "is_archived", "not_in_channel")
        ),
    ],
)
def test_what_goes_wrong_is_told_apart(
    settings: Settings, slack: SlackServer, fault: Fault, expected: type[Exception], after: float | None
) -> None:
    slack.go_wrong("/chat.postMessage", fault)
    with pytest.raises(expected) as caught:
        sent(settings, slack, delivery())

    assert after is None or (isinstance(caught.value, RetryLater) and caught.value.after == after)
    assert len(slack.to("/chat.postMessage")) == 1
    assert BOT not in str(caught.value)


def test_a_slack_that_cannot_be_reached_is_tried_again(settings: Settings, slack: SlackServer) -> None:
    with pytest.raises(RetryLater):
        use(settings, slack, lambda platform: platform.send(delivery()), api_base_url="http://127.0.0.1:9/api/")


def test_an_account_that_is_gone_refuses(settings: Settings, slack: SlackServer) -> None:
    what = delivery()
    with pytest.raises(DeliveryRefused, match="acme"):
        use(settings, slack, lambda platform: platform.send(what), name="other")


@pytest.mark.parametrize(("channel", "thread"), [(CHANNEL, ROOT), (DIRECT, ""), (CHANNEL, "/UANNA")])
def test_an_earlier_attempt_is_found_by_its_id(settings: Settings, slack: SlackServer, channel: str, thread: str) -> None:
    what = delivery(channel=channel, thread=thread)
    before = use(settings, slack, lambda platform: platform.find(what))
    slack.go_wrong("/chat.postMessage", Fault(drop=True, after_effect=True))
    with pytest.raises(Unclear):
        sent(settings, slack, what)
    found = use(settings, slack, lambda platform: platform.find(what))

    assert before is None
    assert found == Receipt(delivery=what.id, platform_id=slack.messages[channel][0]["ts"])


@pytest.mark.parametrize("code", ["not_in_channel", "channel_not_found"])
def test_the_reply_to_a_command_is_found_where_it_was_redirected_to(settings: Settings, slack: SlackServer, code: str) -> None:
    what = delivery(thread="/UANNA")
    slack.closed[CHANNEL] = code
    slack.go_wrong("/chat.postMessage", None, Fault(drop=True, after_effect=True))
    before = use(settings, slack, lambda platform: platform.find(what))
    with pytest.raises(Unclear):
        sent(settings, slack, what)
    found = use(settings, slack, lambda platform: platform.find(what))

    assert before is None
    assert found == Receipt(delivery=what.id, platform_id=slack.messages["DUANNA"][0]["ts"])


def test_the_reply_to_a_command_is_found_in_private_though_the_channel_is_read_again(
    settings: Settings, slack: SlackServer
) -> None:
    what = delivery(thread="/UANNA")
    slack.closed[CHANNEL] = "not_in_channel"
    sent(settings, slack, what)
    del slack.closed[CHANNEL]

    assert use(settings, slack, lambda platform: platform.find(what)) is not None


def test_an_earlier_attempt_is_found_behind_many_messages(settings: Settings, slack: SlackServer) -> None:
    for number in range(450):
        slack.messages.setdefault(CHANNEL, []).append({"ts": f"{int(time.time())}.{number:06d}", "thread_ts": ROOT, "text": "x"})
    sent(settings, slack, delivery())

    assert use(settings, slack, lambda platform: platform.find(delivery())) is not None


def test_a_slack_that_cannot_say_now_keeps_the_question_open(settings: Settings, slack: SlackServer) -> None:
    slack.go_wrong(
        "/conversations.replies", Fault(status=429, headers={"retry-after": "60"}, body={"ok": False, "error": "ratelimited"})
    )
    with pytest.raises(RetryLater) as raised:
        use(settings, slack, lambda platform: platform.find(delivery()))
    assert raised.value.after == 60
    slack.go_wrong("/conversations.replies", Fault(status=200, body={"ok": False, "error": "missing_scope"}))
    with pytest.raises(DeliveryRefused):
        use(settings, slack, lambda platform: platform.find(delivery()))


def test_limits_are_those_of_the_channel_and_of_the_workspace() -> None:
    platform = Slack(with_app(Settings()), None)
    channel, workspace = platform.limits(delivery())

    assert (channel.count, channel.seconds) == (1, 1.0)
    assert channel.bucket == ("slack", "acme", "acme", "T1", "C1")
    assert workspace.bucket == ("slack", "acme", "acme", "T1")
    assert workspace.seconds == 60.0


def test_a_hand_over_is_its_text_in_the_thread(settings: Settings, slack: SlackServer) -> None:
    receipt = sent(settings, slack, delivery("A person will answer.", action=Action.HAND_OVER, source=Source.FALLBACK))
    nothing = sent(settings, slack, delivery("", action=Action.HAND_OVER, source=Source.FALLBACK))

    assert receipt.platform_id
    assert nothing.platform_id == ""
    assert [one["text"].strip() for one in slack.messages[CHANNEL]] == ["A person will answer."]


def test_a_command_is_answered_in_the_channel_or_to_the_person_where_the_bot_is_not(settings: Settings, slack: SlackServer) -> None:
    sent(settings, slack, delivery(thread="/UANNA"))
    slack.closed[CHANNEL] = "not_in_channel"
    sent(settings, slack, delivery(thread="/UANNA"))

    assert "thread_ts" not in slack.messages[CHANNEL][0]
    assert len(slack.messages["DUANNA"]) == 1


def test_what_is_asked_below_the_reply_to_a_command_is_heard(door: Door, slack: SlackServer, redis_client: redis.Redis) -> None:
    receipt = sent(door.settings, slack, delivery(thread="/UANNA"))
    post(door, spoken("And tomorrow?", thread_ts=receipt.platform_id))

    assert questions(redis_client) == ["And tomorrow?"]


def test_a_reply_whose_fate_is_unclear_is_looked_for_and_never_sent_twice(
    settings: Settings, slack: SlackServer, redis_client: redis.Redis
) -> None:
    dropped, later = Fault(drop=True, after_effect=True), Fault(status=429, headers={"retry-after": "1"})
    slack.go_wrong("/chat.postMessage", dropped, later)
    slack.go_wrong("/conversations.replies", Fault(status=500))
    platform = Slack(with_app(settings, slack.api), None)
    threads = [ROOT, "1700000009.000100"]

    async def body(post: Post) -> None:
        for thread in threads:
            to = only(mention(thread_ts=thread, ts="1700000010.000100")).address
            post.desk.accept(to=to)
            lane = post.desk.take(shard=Lanes(settings).shard_of(to).number)
            post.desk.commit(lane, replies=1, to=to)
        await post.until(lambda: len(slack.messages.get(CHANNEL, [])) == 2 and waiting(redis_client, Direction.OUT) == [])

    delivering(settings, redis_client, platform, body)  # type: ignore[arg-type]

    assert sorted(one["thread_ts"] for one in slack.messages[CHANNEL]) == threads
    assert len(slack.to("/conversations.replies")) == 2


# -- choices ----------------------------------------------------------------------------------------------------

TOPICS = ("Delivery time", "Refund status", "x" * 200)


def press(choice: str = TOPICS[1], *, channel: str = CHANNEL, user: str = ANNA, **message: Any) -> dict[str, Any]:
    action = {"type": "button", "action_id": "replymill_choice_1", "block_id": "b", "value": choice, "action_ts": "1.2"}
    where = {"channel": {"id": channel}, "message": {"ts": "1700000002.000300", **message}}
    return {"type": "block_actions", "team": {"id": TEAM}, "user": {"id": user}, "actions": [action], **where}


def test_choices_are_buttons_below_the_text_and_a_list_for_notifications(settings: Settings, slack: SlackServer) -> None:
    sent(settings, slack, delivery("Which?", choices=TOPICS))
    said = slack.to("/chat.postMessage")[0].body
    (question, actions) = said["blocks"]

    assert question["text"]["text"] == "Which?"
    assert actions["type"] == "actions"
    assert [element["value"] for element in actions["elements"]] == list(TOPICS)
    assert [element["text"]["text"] for element in actions["elements"]] == [*TOPICS[:2], "x" * 74 + "\u2026"]
    assert len({element["action_id"] for element in actions["elements"]}) == 3
    assert "2. Refund status" in said["text"]


def test_a_press_of_a_choice_is_what_the_person_says_where_the_choices_stand() -> None:
    (in_thread,) = slack_presses.read("acme", "acme", press(thread_ts=ROOT))
    (direct_,) = slack_presses.read("acme", "acme", press(channel=DIRECT, thread_ts=ROOT))
    (wish,) = slack_presses.read("acme", "acme", press("Talk to a person"))

    assert isinstance(in_thread.inbound, InboundMessage)
    assert (in_thread.inbound.text, in_thread.inbound.sender) == ("Refund status", ANNA)
    assert in_thread.inbound.address == only(mention()).address
    assert direct_.inbound.address == only(direct()).address  # type: ignore[union-attr]
    assert (in_thread.thread, in_thread.below, direct_.below) == (None, "", ROOT)
    assert isinstance(wish.inbound, HandOver)


def test_a_choice_that_is_pressed_twice_is_one_message(door: Door, redis_client: redis.Redis) -> None:
    for _ in range(2):
        assert post(door, {"payload": json.dumps(press(thread_ts=ROOT))}, form=True).status_code == 200
    assert post(door, {"payload": json.dumps(press(thread_ts=ROOT, ts="x"))}, form=True).status_code == 200

    assert questions(redis_client) == ["Refund status"]
