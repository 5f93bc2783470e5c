"""Contact sheets: classes by instances of one dataset, or a row of each dataset."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fdsl_gpu import checks
from fdsl_gpu.augment import Recipe
from fdsl_gpu.dataset import FDSLDataset
from fdsl_gpu.files import replacing
from fdsl_gpu.formulas.base import Formula
from fdsl_gpu.registry import PRESETS, formula
from fdsl_gpu.stream import ENDLESS_TRAIN as _FRESH

_GAP, _LEFT, _TOP = 4, 64, 24
_PAPER, _INK = (238, 238, 238), (40, 40, 40)
# Neighbouring categories in unlike colours; 0, the background, is black.
_PALETTE = (np.arange(256)[:, None] * (97, 173, 61) % 256).astype(np.uint8)


def contact_sheet(
    dataset: str | Formula,
    *,
    rows: int = 8,
    columns: int = 8,
    first_class: int = 0,
    first_instance: int = 0,
    image_size: int = 128,
    device: str = "cpu",
    seed: int = 0,
    augment: str | Recipe | None = None,
    **options: Any,
) -> Image.Image:
    """A labelled sheet of ``rows`` classes by ``columns`` instances, or presentations of one instance.

    Args:
        dataset: a preset name or a formula's configuration.
        rows: classes, from ``first_class``.
        columns: instances, from ``first_instance``; with ``augment``, presentations of ``first_instance``.
        first_class: label of the first row.
        first_instance: instance of the first column.
        image_size: side of each picture in pixels.
        device: where to draw.
        seed: as in :func:`fdsl_gpu.render`.
        augment: the recipe of the presentations.
        **options: options of the formula.

    Returns:
        An RGB picture. Pictures with label masks have these, in colours, at their right.
    """
    checks.integer("rows", rows, 1, 256)
    checks.integer("columns", columns, 1, 256)
    dataset = formula(dataset, **options)
    settings = {"image_size": image_size, "device": device, "seed": seed, "augment": augment}
    row, column = np.divmod(np.arange(rows * columns), columns)
    content = [row + first_class, column + first_instance]
    if augment is not None:
        content = [row + first_class, np.full(row.size, first_instance), row * columns + column]
    if dataset.TARGET != "label":
        # Pictures without a label go on from row to row.
        content = [row * columns + column + first_instance]
    tiles = _pictures(dataset, content, settings)
    names = [str(first_class + row) for row in range(rows)]
    numbers = [str(column + (0 if augment else first_instance)) for column in range(columns)]
    return _sheet(tiles.reshape(rows, columns, *tiles.shape[1:]), names, numbers)


def gallery(
    datasets: Sequence[str] | None = None, *, columns: int = 6, image_size: int = 128, device: str = "cpu"
) -> Image.Image:
    """One row of pictures of different classes for each dataset.

    Args:
        datasets: preset names; None for one of each formula.
        columns: pictures a row.
        image_size: side of each picture in pixels.
        device: where to draw.

    Returns:
        An RGB picture. Every second picture of a dataset with label masks shows the mask of the one before.
    """
    checks.integer("columns", columns, 1, 256)
    names = _one_of_each_formula() if datasets is None else list(datasets)
    settings = {"image_size": image_size, "device": device}
    rows = []
    for name in names:
        target = formula(name).TARGET
        number = np.arange(columns)
        content = [number, np.full(columns, _FRESH)] if target == "label" else [number + _FRESH]
        tiles = _pictures(name, content, settings)
        # A picture beside its mask becomes two tiles.
        tiles = tiles.reshape(columns, image_size, -1, image_size, 3).swapaxes(1, 2)
        rows.append(tiles.reshape(-1, image_size, image_size, 3)[:columns])
    return _sheet(np.stack(rows), names, [""] * columns)


def _one_of_each_formula() -> list[str]:
    """The smallest preset of every formula."""
    chosen: dict[str, str] = {}
    for name, preset in sorted(PRESETS.items(), key=lambda item: item[1].formula.num_classes):
        chosen.setdefault(f"{preset.formula.NAME} {preset.formula.drawing()}", name)
    return sorted(chosen.values())


def _pictures(dataset: str | Formula, content: list[NDArray[np.int64]], settings: dict[str, Any]) -> NDArray[np.uint8]:
    """Pictures [B, H, W, 3] of what ``FDSLDataset.render`` takes; with label masks, [B, H, 2 W, 3]."""
    drawn = FDSLDataset(dataset, dtype=torch.uint8, **settings).render(*content)
    images, target = drawn if isinstance(drawn, tuple) else (drawn, None)
    tiles = np.ascontiguousarray(images.permute(0, 2, 3, 1).cpu().numpy())
    if target is None or target.dim() != 3:
        return tiles
    return np.concatenate([tiles, _PALETTE[target.cpu().numpy()]], axis=2)


def _sheet(tiles: NDArray[np.uint8], rows: list[str], columns: list[str]) -> Image.Image:
    """Tiles [R, C, H, W, 3] with names of rows and columns."""
    height, width = tiles.shape[2] + _GAP, tiles.shape[3] + _GAP
    font = ImageFont.load_default(12)
    left = max(_LEFT, *(int(font.getlength(row)) + 4 * _GAP for row in rows))
    top = _TOP if any(columns) else _GAP
    sheet = Image.new("RGB", (left + len(columns) * width, top + len(rows) * height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for c, column in enumerate(columns):
        pen.text((left + c * width + width / 2, _TOP / 2), column, _INK, font, anchor="mm")
    for r, row in enumerate(rows):
        pen.text((left - 2 * _GAP, top + r * height + height / 2), row, _INK, font, anchor="rm")
        for c in range(len(columns)):
            sheet.paste(Image.fromarray(tiles[r, c]), (left + c * width, top + r * height))
    return sheet


def save(picture: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a picture as PNG, whole or not at all."""
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG")
