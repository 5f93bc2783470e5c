"""Pillow's two-pass resize for numba: a rectangle of a uint8 plane [S, S] to a picture uint8 [O, O].

A pass runs along the first axis, so that its inner loop is over contiguous bytes; the horizontal pass works on the
transposed plane. Only what differs from the rectangle's first byte is resampled: weights sum to one within their
rounding, so a window of one value has this value (``tests/test_write_out.py`` holds ``MAX_SIZE`` against it).

Pillow resizes horizontally first; since version 13 vertically first where the height shrinks by more pixels than twice
the width does, which changes a byte here and there. That is followed.

The arithmetic is that of ``triton_kernels.write_out`` and ``triton_kernels.crop``; coefficients are those of
``fdsl_gpu.resample``.
"""

import numpy as np

from fdsl_gpu.cpu_kernels.jit import inner
from fdsl_gpu.cpu_kernels.transpose import transpose

_ALIGN = 64
_HALF = np.int32(1 << 21)
_BITS = np.int32(22)
_ZERO = np.int32(0)
_BYTE = np.int32(255)


@inner(forceinline=True)
def _add(total, weight, byte):
    # Casts at every step keep the sum in 32-bit lanes: numba widens int32 arithmetic to int64.
    return np.int32(total + np.int32(weight * np.int32(byte)))


@inner(forceinline=True)
def _clip(total):
    total = np.int32(total >> _BITS)
    total = _ZERO if total < _ZERO else total
    return np.uint8(_BYTE if total > _BYTE else total)


@inner(forceinline=True)
def _add4(total, source, row, m, w0, w1, w2, w3):
    total = _add(_add(total, w0, source[row, m]), w1, source[row + 1, m])
    return _add(_add(total, w2, source[row + 2, m]), w3, source[row + 3, m])


@inner(forceinline=True)
def _add5(total, source, row, m, w0, w1, w2, w3, w4):
    return _add(_add4(total, source, row, m, w0, w1, w2, w3), w4, source[row + 4, m])


@inner
def _pass(source, shift, length, first, weights, taps, begin, end, reverse, totals, out):
    """Outputs ``begin .. end`` of a pass along the first axis, in ``reverse`` order if so.

    ``source`` starts at input ``shift``. ``taps`` is 4 or 5 n; those of weight zero may read spare rows of ``source``.
    """
    for o in range(begin, end):
        row = np.uintp(first[o] - shift)
        out_row = out[end - 1 - o if reverse else o - begin]
        for t in range(0, taps, 5):
            w0, w1, w2, w3, w4 = (
                weights[t, o],
                weights[t + 1, o],
                weights[t + 2, o],
                weights[t + 3, o],
                weights[t + 4, o],
            )
            # By far the most frequent cases are four and five: no totals in memory.
            if taps == 4:
                for m in range(length):
                    out_row[m] = _clip(_add4(_HALF, source, row, m, w0, w1, w2, w3))
            elif taps == 5:
                for m in range(length):
                    out_row[m] = _clip(_add5(_HALF, source, row, m, w0, w1, w2, w3, w4))
            elif t == 0:
                for m in range(length):
                    totals[m] = _add5(_HALF, source, row, m, w0, w1, w2, w3, w4)
            elif t + 5 < taps:
                for m in range(length):
                    totals[m] = _add5(totals[m], source, row, m, w0, w1, w2, w3, w4)
            else:
                for m in range(length):
                    out_row[m] = _clip(_add5(totals[m], source, row, m, w0, w1, w2, w3, w4))
            row += np.uintp(5)


@inner
def _differs(row, background):
    """Whether any byte does."""
    different = np.uint8(0)
    for x in range(row.size):
        different = np.uint8(different | np.uint8(row[x] ^ background))
    return different != 0


@inner
def _gather(row, background, used):
    """Mark the columns of ``used`` in which a row differs."""
    for x in range(row.size):
        used[x] = np.uint8(used[x] | np.uint8(row[x] ^ background))


@inner
def _content(plane, y, x, height, width, used):
    """What differs from the first byte of a rectangle: (top, bottom, left, right) in it; all zero if nothing does."""
    background = plane[y, x]
    top, bottom, left, right = 0, height, 0, width
    while top < bottom and not _differs(plane[y + top, x : x + width], background):
        top += 1
    if top == bottom:
        return 0, 0, 0, 0
    while not _differs(plane[y + bottom - 1, x : x + width], background):
        bottom -= 1
    used[:width] = 0
    for row in range(y + top, y + bottom):
        _gather(plane[row, x : x + width], background, used)
    while not used[left]:
        left += 1
    while not used[right - 1]:
        right -= 1
    return top, bottom, left, right


@inner
def _windows(first, taps, begin, end):
    """The outputs (low, high) whose windows meet the inputs begin .. end; ``first`` does not decrease."""
    low = 0
    while low < first.size - 1 and first[low] + taps <= begin:
        low += 1
    high = low
    while high < first.size and first[high] < end:
        high += 1
    return low, high


@inner
def _copy(source, target):
    for i in range(source.size):
        target[i] = source[i]


@inner
def _place(region, top, left, height, width, background, picture):
    """The region's corner of height x width into ``picture``, and the background around it."""
    picture[:] = background
    for y in range(height):
        _copy(region[y, :width], picture[top + y, left : left + width])


def buffers(in_size, out_size):
    """Scratch memory of :func:`resize_rectangle`, for rectangles of planes of side ``in_size``."""
    # Rows are whole vectors, and there are some more for the taps of weight zero.
    in_pitch, out_pitch = (in_size + _ALIGN - 1) & -_ALIGN, (out_size + _ALIGN - 1) & -_ALIGN
    used = np.empty(in_size, np.uint8)
    columns = np.empty((in_size + 4, in_pitch), np.uint8)
    narrow = np.empty((out_size, in_pitch), np.uint8)
    rows = np.empty((in_size + 4, out_pitch), np.uint8)
    region = np.empty((out_size, out_pitch), np.uint8)
    totals = np.empty(max(in_pitch, out_pitch), np.int32)
    return used, columns, narrow, rows, region, totals


@inner
def fives(weights, taps, out):
    """Tap-major ``weights`` int32 [taps * O] to ``out`` int32 [5 n, O], padded with zeros; taps to sum, 4 or 5 n."""
    size = out.shape[1]
    padded = (taps + 4) // 5 * 5
    for t in range(padded):
        row = out[t]
        for o in range(size):
            row[o] = weights[t * size + o] if t < taps else _ZERO
    return padded if taps > 4 else 4


@inner(forceinline=True)
def vertical_first(height, width, size):
    """Whether Pillow (13 and later) resizes a rectangle vertically first."""
    return height > size and height - size > 2 * (width - size)


@inner
def resize_rectangle(plane, rectangle, horizontal, vertical, flips, scratch, out):
    """A rectangle (top, left, height, width) of a plane, resized to ``out`` uint8 [O, O], then flipped.

    ``horizontal`` and ``vertical`` are (first int32 [O], weights int32 [>= 5 n, O], taps, 4 or 5 n); bit 0 of ``flips``
    exchanges left and right, bit 1 top and bottom; ``scratch`` is from :func:`buffers`.
    """
    used, columns, narrow, rows, region, totals = scratch
    first_x, weights_x, taps_x, padded_x = horizontal
    first_y, weights_y, taps_y, padded_y = vertical
    size, result = out.shape[0], region
    y, x = rectangle[0], rectangle[1]
    top, bottom, left, right = _content(plane, y, x, rectangle[2], rectangle[3], used)
    y0, y1 = _windows(first_y, taps_y, top, bottom)
    x0, x1 = _windows(first_x, taps_x, left, right)
    height, width = y1 - y0, x1 - x0
    if height > 0:
        top, bottom = np.int64(first_y[y0]), first_y[y1 - 1] + taps_y
        left, right = np.int64(first_x[x0]), first_x[x1 - 1] + taps_x
        if vertical_first(rectangle[2], rectangle[3], size):
            for r in range(bottom - top):
                _copy(plane[y + top + r, x + left : x + right], columns[r])
            length = (right - left + _ALIGN - 1) & -_ALIGN
            _pass(columns, top, length, first_y, weights_y, padded_y, y0, y1, flips & 2, totals, narrow)
            transpose(narrow[:height, : right - left], rows)
            length = (height + _ALIGN - 1) & -_ALIGN
            _pass(rows, left, length, first_x, weights_x, padded_x, x0, x1, flips & 1, totals, region)
            # There are rows enough: a rectangle that is higher than the result comes from a plane that is larger.
            transpose(region[:width, :height], rows)
            result = rows
        else:
            transpose(plane[y + top : y + bottom, x + left : x + right], columns)
            length = (bottom - top + _ALIGN - 1) & -_ALIGN
            _pass(columns, left, length, first_x, weights_x, padded_x, x0, x1, flips & 1, totals, narrow)
            transpose(narrow[:width, : bottom - top], rows)
            length = (width + _ALIGN - 1) & -_ALIGN
            _pass(rows, top, length, first_y, weights_y, padded_y, y0, y1, flips & 2, totals, region)
    y0, x0 = size - y1 if flips & 2 else y0, size - x1 if flips & 1 else x0
    _place(result, y0, x0, height, width, plane[y, x], out)
