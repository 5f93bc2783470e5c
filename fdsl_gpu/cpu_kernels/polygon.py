"""Filled polygons, and masks of them, on a CPU: the twin of ``triton_kernels.polygon``.

Polygons are filled as Pillow's ``ImageDraw.polygon`` does (13.0, x86-64, pixel for pixel; an arm64 build of Pillow may
fuse its multiplication and addition and then rounds differently). A row y is crossed by an edge at the float32

    x = (y - y0) * ((x1 - x0) / (y1 - y0)) + x0

and painted from every odd crossing, rounded half up, to the next one, rounded half down. Which crossings are odd needs
no sorting: with a = floor(x + 1/2), a pixel is inside iff an odd number of crossings has a <= it, or a crossing that is
not halfway between two pixels has a equal to it. An edge crosses the rows from its upper end to above its lower one;
its lower end and horizontal edges paint only their own pixels; and in the last row of a polygon lower ends cross too.

One more rule closes gaps at flat corners: of two edges that meet in their upper ends, and both run to the same side by
more than a pixel a row, the later starts right after the pixel that the nearer one takes in the next row. The same
holds upside down for the last row.
"""

import numpy as np

from fdsl_gpu.cpu_kernels.contour import draw_polygon, line_scratch
from fdsl_gpu.cpu_kernels.jit import inner, kernel

f32 = np.float32
i64 = np.int64
u64 = np.uint64

_NONE = 1 << 40


def draw_masks(records, vertex_words, mask, ring):
    """Label the insides of the contours of one picture, one over the other.

    Args:
        records: [N] of ``fdsl_gpu.records.CONTOURS``.
        vertex_words: int32 [N, K, V], from ``contour.vertices``.
        mask: uint8 [S, S], the categories, 0 where there is none.
        ring: label what lies between the first and the last polygon of a contour, and both outlines, and write 0
            inside the first; nothing for a contour of one line. Else label the inside of the last polygon.
    """
    size, width = mask.shape[0], vertex_words.shape[2]
    scratch = *line_scratch(width), fill_scratch(size, width)
    _draw_masks(records, vertex_words, mask, ring, size, *scratch, mask.reshape(size * size))


@kernel
def _draw_masks(records, vertex_words, mask, ring, size, sides, corners, places, rows, pixels):
    pixels[:] = 0
    for n in range(records.size):
        num_vertices = min(i64(records[n].vertices), vertex_words.shape[2])
        last = min(i64(records[n].lines), vertex_words.shape[1]) - 1
        if last < 0 or (ring and last == 0):
            continue
        category = np.uint8(records[n].category)
        outer, inner = vertex_words[n, last, :num_vertices], vertex_words[n, 0, :num_vertices]
        fill_polygon(outer, category, rows, mask)
        if ring:
            fill_polygon(inner, np.uint8(0), rows, mask)
            for line in range(0, last + 1, last):
                draw_polygon(vertex_words, n, line, num_vertices, i64(category), size, sides, corners, places, pixels)


def fill_scratch(size, max_vertices):
    """Scratch memory of ``fill_polygon``: two bits a pixel, zero between calls, and the ends of edges."""
    return np.zeros((2, size, (size + 63) // 64), np.uint64), np.empty((2, max_vertices), np.int64)


@kernel
def fill_polygon(words, value, scratch, plane):
    """Fill a closed polygon, vertex words int32 [V] of x & 0xffff | y << 16, with a value in a plane uint8 [S, S]."""
    size = plane.shape[0]
    bits, ends = scratch
    odd, own = bits[0], bits[1]
    num_vertices = words.size
    _find_oblique_ends(words, ends)
    top, bottom = i64(32768), i64(-32768)
    for v in range(num_vertices):
        top, bottom = min(top, i64(words[v] >> 16)), max(bottom, i64(words[v] >> 16))
    for v in range(num_vertices):
        x0, y0, x1, y1 = _edge(words, v)
        if y0 == y1:
            # Pillow does not close a polygon that is closed already.
            closes = v == num_vertices - 1 and x0 == x1
            if 0 <= y0 < size and not closes:
                _set_run(own[y0], max(min(x0, x1), 0), min(max(x0, x1), size - 1))
            continue
        slope = f32(x1 - x0) / f32(y1 - y0)
        upper, lower = min(y0, y1), max(y0, y1)
        for y in range(max(upper + 1, 0), min(lower, size)):
            x = f32(y - y0) * slope + f32(x0)
            # Casts truncate; up to -1/2 that is as good as rounding down, as what is left of the canvas counts as 0.
            column = i64(x + f32(0.5))
            down = np.ceil(x - f32(0.5))
            _cross(odd[y], column, size)
            if (x >= f32(0) and column == i64(down)) or (f32(-0.5) <= x < f32(0)):
                _set_run(own[y], column, min(column, size - 1))
        if 0 <= upper < size:
            column = _corner(words, ends[0], v, 1)
            _cross(odd[upper], column, size)
            _set_run(own[upper], column, min(column, size - 1))
        if 0 <= lower < size:
            column = x1 if y1 == lower else x0
            if lower == bottom:
                column = _corner(words, ends[1], v, -1)
                _cross(odd[lower], column, size)
            _set_run(own[lower], column, min(column, size - 1))
    for y in range(max(top, 0), min(bottom + 1, size)):
        _paint(odd[y], own[y], value, plane[y])


@inner(inline="always")
def _edge(words, v):
    start, end = words[v], words[v + 1 if v + 1 < words.size else 0]
    return i64(np.int16(start)), i64(start >> 16), i64(np.int16(end)), i64(end >> 16)


@inner
def _find_oblique_ends(words, ends):
    """Fill ``ends`` with the vertex words of upper and lower ends of edges; of level and upright ones, no such word."""
    for v in range(words.size):
        x0, y0, x1, y1 = _edge(words, v)
        start, end = i64(words[v]), i64(words[v + 1 if v + 1 < words.size else 0])
        ends[0, v], ends[1, v] = (start, end) if y0 < y1 else (end, start)
        if x0 == x1 or y0 == y1:
            ends[0, v] = ends[1, v] = _NONE


@inner
def _corner(words, ends, v, step):
    """Column where edge v crosses the row of its upper end (step 1) or lower end (step -1).

    ``ends`` are such ends of all edges; of the edges before v the first that meets it there counts.
    """
    x0, y0, x1, y1 = _edge(words, v)
    x, y = (x0, y0) if (y0 < y1) == (step > 0) else (x1, y1)
    if ends[v] == _NONE:
        return x
    for k in range(v):
        if ends[k] == ends[v]:
            x2, y2, x3, y3 = _edge(words, k)
            slope = f32(x1 - x0) / f32(y1 - y0)
            other = f32(x3 - x2) / f32(y3 - y2)
            here = f32(y - y0) * slope + f32(x0)
            near = f32(y + step - y0) * slope + f32(x0)
            near_other = f32(y + step - y2) * other + f32(x2)
            if here > near + f32(1) and here > near_other + f32(1):
                return _round(max(near, near_other)) + 1
            if here < near - f32(1) and here < near_other - f32(1):
                return _round(min(near, near_other)) - 1
            return x
    return x


@inner(inline="always")
def _round(x):
    """To the nearest integer, halves away from zero."""
    whole = i64(x)
    rest = x - f32(whole)
    return whole + (rest >= f32(0.5)) - (rest <= f32(-0.5))


@inner(inline="always")
def _cross(bits, column, size):
    column = max(column, 0)
    if column < size:
        bits[column >> 6] ^= u64(1) << u64(column & 63)


@inner(inline="always")
def _set_run(bits, first, last):
    """Set bits first .. last; nothing if first is negative or beyond last."""
    if first < 0 or first > last:
        return
    for word in range(first >> 6, (last >> 6) + 1):
        mask = ~u64(0)
        if word == first >> 6:
            mask &= ~u64(0) << u64(first & 63)
        if word == last >> 6:
            mask &= ~u64(0) >> u64(63 - (last & 63))
        bits[word] |= mask


@inner
def _paint(odd, own, value, row):
    """Write the value where a row is inside, and clear the bits."""
    carry = u64(0)
    for word in range(odd.size):
        inside = odd[word]
        for shift in (1, 2, 4, 8, 16, 32):
            inside ^= inside << u64(shift)
        inside ^= carry
        carry = ~u64(0) if inside >> u64(63) else u64(0)
        inside |= own[word]
        odd[word], own[word] = 0, 0
        first = word * 64
        count = min(64, row.size - first)
        if inside == ~u64(0):
            row[first : first + count] = value
        elif inside:
            for x in range(count):
                row[first + x] = value if (inside >> u64(x)) & u64(1) else row[first + x]
