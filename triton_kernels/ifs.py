"""Points of a 3-D iterated function system, seen by a perspective camera: uint8 [B, S, S], ``VALUE`` on 0.

The law, which the CPU twin ``fdsl_gpu/cpu_kernels/ifs.py`` follows operation for operation (every float operation is
one IEEE float32 operation, in the written order, never fused):

1. Trajectories. The published law is one chain of ``POINTS`` steps from the origin. Here, deviating from it so that the
   work is parallel, ``LANES`` trajectories start at the origin. The first ``WARMUP`` steps are not drawn, except those
   of lane 0: the published chain draws its transient, which stretches the picture's box, once. In order of emission,
   step s of lane l is number s for lane 0 before the warm-up ends, and WARMUP + (s - WARMUP) LANES + l after it;
   exactly the numbers below ``POINTS`` are emitted. The origin is not.
   Measured against the long chain (400 classes, 9,999 points, two runs of that chain for scale): no difference in fill,
   bounding box, or distribution of the points. Where one map has p > 0.9 (5 % of classes) 64 lanes still show none in
   these, but the box is a little smaller where rare points set it; 128 lanes move the points measurably.
2. Selection. Step s takes 16-bit half ``s & 7`` (low half of word 0 first) of the Philox block with counter
   (s >> 3, lane, id low, stream << 24 | id high), and looks it up in the record's alias table.
3. Map. ``x' = ((a x + b y) + c z) + j``, ``y' = ((d x + e y) + f z) + k``, ``z' = ((g x + h y) + i z) + l``.
4. Box. low and high are the extremes of all coordinates of all emitted points; span = high - low, or 1 unless that is
   positive; scale = 2 / span.
5. Centre. For each axis, each lane sums its emitted points in order; the sum times scale is clamped to +-2**35, times
   2**20, truncated to int64, and added to the other lanes': integers, because these sums do not depend on order.
   center = ((total 2**-20 + low scale) + 1) / (POINTS + 1). Then ``p scale - center`` is the released
   q = 2 (p - low) / span - 1 less sum(q) / (POINTS + 1), in one step: the -1 and the low of each point cancel but for
   one, since the released divisor is one more than the number of points.
6. Camera. right = (r0 qx + r1 qy) + r2 qz, up and depth likewise; w = depth + distance;
   X = (focal right + shift_right) / w, Y = (focal up + shift_up) / w. Kept if -1 <= X <= 1, -1 <= Y <= 1 and
   1 <= w <= 100.
7. Pixel. column = floor((X + 1) S/2), row = floor((Y + 1) S/2), neither may be S. Rows are stored bottom first, as
   released, unless ``UPRIGHT``.

Source: Kataoka et al., "Replacing Labeled Real-image Datasets with Auto-generated Contours", CVPR 2022, and its
released renderer.
"""

import triton
import triton.language as tl

from triton_kernels.launch import kernel
from triton_kernels.philox import philox4x32

LANES = 64
WARMUP = 32
NUM_WARPS = 2

# Word offsets in a record of 120 words.
RECORD_WORDS = tl.constexpr(120)
NUM_MAPS = tl.constexpr(0)
SEQUENCE_LOW = tl.constexpr(1)
SEQUENCE_HIGH = tl.constexpr(2)
SHIFT_RIGHT = tl.constexpr(3)
SELECT = tl.constexpr(4)
MAPS = tl.constexpr(12)
CAMERA = tl.constexpr(108)
FOCAL = tl.constexpr(117)
DISTANCE = tl.constexpr(118)
SHIFT_UP = tl.constexpr(119)

NEAR = tl.constexpr(1.0)
FAR = tl.constexpr(100.0)
SUM_LIMIT = tl.constexpr(2.0**35)
SUM_SCALE = tl.constexpr(2.0**20)


def steps_of(points: int) -> int:
    """Steps that each lane takes so that ``points`` are emitted."""
    return WARMUP + -(-max(points - WARMUP, 0) // LANES)


@triton.jit
def _advance(x, y, z, word, num_maps, ints_ptr, reals_ptr):
    """Select a map of the record by the low half of a word and apply it."""
    position = (word & 0xFFFF).to(tl.int32) * num_maps
    column = position >> 16
    entry = tl.load(ints_ptr + SELECT + column)
    chosen = tl.where((position & 0xFFFF) < (entry >> 8), column, entry & 255)
    row = reals_ptr + MAPS + chosen * 12
    next_x = ((tl.load(row) * x + tl.load(row + 1) * y) + tl.load(row + 2) * z) + tl.load(row + 9)
    next_y = ((tl.load(row + 3) * x + tl.load(row + 4) * y) + tl.load(row + 5) * z) + tl.load(row + 10)
    next_z = ((tl.load(row + 6) * x + tl.load(row + 7) * y) + tl.load(row + 8) * z) + tl.load(row + 11)
    return next_x, next_y, next_z


@triton.jit
def _emission(lanes, POINTS: tl.constexpr, LANES: tl.constexpr, WARMUP: tl.constexpr):
    """The steps at which each lane draws: from the first, and before the second."""
    first = tl.where(lanes == 0, 0, WARMUP)
    if POINTS > WARMUP:
        last = WARMUP + (POINTS - WARMUP - lanes + LANES - 1) // LANES
    else:
        last = tl.where(lanes == 0, POINTS, 0)
    return first, last


@triton.jit
def _three(pointer):
    """Three consecutive values."""
    return tl.load(pointer), tl.load(pointer + 1), tl.load(pointer + 2)


@triton.jit
def _center(lane_sums, low, scale, POINTS: tl.constexpr):
    """What to subtract from ``p * scale`` on one axis."""
    scaled = lane_sums * scale
    # Written so that NaN takes a limit too.
    scaled = tl.where(scaled > -SUM_LIMIT, scaled, -SUM_LIMIT)
    scaled = tl.where(scaled < SUM_LIMIT, scaled, SUM_LIMIT)
    total = tl.sum((scaled * SUM_SCALE).to(tl.int64), axis=0).to(tl.float32)
    return tl.div_rn((total * (1.0 / SUM_SCALE) + low * scale) + 1.0, POINTS + 1.0)


@kernel(do_not_specialize=["k0", "k1"])
def draw_3d(
    ints_ptr,
    reals_ptr,
    planes_ptr,
    k0,
    k1,
    STREAM: tl.constexpr,
    POINTS: tl.constexpr,
    SIZE: tl.constexpr,
    VALUE: tl.constexpr,
    UPRIGHT: tl.constexpr,
    LANES: tl.constexpr,
    WARMUP: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    """Plot one system a program, grid (B,): pass 1 finds box and centre, pass 2 makes the same points again and plots.

    Args:
        ints_ptr: records as int32 [B, 120].
        reals_ptr: the same memory as float32 [B, 120].
        planes_ptr: uint8 [B, SIZE, SIZE], all zero.
        k0: key of the dataset, low word.
        k1: key of the dataset, high word.
        STREAM: Philox stream of map selections.
        POINTS: points an image.
        SIZE: side of the planes.
        VALUE: grey of a point.
        UPRIGHT: store row SIZE - 1 - row.
        LANES: trajectories.
        WARMUP: steps not drawn.
        BLOCKS: Philox blocks a lane, ceil(steps / 8).
    """
    image = tl.program_id(0).to(tl.int64)
    ints_ptr += image * RECORD_WORDS
    reals_ptr += image * RECORD_WORDS
    planes_ptr += image * SIZE * SIZE
    lanes = tl.arange(0, LANES)
    first, last = _emission(lanes, POINTS, LANES, WARMUP)
    num_maps = tl.load(ints_ptr + NUM_MAPS)
    c2 = tl.load(ints_ptr + SEQUENCE_LOW) + lanes * 0
    c3 = (tl.load(ints_ptr + SEQUENCE_HIGH) | (STREAM << 24)) + lanes * 0

    origin = tl.zeros([LANES], tl.float32)
    x, y, z = origin, origin, origin
    sum_x, sum_y, sum_z = origin, origin, origin
    low = origin + float("inf")
    high = origin - float("inf")
    for block in range(BLOCKS):
        w0, w1, w2, w3 = philox4x32(lanes * 0 + block, lanes, c2, c3, k0, k1)
        # Loops, not eight copies of their body: those take 15 seconds longer to compile.
        for pair in range(4):
            word, w0, w1, w2 = w0, w1, w2, w3
            for half in range(2):
                x, y, z = _advance(x, y, z, word, num_maps, ints_ptr, reals_ptr)
                word = word >> 16
                step = block * 8 + pair * 2 + half
                emitted = (first <= step) & (last > step)
                sum_x = tl.where(emitted, sum_x + x, sum_x)
                sum_y = tl.where(emitted, sum_y + y, sum_y)
                sum_z = tl.where(emitted, sum_z + z, sum_z)
                low = tl.where(emitted & (x < low), x, low)
                low = tl.where(emitted & (y < low), y, low)
                low = tl.where(emitted & (z < low), z, low)
                high = tl.where(emitted & (x > high), x, high)
                high = tl.where(emitted & (y > high), y, high)
                high = tl.where(emitted & (z > high), z, high)

    lowest = tl.min(low, axis=0)
    span = tl.max(high, axis=0) - lowest
    scale = tl.div_rn(2.0, tl.where(span > 0.0, span, 1.0))
    center_x = _center(sum_x, lowest, scale, POINTS)
    center_y = _center(sum_y, lowest, scale, POINTS)
    center_z = _center(sum_z, lowest, scale, POINTS)
    r0, r1, r2 = _three(reals_ptr + CAMERA)
    u0, u1, u2 = _three(reals_ptr + CAMERA + 3)
    d0, d1, d2 = _three(reals_ptr + CAMERA + 6)
    focal = tl.load(reals_ptr + FOCAL)
    distance = tl.load(reals_ptr + DISTANCE)
    shift_right, shift_up = tl.load(reals_ptr + SHIFT_RIGHT), tl.load(reals_ptr + SHIFT_UP)
    grey = tl.full([LANES], VALUE, tl.uint8)

    x, y, z = origin, origin, origin
    for block in range(BLOCKS):
        w0, w1, w2, w3 = philox4x32(lanes * 0 + block, lanes, c2, c3, k0, k1)
        for pair in range(4):
            word, w0, w1, w2 = w0, w1, w2, w3
            for half in range(2):
                x, y, z = _advance(x, y, z, word, num_maps, ints_ptr, reals_ptr)
                word = word >> 16
                step = block * 8 + pair * 2 + half
                qx = x * scale - center_x
                qy = y * scale - center_y
                qz = z * scale - center_z
                w = ((d0 * qx + d1 * qy) + d2 * qz) + distance
                across = tl.div_rn(focal * ((r0 * qx + r1 * qy) + r2 * qz) + shift_right, w)
                upward = tl.div_rn(focal * ((u0 * qx + u1 * qy) + u2 * qz) + shift_up, w)
                keep = (
                    (across >= -1.0) & (across <= 1.0) & (upward >= -1.0) & (upward <= 1.0) & (w >= NEAR) & (w <= FAR)
                )
                # Selected before the cast: a NaN casts to anything.
                column = tl.where(keep, (across + 1.0) * (SIZE * 0.5), 0.0).to(tl.int32)
                row = tl.where(keep, (upward + 1.0) * (SIZE * 0.5), 0.0).to(tl.int32)
                keep = keep & (column < SIZE) & (row < SIZE) & (first <= step) & (last > step)
                if UPRIGHT:
                    row = SIZE - 1 - row
                tl.store(planes_ptr + (row * SIZE + column), grey, mask=keep)


SIGNATURES = {
    "draw_3d": (
        {"ints_ptr": "*i32", "reals_ptr": "*fp32", "planes_ptr": "*u8", "k0": "i32", "k1": "i32"},
        {
            "STREAM": 2,
            "POINTS": 9_999,
            "SIZE": 224,
            "VALUE": 255,
            "UPRIGHT": False,
            "LANES": LANES,
            "WARMUP": WARMUP,
            "BLOCKS": -(-steps_of(9_999) // 8),
        },
    )
}
"""Argument types and constants of each kernel at its published settings, for compiling offline."""
