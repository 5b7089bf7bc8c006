"""`replymill cache`: what is reused, and why a question is or is not."""

from typing import Annotated, Any

import typer
from rich.console import Console

from workers import shown
from workers.commanding import AsJson, complete, part, print_json

cache = typer.Typer(help="The reply cache.", no_args_is_help=True)


@cache.command()
def purge(as_json: AsJson = False) -> None:
    """Forget every cached reply."""
    count = part("near_desk").purge(complete())
    print_json({"purged": count}) if as_json else print(f"{count} cached replies forgotten")


@cache.command()
def stats(as_json: AsJson = False) -> None:
    """Entries and hits of the reply cache; and of near matches, by tenant, with what comparisons said."""
    found = part("near_desk").stats(complete())
    if as_json:
        print_json(found)
        return
    tenants: dict[str, dict[str, Any]] = found.pop("near")
    Console().print(shown.facts("Reply cache", found))
    if tenants:
        Console().print(shown.rows("Near matches by tenant", [{"tenant": name, **facts} for name, facts in tenants.items()]))


@cache.command()
def explain(
    question: Annotated[str, typer.Argument(help="The question, as a person would type it.")],
    tenant: Annotated[str, typer.Option(help="Whose bot is asked; by default the only one.")] = "",
    language: Annotated[str, typer.Option(help="Its language, such as `en`; recognised where it is not given.")] = "",
    as_json: AsJson = False,
) -> None:
    """Why a question gets a reply that was kept for other words, or why not."""
    told = part("near_desk").explain(complete(), question, tenant, language)
    if as_json:
        print_json(told)
        return
    console = Console()
    for title, name in (("Nearest entries", "entries"), ("Features", "features")):
        if told[name]:
            console.print(shown.rows(title, told[name]))
    console.print(_verdict(told), markup=False)


def _verdict(told: dict[str, Any]) -> str:
    if told["barred"]:
        return f"Not looked up: {told['barred']}."
    if told["chosen"] is None:
        return f"No hit: nothing is kept for this tenant in the language {told['language']}."
    least = told["threshold"]
    needed = "none is given, as comparisons went wrong" if least > 1 else f"{least:.3f} is needed"
    sure = f"the answer to {told['chosen']!r} would be right with probability {told['p']:.3f}, and {needed}"
    same = " The same text is kept." if told["same_text"] else ""
    mode = {"shadow": " In the mode `shadow` it is only counted.", "off": " Near matches are off."}.get(told["mode"], "")
    return f"{'Hit' if told['would_hit'] else 'No hit'}: {sure}.{same}{mode}"
