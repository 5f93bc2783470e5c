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

    K is even and V a multiple of 16. ``angles`` and ``pairs`` come from ``angle_table`` and ``perlin_pairs`` of
    ``fdsl_gpu.tables``, the streams from ``fdsl_gpu.philox``. A record's V and K are cut to the buffers.
    """
    width = vertex_words.shape[2]
    bits, slopes = np.empty((4, width), np.uint32), np.empty((4, width), np.uint32)
    state = np.zeros((5, width), np.float32)
    streams = noise_stream, grey_stream
    _vertices(records, angles, pairs, vertex_words, greys, key0, key1, *streams, bits, slopes, state)


@kernel
def _vertices(records, angles, pairs, vertex_words, greys, key0, key1, noise_stream, grey_stream, bits, slopes, state):
    width = vertex_words.shape[2]
    for b in range(records.size):
        record = records[b]
        num_vertices = min(i64(record.vertices), width)
        num_lines = min(i64(record.lines), vertex_words.shape[1])
        padded = (num_vertices + _LANES - 1) // _LANES * _LANES
        low = u64(record.sequence_low)
        high = u64(record.sequence_high) | (u64(noise_stream) << u64(24))
        # The noise is 0.4 * (...); the factor is taken once an image.
        amount = record.noise * f32(0.4)
        _start(record, num_vertices, angles, state)
        for line in range(0, num_lines, 2):
            _draw_noise(u64(line >> 1), low, high, u64(key0), u64(key1), padded, bits)
            _look_up(bits, pairs, padded, slopes)
            _advance(bits, slopes, u64(0), amount, f32(-32768), f32(32767), padded, state, vertex_words[b, line])
            _advance(bits, slopes, u64(2), amount, f32(-32768), f32(32767), padded, state, vertex_words[b, line + 1])
        high = u64(record.sequence_high) | (u64(grey_stream) << u64(24))
        _draw_greys(num_lines, u64(record.grey_levels), low, high, u64(key0), u64(key1), greys[b])


@inner
def _start(record, num_vertices, angles, state):
    """Set the rows of ``state``: x, y, cosine, sine, growth a line without noise."""
    row = num_vertices * (num_vertices - 1) // 2
    frequency_1, frequency_2 = record.wave_1 % num_vertices, record.wave_2 % num_vertices
    corner_1, corner_2 = 0, 0
    magnification_x, magnification_y = f32(1) + record.magnify_x, f32(1) + record.magnify_y
    for v in range(num_vertices):
        cosine, sine = angles[row + v, 0], angles[row + v, 1]
        state[0, v] = record.center_x + cosine * record.radius_x
        state[1, v] = record.center_y + sine * record.radius_y
        state[2, v] = cosine * magnification_x
        state[3, v] = sine * magnification_y
        state[4, v] = record.step + record.wave * (angles[row + corner_1, 1] + angles[row + corner_2, 1])
        corner_1 += frequency_1
        corner_1 = corner_1 - num_vertices if corner_1 >= num_vertices else corner_1
        corner_2 += frequency_2
        corner_2 = corner_2 - num_vertices if corner_2 >= num_vertices else corner_2


@inner
def _draw_noise(block, low, high, key0, key1, count, bits):
    """Noise coordinates of two lines, x and y of each: cell << 24 | fraction, uint32 [4, count]."""
    for v in range(count):
        word_0, word_1, word_2, word_3 = philox4x32(block, u64(v), low, high, key0, key1)
        bits[0, v] = u32((word_0 * u64(10000)) >> u64(8))
        bits[1, v] = u32((word_1 * u64(10000)) >> u64(8))
        bits[2, v] = u32((word_2 * u64(10000)) >> u64(8))
        bits[3, v] = u32((word_3 * u64(10000)) >> u64(8))


@inner
def _look_up(bits, pairs, count, slopes):
    """The gradient pair of every noise coordinate; a loop of its own, as gather instructions are slow."""
    for axis in range(4):
        for v in range(count):
            slopes[axis, v] = pairs[bits[axis, v] >> u32(24)]


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
def _advance(bits, slopes, axis, amount, lowest, highest, count, state, out):
    """Move all vertices by one line and write their words.

    The limits of int16 are arguments: as constants they would split the loop into branches.
    """
    for v in range(count):
        growth = state[4, v]
        x = state[0, v] + state[2, v] * (growth - amount * _noise(bits[axis, v], slopes[axis, v]))
        y = state[1, v] + state[3, v] * (growth - amount * _noise(bits[axis + u64(1), v], slopes[axis + u64(1), v]))
        state[0, v] = x
        state[1, v] = y
        out[v] = i32(_truncate(x, lowest, highest) & 0xFFFF) | i32(_truncate(y, lowest, highest) << 16)


@inner
def _draw_greys(num_lines, levels, low, high, key0, key1, greys):
    for line in range(0, num_lines, 4):
        words = philox4x32(u64(line >> 2), u64(0), low, high, key0, key1)
        for j in range(min(4, num_lines - line)):
            grey = (words[j] * levels) >> u64(32)
            greys[line + j] = grey if grey < u64(255) else u64(255)


def raster(records, vertex_words, greys, planes, background):
    """Draw polygons into uint8 planes [B, 1, S, S], later lines over earlier ones."""
    size = planes.shape[2]
    scratch = line_scratch(vertex_words.shape[2])
    _raster(records, vertex_words, greys, size, scratch, planes.reshape(len(planes), size * size), background)


@kernel
def _raster(records, vertex_words, greys, size, scratch, planes, background):
    for b in range(records.size):
        plane = planes[b]
        plane[:] = background
        num_vertices = u64(min(i64(records[b].vertices), vertex_words.shape[2]))
        for line in range(min(i64(records[b].lines), vertex_words.shape[1])):
            draw_polygon(vertex_words[b, line], num_vertices, greys[b, line], size, scratch, plane)


def raster_scene(records, vertex_words, greys, canvas, background):
    """Draw several contours [N] into one canvas [S, S], later ones over earlier ones.

    A canvas of uint8 gets grey levels; of uint16, category << 8 | grey, so that one pass draws picture and mask.
    """
    size = canvas.shape[0]
    scratch = line_scratch(vertex_words.shape[2])
    _raster_scene(records, vertex_words, greys, size, scratch, canvas.reshape(size * size), background)


@kernel
def _raster_scene(records, vertex_words, greys, size, scratch, pixels, background):
    pixels[:] = background
    for n in range(records.size):
        num_vertices = u64(min(i64(records[n].vertices), vertex_words.shape[2]))
        for line in range(min(i64(records[n].lines), vertex_words.shape[1])):
            value = np.uint16(i64(records[n].category) << 8 | i64(greys[n, line]))
            draw_polygon(vertex_words[n, line], num_vertices, value, size, scratch, pixels)


@kernel
def resolve_scene(canvas, plane, mask):
    """Split a canvas uint16 [S, S] into grey levels and categories, uint8 [S, S] each."""
    for y in range(canvas.shape[0]):
        for x in range(canvas.shape[1]):
            plane[y, x] = canvas[y, x] & np.uint16(255)
            mask[y, x] = canvas[y, x] >> np.uint16(8)


def line_scratch(max_vertices):
    """Scratch memory of ``draw_polygon``."""
    return np.zeros(5 * _SIDES, np.int32), np.zeros(max_vertices + _SIDES + 1, np.int32), np.empty(_PIXELS, np.uint32)


@inner
def draw_polygon(words, num_vertices, value, size, scratch, plane):
    """Draw the sides of one closed polygon, vertex words int32 [V], into a flat plane [size * size] of any integers.

    Pixel i of a side, n long and m wide, is i steps along the longer axis and floor(i * m / n + 1/2) steps along the
    other, which is Pillow's rule without its running error. A side leaves its last pixel to the next one.
    """
    sides, corners, places = scratch
    for v in range(num_vertices):
        corners[v] = words[v]
    corners[num_vertices] = corners[0]
    for first in range(u64(0), num_vertices, u64(_SIDES)):
        _prepare(corners, first, i32(size), sides)
        for j in range(min(u64(_SIDES), num_vertices - first)):
            count = sides[u64(_SIDES) + j]
            if count > 0:
                _draw_inside(sides, j, u64(_PIXELS), places, value, plane)
            elif count < 0:
                _draw_clipped(corners[first + j], corners[first + j + u64(1)], size, value, plane)


@inner(error_model="numpy")
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
def _draw_inside(sides, j, lanes, places, grey, plane):
    """Draw one prepared side, eight pixels at a time; pixels beyond the last repeat it.

    ``lanes`` is eight, unknown to the compiler, which would else unroll the loop instead of vectorising it.
    """
    start, count, slope = sides[j], sides[u64(_SIDES) + j], sides[u64(2 * _SIDES) + j]
    along, across = sides[u64(3 * _SIDES) + j], sides[u64(4 * _SIDES) + j]
    last = i32(count - 1)
    half = i32((1 << (_FRACTION - 1)) + 256)
    for done in range(0, i64(count), _PIXELS):
        for lane in range(lanes):
            i = i32(i32(lane) + i32(done))
            i = i if i < last else last
            risen = i32(i32(half + i32(i * slope)) >> _FRACTION)
            places[lane] = u32(start + i32(i * along) + i32(risen * across))
        for lane in range(_PIXELS):
            plane[places[lane]] = grey


@inner(error_model="numpy")
def _draw_clipped(start, end, size, grey, plane):
    """Draw the pixels of any side that lie on the canvas: a contiguous run of them, found exactly."""
    x0, y0, x1, y1 = i64(np.int16(start)), i64(start >> 16), i64(np.int16(end)), i64(end >> 16)
    dx, dy = abs(x1 - x0), abs(y1 - y0)
    step_x, step_y = 1 if x1 > x0 else -1, 1 if y1 > y0 else -1
    steep = dy >= dx
    n, m = (dy, dx) if steep else (dx, dy)
    along, across = (step_y * size, step_x) if steep else (step_x, step_y * size)
    # Distances from the edge where the side comes from, so that both coordinates grow.
    from_x = x0 if step_x > 0 else size - 1 - x0
    from_y = y0 if step_y > 0 else size - 1 - y0
    u, w = (from_y, from_x) if steep else (from_x, from_y)
    first, stop = max(0, -u), min(max(n, 1), size - u)
    # float64 quotients of these integers round up to the exact integers.
    if w < 0 and m > 0:
        first = max(first, i64(np.ceil((-2 * w - 1) * n / (2.0 * m))))
    if w + m >= size and m > 0:
        stop = min(stop, i64(np.ceil((2 * (size - w) - 1) * n / (2.0 * m))))
    if first >= stop:
        return
    risen = (2 * m * first + n) // max(2 * n, 1)
    error = 2 * m * (first + 1) - n - 2 * n * risen
    place = u64(y0 * size + x0 + first * along + risen * across)
    for _ in range(stop - first):
        plane[place] = grey
        place += u64(along + across) if error >= 0 else u64(along)
        error += 2 * m - 2 * n if error >= 0 else 2 * m
