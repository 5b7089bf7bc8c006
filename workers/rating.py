"""Rating in the terminal: two replies beside each other, one key a choice."""

import time
from collections.abc import Callable

import click
from rich.columns import Columns
from rich.console import Console, Group
from rich.panel import Panel
from rich.text import Text

from engine.rating import Session, Shown
from workers import shown

KEYS = {"1": "left", "2": "right", "t": "tie", "0": "tie"}
HELP = "1 left is better   2 right is better   t tie   n note   u undo   q quit"


def rate(session: Session, *, read_key: Callable[[], str] = click.getchar, console: Console | None = None) -> None:
    """Asks for one pair after the other until all are judged or the rater has had enough."""
    screen = console or Console()
    while one := session.next:
        screen.print(_pair(one, *session.progress))
        if not _judge(session, one, read_key, screen):
            return
    screen.print("All pairs are judged.")


def _judge(session: Session, one: Shown, read_key: Callable[[], str], screen: Console) -> bool:
    """One pair; False: enough for now."""
    began, note = time.monotonic(), ""
    while True:
        key = read_key().lower()
        if key in KEYS:
            session.judge(one, KEYS[key], note=note, seconds=time.monotonic() - began)
            return True
        if key == "u" and session.undo():
            return True
        if key in ("q", "\x03", "\x04"):
            return False
        if key == "n":
            note = screen.input("Note: ")
        screen.print(HELP, style="dim")


def _pair(one: Shown, done: int, total: int) -> Group:
    replies = Columns(
        [Panel(shown.visible(text), title=name, title_align="left") for name, text in (("1", one.left), ("2", one.right))],
        equal=True,
        expand=True,
    )
    question = shown.visible(one.pair.question)
    question.stylize("bold")
    return Group(Text(f"\n{done + 1} of {total}", style="dim"), question, replies, Text(HELP, style="dim"))
