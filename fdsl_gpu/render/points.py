"""Launcher of the points primitive: iterated function systems in space to uint8 planes [B, 1, S, S], 255 on 0.

The law of the drawing stands in ``triton_kernels/ifs.py``; the CPU twin is ``fdsl_gpu/cpu_kernels/ifs.py``.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from fdsl_gpu import checks, philox
from fdsl_gpu.records import POINTS_3D
from fdsl_gpu.render.backend import check_tensor, checked_backend, load_kernels, on_device, signed_key

VALUE = 255
"""Grey of a point."""

MAX_POINTS = 10_000_000
"""Most points an image."""

_WORDS = POINTS_3D.itemsize // 4


class Points3D:
    """Draws records of ``POINTS_3D`` on one device. Keeps no state, so threads may share one.

    Example:
        >>> draw = Points3D(canvas_size=224, points=9_999, device=torch.device("cpu"), backend="numba")
        >>> planes = torch.empty(len(records), 1, 224, 224, dtype=torch.uint8)
        >>> draw.draw(records, philox.dataset_key(0, 2), planes)  # records: int32 [B, 120]

    Args:
        canvas_size: side S of the planes, 1 .. 16384.
        points: points an image, 1 .. 10,000,000. On a GPU each number compiles a kernel of its own.
        device: where records and planes are.
        backend: "numba" (CPU only) or "triton".
        upright: store rows top first; the released pictures are upside down.

    Raises:
        TypeError: a number is no integer.
        ValueError: a number or name is not as above, or "numba" is asked for on a GPU.
    """

    def __init__(
        self,
        *,
        canvas_size: int,
        points: int,
        device: torch.device,
        backend: Literal["numba", "triton"],
        upright: bool = False,
    ) -> None:
        self.canvas_size = checks.integer("canvas_size", canvas_size, 1, 16384)
        self.points = checks.integer("points", points, 1, MAX_POINTS)
        self.device = torch.device(device)
        self.backend = checked_backend(backend, self.device)
        self.upright = checks.choice("upright", upright, (False, True))

    @property
    def scratch_bytes(self) -> int:
        """Bytes of GPU memory that an image takes beside its planes."""
        return 0

    def draw(self, records: Tensor, key: philox.Key, planes: Tensor) -> None:
        """Draw a batch; queued on the current stream on a GPU.

        Args:
            records: int32 [B, 120] on the device, contiguous: rows of ``POINTS_3D``. ``num_maps`` in 1 .. 8 and aliases
                below it are the maker's duty; they are not checked, which would wait for the device.
            key: of the dataset, from ``philox.dataset_key``.
            planes: uint8 [B, 1, S, S] on the device, contiguous; overwritten whatever they held.

        Raises:
            ValueError: a shape, dtype, layout or device is not as above.
        """
        batch = records.shape[0]
        check_tensor("records", records, (batch, _WORDS), torch.int32, self.device)
        side = self.canvas_size
        check_tensor("planes", planes, (batch, 1, side, side), torch.uint8, self.device)
        if batch == 0:
            return
        if self.backend == "numba":
            self._draw_numba(records, key, planes)
        else:
            self._draw_triton(records, key, planes)

    def _draw_numba(self, records: Tensor, key: philox.Key, planes: Tensor) -> None:
        from fdsl_gpu.cpu_kernels import ifs

        rows = records.numpy().view(POINTS_3D)[:, 0]
        ifs.draw_3d(rows, planes.numpy()[:, 0], *key, philox.CHAIN, self.points, VALUE, self.upright)

    def _draw_triton(self, records: Tensor, key: philox.Key, planes: Tensor) -> None:
        ifs = load_kernels("ifs")
        k0, k1 = signed_key(key)
        with on_device(self.device):
            load_kernels("replay").clear(planes)
            ifs.draw_3d[(records.shape[0],)](
                records,
                records.view(torch.float32),
                planes,
                k0,
                k1,
                STREAM=philox.CHAIN,
                POINTS=self.points,
                SIZE=self.canvas_size,
                VALUE=VALUE,
                UPRIGHT=self.upright,
                LANES=ifs.LANES,
                WARMUP=ifs.WARMUP,
                BLOCKS=-(-ifs.steps_of(self.points) // 8),
                num_warps=ifs.NUM_WARPS,
                enable_fp_fusion=False,
            )
