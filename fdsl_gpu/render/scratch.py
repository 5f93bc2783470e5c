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
        zeroed: whether they are zero at first. Whoever uses them leaves them so.
    """

    def __init__(self, device: torch.device, shapes: Shapes, zeroed: bool = False) -> None:
        self._device, self._shapes, self._zeroed = device, shapes, zeroed
        self._tensors: tuple[Tensor, ...] = ()

    @property
    def row_bytes(self) -> int:
        """Bytes a row, of all tensors."""
        return sum(math.prod(shape) * dtype.itemsize for shape, dtype in self._shapes.values())

    def rows(self, count: int) -> Scratch:
        """Have at least so many rows; the tensors, in the order of ``shapes``, are what ``with`` gives.

        What an interrupted drawing leaves in them is not used again.
        """
        if not self._tensors or len(self._tensors[0]) < count:
            self._release()
            make = torch.zeros if self._zeroed else torch.empty
            self._tensors = tuple(
                make((count, *shape), dtype=dtype, device=self._device) for shape, dtype in self._shapes.values()
            )
        return self

    def __enter__(self) -> tuple[Tensor, ...]:
        return self._tensors

    def __exit__(self, error: object, *_: object) -> None:
        if error is not None:
            self._release()

    def _release(self) -> None:
        """Let go of the tensors, which go back to the stream that they were taken on and may be in use on another."""
        for tensor in self._tensors:
            if tensor.device.type == "cuda":
                tensor.record_stream(torch.cuda.current_stream(tensor.device))
        self._tensors = ()
