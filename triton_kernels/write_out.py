"""Planes to training batch, uint8 [B, P, IN, IN] to [B, C, OUT, OUT]: antialiased resize in two passes, table, layout.

``horizontal`` resamples the rows into a scratch uint8 [B, P, IN, OUT]; ``write`` resamples the columns of that, turns
the planes into channels, looks the bytes up in a table and stores them with any strides. Without a resize, ``write``
alone reads the planes. A pass is Pillow's (``src/libImaging/Resample.c``), in int32:

    out[o] = clip((2**21 + sum_t weights[t, o] * in[first[o] + t]) >> 22, 0, 255)

One channel of three planes is ITU-R 601-2 luma, as Pillow's ``convert("L")``; three channels of one plane repeat it.
Table and batch are words of the size of the batch's dtype; 8-bit batches take the bytes without a table. Label masks
are resized with one tap, which copies the nearest pixel.

The CPU twin is ``fdsl_gpu/cpu_kernels/write_out.py``.
"""

import triton
import triton.language as tl

from triton_kernels.launch import kernel

NUM_WARPS = 4


def tiles(height: int, width: int, elements: int = 1024) -> tuple[dict[str, int], tuple[int, int]]:
    """Block sizes, of so many elements, and the last two grid dimensions that cover height x width."""
    block_x = min(128, 1 << (width - 1).bit_length())
    block_y = elements // block_x
    return {"BLOCK_Y": block_y, "BLOCK_X": block_x}, (-(-height // block_y), -(-width // block_x))


@triton.jit
def _resample(source_ptr, offsets, step, weights_ptr, inside, OUT: tl.constexpr, TAPS: tl.constexpr):
    """Windows of ``TAPS`` bytes, ``step`` apart from ``offsets``; ``weights_ptr`` points at the first tap of each."""
    total = offsets * 0 + (1 << 21)
    for t in range(TAPS):
        byte = tl.load(source_ptr + (offsets + t * step), mask=inside, other=0).to(tl.int32)
        total += byte * tl.load(weights_ptr + t * OUT)
    return tl.minimum(tl.maximum(total >> 22, 0), 255)


@kernel
def horizontal(
    planes_ptr,
    first_ptr,
    weights_ptr,
    scratch_ptr,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    TAPS: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    """First pass: planes uint8 [N, IN, IN] to scratch uint8 [N, IN, OUT]. Grid (N, row blocks, column blocks)."""
    plane = tl.program_id(0).to(tl.int64)
    y = tl.program_id(1) * BLOCK_Y + tl.arange(0, BLOCK_Y)[:, None]
    x = tl.program_id(2) * BLOCK_X + tl.arange(0, BLOCK_X)[None, :]
    inside = (y < IN) & (x < OUT)
    # Clamped, so that the loads of first and weights need no mask.
    column = tl.minimum(x, OUT - 1)
    offsets = y * IN + tl.load(first_ptr + column)
    byte = _resample(planes_ptr + plane * (IN * IN), offsets, 1, weights_ptr + column, inside, OUT, TAPS)
    tl.store(scratch_ptr + plane * (IN * OUT) + (y * OUT + x), byte.to(tl.uint8), mask=inside)


@triton.jit
def _byte(plane_ptr, offsets, weights_ptr, inside, OUT: tl.constexpr, TAPS: tl.constexpr):
    """Int32 bytes of one plane, resampled along the columns if there are taps."""
    if TAPS == 0:
        return tl.load(plane_ptr + offsets, mask=inside, other=0).to(tl.int32)
    else:
        return _resample(plane_ptr, offsets, OUT, weights_ptr, inside, OUT, TAPS)


@triton.jit
def _store(out_ptr, byte, table_ptr, inside, TABLE: tl.constexpr):
    if TABLE:
        tl.store(out_ptr, tl.load(table_ptr + byte), mask=inside)
    else:
        tl.store(out_ptr, byte.to(tl.uint8), mask=inside)


@kernel
def write(
    source_ptr,
    first_ptr,
    weights_ptr,
    table_ptr,
    places_ptr,
    out_ptr,
    stride_b,
    stride_c,
    stride_h,
    stride_w,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    TAPS: tl.constexpr,
    PLANES: tl.constexpr,
    CHANNELS: tl.constexpr,
    TABLE: tl.constexpr,
    PACKED: tl.constexpr,
    PLACED: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    """Second pass and write: uint8 [B, PLANES, IN, OUT] to words [B, CHANNELS, OUT, OUT]. Grid (B, y, x blocks).

    ``TAPS`` 0 takes the rows as they are (IN == OUT). ``table_ptr`` [CHANNELS, 256] is read if ``TABLE``. ``PACKED``
    says that a row of pixels is one run of words, stride_c 1 and stride_w CHANNELS; the x blocks then cover
    OUT * CHANNELS words. If ``PLACED``, ``places_ptr`` [B] are the rows of the batch that images go to. The offsets
    inside an image are int32.
    """
    image = tl.program_id(0).to(tl.int64)
    place = tl.load(places_ptr + image).to(tl.int64) if PLACED else image
    y = tl.program_id(1) * BLOCK_Y + tl.arange(0, BLOCK_Y)[:, None]
    x = tl.program_id(2) * BLOCK_X + tl.arange(0, BLOCK_X)[None, :]
    row = tl.minimum(y, OUT - 1)
    top = row if TAPS == 0 else tl.load(first_ptr + row)
    weights_ptr += row
    plane_ptr = source_ptr + image * (PLANES * IN * OUT)
    row_ptr = out_ptr + place * stride_b + y * stride_h
    if PACKED:
        # Each lane makes one word, so that words that are neighbours in memory are neighbours in the block.
        inside = (y < OUT) & (x < OUT * CHANNELS)
        channel = x % CHANNELS
        offsets = top * OUT + x // CHANNELS
        if PLANES == 3:
            offsets += channel * (IN * OUT)
        byte = _byte(plane_ptr, offsets, weights_ptr, inside, OUT, TAPS)
        _store(row_ptr + x, byte, table_ptr + channel * 256, inside, TABLE)
    else:
        inside = (y < OUT) & (x < OUT)
        offsets = top * OUT + x
        byte = _byte(plane_ptr, offsets, weights_ptr, inside, OUT, TAPS)
        pixel_ptr = row_ptr + x * stride_w
        if PLANES == 1:
            for c in tl.static_range(CHANNELS):
                _store(pixel_ptr + c * stride_c, byte, table_ptr + c * 256, inside, TABLE)
        else:
            green = _byte(plane_ptr + IN * OUT, offsets, weights_ptr, inside, OUT, TAPS)
            blue = _byte(plane_ptr + 2 * IN * OUT, offsets, weights_ptr, inside, OUT, TAPS)
            if CHANNELS == 1:
                luma = (19595 * byte + 38470 * green + 7471 * blue + 0x8000) >> 16
                _store(pixel_ptr, luma, table_ptr, inside, TABLE)
            else:
                _store(pixel_ptr, byte, table_ptr, inside, TABLE)
                _store(pixel_ptr + stride_c, green, table_ptr + 256, inside, TABLE)
                _store(pixel_ptr + 2 * stride_c, blue, table_ptr + 512, inside, TABLE)


_RESIZE = {"IN": 512, "OUT": 224, "TAPS": 5, "BLOCK_Y": 8, "BLOCK_X": 128}
_POINTERS = {"source_ptr": "*u8", "first_ptr": "*i32", "weights_ptr": "*i32"}
_STRIDES = dict.fromkeys(("stride_b", "stride_c", "stride_h", "stride_w"), "i32")


def _write(
    word: str, planes: int, channels: int, packed: bool = False, placed: bool = False, **sizes: int
) -> tuple[dict, dict]:
    signature = {**_POINTERS, "table_ptr": word, "places_ptr": "*i32", "out_ptr": word, **_STRIDES}
    layout = {"PLANES": planes, "CHANNELS": channels, "TABLE": word != "*u8", "PACKED": packed, "PLACED": placed}
    return signature, {**_RESIZE, **sizes, **layout}


SIGNATURES = {
    "horizontal": (
        {"planes_ptr": "*u8", "first_ptr": "*i32", "weights_ptr": "*i32", "scratch_ptr": "*u8"},
        _RESIZE,
    ),
    "write/float32": _write("*i32", 1, 3),
    "write/float32_channels_last": _write("*i32", 1, 3, packed=True),
    "write/float16_color": _write("*i16", 3, 3),
    "write/uint8_luma": _write("*u8", 3, 1),
    "write/float32_placed": _write("*i32", 1, 3, placed=True),
    "write/int64_mask": _write("*i64", 1, 1, TAPS=1),
    "write/float32_no_resize": _write("*i32", 1, 3, IN=224, TAPS=0),
}
"""Argument types and constants of each kernel at 512 -> 224 pixels, for compiling offline."""
