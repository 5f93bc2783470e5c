"""Points of a 2-D iterated function system: uint8 [B, P, S, S] of ``POINTS_2D`` records, and their bounding boxes.

The twin of ``triton_kernels/ifs_2d.py``, whose docstring states the law. Trajectories (``chains_2d``) run through a few
steps at a time, so that the points are plotted from the first-level cache.
"""

import numpy as np

from fdsl_gpu.cpu_kernels.chains_2d import (
    LANES,
    ROW,
    STEPS,
    WARMUP,
    advance,
    chain_scratch,
    emitting,
    fill_tables,
    steps,
    steps_of,
)
from fdsl_gpu.cpu_kernels.jit import inner, kernel
from fdsl_gpu.cpu_kernels.philox import philox4x32

__all__ = ["LANES", "PADDING", "WARMUP", "draw_2d", "measure_2d", "steps_of"]

PADDING = 6

POINT, PATCH, FILL = 0, 1, 2

_MARGIN = 3
_ZERO, _PAD = np.float32(0), np.float32(PADDING)
_1, _2, _3, _8, _16, _24 = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(8), np.uint64(16), np.uint64(24)
_HALF, _61, _62, _63 = np.uint64(32), np.uint64(61), np.uint64(62), np.uint64(63)
_WORD, _BIT = np.uint32(6), np.uint32(63)
# Two 32-bit lanes: a half's bits, a byte's lowest bit, and what is above 65,535 less a half if that is below 32833.
_HALVES, _BYTES = np.uint64(0x0000FFFF0000FFFF), np.uint64(0x0000000100000001)
_BELOW = np.uint64(0x10000 + 32832) * _BYTES


@inner
def _pitch(size):
    """Cells in a row of a canvas: those of the margin, which is at its left, those of the pixels, and whole words."""
    return (size + _MARGIN + 63) // 64 * 64


@inner
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


@inner
def _plot(record, halves, points, size, numbered, chains, cells, canvas, words):
    """Mark the cells of the points in ``canvas`` int32: with their last number + 1, an element each, or with a bit.

    Bits make a canvas that fits into the first-level cache. ``chains`` and ``cells`` are scratch;
    ``words`` uint64 are those of ``canvas``.
    """
    low, scale = (record.low[0], record.low[1]), (record.scale[0], record.scale[1])
    pitch, side = np.int32(_pitch(size)), np.float32(size)
    tables, choices, chosen, cloud = chains
    canvas[:] = 0
    origin = np.uint32(_cell(_ZERO, _ZERO, low, scale, side, pitch))
    if numbered:
        canvas[origin] = 1
    else:
        words[origin >> _WORD] = _1 << np.uint64(origin & _BIT)
    cloud[:] = _ZERO
    fill_tables(record, tables, choices)
    number = 2
    for first in range(0, steps(points), STEPS):
        last = min(first + STEPS, steps(points))
        advance(record.num_maps, tables, halves[first:last], chosen, cloud)
        for step in range(first, last):
            here = cloud[(step - first + 1) * ROW : (step - first + 2) * ROW]
            count = emitting(step, points)
            for lane in range(count):
                cells[lane] = _cell(here[lane], here[LANES + lane], low, scale, side, pitch)
            if numbered:
                for lane in range(count):
                    canvas[cells[lane]] = number + lane
            else:
                for lane in range(count):
                    words[cells[lane] >> _WORD] |= _1 << np.uint64(cells[lane] & _BIT)
            number += count


@inner
def _spread_bits(marks, size, rendering, line, line_bytes, levels):
    """Fill ``levels`` uint8 [S, S] with 127 where a point is, or its 3x3 block.

    ``line`` uint64 [9 pitch / 64] is scratch, ``line_bytes`` its bytes.
    """
    words = _pitch(size) // 64
    row_bits, eights = line[:words], line[words : 9 * words]
    row_bytes, row_levels = line_bytes[: 8 * words], line_bytes[8 * words :]
    for row in range(size):
        here = marks[row * words : (row + 4) * words]
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


@inner
def _greatest(a, b):
    return a if a > b else b


@inner
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


@inner(inline="always")
def _lit(w0, w1, w2, w3):
    """Eight bytes, 0xFF for each half of a Philox block that is below 32833, the first half's lowest."""
    outer, inner = w0 | (w2 << _HALF), w1 | (w3 << _HALF)
    # Bits 16 and 48 of each difference say that the two halves in it are below.
    bits = ((_BELOW - (outer & _HALVES)) >> _16) & _BYTES
    bits |= ((_BELOW - ((outer >> _16) & _HALVES)) >> _8) & (_BYTES << _8)
    bits |= (_BELOW - (inner & _HALVES)) & (_BYTES << _16)
    bits |= ((_BELOW - ((inner >> _16) & _HALVES)) << _8) & (_BYTES << _24)
    return (bits << _8) - bits


@inner
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


@inner
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
    size, color = planes.shape[2], planes.shape[1] > 1
    pitch = _pitch.py_func(size)
    # One cell more, for points outside, and whole 64-bit words.
    canvas = np.empty((size + _MARGIN) * (pitch if color else pitch // 32) + 2, np.int32)
    line = np.empty(pitch // 2, np.uint64)
    levels = np.zeros((size * size + 7) // 8 * 8, np.uint8)
    eights = levels.view(np.uint64)
    groups, masks = np.empty(eights.size + 1, np.uint32), np.empty(eights.size, np.uint64)
    _draw(
        records,
        halves,
        palette,
        planes,
        (np.uint64(k0), np.uint64(k1), np.uint64(stream)),
        points,
        rendering,
        chain_scratch(),
        (canvas, canvas.view(np.uint64), np.empty(LANES, np.uint32)),
        (line, line.view(np.int32), line.view(np.uint8)),
        (levels, eights, groups, masks),
    )


@kernel
def _draw(records, halves, palette, planes, key, points, rendering, chains, marks, lines, pictures):
    k0, k1, stream = key
    size, color = planes.shape[2], planes.shape[1] > 1
    canvas, words, cells = marks
    line, numbers, line_bytes = lines
    levels, eights, groups, masks = pictures
    for image in range(records.size):
        record = records[image]
        _plot(record, halves, points, size, color, chains, cells, canvas, words)
        if color:
            _spread_numbers(canvas, size, rendering, numbers, levels)
        else:
            _spread_bits(words, size, rendering, line, line_bytes, levels)
        if rendering == PATCH:
            _light(record, k0, k1, stream, eights, groups, masks)
        _place(levels, record.mirror, size, palette, planes[image])


@inner
def _extremes(record, halves, points, chains, lanes):
    """Fill ``lanes`` float32 [4 * LANES] with each lane's least and greatest x and y; NaN stays once it came."""
    tables, choices, chosen, cloud = chains
    lanes[:] = _ZERO
    cloud[:] = _ZERO
    fill_tables(record, tables, choices)
    for first in range(0, steps(points), STEPS):
        last = min(first + STEPS, steps(points))
        advance(record.num_maps, tables, halves[first:last], chosen, cloud)
        for step in range(first, last):
            here = cloud[(step - first + 1) * ROW : (step - first + 2) * ROW]
            for lane in range(emitting(step, points)):
                x, y = here[lane], here[LANES + lane]
                low_x, low_y = lanes[lane], lanes[LANES + lane]
                high_x, high_y = lanes[ROW + lane], lanes[ROW + LANES + lane]
                # Written so that a NaN is taken.
                lanes[lane] = low_x if low_x <= x else x
                lanes[LANES + lane] = low_y if low_y <= y else y
                lanes[ROW + lane] = high_x if high_x >= x else x
                lanes[ROW + LANES + lane] = high_y if high_y >= y else y


def measure_2d(records, halves, points, boxes):
    """Bounding boxes of the points that :func:`draw_2d` draws, to the last bit.

    Args:
        records: [B] of ``POINTS_2D``; ``low`` and ``scale`` are not read.
        halves: uint16 [steps, LANES], what selects the maps.
        points: points an image.
        boxes: float32 [B, 4], overwritten: low x, low y, high x, high y, the origin included. NaN where a trajectory
            came to NaN, which is where it first overflowed; infinite where the last of its points did.
    """
    _measure(records, halves, points, boxes, chain_scratch(), np.empty(4 * LANES, np.float32))


@kernel
def _measure(records, halves, points, boxes, chains, lanes):
    for image in range(records.size):
        _extremes(records[image], halves, points, chains, lanes)
        for k in range(4):
            best = lanes[k * LANES]
            for lane in range(1, LANES):
                value = lanes[k * LANES + lane]
                better = value < best if k < 2 else value > best
                best = value if better or value != value else best
                if best != best:
                    break
            boxes[image, k] = best
