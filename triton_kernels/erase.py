"""The last write: pictures uint8 [B, 2, 3, SIZE, SIZE] to a batch [B, C, SIZE, SIZE], with RandomErasing.

A byte goes through its pending table (``triton_kernels.augment``) and the table of the batch, then erased rectangles
take words of a table of normal numbers, the later rectangle where two meet. One channel of three planes is luma; three
channels of one plane repeat it. Tables and batch are words of the size of the batch's dtype; 8-bit batches take the
bytes without a table.

Noise: pixel i = row * SIZE + column of channel c takes 16-bit half ``i & 7`` (low half of word 0 first) of the Philox
block with counter (i >> 3, c + (view << 8), id low, stream << 24 | id high); where a rectangle has one number a
channel, i is the rectangle's number.

The CPU twin is ``fdsl_gpu/cpu_kernels/erase.py``.
"""

import triton
import triton.language as tl

from triton_kernels.augment import look_up, luma, state
from triton_kernels.launch import kernel
from triton_kernels.philox import philox4x32

NUM_WARPS = 4

# How a rectangle is filled.
CONST = tl.constexpr(0)
RAND = tl.constexpr(1)
PIXEL = tl.constexpr(2)

# Word offsets in a record of 76 words.
RECORD_WORDS = tl.constexpr(76)
NUM_ERASURES = tl.constexpr(7)
NOISE_LOW = tl.constexpr(8)
NOISE_HIGH = tl.constexpr(9)
VIEW = tl.constexpr(10)
ERASURES = tl.constexpr(60)
MAX_ERASURES = tl.constexpr(4)


@triton.jit
def _erasure(record_ptr, x, y):
    """The number of the last rectangle that holds a pixel, -1 for none: int32 [., .]."""
    count = tl.load(record_ptr + NUM_ERASURES)
    number = (x + y) * 0 - 1
    for e in tl.static_range(MAX_ERASURES):
        rectangle_ptr = record_ptr + ERASURES + 4 * e
        top, left = tl.load(rectangle_ptr), tl.load(rectangle_ptr + 1)
        height, width = tl.load(rectangle_ptr + 2), tl.load(rectangle_ptr + 3)
        # A scalar condition in a block mask is refused by an interpreter.
        height = tl.where(count > e, height, 0)
        hit = (y >= top) & (y < top + height) & (x >= left) & (x < left + width)
        number = tl.where(hit, e, number)
    return number


@triton.jit
def _noise(record_ptr, index, channel, k0, k1, STREAM: tl.constexpr):
    """16 random bits of each index: int32."""
    c1 = index * 0 + channel + (tl.load(record_ptr + VIEW) << 8)
    c2 = index * 0 + tl.load(record_ptr + NOISE_LOW)
    c3 = index * 0 + (tl.load(record_ptr + NOISE_HIGH) | (STREAM << 24))
    w0, w1, w2, w3 = philox4x32(index >> 3, c1, c2, c3, k0, k1)
    half = index & 7
    word = tl.where(half < 4, tl.where(half < 2, w0, w1), tl.where(half < 6, w2, w3))
    return ((word >> ((half & 1) * 16).to(tl.uint32)) & 0xFFFF).to(tl.int32)


@triton.jit
def _finish(
    out_ptr,
    byte,
    table_ptr,
    record_ptr,
    noise_ptr,
    noise_stride,
    number,
    x,
    y,
    channel,
    k0,
    k1,
    inside,
    SIZE: tl.constexpr,
    TABLE: tl.constexpr,
    MODE: tl.constexpr,
    STREAM: tl.constexpr,
):
    """Normalise int32 bytes, erase, store."""
    word = tl.load(table_ptr + (channel * 256 + byte)) if TABLE else byte.to(tl.uint8)
    if tl.max(tl.max(number, axis=1), axis=0) >= 0:
        if MODE == PIXEL:
            entry = _noise(record_ptr, y * SIZE + x, channel, k0, k1, STREAM)
        elif MODE == RAND:
            entry = _noise(record_ptr, tl.maximum(number, 0), channel, k0, k1, STREAM)
        else:
            entry = number * 0
        noise = tl.load(noise_ptr + (channel * noise_stride + entry))
        word = tl.where(number >= 0, noise, word)
    tl.store(out_ptr, word, mask=inside)


@kernel(do_not_specialize=["slots", "noise_stride", "k0", "k1"])
def write(
    words_ptr,
    pictures_ptr,
    tables_ptr,
    table_ptr,
    noise_ptr,
    places_ptr,
    out_ptr,
    stride_b,
    stride_c,
    stride_h,
    stride_w,
    slots,
    noise_stride,
    k0,
    k1,
    PLANES: tl.constexpr,
    SIZE: tl.constexpr,
    CHANNELS: tl.constexpr,
    TABLE: tl.constexpr,
    PACKED: tl.constexpr,
    PLACED: tl.constexpr,
    MODE: tl.constexpr,
    STREAM: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    """Grid (B, y blocks, x blocks).

    ``tables_ptr`` holds the pending tables after ``slots`` operations. ``table_ptr`` [CHANNELS, 256] is read if
    ``TABLE``. Row c of the noise is ``c * noise_stride`` words from ``noise_ptr``. ``PACKED`` says that a row of pixels
    is one run of words, stride_c 1 and stride_w CHANNELS; the x blocks then cover SIZE * CHANNELS words. If ``PLACED``,
    ``places_ptr`` [B] are the rows of the batch that images go to. The offsets inside an image are int32.
    """
    PIXELS: tl.constexpr = SIZE * SIZE
    image = tl.program_id(0).to(tl.int64)
    place = tl.load(places_ptr + image).to(tl.int64) if PLACED else image
    record_ptr = words_ptr + image * RECORD_WORDS
    side, planes, fresh = state(record_ptr, slots, PLANES)
    picture_ptr = pictures_ptr + (image * 2 + side) * (3 * PIXELS)
    pending_ptr = tables_ptr + (image * 2 + ((slots + 1) & 1)) * 768
    y = tl.program_id(1) * BLOCK_Y + tl.arange(0, BLOCK_Y)[:, None]
    x = tl.program_id(2) * BLOCK_X + tl.arange(0, BLOCK_X)[None, :]
    row_ptr = out_ptr + place * stride_b + y * stride_h
    if PACKED:
        # Each lane makes one word, so that words that are neighbours in memory are neighbours in the block.
        inside = (y < SIZE) & (x < SIZE * CHANNELS)
        channel, column = x % CHANNELS, x // CHANNELS
        number = _erasure(record_ptr, column, y)
        plane = tl.where(planes == 3, channel, 0)
        offsets = plane * PIXELS + (y * SIZE + column)
        byte = look_up(picture_ptr, pending_ptr + plane * 256, offsets, inside, fresh)
        _finish(
            row_ptr + x,
            byte,
            table_ptr,
            record_ptr,
            noise_ptr,
            noise_stride,
            number,
            column,
            y,
            channel,
            k0,
            k1,
            inside,
            SIZE,
            TABLE,
            MODE,
            STREAM,
        )
    else:
        inside = (y < SIZE) & (x < SIZE)
        number = _erasure(record_ptr, x, y)
        offsets = y * SIZE + x
        for channel in tl.static_range(CHANNELS):
            plane = tl.where(planes == 3, channel, 0)
            byte = look_up(picture_ptr + plane * PIXELS, pending_ptr + plane * 256, offsets, inside, fresh)
            if CHANNELS == 1 and planes == 3:
                green = look_up(picture_ptr + PIXELS, pending_ptr + 256, offsets, inside, fresh)
                blue = look_up(picture_ptr + 2 * PIXELS, pending_ptr + 512, offsets, inside, fresh)
                byte = luma(byte, green, blue)
            _finish(
                row_ptr + (x * stride_w + channel * stride_c),
                byte,
                table_ptr,
                record_ptr,
                noise_ptr,
                noise_stride,
                number,
                x,
                y,
                channel,
                k0,
                k1,
                inside,
                SIZE,
                TABLE,
                MODE,
                STREAM,
            )


def _write(word: str, channels: int, mode: int, packed: bool = False, placed: bool = False) -> tuple[dict, dict]:
    pointers = {"words_ptr": "*i32", "pictures_ptr": "*u8", "tables_ptr": "*u8", "places_ptr": "*i32"}
    pointers |= dict.fromkeys(("table_ptr", "noise_ptr", "out_ptr"), word)
    integers = ("stride_b", "stride_c", "stride_h", "stride_w", "slots", "noise_stride", "k0", "k1")
    options = {"CHANNELS": channels, "TABLE": word != "*u8", "PACKED": packed, "PLACED": placed}
    options |= {"MODE": mode, "STREAM": 11}
    return {**pointers, **dict.fromkeys(integers, "i32")}, {
        "PLANES": 1,
        "SIZE": 224,
        "BLOCK_Y": 8,
        "BLOCK_X": 128,
        **options,
    }


SIGNATURES = {
    "write/float32": _write("*i32", 3, 2),
    "write/float32_channels_last": _write("*i32", 3, 2, packed=True),
    "write/float32_placed": _write("*i32", 3, 2, placed=True),
    "write/float16_rand": _write("*i16", 3, 1),
    "write/uint8_luma": _write("*u8", 1, 0),
}
"""Argument types and constants at 224 pixels, for compiling offline."""
