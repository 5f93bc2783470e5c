"""Category search on a GPU: which attempt at each class is the first that the law accepts.

The laws are in ``fdsl_gpu.cpu_kernels.search`` and ``search_2d``, the kernels in ``triton_kernels/search.py``. The CPU
draws candidates, thousands at once; the GPU judges them in stages, each of which walks only what the one before left
over. What the GPU accepted is judged by the CPU once more when its weight rows are measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdsl_gpu import philox
from fdsl_gpu.class_tables.table import PLANE, SPACE
from fdsl_gpu.cpu_kernels import search, search_2d
from fdsl_gpu.cpu_kernels.candidates import MAX_MAPS
from fdsl_gpu.cpu_kernels.search_batch import confirm_2d, confirm_3d, draw_candidates
from fdsl_gpu.formulas.ifs_weights import weights_table
from fdsl_gpu.render.backend import load_kernels, on_device, signed_key

CLASSES = 1024
"""Classes to search at once."""

LANES = 1 << 15
"""Candidates to judge at once, on a GPU that walks one a thread."""

# Bitmaps at once: 128 MiB at the published canvas.
_BITMAPS = 4096


@dataclass(frozen=True)
class Candidates:
    """N candidates on a device.

    Attributes:
        key: of seed 0 and the formula.
        maps: float32 [7, K, N], K parameters a map.
        thresholds: int32 [6, N], the bits of uint32: what ``candidates.set_thresholds`` says.
        categories: int32 [N], their classes.
        attempts: int32 [N], their numbers among the candidates of the class.
    """

    key: philox.Key
    maps: Tensor
    thresholds: Tensor
    categories: Tensor
    attempts: Tensor

    def __len__(self) -> int:
        return len(self.categories)

    def take(self, index: Tensor) -> Candidates:
        """Those at ``index`` int64 [M]."""
        names = ("maps", "thresholds", "categories", "attempts")
        return replace(self, **{name: getattr(self, name).index_select(-1, index) for name in names})

    def launch(self, kernel: str, *arguments: Tensor, **constants: Any) -> None:
        """Walk all chains by a kernel of ``triton_kernels/search.py`` with further ``arguments``."""
        if not len(self):
            return
        kernels = load_kernels("search")
        with on_device(self.maps.device):
            getattr(kernels, kernel)[(-(-len(self) // kernels.BLOCK),)](
                self.maps,
                self.thresholds,
                self.categories,
                self.attempts,
                *arguments,
                len(self),
                *signed_key(self.key),
                STREAM=philox.CHAIN,
                BLOCK=kernels.BLOCK,
                num_warps=1,
                enable_fp_fusion=False,
                **constants,
            )


class Law(Protocol):
    """What accepts candidates."""

    def accepted(self, candidates: Candidates) -> Tensor:
        """Indices int64 [M] of the accepted."""


@dataclass(frozen=True)
class PlaneLaw:
    """The law of ``search_2d``. Each stage (points, least pixels that they hit) judges what the one before accepted."""

    stages: tuple[tuple[int, int], ...] = (*search_2d.EARLY, (search_2d.POINTS, search_2d.MIN_PIXELS))
    canvas: int = search_2d.CANVAS
    padding: int = search_2d.PADDING
    limit: float = search_2d.LIMIT

    def accepted(self, candidates: Candidates) -> Tensor:
        """Indices int64 [M] of the accepted."""
        left = torch.arange(len(candidates), device=candidates.maps.device)
        for points, least in self.stages:
            extremes = self.extremes(candidates, points)
            low, high = extremes[::2], extremes[1::2]
            bounded = ((low >= -self.limit) & (high <= self.limit) & (high > low)).all(dim=0).nonzero()[:, 0]
            candidates, extremes = candidates.take(bounded), extremes.index_select(1, bounded)
            filled = (self.fills(candidates, points, extremes) >= least).nonzero()[:, 0]
            candidates, left = candidates.take(filled), left[bounded[filled]]
        return left

    def extremes(self, candidates: Candidates, points: int) -> Tensor:
        """Least x, greatest x, least y, greatest y of the first points: float64 [4, N]."""
        extremes = candidates.maps.new_empty((4, len(candidates)), dtype=torch.float64)
        candidates.launch("extremes_2d", extremes, STEPS=points - 1)
        return extremes

    def fills(self, candidates: Candidates, points: int, extremes: Tensor) -> Tensor:
        """Pixels that the first points hit, scaled by their extremes: int32 [N]."""
        fills = torch.empty_like(candidates.attempts)
        constants = {"STEPS": points - 1, "CANVAS": self.canvas, "PADDING": self.padding}
        for index in torch.arange(len(candidates), device=fills.device).split(_BITMAPS):
            part = candidates.take(index)
            seen, hit = fills.new_zeros((len(part), self.canvas * self.canvas // 32)), fills.new_empty(len(part))
            part.launch("fill_2d", extremes.index_select(1, index), seen, hit, **constants)
            fills[index] = hit
        return fills


@dataclass(frozen=True)
class SpaceLaw:
    """The law of ``search``."""

    steps: int = search.STEPS
    limit: float = search.LIMIT
    min_variance: float = search.MIN_VARIANCE

    def accepted(self, candidates: Candidates) -> Tensor:
        """Indices int64 [M] of the accepted."""
        extremes = self.extremes(candidates)
        bounded = ((extremes[0] >= -self.limit) & (extremes[1] <= self.limit)).nonzero()[:, 0]
        _, variances = self.moments(candidates.take(bounded), extremes.index_select(1, bounded))
        return bounded[(variances > self.min_variance).all(dim=0)]

    def extremes(self, candidates: Candidates) -> Tensor:
        """Least and greatest coordinate: float64 [2, N]."""
        extremes = candidates.maps.new_empty((2, len(candidates)), dtype=torch.float64)
        candidates.launch("extremes_3d", extremes, STEPS=self.steps)
        return extremes

    def moments(self, candidates: Candidates, extremes: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of each axis of the scaled clouds: two of float64 [3, N]."""
        means = extremes.new_empty((3, len(candidates)))
        variances = torch.empty_like(means)
        candidates.launch("means_3d", extremes, means, means, STEPS=self.steps, SQUARES=False)
        candidates.launch("means_3d", extremes, means, variances, STEPS=self.steps, SQUARES=True)
        return means, variances


_LAWS: dict[int, Callable[[], Law]] = {PLANE: PlaneLaw, SPACE: SpaceLaw}


def draw(
    key: philox.Key, categories: NDArray[np.int32], attempts: NDArray[np.int32], columns: int, device: torch.device
) -> tuple[Candidates, NDArray[np.int64]]:
    """Candidates by class and attempt, int32 [M] each, but for those of which no map has volume; and their indices."""
    size = len(categories)
    maps, thresholds = np.zeros((MAX_MAPS, columns, size), np.float32), np.empty((MAX_MAPS - 1, size), np.uint32)
    counts = np.empty(size, np.int64)
    draw_candidates(*map(np.uint64, key), philox.CLASS, categories, attempts, maps, thresholds, counts)
    kept = np.flatnonzero(counts)
    arrays = (maps, thresholds.view(np.int32), categories, attempts, kept)
    *parts, index = (torch.from_numpy(array).to(device) for array in arrays)
    return Candidates(key, *parts).take(index), kept


def first_attempts(
    key: philox.Key,
    first_class: int,
    count: int,
    columns: int,
    device: torch.device,
    law: Law | None = None,
    lanes: int = LANES,
) -> NDArray[np.int32]:
    """The number of the first accepted candidate of each of so many classes, int32 [count].

    Args:
        key: of seed 0 and the formula.
        first_class: the first class.
        count: classes.
        columns: parameters a map: 6 in the plane, 12 in space.
        device: a CUDA device; a CPU if kernels run in Triton's interpreter.
        law: what accepts a candidate; None for the published one.
        lanes: candidates to judge at once.

    Raises:
        ImportError: Triton is missing.
    """
    law = law or _LAWS[columns]()
    found, open_classes, tried = np.empty(count, np.int32), np.arange(count), 0
    while open_classes.size:
        width = max(1, lanes // open_classes.size)
        categories = np.repeat(first_class + open_classes, width).astype(np.int32)
        attempts = np.tile(np.arange(tried, tried + width, dtype=np.int32), open_classes.size)
        candidates, kept = draw(key, categories, attempts, columns, device)
        accepted = np.zeros((open_classes.size, width), np.bool_)
        accepted.flat[kept[law.accepted(candidates).cpu().numpy()]] = True
        resolved = accepted.any(axis=1)
        found[open_classes[resolved]] = tried + accepted.argmax(axis=1)[resolved]
        open_classes, tried = open_classes[~resolved], tried + width
    return found


def confirmed(
    key: philox.Key, first_class: int, attempts: NDArray[np.int32], columns: int
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_] | None]:
    """Classes of known attempts, int32 [C], judged by the CPU: maps [C, 7, K], numbers of maps [C], and in space rows.

    Raises:
        RuntimeError: the CPU rejects an attempt.
    """
    maps, counts = np.zeros((len(attempts), MAX_MAPS, columns), np.float32), np.empty(len(attempts), np.int64)
    streams = (*map(np.uint64, key), philox.CLASS, philox.CHAIN, first_class, attempts)
    drawable = None
    if columns == PLANE:
        agreed = confirm_2d(*streams, maps, counts)
    else:
        drawable = np.empty((len(attempts), len(weights_table())), np.bool_)
        agreed = confirm_3d(*streams, weights_table(), maps, counts, drawable)
    if agreed < len(attempts):
        raise RuntimeError(
            f"device: the GPU accepts attempt {attempts[agreed]} at class {first_class + agreed}, the CPU rejects it; "
            "needed: one decision. Search with device='cpu', and report this GPU and its driver."
        )
    return maps, counts, drawable
