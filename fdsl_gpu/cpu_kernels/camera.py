"""Cameras that look at 3-D fractals: floats [B, 3, 3] with rows right, up and depth.

In numba because every image of every batch has one. All is + - x /, square roots and the series of ``fdsl_gpu.tables``.
"""

import math

import numpy as np

from fdsl_gpu.cpu_kernels.jit import inner, kernel
from fdsl_gpu.cpu_kernels.philox import philox4x32, uniform
from fdsl_gpu.tables import COSINE, QUARTER_PI, SINE

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_BLOCKS = 8


@kernel
def uniform_cameras(k0, k1, stream, lane, ids, out):
    """Rotations uniform on SO(3) of ids uint64 [B], as unit quaternions from two points in the unit disc.

    (Marsaglia 1972.) Of 16 candidate points, two a block, the first two inside are taken, or the first of all for want
    of one: fewer than two are inside with chance 2e-9.
    """
    for i in range(ids.size):
        low = ids[i] & _LOW
        high = (ids[i] >> _HALF) | (np.uint64(stream) << np.uint64(24))
        found = 0
        x = y = z = w = 0.0
        for block in range(_BLOCKS):
            words = philox4x32(np.uint64(block), np.uint64(lane), low, high, np.uint64(k0), np.uint64(k1))
            for half in range(2):
                u = uniform(words[2 * half], -1.0, 1.0)
                v = uniform(words[2 * half + 1], -1.0, 1.0)
                inside = 0.0 < u * u + v * v < 1.0
                if block + half == 0 or (inside and found == 0):
                    x, y = u, v
                if block + half == 0 or (inside and found == 1):
                    z, w = u, v
                found += inside
            if found >= 2:
                break
        stretch = math.sqrt((1.0 - (x * x + y * y)) / (z * z + w * w))
        z, w = z * stretch, w * stretch
        # Columns e_z, e_y, e_x of the rotation matrix are what the camera calls right, up and depth.
        right, up, depth = out[i, 0], out[i, 1], out[i, 2]
        right[0], right[1], right[2] = 2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)
        up[0], up[1], up[2] = 2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)
        depth[0], depth[1], depth[2] = 1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)


@inner
def _series(coefficients, x):
    total = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        total = total * x + coefficient
    return total


@inner
def cos_sin(turns):
    """Cosine and sine of an angle in turns, the twin of ``fdsl_gpu.tables.cos_sin``."""
    eighths = 8 * (turns - math.floor(turns))
    octant = math.floor(eighths)
    rest = eighths - octant
    octant = np.int64(octant)
    x = (1 - rest if octant & 1 else rest) * QUARTER_PI
    near, far = _series(COSINE, x * x), _series(SINE, x * x) * x
    cosine, sine = (far, near) if (octant + 1) & 2 else (near, far)
    return (-cosine if (octant + 2) & 4 else cosine), (-sine if octant & 4 else sine)


@kernel
def ring_cameras(places, jitter, views, reach, out):
    """Cameras at ``places`` int64 [B] of a horizontal ring of ``views``, turned by up to ``reach`` turns either way."""
    for i in range(places.size):
        turns = (places[i] + 1) / views + uniform(jitter[i], -1.0, 1.0) * reach
        cosine, sine = cos_sin(turns)
        right, up, depth = out[i, 0], out[i, 1], out[i, 2]
        right[0], right[1], right[2] = sine, 0.0, cosine
        up[0], up[1], up[2] = 0.0, 1.0, 0.0
        depth[0], depth[1], depth[2] = cosine, 0.0, -sine
