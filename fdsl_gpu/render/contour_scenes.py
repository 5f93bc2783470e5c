"""Launcher of scenes: several contours on one canvas to uint8 planes [B, 1, S, S] and label masks uint8 [B, S, S]."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from fdsl_gpu import checks, philox
from fdsl_gpu.records import CONTOURS, CONTOURS_A_SCENE
from fdsl_gpu.render.backend import Backend, check_tensor, load_kernels, on_device
from fdsl_gpu.render.contour_vertices import ContourVertices, as_contours
from fdsl_gpu.render.contours import PIXEL_BLOCK, SIDE_BLOCK
from fdsl_gpu.render.scratch import Scratch

_CONTOUR_WORDS = CONTOURS.itemsize // 4

# Of what the fills take at once: sides of a polygon to prepare, and to look at in a row.
_CORNER_BLOCK, _EDGE_BLOCK = 128, 256


class ContourScenes:
    """Draws scenes on one device. Holds scratch memory, so one instance serves one thread or stream at a time.

    Args:
        canvas_size: side S of the planes, pixels.
        max_vertices: most vertices of a polygon in any record.
        max_lines: most polygons of a contour in any record.
        background: grey level of pixels that no line covers; in masks they are 0.
        mask_mode: what holds a contour's category: "M1" its lines; "M2" what lies between its first and its last
            polygon, with 0 inside the first; "M3" the inside of its last polygon.
        device: where records, planes and masks live.
        backend: "numba" (CPU) or "triton".
        contours: N, contours of a record; 32 in ``fdsl_gpu.records.CONTOUR_SCENE``.

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
        mask_mode: Literal["M1", "M2", "M3"],
        device: torch.device,
        backend: Backend,
        contours: int = CONTOURS_A_SCENE,
    ) -> None:
        self.canvas_size = checks.integer("canvas_size", canvas_size, 1, 16384)
        self.background = checks.integer("background", background, 0, 255)
        self.mask_mode = checks.choice("mask_mode", mask_mode, ("M1", "M2", "M3"))
        self._stage = ContourVertices(max_vertices=max_vertices, max_lines=max_lines, device=device, backend=backend)
        self.device, self.backend = self._stage.device, self._stage.backend
        # The canvas of the Triton twin has 23 bits for the number of a line among those of all contours.
        self.contours = checks.integer("contours", contours, 1, min(1024, (2**23 - 1) // self._stage.rows))
        corners = 0 if self.mask_mode == "M1" else 2
        shapes = {**self._stage.shapes, "corners": ((corners, self._stage.columns), torch.int32)}
        self._vertices = Scratch(self.device, shapes)
        # On a GPU the kernels that resolve it leave it zero for the next images.
        dtype = torch.uint16 if self.backend == "numba" else torch.int32
        self._canvas = Scratch(self.device, {"canvas": ((self.canvas_size,) * 2, dtype)}, zeroed=True)

    @property
    def scratch_bytes(self) -> int:
        """Bytes of GPU memory that an image takes beside its planes, with a mask."""
        return self.contours * self._vertices.row_bytes + self._canvas.row_bytes + self.canvas_size**2

    def draw(self, records: Tensor, key: philox.Key, planes: Tensor, masks: Tensor | None = None) -> None:
        """Draw records into planes and masks, every pixel of them.

        Args:
            records: int32 [B, 20 N], rows of N ``fdsl_gpu.records.CONTOURS`` as words, contiguous, on the device.
            key: from ``philox.dataset_key``.
            planes: uint8 [B, 1, S, S], contiguous, on the device.
            masks: uint8 [B, S, S], contiguous, on the device; None to draw none.

        Raises:
            ValueError: for another shape, dtype, layout or device.
        """
        side, batch = self.canvas_size, len(records)
        check_tensor("records", records, (batch, self.contours * _CONTOUR_WORDS), torch.int32, self.device)
        check_tensor("planes", planes, (batch, 1, side, side), torch.uint8, self.device)
        if masks is not None:
            check_tensor("masks", masks, (batch, side, side), torch.uint8, self.device)
        if not batch:
            return
        contours = records.view(batch * self.contours, _CONTOUR_WORDS)
        if self.backend == "numba":
            self._draw_numba(contours, key, planes, masks)
        else:
            self._draw_triton(contours, key, planes, masks)

    def _draw_numba(self, contours: Tensor, key: philox.Key, planes: Tensor, masks: Tensor | None) -> None:
        """Picture by picture, so that vertices stay in the cache."""
        from fdsl_gpu.cpu_kernels import polygon

        kernels = self._stage.kernels
        words, greys, _ = self._vertices.rows(self.contours)
        vertices, canvas = (words.numpy(), greys.numpy()), self._canvas.rows(1)[0][0].numpy()
        for i, scene in enumerate(contours.split(self.contours)):
            self._stage.fill(scene, key, words, greys)
            rows, plane = as_contours(scene), planes[i, 0].numpy()
            if masks is not None and self.mask_mode == "M1":
                kernels.raster_scene(rows, *vertices, canvas, self.background)
                kernels.resolve_scene(canvas, plane, masks[i].numpy())
                continue
            kernels.raster_scene(rows, *vertices, plane, self.background)
            if masks is not None:
                polygon.draw_masks(rows, vertices[0], masks[i].numpy(), self.mask_mode == "M2")

    def _draw_triton(self, contours: Tensor, key: philox.Key, planes: Tensor, masks: Tensor | None) -> None:
        batch, side = len(planes), self.canvas_size
        kernels, options = self._stage.kernels, {"enable_fp_fusion": False}
        sizes = self._stage.rows, self._stage.columns
        pixels = side * side
        words, greys, corners = self._vertices.rows(len(contours))
        (canvas,) = self._canvas.rows(batch)
        with on_device(self.device):
            self._stage.fill(contours, key, words, greys)
            kernels.raster[len(contours), self._stage.rows](
                contours,
                words,
                greys,
                canvas,
                *sizes,
                side,
                CONTOURS=self.contours,
                BLOCK=SIDE_BLOCK,
                num_warps=SIDE_BLOCK // 32,
                **options,
            )
            if masks is not None and self.mask_mode == "M1":
                kernels.resolve_scene[batch, -(-pixels // PIXEL_BLOCK)](
                    canvas,
                    contours,
                    planes,
                    masks,
                    pixels,
                    self._stage.rows,
                    self.background,
                    CONTOURS=self.contours,
                    BLOCK=PIXEL_BLOCK,
                    **options,
                )
                return
            self._resolve(canvas, planes, self.background)
            if masks is not None:
                self._fill_masks(contours, words, corners, canvas, masks)

    def _fill_masks(self, contours: Tensor, words: Tensor, corners: Tensor, canvas: Tensor, masks: Tensor) -> None:
        polygon = load_kernels("polygon")
        ring = self.mask_mode == "M2"
        polygons = 2 if ring else 1
        sizes = self._stage.rows, self._stage.columns
        contour_polygon = {"POLYGONS": polygons, "enable_fp_fusion": False}
        polygon.corners[len(contours), polygons, -(-self._stage.columns // _CORNER_BLOCK)](
            contours, words, corners, *sizes, BLOCK=_CORNER_BLOCK, **contour_polygon
        )
        polygon.fill[len(contours) * polygons, self.canvas_size](
            contours,
            words,
            corners,
            canvas,
            *sizes,
            self.canvas_size,
            CONTOURS=self.contours,
            BLOCK=_EDGE_BLOCK,
            COLUMNS=max(64, 1 << (self.canvas_size - 1).bit_length()),
            **contour_polygon,
        )
        if ring:
            polygon.outline[len(contours), polygons](
                contours,
                words,
                canvas,
                *sizes,
                self.canvas_size,
                CONTOURS=self.contours,
                BLOCK=SIDE_BLOCK,
                num_warps=SIDE_BLOCK // 32,
                enable_fp_fusion=False,
            )
        self._resolve(canvas, masks, 0)

    def _resolve(self, canvas: Tensor, out: Tensor, background: int) -> None:
        pixels = out.numel()
        self._stage.kernels.resolve[(-(-pixels // PIXEL_BLOCK),)](
            canvas, out, pixels, background, BLOCK=PIXEL_BLOCK, enable_fp_fusion=False
        )
