"""What the `replymill` command shows to a person: tables on stdout, progress on stderr."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rich.console import Console, Group
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

#: How a person reads the stages of `engine.sources.Progress`.
STAGES = {"download": "Downloading the model", "convert": "Converting the model", "index": "Indexing"}

#: What a terminal obeys instead of showing it, and what turns the direction of a line; line feeds and tabs apart.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")

#: Colours of `doctor`.
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def visible(value: object) -> Text:
    """What others wrote, as a terminal may have it: the characters that a terminal obeys stand there by their numbers."""
    return Text(_OBEYED.sub(lambda found: ascii(found[0])[1:-1], str(value)), overflow="fold")


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each stage while the block runs; takes the stage, what is done, and the total or 0."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(STAGES.get(stage, stage), total=None)
            bars.update(tasks[stage], completed=done, total=total or None)

        yield show


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """A spinner while the block runs."""
    with Console(stderr=True).status(text):
        yield


def facts(title: str, found: Mapping[str, Any]) -> Table:
    """Names and values, inner ones with dots."""
    table = Table("", "", title=title, show_header=False)
    for name, value in _flat(found):
        table.add_row(name, visible(value))
    return table


def _flat(found: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in found.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def backlog(found: Mapping[str, Any]) -> Table:
    """What waits, in both directions."""
    table = Table(
        "",
        *(Column(name, justify="right") for name in ("messages", "deferred", "conversations", "leased", "oldest")),
        title="Backlog",
    )
    for direction in ("inbound", "outbound"):
        part = found[direction]
        counts = (str(part[name]) for name in ("messages", "deferred", "lanes", "leased"))
        table.add_row(direction, *counts, f"{part['age_ms'] / 1000:.1f} s" if part["lanes"] else "-")
    people = found["people"]
    if people["waiting"]:
        table.caption = f"{people['waiting']} conversations wait for a person, the first since {moment(people['since'])}"
    if found["newer"]:
        table.caption = f"{found['newer']} conversations wait for a worker of a newer version"
    return table


def workers(found: Sequence[Mapping[str, str]]) -> Table:
    """Who works, and how fast over the last minute."""
    names = ("done", "failed", "per second", "tokens/s", "at work")
    table = Table("worker", "loop", *(Column(name, justify="right") for name in names), title="Workers")
    for worker in found:
        rate, tokens = float(worker["rate"]), float(worker["tokens_rate"])
        shown_tokens = f"{tokens:.0f}" if worker["loop"] == "answer" else "-"
        table.add_row(
            worker["name"], worker["loop"], worker["done"], worker["failed"], f"{rate:.2f}", shown_tokens, worker["running"]
        )
    if not found:
        table.caption = "none is running: `replymill up` or `replymill answer` starts one"
    return table


def rows(title: str, found: Sequence[Mapping[str, Any]]) -> Table:
    """One row each, columns as in the first."""
    table = Table(*found[0], title=title)
    for row in found:
        table.add_row(*(visible(value) for value in row.values()))
    return table


def letter(found: Mapping[str, Any]) -> dict[str, str]:
    """A dead letter in the columns that a terminal has room for; `dead show` and `--json` have the rest."""
    where = found["platform"] or "no message"
    failed = f"{found['attempts']} failed attempt{'' if found['attempts'] == 1 else 's'}"
    return {
        "when": moment(found["at"]),
        "id": str(found["id"]),
        "why": f"{found['reason']} ({where}, {found['direction']}bound, {failed})",
    }


def whole_letter(found: Mapping[str, Any]) -> Group:
    """All that is known of a dead letter."""
    table = Table("", "", title=f"Dead letter {found['id']}", show_header=False, title_justify="left")
    place = " / ".join(filter(None, (found["platform"], found["channel"], found["thread"]))) or "unknown: it is no message"
    for name, value in (
        ("given up", moment(found["at"])),
        ("reason", found["reason"]),
        ("direction", "from a person" if found["direction"] == "in" else "to a person"),
        ("conversation", place),
        ("accepted", moment(found["accepted_at"])),
        ("failed attempts", found["attempts"]),
    ):
        table.add_row(name, visible(value))
    for one in found["tried"]:
        table.add_row(Text(moment(one["at"]), style="dim"), visible(one["reason"]))
    return Group(table, visible(found["text"] or "(empty)"), Text(""))


def hit(found: Mapping[str, Any]) -> Group:
    """A passage that a search found, with what it was found by."""
    figures = f"{found['score']:.3f}  (cosine {found['cosine']:.3f}, words {found['lexical']:.3f})  "
    head = Text.assemble((figures, "bold"), visible(found["title"]))
    place = " ".join(filter(None, (found["document"], found["link"])))
    return Group(head, Text.assemble(("        ", ""), visible(place), style="dim"), visible(found["text"]), Text(""))


def moment(ms: float, *, exact: bool = False) -> str:
    """A time of this machine's clock, from Unix time in milliseconds; `exact`: to the millisecond."""
    at = datetime.fromtimestamp(ms / 1000)
    return f"{at:%d %b %H:%M:%S}" + (f".{at.microsecond // 1000:03d}" if exact else "")


def checks(found: Sequence[tuple[str, str, str, str]]) -> Table:
    """The findings of `doctor`."""
    table = Table("check", "", "found", "what to do", title="Replymill doctor")
    for check, level, what, advice in found:
        table.add_row(check, Text(level.upper(), style=_COLOURS[level]), visible(what), visible(advice))
    return table


def example(described: Sequence[tuple[str, str, str]]) -> str:
    """All settings as a `.env` file in which nothing is set."""
    return "\n".join(f"# {meaning}\n# {name}={default}\n" for name, default, meaning in described)
