"""timm's own training transforms, run without pixels: what they would have done to each sample."""

import random
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import auto_augment
from timm.data.random_erasing import RandomErasing
from timm.data.transforms import RandomResizedCropAndInterpolation

NAMES = auto_augment._RAND_INCREASING_TRANSFORMS


class _Canvas:
    """Stands for an image; writes down what is done to it."""

    def __init__(self, size: int) -> None:
        self.size = (size, size)
        self.done: list[Any] = []

    def transform(self, size: Any, method: Any, data: Any, resample: Any = None, **_: Any) -> "_Canvas":
        self.done.append((tuple(data), int(resample)))
        return self

    def rotate(self, degrees: float, resample: Any = None, **_: Any) -> "_Canvas":
        self.done.append((degrees, int(resample)))
        return self

    def __setitem__(self, where: Any, value: Any) -> None:
        _, rows, columns = where
        self.done.append((rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start))


def crops(count: int, size: int, scale: tuple[float, float], ratio: tuple[float, float]) -> np.ndarray:
    """Top, left, height and width of crops, int [count, 4]."""
    image = Image.new("L", (size, size))
    return np.array([RandomResizedCropAndInterpolation.get_params(image, scale, ratio) for _ in range(count)])


def erasures(count: int, size: int, **settings: Any) -> list[list[tuple[int, int, int, int]]]:
    """Top, left, height and width of each sample's erased rectangles."""
    erasing = RandomErasing(mode="const", device="cpu", **settings)
    done = []
    for _ in range(count):
        canvas = _Canvas(size)
        erasing._erase(canvas, 1, size, size, torch.float32)
        done.append(canvas.done)
    return done


def operations(count: int, size: int, config: str, **hparams: Any) -> list[list[tuple[str, tuple, int | None]]]:
    """Name, arguments (matrix, degrees or level) and interpolation of what RandAugment does to each sample."""
    augment = auto_augment.rand_augment_transform(config, {"translate_const": 100, **hparams})
    log: list[tuple[str, tuple, int | None]] = []
    for op in augment.ops:
        op.aug_fn = _noting(op.name, op.aug_fn, log)
    done = []
    for _ in range(count):
        log.clear()
        augment(_Canvas(size))
        done.append(list(log))
    return done


def arguments(name: str, magnitude: float, negate: bool, size: int) -> tuple:
    """What timm's operation of this name gets at a magnitude: a matrix as PIL uses it, or the level's argument."""
    op = auto_augment.AugmentOp(name, prob=1.0, magnitude=magnitude, hparams={"img_mean": 0})
    random_random, transform = random.random, Image.Image.transform
    random.random = lambda: 1.0 if negate else 0.0  # type: ignore[method-assign]
    try:
        if not name.startswith(("Rotate", "Shear", "Translate")):
            log: list[tuple[str, tuple, int | None]] = []
            op.aug_fn = _noting(name, op.aug_fn, log)
            op(_Canvas(size))
            return log[0][1]
        seen: list[tuple] = []
        Image.Image.transform = lambda self, size, method, data, *_, **__: seen.append(tuple(data)) or self  # type: ignore
        op(Image.new("L", (size, size)))
        return seen[0] if seen else (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    finally:
        random.random, Image.Image.transform = random_random, transform  # type: ignore[method-assign]


def _noting(name: str, function: Any, log: list[tuple[str, tuple, int | None]]) -> Any:
    def note(image: _Canvas, *level: Any, **keywords: Any) -> _Canvas:
        if name.startswith(("Rotate", "Shear", "Translate")):
            function(image, *level, **keywords)
            log.append((name, level, image.done[-1][1]))
        else:
            log.append((name, level, None))
        return image

    return note
