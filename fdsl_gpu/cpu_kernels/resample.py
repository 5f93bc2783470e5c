"""Pillow's two-pass resize for numba: a rectangle of a uint8 plane [S, S] to a picture uint8 [O, O].

A pass runs along the first axis, so that its vectors are contiguous bytes; the horizontal pass works on the transposed
plane. Only what differs from the rectangle's first byte is resampled: weights sum to one within their rounding, so a
window of one value has this value (``tests/test_write_out.py`` holds ``MAX_SIZE`` against it).

Pillow resizes horizontally first; since version 13 vertically first where the height shrinks by more pixels than twice
the width does, which changes a byte here and there. That is followed.

The arithmetic is that of ``triton_kernels.write_out`` and ``triton_kernels.crop``; coefficients are those of
``fdsl_gpu.resample``.
"""

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fdsl_gpu.cpu_kernels import vectors
from fdsl_gpu.cpu_kernels.jit import inner
from fdsl_gpu.cpu_kernels.transpose import transpose
from fdsl_gpu.resample import PRECISION_BITS

# Bytes that a pass makes at once; rows of scratch memory are whole vectors.
_LANES = 32


@intrinsic
def _weigh(typing_context, source, pitch, weights, stride, taps, out):
    """Sum ``taps`` rows of 32 bytes, each times its int32 weight, and store the sums, rounded and clipped to bytes.

    ``source``, ``weights`` and ``out`` are addresses, ``pitch`` and ``stride`` bytes from a row or weight to the next.
    """

    def generate(context, builder, signature, arguments):
        source, pitch, weights, stride, taps, out = arguments

        def constant(value):
            return vectors.constant(vectors.INT, value, _LANES)

        total = cgutils.alloca_once_value(builder, constant(1 << (PRECISION_BITS - 1)))
        with cgutils.for_range(builder, taps) as loop:
            row = vectors.load(builder, source, builder.mul(loop.index, pitch), vectors.BYTE, _LANES)
            weight = vectors.load(builder, weights, builder.mul(loop.index, stride), vectors.INT, 1)
            weight = vectors.shuffle(builder, weight, weight, [0] * _LANES)
            product = builder.mul(builder.zext(row, weight.type), weight)
            builder.store(builder.add(builder.load(total), product), total)
        level = builder.ashr(builder.load(total), constant(PRECISION_BITS))
        for beyond, limit in (("<", constant(0)), (">", constant(255))):
            level = builder.select(builder.icmp_signed(beyond, level, limit), limit, level)
        vectors.store(builder, builder.trunc(level, row.type), out, 0)
        return context.get_dummy_value()

    return types.void(*[types.uintp] * 6), generate


@inner
def _pass(source, length, axis, out):
    """One pass along the first axis; the first row of ``source`` is the first input of the first window.

    ``axis`` is (first, weights, taps, begin, end, reverse): outputs ``begin .. end`` are made, in ``reverse`` order if
    so. ``length`` bytes of each are made, and more up to a whole vector.
    """
    first, weights, taps, begin, end, reverse = axis
    pitch, stride = np.uintp(source.strides[0]), np.uintp(4 * first.size)
    for o in range(begin, end):
        inputs = np.uintp(source.ctypes.data) + np.uintp(first[o] - first[begin]) * pitch
        output = np.uintp(out.ctypes.data + (end - 1 - o if reverse else o - begin) * out.strides[0])
        for x in range(0, length, _LANES):
            at = np.uintp(x)
            _weigh(inputs + at, pitch, np.uintp(weights.ctypes.data + 4 * o), stride, np.uintp(taps), output + at)


@inner
def _content(plane, rectangle, used):
    """What differs from the first byte of a rectangle: (top, bottom, left, right) in it; all zero if nothing does."""
    y, x, height, width = rectangle
    background = plane[y, x]
    for i in range(width):
        used[i] = 0
    top, bottom, left, right = height, 0, 0, width
    for row in range(height):
        different = np.uint8(0)
        for i in range(width):
            difference = np.uint8(plane[np.uintp(y + row), np.uintp(x + i)] ^ background)
            used[i] = np.uint8(used[i] | difference)
            different = np.uint8(different | difference)
        if different:
            top, bottom = min(top, row), row + 1
    if bottom == 0:
        return 0, 0, 0, 0
    while not used[left]:
        left += 1
    while not used[right - 1]:
        right -= 1
    return top, bottom, left, right


@inner
def _windows(axis, begin, end):
    """The outputs (low, high) whose windows meet the inputs begin .. end; ``first`` does not decrease."""
    first, _, taps = axis
    low = 0
    while low < first.size - 1 and first[low] + taps <= begin:
        low += 1
    high = low
    while high < first.size and first[high] < end:
        high += 1
    return low, high


def buffers(in_size, out_size):
    """Scratch memory of :func:`resize_rectangle`, for rectangles of planes of side ``in_size``."""
    in_pitch, out_pitch = -(-in_size // _LANES) * _LANES, -(-out_size // _LANES) * _LANES
    used = np.empty(in_size, np.uint8)
    columns = np.empty((in_size, in_pitch), np.uint8)
    narrow = np.empty((out_size, in_pitch), np.uint8)
    rows = np.empty((in_size, out_pitch), np.uint8)
    region = np.empty((out_size, out_pitch), np.uint8)
    return used, columns, narrow, rows, region


@inner(forceinline=True)
def vertical_first(height, width, size):
    """Whether Pillow (13 and later) resizes a rectangle vertically first."""
    return height > size and height - size > 2 * (width - size)


@inner(inline="always")
def resize_rectangle(plane, rectangle, horizontal, vertical, flips, scratch, out):
    """A rectangle (top, left, height, width) of a plane, resized to ``out`` uint8 [O, O], then flipped.

    ``horizontal`` and ``vertical`` are (first int32 [O], weights int32 [taps * O], tap-major, taps); bit 0 of ``flips``
    exchanges left and right, bit 1 top and bottom; ``scratch`` is from :func:`buffers`.
    """
    used, columns, narrow, rows, region = scratch
    size, origin, result = out.shape[0], np.int64(0), region
    y, x, high, wide = rectangle
    background = plane[y, x]
    top, bottom, left, right = _content(plane, rectangle, used)
    y0, y1 = _windows(vertical, top, bottom)
    x0, x1 = _windows(horizontal, left, right)
    height, width = y1 - y0, x1 - x0
    if height > 0:
        # Inputs of these windows.
        top, bottom = y + vertical[0][y0], y + vertical[0][y1 - 1] + vertical[2]
        left, right = x + horizontal[0][x0], x + horizontal[0][x1 - 1] + horizontal[2]
        across, down = (*horizontal, x0, x1, flips & 1), (*vertical, y0, y1, flips & 2)
        downwards = vertical_first(high, wide, size)
        if downwards:
            for row in range(top, bottom):
                for column in range(left, right):
                    columns[row - top, column - left] = plane[row, column]
            one, two, count, length = down, across, height, right - left
        else:
            transpose(plane, top, left, bottom - top, right - left, columns)
            one, two, count, length = across, down, width, bottom - top
        _pass(columns, length, one, narrow)
        transpose(narrow, origin, origin, count, length, rows)
        _pass(rows, count, two, region)
        if downwards:
            # There are rows enough: a rectangle that is higher than the result comes from a plane that is larger.
            transpose(region, origin, origin, width, height, rows)
            result = rows
    top, left = size - y1 if flips & 2 else y0, size - x1 if flips & 1 else x0
    for row in range(size):
        for column in range(size):
            out[row, column] = background
    for row in range(height):
        for column in range(width):
            out[np.uintp(top + row), np.uintp(left + column)] = result[row, column]
