"""Rows about faults: nothing lost, doubled or reordered, how soon a fault is over, and plain programs under the same faults."""

import functools
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.bench import plain
from tests.bench.rows import Row
from tests.system import ROOT
from workers.chaos.plan import Plan, Size
from workers.chaos.run import Result, Run

SEED = 1
MESSAGES, CONVERSATIONS = 10_000, 500
LEASE = 5.0
#: Of the comparison: slow enough for a bot that answers one message after the other.
SIZE = Size(messages=400, conversations=40, rate=6.0, spacing=3.0)
#: A plain program that keeps nothing has no more to say after this long, seconds.
DEADLINE = 30.0


@functools.cache
def figures(messages: int, conversations: int, *options: str) -> dict[str, Any]:
    """What `replymill chaos --json` prints."""
    size = ("--messages", str(messages), "--conversations", str(conversations), "--seed", str(SEED), "--lease", str(LEASE))
    command = [sys.executable, "-m", "workers.cli", "chaos", *size, *options, "--json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    return dict(json.loads(done.stdout))


def totals(found: dict[str, Any]) -> dict[str, int]:
    """Over all platforms."""
    names = ("accepted", "answered", "handed_over", "apologised", "lost", "twice", "reordered", "uncertain")
    return {name: sum(one[name] for one in found["platforms"].values()) for name in names}


def chaos() -> Row:
    found = figures(MESSAGES, CONVERSATIONS)
    sums = totals(found)
    wrong = sum(len(what) for what in found["breaches"].values())
    times = {platform: {name: one.get(name) for name in ("p50_s", "p99_s")} for platform, one in found["platforms"].items()}
    detail = {
        **sums,
        "seconds": found["seconds"],
        "faults": found["recovery_all"]["times"],
        "times": times,
        "load": os.getloadavg()[2],
    }
    if wrong:
        detail["breaches"] = found["breaches"]
    ok = found["ok"] and sums["accepted"] == MESSAGES
    return Row(wrong, "10,000 messages: 0 lost, 0 twice, 0 out of order", ok, detail)


def recovery() -> Row:
    found = figures(MESSAGES, CONVERSATIONS)
    p95 = found["recovery_all"]["all_that_waited_p95_s"]
    detail = {"lease_s": LEASE, **found["recovery_all"], "load": os.getloadavg()[2]}
    return Row(p95, "p95 under 2x the lease", p95 < 2 * LEASE, detail)


def chaos_plain() -> Row:
    """The same number of messages, on the platform of each program; Replymill with the same faults beside it."""
    detail: dict[str, Any] = {"messages": SIZE.messages, "seed": SEED}
    for name in plain.WORLDS:
        detail[f"plain {name}"] = counts(run_plain(name))
        platform = PLATFORM[name]
        options = ("--platforms", platform, "--rate", str(SIZE.rate), "--spacing", str(SIZE.spacing))
        found = figures(SIZE.messages, SIZE.conversations, *options, "--faults", ",".join(plain.APPLY[name]))
        detail[f"replymill {platform}"] = {kind: found["platforms"][platform][kind] for kind in KINDS}
    wrong = sum(detail[f"replymill {platform}"][kind] for platform in PLATFORM.values() for kind in ("lost", "twice", "reordered"))
    return Row(wrong, "Replymill 0 lost, 0 twice, 0 out of order where plain programs have some", wrong == 0, detail)


#: The platform of each program.
PLATFORM = {"bolt": "slack", "telegram": "telegram", "celery": "webhook"}
KINDS = ("accepted", "answered", "handed_over", "lost", "twice", "repeated", "reordered")


def run_plain(name: str, size: Size = SIZE) -> Result:
    """A plain program under the faults that apply to it."""
    sized = replace(size, platforms=(PLATFORM[name],))
    plan = Plan.make(SEED, sized, list(plain.APPLY[name]))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, plain.WORLDS[name](Path(folder)) as world:
        return Run(world, plan, deadline=DEADLINE, unclear="at-least-once", tell=lambda _: None).carry_out()


def counts(result: Result) -> dict[str, int]:
    (account,) = result.accounts.values()
    return {kind: getattr(account, kind) for kind in KINDS}


ROWS = {"chaos": chaos, "recovery": recovery, "chaos-plain": chaos_plain}
