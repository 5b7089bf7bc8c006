"""What commands of the command line share: settings, the modules they need, and how results are printed."""

import importlib
import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Console

from engine import telemetry
from engine.settings import Settings
from workers import logs, shown

#: What a command needs beyond this module, imported when it runs: `version` loads no engine.
PARTS = {
    "console": "workers.console",
    "convert": "engine.convert",
    "deadletters": "workers.deadletters",
    "comparison": "engine.comparison",
    "doctor": "workers.doctor",
    "evaluated": "engine.evaluated",
    "evaluating": "workers.evaluating",
    "gap_desk": "workers.gap_desk",
    "handoff_desk": "workers.handoff_desk",
    "home": "workers.home",
    "indexing": "engine.indexing",
    "init": "workers.init",
    "kb_desk": "workers.kb_desk",
    "kb_reading": "workers.kb_reading",
    "knowledge_store": "engine.knowledge_store",
    "sample": "workers.sample",
    "rating": "workers.rating",
    "ratings": "engine.rating",
    "rating_page": "workers.rating_page",
    "report_page": "workers.report_page",
    "slack_manifest": "connectors.slack_manifest",
    "near_desk": "workers.near_desk",
    "sources": "engine.sources",
    "store": "engine.store",
    "supervisor": "workers.supervisor",
    "errors": "engine.errors",
    "tool_answers": "engine.tool_answers",
    "tool_calls": "workers.tool_calls",
    "tool_requests": "engine.tool_requests",
    "tools": "engine.tools",
    "tools_file": "engine.tools_file",
    "traces": "workers.traces",
}

AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON.")]


def part(name: str) -> Any:
    """A module of `PARTS`."""
    return importlib.import_module(PARTS[name])


def loaded() -> Settings:
    """The settings of this process, its logs set up."""
    chosen = Settings.load()
    telemetry.check(chosen)
    logs.configure(chosen, lasting=False)
    return chosen


def complete() -> Settings:
    """The same with the running Redis and the kept keys."""
    filled: Settings = part("home").complete(loaded())
    return filled


def print_json(value: Any) -> None:
    print(json.dumps(value, default=str))


def print_rows(title: str, rows: Sequence[dict[str, Any]], *, as_json: bool, nothing: str) -> None:
    if as_json:
        print_json(rows)
    elif rows:
        Console().print(shown.rows(title, rows))
    else:
        Console(stderr=True).print(nothing, markup=False)
