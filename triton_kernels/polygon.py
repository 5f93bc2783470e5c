"""Filled polygons on a GPU, and label masks of them: the twin of ``fdsl_gpu.cpu_kernels.polygon``.

Three kernels, for masks of scenes. A contour has up to two polygons that matter: 0, the last of its lines, which is
filled with its category, and 1, the first, which is filled with 0. ``corners`` finds the columns in which edges leave
their ends, ``fill`` paints insides and ``outline`` the sides into an int32 canvas [B, S, S], where the larger of
(4 * contour + step + 1) << 8 | value wins, so that the order of execution does not matter. ``contour.resolve`` makes
masks of it.

The rule is Pillow's, as the CPU twin tells it: a pixel is inside iff an odd number of crossings has floor(x + 1/2) up
to it, or a crossing that is not halfway between two pixels falls on it. float32 in the stated order, no fused
operations (launch with enable_fp_fusion=False); reductions are of integers.
"""

import triton
import triton.language as tl

from triton_kernels.contour import CATEGORY, LINES, VERTICES, WORDS, draw_polygon
from triton_kernels.launch import kernel


@triton.jit
def _ends(vertices_ptr, v, num_vertices, live):
    """Ends of the sides that start at vertices v: x0, y0, x1, y1."""
    start = tl.load(vertices_ptr + v, mask=live, other=0)
    end = tl.load(vertices_ptr + tl.where(v + 1 < num_vertices, v + 1, 0), mask=live, other=0)
    return (start << 16) >> 16, start >> 16, (end << 16) >> 16, end >> 16


@triton.jit
def _line_of(polygon, num_lines):
    return tl.where(polygon == 0, num_lines - 1, 0)


@triton.jit
def _round(x):
    """To the nearest integer, halves away from zero."""
    whole = x.to(tl.int32)
    rest = x - whole.to(tl.float32)
    return whole + (rest >= 0.5).to(tl.int32) - (rest <= -0.5).to(tl.int32)


@triton.jit
def _corner(vertices_ptr, v, x0, y0, x1, y1, num_vertices, STEP: tl.constexpr):
    """Columns where edges v cross the row of their upper ends (STEP 1) or lower ends (STEP -1)."""
    falls = y0 < y1 if STEP > 0 else y0 > y1
    x, y = tl.where(falls, x0, x1), tl.where(falls, y0, y1)
    slope = tl.div_rn((x1 - x0).to(tl.float32), tl.where(y0 == y1, 1, y1 - y0).to(tl.float32))
    here = (y - y0).to(tl.float32) * slope + x0.to(tl.float32)
    near = (y + STEP - y0).to(tl.float32) * slope + x0.to(tl.float32)
    column = x
    # From the last edge to the first, so that the first that meets decides.
    k = num_vertices - 1
    while k >= 0:
        x2, y2, x3, y3 = _ends(vertices_ptr, k, num_vertices, k >= 0)
        falls_too = y2 < y3 if STEP > 0 else y2 > y3
        slope_2 = tl.div_rn((x3 - x2).to(tl.float32), tl.where(y2 == y3, 1, y3 - y2).to(tl.float32))
        near_2 = (y + STEP - y2).to(tl.float32) * slope_2 + x2.to(tl.float32)
        right = _round(tl.maximum(near, near_2)) + 1
        left = _round(tl.minimum(near, near_2)) - 1
        moved = tl.where((here > near + 1.0) & (here > near_2 + 1.0), right, x)
        moved = tl.where((here < near - 1.0) & (here < near_2 - 1.0), left, moved)
        # A block like v, as the scalars of an edge k are not.
        oblique = v * 0 + ((y2 != y3) & (x2 != x3)).to(tl.int32)
        meets = (x == tl.where(falls_too, x2, x3)) & (y == tl.where(falls_too, y2, y3)) & (oblique != 0)
        column = tl.where(meets & (k < v) & (x0 != x1), moved, column)
        k -= 1
    return column


@kernel
def corners(
    ints_ptr,
    vertices_ptr,
    corners_ptr,
    max_lines,
    max_vertices,
    POLYGONS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Fill [N, POLYGONS, max_vertices] with the columns at both ends, upper & 0xffff | lower << 16.

    A program is (contour, polygon, block of edges). What a polygon does not use is undefined.
    """
    contour = tl.program_id(0).to(tl.int64)
    polygon = tl.program_id(1)
    ints_ptr += contour * WORDS
    num_vertices = tl.minimum(tl.load(ints_ptr + VERTICES), max_vertices)
    num_lines = tl.minimum(tl.load(ints_ptr + LINES), max_lines)
    v = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    if (num_lines < POLYGONS) | (tl.program_id(2) * BLOCK >= num_vertices):
        return
    vertices_ptr += (contour * max_lines + _line_of(polygon, num_lines)) * max_vertices
    live = v < num_vertices
    x0, y0, x1, y1 = _ends(vertices_ptr, v, num_vertices, live)
    upper = _corner(vertices_ptr, v, x0, y0, x1, y1, num_vertices, 1)
    lower = _corner(vertices_ptr, v, x0, y0, x1, y1, num_vertices, -1)
    corners_ptr += (contour * POLYGONS + polygon) * max_vertices
    tl.store(corners_ptr + v, (upper & 0xFFFF) | (lower << 16), mask=live)


@kernel
def fill(
    ints_ptr,
    vertices_ptr,
    corners_ptr,
    canvas_ptr,
    max_lines,
    max_vertices,
    size,
    CONTOURS: tl.constexpr,
    POLYGONS: tl.constexpr,
    BLOCK: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Paint insides into the canvas [B, size, size]; a program is (contour and polygon, row), COLUMNS >= size."""
    contour = tl.program_id(0).to(tl.int64) // POLYGONS
    polygon = tl.program_id(0) % POLYGONS
    row = tl.program_id(1)
    ints_ptr += contour * WORDS
    num_vertices = tl.minimum(tl.load(ints_ptr + VERTICES), max_vertices)
    num_lines = tl.minimum(tl.load(ints_ptr + LINES), max_lines)
    if num_lines < POLYGONS:
        return
    vertices_ptr += (contour * max_lines + _line_of(polygon, num_lines)) * max_vertices
    corners_ptr += (contour * POLYGONS + polygon) * max_vertices

    top, bottom = 32767, -32768
    block = 0
    while block < num_vertices:
        v = block + tl.arange(0, BLOCK)
        y = tl.load(vertices_ptr + v, mask=v < num_vertices, other=0) >> 16
        top = tl.minimum(top, tl.min(tl.where(v < num_vertices, y, 32767), axis=0))
        bottom = tl.maximum(bottom, tl.max(tl.where(v < num_vertices, y, -32768), axis=0))
        block += BLOCK
    if (row < top) | (row > bottom):
        return

    crossings = tl.zeros([COLUMNS], tl.int32)
    own = tl.zeros([COLUMNS], tl.int32)
    open_runs = tl.zeros([COLUMNS], tl.int32)
    block = 0
    while block < num_vertices:
        v = block + tl.arange(0, BLOCK)
        live = v < num_vertices
        x0, y0, x1, y1 = _ends(vertices_ptr, v, num_vertices, live)
        ends = tl.load(corners_ptr + v, mask=live, other=0)
        upper, lower = tl.minimum(y0, y1), tl.maximum(y0, y1)
        flat = live & (y0 == y1) & (y0 == row)
        here = live & (upper < lower) & (upper <= row) & (row <= lower)
        at_upper, at_lower, last = row == upper, row == lower, lower == bottom

        slope = tl.div_rn((x1 - x0).to(tl.float32), tl.where(y0 == y1, 1, y1 - y0).to(tl.float32))
        x = (row - y0).to(tl.float32) * slope + x0.to(tl.float32)
        # Casts truncate; up to -1/2 that is as good as rounding down, as what is left of the canvas counts as 0.
        column = (x + 0.5).to(tl.int32)
        between = x - 0.5
        down = between.to(tl.int32)
        down += (between > down.to(tl.float32)).to(tl.int32)
        whole = ((x >= 0.0) & (column == down)) | ((x < 0.0) & (x >= -0.5))
        column = tl.where(at_upper, (ends << 16) >> 16, tl.where(at_lower & last, ends >> 16, column))
        column = tl.where(at_lower & (lower != bottom), tl.where(y1 == lower, x1, x0), column)
        whole = (whole | at_upper | at_lower) & (column >= 0)

        first = tl.maximum(column, 0)
        crosses = here & (first < size) & ((row < lower) | last)
        crossings += tl.histogram(tl.where(crosses, first, 0), COLUMNS, mask=crosses)
        owns = here & whole & (first < size)
        own += tl.histogram(tl.where(owns, first, 0), COLUMNS, mask=owns)
        # Pillow does not close a polygon that is closed already.
        flat = flat & ((v < num_vertices - 1) | (x0 != x1))
        if tl.max(flat.to(tl.int32), axis=0) > 0:
            left, right = tl.maximum(tl.minimum(x0, x1), 0), tl.maximum(x0, x1) + 1
            begins = flat & (left < size) & (right > 0)
            ends_inside = begins & (right < size)
            open_runs += tl.histogram(tl.where(begins, left, 0), COLUMNS, mask=begins)
            open_runs -= tl.histogram(tl.where(ends_inside, right, 0), COLUMNS, mask=ends_inside)
        block += BLOCK

    inside = ((tl.cumsum(crossings, axis=0) & 1) != 0) | (own > 0) | (tl.cumsum(open_runs, axis=0) > 0)
    column = tl.arange(0, COLUMNS)
    order = (contour % CONTOURS).to(tl.int32) * 4 + polygon + 1
    value = (order << 8) | tl.where(polygon == 0, tl.load(ints_ptr + CATEGORY) & 255, 0)
    canvas_ptr += (contour // CONTOURS * size + row) * size
    tl.atomic_max(canvas_ptr + column, value + column * 0, mask=inside & (column < size), sem="relaxed")


@kernel
def outline(
    ints_ptr,
    vertices_ptr,
    canvas_ptr,
    max_lines,
    max_vertices,
    size,
    CONTOURS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Draw the sides of both polygons, over their insides, with the category; a program is (contour, polygon)."""
    contour = tl.program_id(0).to(tl.int64)
    ints_ptr += contour * WORDS
    num_vertices = tl.minimum(tl.load(ints_ptr + VERTICES), max_vertices)
    num_lines = tl.minimum(tl.load(ints_ptr + LINES), max_lines)
    if num_lines < 2:
        return
    vertices_ptr += (contour * max_lines + _line_of(tl.program_id(1), num_lines)) * max_vertices
    order = (contour % CONTOURS).to(tl.int32) * 4 + 3
    value = (order << 8) | (tl.load(ints_ptr + CATEGORY) & 255)
    draw_polygon(vertices_ptr, num_vertices, canvas_ptr + contour // CONTOURS * size * size, size, value, BLOCK)


_POINTERS = {"ints_ptr": "*i32", "vertices_ptr": "*i32"}
_SIZES = {"max_lines": "i32", "max_vertices": "i32"}

SIGNATURES = {
    "corners": (
        {**_POINTERS, "corners_ptr": "*i32", **_SIZES, "POLYGONS": "constexpr", "BLOCK": "constexpr"},
        {"POLYGONS": 2, "BLOCK": 128},
    ),
    "fill": (
        {
            **_POINTERS,
            "corners_ptr": "*i32",
            "canvas_ptr": "*i32",
            **_SIZES,
            "size": "i32",
            "CONTOURS": "constexpr",
            "POLYGONS": "constexpr",
            "BLOCK": "constexpr",
            "COLUMNS": "constexpr",
        },
        {"CONTOURS": 32, "POLYGONS": 2, "BLOCK": 256, "COLUMNS": 512},
    ),
    "outline": (
        {
            **_POINTERS,
            "canvas_ptr": "*i32",
            **_SIZES,
            "size": "i32",
            "CONTOURS": "constexpr",
            "BLOCK": "constexpr",
        },
        {"CONTOURS": 32, "BLOCK": 32},
    ),
}
"""Kernel name -> (argument types, constexpr values), for compiling without a device."""
