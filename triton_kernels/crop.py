"""Crop, resize and flips of presentations: uint8 planes [B, P, IN, IN] to pictures uint8 [B, 2, 3, OUT, OUT].

Each record's rectangle is resized as Pillow does, in two passes over bytes, in int32:

    out[o] = clip((2**21 + sum_t weights[t, o] * in[first[o] + t]) >> 22, 0, 255)

with coefficients of the rectangle's own size, from tables of all sizes. ``first_pass`` writes scratch uint8
[B, P, IN * OUT], ``second_pass`` the first of two pictures, flipped. The first pass is the horizontal one, unless the
height shrinks by more pixels than twice the width does: so Pillow since version 13.

The CPU twin is ``fdsl_gpu/cpu_kernels/crop.py``.
"""

import triton
import triton.language as tl

from triton_kernels.launch import kernel

NUM_WARPS = 4

# Word offsets in a record of 76 words.
RECORD_WORDS = tl.constexpr(76)
TOP = tl.constexpr(0)
LEFT = tl.constexpr(1)
HEIGHT = tl.constexpr(2)
WIDTH = tl.constexpr(3)
BICUBIC = tl.constexpr(4)
FLIPS = tl.constexpr(5)


def first_tiles(in_size: int, out_size: int) -> tuple[dict[str, int], int]:
    """Block sizes, and how many cover a rectangle's first pass, whichever it is."""
    block_x = min(128, 1 << (min(in_size, out_size) - 1).bit_length())
    block_y = 1024 // block_x
    across = -(-in_size // block_y) * -(-out_size // block_x)
    down = -(-out_size // block_y) * -(-in_size // block_x)
    return {"BLOCK_Y": block_y, "BLOCK_X": block_x}, max(across, down)


@triton.jit
def _resample(source_ptr, offsets, step, weights_ptr, taps, inside, OUT: tl.constexpr):
    """Windows of ``taps`` bytes, ``step`` apart from ``offsets``; ``weights_ptr`` points at the first tap of each."""
    total = offsets * 0 + (1 << 21)
    t = taps * 0
    while t < taps:
        byte = tl.load(source_ptr + (offsets + t * step), mask=inside, other=0).to(tl.int32)
        total += byte * tl.load(weights_ptr + t * OUT)
        t += 1
    return tl.minimum(tl.maximum(total >> 22, 0), 255).to(tl.uint8)


@triton.jit
def _record(record_ptr, OUT: tl.constexpr):
    """Height and width of the rectangle, and whether its vertical pass is first."""
    height, width = tl.load(record_ptr + HEIGHT), tl.load(record_ptr + WIDTH)
    return height, width, (height > OUT) & (height - OUT > 2 * (width - OUT))


@triton.jit
def _coefficients(record_ptr, size, first_ptr, spans_ptr, weights_ptr, IN: tl.constexpr, OUT: tl.constexpr):
    """Pointers to the windows and weights of a size, and the taps."""
    row = tl.load(record_ptr + BICUBIC) * (IN + 1) + size
    return first_ptr + row * OUT, weights_ptr + tl.load(spans_ptr + 2 * row), tl.load(spans_ptr + 2 * row + 1)


@kernel
def first_pass(
    planes_ptr,
    words_ptr,
    first_ptr,
    spans_ptr,
    weights_ptr,
    scratch_ptr,
    PLANES: tl.constexpr,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    """Rows [height, OUT] of a rectangle, or columns [OUT, width] with rows IN apart. Grid (B * PLANES, tiles)."""
    plane = tl.program_id(0).to(tl.int64)
    record_ptr = words_ptr + plane // PLANES * RECORD_WORDS
    height, width, tall = _record(record_ptr, OUT)
    across = tl.where(tall, (IN + BLOCK_X - 1) // BLOCK_X, (OUT + BLOCK_X - 1) // BLOCK_X)
    y = tl.program_id(1) // across * BLOCK_Y + tl.arange(0, BLOCK_Y)[:, None]
    x = tl.program_id(1) % across * BLOCK_X + tl.arange(0, BLOCK_X)[None, :]
    source_ptr = planes_ptr + plane * (IN * IN) + (tl.load(record_ptr + TOP) * IN + tl.load(record_ptr + LEFT))
    target_ptr = scratch_ptr + plane * (IN * OUT)
    size = tl.where(tall, height, width)
    windows_ptr, taps_ptr, taps = _coefficients(record_ptr, size, first_ptr, spans_ptr, weights_ptr, IN, OUT)
    # Clamped, so that the loads of windows and weights need no mask.
    if tall:
        inside = (y < OUT) & (x < width)
        row = tl.minimum(y, OUT - 1)
        offsets = tl.load(windows_ptr + row) * IN + x
        byte = _resample(source_ptr, offsets, IN, taps_ptr + row, taps, inside, OUT)
        tl.store(target_ptr + (y * IN + x), byte, mask=inside)
    else:
        inside = (y < height) & (x < OUT)
        column = tl.minimum(x, OUT - 1)
        offsets = y * IN + tl.load(windows_ptr + column)
        byte = _resample(source_ptr, offsets, 1, taps_ptr + column, taps, inside, OUT)
        tl.store(target_ptr + (y * OUT + x), byte, mask=inside)


@kernel
def second_pass(
    scratch_ptr,
    words_ptr,
    first_ptr,
    spans_ptr,
    weights_ptr,
    pictures_ptr,
    PLANES: tl.constexpr,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    """The other pass, and the flips. Grid (B * PLANES, row blocks, column blocks) over [OUT, OUT]."""
    plane = tl.program_id(0).to(tl.int64)
    image = plane // PLANES
    record_ptr = words_ptr + image * RECORD_WORDS
    height, width, tall = _record(record_ptr, OUT)
    y = tl.program_id(1) * BLOCK_Y + tl.arange(0, BLOCK_Y)[:, None]
    x = tl.program_id(2) * BLOCK_X + tl.arange(0, BLOCK_X)[None, :]
    inside = (y < OUT) & (x < OUT)
    source_ptr = scratch_ptr + plane * (IN * OUT)
    flips = tl.load(record_ptr + FLIPS)
    row = tl.where((flips & 2) != 0, OUT - 1 - y, y)
    column = tl.where((flips & 1) != 0, OUT - 1 - x, x)
    target_ptr = pictures_ptr + (image * 6 + plane % PLANES) * (OUT * OUT) + (row * OUT + column)
    size = tl.where(tall, width, height)
    windows_ptr, taps_ptr, taps = _coefficients(record_ptr, size, first_ptr, spans_ptr, weights_ptr, IN, OUT)
    if tall:
        column = tl.minimum(x, OUT - 1)
        offsets = y * IN + tl.load(windows_ptr + column)
        byte = _resample(source_ptr, offsets, 1, taps_ptr + column, taps, inside, OUT)
        tl.store(target_ptr, byte, mask=inside)
    else:
        row = tl.minimum(y, OUT - 1)
        offsets = tl.load(windows_ptr + row) * OUT + x
        byte = _resample(source_ptr, offsets, OUT, taps_ptr + row, taps, inside, OUT)
        tl.store(target_ptr, byte, mask=inside)


_TABLES = {"words_ptr": "*i32", "first_ptr": "*i32", "spans_ptr": "*i32", "weights_ptr": "*i32"}
_SIZES = {"PLANES": 1, "IN": 512, "OUT": 224, "BLOCK_Y": 8, "BLOCK_X": 128}

SIGNATURES = {
    "first_pass": ({"planes_ptr": "*u8", **_TABLES, "scratch_ptr": "*u8"}, _SIZES),
    "second_pass": ({"scratch_ptr": "*u8", **_TABLES, "pictures_ptr": "*u8"}, _SIZES),
}
"""Argument types and constants of each kernel at 512 -> 224 pixels, for compiling offline."""
