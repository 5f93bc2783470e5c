"""Pillow's two-pass resize for numba: a rectangle of a uint8 plane [S, S] to a picture uint8 [O, O].

A pass runs along the first axis, so that its vectors are contiguous bytes; the horizontal pass works on the transposed
plane. Only what differs from the rectangle's first byte is resampled: weights sum to one within their rounding, so a
window of one value has this value (``tests/test_write_out.py`` holds ``MAX_SIZE`` against it).

Pillow resizes horizontally first; since version 13 vertically first where the height shrinks by more pixels than twice
the width does, which changes a byte here and there. That is followed.

The arithmetic is that of ``triton_kernels.write_out`` and ``triton_kernels.crop``; coefficients are those of
``fdsl_gpu.resample``.
"""

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fdsl_gpu.cpu_kernels import vectors
from fdsl_gpu.cpu_kernels.jit import inner
from fdsl_gpu.cpu_kernels.transpose import transpose
from fdsl_gpu.resample import PRECISION_BITS

# Bytes that a pass makes at once; rows of scratch memory are whole vectors.
_LANES = 32


@intrinsic
def _weigh(typing_context, source, pitch, weights, stride, taps, out):
    """Sum ``taps`` rows of 32 bytes, each times its int32 weight, and store the sums, rounded and clipped to bytes.

    ``source``, ``weights`` and ``out`` are addresses, ``pitch`` and ``stride`` bytes from a row or weight to the next.
    """

    def generate(context, builder, signature, arguments):
        source, pitch, weights, stride, taps, out = arguments

        def constant(value):
            return vectors.constant(vectors.INT, value, _LANES)

        total = cgutils.alloca_once_value(builder, constant(1 << (PRECISION_BITS - 1)))
        with cgutils.for_range(builder, taps) as loop:
            row = vectors.load(builder, source, builder.mul(loop.index, pitch), vectors.BYTE, _LANES)
            weight = vectors.load(builder, weights, builder.mul(loop.index, stride), vectors.INT, 1)
            weight = vectors.shuffle(builder, weight, weight, [0] * _LANES)
            product = builder.mul(builder.zext(row, weight.type), weight)
            builder.store(builder.add(builder.load(total), product), total)
        level = builder.ashr(builder.load(total), constant(PRECISION_BITS))
        for beyond, limit in (("<", constant(0)), (">", constant(255))):
            level = builder.select(builder.icmp_signed(beyond, level, limit), limit, level)
        vectors.store(builder, builder.trunc(level, row.type), out, 0)
        return context.get_dummy_value()

    return types.void(*[types.uintp] * 6), generate


@inner
def _content(pixels, begin, pitch, height, width, used):
    """What differs from the first byte of a rectangle: (top, bottom, left, right) in it; bottom is 0 if nothing does.

    The rectangle is at ``pixels[begin]``, its rows ``pitch`` apart; ``used`` is scratch of ``width`` bytes.
    """
    background = pixels[begin]
    for i in range(width):
        used[i] = 0
    top, bottom, left, right = height, np.int64(0), np.int64(0), width
    for row in range(height):
        different = np.uint8(0)
        for i in range(width):
            difference = np.uint8(pixels[np.uintp(begin + row * pitch + i)] ^ background)
            used[i] = np.uint8(used[i] | difference)
            different = np.uint8(different | difference)
        if different:
            top, bottom = min(top, row), row + 1
    if bottom > 0:
        while not used[left]:
            left += 1
        while not used[right - 1]:
            right -= 1
    return top, bottom, left, right


@inner
def _windows(first, at, taps, size, begin, end):
    """The outputs (low, high) whose windows meet the inputs begin .. end; ``first[at:]`` does not decrease."""
    low = 0
    while low < size - 1 and first[at + low] + taps <= begin:
        low += 1
    high = low
    while high < size and first[at + high] < end:
        high += 1
    return low, high


def buffer(in_size, out_size):
    """Scratch memory of :func:`resize_rectangle`, for rectangles of planes of side ``in_size``."""
    in_pitch, out_pitch = -(-in_size // _LANES) * _LANES, -(-out_size // _LANES) * _LANES
    return np.empty((in_size + out_size) * (in_pitch + out_pitch), np.uint8)


@inner(forceinline=True)
def vertical_first(height, width, size):
    """Whether Pillow (13 and later) resizes a rectangle vertically first."""
    return height > size and height - size > 2 * (width - size)


@inner(inline="always")
def _copy(pixels, begin, pitch, height, width, memory, out_pitch):
    """A rectangle at ``pixels[begin]``, its rows ``pitch`` apart, to the beginning of ``memory``."""
    for row in range(height):
        for column in range(width):
            memory[np.uintp(row * out_pitch + column)] = pixels[np.uintp(begin + row * pitch + column)]


@inner(inline="always")
def _pass(source, pitch, length, coefficients, axis, size, outputs, reverse, result):
    """One pass along the columns of a plane at an address, to another; both have rows ``pitch`` apart.

    ``axis`` is where in the coefficients those of the axis begin, and taps. The ``outputs`` (low, high) are made, in
    ``reverse`` order if so, ``length`` bytes of each, and more up to a whole vector. The plane's first row is the first
    input of the first window.
    """
    first, weights = coefficients
    first_at, weights_at, taps = axis
    low, high = outputs
    table, stride = np.uintp(weights.ctypes.data + 4 * weights_at), np.uintp(4 * size)
    for o in range(low, high):
        inputs = source + np.uintp(first[first_at + o] - first[first_at + low]) * pitch
        output = result + np.uintp(high - 1 - o if reverse else o - low) * pitch
        for x in range(0, length, _LANES):
            at = np.uintp(x)
            _weigh(inputs + at, pitch, table + np.uintp(4 * o), stride, np.uintp(taps), output + at)


@inner(inline="always")
def _place(memory, begin, pitch, height, width, background, out, at, size, top, left):
    """A picture at ``memory[begin]``, its rows ``pitch`` apart, to its place in ``out[at:]``, else ``background``."""
    for i in range(size * size):
        out[np.uintp(at + i)] = background
    for row in range(height):
        for column in range(width):
            byte = memory[begin + np.uintp(row * pitch + column)]
            out[np.uintp(at + (top + row) * size + left + column)] = byte


@inner(inline="always")
def resize_rectangle(pixels, begin, in_size, high, wide, coefficients, across, down, flips, memory, out, at, size):
    """A rectangle of ``high`` x ``wide`` pixels of a plane, resized to ``size`` squared at ``out[at]``, then flipped.

    The rectangle is at ``pixels[begin]``, in a plane of side ``in_size``. ``coefficients`` are flat int32 (first,
    weights); ``across`` and ``down`` say for an axis where in these its own begin, and taps: first [size] and weights
    [taps, size]. Bit 0 of ``flips`` exchanges left and right, bit 1 top and bottom; ``memory`` is from :func:`buffer`.
    """
    first, _ = coefficients
    first_x, _, taps_x = across
    first_y, _, taps_y = down
    background = pixels[begin]
    top, bottom, left, right = _content(pixels, begin, in_size, high, wide, memory)
    # What differs from the background is resized: in ``narrow`` along one axis, transposed in ``rows``, in ``region``.
    y0, y1 = _windows(first, first_y, taps_y, size, top, bottom)
    x0, x1 = _windows(first, first_x, taps_x, size, left, right)
    in_pitch, out_pitch = -(-in_size // _LANES) * _LANES, -(-size // _LANES) * _LANES
    base = np.uintp(memory.ctypes.data)
    narrow = base + np.uintp(in_size * in_pitch)
    rows = narrow + np.uintp(size * in_pitch)
    region = source = rows + np.uintp(in_size * out_pitch)
    if bottom > 0:
        # Inputs of these windows.
        top, bottom = np.int64(first[first_y + y0]), np.int64(first[first_y + y1 - 1] + taps_y)
        left, right = np.int64(first[first_x + x0]), np.int64(first[first_x + x1 - 1] + taps_x)
        height, width, corner = bottom - top, right - left, begin + top * in_size + left
        source, source_pitch = np.uintp(pixels.ctypes.data + corner), np.uintp(in_size)
        target, result, pitch = base, narrow, np.uintp(in_pitch)
        downwards = vertical_first(high, wide, size)
        # One loop, so that a pass and a transposition are compiled once.
        for step in range(3 if downwards else 2):
            if downwards and step == 0:
                _copy(pixels, corner, in_size, height, width, memory, in_pitch)
            else:
                transpose(source, source_pitch, height, width, target, pitch)
                height, width = width, height
            source, source_pitch = target, pitch
            if step < 2:
                vertical = downwards == (step == 0)
                outputs, reverse = ((y0, y1), flips & 2) if vertical else ((x0, x1), flips & 1)
                axis = down if vertical else across
                _pass(source, pitch, width, coefficients, axis, size, outputs, reverse, result)
                height, source = outputs[1] - outputs[0], result
                # There are rows enough for a third transposition: a rectangle that is higher than the result comes
                # from a plane that is larger.
                target, result, pitch = rows, region, np.uintp(out_pitch)
    else:
        y1, x1 = y0, x0
    top, left = size - y1 if flips & 2 else y0, size - x1 if flips & 1 else x0
    _place(memory, source - base, out_pitch, y1 - y0, x1 - x0, background, out, at, size, top, left)
