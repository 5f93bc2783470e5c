"""Fractals drawn by density on a diamond-square background: uint8 [B, P, S, S], P = 1 or 3.

The twin of ``triton_kernels/fractal_scene.py``, whose docstring states the law. Pictures are uint32 [S * S] holding
red | green << 8 | blue << 16, or grey, until they are finished; a fractal has one saturation and value, so that its
colours are a table of 256.
"""

import numpy as np

from fdsl_gpu.cpu_kernels.background import colour_heights, fill_heights
from fdsl_gpu.cpu_kernels.chains_2d import chain_tables
from fdsl_gpu.cpu_kernels.density import density, scratch
from fdsl_gpu.cpu_kernels.jit import inner, kernel

_FULL, _HALF, _LEVELS = np.float32(255), np.float32(0.5), np.float32(256)
_ZERO, _ONE = np.float32(0), np.float32(1)
_BYTE = np.uint32(255)


@inner
def _colour(counts, side, peak, first_hue, table, hues, picture):
    """Fill ``picture`` uint32 [F * F] from ``counts`` int32 [F * F], 0 where nothing was hit.

    ``table`` uint32 [256] holds the colours of hues; ``hues`` uint8 [F] is scratch.
    """
    largest = np.float32(peak)
    for r in range(side):
        for c in range(side):
            density = np.float32(counts[np.uintp(r * side + c)]) / largest
            hues[c] = np.uint8(np.int32(_FULL * density + first_hue) & 255)
        for c in range(side):
            at = np.uintp(r * side + c)
            picture[at] = table[hues[c]] if counts[at] else np.uint32(0)


@inner(inline="always")
def _paste(picture, side, left, top, scene, size):
    """Place ``picture`` uint32 [F * F] on ``scene`` uint32 [S * S]."""
    for r in range(-top if top < 0 else 0, side if side < size - top else size - top):
        for c in range(-left if left < 0 else 0, side if side < size - left else size - left):
            colour, at = picture[np.uintp(r * side + c)], np.uintp((top + r) * size + left + c)
            scene[at] = colour if colour else scene[at]


@inner(inline="always")
def _tap(pixel, size, side):
    """Bilinear resize from size to side: first source pixel of a pixel, and the weight of the next one in 2048ths."""
    position = (2 * pixel + 1) * size - side
    position = position if position > 0 else 0
    first = position // (2 * side)
    rest = position - first * (2 * side)
    inside = first < size - 1
    return first if inside else size - 1, (rest * 2048 + side) // (2 * side) if inside else 0


@inner(inline="always")
def _blend(shift, a, b, c, d, right, down):
    """One channel of four pixels, weighted and rounded."""
    a, b = (a >> shift) & _BYTE, (b >> shift) & _BYTE
    c, d = (c >> shift) & _BYTE, (d >> shift) & _BYTE
    above = np.int64(a) * (2048 - right) + np.int64(b) * right
    below = np.int64(c) * (2048 - right) + np.int64(d) * right
    return np.uint32((above * (2048 - down) + below * down + (1 << 21)) >> 22) << shift


@inner
def _paste_resized(picture, source, side, left, top, channels, taps, scene, size):
    """Resize ``picture`` uint32 [F * F], F = ``source``, to ``side`` and place it; ``taps`` int32 [4, S] is scratch."""
    for axis in range(2):
        place = top if axis else left
        for p in range(place if place > 0 else 0, place + side if place + side < size else size):
            taps[2 * axis, p], taps[2 * axis + 1, p] = _tap(p - place, source, side)
    first, last = left if left > 0 else 0, left + side if left + side < size else size
    for r in range(top if top > 0 else 0, top + side if top + side < size else size):
        y, down = np.int64(taps[2, r]), np.int64(taps[3, r])
        above, below = y * source, (y + 1 if y + 1 < source else source - 1) * source
        for c in range(first, last):
            x, right = taps[0, c], taps[1, c]
            beside = x + 1 if x + 1 < source else source - 1
            a, b = picture[np.uintp(above + x)], picture[np.uintp(above + beside)]
            p, q = picture[np.uintp(below + x)], picture[np.uintp(below + beside)]
            if a | b | p | q:
                colour = np.uint32(0)
                for channel in range(channels):
                    colour |= _blend(np.uint32(8 * channel), a, b, p, q, right, down)
                if colour:
                    scene[np.uintp(r * size + c)] = colour


@inner(inline="always")
def _copy(scene, channels, planes, begin):
    """Unpack ``scene`` uint32 [S * S] to bytes [channels, S, S] from ``planes[begin]`` on."""
    for channel in range(channels):
        shift = np.uint32(8 * channel)
        for i in range(scene.size):
            planes[np.uintp(begin + channel * scene.size + i)] = np.uint8((scene[i] >> shift) & _BYTE)


@inner
def _blur_row(scene, begin, size, shift, center, side, channel, rows, out):
    """Weigh the neighbours in a row: uint16 from ``rows[out]`` on, in 256ths; ``channel`` uint16 [S + 2] is scratch."""
    for c in range(size):
        channel[np.uintp(c + 1)] = np.uint16((scene[np.uintp(begin + c)] >> shift) & _BYTE)
    channel[0] = channel[2 if size > 1 else 1]
    channel[size + 1] = channel[size - 1 if size > 1 else 1]
    for c in range(size):
        beside = np.uint16(channel[np.uintp(c)] + channel[np.uintp(c + 2)])
        rows[np.uintp(out + c)] = np.uint16(center * channel[np.uintp(c + 1)] + side * beside)


@inner(inline="always")
def _blur(scene, size, side, channel, rows, channels, planes, begin):
    """3x3 blur of ``scene`` to bytes [channels, S, S] from ``planes[begin]`` on.

    ``side`` is the weight of a neighbour in 256ths; ``channel`` uint16 [S + 2] and ``rows`` uint16 [3 * S]: scratch.
    """
    weight, center = np.uint16(side), np.uint16(256 - 2 * side)
    for plane in range(channels):
        for following in range(size + 1):
            if following < size:
                shift = np.uint32(8 * plane)
                _blur_row(scene, following * size, size, shift, center, weight, channel, rows, following % 3 * size)
            r = following - 1
            if r < 0:
                continue
            # Reflected: the row before the first is the second, the row after the last the last but one.
            above, below = r - 1 if r > 0 else r + 1, r + 1 if r < size - 1 else r - 1
            if size == 1:
                above = below = r
            here, above, below = r % 3 * size, above % 3 * size, below % 3 * size
            out = begin + (plane * size + r) * size
            for c in range(size):
                beside = np.uint32(np.uint32(rows[np.uintp(above + c)]) + np.uint32(rows[np.uintp(below + c)]))
                total = np.uint32(np.uint32(center) * np.uint32(rows[np.uintp(here + c)]))
                total = np.uint32(total + np.uint32(np.uint32(weight) * beside))
                planes[np.uintp(out + c)] = np.uint8(np.uint32(total + np.uint32(32768)) >> np.uint32(16))


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
    channels, size = planes.shape[1:3]
    side = (1 << (size - 1).bit_length()) + 1
    # Heights that no level has reached yet are read as well, and make no difference.
    heights = np.empty(side, np.float32), np.empty((side * side + 3) // 4 * 4, np.uint32), np.zeros(side**2, np.float32)
    colours = np.arange(256, dtype=np.float32), np.empty(256, np.uint32), np.empty(fractal_size, np.uint8)
    pictures = np.empty(fractal_size**2, np.uint32), np.empty(size * size, np.uint32)
    # Contiguous whatever their number, so that the kernel is compiled once.
    fractals = np.ascontiguousarray(fractals)
    resized = fractals.shape[1] > 1 or bool((fractals["side"] != fractal_size).any())
    # None leaves out of the kernel what resizes: a single fractal has the size of the picture.
    taps = np.empty((4, size), np.int32) if resized else None
    memory = (
        *(heights, scratch(points, fractal_size), np.empty(fractal_size**2, np.int32), colours, pictures),
        *(np.empty(size + 2, np.uint16), np.empty(3 * size, np.uint16)),
    )
    random = np.uint64(k0), np.uint64(k1), chain_stream, background_stream
    systems = fractals, chain_tables(fractals.reshape(-1))
    _draw_scenes(scenes, systems, planes.reshape(-1), channels, size, fractal_size, random, points, taps, memory)


@kernel
def _draw_scenes(scenes, systems, planes, channels, size, fractal_size, random, points, taps, memory):
    fractals, tables = systems
    k0, k1, chain_stream, background_stream = random
    (mean, words, heights), clouds, counts, (ramp, table, hues), (picture, canvas), row, rows = memory
    for image in range(scenes.size):
        scene = scenes[image]
        if channels == 1:
            for i in range(canvas.size):
                canvas[i] = 0
        else:
            fill_heights(scene, k0, k1, background_stream, size, mean, words, heights)
            factors = scene.factors[0], scene.factors[1], scene.factors[2]
            offsets = scene.offsets[0], scene.offsets[1], scene.offsets[2]
            colour_heights(heights, mean.size, size, factors, offsets, canvas)
        for i in range(fractals.shape[1]):
            if i >= scene.num_fractals:
                break
            fractal = fractals[image, i]
            number = image * fractals.shape[1] + i
            peak = density(fractal, tables, number, k0, k1, chain_stream, points, clouds, fractal_size, counts)
            if peak == 0:
                continue
            if channels == 1:
                grey = np.uint32(fractal.value & 255)
                for j in range(counts.size):
                    picture[j] = grey if counts[j] else np.uint32(0)
            else:
                offsets = _ZERO, np.float32(fractal.saturation & 255), np.float32(fractal.value & 255)
                colour_heights(ramp, ramp.size, ramp.size, (_ONE, _ZERO, _ZERO), offsets, table)
                _colour(counts, fractal_size, peak, fractal.hue, table, hues, picture)
            left, top, side = np.int64(fractal.left), np.int64(fractal.top), np.int64(fractal.side)
            side = side if side > 1 else 1
            if taps is None or fractal.side == fractal_size:
                _paste(picture, side, left, top, canvas, size)
            else:
                _paste_resized(picture, fractal_size, side, left, top, channels, taps, canvas, size)
        weight = np.int32(scene.blur[1] * _LEVELS + _HALF)
        begin = image * channels * size * size
        if weight > 0:
            _blur(canvas, size, weight if weight < 85 else 85, row, rows, channels, planes, begin)
        else:
            _copy(canvas, channels, planes, begin)
