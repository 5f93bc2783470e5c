"""Vector mode: crop and flips of a presentation folded into the geometry, so that nothing is resampled.

The canvas is as large as the image, and vertices or points are moved before they are rasterised. That is another
dataset than the published ones: strokes are one pixel wide whatever the crop, a crop shows fewer of a fixed number of
points, and there is no antialiasing. It is right where sharpness matters more than the published pictures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.formulas.base import Formula

Float64 = NDArray[np.float64]

PRIMITIVES = ("contours", "contour_scenes", "points_2d", "points_3d")
"""What can be moved; fractal scenes have a background, which cannot."""

_PADDING = 6


def fold(formula: Formula, records: np.ndarray, presentations: np.ndarray, canvas_size: int) -> None:
    """Move the geometry into the crops of its presentations, which are then crops of nothing.

    Args:
        formula: which drew the records on a canvas of the image size.
        records: [B] of its dtype, changed in place.
        presentations: [B] of ``PRESENTATION`` for a canvas of ``canvas_size`` pixels, changed in place.
        canvas_size: of the crops.
    """
    size = formula.canvas_size
    across = _axis(presentations["left"], presentations["width"], presentations["flips"] & 1, canvas_size, size)
    down = _axis(presentations["top"], presentations["height"], presentations["flips"] >> 1 & 1, canvas_size, size)
    if formula.PRIMITIVE == "points_3d":
        _lens(records, across, down, size, bool(formula.drawing()["upright"]))
    elif formula.PRIMITIVE == "points_2d":
        for axis, (factor, offset) in enumerate((across, down)):
            _box(records, axis, factor, offset, size)
    else:
        contours = records["contours"] if formula.PRIMITIVE == "contour_scenes" else records
        for name, (factor, offset) in (("x", across), ("y", down)):
            _contours(contours, name, factor, offset)
    presentations["top"] = presentations["left"] = presentations["flips"] = 0
    presentations["height"] = presentations["width"] = size


def _axis(
    first: NDArray[np.int32], length: NDArray[np.int32], flipped: NDArray[np.int32], canvas_size: int, size: int
) -> tuple[Float64, Float64]:
    """Factor and offset, each [B]: pixel x of the whole picture, of ``size``, goes to factor * x + offset."""
    factor = canvas_size / length
    offset = -first * (size / length)
    return np.where(flipped, -factor, factor), np.where(flipped, size - offset, offset)


def _contours(contours: np.ndarray, axis: str, factor: Float64, offset: Float64) -> None:
    factor, offset = (values.reshape(-1, *[1] * (contours.ndim - 1)) for values in (factor, offset))
    contours[f"center_{axis}"] = contours[f"center_{axis}"] * factor + offset
    contours[f"radius_{axis}"] *= factor
    contours[f"magnify_{axis}"] = factor - 1


def _box(records: np.ndarray, axis: int, factor: Float64, offset: Float64, size: int) -> None:
    # The raster is mirrored after it is drawn, so the crop of a mirrored picture is the mirrored crop.
    mirrored = records["mirror"] >> axis & 1
    offset = np.where(mirrored, size * (1 - factor) - offset, offset)
    scale = records["scale"][:, axis] * factor
    records["low"][:, axis] -= (_PADDING * factor + offset - _PADDING) / scale
    records["scale"][:, axis] = scale


def _lens(
    records: np.ndarray,
    across: tuple[Float64, Float64],
    down: tuple[Float64, Float64],
    size: int,
    upright: bool,
) -> None:
    """X of -1 .. 1 goes to factor * X + center, which a shifted lens does: factor * right / w + center."""
    camera = records["camera"].astype(np.float64)
    focal, distance = records["focal"].astype(np.float64), records["distance"].astype(np.float64)
    for row, shift, (factor, offset), sign in ((0, "shift_right", across, 1), (1, "shift_up", down, -1)):
        center = factor + 2 * offset / size - 1
        # Rows are stored bottom first unless upright.
        center = center * (sign if upright else 1)
        records["camera"][:, row] = (focal * factor)[:, None] * camera[:, row] + center[:, None] * camera[:, 2]
        records[shift] = center * distance
    records["focal"] = 1.0
