"""Launcher of the contours primitive: records of nested noisy polygons to uint8 planes [B, 1, S, S]."""

from __future__ import annotations

import torch
from torch import Tensor

from fdsl_gpu import philox, records, tables
from fdsl_gpu.render.backend import Backend, load_kernels

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
        self.canvas_size = canvas_size
        self.max_vertices = max_vertices
        self.max_lines = max_lines
        self.background = background
        self.device = torch.device(device)
        self.backend = backend
        self._rows = _round_up(max_lines, _LINE_MULTIPLE)
        self._columns = _round_up(max_vertices, _VERTEX_MULTIPLE)
        self._angles = torch.tensor(tables.angle_table(max_vertices), device=self.device)
        self._gradients = torch.tensor(tables.perlin_gradients(), device=self.device)
        self._words = torch.empty(0)
        self._greys = torch.empty(0)
        self._canvas = torch.empty(0)
        if backend == "triton":
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
        if self.backend == "numba":
            self._draw_numba(records, key, planes)
        else:
            self._draw_triton(records, key, planes)

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

    def _draw_numba(self, records: Tensor, key: philox.Key, planes: Tensor) -> None:
        from fdsl_gpu.cpu_kernels import contour

        if not len(self._words):
            self._words, self._greys = self._empty_vertices(1)
        contour.draw(
            _structured(records),
            self._angles.numpy(),
            self._gradients.numpy(),
            *key,
            philox.NOISE,
            philox.GREY,
            self._words.numpy(),
            self._greys.numpy(),
            self.background,
            planes.numpy(),
        )

    def _draw_triton(self, records: Tensor, key: philox.Key, planes: Tensor) -> None:
        if len(self._words) < len(records):
            self._words, self._greys = self._empty_vertices(len(records))
        with torch.cuda.device_of(planes):
            self._fill_vertices(records, key, self._words, self._greys)
            self._raster_triton(records, self._words, self._greys, planes)

    def _raster_triton(self, records: Tensor, words: Tensor, greys: Tensor, planes: Tensor) -> None:
        batch, side = len(records), self.canvas_size
        if len(self._canvas) < batch:
            # The kernel "resolve" leaves it zero for the next images.
            self._canvas = torch.zeros((batch, side, side), dtype=torch.int32, device=self.device)
        self._kernels.raster[batch, self.max_lines](
            records,
            words,
            greys,
            self._canvas,
            self._rows,
            self._columns,
            side,
            BLOCK=_SIDE_BLOCK,
            num_warps=_SIDE_BLOCK // 32,
            enable_fp_fusion=False,
        )
        pixels = planes.numel()
        self._kernels.resolve[(-(-pixels // _PIXEL_BLOCK),)](
            self._canvas, planes, pixels, self.background, BLOCK=_PIXEL_BLOCK, enable_fp_fusion=False
        )

    def _fill_vertices(self, records: Tensor, key: philox.Key, words: Tensor, greys: Tensor) -> None:
        if self.backend == "numba":
            from fdsl_gpu.cpu_kernels import contour

            contour.vertices(
                _structured(records),
                self._angles.numpy(),
                self._gradients.numpy(),
                *key,
                philox.NOISE,
                philox.GREY,
                words.numpy(),
                greys.numpy(),
            )
            return
        self._kernels.vertices[len(records), -(-self.max_vertices // _VERTEX_BLOCK)](
            records,
            records.view(torch.float32),
            self._angles,
            self._gradients,
            words,
            greys,
            *(_signed(word) for word in key),
            self._rows,
            self._columns,
            NOISE_STREAM=philox.NOISE,
            GREY_STREAM=philox.GREY,
            BLOCK=_VERTEX_BLOCK,
            num_warps=_VERTEX_BLOCK // 32,
            enable_fp_fusion=False,
        )

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


def _structured(words: Tensor):  # noqa: ANN202
    return words.numpy().view(records.CONTOURS)[:, 0]


def _signed(word: int) -> int:
    """The 32-bit word as a kernel argument: always int32, so that a kernel is compiled once for all seeds."""
    return word - (1 << 32) if word >= 1 << 31 else word


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
