"""Launcher of the contours primitive: records of nested noisy polygons to uint8 planes [B, 1, S, S]."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fdsl_gpu import checks, philox, records, tables
from fdsl_gpu.render.backend import Backend, load_kernels, signed_key

_RECORD_WORDS = records.CONTOURS.itemsize // 4

# Rows of vertices are padded to what the CPU twin takes at once; lines come in pairs, as one random block serves two.
_VERTEX_MULTIPLE, _LINE_MULTIPLE = 16, 2

_VERTEX_BLOCK, _SIDE_BLOCK, _PIXEL_BLOCK = 32, 128, 1024


class Contours:
    """Draws contours on one device. Holds scratch memory, so one instance serves one thread or stream at a time.

    Args:
        canvas_size: side S of the planes, pixels.
        max_vertices: most vertices of a polygon in any record.
        max_lines: most polygons in any record.
        background: grey level of pixels that no line covers.
        device: where records and planes live.
        backend: "numba" (CPU) or "triton".

    Raises:
        TypeError: if a number is not an integer.
        ValueError: if an argument is out of range, or "numba" is asked for on a GPU.
        ImportError: if Triton is wanted and missing.
    """

    def __init__(
        self,
        *,
        canvas_size: int,
        max_vertices: int,
        max_lines: int,
        background: int,
        device: torch.device,
        backend: Backend,
    ) -> None:
        # A line is a row of the launch grid, which CUDA limits to 65,535; the table of angles is quadratic in vertices.
        self.canvas_size = checks.integer("canvas_size", canvas_size, 1, 16384)
        self.max_vertices = checks.integer("max_vertices", max_vertices, 1, 4096)
        self.max_lines = checks.integer("max_lines", max_lines, 1, 65534)
        self.background = checks.integer("background", background, 0, 255)
        self.device = torch.device(device)
        self.backend = checks.choice("backend", backend, ("numba", "triton"))
        if backend == "numba" and self.device.type != "cpu":
            raise ValueError(f"backend: received 'numba' for device {str(device)!r}; allowed there: 'triton'.")
        self._rows = _round_up(max_lines, _LINE_MULTIPLE)
        self._columns = _round_up(max_vertices, _VERTEX_MULTIPLE)
        self._words = torch.empty(0)
        self._greys = torch.empty(0)
        self._canvas = torch.empty(0)
        # As wide as the buffers, so that a record beyond the maxima, which is cut to them, reads nothing else.
        angles = tables.angle_table(self._columns)
        if backend == "numba":
            from fdsl_gpu.cpu_kernels import contour

            self._tables: tuple[Any, Any] = (angles, tables.perlin_pairs())
            self._kernels: Any = contour
        else:
            gradients = tables.perlin_gradients()
            self._tables = (torch.tensor(angles, device=self.device), torch.tensor(gradients, device=self.device))
            self._kernels = load_kernels("contour")

    def draw(self, records: Tensor, key: philox.Key, planes: Tensor) -> None:
        """Draw records into planes, every pixel of them.

        Args:
            records: int32 [B, 16], ``fdsl_gpu.records.CONTOURS`` as words, contiguous, on the device.
            key: from ``philox.dataset_key``.
            planes: uint8 [B, 1, S, S], contiguous, on the device.

        Raises:
            ValueError: for another shape, layout or device.
            TypeError: for another dtype.
        """
        self._check_records(records)
        side = self.canvas_size
        _check("planes", planes, (len(records), 1, side, side), torch.uint8, self.device)
        if not len(records):
            return
        self._reserve(len(records))
        self._fill_vertices(records, key, self._words, self._greys)
        self._raster(records, self._words, self._greys, planes)

    def vertices(self, records: Tensor, key: philox.Key) -> tuple[Tensor, Tensor]:
        """What ``draw`` is about to draw.

        Args:
            records: as in ``draw``.
            key: as in ``draw``.

        Returns:
            Vertices int16 [B, max_lines, max_vertices, 2], (x, y), and grey levels uint8 [B, max_lines], both new.
            What a record does not use is undefined.
        """
        self._check_records(records)
        words, greys = self._empty_vertices(len(records))
        if len(records):
            self._fill_vertices(records, key, words, greys)
        words = words[:, : self.max_lines, : self.max_vertices].contiguous()
        return words.view(torch.int16).unflatten(2, (self.max_vertices, 2)), greys[:, : self.max_lines].contiguous()

    def _fill_vertices(self, records: Tensor, key: philox.Key, words: Tensor, greys: Tensor) -> None:
        streams = (philox.NOISE, philox.GREY)
        if self.backend == "numba":
            self._kernels.vertices(_structured(records), *self._tables, words.numpy(), greys.numpy(), *key, *streams)
            return
        with self._guard():
            self._kernels.vertices[len(records), -(-self._columns // _VERTEX_BLOCK)](
                records,
                records.view(torch.float32),
                *self._tables,
                words,
                greys,
                *signed_key(key),
                self._rows,
                self._columns,
                *streams,
                BLOCK=_VERTEX_BLOCK,
                num_warps=_VERTEX_BLOCK // 32,
                enable_fp_fusion=False,
            )

    def _raster(self, records: Tensor, words: Tensor, greys: Tensor, planes: Tensor) -> None:
        if self.backend == "numba":
            self._kernels.raster(_structured(records), words.numpy(), greys.numpy(), planes.numpy(), self.background)
            return
        pixels = planes.numel()
        with self._guard():
            self._kernels.raster[len(records), self._rows](
                records,
                words,
                greys,
                self._canvas,
                self._rows,
                self._columns,
                self.canvas_size,
                BLOCK=_SIDE_BLOCK,
                num_warps=_SIDE_BLOCK // 32,
                enable_fp_fusion=False,
            )
            self._kernels.resolve[(-(-pixels // _PIXEL_BLOCK),)](
                self._canvas, planes, pixels, self.background, BLOCK=_PIXEL_BLOCK, enable_fp_fusion=False
            )

    def _reserve(self, batch: int) -> None:
        if len(self._words) >= batch:
            return
        self._words, self._greys = self._empty_vertices(batch)
        if self.backend == "triton":
            # Zero once: the kernel "resolve" leaves it zero for the next images.
            shape = (batch, self.canvas_size, self.canvas_size)
            self._canvas = torch.zeros(shape, dtype=torch.int32, device=self.device)

    def _guard(self) -> AbstractContextManager[Any]:
        """Triton launches on the current device, which need not be the one of the tensors."""
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()

    def _empty_vertices(self, batch: int) -> tuple[Tensor, Tensor]:
        words = torch.empty((batch, self._rows, self._columns), dtype=torch.int32, device=self.device)
        return words, torch.empty((batch, self._rows), dtype=torch.uint8, device=self.device)

    def _check_records(self, records: Tensor) -> None:
        _check("records", records, (len(records), _RECORD_WORDS), torch.int32, self.device)


def _check(argument: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
    if tensor.dtype != dtype:
        raise TypeError(f"{argument}: received {tensor.dtype}; allowed: {dtype}. Convert it with .to({dtype}).")
    if tuple(tensor.shape) != shape or not tensor.is_contiguous():
        layout = "" if tensor.is_contiguous() else ", not contiguous"
        raise ValueError(
            f"{argument}: received shape {tuple(tensor.shape)}{layout}; allowed: {shape}, contiguous. "
            "Allocate it with that shape."
        )
    if tensor.device.type != device.type or device.index not in (None, tensor.device.index):
        raise ValueError(f"{argument}: received a tensor on {tensor.device}; allowed: {device}. Move it there.")


def _structured(words: Tensor) -> np.ndarray:
    return words.numpy().view(records.CONTOURS)[:, 0]


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
