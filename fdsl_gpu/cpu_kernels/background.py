"""Diamond-square heights and their colours: the background of one ``FRACTAL_SCENE``.

The twin of ``triton_kernels/background.py``, whose docstring states the law. Every level runs over whole rows and keeps
what belongs to it, which vectorises where a stride of 2 does not.
"""

import numpy as np
from numba import njit

from fdsl_gpu.cpu_kernels.jit import inner
from fdsl_gpu.cpu_kernels.philox import philox4x32

_LOW = np.uint64(0xFFFFFFFF)
_QUARTER, _ONE, _TWO, _HALF = np.float32(0.25), np.float32(1), np.float32(2), np.float32(0.5)
_UNIT = np.float32(2.0**-24)
_FULL = np.float32(255)
# 1 / (2 * 255 * 30): see _scaled.
_PER_BYTE = np.float32(1.0 / 15300.0)


@njit(no_cfunc_wrapper=True)
def levels_of(size):
    """Levels n of the square, 2**n + 1 heights a side, that covers ``size`` pixels."""
    levels = 0
    while (1 << levels) < size:
        levels += 1
    return levels


@inner
def _draw_words(scene, k0, k1, stream, words):
    """Fill ``words`` uint32 [a multiple of 4], one a cell."""
    low = np.uint64(scene.background_low)
    high = np.uint64(scene.background_high) | (np.uint64(stream) << np.uint64(24))
    view = np.uint64(scene["view"])
    for block in range(words.size // 4):
        w0, w1, w2, w3 = philox4x32(np.uint64(block), view, low, high, k0, k1)
        words[4 * block] = w0
        words[4 * block + 1] = w1
        words[4 * block + 2] = w2
        words[4 * block + 3] = w3


@inner(inline="always")
def _signed(word):
    """Uniform in [-1, 1) from 24 bits of a word."""
    return _TWO * (np.float32(np.int32(word >> np.uint32(8))) * _UNIT) - _ONE


@inner
def _add_noise(mean, words, m, offset, step, row):
    """Give ``row`` its new heights, mean plus noise, at ``offset`` and every ``step`` from there on."""
    mask = np.int32(step - 1)
    for c in range(row.size):
        height = mean[c] + m * _signed(words[c])
        row[c] = height if np.int32(np.int32(c) & mask) == offset else row[c]


@inner
def _diamonds(heights, words, mean, m, half):
    """Centres of squares: the mean of their corners, and noise."""
    side = mean.size
    width = side - 2 * half
    for r in range(half, side, 2 * half):
        up, down, here = (r - half) * side, (r + half) * side, r * side + half
        # Slices, because an index that could be negative costs a test and the vectors.
        a, b = heights[up : up + width], heights[up + 2 * half : up + side]
        p, q = heights[down : down + width], heights[down + 2 * half : down + side]
        for c in range(width):
            mean[c] = ((a[c] + b[c]) + (p[c] + q[c])) * _QUARTER
        _add_noise(mean, words[here : here + width], m, 0, 2 * half, heights[here : here + width])


@inner
def _squares(heights, words, mean, m, half, rows):
    """Middles of sides in the first ``rows`` rows: the mean of four neighbours on a torus, and noise."""
    side = mean.size
    last, width = side - 1, side - 2 * half
    for r in range(0, rows, half):
        at = r * side
        row, word = heights[at : at + side], words[at : at + side]
        up, down = (r - half if r > 0 else last - half) * side, (r + half if r < last else half) * side
        above, below = heights[up : up + side], heights[down : down + side]
        odd = r & half
        if odd:
            # The two ends have the same neighbours within the row.
            beside = row[last - half] + row[half]
            row[0] = ((above[0] + below[0]) + beside) * _QUARTER + m * _signed(word[0])
            row[last] = ((above[last] + below[last]) + beside) * _QUARTER + m * _signed(word[last])
        a, b, p, q = above[half : half + width], below[half : half + width], row[:width], row[2 * half :]
        for c in range(width):
            mean[c] = ((a[c] + b[c]) + (p[c] + q[c])) * _QUARTER
        _add_noise(mean, word[half : half + width], m, half if odd else 0, 2 * half, row[half : half + width])


@njit(no_cfunc_wrapper=True)
def fill_heights(scene, k0, k1, stream, size, mean, words, heights):
    """Fill ``heights`` float32 [side * side], side = 2**n + 1; rows from ``size`` on are not all finished.

    Args:
        scene: a ``FRACTAL_SCENE`` record.
        k0: key of the dataset, low word, uint64.
        k1: key of the dataset, high word, uint64.
        stream: Philox stream of backgrounds.
        size: rows that are wanted.
        mean: float32 [side], scratch.
        words: uint32 [side * side, rounded up to a multiple of 4], scratch.
        heights: float32 [side * side], overwritten.
    """
    side = mean.size
    _draw_words(scene, k0, k1, stream, words)
    last = side - 1
    heights[:] = 0
    heights[0], heights[last] = scene.corners[0], scene.corners[1]
    heights[last * side], heights[last * side + last] = scene.corners[2], scene.corners[3]
    half = last >> 1
    level = 0
    while half > 0:
        m = scene.amplitudes[level]
        _diamonds(heights, words, mean, m, half)
        # Rows of the last level are read by none but the picture.
        _squares(heights, words, mean, m, half, side if half > 1 else size)
        half >>= 1
        level += 1


@inner(inline="always")
def _scaled(n):
    """(n + 255 * 30 / 2) // (255 * 30) of an int32 in [0, 255 * 255 * 30].

    The product of floats is within 3.1e-5 of (2 n + 7650.5) / 15300, which no integer comes nearer than 3.2e-5.
    """
    return np.int32((np.float32(np.int32(np.int32(n * 2) + 7650)) + _HALF) * _PER_BYTE)


@inner(inline="always")
def rgb_of(hue, saturation, value):
    """Red | green << 8 | blue << 16 of int32 bytes hue (in units of 2 degrees), saturation and value."""
    # hue // 30, for hue below 256
    turn = np.int32(np.int32(hue * 2185) >> 16)
    rest = np.int32(hue - np.int32(turn * 30))
    sector = np.int32(turn - 6) if turn >= 6 else turn
    odd = np.int32(sector & 1)
    lost = rest if odd else np.int32(30 - rest)
    low = _scaled(np.int32(np.int32(value * 30) * np.int32(255 - saturation)))
    middle = _scaled(np.int32(value * np.int32(7650 - np.int32(saturation * lost))))
    red = value if (sector == 0) | (sector == 5) else (middle if (sector == 1) | (sector == 4) else low)
    green = value if (sector == 1) | (sector == 2) else (middle if (sector == 0) | (sector == 3) else low)
    blue = value if (sector == 3) | (sector == 4) else (middle if (sector == 2) | (sector == 5) else low)
    return np.uint32(red | np.int32(green << 8) | np.int32(blue << 16))


@inner
def colour_heights(scene, heights, side, picture):
    """Fill ``picture`` uint32 [S, S] with the colours of heights, as :func:`rgb_of` packs them."""
    size = picture.shape[0]
    hue_factor, saturation_factor, value_factor = scene.factors[0], scene.factors[1], scene.factors[2]
    hue_offset, saturation_offset, value_offset = scene.offsets[0], scene.offsets[1], scene.offsets[2]
    for r in range(size):
        row, out = heights[r * side : r * side + size], picture[r]
        for c in range(size):
            hue = row[c] * hue_factor + hue_offset
            saturation = row[c] * saturation_factor + saturation_offset
            value = row[c] * value_factor + value_offset
            saturation = saturation if saturation < _FULL else _FULL
            value = value if value < _FULL else _FULL
            h, s, v = np.int32(hue), np.int32(saturation), np.int32(value)
            out[c] = rgb_of(np.int32(h & 255), np.int32(s & 255), np.int32(v & 255))
