"""What became of each message, told from what the platforms saw alone. Pure: no clock, no connection.

A reply repeats the messages that it answers (see `echo`), so a platform's own record shows which they are. A message has been

    answered       by exactly one reply
    twice          by two replies, or by one reply that a platform has twice although it could be known that it has it
    handed over, apologised   by no reply, but a fixed text in its conversation, after it was accepted, says so
    lost           by none of these before its deadline

Two messages are out of order if the reply to one comes before the reply to another that had been acknowledged before the first was
sent at all; what was under way at the same time may be answered in either order.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise


class Kind(StrEnum):
    """What a post of the bot is."""

    #: A reply to the messages it names.
    ANSWER = "answer"
    #: The fixed text that nothing could be answered in time.
    APOLOGY = "apology"
    #: The fixed text that a person will answer.
    HAND_OVER = "hand-over"
    #: Another fixed text; it settles nothing.
    NOTICE = "notice"
    #: The beginning of a reply that was shown while it was made and never became one.
    LEFT_OVER = "left over"


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One message as its sender saw it; times in seconds of one clock."""

    number: int
    platform: str
    conversation: int
    #: When the first attempt to send it began.
    sent_at: float
    #: When it was acknowledged; None: never.
    accepted_at: float | None
    deadline: float
    #: It asks for a person.
    asks: bool = False


@dataclass(frozen=True, kw_only=True)
class Post:
    """One message of the bot as the platform has it."""

    platform: str
    conversation: int
    at: float
    kind: Kind
    #: The messages it answers, in its own order.
    covers: tuple[int, ...] = ()


@dataclass(kw_only=True)
class Account:
    """The sums of one platform."""

    accepted: int = 0
    answered: int = 0
    apologised: int = 0
    handed_over: int = 0
    lost: int = 0
    twice: int = 0
    #: Of what is lost, how many replies are missing at least: one answers all that waited.
    gaps: int = 0
    #: Replies that the platform has more than once, each repeat counted, each right after the one it repeats.
    repeated: int = 0
    reordered: int = 0
    #: Answers that name a message of another conversation, or one that nobody sent.
    misplaced: int = 0
    #: Beginnings of replies that nothing became of.
    left_over: int = 0
    #: Answers after the deadline.
    late: int = 0
    #: Messages that were sent and never acknowledged.
    refused: int = 0
    #: Seconds from the first attempt to send to the first reply.
    times: list[float] = field(default_factory=list)
    #: Messages that something is wrong with, by what it is.
    wrong: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def note(self, what: str, number: int) -> None:
        """Count one message under the name of a field, and keep its number."""
        setattr(self, what, getattr(self, what) + 1)
        self.wrong[what].append(number)


def settle(sent: Sequence[Sent], posts: Sequence[Post]) -> dict[str, Account]:
    """The accounts by platform; posts in the order in which each conversation has them."""
    accounts = {platform: Account() for platform in dict.fromkeys(one.platform for one in sent)}
    asked: dict[tuple[str, int], list[Sent]] = defaultdict(list)
    said: dict[tuple[str, int], list[Post]] = defaultdict(list)
    for one in sent:
        asked[one.platform, one.conversation].append(one)
    for post in posts:
        said[post.platform, post.conversation].append(post)
    for place in {**asked, **said}:
        _settle_conversation(accounts.setdefault(place[0], Account()), asked[place], said[place])
    return accounts


def _settle_conversation(account: Account, asked: Sequence[Sent], said: Sequence[Post]) -> None:
    by_number = {one.number: one for one in asked}
    answers = [post for post in said if post.kind is Kind.ANSWER]
    distinct = [post for place, post in enumerate(answers) if not place or post.covers != answers[place - 1].covers]
    account.repeated += len(answers) - len(distinct)
    # The fixed text for a person is said once for each time it was asked for.
    account.repeated += max(0, sum(post.kind is Kind.HAND_OVER for post in said) - sum(one.asks for one in asked))
    account.left_over += sum(post.kind is Kind.LEFT_OVER for post in said)
    covered = Counter(number for post in distinct for number in post.covers)
    for number in covered.keys() - by_number.keys():
        account.note("misplaced", number)
    first = {number: post for post in reversed(answers) for number in post.covers}
    for one in asked:
        _settle_message(account, one, covered[one.number], first.get(one.number), said)
    missing = [one.number in account.wrong.get("lost", ()) for one in sorted(asked, key=lambda one: one.accepted_at or one.sent_at)]
    account.gaps += sum(here and not before for before, here in pairwise([False, *missing]))
    order = [by_number[number] for post in distinct for number in post.covers if number in by_number]
    for one in _out_of_order(dict.fromkeys(order)):
        account.note("reordered", one.number)


def _settle_message(account: Account, one: Sent, covered: int, first: Post | None, said: Sequence[Post]) -> None:
    if one.accepted_at is None and not covered:
        account.note("refused", one.number)
        return
    account.accepted += 1
    if first is not None:
        account.times.append(first.at - one.sent_at)
        if first.at > one.deadline:
            account.note("late", one.number)
    if covered == 1:
        account.answered += 1
    elif covered:
        account.note("twice", one.number)
    elif kind := _fixed(one, said):
        account.note("apologised" if kind is Kind.APOLOGY else "handed_over", one.number)
    else:
        account.note("lost", one.number)


def _fixed(one: Sent, said: Sequence[Post]) -> Kind | None:
    """The fixed text that settles a message which no reply answers: one that came after it was sent."""
    after = (post.kind for post in said if post.at >= one.sent_at)
    return next((kind for kind in after if kind in (Kind.APOLOGY, Kind.HAND_OVER)), None)


def _out_of_order(answered: Iterable[Sent]) -> list[Sent]:
    """Those, in the order of their replies, that were acknowledged before one that was answered earlier had been sent."""
    late, latest = [], float("-inf")
    for one in answered:
        if one.accepted_at is not None and one.accepted_at < latest:
            late.append(one)
        latest = max(latest, one.sent_at)
    return late


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """How long a fault was felt, seconds; None: nothing shows it."""

    name: str
    at: float
    #: Until a message that was first sent after it was answered.
    first: float | None
    #: Until everything that waited when it struck was answered.
    whole: float | None


def recoveries(strikes: Sequence[tuple[str, float]], sent: Sequence[Sent], posts: Sequence[Post]) -> list[Recovery]:
    """For each fault with its time."""
    answered: dict[int, float] = {}
    for post in posts:
        for number in post.covers:
            answered[number] = min(post.at, answered.get(number, post.at))
    spans = [(one.sent_at, one.accepted_at, answered[one.number]) for one in sent if one.number in answered]
    found = []
    for name, at in strikes:
        after = [done - at for began, _, done in spans if began >= at]
        waited = [done - at for _, taken, done in spans if taken is not None and taken <= at < done]
        found.append(Recovery(name=name, at=at, first=min(after, default=None), whole=max(waited, default=None)))
    return found


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a platform allows us to promise."""

    #: It can be asked what it has, or takes an id by which it knows a repeat.
    sure: bool
    #: `at-least-once` or `at-most-once`: what is done where it is not sure.
    unclear: str = "at-least-once"
    #: Sends that took effect while nobody could know it.
    ambiguous: int = 0


def uncertain(account: Account, rule: Rule) -> int:
    """What the doubt about sends has led to: repeats or, if nothing is to be said twice, missing replies."""
    if rule.sure:
        return 0
    return account.repeated if rule.unclear == "at-least-once" else account.gaps


def breaches(account: Account, rule: Rule) -> list[str]:
    """What breaks the promise; empty: it is kept."""
    allowed = uncertain(account, rule)
    lost = 0 if not rule.sure and rule.unclear == "at-most-once" else account.lost
    repeated = 0 if not rule.sure and rule.unclear == "at-least-once" else account.repeated
    counts = {
        "lost": lost,
        "said twice": account.twice + repeated,
        "out of order": account.reordered,
        "misplaced": account.misplaced,
        "half said": account.left_over,
        "never accepted": account.refused,
    }
    found = [f"{count} {what}" for what, count in counts.items() if count]
    if allowed > rule.ambiguous:
        found.append(f"{allowed} uncertain, but only {rule.ambiguous} sends were ambiguous")
    return found


def percentiles(values: Sequence[float]) -> Mapping[str, float]:
    """p50, p95 and p99, by nearest rank; nothing where there are none."""
    ranked = sorted(values)
    return {f"p{part}": ranked[min(len(ranked) - 1, round(part / 100 * (len(ranked) - 1)))] for part in (50, 95, 99) if ranked}
