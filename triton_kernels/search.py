"""Chains of candidates of a category search, a lane each: the laws of ``fdsl_gpu.cpu_kernels.search`` and ``search_2d``.

A lane walks one candidate's chain from the origin in float64, in the CPU's order, so that no float is summed across
lanes and what comes out is the CPU's to the bit: launch with enable_fp_fusion=False. Step s of candidate (c, t) takes
the map #{j: w > threshold j}, w word s of the stream of choices of id c << 32 | t. Points are not kept: each pass walks
the chain anew.

* ``extremes_2d``: float64 [4, N], least x, greatest x, least y, greatest y, with the origin.
* ``fill_2d``: int32 [N], pixels that the points, with the origin, hit; each axis scaled by its own extremes.
* ``extremes_3d``: float64 [2, N], least and greatest coordinate, without the origin.
* ``variances_3d``: float64 [3, N], variance of each axis of the cloud scaled to [-1, 1] by these two.

A chain that runs away may reach NaN: comparisons with NaN leave the extremes in place, which by then exceed any limit.
"""

import triton
import triton.language as tl

from triton_kernels.philox import philox4x32

BLOCK = 64
"""Candidates a program; with one warp, no thread of any machine repeats the work of another."""


@triton.jit
def _lanes(categories_ptr, attempts_ptr, n, STREAM: tl.constexpr, BLOCK: tl.constexpr):
    """Which candidates a program walks, whether they exist, and the upper words of their counters."""
    lane = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = lane < n
    # Lanes that are left over walk the last candidate once more and store nothing.
    lane = tl.minimum(lane, n - 1)
    return lane, live, tl.load(attempts_ptr + lane), tl.load(categories_ptr + lane) | (STREAM << 24)


@triton.jit
def _thresholds(thresholds_ptr, n):
    """Six thresholds of each candidate."""
    t0 = tl.load(thresholds_ptr).to(tl.uint32, bitcast=True)
    t1 = tl.load(thresholds_ptr + n).to(tl.uint32, bitcast=True)
    t2 = tl.load(thresholds_ptr + 2 * n).to(tl.uint32, bitcast=True)
    t3 = tl.load(thresholds_ptr + 3 * n).to(tl.uint32, bitcast=True)
    t4 = tl.load(thresholds_ptr + 4 * n).to(tl.uint32, bitcast=True)
    t5 = tl.load(thresholds_ptr + 5 * n).to(tl.uint32, bitcast=True)
    return t0, t1, t2, t3, t4, t5


@triton.jit
def _choose(word, thresholds):
    """The map that a word chooses."""
    chosen = (word > thresholds[0]).to(tl.int32) + (word > thresholds[1]).to(tl.int32)
    chosen += (word > thresholds[2]).to(tl.int32) + (word > thresholds[3]).to(tl.int32)
    return chosen + (word > thresholds[4]).to(tl.int32) + (word > thresholds[5]).to(tl.int32)


@triton.jit
def _parameter(row, n, COLUMN: tl.constexpr):
    return tl.load(row + COLUMN * n).to(tl.float64)


@triton.jit
def _step_2d(word, x, y, thresholds, maps_ptr, n):
    row = maps_ptr + _choose(word, thresholds) * (6 * n)
    next_x = (_parameter(row, n, 0) * x + _parameter(row, n, 1) * y) + _parameter(row, n, 4)
    next_y = (_parameter(row, n, 2) * x + _parameter(row, n, 3) * y) + _parameter(row, n, 5)
    return next_x, next_y


@triton.jit
def _step_3d(word, x, y, z, thresholds, maps_ptr, n):
    row = maps_ptr + _choose(word, thresholds) * (12 * n)
    front_x, back_x = _parameter(row, n, 0) * x + _parameter(row, n, 1) * y, _parameter(row, n, 2) * z
    front_y, back_y = _parameter(row, n, 3) * x + _parameter(row, n, 4) * y, _parameter(row, n, 5) * z
    front_z, back_z = _parameter(row, n, 6) * x + _parameter(row, n, 7) * y, _parameter(row, n, 8) * z
    next_x = front_x + (back_x + _parameter(row, n, 9))
    next_y = front_y + (back_y + _parameter(row, n, 10))
    next_z = front_z + (back_z + _parameter(row, n, 11))
    return next_x, next_y, next_z


@triton.jit
def _widen(value, low, high):
    return tl.where(value < low, value, low), tl.where(value > high, value, high)


@triton.jit
def _widen_2d(words, x, y, low_x, high_x, low_y, high_y, thresholds, maps_ptr, n, COUNT: tl.constexpr):
    """``COUNT`` steps, 1 .. 4, of ``extremes_2d``."""
    for i in tl.static_range(COUNT):
        x, y = _step_2d(words[i], x, y, thresholds, maps_ptr, n)
        low_x, high_x = _widen(x, low_x, high_x)
        low_y, high_y = _widen(y, low_y, high_y)
    return x, y, low_x, high_x, low_y, high_y


@triton.jit(do_not_specialize=["n", "k0", "k1"])
def extremes_2d(
    maps_ptr,
    thresholds_ptr,
    categories_ptr,
    attempts_ptr,
    extremes_ptr,
    n,
    k0,
    k1,
    STREAM: tl.constexpr,
    STEPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Extremes of chains in the plane, grid (ceil(N / BLOCK),).

    Args:
        maps_ptr: float32 [7, 6, N], columns a .. f.
        thresholds_ptr: int32 [6, N], the bits of uint32.
        categories_ptr: int32 [N], class numbers below 2**24.
        attempts_ptr: int32 [N].
        extremes_ptr: float64 [4, N], overwritten.
        n: candidates N, at least 1.
        k0: key, low word.
        k1: key, high word.
        STREAM: Philox stream of choices.
        STEPS: points of a chain without the origin.
        BLOCK: candidates a program.
    """
    lane, live, low_word, high_word = _lanes(categories_ptr, attempts_ptr, n, STREAM, BLOCK)
    thresholds = _thresholds(thresholds_ptr + lane, n)
    maps_ptr += lane
    x = tl.zeros([BLOCK], tl.float64)
    y = x
    low_x, high_x, low_y, high_y = x, x, x, x
    for block in range(STEPS // 4):
        words = philox4x32(lane * 0 + block, 0, low_word, high_word, k0, k1)
        x, y, low_x, high_x, low_y, high_y = _widen_2d(
            words, x, y, low_x, high_x, low_y, high_y, thresholds, maps_ptr, n, 4
        )
    if STEPS % 4 > 0:
        words = philox4x32(lane * 0 + STEPS // 4, 0, low_word, high_word, k0, k1)
        x, y, low_x, high_x, low_y, high_y = _widen_2d(
            words, x, y, low_x, high_x, low_y, high_y, thresholds, maps_ptr, n, STEPS % 4
        )
    tl.store(extremes_ptr + lane, low_x, mask=live)
    tl.store(extremes_ptr + n + lane, high_x, mask=live)
    tl.store(extremes_ptr + 2 * n + lane, low_y, mask=live)
    tl.store(extremes_ptr + 3 * n + lane, high_y, mask=live)


@triton.jit
def _hit(x, y, box, seen_ptr, live, CANVAS: tl.constexpr, PADDING: tl.constexpr):
    """Mark the pixel of a point; 1 if nothing was there.

    A bitmap belongs to one lane, so what the atomics return depends on no other, and a pixel counts once in any order.
    """
    low_x, span_x, low_y, span_y = box
    column = ((x - low_x) / span_x * (CANVAS - 2 * PADDING) + PADDING).to(tl.int32)
    row = ((y - low_y) / span_y * (CANVAS - 2 * PADDING) + PADDING).to(tl.int32)
    cell = row * CANVAS + column
    bit = (cell * 0 + 1) << (cell & 31)
    old = tl.atomic_or(seen_ptr + (cell >> 5), bit, mask=live, sem="relaxed")
    return tl.where((old & bit) == 0, 1, 0)


@triton.jit
def _hit_2d(
    words,
    x,
    y,
    fill,
    box,
    seen_ptr,
    live,
    thresholds,
    maps_ptr,
    n,
    CANVAS: tl.constexpr,
    PADDING: tl.constexpr,
    COUNT: tl.constexpr,
):
    """``COUNT`` steps, 1 .. 4, of ``fill_2d``."""
    for i in tl.static_range(COUNT):
        x, y = _step_2d(words[i], x, y, thresholds, maps_ptr, n)
        fill += _hit(x, y, box, seen_ptr, live, CANVAS, PADDING)
    return x, y, fill


@triton.jit(do_not_specialize=["n", "k0", "k1"])
def fill_2d(
    maps_ptr,
    thresholds_ptr,
    categories_ptr,
    attempts_ptr,
    extremes_ptr,
    seen_ptr,
    fills_ptr,
    n,
    k0,
    k1,
    STREAM: tl.constexpr,
    STEPS: tl.constexpr,
    CANVAS: tl.constexpr,
    PADDING: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Count the pixels that chains in the plane hit, grid (ceil(N / BLOCK),).

    Args:
        maps_ptr: as for :func:`extremes_2d`, and so are the next three.
        thresholds_ptr: int32 [6, N].
        categories_ptr: int32 [N].
        attempts_ptr: int32 [N].
        extremes_ptr: float64 [4, N], finite, with greatest above least on both axes.
        seen_ptr: int32 [N, CANVAS * CANVAS / 32], scratch, all zero: a bit for each pixel.
        fills_ptr: int32 [N], overwritten.
        n: candidates N, at least 1.
        k0: key, low word.
        k1: key, high word.
        STREAM: Philox stream of choices.
        STEPS: points of a chain without the origin.
        CANVAS: side of the canvas, pixels.
        PADDING: pixels left free on each side.
        BLOCK: candidates a program.
    """
    lane, live, low_word, high_word = _lanes(categories_ptr, attempts_ptr, n, STREAM, BLOCK)
    thresholds = _thresholds(thresholds_ptr + lane, n)
    maps_ptr += lane
    seen_ptr += lane.to(tl.int64) * (CANVAS * CANVAS // 32)
    low_x, low_y = tl.load(extremes_ptr + lane), tl.load(extremes_ptr + 2 * n + lane)
    span_x = tl.load(extremes_ptr + n + lane) - low_x
    span_y = tl.load(extremes_ptr + 3 * n + lane) - low_y
    box = (low_x, span_x, low_y, span_y)
    x = tl.zeros([BLOCK], tl.float64)
    y = x
    fill = _hit(x, y, box, seen_ptr, live, CANVAS, PADDING)
    for block in range(STEPS // 4):
        words = philox4x32(lane * 0 + block, 0, low_word, high_word, k0, k1)
        x, y, fill = _hit_2d(words, x, y, fill, box, seen_ptr, live, thresholds, maps_ptr, n, CANVAS, PADDING, 4)
    if STEPS % 4 > 0:
        words = philox4x32(lane * 0 + STEPS // 4, 0, low_word, high_word, k0, k1)
        x, y, fill = _hit_2d(
            words, x, y, fill, box, seen_ptr, live, thresholds, maps_ptr, n, CANVAS, PADDING, STEPS % 4
        )
    tl.store(fills_ptr + lane, fill, mask=live)


@triton.jit
def _widen_3d(words, x, y, z, low, high, thresholds, maps_ptr, n, COUNT: tl.constexpr):
    """``COUNT`` steps, 1 .. 4, of ``extremes_3d``."""
    for i in tl.static_range(COUNT):
        x, y, z = _step_3d(words[i], x, y, z, thresholds, maps_ptr, n)
        low, high = _widen(x, low, high)
        low, high = _widen(y, low, high)
        low, high = _widen(z, low, high)
    return x, y, z, low, high


@triton.jit(do_not_specialize=["n", "k0", "k1"])
def extremes_3d(
    maps_ptr,
    thresholds_ptr,
    categories_ptr,
    attempts_ptr,
    extremes_ptr,
    n,
    k0,
    k1,
    STREAM: tl.constexpr,
    STEPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Extremes of chains in space over all coordinates, grid (ceil(N / BLOCK),).

    Args:
        maps_ptr: float32 [7, 12, N], columns a .. l.
        thresholds_ptr: int32 [6, N], the bits of uint32.
        categories_ptr: int32 [N], class numbers below 2**24.
        attempts_ptr: int32 [N].
        extremes_ptr: float64 [2, N], overwritten.
        n: candidates N, at least 1.
        k0: key, low word.
        k1: key, high word.
        STREAM: Philox stream of choices.
        STEPS: points of a chain.
        BLOCK: candidates a program.
    """
    lane, live, low_word, high_word = _lanes(categories_ptr, attempts_ptr, n, STREAM, BLOCK)
    thresholds = _thresholds(thresholds_ptr + lane, n)
    maps_ptr += lane
    x = tl.zeros([BLOCK], tl.float64)
    y, z = x, x
    low, high = x + float("inf"), x - float("inf")
    for block in range(STEPS // 4):
        words = philox4x32(lane * 0 + block, 0, low_word, high_word, k0, k1)
        x, y, z, low, high = _widen_3d(words, x, y, z, low, high, thresholds, maps_ptr, n, 4)
    if STEPS % 4 > 0:
        words = philox4x32(lane * 0 + STEPS // 4, 0, low_word, high_word, k0, k1)
        x, y, z, low, high = _widen_3d(words, x, y, z, low, high, thresholds, maps_ptr, n, STEPS % 4)
    tl.store(extremes_ptr + lane, low, mask=live)
    tl.store(extremes_ptr + n + lane, high, mask=live)


@triton.jit
def _term(value, low, span, mean, SQUARES: tl.constexpr):
    """What a coordinate adds: its scaled value, or the square of its distance to the mean."""
    scaled = 2.0 * (value - low) / span - 1.0
    if SQUARES:
        difference = scaled - mean
        scaled = difference * difference
    return scaled


@triton.jit
def _add_3d(
    words, points, totals, means, low, span, thresholds, maps_ptr, n, SQUARES: tl.constexpr, COUNT: tl.constexpr
):
    """``COUNT`` steps, 1 .. 4, of ``_totals_3d``."""
    x, y, z = points
    total_x, total_y, total_z = totals
    for i in tl.static_range(COUNT):
        x, y, z = _step_3d(words[i], x, y, z, thresholds, maps_ptr, n)
        total_x += _term(x, low, span, means[0], SQUARES)
        total_y += _term(y, low, span, means[1], SQUARES)
        total_z += _term(z, low, span, means[2], SQUARES)
    return x, y, z, total_x, total_y, total_z


@triton.jit
def _means_3d(
    lane,
    low_word,
    high_word,
    means,
    low,
    span,
    thresholds,
    maps_ptr,
    n,
    k0,
    k1,
    SQUARES: tl.constexpr,
    STEPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Means over a chain, in its order, of what ``_term`` says."""
    x = tl.zeros([BLOCK], tl.float64)
    y, z = x, x
    total_x, total_y, total_z = x, x, x
    for block in range(STEPS // 4):
        words = philox4x32(lane * 0 + block, 0, low_word, high_word, k0, k1)
        x, y, z, total_x, total_y, total_z = _add_3d(
            words, (x, y, z), (total_x, total_y, total_z), means, low, span, thresholds, maps_ptr, n, SQUARES, 4
        )
    if STEPS % 4 > 0:
        words = philox4x32(lane * 0 + STEPS // 4, 0, low_word, high_word, k0, k1)
        x, y, z, total_x, total_y, total_z = _add_3d(
            words, (x, y, z), (total_x, total_y, total_z), means, low, span, thresholds, maps_ptr, n, SQUARES, STEPS % 4
        )
    return total_x / STEPS, total_y / STEPS, total_z / STEPS


@triton.jit(do_not_specialize=["n", "k0", "k1"])
def variances_3d(
    maps_ptr,
    thresholds_ptr,
    categories_ptr,
    attempts_ptr,
    extremes_ptr,
    variances_ptr,
    n,
    k0,
    k1,
    STREAM: tl.constexpr,
    STEPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Variances of the axes of scaled chains in space, grid (ceil(N / BLOCK),).

    Args:
        maps_ptr: as for :func:`extremes_3d`, and so are the next three.
        thresholds_ptr: int32 [6, N].
        categories_ptr: int32 [N].
        attempts_ptr: int32 [N].
        extremes_ptr: float64 [2, N].
        variances_ptr: float64 [3, N], overwritten; NaN if all coordinates of a chain are one number.
        n: candidates N, at least 1.
        k0: key, low word.
        k1: key, high word.
        STREAM: Philox stream of choices.
        STEPS: points of a chain.
        BLOCK: candidates a program.
    """
    lane, live, low_word, high_word = _lanes(categories_ptr, attempts_ptr, n, STREAM, BLOCK)
    thresholds = _thresholds(thresholds_ptr + lane, n)
    maps_ptr += lane
    low = tl.load(extremes_ptr + lane)
    span = tl.load(extremes_ptr + n + lane) - low
    means = (low, low, low)
    means = _means_3d(lane, low_word, high_word, means, low, span, thresholds, maps_ptr, n, k0, k1, False, STEPS, BLOCK)
    variances = _means_3d(
        lane, low_word, high_word, means, low, span, thresholds, maps_ptr, n, k0, k1, True, STEPS, BLOCK
    )
    tl.store(variances_ptr + lane, variances[0], mask=live)
    tl.store(variances_ptr + n + lane, variances[1], mask=live)
    tl.store(variances_ptr + 2 * n + lane, variances[2], mask=live)


_CANDIDATES = {
    "maps_ptr": "*fp32",
    "thresholds_ptr": "*i32",
    "categories_ptr": "*i32",
    "attempts_ptr": "*i32",
    "extremes_ptr": "*fp64",
}
_SIZES = {"n": "i32", "k0": "i32", "k1": "i32"}
_PLANE = {"STREAM": 2, "STEPS": 99_999, "BLOCK": BLOCK}
_SPACE = {"STREAM": 2, "STEPS": 9_999, "BLOCK": BLOCK}

SIGNATURES = {
    "extremes_2d": ({**_CANDIDATES, **_SIZES}, _PLANE),
    "fill_2d": (
        {**_CANDIDATES, "seen_ptr": "*i32", "fills_ptr": "*i32", **_SIZES},
        {**_PLANE, "CANVAS": 512, "PADDING": 6},
    ),
    "extremes_3d": ({**_CANDIDATES, **_SIZES}, _SPACE),
    "variances_3d": ({**_CANDIDATES, "variances_ptr": "*fp64", **_SIZES}, _SPACE),
}
"""Argument types and constants of each kernel at its published settings, for compiling offline."""
