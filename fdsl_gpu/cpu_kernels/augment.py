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
def _histogram(pixels, quarters, counts):
    """How often each byte occurs: uint8 [n] to ``counts`` int64 [256]; ``quarters`` int64 [4, 256] is scratch."""
    # Four counters a byte, so that equal neighbours do not wait for one another.
    quarters[:] = 0
    whole = pixels.size >> 3
    words = pixels[: whole << 3].view(np.uint64)
    for j in range(whole):
        word = words[j]
        first = word & _LOW_BYTE
        if word == first * _ONES:
            quarters[0, first] += 8
        else:
            for i in range(8):
                quarters[i & 3, (word >> np.uint64(8 * i)) & _LOW_BYTE] += 1
    for i in range(whole << 3, pixels.size):
        quarters[0, pixels[i]] += 1
    for v in range(256):
        counts[v] = quarters[0, v] + quarters[1, v] + quarters[2, v] + quarters[3, v]


@inner
def _stretch(counts, quotients, out):
    """AutoContrast, with ``quotients`` float64 [256], 255 / n."""
    low, high = 0, 255
    while low < 255 and counts[low] == 0:
        low += 1
    while high > 0 and counts[high] == 0:
        high -= 1
    if high <= low:
        return
    scale = quotients[high - low]
    offset = -np.float64(low) * scale
    for v in range(256):
        out[v] = min(max(np.int64(v * scale + offset), 0), 255)


@inner
def _equalize(counts, out):
    total, last = np.int64(0), np.int64(0)
    for v in range(256):
        total += counts[v]
        last = counts[v] if counts[v] else last
    step = (total - last) // 255
    if step == 0:
        return
    n = step // 2
    for v in range(256):
        out[v] = min(n // step, 255)
        n += counts[v]


@inner
def _mean(counts):
    """The mean byte, rounded; a half goes up."""
    total, weighted = np.int64(0), np.int64(0)
    for v in range(256):
        total += counts[v]
        weighted += v * counts[v]
    return (2 * weighted + total) // (2 * total)


@inner
def _operation_table(kind, level, factor, counts, quotients, out):
    """What an operation makes of each byte: ``out`` uint8 [256]; ``counts`` for those that need a histogram."""
    for v in range(256):
        out[v] = v
    if kind == AUTO_CONTRAST:
        _stretch(counts, quotients, out)
    elif kind == EQUALIZE:
        _equalize(counts, out)
    elif kind in (CONTRAST, BRIGHTNESS):
        grey = _mean(counts) if kind == CONTRAST else 0
        for v in range(256):
            out[v] = _blend(np.int32(grey), np.int32(v), factor)
    else:
        for v in range(256):
            if kind == INVERT:
                out[v] = 255 - v
            elif kind == POSTERIZE:
                out[v] = v if level >= 8 else v & (0xFF00 >> level)
            elif kind == SOLARIZE:
                out[v] = v if v < level else 255 - v
            elif kind == SOLARIZE_ADD:
                out[v] = min(v + level, 255) if v < 128 else v


@inner
def flush(pixels, table):
    """Look the bytes of a plane up in its pending table, which becomes the identity."""
    same = True
    for v in range(256):
        same &= table[v] == v
    if same:
        return
    for i in range(pixels.size):
        pixels[i] = table[pixels[i]]
    for v in range(256):
        table[v] = v


@inner
def _compose(words, reals, at, picture, planes, tables, grey, quotients, histograms, operation):
    """Compose an operation by table into the pending tables; ``histograms`` and ``operation`` are scratch."""
    kind, level, factor = words[at + _KIND], words[at + _LEVEL], reals[at + _FACTOR]
    counts, current, quarters = histograms[0], histograms[1], histograms[2:]
    current[:] = 0
    statistics = kind in (AUTO_CONTRAST, EQUALIZE, CONTRAST)
    if kind == CONTRAST and planes == 3:
        for c in range(3):
            flush(picture[c], tables[c])
        luma(picture, grey)
        _histogram(grey, quarters, current)
    for c in range(planes):
        if statistics and not (kind == CONTRAST and planes == 3):
            _histogram(picture[c], quarters, counts)
            current[:] = 0
            for v in range(256):
                current[tables[c, v]] += counts[v]
        _operation_table(kind, level, factor, current, quotients, operation)
        for v in range(256):
            tables[c, v] = operation[tables[c, v]]


@inner
def _color(picture, factor, grey):
    """Each plane blended with the luma, in place."""
    luma(picture, grey)
    for c in range(3):
        plane = picture[c]
        for i in range(plane.size):
            plane[i] = _blend(np.int32(grey[i]), np.int32(plane[i]), factor)


@inner
def _sharpen(plane, size, factor, out):
    """Each inner pixel blended with the mean of its neighbours, where it weighs 5 of 13; the border stays."""
    for y in range(size):
        row, target = plane[y * size : (y + 1) * size], out[y * size : (y + 1) * size]
        if y == 0 or y == size - 1 or size < 3:
            for x in range(size):
                target[x] = row[x]
            continue
        above, below = plane[(y - 1) * size : y * size], plane[(y + 1) * size : (y + 2) * size]
        target[0], target[size - 1] = row[0], row[size - 1]
        for i in range(size - 2):
            x = np.uintp(i)
            total = np.int32(above[x]) + np.int32(above[x + 1]) + np.int32(above[x + 2])
            total += np.int32(row[x]) + np.int32(5) * np.int32(row[x + 1]) + np.int32(row[x + 2])
            total += np.int32(below[x]) + np.int32(below[x + 1]) + np.int32(below[x + 2])
            smooth = np.uint32(2 * total + 13) // np.uint32(26)
            target[x + 1] = _blend(np.int32(smooth), np.int32(row[x + 1]), factor)


@inner
def _operate(words, reals, slots, pictures, size, planes, tables, packed, fill, quotients, scratch):
    """The operations of one record on flat pictures uint8 [2, 3, size * size]: (which is the result, its planes)."""
    grey, histograms, operation, memory = scratch
    side = 0
    for c in range(3):
        for v in range(256):
            tables[c, v] = v
    for k in range(slots):
        at = _OPERATIONS + k * _OPERATION_WORDS
        kind = words[at + _KIND]
        picture, other = pictures[side], pictures[1 - side]
        if kind == 0 or (kind == COLOR and planes == 1):
            continue
        if kind not in (COLOR, SHARPNESS, AFFINE):
            _compose(words, reals, at, picture, planes, tables, grey, quotients, histograms, operation)
            continue
        for c in range(planes):
            flush(picture[c], tables[c])
        if kind == COLOR:
            _color(picture, reals[at + _FACTOR], grey)
        elif kind == SHARPNESS:
            for c in range(planes):
                _sharpen(picture[c], size, reals[at + _FACTOR], other[c])
            side = 1 - side
        else:
            matrix = reals[at + _MATRIX : at + _MATRIX + 6]
            before, planes = planes, words[at + _PLANES]
            affine(picture, size, before, planes, matrix, words[at + _BICUBIC], fill, packed, memory, other)
            side = 1 - side
    return side, planes


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
    pixels = pictures.shape[3]
    size = math.isqrt(pixels)
    histograms, operation = np.empty((6, 256), np.int64), np.empty(256, np.uint8)
    scratch = np.empty(pixels, np.uint8), histograms, operation, maps.scratch(size)
    _augment(words, reals, slots, planes, size, fill, quotients, packed, scratch, pictures, tables, results)


@kernel
def _augment(words, reals, slots, planes, size, fill, quotients, packed, scratch, pictures, tables, results):
    for b in range(words.shape[0]):
        # By element: a tuple assigned to a row compiles for seconds.
        results[b, 0], results[b, 1] = _operate(
            words[b], reals[b], slots, pictures[b], size, planes, tables[b], packed, fill, quotients, scratch
        )
