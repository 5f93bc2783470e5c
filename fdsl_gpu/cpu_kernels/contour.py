"""Contours on a CPU: nested noisy polygons, the twin of ``triton_kernels.contour``.

Two stages. ``vertices`` turns records (``fdsl_gpu.records.CONTOURS``) into vertex words, int32 [B, K, V] holding
x & 0xffff | y << 16, and a grey level a line, uint8 [B, K]. ``raster`` draws the closed polygons in order into uint8
planes [B, 1, S, S]. The law is in :mod:`fdsl_gpu.records`; float32 in the stated order, no fused operations.

numba widens integers to 64 bits; the casts bring them back to 32, so that loops run over twice as many lanes.
"""

import numpy as np

from fdsl_gpu.cpu_kernels.jit import inner, kernel
from fdsl_gpu.cpu_kernels.philox import philox4x32

f32 = np.float32
i32 = np.int32
i64 = np.int64
u32 = np.uint32
u64 = np.uint64

# Vertices that a loop takes at once; scratch is padded to it, so that no loop has a scalar remainder.
_LANES = 16

# Sides of a polygon that are prepared together, and pixels that are placed together.
_SIDES = 32
_PIXELS = 8

# Longest side whose pixels are placed by 32-bit fixed point; 22 fractional bits leave 9 for the whole pixels.
_LONGEST = 511
_FRACTION = 22


def vertices(records, angles, pairs, vertex_words, greys, key0, key1, noise_stream, grey_stream):
    """Fill ``vertex_words`` int32 [B, K, V] and ``greys`` uint8 [B, K]; what a record does not use is undefined.

    V is a multiple of 16. ``angles`` and ``pairs`` come from ``angle_table`` and ``perlin_pairs`` of
    ``fdsl_gpu.tables``, the streams from ``fdsl_gpu.philox``. A record's V and K are cut to the buffers.
    """
    width = vertex_words.shape[2]
    scratch = (np.zeros(rows * width, dtype) for rows, dtype in ((4, u32), (4, u32), (5, f32)))
    _vertices(records, angles, pairs, vertex_words, greys, key0, key1, noise_stream, grey_stream, *scratch)


@kernel
def _vertices(records, angles, pairs, vertex_words, greys, key0, key1, noise_stream, grey_stream, bits, slopes, state):
    """Scratch is flat: ``bits`` and ``slopes`` have four rows, ``state`` five, each as long as the padded polygon."""
    for b in range(records.size):
        record = records[b]
        num_vertices = min(i64(record.vertices), vertex_words.shape[2])
        num_lines = min(i64(record.lines), vertex_words.shape[1])
        padded = u64((num_vertices + _LANES - 1) // _LANES * _LANES)
        low = u64(record.sequence_low)
        high = u64(record.sequence_high) | (u64(noise_stream) << u64(24))
        # The noise is 0.4 * (...); the factor is taken once an image.
        amount = record.noise * f32(0.4)
        _start(record, num_vertices, angles, padded, state)
        for first in range(0, num_lines, 2):
            _draw_noise(u64(first >> 1), low, high, u64(key0), u64(key1), padded, bits)
            # A loop of its own, as gather instructions are slow.
            for i in range(u64(4) * padded):
                slopes[i] = pairs[bits[i] >> u32(24)]
            noise = u64(0)
            for line in range(first, min(first + 2, num_lines)):
                _advance(bits, slopes, noise, amount, f32(-32768), f32(32767), padded, state, vertex_words, b, line)
                noise += padded + padded
        high = u64(record.sequence_high) | (u64(grey_stream) << u64(24))
        for first in range(0, num_lines, 4):
            line = first
            for word in philox4x32(u64(first >> 2), u64(0), low, high, u64(key0), u64(key1)):
                if line < num_lines:
                    grey = (word * u64(record.grey_levels)) >> u64(32)
                    greys[b, line] = grey if grey < u64(255) else u64(255)
                line += 1


@inner(inline="always")
def _start(record, num_vertices, angles, padded, state):
    """Set the rows of ``state``: x, y, cosine, sine, growth a line without noise."""
    row = num_vertices * (num_vertices - 1) // 2
    frequency_1, frequency_2 = record.wave_1 % num_vertices, record.wave_2 % num_vertices
    corner_1, corner_2 = 0, 0
    magnification_x, magnification_y = f32(1) + record.magnify_x, f32(1) + record.magnify_y
    for v in range(num_vertices):
        cosine, sine = angles[row + v, 0], angles[row + v, 1]
        at = u64(v)
        state[at] = record.center_x + cosine * record.radius_x
        at += padded
        state[at] = record.center_y + sine * record.radius_y
        at += padded
        state[at] = cosine * magnification_x
        at += padded
        state[at] = sine * magnification_y
        at += padded
        state[at] = record.step + record.wave * (angles[row + corner_1, 1] + angles[row + corner_2, 1])
        corner_1 += frequency_1
        corner_1 = corner_1 - num_vertices if corner_1 >= num_vertices else corner_1
        corner_2 += frequency_2
        corner_2 = corner_2 - num_vertices if corner_2 >= num_vertices else corner_2


@inner(inline="always")
def _draw_noise(block, low, high, key0, key1, padded, bits):
    """Noise coordinates of two lines, x and y of each: cell << 24 | fraction."""
    for v in range(padded):
        for word in philox4x32(block, v, low, high, key0, key1):
            bits[v] = u32((word * u64(10000)) >> u64(8))
            v += padded


@inner(inline="always")
def _noise(bits, pair):
    """Perlin noise / 0.4 of a noise coordinate and its pair of gradients, the upper halves of two float32."""
    t = f32(i32(bits & u32(0xFFFFFF))) * f32(2.0**-24)
    s = ((t * t) * t) * (t * (t * f32(6) - f32(15)) + f32(10))
    left = u32(pair << u32(16)).view(np.float32)
    right = u32(pair & u32(0xFFFF0000)).view(np.float32)
    return (f32(1) - s) * (left * t) + s * (right * (t - f32(1)))


@inner(inline="always")
def _truncate(x, lowest, highest):
    x = x if x > lowest else lowest
    x = x if x < highest else highest
    return i32(x)


@inner
def _advance(bits, slopes, noise, amount, lowest, highest, padded, state, vertex_words, b, line):
    """Move all vertices by one line and write their words.

    Compiled by itself, so that the constants of the loop stay in registers. The limits of int16 are arguments: as
    constants they would split the loop into branches.
    """
    for v in range(padded):
        row_y = v + padded
        row_cosine = row_y + padded
        row_sine = row_cosine + padded
        growth = state[row_sine + padded]
        noise_y = noise + padded
        x = state[v] + state[row_cosine] * (growth - amount * _noise(bits[noise + v], slopes[noise + v]))
        y = state[row_y] + state[row_sine] * (growth - amount * _noise(bits[noise_y + v], slopes[noise_y + v]))
        state[v] = x
        state[row_y] = y
        column, row = _truncate(x, lowest, highest), _truncate(y, lowest, highest)
        vertex_words[b, line, v] = i32(column & 0xFFFF) | i32(row << 16)


def raster(records, vertex_words, greys, planes, background):
    """Draw polygons into uint8 planes [B, 1, S, S], later lines over earlier ones."""
    size = planes.shape[2]
    _raster(records, vertex_words, greys, size, *line_scratch(vertex_words.shape[2]), planes.reshape(-1), background)


def raster_scene(records, vertex_words, greys, canvas, background):
    """Draw several contours [N] into one canvas [S, S], later ones over earlier ones.

    A canvas of uint8 gets grey levels; of uint16, category << 8 | grey, so that one pass draws picture and mask.
    """
    size = canvas.shape[0]
    _raster(records, vertex_words, greys, size, *line_scratch(vertex_words.shape[2]), canvas.reshape(-1), background)


@kernel
def _raster(records, vertex_words, greys, size, sides, corners, places, planes, background):
    """Draw records in turn, the same number into each plane [S * S] of the flat ``planes``.

    A plane of uint8 keeps the grey level of ``category << 8 | grey``, one of uint16 keeps both.
    """
    pixels = size * size
    contours = records.size * pixels // planes.size
    for n in range(records.size):
        plane = planes[n // contours * pixels : (n // contours + 1) * pixels]
        if n % contours == 0:
            for i in range(pixels):
                plane[i] = background
        num_vertices = min(i64(records[n].vertices), vertex_words.shape[2])
        for line in range(min(i64(records[n].lines), vertex_words.shape[1])):
            value = i64(records[n].category) << 8 | i64(greys[n, line])
            draw_polygon(vertex_words, n, line, num_vertices, value, size, sides, corners, places, plane)


def resolve_scene(canvas, plane, mask):
    """Split a canvas uint16 [S, S] into grey levels and categories, uint8 [S, S] each."""
    _resolve_scene(canvas.reshape(-1), plane.reshape(-1), mask.reshape(-1))


@kernel
def _resolve_scene(canvas, plane, mask):
    for i in range(canvas.size):
        plane[i] = canvas[i] & np.uint16(255)
        mask[i] = canvas[i] >> np.uint16(8)


def line_scratch(max_vertices):
    """Scratch memory of ``draw_polygon``."""
    return np.zeros(5 * _SIDES, np.int32), np.zeros(max_vertices + _SIDES + 1, np.int32), np.empty(_PIXELS, np.uint32)


@inner
def draw_polygon(vertex_words, n, line, num_vertices, value, size, sides, corners, places, plane):
    """Draw the sides of polygon [n, line], of vertex words int32 [N, K, V], into a flat plane of any integers.

    Pixel i of a side, n long and m wide, is i steps along the longer axis and floor(i * m / n + 1/2) steps along the
    other, which is Pillow's rule without its running error. A side leaves its last pixel to the next one.
    """
    for v in range(num_vertices):
        corners[v] = vertex_words[n, line, v]
    corners[num_vertices] = corners[0]
    for first in range(u64(0), u64(num_vertices), u64(_SIDES)):
        _prepare(corners, first, i32(size), sides)
        for side in range(min(u64(_SIDES), u64(num_vertices) - first)):
            count = sides[u64(_SIDES) + side]
            if count > 0:
                _draw_inside(sides, side, u64(_PIXELS), places, value, plane)
            elif count < 0:
                _draw_clipped(corners[first + side], corners[first + side + u64(1)], size, value, plane)


@inner
def _prepare(corners, first, size, sides):
    """Fill the five rows of ``sides``: first pixel, number of pixels, slope, pixel steps along and across.

    The number is 0 for a side that misses the canvas (by its bounding box) and negative for one that needs clipping.
    """
    one, edge = i32(1), i32(size - 1)
    for j in range(_SIDES):
        start, end = corners[first + u64(j)], corners[first + u64(j + 1)]
        x0, x1 = i32(np.int16(start)), i32(np.int16(end))
        y0, y1 = i32(start >> 16), i32(end >> 16)
        right0, right1, below0, below1 = i32(edge - x0), i32(edge - x1), i32(edge - y0), i32(edge - y1)
        # Sign bits: of both ends beyond one edge, and of any end beyond any edge.
        outside = i32(i32((x0 & x1) | (y0 & y1) | (right0 & right1) | (below0 & below1)) >> 31)
        across_edge = i32(x0 | x1 | y0 | y1 | right0 | right1 | below0 | below1)
        dx, dy = i32(x1 - x0), i32(y1 - y0)
        step_x = one if dx > 0 else i32(-1)
        step_y = size if dy > 0 else i32(-size)
        dx, dy = i32(abs(dx)), i32(abs(dy))
        steep = dy >= dx
        n = dy if steep else dx
        m = dx if steep else dy
        clipped = i32(i32(across_edge | i32(_LONGEST - n)) >> 31)
        n = n if n > 0 else one
        sides[j] = i32(y0 * size + x0)
        sides[_SIDES + j] = i32((n | clipped) & ~outside)
        # At most an eighth of a unit too small, which the offset in _draw_inside outweighs over any length.
        sides[2 * _SIDES + j] = i32(i32(f32(m) / f32(n) * f32(1 << _FRACTION)) + one)
        sides[3 * _SIDES + j] = step_y if steep else step_x
        sides[4 * _SIDES + j] = step_x if steep else step_y


@inner
def _draw_inside(sides, side, lanes, places, value, plane):
    """Draw one prepared side, eight pixels at a time; pixels beyond the last repeat it.

    ``lanes`` is eight, unknown while this is compiled by itself: else the loop would be unrolled, not vectorised.
    """
    start, count, slope = sides[side], sides[u64(_SIDES) + side], sides[u64(2 * _SIDES) + side]
    along, across = sides[u64(3 * _SIDES) + side], sides[u64(4 * _SIDES) + side]
    last = i32(count - 1)
    half = i32((1 << (_FRACTION - 1)) + 256)
    for done in range(0, i64(count), _PIXELS):
        for lane in range(lanes):
            i = i32(i32(lane) + i32(done))
            i = i if i < last else last
            risen = i32(i32(half + i32(i * slope)) >> _FRACTION)
            places[lane] = u32(start + i32(i * along) + i32(risen * across))
        for lane in range(_PIXELS):
            plane[places[lane]] = value


@inner
def _draw_clipped(start, end, size, value, plane):
    """Draw the pixels of any side that lie on the canvas: a contiguous run of them, found exactly."""
    x0, y0, x1, y1 = i64(np.int16(start)), i64(start >> 16), i64(np.int16(end)), i64(end >> 16)
    dx, dy = abs(x1 - x0), abs(y1 - y0)
    step_x, step_y = 1 if x1 > x0 else -1, 1 if y1 > y0 else -1
    steep = dy >= dx
    n = dy if steep else dx
    m = dx if steep else dy
    along = step_y * size if steep else step_x
    across = step_x if steep else step_y * size
    # Distances from the edge where the side comes from, so that both coordinates grow.
    from_x = x0 if step_x > 0 else size - 1 - x0
    from_y = y0 if step_y > 0 else size - 1 - y0
    u = from_y if steep else from_x
    w = from_x if steep else from_y
    first, stop = max(0, -u), min(max(n, 1), size - u)
    # Quotients rounded up.
    if w < 0 and m > 0:
        first = max(first, -((2 * w + 1) * n // (2 * m)))
    if w + m >= size and m > 0:
        stop = min(stop, -((2 * (w - size) + 1) * n // (2 * m)))
    risen = (2 * m * first + n) // max(2 * n, 1)
    error = 2 * m * (first + 1) - n - 2 * n * risen
    place = u64(y0 * size + x0 + first * along + risen * across)
    for _ in range(first, stop):
        plane[place] = value
        place += u64(along + across) if error >= 0 else u64(along)
        error += 2 * m - 2 * n if error >= 0 else 2 * m
