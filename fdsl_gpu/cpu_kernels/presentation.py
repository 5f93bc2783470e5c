"""Random draws of presentations: crop, flips, operations and erasures of every sample, from Philox words.

Fills records of ``fdsl_gpu.records.PRESENTATION``. Which block of the id's stream decides what is fixed, so no draw
depends on how another went:

    0        interpolation of the resize, left-right flip, top-bottom flip, whether anything is erased
    1 .. 10  attempts at a crop: area, aspect ratio, top, left
    16 + s   operation s: which, whether, magnitude, sign (bit 31) and interpolation (bit 30)
    24       number of erasures
    32 + 10 e + a   attempt a at erasure e: area, aspect ratio, top, left

Only + - * / and sqrt of float64, comparisons, and tables made of the same decide a record.
"""

import math

import numpy as np
from numba import njit

from fdsl_gpu.augment_parts import OPERATIONS, RAND_AUGMENT
from fdsl_gpu.cpu_kernels.jit import inner, kernel
from fdsl_gpu.cpu_kernels.philox import philox4x32
from fdsl_gpu.records import MAX_OPERATIONS
from fdsl_gpu.tables import COSINE, SINE

LAW = np.dtype(
    [
        ("crop", "<i8"),  # 0 whole canvas, 1 of the image size, 2 of random area and aspect ratio
        ("canvas_size", "<i8"),
        ("image_size", "<i8"),
        ("bicubic", "<i8"),  # of the resize: 0, 1, or 2 for either
        ("area_low", "<f8"),  # share of the canvas
        ("area_span", "<f8"),
        ("fallback_height", "<i8"),
        ("fallback_width", "<i8"),
        ("horizontal_flip", "<u8"),  # chances are thresholds: a 32-bit word below it says yes
        ("vertical_flip", "<u8"),
        ("operations", "<i8"),
        ("operation", "<u8"),  # chance
        ("magnitude", "<f8"),
        ("magnitude_std", "<f8"),
        ("operation_bicubic", "<i8"),  # 0, 1, or 2 for either
        ("grey_fill", "<i8"),  # 1 if the fill's channels are equal
        ("erasing", "<u8"),  # chance
        ("min_count", "<i8"),
        ("max_count", "<i8"),
        ("erased_low", "<f8"),  # share of the image
        ("erased_span", "<f8"),
    ]
)
"""A recipe's numbers for one canvas and image size."""

WHOLE, FIXED, RESIZED = 0, 1, 2
ATTEMPTS = 10

GENERAL_BLOCK = 0
CROP_BLOCK = 1
OPERATION_BLOCK = 16
COUNT_BLOCK = 24
ERASURE_BLOCK = 32

_AUTO_CONTRAST, _EQUALIZE, _INVERT, _POSTERIZE, _SOLARIZE, _SOLARIZE_ADD, _COLOR, _, _, _SHARPNESS, _AFFINE = range(
    1, len(OPERATIONS) + 1
)
_ROTATE, _SHEAR_X, _SHEAR_Y, _TRANSLATE_X, _TRANSLATE_Y = (
    RAND_AUGMENT.index(name) for name in ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")
)
_CHOICES = np.uint64(len(RAND_AUGMENT))
# Kind of each choice of RAND_AUGMENT.
_KINDS = np.array([OPERATIONS.index(name) + 1 if name in OPERATIONS else _AFFINE for name in RAND_AUGMENT])

_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_BYTE = np.uint64(0xFF)
_ONE = np.uint64(1)
_UNIT = 2.0**-32
_RADIAN = 0.017453292519943295


@inner
def _below(word, count):
    """A uniform integer in [0, count)."""
    return np.int64((word * np.uint64(count)) >> _HALF)


@inner
def _either(setting, bit):
    return bit if setting == 2 else setting


@njit(no_cfunc_wrapper=True)
def power(word, table):
    """``table``'s law of log-uniform numbers at the word: the product of one factor for each of its bytes."""
    return (
        table[0, (word >> np.uint64(24)) & _BYTE]
        * table[1, (word >> np.uint64(16)) & _BYTE]
        * table[2, (word >> np.uint64(8)) & _BYTE]
        * table[3, word & _BYTE]
    )


@njit(no_cfunc_wrapper=True)
def normal(word, table):
    """A normal number: bit 0 is the sign, the rest a place in ``table``, the chance of |z| < i / 256."""
    place = (np.float64(word >> _ONE) + 0.5) * 2.0**-31
    low, high = 0, table.size - 1
    while high - low > 1:
        middle = (low + high) >> 1
        if table[middle] <= place:
            low = middle
        else:
            high = middle
    size = (low + (place - table[low]) / (table[high] - table[low])) / 256.0
    return -size if word & _ONE else size


@inner(inline="always")
def _crop(record, law, ratios, low, high, lane, k0, k1):
    size = law.canvas_size
    record.top = record.left = 0
    record.height = record.width = size
    if law.crop == WHOLE:
        return
    if law.crop == FIXED:
        _, _, w2, w3 = philox4x32(np.uint64(CROP_BLOCK), lane, low, high, k0, k1)
        record.height = record.width = law.image_size
        record.top = _below(w2, size - law.image_size + 1)
        record.left = _below(w3, size - law.image_size + 1)
        return
    for attempt in range(ATTEMPTS):
        w0, w1, w2, w3 = philox4x32(np.uint64(CROP_BLOCK + attempt), lane, low, high, k0, k1)
        area = (law.area_low + law.area_span * (np.float64(w0) * _UNIT)) * np.float64(size * size)
        ratio = power(w1, ratios)
        width = np.int64(np.rint(math.sqrt(area * ratio)))
        height = np.int64(np.rint(math.sqrt(area / ratio)))
        if 1 <= width <= size and 1 <= height <= size:
            record.height, record.width = height, width
            record.top = _below(w2, size - height + 1)
            record.left = _below(w3, size - width + 1)
            return
    record.height, record.width = law.fallback_height, law.fallback_width
    record.top = (size - law.fallback_height) // 2
    record.left = (size - law.fallback_width) // 2


@njit(no_cfunc_wrapper=True)
def rotation(matrix, degrees, size):
    """PIL's matrix of ``rotate(degrees)`` about the centre of a square image; |degrees| at most 45."""
    x = -degrees * _RADIAN
    square = x * x
    cosine = COSINE[-1]
    for coefficient in COSINE[-2::-1]:
        cosine = cosine * square + coefficient
    sine = SINE[-1]
    for coefficient in SINE[-2::-1]:
        sine = sine * square + coefficient
    sine *= x
    center = size / 2.0
    matrix[0], matrix[1], matrix[2] = cosine, sine, cosine * -center + sine * -center + center
    matrix[3], matrix[4], matrix[5] = -sine, cosine, -sine * -center + cosine * -center + center


@inner(inline="always")
def set_affine(operation, choice, level, size):
    """Set the matrix of a geometric choice at a signed level (magnitude / 10, negated or not)."""
    matrix = operation.matrix
    matrix[0] = matrix[4] = 1.0
    if choice == _ROTATE:
        rotation(matrix, level * 30.0, size)
    elif choice == _SHEAR_X:
        matrix[1] = level * 0.3
    elif choice == _SHEAR_Y:
        matrix[3] = level * 0.3
    elif choice == _TRANSLATE_X:
        matrix[2] = level * 0.45 * size
    else:
        matrix[5] = level * 0.45 * size
    return level != 0.0


@inner(inline="always")
def set_level(operation, choice, magnitude, negative, size):
    """Set the argument of a choice of ``RAND_AUGMENT`` by timm's increasing laws; False if it would do nothing.

    timm multiplies before it negates, which gives the same doubles.
    """
    kind = _KINDS[choice]
    level = magnitude / 10.0
    signed = -level if negative else level
    if kind == _AFFINE:
        return set_affine(operation, choice, signed, size)
    if kind == _POSTERIZE:
        operation.level = 4 - np.int64(level * 4)
    elif kind == _SOLARIZE:
        operation.level = 256 - min(256, np.int64(level * 256))
        return operation.level < 256
    elif kind == _SOLARIZE_ADD:
        operation.level = min(128, np.int64(level * 110))
        return operation.level > 0
    elif _COLOR <= kind <= _SHARPNESS:
        operation.factor = max(0.1, 1.0 + signed * 0.9)
        return operation.factor != 1.0
    return True


@inner(inline="always")
def _operations(record, law, normals, planes, low, high, lane, k0, k1):
    for slot in range(MAX_OPERATIONS):
        operation = record.operations[slot]
        operation.planes, operation.factor = planes, 1.0
        if slot >= law.operations:
            continue
        w0, w1, w2, w3 = philox4x32(np.uint64(OPERATION_BLOCK + slot), lane, low, high, k0, k1)
        if w1 >= law.operation:
            continue
        choice = _below(w0, _CHOICES)
        kind = _KINDS[choice]
        # A grey picture has no colour to change.
        if kind == _COLOR and planes == 1:
            continue
        magnitude = law.magnitude + law.magnitude_std * normal(w2, normals)
        magnitude = max(0.0, min(magnitude, 10.0))
        if not set_level(operation, choice, magnitude, w3 >> np.uint64(31), law.image_size):
            continue
        operation.kind = kind
        if kind == _AFFINE:
            operation.bicubic = _either(law.operation_bicubic, np.int64((w3 >> np.uint64(30)) & _ONE))
            if not law.grey_fill:
                planes = 3
                operation.planes = 3
    record.planes = planes


@inner(inline="always")
def _erasures(record, law, ratios, low, high, lane, k0, k1):
    size = law.image_size
    count = law.max_count
    if law.min_count < count:
        word = philox4x32(np.uint64(COUNT_BLOCK), lane, low, high, k0, k1)[0]
        count = law.min_count + _below(word, law.max_count - law.min_count + 1)
    erased = 0
    for erasure in range(count):
        for attempt in range(ATTEMPTS):
            block = np.uint64(ERASURE_BLOCK + ATTEMPTS * erasure + attempt)
            w0, w1, w2, w3 = philox4x32(block, lane, low, high, k0, k1)
            area = (law.erased_low + law.erased_span * (np.float64(w0) * _UNIT)) * np.float64(size * size) / count
            ratio = power(w1, ratios)
            height = np.int64(np.rint(math.sqrt(area * ratio)))
            width = np.int64(np.rint(math.sqrt(area / ratio)))
            if height < size and width < size:
                # A rectangle of no pixels counts as an attempt that went well, as in timm.
                if height > 0 and width > 0:
                    rectangle = record.erasures[erased]
                    rectangle[0] = _below(w2, size - height + 1)
                    rectangle[1] = _below(w3, size - width + 1)
                    rectangle[2], rectangle[3] = height, width
                    erased += 1
                break
    record.num_erasures = erased


@kernel
def draw(laws, crop_ratios, erased_ratios, normals, k0, k1, stream, lane, planes, ids, records):
    """Fill records [B] of PRESENTATION, zeros before, for ids uint64 [B].

    Args:
        laws: [1] of LAW.
        crop_ratios: float64 [4, 256], width / height by the bytes of a word.
        erased_ratios: float64 [4, 256], height / width.
        normals: float64 [n], chance of |z| < i / 256, from 0 to 1.
        k0: first word of the key.
        k1: second word.
        stream: number of the random stream.
        lane: the view.
        planes: of the pictures before all operations, 1 or 3.
        ids: 56-bit ids of presentations.
        records: written.
    """
    law = laws[0]
    k0, k1, lane = np.uint64(k0), np.uint64(k1), np.uint64(lane)
    for i in range(ids.size):
        record = records[i]
        low = ids[i] & _LOW
        high = (ids[i] >> _HALF) | (np.uint64(stream) << np.uint64(24))
        w0, w1, w2, w3 = philox4x32(np.uint64(GENERAL_BLOCK), lane, low, high, k0, k1)
        record.bicubic = _either(law.bicubic, np.int64(w0 >> np.uint64(31)))
        record.flips = np.int64(w1 < law.horizontal_flip) | (np.int64(w2 < law.vertical_flip) << 1)
        record.noise_low, record.noise_high, record.view = low, ids[i] >> _HALF, lane
        _crop(record, law, crop_ratios, low, high, lane, k0, k1)
        _operations(record, law, normals, planes, low, high, lane, k0, k1)
        if w3 < law.erasing:
            _erasures(record, law, erased_ratios, low, high, lane, k0, k1)
