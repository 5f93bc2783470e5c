"""Plots of results: PNG files of one message each, in colours that colour-blind readers can tell apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from bench.common import digits
from fdsl_gpu.files import replacing

Rows = dict[str, Any]

# Okabe and Ito's palette.
_OURS, _THEIRS, _GREY = "#0072B2", "#E69F00", "#666666"
_AXIS_COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7"]
_STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
}


def peers(reports: dict[str, Rows]) -> Figure | None:
    """Images per second of ours beside each peer."""
    report = reports.get("peers-cpu")
    if not report or not report.get("ratios"):
        return None
    bars: list[tuple[str, float, str, str]] = []
    for one in report["ratios"]:
        ours, theirs = (report["results"][one[side]]["images_per_second"] for side in ("ours", "peer"))
        bars.append((one["peer"], theirs, _THEIRS, digits(theirs)))
        bars.append((one["ours"], ours, _OURS, f"{digits(ours)}: {digits(one['ratio'])} times"))
    figure, axes = _figure(8, 1 + 0.3 * len(bars))
    # A gap after each pair.
    places = [-(index + index // 2 * 0.6) for index in range(len(bars))]
    _horizontal_bars(axes, places, bars)
    axes.set_xlabel("images per second on one CPU core (log)")
    axes.set_title("fdsl-gpu (blue) beside its peers (orange)")
    return figure


def generated(reports: dict[str, Rows]) -> Figure | None:
    """Images per second of every dataset beside stored pictures."""
    return _generated(reports.get("generate-cpu", {}).get("results", {}), "float32", "one CPU core")


def generated_on_gpu(reports: dict[str, Rows]) -> Figure | None:
    """The same on a GPU."""
    report = reports.get("gpu", {})
    return _generated(report.get("generate", {}), "bfloat16", report.get("metadata", {}).get("gpu") or "a GPU")


def _generated(results: Rows, dtype: str, machine: str) -> Figure | None:
    rates = {name.removesuffix(f" {dtype}"): row for name, row in results.items() if name.endswith(f" {dtype}")}
    if not rates:
        return None
    ordered = sorted(rates.items(), key=lambda item: -item[1]["images_per_second"])
    bars = []
    for name, row in ordered:
        rate = row["images_per_second"]
        bars.append((name, rate, _THEIRS if name.startswith("stored") else _OURS, digits(rate)))
    figure, axes = _figure(8, 1 + 0.3 * len(bars))
    _horizontal_bars(axes, [-float(index) for index in range(len(bars))], bars)
    axes.set_xlabel(f"images per second, 224 px {dtype}, on {machine} (log)")
    # On a GPU there are no stored pictures among the rows.
    beside = ", beside a loader of stored pictures (orange)" if "stored JPEG" in rates else ""
    axes.set_title(f"Images drawn from nothing{beside}")
    return figure


def scaling(reports: dict[str, Rows]) -> Figure | None:
    """Cost against points, lines and classes: straight lines, or level ones."""
    results = reports.get("scaling-cpu", {}).get("results", {})
    panels = {
        "points": [axis for axis in results if axis.startswith("points")],
        "lines": [axis for axis in results if axis == "lines"],
        "classes": [axis for axis in results if axis == "classes"],
    }
    panels = {unit: axes for unit, axes in panels.items() if axes}
    if not panels:
        return None
    figure, grid = plt.subplots(1, len(panels), figsize=(3.2 * len(panels), 3.4), sharey=True, squeeze=False)
    for axes, (unit, names) in zip(grid[0], panels.items(), strict=True):
        for colour, name in zip(_AXIS_COLOURS, names, strict=False):
            _cost_line(axes, results[name], colour, name.partition(", ")[2] or "RCDB")
        axes.set(xscale="log", yscale="log", xlabel=f"{unit} (log)")
        axes.set_title(f"Cost by {unit}")
        ticks = results[names[0]]["values"][::2]
        axes.set_xticks(ticks, [digits(tick) for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(True, which="major", alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    grid[0][0].set_ylabel("microseconds an image (log)")
    return figure


def _cost_line(axes: Axes, result: Rows, colour: str, label: str) -> None:
    values = result["values"]
    costs = [result["rows"][str(value)]["us_per_image"] for value in values]
    exponent = f"n$^{{{result['exponent']:.2f}}}$" if "exponent" in result else ""
    axes.plot(values, costs, "o-", color=colour, markersize=4, label=f"{label} {exponent}".strip())
    # Proportional cost, through the last value.
    if result.get("exponent", 0) > 0.5:
        guide = [costs[-1] * value / values[-1] for value in values]
        axes.plot(values, guide, ":", color=_GREY, linewidth=1)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    return plt.subplots(figsize=(width, height))


def _horizontal_bars(axes: Axes, places: list[float], bars: list[tuple[str, float, str, str]]) -> None:
    """Bars (name, rate, colour, text) on a log axis, each with its text at the end."""
    names, rates, colours, texts = zip(*bars, strict=True)
    drawn = axes.barh(places, rates, color=colours, height=0.8)
    axes.bar_label(drawn, labels=texts, padding=4, fontsize=9)
    axes.set_yticks(places, names)
    axes.tick_params(axis="y", length=0)
    axes.set_xscale("log")
    axes.set_xlim(min(rates) / 3, max(rates) * 10)
    axes.grid(True, axis="x", which="major", alpha=0.3)
    axes.set_axisbelow(True)


PLOTS: dict[str, tuple[str, Callable[[dict[str, Rows]], Figure | None]]] = {
    "peers": ("Rates of fdsl-gpu and its peers on one CPU core", peers),
    "generate": ("Rates of every dataset on one CPU core", generated),
    "generate-gpu": ("Rates of every dataset on a GPU", generated_on_gpu),
    "scaling": ("Cost by points, lines and classes; dotted: in proportion", scaling),
}
"""File -> (what it shows, function)."""


def write(reports: dict[str, Rows], folder: Path) -> list[tuple[Path, str]]:
    """Write the plots for which there are results, remove those for which there are none; (path, title) of each."""
    written = []
    for name, (title, draw) in PLOTS.items():
        path = folder / f"{name}.png"
        with plt.rc_context(_STYLE):
            figure = draw(reports)
        if figure is None:
            path.unlink(missing_ok=True)
            continue
        with replacing(path) as temporary:
            # Without the version of matplotlib in it, so that the same plot is the same file.
            figure.savefig(temporary, format="png", dpi=100, bbox_inches="tight", metadata={"Software": None})
        plt.close(figure)
        written.append((path, title))
    return written
