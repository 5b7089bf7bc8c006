"""Slack over a socket of ours, and replies that are shown while they are made."""

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import redis

from connectors.simulators.server import Fault
from connectors.simulators.slack import Slack as SlackServer
from connectors.slack import Slack
from connectors.slack_posting import split
from engine.errors import RetryLater, Unclear
from engine.lanes import Lanes
from engine.messages import Address
from engine.settings import Settings
from tests.conftest import wait_for
from tests.doors import Door, opened, ready
from tests.test_slack import CHANNEL, DIRECT, ROOT, delivery, direct, questions, use, with_app

pytestmark = pytest.mark.one_redis

APP: dict[str, Any] = {"app_token": "xapp-of-the-tests"}
THREAD = Address(platform="slack", tenant="acme", channel=f"acme/T1/{DIRECT}", thread=ROOT)


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with SlackServer() as server:
        yield server


@pytest.fixture
def door(settings: Settings, slack: SlackServer) -> Iterator[Door]:
    with opened(with_app(settings, slack.api, **APP)) as door:
        wait_for(lambda: ready(door))
        wait_for(lambda: slack.sockets)
        yield door


def envelope(number: int, payload: Any, kind: str = "events_api") -> dict[str, Any]:
    return {"type": kind, "envelope_id": f"e-{number}", "payload": payload, "accepts_response_payload": True}


def refusals(client: Any) -> int:
    """How many commands Redis has answered with an error."""
    return sum(kind["count"] for kind in client.info("errorstats").values())


# -- Socket Mode ---------------------------------------------------------------------------------------------------------------


def test_an_envelope_is_acknowledged_once_it_is_durable(door: Door, slack: SlackServer, redis_client: redis.Redis) -> None:
    slack.push(envelope(1, direct()))
    wait_for(lambda: slack.acknowledged == ["e-1"])
    slack.push(envelope(2, direct()))
    wait_for(lambda: slack.acknowledged == ["e-1", "e-2"])

    assert door.settings
    assert questions(redis_client) == ["Where is my order?"]


@pytest.mark.usefixtures("door")
def test_what_is_not_for_us_or_broken_is_acknowledged_on_a_socket_too(slack: SlackServer, redis_client: redis.Redis) -> None:
    bodies: list[Any] = [direct(bot_id="B1"), direct(ts=5), {**direct(), "event": "text"}, {"type": "app_rate_limited"}]
    for number, body in enumerate(bodies):
        slack.push(envelope(number, body))
    wait_for(lambda: len(slack.acknowledged) == len(bodies))

    assert questions(redis_client) == []


@pytest.mark.usefixtures("door")
def test_a_command_over_a_socket_is_taken(slack: SlackServer, redis_client: redis.Redis) -> None:
    form = {"command": "/ask", "text": "Where?", "team_id": "T1", "channel_id": CHANNEL, "user_id": "U1", "trigger_id": "1.2"}
    slack.push(envelope(1, form, "slash_commands"))
    wait_for(lambda: slack.acknowledged)

    assert questions(redis_client) == ["Where?"]


@pytest.mark.usefixtures("door")
def test_nothing_is_acknowledged_on_a_socket_while_redis_refuses(slack: SlackServer, redis_client: redis.Redis) -> None:
    redis_client.config_set("maxmemory", 1)
    try:
        before = refusals(redis_client)
        slack.push(envelope(1, direct()))
        wait_for(lambda: refusals(redis_client) > before)
        slack.push(envelope(2, {"type": "app_rate_limited"}))
        wait_for(lambda: slack.acknowledged == ["e-2"])
    finally:
        redis_client.config_set("maxmemory", 0)
    slack.push(envelope(3, direct()))
    wait_for(lambda: slack.acknowledged == ["e-2", "e-3"])

    assert questions(redis_client) == ["Where is my order?"]


@pytest.mark.usefixtures("door")
def test_a_socket_that_slack_wants_back_is_opened_anew(slack: SlackServer, redis_client: redis.Redis) -> None:
    slack.push({"type": "disconnect", "reason": "refresh_requested"})
    wait_for(lambda: len(slack.sockets) == 2)
    slack.push(envelope(1, direct()))
    wait_for(lambda: slack.acknowledged == ["e-1"])

    assert questions(redis_client) == ["Where is my order?"]


def test_a_slack_that_is_away_at_first_is_listened_to_later(settings: Settings, slack: SlackServer) -> None:
    missing, refused = Fault(status=404, body={"message": "Not Found"}), Fault(status=200, body={"ok": False, "error": "x"})
    slack.go_wrong("/apps.connections.open", Fault(drop=True), missing, refused)
    with opened(with_app(settings, slack.api, **APP)) as door:
        wait_for(lambda: slack.sockets)

        assert door.http.get("/healthz").status_code == 200


def test_without_a_token_for_sockets_nothing_is_listened_to(settings: Settings, slack: SlackServer) -> None:
    async def nothing(_: Any) -> Any:
        return None

    async def listened(platform: Slack) -> None:
        await asyncio.wait_for(platform.listen(nothing), 5)

    use(settings, slack, listened)

    assert slack.calls == []


# -- showing -------------------------------------------------------------------------------------------------------------------


def shown(settings: Settings, slack: SlackServer, *texts: str, then: str = "", to: Address = THREAD) -> Any:
    """Show the texts one after the other, then send the reply."""

    async def body(platform: Slack) -> Any:
        for text in texts:
            await platform.show(to, "turn-1", text)
        channel = to.channel.rpartition("/")[2]
        return await platform.send(delivery(then, channel=channel, thread=to.thread)) if then else None

    return use(settings, slack, body)


def methods(slack: SlackServer) -> list[str]:
    return [call.path.rpartition("/")[2] for call in slack.calls]


def test_a_status_is_shown_below_the_question(settings: Settings, slack: SlackServer) -> None:
    channel = Address(platform="slack", tenant="acme", channel=f"acme/T1/{CHANNEL}", thread=ROOT)
    shown(settings, slack, "", to=channel)

    assert slack.status == {(CHANNEL, ROOT): "is thinking..."}


def test_a_reply_grows_in_one_message_and_ends_as_the_reply(settings: Settings, slack: SlackServer) -> None:
    receipt = shown(settings, slack, "", "It is", "It is on", "It is on its", then="It is on its way.")
    (message,) = slack.messages[DIRECT]

    assert methods(slack)[-4:] == ["chat.startStream", "chat.appendStream", "chat.appendStream", "chat.stopStream"]
    assert message["text"] == "It is on its way."
    assert receipt.platform_id == message["ts"]
    assert message["metadata"]["event_payload"] == {"answer_id": "turn-1-0"}
    assert message["blocks"][0]["type"] == "context_actions"


def test_a_reply_that_turned_out_otherwise_takes_the_place_of_what_was_shown(settings: Settings, slack: SlackServer) -> None:
    shown(settings, slack, "It is", then="Nobody knows.")
    (message,) = slack.messages[DIRECT]

    assert message["text"].strip() == "Nobody knows."
    assert message["metadata"]["event_payload"] == {"answer_id": "turn-1-0"}


@pytest.mark.parametrize("missing", ["chat.appendStream", "chat.stopStream"])
def test_a_stream_that_breaks_ends_as_the_reply_all_the_same(settings: Settings, slack: SlackServer, missing: str) -> None:
    slack.go_wrong(f"/{missing}", *[Fault(status=200, body={"ok": False, "error": "message_not_in_streaming_state"})] * 9)
    shown(settings, slack, "It is", "It is on", then="It is on its way.")
    texts = [one["text"].strip() for one in slack.messages[DIRECT]]

    assert texts == ["It is on its way."]


@pytest.mark.parametrize("methods_missing", [{"chat.startStream", "assistant.threads.setStatus"}])
def test_a_slack_without_the_niceties_gets_one_plain_message(
    settings: Settings, slack: SlackServer, methods_missing: set[str]
) -> None:
    slack.missing = methods_missing
    shown(settings, slack, "", "It is", "It is on", then="It is on its way.")

    assert methods(slack).count("chat.startStream") == 1
    assert methods(slack).count("chat.postMessage") == 1
    assert len(slack.messages[DIRECT]) == 1


@pytest.mark.parametrize(
    "to",
    [
        Address(platform="slack", tenant="acme", channel=f"acme/T1/{CHANNEL}", thread=ROOT),
        Address(platform="slack", tenant="acme", channel=f"acme/T1/{DIRECT}"),
        Address(platform="slack", tenant="acme", channel="gone/T1/D1", thread=ROOT),
    ],
)
def test_nothing_grows_where_it_would_disturb_or_cannot_be(settings: Settings, slack: SlackServer, to: Address) -> None:
    shown(settings, slack, "It is", to=to)

    assert slack.calls == []


@pytest.mark.parametrize("texts", [(), ("It is",)])
def test_what_comes_late_to_be_shown_begins_no_message_beside_the_reply(
    settings: Settings, slack: SlackServer, texts: tuple[str, ...]
) -> None:
    shown(settings, slack, *texts, then="It is on its way.")
    shown(settings, slack, "It is on")

    assert [one["text"].strip() for one in slack.messages[DIRECT]] == ["It is on its way."]


def test_a_beginning_whose_place_got_lost_is_taken_back_when_the_reply_is_posted(settings: Settings, slack: SlackServer) -> None:
    slack.go_wrong("/chat.startStream", Fault(drop=True, after_effect=True))
    shown(settings, slack, "It is", "It is on", then="It is on its way.")

    assert [one["text"].strip() for one in slack.messages[DIRECT]] == ["It is on its way."]
    assert methods(slack).count("chat.startStream") == 1


@pytest.mark.parametrize(("delay", "posted"), [(0.3, 0), (1.6, 1)])
def test_a_beginning_that_is_on_its_way_becomes_the_reply_or_takes_itself_back(
    settings: Settings, slack: SlackServer, delay: float, posted: int
) -> None:
    slack.go_wrong("/chat.startStream", Fault(delay=delay))

    async def body(platform: Slack) -> None:
        showing = asyncio.create_task(platform.show(THREAD, "turn-1", "It is"))
        while not slack.to("/chat.startStream"):  # noqa: ASYNC110 - the server's thread fills it
            await asyncio.sleep(0.01)
        await platform.send(delivery("It is on its way.", channel=DIRECT, thread=ROOT))
        await showing

    use(settings, slack, body)

    assert [one["text"].strip() for one in slack.messages[DIRECT]] == ["It is on its way."]
    assert methods(slack).count("chat.postMessage") == posted


def test_what_is_longer_than_a_message_stops_growing_and_is_posted_in_parts(settings: Settings, slack: SlackServer) -> None:
    text = "A sentence of some words. " * 300
    first, *_ = split(text)
    shown(settings, slack, "A sentence", text, then=first)

    assert methods(slack).count("chat.appendStream") == 0
    assert len(slack.messages[DIRECT]) == 1


def test_a_slack_that_asks_for_a_pause_gets_it(settings: Settings, slack: SlackServer) -> None:
    slack.go_wrong("/chat.startStream", Fault(status=429, headers={"retry-after": "9"}, body={"ok": False, "error": "ratelimited"}))
    with pytest.raises(RetryLater) as caught:
        shown(settings, slack, "It is")

    assert caught.value.after == 9


def test_workers_together_begin_no_more_streams_in_a_workspace_than_slack_takes(settings: Settings, slack: SlackServer) -> None:
    async def body(platform: Slack, first: int) -> None:
        await asyncio.gather(*(platform.show(THREAD, f"turn-{number}", "It is") for number in range(first, first + 12)))

    for first in (0, 12):
        use(settings, slack, partial(body, first=first))

    assert 12 < len(slack.to("/chat.startStream")) <= 20


def test_a_direct_message_is_answered_growing_in_its_own_thread(door: Door, slack: SlackServer) -> None:
    slack.push(envelope(1, direct()))
    wait_for(lambda: slack.acknowledged)
    to = Address(platform="slack", tenant="acme", channel=f"acme/T1/{DIRECT}")
    turn = Lanes(door.settings).message_id(to, f"acme/T1/{DIRECT}/{ROOT}")

    async def body(platform: Slack) -> None:
        await platform.show(to, turn, "")
        await platform.show(to, turn, "It is")
        for part, text in enumerate(("It is on its way.", "And there is more.")):
            await platform.send(delivery(text, channel=DIRECT, thread="", id=f"{turn}-{part}", part=part, parts=2))

    use(door.settings, slack, body)
    first, second = slack.messages[DIRECT]

    assert slack.status == {(DIRECT, ROOT): "is thinking..."}
    assert (first["text"], first["thread_ts"]) == ("It is on its way.", ROOT)
    assert (second["text"].strip(), second["thread_ts"]) == ("And there is more.", ROOT)


def test_a_direct_message_that_cannot_grow_is_answered_plainly_and_found_in_its_thread(door: Door, slack: SlackServer) -> None:
    slack.push(envelope(1, direct()))
    wait_for(lambda: slack.acknowledged)
    to = Address(platform="slack", tenant="acme", channel=f"acme/T1/{DIRECT}")
    turn = Lanes(door.settings).message_id(to, f"acme/T1/{DIRECT}/{ROOT}")
    what = delivery(channel=DIRECT, thread="", id=f"{turn}-0")
    slack.missing = {"chat.startStream", "assistant.threads.setStatus"}

    async def body(platform: Slack) -> Any:
        await platform.show(to, turn, "It is")
        return await platform.send(what), await platform.find(what)

    sent, found = use(door.settings, slack, body)

    assert sent == found
    assert [one["thread_ts"] for one in slack.messages[DIRECT]] == [ROOT]
    assert len(slack.to("/conversations.replies")) == 1


@pytest.mark.parametrize("left", [False, True])
def test_a_replacement_whose_fate_is_unclear_never_makes_two_replies(settings: Settings, slack: SlackServer, left: bool) -> None:
    slack.go_wrong("/chat.update", Fault(drop=True, after_effect=True))
    slack.go_wrong("/chat.delete", Fault(status=500) if left else None)
    if left:
        with pytest.raises(Unclear):
            shown(settings, slack, "It is", then="Nobody knows.")
        assert use(settings, slack, lambda platform: platform.find(delivery("Nobody knows.", channel=DIRECT))) is not None
    else:
        shown(settings, slack, "It is", then="Nobody knows.")

    assert [one["text"].strip() for one in slack.messages[DIRECT]] == ["Nobody knows."]
