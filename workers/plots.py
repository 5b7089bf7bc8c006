"""The curves of an evaluation as SVG that takes its colours from the page, light or dark."""

import io
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from engine.evaluated import Report

#: Colours that nothing else uses, with what they become in the page.
_INK, _SOFT, _LINE, _ACCENT, _SECOND = "#010203", "#010204", "#010205", "#010206", "#010207"
_COLOURS = {_INK: "var(--ink)", _SOFT: "var(--soft)", _LINE: "var(--line)", _ACCENT: "var(--accent)", _SECOND: "var(--model)"}
_SIZE = (5.2, 3.3)
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "replymill",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _SOFT,
    "axes.edgecolor": _LINE,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
    "grid.color": _LINE,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
}

Points = Sequence[tuple[float, ...]]


def plots(report: Report) -> dict[str, str]:
    """SVG by title."""
    found = {}
    for name, (title, draw) in _PLOTS.items():
        if len(report.curves.get(name, ())) > 1:
            found[title] = _svg(name, lambda axes, draw=draw, name=name: draw(axes, report.curves[name]))  # type: ignore[misc]
    return found


def _svg(name: str, draw: Callable[[Axes], None]) -> str:
    with rc_context(_STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        draw(figure.subplots())
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font: [^;\"]*", "font: 10px system-ui, sans-serif", svg)
    for colour, variable in _COLOURS.items():
        svg = svg.replace(colour, variable)
    return svg


def _coverage(axes: Axes, points: Points) -> None:
    axes.plot([p[0] for p in points], [p[1] for p in points], color=_ACCENT, linewidth=2)
    least = max(0.0, _below(min(p[1] for p in points)))
    axes.set(xlabel="share of questions answered", ylabel="share of answers right", xlim=(0, 1.01), ylim=(least, 1.005))


def _roc(axes: Axes, points: Points) -> None:
    axes.plot([0, 1], [0, 1], color=_LINE, linewidth=1, linestyle="--")
    axes.plot([p[0] for p in points], [p[1] for p in points], color=_ACCENT, linewidth=2)
    axes.set(xlabel="out-of-scope questions answered", ylabel="in-scope questions answered", xlim=(0, 1), ylim=(0, 1.01))


def _calibration(axes: Axes, points: Points) -> None:
    axes.plot([0, 1], [0, 1], color=_LINE, linewidth=1, linestyle="--")
    axes.plot([p[0] for p in points], [p[1] for p in points], color=_ACCENT, linewidth=2, marker="o", markersize=5)
    axes.set(xlabel="confidence", ylabel="share right", xlim=(0, 1), ylim=(0, 1.01))


def _latency(axes: Axes, points: Points) -> None:
    axes.step([p[0] for p in points], [p[1] for p in points], color=_SECOND, linewidth=2, where="post")
    axes.set(xlabel="milliseconds to the reply", ylabel="share of replies", ylim=(0, 1.01))


def _hits(axes: Axes, points: Points) -> None:
    axes.plot([p[0] for p in points], [p[1] for p in points], color=_SECOND, linewidth=2)
    axes.set(xlabel="questions asked so far", ylabel="share answered by the cache", ylim=(0, 1.01))


def _below(value: float) -> float:
    """The tenth below."""
    return math.floor(value * 10) / 10


_PLOTS: dict[str, tuple[str, Callable[[Axes, Points], None]]] = {
    "coverage": ("Precision by coverage", _coverage),
    "roc": ("In scope against out of scope", _roc),
    "calibration": ("Is it right as often as it says?", _calibration),
    "cache": ("The cache as it fills", _hits),
    "latency": ("Time to a reply", _latency),
}
