"""Category search of 3-D iterated function systems, one numba kernel over a run of classes.

The law. Class c is the first accepted of its own candidates (c, 0), (c, 1), ...; what ``candidates.py`` says of
candidate (c, t) is drawn under the key of seed 0, from the streams CLASS and CHAIN.

* Twelve parameters a map, columns a .. l.
* Probabilities p_j = |det_j| / sum |det|, det = a (e i - f h) - b (d i - f g) + c (d h - e g), float64, in this order.
* Chain: 9,999 steps from the origin, which is not a point of the cloud, in float64:
  x' = (a x + b y) + (c z + j), y' = (d x + e y) + (f z + k), z' = (g x + h y) + (i z + l).
* Rejected if a coordinate exceeds 2^20 in magnitude (the original waits for NaN), or if all determinants are zero.
* q = 2 (p - low) / (high - low) - 1 with one low and high over all coordinates. Accepted if on each axis the variance
  of q exceeds 0.05 (the sum of q in order, divided by 9,999, is the mean; then the squared differences likewise).
* A weight row is drawable if the chain with the accepted candidate's choices and the maps times that row, rounded to
  float32, never exceeds 2^20.

Plain IEEE float64 without fusion or reordering, so every machine finds the same classes.
Output for C classes: maps float32 [C, 7, 12], counts int64 [C], attempts int32 [C], drawable bool [C, 145].
"""

import numpy as np
from numba import njit

from fdsl_gpu.cpu_kernels.candidates import (
    CHUNK,
    LANES,
    MAX_MAPS,
    draw_maps,
    draw_words,
    select,
    set_thresholds,
    widen,
)

STEPS = 9_999
LIMIT = 2.0**20
MIN_VARIANCE = 0.05

# Escapes are noticed in chunks; NaN later in a chunk leaves the extremes seen before it in place.
_CAPACITY = -(-STEPS // CHUNK) * CHUNK
# Weight rows, padded to whole vectors.
_ROWS = 152
_COLUMNS = 12
_AT = tuple(np.uint64(column * _ROWS) for column in range(_COLUMNS))
_MAP_SIZE = np.uint64(_COLUMNS * _ROWS)


@njit(nogil=True, cache=True)
def _set_volumes(maps, num_maps, volumes):
    """Fill ``volumes`` float64 [7] with the |det| of each map float64 [7, 12]."""
    for j in range(num_maps):
        a, b, c, d, e, f, g, h, i = maps[j, :9]
        volumes[j] = abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))


@njit(nogil=True, cache=True)
def _walk(maps, choices, x, y, z, points):
    """One step for each row of ``points`` float64 [n, 3], which it fills, from (x, y, z); returns the last point."""
    for s in range(np.uint64(points.shape[0])):
        j = np.uint64(choices[s])
        x, y, z = (
            (maps[j, 0] * x + maps[j, 1] * y) + (maps[j, 2] * z + maps[j, 9]),
            (maps[j, 3] * x + maps[j, 4] * y) + (maps[j, 5] * z + maps[j, 10]),
            (maps[j, 6] * x + maps[j, 7] * y) + (maps[j, 8] * z + maps[j, 11]),
        )
        points[s, 0], points[s, 1], points[s, 2] = x, y, z
    return x, y, z


@njit(nogil=True, cache=True)
def _hopeless(values, low, high, sums, squares):
    """Whether some axis certainly has too small a variance; a fast test ahead of :func:`_spread_out`.

    The variance is the mean square minus the squared mean. With N = 9,999 terms, M the largest magnitude and u = 2^-53,
    rounding moves it by less than 4 N u M^2 and the variance of the law by less than 4 N u (high - low)^2, together
    below 1e-10 M^2. Only candidates that miss the threshold by more than 1e-9 M^2 are dropped here.
    """
    sums[:] = 0.0
    squares[:] = 0.0
    size = np.uint64(values.size)
    lanes = np.uint64(LANES)
    whole = size - size % lanes
    for start in range(np.uint64(0), whole, lanes):
        for lane in range(lanes):
            value = values[start + lane]
            sums[lane] += value
            squares[lane] += value * value
    for lane in range(size - whole):
        value = values[whole + lane]
        sums[lane] += value
        squares[lane] += value * value
    threshold = MIN_VARIANCE * (high - low) * (high - low) / 4.0 - 1e-9 * max(low * low, high * high)
    for axis in range(3):
        mean = sums[axis::3].sum() / STEPS
        if squares[axis::3].sum() / STEPS - mean * mean < threshold:
            return True
    return False


@njit(nogil=True, cache=True, error_model="numpy")
def _spread_out(points, low, high):
    """Whether each axis of the normalised cloud has a variance above 0.05: the law, in its order."""
    for axis in range(3):
        total = 0.0
        for s in range(STEPS):
            total += 2.0 * (points[s, axis] - low) / (high - low) - 1.0
        mean = total / STEPS
        total = 0.0
        for s in range(STEPS):
            difference = 2.0 * (points[s, axis] - low) / (high - low) - 1.0 - mean
            total += difference * difference
        if not total / STEPS > MIN_VARIANCE:
            return False
    return True


@njit(nogil=True, cache=True)
def _accepted(k0, k1, stream, category, attempt, maps, thresholds, words, choices, points, lanes):
    """Walk a candidate's chain and judge it; on acceptance ``choices`` uint8 [>= 9,999] holds all of its choices."""
    low, high = lanes[0], lanes[1]
    low[:] = np.inf
    high[:] = -np.inf
    x = y = z = 0.0
    for first in range(0, STEPS, CHUNK):
        last = min(first + CHUNK, STEPS)
        draw_words(k0, k1, stream, category, attempt, first, words)
        select(words, thresholds, choices[first : first + CHUNK])
        x, y, z = _walk(maps, choices[first:last], x, y, z, points[first:last])
        widen(points[first:last].reshape(-1), low, high)
        if low.min() < -LIMIT or high.max() > LIMIT:
            return False
    smallest, largest = low.min(), high.max()
    if _hopeless(points.reshape(-1), smallest, largest, lanes[2], lanes[3]):
        return False
    return _spread_out(points, smallest, largest)


@njit(nogil=True, cache=True)
def _step_rows(m, state):
    """One step of every weight row, with its own weighting ``m`` of one map; see :func:`mark_drawable`."""
    for row in range(_AT[1]):
        x, y, z, largest = state[row], state[_AT[1] + row], state[_AT[2] + row], state[_AT[3] + row]
        next_x = (m[row] * x + m[_AT[1] + row] * y) + (m[_AT[2] + row] * z + m[_AT[9] + row])
        next_y = (m[_AT[3] + row] * x + m[_AT[4] + row] * y) + (m[_AT[5] + row] * z + m[_AT[10] + row])
        next_z = (m[_AT[6] + row] * x + m[_AT[7] + row] * y) + (m[_AT[8] + row] * z + m[_AT[11] + row])
        state[row], state[_AT[1] + row], state[_AT[2] + row] = next_x, next_y, next_z
        # A row that ran away may reach NaN; comparisons with NaN leave its largest magnitude in place.
        largest = abs(next_x) if abs(next_x) > largest else largest
        largest = abs(next_y) if abs(next_y) > largest else largest
        largest = abs(next_z) if abs(next_z) > largest else largest
        state[_AT[3] + row] = largest


@njit(nogil=True, cache=True)
def mark_drawable(maps, num_maps, weights, choices, weighted, state, drawable):
    """Fill ``drawable`` bool [145]: which weight rows keep the chain within the limit.

    Args:
        maps: float32 [7, 12].
        num_maps: rows of ``maps`` in use.
        weights: float32 [145, 12].
        choices: uint8 [>= 9,999].
        weighted: float64 [7 * 12 * 152], scratch: weighted maps, the rows side by side.
        state: float64 [4 * 152], scratch: x, y, z and the largest magnitude so far of each row.
        drawable: out.
    """
    weighted[:] = 0.0
    for j in range(num_maps):
        for column in range(_COLUMNS):
            for row in range(weights.shape[0]):
                weighted[(j * _COLUMNS + column) * _ROWS + row] = np.float32(maps[j, column] * weights[row, column])
    state[:] = 0.0
    for s in range(STEPS):
        _step_rows(weighted[np.uint64(choices[s]) * _MAP_SIZE :], state)
    for row in range(drawable.size):
        drawable[row] = state[3 * _ROWS + row] <= LIMIT


@njit(nogil=True, cache=True)
def find_classes(k0, k1, class_stream, chain_stream, first_class, weights, maps, counts, attempts, drawable):
    """Find classes ``first_class`` .. ``first_class + C - 1``.

    Args:
        k0: first word of the key, uint64.
        k1: second word of the key, uint64.
        class_stream: number of the random stream of parameters.
        chain_stream: number of the random stream of choices.
        first_class: number of the first class, below 2**24.
        weights: float32 [145, 12].
        maps: float32 [C, 7, 12], out; rows from a class's number of maps on are left alone.
        counts: int64 [C], out: number of maps.
        attempts: int32 [C], out: number of the accepted candidate, from 0.
        drawable: bool [C, 145], out.
    """
    candidate = np.zeros((MAX_MAPS, _COLUMNS))
    parameter_words = np.empty(88, np.uint64)
    volumes = np.empty(MAX_MAPS)
    thresholds = np.empty(MAX_MAPS, np.uint32)
    words = np.empty(CHUNK, np.uint32)
    choices = np.empty(_CAPACITY, np.uint8)
    points = np.empty((STEPS, 3))
    lanes = np.empty((4, LANES))
    weighted = np.empty(MAX_MAPS * _COLUMNS * _ROWS)
    state = np.empty(4 * _ROWS)
    for index in range(counts.size):
        category = first_class + index
        attempt = 0
        while True:
            num_maps = draw_maps(k0, k1, class_stream, category, attempt, parameter_words, candidate)
            _set_volumes(candidate, num_maps, volumes)
            if set_thresholds(volumes, num_maps, thresholds) and _accepted(
                k0, k1, chain_stream, category, attempt, candidate, thresholds, words, choices, points, lanes
            ):
                break
            attempt += 1
        for j in range(num_maps):
            for column in range(_COLUMNS):
                maps[index, j, column] = np.float32(candidate[j, column])
        counts[index] = num_maps
        attempts[index] = attempt
        mark_drawable(maps[index], num_maps, weights, choices, weighted, state, drawable[index])
