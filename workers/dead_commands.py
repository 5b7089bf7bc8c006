"""`replymill dead`: what was given up, and what a person does about it."""

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import click
import typer
from rich.console import Console

from engine.errors import NotReplayable, ReplymillError
from workers import shown
from workers.commanding import AsJson, complete, part, print_json, print_rows

dead = typer.Typer(help="Messages and replies that were given up.", no_args_is_help=True)

Ids = Annotated[list[str] | None, typer.Argument(help="Ids, or the beginning of each.", show_default=False)]
OneId = Annotated[str, typer.Argument(help="The id, or its beginning.", show_default=False)]
OfPlatform = Annotated[str, typer.Option("--platform", help="Only those of this platform.", show_default=False)]
WithReason = Annotated[str, typer.Option("--reason", help="Only those whose reason holds this text.", show_default=False)]
Older = Annotated[str, typer.Option("--older", help="Only those given up longer ago, such as 30m, 2h or 7d.", show_default=False)]
Newer = Annotated[str, typer.Option("--newer", help="Only those given up more recently.", show_default=False)]
All = Annotated[bool, typer.Option("--all", help="All letters, or all that the filters leave.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")]


@dead.command("list")
def list_dead(
    platform: OfPlatform = "", reason: WithReason = "", older: Older = "", newer: Newer = "", as_json: AsJson = False
) -> None:
    """What was given up, and why, the newest first."""
    choice = _choice(platform=platform, reason=reason, older=older, newer=newer)
    rows = part("deadletters").dead_letters(complete(), choice)
    print_rows("Dead letters", rows if as_json else [shown.letter(row) for row in rows], as_json=as_json, nothing="no dead letters")


@dead.command()
def show(ids: Ids = None, as_json: AsJson = False) -> None:
    """All that is known of letters: reason, what was tried and when, and the text."""
    rows = part("deadletters").dead_letters(complete(), _choice(ids=_some(ids)))
    if as_json:
        print_json(rows)
        return
    for row in rows:
        Console().print(shown.whole_letter(row))


@dead.command()
def edit(
    letter_id: OneId,
    text: Annotated[
        str | None, typer.Option(help="The new text; without it $EDITOR opens on the old one.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Correct the text of a letter before it is replayed."""
    letters, chosen = part("deadletters"), complete()
    (letter,) = letters.chosen(chosen, _choice(ids=(letter_id,)))
    before = letters.text_of(letter)
    after = _edited(before) if text is None else text
    said = "unchanged" if after == before else letters.edit(chosen, letter, after)
    if said in letters.REFUSED:
        raise NotReplayable(f"{letter.id} {letters.REFUSED[said]}")
    print_json({"id": letter.id, "result": said}) if as_json else print(f"{letter.id} {said}")


@dead.command()
def replay(
    ids: Ids = None,
    everything: All = False,
    platform: OfPlatform = "",
    reason: WithReason = "",
    older: Older = "",
    newer: Newer = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Put letters back onto their conversations, in the order of their acceptance; each goes once, whoever else replays it."""
    letters, chosen = part("deadletters"), complete()
    found = letters.chosen(chosen, _choice(_some(ids, everything), platform=platform, reason=reason, older=older, newer=newer))
    if everything:
        messages = [letter for letter in found if letters.address_of(letter)]
        if left := len(found) - len(messages):
            print(f"{left} are no messages and stay: `replymill dead list` shows why", file=sys.stderr)
        found = messages
    if len(found) > 1:
        _ask(f"Replay {len(found)} dead letters?", yes=yes)
    said = letters.replay(chosen, found)
    results = [(letter.id, "replayed" if word == "replayed" else letters.REFUSED[word]) for letter, word in said]
    _tell(results, done="replayed", as_json=as_json)


@dead.command()
def drop(
    ids: Ids = None,
    everything: All = False,
    platform: OfPlatform = "",
    reason: WithReason = "",
    older: Older = "",
    newer: Newer = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Forget letters for good; asks first on a terminal."""
    letters, chosen = part("deadletters"), complete()
    found = letters.chosen(chosen, _choice(_some(ids, everything), platform=platform, reason=reason, older=older, newer=newer))
    if found:
        _ask(f"Drop {len(found)} dead letter{'s' if len(found) > 1 else ''} for good?", yes=yes)
    said = letters.drop(chosen, found)
    _tell([(letter.id, "dropped" if there else letters.REFUSED["gone"]) for letter, there in said], done="dropped", as_json=as_json)


def _some(ids: Sequence[str] | None, everything: bool = False) -> tuple[str, ...]:
    """The ids that were given; none at all only with `--all`."""
    if bool(ids) == everything:
        raise typer.BadParameter("name letters, or say --all" if not ids else "either name letters or say --all, not both")
    return tuple(ids or ())


def _choice(ids: Sequence[str] = (), **filters: str) -> Any:
    letters = part("deadletters")
    for name in ("older", "newer"):
        try:
            letters.seconds(filters.get(name) or "0s")
        except ValueError as error:
            raise typer.BadParameter(f"--{name}: {error}") from error
    return letters.Choice(ids=ids, **filters)


def _edited(text: str) -> str:
    """The text as it is when the editor closes; the line feed that editors end a file with is not part of it."""
    if not sys.stdin.isatty():
        raise typer.BadParameter("there is no terminal for an editor: give the new text by --text")
    after: str | None = click.edit(text)
    return text if after is None else after.rstrip("\n")


def _ask(question: str, *, yes: bool) -> None:
    if not yes and sys.stdin.isatty():
        typer.confirm(question, abort=True, err=True)


def _tell(results: Sequence[tuple[str, str]], *, done: str, as_json: bool) -> None:
    """Say what became of each letter; fails if it was not what was asked for."""
    if as_json:
        print_json([{"id": id_, "result": result} for id_, result in results])
    else:
        for id_, result in results:
            print(f"{id_} {result}")
        if not results:
            Console(stderr=True).print("no dead letters", markup=False)
    failed = [id_ for id_, result in results if result != done]
    if failed:
        raise ReplymillError(f"{len(failed)} of {len(results)} letters were not {done}")
