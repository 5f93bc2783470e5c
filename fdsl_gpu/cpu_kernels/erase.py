"""The last write with RandomErasing for numba, the twin of ``triton_kernels.erase``.

Pictures are looked up in their pending tables and the normalisation in one step, and stored as
``fdsl_gpu.cpu_kernels.write_out`` does. Then rectangles are overwritten, in order, with words of a table of normal
numbers (``fdsl_gpu.noise``). Pixel i = row * W + column of channel c takes 16-bit half ``i & 7`` (low half of word 0
first) of the Philox block with counter (i >> 3, c + (view << 8), id low, stream << 24 | id high); where a rectangle has
one number a channel, i is the rectangle's number.
"""

import numpy as np

from fdsl_gpu.cpu_kernels.augment import flush
from fdsl_gpu.cpu_kernels.jit import inner, kernel
from fdsl_gpu.cpu_kernels.philox import philox4x32
from fdsl_gpu.cpu_kernels.write_out import luma, write_picture
from fdsl_gpu.records import MAX_ERASURES, PRESENTATION, word

# How a rectangle is filled.
CONST, RAND, PIXEL = 0, 1, 2

_COUNT, _NOISE_LOW, _NOISE_HIGH, _VIEW, _ERASURES = (
    word(PRESENTATION, name) for name in ("num_erasures", "noise_low", "noise_high", "view", "erasures")
)
_WORD = np.uint64(0xFFFFFFFF)


@inner
def _random(first, count, c1, c2, c3, k0, k1, out):
    """``count`` blocks from number ``first``, as uint32 words in order."""
    for j in range(count):
        block = philox4x32(np.uint64(first + j), c1, c2, c3, k0, k1)
        at = np.uintp(4 * j)
        out[at] = np.uint32(block[0])
        out[at + 1] = np.uint32(block[1])
        out[at + 2] = np.uint32(block[2])
        out[at + 3] = np.uint32(block[3])


def write(
    words,
    pictures,
    tables,
    results,
    table,
    noise,
    mode,
    stream,
    k0,
    k1,
    out,
    places,
    strides,
    channels,
):
    """Pictures to the words of a batch [B, channels, W, W] with the given strides, erased where the records say.

    Args:
        words: int32 [B, 76], the records.
        pictures: uint8 [>= B, 2, 3, W, W]; the operations' results, and scratch.
        tables: uint8 [>= B, 3, 256], their pending tables.
        results: int32 [>= B, 2]: which of two pictures, and its planes.
        table: [channels, 256], what a byte becomes; the identity for 8-bit batches.
        noise: [1 or channels, 65536, or 1 if ``mode`` is CONST], of the dtype of ``out``.
        mode: CONST, RAND or PIXEL.
        stream: of the noise.
        k0: key, low word.
        k1: key, high word.
        out: flat words of the batch.
        places: int64 [B], rows of the batch that the images go to.
        strides: words between images, channels, rows and pixels.
        channels: 1 or 3.
    """
    size, pixels = pictures.shape[3], pictures.reshape(-1)
    if channels == 1 and results[: len(words), 1].max() == 3:
        _to_grey(len(words), pixels, size * size, tables, results)
    random = np.empty(size // 2 + 8, np.uint32)
    noise_law = noise, mode, stream, k0, k1
    scratch = np.empty_like(table), random, random.view(np.uint16)
    _write_all(words, pixels, size, tables, results, table, noise_law, out, places, strides, channels, scratch)


@kernel
def _to_grey(batch, pixels, area, tables, results):
    """Results of three planes to their luma, in the other one of the two pictures."""
    for b in range(batch):
        side = np.int64(results[b, 0])
        if results[b, 1] == 3:
            here, there = (2 * b + side) * 3 * area, (2 * b + 1 - side) * 3 * area
            for c in range(3):
                flush(pixels, here + c * area, area, tables, b, c)
            luma(pixels, here, area, pixels, there)
            results[b, 0], results[b, 1] = 1 - side, 1


@kernel
def _write_all(words, pixels, size, tables, results, table, noise_law, out, places, strides, channels, scratch):
    written, random, halves = scratch
    noise, mode, stream, k0, k1 = noise_law
    key0, key1 = np.uint64(k0), np.uint64(k1)
    stride_b, stride_c, stride_h, stride_w = strides
    for b in range(words.shape[0]):
        planes, at = np.int64(results[b, 1]), places[b] * stride_b
        # The pending table and the one of the batch, taken together.
        for c in range(channels):
            for v in range(256):
                written[c, v] = table[c, tables[b, min(c, planes - 1), v]]
        begin = (2 * b + np.int64(results[b, 0])) * 3 * size * size
        write_picture(pixels, begin, planes, size, written, out, at, stride_c, stride_h, stride_w, channels)
        c2 = np.uint64(words[b, _NOISE_LOW]) & _WORD
        c3 = (np.uint64(words[b, _NOISE_HIGH]) & _WORD) | np.uint64(stream) << np.uint64(24)
        for e in range(min(words[b, _COUNT], MAX_ERASURES)):
            record = _ERASURES + 4 * e
            top, left = np.int64(words[b, record]), np.int64(words[b, record + 1])
            height, width = np.int64(words[b, record + 2]), np.int64(words[b, record + 3])
            for c in range(channels):
                c1 = (np.uint64(c) + (np.uint64(words[b, _VIEW]) << np.uint64(8))) & _WORD
                law = min(c, noise.shape[0] - 1)
                first, blocks, shift = np.int64(0), np.int64(1), np.uintp(0)
                if mode != PIXEL:
                    # One number for all pixels.
                    _random(first, blocks, c1, c2, c3, key0, key1, random)
                    number = halves[e] if mode == RAND else np.uint16(0)
                    for x in range(width):
                        halves[x] = number
                for y in range(top, top + height):
                    if mode == PIXEL:
                        pixel = y * size + left
                        first = pixel >> 3
                        blocks, shift = ((pixel + width + 7) >> 3) - first, np.uintp(pixel & 7)
                        _random(first, blocks, c1, c2, c3, key0, key1, random)
                    target = np.uintp(at + c * stride_c + y * stride_h + left * stride_w)
                    for x in range(width):
                        out[target + np.uintp(x * stride_w)] = noise[law, halves[shift + np.uintp(x)]]
