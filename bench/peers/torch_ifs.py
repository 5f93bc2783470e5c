"""Iterated function systems in plain PyTorch, the simplest vectorised form: what a few lines without kernels draw.

FractalDB's point rendering: x' = a x + b y + e, y' = c x + d y + f, a map chosen at random at every step, points scaled
to the canvas axis by axis. A picture's points come from many trajectories side by side, each begun at the fixed point
of its first map, which lies on the fractal, so that no step is wasted on getting there. Output: uint8 [B, 3, S, S].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fdsl_gpu.registry import formula

TRAJECTORIES = 2000
"""A picture. Enough to vectorise over; more are no faster, on one core or a GPU."""

PADDING, GREY = 6, 127

Stage = Callable[..., Any]


def class_systems(count: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Maps float32 [count, n, 6] and probabilities float32 [count, n] of FractalDB-1k's first classes, unweighted.

    Classes of fewer maps are filled up with maps of probability 0.
    """
    classes = [formula("fractaldb-1k").class_parameters(label) for label in range(count)]
    most = max(len(parameters["maps"]) for parameters in classes)
    maps, probabilities = torch.zeros(count, most, 6), torch.zeros(count, most)
    for label, parameters in enumerate(classes):
        own = torch.tensor(parameters["maps"], dtype=torch.float32)
        maps[label, : len(own)] = own
        probabilities[label, : len(own)] = torch.tensor(parameters["probabilities"], dtype=torch.float32)
    return maps.to(device), probabilities.to(device)


def step(rows: Tensor, choice: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Next points [B, T] by the maps ``rows[choice]``: rows float32 [N, 6], choice int64 [B, T]."""
    a, b, c, d, e, f = rows[choice].unbind(-1)
    return a * x + b * y + e, c * x + d * y + f


def choose(probabilities: Tensor, steps: int, trajectories: int) -> Tensor:
    """Random maps int64 [steps, B, T], as rows of maps flattened to [B n, 6]."""
    count, num_maps = probabilities.shape
    device = probabilities.device
    uniforms = torch.rand(steps, count, trajectories, device=device)
    choice = (num_maps * torch.arange(count, device=device))[None, :, None].repeat(steps, 1, trajectories)
    # Rounding may leave the last bound below 1, so the last map is what lies above all the others. Comparing with each
    # bound in turn is three times as fast as torch.searchsorted.
    for bound in probabilities.cumsum(1)[:, :-1].unbind(1):
        choice += uniforms >= bound[:, None]
    return choice


def fixed_points(rows: Tensor) -> tuple[Tensor, Tensor]:
    """X and y [N] that maps [N, 6] leave where they are."""
    a, b, c, d, e, f = rows.unbind(-1)
    determinant = (1 - a) * (1 - d) - b * c
    return ((1 - d) * e + b * f) / determinant, ((1 - a) * f + c * e) / determinant


def iterate(maps: Tensor, choices: Tensor, step: Stage = step) -> tuple[Tensor, Tensor]:
    """Points x and y, float32 [steps, B, T]: maps float32 [B, n, 6], choices as :func:`choose` makes them."""
    rows = maps.reshape(-1, 6)
    x, y = (start[choices[0]] for start in fixed_points(rows))
    xs, ys = torch.empty(choices.shape, device=maps.device), torch.empty(choices.shape, device=maps.device)
    for index, choice in enumerate(choices):
        x, y = step(rows, choice, x, y)
        xs[index], ys[index] = x, y
    return xs, ys


def raster(xs: Tensor, ys: Tensor, size: int) -> Tensor:
    """Pictures uint8 [B, 3, size, size] of points [steps, B, T]: grey where a point lies, else black."""
    count = xs.shape[1]
    pixel = size * _cells(ys, size) + _cells(xs, size)
    pixel += size * size * torch.arange(count, device=xs.device)[:, None]
    planes = torch.zeros(count * size * size, dtype=torch.uint8, device=xs.device)
    planes[pixel.view(-1)] = GREY
    return planes.view(count, 1, size, size).repeat(1, 3, 1, 1)


def _cells(values: Tensor, size: int) -> Tensor:
    low, high = values.amin((0, 2), keepdim=True), values.amax((0, 2), keepdim=True)
    return ((values - low) * ((size - 1 - 2 * PADDING) / (high - low)) + PADDING).to(torch.int64)


def draw(
    maps: Tensor,
    probabilities: Tensor,
    points: int = 100_000,
    size: int = 224,
    trajectories: int = TRAJECTORIES,
    *,
    choose: Stage = choose,
    step: Stage = step,
    raster: Stage = raster,
) -> Tensor:
    """Pictures uint8 [B, 3, size, size] of B systems, of at least ``points`` points each, by torch's random numbers."""
    choices = choose(probabilities, -(-points // trajectories), trajectories)
    return raster(*iterate(maps, choices, step), size)


def compiled() -> dict[str, Stage]:
    """Keywords of :func:`draw` that have torch.compile make its three stages."""
    stages = {"choose": choose, "step": step, "raster": raster}
    return {name: torch.compile(stage, dynamic=False) for name, stage in stages.items()}
