"""Trajectories of a 2-D iterated function system for numba: points float32 [step, axis, lane], eight lanes at a time.

The law stands in ``triton_kernels/ifs_2d.py``. The number of a map is looked up in six tables of eight coefficients,
each one instruction on a CPU that permutes vectors. Compilers do not find it, so two loops are written in vector words.
:func:`make_walk` makes them for other systems: ``ifs`` in three dimensions, ``density`` with other beginnings.
"""

from functools import reduce

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fdsl_gpu.cpu_kernels import vectors
from fdsl_gpu.cpu_kernels.jit import inner

LANES = 256
WARMUP = 16
STEPS = 8
ROW = 2 * LANES
AXES = (0, 1, 4), (2, 3, 5)


def steps_of(points):
    """Steps that each lane takes so that ``points`` are emitted, the origin among them."""
    return WARMUP + (max(points - 1 - WARMUP, 0) + LANES - 1) // LANES


def chain_tables(records):
    """Look-up tables of eight maps, float32 [B, 1 + K, 8]: what they are chosen by, as bits, and K coefficients."""
    tables = np.empty((len(records), 1 + records["maps"].shape[2], 8), np.float32)
    tables[:, 0] = records["select"].view(np.float32)
    tables[:, 1:] = records["maps"].transpose(0, 2, 1)
    return tables


def chain_scratch():
    """Scratch of :func:`advance`: chosen maps and points."""
    return np.empty(STEPS * LANES, np.int32), np.empty((STEPS + 1) * ROW, np.float32)


@inner(inline="always")
def emitting(step, points):
    """How many lanes, from lane 0 on, draw at a step; none where it is negative."""
    warm = step >= WARMUP
    lanes = LANES if warm else 1
    left = points - 1 - (WARMUP + (step - WARMUP) * LANES if warm else step)
    return lanes if left > lanes else left


def _number(value):
    return vectors.constant(vectors.INT, value, 8)


@intrinsic
def _choose(typing_context, halves, num_maps, tables, chosen):
    """The maps that eight halves select; all but ``num_maps`` are addresses."""

    def generate(context, builder, signature, arguments):
        halves, num_maps, tables, chosen = arguments
        half = builder.zext(vectors.load(builder, halves, 0, vectors.HALF, 8), ir.VectorType(vectors.INT, 8))
        position = builder.mul(half, vectors.splat(builder, num_maps, 8))
        column = builder.lshr(position, _number(16))
        entry = vectors.of_eight(builder, vectors.load(builder, tables, 0, vectors.INT, 8), column)
        kept = builder.icmp_signed("<", builder.and_(position, _number(0xFFFF)), builder.ashr(entry, _number(8)))
        vectors.store(builder, builder.select(kept, column, builder.and_(entry, _number(255))), chosen, 0)
        return context.get_dummy_value()

    return types.void(types.uintp, types.int32, types.uintp, types.uintp), generate


def _make_move(lanes, axes):
    """An intrinsic that moves eight of ``lanes`` on to the next row of a cloud; ``axes``: columns of their maps."""

    @intrinsic
    def move(typing_context, chosen, here, tables):
        """Move by the chosen maps; arguments are addresses."""

        def generate(context, builder, signature, arguments):
            chosen, here, tables = arguments
            m = vectors.load(builder, chosen, 0, vectors.INT, 8)
            point = [vectors.load(builder, here, 4 * lanes * axis, vectors.FLOAT, 8) for axis in range(len(axes))]
            for axis, columns in enumerate(axes):
                entries = (vectors.load(builder, tables, 32 * (1 + k), vectors.FLOAT, 8) for k in columns)
                *factors, shift = (vectors.of_eight(builder, entry, m) for entry in entries)
                products = [builder.fmul(factor, x) for factor, x in zip(factors, point, strict=True)]
                moved = reduce(builder.fadd, [*products, shift])
                vectors.store(builder, moved, here, 4 * lanes * (len(axes) + axis))
            return context.get_dummy_value()

        return types.void(types.uintp, types.uintp, types.uintp), generate

    return move


def make_walk(lanes, axes):
    """A function that takes steps of so many trajectories; ``axes``: columns of their maps for each coordinate."""
    move, row = _make_move(lanes, axes), lanes * len(axes)

    @inner(inline="always")
    def walk(num_maps, table, halves, steps, chosen, here):
        """Fill the ``steps`` rows after the one at ``here``; all but numbers are addresses, ``chosen`` of scratch."""
        # In two loops, each of which keeps more lanes in flight than one would.
        for lane in range(0, steps * lanes, 8):
            _choose(halves + np.uintp(2 * lane), np.int32(num_maps), table, chosen + np.uintp(4 * lane))
        for step in range(steps):
            for lane in range(0, lanes, 8):
                move(chosen + np.uintp(4 * (step * lanes + lane)), here + np.uintp(4 * (step * row + lane)), table)

    return walk


_take_steps = make_walk(LANES, AXES)


@inner
def advance(num_maps, table, halves, first, last, chosen, cloud):
    """Steps ``first`` .. ``last - 1`` of all trajectories, after the last row of ``cloud``, which the first becomes."""
    for i in range(ROW):
        cloud[i] = cloud[STEPS * ROW + i]
    table, choice = np.uintp(table.ctypes.data), np.uintp(chosen.ctypes.data)
    half, here = np.uintp(halves.ctypes.data) + np.uintp(2 * LANES * first), np.uintp(cloud.ctypes.data)
    _take_steps(num_maps, table, half, last - first, choice, here)
