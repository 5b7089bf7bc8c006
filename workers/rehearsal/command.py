"""The options of `replymill test`; everything heavy is imported when it runs."""

import dataclasses
import importlib
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from workers import shown
from workers.commanding import AsJson, loaded, part, print_json


def rehearse(
    paths: Annotated[list[Path], typer.Argument(help="Files of conversations, or folders of them.", show_default=False)],
    chosen: Annotated[
        str, typer.Option("-k", help="Only conversations with this in their file, name or tags.", show_default=False)
    ] = "",
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Conversations at a time.")] = 8,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit's XML there.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Play conversations through a private copy and check what is said: status 1 if one goes wrong, 2 if a file cannot be used."""
    files, run, report = (importlib.import_module(f"workers.rehearsal.{name}") for name in ("files", "run", "report"))
    suites = _picked(files.found(paths), chosen)
    settings = loaded()
    # The platforms that are played would tell of every request.
    logging.getLogger("aiohttp").setLevel(logging.WARNING)
    part("convert").ensure(settings.model, settings)

    def tell(verdict: Any) -> None:
        print("F" if verdict.fault else ".", end="", file=sys.stderr, flush=True)

    verdicts = run.play(settings, suites, jobs=jobs, tell=tell)
    print(file=sys.stderr)
    if junit:
        report.write_junit(junit, verdicts)
    if as_json:
        print_json(report.figures(verdicts))
    else:
        failed = [verdict for verdict in verdicts if verdict.fault]
        print(*(shown.visible(report.told(one)).plain for one in failed), sep="\n\n", end="\n\n" if failed else "")
        print(f"{len(verdicts) - len(failed)} passed, {len(failed)} failed")
    if any(verdict.fault for verdict in verdicts):
        raise typer.Exit(1)


def _picked(suites: list[Any], chosen: str) -> list[Any]:
    """Those whose file, name or tags have the word."""

    def wanted(suite: Any, case: Any) -> bool:
        return chosen.casefold() in "\n".join((str(suite.path), case.name, *case.tags)).casefold()

    kept = [dataclasses.replace(suite, cases=tuple(case for case in suite.cases if wanted(suite, case))) for suite in suites]
    kept = [suite for suite in kept if suite.cases]
    if not kept:
        raise typer.BadParameter(f"no conversation has {chosen!r} in its file, name or tags")
    return kept
