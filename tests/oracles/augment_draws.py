"""A presentation in plain Python: timm's laws, literally, on the words of one id's stream."""

import math
from statistics import NormalDist
from typing import Any

from fdsl_gpu import philox
from fdsl_gpu.augment import RAND_AUGMENT, RandomCrop, RandomResizedCrop, Recipe

BLOCKS = 72
UNIT = 2.0**-32


def presentation(
    recipe: Recipe, key: philox.Key, number: int, canvas_size: int, image_size: int, view: int = 0
) -> dict[str, Any]:
    """Crop (top, left, height, width), bicubic, flips, operations (name, magnitude, negate, bicubic) and erasures."""
    flat = philox.words(key, philox.PRESENTATION, [number], 4 * BLOCKS, view)[0].tolist()
    blocks = [flat[4 * b : 4 * b + 4] for b in range(BLOCKS)]
    general = blocks[0]
    return {
        "crop": _crop(recipe.crop, blocks, canvas_size, image_size),
        "bicubic": _interpolation(getattr(recipe.crop, "interpolation", "bilinear"), general[0] >> 31),
        "flips": (general[1] * UNIT < recipe.horizontal_flip) + 2 * (general[2] * UNIT < recipe.vertical_flip),
        "operations": _operations(recipe.rand_augment, blocks),
        "erasures": _erasures(recipe.erasing, blocks, image_size) if recipe.erasing else [],
    }


def _interpolation(setting: str, bit: int) -> int:
    return {"bilinear": 0, "bicubic": 1, "random": bit}[setting]


def _below(word: int, count: int) -> int:
    return word * count >> 32


def _log_uniform(word: int, low: float, high: float) -> float:
    return math.exp(math.log(low) + (math.log(high) - math.log(low)) * word * UNIT)


def _crop(crop: Any, blocks: list[list[int]], canvas: int, image: int) -> tuple[int, int, int, int]:
    if isinstance(crop, RandomCrop):
        return _below(blocks[1][2], canvas - image + 1), _below(blocks[1][3], canvas - image + 1), image, image
    if not isinstance(crop, RandomResizedCrop):
        return 0, 0, canvas, canvas
    for w0, w1, w2, w3 in blocks[1:11]:
        area = (crop.scale[0] + (crop.scale[1] - crop.scale[0]) * w0 * UNIT) * canvas * canvas
        ratio = _log_uniform(w1, *crop.ratio)
        width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 1 <= width <= canvas and 1 <= height <= canvas:
            return _below(w2, canvas - height + 1), _below(w3, canvas - width + 1), height, width
    width = height = canvas
    if min(crop.ratio) > 1:
        height = round(canvas / min(crop.ratio))
    elif max(crop.ratio) < 1:
        width = round(canvas * max(crop.ratio))
    return (canvas - height) // 2, (canvas - width) // 2, height, width


def _operations(augment: Any, blocks: list[list[int]]) -> list[tuple[str, float, bool, int] | None]:
    done: list[tuple[str, float, bool, int] | None] = []
    for w0, w1, w2, w3 in blocks[16 : 16 + (augment.num_operations if augment else 0)]:
        z = NormalDist().inv_cdf(0.5 + 0.5 * ((w2 >> 1) + 0.5) * 2.0**-31) * (-1 if w2 & 1 else 1)
        magnitude = max(0.0, min(10.0, augment.magnitude + augment.magnitude_std * z))
        bicubic = _interpolation(augment.interpolation, w3 >> 30 & 1)
        kept = w1 * UNIT < augment.probability
        done.append((RAND_AUGMENT[_below(w0, 15)], magnitude, bool(w3 >> 31), bicubic) if kept else None)
    return done


def _erasures(erasing: Any, blocks: list[list[int]], size: int) -> list[tuple[int, int, int, int]]:
    erased: list[tuple[int, int, int, int]] = []
    if blocks[0][3] * UNIT >= erasing.probability:
        return erased
    count = erasing.min_count + _below(blocks[24][0], erasing.max_count - erasing.min_count + 1)
    for number in range(count):
        for w0, w1, w2, w3 in blocks[32 + 10 * number : 42 + 10 * number]:
            area = (erasing.min_area + (erasing.max_area - erasing.min_area) * w0 * UNIT) * size * size / count
            ratio = _log_uniform(w1, erasing.min_aspect, 1 / erasing.min_aspect)
            height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if height < size and width < size:
                erased.append((_below(w2, size - height + 1), _below(w3, size - width + 1), height, width))
                break
    return erased
