"""Memory that launchers keep from batch to batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor

Shapes: TypeAlias = Mapping[str, tuple[tuple[int, ...], torch.dtype]]
"""Of tensors by name: shape without the rows, dtype."""


class Scratch:
    """Tensors of so many rows as the largest batch needed, for one thread or stream at a time.

    Args:
        device: where they are.
        shapes: of the tensors.
        zeroed: whether they are zero at first. Whoever uses them leaves them so, or lets go of this object.
    """

    def __init__(self, device: torch.device, shapes: Shapes, zeroed: bool = False) -> None:
        self._device, self._shapes, self._zeroed = device, shapes, zeroed
        self._tensors: tuple[Tensor, ...] = ()

    @property
    def row_bytes(self) -> int:
        """Bytes a row, of all tensors."""
        return sum(math.prod(shape) * dtype.itemsize for shape, dtype in self._shapes.values())

    def rows(self, count: int) -> tuple[Tensor, ...]:
        """The tensors, in the order of ``shapes``, with at least so many rows."""
        if not self._tensors or len(self._tensors[0]) < count:
            for tensor in self._tensors:
                # It goes back to the stream that it was taken on, and may be in use on this one.
                if tensor.device.type == "cuda":
                    tensor.record_stream(torch.cuda.current_stream(tensor.device))
            make = torch.zeros if self._zeroed else torch.empty
            # What is made in inference mode cannot be cleared outside of it.
            with torch.inference_mode(False):
                self._tensors = tuple(
                    make((count, *shape), dtype=dtype, device=self._device) for shape, dtype in self._shapes.values()
                )
        return self._tensors
