"""What is committed where there is no ordinary answer."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.keys import Direction
from engine.messages import Delivery, Entry, InboundMessage, Owner, Reply, Role, Source
from engine.moves import Lane, Overdue
from engine.settings import Settings
from tests.desk import address, message, reply
from workers.outcomes import answered, kept_for_person, only, overdue, read, undelivered

SETTINGS = Settings(apology="Sorry.")


def entry(name: str, text: str = "hello", *, body: bytes | None = None) -> Entry:
    return Entry(name, 0, 1000, 9000, 10, message(text, f"logical {name}").encode() if body is None else body)


def lane(*entries: Entry, direction: Direction = Direction.IN, owner: Owner = Owner.BOT, attempts: int = 0) -> Lane:
    return Lane(shard=0, direction=direction, ref="t.c", token="1:n", attempts=attempts, owner=owner, entries=entries)


def test_an_answer_goes_to_history_to_the_outbound_lane_and_to_the_record() -> None:
    said = Reply(in_reply_to=("a", "b"), address=address(), text="An answer.", source=Source.MODEL, trace={"tokens": 3})
    outcome = answered(lane(entry("a"), entry("b")), said, question="one\ntwo", at=5000)
    assert [(turn.role, turn.text, turn.at) for turn in outcome.turns] == [
        (Role.USER, "one\ntwo", 1000),
        (Role.ASSISTANT, "An answer.", 5000),
    ]
    assert outcome.deliveries == (Delivery(id="a-0", reply=said),)
    assert outcome.record["state"] == "answered"
    assert (outcome.record["received_at"], outcome.record["answered_at"]) == ("1000", "5000")
    assert msgspec.json.decode(outcome.record["trace"]) == {"tokens": 3}
    assert (outcome.owner, outcome.dead) == ("bot", "")


@pytest.mark.parametrize(
    ("reason", "attempts", "dead"), [("expired", 1, ""), ("exhausted", 3, "3 attempts failed")], ids=["expired", "exhausted"]
)
def test_what_is_overdue_gets_one_apology_for_all_its_messages(reason: str, attempts: int, dead: str) -> None:
    cut, outcome = overdue(Overdue(reason, lane(entry("a"), entry("b"), attempts=attempts)), SETTINGS, at=5000)
    (delivery,) = outcome.deliveries
    assert delivery.reply.text == "Sorry."
    assert delivery.reply.in_reply_to == ("a", "b")
    assert delivery.reply.reference == "logical a"
    assert delivery.reply.source is Source.FALLBACK
    assert (outcome.record["state"], outcome.dead) == ("apologised", dead)
    assert [one.id for one in cut.entries] == ["a", "b"]


def test_an_apology_covers_no_bytes_that_cannot_be_read() -> None:
    found = Overdue("expired", lane(entry("a"), entry("b", body=b"junk"), entry("c")))
    cut, outcome = overdue(found, SETTINGS, at=5000)
    assert [one.id for one in cut.entries] == ["a"]
    assert outcome.deliveries[0].reply.in_reply_to == ("a",)


def test_bytes_at_the_head_that_cannot_be_read_become_a_dead_letter_alone() -> None:
    cut, outcome = overdue(Overdue("expired", lane(entry("a", body=b"junk"), entry("b"))), SETTINGS, at=5000)
    assert [one.id for one in cut.entries] == ["a"]
    assert "cannot read InboundMessage" in outcome.dead
    assert outcome.deliveries == ()


@pytest.mark.parametrize("owner", [Owner.HUMAN, Owner.WAITING])
def test_what_is_overdue_while_a_person_owns_the_conversation_goes_to_history_without_an_apology(owner: Owner) -> None:
    found = Overdue("expired", lane(entry("a", "I want"), entry("b", "a human"), entry("c", body=b"junk"), owner=owner))
    cut, outcome = overdue(found, SETTINGS, at=5000)
    assert [turn.text for turn in outcome.turns] == ["I want", "a human"]
    assert outcome.deliveries == ()
    assert (outcome.owner, outcome.record["state"]) == ("person", "handed-over")
    assert [one.id for one in cut.entries] == ["a", "b"]


@pytest.mark.parametrize(
    ("reason", "said"), [("expired", "its deadline is over"), ("exhausted", "7 attempts failed")], ids=["expired", "exhausted"]
)
def test_an_overdue_delivery_becomes_a_dead_letter_and_the_record_of_its_message_says_so(reason: str, said: str) -> None:
    posted = entry("digest-0-0", body=Delivery(id="digest-0-0", reply=reply(address())).encode())
    _, outcome = overdue(Overdue(reason, lane(posted, direction=Direction.OUT, attempts=7)), SETTINGS, at=5000)
    assert outcome.dead == f"not delivered: {said}"
    assert outcome.records == ("digest-0",)
    assert outcome.owner == ""


def test_a_delivery_that_is_given_up_names_the_message_it_answers() -> None:
    outcome = undelivered(lane(entry("digest-12-0"), direction=Direction.OUT), "refused", SETTINGS)
    assert (outcome.records, outcome.record["state"], outcome.dead) == (("digest-12",), "dead", "refused")


def test_messages_kept_for_a_person_are_turns_at_the_time_they_came() -> None:
    held = lane(entry("a"), entry("b"))
    outcome = kept_for_person(held, [InboundMessage.from_entry(one) for one in held.entries], SETTINGS)
    assert [(turn.role, turn.at) for turn in outcome.turns] == [(Role.USER, 1000), (Role.USER, 1000)]


bodies = st.one_of(st.binary(max_size=40), st.just(message("hello", "id").encode()), st.just(b'[1,["a","b","c"],"s","t",[]]'))


@given(st.lists(bodies, max_size=6))
def test_reading_a_lane_stops_before_the_first_bytes_that_are_no_message(raw: list[bytes]) -> None:
    entries = tuple(entry(str(position), body=body) for position, body in enumerate(raw))
    messages, broken = read(entries)
    assert [one.id for one in messages] == [one.id for one in entries[: len(messages)]]
    assert (broken is not None) == (bool(entries) and not messages)
    assert only(lane(*entries), *entries[: len(messages)]).pairs == tuple((one.id, 0) for one in entries[: len(messages)])
    for one in messages:
        assert one.dedupe_ids
