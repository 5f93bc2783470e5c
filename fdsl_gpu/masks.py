"""Write-out of label masks, uint8 [B, 1, S, S] to [B, 1, W, W]: the nearest pixel, so that no category is invented."""

from __future__ import annotations

import torch

from fdsl_gpu.render.backend import Backend
from fdsl_gpu.write_out import WriteOut


class MaskWriteOut(WriteOut):
    """Resizes label masks on one device.

    Args:
        canvas_size: S, pixels.
        image_size: W, pixels.
        dtype: of the masks delivered: torch.int64 or uint8.
        device: where masks are.
        backend: "numba" or "triton"; None chooses by device.
    """

    DTYPES = (torch.int64, torch.uint8)
    INTERPOLATIONS = ("nearest",)

    def __init__(
        self,
        canvas_size: int,
        image_size: int,
        dtype: torch.dtype = torch.int64,
        device: torch.device | str = "cpu",
        backend: Backend | None = None,
    ) -> None:
        super().__init__(canvas_size, image_size, 1, 1, dtype, None, "nearest", device, backend)
