"""Points of a 3-D iterated function system, seen by a perspective camera: uint8 [B, S, S], ``value`` on 0.

The twin of ``triton_kernels/ifs.py``, whose docstring states the law. Here the points of pass 1 are kept for pass 2, in
one flat array [step, axis, lane], so that every distance between what a loop reads and writes is a constant and the
loops over lanes vectorise without alias checks. Maps are looked up as in ``chains_2d``.
"""

import numpy as np

from fdsl_gpu.cpu_kernels.chains_2d import chain_tables, make_walk
from fdsl_gpu.cpu_kernels.jit import inner, kernel
from fdsl_gpu.cpu_kernels.philox import philox4x32

LANES = 64
WARMUP = 32

_Y, _Z, _ROW = LANES, 2 * LANES, 3 * LANES
_BITS = np.uint64(16)
_SUM_LIMIT = np.float32(2.0**35)
_SUM_SCALE = np.float32(2.0**20)
_INF = np.float32(np.inf)
_ZERO, _HALF, _ONE, _TWO, _FAR = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2), np.float32(100)
_NOWHERE = np.uint32(0xFFFFFFFF)

_take_steps = make_walk(LANES, ((0, 1, 2, 9), (3, 4, 5, 10), (6, 7, 8, 11)))


@inner(inline="always")
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


@inner
def _walk(num_maps, table, halves, chosen, cloud):
    """Fill ``cloud`` float32 [(steps + 1) * 3 * LANES]; step 0 is the origin. ``chosen`` is scratch."""
    for i in range(_ROW):
        cloud[i] = _ZERO
    table, choice = np.uintp(table.ctypes.data), np.uintp(chosen.ctypes.data)
    half, here = np.uintp(halves.ctypes.data), np.uintp(cloud.ctypes.data)
    _take_steps(num_maps, table, half, cloud.size // _ROW - 1, choice, here)


@inner(inline="always")
def _emitting(step, points):
    """How many lanes, from lane 0 on, draw at a step."""
    if step < WARMUP:
        return 1 if step < points else 0
    left = points - WARMUP - (step - WARMUP) * LANES
    return LANES if left > LANES else left


@inner(inline="always")
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


@inner
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


@inner(inline="always")
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


@inner(inline="always")
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
    halves, chosen = np.empty(((steps + 7) // 8, 8, LANES), np.uint16), np.empty(steps * LANES, np.int32)
    cloud, lanes = np.empty((steps + 1) * _ROW, np.float32), np.empty(5 * LANES, np.float32)
    size, flat = planes.shape[2], planes.reshape(len(planes), -1)
    settings, chains = (points, value, upright, size), (chain_tables(records), halves, chosen, cloud)
    _draw_3d(records, flat, k0, k1, stream, settings, chains, lanes, np.empty(LANES, np.uint32))


@kernel
def _draw_3d(records, planes, k0, k1, stream, settings, chains, lanes, pixels):
    points, value, upright, size = settings
    tables, halves, chosen, cloud = chains
    k0, k1 = np.uint64(k0), np.uint64(k1)
    for image in range(records.size):
        record = records[image]
        _draw_halves(record, k0, k1, stream, halves)
        _walk(record.num_maps, tables[image], halves, chosen, cloud)
        _measure(cloud, points, lanes)
        _plot(cloud, record, _normalisation(lanes, points), points, value, upright, size, planes[image], pixels)
