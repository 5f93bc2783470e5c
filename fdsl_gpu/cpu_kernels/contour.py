"""Nested polygons on grey planes for numba, the twin of ``triton_kernels/contour.py``, whose docstring states the law.

``vertices`` keeps one row a coordinate, so that its loops over the vertices of a polygon vectorise. ``raster`` paints
the polygons in order; a segment inside the canvas is drawn without bounds tests, one outside not at all.
"""

import numpy as np
from numba import njit

from fdsl_gpu.cpu_kernels.philox import philox4x32

_LANES = 16
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_EIGHT = np.uint64(8)
_CELLS = np.uint64(10000)
_T_BITS = np.uint32(0xFFFFFF)
_T_SCALE = np.float32(2.0**-24)
_CELL_SHIFT = np.uint32(24)
_SIXTEEN = np.uint32(16)
_HIGH_HALF = np.uint32(0xFFFF0000)
_ONE, _SIX, _TEN, _FIFTEEN = np.float32(1), np.float32(6), np.float32(10), np.float32(15)
_FACTOR = np.float32(0.4)
_SMALLEST, _LARGEST = np.float32(-32768), np.float32(32767)
_WORD_SHIFT = np.int32(16)
_WORD_LOW = np.int32(0xFFFF)


@njit(nogil=True, inline="always")
def _place(word):
    """Cell of the noise (8 bits) and place in it (24 bits) of a random word."""
    return np.uint32((word * _CELLS) >> _EIGHT)


@njit(nogil=True, inline="always")
def _noise(place, pair):
    """Perlin noise, without its factor 0.4, between a pair of gradients: the high halves of two float32."""
    t = np.float32(np.int32(place & _T_BITS)) * _T_SCALE
    s = ((t * t) * t) * (t * (t * _SIX - _FIFTEEN) + _TEN)
    left = np.uint32(pair << _SIXTEEN).view(np.float32)
    right = np.uint32(pair & _HIGH_HALF).view(np.float32)
    return (_ONE - s) * (left * t) + s * (right * (t - _ONE))


@njit(nogil=True, inline="always")
def _pixel(x):
    """Truncated toward zero, held in int16."""
    x = x if x > _SMALLEST else _SMALLEST
    x = x if x < _LARGEST else _LARGEST
    return np.int32(x)


@njit(nogil=True)
def _draw_places(block, low, high, k0, k1, places, count):
    """Noise places of two lines: rows x and y of the even, x and y of the odd one."""
    for v in range(count):
        a, b, c, d = philox4x32(block, np.uint64(v), low, high, k0, k1)
        places[0, v], places[1, v], places[2, v], places[3, v] = _place(a), _place(b), _place(c), _place(d)


@njit(nogil=True)
def _look_up(places, pairs, gradients, count):
    for row in range(4):
        for v in range(count):
            gradients[row, v] = pairs[places[row, v] >> _CELL_SHIFT]


@njit(nogil=True)
def _advance(state, amount, places, gradients, row, words, count):
    """One line: move every vertex by its growth less its noise, and write it."""
    for v in range(count):
        growth = state[4, v]
        x = state[0, v] + state[2, v] * (growth - amount * _noise(places[row, v], gradients[row, v]))
        y = state[1, v] + state[3, v] * (growth - amount * _noise(places[row + 1, v], gradients[row + 1, v]))
        state[0, v], state[1, v] = x, y
        words[v] = (_pixel(x) & _WORD_LOW) | (_pixel(y) << _WORD_SHIFT)


@njit(nogil=True)
def _start(record, angles, state):
    """Fill ``state`` float32 [5, >= V]: x, y, cosine, sine, growth."""
    count = record.vertices
    row = count * (count - 1) // 2
    wave_1, wave_2 = record.wave_1 % count, record.wave_2 % count
    at_1, at_2 = 0, 0
    for v in range(count):
        cosine, sine = angles[row + v, 0], angles[row + v, 1]
        state[0, v] = record.center_x + cosine * record.radius_x
        state[1, v] = record.center_y + sine * record.radius_y
        state[2, v], state[3, v] = cosine, sine
        state[4, v] = record.step + record.wave * (angles[row + at_1, 1] + angles[row + at_2, 1])
        at_1, at_2 = (at_1 + wave_1) % count, (at_2 + wave_2) % count


@njit(nogil=True, cache=True)
def vertices(records, k0, k1, noise_stream, grey_stream, angles, pairs, out, greys):
    """Packed vertices and greys of records.

    Args:
        records: [B] of ``CONTOURS``.
        k0: key of the dataset, low word.
        k1: key of the dataset, high word.
        noise_stream: Philox stream of the noise.
        grey_stream: Philox stream of the greys.
        angles: float32 [., 2], ``fdsl_gpu.tables.angle_table``.
        pairs: uint32 [256], ``fdsl_gpu.tables.perlin_pairs``.
        out: int32 [B, K, V'], V' a multiple of 16: words of vertices; written up to V of each line, padding undefined.
        greys: uint8 [B, K], written up to the lines of each record.
    """
    width = out.shape[2]
    places, gradients = np.empty((4, width), np.uint32), np.empty((4, width), np.uint32)
    state = np.zeros((5, width), np.float32)
    k0, k1 = np.uint64(k0), np.uint64(k1)
    for b in range(records.size):
        record = records[b]
        _start(record, angles, state)
        count = (record.vertices + _LANES - 1) // _LANES * _LANES
        low = np.uint64(record.sequence_low)
        high = np.uint64(record.sequence_high) | (np.uint64(noise_stream) << np.uint64(24))
        amount = record.noise * _FACTOR
        for k in range(0, record.lines, 2):
            _draw_places(np.uint64(k >> 1), low, high, k0, k1, places, count)
            _look_up(places, pairs, gradients, count)
            _advance(state, amount, places, gradients, 0, out[b, k], count)
            if k + 1 < record.lines:
                _advance(state, amount, places, gradients, 2, out[b, k + 1], count)
        high = np.uint64(record.sequence_high) | (np.uint64(grey_stream) << np.uint64(24))
        levels = np.uint64(record.grey_levels)
        for k in range(0, record.lines, 4):
            words = philox4x32(np.uint64(k >> 2), np.uint64(0), low, high, k0, k1)
            for j in range(min(4, record.lines - k)):
                greys[b, k + j] = min((words[j] * levels) >> _HALF, np.uint64(255))


@njit(nogil=True, inline="always")
def _segment(x0, y0, x1, y1, size, plane, grey):
    """Pillow's line from (x0, y0) up to, not including, (x1, y1), which starts the next segment; a point if they meet."""
    last = size - 1
    if (x0 < 0 and x1 < 0) or (y0 < 0 and y1 < 0) or (x0 > last and x1 > last) or (y0 > last and y1 > last):
        return
    dx, dy = abs(x1 - x0), abs(y1 - y0)
    step_x = 1 if x1 > x0 else -1
    step_y = 1 if y1 > y0 else -1
    steep = dy >= dx
    long, short = (dy, dx) if steep else (dx, dy)
    error = 2 * short - long
    if min(x0, x1) >= 0 and min(y0, y1) >= 0 and max(x0, x1) <= last and max(y0, y1) <= last:
        at = y0 * size + x0
        major = step_y * size if steep else step_x
        minor = step_x if steep else step_y * size
        for _ in range(max(long, 1)):
            plane[np.uintp(at)] = grey
            turn = error >= 0
            at += major + (minor if turn else 0)
            error += 2 * short - (2 * long if turn else 0)
    else:
        for _ in range(max(long, 1)):
            if 0 <= x0 < size and 0 <= y0 < size:
                plane[np.uintp(y0 * size + x0)] = grey
            turn = error >= 0
            x0 += step_x if (turn or not steep) else 0
            y0 += step_y if (turn or steep) else 0
            error += 2 * short - (2 * long if turn else 0)


@njit(nogil=True, cache=True)
def raster(records, words, greys, background, planes):
    """Paint closed polygons in order.

    Args:
        records: [B] of ``CONTOURS``, for V and K.
        words: int32 [B, K, V'], packed vertices.
        greys: uint8 [B, K].
        background: grey of pixels that no line covers.
        planes: uint8 [B, S, S], overwritten.
    """
    size = planes.shape[1]
    for b in range(records.size):
        plane = planes[b].reshape(-1)
        plane[:] = background
        count = records[b].vertices
        for k in range(records[b].lines):
            grey, line = greys[b, k], words[b, k]
            x0, y0 = np.int64(np.int16(line[0])), np.int64(line[0] >> _WORD_SHIFT)
            for v in range(1, count + 1):
                word = line[v] if v < count else line[0]
                x1, y1 = np.int64(np.int16(word)), np.int64(word >> _WORD_SHIFT)
                _segment(x0, y0, x1, y1, size, plane, grey)
                x0, y0 = x1, y1
