"""Affine maps of a picture for numba, the twin of ``triton_kernels.affine``: Pillow's ``transform`` in float32.

Output pixel (x, y) shows the input at ``u = (a (x + 1/2) + b (y + 1/2)) + c``, ``v = (d (x + 1/2) + e (y + 1/2)) + f``
in pixels from the top left corner, or the fill where that is outside of the picture. The bilinear or bicubic (a = -1)
polynomials are Pillow's (``src/libImaging/Geometry.c``): rows first, then the column, edges repeated, truncated at the
end, bicubic also clipped. Pillow computes in float64.

Neighbouring bytes of the input are first packed into 32-bit words, so that a pixel loads one word for two by two
bytes, or four words for four by four.
"""

import numpy as np
from numba import njit

_ZERO = np.float32(0.0)
_HALF = np.float32(0.5)
_ONE = np.float32(1.0)
_TWO = np.float32(2.0)
_MOST = np.float32(255.0)
_BYTE = np.uint32(255)


@njit(nogil=True, forceinline=True)
def _byte(word, shift):
    return np.float32(np.int32((word >> np.uint32(shift)) & _BYTE))


@njit(nogil=True, forceinline=True)
def _place(scale, x, row, offset):
    """The coordinate of output column x, where ``row`` is the share of the output row."""
    return (scale * (np.float32(x) + _HALF) + row) + offset


@njit(nogil=True, forceinline=True)
def _below(value, limit):
    """``value - 1/2`` between -1 and ``limit``, which hold for whatever is inside; NaN becomes -1."""
    value = value - _HALF
    value = value if value > -_ONE else -_ONE
    return value if value < limit else limit


@njit(nogil=True, forceinline=True)
def _cubic(v1, v2, v3, v4, d):
    p2 = v3 - v1
    p3 = (_TWO * (v1 - v2) + v3) - v4
    p4 = ((v2 - v1) - v3) + v4
    return v2 + d * (p2 + d * (p3 + d * p4))


@njit(nogil=True, forceinline=True)
def _cubic_word(word, d):
    return _cubic(_byte(word, 0), _byte(word, 8), _byte(word, 16), _byte(word, 24), d)


@njit(nogil=True, cache=True)
def _pack_squares(plane, size, packed):
    """Word [y, x] of ``packed`` [size + 1, size + 1]: input (y - 1, x - 1), its right, its lower, both; edges repeated."""
    for y in range(size + 1):
        above = plane[max(y - 1, 0) * size :][:size]
        below = plane[min(y, size - 1) * size :][:size]
        row = packed[y * (size + 1) : (y + 1) * (size + 1)]
        row[0] = (np.uint32(above[0]) | np.uint32(below[0]) << np.uint32(16)) * np.uint32(0x101)
        row[size] = (np.uint32(above[size - 1]) | np.uint32(below[size - 1]) << np.uint32(16)) * np.uint32(0x101)
        for i in range(size - 1):
            x = np.uintp(i)
            left = np.uint32(above[x]) | np.uint32(below[x]) << np.uint32(16)
            right = np.uint32(above[x + 1]) | np.uint32(below[x + 1]) << np.uint32(16)
            row[x + 1] = left | right << np.uint32(8)


@njit(nogil=True, cache=True)
def _pack_rows(plane, size, packed):
    """Word [y, x] of ``packed`` [size + 4, size + 1]: input (y - 2, x - 2 .. x + 1); edges repeated."""
    edges = np.empty(size + 4, np.uint8)
    for y in range(size + 4):
        source = plane[min(max(y - 2, 0), size - 1) * size :][:size]
        edges[:2], edges[2 : size + 2], edges[size + 2 :] = source[0], source, source[size - 1]
        row = packed[y * (size + 1) : (y + 1) * (size + 1)]
        for i in range(size + 1):
            x = np.uintp(i)
            low = np.uint32(edges[x]) | np.uint32(edges[x + 1]) << np.uint32(8)
            high = np.uint32(edges[x + 2]) | np.uint32(edges[x + 3]) << np.uint32(8)
            row[x] = low | high << np.uint32(16)


@njit(nogil=True, cache=True)
def _bilinear_row(packed, size, y, matrix, fill, out):
    extent, stride = np.float32(size), np.int32(size + 1)
    limit = extent - _HALF
    across, down = matrix[1] * (np.float32(y) + _HALF), matrix[4] * (np.float32(y) + _HALF)
    for x in range(size):
        u, v = _place(matrix[0], x, across, matrix[2]), _place(matrix[3], x, down, matrix[5])
        inside = (u >= _ZERO) & (u < extent) & (v >= _ZERO) & (v < extent)
        u, v = _below(u, limit), _below(v, limit)
        left, top = np.floor(u), np.floor(v)
        dx, dy = u - left, v - top
        at = np.int32(np.int32((np.int32(top) + 1) * stride) + np.int32(left) + 1)
        word = packed[np.uintp(at)]
        v1 = _byte(word, 0) + (_byte(word, 8) - _byte(word, 0)) * dx
        v2 = _byte(word, 16) + (_byte(word, 24) - _byte(word, 16)) * dx
        value = np.uint8(np.int32(v1 + (v2 - v1) * dy))
        out[x] = value if inside else fill


@njit(nogil=True, cache=True)
def _bicubic_row(packed, size, y, matrix, fill, out):
    extent, stride = np.float32(size), np.int32(size + 1)
    limit = extent - _HALF
    across, down = matrix[1] * (np.float32(y) + _HALF), matrix[4] * (np.float32(y) + _HALF)
    for x in range(size):
        u, v = _place(matrix[0], x, across, matrix[2]), _place(matrix[3], x, down, matrix[5])
        inside = (u >= _ZERO) & (u < extent) & (v >= _ZERO) & (v < extent)
        u, v = _below(u, limit), _below(v, limit)
        left, top = np.floor(u), np.floor(v)
        dx, dy = u - left, v - top
        at = np.int32(np.int32((np.int32(top) + 1) * stride) + np.int32(left) + 1)
        v1 = _cubic_word(packed[np.uintp(at)], dx)
        v2 = _cubic_word(packed[np.uintp(at + stride)], dx)
        v3 = _cubic_word(packed[np.uintp(at + 2 * stride)], dx)
        v4 = _cubic_word(packed[np.uintp(at + 3 * stride)], dx)
        value = _cubic(v1, v2, v3, v4, dy)
        value = value if value > _ZERO else _ZERO
        value = value if value < _MOST else _MOST
        out[x] = np.uint8(np.int32(value)) if inside else fill


@njit(nogil=True, cache=True)
def _refill_row(size, y, matrix, fill, row, out):
    """A row of the first plane with another fill."""
    extent = np.float32(size)
    across, down = matrix[1] * (np.float32(y) + _HALF), matrix[4] * (np.float32(y) + _HALF)
    for x in range(size):
        u, v = _place(matrix[0], x, across, matrix[2]), _place(matrix[3], x, down, matrix[5])
        inside = (u >= _ZERO) & (u < extent) & (v >= _ZERO) & (v < extent)
        out[x] = row[x] if inside else fill


@njit(nogil=True, cache=True)
def affine(picture, size, before, after, matrix, bicubic, fill, packed, out):
    """A picture of flat planes uint8 [before, size * size] to ``out`` [after, size * size].

    ``matrix`` float32 [6] is a b c d e f, ``fill`` uint8 [3], ``packed`` uint32 [(size + 4) * (size + 1)] is scratch.
    """
    for c in range(before):
        if bicubic:
            _pack_rows(picture[c], size, packed)
        else:
            _pack_squares(picture[c], size, packed)
        for y in range(size):
            row = out[c, y * size : (y + 1) * size]
            if bicubic:
                _bicubic_row(packed, size, y, matrix, fill[c], row)
            else:
                _bilinear_row(packed, size, y, matrix, fill[c], row)
    for c in range(before, after):
        for y in range(size):
            line = slice(y * size, (y + 1) * size)
            _refill_row(size, y, matrix, fill[c], out[0, line], out[c, line])
