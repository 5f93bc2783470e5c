"""How often the points of 2-D iterated function systems hit each pixel: int32 [B, N, F, F] of ``FRACTAL`` records.

The law, which the CPU twin ``fdsl_gpu/cpu_kernels/density.py`` follows operation for operation (every float operation
is one IEEE float32 operation, in the written order, never fused):

1. Trajectories. The published law is one chain of ``POINTS`` points from the fixed point of map 0. Here, deviating from
   it so that the work is parallel, ``LANES`` trajectories start there. The start lies on the attractor, but the first
   steps crowd around its few images: the first ``WARMUP`` steps do not count. After that, point number
   (s - WARMUP) LANES + l is step s of lane l, and exactly the numbers below ``POINTS`` count.
   Measured against the long chain (300 systems of 2 to 4 maps, 100,000 points, 224 px; a second long chain in
   brackets): the largest hit count is 0.5 % higher with a warm-up of 32 steps (0.1 % lower), 5 % higher with 16, 18 %
   with 8, and 3.4 times as high without one; the sorted densities differ by 0.021 a pixel (0.018), without a warm-up
   by 0.104. 1024 lanes would need 64 steps.
2. Selection. Step s takes 16-bit half ``s & 7`` (low half of word 0 first) of the Philox block with counter
   (s >> 3, lane + (view << 16), id low, stream << 24 | id high), and looks it up in the record's alias table.
3. Map. ``x' = (a x + b y) + e``, ``y' = (c x + d y) + f``.
4. Window, for each axis. low and high are the extremes of the points that count; extent = high - low, or 1 unless that
   is positive; side = stretch extent; edge = ((low + high) 0.5 + shift extent) - side 0.5.
5. Pixel. row = trunc((x - edge_x) ((F - 1) / side_x)), column likewise of y: x runs down, as published. A position
   above -1 truncates to 0. What is not in [0, F) is dropped.
6. Flips of the picture: transpose, then top and bottom, then left and right. Done here by strides, as they flip pixels
   and patches alike.
7. Patch. The point counts in the chosen cells of the 3x3 around it, those outside of the canvas left out.

Source: Anderson and Farrell, "Improving Fractal Pre-training", WACV 2022, and their released generator.
"""

import triton
import triton.language as tl

from triton_kernels.launch import kernel
from triton_kernels.philox import philox4x32

LANES = 256
WARMUP = 32
NUM_WARPS = 4

# Word offsets in a scene of 403 words, and in each of its fractals.
SCENE_WORDS = tl.constexpr(403)
NUM_FRACTALS = tl.constexpr(0)
FRACTALS = tl.constexpr(28)
FRACTAL_WORDS = tl.constexpr(75)
NUM_MAPS = tl.constexpr(0)
SEQUENCE_LOW = tl.constexpr(1)
SEQUENCE_HIGH = tl.constexpr(2)
VIEW = tl.constexpr(3)
SELECT = tl.constexpr(4)
MAPS = tl.constexpr(12)
START = tl.constexpr(60)
SHIFT = tl.constexpr(62)
STRETCH = tl.constexpr(64)
FLIPS = tl.constexpr(66)
PATCH = tl.constexpr(67)


def steps_of(points: int) -> int:
    """Steps that each lane takes so that ``points`` count."""
    return WARMUP + -(-points // LANES)


@triton.jit
def _advance(x, y, word, num_maps, ints_ptr, reals_ptr):
    """Select a map of the fractal by the low half of a word and apply it."""
    position = (word & 0xFFFF).to(tl.int32) * num_maps
    column = position >> 16
    entry = tl.load(ints_ptr + SELECT + column)
    chosen = tl.where((position & 0xFFFF) < (entry >> 8), column, entry & 255)
    row = reals_ptr + MAPS + chosen * 6
    next_x = (tl.load(row) * x + tl.load(row + 1) * y) + tl.load(row + 4)
    next_y = (tl.load(row + 2) * x + tl.load(row + 3) * y) + tl.load(row + 5)
    return next_x, next_y


@triton.jit
def _window(low, high, reals_ptr, axis, SIZE: tl.constexpr):
    """Low edge and pixels a unit of the window along one axis."""
    extent = high - low
    extent = tl.where(extent > 0.0, extent, 1.0)
    side = tl.load(reals_ptr + STRETCH + axis) * extent
    center = (low + high) * 0.5 + tl.load(reals_ptr + SHIFT + axis) * extent
    return center - side * 0.5, tl.div_rn(SIZE - 1.0, side)


@triton.jit
def _strides(flips, SIZE: tl.constexpr):
    """Where (row, column) of a fractal lies in a padded canvas [SIZE + 2, SIZE + 2]: origin, strides of the two."""
    across = tl.where((flips & 4) != 0, -1, 1)
    down = tl.where((flips & 2) != 0, -(SIZE + 2), SIZE + 2)
    origin = SIZE + 3 + tl.where(across < 0, SIZE - 1, 0) + tl.where(down < 0, (SIZE - 1) * (SIZE + 2), 0)
    row = tl.where((flips & 1) != 0, across, down)
    column = tl.where((flips & 1) != 0, down, across)
    return origin, row, column


@kernel(do_not_specialize=["k0", "k1"])
def count_points(
    ints_ptr,
    reals_ptr,
    hits_ptr,
    peaks_ptr,
    k0,
    k1,
    STREAM: tl.constexpr,
    POINTS: tl.constexpr,
    SIZE: tl.constexpr,
    MAX_FRACTALS: tl.constexpr,
    LANES: tl.constexpr,
    WARMUP: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    """Count the points of one fractal a program, grid (B * N,): pass 1 finds the box, pass 2 makes the points again.

    Args:
        ints_ptr: scenes as int32 [B, 403].
        reals_ptr: the same memory as float32 [B, 403].
        hits_ptr: int32 [B, N, F + 2, F + 2], all zero; its border stays zero.
        peaks_ptr: int32 [B, N], set to zero.
        k0: key of the dataset, low word.
        k1: key of the dataset, high word.
        STREAM: Philox stream of map selections.
        POINTS: points a fractal.
        SIZE: side F of the canvas.
        MAX_FRACTALS: N.
        LANES: trajectories.
        WARMUP: steps that do not count.
        BLOCKS: Philox blocks a lane, ceil(steps / 8).
    """
    program = tl.program_id(0).to(tl.int64)
    image = program // MAX_FRACTALS
    number = program % MAX_FRACTALS
    tl.store(peaks_ptr + program, 0)
    if number >= tl.load(ints_ptr + image * SCENE_WORDS + NUM_FRACTALS):
        return
    ints_ptr += image * SCENE_WORDS + FRACTALS + number * FRACTAL_WORDS
    reals_ptr += image * SCENE_WORDS + FRACTALS + number * FRACTAL_WORDS
    hits_ptr += program * ((SIZE + 2) * (SIZE + 2))
    lanes = tl.arange(0, LANES)
    num_maps = tl.load(ints_ptr + NUM_MAPS)
    c1 = lanes + (tl.load(ints_ptr + VIEW) << 16)
    c2 = tl.load(ints_ptr + SEQUENCE_LOW) + lanes * 0
    c3 = (tl.load(ints_ptr + SEQUENCE_HIGH) | (STREAM << 24)) + lanes * 0

    zeros = tl.zeros([LANES], tl.float32)
    start_x, start_y = tl.load(reals_ptr + START) + zeros, tl.load(reals_ptr + START + 1) + zeros
    low_x, low_y = zeros + float("inf"), zeros + float("inf")
    high_x, high_y = zeros - float("inf"), zeros - float("inf")
    x, y = start_x, start_y
    for block in range(BLOCKS):
        w0, w1, w2, w3 = philox4x32(lanes * 0 + block, c1, c2, c3, k0, k1)
        # Loops, not eight copies of their body: those take long to compile.
        for pair in range(4):
            word, w0, w1, w2 = w0, w1, w2, w3
            for half in range(2):
                x, y = _advance(x, y, word, num_maps, ints_ptr, reals_ptr)
                word = word >> 16
                step = block * 8 + pair * 2 + half + lanes * 0
                counts = (step >= WARMUP) & ((step - WARMUP) * LANES + lanes < POINTS)
                low_x = tl.where(counts & (x < low_x), x, low_x)
                low_y = tl.where(counts & (y < low_y), y, low_y)
                high_x = tl.where(counts & (x > high_x), x, high_x)
                high_y = tl.where(counts & (y > high_y), y, high_y)

    edge_x, scale_x = _window(tl.min(low_x, axis=0), tl.max(high_x, axis=0), reals_ptr, 0, SIZE)
    edge_y, scale_y = _window(tl.min(low_y, axis=0), tl.max(high_y, axis=0), reals_ptr, 1, SIZE)
    origin, row_stride, column_stride = _strides(tl.load(ints_ptr + FLIPS), SIZE)
    x, y = start_x, start_y
    for block in range(BLOCKS):
        w0, w1, w2, w3 = philox4x32(lanes * 0 + block, c1, c2, c3, k0, k1)
        for pair in range(4):
            word, w0, w1, w2 = w0, w1, w2, w3
            for half in range(2):
                x, y = _advance(x, y, word, num_maps, ints_ptr, reals_ptr)
                word = word >> 16
                step = block * 8 + pair * 2 + half + lanes * 0
                row = (x - edge_x) * scale_x
                column = (y - edge_y) * scale_y
                keep = (row > -1.0) & (row < SIZE) & (column > -1.0) & (column < SIZE)
                # Selected before the cast: a NaN casts to anything.
                r = tl.where(keep, row, 0.0).to(tl.int32)
                c = tl.where(keep, column, 0.0).to(tl.int32)
                keep = keep & (step >= WARMUP) & ((step - WARMUP) * LANES + lanes < POINTS)
                cell = origin + r * row_stride + c * column_stride
                tl.atomic_add(hits_ptr + cell, 1, mask=keep, sem="relaxed")


@kernel
def spread_hits(
    ints_ptr, hits_ptr, counts_ptr, peaks_ptr, SIZE: tl.constexpr, MAX_FRACTALS: tl.constexpr, BLOCK: tl.constexpr
):
    """Sum the hits in the patch around each pixel; grid (B * N, blocks of pixels).

    Args:
        ints_ptr: scenes as int32 [B, 403].
        hits_ptr: from :func:`count_points`.
        counts_ptr: int32 [B, N, F, F], overwritten where there is a fractal.
        peaks_ptr: int32 [B, N], zeros of :func:`count_points`: their maxima.
        SIZE: side F of the canvas.
        MAX_FRACTALS: N.
        BLOCK: pixels a program.
    """
    program = tl.program_id(0).to(tl.int64)
    image = program // MAX_FRACTALS
    number = program % MAX_FRACTALS
    if number >= tl.load(ints_ptr + image * SCENE_WORDS + NUM_FRACTALS):
        return
    ints_ptr += image * SCENE_WORDS + FRACTALS + number * FRACTAL_WORDS
    pixel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    live = pixel < SIZE * SIZE
    patch = tl.load(ints_ptr + PATCH)
    _, row_stride, column_stride = _strides(tl.load(ints_ptr + FLIPS), SIZE)
    here_ptr = hits_ptr + program * ((SIZE + 2) * (SIZE + 2)) + (pixel // SIZE + 1) * (SIZE + 2) + pixel % SIZE + 1
    total = tl.zeros([BLOCK], tl.int32)
    for cell in range(9):
        chosen = ((patch >> (8 - cell)) & 1) + pixel * 0
        # What hits p counts at p + offset.
        offset = (cell // 3 - 1) * row_stride + (cell % 3 - 1) * column_stride
        total += tl.load(here_ptr - offset, mask=live & (chosen != 0), other=0)
    tl.store(counts_ptr + program * (SIZE * SIZE) + pixel, total, mask=live)
    tl.atomic_max(peaks_ptr + program, tl.max(total, axis=0), sem="relaxed")


SIGNATURES = {
    "count_points": (
        {"ints_ptr": "*i32", "reals_ptr": "*fp32", "hits_ptr": "*i32", "peaks_ptr": "*i32", "k0": "i32", "k1": "i32"},
        {
            "STREAM": 2,
            "POINTS": 100_000,
            "SIZE": 224,
            "MAX_FRACTALS": 1,
            "LANES": LANES,
            "WARMUP": WARMUP,
            "BLOCKS": -(-steps_of(100_000) // 8),
        },
    ),
    "spread_hits": (
        {"ints_ptr": "*i32", "hits_ptr": "*i32", "counts_ptr": "*i32", "peaks_ptr": "*i32"},
        {"SIZE": 224, "MAX_FRACTALS": 1, "BLOCK": 512},
    ),
}
"""Argument types and constants of each kernel at its published settings, for compiling offline."""
