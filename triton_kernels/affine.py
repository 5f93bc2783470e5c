"""Affine maps of a picture: Pillow's ``transform`` in float32.

Output pixel (x, y) shows the input at ``u = (a (x + 1/2) + b (y + 1/2)) + c``, ``v = (d (x + 1/2) + e (y + 1/2)) + f``
in pixels from the top left corner, or the fill where that is outside of the picture. The bilinear or bicubic (a = -1)
polynomials are Pillow's (``src/libImaging/Geometry.c``): rows first, then the column, edges repeated, truncated at the
end, bicubic also clipped. Pillow computes in float64.

The CPU twin is ``fdsl_gpu/cpu_kernels/affine.py``.
"""

import triton
import triton.language as tl


@triton.jit
def locate(matrix_ptr, x, y, SIZE: tl.constexpr):
    """Where pixels look: input column and row, the shares of the next ones, and whether that is inside.

    ``x`` int32 [1, .] and ``y`` int32 [., 1] are output columns and rows; the results are [., .].
    """
    column, row = x.to(tl.float32) + 0.5, y.to(tl.float32) + 0.5
    a, b, c = tl.load(matrix_ptr), tl.load(matrix_ptr + 1), tl.load(matrix_ptr + 2)
    d, e, f = tl.load(matrix_ptr + 3), tl.load(matrix_ptr + 4), tl.load(matrix_ptr + 5)
    u, v = (a * column + b * row) + c, (d * column + e * row) + f
    inside = (u >= 0.0) & (u < SIZE) & (v >= 0.0) & (v < SIZE)
    u, v = _below(u - 0.5, SIZE - 0.5), _below(v - 0.5, SIZE - 0.5)
    left, top = tl.floor(u), tl.floor(v)
    return left.to(tl.int32), top.to(tl.int32), u - left, v - top, inside


@triton.jit
def _below(value, limit):
    """Between -1 and ``limit``, which hold for whatever is inside; NaN becomes -1."""
    value = tl.where(value > -1.0, value, -1.0)
    return tl.where(value < limit, value, limit)


@triton.jit
def _tap(plane_ptr, table_ptr, column, row, inside, SIZE: tl.constexpr):
    """A byte of the input, looked up in its pending table; edges are repeated."""
    column = tl.minimum(tl.maximum(column, 0), SIZE - 1)
    row = tl.minimum(tl.maximum(row, 0), SIZE - 1)
    byte = tl.load(plane_ptr + (row * SIZE + column), mask=inside, other=0).to(tl.int32)
    return tl.load(table_ptr + byte).to(tl.float32)


@triton.jit
def bilinear(plane_ptr, table_ptr, left, top, across, down, inside, SIZE: tl.constexpr):
    """Int32 bytes between two by two bytes of a plane."""
    v1 = _tap(plane_ptr, table_ptr, left, top, inside, SIZE)
    v1 = v1 + (_tap(plane_ptr, table_ptr, left + 1, top, inside, SIZE) - v1) * across
    v2 = _tap(plane_ptr, table_ptr, left, top + 1, inside, SIZE)
    v2 = v2 + (_tap(plane_ptr, table_ptr, left + 1, top + 1, inside, SIZE) - v2) * across
    return (v1 + (v2 - v1) * down).to(tl.int32)


@triton.jit
def _cubic(v1, v2, v3, v4, d):
    p2 = v3 - v1
    p3 = (2.0 * (v1 - v2) + v3) - v4
    p4 = ((v2 - v1) - v3) + v4
    return v2 + d * (p2 + d * (p3 + d * p4))


@triton.jit
def _cubic_row(plane_ptr, table_ptr, left, row, across, inside, SIZE: tl.constexpr):
    v1 = _tap(plane_ptr, table_ptr, left - 1, row, inside, SIZE)
    v2 = _tap(plane_ptr, table_ptr, left, row, inside, SIZE)
    v3 = _tap(plane_ptr, table_ptr, left + 1, row, inside, SIZE)
    v4 = _tap(plane_ptr, table_ptr, left + 2, row, inside, SIZE)
    return _cubic(v1, v2, v3, v4, across)


@triton.jit
def bicubic(plane_ptr, table_ptr, left, top, across, down, inside, SIZE: tl.constexpr):
    """Int32 bytes between four by four bytes of a plane."""
    v1 = _cubic_row(plane_ptr, table_ptr, left, top - 1, across, inside, SIZE)
    v2 = _cubic_row(plane_ptr, table_ptr, left, top, across, inside, SIZE)
    v3 = _cubic_row(plane_ptr, table_ptr, left, top + 1, across, inside, SIZE)
    v4 = _cubic_row(plane_ptr, table_ptr, left, top + 2, across, inside, SIZE)
    value = _cubic(v1, v2, v3, v4, down)
    value = tl.where(value > 0.0, value, 0.0)
    return tl.where(value < 255.0, value, 255.0).to(tl.int32)
