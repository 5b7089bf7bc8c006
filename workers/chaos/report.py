"""The ledger as a person reads it, and as a program does."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from workers.chaos.ledger import Recovery, percentiles, uncertain
from workers.chaos.run import Progress, Result

#: Columns of the ledger and where they stand in an account.
_COUNTS = {
    "in": "accepted",
    "answered": "answered",
    "handed over": "handed_over",
    "apologised": "apologised",
    "lost": "lost",
    "twice": "twice",
    "out of order": "reordered",
}
#: What is told below the table where there is any of it.
_APART = {"late": "answered late", "refused": "never accepted", "misplaced": "misplaced", "left_over": "half said"}
#: These must be 0.
_FAULTS = frozenset({"lost", "twice", "out of order"})
#: Numbers of messages that are named for each thing that went wrong.
_SHOWN = 20


def figures(result: Result) -> dict[str, Any]:
    """Everything, for `--json`."""
    return {
        "ok": not result.breaches(),
        "seconds": round(result.seconds, 1),
        "platforms": {platform: _account(result, platform) for platform in result.accounts},
        "recovery": {name: _recovery(found) for name, found in _by_name(result.recoveries).items()},
        "recovery_all": _recovery(result.recoveries),
        "ended_by_themselves": result.ended,
        "breaches": result.breaches(),
    }


def shown(result: Result) -> list[Table | Text]:
    """What a person reads, in order."""
    return [ledger(result), *([recovery(result)] if result.recoveries else []), verdict(result)]


def ledger(result: Result) -> Table:
    """What became of the messages, a column a platform."""
    table = Table(title="Ledger, from the platforms' side", caption=_caption(result), caption_justify="left")
    table.add_column("messages")
    for platform in result.accounts:
        table.add_column(platform, justify="right")
    for name in _COUNTS:
        table.add_row(name, *(_count(result, platform, name) for platform in result.accounts))
    table.add_row("uncertain", *(_doubtful(result, platform) for platform in result.accounts), end_section=True)
    times = {platform: percentiles(account.times) for platform, account in result.accounts.items()}
    for name in ("p50", "p95", "p99"):
        shown = (f"{found[name]:.2f} s" if name in found else "-" for found in times.values())
        table.add_row(f"answered after, {name}", *shown)
    return table


def recovery(result: Result) -> Table:
    """How long each kind of fault was felt."""
    table = Table(title="Time to recover, seconds")
    for name, justify in (("fault", "left"), ("times", "right"), ("first reply", "right"), ("all that waited", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]  # of the literals
    for name, found in (*_by_name(result.recoveries).items(), ("all", result.recoveries)):
        table.add_row(name, str(len(found)), _spread([one.first for one in found]), _spread([one.whole for one in found]))
    return table


def verdict(result: Result) -> Text:
    """One line, or one for each promise that was broken."""
    found = result.breaches()
    if not found:
        doubtful = sum(uncertain(account, result.rules[platform]) for platform, account in result.accounts.items())
        rest = f" Uncertain, as nobody could be asked: {doubtful}." if doubtful else ""
        return Text(f"Nothing lost, nothing said twice, nothing out of order.{rest}", style="bold green")
    lines = []
    for platform, what in found.items():
        lines.append(f"{platform}: {', '.join(what)}")
        wrong = {name: numbers for name, numbers in result.accounts[platform].wrong.items() if name not in ("apologised", "late")}
        lines += [f"  {name}: {', '.join(f'm{n}' for n in numbers[:_SHOWN])}" for name, numbers in wrong.items()]
    return Text("\n".join(lines), style="bold red")


def line(progress: Progress, seconds: float) -> str:
    """How far it is."""
    counts = f"sent {progress.sent:,} of {progress.messages:,}, accepted {progress.accepted:,}, settled {progress.settled:,}"
    faults = f"{progress.strikes} faults" + (f", the last: {progress.latest}" if progress.latest else "")
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}  {counts}; {faults}"


def _caption(result: Result) -> str:
    """What no line of its own says, where there is any of it."""
    apart = [
        f"{platform}: {getattr(account, name)} {what}"
        for platform, account in result.accounts.items()
        for name, what in _APART.items()
        if getattr(account, name)
    ]
    apart += [
        f"{platform}: {account.lost} messages without a reply, as it may have been sent"
        for platform, account in result.accounts.items()
        if account.lost and not result.rules[platform].sure and result.rules[platform].unclear == "at-most-once"
    ]
    died = [f"{name} ended by itself, {count} times" for name, count in result.ended.items()]
    return "\n".join([f"in {result.seconds:.0f} s", *apart, *died])


def _count(result: Result, platform: str, name: str) -> Text:
    account, rule = result.accounts[platform], result.rules[platform]
    count = getattr(account, _COUNTS[name])
    if name == "twice" and (rule.sure or rule.unclear == "at-most-once"):
        count += account.repeated
    if name == "lost" and not rule.sure and rule.unclear == "at-most-once":
        count = 0
    return Text(f"{count:,}", style="bold red" if name in _FAULTS and count else "")


def _doubtful(result: Result, platform: str) -> str:
    """Of how many sends that may have led to it."""
    rule = result.rules[platform]
    return "-" if rule.sure else f"{uncertain(result.accounts[platform], rule)} of {rule.ambiguous}"


def _account(result: Result, platform: str) -> Mapping[str, Any]:
    account, rule = result.accounts[platform], result.rules[platform]
    names = (
        "accepted",
        "answered",
        "handed_over",
        "apologised",
        "lost",
        "twice",
        "repeated",
        "reordered",
        "misplaced",
        "left_over",
        "late",
    )
    return {
        **{name: getattr(account, name) for name in (*names, "refused")},
        "uncertain": uncertain(account, rule),
        "ambiguous_sends": rule.ambiguous,
        "can_be_sure": rule.sure,
        **{f"{name}_s": round(value, 3) for name, value in percentiles(account.times).items()},
        "wrong": {what: [f"m{number}" for number in numbers[:_SHOWN]] for what, numbers in account.wrong.items()},
    }


def _by_name(found: Sequence[Recovery]) -> dict[str, list[Recovery]]:
    grouped: dict[str, list[Recovery]] = defaultdict(list)
    for one in found:
        grouped[one.name].append(one)
    return dict(sorted(grouped.items()))


def _recovery(found: Sequence[Recovery]) -> dict[str, Any]:
    firsts = [one.first for one in found if one.first is not None]
    wholes = [one.whole for one in found if one.whole is not None]
    shown = {"first_reply": firsts, "all_that_waited": wholes}
    return {"times": len(found)} | {
        f"{what}_{name}_s": round(value, 2) for what, values in shown.items() for name, value in percentiles(values).items()
    }


def _spread(values: Sequence[float | None]) -> str:
    found = percentiles([value for value in values if value is not None])
    return f"p50 {found['p50']:.1f}  p95 {found['p95']:.1f}" if found else "-"
