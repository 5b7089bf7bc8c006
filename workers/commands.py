"""What a person or a script types after `replymill`: thin, one function a command; results on stdout, all else on stderr."""

import importlib
import importlib.metadata
import platform as machine
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from engine.accounts import SlackApp
from engine.choices import listed
from engine.settings import Settings, describe
from workers import (
    cache_commands,
    cli,
    dead_commands,
    eval_commands,
    gap_commands,
    handoff_commands,
    kb_commands,
    shown,
    tools_commands,
    trace_commands,
)
from workers.chaos import command as chaos
from workers.commanding import AsJson, complete, loaded, part, print_json, print_rows
from workers.rehearsal import command as rehearsal

#: Stands in a manifest until the real one is known.
EXAMPLE_ADDRESS = "https://bot.example.com"

app = typer.Typer(
    name="replymill",
    help="Answers support chat with a language model that runs on your own machine.",
    epilog="Exit status: 0 done, 1 failed (one line on stderr says why), 2 wrong usage or settings, 130 interrupted. "
    "Settings are REPLYMILL_ variables, from the environment or from `.env` in this folder: see `.env.example`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
model = typer.Typer(help="Fetch, convert and list models.", no_args_is_help=True)
slack = typer.Typer(help="Slack.", no_args_is_help=True)
app.add_typer(slack, name="slack")
app.add_typer(model, name="model")
app.add_typer(cache_commands.cache, name="cache")
app.add_typer(dead_commands.dead, name="dead")
app.add_typer(eval_commands.evaluation, name="eval")
app.add_typer(gap_commands.gaps, name="gaps")
app.add_typer(handoff_commands.handoff, name="handoff")
app.add_typer(tools_commands.tools, name="tools")
app.add_typer(kb_commands.kb, name="kb")
app.command()(chaos.chaos)
app.command()(trace_commands.trace)
app.command("test")(rehearsal.rehearse)

ModelSource = Annotated[str, typer.Argument(help="The model; by default REPLYMILL_MODEL.", show_default=False)]


def carry_out(arguments: Sequence[str]) -> None:
    """One command line.

    :raises ReplymillError: it failed.
    """
    app(list(arguments), prog_name="replymill")


def console(question: str) -> Any:
    """What `workers.console` finds out by its function of that name; settings are checked before it is imported."""
    chosen = complete()
    return getattr(part("console"), question)(chosen)


@app.command()
def up(verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the logs of all processes here.")] = False) -> None:
    """Run everything here, Redis too if none is set; Ctrl-C drains and stops, a second one hastens.

    On a terminal the processes log to files in the data folder; elsewhere, or with --verbose, to stderr.
    """
    part("supervisor").up(loaded(), prepare=_prepare, verbose=verbose)


def _prepare(chosen: Settings) -> None:
    with shown.progress() as progress:
        part("convert").ensure(chosen.model, chosen, progress=progress)


@app.command()
def web() -> None:
    """Run the web process: takes messages, serves the chat page."""
    cli.serve("web")


@app.command()
def answer() -> None:
    """Run an answering worker; start as many as the machines hold."""
    cli.serve("answer")


@app.command()
def deliver() -> None:
    """Run a delivery worker: posts replies back."""
    cli.serve("deliver")


@app.command()
def jobs() -> None:
    """Run the periodic jobs; one such process is enough."""
    cli.serve("jobs")


@app.command()
def ask(question: Annotated[str, typer.Argument(help="What a customer would ask.")], as_json: AsJson = False) -> None:
    """Send a question through the queue and print the reply."""
    if not question.strip():
        raise typer.BadParameter("the question is empty")
    chosen = complete()
    with shown.waiting("Waiting for the reply"):
        reply = part("console").ask(chosen, question)
    if as_json:
        told = {"text": reply.text, "source": reply.source, "evidence": reply.evidence, "trace": reply.trace}
        print_json(told | ({"choices": reply.choices} if reply.choices else {}))
    else:
        print(shown.visible(listed(reply.text, reply.choices)).plain)


@app.command()
def init(
    platform: Annotated[list[str] | None, typer.Option(help="A platform to set up; may be given several times.")] = None,
    name: Annotated[str, typer.Option(help="Name of the accounts; it stands in the paths that the platforms call.")] = "shop",
    file: Annotated[Path, typer.Option(help="The file to make.")] = Path(".env"),
    address: Annotated[str, typer.Option(help="Public address of this service, for a Slack manifest.")] = EXAMPLE_ADDRESS,
) -> None:
    """Ask which platforms, write a commented `.env`, and say what to do at each of them; for Slack, print its manifest too."""
    made = part("init")
    chosen = platform or _choose(made.PLATFORMS)
    if unknown := set(chosen) - set(made.PLATFORMS):
        raise typer.BadParameter(f"there is no platform {min(unknown)!r}: choose of {', '.join(made.PLATFORMS)}")
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise typer.BadParameter("a name is small letters and digits, with - between words")
    given = {one: made.answers(one, name, _ask) for one in chosen}
    made.write(file, [made.written(one, name, given[one]) for one in chosen])
    print(f"{file} is written; `replymill doctor` checks it, `replymill up` starts with it.")
    for one in chosen:
        print(f"\n{one}\n{'-' * len(one)}\n{made.steps(one, name)}")
        if one == "slack":
            path, text = made.manifest(file, name, address)
            print(f"\nThe manifest, also in {path}:\n\n{text}", end="")


def _choose(known: Sequence[str]) -> list[str]:
    """The platforms that a person names."""
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"name at least one by --platform, of {', '.join(known)}")
    named: str = typer.prompt(f"Which platforms, separated by spaces ({', '.join(known)})", err=True)
    return named.replace(",", " ").split()


def _ask(variable: str, meaning: str, hidden: bool) -> str:
    """The value of a variable; nothing where nobody can be asked."""
    if not sys.stdin.isatty():
        return ""
    answer: str = typer.prompt(f"{meaning}\n{variable}", default="", show_default=False, hide_input=hidden, err=True)
    return answer.strip()


@slack.command()
def manifest(
    name: Annotated[str, typer.Option(help="Name of the account in REPLYMILL_SLACK_<NAME>_...")] = "shop",
    address: Annotated[str, typer.Option(help="Public address of this service.")] = EXAMPLE_ADDRESS,
) -> None:
    """Print the manifest of a Slack app: paste it at https://api.slack.com/apps (From a manifest)."""
    account = Settings.load().accounts.get("slack", {}).get(name) or SlackApp(name=name, signing_secret="")
    print(part("slack_manifest").manifest(account, url=address), end="")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Backlog, age of the oldest message, workers and rates."""
    found = console("status")
    print_json(found) if as_json else Console().print(shown.backlog(found), shown.workers(found["workers"]))


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check machine, settings and Redis for what could lose messages or be slow; status 1 if something fails."""
    findings = part("doctor").checkup()
    rows = [(finding.check, str(finding.level), finding.found, finding.advice) for finding in findings]
    if as_json:
        print_json([dict(zip(("check", "level", "found", "advice"), row, strict=True)) for row in rows])
    else:
        Console().print(shown.checks(rows))
    if any(level == "fail" for _, level, _, _ in rows):
        raise typer.Exit(cli.FAILED)


@app.command()
def version(as_json: AsJson = False) -> None:
    """Versions of Replymill and of what it stands on."""
    found = {
        name: importlib.metadata.version(name) for name in ("replymill", "celery", "kombu", "redis", "ctranslate2", "tokenizers")
    }
    if as_json:
        print_json({**found, "python": machine.python_version()})
    else:
        print(f"replymill {found['replymill']} (Python {machine.python_version()})")


@app.command()
def settings(as_json: AsJson = False) -> None:
    """Every setting with its default and meaning, in the form of a `.env` file."""
    if as_json:
        print_json([dict(zip(("name", "default", "meaning"), row, strict=True)) for row in describe()])
    else:
        print(shown.example(describe()), end="")


@model.command()
def fetch(source: ModelSource = "", as_json: AsJson = False) -> None:
    """Download a model without converting it; print where it is."""
    chosen, sources = loaded(), part("sources")
    with shown.progress() as progress:
        path = sources.fetch(sources.Source.parse(source or chosen.model), chosen.cache_dir, progress=progress)
    print_json({"path": str(path)}) if as_json else print(path)


@model.command()
def convert(source: ModelSource = "", as_json: AsJson = False) -> None:
    """Download a model if need be and convert it; print where it is."""
    chosen = loaded()
    with shown.progress() as progress:
        path = part("convert").ensure(source or chosen.model, chosen, progress=progress)
    print_json({"path": str(path)}) if as_json else print(path)


@model.command("list")
def list_models(as_json: AsJson = False) -> None:
    """Models that are converted and ready on this machine."""
    rows = [
        {"source": card.source, "weights": card.weights, "bytes": card.model_bytes, "path": str(path)}
        for path, card in part("convert").converted(loaded())
    ]
    print_rows("Models", rows, as_json=as_json, nothing="no model is converted yet: run `replymill model convert`")
