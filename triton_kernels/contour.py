"""Nested polygons on a grey canvas: vertices by a noisy recurrence, lines by Pillow's rule, in painter's order.

``vertices`` (one program an image and block of vertices) turns records of ``fdsl_gpu.records.CONTOURS`` into packed
vertices int32 [B, K, V], ``(x & 0xffff) | y << 16``, and greys uint8 [B, K]. The sum over lines runs in registers, so
its order is the same everywhere.

``raster`` (one program an image and line) draws closed polygons into an int32 canvas [B, S, S] with the maximum of
``(line + 1) << 8 | grey``: the last line wins whatever the order of execution. ``resolve`` turns the canvas into planes
uint8 [B, 1, S, S]. Lines are those of ``PIL.ImageDraw.line`` with width 1, in integers.

Float arithmetic is IEEE float32 in the order written, without fused multiply-add. The CPU twin is
``fdsl_gpu/cpu_kernels/contour.py``.
"""

import triton
import triton.language as tl

from triton_kernels.philox import philox4x32

NUM_WARPS = 4
VERTEX_BLOCK = 128
SEGMENT_BLOCK = 128
RESOLVE_BLOCK = 1024

# Word offsets in a record of 16 words.
RECORD_WORDS = tl.constexpr(16)
VERTICES = tl.constexpr(0)
LINES = tl.constexpr(1)
SEQUENCE_LOW = tl.constexpr(2)
SEQUENCE_HIGH = tl.constexpr(3)
GREY_LEVELS = tl.constexpr(4)
WAVE_1 = tl.constexpr(5)
WAVE_2 = tl.constexpr(6)
WAVE = tl.constexpr(7)
RADIUS_X = tl.constexpr(8)
RADIUS_Y = tl.constexpr(9)
CENTER_X = tl.constexpr(10)
CENTER_Y = tl.constexpr(11)
STEP = tl.constexpr(12)
NOISE = tl.constexpr(13)


@triton.jit
def _noise(word, gradients_ptr):
    """Perlin noise of a random word, without its factor 0.4."""
    u = word.to(tl.uint64) * 10000
    cell = (u >> 32).to(tl.int32) & 255
    t = ((u & 0xFFFFFFFF) >> 8).to(tl.int32).to(tl.float32) * (1.0 / 16777216.0)
    s = ((t * t) * t) * (t * (t * 6.0 - 15.0) + 10.0)
    left = tl.load(gradients_ptr + cell)
    right = tl.load(gradients_ptr + ((cell + 1) & 255))
    return (1.0 - s) * (left * t) + s * (right * (t - 1.0))


@triton.jit
def _pixel(x):
    """Truncated toward zero, held in int16."""
    return tl.minimum(tl.maximum(x, -32768.0), 32767.0).to(tl.int32)


@triton.jit
def vertices(
    ints_ptr,
    reals_ptr,
    k0,
    k1,
    angles_ptr,
    gradients_ptr,
    words_ptr,
    greys_ptr,
    NOISE_STREAM: tl.constexpr,
    GREY_STREAM: tl.constexpr,
    MAX_LINES: tl.constexpr,
    MAX_VERTICES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Packed vertices int32 [B, MAX_LINES, MAX_VERTICES] and greys uint8 [B, MAX_LINES]. Grid (B, vertex blocks).

    Lines are made in twos, so ``MAX_LINES`` is even; what lies beyond the lines of a record is undefined.
    """
    image = tl.program_id(0).to(tl.int64)
    ints_ptr += image * RECORD_WORDS
    reals_ptr += image * RECORD_WORDS
    count = tl.load(ints_ptr + VERTICES)
    lines = tl.load(ints_ptr + LINES)
    first = tl.program_id(1) * BLOCK
    # Past the last vertex there is nothing to do; a bound of zero lines ends the program.
    lines = tl.where(first < count, lines, 0)
    v = first + tl.arange(0, BLOCK)
    inside = v < count
    low = tl.load(ints_ptr + SEQUENCE_LOW)
    high = tl.load(ints_ptr + SEQUENCE_HIGH)
    row = count * (count - 1) // 2
    at = row + tl.minimum(v, count - 1)
    cosine = tl.load(angles_ptr + at * 2)
    sine = tl.load(angles_ptr + at * 2 + 1)
    turn_1 = row + (tl.load(ints_ptr + WAVE_1) % count * v) % count
    turn_2 = row + (tl.load(ints_ptr + WAVE_2) % count * v) % count
    waves = tl.load(angles_ptr + turn_1 * 2 + 1) + tl.load(angles_ptr + turn_2 * 2 + 1)
    growth = tl.load(reals_ptr + STEP) + tl.load(reals_ptr + WAVE) * waves
    amount = tl.load(reals_ptr + NOISE) * 0.4
    x = tl.load(reals_ptr + CENTER_X) + cosine * tl.load(reals_ptr + RADIUS_X)
    y = tl.load(reals_ptr + CENTER_Y) + sine * tl.load(reals_ptr + RADIUS_Y)

    words_ptr += image * (MAX_LINES * MAX_VERTICES) + v
    k = 0
    while k < lines:
        w0, w1, w2, w3 = philox4x32(v * 0 + (k >> 1), v, low + v * 0, (high | (NOISE_STREAM << 24)) + v * 0, k0, k1)
        x += cosine * (growth - amount * _noise(w0, gradients_ptr))
        y += sine * (growth - amount * _noise(w1, gradients_ptr))
        tl.store(words_ptr + k * MAX_VERTICES, (_pixel(x) & 0xFFFF) | (_pixel(y) << 16), mask=inside)
        x += cosine * (growth - amount * _noise(w2, gradients_ptr))
        y += sine * (growth - amount * _noise(w3, gradients_ptr))
        tl.store(words_ptr + (k + 1) * MAX_VERTICES, (_pixel(x) & 0xFFFF) | (_pixel(y) << 16), mask=inside)
        k += 2

    if first == 0:
        levels = tl.load(ints_ptr + GREY_LEVELS).to(tl.uint64)
        for start in range(0, MAX_LINES, BLOCK):
            line = start + tl.arange(0, BLOCK)
            w0, w1, w2, w3 = philox4x32(line >> 2, line * 0, low + line * 0, (high | (GREY_STREAM << 24)) + line * 0, k0, k1)
            word = tl.where((line & 2) == 0, tl.where((line & 1) == 0, w0, w1), tl.where((line & 1) == 0, w2, w3))
            grey = tl.minimum(((word.to(tl.uint64) * levels) >> 32).to(tl.int32), 255)
            tl.store(greys_ptr + image * MAX_LINES + line, grey.to(tl.uint8), mask=line < lines)


@triton.jit
def raster(
    ints_ptr,
    words_ptr,
    greys_ptr,
    canvas_ptr,
    SIZE: tl.constexpr,
    MAX_LINES: tl.constexpr,
    MAX_VERTICES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Draw closed polygons into canvas int32 [B, SIZE, SIZE], zeroed before. Grid (B, MAX_LINES).

    A lane draws a segment from its start up to, not including, its end, which starts the next one; a segment without
    length is a point. Segments whose bounding box misses the canvas are dropped, and steps outside it store nothing.
    """
    image = tl.program_id(0).to(tl.int64)
    k = tl.program_id(1)
    ints_ptr += image * RECORD_WORDS
    count = tl.load(ints_ptr + VERTICES)
    count = tl.where(k < tl.load(ints_ptr + LINES), count, 0)
    words_ptr += (image * MAX_LINES + k) * MAX_VERTICES
    canvas_ptr += image * (SIZE * SIZE)
    value = ((k + 1) << 8) | tl.load(greys_ptr + image * MAX_LINES + k).to(tl.int32)
    first = 0
    while first < count:
        v = first + tl.arange(0, BLOCK)
        here = tl.minimum(v, count - 1)
        following = tl.where(here + 1 < count, here + 1, 0)
        start = tl.load(words_ptr + here)
        end = tl.load(words_ptr + following)
        x, y = (start << 16) >> 16, start >> 16
        x1, y1 = (end << 16) >> 16, end >> 16
        missed = (tl.maximum(x, x1) < 0) | (tl.maximum(y, y1) < 0)
        missed = missed | (tl.minimum(x, x1) >= SIZE) | (tl.minimum(y, y1) >= SIZE)
        dx, dy = tl.abs(x1 - x), tl.abs(y1 - y)
        step_x, step_y = tl.where(x1 > x, 1, -1), tl.where(y1 > y, 1, -1)
        steep = dy >= dx
        long, short = tl.maximum(dx, dy), tl.minimum(dx, dy)
        major_x, major_y = tl.where(steep, 0, step_x), tl.where(steep, step_y, 0)
        minor_x, minor_y = step_x - major_x, step_y - major_y
        error = 2 * short - long
        left = tl.where((v < count) & (missed == 0), tl.maximum(long, 1), 0)
        steps = tl.max(left, axis=0)
        while steps > 0:
            drawn = (left > 0) & (x >= 0) & (x < SIZE) & (y >= 0) & (y < SIZE)
            tl.atomic_max(canvas_ptr + (y * SIZE + x), value + x * 0, mask=drawn, sem="relaxed")
            turn = error >= 0
            x += major_x + tl.where(turn, minor_x, 0)
            y += major_y + tl.where(turn, minor_y, 0)
            error += 2 * short - tl.where(turn, 2 * long, 0)
            left -= 1
            steps -= 1
        first += BLOCK


@triton.jit
def resolve(canvas_ptr, planes_ptr, TOTAL, BACKGROUND: tl.constexpr, BLOCK: tl.constexpr):
    """Canvas int32 [TOTAL] to bytes: the grey of the last line, or the background. Grid (blocks of TOTAL,)."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(canvas_ptr + at, mask=at < TOTAL, other=0)
    tl.store(planes_ptr + at, tl.where(value > 0, value & 255, BACKGROUND).to(tl.uint8), mask=at < TOTAL)


_SIZES = {"MAX_LINES": 200, "MAX_VERTICES": 208}

SIGNATURES = {
    "vertices": (
        {
            "ints_ptr": "*i32",
            "reals_ptr": "*fp32",
            "k0": "i32",
            "k1": "i32",
            "angles_ptr": "*fp32",
            "gradients_ptr": "*fp32",
            "words_ptr": "*i32",
            "greys_ptr": "*u8",
        },
        {"NOISE_STREAM": 3, "GREY_STREAM": 4, **_SIZES, "BLOCK": VERTEX_BLOCK},
    ),
    "raster": (
        {"ints_ptr": "*i32", "words_ptr": "*i32", "greys_ptr": "*u8", "canvas_ptr": "*i32"},
        {"SIZE": 512, **_SIZES, "BLOCK": SEGMENT_BLOCK},
    ),
    "resolve": (
        {"canvas_ptr": "*i32", "planes_ptr": "*u8", "TOTAL": "i64"},
        {"BACKGROUND": 255, "BLOCK": RESOLVE_BLOCK},
    ),
}
"""Argument types and constants of each kernel at RCDB's sizes, for compiling offline."""
