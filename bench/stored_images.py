"""The thing to beat: images stored as JPEG, read back by torchvision, cropped, resized and normalised on one core."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

import fdsl_gpu

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


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
        transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(image_size),
                transforms.ToTensor(),
                transforms.Normalize(_MEAN, _STD),
            ]
        )
        loader = DataLoader(ImageFolder(self._folder.name, transform), batch_size=64)
        return lambda: [torch.numel(images) for images, _ in loader]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()
