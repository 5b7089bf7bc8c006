"""`replymill gaps`: what was not answered well, and how an answer to it becomes knowledge."""

import re
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from workers import shown
from workers.commanding import AsJson, complete, part, print_json, print_rows

gaps = typer.Typer(help="Questions that were not answered well, by frequency.", invoke_without_command=True)

_UNITS = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


@gaps.callback()
def listed(
    context: typer.Context,
    tenant: Annotated[str | None, typer.Option(help="Whose; by default everybody's.", show_default=False)] = None,
    since: Annotated[str, typer.Option(help="How far back, such as 12h, 7d or 4w.")] = "30d",
    as_json: AsJson = False,
) -> None:
    """Questions that were not answered well, the most frequent first."""
    if context.invoked_subcommand:
        return
    back = re.fullmatch(r"([0-9]{1,6})([mhdw])", since)
    if not back:
        raise typer.BadParameter("--since is a number and m, h, d or w, such as 7d")
    begin = round((time.time() - int(back[1]) * _UNITS[back[2]]) * 1000)
    groups = part("gap_desk").listed(complete(), tenant=tenant, since=begin)
    rows = [
        {
            "id": group.id if as_json else group.id[:8],
            "times": len(group.gaps),
            "tenant": group.tenant,
            "question": list(group.questions) if as_json else "\n".join(group.questions[:3]),
            "why": group.why if as_json else ", ".join(f"{why} {count}" for why, count in group.why.items()),
            "replied": group.gaps[0].reply if as_json else group.gaps[0].reply[:120],
            "latest": group.gaps[0].at if as_json else shown.moment(group.gaps[0].at),
        }
        for group in groups
    ]
    print_rows("Gaps", rows, as_json=as_json, nothing="nothing was left unanswered")


@gaps.command()
def adopt(
    named: Annotated[str, typer.Argument(metavar="ID", help="As `replymill gaps` shows it, or its beginning.", show_default=False)],
    answer: Annotated[str, typer.Option(help="The answer.", show_default=False)] = "",
    from_agent: Annotated[bool, typer.Option("--from-agent", help="What a person answered in the conversation.")] = False,
    folder: Annotated[Path, typer.Option(help="Where entry, test and training row are written.")] = Path("adopted"),
    publish: Annotated[bool, typer.Option("--publish", help="Publish the knowledge base with it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make an answer a knowledge entry, a conversation test and a training row."""
    if bool(answer.strip()) is from_agent:
        raise typer.BadParameter("give the answer by --answer, or take a person's by --from-agent")
    made = part("gap_desk").take(complete(), named, answer=answer, folder=folder, publish=publish)
    paths = {name: str(getattr(made, name)) for name in ("knowledge", "conversation", "training")}
    if as_json:
        print_json({**paths, "version": made.version})
        return
    for name, path in paths.items():
        Console().print(f"{name}: {path}", markup=False)
    print(f"version {made.version} is published" if made.version else "`replymill kb publish` lets it be used")
