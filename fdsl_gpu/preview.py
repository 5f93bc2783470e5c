"""Contact sheets: rows are classes, columns are instances."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fdsl_gpu import checks
from fdsl_gpu.api import render
from fdsl_gpu.files import replacing
from fdsl_gpu.formulas.base import Formula

_GAP, _LEFT, _TOP = 4, 64, 24
_PAPER, _INK = (238, 238, 238), (40, 40, 40)


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
        An RGB picture.
    """
    checks.integer("rows", rows, 1, 256)
    checks.integer("columns", columns, 1, 256)
    labels = np.repeat(np.arange(rows) + first_class, columns)
    instances = np.tile(np.arange(columns) + first_instance, rows)
    images = render(dataset, labels, instances, image_size=image_size, device=device, seed=seed, **options)
    tiles = images.permute(0, 2, 3, 1).cpu().numpy()
    pitch = image_size + _GAP
    sheet = Image.new("RGB", (_LEFT + columns * pitch, _TOP + rows * pitch), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for column in range(columns):
        x = _LEFT + column * pitch + image_size / 2
        pen.text((x, _TOP / 2), str(first_instance + column), _INK, font, anchor="mm")
    for row in range(rows):
        y = _TOP + row * pitch + image_size / 2
        pen.text((_LEFT - 2 * _GAP, y), str(first_class + row), _INK, font, anchor="rm")
        for column in range(columns):
            tile = Image.fromarray(tiles[row * columns + column])
            sheet.paste(tile, (_LEFT + column * pitch, _TOP + row * pitch))
    return sheet


def save(picture: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a picture as PNG, whole or not at all."""
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG")
