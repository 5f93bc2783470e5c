"""Launcher of the points primitive in the plane: iterated function systems to uint8 planes [B, P, S, S].

The law of the drawing stands in ``triton_kernels/ifs_2d.py``; the CPU twin is ``fdsl_gpu/cpu_kernels/ifs_2d.py``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdsl_gpu import checks, philox
from fdsl_gpu.records import POINTS_2D
from fdsl_gpu.render.backend import Backend, check_tensor, checked_backend, load_kernels, on_device, signed_key
from fdsl_gpu.render.scratch import Scratch
from fdsl_gpu.tables import chain_halves

Rendering = Literal["point", "patch", "fill"]

RENDERINGS: tuple[Rendering, ...] = ("point", "patch", "fill")

MAX_POINTS = 10_000_000
"""Most points an image."""

_WORDS = POINTS_2D.itemsize // 4


@lru_cache(maxsize=1)
def palette() -> NDArray[np.uint8]:
    """Colours of points: hue 2 pi n / 128 for number n, saturation and intensity 0.75, in the hexcone model.

    Made with quarters and 64ths, so every level is exact before it is truncated. The released generator mixes blue,
    green and red and stores them as red, green and blue; so does this.

    Returns:
        uint8 [128, 3], read-only.
    """
    intensity, saturation = 0.75, 0.75
    sextant, part = np.divmod(6 * np.arange(128), 128)
    fraction = part / 128
    p = np.full(128, intensity * (1.0 - saturation))
    q = intensity * (1.0 - saturation * fraction)
    t = intensity * (1.0 - saturation * (1.0 - fraction))
    i = np.full(128, intensity)
    mixtures = np.array([(p, t, i), (p, i, q), (t, p, i), (i, q, p), (i, p, t), (q, p, i)])
    colors = (255.0 * mixtures[sextant, :, np.arange(128)]).astype(np.uint8)
    colors.flags.writeable = False
    return colors


class Points2D:
    """Draws records of ``POINTS_2D`` on one device. Holds scratch memory, so an instance serves one thread or stream.

    Example:
        >>> draw = Points2D(canvas_size=362, points=200_000, device=torch.device("cpu"), backend="numba")
        >>> planes = torch.empty(len(records), 1, 362, 362, dtype=torch.uint8)
        >>> draw.draw(records, philox.dataset_key(0, 3), planes)  # records: int32 [B, 68]

    Args:
        canvas_size: side S of the planes, 13 .. 16384: twice the padding of 6 pixels and more.
        points: points an image, 1 .. 10,000,000. On a GPU each number compiles a kernel of its own.
        rendering: "point": a pixel a point; "patch": a 3x3 block of random pixels a point; "fill": all of that block.
        color: by the number of the point, in three planes; else grey 127 in one.
        device: where records and planes are.
        backend: "numba" (CPU only) or "triton".

    Raises:
        TypeError: a number is no integer.
        ValueError: a number or name is not as above, or "numba" is asked for on a GPU.
        ImportError: Triton is wanted and missing.
    """

    def __init__(
        self,
        *,
        canvas_size: int,
        points: int,
        device: torch.device,
        backend: Backend,
        rendering: Rendering = "patch",
        color: bool = False,
    ) -> None:
        self.canvas_size = checks.integer("canvas_size", canvas_size, 13, 16384)
        self.points = checks.integer("points", points, 1, MAX_POINTS)
        self.rendering = checks.choice("rendering", rendering, RENDERINGS)
        self.color = checks.choice("color", color, (False, True))
        self.device = torch.device(device)
        self.backend = checked_backend(backend, self.device)
        self._halves = chain_halves(self.points)
        self._palette = np.pad(palette(), [(1, 0), (0, 0)]).T.copy()
        mark = torch.int32 if self.color else torch.uint8
        self._marks = Scratch(self.device, {"marks": ((self.canvas_size,) * 2, mark)})
        if self.backend == "numba":
            from fdsl_gpu.cpu_kernels import ifs_2d

            self._kernels: Any = ifs_2d
        else:
            self._kernels = load_kernels("ifs_2d")
            self._halves_there = _shared_halves(self.points, self.device)
            self._palette_there = torch.from_numpy(self._palette).to(self.device)

    @property
    def planes(self) -> int:
        """P, 1 or 3."""
        return 3 if self.color else 1

    @property
    def scratch_bytes(self) -> int:
        """Bytes of GPU memory that an image takes beside its planes."""
        return self._marks.row_bytes

    def draw(self, records: Tensor, key: philox.Key, planes: Tensor) -> None:
        """Draw a batch, every pixel of it; queued on the current stream on a GPU.

        Args:
            records: int32 [B, 68] on the device, contiguous: rows of ``POINTS_2D``. ``num_maps`` in 1 .. 8 and aliases
                below it are the maker's duty; they are not checked, which would wait for the device.
            key: of the dataset, from ``philox.dataset_key``.
            planes: uint8 [B, P, S, S] on the device, contiguous; overwritten whatever they held.

        Raises:
            ValueError: a shape, dtype, layout or device is not as above.
        """
        batch, side = records.shape[0], self.canvas_size
        check_tensor("records", records, (batch, _WORDS), torch.int32, self.device)
        check_tensor("planes", planes, (batch, self.planes, side, side), torch.uint8, self.device)
        if batch == 0:
            return
        if self.backend == "triton":
            self._draw_triton(records, signed_key(key), planes)
            return
        rows = records.numpy().view(POINTS_2D)[:, 0]
        rendering = RENDERINGS.index(self.rendering)
        self._kernels.draw_2d(
            rows, self._halves, self._palette, planes.numpy(), *key, philox.PATTERN, self.points, rendering
        )

    def _draw_triton(self, records: Tensor, key: tuple[int, int], planes: Tensor) -> None:
        kernels, side, batch = self._kernels, self.canvas_size, records.shape[0]
        marks = self._marks.rows(batch)[0][:batch]
        with on_device(self.device):
            load_kernels("replay").clear(marks)
            kernels.plot_2d[batch, kernels.LANES // kernels.LANE_BLOCK](
                records,
                records.view(torch.float32),
                self._halves_there,
                marks,
                POINTS=self.points,
                SIZE=side,
                COLOR=self.color,
                STEPS=len(self._halves),
                LANES=kernels.LANES,
                WARMUP=kernels.WARMUP,
                BLOCK=kernels.LANE_BLOCK,
                num_warps=kernels.LANE_BLOCK // 32,
                enable_fp_fusion=False,
            )
            kernels.compose_2d[batch, -(-(side * side) // (8 * kernels.PIXEL_GROUPS))](
                records,
                marks,
                self._palette_there,
                planes,
                *key,
                STREAM=philox.PATTERN,
                SIZE=side,
                COLOR=self.color,
                PATCH=self.rendering != "point",
                RANDOM=self.rendering == "patch",
                GROUPS=kernels.PIXEL_GROUPS,
                enable_fp_fusion=False,
            )


@lru_cache(maxsize=8)
def _shared_halves(points: int, device: torch.device) -> Tensor:
    """``chain_halves`` on a device, once a process."""
    return torch.tensor(chain_halves(points), device=device)
