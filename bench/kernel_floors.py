"""What kernels cost a GPU by count, as Markdown: instructions over issue rate, and bytes over bandwidth.

    python -m bench.kernel_floors

Nothing is timed. Instructions are the machine code's for sm_90 (``tests/kernel_costs``), each loop times how often it
runs: a number of the law (steps, taps), or for contours the mean over 256 pictures, whose vertices the CPU makes.
Code outside of loops counts once a warp although branches skip some of it. Bytes are those of every array that a kernel
reads or writes, once each.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

import fdsl_gpu
from fdsl_gpu.registry import PRESETS
from fdsl_gpu.resample import coefficients
from triton_kernels import density, ifs, ifs_2d

COSTS = Path(__file__).parents[1] / "tests" / "kernel_costs" / "triton-3.9.json"
BATCH, IMAGE = 256, 224

# 132 SMs of 4 schedulers at 1.98 GHz, each one warp instruction a clock; an H100 SXM differs in bandwidth only.
ISSUE = 132 * 4 * 1.98e9
BANDWIDTH = {"H200": 4.8e12, "H100": 3.35e12}

DATASETS = ["rcdb-1k", "visualatom-1k", "segrcdb", "fractaldb-1k", "1p-frac", "exfractaldb-1k", "anderson-farrell-1k"]


@dataclass(frozen=True)
class Work:
    """Of a mean image: sizes, and what depends on its geometry."""

    canvas: int
    planes: int
    points: int = 0
    lines: float = 0
    vertices: float = 0
    vertex_warps: float = 0
    vertex_steps: float = 0
    raster_blocks: float = 0
    raster_steps: float = 0
    pixel_steps: float = 0

    @property
    def taps(self) -> int:
        """Of one pass of the resize."""
        return coefficients(self.canvas, IMAGE, "bilinear")[1].shape[1]


def work_of(name: str, raster_block: int) -> Work:
    """The mean over the pictures of a batch."""
    formula = PRESETS[name].formula
    base = {"canvas": formula.canvas_size, "planes": formula.planes, "points": formula.drawing().get("points", 0)}
    if formula.PRIMITIVE not in ("contours", "contour_scenes"):
        return Work(**base)
    labels = np.arange(BATCH) % formula.num_classes if formula.TARGET == "label" else 0
    pictures = fdsl_gpu.geometry(name, labels, np.arange(BATCH) * 7)
    totals = sum(np.array(_contour(c, formula.canvas_size, raster_block)) for p in pictures for c in _contours_of(p))
    names = ("lines", "vertices", "vertex_warps", "vertex_steps", "raster_blocks", "raster_steps", "pixel_steps")
    return Work(**base, **dict(zip(names, (totals / BATCH).tolist(), strict=True)))


def _contours_of(picture: dict[str, Any]) -> list[np.ndarray]:
    contours = picture.get("contours", [picture])
    return [contour["vertices"].astype(np.int64) for contour in contours]


def _contour(start: np.ndarray, size: int, block: int) -> tuple[float, ...]:
    """Lines, vertices, warps and steps of ``vertices``; blocks and steps, times warps, of ``raster``; pixel steps."""
    lines, vertices = start.shape[:2]
    end, last = np.roll(start, -1, axis=1), size - 1
    beyond = ((start & end) | ((last - start) & (last - end))).min(-1) < 0
    length = np.abs(end - start)
    along = np.where(length[..., 1] >= length[..., 0], 1, 0)[..., None]
    before = np.where(end > start, start, last - start)
    distance, steps = np.take_along_axis(before, along, -1)[..., 0], np.maximum(length.max(-1), 1)
    left = np.where(beyond, 0, np.maximum(np.minimum(steps, size - distance) - np.maximum(-distance, 0), 0))
    blocks = np.pad(left, ((0, 0), (0, -vertices % block))).reshape(lines, -1, block)
    warps = -(-vertices // 32)
    raster = block // 32 * blocks.shape[0] * blocks.shape[1], block // 32 * blocks.max(-1).sum()
    return lines, lines * vertices, warps, warps * -(-lines // 2), *raster, left.sum()


# Warps that start, and how often they go round each loop of the machine code, of an image.
LOOPS: dict[str, Callable[[Work, int], tuple[float, list[float]]]] = {
    "contour.vertices": lambda w, warps: (w.vertex_warps, [w.lines / 32, w.vertex_steps]),
    "contour.raster": lambda w, warps: (w.lines * warps, [w.raster_blocks, w.raster_steps, 0]),
    "ifs.draw_3d": lambda w, warps: _two_passes(ifs.steps_of(w.points), warps),
    "density.count_points": lambda w, warps: _two_passes(density.steps_of(w.points), warps),
    "ifs_2d.plot_2d": lambda w, warps: (
        warps * ifs_2d.LANES / ifs_2d.LANE_BLOCK,
        [warps * ifs_2d.LANES / ifs_2d.LANE_BLOCK * ifs_2d.steps_of(w.points)],
    ),
}


def _two_passes(steps: int, warps: int) -> tuple[float, list[float]]:
    """A loop over blocks of eight steps; another one, with a loop of four turns inside."""
    blocks = warps * -(-steps // 8)
    return warps, [blocks, blocks, 4 * blocks]


# Bytes of the arrays that a kernel reads or writes, of an image.
BYTES: dict[str, Callable[[Work], float]] = {
    "contour.vertices": lambda w: 4 * w.vertices,
    "contour.raster": lambda w: 4 * w.vertices + 4 * w.pixel_steps,
    "contour.resolve": lambda w: 9 * w.canvas**2,
    "contour.resolve_scene": lambda w: 10 * w.canvas**2,
    "ifs.draw_3d": lambda w: min(w.points, w.canvas**2),
    "ifs_2d.plot_2d": lambda w: min(w.points, w.canvas**2),
    "ifs_2d.compose_2d": lambda w: 2 * w.canvas**2,
    "density.count_points": lambda w: 8 * min(w.points, w.canvas**2),
    "density.spread_hits": lambda w: 8 * w.canvas**2,
    "background.fill_heights": lambda w: 8 * 257**2,
    "fractal_scene.compose": lambda w: 4 * 257**2 + 8 * w.canvas**2,
    "fractal_scene.finish": lambda w: (4 + w.planes) * w.canvas**2,
    "write_out.horizontal": lambda w: w.planes * w.canvas * (w.canvas + IMAGE),
    "write_out.write": lambda w: w.planes * w.canvas * IMAGE + 12 * IMAGE**2,
    "torch.zero_": lambda w: (4 if w.planes == 3 else 1) * w.canvas**2,
}


def instructions(name: str, grids: dict[str, int], work: Work, costs: dict[str, Any], warps: int) -> float:
    """Warp instructions of an image; ``grids`` says how often each grid is launched in a batch."""
    variant = f"{name}/{_variant(work)} sm_90" if name == "write_out.write" else f"{name} sm_90"
    cost = costs["kernels"][variant]
    loops = [loop["instructions"] for loop in cost["loops"]]
    straight = cost["instructions"] - sum(loops)
    programs = sum(prod(json.loads(grid)) * count for grid, count in grids.items()) / BATCH
    if name in LOOPS:
        started, turns = LOOPS[name](work, warps)
    elif name == "background.fill_heights":
        started, turns = _diamond_square(programs * warps)
    elif name == "fractal_scene.compose":
        # One fractal.
        started, turns = programs * warps, [programs * warps]
    else:
        started, turns = programs * warps, [programs * warps * work.taps] * len(loops)
    return straight * started + sum(a * b for a, b in zip(loops, turns, strict=True))


def _diamond_square(warps: float) -> tuple[float, list[float]]:
    from triton_kernels.background import BLOCK

    diamonds = [4 ** (k - 1) for k in range(1, 9)]
    squares = [(2**k + 1) * (2 ** (k - 1) + 1) for k in range(1, 9)]
    return warps, [warps * 8, *(warps * sum(-(-cells // BLOCK) for cells in level) for level in (diamonds, squares))]


def _variant(work: Work) -> str:
    return "float32_no_resize" if work.canvas == IMAGE else "float32"


def rows(name: str, costs: dict[str, Any]) -> list[list[str]]:
    """A row a kernel of a dataset, and one for all of them."""
    from tests.compile_kernels import launch_of
    from triton_kernels import contour

    work = work_of(name, contour.SIGNATURES["raster"][1]["BLOCK"])
    grids: dict[str, dict[str, int]] = {}
    for launch, count in costs["batches"][name]["launches"].items():
        kernel, _, grid = launch.partition("[")
        grids.setdefault(kernel, {})["[" + grid] = count
    found, total = [], np.zeros(4)
    for kernel, launched in grids.items():
        if kernel not in BYTES:
            continue
        warps = launch_of(kernel)[0]
        issued = 0 if kernel.startswith("torch") else instructions(kernel, launched, work, costs, warps)
        size = BYTES[kernel](work)
        slowest = [max(issued / ISSUE, size / bandwidth) for bandwidth in BANDWIDTH.values()]
        total += issued, size, *slowest
        found.append([name, f"`{kernel}`", str(sum(launched.values())), *_cells(issued, size, slowest)])
    launches = sum(costs["batches"][name]["launches"].values())
    # Kernels run one after the other, so their costs add up.
    return [*found, [f"**{name}**", "**all**", str(launches), *_cells(*total[:2], total[2:].tolist())]]


def _cells(issued: float, size: float, slowest: list[float]) -> list[str]:
    issue, transfer = issued / ISSUE * 1e6, size / BANDWIDTH["H200"] * 1e6
    bound = "instructions" if issue >= transfer else "bytes"
    cells = [f"{issued:,.0f}", f"{size / 1e3:,.0f}", f"{issue:.3f}", f"{transfer:.3f}", bound]
    return [*cells, *(f"{1e-6 / seconds:.2f}" for seconds in slowest), "not measured", "", ""]


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    costs = json.loads(COSTS.read_text())
    heads = ["dataset", "kernel", "launches a batch", "warp instructions", "kB", "us, issue", "us, bytes", "bound by"]
    heads += ["M img/s, H200", "M img/s, H100", "measured", "gap", "tried, gave"]
    lines = [heads, ["---"] * len(heads)]
    for name in DATASETS:
        lines += rows(name, costs)
    print("\n".join(f"| {' | '.join(line)} |" for line in lines))


if __name__ == "__main__":
    main()
