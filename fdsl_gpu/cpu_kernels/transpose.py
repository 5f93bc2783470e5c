"""Transposition of a uint8 plane for numba, at memory speed.

A block of 16 rows of 32 bytes is loaded, its rows interleaved in four rounds, and its columns stored. Interleaving row
r with row r + 8, four times, is what transposes 16 rows.
"""

import numpy as np
from numba import types
from numba.extending import intrinsic

from fdsl_gpu.cpu_kernels import vectors
from fdsl_gpu.cpu_kernels.jit import inner

_ROWS, _COLUMNS = 16, 32

# Within each half of 16 bytes, since that is what one instruction does; a column is stored from its half.
_LOW, _HIGH = (
    [half + place + source for half in (0, 16) for place in range(begin, begin + 8) for source in (0, _COLUMNS)]
    for begin in (0, 8)
)


@intrinsic
def _transpose_block(typing_context, source, source_pitch, target, target_pitch):
    """Transpose 16 rows of 32 bytes at an address to 32 rows of 16 bytes at another; pitches are in bytes."""

    def generate(context, builder, signature, arguments):
        source, source_pitch, target, target_pitch = arguments

        def offset(pitch, row):
            return builder.mul(pitch, pitch.type(row))

        rows = [vectors.load(builder, source, offset(source_pitch, r), vectors.BYTE, _COLUMNS) for r in range(_ROWS)]
        for _ in range(4):
            pairs = zip(rows[: _ROWS // 2], rows[_ROWS // 2 :], strict=True)
            rows = [vectors.shuffle(builder, *pair, places) for pair in pairs for places in (_LOW, _HIGH)]
        for c in range(_COLUMNS):
            first = c // _ROWS * _ROWS
            column = vectors.shuffle(builder, rows[c % _ROWS], rows[c % _ROWS], range(first, first + _ROWS))
            vectors.store(builder, column, target, offset(target_pitch, c))
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.uintp, types.uintp), generate


@intrinsic
def _copy_byte(typing_context, source, target):
    """Copy a byte from an address to another."""

    def generate(context, builder, signature, arguments):
        source, target = arguments
        vectors.store(builder, vectors.load(builder, source, 0, vectors.BYTE, 1), target, 0)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp), generate


@inner
def transpose(source, source_pitch, height, width, target, target_pitch):
    """Transpose a plane of bytes at an address to another; addresses and pitches are uintp, sides int64."""
    if height < _ROWS or width < _COLUMNS:
        for y in range(height):
            for x in range(width):
                row, column = np.uintp(y), np.uintp(x)
                _copy_byte(source + row * source_pitch + column, target + column * target_pitch + row)
    else:
        for x in range(0, width, _COLUMNS):
            # The last blocks begin earlier and write some bytes again. Downwards, so that lines of it are filled.
            column = np.uintp(min(x, width - _COLUMNS))
            for y in range(0, height, _ROWS):
                row = np.uintp(min(y, height - _ROWS))
                from_, to = source + row * source_pitch + column, target + column * target_pitch + row
                _transpose_block(from_, source_pitch, to, target_pitch)
