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

from fdsl_gpu.augment_parts import OPERATIONS, RAND_AUGMENT
from fdsl_gpu.cpu_kernels.jit import inner, kernel
from fdsl_gpu.cpu_kernels.philox import philox4x32
from fdsl_gpu.records import MAX_OPERATIONS
from fdsl_gpu.tables import COSINE, SINE

_RECTANGLE = np.dtype(
    [
        ("size", "<i8"),  # of the square that it lies in
        ("least", "<i8"),  # a side
        ("most", "<i8"),
        ("low", "<f8"),  # share of the square's area
        ("span", "<f8"),
        ("ratios", "<f8", (4, 256)),  # of the sides, by the bytes of a word
    ]
)

NORMALS = 1665
"""Entries of the table of normal numbers: of sizes 0, 1 / 256, ... 6.5."""

LAW = np.dtype(
    [
        ("crop", "<i8"),  # 0 whole canvas, 1 of the image size, 2 of random area and aspect ratio
        ("canvas_size", "<i8"),
        ("image_size", "<i8"),
        ("bilinear", "<u8"),  # chance that the resize is bilinear, not bicubic
        ("cropped", _RECTANGLE),  # ratios are width / height
        ("fallback_height", "<i8"),
        ("fallback_width", "<i8"),
        ("horizontal_flip", "<u8"),  # chance
        ("vertical_flip", "<u8"),
        ("operations", "<i8"),
        ("operation", "<u8"),  # chance
        ("magnitude", "<f8"),
        ("magnitude_std", "<f8"),
        ("normals", "<f8", NORMALS),  # chance of |z| < i / 256, from 0 to 1
        ("operation_bilinear", "<u8"),  # chance that an affine map is bilinear, not bicubic
        ("grey_fill", "<i8"),  # 1 if the fill's channels are equal
        ("erasing", "<u8"),  # chance
        ("min_count", "<i8"),
        ("max_count", "<i8"),
        ("erased", _RECTANGLE),  # ratios are height / width
    ]
)
"""A recipe's numbers for one canvas and image size. Chances are thresholds: a 32-bit word below one says yes."""

WHOLE, FIXED, RESIZED = 0, 1, 2
ATTEMPTS = 10

GENERAL_BLOCK = 0
CROP_BLOCK = 1
OPERATION_BLOCK = 16
COUNT_BLOCK = 24
ERASURE_BLOCK = 32

_KINDS = {name: number for number, name in enumerate(OPERATIONS, 1)}
_COLOR, _AFFINE = _KINDS["Color"], _KINDS["Affine"]
_ROTATE, _TRANSLATE_X = RAND_AUGMENT.index("Rotate"), RAND_AUGMENT.index("TranslateX")

# timm's increasing laws of strengths 0 .. 1: a level, how fast it falls, and the level that changes nothing (-1 for
# none); slope of a factor; entry of the matrix and its slope.
_CHOICES = np.zeros(
    len(RAND_AUGMENT),
    [(n, "<i8") for n in ("kind", "level", "idle", "entry")] + [(n, "<f8") for n in ("fall", "gain", "slope")],
)
_CHOICES["kind"] = [_KINDS.get(name, _AFFINE) for name in RAND_AUGMENT]
_CHOICES["idle"] = -1
for _name, _level, _fall, _idle in (("Posterize", 4, 4, -1), ("Solarize", 256, 256, 256), ("SolarizeAdd", 0, -110, 0)):
    _CHOICES[["level", "fall", "idle"]][RAND_AUGMENT.index(_name)] = _level, _fall, _idle
for _name in ("Color", "Contrast", "Brightness", "Sharpness"):
    _CHOICES["gain"][RAND_AUGMENT.index(_name)] = 0.9
for _name, _entry, _slope in (("ShearX", 1, 0.3), ("ShearY", 3, 0.3), ("TranslateX", 2, 0.45), ("TranslateY", 5, 0.45)):
    _CHOICES[["entry", "slope"]][RAND_AUGMENT.index(_name)] = _entry, _slope

_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_BYTE = np.uint64(0xFF)
_ONE = np.uint64(1)
_UNIT = 2.0**-32
_RADIAN = 0.017453292519943295
_SERIES = np.array([COSINE, SINE])


@inner
def _block(number, seed):
    """Words of a block of a stream. Not inlined, as ``philox4x32`` is: nothing here vectorises."""
    lane, low, high, k0, k1 = seed
    return philox4x32(number, lane, low, high, k0, k1)


@inner
def _below(word, count):
    """A uniform integer in [0, count)."""
    return np.int64((word * np.uint64(count)) >> _HALF)


@inner
def power(word, table):
    """``table``'s law of log-uniform numbers at the word: the product of one factor for each of its bytes."""
    return (
        table[0, (word >> np.uint64(24)) & _BYTE]
        * table[1, (word >> np.uint64(16)) & _BYTE]
        * table[2, (word >> np.uint64(8)) & _BYTE]
        * table[3, word & _BYTE]
    )


@inner
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


@inner
def _rectangle(law, count, block, seed):
    """The first attempt at a rectangle of 1 / ``count`` of an area that goes well.

    Returns whether one did, the side that grows with the ratio, the other one, and the words of their places.
    """
    for attempt in range(ATTEMPTS):
        w0, w1, w2, w3 = _block(np.uint64(block + attempt), seed)
        area = (law.low + law.span * (np.float64(w0) * _UNIT)) * np.float64(law.size * law.size) / count
        ratio = power(w1, law.ratios)
        long, short = np.int64(np.rint(math.sqrt(area * ratio))), np.int64(np.rint(math.sqrt(area / ratio)))
        if law.least <= long <= law.most and law.least <= short <= law.most:
            return True, long, short, w2, w3
    return False, law.size, law.size, w2, w3


@inner
def _crop(record, law, seed):
    size = law.canvas_size
    height, width, top, left = size, size, np.int64(0), np.int64(0)
    if law.crop == FIXED:
        _, _, w2, w3 = _block(np.uint64(CROP_BLOCK), seed)
        height = width = law.image_size
        top, left = _below(w2, size - height + 1), _below(w3, size - width + 1)
    elif law.crop == RESIZED:
        fits, width, height, w2, w3 = _rectangle(law.cropped, np.int64(1), np.int64(CROP_BLOCK), seed)
        if fits:
            top, left = _below(w2, size - height + 1), _below(w3, size - width + 1)
        else:
            height, width = law.fallback_height, law.fallback_width
            top, left = (size - height) // 2, (size - width) // 2
    record.top, record.left, record.height, record.width = top, left, height, width


@inner
def rotation(matrix, degrees, size):
    """PIL's matrix of ``rotate(degrees)`` about the centre of a square image; |degrees| at most 45."""
    x = -degrees * _RADIAN
    square = x * x
    cosine = sine = 0.0
    for n in range(_SERIES.shape[1] - 1, -1, -1):
        cosine = cosine * square + _SERIES[0, n]
        sine = sine * square + _SERIES[1, n]
    sine *= x
    center = size / 2.0
    matrix[0], matrix[1], matrix[2] = cosine, sine, cosine * -center + sine * -center + center
    matrix[3], matrix[4], matrix[5] = -sine, cosine, -sine * -center + cosine * -center + center


@inner
def _operations(record, law, planes, seed):
    for slot in range(MAX_OPERATIONS):
        operation = record.operations[slot]
        operation.planes, operation.factor = planes, 1.0
        if slot >= law.operations:
            continue
        w0, w1, w2, w3 = _block(np.uint64(OPERATION_BLOCK + slot), seed)
        number = _below(w0, _CHOICES.size)
        choice = _CHOICES[number]
        # A grey picture has no colour to change.
        if w1 >= law.operation or (choice.kind == _COLOR and planes == 1):
            continue
        magnitude = law.magnitude + law.magnitude_std * normal(w2, law.normals)
        strength = max(0.0, min(magnitude, 10.0)) / 10.0
        # timm multiplies before it negates, which gives the same doubles.
        signed = -strength if w3 >> np.uint64(31) else strength
        operation.level = choice.level - np.int64(strength * choice.fall)
        operation.factor = max(0.1, 1.0 + signed * choice.gain)
        idle = operation.level == choice.idle or (choice.gain > 0.0 and operation.factor == 1.0)
        if choice.kind == _AFFINE:
            idle = signed == 0.0
            matrix = operation.matrix
            matrix[0] = matrix[4] = 1.0
            if number == _ROTATE:
                rotation(matrix, signed * 30.0, law.image_size)
            else:
                matrix[choice.entry] = signed * choice.slope * (law.image_size if number >= _TRANSLATE_X else 1)
        if idle:
            continue
        operation.kind = choice.kind
        if choice.kind == _AFFINE:
            operation.bicubic = np.int64((w3 << _ONE) & _LOW >= law.operation_bilinear)
            if not law.grey_fill:
                operation.planes = planes = 3
    record.planes = planes


@inner
def _erasures(record, law, seed):
    size, count = law.image_size, law.max_count
    if law.min_count < count:
        word = _block(np.uint64(COUNT_BLOCK), seed)[0]
        count = law.min_count + _below(word, law.max_count - law.min_count + 1)
    erased = 0
    for erasure in range(count):
        first = ERASURE_BLOCK + ATTEMPTS * erasure
        fits, height, width, w2, w3 = _rectangle(law.erased, count, first, seed)
        # A rectangle of no pixels counts as an attempt that went well, as in timm.
        if fits and height > 0 and width > 0:
            rectangle = record.erasures[erased]
            rectangle[0], rectangle[1] = _below(w2, size - height + 1), _below(w3, size - width + 1)
            rectangle[2], rectangle[3] = height, width
            erased += 1
    record.num_erasures = erased


@kernel
def draw(laws, k0, k1, stream, lane, planes, ids, records):
    """Fill records [B] of PRESENTATION, zeros before, for ids uint64 [B].

    Args:
        laws: [1] of LAW.
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
        seed = lane, low, (ids[i] >> _HALF) | (np.uint64(stream) << np.uint64(24)), k0, k1
        w0, w1, w2, w3 = _block(np.uint64(GENERAL_BLOCK), seed)
        record.bicubic = np.int64(w0 >= law.bilinear)
        record.flips = np.int64(w1 < law.horizontal_flip) | (np.int64(w2 < law.vertical_flip) << 1)
        record.noise_low, record.noise_high, record.view = low, ids[i] >> _HALF, lane
        _crop(record, law, seed)
        _operations(record, law, planes, seed)
        if w3 < law.erasing:
            _erasures(record, law, seed)
