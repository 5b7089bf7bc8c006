"""`replymill handoff`: which conversations people have, and what an operator does about it."""

import time
from typing import Annotated

import typer
from rich.console import Console

from workers.commanding import AsJson, complete, part, print_json, print_rows

handoff = typer.Typer(help="Conversations that people have, or are to have.", no_args_is_help=True)

Named = Annotated[str, typer.Argument(help="platform/channel/thread, as `handoff list` and `trace` name it.", show_default=False)]


@handoff.command("list")
def list_held(as_json: AsJson = False) -> None:
    """Who waits for a person, or has one behind the bridge, and since when."""
    desk, now = part("handoff_desk"), time.time() * 1000
    rows = [
        {
            "conversation": desk.name_of(one.address),
            "owner": str(one.owner),
            "since": one.since if as_json else f"{max(0, now - one.since) / 60_000:.0f} min",
            "why": one.reason,
        }
        for one in desk.held(complete())
    ]
    print_rows("Hand-overs", rows, as_json=as_json, nothing="no person has a conversation, and none waits for one")


@handoff.command("give-back")
def give_back(conversation: Named, as_json: AsJson = False) -> None:
    """The bot answers again, and the user is told so."""
    desk = part("handoff_desk")
    _say(desk.name_of(desk.give_back(complete(), conversation)), "bot", as_json=as_json)


@handoff.command()
def take(conversation: Named, as_json: AsJson = False) -> None:
    """The bot is silent from now on; behind the bridge a thread is opened for the conversation."""
    desk = part("handoff_desk")
    _say(desk.name_of(desk.take(complete(), conversation)), "human", as_json=as_json)


def _say(name: str, owner: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"conversation": name, "owner": owner})
    else:
        Console().print(f"{name}: {owner}", markup=False)
