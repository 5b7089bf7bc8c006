"""The ledger of `replymill chaos` finds what was planted, and nothing where nothing was; the plan is made of its seed alone."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.chaos.faults import FAULTS
from workers.chaos.ledger import Account, Kind, Post, Rule, Sent, breaches, percentiles, recoveries, settle, uncertain
from workers.chaos.plan import REPEATS, Plan, Size

SURE, UNSURE = Rule(sure=True), Rule(sure=False, ambiguous=3)


def sent(number: int, *, at: float | None = None, taken: float | None = 0.0, conversation: int = 1) -> Sent:
    """A message that was acknowledged a tenth of a second after it was sent, unless told otherwise."""
    began = float(number) if at is None else at
    accepted = began + 0.1 if taken == 0.0 else taken
    return Sent(
        number=number, platform="slack", conversation=conversation, sent_at=began, accepted_at=accepted, deadline=began + 60
    )


def post(*covers: int, at: float = 10.0, kind: Kind = Kind.ANSWER, conversation: int = 1) -> Post:
    return Post(platform="slack", conversation=conversation, at=at, kind=kind, covers=covers)


def account(messages: list[Sent], posts: list[Post]) -> Account:
    return settle(messages, posts)["slack"]


@st.composite
def perfect(draw: st.DrawFn) -> tuple[list[Sent], list[Post]]:
    """Messages of some conversations, sent one after the other, and replies to one or several of them at a time, in order."""
    messages, posts = [], []
    for number in range(draw(st.integers(2, 24))):
        messages.append(sent(number, conversation=draw(st.integers(0, 3))))
    for conversation in {one.conversation for one in messages}:
        left = [one.number for one in messages if one.conversation == conversation]
        while left:
            size = draw(st.integers(1, len(left)))
            posts.append(post(*left[:size], at=100.0 + left[0], conversation=conversation))
            left = left[size:]
    return messages, posts


@given(perfect())
def test_a_perfect_run_has_nothing_wrong(run: tuple[list[Sent], list[Post]]) -> None:
    found = account(*run)

    assert (found.accepted, found.answered) == (len(run[0]), len(run[0]))
    assert not breaches(found, SURE) + breaches(found, UNSURE)


@given(perfect(), st.data())
def test_a_reply_that_is_gone_leaves_its_messages_lost(run: tuple[list[Sent], list[Post]], data: st.DataObject) -> None:
    messages, posts = run
    gone = data.draw(st.sampled_from(posts))

    found = account(messages, [one for one in posts if one is not gone])

    assert sorted(found.wrong["lost"]) == sorted(gone.covers)
    assert breaches(found, SURE) == [f"{len(gone.covers)} lost"]


@given(perfect(), st.data())
def test_a_reply_said_twice_is_found_wherever_the_second_stands(run: tuple[list[Sent], list[Post]], data: st.DataObject) -> None:
    messages, posts = run
    again = data.draw(st.sampled_from(posts))
    place = data.draw(st.integers(0, len(posts)))

    found = account(messages, [*posts[:place], again, *posts[place:]])

    assert found.twice + found.repeated >= 1
    assert "said twice" in breaches(found, SURE)[0]


@given(perfect(), st.data())
def test_a_message_in_the_replies_to_two_turns_is_said_twice_on_every_platform(
    run: tuple[list[Sent], list[Post]], data: st.DataObject
) -> None:
    messages, posts = run
    again = data.draw(st.sampled_from(posts))
    more = replace(again, covers=(*again.covers, 999_999))

    found = account([*messages, sent(999_999, conversation=again.conversation)], [*posts, more])

    assert sorted(found.wrong["twice"]) == sorted(again.covers)
    assert breaches(found, UNSURE)


@given(perfect(), st.data())
def test_two_replies_that_have_changed_places_are_out_of_order(run: tuple[list[Sent], list[Post]], data: st.DataObject) -> None:
    messages, posts = run
    pairs = [
        (one, other)
        for one in range(len(posts))
        for other in range(one + 1, len(posts))
        if posts[one].conversation == posts[other].conversation
    ]
    if pairs:
        one, other = data.draw(st.sampled_from(pairs))
        posts = [*posts]
        posts[one], posts[other] = posts[other], posts[one]

    assert bool(account(messages, posts).reordered) == bool(pairs)


@given(perfect(), st.data())
def test_a_reply_in_another_conversation_is_misplaced_and_its_messages_are_lost(
    run: tuple[list[Sent], list[Post]], data: st.DataObject
) -> None:
    messages, posts = run
    astray = data.draw(st.sampled_from(posts))

    found = account(messages, [replace(one, conversation=77) if one is astray else one for one in posts])

    assert sorted(found.wrong["misplaced"]) == sorted(found.wrong["lost"]) == sorted(astray.covers)


def test_messages_that_were_under_way_at_the_same_time_may_be_answered_in_either_order() -> None:
    together = [sent(1, at=1.0, taken=3.0), sent(2, at=2.0, taken=2.1)]

    assert account(together, [post(2), post(1)]).reordered == 0
    assert account([sent(1), sent(2)], [post(2), post(1)]).wrong["reordered"] == [1]
    assert account([sent(1), sent(2)], [post(2, 1)]).wrong["reordered"] == [1]


def test_a_fixed_text_settles_what_no_reply_answers_and_nothing_that_came_after_it() -> None:
    found = account([sent(1), sent(2), sent(9)], [post(1), post(at=5.0, kind=Kind.APOLOGY)])
    assert (found.answered, found.wrong["apologised"], found.wrong["lost"]) == (1, [2], [9])

    handed_over = post(at=5.0, kind=Kind.HAND_OVER)
    found = account([replace(sent(1), asks=True)], [handed_over])
    assert (found.handed_over, breaches(found, SURE)) == (1, [])
    assert breaches(account([replace(sent(1), asks=True)], [handed_over, handed_over]), SURE) == ["1 said twice"]

    assert account([sent(1)], [post(at=5.0, kind=Kind.NOTICE)]).lost == 1


def test_a_beginning_that_was_left_is_found() -> None:
    found = account([sent(1)], [post(kind=Kind.LEFT_OVER), post(1)])

    assert (found.left_over, breaches(found, SURE)) == (1, ["1 half said"])


def test_what_was_never_acknowledged_is_not_lost_and_not_passed_over() -> None:
    found = account([sent(1, taken=None)], [])
    assert (found.lost, breaches(found, SURE)) == (0, ["1 never accepted"])

    assert breaches(account([sent(1, taken=None)], [post(1)]), SURE) == []


def test_an_answer_after_the_deadline_is_late() -> None:
    assert account([sent(1)], [post(1, at=60.0)]).late == 0
    assert account([sent(1)], [post(1, at=62.0)]).wrong["late"] == [1]


def test_where_nobody_can_be_asked_repeats_are_uncertain_up_to_the_ambiguous_sends() -> None:
    found = account([sent(1)], [post(1)] * 4)
    assert uncertain(found, UNSURE) == 3
    assert breaches(found, UNSURE) == []
    assert breaches(found, replace(UNSURE, ambiguous=2)) == ["3 uncertain, but only 2 sends were ambiguous"]
    assert breaches(found, replace(UNSURE, unclear="at-most-once")) == ["3 said twice"]
    assert breaches(account([sent(1)], []), UNSURE) == ["1 lost"]


def test_where_nothing_may_be_said_twice_a_missing_reply_is_uncertain_whatever_number_of_messages_it_answered() -> None:
    careful = replace(UNSURE, unclear="at-most-once", ambiguous=2)
    messages = [sent(number) for number in range(7)]

    found = account(messages, [post(0), post(3, 4)])  # one reply to 1 and 2, one to 5 and 6

    assert (found.lost, uncertain(found, careful), breaches(found, careful)) == (4, 2, [])
    assert breaches(found, replace(careful, ambiguous=1)) == ["2 uncertain, but only 1 sends were ambiguous"]


def test_recovery_is_told_from_the_first_reply_and_from_all_that_waited() -> None:
    messages = [sent(1, at=0.0), sent(2, at=4.9), sent(3, at=6.0), sent(4, at=6.5)]
    posts = [post(1, at=1.0), post(2, at=9.0), post(3, at=8.0), post(4, at=8.5)]

    (found,) = recoveries([("kill-worker", 5.0)], messages, posts)

    assert (found.first, found.whole) == (3.0, pytest.approx(4.0))
    assert recoveries([("kill-worker", 7.0)], messages, posts)[0].first is None


def test_percentiles_are_of_the_values_themselves() -> None:
    assert percentiles([float(n) for n in range(101)]) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}
    assert percentiles([]) == {}


# -- the plan -------------------------------------------------------------------------------------------------------------------

SIZE = Size(messages=400, conversations=20, platforms=("webhook", "slack"), rate=20, spacing=2)


def test_a_seed_makes_the_same_plan_again_and_another_seed_another() -> None:
    plan = Plan.make(7, SIZE, list(FAULTS))

    assert plan == Plan.make(7, SIZE, list(FAULTS))
    assert plan != Plan.make(8, SIZE, list(FAULTS))


def test_a_plan_holds_every_message_once_and_every_fault_in_turn() -> None:
    plan = Plan.make(7, SIZE, list(FAULTS))
    struck = [strike.name for strike in plan.strikes]

    assert sorted(message.number for message in plan.messages) == list(range(400))
    assert len({(message.platform, message.conversation) for message in plan.messages}) == 20
    assert set(struck) == set(FAULTS) - {"duplicate", "reorder"}
    assert max(map(struck.count, struck)) - min(map(struck.count, set(struck))) <= 1
    assert all(0 < strike.at < 20 for strike in plan.strikes)
    repeated = [message for message in plan.messages if message.repeats]
    assert repeated
    assert all(len(message.repeats) == REPEATS for message in repeated)


def test_some_conversations_end_by_asking_for_a_person() -> None:
    messages = sorted(Plan.make(7, SIZE, list(FAULTS)).messages, key=lambda message: message.at)
    asking = [message for message in messages if message.asks]

    assert [message.text for message in asking] == ["/human"]
    assert [message for message in messages if message.conversation == asking[0].conversation][-1] == asking[0]


def test_without_faults_a_plan_only_sends() -> None:
    plan = Plan.make(7, SIZE, [])

    assert not plan.strikes
    assert not any(message.repeats for message in plan.messages)
    assert [message.at for message in plan.messages] == sorted(message.at for message in plan.messages)
    swapped = Plan.make(7, SIZE, ["reorder"]).messages
    assert [message.at for message in swapped] != [message.at for message in plan.messages]
    assert sorted(message.at for message in swapped) == [message.at for message in plan.messages]
