"""Cost of augmentation on one CPU core: ours beside timm's transforms and torchvision's v2, on the same drawn canvases.

    python -m bench.augment --json FILE

Every contender takes canvases to normalised float32 [3, 224, 224] by the pre-training recipe of the CVPR 2022 paper:
RandomResizedCrop, bilinear or bicubic at random; two operations at nine tenths of their strength, each done with
probability 0.5 (rand-m9-mstd0.5-inc1); RandomErasing, in a quarter of the pictures, a rectangle of random numbers.

"ours" is given what the dataset draws, one grey plane, which stays one until an operation tells the channels apart.
"ours, three planes", timm and torchvision are given the same pictures in three channels. timm works on PIL images.
torchvision has a RandAugment of its own, on tensors: of 14 operations, one of which does nothing, in place of 15; its
affine maps are bilinear, not bilinear or bicubic; its strength is 27 of 30 always, where the recipe's varies about 9 of
10. Here each of its operations is done with probability 0.5 too, which it does not do by itself.
"drawn and augmented" is the whole feed, from nothing; the last row reads stored JPEG files and augments them by timm.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import timm.data
import torch
from PIL import Image
from timm.data import auto_augment
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import InterpolationMode, v2

import fdsl_gpu
from bench.common import parser, print_table, save, side_by_side
from bench.stored_images import MEAN, STD, StoredImages
from fdsl_gpu import philox, presentation
from fdsl_gpu.augment import recipe
from fdsl_gpu.present import Presenter
from fdsl_gpu.records import as_words

SIZE = 224
RECIPE = recipe("fdsl")


def timm_transform() -> Any:
    """The training transform of timm with the recipe's settings."""
    # Pillow 13 refuses the 0 bits that this operation may ask for; earlier versions made the picture black.
    posterize = auto_augment.posterize
    auto_augment.NAME_TO_OP["PosterizeIncreasing"] = lambda image, bits, **options: (
        posterize(image, bits, **options) if bits else Image.new("RGB", image.size)
    )
    settings = {"interpolation": "random", "hflip": 0.0, "re_prob": 0.25, "re_mode": "pixel"}
    return timm.data.create_transform(SIZE, is_training=True, auto_augment="rand-m9-mstd0.5-inc1", **settings)


def v2_transform() -> v2.Compose:
    """What torchvision has for uint8 tensors, as much work as the recipe's."""
    bilinear, bicubic = InterpolationMode.BILINEAR, InterpolationMode.BICUBIC
    operation = v2.RandAugment(num_ops=1, magnitude=27, interpolation=bilinear, fill=[124, 116, 104])
    return v2.Compose(
        [
            v2.RandomChoice([v2.RandomResizedCrop(SIZE, interpolation=one) for one in (bilinear, bicubic)]),
            *[v2.RandomApply([operation], p=0.5)] * 2,
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
            v2.RandomErasing(p=0.25, value="random"),
        ]
    )


def contenders_on(name: str, count: int) -> dict[str, tuple[int, Callable[[], Any]]]:
    """Augmentation alone, of the same canvases of a dataset."""
    formula = fdsl_gpu.registry.formula(name)
    canvas = formula.canvas_size
    labels, instances = np.arange(count), np.full(count, 2**32)
    planes = fdsl_gpu.render(name, labels, instances, image_size=canvas, channels=1, device="cpu")
    pictures = [Image.fromarray(plane[0].numpy()).convert("RGB") for plane in planes]
    coloured = planes.repeat(1, 3, 1, 1)
    key = philox.dataset_key(0, formula.NUMBER)
    by_timm, by_v2 = timm_transform(), v2_transform()

    def ours(given: torch.Tensor) -> Callable[[], None]:
        channels = given.shape[1]
        presenter = Presenter(canvas, SIZE, planes=channels, operations=RECIPE.rand_augment.num_operations)
        out, step = presenter.empty(count), itertools.count()

        def present() -> None:
            ids = np.arange(count) + next(step) * count
            records = presentation.draw(RECIPE, key, ids, canvas, SIZE, channels)
            presenter(given, torch.from_numpy(as_words(records)), key, out)

        return present

    return {
        f"{name}: ours": (count, ours(planes)),
        f"{name}: ours, three planes": (count, ours(coloured)),
        f"{name}: timm on PIL images": (count, lambda: torch.stack([by_timm(picture) for picture in pictures])),
        f"{name}: torchvision v2 on tensors": (count, lambda: torch.stack([by_v2(picture) for picture in coloured])),
    }


def feed(name: str, count: int) -> tuple[int, Callable[[], Any]]:
    """Pictures drawn from nothing, augmented and normalised."""
    stream = iter(fdsl_gpu.FDSLDataset(name, count, SIZE, "cpu", augment=RECIPE))
    return count, lambda: next(stream)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--datasets", nargs="*", default=["rcdb-1k", "exfractaldb-1k"])
    options.add_argument("--pictures", type=int, default=128, help="a round (default: %(default)s)")
    options.add_argument("--rounds", type=int, default=9)
    arguments = options.parse_args()
    torch.set_num_threads(1)
    random.seed(0)
    contenders: dict[str, tuple[int, Callable[[], Any]]] = {}
    for name in arguments.datasets:
        contenders |= contenders_on(name, arguments.pictures)
        contenders[f"{name}: drawn and augmented"] = feed(name, arguments.pictures)
    with StoredImages(arguments.pictures) as stored:
        loader = DataLoader(ImageFolder(stored.folder, timm_transform()), batch_size=64)
        contenders["stored JPEG, augmented by timm"] = (arguments.pictures, lambda: list(loader))
        results = side_by_side(contenders, arguments.rounds)
    print_table(results, "stored JPEG, augmented by timm")
    save(arguments, results)


if __name__ == "__main__":
    main()
