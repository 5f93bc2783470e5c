"""Points of a 3-D iterated function system, seen by a perspective camera: uint8 [B, S, S], ``value`` on 0.

The twin of ``triton_kernels/ifs.py``, whose docstring states the law. Here the points of pass 1 are kept for pass 2, in
one flat array [step, axis, lane], so that every distance between what a loop reads and writes is a constant and the
loops over lanes vectorise without alias checks. Tables are read by ternaries, since gathers are slow on many CPUs, in
three versions for at most 2, 4 and 8 maps: three classes in four have two.
"""

import numpy as np

from fdsl_gpu.cpu_kernels.jit import inner, kernel
from fdsl_gpu.cpu_kernels.philox import philox4x32

i64 = np.int64

LANES = 64
WARMUP = 32

_Y, _Z, _ROW = LANES, 2 * LANES, 3 * LANES
_BITS = np.uint64(16)
_SUM_LIMIT = np.float32(2.0**35)
_SUM_SCALE = np.float32(2.0**20)
_INF = np.float32(np.inf)
_ZERO, _HALF, _ONE, _TWO, _FAR = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2), np.float32(100)
_NOWHERE = np.uint32(0xFFFFFFFF)


@inner
def of_2(t, index):
    """Entry ``index`` of a table of 2."""
    return t[1] if index & 1 else t[0]


@inner
def of_4(t, index):
    """Entry ``index`` of a table of 4."""
    even = t[2] if index & 2 else t[0]
    odd = t[3] if index & 2 else t[1]
    return odd if index & 1 else even


@inner
def of_8(t, index):
    """Entry ``index`` of a table of 8."""
    t0 = t[4] if index & 4 else t[0]
    t1 = t[5] if index & 4 else t[1]
    t2 = t[6] if index & 4 else t[2]
    t3 = t[7] if index & 4 else t[3]
    even = t2 if index & 2 else t0
    odd = t3 if index & 2 else t1
    return odd if index & 1 else even


@inner
def coefficients(maps, k):
    """Coefficient ``k`` of all maps as a tuple, which stays in registers."""
    return maps[0, k], maps[1, k], maps[2, k], maps[3, k], maps[4, k], maps[5, k], maps[6, k], maps[7, k]


@inner
def _draw_halves(record, k0, k1, stream, halves):
    """Fill ``halves`` uint16 [blocks, 8, LANES] with Philox blocks, each of which selects eight maps a lane."""
    low = np.uint64(record.sequence_low)
    high = np.uint64(record.sequence_high) | (np.uint64(stream) << np.uint64(24))
    for block in range(halves.shape[0]):
        for lane in range(LANES):
            w0, w1, w2, w3 = philox4x32(np.uint64(block), np.uint64(lane), low, high, k0, k1)
            halves[block, 0, lane] = w0
            halves[block, 1, lane] = w0 >> _BITS
            halves[block, 2, lane] = w1
            halves[block, 3, lane] = w1 >> _BITS
            halves[block, 4, lane] = w2
            halves[block, 5, lane] = w2 >> _BITS
            halves[block, 6, lane] = w3
            halves[block, 7, lane] = w3 >> _BITS


def _make_trajectories(of):
    """The kernel of pass 1 for systems whose tables ``of`` can read."""

    @inner
    def trajectories(record, halves, cloud):
        """Fill ``cloud`` float32 [(steps + 1) * 3 * LANES]; step 0 is the origin."""
        num_maps, t, maps = np.int32(record.num_maps), record.select, record.maps
        entries = t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7]
        # Casts, because a literal would be compiled anew for every number.
        a, b, c, tx = (
            coefficients(maps, i64(0)),
            coefficients(maps, i64(1)),
            coefficients(maps, i64(2)),
            coefficients(maps, i64(9)),
        )
        d, e, f, ty = (
            coefficients(maps, i64(3)),
            coefficients(maps, i64(4)),
            coefficients(maps, i64(5)),
            coefficients(maps, i64(10)),
        )
        g, h, i, tz = (
            coefficients(maps, i64(6)),
            coefficients(maps, i64(7)),
            coefficients(maps, i64(8)),
            coefficients(maps, i64(11)),
        )
        cloud[:_ROW] = _ZERO
        for step in range(cloud.size // _ROW - 1):
            half = halves[step >> 3, step & 7]
            here = cloud[step * _ROW : (step + 2) * _ROW]
            for lane in range(LANES):
                # Cast after every operation: numba's integers grow to 64 bits, which halves the lanes of a vector.
                position = np.int32(np.int32(half[lane]) * num_maps)
                column = np.int32(position >> 16)
                entry = np.int32(of(entries, column))
                kept = np.int32(position & 0xFFFF) < np.int32(entry >> 8)
                m = column if kept else np.int32(entry & 255)
                x, y, z = here[lane], here[_Y + lane], here[_Z + lane]
                here[_ROW + lane] = ((of(a, m) * x + of(b, m) * y) + of(c, m) * z) + of(tx, m)
                here[_ROW + _Y + lane] = ((of(d, m) * x + of(e, m) * y) + of(f, m) * z) + of(ty, m)
                here[_ROW + _Z + lane] = ((of(g, m) * x + of(h, m) * y) + of(i, m) * z) + of(tz, m)

    return trajectories


_trajectories_2 = _make_trajectories(of_2)
_trajectories_4 = _make_trajectories(of_4)
_trajectories_8 = _make_trajectories(of_8)


@inner
def _emitting(step, points):
    """How many lanes, from lane 0 on, draw at a step."""
    if step < WARMUP:
        return 1 if step < points else 0
    return min(LANES, points - WARMUP - (step - WARMUP) * LANES)


@inner
def _measure(cloud, points, lanes):
    """Fill ``lanes`` float32 [5 * LANES] with each lane's sums x, y, z and extremes low, high of its emitted points."""
    lanes[:_ROW] = _ZERO
    lanes[_ROW : _ROW + LANES] = _INF
    lanes[_ROW + LANES :] = -_INF
    for step in range(cloud.size // _ROW - 1):
        here = cloud[(step + 1) * _ROW : (step + 2) * _ROW]
        for lane in range(_emitting(step, points)):
            x, y, z = here[lane], here[_Y + lane], here[_Z + lane]
            lanes[lane] += x
            lanes[_Y + lane] += y
            lanes[_Z + lane] += z
            low, high = lanes[_ROW + lane], lanes[_ROW + LANES + lane]
            low = x if x < low else low
            low = y if y < low else low
            low = z if z < low else low
            high = x if x > high else high
            high = y if y > high else high
            high = z if z > high else high
            lanes[_ROW + lane] = low
            lanes[_ROW + LANES + lane] = high


@inner(error_model="numpy")
def _center(lane_sums, low, scale, points):
    """What to subtract from ``p * scale`` on one axis."""
    total = np.int64(0)
    for lane in range(LANES):
        scaled = lane_sums[lane] * scale
        # Written so that NaN takes a limit too.
        scaled = scaled if scaled > -_SUM_LIMIT else -_SUM_LIMIT
        scaled = scaled if scaled < _SUM_LIMIT else _SUM_LIMIT
        total += np.int64(scaled * _SUM_SCALE)
    return ((np.float32(total) * (_ONE / _SUM_SCALE) + low * scale) + _ONE) / np.float32(points + 1)


@inner(error_model="numpy")
def _normalisation(lanes, points):
    """Scale, and centres of the three axes, from what :func:`_measure` found."""
    low, high = _INF, -_INF
    for lane in range(LANES):
        low = lanes[_ROW + lane] if lanes[_ROW + lane] < low else low
        high = lanes[_ROW + LANES + lane] if lanes[_ROW + LANES + lane] > high else high
    span = high - low
    scale = _TWO / (span if span > _ZERO else _ONE)
    center_x = _center(lanes[:_Y], low, scale, points)
    center_y = _center(lanes[_Y:_Z], low, scale, points)
    center_z = _center(lanes[_Z:_ROW], low, scale, points)
    return scale, center_x, center_y, center_z


@inner(error_model="numpy")
def _plot(cloud, record, normalisation, points, value, upright, size, flat, pixels):
    """Write ``value`` to the pixels of the emitted points in ``flat`` uint8 [S * S]; ``pixels`` is scratch."""
    camera = record.camera
    r0, r1, r2 = camera[0, 0], camera[0, 1], camera[0, 2]
    u0, u1, u2 = camera[1, 0], camera[1, 1], camera[1, 2]
    d0, d1, d2 = camera[2, 0], camera[2, 1], camera[2, 2]
    focal, distance, shift_right, shift_up = record.focal, record.distance, record.shift_right, record.shift_up
    scale, center_x, center_y, center_z = normalisation
    size = np.int32(size)
    middle = np.float32(size) * _HALF
    flat[:] = 0
    for step in range(cloud.size // _ROW - 1):
        here = cloud[(step + 1) * _ROW : (step + 2) * _ROW]
        count = _emitting(step, points)
        for lane in range(count):
            qx = here[lane] * scale - center_x
            qy = here[_Y + lane] * scale - center_y
            qz = here[_Z + lane] * scale - center_z
            w = ((d0 * qx + d1 * qy) + d2 * qz) + distance
            across = (focal * ((r0 * qx + r1 * qy) + r2 * qz) + shift_right) / w
            upward = (focal * ((u0 * qx + u1 * qy) + u2 * qz) + shift_up) / w
            keep = (across >= -_ONE) & (across <= _ONE) & (upward >= -_ONE) & (upward <= _ONE)
            keep = keep & (w >= _ONE) & (w <= _FAR)
            # Selected before the cast: a NaN casts to anything.
            column = np.int32((across + _ONE) * middle if keep else _ZERO)
            row = np.int32((upward + _ONE) * middle if keep else _ZERO)
            keep = keep & (column < size) & (row < size)
            row = size - 1 - row if upright else row
            pixels[lane] = np.uint32(row * size + column) if keep else _NOWHERE
        for lane in range(count):
            pixel = pixels[lane]
            if pixel != _NOWHERE:
                flat[pixel] = value


def draw_3d(records, planes, k0, k1, stream, points, value, upright):
    """Plot one system an image.

    Args:
        records: [B] of ``POINTS_3D``.
        planes: uint8 [B, S, S], overwritten.
        k0: key of the dataset, low word.
        k1: key of the dataset, high word.
        stream: Philox stream of map selections.
        points: points an image.
        value: grey of a point.
        upright: store row S - 1 - row.
    """
    steps = WARMUP + (max(points - WARMUP, 0) + LANES - 1) // LANES
    halves = np.empty(((steps + 7) // 8, 8, LANES), np.uint16)
    cloud = np.empty((steps + 1) * _ROW, np.float32)
    lanes = np.empty(5 * LANES, np.float32)
    pixels = np.empty(LANES, np.uint32)
    size, flat = planes.shape[2], planes.reshape(len(planes), -1)
    _draw_3d(records, flat, k0, k1, stream, points, value, upright, size, halves, cloud, lanes, pixels)


@kernel
def _draw_3d(records, planes, k0, k1, stream, points, value, upright, size, halves, cloud, lanes, pixels):
    k0, k1 = np.uint64(k0), np.uint64(k1)
    for image in range(records.size):
        record = records[image]
        _draw_halves(record, k0, k1, stream, halves)
        if record.num_maps <= 2:
            _trajectories_2(record, halves, cloud)
        elif record.num_maps <= 4:
            _trajectories_4(record, halves, cloud)
        else:
            _trajectories_8(record, halves, cloud)
        _measure(cloud, points, lanes)
        _plot(cloud, record, _normalisation(lanes, points), points, value, upright, size, planes[image], pixels)
