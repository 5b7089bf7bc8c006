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
from engine.handing import hand
from engine.handoff import Hand, Reason
from engine.lanes import Lanes
from engine.messages import Address, Owner, Role, Turn
from engine.settings import Settings
from engine.wordings import said
from tests import test_slack, test_telegram
from tests.conftest import wait_for
from tests.desk import Desk
from tests.doors import Door, Receiver, opened, ready, with_endpoint
from tests.loops import posting
from tests.test_slack import with_app
from tests.test_telegram import with_bot
from workers import doctor_platforms

pytestmark = pytest.mark.one_redis

#: Makes messages; never started.
MESSAGES = SimulatedTelegram()
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

    def agent(self, text: str, root: str, *, event_id: str = "", ts: str = "", **fields: Any) -> None:
        """Somebody writes in a thread of the channel; while it is being opened Slack tries again."""
        number = next(self._count)
        said = test_slack.spoken(
            text,
            ts=ts or f"18000000{number:02}.000100",
            event_id=event_id or f"EvA{number}",
            channel=STAFF,
            thread_ts=root,
            **fields,
        )
        wait_for(lambda: test_slack.post(self.door, said).status_code == 200)

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


def test_who_asked_in_another_language_is_told_in_it_that_nobody_could_be_reached_or_came(scene: Scene) -> None:
    assert scene.slack is not None
    settings = scene.door.settings
    scene.slack.closed[STAFF] = "channel_not_found"
    scene.asks("转人工", conversation="wang")
    wait_for(lambda: len(scene.heard("wang")) == 2)
    assert scene.heard("wang") == [said(settings, "handing_over", "zh"), said(settings, "not_handed", "zh")]
    scene.slack.closed.clear()
    scene.asks("Ich möchte mit einem Menschen sprechen", conversation="eva")
    wait_for(scene.threads)
    (root,) = scene.threads()
    scene.agent("/done", root)
    wait_for(lambda: len(scene.heard("eva")) == 2)
    assert scene.heard("eva") == [said(settings, "handing_over", "de"), said(settings, "given_back", "de")]


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


# -- a group of Telegram --------------------------------------------------------------------------------------------------------


@pytest.fixture
def group(staged: tuple[ExitStack, Receiver, Settings], redis_client: redis.Redis) -> Scene:
    """With a bridge to a group of Telegram, by the bot that users write to as well."""
    stack, receiver, settings = staged
    telegram = stack.enter_context(SimulatedTelegram())
    with_webhook = with_bot(settings, api_base_url=telegram.url, webhook_url=test_telegram.HOOK)
    settings = dataclasses.replace(with_webhook, bridge=f"telegram:shop/{GROUP}", bridge_mention="@helpers")
    door = stack.enter_context(opened(settings))
    wait_for(lambda: ready(door) and telegram.commands)
    stack.enter_context(posting(settings))
    return Scene(door, Desk(redis_client, Lanes(settings)), receiver, telegram=telegram)


def posts(scene: Scene, chat: int) -> list[dict[str, Any]]:
    """What the bot wrote in a chat."""
    assert scene.telegram is not None
    return [one for one in scene.telegram.sent if int(one["chat_id"]) == chat]


def push(scene: Scene, content: dict[str, Any]) -> None:
    """An update, sent again as Telegram does until it is taken."""
    wait_for(lambda: test_telegram.push(scene.door, content).status_code == 200)


def answers(scene: Scene, text: str, to: int, **fields: Any) -> dict[str, Any]:
    """Somebody in the group answers a message of the bot."""
    assert scene.telegram is not None
    bot = {"id": test_telegram.ME, "is_bot": True, "first_name": "Shop"}
    replied = scene.telegram.message("before", chat=GROUP) | {"message_id": to, "from": bot}
    return {
        "update_id": next(scene._count) + 50_000,
        "message": scene.telegram.message(text, chat=GROUP, reply_to_message=replied, **fields),
    }


def wishes_a_person(scene: Scene, chat: int = 42) -> dict[str, Any]:
    """A user asks for a person; what opens the thread."""
    before = len(posts(scene, GROUP))
    push(scene, test_telegram.command("/human", chat=chat, sender=chat))
    wait_for(lambda: len(posts(scene, GROUP)) > before and posts(scene, chat))
    return posts(scene, GROUP)[before]


def test_a_user_of_telegram_talks_to_a_person_in_a_group_by_a_chain_of_replies(group: Scene) -> None:
    head = wishes_a_person(group)
    assert "telegram shop/42" in head["seen"]
    push(group, test_telegram.update("My parcel is late"))
    wait_for(lambda: len(posts(group, GROUP)) == 2)
    assert posts(group, GROUP)[1]["reply_parameters"]["message_id"] == head["message_id"]

    push(group, answers(group, "I look into it.", head["message_id"]))
    push(group, answers(group, "It comes tomorrow.", posts(group, GROUP)[1]["message_id"]))
    wait_for(lambda: len(posts(group, 42)) == 3)
    assert [one["seen"] for one in posts(group, 42)][1:] == ["I look into it.", "It comes tomorrow."]

    push(group, answers(group, "/done@ShopBot", head["message_id"]))
    wait_for(lambda: len(posts(group, 42)) == 4)
    assert posts(group, 42)[3]["seen"] == group.door.settings.given_back


def test_in_a_forum_each_conversation_has_a_topic(group: Scene) -> None:
    assert group.telegram is not None
    group.telegram.forums.add(GROUP)
    first, second = wishes_a_person(group, 42), wishes_a_person(group, 43)
    assert len(group.telegram.topics) == 2
    assert first["message_thread_id"] != second["message_thread_id"]
    topic = {"is_topic_message": True, "message_thread_id": second["message_thread_id"]}
    content = {"update_id": 77_000, "message": group.telegram.message("To the second.", chat=GROUP, **topic)}
    for _ in range(3):
        push(group, content)
    wait_for(lambda: len(posts(group, 43)) == 2)
    assert (posts(group, 43)[1]["seen"], len(posts(group, 42))) == ("To the second.", 1)
    push(group, test_telegram.update("Thanks", chat=43, sender=43))
    wait_for(lambda: len(posts(group, GROUP)) == 3)
    assert posts(group, GROUP)[2]["message_thread_id"] == second["message_thread_id"]


def test_what_is_said_in_the_group_elsewhere_starts_nothing(group: Scene) -> None:
    head = wishes_a_person(group)
    entity = test_telegram.entity("@ShopBot what is this?", "@ShopBot")
    push(group, {"update_id": 78_001, "message": MESSAGES.message("@ShopBot what is this?", chat=GROUP, entities=[entity])})
    push(group, {"update_id": 78_000, "message": MESSAGES.message("/help", chat=GROUP)})
    push(group, answers(group, "by a bot", head["message_id"], **{"from": {"id": 9, "is_bot": True, "first_name": "Other"}}))
    push(group, answers(group, "between us", 1))
    push(group, answers(group, "The end.", head["message_id"]))
    wait_for(lambda: len(posts(group, 42)) == 2)
    assert posts(group, 42)[1]["seen"] == "The end."
    assert len(posts(group, GROUP)) == 1


def test_doctor_tells_whether_the_bot_is_where_people_answer(settings: Settings) -> None:
    with SlackServer() as slack, SimulatedTelegram() as telegram:
        in_slack = dataclasses.replace(with_app(settings, slack.api), bridge=f"slack:acme/{STAFF}")
        in_group = dataclasses.replace(with_bot(settings, api_base_url=telegram.url), bridge=f"telegram:shop/{GROUP}")

        def look(chosen: Settings) -> list[tuple[bool, str]]:
            return [(one.ok, one.found) for one in doctor_platforms.look(chosen) if one.what.startswith("bridge ")]

        assert look(in_slack) == [(True, "the bot is in #support")]
        slack.outside.add(STAFF)
        assert look(in_slack) == [(False, f"the bot is not in {STAFF}")]
        assert look(in_group) == [(True, "a group: answer by replying")]
        telegram.forums.add(GROUP)
        assert look(in_group) == [(True, "a forum: one topic for each conversation")]
        telegram.status = "member"
        assert look(in_group) == [(False, "the bot may not open topics")]
        telegram.unknown.add(GROUP)
        ((ok, found),) = look(in_group)
        assert (ok, "chat not found" in found.lower()) == (False, True)


def test_words_of_an_agent_that_cannot_be_delivered_are_told_to_the_agents(scene: Scene) -> None:
    root = handed_over(scene)
    wait_for(scene.heard)
    scene.receiver.answers = [(410, {}, b"")] * 3
    scene.agent("Are you there?", root)
    wait_for(lambda: len(scene.threads()[root]) == 2)
    assert scene.threads()[root][1].startswith("The user did not get this:")
    assert scene.owner() == "human"


def test_long_turns_do_not_keep_a_thread_from_being_opened(group: Scene) -> None:
    said = tuple(Turn.kept(Role.USER, "🙂" * 390 + str(number), at=number) for number in range(8))
    move = Hand(address=chat_of(42), owner=Owner.HUMAN, reason=Reason.AGENT, turns=said)
    hand(group.desk.lanes, move).run(group.desk.client)
    hand(group.desk.lanes, Hand(address=chat_of(42), owner=Owner.BOT, reason=Reason.DONE)).run(group.desk.client)
    head = wishes_a_person(group)
    assert "7" in head["seen"]
    assert head["seen"].endswith("gives the conversation back to the bot.")


def chat_of(chat: int) -> Address:
    return Address(platform="telegram", tenant="shop", channel=f"shop/{chat}")


def test_who_asks_for_a_person_on_the_chat_page_gets_one_behind_the_bridge(scene: Scene) -> None:
    cookie = scene.door.http.get("/").headers["set-cookie"].partition(";")[0]
    body = {"tab": "t" * 16, "text": "/human", "id": "i" * 16}
    answer = scene.door.http.post("/page/messages", json=body, headers={"cookie": cookie, "origin": scene.door.url})
    assert answer.status_code == 202
    wait_for(scene.threads)
    ((head,),) = scene.threads().values()
    assert "the user asked for a person" in head
