"""The options of `replymill chaos`; everything heavy is imported when it runs."""

import importlib
import json
import logging
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

#: Seconds between lines of progress where nobody looks on.
_LINES = 10.0


def chaos(  # noqa: PLR0913 - each is an option of the command line
    messages: Annotated[int, typer.Option(min=1, help="Messages to send.")] = 10_000,
    conversations: Annotated[int, typer.Option(min=1, help="Conversations they belong to.")] = 500,
    *,
    platforms: Annotated[str, typer.Option(help="Platforms, separated by commas.")] = "webhook,slack,telegram",
    faults: Annotated[
        str, typer.Option(help="What goes wrong, separated by commas: see --list; or none.", show_default="all")
    ] = "",
    seed: Annotated[int | None, typer.Option(help="The same seed sends and breaks the same.", show_default="a new one")] = None,
    rate: Annotated[float, typer.Option(min=0.1, help="Messages a second.")] = 50.0,
    spacing: Annotated[float, typer.Option(min=0.1, help="Seconds between faults.")] = 4.0,
    lease: Annotated[float, typer.Option(min=1, help="REPLYMILL_LEASE of the private copy, seconds.")] = 5.0,
    deadline: Annotated[float, typer.Option(min=1, help="Its REPLYMILL_DEADLINE_..., seconds.")] = 120.0,
    workers: Annotated[int, typer.Option(min=1, help="Its answering workers, and as many that deliver.")] = 2,
    unclear: Annotated[str, typer.Option(help="Its REPLYMILL_UNCLEAR.")] = "at-least-once",
    durability: Annotated[str, typer.Option(help="Its REPLYMILL_DURABILITY.")] = "everysec",
    cache: Annotated[bool, typer.Option(help="Its REPLYMILL_CACHE.")] = True,
    model: Annotated[str, typer.Option(help="Another REPLYMILL_MODEL, with webhooks alone: see docs/chaos.md.")] = "",
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folder with logs and data.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="Show what can go wrong, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Run a private Replymill under faults and check that nothing is lost, said twice or out of order; status 1 otherwise."""
    parts = {name: importlib.import_module(f"workers.chaos.{name}") for name in ("faults", "plan", "report", "run", "world")}
    known = parts["faults"].FAULTS
    if listed:
        width = max(map(len, known))
        print(*(f"{name:<{width}}  {fault.meaning}" for name, fault in known.items()), sep="\n")
        return
    chosen = [] if faults == "none" else _chosen(faults, list(known), "fault")
    sides = _chosen(platforms, list(parts["world"].SIDES), "platform")
    if model and sides != ["webhook"]:
        raise typer.BadParameter("--model needs --platforms webhook: the other platforms are told by the text what a reply answers")
    _one_of("--unclear", unclear, "at-least-once", "at-most-once")
    _one_of("--durability", durability, "everysec", "fsync")
    kept = {"lease": lease, "deadline": deadline, "workers": workers, "unclear": unclear, "durability": durability}
    shape = parts["world"].Shape(platforms=sides, cache=cache, model=model, **kept)
    size = parts["plan"].Size(messages, conversations, tuple(sides), rate, spacing)
    seed = random.randrange(1_000_000) if seed is None else seed  # noqa: S311 - a schedule, no secret
    result = _carried_out(parts, shape, parts["plan"].Plan.make(seed, size, chosen), seed=seed, keep=keep)
    if as_json:
        print(json.dumps({"seed": seed, **parts["report"].figures(result)}))
    else:
        out = Console(highlight=False)
        out.print(*parts["report"].shown(result))
    if result.breaches():
        raise typer.Exit(1)


def _carried_out(parts: dict[str, Any], shape: Any, plan: Any, *, seed: int, keep: bool) -> Any:
    """Run the plan in a private copy, telling on stderr how far it is."""
    # The simulated platforms would tell of every connection that breaks here.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    console = Console(stderr=True, highlight=False)
    messages, conversations = len(plan.messages), len({message.conversation for message in plan.messages})
    said = f"{messages:,} messages, {conversations:,} conversations, {len(plan.strikes)} faults, lease {shape.lease:g} s"
    console.print(f"seed {seed}: {said}", soft_wrap=True)
    with ExitStack() as stack:
        folder = stack.enter_context(_folder(keep=keep, console=console))
        tell = stack.enter_context(_told(console, parts["report"].line))
        world = stack.enter_context(parts["world"].replymill(folder, shape))
        return parts["run"].Run(world, plan, deadline=shape.deadline, unclear=shape.unclear, tell=tell).carry_out()


def _one_of(option: str, given: str, *known: str) -> None:
    if given not in known:
        raise typer.BadParameter(f"{option} is {' or '.join(known)}")


def _chosen(given: str, known: list[str], what: str) -> list[str]:
    """The names that were given, all if none was."""
    names = given.replace(",", " ").split() or known
    if unknown := [name for name in names if name not in known]:
        raise typer.BadParameter(f"there is no {what} {unknown[0]!r}: choose of {', '.join(known)}")
    return list(dict.fromkeys(names))


@contextmanager
def _folder(*, keep: bool, console: Console) -> Iterator[Path]:
    """A folder of the run's own, gone afterwards unless it is to be kept."""
    path = Path(tempfile.mkdtemp(prefix="replymill-chaos-"))
    try:
        yield path
    finally:
        if keep:
            console.print(f"logs and data are in {path}")
        else:
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _told(console: Console, line: Callable[[Any, float], str]) -> Iterator[Callable[[Any], None]]:
    """A line of progress that stays on a terminal's last line; elsewhere one every ten seconds."""
    began, last = time.monotonic(), -_LINES
    if not sys.stderr.isatty():

        def show(progress: Any) -> None:
            nonlocal last
            if time.monotonic() - last >= _LINES:
                last = time.monotonic()
                console.print(line(progress, last - began), soft_wrap=True)

        yield show
        return
    with console.status("starting a private Replymill") as status:
        yield lambda progress: status.update(line(progress, time.monotonic() - began))
