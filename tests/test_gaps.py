"""Questions that were not answered well: noted without personal data, grouped, and answered for the next time."""

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
import redis

from connectors.contract import Feedback
from engine.crypto import Digests
from engine.encoder import Vectors
from engine.errors import KnowledgeError
from engine.gaps import Gap, Why, agent_said, asked, drop_gaps, note_gap, read_gaps
from engine.keys import gaps
from engine.knowledge_store import KnowledgeStore
from engine.lanes import Lanes
from engine.messages import Conversation, Reply, Role, Source, Turn
from engine.question import Question
from engine.settings import Settings
from tests.desk import Desk, address, message
from tests.test_intake import settle
from workers import gap_desk
from workers.noting import gap_of, note
from workers.rehearsal.files import read

pytestmark = pytest.mark.one_redis

WHOSE = address()
ID = "a" * 26 + "-0"


@pytest.fixture
def desk(settings: Settings, redis_client: redis.Redis) -> Desk:
    return Desk(redis_client, Lanes(settings))


def question(text: str, *history: tuple[Role, str]) -> Question:
    turns = tuple(Turn(role=role, text=said, at=1) for role, said in history)
    messages = (msgspec.structs.replace(message(text, "first", to=WHOSE), id=ID),)
    return Question(
        key="k", conversation=Conversation(address=WHOSE, turns=turns), messages=messages, waited_ms=0, claimed_at=0, streamed=False
    )


def reply(text: str = "an answer", source: Source = Source.MODEL, confidence: float | None = None) -> Reply:
    return Reply(in_reply_to=(ID,), address=WHOSE, text=text, source=source, confidence=confidence)


class Letters:
    """Stands in for the encoder: texts with the same first word are the same."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        firsts = [text.split()[0] for text in texts]
        order = sorted(set(firsts))
        return np.eye(len(order), dtype=np.float32)[[order.index(first) for first in firsts]]


@pytest.mark.parametrize(
    ("asked_", "said", "reason", "why"),
    [
        (question("why?"), reply(confidence=0.9), "", None),
        (question("why?"), reply(), "", None),
        (question("why?"), reply(confidence=0.1), "", Why.UNSURE),
        (question("why?"), reply(confidence=0.9), "anger", Why.HANDED_OVER),
        (question("why?"), reply(Settings.unknown, Source.FALLBACK), "", Why.UNANSWERED),
        (question("why?"), reply(Settings.apology, Source.FALLBACK), "", Why.UNANSWERED),
        (question("why?"), reply("hello!", Source.FALLBACK), "", None),
        (question("Why", (Role.USER, "why?"), (Role.ASSISTANT, "so")), reply(), "", Why.REPEATED),
        (question(" "), reply(Settings.apology, Source.FALLBACK), "", None),
    ],
)
def test_what_is_not_answered_well_is_told_from_the_turn(asked_: Question, said: Reply, reason: str, why: Why | None) -> None:
    found = gap_of(asked_, said, Settings(secret_key="a secret key of the tests"), reason=reason, at=5)

    assert (found and found.why) == why


def test_a_row_holds_no_personal_data(settings: Settings, redis_client: redis.Redis) -> None:
    asked_ = question("My mail is ann@example.org, where is my parcel?")

    assert note(redis_client, settings, asked_, reply("I wrote to ann@example.org", confidence=0.1), reason="")

    ((tenant, row),) = read_gaps(redis_client, settings)
    assert (tenant, row.why) == ("acme", Why.UNSURE)
    assert "ann@" not in row.question + row.reply
    assert "where is my parcel?" in row.question


def test_rows_are_bounded_and_have_an_end(settings: Settings, redis_client: redis.Redis) -> None:
    small = Settings(**{**vars(settings), "gaps_kept": 3, "gaps_ttl": 100.0})
    for number in range(5):
        note(redis_client, small, question(f"question {number}"), reply(confidence=0.1), reason="")

    rows = read_gaps(redis_client, small, tenant="acme")

    assert [row.question for _, row in rows] == ["question 4", "question 3", "question 2"]
    key = gaps(Digests(small.secret_key).tenant("acme"))
    assert 0 < redis_client.ttl(key) <= 100
    assert read_gaps(redis_client, small, tenant="other") == []


def test_a_reply_that_somebody_dislikes_is_noted_with_its_question(
    settings: Settings, desk: Desk, redis_client: redis.Redis
) -> None:
    taken = desk.accept("How long is the warranty?")
    lane = desk.take()
    desk.commit(
        lane,
        replies=1,
        turns=(Turn(role=Role.USER, text="How long is the warranty?", at=1), Turn(role=Role.ASSISTANT, text="Ten years.", at=2)),
        record={"state": "answered", "text": "Ten years."},
    )

    settle(settings, Feedback(taken.id, "up"), Feedback(taken.id, "down"), Feedback("junk", "down"))

    ((_, row),) = read_gaps(redis_client, settings)
    assert (row.why, row.question, row.reply, row.message) == (Why.DISLIKED, "How long is the warranty?", "Ten years.", taken.id)


def test_a_question_is_the_turn_before_the_latest_with_that_reply() -> None:
    turns = [
        Turn(role=role, text=text, at=1)
        for role, text in ((Role.USER, "one"), (Role.ASSISTANT, "yes"), (Role.USER, "two"), (Role.ASSISTANT, "yes"))
    ]

    assert asked(turns, "yes") == "two"
    assert asked(turns, "no") == ""
    assert asked(turns, "") == ""


def row(text: str, at: int, *, why: Why = Why.UNSURE, reason: str = "", id_: str = "") -> Gap:
    ref = Digests("a secret key of the tests").lane(WHOSE)
    return Gap(why=why, question=text, reply="perhaps", reason=reason, message=id_ or f"{chr(97 + at) * 26}-0", ref=ref, at=at)


def test_alike_questions_are_one_group_and_the_most_frequent_is_first() -> None:
    rows = [
        ("acme", row("refund when?", 5)),
        ("acme", row("Colour?", 4)),
        ("acme", row("refund how long?", 3, why=Why.HANDED_OVER, reason="anger")),
        ("acme", row("refund when", 2)),
        ("other", row("refund when?", 1)),
    ]

    groups = gap_desk.grouped(rows, Letters())

    assert [(group.tenant, len(group.gaps)) for group in groups] == [("acme", 3), ("acme", 1), ("other", 1)]
    assert groups[0].questions == ("refund when?", "refund how long?")
    assert groups[0].why == {"unsure": 2, "handed over (anger)": 1}
    assert groups[0].id == "c" * 26 + "-0"


def test_an_agents_answer_is_what_people_said_after_the_question(desk: Desk, redis_client: redis.Redis) -> None:
    said = (
        (Role.AGENT, "old", 1),
        (Role.USER, "why?", 5),
        (Role.AGENT, "Because.", 6),
        (Role.AGENT, "So.", 7),
        (Role.USER, "ok", 8),
    )
    _history(desk, *said)

    assert agent_said(redis_client, desk.lanes, _own(desk, 5)) == "Because.\n\nSo."
    assert agent_said(redis_client, desk.lanes, _own(desk, 9)) == ""


def _history(desk: Desk, *said: tuple[Role, str, int]) -> None:
    desk.accept("why?", to=WHOSE)
    desk.commit(desk.take(), to=WHOSE, turns=tuple(Turn(role=role, text=text, at=at) for role, text, at in said))


def _own(desk: Desk, at: int) -> Gap:
    return msgspec.structs.replace(row("why?", 1), ref=desk.lanes.digests.lane(WHOSE), at=at)


def test_an_answer_becomes_an_entry_a_test_and_a_training_row(
    settings: Settings, desk: Desk, redis_client: redis.Redis, tmp_path: Path
) -> None:
    group = gap_desk.Group("acme", (_own(desk, 5),))

    written = gap_desk.write(tmp_path, group, "Within 14 days.\nTo your card.")
    gap_desk.keep(redis_client, settings, group, written[0], publish=False)

    (document,) = KnowledgeStore(settings, redis_client, "acme").draft()
    assert document.passages == 1
    (case,) = read(written[1]).cases
    assert (case.turns[0].says, case.turns[0].expect.contains) == (("why?",), ("Within 14 days.",))
    assert read(written[1]).knowledge == (written[0].resolve(),)
    assert json.loads(written[2].read_text())["messages"][1]["content"] == "Within 14 days.\nTo your card."


def test_an_agents_answer_with_personal_data_is_not_adopted(settings: Settings, desk: Desk, redis_client: redis.Redis) -> None:
    _history(desk, (Role.USER, "why?", 5), (Role.AGENT, "Write to ann@example.org", 6))

    with pytest.raises(KnowledgeError, match="personal data"):
        gap_desk.of_agent(redis_client, settings, gap_desk.Group("acme", (_own(desk, 5),)))
    with pytest.raises(KnowledgeError, match="no person has answered"):
        gap_desk.of_agent(redis_client, settings, gap_desk.Group("acme", (_own(desk, 9),)))


def test_what_is_dealt_with_is_forgotten(settings: Settings, desk: Desk, redis_client: redis.Redis) -> None:
    first, second = _own(desk, 5), _own(desk, 6)
    for one in (first, second):
        note_gap(redis_client, settings, "acme", one)

    drop_gaps(redis_client, [first])

    assert [found for _, found in read_gaps(redis_client, settings)] == [second]


def test_a_name_must_mean_one_gap() -> None:
    groups = gap_desk.grouped([("acme", row("refund?", 2)), ("acme", row("colour?", 2))], Letters())

    for named in ("", "zzz", "ccc"):
        with pytest.raises(KnowledgeError, match="begins with"):
            gap_desk.named(groups, named)
