"""Anderson & Farrell's pictures, slow and obvious: the published law in float64, and the lane law of the kernels.

The drawing of ``FRACTAL_SCENE``: density, colour, background, composition, blur, each a function of plain numbers.
Random numbers come in from outside, except in :func:`lane_choices` and :func:`background_uniforms`, which read them
straight from the counter layout. :func:`make_scenes` makes records to draw.
"""

import numpy as np
from numba import njit

from fdsl_gpu import philox
from fdsl_gpu.alias import alias_table
from fdsl_gpu.records import FRACTAL_SCENE

from . import contractive_systems

LANES = 256
WARMUP = 32


def fixed_point(one_map):
    """Where x = A x + b."""
    return np.linalg.solve(np.eye(2) - one_map[:4].reshape(2, 2), one_map[4:])


@njit(cache=True)
def chain(maps, choices, start):
    """Points [T, 2] of a chain: ``maps`` [n, 6], ``choices`` [T]; the start is left out."""
    points = np.empty((choices.size, 2))
    x, y = start
    for i in range(choices.size):
        a, b, c, d, e, f = maps[choices[i]]
        x, y = a * x + b * y + e, c * x + d * y + f
        points[i, 0], points[i, 1] = x, y
    return points


def lane_choices(record, key, steps):
    """Map indices int64 [steps, LANES] of one ``FRACTAL``, straight from the counter layout."""
    step, lane = np.meshgrid(np.arange(steps), np.arange(LANES), indexing="ij")
    low, high, view = (int(record[name]) for name in ("sequence_low", "sequence_high", "view"))
    counter = (step >> 3, lane + (view << 16), low, philox.CHAIN << 24 | high)
    words = np.stack(philox.philox4x32(counter, key)).astype(np.int64)
    half = step & 7
    word = np.take_along_axis(words, (half >> 1)[None], axis=0)[0]
    position = ((word >> 16 * (half & 1)) & 0xFFFF) * int(record["num_maps"])
    column, fraction = position >> 16, position & 0xFFFF
    entry = record["select"].astype(np.int64)[column]
    return np.where(fraction < entry >> 8, column, entry & 255)


def lane_points(record, key, points):
    """The points float64 [points, 2] that one ``FRACTAL`` counts."""
    choices = lane_choices(record, key, WARMUP + -(-points // LANES))
    maps, start = record["maps"].astype(np.float64), record["start"].astype(np.float64)
    lanes = np.stack([chain(maps, choices[:, lane], start) for lane in range(LANES)], axis=1)
    return lanes[WARMUP:].reshape(-1, 2)[:points]


def positions(points, size, shift=(0, 0), stretch=(1, 1)):
    """Points [T, 2] to continuous pixels [T, 2], (row, column)."""
    low, high = points.min(axis=0), points.max(axis=0)
    extent = np.where(high > low, high - low, 1.0)
    side = np.asarray(stretch) * extent
    low = (low + high) / 2 + np.asarray(shift) * extent - side / 2
    return (points - low) * ((size - 1) / side)


def hits(pixels, size):
    """Points a pixel, int64 [size, size], of continuous pixels [T, 2]; what lies outside is dropped."""
    cells = np.trunc(pixels).astype(int)
    cells = cells[((cells >= 0) & (cells < size)).all(axis=1)]
    counts = np.zeros((size, size), np.int64)
    np.add.at(counts, (cells[:, 0], cells[:, 1]), 1)
    return counts


def spread(counts, patch):
    """Every point counts in the chosen cells of the 3x3 around it; bit 8 of ``patch`` is the top left one."""
    size = len(counts)
    out = np.zeros_like(counts)
    for row, column in np.argwhere(counts):
        for cell in range(9):
            r, c = row + cell // 3 - 1, column + cell % 3 - 1
            if patch >> (8 - cell) & 1 and 0 <= r < size and 0 <= c < size:
                out[r, c] += counts[row, column]
    return out


def flip(picture, flips):
    """Transpose, then top and bottom, then left and right."""
    if flips & 1:
        picture = picture.swapaxes(0, 1)
    if flips & 2:
        picture = picture[::-1]
    return picture[:, ::-1] if flips & 4 else picture


def hsv_to_rgb(hue, saturation, value):
    """OpenCV's 8-bit conversion in float64: hue in units of 2 degrees, 180 of them a turn. Returns uint8 [..., 3]."""
    hue, saturation, value = (np.asarray(x, np.float64) for x in np.broadcast_arrays(hue, saturation, value))
    sector, f = np.divmod(hue / 30.0 % 6.0, 1.0)
    s, v = saturation / 255.0, value
    p, q, t = v * (1 - s), v * (1 - s * f), v * (1 - s * (1 - f))
    rgb = [(v, t, p), (q, v, p), (p, v, t), (p, q, v), (t, p, v), (v, p, q)]
    chosen = np.select([(sector == i)[..., None] for i in range(6)], [np.stack(each, axis=-1) for each in rgb])
    # A tie must round up whichever way the doubles err.
    return np.floor(chosen + 0.5 + 1e-9).astype(np.uint8)


def colour(counts, hue, saturation, value):
    """Hits to an RGB picture uint8 [S, S, 3], black where nothing was hit."""
    if not counts.any():
        return np.zeros((*counts.shape, 3), np.uint8)
    ratio = counts.astype(np.float32) / np.float32(counts.max())
    hues = (np.float32(255) * ratio + np.float32(hue)).astype(np.int64) % 256
    return np.where(counts[..., None] > 0, hsv_to_rgb(hues, saturation, value), np.uint8(0))


def background_uniforms(record, key, levels):
    """U(0, 1) of every cell, float64 [2**n + 1, 2**n + 1], of a ``FRACTAL_SCENE``."""
    side = 2**levels + 1
    cell = np.arange(side * side)
    low, high, view = (int(record[name]) for name in ("background_low", "background_high", "view"))
    words = philox.philox4x32((cell >> 2, view, low, philox.BACKGROUND << 24 | high), key)
    word = np.stack(words)[cell & 3, cell]
    return ((word >> np.uint64(8)).astype(np.float64) * 2.0**-24).reshape(side, side)


def diamond_square(corners, amplitudes, uniforms):
    """Heights [2**n + 1, 2**n + 1]; level k adds U(-m, m) with m = amplitudes[k - 1]."""
    side = len(uniforms)
    levels = (side - 1).bit_length() - 1
    heights = np.zeros((side, side))
    heights[0, 0], heights[0, -1], heights[-1, 0], heights[-1, -1] = corners

    def around(i, step):
        """The two neighbours along an axis, on a torus."""
        return i - step if i > 0 else side - 1 - step, i + step if i < side - 1 else step

    for level in range(1, levels + 1):
        m, half = amplitudes[level - 1], 2 ** (levels - level)
        for r in range(half, side, 2 * half):
            for c in range(half, side, 2 * half):
                mean = heights[[r - half, r - half, r + half, r + half], [c - half, c + half] * 2].mean()
                heights[r, c] = mean + m * (2 * uniforms[r, c] - 1)
        for r in range(0, side, half):
            for c in range(half if r // half % 2 == 0 else 0, side, 2 * half):
                up, down = around(r, half)
                left, right = around(c, half)
                mean = (heights[up, c] + heights[down, c] + heights[r, left] + heights[r, right]) / 4
                heights[r, c] = mean + m * (2 * uniforms[r, c] - 1)
    return heights


def background_hsv(heights, factors, offsets):
    """Unrounded hue, saturation and value [3, ...] of heights, before they become bytes."""
    hsv = np.asarray(factors).reshape(3, 1, 1) * heights + np.asarray(offsets).reshape(3, 1, 1)
    hsv[1:] = np.minimum(hsv[1:], 255.0)
    return hsv


def as_bytes(values):
    """Reals to bytes: truncated toward zero, negative ones wrap."""
    return np.trunc(values).astype(np.int64) % 256


def resize(picture, side):
    """Bilinear resize of uint8 [F, F, 3] with half-pixel centres and clamped edges, float64 [side, side, 3]."""
    size = len(picture)
    at = np.clip((np.arange(side) + 0.5) * size / side - 0.5, 0, size - 1)
    first = np.minimum(np.floor(at).astype(int), max(size - 2, 0))
    second = np.minimum(first + 1, size - 1)
    weight = at - first
    rows = picture[first] * (1 - weight)[:, None, None] + picture[second] * weight[:, None, None]
    return rows[:, first] * (1 - weight)[None, :, None] + rows[:, second] * weight[None, :, None]


def compose(background, picture, left, top):
    """Place uint8 [s, s, 3] on a copy of uint8 [S, S, 3]; black pixels are see-through."""
    out = background.copy()
    for row, column in np.argwhere(picture.any(axis=2)):
        r, c = top + row, left + column
        if 0 <= r < len(out) and 0 <= c < len(out):
            out[r, c] = picture[row, column]
    return out


def blur(picture, center, side):
    """3x3 blur with reflected edges of uint8 [S, S, 3], float64."""
    padded = np.pad(picture.astype(np.float64), ((1, 1), (1, 1), (0, 0)), mode="reflect")
    rows = center * padded[1:-1] + side * (padded[:-2] + padded[2:])
    return center * rows[:, 1:-1] + side * (rows[:, :-2] + rows[:, 2:])


def _fill_fractal(fractal, rng, num_maps, jitter):
    """A random system on its full window, without patch or flips."""
    system = contractive_systems.system(num_maps, rng)
    if jitter:
        system = contractive_systems.jitter("basic", system, rng)
    maps = np.concatenate([system[:, :, :2].reshape(-1, 4), system[:, :, 2]], axis=1)
    fractal["num_maps"], fractal["maps"][:num_maps] = num_maps, maps
    fractal["select"] = alias_table(np.abs(np.linalg.det(system[:, :, :2])), num_maps)
    fractal["start"] = fixed_point(maps[0])
    fractal["sequence_low"], fractal["sequence_high"] = rng.integers(2**32), rng.integers(2**24)
    fractal["stretch"], fractal["patch"] = 1, 0b000010000
    fractal["hue"] = rng.uniform(0, 255)
    fractal["saturation"], fractal["value"] = rng.uniform(0.3, 1) * 255, rng.uniform(0.5, 1) * 255


def make_scenes(count, size, multi=False, seed=0, maps=(2, 4), blur=True, jitter=False):
    """Random scenes by the published law: one fractal that fills the picture, or several that are resized."""
    rng = np.random.default_rng(seed)
    scenes = np.zeros(count, FRACTAL_SCENE)
    for scene in scenes:
        scene["background_low"], scene["background_high"] = rng.integers(2**32), rng.integers(2**24)
        scene["view"] = rng.integers(3)
        scene["corners"] = rng.random(4)
        scene["amplitudes"] = 0.5 * np.exp(-rng.uniform(0.4, 0.8) * np.arange(12))
        scene["factors"] = rng.uniform([0.25, 0.1, 0.3], [1, 0.3, 0.6]) * 255
        scene["offsets"] = rng.uniform([0, 0.4, 0.4], [1, 0.6, 0.6]) * 255
        if blur:
            side = np.exp(-0.5 / rng.uniform(0.5, 1) ** 2)
            scene["blur"] = 1 / (1 + 2 * side), side / (1 + 2 * side)
        scene["num_fractals"] = rng.integers(2, 6) if multi else 1
        for fractal in scene["fractals"][: scene["num_fractals"]]:
            _fill_fractal(fractal, rng, int(rng.integers(maps[0], maps[1] + 1)), jitter)
            fractal["flips"], fractal["patch"], fractal["view"] = rng.integers(8), rng.integers(512), rng.integers(3)
            fractal["side"] = size
            if multi:
                side = int(rng.uniform(0.15, 0.6) * size)
                fractal["side"], fractal["left"], fractal["top"] = (
                    side,
                    *rng.integers(-(side // 2), size - side // 2, 2),
                )
            else:
                fractal["shift"], fractal["stretch"] = rng.uniform(-0.2, 0.2, 2), rng.uniform(0.5, 2, 2)
    return scenes
