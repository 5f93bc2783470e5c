"""Points of a 2-D iterated function system: uint8 [B, P, S, S] of ``POINTS_2D`` records, and their bounding boxes.

The twin of ``triton_kernels/ifs_2d.py``, whose docstring states the law. Here trajectories run through a few steps at a
time, into one flat array [step, axis, lane], so that every distance between what a loop reads and writes is a constant
and the loops over lanes vectorise, and the points are plotted from the first-level cache.
"""

import numpy as np
from numba import njit

from fdsl_gpu.cpu_kernels.ifs import coefficients, of_2, of_4, of_8
from fdsl_gpu.cpu_kernels.philox import philox4x32

LANES = 256
WARMUP = 16
PADDING = 6

POINT, PATCH, FILL = 0, 1, 2

_STEPS = 8
_ROW = 2 * LANES
_MARGIN = 3
_ZERO, _PAD = np.float32(0), np.float32(PADDING)
_1, _2, _3, _8, _16, _24 = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(8), np.uint64(16), np.uint64(24)
_HALF, _61, _62, _63 = np.uint64(32), np.uint64(61), np.uint64(62), np.uint64(63)
_WORD, _BIT = np.uint32(6), np.uint32(63)
# Two 32-bit lanes: a half's bits, a byte's lowest bit, and what is above 65,535 less a half if that is below 32833.
_HALVES, _BYTES = np.uint64(0x0000FFFF0000FFFF), np.uint64(0x0000000100000001)
_BELOW = np.uint64(0x10000 + 32832) * _BYTES


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


@njit(nogil=True)
def _of_3(t, index):
    """Entry ``index`` of a table of 3."""
    first = t[1] if index & 1 else t[0]
    return t[2] if index & 2 else first


@njit(nogil=True)
def _of_6(t, index):
    """Entry ``index`` of a table of 6."""
    last = t[5] if index & 1 else t[4]
    return last if index & 4 else of_4(t, index)


def _make_trajectories(of):
    """The kernel of the steps for systems whose tables ``of`` can read."""

    @njit(nogil=True)
    def trajectories(record, halves, cloud):
        """Fill ``cloud`` float32 [(1 + steps) * 2 * LANES] from its row 0 on, with ``halves`` uint16 [steps, LANES]."""
        num_maps, t, maps = np.int32(record.num_maps), record.select, record.maps
        entries = t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7]
        a, b, e = coefficients(maps, 0), coefficients(maps, 1), coefficients(maps, 4)
        c, d, f = coefficients(maps, 2), coefficients(maps, 3), coefficients(maps, 5)
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


_trajectories_2 = _make_trajectories(of_2)
_trajectories_3 = _make_trajectories(_of_3)
_trajectories_4 = _make_trajectories(of_4)
_trajectories_6 = _make_trajectories(_of_6)
_trajectories_8 = _make_trajectories(of_8)


@njit(nogil=True)
def _advance(record, halves, cloud):
    """The next steps of all trajectories, after the last row of ``cloud``, which the first becomes."""
    cloud[:_ROW] = cloud[_STEPS * _ROW :]
    if record.num_maps <= 2:
        _trajectories_2(record, halves, cloud)
    elif record.num_maps <= 3:
        _trajectories_3(record, halves, cloud)
    elif record.num_maps <= 4:
        _trajectories_4(record, halves, cloud)
    elif record.num_maps <= 6:
        _trajectories_6(record, halves, cloud)
    else:
        _trajectories_8(record, halves, cloud)


@njit(nogil=True)
def _pitch(size):
    """Cells in a row of a canvas: those of the margin, which is at its left, those of the pixels, and whole words."""
    return (size + _MARGIN + 63) // 64 * 64


@njit(nogil=True)
def _cell(x, y, low, scale, size, pitch):
    """Where a point lies in a canvas [size + 3, pitch], whose margin is at its top and left; its end if outside."""
    column = (x - low[0]) * scale[0] + _PAD
    row = (y - low[1]) * scale[1] + _PAD
    keep = (column >= _ZERO) & (column < size) & (row >= _ZERO) & (row < size)
    # Selected before the cast: a NaN casts to anything.
    c = np.int32(np.int32(column if keep else _ZERO) + np.int32(_MARGIN))
    r = np.int32(np.int32(row if keep else _ZERO) + np.int32(_MARGIN))
    cell = np.int32(np.int32(r * pitch) + c)
    return cell if keep else np.int32(pitch * np.int32(np.int32(size) + np.int32(_MARGIN)))


@njit(nogil=True)
def _plot(record, halves, points, size, numbered, cloud, cells, canvas):
    """Mark the cells of the points in ``canvas`` int32: with their last number + 1, an element each, or with a bit.

    Bits make a canvas that fits into the first-level cache. ``cells`` uint32 [LANES] is scratch.
    """
    low, scale = (record.low[0], record.low[1]), (record.scale[0], record.scale[1])
    pitch, side = np.int32(_pitch(size)), np.float32(size)
    words = canvas.view(np.uint64)
    canvas[:] = 0
    origin = np.uint32(_cell(_ZERO, _ZERO, low, scale, side, pitch))
    if numbered:
        canvas[origin] = 1
    else:
        words[origin >> _WORD] = _1 << np.uint64(origin & _BIT)
    cloud[:] = _ZERO
    number = 2
    for first in range(0, _steps(points), _STEPS):
        last = min(first + _STEPS, _steps(points))
        _advance(record, halves[first:last], cloud)
        for step in range(first, last):
            here = cloud[(step - first + 1) * _ROW : (step - first + 2) * _ROW]
            count = _emitting(step, points)
            for lane in range(count):
                cells[lane] = _cell(here[lane], here[LANES + lane], low, scale, side, pitch)
            if numbered:
                for lane in range(count):
                    canvas[cells[lane]] = number + lane
            else:
                for lane in range(count):
                    words[cells[lane] >> _WORD] |= _1 << np.uint64(cells[lane] & _BIT)
            number += count


@njit(nogil=True)
def _spread_bits(canvas, size, rendering, line, levels):
    """Fill ``levels`` uint8 [S, S] with 127 where a point is, or its 3x3 block.

    ``line`` uint64 [9 pitch / 64] is scratch.
    """
    words, rows = _pitch(size) // 64, canvas.view(np.uint64)
    eights, row_bits = line[words : 9 * words], line[:words]
    row_bytes, row_levels = row_bits.view(np.uint8), eights.view(np.uint8)
    for row in range(size):
        here = rows[row * words : (row + 4) * words]
        after = np.uint64(0)
        for k in range(words - 1, -1, -1):
            if rendering == POINT:
                word = here[3 * words + k]
                row_bits[k] = (word >> _3) | (after << _61)
            else:
                word = here[k] | here[words + k] | here[2 * words + k]
                row_bits[k] = word | (word >> _1) | (after << _63) | (word >> _2) | (after << _62)
            after = word
        for k in range(8 * words):
            spread = np.uint64(row_bytes[k])
            spread = (spread | (spread << np.uint64(28))) & np.uint64(0x0000000F0000000F)
            spread = (spread | (spread << np.uint64(14))) & np.uint64(0x0003000300030003)
            spread = (spread | (spread << np.uint64(7))) & np.uint64(0x0101010101010101)
            eights[k] = (spread << np.uint64(7)) - spread
        out = levels[row * size : (row + 1) * size]
        for column in range(size):
            out[column] = row_levels[column]


@njit(nogil=True)
def _greatest(a, b):
    return a if a > b else b


@njit(nogil=True)
def _spread_numbers(canvas, size, rendering, line, levels):
    """Fill ``levels`` uint8 [S, S] with 1 + n modulo 128 of the last point, or of the last whose block covers a pixel.

    ``line`` int32 [pitch] is scratch.
    """
    pitch = _pitch(size)
    for row in range(size):
        out = levels[row * size : (row + 1) * size]
        if rendering == POINT:
            here = canvas[(row + _MARGIN) * pitch + _MARGIN : (row + _MARGIN + 1) * pitch]
            for column in range(size):
                out[column] = ((here[column] - 1) & 127) + 1 if here[column] > 0 else 0
            continue
        above = canvas[row * pitch : (row + 1) * pitch]
        middle = canvas[(row + 1) * pitch : (row + 2) * pitch]
        below = canvas[(row + 2) * pitch : (row + 3) * pitch]
        for column in range(pitch):
            line[column] = _greatest(_greatest(above[column], middle[column]), below[column])
        for column in range(size):
            last = _greatest(_greatest(line[column], line[column + 1]), line[column + 2])
            out[column] = ((last - 1) & 127) + 1 if last > 0 else 0


@njit(nogil=True, inline="always")
def _lit(w0, w1, w2, w3):
    """Eight bytes, 0xFF for each half of a Philox block that is below 32833, the first half's lowest."""
    outer, inner = w0 | (w2 << _HALF), w1 | (w3 << _HALF)
    # Bits 16 and 48 of each difference say that the two halves in it are below.
    bits = ((_BELOW - (outer & _HALVES)) >> _16) & _BYTES
    bits |= ((_BELOW - ((outer >> _16) & _HALVES)) >> _8) & (_BYTES << _8)
    bits |= (_BELOW - (inner & _HALVES)) & (_BYTES << _16)
    bits |= ((_BELOW - ((inner >> _16) & _HALVES)) << _8) & (_BYTES << _24)
    return (bits << _8) - bits


@njit(nogil=True)
def _light(record, k0, k1, stream, eights, groups, masks):
    """Clear the pixels, eight in each of ``eights`` uint64 [n], that the random pattern leaves dark.

    ``groups`` uint32 [n + 1] and ``masks`` uint64 [n] are scratch. Only groups that hold a lit pixel draw numbers.
    """
    low, view = np.uint64(record.pattern_low), np.uint64(record["view"])
    high = np.uint64(record.pattern_high) | (np.uint64(stream) << _24)
    used = np.uint32(0)
    for group in range(eights.size):
        groups[used] = group
        used += np.uint32(eights[group] != 0)
    for i in range(used):
        w0, w1, w2, w3 = philox4x32(np.uint64(groups[i]), view, low, high, k0, k1)
        masks[i] = _lit(w0, w1, w2, w3)
    for i in range(used):
        eights[groups[i]] &= masks[i]


@njit(nogil=True)
def _place(levels, mirror, size, palette, planes):
    """Write ``levels`` uint8 [S, S], mirrored, to ``planes`` uint8 [P, S, S]: as they are, or as colours."""
    for row in range(size):
        source = size - 1 - row if mirror & 2 else row
        line = levels[source * size : (source + 1) * size]
        for p in range(planes.shape[0]):
            out, colors = planes[p, row], palette[p]
            if planes.shape[0] > 1:
                for column in range(size):
                    level = line[size - 1 - column] if mirror & 1 else line[column]
                    out[column] = colors[level]
            elif mirror & 1:
                for column in range(size):
                    out[column] = line[np.uintp(size - 1) - np.uintp(column)]
            else:
                for column in range(size):
                    out[column] = line[column]


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
    size, color = planes.shape[2], planes.shape[1] > 1
    pitch = _pitch(size)
    # One cell more, for points outside, and whole 64-bit words.
    canvas = np.empty((size + _MARGIN) * (pitch if color else pitch // 32) + 2, np.int32)
    cloud = np.empty((_STEPS + 1) * _ROW, np.float32)
    cells = np.empty(LANES, np.uint32)
    line = np.empty(pitch // 2, np.uint64)
    levels = np.zeros((size * size + 7) // 8 * 8, np.uint8)
    eights = levels.view(np.uint64)
    groups, masks = np.empty(eights.size + 1, np.uint32), np.empty(eights.size, np.uint64)
    for image in range(records.size):
        record = records[image]
        _plot(record, halves, points, size, color, cloud, cells, canvas)
        if color:
            _spread_numbers(canvas, size, rendering, line.view(np.int32), levels)
        else:
            _spread_bits(canvas, size, rendering, line, levels)
        if rendering == PATCH:
            _light(record, k0, k1, stream, eights, groups, masks)
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
