"""`report.html`: everything an evaluation found on one page that opens offline, without a script."""

from importlib.resources import files
from typing import Any

import jinja2

from engine.evaluated import Figure, Report
from workers.plots import plots

#: What the figures of a part are called, and what they mean.
MEANINGS = {
    "retrieval": ("Search", "Whether the right entry is found, and how far up."),
    "labels": ("Decisions", "Each question gets its entry, or silence where nothing answers it."),
    "abstention": ("Confidence", "Whether it knows what it can answer."),
    "cache": ("Reply cache", "The questions as a stream, each remembered once it was answered."),
    "replies": ("Replies", "Against the reference answers; time, tokens and cost."),
}
#: How figures that are no shares are written.
_UNITS = {
    "ms_": "{:,.1f} ms",
    "tokens_per_s": "{:,.1f}",
    "per_s": "{:,.2f}",
    "tokens": "{:,.1f}",
    "cost": "{:,.4f}",
    "perplexity": "{:,.2f}",
    "loss": "{:,.3f}",
    "mrr": "{:.3f}",
    "auroc": "{:.4f}",
    "threshold": "{:.3f}",
    "calibration_error": "{:.3f}",
    "similarity": "{:.3f}",
    "bleu": "{:.3f}",
    "chrf": "{:.3f}",
    "rouge": "{:.3f}",
}


def page(report: Report) -> str:
    """The report as HTML."""
    folder = files("workers") / "pages"
    palette = (files("connectors") / "pages" / "palette.css").read_text()
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        (folder / "report.html").read_text()
    )
    return template.render(
        report=report,
        style=palette + (folder / "report.css").read_text(),
        parts=_parts(report),
        plots=plots(report),
        labels=report.tables.get("labels", []),
    )


def written(name: str, value: float | None) -> str:
    """A value as people read it: shares in percent."""
    if value is None:
        return "-"
    pattern = next((unit for part, unit in _UNITS.items() if part in name.partition(".")[2]), None)
    return pattern.format(value) if pattern else f"{value * 100:.2f} %"


def interval(name: str, figure: Figure) -> str:
    """Its interval, if it has one."""
    if figure.low is None or figure.high is None:
        return ""
    return f"{written(name, figure.low)} to {written(name, figure.high)}"


def _parts(report: Report) -> list[dict[str, Any]]:
    """Each part with its figures, in the order in which they were found."""
    found = []
    for key, (title, meaning) in MEANINGS.items():
        rows = [
            {"name": name.partition(".")[2].replace("_", " "), "key": name, "value": written(name, figure.value),
             "interval": interval(name, figure), "cases": f"{figure.cases:,}"}
            for name, figure in report.figures.items() if name.startswith(f"{key}.")
        ]  # fmt: skip
        missing = [reason for name, reason in report.skipped.items() if name == key or name.startswith(f"{key}.")]
        if rows or missing:
            found.append({"title": title, "meaning": meaning, "rows": rows, "missing": missing})
    return found
