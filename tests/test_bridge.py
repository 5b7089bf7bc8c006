"""The bridge: people in a channel of Slack or a group of Telegram answer users of any platform, on real lanes and real loops."""

import dataclasses
import itertools
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis

from connectors.simulators.server import Fault
from connectors.simulators.slack import Slack as SlackServer
from connectors.simulators.telegram import SimulatedTelegram
from engine.lanes import Lanes
from engine.messages import Address, Role
from engine.settings import Settings
from tests import test_slack
from tests.conftest import wait_for
from tests.desk import Desk
from tests.doors import Door, Receiver, opened, ready, with_endpoint
from tests.loops import posting
from tests.test_slack import with_app

pytestmark = pytest.mark.one_redis

STAFF = "C0STAFF"
GROUP = -1_009_999


@dataclass
class Scene:
    """A web process, a delivery loop, a webhook's receiver, and people behind the bridge."""

    door: Door
    desk: Desk
    receiver: Receiver
    slack: SlackServer | None = None
    telegram: SimulatedTelegram | None = None
    _count: Any = field(default_factory=itertools.count)

    def asks(self, text: str, *, conversation: str = "ann", message_id: str = "") -> Any:
        """A user writes to the webhook."""
        body = {"conversation": conversation, "text": text, "user": conversation}
        answer = self.door.post(body, message_id=message_id or f"msg_{next(self._count)}")
        assert answer.status_code == 202
        return answer.json()

    def heard(self, conversation: str = "ann") -> list[str]:
        """What the user got, in order."""
        datas = [json.loads(one["raw"])["data"] for one in self.receiver.received]
        return [data["text"] for data in datas if data["conversation"] == conversation]

    def threads(self) -> dict[str, list[str]]:
        """The texts in the channel, by the root of their thread."""
        assert self.slack is not None
        found: dict[str, list[str]] = {}
        for message in self.slack.messages.get(STAFF, []):
            found.setdefault(message.get("thread_ts") or message["ts"], []).append(message["text"])
        return found

    def agent(self, text: str, root: str, *, event_id: str = "", ts: str = "", **fields: Any) -> Any:
        """Somebody writes in a thread of the channel."""
        number = next(self._count)
        said = test_slack.spoken(
            text,
            ts=ts or f"18000000{number:02}.000100",
            event_id=event_id or f"EvA{number}",
            channel=STAFF,
            thread_ts=root,
            **fields,
        )
        answer = test_slack.post(self.door, said)
        assert answer.status_code == 200
        return answer

    def owner(self, conversation: str = "ann") -> str:
        lanes, address = self.desk.lanes, user(conversation)
        found = self.desk.client.get(lanes.shard_of(address).owner(lanes.digests.lane(address)))
        return (found or b"bot").decode()


def user(conversation: str = "ann") -> Address:
    return Address(platform="webhook", tenant="shop", channel="shop", thread=conversation)


@pytest.fixture
def staged(settings: Settings) -> Iterator[tuple[ExitStack, Receiver, Settings]]:
    with ExitStack() as stack:
        receiver = stack.enter_context(Receiver())
        quick = dataclasses.replace(settings, lease=2.0, send_timeout=0.9, shards=2)
        yield stack, receiver, with_endpoint(quick, callback_url=receiver.url, callback_private=True)


@pytest.fixture
def scene(staged: tuple[ExitStack, Receiver, Settings], redis_client: redis.Redis) -> Scene:
    """With a bridge to Slack."""
    stack, receiver, settings = staged
    slack = stack.enter_context(SlackServer())
    settings = dataclasses.replace(with_app(settings, slack.api), bridge=f"slack:acme/{STAFF}", bridge_mention="<!here>")
    door = stack.enter_context(opened(settings))
    wait_for(lambda: ready(door))
    stack.enter_context(posting(settings))
    return Scene(door, Desk(redis_client, Lanes(settings)), receiver, slack)


def handed_over(scene: Scene, conversation: str = "ann") -> str:
    """The root of the thread of a conversation that is handed over."""
    before = set(scene.threads())
    scene.asks("/human", conversation=conversation)
    wait_for(lambda: set(scene.threads()) - before)
    return (set(scene.threads()) - before).pop()


def test_a_user_of_a_webhook_talks_to_a_person_in_slack_and_is_given_back(scene: Scene) -> None:
    root = handed_over(scene)
    wait_for(scene.heard)
    head = scene.threads()[root][0]
    assert scene.heard() == [scene.door.settings.handing_over]
    assert "the user asked for a person" in head
    assert "webhook shop ann" in head

    scene.asks("My parcel <!channel> is *late*")
    wait_for(lambda: len(scene.threads()[root]) == 2)
    assert scene.threads()[root][1].startswith("*User:* My parcel &lt;!channel&gt;")
    assert scene.owner() == "waiting"

    scene.agent("I am looking into it.", root)
    scene.agent("It comes tomorrow.", root)
    wait_for(lambda: len(scene.heard()) == 3)
    assert scene.heard()[1:] == ["I am looking into it.", "It comes tomorrow."]
    assert scene.owner() == "human"
    assert [turn.role for turn in scene.desk.history(user())] == [Role.USER, Role.AGENT, Role.AGENT]

    scene.agent("!done", root)
    wait_for(lambda: len(scene.heard()) == 4)
    assert scene.heard()[3] == scene.door.settings.given_back
    wait_for(lambda: len(scene.threads()[root]) == 3)
    assert scene.owner() == "bot"
    assert scene.asks("Thanks")["state"] == "accepted"


def test_a_repeated_event_of_an_agent_reaches_the_user_once(scene: Scene) -> None:
    root = handed_over(scene)
    for copy in range(11):
        scene.agent("Hello!", root, event_id=f"EvCopy{copy % 2}", ts="1900000000.000100")
    scene.agent("The end.", root)
    wait_for(lambda: "The end." in scene.heard())
    assert scene.heard()[1:] == ["Hello!", "The end."]


def test_eleven_copies_of_the_wish_for_a_person_open_one_thread(scene: Scene) -> None:
    for _ in range(11):
        scene.asks("/human", message_id="msg_same")
    scene.asks("talk to a person", message_id="msg_other")
    wait_for(lambda: scene.heard() and scene.threads())
    scene.asks("hello?")
    wait_for(lambda: any("hello" in text for texts in scene.threads().values() for text in texts))
    assert len(scene.threads()) == 1
    assert scene.heard() == [scene.door.settings.handing_over]


def test_two_conversations_have_threads_of_their_own(scene: Scene) -> None:
    first, second = handed_over(scene, "ann"), handed_over(scene, "bob")
    scene.agent("To Bob.", second)
    scene.agent("To Ann.", first)
    wait_for(lambda: len(scene.heard("ann")) == len(scene.heard("bob")) == 2)
    assert (scene.heard("ann")[1], scene.heard("bob")[1]) == ("To Ann.", "To Bob.")
    scene.asks("I am Bob", conversation="bob")
    wait_for(lambda: len(scene.threads()[second]) == 2)
    assert len(scene.threads()[first]) == 1


def test_what_is_said_in_the_channel_elsewhere_or_by_the_bot_starts_nothing(scene: Scene) -> None:
    root = handed_over(scene)
    assert scene.desk.backlog()[0].messages == 0
    scene.agent("between us", "1600000000.000100")
    scene.agent("the bot itself", root, user="UBOT")
    scene.agent("another bot", root, bot_id="B9")
    mention = test_slack.mention("<@UBOT> What is this?", ts="1600000001.000100", event_id="EvM", channel=STAFF)
    assert test_slack.post(scene.door, mention).status_code == 200
    scene.agent("The end.", root)
    wait_for(lambda: "The end." in scene.heard())
    assert scene.heard()[1:] == ["The end."]
    assert all(
        backlog.messages == 0
        for backlog in (scene.desk.lanes.backlog(one).run(scene.desk.client)[0] for one in scene.desk.lanes.shards)
    )


def test_a_thread_whose_opening_was_cut_off_is_found_again(scene: Scene) -> None:
    assert scene.slack is not None
    scene.slack.go_wrong("/chat.postMessage", Fault(drop=True, after_effect=True))
    root = handed_over(scene)
    answer = test_slack.post(
        scene.door, test_slack.spoken("Too early?", ts="1900000000.000200", event_id="EvE", channel=STAFF, thread_ts=root)
    )
    assert answer.status_code in (200, 503)
    wait_for(lambda: scene.slack is not None and scene.slack.to("/conversations.history"))

    def through() -> bool:
        scene.agent("I am here.", root, event_id="EvI", ts="1900000000.000300")
        return "I am here." in scene.heard()

    wait_for(through)
    assert len(scene.threads()) == 1
    assert scene.heard().count("I am here.") == 1


def test_a_hand_over_that_cannot_be_posted_goes_back_to_the_bot_and_the_user_is_told(scene: Scene) -> None:
    assert scene.slack is not None
    scene.slack.closed[STAFF] = "channel_not_found"
    scene.asks("/human")
    wait_for(lambda: len(scene.heard()) == 2)
    assert scene.heard() == [scene.door.settings.handing_over, scene.door.settings.not_handed]
    assert scene.owner() == "bot"


def test_whoever_is_not_picked_up_is_called_out_once_and_goes_back_to_the_bot(scene: Scene) -> None:
    root = handed_over(scene)
    wait = scene.door.settings.person_wait
    scene.desk.advance(wait + 1)
    wait_for(lambda: len(scene.threads()[root]) == 2)
    assert scene.threads()[root][1].startswith("<!here> ")
    assert scene.owner() == "waiting"
    scene.desk.advance(wait + 1)
    wait_for(lambda: len(scene.heard()) == 2)
    assert scene.heard()[1] == scene.door.settings.nobody_came
    wait_for(lambda: len(scene.threads()[root]) == 3)
    assert scene.owner() == "bot"
    assert scene.desk.client.zcard(f"{scene.desk.lanes.shard_of(user()).prefix}handed") == 0


def test_a_person_who_falls_silent_is_relieved_by_the_bot(scene: Scene) -> None:
    root = handed_over(scene)
    scene.agent("Just a moment.", root)
    wait_for(lambda: len(scene.heard()) == 2)
    scene.desk.advance(scene.door.settings.person_idle * 3600 + 1)
    wait_for(lambda: len(scene.heard()) == 3)
    assert scene.heard()[2] == scene.door.settings.given_back
    assert scene.owner() == "bot"


def test_a_file_of_an_agent_is_not_passed_on_and_the_agent_is_told(scene: Scene) -> None:
    root = handed_over(scene)
    scene.agent("See here", root, subtype="file_share", files=[{"id": "F1", "mimetype": "image/png"}])
    wait_for(lambda: len(scene.heard()) == 2 and len(scene.threads()[root]) == 2)
    assert scene.heard()[1] == "See here"
    assert scene.threads()[root][1].startswith("Files are not passed on")


def test_an_agent_who_writes_again_after_giving_back_takes_the_conversation(scene: Scene) -> None:
    root = handed_over(scene)
    scene.agent("/done", root)
    wait_for(lambda: scene.owner() == "bot")
    scene.agent("One more thing.", root)
    wait_for(lambda: "One more thing." in scene.heard())
    assert scene.owner() == "human"
