"""Launcher of the fractal scenes primitive: fractals on a background, to uint8 planes [B, P, S, S], P = 1 or 3.

The law of the drawing stands in ``triton_kernels/density.py``, ``background.py`` and ``fractal_scene.py``; the CPU
twins are the files of those names in ``fdsl_gpu/cpu_kernels``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fdsl_gpu import checks, philox
from fdsl_gpu.records import BACKGROUND_LEVELS, FRACTAL_SCENE, MAX_FRACTALS
from fdsl_gpu.render.backend import Backend, check_tensor, checked_backend, load_kernels, on_device, signed_key
from fdsl_gpu.render.scratch import Scratch, Shapes

MAX_POINTS = 1_000_000
"""Most points a fractal: nine times as many still are exact in float32."""

_WORDS = FRACTAL_SCENE.itemsize // 4
_PIXEL_BLOCK = 512


class FractalScenes:
    """Draws records of ``FRACTAL_SCENE`` on one device. Holds scratch memory, so each serves one thread or stream.

    Example:
        >>> sizes = {"canvas_size": 224, "fractal_size": 224, "max_fractals": 1, "points": 100_000}
        >>> scenes = FractalScenes(**sizes, device=torch.device("cpu"), backend="numba")
        >>> planes = torch.empty(len(records), 3, 224, 224, dtype=torch.uint8)
        >>> scenes.draw(records, philox.dataset_key(0, 9), planes)  # records: int32 [B, 403]

    Args:
        canvas_size: side S of the planes, 1 .. 4096.
        fractal_size: side of the canvas on which a fractal is drawn before it is resized and placed, 1 .. 4096.
        max_fractals: most fractals in any record, 1 .. 5; others are not drawn. On a GPU it sizes the scratch memory.
        points: points a fractal, 1 .. 1,000,000. On a GPU each number compiles a kernel of its own.
        planes: P, 3, or 1 for grey fractals on black; hues, saturations and backgrounds are not read then.
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
        fractal_size: int,
        max_fractals: int,
        points: int,
        device: torch.device,
        backend: Backend,
        planes: int = 3,
    ) -> None:
        largest = 2**BACKGROUND_LEVELS
        self.canvas_size = checks.integer("canvas_size", canvas_size, 1, largest)
        self.fractal_size = checks.integer("fractal_size", fractal_size, 1, largest)
        self.max_fractals = checks.integer("max_fractals", max_fractals, 1, MAX_FRACTALS)
        self.points = checks.integer("points", points, 1, MAX_POINTS)
        self.planes = checks.choice("planes", planes, (1, 3))
        self.device = torch.device(device)
        self.backend = checked_backend(backend, self.device)
        self._levels = (self.canvas_size - 1).bit_length()
        self._scratch = Scratch(self.device, self._scratch_shapes())
        if backend == "numba":
            from fdsl_gpu.cpu_kernels import fractal_scene

            self._kernels: Any = fractal_scene
        else:
            self._density, self._background = load_kernels("density"), load_kernels("background")
            self._kernels = load_kernels("fractal_scene")

    @property
    def scratch_bytes(self) -> int:
        """Bytes of GPU memory that an image takes beside its planes."""
        return self._scratch.row_bytes

    def draw(self, records: Tensor, key: philox.Key, planes: Tensor) -> None:
        """Draw a batch, every pixel of it; queued on the current stream on a GPU.

        Args:
            records: int32 [B, 403] on the device, contiguous: rows of ``FRACTAL_SCENE``. That ``num_maps`` lies in
                1 .. 8, aliases below it, and maps do not run away is the maker's duty: it is not checked, which would
                wait for the device.
            key: of the dataset, from ``philox.dataset_key``.
            planes: uint8 [B, P, S, S] on the device, contiguous; overwritten whatever they held.

        Raises:
            ValueError: a shape, dtype, layout or device is not as above.
        """
        batch = records.shape[0]
        check_tensor("records", records, (batch, _WORDS), torch.int32, self.device)
        side = self.canvas_size
        check_tensor("planes", planes, (batch, self.planes, side, side), torch.uint8, self.device)
        if batch == 0:
            return
        if self.backend == "numba":
            rows = records.numpy().view(FRACTAL_SCENE)[:, 0]
            fractals = rows["fractals"][:, : self.max_fractals]
            streams = (philox.CHAIN, philox.BACKGROUND)
            self._kernels.draw_scenes(rows, fractals, planes.numpy(), *key, *streams, self.points, self.fractal_size)
            return
        hits, counts, peaks, heights, scenes = self._scratch.rows(batch)
        with on_device(self.device):
            self._count(records, signed_key(key), hits[:batch], counts, peaks)
            if self.planes == 3:
                self._fill_heights(records, signed_key(key), heights)
            self._compose(records, heights, counts, peaks, scenes, planes)

    def _count(self, records: Tensor, key: tuple[int, int], hits: Tensor, counts: Tensor, peaks: Tensor) -> None:
        """Hits of all fractals, summed over patches, and their maxima."""
        density, programs = self._density, len(hits) * self.max_fractals
        load_kernels("replay").clear(hits)
        sizes = {"SIZE": self.fractal_size, "MAX_FRACTALS": self.max_fractals}
        density.count_points[(programs,)](
            records,
            records.view(torch.float32),
            hits,
            peaks,
            *key,
            STREAM=philox.CHAIN,
            POINTS=self.points,
            **sizes,
            LANES=density.LANES,
            WARMUP=density.WARMUP,
            BLOCKS=-(-density.steps_of(self.points) // 8),
            num_warps=density.NUM_WARPS,
            enable_fp_fusion=False,
        )
        density.spread_hits[programs, -(-(self.fractal_size**2) // _PIXEL_BLOCK)](
            records, hits, counts, peaks, **sizes, BLOCK=_PIXEL_BLOCK, enable_fp_fusion=False
        )

    def _fill_heights(self, records: Tensor, key: tuple[int, int], heights: Tensor) -> None:
        background = self._background
        background.fill_heights[(records.shape[0],)](
            records,
            records.view(torch.float32),
            heights,
            *key,
            LEVELS=self._levels,
            STREAM=philox.BACKGROUND,
            BLOCK=background.BLOCK,
            num_warps=background.NUM_WARPS,
            enable_fp_fusion=False,
        )

    def _compose(
        self, records: Tensor, heights: Tensor, counts: Tensor, peaks: Tensor, scenes: Tensor, planes: Tensor
    ) -> None:
        grid = (records.shape[0], -(-(self.canvas_size**2) // _PIXEL_BLOCK))
        options: dict[str, Any] = {"PLANES": self.planes, "BLOCK": _PIXEL_BLOCK, "enable_fp_fusion": False}
        reals = records.view(torch.float32)
        self._kernels.compose[grid](
            records,
            reals,
            heights,
            counts,
            peaks,
            scenes,
            heights.shape[1],
            self.canvas_size,
            SIZE=self.fractal_size,
            MAX_FRACTALS=self.max_fractals,
            **options,
        )
        self._kernels.finish[grid](reals, scenes, planes, self.canvas_size, **options)

    def _scratch_shapes(self) -> Shapes:
        """Of what the Triton kernels need for an image."""
        number, side = self.max_fractals, self.fractal_size
        pitch = 2**self._levels + 1 if self.planes == 3 else 0
        return {
            "hits": ((number, side + 2, side + 2), torch.int32),
            "counts": ((number, side, side), torch.int32),
            "peaks": ((number,), torch.int32),
            "heights": ((pitch, pitch), torch.float32),
            "scenes": ((self.canvas_size, self.canvas_size), torch.int32),
        }
