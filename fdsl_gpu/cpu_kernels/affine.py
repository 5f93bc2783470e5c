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
def _pack_squares(pixels, begin, size, edges, packed):
    """Word [y, x] of ``packed`` [size + 1, size + 1]: input (y - 1, x - 1), its right, lower, both; edges repeated."""
    for y in range(size + 1):
        above, below, row = begin + max(y - 1, 0) * size, begin + min(y, size - 1) * size, y * (size + 1)
        for x in range(size):
            pair = np.uint32(pixels[np.uintp(above + x)]) | np.uint32(pixels[np.uintp(below + x)]) << _16
            edges[np.uintp(x + 1)] = pair
        edges[0], edges[size + 1] = edges[1], edges[size]
        for x in range(size + 1):
            packed[np.uintp(row + x)] = edges[np.uintp(x)] | edges[np.uintp(x + 1)] << _8


@inner
def _pack_rows(pixels, begin, size, edges, packed):
    """Word [y, x] of ``packed`` [size + 4, size + 1]: input (y - 2, x - 2 .. x + 1); edges repeated."""
    for y in range(size + 4):
        source, row = begin + min(max(y - 2, 0), size - 1) * size, y * (size + 1)
        for x in range(size):
            edges[np.uintp(x + 2)] = pixels[np.uintp(source + x)]
        edges[0] = edges[1] = edges[2]
        edges[size + 2] = edges[size + 3] = edges[size + 1]
        for x in range(size + 1):
            low = edges[np.uintp(x)] | edges[np.uintp(x + 1)] << _8
            high = edges[np.uintp(x + 2)] | edges[np.uintp(x + 3)] << _8
            packed[np.uintp(row + x)] = low | high << _16


@inner
def _gather(packed, offset, at, k, words):
    for x in range(at.size):
        words[k, x] = packed[np.uintp(offset) + np.uintp(at[x])]


@inner
def _bilinear(words, across, down, out):
    """A row of output from its packed words."""
    for x in range(out.size):
        word, share = words[0, x], across[x]
        v1 = _byte(word, _0) + (_byte(word, _8) - _byte(word, _0)) * share
        v2 = _byte(word, _16) + (_byte(word, _24) - _byte(word, _16)) * share
        out[x] = np.uint8(np.int32(v1 + (v2 - v1) * down[x]))


@inner
def _bicubic(words, across, down, out):
    """A row of output from four packed words a pixel."""
    for x in range(out.size):
        share = across[x]
        v1, v2 = _cubic_word(words[0, x], share), _cubic_word(words[1, x], share)
        v3, v4 = _cubic_word(words[2, x], share), _cubic_word(words[3, x], share)
        value = _cubic(v1, v2, v3, v4, down[x])
        value = value if value > _ZERO else _ZERO
        value = value if value < _MOST else _MOST
        out[x] = np.uint8(np.int32(value))


@inner
def _store(row, inside, fill, pixels, out):
    """A row of a plane, with its fill outside of the input."""
    for x in range(row.size):
        pixels[np.uintp(out + x)] = row[x] if inside[x] else fill


def scratch(size):
    """Working memory of :func:`affine`."""
    places, edges, row = np.empty(size, np.uint32), np.empty(size + 4, np.uint32), np.empty(size, np.uint8)
    across, down, inside = np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.bool_)
    return places, edges, np.empty((4, size), np.uint32), across, down, inside, row


@inner(inline="always")
def affine(pixels, begin, out, size, before, after, matrix, bicubic, fill, packed, memory):
    """A picture of ``before`` planes of size x size ``pixels`` from ``begin`` to ``after`` planes from ``out``.

    ``matrix`` float32 [6] is a b c d e f, ``fill`` uint8 [3], ``packed`` uint32 [(size + 4) * (size + 1)] is scratch,
    and so is ``memory``, from :func:`scratch`.
    """
    at, edges, words, across, down, inside, row = memory
    area = size * size
    for c in range(before):
        if bicubic:
            _pack_rows(pixels, begin + c * area, size, edges, packed)
        else:
            _pack_squares(pixels, begin + c * area, size, edges, packed)
        for y in range(size):
            _locate(size, y, matrix, at, across, down, inside)
            for k in range(4 if bicubic else 1):
                _gather(packed, k * (size + 1), at, k, words)
            if bicubic:
                _bicubic(words, across, down, row)
            else:
                _bilinear(words, across, down, row)
            # What a grey picture becomes in colour differs in the fill alone.
            for other in range(c, after if before == 1 else c + 1):
                _store(row, inside, fill[other], pixels, out + other * area + y * size)
