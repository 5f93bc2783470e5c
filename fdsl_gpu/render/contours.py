"""Launcher of the contours primitive: records of nested polygons to uint8 planes [B, 1, S, S].

The law stands in ``triton_kernels/contour.py``; the CPU twin is ``fdsl_gpu/cpu_kernels/contour.py``.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from fdsl_gpu import checks, philox, tables
from fdsl_gpu.records import CONTOURS
from fdsl_gpu.render.backend import load_kernels

_WORDS = CONTOURS.itemsize // 4
_LANES = 16


class Contours:
    """Draws records of ``CONTOURS`` on one device. Its scratch memory is kept between calls: one object a thread.

    Args:
        canvas_size: side S of the planes.
        max_vertices: most vertices of a polygon in any record.
        max_lines: most polygons in any record.
        background: grey of pixels that no line covers, 0 .. 255.
        device: where records and planes are.
        backend: "numba" (CPU only) or "triton".

    Raises:
        ValueError, TypeError: an argument is not as above.
    """

    def __init__(
        self,
        *,
        canvas_size: int,
        max_vertices: int,
        max_lines: int,
        background: int,
        device: torch.device,
        backend: Literal["numba", "triton"],
    ) -> None:
        self.canvas_size = checks.integer("canvas_size", canvas_size, 1, 16384)
        self.max_vertices = checks.integer("max_vertices", max_vertices, 1, 32768)
        self.max_lines = checks.integer("max_lines", max_lines, 1, 2**22)
        self.background = checks.integer("background", background, 0, 255)
        self.device = torch.device(device)
        self.backend = checks.choice("backend", backend, ("numba", "triton"))
        if self.backend == "numba" and self.device.type != "cpu":
            raise ValueError(f"backend: received 'numba' for device {str(device)!r}; allowed there: 'triton'.")
        self._angles = torch.tensor(tables.angle_table(max_vertices), device=self.device)
        self._gradients = torch.tensor(tables.perlin_gradients(), device=self.device)
        # Lines in twos and vertices in whole vectors, as the kernels write them.
        self._shape = (max_lines + max_lines % 2, -(-max_vertices // _LANES) * _LANES)
        self._words = self._greys = self._canvas = torch.empty(0)

    def draw(self, records: Tensor, key: philox.Key, planes: Tensor) -> None:
        """Draw a batch; queued on the current stream on a GPU.

        Args:
            records: int32 [B, 16] on the device, contiguous: rows of ``CONTOURS``, within the maxima.
            key: of the dataset, from ``philox.dataset_key``.
            planes: uint8 [B, 1, S, S] on the device, contiguous; overwritten.

        Raises:
            ValueError: a shape, dtype, layout or device is not as above.
        """
        self._check("planes", planes, torch.uint8, (len(records), 1, self.canvas_size, self.canvas_size))
        words, greys = self._run_vertices(records, key)
        if len(records):
            self.raster(records, words, greys, planes)

    def vertices(self, records: Tensor, key: philox.Key) -> tuple[Tensor, Tensor]:
        """Vertices int16 [B, K, V, 2], (x, y), and greys uint8 [B, K]; defined up to the lines and vertices of each."""
        words, greys = self._run_vertices(records, key)
        pairs = words.view(torch.int16).view(*words.shape, 2)
        return pairs[:, : self.max_lines, : self.max_vertices].clone(), greys[:, : self.max_lines].clone()

    def raster(self, records: Tensor, words: Tensor, greys: Tensor, planes: Tensor) -> None:
        """Paint packed vertices int32 [B, K', V'] and greys uint8 [B, K'] (the padded shape) in order."""
        if self.backend == "numba":
            from fdsl_gpu.cpu_kernels import contour

            rows = records.numpy().view(CONTOURS)[:, 0]
            contour.raster(rows, words.numpy(), greys.numpy(), self.background, planes.numpy()[:, 0])
            return
        contour, batch, size = load_kernels("contour"), len(records), self.canvas_size
        if len(self._canvas) < batch:
            self._canvas = torch.empty((batch, size, size), dtype=torch.int32, device=self.device)
        canvas = self._canvas[:batch].zero_()
        lines, width = self._shape
        with torch.cuda.device_of(planes):
            contour.raster[(batch, lines)](
                records,
                words,
                greys,
                canvas,
                SIZE=size,
                MAX_LINES=lines,
                MAX_VERTICES=width,
                BLOCK=contour.SEGMENT_BLOCK,
                num_warps=contour.NUM_WARPS,
                enable_fp_fusion=False,
            )
            total, block = planes.numel(), contour.RESOLVE_BLOCK
            contour.resolve[(-(-total // block),)](
                canvas, planes, total, BACKGROUND=self.background, BLOCK=block, num_warps=contour.NUM_WARPS
            )

    def _run_vertices(self, records: Tensor, key: philox.Key) -> tuple[Tensor, Tensor]:
        batch = len(records)
        self._check("records", records, torch.int32, (batch, _WORDS))
        if len(self._words) < batch:
            self._words = torch.empty((batch, *self._shape), dtype=torch.int32, device=self.device)
            self._greys = torch.empty((batch, self._shape[0]), dtype=torch.uint8, device=self.device)
        words, greys = self._words[:batch], self._greys[:batch]
        if not batch:
            return words, greys
        if self.backend == "numba":
            from fdsl_gpu.cpu_kernels import contour

            rows = records.numpy().view(CONTOURS)[:, 0]
            place: Any = (self._angles.numpy(), tables.perlin_pairs(), words.numpy(), greys.numpy())
            contour.vertices(rows, *key, philox.NOISE, philox.GREY, *place)
            return words, greys
        contour = load_kernels("contour")
        # Signed, so that their type, and with it the compiled kernel, is the same for every seed.
        k0, k1 = (int(word) for word in np.array(key, np.uint32).view(np.int32))
        with torch.cuda.device_of(records):
            contour.vertices[(batch, -(-self.max_vertices // contour.VERTEX_BLOCK))](
                records,
                records.view(torch.float32),
                k0,
                k1,
                self._angles,
                self._gradients,
                words,
                greys,
                NOISE_STREAM=philox.NOISE,
                GREY_STREAM=philox.GREY,
                MAX_LINES=self._shape[0],
                MAX_VERTICES=self._shape[1],
                BLOCK=contour.VERTEX_BLOCK,
                num_warps=contour.NUM_WARPS,
                enable_fp_fusion=False,
            )
        return words, greys

    def _check(self, argument: str, tensor: Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
        device = tensor.device
        same_device = device.type == self.device.type and self.device.index in (None, device.index)
        if tensor.dtype != dtype or tuple(tensor.shape) != shape or not same_device or not tensor.is_contiguous():
            layout = "contiguous" if tensor.is_contiguous() else "strided"
            raise ValueError(
                f"{argument}: received {layout} {tensor.dtype} {list(tensor.shape)} on {device}; allowed: contiguous "
                f"{dtype} {list(shape)} on {self.device}. Convert it with .to(...) and .contiguous()."
            )
