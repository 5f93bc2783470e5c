"""Draws how samples are presented: a recipe and presentation ids to records of crop, flips, operations and erasures.

Every number comes from Philox, so a record is a function of (recipe, key, id, view, sizes): the same on every machine,
in every batch. The laws are timm's; logarithms and normal numbers come from tables that are made with + - x / and
square roots, which are correctly rounded everywhere.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fdsl_gpu import philox
from fdsl_gpu.augment import Recipe
from fdsl_gpu.augment_parts import RandomCrop, RandomResizedCrop
from fdsl_gpu.cpu_kernels import presentation as kernels
from fdsl_gpu.records import PRESENTATION

_BILINEAR = {"bilinear": 1.0, "bicubic": 0.0, "random": 0.5}

Float64 = NDArray[np.float64]


def draw(
    recipe: Recipe,
    key: philox.Key,
    ids: ArrayLike,
    canvas_size: int,
    image_size: int,
    planes: int,
    view: int = 0,
) -> np.ndarray:
    """How samples are presented.

    Args:
        recipe: its crop, flips, rand_augment and erasing.
        key: of the dataset, from ``philox.dataset_key``.
        ids: [B] presentation ids, integers in [0, 2**56).
        canvas_size: side of the drawn pictures, pixels.
        image_size: side of the batch's images, pixels.
        planes: of the drawn pictures, 1 (grey) or 3.
        view: another view of the same ids has draws of its own.

    Returns:
        [B] of ``records.PRESENTATION``. An operation that would change nothing has kind 0: one that the coin refused, a
        geometric one at magnitude 0, a factor of 1, or Color of a grey picture.

    Raises:
        ValueError: a RandomCrop from a canvas that is smaller than the image.
    """
    laws = _laws(recipe, canvas_size, image_size)
    ids = np.ascontiguousarray(ids, np.uint64)
    records = np.zeros(ids.size, PRESENTATION)
    kernels.draw(laws, key[0], key[1], philox.PRESENTATION, view, planes, ids, records)
    return records


@lru_cache(maxsize=64)
def _laws(recipe: Recipe, canvas_size: int, image_size: int) -> np.ndarray:
    """[1] of LAW."""
    law = np.zeros(1, kernels.LAW)
    law["canvas_size"], law["image_size"] = canvas_size, image_size
    law["bilinear"], law["normals"] = _chance(1.0), normal_table()
    law["fallback_height"] = law["fallback_width"] = canvas_size
    law["horizontal_flip"], law["vertical_flip"] = _chance(recipe.horizontal_flip), _chance(recipe.vertical_flip)
    crop = recipe.crop
    if isinstance(crop, RandomCrop):
        if canvas_size < image_size:
            raise ValueError(
                f"canvas_size: received {canvas_size} with RandomCrop() to image_size={image_size}; allowed: at least "
                "the image size. Pass a larger canvas_size, or a recipe with RandomResizedCrop()."
            )
        law["crop"] = kernels.FIXED
    elif crop is not None:
        law["bilinear"] = _chance(_BILINEAR[crop.interpolation])
    if isinstance(crop, RandomResizedCrop):
        law["crop"] = kernels.RESIZED
        law["cropped"] = _rectangle(canvas_size, 1, canvas_size, crop.scale, crop.ratio)
        law["fallback_height"], law["fallback_width"] = _central_crop(canvas_size, crop.ratio)
    if recipe.rand_augment is not None:
        augment = recipe.rand_augment
        law["operations"], law["operation"] = augment.num_operations, _chance(augment.probability)
        law["magnitude"], law["magnitude_std"] = augment.magnitude, augment.magnitude_std
        law["operation_bilinear"] = _chance(_BILINEAR[augment.interpolation])
        law["grey_fill"] = len(set(augment.fill)) == 1
    if recipe.erasing is not None:
        erasing, aspect = recipe.erasing, recipe.erasing.min_aspect
        area = erasing.min_area, erasing.max_area
        law["erasing"] = _chance(erasing.probability)
        law["min_count"], law["max_count"] = erasing.min_count, erasing.max_count
        law["erased"] = _rectangle(image_size, 0, image_size - 1, area, (aspect, 1 / aspect))
    return law


def _rectangle(
    size: int, least: int, most: int, area: tuple[float, float], ratio: tuple[float, float]
) -> tuple[int, int, int, float, float, Float64]:
    return size, least, most, area[0], area[1] - area[0], log_uniform_table(*ratio)


def _chance(probability: float) -> int:
    """The number of 32-bit words that say yes."""
    return round(probability * 2.0**32)


def _central_crop(size: int, ratio: tuple[float, float]) -> tuple[int, int]:
    """Height and width of what is taken when no attempt fits: all of a square canvas, if its ratio is allowed."""
    if ratio[0] > 1:
        return round(size / ratio[0]), size
    if ratio[1] < 1:
        return size, round(size * ratio[1])
    return size, size


@lru_cache(maxsize=16)
def log_uniform_table(low: float, high: float) -> Float64:
    """A table of low * (high / low) ** u for 32-bit fractions u, as a product of four entries.

    Repeated square roots give the powers of 2**-1, 2**-2, ... 2**-32, so there is no logarithm. The relative error of
    a product is below 2e-14.

    Returns:
        float64 [4, 256]: row j is for byte j of u, the most significant first; ``low`` is in row 0.
    """
    table = np.ones((4, 256))
    table[0] = low
    root = high / low
    byte = np.arange(256)
    for bit in range(32):
        root = float(np.sqrt(root))
        row, place = divmod(bit, 8)
        table[row, (byte >> (7 - place)) & 1 == 1] *= root
    return table


@lru_cache(maxsize=1)
def normal_table() -> Float64:
    """The chance that a standard normal number is less than i / 256 in size, for i = 0 .. 1664 (6.5).

    The sum of 2 phi(z) z**(2 k + 1) / (1 x 3 x ... x (2 k + 1)), with phi's exponential by Taylor's series of the
    argument over 64, squared six times. Within 2e-14, but for the last entry, which is 1 instead of 1 - 8e-11. Linear
    between entries, so a number z drawn from it is less than 4e-6 (1 + |z|) from its exact quantile.

    Returns:
        float64 [1665], from 0 to exactly 1.
    """
    z = np.arange(kernels.NORMALS) / 256.0
    square = z * z
    term, total = z.copy(), z.copy()
    for k in range(1, 200):
        term = term * square / (2 * k + 1)
        total += term
    x = square / 128.0
    exponential = np.ones_like(x)
    for k in range(24, 0, -1):
        exponential = exponential * x / k + 1.0
    for _ in range(6):
        exponential = exponential * exponential
    table = 0.7978845608028654 * total / exponential
    table[-1] = 1.0
    return table
