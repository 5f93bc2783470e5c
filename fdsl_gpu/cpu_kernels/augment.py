"""Operations of a presentation on the bytes of one picture, for numba; the twin of ``triton_kernels.augment``.

Operations by table (AutoContrast, Equalize, Invert, Posterize, Solarize, SolarizeAdd, Contrast, Brightness) touch no
pixel: each is composed into one pending table of 256 bytes a plane, through which the pixels are read when an operation
needs them (Color, Sharpness, Affine), or when they are written out. Every byte is the one that Pillow computes, save
for affine maps (``fdsl_gpu.cpu_kernels.affine``).
"""

import math

import numpy as np

from fdsl_gpu.cpu_kernels import affine as maps
from fdsl_gpu.cpu_kernels.affine import affine
from fdsl_gpu.cpu_kernels.jit import inner, kernel
from fdsl_gpu.cpu_kernels.write_out import luma
from fdsl_gpu.records import OPERATION, PRESENTATION, word

# Numbers of the operations: places in fdsl_gpu.augment.OPERATIONS, from 1.
AUTO_CONTRAST, EQUALIZE, INVERT, POSTERIZE, SOLARIZE, SOLARIZE_ADD = 1, 2, 3, 4, 5, 6
COLOR, CONTRAST, BRIGHTNESS, SHARPNESS, AFFINE = 7, 8, 9, 10, 11

_OPERATIONS = word(PRESENTATION, "operations")
_OPERATION_WORDS = OPERATION.itemsize // 4
_KIND, _LEVEL, _FACTOR, _BICUBIC, _PLANES, _MATRIX = (
    word(OPERATION, name) for name in ("kind", "level", "factor", "bicubic", "planes", "matrix")
)

_ONES = np.uint64(0x0101010101010101)
_LOW_BYTE = np.uint64(255)
_ZERO = np.float32(0.0)
_MOST = np.float32(255.0)


@inner(forceinline=True)
def _blend(start, end, factor):
    """``start + factor (end - start)`` of int32 in float32, clipped and truncated, as Pillow's ``Image.blend``."""
    value = np.float32(start) + factor * np.float32(end - start)
    value = value if value > _ZERO else _ZERO
    return np.uint8(np.int32(value if value < _MOST else _MOST))


@inner
def _histogram(pixels, eights, begin, end, tables, b, c, counts):
    """How often each byte occurs in ``pixels[begin:end]``, seen through its pending table; ``eights``: as uint64.

    The result is ``counts[4]``. Before it, four counters a byte, so that equal neighbours do not wait for one another.
    """
    for k in range(5):
        for v in range(256):
            counts[k, v] = 0
    first = (begin + 7) >> 3
    last = max(end >> 3, first)
    for j in range(first, last):
        word = eights[np.uintp(j)]
        byte = word & _LOW_BYTE
        if word == byte * _ONES:
            counts[0, byte] += 8
        else:
            for i in range(8):
                counts[i & 3, (word >> np.uint64(8 * i)) & _LOW_BYTE] += 1
    # Words at the two ends may hold bytes of other planes.
    for i in range(begin, min(8 * first, end)):
        counts[0, pixels[np.uintp(i)]] += 1
    for i in range(8 * last, end):
        counts[0, pixels[np.uintp(i)]] += 1
    for v in range(256):
        counts[4, tables[b, c, v]] += counts[0, v] + counts[1, v] + counts[2, v] + counts[3, v]


@inner
def _compose(kind, level, factor, quotients, counts, tables, b, c):
    """Compose an operation by table into a pending table; those with statistics read the histogram ``counts[4]``."""
    total, weighted, low, high, last = np.int64(0), np.int64(0), 255, 0, np.int64(0)
    for v in range(256):
        count = counts[4, v]
        total += count
        weighted += v * count
        if count:
            low, high, last = min(low, v), v, count
    scale = quotients[high - low] if low < high else 1.0
    offset = -np.float64(low) * scale if low < high else 0.0
    step = (total - last) // 255
    equalized = step // 2
    # The mean byte, rounded; a half goes up.
    grey = np.int32((2 * weighted + total) // (2 * total)) if kind == CONTRAST else np.int32(0)
    # The others are of one form: bits kept and something added below a threshold, bits flipped from there.
    kept, added, threshold, flipped = 255, 0, 256, 255
    if kind == INVERT:
        threshold = 0
    elif kind == POSTERIZE:
        kept = 0xFF00 >> min(np.int64(level), 8)
    elif kind == SOLARIZE:
        threshold = np.int64(level)
    elif kind == SOLARIZE_ADD:
        added, threshold, flipped = np.int64(level), 128, 0
    for v in range(256):
        value = v
        if kind == AUTO_CONTRAST:
            value = min(max(np.int64(v * scale + offset), 0), 255)
        elif kind == EQUALIZE:
            if step > 0:
                value = min(equalized // step, 255)
            equalized += counts[4, v]
        elif kind in (CONTRAST, BRIGHTNESS):
            value = np.int64(_blend(grey, np.int32(v), factor))
        else:
            value = min((v & kept) + added, 255) if v < threshold else v ^ flipped
        counts[5, v] = value
    for v in range(256):
        tables[b, c, v] = counts[5, tables[b, c, v]]


@inner
def flush(pixels, begin, area, tables, b, c):
    """Look a plane, ``area`` pixels from ``begin``, up in its pending table, which becomes the identity."""
    same = True
    for v in range(256):
        same &= tables[b, c, v] == v
    if same:
        return
    for i in range(area):
        at = np.uintp(begin + i)
        pixels[at] = tables[b, c, pixels[at]]
    for v in range(256):
        tables[b, c, v] = v


@inner
def _color(pixels, begin, area, grey, factor):
    """Three planes blended with their luma, in place."""
    for c in range(3):
        plane = begin + c * area
        for i in range(area):
            at = np.uintp(plane + i)
            pixels[at] = _blend(np.int32(pixels[np.uintp(grey + i)]), np.int32(pixels[at]), factor)


@inner
def _sharpen(pixels, begin, planes, size, factor, out):
    """Each inner pixel blended with the mean of its neighbours, where it weighs 5 of 13; the border stays."""
    area = size * size
    for i in range(planes * area):
        pixels[np.uintp(out + i)] = pixels[np.uintp(begin + i)]
    # By uint64 places: an index that could be negative costs a test and the vectors.
    pitch, one, two = np.uintp(size), np.uintp(1), np.uintp(2)
    for c in range(planes):
        for y in range(1, size - 1):
            first = c * area + y * size
            for i in range(size - 2):
                row = np.uintp(begin + first + i)
                above, below = row - pitch, row + pitch
                total = np.int32(pixels[above]) + np.int32(pixels[above + one]) + np.int32(pixels[above + two])
                total += np.int32(pixels[row]) + np.int32(5) * np.int32(pixels[row + one]) + np.int32(pixels[row + two])
                total += np.int32(pixels[below]) + np.int32(pixels[below + one]) + np.int32(pixels[below + two])
                smooth = np.uint32(2 * total + 13) // np.uint32(26)
                value = _blend(np.int32(smooth), np.int32(pixels[row + one]), factor)
                pixels[np.uintp(out + first + 1 + i)] = value


def augment(words, reals, slots, planes, fill, quotients, packed, pictures, tables, results):
    """The operations of each record, in order.

    Args:
        words: int32 [B, 76], the records.
        reals: float32 [B, 76], the same memory.
        slots: operations of a record that may be set.
        planes: of the pictures before, 1 or 3.
        fill: uint8 [3], what an affine map shows outside of the picture.
        quotients: float64 [256], 255 / n.
        packed: uint32 [(W + 4) * (W + 1)], scratch.
        pictures: uint8 [>= B, 2, 3, W * W]; the picture is in the first of the two.
        tables: uint8 [>= B, 3, 256], the pending tables of the results.
        results: int32 [>= B, 2]: which of the two pictures is the result, and its planes.
    """
    size = math.isqrt(pictures.shape[3])
    histograms = np.zeros((6, 256), np.int64)
    pixels = pictures.reshape(-1)
    memory = pixels, pixels[: pixels.size & -8].view(np.uint64)
    scratch = histograms, packed, maps.scratch(size)
    _augment(words, reals, slots, planes, size, fill, quotients, scratch, memory, tables, results)


@kernel
def _augment(words, reals, slots, planes, size, fill, quotients, scratch, memory, tables, results):
    pixels, eights = memory
    histograms, packed, rows = scratch
    area = size * size
    for b in range(words.shape[0]):
        side, count = 0, planes
        for c in range(3):
            for v in range(256):
                tables[b, c, v] = v
        for k in range(slots):
            at = _OPERATIONS + k * _OPERATION_WORDS
            kind, level, factor = words[b, at + _KIND], words[b, at + _LEVEL], reals[b, at + _FACTOR]
            if kind == 0 or (kind == COLOR and count == 1):
                continue
            here, there = (2 * b + side) * 3 * area, (2 * b + 1 - side) * 3 * area
            # Contrast is the one operation by table that asks for the pixels of all planes.
            together = kind == CONTRAST and count == 3
            if together or kind in (COLOR, SHARPNESS, AFFINE):
                for c in range(count):
                    flush(pixels, here + c * area, area, tables, b, c)
            if together or kind == COLOR:
                luma(pixels, here, area, pixels, there)
            if kind == COLOR:
                _color(pixels, here, area, there, factor)
            elif kind == SHARPNESS:
                _sharpen(pixels, here, count, size, factor, there)
                side = 1 - side
            elif kind == AFFINE:
                before, count = count, np.int64(words[b, at + _PLANES])
                matrix = reals[b, at + _MATRIX : at + _MATRIX + 6]
                affine(pixels, here, there, size, before, count, matrix, words[b, at + _BICUBIC], fill, packed, rows)
                side = 1 - side
            else:
                for c in range(count):
                    if kind in (AUTO_CONTRAST, EQUALIZE, CONTRAST) and (c == 0 or not together):
                        begin = there if together else here + c * area
                        _histogram(pixels, eights, begin, begin + area, tables, b, c, histograms)
                    _compose(kind, level, factor, quotients, histograms, tables, b, c)
        # By element: a tuple assigned to a row compiles for seconds.
        results[b, 0], results[b, 1] = side, count
