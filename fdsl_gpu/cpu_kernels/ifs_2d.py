"""Points of a 2-D iterated function system: uint8 [B, P, S, S] of ``POINTS_2D`` records, and their bounding boxes.

The twin of ``triton_kernels/ifs_2d.py``, whose docstring states the law. Here trajectories run through a few steps at a
time, into one flat array [step, axis, lane], so that every distance between what a loop reads and writes is a constant
and the loops over lanes vectorise, and the points are plotted from the first-level cache.
"""

import numpy as np
from numba import njit

from fdsl_gpu.cpu_kernels.ifs import _column, _of_2, _of_4, _of_8
from fdsl_gpu.cpu_kernels.philox import philox4x32

LANES = 256
WARMUP = 48
PADDING = 6

POINT, PATCH, FILL = 0, 1, 2

_STEPS = 8
_ROW = 2 * LANES
_GROUPS = 256
_MARGIN = 3
_ZERO, _PAD = np.float32(0), np.float32(PADDING)
_LIT, _BELOW = np.uint8(127), np.uint16(32833)
_HALF = np.uint64(32)


def _steps_of(points):
    """Steps that each lane takes so that ``points`` are emitted, the origin among them."""
    return WARMUP + (max(points - 1 - WARMUP, 0) + LANES - 1) // LANES


steps_of = _steps_of
_steps = njit(nogil=True)(_steps_of)


@njit(nogil=True)
def _emitting(step, points):
    """How many lanes, from lane 0 on, draw at a step."""
    if step < WARMUP:
        return 1 if step + 1 < points else 0
    return min(LANES, points - 1 - WARMUP - (step - WARMUP) * LANES)


def _make_trajectories(of):
    """The kernel of the steps for systems whose tables ``of`` can read."""

    @njit(nogil=True)
    def trajectories(record, halves, cloud):
        """Fill rows 1, 2, ... of ``cloud`` float32 [(1 + steps) * 2 * LANES] from row 0 and ``halves`` [steps, LANES]."""
        num_maps, t, maps = np.int32(record.num_maps), record.select, record.maps
        entries = t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7]
        a, b, e = _column(maps, 0), _column(maps, 1), _column(maps, 4)
        c, d, f = _column(maps, 2), _column(maps, 3), _column(maps, 5)
        for step in range(halves.shape[0]):
            half = halves[step]
            here = cloud[step * _ROW : (step + 2) * _ROW]
            for lane in range(LANES):
                # Cast after every operation: numba's integers grow to 64 bits, which halves the lanes of a vector.
                position = np.int32(np.int32(half[lane]) * num_maps)
                column = np.int32(position >> 16)
                entry = np.int32(of(entries, column))
                kept = np.int32(position & 0xFFFF) < np.int32(entry >> 8)
                m = column if kept else np.int32(entry & 255)
                x, y = here[lane], here[LANES + lane]
                here[_ROW + lane] = (of(a, m) * x + of(b, m) * y) + of(e, m)
                here[_ROW + LANES + lane] = (of(c, m) * x + of(d, m) * y) + of(f, m)

    return trajectories


_trajectories_2 = _make_trajectories(_of_2)
_trajectories_4 = _make_trajectories(_of_4)
_trajectories_8 = _make_trajectories(_of_8)


@njit(nogil=True)
def _advance(record, halves, cloud):
    """The next steps of all trajectories, after the last row of ``cloud``, which the first becomes."""
    cloud[:_ROW] = cloud[_STEPS * _ROW :]
    if record.num_maps <= 2:
        _trajectories_2(record, halves, cloud)
    elif record.num_maps <= 4:
        _trajectories_4(record, halves, cloud)
    else:
        _trajectories_8(record, halves, cloud)


@njit(nogil=True)
def _cell(x, y, low, scale, size):
    """Where a point lies in the canvas [size + 3, size + 3] whose margin is at the top and left; its end if outside."""
    column = (x - low[0]) * scale[0] + _PAD
    row = (y - low[1]) * scale[1] + _PAD
    edge, pitch = np.float32(size), np.int32(size + _MARGIN)
    keep = (column >= _ZERO) & (column < edge) & (row >= _ZERO) & (row < edge)
    # Selected before the cast: a NaN casts to anything.
    c = np.int32(np.int32(column if keep else _ZERO) + np.int32(_MARGIN))
    r = np.int32(np.int32(row if keep else _ZERO) + np.int32(_MARGIN))
    cell = np.int32(np.int32(r * pitch) + c)
    return np.uint32(cell if keep else np.int32(pitch * pitch))


@njit(nogil=True)
def _plot(record, halves, points, size, cloud, cells, canvas):
    """Fill ``canvas`` [(S + 3)**2 + 1] with 127 (uint8) or the last number + 1 (int32) at the pixels of the points."""
    low = record.low[0], record.low[1]
    scale = record.scale[0], record.scale[1]
    numbered = canvas.itemsize > 1
    canvas[:] = 0
    canvas[_cell(_ZERO, _ZERO, low, scale, size)] = 1 if numbered else _LIT
    cloud[:] = _ZERO
    number = 2
    for first in range(0, _steps(points), _STEPS):
        last = min(first + _STEPS, _steps(points))
        _advance(record, halves[first:last], cloud)
        for step in range(first, last):
            here = cloud[(step - first + 1) * _ROW : (step - first + 2) * _ROW]
            count = _emitting(step, points)
            for lane in range(count):
                cells[lane] = _cell(here[lane], here[LANES + lane], low, scale, size)
            if numbered:
                for lane in range(count):
                    canvas[cells[lane]] = number + lane
            else:
                for lane in range(count):
                    canvas[cells[lane]] = _LIT
            number += count
    canvas[canvas.size - 1] = 0


@njit(nogil=True)
def _greatest(a, b):
    return a if a > b else b


@njit(nogil=True)
def _spread(canvas, size, rendering, row_of, out):
    """Fill ``out`` [S, S] with each point, or the greatest of the points that cover a pixel with their 3x3 block."""
    pitch = size + _MARGIN
    for row in range(size):
        line = out[row * size : (row + 1) * size]
        if rendering == POINT:
            line[:] = canvas[(row + _MARGIN) * pitch + _MARGIN : (row + _MARGIN + 1) * pitch]
            continue
        above = canvas[row * pitch : (row + 1) * pitch]
        middle = canvas[(row + 1) * pitch : (row + 2) * pitch]
        below = canvas[(row + 2) * pitch : (row + 3) * pitch]
        for column in range(pitch):
            row_of[column] = _greatest(_greatest(above[column], middle[column]), below[column])
        for column in range(size):
            line[column] = _greatest(_greatest(row_of[column], row_of[column + 1]), row_of[column + 2])


@njit(nogil=True)
def _light(record, k0, k1, stream, levels, groups, words):
    """Clear the pixels of ``levels`` uint8 [8 n] that the random pattern leaves dark.

    ``groups`` uint32 [n + 1] and ``words`` uint64 [2 * _GROUPS] are scratch. Only groups that hold a lit pixel draw.
    """
    low, view = np.uint64(record.pattern_low), np.uint64(record["view"])
    high = np.uint64(record.pattern_high) | (np.uint64(stream) << np.uint64(24))
    eights = levels.view(np.uint64)
    front, back = words[:_GROUPS], words[_GROUPS:]
    front_halves, back_halves = front.view(np.uint16), back.view(np.uint16)
    used = np.uint32(0)
    for group in range(eights.size):
        groups[used] = group
        used += np.uint32(eights[group] != 0)
    for first in range(0, used, _GROUPS):
        some = groups[first : min(first + _GROUPS, used)]
        for i in range(some.size):
            w0, w1, w2, w3 = philox4x32(np.uint64(some[i]), view, low, high, k0, k1)
            front[i] = w0 | (w1 << _HALF)
            back[i] = w2 | (w3 << _HALF)
        for i in range(some.size):
            eight = np.uintp(some[i]) << np.uintp(3)
            for j in range(4):
                at, half = eight + np.uintp(j), np.uintp(4 * i + j)
                levels[at] = levels[at] if front_halves[half] < _BELOW else np.uint8(0)
            for j in range(4):
                at, half = eight + np.uintp(4 + j), np.uintp(4 * i + j)
                levels[at] = levels[at] if back_halves[half] < _BELOW else np.uint8(0)


@njit(nogil=True)
def _place(levels, mirror, size, palette, planes):
    """Write ``levels`` uint8 [S, S], mirrored, to ``planes`` uint8 [P, S, S]: as they are, or as colours."""
    for row in range(size):
        line = levels[row * size : (row + 1) * size]
        target = size - 1 - row if mirror & 2 else row
        for p in range(planes.shape[0]):
            out, colors = planes[p, target], palette[p]
            if planes.shape[0] > 1:
                for column in range(size):
                    level = line[size - 1 - column] if mirror & 1 else line[column]
                    out[column] = colors[level]
            elif mirror & 1:
                for column in range(size):
                    out[column] = line[size - 1 - column]
            else:
                out[:] = line


@njit(nogil=True, cache=True)
def draw_2d(records, halves, palette, planes, k0, k1, stream, points, rendering):
    """Draw one system an image.

    Args:
        records: [B] of ``POINTS_2D``.
        halves: uint16 [steps, LANES], what selects the maps.
        palette: uint8 [3, 129], levels of the primaries, of no point and of point 0, 1, ... 127.
        planes: uint8 [B, P, S, S], overwritten; P = 1 for grey, 3 for colour.
        k0: key of the dataset, low word.
        k1: key of the dataset, high word.
        stream: Philox stream of patterns.
        points: points an image.
        rendering: POINT, PATCH or FILL.
    """
    k0, k1 = np.uint64(k0), np.uint64(k1)
    size, pixels = planes.shape[2], planes.shape[2] * planes.shape[2]
    cells_of_canvas = (size + _MARGIN) * (size + _MARGIN) + 1
    cloud, cells = np.empty((_STEPS + 1) * _ROW, np.float32), np.empty(LANES, np.uint32)
    levels = np.zeros((pixels + 7) // 8 * 8, np.uint8)
    groups, words = np.empty(levels.size // 8 + 1, np.uint32), np.empty(2 * _GROUPS, np.uint64)
    hits, hits_row = np.empty(cells_of_canvas, np.uint8), np.empty(size + _MARGIN, np.uint8)
    last = np.empty(cells_of_canvas if planes.shape[1] > 1 else 0, np.int32)
    last_row, latest = np.empty(size + _MARGIN, np.int32), np.empty(pixels if planes.shape[1] > 1 else 0, np.int32)
    for image in range(records.size):
        record = records[image]
        if planes.shape[1] > 1:
            _plot(record, halves, points, size, cloud, cells, last)
            _spread(last, size, rendering, last_row, latest)
            for i in range(pixels):
                levels[i] = ((latest[i] - 1) & 127) + 1 if latest[i] > 0 else 0
        else:
            _plot(record, halves, points, size, cloud, cells, hits)
            _spread(hits, size, rendering, hits_row, levels)
        if rendering == PATCH:
            _light(record, k0, k1, stream, levels, groups, words)
        _place(levels, record.mirror, size, palette, planes[image])


@njit(nogil=True)
def _extremes(record, halves, points, cloud, lanes):
    """Fill ``lanes`` float32 [4 * LANES] with each lane's least and greatest x and y; NaN stays once it came."""
    lanes[:] = _ZERO
    cloud[:] = _ZERO
    for first in range(0, _steps(points), _STEPS):
        last = min(first + _STEPS, _steps(points))
        _advance(record, halves[first:last], cloud)
        for step in range(first, last):
            here = cloud[(step - first + 1) * _ROW : (step - first + 2) * _ROW]
            for lane in range(_emitting(step, points)):
                x, y = here[lane], here[LANES + lane]
                low_x, low_y = lanes[lane], lanes[LANES + lane]
                high_x, high_y = lanes[_ROW + lane], lanes[_ROW + LANES + lane]
                # Written so that a NaN is taken.
                lanes[lane] = low_x if low_x <= x else x
                lanes[LANES + lane] = low_y if low_y <= y else y
                lanes[_ROW + lane] = high_x if high_x >= x else x
                lanes[_ROW + LANES + lane] = high_y if high_y >= y else y


@njit(nogil=True, cache=True)
def measure_2d(records, halves, points, boxes):
    """Bounding boxes of the points that :func:`draw_2d` draws, to the last bit.

    Args:
        records: [B] of ``POINTS_2D``; ``low`` and ``scale`` are not read.
        halves: uint16 [steps, LANES], what selects the maps.
        points: points an image.
        boxes: float32 [B, 4], overwritten: low x, low y, high x, high y, the origin included. NaN where a trajectory
            came to NaN, which is where it first overflowed; infinite where the last of its points did.
    """
    cloud, lanes = np.empty((_STEPS + 1) * _ROW, np.float32), np.empty(4 * LANES, np.float32)
    for image in range(records.size):
        _extremes(records[image], halves, points, cloud, lanes)
        for k in range(4):
            best = lanes[k * LANES]
            for lane in range(1, LANES):
                value = lanes[k * LANES + lane]
                better = value < best if k < 2 else value > best
                best = value if better or value != value else best
                if best != best:
                    break
            boxes[image, k] = best
