"""Hand-overs by the answering loop: by policy, instead of an apology, while a reply is being made; and the operator's commands."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import redis
from msgspec import structs

from engine.errors import NoSuchMessage
from engine.handing import hand, recall, watch
from engine.handoff import BRIDGE, Hand, Reason, why
from engine.lanes import Lanes
from engine.messages import Action, Address, InboundMessage, Owner, Reply, Role, Source, Turn
from engine.moves import Accepted
from engine.settings import Settings
from engine.wordings import said, variants
from tests.desk import Desk, address
from tests.loops import Mill, mill, small
from tests.test_cli import environ, replymill  # noqa: F401 - fixtures
from workers import handoff_desk
from workers.watching import taken_back

pytestmark = pytest.mark.one_redis

#: In a support tool there is always somebody.
TICKET = Address(platform="zammad", tenant="acme", channel="desk", thread="7")


def put(mill: Mill, text: str, name: str, *, to: Address = TICKET, deadline: float = 300.0) -> Accepted:
    return mill.desk.put(InboundMessage(address=to, sender="ann", text=text, dedupe_ids=(name,)), deadline=deadline)


def with_bridge(settings: Settings, **changes: object) -> Settings:
    return dataclasses.replace(small(settings), bridge="slack:acme/C0STAFF", **changes)  # type: ignore[arg-type]


def owner(mill: Mill, to: Address = TICKET) -> Owner:
    lanes = mill.desk.lanes
    found = mill.desk.client.get(lanes.shard_of(to).owner(lanes.digests.lane(to)))
    return Owner(found.decode()) if found else Owner.BOT


def test_who_is_angry_is_handed_over_without_the_model(settings: Settings, tiny_model: Path, redis_client: redis.Redis) -> None:
    with mill(small(settings), tiny_model, redis_client) as running:
        accepted = put(running, "This is ridiculous!", "one")
        running.until(lambda: running.settled(accepted))
        (post,) = running.posted()
        assert (post.action, post.reply.text, post.id) == (Action.HAND_OVER, settings.handing_over, f"{accepted.id}-0")
        record = running.record(accepted.id)
        assert (record["state"], record["reason"]) == ("handed-over", "anger")
        assert owner(running) is Owner.WAITING
        assert [turn.role for turn in running.desk.history(TICKET)] == [Role.USER, Role.ASSISTANT]


def test_where_there_is_nobody_the_bot_answers_the_angry_too(
    settings: Settings, tiny_model: Path, redis_client: redis.Redis
) -> None:
    with mill(small(settings), tiny_model, redis_client) as running:
        accepted = put(running, "This is ridiculous!", "one", to=address())
        running.until(lambda: running.settled(accepted))
        assert running.record(accepted.id)["state"] == "answered"


def test_behind_the_bridge_a_thread_is_opened_with_the_hand_over(
    settings: Settings, tiny_model: Path, redis_client: redis.Redis
) -> None:
    with mill(with_bridge(settings), tiny_model, redis_client) as running:
        accepted = put(running, "This is ridiculous!", "one", to=address())
        running.until(lambda: running.settled(accepted))
        post, head = sorted(running.posted(), key=lambda one: one.reply.address.platform == BRIDGE)
        assert post.reply.address == address()
        assert head.action is Action.HAND_OVER
        assert "the user is angry" in head.reply.text
        assert "ann" in head.reply.text


def test_a_reply_that_is_being_made_is_suppressed_and_the_question_goes_to_the_people(
    settings: Settings, tiny_model: Path, redis_client: redis.Redis
) -> None:
    with mill(with_bridge(settings), tiny_model, redis_client) as running:
        accepted = put(running, "Where is it?", "one", to=address())
        running.until_running()
        move = Hand(address=address(), owner=Owner.WAITING, reason=Reason.ASKED, bridged=True)
        assert hand(running.desk.lanes, move).run(redis_client) == "bot"
        put(running, "And the other one?", "two", to=address())
        running.model.let_go()
        running.until(lambda: running.settled(accepted))
        assert running.record(accepted.id)["state"] == "handed-over"
        running.until(lambda: len(running.posted()) == 2)
        assert [one.reply.text for one in running.posted()] == ["**User:** Where is it?", "**User:** And the other one?"]
        assert [turn.text for turn in running.desk.history(address())] == ["Where is it?", "And the other one?"]


def test_what_cannot_be_answered_goes_to_a_person_instead_of_an_apology(
    settings: Settings, tiny_model: Path, redis_client: redis.Redis
) -> None:
    with mill(small(settings), tiny_model, redis_client) as running:
        accepted = put(running, "Where is it?", "one", deadline=60.0)
        lane = running.desk.take()
        assert lane.entries
        running.desk.advance(61)
        running.until(lambda: running.settled(accepted))
        record = running.record(accepted.id)
        assert (record["state"], record["reason"]) == ("handed-over", "error")
        assert owner(running) is Owner.WAITING


@pytest.mark.parametrize(
    ("language", "question", "angry"),
    [
        ("de", "Wo ist mein Paket, und wann kommt es?", "Das ist eine Frechheit! Wo ist es?"),
        ("zh", "我的包裹在哪里？", "我的包裹在哪里！！！！"),
        ("ar", "أين طردي الآن؟", "أين طردي الآن!!!!"),
    ],
)
def test_the_loops_say_everything_in_the_language_of_the_person(
    settings: Settings, tiny_model: Path, redis_client: redis.Redis, language: str, question: str, angry: str
) -> None:
    alone = address("alone")
    with mill(with_bridge(settings, tenants={"other": {"apology": "Not now."}}), tiny_model, redis_client) as running:
        own = running.desk.lanes.settings
        put(running, angry, "one")
        running.until(running.posted)
        assert running.posted()[0].reply.text == said(own, "handing_over", language)

        lanes = running.desk.lanes
        (shard,) = lanes.shards
        running.desk.advance(own.person_wait + 1)
        (held,) = watch(lanes, shard, due=False).run(redis_client)[1]
        assert taken_back(lanes, held, recall(lanes, held.address).run(redis_client).language).run(redis_client) == "waiting"
        assert said(own, "nobody_came", language) in [one.reply.text for one in running.posted()]

    with mill(small(settings, tenants={"other": {"apology": "Not now."}}), tiny_model, redis_client) as running:
        for to, words in ((alone, said(settings, "apology", language)), (address("other", tenant="other"), "Not now.")):
            accepted = put(running, question, f"late-{to.tenant}", to=to, deadline=60.0)
            assert running.desk.take().entries
            running.desk.advance(61)
            running.until(lambda accepted=accepted: running.settled(accepted))  # type: ignore[misc]
            assert running.record(accepted.id)["text"] == words


def test_errors_and_hand_overs_are_known_in_every_wording(settings: Settings) -> None:
    own = settings.for_tenant("acme")
    translated = dataclasses.replace(settings, tenants={"acme": {"apology": "Pardon!", "handing_over": "One moment."}})
    sorry = Reply(in_reply_to=("1",), address=TICKET, text="", source=Source.FALLBACK)
    for at in (own, translated.for_tenant("acme")):
        for text in variants(at, "apology"):
            assert why("Where?", (), structs.replace(sorry, text=text), at) is Reason.ERROR
        for text in variants(at, "handing_over"):
            turns = [Turn(role=Role.USER, text="Where?", at=1)] * 5 + [Turn(role=Role.ASSISTANT, text=text, at=2)]
            assert why("Where?", turns, None, at) is None
    assert variants(translated.for_tenant("acme"), "apology") == {"Pardon!"}


def test_eleven_wishes_make_one_hand_over(settings: Settings, redis_client: redis.Redis) -> None:
    desk = Desk(redis_client, Lanes(settings))
    move = Hand(address=address(), owner=Owner.WAITING, reason=Reason.ASKED)
    said = [hand(desk.lanes, move).run(desk.client) for _ in range(11)]
    assert said == ["bot", *["waiting"] * 10]
    ((only,),) = [watch(desk.lanes, shard, due=False).run(desk.client)[1] for shard in desk.lanes.shards]
    assert (only.address, only.owner, only.reason, only.bridged) == (address(), Owner.WAITING, "asked", False)


def test_an_operator_lists_takes_and_gives_back(settings: Settings, redis_client: redis.Redis) -> None:
    desk = Desk(redis_client, Lanes(settings))
    to = Address(platform="webhook", tenant="support", channel="support", thread="thread")
    desk.accept("Where is it?", to=to)
    assert handoff_desk.held(settings) == []
    with pytest.raises(NoSuchMessage, match="already"):
        handoff_desk.give_back(settings, "webhook/support/thread")
    assert handoff_desk.take(settings, "webhook/support/thread") == to
    assert redis_client.get(desk.shard.owner(desk.lanes.digests.lane(to))) == b"human"
    assert handoff_desk.give_back(settings, "webhook/support/thread") == to
    assert redis_client.exists(desk.shard.owner(desk.lanes.digests.lane(to))) == 0
    with pytest.raises(NoSuchMessage, match="nothing is known"):
        handoff_desk.take(settings, "webhook/support/nobody")


def test_the_command_line_lists_takes_and_gives_back(
    settings: Settings,
    redis_client: redis.Redis,
    replymill: Any,  # noqa: F811 - a fixture
) -> None:
    desk = Desk(redis_client, Lanes(settings))
    to = Address(platform="webhook", tenant="support", channel="support", thread="thread")
    hand(desk.lanes, Hand(address=to, owner=Owner.WAITING, reason=Reason.ASKED)).run(redis_client)
    variables = {"REPLYMILL_REDIS_URL": settings.redis_url, "REPLYMILL_SECRET_KEY": settings.secret_key, "COLUMNS": "160"}
    (row,) = json.loads(replymill("handoff", "list", "--json", **variables).stdout)
    assert (row["conversation"], row["owner"], row["why"]) == ("webhook/support/thread", "waiting", "asked")
    people = json.loads(replymill("status", "--json", **variables).stdout)["people"]
    assert people == {"waiting": 1, "since": row["since"]}
    assert "wait for a person" in replymill("status", **variables).stdout
    assert "webhook/support/thread: bot" in replymill("handoff", "give-back", "webhook/support/thread", **variables).stdout
    assert redis_client.exists(desk.shard.owner(desk.lanes.digests.lane(to))) == 0
    again = replymill("handoff", "give-back", "webhook/support/thread", **variables)
    assert again.returncode == 1
    assert "handoff list" in again.stderr
