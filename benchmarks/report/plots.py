"""Draws plots: the one module that knows matplotlib, and asks for it only when something is drawn."""

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor
from math import log10
from pathlib import Path
from typing import Any

from .tables import figure as written

Figures = Sequence[float | None]

#: Distinguishable also without colour vision (Okabe and Ito, 2008).
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """Figures by label, for each series; on a logarithmic scale, because they lie far apart."""

    title: str
    unit: str
    labels: Sequence[Any]
    series: Mapping[str, Figures]
    is_line: bool = False
    x_unit: str = ""


def bars(labels: Sequence[str], series: Mapping[str, Figures], *, title: str, unit: str) -> Plot:
    """Return a plot with a group of bars for each label."""
    return Plot(title=title, unit=unit, labels=labels, series=series)


def lines(numbers: Sequence[float], series: Mapping[str, Figures], *, title: str, unit: str, x_unit: str) -> Plot:
    """Return a plot with a line for each series, over numbers that grow by factors."""
    return Plot(title=title, unit=unit, labels=numbers, series=series, is_line=True, x_unit=x_unit)


def draw(plot: Plot, path: Path) -> None:
    """Write the plot into an SVG file: the same bytes for the same figures."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "idle", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    height = 3.6 if plot.is_line else 1.2 + 0.22 * len(plot.labels) * max(1, len(plot.series))
    figure, axes = pyplot.subplots(figsize=(7.5, height), layout="constrained")
    (_draw_lines if plot.is_line else _draw_bars)(plot, axes)
    axes.set_title(plot.title)
    axes.grid(alpha=0.3, axis="both" if plot.is_line else "x")
    if len(plot.series) > 1:
        axes.legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _draw_bars(plot: Plot, axes: Any) -> None:
    width = 0.8 / len(plot.series)
    for place, (name, figures) in enumerate(plot.series.items()):
        known = [(at, value) for at, value in enumerate(figures) if value is not None and value > 0]
        drawn = axes.barh(
            [at + (place + 0.5) * width - 0.4 for at, _ in known],
            [value for _, value in known],
            width,
            label=name,
            color=_COLOURS[place % len(_COLOURS)],
        )
        axes.bar_label(drawn, labels=[written(value) for _, value in known], padding=2, fontsize=7)
    axes.set_yticks(range(len(plot.labels)), plot.labels)
    axes.invert_yaxis()
    axes.set_xlabel(plot.unit)
    _scale(axes.set_xscale, axes.set_xlim, axes.xaxis, plot.series)


def _draw_lines(plot: Plot, axes: Any) -> None:
    for place, (name, figures) in enumerate(plot.series.items()):
        known = [(at, value) for at, value in zip(plot.labels, figures, strict=True) if value is not None]
        axes.plot(*zip(*known, strict=True), marker="o", label=name, color=_COLOURS[place % len(_COLOURS)])
    axes.set_xlabel(plot.x_unit)
    axes.set_ylabel(plot.unit)
    _scale(axes.set_xscale, axes.set_xlim, axes.xaxis, {"": plot.labels}, room=1.5)
    _scale(axes.set_yscale, axes.set_ylim, axes.yaxis, plot.series)


def _scale(set_scale: Any, set_limits: Any, axis: Any, series: Mapping[str, Figures], *, room: float = 2.0) -> None:
    """Have a logarithmic axis begin at a power of ten, so that no choice of its start makes a bar look short."""
    known = [value for figures in series.values() for value in figures if value is not None and value > 0] or [1.0]
    set_scale("log")
    set_limits(10.0 ** floor(log10(min(known) / 1.01)), max(known) * room)
    axis.set_major_formatter(lambda value, place: f"{value:,g}")
    axis.set_minor_formatter(lambda value, place: "")
