"""Chains of candidates of a category search, a lane each.

The laws are those of ``fdsl_gpu.cpu_kernels.search`` and ``search_2d``. A lane walks one candidate's chain from the
origin in float64, in the CPU's order, so that no float is summed across lanes and what comes out is the CPU's to the
bit: launch with enable_fp_fusion=False. Step s of candidate (c, t) takes the map #{j: w > threshold j}, w word s of the
stream of choices of id c << 32 | t. Points are not kept: each pass walks the chain anew.

* ``extremes_2d``: float64 [4, N], least x, greatest x, least y, greatest y, with the origin.
* ``fill_2d``: int32 [N], pixels that the points, with the origin, hit; each axis scaled by its own extremes.
* ``extremes_3d``: float64 [2, N], least and greatest coordinate, without the origin.
* ``means_3d``: float64 [3, N], mean of each axis of the cloud scaled to [-1, 1] by these two; once more, with these
  means, the variance.

A chain that runs away may reach NaN: comparisons with NaN leave the extremes in place, which by then exceed any limit.
"""

import triton
import triton.language as tl

from triton_kernels.launch import kernel
from triton_kernels.philox import philox4x32

BLOCK = 64
"""Candidates a program of one warp, at least as many as any machine's warp has threads."""


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
def _step_2d(word, x, y, walks, thresholds, maps_ptr, n):
    """The next point of those that still walk; parameters are exact in float32 and widened as they are used."""
    row = maps_ptr + _choose(word, thresholds) * (6 * n)
    next_x = (tl.load(row) * x + tl.load(row + n) * y) + tl.load(row + 4 * n)
    next_y = (tl.load(row + 2 * n) * x + tl.load(row + 3 * n) * y) + tl.load(row + 5 * n)
    return tl.where(walks, next_x, x), tl.where(walks, next_y, y)


@triton.jit
def _step_3d(word, x, y, z, walks, thresholds, maps_ptr, n):
    """The next point of those that still walk; parameters are exact in float32 and widened as they are used."""
    row = maps_ptr + _choose(word, thresholds) * (12 * n)
    front_x, back_x = tl.load(row) * x + tl.load(row + n) * y, tl.load(row + 2 * n) * z
    front_y, back_y = tl.load(row + 3 * n) * x + tl.load(row + 4 * n) * y, tl.load(row + 5 * n) * z
    front_z, back_z = tl.load(row + 6 * n) * x + tl.load(row + 7 * n) * y, tl.load(row + 8 * n) * z
    next_x = front_x + (back_x + tl.load(row + 9 * n))
    next_y = front_y + (back_y + tl.load(row + 10 * n))
    next_z = front_z + (back_z + tl.load(row + 11 * n))
    return tl.where(walks, next_x, x), tl.where(walks, next_y, y), tl.where(walks, next_z, z)


@kernel(do_not_specialize=["n", "k0", "k1"])
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
    for block in range((STEPS + 3) // 4):
        words = philox4x32(lane * 0 + block, 0, low_word, high_word, k0, k1)
        for i in tl.static_range(4):
            walks = lane * 0 + (4 * block + i) < STEPS
            x, y = _step_2d(words[i], x, y, walks, thresholds, maps_ptr, n)
            low_x, high_x = tl.where(x < low_x, x, low_x), tl.where(x > high_x, x, high_x)
            low_y, high_y = tl.where(y < low_y, y, low_y), tl.where(y > high_y, y, high_y)
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


@kernel(do_not_specialize=["n", "k0", "k1"])
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
    for block in range((STEPS + 3) // 4):
        words = philox4x32(lane * 0 + block, 0, low_word, high_word, k0, k1)
        for i in tl.static_range(4):
            walks = lane * 0 + (4 * block + i) < STEPS
            x, y = _step_2d(words[i], x, y, walks, thresholds, maps_ptr, n)
            fill += _hit(x, y, box, seen_ptr, live, CANVAS, PADDING)
    tl.store(fills_ptr + lane, fill, mask=live)


@kernel(do_not_specialize=["n", "k0", "k1"])
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
    for block in range((STEPS + 3) // 4):
        words = philox4x32(lane * 0 + block, 0, low_word, high_word, k0, k1)
        for i in tl.static_range(4):
            walks = lane * 0 + (4 * block + i) < STEPS
            x, y, z = _step_3d(words[i], x, y, z, walks, thresholds, maps_ptr, n)
            low, high = tl.where(x < low, x, low), tl.where(x > high, x, high)
            low, high = tl.where(y < low, y, low), tl.where(y > high, y, high)
            low, high = tl.where(z < low, z, low), tl.where(z > high, z, high)
    tl.store(extremes_ptr + lane, low, mask=live)
    tl.store(extremes_ptr + n + lane, high, mask=live)


@triton.jit
def _terms(x, y, z, low, span, center_x, center_y, center_z, SQUARES: tl.constexpr):
    """What a point adds on each axis: its scaled coordinate, or the square of its distance to the center."""
    term_x = 2.0 * (x - low) / span - 1.0
    term_y = 2.0 * (y - low) / span - 1.0
    term_z = 2.0 * (z - low) / span - 1.0
    if SQUARES:
        term_x, term_y, term_z = term_x - center_x, term_y - center_y, term_z - center_z
        term_x, term_y, term_z = term_x * term_x, term_y * term_y, term_z * term_z
    return term_x, term_y, term_z


@kernel(do_not_specialize=["n", "k0", "k1"])
def means_3d(
    maps_ptr,
    thresholds_ptr,
    categories_ptr,
    attempts_ptr,
    extremes_ptr,
    centers_ptr,
    means_ptr,
    n,
    k0,
    k1,
    STREAM: tl.constexpr,
    STEPS: tl.constexpr,
    SQUARES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Means over the points of chains, in their order, of the axes of the scaled cloud, grid (ceil(N / BLOCK),).

    Args:
        maps_ptr: as for :func:`extremes_3d`, and so are the next three.
        thresholds_ptr: int32 [6, N].
        categories_ptr: int32 [N].
        attempts_ptr: int32 [N].
        extremes_ptr: float64 [2, N].
        centers_ptr: float64 [3, N], the means of the axes if ``SQUARES``, else not used.
        means_ptr: float64 [3, N], overwritten; NaN if all coordinates of a chain are one number.
        n: candidates N, at least 1.
        k0: key, low word.
        k1: key, high word.
        STREAM: Philox stream of choices.
        STEPS: points of a chain.
        SQUARES: means of squared distances to the centers, else of scaled coordinates.
        BLOCK: candidates a program.
    """
    lane, live, low_word, high_word = _lanes(categories_ptr, attempts_ptr, n, STREAM, BLOCK)
    thresholds = _thresholds(thresholds_ptr + lane, n)
    maps_ptr += lane
    low = tl.load(extremes_ptr + lane)
    span = tl.load(extremes_ptr + n + lane) - low
    x = tl.zeros([BLOCK], tl.float64)
    y, z = x, x
    total_x, total_y, total_z = x, x, x
    center_x, center_y, center_z = x, x, x
    if SQUARES:
        center_x = tl.load(centers_ptr + lane)
        center_y = tl.load(centers_ptr + n + lane)
        center_z = tl.load(centers_ptr + 2 * n + lane)
    for block in range((STEPS + 3) // 4):
        words = philox4x32(lane * 0 + block, 0, low_word, high_word, k0, k1)
        for i in tl.static_range(4):
            walks = lane * 0 + (4 * block + i) < STEPS
            x, y, z = _step_3d(words[i], x, y, z, walks, thresholds, maps_ptr, n)
            term_x, term_y, term_z = _terms(x, y, z, low, span, center_x, center_y, center_z, SQUARES)
            total_x = tl.where(walks, total_x + term_x, total_x)
            total_y = tl.where(walks, total_y + term_y, total_y)
            total_z = tl.where(walks, total_z + term_z, total_z)
    tl.store(means_ptr + lane, total_x / STEPS, mask=live)
    tl.store(means_ptr + n + lane, total_y / STEPS, mask=live)
    tl.store(means_ptr + 2 * n + lane, total_z / STEPS, mask=live)


_CANDIDATES = {
    "maps_ptr": "*fp32",
    "thresholds_ptr": "*i32",
    "categories_ptr": "*i32",
    "attempts_ptr": "*i32",
    "extremes_ptr": "*fp64",
}
_MEANS = {"centers_ptr": "*fp64", "means_ptr": "*fp64"}
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
    "means_3d": ({**_CANDIDATES, **_MEANS, **_SIZES}, {**_SPACE, "SQUARES": False}),
    "means_3d/squares": ({**_CANDIDATES, **_MEANS, **_SIZES}, {**_SPACE, "SQUARES": True}),
}
"""Argument types and constants of each kernel at its published settings, for compiling offline."""
