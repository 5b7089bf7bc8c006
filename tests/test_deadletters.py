"""What was given up is kept with all that was tried, and goes back once, in order, because a person wants it."""

import asyncio
import dataclasses
import threading
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from engine.errors import DeliveryRefused, NoSuchLetter, NotReplayable, RetryLater, Unclear
from engine.keys import Direction
from engine.lanes import Lanes
from engine.letters import Letter
from engine.messages import Address, Delivery, Owner, Receipt
from engine.settings import Settings
from tests import lane_probe
from tests.desk import Desk, address, message, texts
from tests.loops import Cuts, Mailbox, Post, cut_client, delivering, mill, queue, small, waiting
from workers import deadletters
from workers.deadletters import Choice
from workers.outcomes import undelivered

RAW = [
    b"no header at all",
    b"one two three four five\nlooks like a header and is none",
    b"\xff \xfe 1 2 3\nbytes that are no text",
    b"id 1 2 3 4\nthe body of an entry",
    b"",
    b"\n",
]


@pytest.fixture
def desk(settings: Settings, redis_client: redis.Redis) -> Desk:
    return Desk(redis_client, Lanes(settings))


def give_up(desk: Desk, *words: str, thread: str = "thread") -> list[str]:
    """Messages of one conversation that became dead letters one by one, each with its apology; their ids."""
    ids = []
    for text in words:
        accepted = desk.accept(text, to=address(thread))
        lane = next(lane for lane in desk.claim().lanes if lane.entries[0].id == accepted.id)
        assert (
            desk.commit(lane, replies=1, to=address(thread), dead="3 attempts failed", record={"state": "apologised"})
            == "committed"
        )
        ids.append(accepted.id)
    return ids


def _in_channel(name: str) -> Address:
    return address(channel=name)


def letters_of(settings: Settings, **choice: object) -> list[Letter]:
    return deadletters.chosen(settings, Choice(**choice))  # type: ignore[arg-type]


def replayed(settings: Settings, **choice: object) -> list[str]:
    """What became of replaying the letters that are meant, oldest first."""
    return [said for _, said in deadletters.replay(settings, letters_of(settings, **choice))]


@pytest.mark.one_redis
@pytest.mark.parametrize("raw", RAW, ids=range(len(RAW)))
def test_a_dead_letter_is_listed_whatever_its_bytes_are(settings: Settings, desk: Desk, raw: bytes) -> None:
    desk.lanes.bury(address(), "m1", raw, reason="no message we know").run(desk.client)
    (letter,) = deadletters.dead_letters(settings)
    assert letter["reason"] == "no message we know"
    assert letter["bytes"] == len(raw)
    assert letter["text"] == ("the body of an entry" if raw.startswith(b"id 1") else raw.decode(errors="replace"))
    assert (letter["platform"], letter["replayable"]) == ("", False)


@given(st.binary(max_size=60), st.sampled_from(Direction))
def test_any_bytes_can_be_shown(raw: bytes, direction: Direction) -> None:
    shard = Lanes(Settings(secret_key="k" * 16)).shards[0]
    letter = Letter(id="a", shard=shard, direction=direction, ref="t.c", reason="", at=1, attempts=0, tried=(), entry=raw)
    assert isinstance(deadletters.described(letter)["text"], str)


def test_dead_letters_of_both_directions_are_listed_the_newest_first(settings: Settings, desk: Desk) -> None:
    accepted = desk.accept("hello")
    desk.fail(2)
    desk.commit(desk.take(), replies=1, dead="3 attempts failed")
    desk.advance(5)
    lane = desk.take(Direction.OUT)
    assert (
        desk.lanes.commit(lane, undelivered(lane, "the chat is gone", desk.lanes.settings, tried="the chat is gone")).run(
            desk.client
        )
        == "committed"
    )
    newest, oldest = deadletters.dead_letters(settings)
    assert (newest["id"], newest["direction"], newest["reason"]) == (f"{accepted.id}-0", "out", "the chat is gone")
    assert (newest["attempts"], [one["reason"] for one in newest["tried"]]) == (1, ["the chat is gone"])
    assert (oldest["id"], oldest["direction"], oldest["attempts"]) == (accepted.id, "in", 2)
    assert (oldest["text"], oldest["platform"], oldest["channel"], oldest["thread"]) == ("hello", "webhook", "support", "thread")


@pytest.mark.one_redis
def test_a_letter_whose_time_is_over_is_not_listed_though_the_index_still_names_it(settings: Settings, desk: Desk) -> None:
    desk.client.zadd(desk.shard.dead_index, {"gone": 1})
    assert deadletters.dead_letters(settings) == []


def test_a_letter_tells_every_attempt_that_failed_with_its_time_and_reason(settings: Settings, desk: Desk) -> None:
    desk.accept("hello")
    desk.release(desk.take(), failed=True, reason="the model\nbroke")
    desk.take()
    desk.advance(settings.lease + 1)
    desk.sweep()
    desk.commit(desk.take(), dead="3 attempts failed", tried="and broke again")
    (letter,) = letters_of(settings)
    said = [one.reason for one in letter.tried]
    assert said == ["the model broke", "the worker did not come back: its lease ran out", "and broke again"]
    assert letter.attempts == 3
    assert [one.at for one in letter.tried] == sorted(one.at for one in letter.tried)


@pytest.mark.one_redis
def test_of_many_attempts_the_latest_are_kept_and_a_settled_message_leaves_none_to_the_next(settings: Settings, desk: Desk) -> None:
    to = address()
    first = desk.accept("first", to=to)
    second = desk.accept("second", to=to)
    for number in range(30):
        lane = next(iter(desk.claim().lanes), None) or desk.take()
        desk.release(lane, failed=False, reason=f"attempt {number} " + "x" * 1000)
    lane = desk.take()
    one = dataclasses.replace(lane, entries=lane.entries[:1])
    desk.commit(one, dead="given up")
    desk.commit(desk.take(), dead="given up too")
    kept = {letter.id: letter.tried for letter in letters_of(settings)}
    assert [one.reason.split(" x")[0] for one in kept[first.id]] == [f"attempt {number}" for number in range(10, 30)]
    assert max(len(one.reason) for one in kept[first.id]) <= 200
    assert kept[second.id] == ()


def test_replayed_messages_are_answered_in_the_order_of_their_acceptance_behind_what_waits(settings: Settings, desk: Desk) -> None:
    ids = give_up(desk, "one", "two", "three")
    desk.accept("waiting")
    assert replayed(settings, ids=(ids[2][:12], ids[0])) == ["replayed", "replayed"]
    lane = desk.take()
    assert texts(lane) == ["waiting", "one", "three"]
    assert [letter.id for letter in letters_of(settings)] == [ids[1]]
    assert desk.commit(lane, replies=1) == "committed"
    lane_probe.audit(desk.client, desk.lanes)


def test_a_replayed_message_waits_again_with_a_new_deadline_until_it_is_answered(
    settings: Settings, desk: Desk, tiny_model: Path
) -> None:
    (dead,) = give_up(desk, "What is a lamp?")
    assert replayed(settings) == ["replayed"]
    assert desk.lanes.look(dead).run(desk.client).state == "waiting"
    lane = desk.take()
    assert lane.entries[0].deadline - lane.entries[0].received_at == settings.deadline_webhook * 1000
    assert lane.attempts == 0
    desk.release(lane)
    with mill(small(settings), tiny_model, desk.client) as it:
        it.until(lambda: it.record(dead).get("state") == "answered")
        assert [delivery.id for delivery in it.posted()] == [f"{dead}-0", f"{dead}-0"]  # the apology, and the answer


def test_a_platform_that_repeats_a_replayed_message_gets_no_second_answer(settings: Settings, desk: Desk) -> None:
    desk.accept("hello", "m1", "m1 by its other name")
    desk.commit(desk.take(), dead="given up")
    desk.advance(settings.dedupe_ttl + 1)
    replayed(settings)
    assert desk.accept("hello", "m1").verdict == "repeat"
    assert desk.accept("hello", "m1 by its other name").verdict == "repeat"
    assert texts(desk.take()) == ["hello"]


def test_a_worker_that_still_holds_what_was_given_up_can_commit_nothing_to_the_replay(settings: Settings, desk: Desk) -> None:
    desk.accept("hello")
    stale = desk.take()
    desk.advance(settings.lease + 1)
    desk.sweep()
    desk.commit(desk.take(), dead="given up")
    replayed(settings)
    assert desk.commit(stale, replies=1) == "changed"
    assert desk.commit(desk.take(), replies=1) == "committed"


def test_what_is_replayed_while_a_person_answers_goes_to_history(settings: Settings, desk: Desk, tiny_model: Path) -> None:
    (dead,) = give_up(desk, "hello")
    desk.own(Owner.HUMAN)
    assert replayed(settings) == ["replayed"]
    with mill(small(settings), tiny_model, desk.client) as it:
        it.until(lambda: it.record(dead).get("state") == "handed-over")
    assert desk.history()[-1].text == "hello"


def test_operators_who_replay_at_once_replay_each_letter_once(settings: Settings, desk: Desk) -> None:
    for thread in range(8):
        give_up(desk, *(f"{thread}.{number}" for number in range(15)), thread=str(thread))
    found = letters_of(settings)
    said: list[str] = []

    def operate() -> None:
        said.extend(word for _, word in deadletters.replay(settings, found))

    operators = [threading.Thread(target=operate) for _ in range(4)]
    for one in operators:
        one.start()
    for one in operators:
        one.join(30)
    assert sorted(set(said)) == ["replayed", "waiting"]
    assert said.count("replayed") == len(found) == 120
    lanes = desk.claim(items=100, tokens=10**6).lanes
    assert sorted(texts(lane) for lane in lanes) == [[f"{thread}.{number}" for number in range(15)] for thread in range(8)]
    assert letters_of(settings) == []


def test_letters_of_one_millisecond_keep_the_order_in_which_they_waited(settings: Settings, desk: Desk) -> None:
    for thread in range(30):
        pipeline = [f"{thread}.{number}" for number in range(12)]
        give_up(desk, *pipeline, thread=str(thread))
    deadletters.replay(settings, letters_of(settings))
    for lane in desk.claim(items=100, tokens=10**6).lanes:
        said = texts(lane)
        assert said == sorted(said, key=lambda text: int(text.partition(".")[2]))


def test_a_replay_whose_reply_was_lost_is_whole_and_repeated_without_harm(settings: Settings, desk: Desk) -> None:
    give_up(desk, "one", "two")
    found = letters_of(settings)
    deadletters.letters.replay(desk.lanes, desk.shard, []).run(desk.client)  # the server knows the script from now on
    cuts = Cuts(after={0})
    with cut_client(settings.redis_url, cuts) as client:
        contents = [(letter, letter.content()) for letter in found]
        call = deadletters.letters.replay(desk.lanes, desk.shard, contents)
        with pytest.raises(Exception, match="cannot be reached"):
            call.run(client)
    assert [said for _, said in deadletters.replay(settings, found)] == ["waiting", "waiting"]
    assert texts(desk.take()) == ["one", "two"]


MOVES = ("give up", "replay", "replay all", "drop", "answer")


@pytest.mark.one_redis
@examples(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moves=st.lists(
        st.tuples(st.sampled_from(("give up", "replay", "replay all", "drop", "answer")), st.integers(0, 5)), max_size=30
    )
)
def test_whatever_people_and_workers_do_a_message_is_in_one_place_and_the_lanes_hold(
    settings: Settings, redis_client: redis.Redis, moves: list[tuple[str, int]]
) -> None:
    redis_client.flushall()
    desk = Desk(redis_client, Lanes(settings))
    alive = [desk.accept(f"{number}", to=address(str(number % 2))).id for number in range(6)]
    for move, number in moves:
        found = letters_of(settings)
        if move == "give up":
            for lane in desk.claim(items=1).lanes:
                desk.commit(dataclasses.replace(lane, entries=lane.entries[:1]), dead="given up")
        elif move == "replay" and found:
            deadletters.replay(settings, [found[number % len(found)]] * 2)
        elif move == "replay all":
            deadletters.replay(settings, found)
        elif move == "drop" and found:
            gone = found[number % len(found)]
            deadletters.drop(settings, [gone])
            alive.remove(gone.id)
        elif move == "answer":
            for lane in desk.claim(items=1).lanes:
                desk.commit(lane)
                alive = [id_ for id_ in alive if id_ not in {entry.id for entry in lane.entries}]
        lane_probe.audit(redis_client, desk.lanes)
        queued = lane_probe.queues(lane_probe.snapshot(redis_client, desk.shard), Direction.IN)
        kept = [entry.id for entries in queued.values() for entry in entries] + [letter.id for letter in letters_of(settings)]
        assert sorted(kept) == sorted(alive)


class Asked(Mailbox):
    """A platform that can be asked."""

    def __init__(self) -> None:
        super().__init__(idempotent=False)
        self.asked: list[str] = []

    async def find(self, delivery: Delivery) -> Receipt | None:
        self.asked.append(delivery.id)
        return Receipt(delivery=delivery.id, platform_id="there") if delivery.id in self.posted else None


def test_a_replayed_reply_keeps_its_id_and_a_platform_that_has_it_is_sent_nothing(settings: Settings, desk: Desk) -> None:
    mailbox = Asked()
    quick = dataclasses.replace(settings, delivery_attempts=1)

    async def body(post: Post) -> None:
        mailbox.script = [Unclear("the connection broke"), DeliveryRefused("no")]
        (there,) = queue(post.desk, address("a"), "there")
        await post.until(lambda: len(letters_of(settings)) == 1)
        (missing,) = queue(post.desk, address("b"), "missing")
        await post.until(lambda: len(letters_of(settings)) == 2)
        mailbox.posted.append(there)  # the first send had taken effect
        found = letters_of(settings)
        assert await asyncio.to_thread(deadletters.replay, settings, found) == [(letter, "replayed") for letter in found]
        await post.until(lambda: not waiting(post.desk))
        assert (mailbox.posted, sorted(mailbox.asked)) == ([there, missing], sorted((there, missing)))
        assert post.desk.lanes.look(missing.removesuffix("-0")).run(post.desk.client).record["state"] == "delivered"

    delivering(quick, desk.client, mailbox, body)


@pytest.mark.one_redis
def test_a_person_who_replays_decides_where_a_platform_cannot_be_asked(settings: Settings, desk: Desk) -> None:
    mailbox = Mailbox(idempotent=False)
    careful = dataclasses.replace(settings, delivery_attempts=1, unclear="at-most-once")

    async def body(post: Post) -> None:
        mailbox.script = [Unclear("the connection broke")]
        (one,) = queue(post.desk, address(), "once")
        await post.until(lambda: letters_of(settings))
        assert (await asyncio.to_thread(replayed, settings)) == ["replayed"]
        await post.until(lambda: not waiting(post.desk))
        assert mailbox.posted == [one]

    delivering(careful, desk.client, mailbox, body)


@pytest.mark.one_redis
def test_a_reply_that_is_given_up_again_tells_what_was_tried_since(settings: Settings, desk: Desk) -> None:
    mailbox = Mailbox()
    quick = dataclasses.replace(settings, delivery_attempts=2)

    async def body(post: Post) -> None:
        mailbox.script = [RetryLater("busy", after=0.001), RetryLater("still busy", after=0), RetryLater("down", after=0)]
        queue(post.desk, address(), "text")
        await post.until(lambda: letters_of(settings))
        (letter,) = letters_of(settings)
        assert [one.reason for one in letter.tried] == ["busy", "still busy", "down"]
        assert letter.attempts == 2
        mailbox.script = [DeliveryRefused("gone for good")]
        await asyncio.to_thread(replayed, settings)
        await post.until(lambda: letters_of(settings))
        (letter,) = letters_of(settings)
        assert [one.reason for one in letter.tried] == ["gone for good"]

    delivering(quick, desk.client, mailbox, body)


def test_an_edited_letter_is_replayed_with_its_new_text(settings: Settings, desk: Desk) -> None:
    (dead,) = give_up(desk, "helo")
    (letter,) = letters_of(settings)
    assert deadletters.edit(settings, letter, "hello") == "edited"
    assert deadletters.edit(settings, letter, "hullo") == "changed"
    assert deadletters.replay(settings, [letter]) == [(letter, "changed")]
    assert replayed(settings, ids=(dead,)) == ["replayed"]
    assert texts(desk.take()) == ["hello"]


@pytest.mark.one_redis
def test_an_edit_that_is_no_utf_8_is_refused_in_one_sentence(settings: Settings, desk: Desk) -> None:
    give_up(desk, "helo")
    (letter,) = letters_of(settings)
    with pytest.raises(NotReplayable, match="is not UTF-8; nothing was changed"):
        deadletters.edit(settings, letter, "hello \udcff")


def test_bytes_that_were_never_a_message_are_replayed_only_after_an_edit_makes_them_one(settings: Settings, desk: Desk) -> None:
    desk.lanes.bury(address(), "m1", b'{"text": 5}', reason="`text` is no text").run(desk.client)
    (letter,) = letters_of(settings)
    with pytest.raises(NotReplayable, match=r"is no message .*`text` is no text.*shown and dropped"):
        deadletters.replay(settings, [letter])
    with pytest.raises(NotReplayable, match=r"would be no message .*nothing was changed"):
        deadletters.edit(settings, letter, "not JSON")
    good = message("five", "m1").encode().decode()
    assert deadletters.edit(settings, letter, good) == "edited"
    assert replayed(settings) == ["replayed"]
    assert texts(desk.take()) == ["five"]
    assert desk.accept("five", "m1").verdict == "repeat"


@pytest.mark.one_redis
def test_bytes_that_claim_to_be_a_message_of_another_conversation_are_not_replayed(settings: Settings, desk: Desk) -> None:
    forged = message("say this", "m1", to=address(tenant="somebody else")).encode()
    desk.lanes.bury(address(), "the request", forged, reason="not JSON").run(desk.client)
    (letter,) = letters_of(settings)
    assert not deadletters.described(letter)["replayable"]
    with pytest.raises(NotReplayable, match="is no message"):
        deadletters.replay(settings, [letter])
    assert not desk.claim().lanes
    assert deadletters.edit(settings, letter, message("five", "m2").encode().decode()) == "edited"
    assert replayed(settings) == ["replayed"]


@pytest.mark.one_redis
def test_a_conversation_takes_no_more_replays_than_messages_and_the_rest_stay_letters(
    settings: Settings, redis_client: redis.Redis
) -> None:
    narrow = dataclasses.replace(settings, lane_messages=5)
    desk = Desk(redis_client, Lanes(narrow))
    give_up(desk, *map(str, range(7)))
    assert replayed(narrow) == ["replayed"] * 5 + ["full"] * 2
    lane = desk.take()
    assert texts(lane) == ["0", "1", "2", "3", "4"]
    desk.commit(lane)
    assert replayed(narrow) == ["replayed"] * 2
    assert texts(desk.take()) == ["5", "6"]


@pytest.mark.one_redis
def test_a_letter_that_came_again_as_a_proper_message_is_not_replayed(settings: Settings, desk: Desk) -> None:
    desk.lanes.bury(address(), "the request", b"junk", reason="junk").run(desk.client)
    (letter,) = letters_of(settings)
    deadletters.edit(settings, letter, message("hello", "m1").encode().decode())
    desk.accept("hello", "m1")
    desk.commit(desk.take())
    assert replayed(settings) == ["known"]


@pytest.mark.one_redis
def test_an_edit_cannot_send_bytes_to_another_shard(settings: Settings, redis_client: redis.Redis) -> None:
    split = dataclasses.replace(settings, shards=8)
    desk = Desk(redis_client, Lanes(split))
    here = address(channel="a")
    there = next(to for to in map(_in_channel, "bcdefgh") if desk.lanes.shard_of(to) != desk.lanes.shard_of(here))
    desk.lanes.bury(here, "m1", b"junk", reason="junk").run(redis_client)
    (letter,) = letters_of(split)
    with pytest.raises(NotReplayable, match="would be a message of another conversation; nothing was changed"):
        deadletters.edit(split, letter, message("hello", "m1", to=there).encode().decode())


@pytest.mark.one_redis
def test_an_unknown_id_is_named_in_one_sentence_and_a_short_one_asks_for_more(settings: Settings, desk: Desk) -> None:
    ids = give_up(desk, *map(str, range(40)))
    with pytest.raises(NoSuchLetter, match=r"no dead letter 'nobody': `replymill dead list`"):
        letters_of(settings, ids=("nobody",))
    first = next(one[0] for one in ids if sum(other.startswith(one[0]) for other in ids) > 1)
    with pytest.raises(NoSuchLetter, match=rf"dead letters begin with '{first}'"):
        letters_of(settings, ids=(first,))


@pytest.mark.one_redis
def test_letters_are_chosen_by_platform_reason_and_age(settings: Settings, desk: Desk) -> None:
    (old,) = give_up(desk, "old")
    client, name = desk.client, desk.shard.dead(old)
    client.hset(name, "at", int(client.hget(name, "at")) - 7_200_000)
    (young,) = give_up(desk, "young")
    desk.lanes.bury(address(), "m1", b"junk", reason="No message we know").run(client)
    buried = desk.lanes.message_id(address(), "m1")

    def ids(**choice: str) -> set[str]:
        return {letter.id for letter in letters_of(settings, **choice)}

    assert ids(platform="webhook") == {old, young}
    assert ids(platform="slack") == set()
    assert ids(reason="no MESSAGE") == {buried}
    assert ids(older="1h") == {old}
    assert ids(newer="1h", platform="webhook") == {young}
    assert ids(older="1h", reason="3 attempts") == {old}
    with pytest.raises(ValueError, match="write it as 90s, 30m, 2h or 7d"):
        ids(older="yesterday")


@pytest.mark.one_redis
def test_what_is_dropped_is_gone_and_drops_once(settings: Settings, desk: Desk) -> None:
    give_up(desk, "one", "two")
    first, second = letters_of(settings)
    assert deadletters.drop(settings, [first]) == [(first, True)]
    assert deadletters.drop(settings, [first, second]) == [(first, False), (second, True)]
    assert deadletters.replay(settings, [second]) == [(second, "gone")]
    assert (letters_of(settings), desk.backlog()[0].messages) == ([], 0)
