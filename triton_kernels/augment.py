"""Operations of presentations on pictures uint8 [B, 2, 3, SIZE, SIZE], one slot of the records at a time.

Operations by table (AutoContrast, Equalize, Invert, Posterize, Solarize, SolarizeAdd, Contrast, Brightness) touch no
pixel: ``tabulate`` composes each into one pending table of 256 bytes a plane, through which ``apply`` and the last
write read the pixels. ``apply`` does Color, Sharpness and Affine, from one of the two pictures into the other; the
pending tables are the identity again after it. What the record says of the slots before tells which picture is
current, and how many planes it has (:func:`state`), so nothing is kept but pixels and tables. Every byte is the one
that Pillow computes, save for affine maps (``triton_kernels.affine``).

The tables are uint8 [B, 2, 3, 256]: slot k reads half (k + 1) & 1, which slot k - 1 has written, and writes half k & 1.

The CPU twin is ``fdsl_gpu/cpu_kernels/augment.py``.
"""

import triton
import triton.language as tl

from triton_kernels.affine import bicubic, bilinear, locate
from triton_kernels.launch import kernel

NUM_WARPS = 4

# Pixels of a step of ``tabulate``, and of a block of ``apply``.
BLOCK = 2048
APPLY_BLOCK = 512

# Word offsets in a record of 76 words, and in one of its operations.
RECORD_WORDS = tl.constexpr(76)
OPERATIONS = tl.constexpr(12)
OPERATION_WORDS = tl.constexpr(12)
KIND = tl.constexpr(0)
LEVEL = tl.constexpr(1)
FACTOR = tl.constexpr(2)
BICUBIC = tl.constexpr(3)
PLANES_AFTER = tl.constexpr(4)
MATRIX = tl.constexpr(5)

# Numbers of the operations.
AUTO_CONTRAST = tl.constexpr(1)
EQUALIZE = tl.constexpr(2)
INVERT = tl.constexpr(3)
POSTERIZE = tl.constexpr(4)
SOLARIZE = tl.constexpr(5)
SOLARIZE_ADD = tl.constexpr(6)
COLOR = tl.constexpr(7)
CONTRAST = tl.constexpr(8)
BRIGHTNESS = tl.constexpr(9)
SHARPNESS = tl.constexpr(10)
AFFINE = tl.constexpr(11)


@triton.jit
def _moves_pixels(kind, planes):
    """1 for an operation that ``apply`` does: Color does nothing to a grey picture."""
    return ((kind == SHARPNESS) | (kind == AFFINE) | ((kind == COLOR) & (planes == 3))).to(tl.int32)


@triton.jit
def state(record_ptr, slot, PLANES: tl.constexpr):
    """Before a slot: which of the two pictures is current, its planes, and 1 if its pending tables are the identity."""
    planes = tl.load(record_ptr) * 0 + PLANES
    side = planes * 0
    fresh = side + 1
    k = side
    while k < slot:
        operation_ptr = record_ptr + OPERATIONS + k * OPERATION_WORDS
        kind = tl.load(operation_ptr + KIND)
        fresh = _moves_pixels(kind, planes)
        side = side ^ fresh
        planes = tl.where(kind == AFFINE, tl.load(operation_ptr + PLANES_AFTER), planes)
        k += 1
    return side, planes, fresh


@triton.jit
def _blend(start, end, factor):
    """``start + factor (end - start)`` of int32 in float32, clipped and truncated, as Pillow's ``Image.blend``."""
    value = start.to(tl.float32) + factor * (end - start).to(tl.float32)
    value = tl.where(value > 0.0, value, 0.0)
    return tl.where(value < 255.0, value, 255.0).to(tl.int32)


@triton.jit
def luma(red, green, blue):
    """ITU-R 601-2 luma of int32 bytes, as Pillow's ``convert("L")``."""
    return (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16


@triton.jit
def look_up(plane_ptr, table_ptr, offsets, inside, fresh):
    """Int32 bytes of a plane through its pending table."""
    byte = tl.load(plane_ptr + offsets, mask=inside, other=0).to(tl.int32)
    if fresh == 0:
        byte = tl.load(table_ptr + byte).to(tl.int32)
    return byte


@triton.jit
def _histogram(picture_ptr, pending_ptr, channel, fresh, of_luma, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    """How often each byte occurs in a plane, or in the luma of three: int32 [256]."""
    PIXELS: tl.constexpr = SIZE * SIZE
    levels = tl.arange(0, 256)
    counts = levels * 0
    plane_ptr, table_ptr = picture_ptr + channel * PIXELS, pending_ptr + channel * 256
    for start in range(0, PIXELS, BLOCK):
        offsets = start + tl.arange(0, BLOCK)
        inside = offsets < PIXELS
        if of_luma:
            red = look_up(picture_ptr, pending_ptr, offsets, inside, fresh)
            green = look_up(picture_ptr + PIXELS, pending_ptr + 256, offsets, inside, fresh)
            blue = look_up(picture_ptr + 2 * PIXELS, pending_ptr + 512, offsets, inside, fresh)
            byte = luma(red, green, blue)
        else:
            byte = look_up(plane_ptr, table_ptr, offsets, inside, fresh)
        counts += tl.histogram(tl.where(inside, byte, 0), 256)
    # What is outside was counted as black.
    return counts - tl.where(levels == 0, (PIXELS + BLOCK - 1) // BLOCK * BLOCK - PIXELS, 0)


@triton.jit
def _stretch(value, low, high, quotients_ptr):
    """AutoContrast of int32 bytes."""
    scale = tl.load(quotients_ptr + tl.maximum(high - low, 0))
    stretched = (value.to(tl.float64) * scale + -low.to(tl.float64) * scale).to(tl.int32)
    return tl.where(high > low, tl.minimum(tl.maximum(stretched, 0), 255), value)


@triton.jit
def _equalize(value, counts, high, PIXELS: tl.constexpr):
    last = tl.sum(tl.where(tl.arange(0, 256) == high, counts, 0), axis=0)
    step = (PIXELS - last) // 255
    table = tl.minimum((step // 2 + tl.cumsum(counts, axis=0) - counts) // tl.maximum(step, 1), 255)
    return tl.where(step > 0, tl.gather(table, value, 0), value)


@triton.jit
def _pointwise(value, kind, level):
    """Operations that need only the byte and a level."""
    kept = tl.where(level >= 8, value, value & (0xFF00 >> tl.minimum(level, 8)))
    solarized = tl.where(value < level, value, 255 - value)
    added = tl.where(value < 128, tl.minimum(value + level, 255), value)
    result = tl.where(kind == INVERT, 255 - value, value)
    result = tl.where(kind == POSTERIZE, kept, result)
    result = tl.where(kind == SOLARIZE, solarized, result)
    return tl.where(kind == SOLARIZE_ADD, added, result)


@kernel(do_not_specialize=["slot"])
def tabulate(
    words_ptr,
    reals_ptr,
    pictures_ptr,
    quotients_ptr,
    tables_ptr,
    slot,
    PLANES: tl.constexpr,
    SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Compose a slot's operation into the pending tables. Grid (B, 3).

    ``quotients_ptr`` float64 [256] holds 255 / n.
    """
    image = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1)
    record_ptr = words_ptr + image * RECORD_WORDS
    side, planes, fresh = state(record_ptr, slot, PLANES)
    if channel < planes:
        at = OPERATIONS + slot * OPERATION_WORDS
        kind, level = tl.load(record_ptr + at + KIND), tl.load(record_ptr + at + LEVEL)
        factor = tl.load(reals_ptr + image * RECORD_WORDS + at + FACTOR)
        pending_ptr = tables_ptr + (image * 2 + ((slot + 1) & 1)) * 768
        levels = tl.arange(0, 256)
        value = levels
        if fresh == 0:
            value = tl.load(pending_ptr + channel * 256 + levels).to(tl.int32)
        result = _pointwise(value, kind, level)
        if (kind == AUTO_CONTRAST) | (kind == EQUALIZE) | (kind == CONTRAST):
            picture_ptr = pictures_ptr + (image * 2 + side) * (3 * SIZE * SIZE)
            of_luma = (kind == CONTRAST) & (planes == 3)
            counts = _histogram(picture_ptr, pending_ptr, channel, fresh, of_luma, SIZE, BLOCK)
            low = tl.min(tl.where(counts > 0, levels, 255), axis=0)
            high = tl.max(tl.where(counts > 0, levels, 0), axis=0)
            if kind == AUTO_CONTRAST:
                result = _stretch(value, low, high, quotients_ptr)
            elif kind == EQUALIZE:
                result = _equalize(value, counts, high, SIZE * SIZE)
            else:
                total = tl.sum(counts.to(tl.int64) * levels, axis=0)
                mean = (2 * total + SIZE * SIZE) // (2 * SIZE * SIZE)
                result = _blend(levels * 0 + mean.to(tl.int32), value, factor)
        if kind == BRIGHTNESS:
            result = _blend(levels * 0, value, factor)
        tl.store(tables_ptr + (image * 2 + (slot & 1)) * 768 + channel * 256 + levels, result.to(tl.uint8))


@triton.jit
def _color(source_ptr, table_ptr, target_ptr, offsets, inside, factor, PIXELS: tl.constexpr):
    """Each plane blended with the luma."""
    red = look_up(source_ptr, table_ptr, offsets, inside, 0)
    green = look_up(source_ptr + PIXELS, table_ptr + 256, offsets, inside, 0)
    blue = look_up(source_ptr + 2 * PIXELS, table_ptr + 512, offsets, inside, 0)
    grey = luma(red, green, blue)
    tl.store(target_ptr + offsets, _blend(grey, red, factor).to(tl.uint8), mask=inside)
    tl.store(target_ptr + (PIXELS + offsets), _blend(grey, green, factor).to(tl.uint8), mask=inside)
    tl.store(target_ptr + (2 * PIXELS + offsets), _blend(grey, blue, factor).to(tl.uint8), mask=inside)


@triton.jit
def _sharpen(source_ptr, table_ptr, target_ptr, planes, x, y, inside, factor, SIZE: tl.constexpr):
    """Each inner pixel blended with the mean of its neighbours, where it weighs 5 of 13; the border stays."""
    inner = inside & (x > 0) & (y > 0) & (x < SIZE - 1) & (y < SIZE - 1)
    offsets = y * SIZE + x
    c = planes * 0
    while c < planes:
        plane_ptr, pending_ptr = source_ptr + c * (SIZE * SIZE), table_ptr + c * 256
        center = look_up(plane_ptr, pending_ptr, offsets, inside, 0)
        total = 4 * center
        for dy in tl.static_range(-1, 2):
            for dx in tl.static_range(-1, 2):
                total += look_up(plane_ptr, pending_ptr, offsets + (dy * SIZE + dx), inner, 0)
        smooth = (2 * total + 13) // 26
        result = tl.where(inner, _blend(smooth, center, factor), center)
        tl.store(target_ptr + c * (SIZE * SIZE) + offsets, result.to(tl.uint8), mask=inside)
        c += 1


@triton.jit
def _transform(
    source_ptr,
    table_ptr,
    target_ptr,
    matrix_ptr,
    cubic,
    before,
    after,
    fill,
    x,
    y,
    inside,
    SIZE: tl.constexpr,
):
    """An affine map; ``fill`` is red | green << 8 | blue << 16."""
    left, top, across, down, shown = locate(matrix_ptr, x, y, SIZE)
    shown = shown & inside
    value = left * 0
    c = before * 0
    while c < after:
        if (c == 0) | (before == 3):
            plane_ptr, pending_ptr = source_ptr + c * (SIZE * SIZE), table_ptr + c * 256
            if cubic:
                value = bicubic(plane_ptr, pending_ptr, left, top, across, down, shown, SIZE)
            else:
                value = bilinear(plane_ptr, pending_ptr, left, top, across, down, shown, SIZE)
        result = tl.where(shown, value, (fill >> (8 * c)) & 255)
        tl.store(target_ptr + (c * (SIZE * SIZE) + y * SIZE + x), result.to(tl.uint8), mask=inside)
        c += 1


@kernel(do_not_specialize=["slot", "fill"])
def apply(
    words_ptr,
    reals_ptr,
    pictures_ptr,
    tables_ptr,
    slot,
    fill,
    PLANES: tl.constexpr,
    SIZE: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    """A slot's Color, Sharpness or Affine, if it is one, after ``tabulate``. Grid (B, row blocks, column blocks).

    ``fill`` is red | green << 8 | blue << 16 of what an affine map shows outside of the picture.
    """
    image = tl.program_id(0).to(tl.int64)
    record_ptr = words_ptr + image * RECORD_WORDS
    side, planes, _ = state(record_ptr, slot, PLANES)
    operation_ptr = record_ptr + OPERATIONS + slot * OPERATION_WORDS
    kind = tl.load(operation_ptr + KIND)
    if _moves_pixels(kind, planes) != 0:
        reals_ptr += image * RECORD_WORDS + OPERATIONS + slot * OPERATION_WORDS
        source_ptr = pictures_ptr + (image * 2 + side) * (3 * SIZE * SIZE)
        target_ptr = pictures_ptr + (image * 2 + (1 - side)) * (3 * SIZE * SIZE)
        table_ptr = tables_ptr + (image * 2 + (slot & 1)) * 768
        y = tl.program_id(1) * BLOCK_Y + tl.arange(0, BLOCK_Y)[:, None]
        x = tl.program_id(2) * BLOCK_X + tl.arange(0, BLOCK_X)[None, :]
        inside = (y < SIZE) & (x < SIZE)
        factor = tl.load(reals_ptr + FACTOR)
        if kind == COLOR:
            _color(source_ptr, table_ptr, target_ptr, y * SIZE + x, inside, factor, SIZE * SIZE)
        elif kind == SHARPNESS:
            _sharpen(source_ptr, table_ptr, target_ptr, planes, x, y, inside, factor, SIZE)
        else:
            after, cubic = tl.load(operation_ptr + PLANES_AFTER), tl.load(operation_ptr + BICUBIC) != 0
            matrix_ptr = reals_ptr + MATRIX
            _transform(source_ptr, table_ptr, target_ptr, matrix_ptr, cubic, planes, after, fill, x, y, inside, SIZE)


_WORDS = {"words_ptr": "*i32", "reals_ptr": "*fp32", "pictures_ptr": "*u8"}

SIGNATURES = {
    "tabulate": (
        {**_WORDS, "quotients_ptr": "*fp64", "tables_ptr": "*u8", "slot": "i32"},
        {"PLANES": 1, "SIZE": 224, "BLOCK": BLOCK},
    ),
    "apply": (
        {**_WORDS, "tables_ptr": "*u8", "slot": "i32", "fill": "i32"},
        {"PLANES": 1, "SIZE": 224, "BLOCK_Y": 4, "BLOCK_X": 128},
    ),
}
"""Argument types and constants of each kernel at 224 pixels, for compiling offline."""
