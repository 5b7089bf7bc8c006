"""`replymill trace`: one message moment by moment, or the latest messages of a conversation."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from connectors import story
from connectors.traces import told
from engine.trail import Trail
from workers import shown
from workers.commanding import AsJson, complete, part, print_json

#: Messages of a conversation that a terminal shows.
LATEST = 20

Asked = Annotated[
    str,
    typer.Argument(
        help="A message id, a link to a message or conversation as copied from its platform, or platform/channel/thread.",
        show_default=False,
    ),
]


def trace(asked: Asked, as_json: AsJson = False) -> None:
    """What happened to a message, or to the latest messages of a conversation."""
    trail, models = part("traces").found(complete(), asked)
    if as_json:
        print_json(told(trail, models))
    elif trail.id:
        Console().print(_one(trail, models))
    else:
        Console().print(_many(trail))


def _one(trail: Trail, models: dict[int, str]) -> Table:
    table = Table("when", "", "what", "", title=f"Message {trail.id}", title_justify="left")
    table.caption = f"conversation {trail.ref}, owned by {trail.owner}"
    rows = story.moments(trail, models)
    for moment in rows:
        since = f"+{moment.at - rows[0].at:.0f} ms"
        table.add_row(shown.moment(moment.at, exact=True), since, moment.what, shown.visible(moment.detail))
    return table


def _many(trail: Trail) -> Table:
    table = Table("when", "trace it by", "last", title=f"Conversation {trail.ref}, owned by {trail.owner}", title_justify="left")
    for name in trail.messages[-LATEST:]:
        about = trail.about(name)
        last = about.events[-1] if about.events else None
        at, what = (last.at, last.name) if last else (about.waiting[0].received_at, "waiting")
        table.add_row(shown.moment(at, exact=True), f"{trail.ref}/{name}", what)
    return table
