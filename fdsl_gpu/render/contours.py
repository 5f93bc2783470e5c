"""Launcher of the contours primitive: records of nested noisy polygons to uint8 planes [B, 1, S, S]."""

from __future__ import annotations

import torch
from torch import Tensor

from fdsl_gpu import checks, philox, records
from fdsl_gpu.render.backend import Backend, check_tensor, on_device
from fdsl_gpu.render.contour_vertices import ContourVertices, as_contours
from fdsl_gpu.render.scratch import Scratch

_RECORD_WORDS = records.CONTOURS.itemsize // 4

# Sides drawn at once: one warp's, as every lane waits for the longest of them.
SIDE_BLOCK, PIXEL_BLOCK = 32, 1024


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
        self.canvas_size = checks.integer("canvas_size", canvas_size, 1, 16384)
        self.background = checks.integer("background", background, 0, 255)
        self.stage = ContourVertices(max_vertices=max_vertices, max_lines=max_lines, device=device, backend=backend)
        self.device, self.backend = self.stage.device, self.stage.backend
        self._vertices = Scratch(self.device, self.stage.shapes)
        # The kernel "resolve" leaves it zero for the next images.
        side = self.canvas_size
        self._canvas = Scratch(self.device, {"canvas": ((side, side), torch.int32)}, zeroed=True)

    @property
    def scratch_bytes(self) -> int:
        """Bytes of GPU memory that an image takes beside its planes."""
        return self._vertices.row_bytes + self._canvas.row_bytes

    def draw(self, records: Tensor, key: philox.Key, planes: Tensor) -> None:
        """Draw records into planes, every pixel of them.

        Args:
            records: int32 [B, 20], ``fdsl_gpu.records.CONTOURS`` as words, contiguous, on the device.
            key: from ``philox.dataset_key``.
            planes: uint8 [B, 1, S, S], contiguous, on the device.

        Raises:
            ValueError: for another shape, dtype, layout or device.
        """
        batch, side = records.shape[0], self.canvas_size
        self._check_records(records)
        check_tensor("planes", planes, (batch, 1, side, side), torch.uint8, self.device)
        if not batch:
            return
        words, greys = self._vertices.rows(batch)
        self.stage.fill(records, key, words, greys)
        self.raster(records, words, greys, planes)

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
        stage = self.stage
        words, greys = stage.empty(len(records))
        if len(records):
            stage.fill(records, key, words, greys)
        words = words[:, : stage.max_lines, : stage.max_vertices].contiguous()
        return words.view(torch.int16).unflatten(2, (stage.max_vertices, 2)), greys[:, : stage.max_lines].contiguous()

    def raster(self, records: Tensor, words: Tensor, greys: Tensor, planes: Tensor) -> None:
        """Second stage of ``draw``: what ``ContourVertices.fill`` made, into planes. Arguments are not checked."""
        if self.backend == "numba":
            self.stage.kernels.raster(
                as_contours(records), words.numpy(), greys.numpy(), planes.numpy(), self.background
            )
            return
        batch, pixels = records.shape[0], planes.numel()
        (canvas,) = self._canvas.rows(batch)
        with on_device(self.device):
            self.stage.kernels.raster[batch, self.stage.rows](
                records,
                words,
                greys,
                canvas,
                self.stage.rows,
                self.stage.columns,
                self.canvas_size,
                CONTOURS=1,
                BLOCK=SIDE_BLOCK,
                num_warps=SIDE_BLOCK // 32,
                enable_fp_fusion=False,
            )
            self.stage.kernels.resolve[(-(-pixels // PIXEL_BLOCK),)](
                canvas, planes, pixels, self.background, BLOCK=PIXEL_BLOCK, enable_fp_fusion=False
            )

    def _check_records(self, records: Tensor) -> None:
        check_tensor("records", records, (*records.shape[:1], _RECORD_WORDS), torch.int32, self.device)
