"""Tables for the kernels that are the same on every CPU.

Kernels use no transcendental functions, since no two devices round them alike; they look them up. The tables are made
with additions, multiplications and correctly rounded divisions in float64, in a fixed order, and rounded once to
float32, so no mathematical library decides a bit of them.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu import philox

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

QUARTER_PI = 0.7853981633974483

# Taylor coefficients in powers of x^2; 1 / n! rounded once. The first term left out is below 1e-16 at pi / 4.
COSINE = tuple((-1.0) ** n / f for n, f in enumerate((1, 2, 24, 720, 40320, 3628800, 479001600, 87178291200)))
SINE = tuple((-1.0) ** n / f for n, f in enumerate((1, 6, 120, 5040, 362880, 39916800, 6227020800, 1307674368000)))

# Low four bits of Ken Perlin's reference permutation.
_PERLIN_NIBBLES = (
    "709baf3d9f052971c47e5e83505a7e6478ab0a5eecbb53b09118d587e4d8b84f"
    "a576b0b6d2e73f5ac356c9c97e5846f619f118091c4b092984724cf644d6da30"
    "492acb5a636ef254feb3f0a16dcaf7a57882ca36d95b7bc9167d32cef1082908"
    "a614b221e20cf321131b9efb106f57ad84c0392df46eacdde23d883d03e27dc4"
)


def angle_row(vertices: int) -> int:
    """First row in :func:`angle_table` of a polygon with this many vertices."""
    return vertices * (vertices - 1) // 2


@lru_cache(maxsize=4)
def angle_table(max_vertices: int) -> Float32:
    """Cosines and sines of the corners of all regular polygons with up to ``max_vertices`` vertices.

    Args:
        max_vertices: the largest polygon, at least 1.

    Returns:
        float32 [max_vertices * (max_vertices + 1) / 2, 2], read-only. Row ``angle_row(V) + v`` holds (cos, sin) of
        2 pi v / V, within 0.51 units in the last place; 0, 1 and -1 are exact where the angle is a multiple of pi / 2.
    """
    count = np.arange(1, max_vertices + 1)
    vertices = np.repeat(count, count)
    corner = np.arange(vertices.size) - vertices * (vertices - 1) // 2
    # Exact: the angle is octant * pi/4 + rest/vertices * pi/4, and an odd octant is measured from its far end.
    octant, rest = np.divmod(8 * corner, vertices)
    rest = np.where(octant & 1, vertices - rest, rest)
    # Adding 0 turns a -0 into 0.
    table = np.stack(_cos_sin(octant, rest / vertices), axis=1).astype(np.float32) + np.float32(0)
    table.flags.writeable = False
    return table


def cos_sin(turns: Float64) -> tuple[Float64, Float64]:
    """Cosine and sine of angles in turns (1 is a full circle), float64, within 1e-15, the same on every machine."""
    eighths = 8 * (turns - np.floor(turns))
    octant = np.floor(eighths)
    rest = eighths - octant
    octant = octant.astype(np.int64)
    return _cos_sin(octant, np.where(octant & 1, 1 - rest, rest))


def _cos_sin(octant: NDArray[np.int64], rest: Float64) -> tuple[Float64, Float64]:
    """Of the angle ``rest`` eighths of a turn past the start of an even octant, or before the end of an odd one."""
    x = rest * QUARTER_PI
    square = x * x
    near, far = _polynomial(COSINE, square), _polynomial(SINE, square) * x
    swap = ((octant + 1) & 2) != 0
    cosine, sine = np.where(swap, far, near), np.where(swap, near, far)
    return np.where((octant + 2) & 4, -cosine, cosine), np.where(octant & 4, -sine, sine)


def _polynomial(coefficients: tuple[float, ...], x: Float64) -> Float64:
    total = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total *= x
        total += coefficient
    return total


@lru_cache(maxsize=1)
def perlin_gradients() -> Float32:
    """Gradients of 1-D Perlin noise as the released generators compute it.

    The ``noise`` package (1.2.2) gives a hash h with bit 3 set the gradient -1, not -((h & 7) + 1).

    Returns:
        float32 [256], read-only: -1 for half of the cells, else 1 .. 8.
    """
    hashes = np.array([int(nibble, 16) for nibble in _PERLIN_NIBBLES])
    table = np.where(hashes & 8, -1, (hashes & 7) + 1).astype(np.float32)
    table.flags.writeable = False
    return table


@lru_cache(maxsize=1)
def perlin_pairs() -> NDArray[np.uint32]:
    """Gradients of each cell and the next, uint32 [256]: the high halves of two float32, which are exact for them."""
    bits = perlin_gradients().view(np.uint32)
    pairs = (bits >> np.uint32(16)) | np.roll(bits, -1)
    pairs.flags.writeable = False
    return pairs


@lru_cache(maxsize=8)
def chain_halves(points: int) -> NDArray[np.uint16]:
    """What selects the maps of all 2-D iterated function systems drawn as points.

    The published generator seeds its chain anew for every picture, so classes, weights and instances share one random
    sequence; so do they here. Half (step, lane) is 16-bit half ``step & 7`` (low half of word 0 first) of the Philox
    block with counter (step >> 3, lane, 0, CHAIN << 24) and key (0, 0). More points only add rows.

    Args:
        points: points a picture, at least 1.

    Returns:
        uint16 [steps, lanes], read-only; steps and lanes are those of ``cpu_kernels/ifs_2d.py``.
    """
    from fdsl_gpu.cpu_kernels.ifs_2d import LANES, steps_of

    steps = steps_of(points)
    blocks, lanes = np.ogrid[: -(-steps // 8), :LANES]
    words = np.stack(philox.philox4x32((blocks, lanes, 0, philox.CHAIN << 24), (0, 0)), axis=1)
    halves = np.stack([words & np.uint64(0xFFFF), words >> np.uint64(16)], axis=2)
    table = np.ascontiguousarray(halves.reshape(-1, LANES)[:steps], np.uint16)
    table.flags.writeable = False
    return table
