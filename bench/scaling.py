"""How cost grows: with points, lines, vertices, pixels, batch, classes, threads and the length of the stream.

    python -m bench.scaling --axes lines classes --json FILE

Every axis varies one quantity n and leaves the others. Its values are measured in turns, on one CPU thread or a GPU,
and described twice: cost = c n**exponent over the upper half of the values, where constant parts matter least, and
cost = fixed_us + us_per_unit * n over all, by least squares of relative errors, with its R squared. Cost is in us
an image, but for "batch", where it is us a batch; sizes count as pixels, side**2. What scales has a straight
line over points and lines and an exponent of 0 over classes, threads that keep up with as many processes, and the same
memory after 10 batches and after 1000.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bench.common import cpu_threads, parser, save, side_by_side
from bench.generate import stream_call
from bench.processes import memory, stream_memory, thread_rates
from fdsl_gpu.formulas.base import MAX_CLASSES
from fdsl_gpu.formulas.exfractaldb import ExFractalDB
from fdsl_gpu.formulas.fractaldb import FractalDB
from fdsl_gpu.formulas.rcdb import RCDB

_LINES, _VERTICES = 100, 100


@dataclass(frozen=True, kw_only=True)
class EqualContours(RCDB):
    """RCDB whose contours all have the same number of lines and vertices, and grow to the same size, in every class.

    Attributes:
        lines: polygons of a contour.
        vertices: corners of a polygon.
    """

    lines: int = _LINES
    vertices: int = _VERTICES

    def draw(self, *arguments: Any, **options: Any) -> np.ndarray:
        """Records ([B] of ``CONTOURS``) as RCDB draws them, but for their sizes."""
        records = super().draw(*arguments, **options)
        records["lines"], records["vertices"] = self.lines, self.vertices
        # About the mean of RCDB's classes.
        growth = self.canvas_size / 512 * _LINES / self.lines
        records["step"], records["noise"] = 2 * growth, 4 * growth
        return records

    def drawing(self) -> dict[str, Any]:
        """Keywords of ``render.contours.Contours``."""
        return {**super().drawing(), "max_lines": self.lines, "max_vertices": self.vertices}


@dataclass(frozen=True, kw_only=True)
class FractalDBPoints(FractalDB):
    """FractalDB with so many points on the same boxes, which would else be measured for each number.

    Attributes:
        drawn: points an image.
    """

    drawn: int = 200_000

    def drawing(self) -> dict[str, Any]:
        """Keywords of ``render.points_2d.Points2D``."""
        return {**super().drawing(), "points": self.drawn}


@dataclass(frozen=True, kw_only=True)
class ExFractalDBPoints(ExFractalDB):
    """The same of ExFractalDB."""

    drawn: int = 9_999

    def drawing(self) -> dict[str, Any]:
        """Keywords of ``render.points.Points3D``."""
        return {**super().drawing(), "points": self.drawn}


@dataclass(frozen=True)
class Axis:
    """What varies, and what is drawn at a value of it.

    Attributes:
        values: of the quantity, in growing order.
        stream: value -> (dataset, options of the stream); the axis's value may replace batch or image size.
        unit: what the quantity counts in the fits.
        power: the fits' n is the value to this power.
        per_batch: whether the cost is of a batch.
    """

    values: Sequence[int]
    stream: Callable[[int], tuple[Any, dict[str, Any]]]
    unit: str
    power: int = 1
    per_batch: bool = False


_POINTS = [12_500, 25_000, 50_000, 100_000, 200_000, 400_000]

AXES: dict[str, Axis] = {
    "points, fractaldb": Axis(_POINTS, lambda n: (FractalDBPoints(drawn=n), {}), "points"),
    "points, exfractaldb": Axis(_POINTS, lambda n: (ExFractalDBPoints(drawn=n), {}), "points"),
    "lines": Axis([25, 50, 100, 200, 400], lambda n: (EqualContours(lines=n), {}), "lines"),
    "vertices": Axis([100, 200, 400, 800, 1600], lambda n: (EqualContours(vertices=n), {}), "vertices"),
    "image_size": Axis([56, 112, 224, 448], lambda n: (EqualContours(), {"image_size": n}), "pixels", power=2),
    "canvas_size": Axis([128, 256, 512, 1024], lambda n: (EqualContours(canvas_size=n), {}), "pixels", power=2),
    "batch": Axis([16, 64, 256, 1024], lambda n: ("rcdb-1k", {"batch": n}), "images", per_batch=True),
    # Few classes of RCDB have fewer lines and vertices than many, so that they would cost less.
    "classes": Axis([16, 256, 4096, MAX_CLASSES], lambda n: (EqualContours(num_classes=n), {}), "classes"),
}

PROCESS_AXES = ("threads", "stream")
THREADED = ("rcdb-1k", "exfractaldb-1k")


def measure(name: str, values: Sequence[int] | None, batch: int, image_size: int, device: str, rounds: int) -> Any:
    """One axis of :data:`AXES`.

    Args:
        name: of the axis.
        values: in place of the axis's own.
        batch: images a call, unless that is what varies.
        image_size: pixels, unless that is what varies.
        device: where to draw.
        rounds: timed calls of each value.

    Returns:
        "values", "rows" (value -> rates), and what :func:`fit` says; for "classes", rows have what :func:`memory` says.
    """
    axis = AXES[name]
    values = list(values or axis.values)
    contenders = {}
    for value in values:
        dataset, options = axis.stream(value)
        settings = {"batch": batch, "image_size": image_size, "device": device, **options}
        contenders[str(value)] = (settings["batch"], stream_call(dataset, dtype="uint8", **settings))
    with cpu_threads(1):
        rows = side_by_side(contenders, rounds)
    costs = [
        row["us_per_image"] * (value if axis.per_batch else 1) for value, row in zip(values, rows.values(), strict=True)
    ]
    if name == "classes":
        for value, row in zip(values, rows.values(), strict=True):
            row |= memory(value, device)
    units = [float(value) ** axis.power for value in values]
    return {"values": values, "unit": axis.unit, "rows": rows, **fit(units, costs)}


def fit(units: Sequence[float], costs: Sequence[float]) -> dict[str, float]:
    """Exponent of the upper half of the values, and the line through all of them."""
    n, cost = np.array(units), np.array(costs)
    upper = slice(min(len(n) // 2, len(n) - 2), None)
    exponent = np.polyfit(np.log(n[upper]), np.log(cost[upper]), 1)[0]
    slope, fixed = np.polyfit(n, cost, 1, w=1 / cost)
    weights = cost**-2.0
    spread = weights @ (cost - np.average(cost, weights=weights)) ** 2
    rest = weights @ (cost - fixed - slope * n) ** 2
    return {
        "exponent": round(float(exponent), 3),
        "fixed_us": round(float(fixed), 3),
        "us_per_unit": float(f"{slope:.4g}"),
        "r_squared": round(float(1 - rest / spread), 4) if spread else 1.0,
    }


def measure_threads(
    values: Sequence[int] | None, batches: Sequence[int], image_size: int, seconds: float, rounds: int
) -> Any:
    """Rates of n threads in one process and of n processes of one thread, side by side; CPU only."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Powers of two, and all cores.
    values = list(values or sorted({*(2**i for i in range(1, cores.bit_length()) if 2**i < cores), cores}))
    rows: dict[str, Any] = {}
    for name, batch in itertools.product(THREADED, batches):
        rows.update(thread_rates(name, values, batch, image_size, seconds, rounds))
    return {"values": values, "unit": "threads", "rows": rows}


def measure_stream(values: Sequence[int] | None, device: str) -> Any:
    """Memory of a process after so many batches of a stream, and megabytes by which each batch makes it grow."""
    values = list(values or [10, 100, 1000])
    rows = stream_memory(values, device)
    growth = np.polyfit(values, [row["memory_mb"] for row in rows.values()], 1)[0]
    return {"values": values, "unit": "batches", "rows": rows, "mb_per_batch": round(float(growth), 6)}


def print_axis(name: str, result: dict[str, Any]) -> None:
    """Print the rows of an axis and how they grow."""
    print(f"{name}:")
    for value, row in result["rows"].items():
        cells = [f"{key} {_cell(cell)}" for key, cell in row.items() if key not in ("q1", "q3", "rounds")]
        print(f"    {value:>8}  " + "  ".join(cells))
    if "exponent" in result:
        line = f"{result['fixed_us']:,.1f} us + {result['us_per_unit']:.4g} us * {result['unit']}"
        print(f"    n**{result['exponent']:.2f}; {line} (R squared {result['r_squared']:.3f})")
    if "mb_per_batch" in result:
        print(f"    {result['mb_per_batch']:.4f} MB a batch")


def _cell(cell: Any) -> str:
    return f"{cell['images_per_second']:,.0f} img/s" if isinstance(cell, dict) else f"{cell:,.6g}"


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--axes", nargs="*", default=[*AXES, *PROCESS_AXES], choices=[*AXES, *PROCESS_AXES])
    options.add_argument("--values", nargs="*", type=int, help="in place of the axes' own, in growing order")
    options.add_argument("--batch", type=int, default=64, help="threads draw this and four times this (default: 64)")
    options.add_argument("--image-size", type=int, default=224)
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=1.0, help="of each round of threads (default: %(default)s)")
    arguments = options.parse_args()
    results = {}
    for name in arguments.axes:
        if name == "threads":
            batches = [arguments.batch, 4 * arguments.batch]
            results[name] = measure_threads(
                arguments.values, batches, arguments.image_size, arguments.seconds, arguments.rounds
            )
        elif name == "stream":
            results[name] = measure_stream(arguments.values, arguments.device)
        else:
            shape = arguments.batch, arguments.image_size
            results[name] = measure(name, arguments.values, *shape, arguments.device, arguments.rounds)
        print_axis(name, results[name])
    save(arguments, results)


if __name__ == "__main__":
    main()
