"""Planes to training batch for numba, the twin of ``triton_kernels.write_out``.

uint8 planes [B, P, S, S] are resampled with Pillow's two-pass fixed-point arithmetic (``fdsl_gpu.resample``), looked up
in a table and written to a batch of any strides, as words of the size of its dtype.

A pass runs along the first axis, so that its inner loop is over contiguous bytes; the horizontal pass works on the
transposed plane. Only the rectangle that differs from the plane's first byte is resampled: weights sum to one within
their rounding, so a window of one value has this value (``tests/test_write_out.py`` holds ``MAX_SIZE`` against it).
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
_ONES = np.uint64(0x0101010101010101)


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
def _pass(source, shift, length, first, weights, begin, end, totals, out):
    """Outputs ``begin .. end`` of a pass along the first axis.

    ``source`` starts at input ``shift``. There are 5 n taps; those of weight zero may read spare rows of ``source``.
    """
    taps = weights.shape[0]
    for o in range(begin, end):
        row = np.uintp(first[o] - shift)
        out_row = out[o - begin]
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
def _content(plane, used):
    """The rectangle (top, bottom, left, right) outside of which every byte is the first one; empty: all zero."""
    rows, columns = plane.shape
    background = plane[0, 0]
    for x in range(columns):
        used[x] = 0
    top, bottom = rows, 0
    for y in range(rows):
        any_used = np.uint8(0)
        for x in range(columns):
            different = np.uint8(plane[y, x] ^ background)
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
def resize(planes, first, weights, out):
    """Planes uint8 [N, S, S] to ``out`` uint8 [N, O, O] with ``first`` int32 [O] and ``weights`` int32 [T, O]."""
    in_size, out_size, taps = planes.shape[1], out.shape[1], weights.shape[0]
    fives = np.zeros((-(-taps // 5) * 5, out_size), np.int32)
    for t in range(taps):
        for o in range(out_size):
            fives[t, o] = weights[t, o]
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
    origin = np.int64(0)
    for n in range(planes.shape[0]):
        plane = planes[n]
        top, bottom, left, right = _content(plane, used)
        y0, y1 = _windows(first, taps, top, bottom)
        x0, x1 = _windows(first, taps, left, right)
        height, width = y1 - y0, x1 - x0
        if height > 0:
            top, bottom = np.int64(first[y0]), first[y1 - 1] + taps
            left, right = np.int64(first[x0]), first[x1 - 1] + taps
            _transpose(plane, top, bottom, left, right, strip, tile, columns)
            length = (bottom - top + _TILE - 1) & -_TILE
            _pass(columns.view(np.uint8), left, length, first, fives, x0, x1, totals, narrow)
            _transpose(narrow, origin, width, origin, bottom - top, strip, tile, rows)
            length = (width + _TILE - 1) & -_TILE
            _pass(rows.view(np.uint8), top, length, first, fives, y0, y1, totals, region)
        _place(region, y0, x0, height, width, plane[0, 0], out[n])


@njit(nogil=True, cache=True)
def _write(picture, size, table, out, start, stride_c, stride_h, stride_w, channels, words):
    """Look the bytes of ``picture`` uint8 [P, >= size, >= size] up and store them as words at ``out[start:]``."""
    row = words.view(np.uint8)
    whole = size >> 3
    for y in range(size):
        for c in range(channels):
            if c == 0 or picture.shape[0] > 1:
                for x in range(size):
                    row[x] = picture[c, y, x]
            at = np.uintp(start + c * stride_c + y * stride_h)
            if stride_w != 1:
                for x in range(size):
                    out[at + np.uintp(x * stride_w)] = table[c, row[x]]
            elif out.itemsize == 1:
                for x in range(size):
                    out[at + np.uintp(x)] = row[x]
            else:
                for j in range(whole):
                    x = np.uintp(j << 3)
                    if words[j] == row[x] * _ONES:
                        # Most of a picture is background: eight equal bytes are one wide store.
                        value = table[c, row[x]]
                        for i in range(8):
                            out[at + x + np.uintp(i)] = value
                    else:
                        for i in range(8):
                            out[at + x + np.uintp(i)] = table[c, row[x + np.uintp(i)]]
                for i in range(whole << 3, size):
                    out[at + np.uintp(i)] = table[c, row[np.uintp(i)]]


@njit(nogil=True, cache=True)
def _luma(picture, size, out):
    """Grey of three planes as Pillow's ``convert("L")``, ITU-R 601-2: uint8 [3, ., .] to ``out`` uint8 [1, ., .]."""
    for y in range(size):
        for x in range(size):
            red, green, blue = np.int32(picture[0, y, x]), np.int32(picture[1, y, x]), np.int32(picture[2, y, x])
            out[0, y, x] = np.uint8((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16)


@njit(nogil=True, cache=True)
def write(planes, table, out, stride_b, stride_c, stride_h, stride_w, channels):
    """Planes uint8 [B, P, S, S] to the words ``out`` of a batch [B, channels, S, S] with the given strides.

    ``table`` [channels, 256] has the dtype of ``out``, and is the identity for 8-bit batches.
    """
    size = planes.shape[2]
    words = np.empty((size + 7) >> 3, np.uint64)
    grey = np.empty((1, size, size), np.uint8)
    for b in range(planes.shape[0]):
        picture = planes[b]
        if channels == 1 and planes.shape[1] == 3:
            _luma(picture, size, grey)
            picture = grey
        _write(picture, size, table, out, b * stride_b, stride_c, stride_h, stride_w, channels, words)
