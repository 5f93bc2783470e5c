"""FractalDB, slow and obvious: the published law in float64, and the lane law of the ``draw_2d`` kernels.

Two ways to make the points:

* :func:`chain` is the released law, one long chain;
* :func:`lane_points` is the library's law, many trajectories fed by one constant table, in order of emission.

Two ways to make the picture: :func:`released_picture` draws and overwrites random bits point by point, and
:func:`compose` lights what the last points cover.
"""

import math

import numpy as np

from fdsl_gpu import philox

LANES = 256
WARMUP = 16
PADDING = 6


def chain(maps, probabilities, uniforms):
    """The released points float64 [T, 2] of ``maps`` [n, 6] from T uniforms, the last unused; point 0 is the origin."""
    edges = np.cumsum(probabilities)
    points = [(0.0, 0.0)]
    for u in uniforms[:-1]:
        a, b, c, d, e, f = maps[np.flatnonzero(u <= edges)[0]]
        x, y = points[-1]
        points.append((a * x + b * y + e, c * x + d * y + f))
    return np.array(points)


def pixels(points, size):
    """Columns and rows int64 [T] of the released normalisation, each axis by its own extremes."""
    low, high = points.min(axis=0), points.max(axis=0)
    return np.trunc((points - low) / (high - low) * (size - 2 * PADDING) + PADDING).astype(int).T


def released_picture(columns, rows, size, masks):
    """Patches of 127, in order, zeros overwriting too: ``masks`` holds 9 bits a point, the first the highest."""
    picture = np.zeros((size, size), np.uint8)
    for column, row, mask in zip(columns, rows, masks, strict=True):
        bits = np.array([mask >> (8 - k) & 1 for k in range(9)]).reshape(3, 3)
        picture[row + 1 : row + 4, column + 1 : column + 4] = 127 * bits
    return picture


def released_flips(picture):
    """flip0 .. flip3 of the raw raster."""
    flip0 = picture[::-1]
    return [flip0, flip0[::-1], flip0[:, ::-1], flip0[::-1, ::-1]]


def color(number):
    """Colour of a point, as stored in an RGB image."""
    hue = 2.0 * math.pi * (number % 128) / 128
    saturation, intensity = 0.75, 0.75
    sextant = math.floor(hue / (math.pi / 3) + 1e-9)
    fraction = hue / (math.pi / 3) - sextant
    i = intensity
    p = i * (1 - saturation)
    q = i * (1 - saturation * fraction)
    t = i * (1 - saturation * (1 - fraction))
    components = [(p, t, i), (p, i, q), (t, p, i), (i, q, p), (i, p, t), (q, p, i)][sextant]
    return tuple(math.floor(255 * value + 1e-9) for value in components)


def halves(step):
    """The 16 bits that select the map of one step of each lane."""
    words = philox.philox4x32((step >> 3, np.arange(LANES), 0, philox.CHAIN << 24), (0, 0))
    return [int(word) >> 16 * (step & 1) & 0xFFFF for word in words[(step & 7) >> 1]]


def select(record, bits):
    """The map that 16 bits select by the alias table of a record."""
    position = bits * int(record["num_maps"])
    entry = int(record["select"][position >> 16])
    return position >> 16 if position & 0xFFFF < entry >> 8 else entry & 255


def lane_points(record, points, real=np.float32):
    """Emitted points [points, 2] of one POINTS_2D record, in arithmetic of type ``real``."""
    emitted = [(real(0), real(0))]
    states = [emitted[0]] * LANES
    maps = record["maps"].astype(real)
    step = 0
    while len(emitted) < points:
        for lane, bits in enumerate(halves(step)[: LANES if points > WARMUP + 1 else 1]):
            a, b, c, d, e, f = maps[select(record, bits)]
            x, y = states[lane]
            states[lane] = ((a * x + b * y) + e, (c * x + d * y) + f)
        emitted += states if step >= WARMUP else states[:1]
        step += 1
    return np.array(emitted[:points], real)


def last_points(cloud, record, size):
    """int64 [S, S]: the number of the last point on each pixel, plus 1, and 0 without one."""
    last = np.zeros((size, size), np.int64)
    for number, point in enumerate(cloud):
        column, row = (point - record["low"]) * record["scale"] + cloud.dtype.type(PADDING)
        if 0 <= column < size and 0 <= row < size:
            last[int(row), int(column)] = number + 1
    return last


def cover(last):
    """The last point whose 3x3 block, one pixel below and to the right of it, covers each pixel."""
    covered = np.zeros_like(last)
    size = len(last)
    for row, column in np.argwhere(last):
        for r in range(row + 1, min(row + 4, size)):
            for c in range(column + 1, min(column + 4, size)):
                covered[r, c] = max(covered[r, c], last[row, column])
    return covered


def pattern(record, key, size):
    """bool [S, S]: the pixels that the random pattern lights."""
    pixel = np.arange(size * size)
    high = philox.PATTERN << 24 | int(record["pattern_high"])
    words = philox.philox4x32((pixel >> 3, int(record["view"]), int(record["pattern_low"]), high), key)
    word = np.choose((pixel & 7) >> 1, words)
    return ((word >> (16 * (pixel & 1)).astype(np.uint64) & np.uint64(0xFFFF)) < 32833).reshape(size, size)


def compose(last, record, key, rendering, colored):
    """Planes uint8 [P, S, S] from the last points of the pixels."""
    last = last if rendering == "point" else cover(last)
    if rendering == "patch":
        last = last * pattern(record, key, len(last))
    if colored:
        planes = np.zeros((3, *last.shape), np.uint8)
        for row, column in np.argwhere(last):
            planes[:, row, column] = color(last[row, column] - 1)
    else:
        planes = np.uint8(127) * (last > 0)[None]
    planes = planes[:, :, ::-1] if record["mirror"] & 1 else planes
    return planes[:, ::-1] if record["mirror"] & 2 else planes
