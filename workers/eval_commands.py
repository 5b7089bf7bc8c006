"""`replymill eval`: one report about answers, search, confidence, cache and cost; reports compared; replies rated by people."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from engine.errors import EvaluationError
from workers import cli, shown
from workers.commanding import AsJson, loaded, part, print_json


class _RunByDefault(TyperGroup):
    """`replymill eval FILE` is `replymill eval run FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "--help"}:
            args = ["run", *args]
        return super().parse_args(ctx, args)


evaluation = typer.Typer(
    cls=_RunByDefault, no_args_is_help=True, help="Measure answers, search, confidence, cache and cost; `run` may be left out."
)

What = Annotated[
    str, typer.Argument(help="A JSONL file of questions, or a public set: see docs/evaluation.md.", show_default=False)
]
Knowledge = Annotated[
    Path | None,
    typer.Option(help="Knowledge to ask, read now: JSONL or a document. Without it: what the tenant has published."),
]
Only = Annotated[str, typer.Option(help="Parts of it: retrieval,labels,abstention,cache,replies.", show_default="all")]
Gates = Annotated[list[str] | None, typer.Option("--gate", help="Status 1 unless it holds, such as 'retrieval.recall@1>=0.84'.")]
Compare = Annotated[tuple[Path, Path] | None, typer.Option(help="Two report.json: what changed from the first to the second.")]


@evaluation.command("run")
def run(
    what: What = "",
    *,
    knowledge: Knowledge = None,
    tenant: Annotated[str, typer.Option(help="Whose knowledge base.")] = "",
    only: Only = "",
    limit: Annotated[int, typer.Option(min=0, help="Most questions, chosen by the seed; 0: all.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed chooses the same.")] = 0,
    dev: Annotated[bool, typer.Option("--dev", help="Of a public set, a held-out half of its training part.")] = False,
    phrasings: Annotated[int, typer.Option(min=1, help="Phrasings an answer, in knowledge made of labelled questions.")] = 10,
    replies: Annotated[int, typer.Option(min=1, help="Questions that are answered in full.")] = 100,
    batch: Annotated[int, typer.Option(min=1, max=64, help="How many of them at a time.")] = 8,
    target: Annotated[float, typer.Option(min=0.5, max=0.9999, help="Precision that a threshold is sought for.")] = 0.95,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Confidence from which the first hit is given.", show_default="the setting"),
    ] = None,
    price: Annotated[float, typer.Option(min=0, help="Price of this machine an hour, for the cost of 1,000 replies.")] = 0.0,
    out: Annotated[Path, typer.Option(help="Folder for report.json, report.html and replies.jsonl.")] = Path(),
    compare: Compare = None,
    gate: Gates = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate a file or a public set, or compare two reports; Ctrl-C writes what there is."""
    gates = [part("comparison").Gate.parse(text) for text in gate or ()]
    if compare:
        _compare(compare, gates, seed=seed, as_json=as_json)
        return
    if not what:
        raise typer.BadParameter("name a JSONL file or a public set, or two reports with --compare", param_hint="WHAT")
    asked = {"only": only, "limit": limit, "seed": seed, "replies": replies, "batch": batch, "target": target}
    evaluating = part("evaluating")
    plan = evaluating.Plan(what=what, knowledge=knowledge, tenant=tenant, is_development=dev, phrasings=phrasings)
    with shown.progress() as progress:
        found = evaluating.evaluated(loaded(), plan, progress=progress, threshold=threshold, price=price, **asked)
    paths = evaluating.write(found, out)
    print_json(_flat(found.report)) if as_json else _show(found.report, paths)
    _pass(gates, part("comparison").values(found.report))
    if not found.report.complete:
        raise typer.Exit(cli.INTERRUPTED)


def _compare(paths: tuple[Path, Path], gates: list[Any], *, seed: int, as_json: bool) -> None:
    comparison, report = part("comparison"), part("evaluated").Report
    first, second = (report.read(path) for path in paths)
    found = comparison.compare(first, second, seed=seed)
    if as_json:
        print_json(comparison.as_json(found))
    else:
        Console().print(_differences(found))
    _pass(gates, comparison.values(second, found))


def _pass(gates: list[Any], values: dict[str, float | None]) -> None:
    """:raises typer.Exit: if one does not hold."""
    failed = []
    for gate in gates:
        is_met, value = gate.check(values)
        if not is_met:
            failed.append(f"{gate.text}, but it is {'unknown' if value is None else f'{value:.6g}'}")
    if failed:
        raise EvaluationError(f"not met: {'; '.join(failed)}")


def _flat(report: Any) -> dict[str, Any]:
    """What scripts want: no cases, no curves."""
    figures = {
        name: {"value": one.value, "low": one.low, "high": one.high, "cases": one.cases} for name, one in report.figures.items()
    }
    kept = ("name", "made_at", "seed", "complete", "subject", "skipped", "ignored")
    return {**{name: getattr(report, name) for name in kept}, "figures": figures}


def _show(report: Any, paths: list[Path]) -> None:
    page = part("report_page")
    table = Table("figure", "value", "95 % interval", "cases", title=report.name, title_justify="left")
    for name, figure in report.figures.items():
        table.add_row(name, page.written(name, figure.value), page.interval(name, figure), str(figure.cases))
    Console().print(table)
    notes = Console(stderr=True)
    for name, reason in report.skipped.items():
        notes.print(f"{name}: not told, {reason}", markup=False, highlight=False, soft_wrap=True)
    if report.ignored:
        fields = ", ".join(f"{name} ({lines} lines)" for name, lines in report.ignored.items())
        notes.print(shown.visible(f"fields that mean nothing here: {fields}"))
    for path in paths:
        print(path)


def _differences(found: dict[str, Any]) -> Table:
    page = part("report_page")
    table = Table("figure", "first", "second", "change", "95 % interval", "cases", "")
    for name, one in found.items():
        within = "" if one.low is None else f"{page.written(name, one.low)} to {page.written(name, one.high)}"
        verdict = ("higher" if one.change > 0 else "lower") if one.is_clear else ""
        cells = (page.written(name, value) for value in (one.first, one.second, one.change))
        table.add_row(name, *cells, within, str(one.cases or ""), verdict)
    return table


@evaluation.command()
def rate(
    files: Annotated[
        list[Path], typer.Argument(help="Replies of two systems, as replies.jsonl of two evaluations; or one file with a and b.")
    ],
    *,
    out: Annotated[Path, typer.Option(help="Judgements, one a line; gone on with where it was left off.")] = Path("ratings.jsonl"),
    rater: Annotated[str, typer.Option(help="Who rates.")] = "rater",
    seed: Annotated[int, typer.Option(help="Shuffles pairs and sides.")] = 0,
    page: Annotated[bool, typer.Option("--page", help="On a page of this machine instead of in the terminal.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Its port; 0: any.")] = 0,
    summary: Annotated[bool, typer.Option("--summary", help="Rate nothing: FILES are judgements of any raters.")] = False,
    as_json: AsJson = False,
) -> None:
    """Rate replies of two systems blind, side by side; at the end who won, how sure that is, and how far raters agree."""
    ratings = part("ratings")
    if not summary:
        if len(files) > 2:
            raise typer.BadParameter("two files of replies, or one", param_hint="FILES")
        found = ratings.pairs(files[0], files[1] if len(files) == 2 else None)
        session = ratings.Session.begun(found, out, seed=seed, rater=rater)
        if page:
            part("rating_page").serve(session, port=port, tell=lambda address: print(address, flush=True))
        else:
            part("rating").rate(session)
    paths = files if summary else [out]
    told = ratings.summary(ratings.judgements(path for path in paths if summary or path.exists()))
    print_json(told) if as_json else Console().print(shown.facts("Ratings", told))
