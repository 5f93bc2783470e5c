"""Planes to training batch for numba, the twin of ``triton_kernels.write_out``.

uint8 planes [B, P, S, S] are resampled with Pillow's two-pass fixed-point arithmetic (``fdsl_gpu.resample``), looked up
in a table and written to a batch of any strides, as words of the size of its dtype.
"""

import numpy as np

from fdsl_gpu.cpu_kernels.jit import inner, kernel
from fdsl_gpu.cpu_kernels.resample import buffers, fives, resize_rectangle

_ONES = np.uint64(0x0101010101010101)

# Shares of the three primaries in luma, 16 fractional bits.
_RED, _GREEN, _BLUE = np.int32(19595), np.int32(38470), np.int32(7471)
_ROUND, _SHIFT = np.int32(0x8000), np.int32(16)


def resize(planes, first, weights, out):
    """Planes uint8 [N, S, S] to ``out`` uint8 [N, O, O] with ``first`` int32 [O] and ``weights`` int32 [T, O]."""
    in_size, out_size, taps = planes.shape[1], out.shape[1], weights.shape[0]
    padded = np.empty(((taps + 4) // 5 * 5, out_size), np.int32)
    _resize(planes, first, weights.reshape(-1), taps, padded, buffers(in_size, out_size), out)


@kernel
def _resize(planes, first, weights, taps, padded, scratch, out):
    in_size = planes.shape[1]
    axis = (first, padded, taps, fives(weights, taps, padded))
    for n in range(planes.shape[0]):
        resize_rectangle(planes[n], (0, 0, in_size, in_size), axis, axis, 0, scratch, out[n])


def row_scratch(size):
    """Working memory of :func:`write_picture`: a row as words of eight bytes, and as bytes."""
    words = np.empty((size + 7) >> 3, np.uint64)
    return words, words.view(np.uint8)


@inner
def write_picture(picture, size, table, out, start, stride_c, stride_h, stride_w, channels, scratch):
    """Look the bytes of ``picture`` uint8 [P, >= size, >= size] up and store them as words at ``out[start:]``."""
    words, row = scratch
    whole = size >> 3
    for y in range(size):
        for c in range(channels):
            if c == 0 or picture.shape[0] > 1:
                for x in range(size):
                    row[x] = picture[c, y, x]
            at = np.uintp(start + c * stride_c + y * stride_h)
            if stride_w != 1:
                for x in range(size):
                    out[at + np.uintp(x * stride_w)] = table[c, row[x]]
            elif out.itemsize == 1:
                for x in range(size):
                    out[at + np.uintp(x)] = row[x]
            else:
                for j in range(whole):
                    x = np.uintp(j << 3)
                    if words[j] == row[x] * _ONES:
                        # Most of a picture is background: eight equal bytes are one wide store.
                        value = table[c, row[x]]
                        for i in range(8):
                            out[at + x + np.uintp(i)] = value
                    else:
                        for i in range(8):
                            out[at + x + np.uintp(i)] = table[c, row[x + np.uintp(i)]]
                for i in range(whole << 3, size):
                    out[at + np.uintp(i)] = table[c, row[np.uintp(i)]]


@inner
def luma(picture, out):
    """Grey of three planes as Pillow's ``convert("L")``, ITU-R 601-2: uint8 [3, n] to ``out`` uint8 [n]."""
    for i in range(out.size):
        red, green, blue = np.int32(picture[0, i]), np.int32(picture[1, i]), np.int32(picture[2, i])
        total = np.int32(_RED * red) + np.int32(_GREEN * green) + np.int32(_BLUE * blue)
        out[i] = np.uint8(np.int32(total + _ROUND) >> _SHIFT)


def write(planes, table, out, strides, channels):
    """Planes uint8 [B, P, S, S] to the words ``out`` of a batch [B, channels, S, S] with the given four strides.

    ``table`` [channels, 256] has the dtype of ``out``, and is the identity for 8-bit batches.
    """
    size = planes.shape[2]
    scratch, grey = row_scratch(size), np.empty((1, size, size), np.uint8)
    pixels = planes.reshape(*planes.shape[:2], size * size)
    _write(planes, pixels, table, out, strides, channels, scratch, grey, grey.reshape(-1))


@kernel
def _write(planes, pixels, table, out, strides, channels, scratch, grey, grey_pixels):
    stride_b, stride_c, stride_h, stride_w = strides
    size = planes.shape[2]
    for b in range(planes.shape[0]):
        picture = planes[b]
        if channels == 1 and planes.shape[1] == 3:
            luma(pixels[b], grey_pixels)
            picture = grey
        write_picture(picture, size, table, out, b * stride_b, stride_c, stride_h, stride_w, channels, scratch)
