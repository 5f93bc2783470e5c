"""What ``bench.peers`` measures of ours, of stored images and of plain PyTorch, served by a process of one thread.

python -m bench.peers.makers --image-size 224
"""

from __future__ import annotations

import argparse
import functools
import math
from collections.abc import Callable
from typing import Any

import torch

from bench.common import synchronise
from bench.peers import torch_ifs
from bench.peers.drivers import Make, serve
from bench.stored_images import StoredImages
from fdsl_gpu import FDSLDataset
from fdsl_gpu.augment import RandomResizedCrop, Recipe

CROP = Recipe(name="crop", crop=RandomResizedCrop(interpolation="bilinear"), normalize="imagenet")
"""torchvision's RandomResizedCrop and Normalize as the stored images go through: its scale, ratio and interpolation."""

CROPPED = {"dtype": torch.float32, "augment": CROP}
FEWER = {"points": 100_000}

OURS: dict[str, tuple[str, dict[str, Any]]] = {
    "rcdb-1k": ("rcdb-1k", {}),
    "visualatom-1k": ("visualatom-1k", {}),
    "exfractaldb-1k": ("exfractaldb-1k", {}),
    "fractaldb-1k": ("fractaldb-1k", {}),
    "fractaldb-1k, 100k points": ("fractaldb-1k", FEWER),
    "anderson-farrell-1k": ("anderson-farrell-1k", {}),
    "rcdb-1k, cropped float32": ("rcdb-1k", CROPPED),
    "exfractaldb-1k, cropped float32": ("exfractaldb-1k", CROPPED),
}
"""Uint8 of three channels but where float32 is said: contender -> (dataset, options)."""

STORED = "stored JPEG, cropped float32"
TORCH = {"torch eager IFS, 100k points": False, "torch.compile IFS, 100k points": True}
ON_CUDA = " on CUDA"


def drawing(name: str, options: dict[str, Any], image_size: int, device: str) -> Make:
    """The next pictures of a stream, a request in one batch."""

    @functools.cache
    def stream(batch: int) -> Any:
        return iter(FDSLDataset(name, batch, image_size, device, **{"dtype": torch.uint8, **options}))

    def make(images: int) -> None:
        next(stream(images))
        synchronise(device)

    return make


def plain_torch(compiled: bool, image_size: int, device: str) -> Make:
    """Pictures by ``torch_ifs``, at most 8 at a time on a CPU and 128 on a GPU, where more are no faster."""
    most = 8 if device == "cpu" else 128

    @functools.cache
    def prepared(batch: int) -> tuple[Any, Any, dict[str, Callable[..., Any]]]:
        return *torch_ifs.class_systems(batch, device), torch_ifs.compiled() if compiled else {}

    def make(images: int) -> None:
        batch = min(images, most)
        maps, probabilities, stages = prepared(batch)
        for _ in range(math.ceil(images / batch)):
            torch_ifs.draw(maps, probabilities, size=image_size, **stages)
        synchronise(device)

    return make


def read(reader: Callable[[], object], images: int, count: int) -> None:
    """Read so many of ``count`` stored images, all of them once or several times.

    Raises:
        ValueError: that is no whole number of times.
    """
    if images % count:
        raise ValueError(f"images: received {images}; allowed: a multiple of the {count} stored images.")
    for _ in range(images // count):
        reader()


def makers(stored: StoredImages, image_size: int) -> dict[str, Make]:
    """Everything that this process serves; each is prepared when it is first asked for."""
    reader = stored.reader(image_size)
    served: dict[str, Make] = {
        name: drawing(*contender, image_size=image_size, device="cpu") for name, contender in OURS.items()
    }
    served[STORED] = lambda images: read(reader, images, stored.count)
    served |= {name: plain_torch(compiled, image_size, "cpu") for name, compiled in TORCH.items()}
    if torch.cuda.is_available():
        fewer = "fractaldb-1k, 100k points"
        served[fewer + ON_CUDA] = drawing(*OURS[fewer], image_size=image_size, device="cuda")
        for name, compiled in TORCH.items():
            served[name + ON_CUDA] = plain_torch(compiled, image_size, "cuda")
    return served


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--image-size", type=int, default=224)
    options.add_argument("--stored", type=int, default=256, help="stored images (default: %(default)s)")
    arguments = options.parse_args()
    torch.set_num_threads(1)
    with StoredImages(arguments.stored) as stored:
        serve(makers(stored, arguments.image_size))


if __name__ == "__main__":
    main()
