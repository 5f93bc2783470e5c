"""How often the points of a 2-D iterated function system hit each pixel: int32 [F, F] of one ``FRACTAL`` record.

The twin of ``triton_kernels/density.py``, whose docstring states the law. Here the points of the first pass are kept
for the second, in one flat array [step, axis, lane]. Maps are looked up as in ``chains_2d``.
"""

import numpy as np

from fdsl_gpu.cpu_kernels.chains_2d import AXES, make_walk
from fdsl_gpu.cpu_kernels.jit import inner
from fdsl_gpu.cpu_kernels.philox import philox4x32

LANES = 256
WARMUP = 32

_STEPS = 8
_ROW = 2 * LANES
_BITS = np.uint64(16)
_LOW = np.uint64(0xFFFFFFFF)
_INF = np.float32(np.inf)
_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)

_take_steps = make_walk(LANES, AXES)


@inner
def _draw_halves(fractal, k0, k1, stream, block, halves):
    """Fill ``halves`` uint16 [8 * LANES] with one Philox block a lane, which selects its next eight maps."""
    low = np.uint64(fractal.sequence_low)
    high = np.uint64(fractal.sequence_high) | (np.uint64(stream) << np.uint64(24))
    first_lane = (np.uint64(fractal["view"]) << _BITS) & _LOW
    block = np.uint64(block)
    for lane in range(LANES):
        w0, w1, w2, w3 = philox4x32(block, first_lane + np.uint64(lane), low, high, k0, k1)
        halves[lane] = w0
        halves[LANES + lane] = w0 >> _BITS
        halves[2 * LANES + lane] = w1
        halves[3 * LANES + lane] = w1 >> _BITS
        halves[4 * LANES + lane] = w2
        halves[5 * LANES + lane] = w2 >> _BITS
        halves[6 * LANES + lane] = w3
        halves[7 * LANES + lane] = w3 >> _BITS


@inner(inline="always")
def _walk(fractal, tables, number, k0, k1, stream, halves, chosen, cloud):
    """Fill ``cloud`` float32 [(steps + 1) * 2 * LANES]; row 0 is the start. ``chosen`` is scratch."""
    for lane in range(LANES):
        cloud[lane], cloud[LANES + lane] = fractal.start[0], fractal.start[1]
    steps = cloud.size // _ROW - 1
    table, choice = np.uintp(tables.ctypes.data) + np.uintp(4 * 7 * 8 * number), np.uintp(chosen.ctypes.data)
    for first in range(0, steps, _STEPS):
        _draw_halves(fractal, k0, k1, stream, first // _STEPS, halves)
        half, here = np.uintp(halves.ctypes.data), np.uintp(cloud.ctypes.data) + np.uintp(4 * _ROW * first)
        rest = steps - first
        _take_steps(fractal.num_maps, table, half, rest if rest < _STEPS else _STEPS, choice, here)


@inner
def _measure(cloud, points, lanes):
    """Fill ``lanes`` float32 [4 * LANES] with each lane's least and greatest x and y of the points that count."""
    for lane in range(_ROW):
        lanes[lane], lanes[_ROW + lane] = _INF, -_INF
    for step in range(WARMUP, cloud.size // _ROW - 1):
        here = cloud[(step + 1) * _ROW : (step + 2) * _ROW]
        rest = points - (step - WARMUP) * LANES
        for lane in range(rest if rest < LANES else LANES):
            x, y = here[lane], here[LANES + lane]
            low_x, low_y = lanes[lane], lanes[LANES + lane]
            high_x, high_y = lanes[_ROW + lane], lanes[_ROW + LANES + lane]
            lanes[lane] = x if x < low_x else low_x
            lanes[LANES + lane] = y if y < low_y else low_y
            lanes[_ROW + lane] = x if x > high_x else high_x
            lanes[_ROW + LANES + lane] = y if y > high_y else high_y


@inner
def _window(lanes, first, shift, stretch, size):
    """Low edge and pixels a unit of the window along one axis, from each lane's extremes."""
    low, high = _INF, -_INF
    for lane in range(first, first + LANES):
        low = lanes[lane] if lanes[lane] < low else low
        high = lanes[_ROW + lane] if lanes[_ROW + lane] > high else high
    extent = high - low
    extent = extent if extent > _ZERO else _ONE
    side = stretch * extent
    center = (low + high) * _HALF + shift * extent
    return center - side * _HALF, np.float32(size - 1) / side


@inner(inline="always")
def strides(flips, size):
    """Where (row, column) of a fractal lies in a padded canvas [size + 2, size + 2]: origin, strides of the two."""
    pitch = size + 2
    origin, row, column = pitch + 1, pitch, 1
    if flips & 1:
        row, column = column, row
    if flips & 2:
        origin += (size - 1) * pitch
        row, column = (row if row == 1 else -row), (column if column == 1 else -column)
    if flips & 4:
        origin += size - 1
        row, column = (-row if row == 1 else row), (-column if column == 1 else column)
    return np.int32(origin), np.int32(row), np.int32(column)


@inner
def _count(cloud, points, x_window, y_window, size, places, cells, hits):
    """Add 1 to ``hits`` int32 [(size + 2)**2 + 1] for every point; ``cells`` uint32 [LANES] is scratch."""
    low_x, scale_x = x_window
    low_y, scale_y = y_window
    origin, row_stride, column_stride = places
    edge, nowhere = np.float32(size), np.int32(hits.size - 1)
    for i in range(hits.size):
        hits[i] = 0
    for step in range(WARMUP, cloud.size // _ROW - 1):
        here = cloud[(step + 1) * _ROW : (step + 2) * _ROW]
        rest = points - (step - WARMUP) * LANES
        count = rest if rest < LANES else LANES
        for lane in range(count):
            row = (here[lane] - low_x) * scale_x
            column = (here[LANES + lane] - low_y) * scale_y
            keep = (row > -_ONE) & (row < edge) & (column > -_ONE) & (column < edge)
            # Selected before the cast: a NaN casts to anything.
            r = np.int32(row if keep else _ZERO)
            c = np.int32(column if keep else _ZERO)
            cell = np.int32(origin + np.int32(np.int32(r * row_stride) + np.int32(c * column_stride)))
            cells[lane] = np.uint32(cell if keep else nowhere)
        for lane in range(count):
            hits[cells[lane]] += np.int32(1)
    hits[nowhere] = 0


@inner
def _spread(hits, size, row_stride, column_stride, patch, counts):
    """Fill ``counts`` int32 [F * F] with the hits in the patch around each pixel; returns their maximum."""
    pitch = size + 2
    peak = np.int32(0)
    for row in range(size):
        for column in range(size):
            counts[np.uintp(row * size + column)] = 0
        # Not nine times the same loop, which a compiler would make of a range.
        cell, rest = 0, patch
        while rest:
            if rest & 256:
                # What hits p counts at p + offset.
                offset = (cell // 3 - 1) * row_stride + (cell % 3 - 1) * column_stride
                first = (row + 1) * pitch + 1 - offset
                for column in range(size):
                    counts[np.uintp(row * size + column)] += hits[np.uintp(first + column)]
            cell, rest = cell + 1, rest << 1 & 511
        for column in range(size):
            count = counts[np.uintp(row * size + column)]
            peak = count if count > peak else peak
    return peak


def scratch(points, size):
    """Working memory for :func:`density`: halves, chosen, cloud, lanes, cells, hits."""
    steps = WARMUP + (points + LANES - 1) // LANES
    return (
        np.empty(_STEPS * LANES, np.uint16),
        np.empty(_STEPS * LANES, np.int32),
        np.empty((steps + 1) * _ROW, np.float32),
        np.empty(4 * LANES, np.float32),
        np.empty(LANES, np.uint32),
        np.empty((size + 2) * (size + 2) + 1, np.int32),
    )


@inner(inline="always")
def density(fractal, tables, number, k0, k1, stream, points, memory, size, counts):
    """Count the points of one fractal.

    Args:
        fractal: a ``FRACTAL`` record.
        tables: float32 [N, 7, 8], ``chain_tables`` of fractals.
        number: of this fractal among them.
        k0: key of the dataset, low word, uint64.
        k1: key of the dataset, high word, uint64.
        stream: Philox stream of map selections.
        points: points that count.
        memory: from :func:`scratch`.
        size: side F of the canvas.
        counts: int32 [F * F], overwritten.

    Returns:
        The largest count.
    """
    halves, chosen, cloud, lanes, cells, hits = memory
    _walk(fractal, tables, number, k0, k1, stream, halves, chosen, cloud)
    _measure(cloud, points, lanes)
    axis = np.int64(0)
    x_window = _window(lanes, axis, fractal.shift[0], fractal.stretch[0], size)
    y_window = _window(lanes, axis + LANES, fractal.shift[1], fractal.stretch[1], size)
    places = strides(fractal.flips, size)
    _count(cloud, points, x_window, y_window, size, places, cells, hits)
    return _spread(hits, size, places[1], places[2], fractal.patch, counts)
