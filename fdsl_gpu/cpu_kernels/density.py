"""How often the points of a 2-D iterated function system hit each pixel: int32 [F, F] of one ``FRACTAL`` record.

The twin of ``triton_kernels/density.py``, whose docstring states the law. Here the points of the first pass are kept
for the second, in one flat array [step, axis, lane], so that every distance between what a loop reads and writes is a
constant and the loops over lanes vectorise. Tables are read by ternaries, since gathers are slow on many CPUs, in three
versions for at most 2, 4 and 8 maps: three classes in four have two.
"""

import numpy as np
from numba import njit

from fdsl_gpu.cpu_kernels.jit import inner
from fdsl_gpu.cpu_kernels.philox import philox4x32

LANES = 256
WARMUP = 32

_ROW = 2 * LANES
_BITS = np.uint64(16)
_LOW = np.uint64(0xFFFFFFFF)
_INF = np.float32(np.inf)
_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)


@inner
def _of_2(t, index):
    """Entry ``index`` of a table of 2."""
    return t[1] if index & 1 else t[0]


@inner
def _of_4(t, index):
    """Entry ``index`` of a table of 4."""
    even = t[2] if index & 2 else t[0]
    odd = t[3] if index & 2 else t[1]
    return odd if index & 1 else even


@inner
def _of_8(t, index):
    """Entry ``index`` of a table of 8."""
    t0 = t[4] if index & 4 else t[0]
    t1 = t[5] if index & 4 else t[1]
    t2 = t[6] if index & 4 else t[2]
    t3 = t[7] if index & 4 else t[3]
    even = t2 if index & 2 else t0
    odd = t3 if index & 2 else t1
    return odd if index & 1 else even


@inner
def _coefficients(maps, k):
    """Coefficient ``k`` of all maps as a tuple, which stays in registers."""
    return maps[0, k], maps[1, k], maps[2, k], maps[3, k], maps[4, k], maps[5, k], maps[6, k], maps[7, k]


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


def _make_trajectories(of):
    """The kernel of pass 1 for systems whose tables ``of`` can read."""

    @inner
    def trajectories(fractal, k0, k1, stream, halves, cloud):
        """Fill ``cloud`` float32 [(steps + 1) * 2 * LANES]; row 0 is the start."""
        num_maps, t, maps = np.int32(fractal.num_maps), fractal.select, fractal.maps
        entries = t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7]
        a, b, tx = _coefficients(maps, np.int64(0)), _coefficients(maps, np.int64(1)), _coefficients(maps, np.int64(4))
        c, d, ty = _coefficients(maps, np.int64(2)), _coefficients(maps, np.int64(3)), _coefficients(maps, np.int64(5))
        cloud[:LANES] = fractal.start[0]
        cloud[LANES:_ROW] = fractal.start[1]
        for step in range(cloud.size // _ROW - 1):
            if step & 7 == 0:
                _draw_halves(fractal, k0, k1, stream, step >> 3, halves)
            half = halves[(step & 7) * LANES : (step & 7) * LANES + LANES]
            here = cloud[step * _ROW : (step + 2) * _ROW]
            for lane in range(LANES):
                # Cast after every operation: numba's integers grow to 64 bits, which halves the lanes of a vector.
                position = np.int32(np.int32(half[lane]) * num_maps)
                column = np.int32(position >> 16)
                entry = np.int32(of(entries, column))
                kept = np.int32(position & 0xFFFF) < np.int32(entry >> 8)
                m = column if kept else np.int32(entry & 255)
                x, y = here[lane], here[LANES + lane]
                here[_ROW + lane] = (of(a, m) * x + of(b, m) * y) + of(tx, m)
                here[_ROW + LANES + lane] = (of(c, m) * x + of(d, m) * y) + of(ty, m)

    return trajectories


_trajectories_2 = _make_trajectories(_of_2)
_trajectories_4 = _make_trajectories(_of_4)
_trajectories_8 = _make_trajectories(_of_8)


@inner
def _measure(cloud, points, lanes):
    """Fill ``lanes`` float32 [4 * LANES] with each lane's least and greatest x and y of the points that count."""
    lanes[:_ROW] = _INF
    lanes[_ROW:] = -_INF
    for step in range(WARMUP, cloud.size // _ROW - 1):
        here = cloud[(step + 1) * _ROW : (step + 2) * _ROW]
        for lane in range(min(LANES, points - (step - WARMUP) * LANES)):
            x, y = here[lane], here[LANES + lane]
            low_x, low_y = lanes[lane], lanes[LANES + lane]
            high_x, high_y = lanes[_ROW + lane], lanes[_ROW + LANES + lane]
            lanes[lane] = x if x < low_x else low_x
            lanes[LANES + lane] = y if y < low_y else low_y
            lanes[_ROW + lane] = x if x > high_x else high_x
            lanes[_ROW + LANES + lane] = y if y > high_y else high_y


@inner(error_model="numpy")
def _window(lows, highs, shift, stretch, size):
    """Low edge and pixels a unit of the window along one axis, from each lane's extremes."""
    low, high = _INF, -_INF
    for lane in range(LANES):
        low = lows[lane] if lows[lane] < low else low
        high = highs[lane] if highs[lane] > high else high
    extent = high - low
    extent = extent if extent > _ZERO else _ONE
    side = stretch * extent
    center = (low + high) * _HALF + shift * extent
    return center - side * _HALF, np.float32(size - 1) / side


@inner
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
    return origin, row, column


@inner
def _count(cloud, points, x_window, y_window, size, flips, cells, hits):
    """Add 1 to ``hits`` int32 [(size + 2)**2 + 1] for every point; ``cells`` uint32 [LANES] is scratch."""
    low_x, scale_x = x_window
    low_y, scale_y = y_window
    origin, row_stride, column_stride = strides(flips, size)
    origin, row_stride, column_stride = np.int32(origin), np.int32(row_stride), np.int32(column_stride)
    edge, nowhere = np.float32(size), np.int32(hits.size - 1)
    hits[:] = 0
    for step in range(WARMUP, cloud.size // _ROW - 1):
        here = cloud[(step + 1) * _ROW : (step + 2) * _ROW]
        count = min(LANES, points - (step - WARMUP) * LANES)
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
def _spread(hits, flips, patch, counts):
    """Fill ``counts`` int32 [F, F] with the hits in the patch around each pixel; returns their maximum."""
    size = counts.shape[0]
    pitch = size + 2
    _, row_stride, column_stride = strides(flips, size)
    peak = np.int32(0)
    for row in range(size):
        out = counts[row]
        out[:] = 0
        for cell in range(9):
            if patch >> (8 - cell) & 1:
                # What hits p counts at p + offset.
                offset = (cell // 3 - 1) * row_stride + (cell % 3 - 1) * column_stride
                first = (row + 1) * pitch + 1 - offset
                there = hits[first : first + size]
                for column in range(size):
                    out[column] += there[column]
        for column in range(size):
            peak = out[column] if out[column] > peak else peak
    return peak


@njit(no_cfunc_wrapper=True)
def scratch(points, size):
    """Working memory for :func:`density`: halves, cloud, lanes, cells, hits."""
    steps = WARMUP + (points + LANES - 1) // LANES
    return (
        np.empty(8 * LANES, np.uint16),
        np.empty((steps + 1) * _ROW, np.float32),
        np.empty(4 * LANES, np.float32),
        np.empty(LANES, np.uint32),
        np.empty((size + 2) * (size + 2) + 1, np.int32),
    )


@njit(no_cfunc_wrapper=True)
def density(fractal, k0, k1, stream, points, memory, counts):
    """Count the points of one fractal.

    Args:
        fractal: a ``FRACTAL`` record.
        k0: key of the dataset, low word, uint64.
        k1: key of the dataset, high word, uint64.
        stream: Philox stream of map selections.
        points: points that count.
        memory: from :func:`scratch`.
        counts: int32 [F, F], overwritten.

    Returns:
        The largest count.
    """
    halves, cloud, lanes, cells, hits = memory
    if fractal.num_maps <= 2:
        _trajectories_2(fractal, k0, k1, stream, halves, cloud)
    elif fractal.num_maps <= 4:
        _trajectories_4(fractal, k0, k1, stream, halves, cloud)
    else:
        _trajectories_8(fractal, k0, k1, stream, halves, cloud)
    _measure(cloud, points, lanes)
    size = counts.shape[0]
    x_window = _window(lanes[:LANES], lanes[_ROW : _ROW + LANES], fractal.shift[0], fractal.stretch[0], size)
    y_window = _window(lanes[LANES:_ROW], lanes[_ROW + LANES :], fractal.shift[1], fractal.stretch[1], size)
    _count(cloud, points, x_window, y_window, size, fractal.flips, cells, hits)
    return _spread(hits, fractal.flips, fractal.patch, counts)
