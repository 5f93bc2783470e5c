"""Write-out of label masks: uint8 [B, S, S] to [B, W, W], by nearest neighbour so that no category is invented."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class MaskWriteOut:
    """Resizes label masks on one device. Keeps no scratch memory, so threads may share one.

    Args:
        canvas_size: S, pixels.
        image_size: W, pixels.
        device: where masks are.
    """

    def __init__(self, canvas_size: int, image_size: int, device: torch.device) -> None:
        places = nearest(canvas_size, image_size)
        self._rows, self._columns = places[:, None], places
        self._on_device = torch.from_numpy(places).to(device)

    def __call__(self, masks: Tensor, out: Tensor) -> None:
        """Fill ``out`` int64 or uint8 [B, W, W] from ``masks`` uint8 [B, S, S]."""
        if masks.device.type == "cpu":
            # Not torch's indexing, which would start threads of its own inside the renderer's.
            np.copyto(out.numpy(), masks.numpy()[:, self._rows, self._columns])
        else:
            out.copy_(masks[:, self._on_device[:, None], self._on_device])


def nearest(canvas_size: int, image_size: int) -> NDArray[np.int64]:
    """Which source pixel each output pixel shows, int64 [image_size]: the one at its centre.

    Centres are sums of doubles as in Pillow, which decides those that fall between two pixels.
    """
    step = canvas_size / image_size
    steps = np.full(image_size, step)
    steps[0] = step * 0.5
    return np.minimum(np.add.accumulate(steps).astype(np.int64), canvas_size - 1)
