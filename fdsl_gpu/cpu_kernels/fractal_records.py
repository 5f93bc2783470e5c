"""Records of Anderson and Farrell's pictures from random words: rows of ``records.FRACTAL_SCENE``.

In numba because this stands in every training step. All is + - x / and square roots of float64, rounded once where it
is stored. Words are uint64 [n, B]. What is uniform between two constants stands in tables of ``_FIELD``, so that one
loop draws it all.
"""

import math
from functools import cache

import numpy as np

from fdsl_gpu.cpu_kernels import alias
from fdsl_gpu.cpu_kernels.jit import inner, kernel
from fdsl_gpu.cpu_kernels.philox import integer, uniform
from fdsl_gpu.records import BACKGROUND_LEVELS, FRACTAL, FRACTAL_SCENE, MAX_FRACTALS, MAX_MAPS, as_words, word

GREY = 127

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
# Taylor coefficients 1 / n! of the exponential.
_EXPONENTIAL = tuple(1 / math.factorial(n) for n in range(16))

_BACKGROUND, _CORNERS, _AMPLITUDES, _FACTORS, _OFFSETS, _BLUR, _FRACTALS = (
    word(FRACTAL_SCENE, name)
    for name in ("background_low", "corners", "amplitudes", "factors", "offsets", "blur", "fractals")
)
_SEQUENCE, _SELECT, _START, _SHIFT, _STRETCH, _FLIPS, _PATCH = (
    word(FRACTAL, name) for name in ("sequence_low", "select", "start", "shift", "stretch", "flips", "patch")
)
_HUE, _SATURATION, _VALUE, _SIDE, _LEFT, _TOP = (
    word(FRACTAL, name) for name in ("hue", "saturation", "value", "side", "left", "top")
)
_FRACTAL_WORDS = FRACTAL.itemsize // 4

_FIELD = np.dtype([("row", "<i8"), ("place", "<i8"), ("low", "<f8"), ("high", "<f8"), ("whole", "<i8")])


def _fields(row, place, *ranges, whole=False):
    """Neighbours in a record, uniform in [low, high), from the words from ``row`` on; cut off where they are whole."""
    return [(row + k, place + k, low, high, whole) for k, (low, high) in enumerate(ranges)]


# The fifth word of a background is its decay.
_SKY = [
    *_fields(0, _CORNERS, *[(0.0, 1.0)] * 4),
    *_fields(5, _FACTORS, (0.25 * 255, 255.0), (0.1 * 255, 0.3 * 255), (0.3 * 255, 0.6 * 255)),
    *_fields(8, _OFFSETS, (0.0, 255.0), (0.4 * 255, 0.6 * 255), (0.4 * 255, 0.6 * 255)),
]


def _colour(row, first, color):
    """Of the fractal at ``first``, from three words; without saturation every density has the same colour."""
    if not color:
        return _fields(row, first + _VALUE, (GREY, GREY), whole=True)
    hue = _fields(row, first + _HUE, (0.0, 255.0))
    return hue + _fields(row + 1, first + _SATURATION, (0.3 * 255, 255.0), (0.5 * 255, 255.0), whole=True)


@cache
def _scene_fields(background):
    """Of a scene, apart from its fractals."""
    return np.array(_SKY if background else [], _FIELD)


@cache
def _single_fields(color, background):
    """Of a scene and its only fractal."""
    window = _fields(13, _FRACTALS + _SHIFT, *[(-0.2, 0.2)] * 2, *[(0.5, 2.0)] * 2)
    flips_and_patch = _fields(20, _FRACTALS + _FLIPS, (0, 8), (0, 512), whole=True)
    sky = _SKY if background else []
    return np.array([*sky, *window, *_colour(17, _FRACTALS, color), *flips_and_patch], _FIELD)


@cache
def _placed_fields(color):
    """Of a fractal among several; words and places count from its own."""
    return np.array([*_colour(0, 0, color), *_fields(3, _FLIPS, (0, 8), whole=True)], _FIELD)


@inner(inline="always")
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


@inner(inline="always")
def _draw_field(field, words, row, i, first, out, reals):
    """A field of picture i, from words from ``row`` on, in the record at ``first``."""
    value, place = uniform(words[np.uintp(row + field.row), i], field.low, field.high), np.uintp(first + field.place)
    if field.whole:
        out[i, place] = np.int32(value)
    else:
        reals[i, place] = value


@kernel
def _fill_scenes(words, fields, levels, blurs, blur, exponentials, out, reals):
    """All of the scenes that their words decide.

    Level k of a background adds up to exp(decay (1 - k)) / 2 either way. Half of the pictures get a 3x3 Gaussian of
    sigma U(0.5, 1); its weights along an axis are centre and side.

    Args:
        words: rows of ``fields``, and in row 4 the decay.
        fields: [n] of ``_FIELD``, what is uniform.
        levels: of the background, 0 for none.
        blurs: 2 rows, coin and sigma.
        blur: whether there are blurs.
        exponentials: float64 [2 B], scratch.
        out: int32 [B, W], zeros.
        reals: the same memory as float32.
    """
    count = out.shape[0]
    for i in range(count):
        sigma = uniform(blurs[1, i], 0.5, 1.0)
        exponentials[i], exponentials[count + i] = uniform(words[4, i], 0.4, 0.8), 1 / (2 * sigma * sigma)
    # Of all pictures at once, four or eight in a register.
    for i in range(2 * count):
        exponentials[i] = exponential(exponentials[i])
    for f in range(fields.size):
        field = fields[f]
        for i in range(count):
            _draw_field(field, words, 0, i, 0, out, reals)
    for i in range(count):
        amplitude = 0.5
        for k in range(levels):
            reals[i, _AMPLITUDES + k] = amplitude
            amplitude *= exponentials[i]
        side = exponentials[count + i] if blur and blurs[0, i] >> np.uint64(31) else 0.0
        total = 1 + 2 * side
        reals[i, _BLUR], reals[i, _BLUR + 1] = 1 / total, side / total


@kernel
def _weigh(maps, weights, reals):
    """``weights`` float64 [B, 8] that select the maps float64 [B, 48] of the first fractals, and where these start."""
    for i in range(maps.shape[0]):
        a = b = c = d = volume = 0.0
        # Backwards, to end with map 0, whose fixed point is the start.
        for j in range(MAX_MAPS - 1, -1, -1):
            k = 6 * j
            a, b, c, d = maps[i, k], maps[i, k + 1], maps[i, k + 2], maps[i, k + 3]
            volume = a * d - b * c
            weights[i, j] = abs(volume)
        determinant, e, f = 1.0 + volume - a - d, maps[i, 4], maps[i, 5]
        scale = 1.0 / determinant if determinant != 0.0 else 0.0
        reals[i, _FRACTALS + _START] = scale * ((1.0 - d) * e + b * f)
        reals[i, _FRACTALS + _START + 1] = scale * ((1.0 - a) * f + c * e)


def fill_single(words, ids, view, num_maps, maps, size, settings, scenes):
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
        scenes: [B] of ``FRACTAL_SCENE``, zeros.
    """
    color, background, blur = settings
    out, count = as_words(scenes), len(scenes)
    reals, halves = out.view(np.float32), ids.view(np.int32).reshape(count, 2)
    fields, levels = _single_fields(color, background), BACKGROUND_LEVELS if background else 0
    _fill_scenes(words, fields, levels, words[11:13], blur, np.empty(2 * count), out, reals)
    weights = np.empty((count, MAX_MAPS))
    _weigh(maps.reshape(count, 6 * MAX_MAPS), weights, reals)
    alias.fill_tables(weights, num_maps, out, _FRACTALS + _SELECT)
    if background:
        out[:, _BACKGROUND : _BACKGROUND + 2] = halves
        scenes["view"] = view
    fractals = scenes["fractals"][:, 0]
    out[:, _FRACTALS + _SEQUENCE : _FRACTALS + _SEQUENCE + 2] = halves
    scenes["num_fractals"] = 1
    fractals["num_maps"], fractals["view"], fractals["maps"], fractals["side"] = num_maps, view, maps, size


def fill_several(words, counts, items, item_words, fractals, skies, sky_words, size, settings, scenes):
    """Pictures of one to five fractals.

    Args:
        words: 38 rows: the choice of a background, blur, then of each fractal colour, flips, size and place.
        counts: int64 [B], fractals of a picture.
        items: int64 [5, B], ids of its fractals.
        item_words: 10 rows: five that their classes, and five that their patches are drawn from.
        fractals: int32 [C, 51], what a class fixes.
        skies: int64 [B], ids of its background.
        sky_words: 11 rows, what the background draws.
        size: of the canvas, pixels.
        settings: color, background and blur, as in :func:`fill_single`.
        scenes: [B] of ``FRACTAL_SCENE``, zeros.
    """
    color, background, blur = settings
    out, count = as_words(scenes), len(scenes)
    reals = out.view(np.float32)
    fields, levels = _scene_fields(background), BACKGROUND_LEVELS if background else 0
    _fill_scenes(sky_words, fields, levels, words[1:3], blur, np.empty(2 * count), out, reals)
    scenes["num_fractals"] = counts
    if background:
        out[:, _BACKGROUND : _BACKGROUND + 2] = skies.view(np.int32).reshape(count, 2)
    _place_fractals(words, counts, items, item_words, fractals, _placed_fields(color), size, out, reals)


@kernel
def _place_fractals(words, counts, items, item_words, fractals, fields, size, out, reals):
    """The fractals of :func:`fill_several`; ``fields`` are what is uniform in each."""
    # Fractal by fractal, so that the lines of few rows of words, 2 KiB apart, have to share a cache's sets.
    for j in range(MAX_FRACTALS):
        first, own = _FRACTALS + j * _FRACTAL_WORDS, 3 + 7 * j
        for i in range(counts.size):
            if j >= counts[i]:
                continue
            label = integer(item_words[j, i], 0, fractals.shape[0])
            for k in range(_FRACTAL_WORDS):
                out[i, first + k] = fractals[label, k]
            out[i, first + _SEQUENCE] = np.int32(np.uint64(items[j, i]) & _LOW)
            out[i, first + _SEQUENCE + 1] = np.int32(np.uint64(items[j, i]) >> _HALF)
            out[i, first + _PATCH] = integer(item_words[MAX_FRACTALS + j, i], 0, 512)
            reals[i, first + _STRETCH] = reals[i, first + _STRETCH + 1] = 1.0
            for f in range(fields.size):
                _draw_field(fields[f], words, own, i, first, out, reals)
            side = np.int64(uniform(words[own + 4, i], 0.15, 0.6) * size)
            out[i, first + _SIDE] = side
            out[i, first + _LEFT] = integer(words[own + 5, i], -(side // 2), size - side // 2)
            out[i, first + _TOP] = integer(words[own + 6, i], -(side // 2), size - side // 2)
