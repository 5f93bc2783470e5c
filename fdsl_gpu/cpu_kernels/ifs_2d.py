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
    chain_tables,
    emitting,
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


def _pitch_of(size):
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


@inner(inline="always")
def _plot(record, image, points, size, pitch, numbered, chains, marks):
    """Mark the cells of the points in the canvas: int32, with their last number + 1, or else uint64, with a bit each.

    Bits make a canvas that fits into the first-level cache. ``marks`` are the canvas and, as scratch, cells of points.
    """
    low, scale = (record.low[0], record.low[1]), (record.scale[0], record.scale[1])
    pitch, side = np.int32(pitch), np.float32(size)
    tables, halves, chosen, cloud = chains
    canvas, cells = marks
    for i in range(canvas.size):
        canvas[i] = 0
    for i in range(cloud.size):
        cloud[i] = _ZERO
    origin = _cell(_ZERO, _ZERO, low, scale, side, pitch)
    if numbered:
        canvas[origin] = 1
    else:
        canvas[origin >> _WORD] = _1 << np.uint64(origin & _BIT)
    number = 2
    for first in range(0, halves.shape[0], STEPS):
        last = first + STEPS if first + STEPS < halves.shape[0] else halves.shape[0]
        advance(record.num_maps, tables[image], halves, first, last, chosen, cloud)
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
                    canvas[cells[lane] >> _WORD] |= _1 << np.uint64(cells[lane] & _BIT)
            number += count


@inner(inline="always")
def _spread_bits(marks, size, pitch, rendering, lines, levels):
    """Fill ``levels`` uint8 [S * S] with 127 where a point is, or its 3x3 block.

    ``lines`` is scratch: uint64 [pitch / 64] and [pitch / 8], each with its bytes.
    """
    row_bits, row_bytes, eights, row_levels = lines
    words = pitch // 64
    for row in range(size):
        # What follows a row is the margin of the next, or what lies beyond its pixels: nothing that shows.
        for k in range(words):
            at = row * words + k
            if rendering == POINT:
                at += 3 * words
                row_bits[k] = (marks[at] >> _3) | (marks[at + 1] << _61)
            else:
                word = marks[at] | marks[at + words] | marks[at + 2 * words]
                after = marks[at + 1] | marks[at + words + 1] | marks[at + 2 * words + 1]
                row_bits[k] = word | (word >> _1) | (after << _63) | (word >> _2) | (after << _62)
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


@inner(inline="always")
def _spread_numbers(canvas, size, pitch, rendering, line, levels):
    """Fill ``levels`` uint8 [S * S] with 1 + n modulo 128 of the last point, or of the last whose block covers a pixel.

    ``line`` int32 [pitch] is scratch.
    """
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


@inner(inline="always")
def _light(record, key, eights, groups, masks):
    """Clear the pixels, eight in each of ``eights`` uint64 [n], that the random pattern leaves dark.

    ``groups`` uint32 [n + 1] and ``masks`` uint64 [n] are scratch. Only groups that hold a lit pixel draw numbers.
    """
    k0, k1, stream = key
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


@inner(inline="always")
def _place_greys(levels, mirror, size, plane):
    """Write ``levels`` uint8 [S * S], mirrored, to ``plane`` uint8 [S * S]."""
    for row in range(size):
        source = size - 1 - row if mirror & 2 else row
        line, out = levels[source * size : (source + 1) * size], plane[row * size : (row + 1) * size]
        for column in range(size):
            # Unsigned, so that the way back vectorises too.
            out[column] = line[np.uintp(size - 1) - np.uintp(column)] if mirror & 1 else line[column]


@inner(inline="always")
def _place_colours(levels, mirror, size, palette, planes):
    """Write the colours of ``levels`` uint8 [S * S], mirrored, to ``planes`` uint8 [3 * S * S]."""
    for row in range(size):
        source = size - 1 - row if mirror & 2 else row
        line = levels[source * size : (source + 1) * size]
        for p in range(3):
            out, colors = planes[(p * size + row) * size : (p * size + row + 1) * size], palette[p]
            for column in range(size):
                out[column] = colors[line[size - 1 - column] if mirror & 1 else line[column]]


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
    size, pitch, key = planes.shape[2], _pitch_of(planes.shape[2]), (np.uint64(k0), np.uint64(k1), np.uint64(stream))
    # One cell more, for points outside, and whole words.
    cells = (size + _MARGIN) * pitch + 64
    levels = np.zeros((size * size + 7) // 8 * 8, np.uint8)
    eights = levels.view(np.uint64)
    pictures = levels, eights, np.empty(eights.size + 1, np.uint32), np.empty(eights.size, np.uint64)
    chains = chain_tables(records), halves, *chain_scratch()
    settings, flat = (key, points, rendering, size, pitch), planes.reshape(len(planes), planes.shape[1] * size * size)
    if planes.shape[1] > 1:
        marks = np.empty(cells, np.int32), np.empty(LANES, np.uint32)
        _draw_colours(records, settings, chains, marks, np.empty(pitch, np.int32), pictures, palette, flat)
    else:
        marks = np.empty(cells // 64, np.uint64), np.empty(LANES, np.uint32)
        line, line_levels = np.empty(pitch // 64, np.uint64), np.empty(pitch // 8, np.uint64)
        lines = line, line.view(np.uint8), line_levels, line_levels.view(np.uint8)
        _draw_greys(records, settings, chains, marks, lines, pictures, flat)


@kernel
def _draw_greys(records, settings, chains, marks, lines, pictures, planes):
    key, points, rendering, size, pitch = settings
    levels, eights, groups, masks = pictures
    for image in range(records.size):
        record = records[image]
        _plot(record, image, points, size, pitch, False, chains, marks)
        _spread_bits(marks[0], size, pitch, rendering, lines, levels)
        if rendering == PATCH:
            _light(record, key, eights, groups, masks)
        _place_greys(levels, record.mirror, size, planes[image])


@kernel
def _draw_colours(records, settings, chains, marks, line, pictures, palette, planes):
    key, points, rendering, size, pitch = settings
    levels, eights, groups, masks = pictures
    for image in range(records.size):
        record = records[image]
        _plot(record, image, points, size, pitch, True, chains, marks)
        _spread_numbers(marks[0], size, pitch, rendering, line, levels)
        if rendering == PATCH:
            _light(record, key, eights, groups, masks)
        _place_colours(levels, record.mirror, size, palette, planes[image])


@inner(inline="always")
def _extremes(record, image, points, chains, lanes):
    """Fill ``lanes`` float32 [4 * LANES] with each lane's least and greatest x and y; NaN stays once it came."""
    tables, halves, chosen, cloud = chains
    for i in range(lanes.size):
        lanes[i] = _ZERO
    for i in range(cloud.size):
        cloud[i] = _ZERO
    for first in range(0, halves.shape[0], STEPS):
        last = first + STEPS if first + STEPS < halves.shape[0] else halves.shape[0]
        advance(record.num_maps, tables[image], halves, first, last, chosen, cloud)
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
    chains = chain_tables(records), halves, *chain_scratch()
    _measure(records, points, boxes, chains, np.empty(4 * LANES, np.float32))


@kernel
def _measure(records, points, boxes, chains, lanes):
    for image in range(records.size):
        _extremes(records[image], image, points, chains, lanes)
        for k in range(4):
            best = lanes[k * LANES]
            for lane in range(1, LANES):
                value = lanes[k * LANES + lane]
                better = value < best if k < 2 else value > best
                best = value if better or value != value else best
                if best != best:
                    break
            boxes[image, k] = best
