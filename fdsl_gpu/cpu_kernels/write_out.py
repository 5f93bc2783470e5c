"""Planes to training batch for numba, the twin of ``triton_kernels.write_out``.

uint8 planes [B, P, S, S] are resampled with Pillow's two-pass fixed-point arithmetic (``fdsl_gpu.resample``), looked up
in a table and written to a batch of any strides, as words of the size of its dtype.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.lib.stride_tricks import as_strided

from fdsl_gpu.cpu_kernels import vectors
from fdsl_gpu.cpu_kernels.jit import inner, kernel
from fdsl_gpu.cpu_kernels.resample import buffer, resize_rectangle

_BYTE = np.uint64(255)
_ONES = np.uint64(0x0101010101010101)

# Shares of the three primaries in luma, 16 fractional bits.
_RED, _GREEN, _BLUE = np.int32(19595), np.int32(38470), np.int32(7471)
_ROUND, _SHIFT = np.int32(0x8000), np.int32(16)


def resize(planes, first, weights, out):
    """Planes uint8 [N, S, S] to ``out`` uint8 [N, O, O] with ``first`` int32 [O] and ``weights`` int32 [T, O]."""
    count, in_size, out_size = len(planes), planes.shape[1], out.shape[1]
    coefficients = first, weights.reshape(-1)
    memory = buffer(in_size, out_size)
    _resize(planes.reshape(-1), count, in_size, coefficients, weights.shape[0], memory, out.reshape(-1), out_size)


@kernel
def _resize(pixels, count, in_size, coefficients, taps, memory, out, size):
    axis = np.int64(0), np.int64(0), taps
    for n in range(count):
        begin, at = n * in_size * in_size, n * size * size
        resize_rectangle(pixels, begin, in_size, in_size, in_size, coefficients, axis, axis, 0, memory, out, at, size)


@intrinsic
def _eight_bytes(typing_context, address):
    """The bytes at an address as one word, the first one lowest."""

    def generate(context, builder, signature, arguments):
        word = vectors.load(builder, *arguments, 0, ir.IntType(64), 1)
        return builder.extract_element(word, ir.Constant(vectors.INT, 0))

    return types.uint64(types.uintp), generate


@inner(inline="always")
def write_picture(pixels, begin, planes, size, table, out, start, stride_c, stride_h, stride_w, channels):
    """Look the bytes of a picture [P, S, S], from ``pixels[begin]``, up and store them as words at ``out[start:]``."""
    for y in range(size):
        for c in range(channels):
            row = begin + (min(c, planes - 1) * size + y) * size
            at = np.uintp(start + c * stride_c + y * stride_h)
            if stride_w != 1 or size < 8:
                for x in range(size):
                    out[at + np.uintp(x * stride_w)] = table[c, pixels[np.uintp(row + x)]]
                continue
            source = np.uintp(pixels.ctypes.data + row)
            for x in range(0, size, 8):
                # The last eight begin earlier and are written again.
                left = np.uintp(min(x, size - 8))
                word = _eight_bytes(source + left)
                if word == (word & _BYTE) * _ONES:
                    # Most of a picture is background: eight equal bytes are one wide store.
                    value = table[c, word & _BYTE]
                    for i in range(8):
                        out[at + left + np.uintp(i)] = value
                else:
                    for i in range(8):
                        out[at + left + np.uintp(i)] = table[c, (word >> np.uint64(8 * i)) & _BYTE]


@inner
def luma(pixels, begin, area, out, at):
    """Grey of three planes of ``area`` pixels from ``begin`` as Pillow's ``convert("L")``, ITU-R 601-2."""
    for i in range(area):
        place = np.uintp(begin + i)
        red, green = np.int32(pixels[place]), np.int32(pixels[place + np.uintp(area)])
        blue = np.int32(pixels[place + np.uintp(2 * area)])
        total = np.int32(_RED * red) + np.int32(_GREEN * green) + np.int32(_BLUE * blue)
        out[np.uintp(at + i)] = np.uint8(np.int32(total + _ROUND) >> _SHIFT)


def write(planes, table, out, places, strides, channels):
    """Planes uint8 [B, P, S, S] to rows ``places`` int64 [B] of a batch [N, channels, S, S].

    ``out`` are the batch's words, with the given four strides. ``table`` [channels, 256] has their dtype, and is the
    identity for 8-bit batches.
    """
    batch, _, size, _ = planes.shape
    if channels == 1 and planes.shape[1] == 3:
        grey = np.empty((batch, 1, size, size), np.uint8)
        _grey(planes.reshape(-1), batch, size * size, grey.reshape(-1))
        planes = grey
    if out.itemsize == 1 and strides[3] == 1:
        as_strided(out, (places.max() + 1, channels, size, size), strides)[places] = planes
    else:
        _write(planes.reshape(-1), planes.shape[1], size, table, out, places, *strides, channels)


@kernel
def _grey(pixels, batch, area, out):
    for b in range(batch):
        luma(pixels, 3 * b * area, area, out, b * area)


@kernel
def _write(pixels, planes, size, table, out, places, stride_b, stride_c, stride_h, stride_w, channels):
    for b in range(places.size):
        begin, start = b * planes * size * size, places[b] * stride_b
        write_picture(pixels, begin, planes, size, table, out, start, stride_c, stride_h, stride_w, channels)
