"""Records of Anderson and Farrell's pictures from random words: int32 [B, W], rows of ``records.FRACTAL_SCENE``.

In numba because this stands in every training step. All is + - x / and square roots of float64, rounded once where it
is stored. Words are uint64 [n, B].
"""

import math

import numpy as np

from fdsl_gpu.cpu_kernels import alias
from fdsl_gpu.cpu_kernels.jit import inner, kernel
from fdsl_gpu.cpu_kernels.philox import integer, uniform
from fdsl_gpu.records import BACKGROUND_LEVELS, FRACTAL, FRACTAL_SCENE, MAX_MAPS, word

GREY = 127

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
# Taylor coefficients 1 / n! of the exponential.
_EXPONENTIAL = tuple(1 / math.factorial(n) for n in range(16))
# Ranges of colours: hue, saturation, value of a fractal; factor and offset of those of a background.
_COLOUR_LOW, _COLOUR_HIGH = (0.0, 0.3 * 255, 0.5 * 255), (255.0, 255.0, 255.0)
_FACTOR_LOW, _FACTOR_HIGH = (0.25 * 255, 0.1 * 255, 0.3 * 255), (255.0, 0.3 * 255, 0.6 * 255)
_OFFSET_LOW, _OFFSET_HIGH = (0.0, 0.4 * 255, 0.4 * 255), (255.0, 0.6 * 255, 0.6 * 255)

_COUNT, _BACKGROUND, _VIEW, _CORNERS, _AMPLITUDES, _FACTORS, _OFFSETS, _BLUR, _FRACTALS = (
    word(FRACTAL_SCENE, name)
    for name in (
        *("num_fractals", "background_low", "view", "corners", "amplitudes", "factors", "offsets", "blur"),
        "fractals",
    )
)
_MAPS_USED, _SEQUENCE, _FRACTAL_VIEW, _SELECT, _MAPS, _START, _SHIFT, _STRETCH, _FLIPS, _PATCH = (
    word(FRACTAL, name)
    for name in (
        *("num_maps", "sequence_low", "view", "select", "maps", "start", "shift", "stretch", "flips", "patch"),
    )
)
_HUE, _SATURATION, _VALUE, _SIDE, _LEFT, _TOP = (
    word(FRACTAL, name) for name in ("hue", "saturation", "value", "side", "left", "top")
)
_FRACTAL_WORDS = FRACTAL.itemsize // 4


@inner
def exponential(x):
    """exp(-x) for x in [0, 2], within 1e-15 of it, the same on every machine: Taylor's series at x / 4, squared twice.

    The first term left out is below 1 / (2**16 16!) = 7e-19.
    """
    y = x * -0.25
    total = _EXPONENTIAL[-1]
    for coefficient in _EXPONENTIAL[-2::-1]:
        total = total * y + coefficient
    total = total * total
    return total * total


@inner
def _set_id(out, i, place, number):
    out[i, place] = np.int32(np.uint64(number) & _LOW)
    out[i, place + 1] = np.int32(np.uint64(number) >> _HALF)


@inner
def _set_background(words, i, decay, number, view, out, reals):
    """A diamond-square background from eleven words; level k adds up to exp(decay (1 - k)) / 2 either way."""
    _set_id(out, i, _BACKGROUND, number)
    out[i, _VIEW] = view
    for k in range(4):
        reals[i, _CORNERS + k] = uniform(words[k, i], 0.0, 1.0)
    amplitude = 0.5
    for k in range(BACKGROUND_LEVELS):
        reals[i, _AMPLITUDES + k] = amplitude
        amplitude *= decay
    for k in range(3):
        reals[i, _FACTORS + k] = uniform(words[5 + k, i], _FACTOR_LOW[k], _FACTOR_HIGH[k])
        reals[i, _OFFSETS + k] = uniform(words[8 + k, i], _OFFSET_LOW[k], _OFFSET_HIGH[k])


@inner
def _fill_exponentials(amplitudes, sigmas, decays, sides):
    """Of all pictures at once, four or eight in a register: decays of backgrounds and side weights of blurs."""
    for i in range(decays.size):
        decays[i] = exponential(uniform(amplitudes[i], 0.4, 0.8))
        sigma = uniform(sigmas[i], 0.5, 1.0)
        sides[i] = exponential(1 / (2 * sigma * sigma))


@inner
def _set_blur(coin, side, blur, i, reals):
    """Half of the pictures get a 3x3 Gaussian of sigma U(0.5, 1); its weights along an axis are centre and side."""
    reals[i, _BLUR], reals[i, _BLUR + 1] = 1.0, 0.0
    if blur and coin >> np.uint64(31):
        total = 1 + 2 * side
        reals[i, _BLUR], reals[i, _BLUR + 1] = 1 / total, side / total


# Inlined: arrays passed on have their references counted, which takes longer than a colour.
@inner(inline="always")
def _set_colour(words, own, i, color, first, out, reals):
    """A colour, from three words, of the fractal at ``first``; without saturation every density has the same one."""
    out[i, first + _VALUE] = GREY
    if color:
        reals[i, first + _HUE] = uniform(words[own, i], _COLOUR_LOW[0], _COLOUR_HIGH[0])
        out[i, first + _SATURATION] = np.int32(math.floor(uniform(words[own + 1, i], _COLOUR_LOW[1], _COLOUR_HIGH[1])))
        out[i, first + _VALUE] = np.int32(math.floor(uniform(words[own + 2, i], _COLOUR_LOW[2], _COLOUR_HIGH[2])))


def scratch(count):
    """What the kernels below work in, for ``count`` pictures."""
    return np.empty(count), np.empty(count), np.empty(MAX_MAPS), alias.scratch()


@kernel
def fill_single(words, ids, view, num_maps, maps, size, settings, scratch, out, reals):
    """Pictures of one fractal.

    Args:
        words: 22 rows: background, blur, window, colour, flips, patch.
        ids: int64 [B], of background and sequence.
        view: of the instance.
        num_maps: int64 [B].
        maps: float64 [B, 8, 6].
        size: of the canvas, pixels.
        settings: whether fractals have colours, whether there is a background, and whether half of the pictures are
            blurred.
        scratch: from :func:`scratch`.
        out: int32 [B, W], zeros.
        reals: the same memory as float32.
    """
    color, background, blur = settings
    decays, sides, weights, table = scratch
    first = _FRACTALS
    _fill_exponentials(words[4], words[12], decays, sides)
    for i in range(ids.size):
        out[i, _COUNT] = 1
        if background:
            _set_background(words, i, decays[i], ids[i], view, out, reals)
        _set_blur(words[11, i], sides[i], blur, i, reals)
        out[i, first + _MAPS_USED] = num_maps[i]
        _set_id(out, i, first + _SEQUENCE, ids[i])
        out[i, first + _FRACTAL_VIEW] = view
        for j in range(MAX_MAPS):
            weights[j] = abs(maps[i, j, 0] * maps[i, j, 3] - maps[i, j, 1] * maps[i, j, 2])
            for k in range(6):
                reals[i, first + _MAPS + 6 * j + k] = maps[i, j, k]
        alias.fill_table(weights, num_maps[i], table, out[i, first + _SELECT :])
        # From the fixed point of map 0.
        a, b, c, d, e, f = maps[i, 0, 0], maps[i, 0, 1], maps[i, 0, 2], maps[i, 0, 3], maps[i, 0, 4], maps[i, 0, 5]
        determinant = 1.0 + (a * d - b * c) - a - d
        scale = 1.0 / determinant if determinant != 0.0 else 0.0
        reals[i, first + _START] = scale * ((1.0 - d) * e + b * f)
        reals[i, first + _START + 1] = scale * ((1.0 - a) * f + c * e)
        for axis in range(2):
            reals[i, first + _SHIFT + axis] = uniform(words[13 + axis, i], -0.2, 0.2)
            reals[i, first + _STRETCH + axis] = uniform(words[15 + axis, i], 0.5, 2.0)
        _set_colour(words, 17, i, color, first, out, reals)
        out[i, first + _FLIPS], out[i, first + _PATCH] = integer(words[20, i], 0, 8), integer(words[21, i], 0, 512)
        out[i, first + _SIDE] = size


@kernel
def fill_several(words, counts, items, item_words, fractals, skies, sky_words, size, settings, scratch, out, reals):
    """Pictures of one to five fractals.

    Args:
        words: 38 rows: the choice of a background, blur, then of each fractal colour, flips, size and place.
        counts: int64 [B], fractals of a picture.
        items: int64 [5, B], ids of its fractals.
        item_words: uint64 [2, 5, B], what their classes and patches are drawn from.
        fractals: int32 [C, 51], what a class fixes.
        skies: int64 [B], ids of its background.
        sky_words: 11 rows, what the background draws.
        size: of the canvas, pixels.
        settings: color, background and blur, as in :func:`fill_single`.
        scratch: from :func:`scratch`.
        out: int32 [B, W], zeros.
        reals: the same memory as float32.
    """
    color, background, blur = settings
    decays, sides, _, _ = scratch
    _fill_exponentials(sky_words[4], words[2], decays, sides)
    for i in range(counts.size):
        out[i, _COUNT] = counts[i]
        if background:
            _set_background(sky_words, i, decays[i], skies[i], 0, out, reals)
        _set_blur(words[1, i], sides[i], blur, i, reals)
    # Fractal by fractal, so that the lines of few rows of words, 2 KiB apart, have to share a cache's sets.
    for j in range(items.shape[0]):
        first, own = _FRACTALS + j * _FRACTAL_WORDS, 3 + 7 * j
        for i in range(counts.size):
            if j >= counts[i]:
                continue
            label = integer(item_words[0, j, i], 0, fractals.shape[0])
            for k in range(_FRACTAL_WORDS):
                out[i, first + k] = fractals[label, k]
            _set_id(out, i, first + _SEQUENCE, items[j, i])
            out[i, first + _PATCH] = integer(item_words[1, j, i], 0, 512)
            reals[i, first + _STRETCH] = reals[i, first + _STRETCH + 1] = 1.0
            _set_colour(words, own, i, color, first, out, reals)
            out[i, first + _FLIPS] = integer(words[own + 3, i], 0, 8)
            side = np.int64(uniform(words[own + 4, i], 0.15, 0.6) * size)
            out[i, first + _SIDE] = side
            out[i, first + _LEFT] = integer(words[own + 5, i], -(side // 2), size - side // 2)
            out[i, first + _TOP] = integer(words[own + 6, i], -(side // 2), size - side // 2)
