"""First stage of the contours primitives: records to vertices and grey levels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fdsl_gpu import checks, philox, records, tables
from fdsl_gpu.render.backend import Backend, checked_backend, load_kernels, on_device, signed_key

# Rows of vertices are padded to what the CPU twin takes at once; lines come in pairs, as one random block serves two.
_VERTEX_MULTIPLE, _LINE_MULTIPLE = 16, 2

_VERTEX_BLOCK = 32


class ContourVertices:
    """Makes vertices of contours on one device. Keeps no scratch memory, so threads may share one.

    Args:
        max_vertices: most vertices of a polygon in any record.
        max_lines: most polygons in any record.
        device: where records and vertices live.
        backend: "numba" (CPU) or "triton".

    Attributes:
        rows: lines that buffers have room for, at least ``max_lines``.
        columns: vertices a line that buffers have room for, at least ``max_vertices``.
        kernels: the module of kernels for contours on this backend.

    Raises:
        TypeError: if a number is not an integer.
        ValueError: if an argument is out of range, or "numba" is asked for on a GPU.
        ImportError: if Triton is wanted and missing.
    """

    def __init__(self, *, max_vertices: int, max_lines: int, device: torch.device, backend: Backend) -> None:
        # A line is a row of the launch grid, which CUDA limits to 65,535; the table of angles is quadratic in vertices.
        self.max_vertices = checks.integer("max_vertices", max_vertices, 1, 4096)
        self.max_lines = checks.integer("max_lines", max_lines, 1, 65534)
        self.device = torch.device(device)
        self.backend = checked_backend(backend, self.device)
        self.rows = _round_up(max_lines, _LINE_MULTIPLE)
        self.columns = _round_up(max_vertices, _VERTEX_MULTIPLE)
        # As wide as the buffers, so that a record beyond the maxima, which is cut to them, reads nothing else.
        angles = tables.angle_table(self.columns)
        if backend == "numba":
            from fdsl_gpu.cpu_kernels import contour

            self._tables: tuple[Any, Any] = (angles, tables.perlin_pairs())
            self.kernels: Any = contour
        else:
            gradients = tables.perlin_gradients()
            self._tables = (torch.tensor(angles, device=self.device), torch.tensor(gradients, device=self.device))
            self.kernels = load_kernels("contour")

    @property
    def shapes(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Of what a record takes: vertex words int32 [rows, columns] and grey levels uint8 [rows]."""
        return {"words": ((self.rows, self.columns), torch.int32), "greys": ((self.rows,), torch.uint8)}

    def empty(self, batch: int) -> tuple[Tensor, ...]:
        """Uninitialised vertex words int32 [B, rows, columns] and grey levels uint8 [B, rows]."""
        shapes = self.shapes.values()
        return tuple(torch.empty((batch, *shape), dtype=dtype, device=self.device) for shape, dtype in shapes)

    def fill(self, contours: Tensor, key: philox.Key, words: Tensor, greys: Tensor) -> None:
        """Fill buffers from :meth:`empty`; what a record does not use is undefined.

        Args:
            contours: int32 [B, 20], ``fdsl_gpu.records.CONTOURS`` as words, B at least 1.
            key: from ``philox.dataset_key``.
            words: x & 0xffff | y << 16 of every vertex.
            greys: of every line.
        """
        streams = (philox.NOISE, philox.GREY)
        if self.backend == "numba":
            self.kernels.vertices(as_contours(contours), *self._tables, words.numpy(), greys.numpy(), *key, *streams)
            return
        with on_device(self.device):
            self.kernels.vertices[contours.shape[0], -(-self.columns // _VERTEX_BLOCK)](
                contours,
                contours.view(torch.float32),
                *self._tables,
                words,
                greys,
                *signed_key(key),
                self.rows,
                self.columns,
                *streams,
                BLOCK=_VERTEX_BLOCK,
                num_warps=_VERTEX_BLOCK // 32,
                enable_fp_fusion=False,
            )


def as_contours(words: Tensor) -> np.ndarray:
    """The same memory, int32 [..., 20], as [...] of ``CONTOURS``."""
    return words.numpy().view(records.CONTOURS)[..., 0]


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
