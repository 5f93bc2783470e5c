"""A batch to be drawn, and how its words travel to a GPU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fdsl_gpu import philox
from fdsl_gpu.records import as_words


@dataclass(frozen=True)
class Work:
    """A batch to be drawn: words, on the host or the device, and where it goes."""

    key: philox.Key
    records: Tensor  # int32 [B, W]
    presentations: Tensor | None  # int32 [B, 76]
    out: Tensor  # [B, C, H, W], or more rows
    masks: Tensor | None  # [B, H, W]
    places: Tensor | None = None  # int32 [B], rows of out to draw into; None for all in order

    def staged(self) -> Tensor:
        """All words in one tensor, int32 [N], where a GPU can fetch them."""
        words = self._words()
        staged = pinned(sum(rows.numel() for rows in words))
        return torch.cat([rows.view(-1) for rows in words], out=staged)

    def over(self, words: Tensor) -> Work:
        """The same work with its words in a copy of :meth:`staged`."""
        mine = self._words()
        parts = words.split([rows.numel() for rows in mine])
        there = [part.view(rows.shape) for part, rows in zip(parts, mine, strict=True)]
        places = None if self.places is None else there.pop()
        presentations = None if self.presentations is None else there.pop(0)
        return Work(self.key, there[0], presentations, self.out, self.masks, places)

    @property
    def shapes(self) -> list[torch.Size]:
        """Of all words, in their order."""
        return [rows.shape for rows in self._words()]

    def _words(self) -> list[Tensor]:
        # Each begins at a multiple of 16 bytes, as kernels expect it. Rows of presentations are such multiples.
        words = [self.records] if self.presentations is None else [self.presentations, self.records]
        if self.places is not None:
            words += [self.records.new_empty(-self.records.numel() % 4), self.places]
        return words


def words_of(records: np.ndarray) -> Tensor:
    """Records as words, int32 [B, W], over the same memory."""
    return torch.from_numpy(as_words(records))


def pinned(count: int) -> Tensor:
    """Words that a GPU can fetch by itself, int32 [count], uninitialised."""
    return torch.empty(count, dtype=torch.int32, device="cpu", pin_memory=True)
