"""FDSLMapDataset: the positions of a stream by index, for samplers."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Dataset, get_worker_info

from fdsl_gpu import checks
from fdsl_gpu.arguments import AnyDataset
from fdsl_gpu.source import OverSource, Source, samples_of
from fdsl_gpu.stream import MAX_POSITION


class FDSLMapDataset(OverSource, Dataset[Any]):
    """The same positions by index, for samplers: ``dataset[p]`` is what ``FDSLDataset`` delivers at position p.

    Args:
        dataset: as for :class:`FDSLDataset`.
        size: number of samples, and so ``len``.
        return_ids: also return the content id.
        **keywords: as for :class:`FDSLDataset`: image_size, device, seed, dtype, normalize, ...

    Example:
        >>> image, label = FDSLMapDataset("rcdb-1k", size=1000, image_size=64, device="cpu")[17]
    """

    def __init__(self, dataset: AnyDataset, size: int, *, return_ids: bool = False, **keywords: Any) -> None:
        self.source = Source(dataset, **keywords)
        self.size = checks.integer("size", size, 1, MAX_POSITION)
        self.return_ids = return_ids
        self.epoch = 0

    def __len__(self) -> int:
        return self.size

    def set_epoch(self, epoch: int) -> None:
        """Present the same pictures afresh: with ``augment``, each epoch draws presentations of its own."""
        self.epoch = checks.integer("epoch", epoch, 0)

    def locate(self, indices: ArrayLike) -> tuple[NDArray[np.int64], ...]:
        """What stands at indices, as :meth:`FDSLDataset.locate` tells it of positions; -1 is the last."""
        remedy = f"The dataset has {self.size} samples."
        indices = checks.integers("indices", indices, -self.size, self.size - 1, remedy)
        return self.source.locate(indices % self.size, self.epoch * self.size)

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[Any]:
        """Several samples in one drawing; DataLoader's fetcher calls this."""
        if get_worker_info() is not None and self.source.device.type == "cuda":
            raise RuntimeError(
                "device: received 'cuda' in a DataLoader worker; pass num_workers=0, or device='cpu' to the dataset."
            )
        indices = [operator.index(index) for index in indices]
        for index in indices:
            if not -self.size <= index < self.size:
                raise IndexError(f"index: received {index}; allowed: [{-self.size}, {self.size - 1}]")
        positions = np.asarray(indices, np.int64) % self.size
        return list(samples_of(self.source.batch(positions, self.return_ids, presented_before=self.epoch * self.size)))
