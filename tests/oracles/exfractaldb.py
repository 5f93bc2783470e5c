"""ExFractalDB, slow and obvious: the published law in float64, and the lane law of the ``draw_3d`` kernels.

Two ways to make the points:

* :func:`chain` is the released law, one long chain;
* :func:`lane_points` is the library's law, many short trajectories fed by Philox, in the order of the kernels' loops.

Both go through the same :func:`normalise`, :func:`centre` and :func:`project`.
"""

import numpy as np
from numba import njit

from fdsl_gpu import philox

LANES = 64
WARMUP = 32

FOCAL = 1.0 / np.tan(np.radians(22.5))
DISTANCE = 4.0


@njit(cache=True)
def chain(maps, choices):
    """The orbit of the origin: ``maps`` [n, 12] float64, ``choices`` [T] integers -> [T, 3], the origin left out."""
    points = np.empty((choices.size, 3))
    x = y = z = 0.0
    for i in range(choices.size):
        a, b, c, d, e, f, g, h, m, j, k, p = maps[choices[i]]
        x, y, z = a * x + b * y + c * z + j, d * x + e * y + f * z + k, g * x + h * y + m * z + p
        points[i, 0], points[i, 1], points[i, 2] = x, y, z
    return points


def select(probabilities, uniforms):
    """For each uniform u the first map j with u <= cumsum(p)_j."""
    return np.minimum(np.searchsorted(np.cumsum(probabilities), uniforms, side="left"), len(probabilities) - 1)


def probabilities_of(maps):
    """Each map's share of the sum of |det 3x3|."""
    determinants = np.abs(np.linalg.det(maps[:, :9].reshape(-1, 3, 3)))
    return determinants / determinants.sum()


def normalise(points):
    """To [-1, 1] by one minimum and one maximum over all coordinates."""
    low, high = points.min(), points.max()
    span = high - low if high > low else 1.0
    return 2.0 * (points - low) / span - 1.0


def centre(points):
    """Subtract sum / N with N one more than the number of points, as released."""
    return points - points.sum(axis=0) / (len(points) + 1)


@njit(cache=True)
def accepted(points, threshold):
    """The category test: no NaN, and the variance of each axis above the threshold after :func:`normalise`."""
    limit = threshold * ((points.max() - points.min()) / 2.0) ** 2
    return points[:, 0].var() > limit and points[:, 1].var() > limit and points[:, 2].var() > limit


def camera_ring(view, jitter=0.0, views=12):
    """Camera rows (right, up, depth) of view k of a ring; ``jitter`` in degrees."""
    angle = 2.0 * np.pi * view / views + np.radians(30.0 + jitter)
    sine, cosine = np.sin(angle), np.cos(angle)
    return np.array([[sine, 0.0, cosine], [0.0, 1.0, 0.0], [cosine, 0.0, -sine]])


def project(points, camera, size, focal=FOCAL, distance=DISTANCE):
    """Points to continuous pixel coordinates.

    Returns:
        col, row float64 [T] (pixel = floor), and keep bool [T]: inside the frustum and the canvas.
    """
    right, up, depth = camera @ points.T
    w = depth + distance
    x, y = focal * right / w, focal * up / w
    col, row = (x + 1.0) / 2.0 * size, (y + 1.0) / 2.0 * size
    keep = (np.abs(x) <= 1.0) & (np.abs(y) <= 1.0) & (w >= 1.0) & (w <= 100.0)
    keep &= (np.floor(col) < size) & (np.floor(row) < size)
    return col, row, keep


def plot(points, camera, size, upright=False, **lens):
    """Points, as they come from a chain, to an image uint8 [size, size]."""
    col, row, keep = project(centre(normalise(points)), camera, size, **lens)
    image = np.zeros((size, size), np.uint8)
    rows = np.floor(row[keep]).astype(int)
    image[size - 1 - rows if upright else rows, np.floor(col[keep]).astype(int)] = 255
    return image


def lane_choices(key, sequence, num_maps, table, steps):
    """Map indices int64 [steps, LANES] of the lane law, straight from the counter layout."""
    step, lane = np.meshgrid(np.arange(steps), np.arange(LANES), indexing="ij")
    counter = (step >> 3, lane, sequence & 0xFFFFFFFF, philox.CHAIN << 24 | sequence >> 32)
    words = np.stack(philox.philox4x32(counter, key)).astype(np.int64)
    half = step & 7
    word = np.take_along_axis(words, (half >> 1)[None], axis=0)[0]
    half16 = (word >> 16 * (half & 1)) & 0xFFFF
    column, fraction = half16 * num_maps >> 16, half16 * num_maps & 0xFFFF
    entry = np.asarray(table, np.int64)[column]
    return np.where(fraction < entry >> 8, column, entry & 255)


def lane_points(record, key, points):
    """The emitted points float64 [points, 3] of one POINTS_3D record under the lane law."""
    steps = WARMUP + -(-max(points - WARMUP, 0) // LANES)
    sequence = int(record["sequence_low"]) | int(record["sequence_high"]) << 32
    choices = lane_choices(key, sequence, int(record["num_maps"]), record["select"], steps)
    maps = record["maps"].astype(np.float64)
    lanes = np.stack([chain(maps, choices[:, lane]) for lane in range(LANES)], axis=1)
    return np.concatenate([lanes[:WARMUP, 0], lanes[WARMUP:].reshape(-1, 3)])[:points]


def candidate(number, num_points=9_999):
    """One trial of the search, from its number: maps [n, 12], p [n], and its chain, NaN from where it overflows."""
    words = philox.words((0, 0), philox.CLASS, [number], 85 + num_points)[0]
    return _candidate(philox.uniforms(words))


@njit(cache=True)
def _candidate(uniforms):
    n = 2 + int(6 * uniforms[0])
    maps = 2.0 * uniforms[1 : 1 + 12 * n].reshape(n, 12) - 1.0
    p = np.empty(n)
    for j in range(n):
        a, b, c, d, e, f, g, h, i = maps[j, :9]
        p[j] = abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))
    p /= p.sum()
    edges = np.cumsum(p)
    points = np.full((uniforms.size - 85, 3), np.nan)
    x = y = z = 0.0
    for t in range(len(points)):
        j = 0
        while j < n - 1 and uniforms[85 + t] > edges[j]:
            j += 1
        a, b, c, d, e, f, g, h, i, k, v, w = maps[j]
        x, y, z = a * x + b * y + c * z + k, d * x + e * y + f * z + v, g * x + h * y + i * z + w
        if not abs(x) + abs(y) + abs(z) < 1e100:
            break
        points[t, 0], points[t, 1], points[t, 2] = x, y, z
    return maps, p, points


def weight_rows():
    """The 145 rows of released instance weights [145, 12], with the typo of row 108."""
    levels = [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6]
    rows = []
    for column in range(12):
        for level in levels:
            if level != 1.0 or column == 0:
                row = np.ones(12)
                row[column] = level
                rows.append(row)
    rows[108][8] = 0.6
    return np.array(rows)
