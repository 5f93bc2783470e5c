"""The thing to beat: images stored as JPEG, read back by torchvision, cropped, resized and normalised.

On one core by :meth:`StoredImages.reader`, or as training loops read them, with worker processes, by
:meth:`StoredImages.batches`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, RandomSampler
from torchvision import transforms
from torchvision.datasets import ImageFolder

import fdsl_gpu

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, by which pictures are normalised."""


class StoredImages(AbstractContextManager["StoredImages"]):
    """A folder of RCDB pictures at 256 px as JPEG (about 23 kB each), removed on exit.

    Args:
        count: pictures; few enough to stay in the page cache.
    """

    def __init__(self, count: int = 256) -> None:
        self.count = count
        self._folder = tempfile.TemporaryDirectory(prefix="fdsl_gpu_bench_")
        # White paper with light lines compresses too well; these classes give the size of a typical stored picture.
        images = fdsl_gpu.render("rcdb-1k", np.arange(count), 1, image_size=256, device="cpu")
        for index, image in enumerate(images):
            path = Path(self._folder.name) / f"{index % 8}" / f"{index}.jpg"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(path, quality=96)

    @property
    def folder(self) -> str:
        """The folder, one folder a class inside."""
        return self._folder.name

    @property
    def mean_bytes(self) -> float:
        """Mean size of a file."""
        sizes = [path.stat().st_size for path in Path(self._folder.name).rglob("*.jpg")]
        return sum(sizes) / len(sizes)

    def reader(self, image_size: int = 224) -> Callable[[], object]:
        """A call that reads every picture once through the usual training transform, in this process."""
        loader = DataLoader(ImageFolder(self._folder.name, usual_transform(image_size)), batch_size=64)
        return lambda: [torch.numel(images) for images, _ in loader]

    def batches(
        self, batch: int, workers: int, device: str, transform: Callable[[Any], Any] | None = None
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Endless batches as training loops read them: worker processes; pinned memory and asynchronous copies to CUDA.

        Args:
            batch: images a batch.
            workers: processes; 0 reads in this one. They end when the iterator is dropped.
            device: where batches are delivered.
            transform: of a PIL image; default :func:`usual_transform`.
        """
        dataset = ImageFolder(self._folder.name, transform or usual_transform())
        on_cuda = torch.device(device).type == "cuda"
        # Without epochs: at the end of one, a loader waits for its workers.
        sampler = RandomSampler(dataset, replacement=True, num_samples=2**40)
        loader = DataLoader(dataset, batch, sampler=sampler, num_workers=workers, pin_memory=on_cuda)
        for images, labels in loader:
            yield images.to(device, non_blocking=True), labels.to(device, non_blocking=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()


def usual_transform(image_size: int = 224) -> transforms.Compose:
    """RandomResizedCrop and normalisation, the least that a training run does to stored pictures."""
    return transforms.Compose(
        [transforms.RandomResizedCrop(image_size), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    )
