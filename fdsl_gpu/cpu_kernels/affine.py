"""Affine maps of a picture for numba, the twin of ``triton_kernels.affine``: Pillow's ``transform`` in float32.

Output pixel (x, y) shows the input at ``u = (a (x + 1/2) + b (y + 1/2)) + c``, ``v = (d (x + 1/2) + e (y + 1/2)) + f``
in pixels from the top left corner, or the fill where that is outside of the picture. The bilinear or bicubic (a = -1)
polynomials are Pillow's (``src/libImaging/Geometry.c``): rows first, then the column, edges repeated, truncated at the
end, bicubic also clipped. Pillow computes in float64.

Neighbouring bytes of the input are first packed into 32-bit words, so that a pixel loads one word for two by two
bytes, or four words for four by four.
"""

import numpy as np

from fdsl_gpu.cpu_kernels.jit import inner

_ZERO = np.float32(0.0)
_HALF = np.float32(0.5)
_ONE = np.float32(1.0)
_TWO = np.float32(2.0)
_MOST = np.float32(255.0)
_BYTE = np.uint32(255)
_NEXT = np.int32(1)
_0, _8, _16, _24 = np.uint32(0), np.uint32(8), np.uint32(16), np.uint32(24)


@inner(forceinline=True)
def _byte(word, shift):
    return np.float32(np.int32((word >> shift) & _BYTE))


@inner(forceinline=True)
def _below(value, limit):
    """``value - 1/2`` between -1 and ``limit``, which hold for whatever is inside; NaN becomes -1."""
    value = value - _HALF
    value = value if value > -_ONE else -_ONE
    return value if value < limit else limit


@inner
def _locate(size, y, matrix, at, across, down, inside):
    """Where the pixels of output row y look: the packed word, and the shares of its right and lower neighbour."""
    a, c, d, f = matrix[0], matrix[2], matrix[3], matrix[5]
    row_u, row_v = matrix[1] * (np.float32(y) + _HALF), matrix[4] * (np.float32(y) + _HALF)
    extent, stride = np.float32(size), np.int32(size + 1)
    limit = extent - _HALF
    for x in range(size):
        center = np.float32(np.int32(x)) + _HALF
        u, v = (a * center + row_u) + c, (d * center + row_v) + f
        inside[x] = (u >= _ZERO) & (u < extent) & (v >= _ZERO) & (v < extent)
        u, v = _below(u, limit), _below(v, limit)
        left, top = np.floor(u), np.floor(v)
        across[x], down[x] = u - left, v - top
        # Casts at every step keep 32-bit lanes.
        at[x] = np.int32(np.int32(np.int32(np.int32(top) + _NEXT) * stride) + np.int32(np.int32(left) + _NEXT))


@inner(forceinline=True)
def _cubic(v1, v2, v3, v4, d):
    p2 = v3 - v1
    p3 = (_TWO * (v1 - v2) + v3) - v4
    p4 = ((v2 - v1) - v3) + v4
    return v2 + d * (p2 + d * (p3 + d * p4))


@inner(forceinline=True)
def _cubic_word(word, d):
    return _cubic(_byte(word, _0), _byte(word, _8), _byte(word, _16), _byte(word, _24), d)


@inner
def _pack_squares(plane, size, packed):
    """Word [y, x] of ``packed`` [size + 1, size + 1]: input (y - 1, x - 1), its right, lower, both; edges repeated."""
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


@inner
def _pack_rows(plane, size, edges, packed):
    """Word [y, x] of ``packed`` [size + 4, size + 1]: input (y - 2, x - 2 .. x + 1); edges repeated."""
    stride = size + 1
    for y in range(size):
        source, row = plane[y * size : (y + 1) * size], packed[(y + 2) * stride : (y + 3) * stride]
        edges[0] = edges[1] = source[0]
        edges[size + 2] = edges[size + 3] = source[size - 1]
        for i in range(size):
            edges[np.uintp(i + 2)] = source[np.uintp(i)]
        for i in range(stride):
            x = np.uintp(i)
            low, high = edges[x] | edges[x + 1] << np.uint32(8), edges[x + 2] | edges[x + 3] << np.uint32(8)
            row[x] = low | high << np.uint32(16)
    for y in (0, 1, size + 2, size + 3):
        source, row = packed[min(max(y, 2), size + 1) * stride :], packed[y * stride : (y + 1) * stride]
        for x in range(stride):
            row[x] = source[x]


@inner
def _gather(packed, at, words):
    for x in range(words.size):
        words[x] = packed[np.uintp(at[x])]


@inner
def _bilinear(words, across, down, inside, fill, out):
    """A row of output from its packed words."""
    for x in range(out.size):
        word, share = words[x], across[x]
        v1 = _byte(word, _0) + (_byte(word, _8) - _byte(word, _0)) * share
        v2 = _byte(word, _16) + (_byte(word, _24) - _byte(word, _16)) * share
        value = np.uint8(np.int32(v1 + (v2 - v1) * down[x]))
        out[x] = value if inside[x] else fill


@inner
def _bicubic(words, across, down, inside, fill, out):
    """A row of output from four packed words a pixel."""
    for x in range(out.size):
        share = across[x]
        v1, v2 = _cubic_word(words[0, x], share), _cubic_word(words[1, x], share)
        v3, v4 = _cubic_word(words[2, x], share), _cubic_word(words[3, x], share)
        value = _cubic(v1, v2, v3, v4, down[x])
        value = value if value > _ZERO else _ZERO
        value = value if value < _MOST else _MOST
        out[x] = np.uint8(np.int32(value)) if inside[x] else fill


@inner
def _refill(row, inside, fill, out):
    """A row of the first plane with another fill."""
    for x in range(out.size):
        out[x] = row[x] if inside[x] else fill


def scratch(size):
    """Working memory of :func:`affine`."""
    places, edges = np.empty(size, np.uint32), np.empty(size + 4, np.uint32)
    shares, inside = np.empty((2, size), np.float32), np.empty(size, np.bool_)
    return places, edges, np.empty((4, size), np.uint32), shares, inside


@inner
def affine(picture, size, before, after, matrix, bicubic, fill, packed, memory, out):
    """A picture of flat planes uint8 [before, size * size] to ``out`` [after, size * size].

    ``matrix`` float32 [6] is a b c d e f, ``fill`` uint8 [3], ``packed`` uint32 [(size + 4) * (size + 1)] is scratch,
    and so is ``memory``, from :func:`scratch`.
    """
    at, edges, words, shares, inside = memory
    across, down = shares[0], shares[1]
    for c in range(before):
        if bicubic:
            _pack_rows(picture[c], size, edges, packed)
        else:
            _pack_squares(picture[c], size, packed)
        for y in range(size):
            row = out[c, y * size : (y + 1) * size]
            _locate(size, y, matrix, at, across, down, inside)
            if bicubic:
                for k in range(4):
                    _gather(packed[k * (size + 1) :], at, words[k])
                _bicubic(words, across, down, inside, fill[c], row)
            else:
                _gather(packed, at, words[0])
                _bilinear(words[0], across, down, inside, fill[c], row)
            for other in range(before, after):
                _refill(row, inside, fill[other], out[other, y * size : (y + 1) * size])
