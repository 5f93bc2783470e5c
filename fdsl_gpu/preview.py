"""Contact sheets: rows are classes, columns are instances."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from fdsl_gpu import checks
from fdsl_gpu.api import render
from fdsl_gpu.files import replacing
from fdsl_gpu.formulas.base import Formula
from fdsl_gpu.registry import formula

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
    **options: Any,
) -> Image.Image:
    """A labelled sheet of ``rows`` classes by ``columns`` instances.

    Args:
        dataset: a preset name or a formula's configuration.
        rows: classes, from ``first_class``.
        columns: instances, from ``first_instance``.
        first_class: label of the first row.
        first_instance: instance of the first column.
        image_size: side of each picture in pixels.
        device: where to draw.
        seed: as in :func:`fdsl_gpu.render`.
        **options: options of the formula.

    Returns:
        An RGB picture. Pictures with label masks have these, in colours, at their right.
    """
    checks.integer("rows", rows, 1, 256)
    checks.integer("columns", columns, 1, 256)
    labels = np.repeat(np.arange(rows) + first_class, columns)
    instances = np.tile(np.arange(columns) + first_instance, rows)
    settings = {"image_size": image_size, "device": device, "seed": seed, **options}
    if formula(dataset).TARGET == "label":
        tiles = _tiles(render(dataset, labels, instances, **settings))
    else:
        # Pictures without a label go on from row to row.
        instances += (labels - first_class) * columns
        images, targets = render(dataset, instances=instances, **settings)
        tiles = _tiles(images)
        if targets.dim() == 3:
            tiles = np.concatenate([tiles, _PALETTE[targets.cpu().numpy()]], axis=2)
    height, width = tiles.shape[1] + _GAP, tiles.shape[2] + _GAP
    sheet = Image.new("RGB", (_LEFT + columns * width, _TOP + rows * height), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for column in range(columns):
        x = _LEFT + column * width + width / 2
        pen.text((x, _TOP / 2), str(first_instance + column), _INK, font, anchor="mm")
    for row in range(rows):
        y = _TOP + row * height + height / 2
        pen.text((_LEFT - 2 * _GAP, y), str(first_class + row), _INK, font, anchor="rm")
        for column in range(columns):
            tile = Image.fromarray(tiles[row * columns + column])
            sheet.paste(tile, (_LEFT + column * width, _TOP + row * height))
    return sheet


def _tiles(images: Tensor) -> NDArray[np.uint8]:
    """Images uint8 [B, 3, H, W] as [B, H, W, 3] in memory of their own."""
    return np.ascontiguousarray(images.permute(0, 2, 3, 1).cpu().numpy())


def save(picture: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a picture as PNG, whole or not at all."""
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG")
