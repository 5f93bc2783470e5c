"""Memory of CPU batches, used again once a batch is dropped.

A batch of 256 float32 images is 154 MB. Allocated afresh, the operating system maps and clears its pages one by one,
which takes several times longer than drawing into it. So memory comes back here when the last tensor over it is gone.
"""

from __future__ import annotations

import math
import weakref

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MAX_IDLE = 4


class BatchMemory:
    """Hands out uninitialised CPU tensors, and their memory again after their end. Threads may share one."""

    def __init__(self) -> None:
        self._idle: list[NDArray[np.uint8]] = []

    def empty(
        self,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> Tensor:
        """An uninitialised tensor, contiguous in the memory format; channels_last is for [B, C, H, W]."""
        if not math.prod(shape):
            return torch.empty(shape, dtype=dtype, device="cpu", memory_format=memory_format)
        memory = self._take(math.prod(shape) * dtype.itemsize)
        # A view is an object of its own: torch holds it as long as any tensor over it lives, views included.
        handle = memory[:]
        weakref.finalize(handle, self._give_back, memory).atexit = False
        flat = torch.from_numpy(handle).view(dtype)
        if memory_format == torch.channels_last:
            batch, channels, height, width = shape
            return flat.view(batch, height, width, channels).permute(0, 3, 1, 2)
        return flat.view(shape)

    def _take(self, size: int) -> NDArray[np.uint8]:
        try:
            # Another thread may take the last one between a look and a pop, so there is no look.
            while (memory := self._idle.pop()).size != size:
                pass
            return memory
        except IndexError:
            return np.empty(size, np.uint8)

    def _give_back(self, memory: NDArray[np.uint8]) -> None:
        if len(self._idle) < _MAX_IDLE:
            self._idle.append(memory)
