"""Every move of the lanes, one rule a test, on both servers. After each test everything that must hold between moves is checked."""

import asyncio
import dataclasses
import itertools
import threading
import time
from collections.abc import Iterator

import pytest
import redis

from engine.keys import Direction
from engine.lanes import Lanes
from engine.messages import Delivery, InboundMessage, Owner, Role, Turn
from engine.moves import Lane, Outcome, Settled, Verdict, estimate
from engine.settings import Settings
from engine.store import connect_async
from tests import lane_probe
from tests.conftest import wait_for
from tests.desk import Desk, address, message, reply, texts

IN, OUT = Direction.IN, Direction.OUT
LEASE = 30.0
LONG = "a long question " * 100


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return dataclasses.replace(settings, lane_messages=5, lane_bytes=4096, tenant_messages=40, delivery_attempts=3, history_turns=4)


@pytest.fixture
def desk(settings: Settings, redis_client: redis.Redis) -> Iterator[Desk]:
    """Audited at the end."""
    desk = Desk(redis_client, Lanes(settings))
    yield desk
    lane_probe.audit(redis_client, desk.lanes)


def other_desk(desk: Desk, **changed: object) -> Desk:
    """Another worker, or one with other settings."""
    return Desk(desk.client, Lanes(dataclasses.replace(desk.lanes.settings, **changed)))  # type: ignore[arg-type]


# -- accept ---------------------------------------------------------------------------------------------------------------------


def test_a_message_waits_until_it_is_claimed_with_its_times_and_its_body(desk: Desk) -> None:
    accepted = desk.accept("where is my order?", "one", "two", deadline=120.0)

    lane = desk.take()

    (entry,) = lane.entries
    assert accepted.verdict is Verdict.ACCEPTED
    assert accepted.id == entry.id == desk.lanes.message_id(address(), "one")
    assert (lane.owner, lane.attempts, lane.intent, lane.history) == (Owner.BOT, 0, "", ())
    assert entry.deadline - entry.received_at == 120_000
    assert abs(entry.received_at - time.time() * 1000) < 5_000
    assert entry.cost == estimate("where is my order?")
    inbound = InboundMessage.from_entry(entry)
    assert (inbound.text, inbound.sender, inbound.dedupe_ids, inbound.revision) == ("where is my order?", "ann", ("one", "two"), 0)


@pytest.mark.parametrize("known", ["one", "two", "three"])
def test_a_repeat_by_any_of_its_logical_ids_is_dropped_and_names_the_first(desk: Desk, known: str) -> None:
    first = desk.accept("first", "one", "two", "three")

    again = desk.accept("again", "new", known, "newer")
    by_new = desk.accept("by an id that only the repeat had", "newer")

    assert (again.verdict, again.id) == (Verdict.REPEAT, first.id)
    assert (by_new.verdict, by_new.id) == (Verdict.REPEAT, first.id)
    assert texts(desk.take()) == ["first"]


def test_a_repeat_after_the_answer_is_still_dropped_until_the_dedupe_time_has_passed(desk: Desk) -> None:
    desk.accept("first", "one")
    desk.commit(desk.take())

    assert desk.accept("again", "one").verdict is Verdict.REPEAT
    desk.advance(desk.lanes.settings.dedupe_ttl)
    assert desk.accept("again", "one").verdict is Verdict.ACCEPTED


def test_the_same_logical_id_of_another_tenant_is_another_message(desk: Desk) -> None:
    desk.accept("mine", "one")

    assert desk.accept("theirs", "one", to=address(tenant="other")).verdict is Verdict.ACCEPTED


def test_a_full_lane_takes_nothing_and_tells_the_person_once(desk: Desk) -> None:
    for number in range(5):
        assert desk.accept(f"{number}").verdict is Verdict.ACCEPTED

    refused = desk.accept("too much", "late")
    desk.accept("too much")

    assert refused.verdict is Verdict.FULL
    (notice,) = desk.take(OUT).entries
    assert Delivery.decode(notice.body).reply.text == "full"
    assert desk.backlog()[0].messages == 5
    desk.commit(desk.take())
    assert desk.accept("again", "late").verdict is Verdict.ACCEPTED


def test_the_notice_of_a_full_lane_is_sent_again_after_ten_minutes(desk: Desk) -> None:
    for number in range(6):
        desk.accept(f"{number}", deadline=3600.0)
    desk.advance(600)
    desk.accept("again", deadline=3600.0)

    assert desk.backlog()[1].messages == 2


def test_a_lane_is_full_by_bytes_but_takes_one_message_of_any_size(desk: Desk) -> None:
    assert desk.accept("x" * 10_000).verdict is Verdict.ACCEPTED

    assert desk.accept("y").verdict is Verdict.FULL


def test_a_full_tenant_is_refused_without_a_notice_and_others_are_not(desk: Desk) -> None:
    for number in range(40):
        desk.accept(to=address(f"{number}"))

    assert desk.accept("late", "late", to=address("another")).verdict is Verdict.CROWDED
    assert desk.accept(to=address(tenant="other")).verdict is Verdict.ACCEPTED
    assert desk.backlog()[1].messages == 0
    for lane in desk.claim().lanes:
        desk.commit(lane)
    assert desk.accept("late", "late", to=address("another")).verdict is Verdict.ACCEPTED


def test_two_directions_of_a_conversation_do_not_meet(desk: Desk) -> None:
    desk.accept("question")
    question = desk.take()
    desk.commit(question, replies=1)
    desk.accept("next")

    answer, following = desk.take(OUT), desk.take(IN)

    assert answer.ref == following.ref == question.ref
    assert answer.token != following.token
    assert desk.release(dataclasses.replace(following, token=answer.token)) == 0
    assert desk.commit(answer) is Settled.COMMITTED
    assert desk.place() == ["leased"]
    assert desk.commit(following) is Settled.COMMITTED


# -- quiet period ---------------------------------------------------------------------------------------------------------------


def test_fragments_within_the_quiet_period_are_one_turn(desk: Desk) -> None:
    desk.accept("hello", quiet=10)
    desk.advance(6)
    desk.accept("my order", quiet=10)
    desk.advance(6)
    assert desk.claim().lanes == ()
    desk.advance(4)

    assert texts(desk.take()) == ["hello", "my order"]


def test_the_quiet_period_is_bounded_however_long_somebody_types(desk: Desk) -> None:
    for _ in range(5):
        desk.accept("and", quiet=10)
        desk.advance(6)

    assert len(desk.take().entries) == 5


def test_the_quiet_period_ends_at_the_deadline(desk: Desk) -> None:
    desk.accept(quiet=100, deadline=50)
    desk.advance(50)

    assert desk.sweep().overdue[0].reason == "expired"


def test_a_fragment_makes_a_ready_lane_wait_again_only_within_the_longest_quiet_period(desk: Desk) -> None:
    desk.accept("one", quiet=10)
    desk.advance(10)
    desk.claim(items=0)
    assert desk.place() == ["ready"]
    desk.accept("two", quiet=10)
    assert desk.place() == ["due"]
    desk.advance(20)
    desk.claim(items=0)

    desk.accept("three", quiet=10)

    assert desk.place() == ["ready"]


def test_fragments_that_arrive_during_an_answer_get_their_quiet_period(desk: Desk) -> None:
    desk.accept("question")
    lane = desk.take()
    desk.accept("and", quiet=10)
    desk.advance(6)
    desk.accept("also", quiet=10)
    desk.commit(lane)

    assert desk.claim().lanes == ()
    desk.advance(6)
    assert desk.claim().lanes == ()
    desk.advance(4)
    assert texts(desk.take()) == ["and", "also"]


def test_the_quiet_period_is_kept_by_redis_time(desk: Desk) -> None:
    desk.accept(quiet=0.3)
    before = time.monotonic()

    wait_for(lambda: desk.claim().lanes)

    assert 0.2 < time.monotonic() - before < 5


def test_claim_tells_when_the_next_lane_is_due_and_the_bell_rings_for_an_earlier_one(desk: Desk) -> None:
    desk.accept(to=address("slow"), quiet=100)
    claim = desk.claim()
    assert 99_000 < claim.next_due - claim.now <= 100_000
    bell = desk.shard.bell(IN)
    assert desk.client.llen(bell) == 0

    desk.accept(to=address("fast"), quiet=1)

    assert desk.client.llen(bell) == 1
    claim = desk.claim()
    assert claim.next_due - claim.now <= 1_000


# -- amend and cancel -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["one", "two"])
def test_an_edit_by_any_logical_id_replaces_the_waiting_message(desk: Desk, by: str) -> None:
    desk.accept("teh question", "one", "two")
    desk.accept("next")

    assert desk.amend("the question, at more length", by) == "amended"

    lane = desk.take()
    assert texts(lane) == ["the question, at more length", "next"]
    assert [entry.revision for entry in lane.entries] == [1, 0]
    assert lane.entries[0].cost == estimate("the question, at more length")


def test_an_edit_while_leased_refuses_the_answer_to_the_old_text(desk: Desk) -> None:
    desk.accept("old", "one")
    lane = desk.take()
    desk.amend("new", "one")

    assert desk.commit(lane) is Settled.CHANGED
    fresh = desk.take()
    assert texts(fresh) == ["new"]
    assert desk.commit(fresh) is Settled.COMMITTED


@pytest.mark.parametrize("by", ["one", "two"])
def test_a_deletion_by_any_logical_id_drops_the_waiting_message(desk: Desk, by: str) -> None:
    desk.accept("first", "zero")
    desk.accept("stop", "one", "two")

    assert desk.cancel(by) == "cancelled"
    assert texts(desk.take()) == ["first"]
    assert desk.accept("stop", "one").verdict is Verdict.REPEAT


def test_deleting_the_only_message_leaves_nothing_to_claim(desk: Desk) -> None:
    desk.accept("stop", "one", quiet=10)
    desk.cancel("one")
    desk.advance(10)

    assert desk.claim().lanes == ()
    assert lane_probe.remaining(desk.client, desk.lanes) <= {"in:stats", "fence"}


def test_deleting_the_head_puts_the_next_message_in_its_place(desk: Desk) -> None:
    desk.accept("one", "one", deadline=10)
    desk.accept("two", "two", deadline=100)
    desk.cancel("one")
    desk.advance(50)

    assert desk.sweep().overdue == ()
    assert texts(desk.take()) == ["two"]


def test_deleting_a_fragment_leaves_the_others_in_their_quiet_period(desk: Desk) -> None:
    desk.accept("one", quiet=10)
    desk.accept("two", "two", quiet=10)
    desk.cancel("two")
    assert desk.claim().lanes == ()
    desk.advance(10)

    assert texts(desk.take()) == ["one"]


def test_a_deletion_while_leased_refuses_the_answer_and_the_rest_is_claimed_again(desk: Desk) -> None:
    desk.accept("one", "one")
    desk.accept("two", "two")
    lane = desk.take()
    desk.cancel("one")

    assert desk.commit(lane) is Settled.GONE
    assert texts(desk.take()) == ["two"]


def test_a_deletion_of_all_that_is_leased_leaves_an_empty_lane_that_goes_with_its_lease(desk: Desk) -> None:
    desk.accept("one", "one")
    lane = desk.take()
    desk.cancel("one")
    lane_probe.audit(desk.client, desk.lanes)

    assert desk.commit(lane) is Settled.GONE

    assert desk.place() == []


def test_a_message_into_a_lane_emptied_under_lease_is_answered_by_the_next_claim(desk: Desk) -> None:
    desk.accept("one", "one")
    lane = desk.take()
    desk.cancel("one")
    desk.accept("two")
    lane_probe.audit(desk.client, desk.lanes)

    desk.commit(lane)

    assert texts(desk.take()) == ["two"]


def test_an_edit_that_comes_before_its_message_waits_for_it(desk: Desk) -> None:
    assert desk.amend("edited", "two") == "unseen"

    assert desk.accept("original", "one", "two").verdict is Verdict.ACCEPTED
    assert texts(desk.take()) == ["edited"]


@pytest.mark.parametrize("edit_too", [False, True])
def test_a_deletion_that_comes_before_its_message_waits_for_it_even_if_an_edit_comes_between(desk: Desk, edit_too: bool) -> None:
    assert desk.cancel("two") == "unseen"
    if edit_too:
        assert desk.amend("edited", "two") == "unseen"

    assert desk.accept("original", "one", "two").verdict is Verdict.CANCELLED
    assert desk.claim().lanes == ()


def test_a_deletion_by_one_id_and_an_edit_by_another_drop_the_message(desk: Desk) -> None:
    desk.amend("edited", "one")
    desk.cancel("two")

    assert desk.accept("original", "one", "two").verdict is Verdict.CANCELLED


def test_a_tombstone_is_forgotten_after_an_hour(desk: Desk) -> None:
    desk.cancel("one")
    desk.advance(3600)

    assert desk.accept("original", "one").verdict is Verdict.ACCEPTED


def test_an_answered_message_can_be_neither_edited_nor_deleted(desk: Desk) -> None:
    desk.accept("one", "one")
    desk.commit(desk.take())

    assert desk.amend("new", "one") == "answered"
    assert desk.cancel("one") == "answered"
    assert desk.claim().lanes == ()


# -- claim: order and fairness --------------------------------------------------------------------------------------------------


def test_all_fragments_of_an_inbound_lane_come_together_and_deliveries_one_by_one(desk: Desk) -> None:
    desk.accept("one")
    desk.accept("two")
    lane = desk.take()
    assert texts(lane) == ["one", "two"]
    desk.commit(lane, replies=2)

    first = desk.take(OUT)
    assert desk.claim(OUT).lanes == ()
    assert desk.commit(first) is Settled.COMMITTED
    second = desk.take(OUT)

    assert [Delivery.decode(lane.entries[0].body).part for lane in (first, second)] == [0, 1]


def test_a_leased_lane_is_not_handed_out_again(desk: Desk) -> None:
    desk.accept("one")
    desk.take()
    desk.accept("two")

    assert desk.claim().lanes == ()


def test_lanes_of_one_tenant_come_by_earliest_deadline(desk: Desk) -> None:
    for name, deadline in (("c", 300), ("a", 100), ("b", 200)):
        desk.accept(name, to=address(name), deadline=deadline)

    assert [texts(lane)[0] for lane in desk.claim().lanes] == ["a", "b", "c"]


def test_a_claim_is_bounded_by_items_and_by_tokens_but_takes_one_lane_of_any_cost(desk: Desk) -> None:
    for number in range(6):
        desk.accept(LONG, to=address(f"{number}"))

    assert len(desk.claim(items=2).lanes) == 2
    assert len(desk.claim(tokens=3 * estimate(LONG) - 1).lanes) == 2
    assert len(desk.claim(tokens=1).lanes) == 1
    assert desk.claim(items=0).lanes == ()


def test_a_claim_fills_up_from_many_tenants_with_one_lane_each(desk: Desk) -> None:
    for number in range(32):
        desk.accept(to=address(tenant=f"tenant-{number}"))

    assert len(desk.claim(items=32).lanes) == 32


def test_a_tenant_with_one_question_does_not_wait_behind_the_backlog_of_another(desk: Desk) -> None:
    for number in range(39):
        desk.accept(to=address(f"{number}"))
    desk.claim(items=4)
    desk.accept("mine", to=address(tenant="small"))

    assert "mine" in [text for lane in desk.claim(items=4).lanes for text in texts(lane)]


def test_tenants_share_by_tokens_not_by_messages(desk: Desk) -> None:
    desk = other_desk(desk, tenant_messages=1000, lane_bytes=100_000)
    for number in range(200):
        desk.accept("short", to=address(f"{number}", tenant="short"))
    for number in range(20):
        desk.accept(LONG, to=address(f"{number}", tenant="long"))
    spent = {"short": 0, "long": 0}

    for _ in range(70):
        (lane,) = desk.claim(items=1).lanes
        spent["long" if texts(lane)[0] == LONG else "short"] += sum(entry.cost for entry in lane.entries)

    assert abs(spent["short"] - spent["long"]) <= 2 * estimate(LONG)


def test_a_tenant_that_always_comes_back_with_one_costly_lane_does_not_starve_the_others(desk: Desk) -> None:
    for number in range(39):
        desk.accept("short", to=address(f"{number}", tenant="patient"))
    served = 0
    for _ in range(39):
        desk.accept(LONG, to=address(tenant="busy"))
        for lane in desk.claim(items=1).lanes:
            served += texts(lane)[0] == "short"
            desk.commit(lane)

    assert served >= 30


def test_a_costly_lane_gets_its_turn_among_many_cheap_ones(desk: Desk) -> None:
    desk = other_desk(desk, tenant_messages=1000)
    desk.accept(LONG, to=address(tenant="costly"))
    seen = 0
    for number in itertools.count():
        desk.accept("short", to=address(f"{number}", tenant="cheap"))
        desk.accept("short", to=address(f"more {number}", tenant="cheap"))
        for lane in desk.claim(items=2).lanes:
            seen += texts(lane)[0] == LONG
            desk.commit(lane)
        if seen:
            break
        assert number < 100, "the costly lane is never served"


def test_fragments_that_keep_coming_do_not_push_a_ready_lane_behind_others(desk: Desk) -> None:
    desk = other_desk(desk, lane_messages=50, tenant_messages=1000)
    for number in range(60):
        desk.accept("short", to=address(f"{number}", tenant="backlog"))
    claims = 0
    while claims < 40:
        desk.accept("and", to=address(tenant="typing"))
        claims += 1
        if texts(desk.claim(items=1).lanes[0])[0] == "and":
            break

    assert claims < 10


def test_history_comes_with_an_inbound_lane_oldest_first(desk: Desk) -> None:
    desk.accept("one")
    turns = tuple(Turn(role=Role.USER, text=f"{number}", at=number) for number in range(6))
    desk.commit(desk.take(), turns=turns, replies=1)
    desk.accept("two")

    assert desk.take().history == turns[-4:]
    assert desk.take(OUT).history == ()


# -- leases ---------------------------------------------------------------------------------------------------------------------


def test_a_lease_that_ran_out_makes_the_lane_ready_and_counts_as_an_attempt(desk: Desk) -> None:
    desk.accept("one")
    desk.take()
    desk.advance(LEASE - 1)
    assert desk.sweep().requeued == 0
    desk.advance(1)

    assert desk.sweep().requeued == 1
    assert desk.take().attempts == 1


def test_a_renewed_lease_holds_and_a_lost_one_is_named(desk: Desk) -> None:
    for thread in ("mine", "lost"):
        desk.accept(thread, to=address(thread))
    mine, lost = sorted(desk.claim().lanes, key=texts, reverse=True)
    desk.release(lost)
    desk.take()
    desk.advance(20)

    assert desk.renew(mine, lost) == {lost.ref}
    desk.advance(20)
    assert desk.sweep().requeued == 1
    assert desk.renew(mine) == frozenset()


def test_a_released_lane_is_ready_at_once_and_a_second_release_does_nothing(desk: Desk) -> None:
    desk.accept("one")
    lane = desk.take()

    assert desk.release(lane) == 1
    assert desk.release(lane, failed=True) == 0
    assert desk.take().attempts == 0


def test_a_deferred_lane_waits_for_its_time_whatever_arrives(desk: Desk) -> None:
    desk.accept("one")
    desk.release(desk.take(), after=60)
    desk.accept("two", quiet=1)
    desk.accept("three")
    desk.advance(59)
    assert desk.claim().lanes == ()
    assert desk.backlog()[0] == dataclasses.replace(desk.backlog()[0], messages=3, deferred=3, lanes=0, age_ms=0)
    desk.advance(1)

    assert texts(desk.take()) == ["one", "two", "three"]


def test_a_deferred_lane_whose_deadline_comes_first_gets_its_outcome_then(desk: Desk) -> None:
    desk.accept("one", deadline=50)
    desk.release(desk.take(), after=1000, failed=True)
    desk.advance(49)
    assert desk.sweep().overdue == ()
    desk.advance(1)

    (found,) = desk.sweep().overdue
    assert (found.reason, found.lane.attempts, texts(found.lane)) == ("expired", 1, ["one"])
    assert desk.commit(found.lane, replies=1) is Settled.COMMITTED


def test_a_commit_is_decided_by_content_so_a_stale_worker_may_be_first(desk: Desk) -> None:
    desk.accept("one")
    stale = desk.take()
    desk.advance(LEASE)
    desk.sweep()
    fresh = other_desk(desk).take()

    assert desk.commit(stale) is Settled.COMMITTED
    lane_probe.audit(desk.client, desk.lanes)
    assert desk.commit(fresh) is Settled.GONE
    assert desk.place() == []


def test_after_a_stale_commit_later_fragments_stay_with_the_new_lease_until_it_ends(desk: Desk) -> None:
    desk.accept("one")
    stale = desk.take()
    desk.advance(LEASE)
    desk.sweep()
    fresh = desk.take()
    desk.accept("two")
    assert desk.commit(stale) is Settled.COMMITTED
    assert desk.place() == ["leased"]

    assert desk.commit(fresh) is Settled.GONE
    assert texts(desk.take()) == ["two"]


def test_a_stale_commit_finds_a_lane_that_was_deferred_meanwhile(desk: Desk) -> None:
    desk.accept("one")
    stale = desk.take()
    desk.advance(LEASE)
    desk.sweep()
    desk.release(desk.take(), after=60)
    desk.accept("two")

    assert desk.commit(stale) is Settled.COMMITTED
    assert texts(desk.take()) == ["two"]


def test_a_commit_of_a_prefix_leaves_the_rest_ready_once(desk: Desk) -> None:
    desk.accept("one")
    lane = desk.take()
    desk.accept("two")
    desk.accept("three")

    assert desk.commit(lane) is Settled.COMMITTED
    rest = desk.take()
    assert texts(rest) == ["two", "three"]
    assert desk.claim().lanes == ()
    assert desk.commit(rest) is Settled.COMMITTED
    assert desk.commit(rest) is Settled.GONE


def test_a_commit_that_names_what_is_not_the_head_is_refused(desk: Desk) -> None:
    desk.accept("one")
    desk.accept("two")
    lane = desk.take()

    assert desk.commit(dataclasses.replace(lane, entries=lane.entries[1:])) is Settled.GONE
    assert desk.backlog()[0].messages == 2


def test_a_repeated_commit_adds_nothing(desk: Desk) -> None:
    desk.accept("one")
    lane = desk.take()
    turn = Turn(role=Role.USER, text="one", at=1)
    desk.commit(lane, replies=1, turns=(turn,))

    assert desk.commit(lane, replies=1, turns=(turn,)) is Settled.GONE
    assert desk.history() == [turn]
    assert desk.backlog()[1].messages == 1


@pytest.mark.parametrize("empty_record", [False, True])
def test_a_commit_is_all_or_nothing_whatever_the_outcome_holds(desk: Desk, empty_record: bool) -> None:
    desk.accept("one")
    outcome = Outcome(record={} if empty_record else {"state": "dead"}, dead="no reason")

    assert desk.lanes.commit(desk.take(), outcome).run(desk.client) is Settled.COMMITTED
    assert desk.backlog()[0].messages == 0
    assert desk.client.zcard(desk.shard.dead_index) == 1


def test_an_outcome_that_answers_nothing_leaves_a_deferred_lane_deferred(desk: Desk) -> None:
    desk.accept("one")
    lane = desk.take()
    desk.release(lane, after=60, failed=True)

    assert desk.commit(dataclasses.replace(lane, entries=()), replies=1) is Settled.COMMITTED
    assert desk.place() == ["due"]
    assert desk.backlog()[1].messages == 1
    desk.advance(60)
    assert desk.take().attempts == 1


# -- failed attempts ------------------------------------------------------------------------------------------------------------


def test_a_lane_on_its_last_attempt_is_taken_alone_by_an_empty_worker(desk: Desk) -> None:
    desk.accept("poison", to=address("poison"))
    desk.fail(2)
    for number in range(3):
        desk.accept(f"{number}", to=address(f"{number}"))

    busy = desk.claim(empty=False, items=2)
    assert busy.suspects
    assert "poison" not in [text for lane in busy.lanes for text in texts(lane)]
    (suspect,) = desk.claim().lanes
    assert (texts(suspect), suspect.attempts) == (["poison"], 2)
    assert not desk.claim().suspects


def test_suspects_and_the_rest_take_turns(desk: Desk) -> None:
    desk = other_desk(desk, attempts=2)
    for number in range(4):
        desk.accept("suspect", to=address(f"suspect {number}"))
    desk.release(*desk.claim().lanes, failed=True)
    for number in range(4):
        desk.accept("fresh", to=address(f"fresh {number}"))

    kinds = [[texts(lane)[0] for lane in desk.claim(items=2).lanes] for _ in range(6)]

    assert sorted(kinds) == [["fresh", "fresh"]] * 2 + [["suspect"]] * 4
    assert kinds[0] != kinds[1]


def test_a_lane_without_attempts_left_is_reported_once_it_failed_and_never_claimed(desk: Desk) -> None:
    desk.accept("poison", "one")
    desk.fail(3)

    assert desk.claim().lanes == ()
    assert not desk.claim().suspects
    (found,) = desk.sweep().overdue
    assert (found.reason, found.lane.attempts, texts(found.lane)) == ("exhausted", 3, ["poison"])
    assert desk.commit(found.lane, dead="poison", record={"state": "dead"}) is Settled.COMMITTED
    kept = lane_probe.snapshot(desk.client, desk.shard)
    letter = lane_probe.fields({"dead": kept[f"dead:{found.lane.entries[0].id}"]}, "dead")
    assert (letter["reason"], letter["attempts"], letter["direction"]) == ("poison", "3", "in")
    assert desk.accept("fresh").verdict is Verdict.ACCEPTED
    assert desk.take().attempts == 0


def test_a_lane_without_attempts_left_is_reported_at_once_even_if_it_was_to_be_deferred(desk: Desk) -> None:
    desk.accept("poison")
    desk.fail(2)
    desk.release(desk.take(), failed=True, after=100)

    assert [found.reason for found in desk.sweep().overdue] == ["exhausted"]


def test_a_fragment_does_not_hide_a_lane_without_attempts_left(desk: Desk) -> None:
    desk.accept("poison")
    desk.fail(3)
    desk.accept("more")
    desk.accept("and more", quiet=5)

    (found,) = desk.sweep().overdue
    assert (found.reason, texts(found.lane)) == ("exhausted", ["poison", "more", "and more"])


def test_deleting_a_fragment_does_not_hide_a_lane_without_attempts_left(desk: Desk) -> None:
    desk.accept("poison")
    desk.accept("more", "more")
    desk.fail(3)
    desk.cancel("more")

    assert [found.reason for found in desk.sweep().overdue] == ["exhausted"]


def test_leases_that_run_out_exhaust_a_lane_too(desk: Desk) -> None:
    desk.accept("crash")
    for _ in range(3):
        desk.take()
        desk.advance(LEASE)
        desk.sweep()

    assert [found.reason for found in desk.sweep().overdue] == ["exhausted"]


def test_a_deferred_suspect_comes_back_as_a_suspect(desk: Desk) -> None:
    desk.accept("poison", to=address("poison"))
    desk.fail(1)
    desk.release(desk.take(), failed=True, after=10)
    desk.accept("fresh", to=address("fresh"))
    desk.advance(10)

    claim = desk.claim(empty=False)
    assert ([texts(lane) for lane in claim.lanes], claim.suspects) == ([["fresh"]], True)


def test_an_answer_forgives_the_failed_attempts(desk: Desk) -> None:
    desk.accept("one")
    desk.fail(2)
    desk.commit(desk.take())
    desk.accept("two")

    assert desk.claim(empty=False).lanes[0].attempts == 0


def test_an_answer_forgives_the_failed_attempts_to_what_came_later_too(desk: Desk) -> None:
    desk.accept("one")
    desk.fail(2)
    lane = desk.take()
    desk.accept("two")
    desk.commit(lane)

    assert desk.claim(empty=False).lanes[0].attempts == 0


def test_an_outbound_lane_on_its_last_attempt_needs_no_empty_worker(desk: Desk) -> None:
    desk.accept("one")
    desk.commit(desk.take(), replies=1)
    desk.fail(2, OUT)

    lane = desk.take(OUT, empty=False)
    desk.release(lane, direction=OUT, failed=True)
    assert [(found.reason, found.lane.direction) for found in desk.sweep(OUT).overdue] == [("exhausted", OUT)]


# -- deadlines ------------------------------------------------------------------------------------------------------------------


def test_a_message_past_its_deadline_is_reported_wherever_its_lane_stands(desk: Desk) -> None:
    desk = other_desk(desk, lease=1000.0, attempts=2)
    at = {place: address(place) for place in ("leased", "due", "suspect", "ready")}
    desk.accept("leased", to=at["leased"], deadline=100)
    desk.take()
    desk.accept("due", to=at["due"], deadline=100)
    desk.release(desk.take(), after=500)
    desk.accept("suspect", to=at["suspect"], deadline=100)
    desk.fail(1)
    desk.accept("ready", to=at["ready"], deadline=100)
    assert all(desk.place(to) == [place] for place, to in at.items())
    desk.advance(100)

    overdue = desk.sweep().overdue

    assert sorted(texts(found.lane)[0] for found in overdue) == sorted(at)
    assert {found.reason for found in overdue} == {"expired"}
    assert [desk.commit(found.lane) for found in overdue] == [Settled.COMMITTED] * 4


def test_only_the_overdue_part_of_a_lane_is_reported(desk: Desk) -> None:
    desk.accept("one", deadline=50)
    desk.accept("two", deadline=50)
    desk.accept("three", deadline=100)
    desk.advance(50)

    (found,) = desk.sweep().overdue
    assert texts(found.lane) == ["one", "two"]
    assert found.lane.token == ""
    desk.commit(found.lane)
    assert texts(desk.take()) == ["three"]


def test_a_worker_that_keeps_renewing_cannot_hold_a_message_past_its_deadline(desk: Desk) -> None:
    desk.accept("one", deadline=50)
    lane = desk.take()
    for _ in range(3):
        desk.advance(20)
        desk.renew(lane)

    (found,) = desk.sweep().overdue
    assert (found.reason, texts(found.lane)) == ("expired", ["one"])
    assert desk.commit(found.lane) is Settled.COMMITTED
    assert desk.commit(lane) is Settled.GONE


def test_a_message_claimed_after_its_deadline_is_still_reported(desk: Desk) -> None:
    desk.accept("one", deadline=50)
    desk.advance(60)
    desk.take()

    assert [found.reason for found in desk.sweep().overdue] == ["expired"]


def test_many_overdue_lanes_of_many_tenants_are_all_reported_in_time(desk: Desk) -> None:
    desk = other_desk(desk, tenant_messages=1000)
    for number in range(250):
        desk.accept(to=address(f"{number}", tenant=f"tenant-{number % 50}"), deadline=50)
    desk.accept("not yet", to=address(tenant="tenant-0"))
    desk.advance(50)

    for _ in range(10):
        for found in desk.sweep().overdue:
            assert desk.commit(found.lane) is Settled.COMMITTED

    assert desk.backlog()[0].messages == 1


# -- owners ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("owner", [Owner.WAITING, Owner.HUMAN])
def test_a_message_to_a_person_goes_to_history_and_not_into_the_lane(desk: Desk, owner: Owner) -> None:
    desk.own(owner)

    accepted = desk.accept("for a person", "one")

    assert accepted.verdict is Verdict.OWNED
    assert [(turn.role, turn.text) for turn in desk.history()] == [(Role.USER, "for a person")]
    assert desk.accept("for a person", "one").verdict is Verdict.REPEAT
    assert desk.claim().lanes == ()


def test_a_message_to_a_person_is_taken_without_a_history_too(desk: Desk) -> None:
    desk = other_desk(desk, history_turns=0)
    desk.own(Owner.HUMAN)

    assert desk.accept("for a person", "one").verdict is Verdict.OWNED
    assert desk.history() == []


def test_an_edit_that_comes_before_its_message_to_a_person_reaches_the_history(desk: Desk) -> None:
    desk.own(Owner.HUMAN)
    desk.amend("edited", "one")
    desk.accept("original", "one")

    assert [turn.text for turn in desk.history()] == ["edited"]


def test_a_person_who_takes_over_stops_the_answer_that_is_being_made(desk: Desk) -> None:
    desk.accept("one")
    lane = desk.take()

    assert desk.own(Owner.HUMAN) == 1
    assert desk.commit(lane, replies=1) is Settled.OWNED
    assert desk.backlog()[1].messages == 0
    again = desk.take()
    assert again.owner is Owner.HUMAN
    assert desk.commit(again, owner="person", turns=(Turn(role=Role.USER, text="one", at=1),)) is Settled.COMMITTED
    assert desk.own(Owner.BOT) == 0
    assert desk.accept("two").verdict is Verdict.ACCEPTED


def test_an_answer_begun_before_a_person_took_over_is_refused_even_after_the_bot_is_back(desk: Desk) -> None:
    desk.accept("one")
    lane = desk.take()
    desk.own(Owner.HUMAN)
    desk.own(Owner.BOT)

    assert desk.commit(lane, replies=1) is Settled.CHANGED
    assert desk.commit(desk.take(), replies=1) is Settled.COMMITTED


def test_what_was_meant_for_a_person_is_refused_once_the_bot_owns_it_again(desk: Desk) -> None:
    desk.own(Owner.WAITING)
    desk.accept("to history")
    desk.own(Owner.BOT)
    desk.accept("one")
    lane = desk.take()

    assert desk.commit(lane, owner="person") is Settled.OWNED
    assert desk.commit(lane, owner="") is Settled.COMMITTED


def test_a_conversation_stays_with_its_person_while_somebody_writes(desk: Desk) -> None:
    desk.own(Owner.HUMAN)
    for number in range(3):
        desk.advance(desk.lanes.settings.history_ttl / 2)
        assert desk.accept(f"{number}").verdict is Verdict.OWNED


# -- outbound -------------------------------------------------------------------------------------------------------------------


def outbound(desk: Desk, replies: int = 1) -> Lane:
    """Claims the reply to a question."""
    desk.accept("one")
    desk.commit(desk.take(), replies=replies)
    return desk.take(OUT)


def intend(desk: Desk, lane: Lane) -> tuple[bool, str]:
    return desk.lanes.intend(lane, lane.entries[0].id).run(desk.client)


def test_the_intent_of_a_lost_worker_is_told_to_the_next(desk: Desk) -> None:
    lane = outbound(desk)
    assert intend(desk, lane) == (True, "")
    desk.advance(LEASE)
    desk.sweep(OUT)
    following = desk.take(OUT)

    assert following.intent == lane.entries[0].id
    assert intend(desk, lane) == (False, "")
    assert intend(desk, following) == (True, lane.entries[0].id)


def test_an_intent_that_is_recorded_twice_by_a_broken_connection_is_not_taken_for_an_earlier_attempt(desk: Desk) -> None:
    lane = outbound(desk)

    assert [intend(desk, lane) for _ in range(2)] == [(True, "")] * 2


def test_an_intent_can_be_taken_back_or_kept_for_the_next_attempt(desk: Desk) -> None:
    lane = outbound(desk)
    intend(desk, lane)
    desk.release(lane, direction=OUT, keep_intent=True, failed=True)
    lane = desk.take(OUT)
    assert lane.intent == lane.entries[0].id
    desk.release(lane, direction=OUT)

    assert desk.take(OUT).intent == ""


def test_nothing_is_sent_once_the_lease_is_over(desk: Desk) -> None:
    lane = outbound(desk)
    desk.advance(LEASE)

    assert intend(desk, lane) == (False, "")


def test_nothing_is_sent_that_was_settled_by_others(desk: Desk) -> None:
    lane = outbound(desk, replies=2)
    desk.commit(dataclasses.replace(lane, token=""), dead="not delivered: expired")

    assert intend(desk, lane) == (False, "")
    following = desk.take(OUT)
    assert intend(desk, following) == (True, "")


def test_a_delivery_that_is_being_sent_is_not_given_up_at_its_deadline(desk: Desk) -> None:
    desk = other_desk(desk, deadline_delivery=50.0)
    lane = outbound(desk)
    desk.advance(40)
    desk.renew(lane, direction=OUT)
    intend(desk, lane)
    desk.advance(20)
    desk.renew(lane, direction=OUT)

    assert desk.sweep(OUT).overdue == ()
    assert desk.commit(lane) is Settled.COMMITTED


def test_a_delivery_past_its_deadline_is_reported_once_nobody_sends_it(desk: Desk) -> None:
    desk = other_desk(desk, deadline_delivery=50.0)
    desk.release(outbound(desk), direction=OUT, failed=True, after=500)
    desk.advance(50)

    assert [found.reason for found in desk.sweep(OUT).overdue] == ["expired"]


def test_a_commit_that_finds_its_delivery_gone_gives_the_lane_back(desk: Desk) -> None:
    lane = outbound(desk, replies=2)
    desk.commit(dataclasses.replace(lane, token=""))

    assert desk.commit(lane) is Settled.GONE
    assert Delivery.decode(desk.take(OUT).entries[0].body).part == 1


# -- look -----------------------------------------------------------------------------------------------------------------------


def test_a_message_can_be_followed_from_its_acceptance_to_the_end_of_its_record(desk: Desk) -> None:
    def state(message_id: str) -> str:
        return desk.lanes.look(message_id).run(desk.client).state

    first, second = desk.accept("one", "one", "alias").id, desk.accept("two", "two").id
    by_alias = desk.lanes.message_id(address(), "alias")
    assert {state(first), state(second), state(by_alias)} == {"waiting"}
    lane = desk.take()
    assert {state(first), state(second), state(by_alias)} == {"answering"}
    desk.commit(lane, record={"state": "answered", "reply": "x" * 1000}, replies=1)
    found = [desk.lanes.look(message_id).run(desk.client) for message_id in (first, second, by_alias)]
    assert {(look.state, look.record["state"], look.record["reply"]) for look in found} == {("answered", "answered", "x" * 1000)}
    post = desk.take(OUT)
    desk.commit(post, record={"state": "delivered"}, records=(first, second))
    assert {desk.lanes.look(message_id).run(desk.client).record["state"] for message_id in (first, second)} == {"delivered"}
    desk.advance(desk.lanes.settings.record_ttl)
    assert {state(first), state(second)} == {"over"}
    desk.advance(desk.lanes.settings.dedupe_ttl)
    assert state(first) == "unknown"


@pytest.mark.parametrize("bad", ["", "x", "-0", "abc-1", "abc--1", "abc-²", "abc-00000000000000000000001"])
def test_what_is_no_message_id_is_refused(desk: Desk, bad: str) -> None:
    with pytest.raises(ValueError, match="is no message id"):
        desk.lanes.look(bad)


def test_bytes_that_are_no_message_are_kept_once_with_their_reason(desk: Desk) -> None:
    bury = desk.lanes.bury(address(), "one", b"\xff\x00 not a message", reason="no such event")

    assert [bury.run(desk.client), bury.run(desk.client)] == [True, False]
    look = desk.lanes.look(desk.lanes.message_id(address(), "one")).run(desk.client)
    assert (look.state, look.record) == ("dead", {"reason": "no such event"})


def test_dead_letters_leave_the_index_when_their_time_is_over(desk: Desk) -> None:
    for number in range(3):
        desk.lanes.bury(address(), f"{number}", b"bytes", reason="old").run(desk.client)
    desk.advance(desk.lanes.settings.dead_ttl)
    desk.lanes.bury(address(), "new", b"bytes", reason="new").run(desk.client)

    assert desk.client.zcard(desk.shard.dead_index) == 1


# -- bell, shards, clients ------------------------------------------------------------------------------------------------------


def test_the_bell_wakes_a_waiting_worker(desk: Desk, settings: Settings) -> None:
    rung: list[object] = []
    with redis.Redis.from_url(settings.redis_url) as waiting:
        thread = threading.Thread(target=lambda: rung.append(waiting.blpop(desk.shard.bell(IN), timeout=10)))
        thread.start()
        wait_for(lambda: desk.client.info("clients")["blocked_clients"])
        desk.accept("one")
        thread.join(5)

    assert rung[0] is not None


def test_the_bell_never_holds_more_than_64_and_a_claim_that_finds_nothing_empties_it(desk: Desk) -> None:
    desk = other_desk(desk, tenant_messages=1000)
    for number in range(100):
        desk.accept(to=address(f"{number}"))
    assert desk.client.llen(desk.shard.bell(IN)) == 64
    assert len(desk.claim(items=100).lanes) == 100

    desk.claim()

    assert desk.client.exists(desk.shard.bell(IN)) == 0


def test_a_lost_bell_loses_no_message(desk: Desk) -> None:
    desk.accept("one")
    desk.client.delete(desk.shard.bell(IN))

    assert texts(desk.take()) == ["one"]


def test_both_lanes_of_a_conversation_share_a_shard_and_conversations_spread_over_all(desk: Desk) -> None:
    desk = other_desk(desk, shards=4)
    channels = [address(channel=f"channel {number}") for number in range(40)]
    for to in channels:
        desk.accept(to.channel, to=to)

    for shard in desk.lanes.shards:
        claim = desk.claim(shard=shard.number)
        assert claim.lanes
        for lane in claim.lanes:
            to = address(channel=texts(lane)[0])
            assert lane.shard == shard.number == desk.lanes.shard_of(to).number
            assert desk.commit(lane, replies=1, to=to) is Settled.COMMITTED
        assert len(desk.claim(OUT, shard=shard.number).lanes) == len(claim.lanes)
    lane_probe.audit(desk.client, desk.lanes)
    assert sum(backlog[0].messages for backlog in (desk.lanes.backlog(shard).run(desk.client) for shard in desk.lanes.shards)) == 0


def test_the_asynchronous_client_runs_the_same_moves(desk: Desk, settings: Settings) -> None:
    async def moves() -> tuple[Verdict, Settled]:
        client = await connect_async(settings)
        try:
            inbound = message("one", "one")
            notice = Delivery(id="notice", reply=reply(inbound.address))
            accept = desk.lanes.accept(inbound, deadline=60, quiet=(0, 0), notice=notice)
            accepted = await accept.run_async(client)
            claim = await desk.lanes.claim(desk.shard, IN, items=1, tokens=1000, empty=True).run_async(client)
            return accepted.verdict, await desk.lanes.commit(claim.lanes[0], Outcome(record={"state": "x"})).run_async(client)
        finally:
            await client.aclose()

    assert asyncio.run(moves()) == (Verdict.ACCEPTED, Settled.COMMITTED)


def test_bodies_are_opaque(desk: Desk) -> None:
    text = "".join(map(chr, range(1, 256))) + "\n 0 1 2 3\n😀\u2028"
    desk.accept(text, "one")
    assert texts(desk.take()) == [text]
    desk.accept(text, "two", to=address("other"))
    desk.amend(text + text, "two", to=address("other"))

    assert texts(desk.take()) == [text + text]


def test_a_turn_of_the_history_that_cannot_be_read_does_not_hold_up_the_claim(desk: Desk) -> None:
    desk.accept("one")
    desk.commit(desk.take(), turns=(Turn(role=Role.USER, text="one", at=1),))
    ref = desk.lanes.digests.lane(address())
    desk.client.rpush(desk.shard.history(ref), b"not a turn")
    desk.accept("two")

    assert [turn.text for turn in desk.take().history] == ["one"]


# -- leaks and cost -------------------------------------------------------------------------------------------------------------


def test_nothing_but_the_figures_outlives_the_times_to_live(desk: Desk) -> None:
    for number in range(12):
        desk.accept("one", f"{number}", f"alias {number}", to=address(f"{number}", tenant=f"{number % 3}"), quiet=number % 2)
    desk.cancel("never seen")
    desk.advance(3)
    for lane in desk.claim(items=6).lanes:
        desk.commit(lane, replies=2, turns=(Turn(role=Role.USER, text="x", at=1),))
    for lane in desk.claim(items=6).lanes:
        desk.release(lane, failed=True, after=5)
    desk.advance(5)
    for lane in desk.claim(items=20).lanes:
        desk.commit(lane, dead="no reason")
    while posts := desk.claim(OUT).lanes:
        for lane in posts:
            intend(desk, lane)
            desk.commit(lane)
    assert desk.claim().lanes == ()
    desk.advance(31_536_000)

    assert lane_probe.remaining(desk.client, desk.lanes) <= {"fence", "in:stats", "out:stats", "dead"}
    assert set(lane_probe.fields(lane_probe.snapshot(desk.client, desk.shard), "in:stats")) <= {"messages", "deferred"}


def commands(client: redis.Redis) -> int:
    """Commands the server has run, those inside scripts too."""
    return sum(int(stats["calls"]) for stats in client.info("commandstats").values())


@pytest.mark.parametrize("tenants", [1, 3000])
def test_the_work_of_a_move_does_not_grow_with_the_backlog(desk: Desk, tenants: int) -> None:
    desk = other_desk(desk, tenant_messages=10_000)

    def cost() -> list[int]:
        counts = []
        for move in (
            lambda: desk.accept(to=address("fresh", tenant="fresh")),
            lambda: desk.claim(items=1),
            desk.sweep,
            desk.backlog,
        ):
            before = commands(desk.client)
            move()
            counts.append(commands(desk.client) - before)
        return counts

    desk.accept(to=address("few", tenant="few"))
    few = cost()
    for number in range(3000):
        desk.accept(to=address(f"{number}", tenant=f"{number % tenants}"))
    many = cost()

    assert all(much <= little + 4 for little, much in zip(few, many, strict=True)), (few, many)


def test_lanes_on_their_last_attempt_do_not_slow_a_busy_worker(desk: Desk) -> None:
    desk = other_desk(desk, attempts=2, tenant_messages=10_000)
    for number in range(1000):
        desk.accept(to=address(f"{number}"))
    while lanes := desk.claim(items=100, tokens=10**6, empty=False).lanes:
        desk.release(*lanes, failed=True)
    before = commands(desk.client)

    claim = desk.claim(empty=False)

    assert (claim.lanes, claim.suspects) == ((), True)
    assert commands(desk.client) - before < 50


def test_an_edit_or_a_deletion_cannot_move_a_message_to_another_conversation(desk: Desk) -> None:
    desk.accept("one", "id")
    other = address("other")

    assert desk.amend("two", "id", to=other) == "elsewhere"
    assert desk.cancel("id", to=other) == "elsewhere"
    assert texts(desk.take()) == ["one"]


def test_an_early_edit_for_another_conversation_does_not_reach_the_message(desk: Desk) -> None:
    desk.amend("two", "id", to=address("other"))
    desk.accept("one", "id")

    assert texts(desk.take()) == ["one"]


def test_a_deleted_message_is_shown_as_cancelled(desk: Desk) -> None:
    id_ = desk.accept("one", "id").id
    desk.cancel("id")

    assert desk.lanes.look(id_).run(desk.client).record["state"] == "cancelled"


def test_dead_letters_are_bounded_and_the_oldest_go_first(desk: Desk) -> None:
    index = desk.lanes.shards[0].dead_index
    now = int(time.time() * 1000)
    desk.client.zadd(index, {f"old-{number}": now - 20_000 + number for number in range(10_000)})
    desk.lanes.bury(address(), "new", b"{}", reason="unknown type").run(desk.client)

    assert desk.client.zcard(index) == 10_000
    assert desk.client.zscore(index, "old-0") is None
    assert desk.client.zscore(index, desk.lanes.message_id(address(), "new")) is not None


def test_a_message_taken_after_a_dead_letter_of_the_same_id_is_seen_waiting(desk: Desk) -> None:
    desk.lanes.bury(address(), "id", b"{}", reason="unknown type").run(desk.client)
    id_ = desk.accept("one", "id").id

    assert desk.lanes.look(id_).run(desk.client).state == "waiting"
