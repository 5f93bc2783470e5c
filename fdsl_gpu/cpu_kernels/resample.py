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
from numba import njit

_TILE = 64
_HALF = np.int32(1 << 21)
_BITS = np.int32(22)
_ZERO = np.int32(0)
_BYTE = np.int32(255)

# Distances in bits and masks of the three exchanges that transpose 8 x 8 bytes.
_S1, _M1 = np.uint64(8), np.uint64(0x00FF00FF00FF00FF)
_S2, _M2 = np.uint64(16), np.uint64(0x0000FFFF0000FFFF)
_S4, _M4 = np.uint64(32), np.uint64(0x00000000FFFFFFFF)


@njit(nogil=True, forceinline=True)
def _swap(a, b, shift, mask):
    """Exchange the high halves of every 2, 4 or 8 bytes of ``a`` with the low halves of ``b``."""
    t = ((a >> shift) ^ b) & mask
    return a ^ (t << shift), b ^ t


@njit(nogil=True, cache=True)
def _transpose_blocks(tile):
    """Transpose 64 blocks of 8 x 8 bytes in place; row k of block i is the word ``tile[64 k + i]``."""
    for i in range(64):
        w0, w1, w2, w3 = tile[i], tile[64 + i], tile[128 + i], tile[192 + i]
        w4, w5, w6, w7 = tile[256 + i], tile[320 + i], tile[384 + i], tile[448 + i]
        w0, w4 = _swap(w0, w4, _S4, _M4)
        w1, w5 = _swap(w1, w5, _S4, _M4)
        w2, w6 = _swap(w2, w6, _S4, _M4)
        w3, w7 = _swap(w3, w7, _S4, _M4)
        w0, w2 = _swap(w0, w2, _S2, _M2)
        w1, w3 = _swap(w1, w3, _S2, _M2)
        w4, w6 = _swap(w4, w6, _S2, _M2)
        w5, w7 = _swap(w5, w7, _S2, _M2)
        w0, w1 = _swap(w0, w1, _S1, _M1)
        w2, w3 = _swap(w2, w3, _S1, _M1)
        w4, w5 = _swap(w4, w5, _S1, _M1)
        w6, w7 = _swap(w6, w7, _S1, _M1)
        tile[i], tile[64 + i], tile[128 + i], tile[192 + i] = w0, w1, w2, w3
        tile[256 + i], tile[320 + i], tile[384 + i], tile[448 + i] = w4, w5, w6, w7


@njit(nogil=True, cache=True)
def _transpose(source, top, bottom, left, right, strip, tile, out):
    """The rectangle of ``source`` uint8 [H, W], transposed to the bytes of ``out`` uint64 in whole tiles of 64 x 64."""
    strip_bytes = strip.view(np.uint8)
    for r0 in range(0, bottom - top, _TILE):
        for r in range(min(_TILE, bottom - top - r0)):
            source_row = source[top + r0 + r, left:right]
            for c in range(source_row.size):
                strip_bytes[r, c] = source_row[c]
        for j0 in range(0, (right - left + 7) >> 3, 8):
            for r in range(_TILE):
                block = (r & 7) * 64 + (r >> 3)
                for j in range(8):
                    tile[np.uintp(block + 8 * j)] = strip[r, np.uintp(j0 + j)]
            _transpose_blocks(tile)
            for j in range(8):
                for k in range(8):
                    for g in range(8):
                        out[np.uintp((j0 + j) * 8 + k), np.uintp((r0 >> 3) + g)] = tile[np.uintp(k * 64 + j * 8 + g)]


@njit(nogil=True, forceinline=True)
def _add(total, weight, byte):
    # Casts at every step keep the sum in 32-bit lanes: numba widens int32 arithmetic to int64.
    return np.int32(total + np.int32(weight * np.int32(byte)))


@njit(nogil=True, forceinline=True)
def _clip(total):
    total = np.int32(total >> _BITS)
    total = _ZERO if total < _ZERO else total
    return np.uint8(_BYTE if total > _BYTE else total)


@njit(nogil=True, forceinline=True)
def _add5(total, source, row, m, w0, w1, w2, w3, w4):
    total = _add(_add(total, w0, source[row, m]), w1, source[row + 1, m])
    return _add(_add(_add(total, w2, source[row + 2, m]), w3, source[row + 3, m]), w4, source[row + 4, m])


@njit(nogil=True, cache=True)
def _pass(source, shift, length, first, weights, taps, begin, end, reverse, totals, out):
    """Outputs ``begin .. end`` of a pass along the first axis, in ``reverse`` order if so.

    ``source`` starts at input ``shift``. ``taps`` is 5 n; those of weight zero may read spare rows of ``source``.
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
            if taps == 5:
                # By far the most frequent case: no totals in memory.
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


@njit(nogil=True, cache=True)
def _content(plane, top, left, rows, columns, used):
    """What differs from the first byte of a rectangle: (top, bottom, left, right) in it; all zero if nothing does."""
    first_row, first_column = top, left
    background = plane[top, left]
    for x in range(columns):
        used[x] = 0
    top, bottom = rows, 0
    for y in range(rows):
        any_used = np.uint8(0)
        row = plane[first_row + y, first_column : first_column + columns]
        for x in range(columns):
            different = np.uint8(row[x] ^ background)
            used[x] = np.uint8(used[x] | different)
            any_used = np.uint8(any_used | different)
        if any_used:
            top = min(top, y)
            bottom = y + 1
    left, right = columns, 0
    for x in range(columns):
        if used[x]:
            left = min(left, x)
            right = x + 1
    return min(top, bottom), bottom, min(left, right), right


@njit(nogil=True, cache=True)
def _windows(first, taps, begin, end):
    """The outputs (low, high) whose windows meet the inputs begin .. end; ``first`` does not decrease."""
    low = 0
    while low < first.size - 1 and first[low] + taps <= begin:
        low += 1
    high = low
    while high < first.size and first[high] < end:
        high += 1
    return low, high


@njit(nogil=True, cache=True)
def _place(region, top, left, height, width, background, picture):
    """The region's corner of height x width into ``picture``, and the background around it."""
    for y in range(picture.shape[0]):
        row = picture[y]
        for x in range(row.size):
            row[x] = background
    for y in range(height):
        row = picture[top + y, left : left + width]
        for x in range(row.size):
            row[x] = region[y, x]


@njit(nogil=True, cache=True)
def buffers(in_size, out_size):
    """Scratch memory of :func:`resize_rectangle`, for rectangles of planes of side ``in_size``."""
    # Sides are whole tiles, so that a transposition may write past an edge, and have rows for the taps of weight zero.
    in_padded, out_padded = (in_size + _TILE - 1) & -_TILE, (out_size + _TILE - 1) & -_TILE
    strip = np.zeros((_TILE, in_padded >> 3), np.uint64)
    tile = np.empty(512, np.uint64)
    used = np.empty(in_size, np.uint8)
    columns = np.empty((in_padded + 4, in_padded >> 3), np.uint64)
    narrow = np.empty((out_size, in_padded), np.uint8)
    rows = np.empty((in_padded + 4, out_padded >> 3), np.uint64)
    region = np.empty((out_size, out_padded), np.uint8)
    totals = np.empty(max(in_padded, out_padded), np.int32)
    return strip, tile, used, columns, narrow, rows, region, totals


@njit(nogil=True, cache=True)
def fives(weights, taps, out):
    """Tap-major ``weights`` int32 [taps * O] to ``out`` int32 [>= 5 n, O], padded with zeros to 5 n taps; 5 n."""
    size = out.shape[1]
    padded = (taps + 4) // 5 * 5
    for t in range(padded):
        row = out[t]
        for o in range(size):
            row[o] = weights[t * size + o] if t < taps else _ZERO
    return padded


@njit(nogil=True, forceinline=True)
def vertical_first(height, width, size):
    """Whether Pillow (13 and later) resizes a rectangle vertically first."""
    return height > size and height - size > 2 * (width - size)


@njit(nogil=True, cache=True)
def resize_rectangle(plane, rectangle, horizontal, vertical, flips, scratch, out):
    """A rectangle (top, left, height, width) of a plane, resized to ``out`` uint8 [O, O], then flipped.

    ``horizontal`` and ``vertical`` are (first int32 [O], weights int32 [>= 5 n, O], taps, 5 n); bit 0 of ``flips``
    exchanges left and right, bit 1 top and bottom; ``scratch`` is from :func:`buffers`.
    """
    strip, tile, used, columns, narrow, rows, region, totals = scratch
    first_x, weights_x, taps_x, padded_x = horizontal
    first_y, weights_y, taps_y, padded_y = vertical
    size, origin = out.shape[0], np.int64(0)
    y, x = rectangle[0], rectangle[1]
    top, bottom, left, right = _content(plane, y, x, rectangle[2], rectangle[3], used)
    y0, y1 = _windows(first_y, taps_y, top, bottom)
    x0, x1 = _windows(first_x, taps_x, left, right)
    height, width = y1 - y0, x1 - x0
    column_bytes, row_bytes, result = columns.view(np.uint8), rows.view(np.uint8), region
    if height > 0:
        top, bottom = np.int64(first_y[y0]), first_y[y1 - 1] + taps_y
        left, right = np.int64(first_x[x0]), first_x[x1 - 1] + taps_x
        if vertical_first(rectangle[2], rectangle[3], size):
            for r in range(bottom - top):
                target, source = column_bytes[r], plane[y + top + r, x + left : x + right]
                for c in range(source.size):
                    target[c] = source[c]
            length = (right - left + _TILE - 1) & -_TILE
            _pass(column_bytes, top, length, first_y, weights_y, padded_y, y0, y1, flips & 2, totals, narrow)
            _transpose(narrow, origin, height, origin, right - left, strip, tile, rows)
            length = (height + _TILE - 1) & -_TILE
            _pass(row_bytes, left, length, first_x, weights_x, padded_x, x0, x1, flips & 1, totals, region)
            # There are rows enough: a rectangle that is higher than the result comes from a plane that is larger.
            _transpose(region, origin, width, origin, height, strip, tile, rows)
            result = row_bytes
        else:
            _transpose(plane, y + top, y + bottom, x + left, x + right, strip, tile, columns)
            length = (bottom - top + _TILE - 1) & -_TILE
            _pass(column_bytes, left, length, first_x, weights_x, padded_x, x0, x1, flips & 1, totals, narrow)
            _transpose(narrow, origin, width, origin, bottom - top, strip, tile, rows)
            length = (width + _TILE - 1) & -_TILE
            _pass(row_bytes, top, length, first_y, weights_y, padded_y, y0, y1, flips & 2, totals, region)
    y0, x0 = size - y1 if flips & 2 else y0, size - x1 if flips & 1 else x0
    _place(result, y0, x0, height, width, plane[y, x], out)
