"""Points of 2-D iterated function systems: uint8 [B, P, S, S] of ``POINTS_2D`` records, P = 1 for grey, 3 for colour.

The law, which the CPU twin ``fdsl_gpu/cpu_kernels/ifs_2d.py`` follows operation for operation (every float operation is
one IEEE float32 operation, in the written order, never fused):

1. Trajectories. The published law is one chain of ``POINTS`` points from the origin, which is point 0. Here, deviating
   from it so that the work is parallel, ``LANES`` trajectories start at the origin. The first ``WARMUP`` steps are not
   drawn, except those of lane 0: the published chain draws its transient, which stretches the picture's box, once. In
   order of emission the origin is number 0, and step s of lane l is number 1 + s for lane 0 before the warm-up ends,
   and 1 + WARMUP + (s - WARMUP) LANES + l after it; exactly the numbers below ``POINTS`` are drawn.
   Measured against the long chain (200 accepted systems under 3 of the released weights, 200,000 points, 362 px; a
   second long chain in brackets): with a warm-up of 16 steps the share of covered pixels differs by -0.0008 +- 0.0009
   (-0.0002 +- 0.0008), the median edge of the box by 5.9 pixels (5.7), histograms of 32 x 32 cells by 0.0238 of the
   points (0.0237). More steps change nothing; without a warm-up the histograms differ by 0.0249.
2. Selection. Step s of lane l takes half (s, l) of a table that all images of all datasets share, as the released
   generator, which seeds its chain anew for every picture, shares one sequence; the half is looked up in the record's
   alias table.
3. Map. ``x' = (a x + b y) + e``, ``y' = (c x + d y) + f``.
4. Pixel. column = trunc((x - low_x) scale_x + 6), row likewise of y; a position that is not in [0, S) is not drawn.
5. Rendering. As points, a pixel is lit if a point falls on it; as patches, if the 3x3 block of a point covers it, whose
   top left corner is one pixel below and to the right of the point; blocks are clipped to the canvas. Lit pixels are
   grey 127, or colour n modulo 128 of the palette for the last, number n, of the points that light them. Of patches,
   but not of filled ones, a pixel stays dark unless its random half is below 32833 (256 / 511): half p & 7 of the
   Philox block with counter (p >> 3, view, pattern low, stream << 24 | pattern high), p = row S + column.
   This is the released image, in which each point overwrites its block with random bits that are not all zero, but for
   the latter (1 / 512 of the blocks).
6. Mirror of the picture so drawn: left and right, top and bottom.

Source: Kataoka et al., "Pre-training without Natural Images", ACCV 2020, and its released renderer.
"""

import triton
import triton.language as tl

from triton_kernels.launch import kernel
from triton_kernels.philox import philox4x32

LANES = 256
WARMUP = 16
LANE_BLOCK = 64
PIXEL_GROUPS = 64

# Word offsets in a record of 68 words.
RECORD_WORDS = tl.constexpr(68)
NUM_MAPS = tl.constexpr(0)
PATTERN_LOW = tl.constexpr(1)
PATTERN_HIGH = tl.constexpr(2)
VIEW = tl.constexpr(3)
MIRROR = tl.constexpr(4)
SELECT = tl.constexpr(8)
MAPS = tl.constexpr(16)
LOW = tl.constexpr(64)
SCALE = tl.constexpr(66)

PADDING = tl.constexpr(6.0)
GREY = tl.constexpr(127)
BELOW = tl.constexpr(32833)


def steps_of(points: int) -> int:
    """Steps that each lane takes so that ``points`` are emitted, the origin among them."""
    return WARMUP + -(-max(points - 1 - WARMUP, 0) // LANES)


@triton.jit
def _advance(x, y, half, num_maps, ints_ptr, reals_ptr):
    """Select a map of the record by 16 random bits and apply it."""
    position = half * num_maps
    column = position >> 16
    entry = tl.load(ints_ptr + SELECT + column)
    chosen = tl.where((position & 0xFFFF) < (entry >> 8), column, entry & 255)
    row = reals_ptr + MAPS + chosen * 6
    next_x = (tl.load(row) * x + tl.load(row + 1) * y) + tl.load(row + 4)
    next_y = (tl.load(row + 2) * x + tl.load(row + 3) * y) + tl.load(row + 5)
    return next_x, next_y


@triton.jit
def _plot(x, y, low_x, low_y, scale_x, scale_y, marks_ptr, number, emitted, SIZE: tl.constexpr, COLOR: tl.constexpr):
    """Mark the pixels of points: 1, or the number + 1 if that is greater than what is there."""
    column = (x - low_x) * scale_x + PADDING
    row = (y - low_y) * scale_y + PADDING
    keep = emitted & (column >= 0.0) & (column < SIZE) & (row >= 0.0) & (row < SIZE)
    # Selected before the cast: a NaN casts to anything.
    cell = tl.where(keep, row, 0.0).to(tl.int32) * SIZE + tl.where(keep, column, 0.0).to(tl.int32)
    if COLOR:
        tl.atomic_max(marks_ptr + cell, number + 1, mask=keep, sem="relaxed")
    else:
        tl.store(marks_ptr + cell, (number * 0 + 1).to(tl.uint8), mask=keep)


@kernel
def plot_2d(
    ints_ptr,
    reals_ptr,
    halves_ptr,
    marks_ptr,
    POINTS: tl.constexpr,
    SIZE: tl.constexpr,
    COLOR: tl.constexpr,
    STEPS: tl.constexpr,
    LANES: tl.constexpr,
    WARMUP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Mark the pixels of the points of one image and ``BLOCK`` lanes a program, grid (B, LANES // BLOCK).

    Args:
        ints_ptr: records as int32 [B, 68].
        reals_ptr: the same memory as float32 [B, 68].
        halves_ptr: uint16 [STEPS, LANES], what selects the maps.
        marks_ptr: uint8 or, with ``COLOR``, int32 [B, SIZE, SIZE], all zero.
        POINTS: points an image.
        SIZE: side of the canvas.
        COLOR: mark by the number of the last point.
        STEPS: steps a lane.
        LANES: trajectories.
        WARMUP: steps not drawn but for lane 0.
        BLOCK: lanes a program.
    """
    image = tl.program_id(0).to(tl.int64)
    ints_ptr += image * RECORD_WORDS
    reals_ptr += image * RECORD_WORDS
    marks_ptr += image * SIZE * SIZE
    lanes = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    # The steps at which each lane draws: from the first, and before the last.
    first = tl.where(lanes == 0, 0, WARMUP)
    if POINTS > WARMUP + 1:
        last = WARMUP + (POINTS - 1 - WARMUP - lanes + LANES - 1) // LANES
    else:
        last = tl.where(lanes == 0, POINTS - 1, 0)
    num_maps = tl.load(ints_ptr + NUM_MAPS)
    low_x = tl.load(reals_ptr + LOW)
    low_y = tl.load(reals_ptr + LOW + 1)
    scale_x = tl.load(reals_ptr + SCALE)
    scale_y = tl.load(reals_ptr + SCALE + 1)

    x = tl.zeros([BLOCK], tl.float32)
    y = x
    _plot(x, y, low_x, low_y, scale_x, scale_y, marks_ptr, lanes, lanes == 0, SIZE, COLOR)
    for step in range(STEPS):
        half = tl.load(halves_ptr + step * LANES + lanes).to(tl.int32)
        x, y = _advance(x, y, half, num_maps, ints_ptr, reals_ptr)
        emitted = (first <= step) & (last > step)
        number = lanes + (1 + step + tl.maximum(step - WARMUP, 0) * (LANES - 1))
        _plot(x, y, low_x, low_y, scale_x, scale_y, marks_ptr, number, emitted, SIZE, COLOR)


@triton.jit
def _pattern(group, j, view, low, high, k0, k1):
    """Whether the random pattern lights pixel 8 group + j, [G, 8]."""
    w0, w1, w2, w3 = philox4x32(group, group * 0 + view, group * 0 + low, group * 0 + high, k0, k1)
    front = tl.where(j < 2, w0[:, None], w1[:, None])
    back = tl.where(j < 6, w2[:, None], w3[:, None])
    word = tl.where(j < 4, front, back)
    half = tl.where((j & 1) == 0, word & 0xFFFF, word >> 16).to(tl.int32)
    return half < BELOW


@kernel(do_not_specialize=["k0", "k1"])
def compose_2d(
    ints_ptr,
    marks_ptr,
    palette_ptr,
    planes_ptr,
    k0,
    k1,
    STREAM: tl.constexpr,
    SIZE: tl.constexpr,
    COLOR: tl.constexpr,
    PATCH: tl.constexpr,
    RANDOM: tl.constexpr,
    GROUPS: tl.constexpr,
):
    """Turn marks into planes, grid (B, ceil(SIZE * SIZE / (8 * GROUPS))).

    Args:
        ints_ptr: records as int32 [B, 68].
        marks_ptr: from :func:`plot_2d`.
        palette_ptr: uint8 [3, 129], levels of the primaries, of no point and of point 0, 1, ... 127.
        planes_ptr: uint8 [B, 3 if COLOR else 1, SIZE, SIZE], overwritten.
        k0: key of the dataset, low word.
        k1: key of the dataset, high word.
        STREAM: Philox stream of patterns.
        SIZE: side of the canvas.
        COLOR: colour of the last point, or grey.
        PATCH: points cover 3x3 blocks, or pixels.
        RANDOM: a random pattern leaves pixels dark.
        GROUPS: groups of eight pixels a program.
    """
    image = tl.program_id(0).to(tl.int64)
    ints_ptr += image * RECORD_WORDS
    marks_ptr += image * SIZE * SIZE
    group = tl.program_id(1) * GROUPS + tl.arange(0, GROUPS)
    j = tl.arange(0, 8)[None, :]
    pixel = group[:, None] * 8 + j
    inside = pixel < SIZE * SIZE
    row = pixel // SIZE
    column = pixel % SIZE
    if PATCH:
        mark = pixel * 0
        for down in tl.static_range(1, 4):
            for right in tl.static_range(1, 4):
                there = inside & (row >= down) & (column >= right)
                value = tl.load(marks_ptr + pixel - (down * SIZE + right), mask=there, other=0).to(tl.int32)
                mark = tl.maximum(mark, value)
    else:
        mark = tl.load(marks_ptr + pixel, mask=inside, other=0).to(tl.int32)
    lit = mark > 0
    if RANDOM:
        high = tl.load(ints_ptr + PATTERN_HIGH) | (STREAM << 24)
        lit = lit & _pattern(group, j, tl.load(ints_ptr + VIEW), tl.load(ints_ptr + PATTERN_LOW), high, k0, k1)
    mirror = tl.load(ints_ptr + MIRROR)
    row = tl.where((mirror & 2) != 0, SIZE - 1 - row, row)
    column = tl.where((mirror & 1) != 0, SIZE - 1 - column, column)
    place = row * SIZE + column
    if COLOR:
        planes_ptr += image * 3 * SIZE * SIZE
        level = tl.where(lit, ((mark - 1) & 127) + 1, 0)
        for channel in tl.static_range(3):
            color = tl.load(palette_ptr + channel * 129 + level)
            tl.store(planes_ptr + channel * SIZE * SIZE + place, color, mask=inside)
    else:
        tl.store(planes_ptr + image * SIZE * SIZE + place, tl.where(lit, GREY, 0).to(tl.uint8), mask=inside)


_POINTERS = {"ints_ptr": "*i32", "reals_ptr": "*fp32", "halves_ptr": "*u16"}
_COMPOSED = {"palette_ptr": "*u8", "planes_ptr": "*u8", "k0": "i32", "k1": "i32"}
_PLOT = {
    "POINTS": 200_000,
    "SIZE": 362,
    "STEPS": steps_of(200_000),
    "LANES": LANES,
    "WARMUP": WARMUP,
    "BLOCK": LANE_BLOCK,
}
_COMPOSE = {"STREAM": 7, "SIZE": 362, "PATCH": True, "RANDOM": True, "GROUPS": PIXEL_GROUPS}

SIGNATURES = {
    "plot_2d": ({**_POINTERS, "marks_ptr": "*u8"}, {**_PLOT, "COLOR": False}),
    "plot_2d/color": ({**_POINTERS, "marks_ptr": "*i32"}, {**_PLOT, "COLOR": True}),
    "compose_2d": ({"ints_ptr": "*i32", "marks_ptr": "*u8", **_COMPOSED}, {**_COMPOSE, "COLOR": False}),
    "compose_2d/color": ({"ints_ptr": "*i32", "marks_ptr": "*i32", **_COMPOSED}, {**_COMPOSE, "COLOR": True}),
}
"""Argument types and constants of each kernel at its published settings, for compiling offline."""
