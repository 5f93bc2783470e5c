"""RandomErasing for numba, the twin of what ``triton_kernels.erase`` puts into erased rectangles.

Rectangles of a written batch are overwritten, in order, with words of a table of normal numbers (``fdsl_gpu.noise``).
Pixel i = row * W + column of channel c takes 16-bit half ``i & 7`` (low half of word 0 first) of the Philox block with
counter (i >> 3, c + (view << 8), id low, stream << 24 | id high); where a rectangle has one number a channel, i is the
rectangle's number.
"""

import numpy as np
from numba import njit

from fdsl_gpu.cpu_kernels.philox import philox4x32
from fdsl_gpu.records import MAX_ERASURES, PRESENTATION

# How a rectangle is filled.
CONST, RAND, PIXEL = 0, 1, 2

_COUNT, _NOISE_LOW, _NOISE_HIGH, _VIEW, _ERASURES = (
    PRESENTATION.fields[name][1] // 4 for name in ("num_erasures", "noise_low", "noise_high", "view", "erasures")
)
_WORD = np.uint64(0xFFFFFFFF)


@njit(nogil=True, cache=True)
def _random(first, count, c1, c2, c3, k0, k1, out):
    """``count`` blocks from number ``first``, as uint32 words in order."""
    for j in range(count):
        block = philox4x32(np.uint64(first + j), c1, c2, c3, k0, k1)
        at = np.uintp(4 * j)
        out[at] = np.uint32(block[0])
        out[at + 1] = np.uint32(block[1])
        out[at + 2] = np.uint32(block[2])
        out[at + 3] = np.uint32(block[3])


@njit(nogil=True, cache=True)
def erase(words, size, noise, mode, stream, k0, k1, random, out, start, stride_c, stride_h, stride_w, channels):
    """Fill the rectangles of one record.

    ``words`` int32 [76] is the record, ``noise`` [1 or channels, 65536, or 1 if ``mode`` is CONST] has the dtype of
    ``out``, ``random`` uint32 [>= size / 2 + 8] is scratch.
    """
    c2 = np.uint64(words[_NOISE_LOW]) & _WORD
    c3 = (np.uint64(words[_NOISE_HIGH]) & _WORD) | np.uint64(stream) << np.uint64(24)
    key0, key1 = np.uint64(k0), np.uint64(k1)
    halves = random.view(np.uint16)
    for e in range(min(words[_COUNT], MAX_ERASURES)):
        at = _ERASURES + 4 * e
        top, left, height, width = words[at], words[at + 1], words[at + 2], words[at + 3]
        for c in range(channels):
            row = noise[c if noise.shape[0] > 1 else 0]
            c1 = (np.uint64(c) + (np.uint64(words[_VIEW]) << np.uint64(8))) & _WORD
            value = row[0]
            if mode == RAND:
                _random(0, 1, c1, c2, c3, key0, key1, random)
                value = row[halves[e]]
            for y in range(top, top + height):
                target = np.uintp(start + c * stride_c + y * stride_h + left * stride_w)
                if mode == PIXEL:
                    first = y * size + left
                    block = first >> 3
                    _random(block, ((first + width + 7) >> 3) - block, c1, c2, c3, key0, key1, random)
                    shift = np.uintp(first & 7)
                    for x in range(width):
                        out[target + np.uintp(x * stride_w)] = row[halves[shift + np.uintp(x)]]
                else:
                    for x in range(width):
                        out[target + np.uintp(x * stride_w)] = value
