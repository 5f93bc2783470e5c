"""Fractals drawn by density on a diamond-square background: uint8 [B, P, S, S], P = 1 or 3.

The twin of ``triton_kernels/fractal_scene.py``, whose docstring states the law. Pictures are uint32 [S, S] holding
red | green << 8 | blue << 16, or grey, until they are finished; a fractal has one saturation and value, so that its
colours are a table of 256.
"""

import numpy as np

from fdsl_gpu.cpu_kernels.background import colour_heights, fill_heights, levels_of, rgb_of
from fdsl_gpu.cpu_kernels.density import density, scratch
from fdsl_gpu.cpu_kernels.jit import inner, kernel

_FULL, _HALF, _LEVELS = np.float32(255), np.float32(0.5), np.float32(256)
_BYTE = np.uint32(255)


@inner(error_model="numpy")
def _colour(fractal, counts, peak, table, hues, picture):
    """Fill ``picture`` uint32 [F, F], 0 where nothing was hit; ``table`` uint32 [256], ``hues`` uint8 [F]: scratch."""
    size = counts.shape[0]
    for hue in range(256):
        table[hue] = rgb_of(np.int32(hue), np.int32(fractal.saturation & 255), np.int32(fractal.value & 255))
    largest, first_hue = np.float32(peak), fractal.hue
    for r in range(size):
        row, out = counts[r], picture[r]
        for c in range(size):
            hues[c] = np.uint8(np.int32(_FULL * (np.float32(row[c]) / largest) + first_hue) & 255)
        for c in range(size):
            out[c] = table[hues[c]] if row[c] else np.uint32(0)


@inner
def _shade(value, counts, picture):
    """Fill ``picture`` uint32 [F, F] with ``value`` wherever something was hit, else with 0."""
    for r in range(counts.shape[0]):
        row, out = counts[r], picture[r]
        for c in range(row.size):
            out[c] = value if row[c] else np.uint32(0)


@inner
def _paste(picture, left, top, scene):
    """Place ``picture`` uint32 [F, F] on ``scene`` uint32 [S, S]."""
    size = scene.shape[0]
    first, last = max(0, -left), min(picture.shape[1], size - left)
    for r in range(max(0, -top), min(picture.shape[0], size - top)):
        row, out = picture[r, first:last], scene[top + r, left + first : left + last]
        for c in range(max(last - first, 0)):
            out[c] = row[c] if row[c] else out[c]


@inner
def _tap(pixel, size, side):
    """Bilinear resize from size to side: first source pixel of a pixel, and the weight of the next one in 2048ths."""
    position = max((2 * pixel + 1) * size - side, 0)
    first = position // (2 * side)
    rest = position - first * (2 * side)
    if first >= size - 1:
        return size - 1, 0
    return first, (rest * 2048 + side) // (2 * side)


@inner(inline="always")
def _blend(shift, a, b, c, d, right, down):
    """One channel of four pixels, weighted and rounded."""
    a, b = (a >> shift) & _BYTE, (b >> shift) & _BYTE
    c, d = (c >> shift) & _BYTE, (d >> shift) & _BYTE
    above = np.int64(a) * (2048 - right) + np.int64(b) * right
    below = np.int64(c) * (2048 - right) + np.int64(d) * right
    return np.uint32((above * (2048 - down) + below * down + (1 << 21)) >> 22) << shift


@inner
def _paste_resized(picture, side, left, top, channels, taps, scene):
    """Resize ``picture`` uint32 [F, F] to side x side and place it; ``taps`` int32 [2, S] is scratch."""
    size, source = scene.shape[0], picture.shape[0]
    next_pixel = min(1, source - 1)
    first, last = max(0, left), min(size, left + side)
    for c in range(first, last):
        taps[0, c], taps[1, c] = _tap(c - left, source, side)
    for r in range(max(0, top), min(size, top + side)):
        y, down = _tap(r - top, source, side)
        above, below = picture[y], picture[min(y + next_pixel, source - 1)]
        for c in range(first, last):
            x, right = taps[0, c], taps[1, c]
            beside = min(x + 1, source - 1)
            a, b, p, q = above[x], above[beside], below[x], below[beside]
            if a | b | p | q:
                colour = np.uint32(0)
                for channel in range(channels):
                    colour |= _blend(np.uint32(8 * channel), a, b, p, q, right, down)
                if colour:
                    scene[r, c] = colour


@inner
def _copy(scene, planes):
    """Unpack ``scene`` uint32 [S, S] to ``planes`` uint8 [P, S, S]."""
    for r in range(scene.shape[0]):
        row = scene[r]
        for channel in range(planes.shape[0]):
            out, shift = planes[channel, r], np.uint32(8 * channel)
            for c in range(row.size):
                out[c] = np.uint8((row[c] >> shift) & _BYTE)


@inner
def _blur_row(row, shift, center, side, channel, out):
    """Weigh the neighbours in a row: ``out`` uint16 [S], in 256ths; ``channel`` uint16 [S + 2] is scratch."""
    size = row.size
    inner = channel[1 : size + 1]
    for c in range(size):
        inner[c] = np.uint16((row[c] >> shift) & _BYTE)
    channel[0], channel[size + 1] = inner[min(1, size - 1)], inner[max(size - 2, 0)]
    left, right = channel[:size], channel[2:]
    for c in range(size):
        out[c] = np.uint16(center * inner[c] + side * np.uint16(left[c] + right[c]))


@inner
def _blur(scene, side, rows, planes):
    """3x3 blur of ``scene`` into ``planes``: weight ``side`` of a neighbour in 256ths; ``rows`` uint16 [4, S + 2]."""
    size = scene.shape[0]
    weight, center = np.uint16(side), np.uint16(256 - 2 * side)
    for channel in range(planes.shape[0]):
        shift = np.uint32(8 * channel)
        _blur_row(scene[0], shift, center, weight, rows[3], rows[0])
        _blur_row(scene[min(1, size - 1)], shift, center, weight, rows[3], rows[1])
        for r in range(size):
            if 0 < r < size - 1:
                _blur_row(scene[r + 1], shift, center, weight, rows[3], rows[(r + 1) % 3])
            # Reflected: the row before the first is the second, the row after the last the last but one.
            here, above, below = rows[r % 3], rows[(r + 2) % 3], rows[(r + 1) % 3]
            above = above if r > 0 else below
            below = below if r < size - 1 else above
            out = planes[channel, r]
            for c in range(size):
                beside = np.uint32(np.uint32(above[c]) + np.uint32(below[c]))
                total = np.uint32(np.uint32(center) * np.uint32(here[c])) + np.uint32(np.uint32(weight) * beside)
                out[c] = np.uint8(np.uint32(total + np.uint32(32768)) >> np.uint32(16))


@kernel
def draw_scenes(scenes, fractals, planes, k0, k1, chain_stream, background_stream, points, fractal_size):
    """Draw one scene an image.

    Args:
        scenes: [B] of ``FRACTAL_SCENE``.
        fractals: [B, N] of ``FRACTAL``: those of the scenes.
        planes: uint8 [B, P, S, S], overwritten.
        k0: key of the dataset, low word.
        k1: key of the dataset, high word.
        chain_stream: Philox stream of map selections.
        background_stream: Philox stream of backgrounds.
        points: points a fractal.
        fractal_size: side F of the fractals' canvas.
    """
    k0, k1 = np.uint64(k0), np.uint64(k1)
    channels, size = planes.shape[1], planes.shape[2]
    grey = channels == 1
    side = (1 << levels_of(size)) + 1
    mean, heights = np.empty(side, np.float32), np.empty(side * side, np.float32)
    words = np.empty((side * side + 3) // 4 * 4, np.uint32)
    memory = scratch(points, fractal_size)
    counts = np.empty((fractal_size, fractal_size), np.int32)
    table, hues = np.empty(256, np.uint32), np.empty(fractal_size, np.uint8)
    picture = np.empty((fractal_size, fractal_size), np.uint32)
    taps, rows = np.empty((2, size), np.int32), np.empty((4, size + 2), np.uint16)
    canvas = np.empty((size, size), np.uint32)
    for image in range(scenes.size):
        scene = scenes[image]
        if grey:
            canvas[:] = 0
        else:
            fill_heights(scene, k0, k1, background_stream, size, mean, words, heights)
            colour_heights(scene, heights, side, canvas)
        for i in range(min(scene.num_fractals, fractals.shape[1])):
            fractal = fractals[image, i]
            peak = density(fractal, k0, k1, chain_stream, points, memory, counts)
            if peak == 0:
                continue
            if grey:
                _shade(np.uint32(fractal.value & 255), counts, picture)
            else:
                _colour(fractal, counts, peak, table, hues, picture)
            if fractal.side == fractal_size:
                _paste(picture, fractal.left, fractal.top, canvas)
            else:
                _paste_resized(picture, max(fractal.side, 1), fractal.left, fractal.top, channels, taps, canvas)
        weight = np.int32(scene.blur[1] * _LEVELS + _HALF)
        if weight > 0:
            _blur(canvas, min(weight, 85), rows, planes[image])
        else:
            _copy(canvas, planes[image])
