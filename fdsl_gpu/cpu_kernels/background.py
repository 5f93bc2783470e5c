"""Diamond-square heights and their colours: the background of one ``FRACTAL_SCENE``.

The twin of ``triton_kernels/background.py``, whose docstring states the law. Every level runs over whole rows and keeps
what belongs to it, which vectorises where a stride of 2 does not.
"""

import numpy as np

from fdsl_gpu.cpu_kernels.jit import inner
from fdsl_gpu.cpu_kernels.philox import philox4x32

_LOW = np.uint64(0xFFFFFFFF)
_QUARTER, _ONE, _TWO, _HALF = np.float32(0.25), np.float32(1), np.float32(2), np.float32(0.5)
_UNIT = np.float32(2.0**-24)
_FULL = np.float32(255)
# 1 / (2 * 255 * 30): see _scaled.
_PER_BYTE = np.float32(1.0 / 15300.0)


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
def _fill_row(heights, words, mean, m, neighbours, here, width, offset, step):
    """The mean of four neighbours, plus noise, at ``here + offset`` and every ``step`` from there on."""
    a, b, p, q = neighbours
    for c in range(width):
        sides = heights[np.uintp(a + c)] + heights[np.uintp(b + c)]
        mean[c] = (sides + (heights[np.uintp(p + c)] + heights[np.uintp(q + c)])) * _QUARTER
    mask = np.int32(step - 1)
    for c in range(width):
        at = np.uintp(here + c)
        height = mean[c] + m * _signed(words[at])
        heights[at] = height if np.int32(np.int32(c) & mask) == offset else heights[at]


@inner(inline="always")
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
    heights[0], heights[last] = scene.corners[0], scene.corners[1]
    heights[last * side], heights[last * side + last] = scene.corners[2], scene.corners[3]
    half, level = last >> 1, 0
    while half > 0:
        m, step, width = scene.amplitudes[level], 2 * half, side - 2 * half
        # Centres of squares, of which the corners are the neighbours.
        for r in range(half, side, step):
            up, down = (r - half) * side, (r + half) * side
            _fill_row(
                heights, words, mean, m, (up, up + step, down, down + step), r * side + half, width, np.int32(0), step
            )
        # Middles of sides, on a torus. Rows of the last level are read by none but the picture.
        for r in range(0, side if half > 1 else size, half):
            row, up, down = (
                r * side,
                (r - half if r > 0 else last - half) * side,
                (r + half if r < last else half) * side,
            )
            offset = np.int32(r & half)
            if offset:
                # The two ends have the same neighbours within the row.
                beside = heights[row + last - half] + heights[row + half]
                for c in range(0, side, last):
                    sides = heights[up + c] + heights[down + c]
                    heights[row + c] = (sides + beside) * _QUARTER + m * _signed(words[row + c])
            neighbours = up + half, down + half, row, row + step
            _fill_row(heights, words, mean, m, neighbours, row + half, width, offset, step)
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
def colour_heights(heights, side, width, factors, offsets, picture):
    """Colours of heights [H, side] to ``picture`` uint32 [H * width], as :func:`rgb_of` packs them.

    Hue, saturation and value are ``factors`` times the height plus ``offsets``.
    """
    for r in range(picture.size // width):
        for c in range(width):
            z = heights[np.uintp(r * side + c)]
            hue = z * factors[0] + offsets[0]
            saturation = z * factors[1] + offsets[1]
            value = z * factors[2] + offsets[2]
            saturation = saturation if saturation < _FULL else _FULL
            value = value if value < _FULL else _FULL
            h, s, v = np.int32(hue), np.int32(saturation), np.int32(value)
            picture[np.uintp(r * width + c)] = rgb_of(np.int32(h & 255), np.int32(s & 255), np.int32(v & 255))
