"""Filter coefficients of Pillow's antialiased resize, as integers.

Pillow resamples 8-bit pictures in two passes, horizontal then vertical, each

    out[o] = clip((2**21 + sum_t weights[o, t] * in[first[o] + t]) >> 22, 0, 255)

with bytes between the passes and weights of 22 fractional bits (``src/libImaging/Resample.c`` of Pillow). The filter is
stretched by the scale when it shrinks a picture, which is the antialiasing. Only +, -, *, / and truncation of doubles
are used, in Pillow's order, so the integers are the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

Interpolation: TypeAlias = Literal["bilinear", "bicubic"]
"""What resizes pictures; label masks take the nearest pixel."""

PRECISION_BITS = 22
"""Fractional bits of a weight: 32 less 8 for the byte and 2 for what negative weights add."""

MAX_SIZE = 8192
"""Largest side: beyond it, the rounding of more than 2**14 weights could move a constant picture."""


def _bilinear(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.abs(x)
    return np.where(x < 1.0, 1.0 - x, 0.0)


def _bicubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    a = -0.5
    x = np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


_FILTERS: dict[str, tuple[Callable[[NDArray[np.float64]], NDArray[np.float64]], float]] = {
    "bilinear": (_bilinear, 1.0),
    "bicubic": (_bicubic, 2.0),
}


@lru_cache(maxsize=1024)
def coefficients(
    in_size: int, out_size: int, interpolation: Interpolation | Literal["nearest"] = "bilinear"
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Where each output pixel's window begins, and its weights.

    Windows that Pillow cuts short at a border are moved inside and padded with zero weights, so that every window has
    the same number of taps and none reaches past the border.

    Args:
        in_size: pixels of the source along one axis, 1 .. MAX_SIZE.
        out_size: pixels of the result along this axis, 1 .. MAX_SIZE.
        interpolation: "bilinear", "bicubic" or "nearest", which copies bytes.

    Returns:
        ``first`` int32 [out] and ``weights`` int32 [out, taps], read-only; first + taps <= in_size. The absolute
        weights of a row sum to less than 1.5 * 2**22, so the sum of a window fits in int32.

    Raises:
        ValueError: a size outside the range, or an unknown interpolation.
    """
    for name, size in (("in_size", in_size), ("out_size", out_size)):
        if not 1 <= size <= MAX_SIZE:
            raise ValueError(f"{name}={size}: must be in 1 .. {MAX_SIZE}; choose a smaller canvas or image size")
    if interpolation == "nearest":
        return _nearest(in_size, out_size)
    if interpolation not in _FILTERS:
        allowed = (*get_args(Interpolation), "nearest")
        raise ValueError(f"interpolation={interpolation!r}: must be one of {allowed}; choose one of them")
    kernel, radius = _FILTERS[interpolation]
    scale = in_size / out_size
    stretch = max(scale, 1.0)
    support = radius * stretch
    center = (np.arange(out_size) + 0.5) * scale
    low = np.maximum((center - support + 0.5).astype(np.int64), 0)
    high = np.minimum((center + support + 0.5).astype(np.int64), in_size)

    # Column by column, because the order of a sum of doubles is part of the result.
    columns = math.ceil(support) * 2 + 1
    real = np.zeros((out_size, columns))
    total = np.zeros(out_size)
    for t in range(columns):
        real[:, t] = np.where(low + t < high, kernel((t + low - center + 0.5) * (1.0 / stretch)), 0.0)
        total += real[:, t]
    real /= np.where(total == 0.0, 1.0, total)[:, None]
    rounded = (real * (1 << PRECISION_BITS) + np.where(real < 0, -0.5, 0.5)).astype(np.int32)

    taps = int((high - low).max())
    first = np.minimum(low, in_size - taps)
    weights = np.zeros((out_size, taps), np.int32)
    rows, slots = np.nonzero(np.arange(columns) < (high - low)[:, None])
    weights[rows, slots + (low - first)[rows]] = rounded[rows, slots]
    first32 = first.astype(np.int32)
    first32.flags.writeable = weights.flags.writeable = False
    return first32, weights


def _nearest(in_size: int, out_size: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The pixel that lies at each output pixel's centre, with all of the weight.

    Centres are sums of doubles as in Pillow, which decides those that fall between two pixels.
    """
    step = in_size / out_size
    steps = np.full(out_size, step)
    steps[0] = step * 0.5
    first = np.add.accumulate(steps).astype(np.int32)
    weights = np.full((out_size, 1), 1 << PRECISION_BITS, np.int32)
    first.flags.writeable = weights.flags.writeable = False
    return first, weights


class CoefficientTables(NamedTuple):
    """Coefficients of all resizes from 1 .. ``max_size`` pixels to one size, along one axis."""

    first: NDArray[np.int32]  # [2, max_size + 1, out]: where each window begins, by interpolation and size
    spans: NDArray[np.int32]  # [2, max_size + 1, 2]: where the weights of a size begin, and taps
    weights: NDArray[np.int32]  # flat; [taps, out] for each interpolation and size


@lru_cache(maxsize=8)
def coefficient_tables(max_size: int, out_size: int) -> CoefficientTables:
    """Make :func:`coefficients` for every size, so that kernels that resize rectangles read them.

    Args:
        max_size: side of the largest rectangle, 1 .. MAX_SIZE.
        out_size: pixels of the result along this axis, 1 .. MAX_SIZE.

    Returns:
        Read-only tables; interpolation 0 is bilinear, 1 bicubic. They take about 5 MB for 512 to 224 pixels, and grow
        with the square of ``max_size``.

    Raises:
        ValueError: a size outside the range.
    """
    first = np.zeros((2, max_size + 1, out_size), np.int32)
    spans = np.zeros((2, max_size + 1, 2), np.int32)
    parts, begin = [], 0
    for row, interpolation in enumerate(get_args(Interpolation)):
        for size in range(1, max_size + 1):
            first[row, size], weights = coefficients.__wrapped__(size, out_size, interpolation)
            spans[row, size] = begin, weights.shape[1]
            parts.append(weights.T.reshape(-1))
            begin += weights.size
    flat = np.concatenate(parts)
    for array in (first, spans, flat):
        array.flags.writeable = False
    return CoefficientTables(first, spans, flat)
