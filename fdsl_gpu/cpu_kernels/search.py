"""Category search of 3-D iterated function systems, one numba kernel over a run of classes.

The law. Class c is the first accepted of its own candidates (c, 0), (c, 1), ...; everything about candidate (c, t) is
drawn from Philox with id = c << 32 | t, lane 0, under the key of seed 0.

* Stream CLASS. Word 0 gives the number of maps n in 2 .. 7 (multiply and shift). Then twelve words a map, columns
  a .. l, each a parameter 2 (w >> 8) 2^-24 - 1 + 2^-24: an odd multiple of 2^-24 in (-1, 1), exact in float32.
* Probabilities p_j = |det_j| / sum |det|, det = a (e i - f h) - b (d i - f g) + c (d h - e g), float64, in this order.
* Stream CHAIN. Word s chooses the map of step s: the first j with w 2^-32 <= p_0 + ... + p_j, else the last map.
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

from fdsl_gpu.cpu_kernels.philox import philox4x32

MIN_MAPS, MAX_MAPS = 2, 7
STEPS = 9_999
LIMIT = 2.0**20
MIN_VARIANCE = 0.05

# Choices are made, and escapes noticed, in chunks; NaN later in a chunk leaves the extremes seen before it in place.
_CHUNK = 512
_CAPACITY = -(-STEPS // _CHUNK) * _CHUNK
# Partial results kept side by side so that loops vectorise; a multiple of 3, so that a lane belongs to one axis.
_LANES = 48
# Weight rows, padded to whole vectors.
_ROWS = 152
_COLUMNS = 12
_AT = tuple(np.uint64(column * _ROWS) for column in range(_COLUMNS))
_MAP_SIZE = np.uint64(_COLUMNS * _ROWS)

_LOW = np.uint64(0xFFFFFFFF)
_FOUR = np.uint64(4)


@njit(nogil=True, cache=True)
def _draw_maps(k0, k1, stream, category, attempt, words, maps):
    """Draw a candidate: fill ``maps`` float64 [7, 12], return the number of maps. ``words`` uint64 [88] is scratch."""
    c3 = np.uint64(category) | np.uint64(stream) << np.uint64(24)
    for block in range(words.size // 4):
        w0, w1, w2, w3 = philox4x32(np.uint64(block), np.uint64(0), np.uint64(attempt), c3, k0, k1)
        words[4 * block], words[4 * block + 1], words[4 * block + 2], words[4 * block + 3] = w0, w1, w2, w3
    num_maps = MIN_MAPS + np.int64((words[0] * np.uint64(MAX_MAPS - MIN_MAPS + 1)) >> np.uint64(32))
    for j in range(num_maps):
        for column in range(_COLUMNS):
            step = np.int64(words[1 + _COLUMNS * j + column] >> np.uint64(8))
            maps[j, column] = 2.0 * step * 2.0**-24 - 1.0 + 2.0**-24
    return num_maps


@njit(nogil=True, cache=True, error_model="numpy")
def _set_thresholds(maps, num_maps, volumes, thresholds):
    """Fill ``thresholds`` uint32 [6] so that word w chooses map #{j: w > thresholds[j]}; False if no map has volume."""
    total = 0.0
    for j in range(num_maps):
        a, b, c, d, e, f, g, h, i = maps[j, :9]
        volumes[j] = abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))
        total += volumes[j]
    if not total > 0.0:
        return False
    # w 2^-32 > c and w > floor(c 2^32) are the same: scaling by a power of two is exact and w is an integer.
    thresholds[:] = np.uint32(_LOW)
    cumulative = 0.0
    for j in range(num_maps - 1):
        cumulative += volumes[j] / total
        thresholds[j] = np.uint32(min(np.floor(cumulative * 2.0**32), 2.0**32 - 1.0))
    return True


@njit(nogil=True, cache=True)
def _choose(k0, k1, stream, category, attempt, thresholds, first, words, choices):
    """Fill ``choices`` uint8 [first : first + 512] of a candidate's chain. ``words`` uint32 [512] is scratch."""
    c2 = np.uint64(attempt)
    c3 = np.uint64(category) | np.uint64(stream) << np.uint64(24)
    first_block = np.uint64(first // 4)
    for block in range(np.uint64(_CHUNK // 4)):
        w0, w1, w2, w3 = philox4x32(first_block + block, np.uint64(0), c2, c3, k0 & _LOW, k1 & _LOW)
        start = _FOUR * block
        words[start] = np.uint32(w0)
        words[start + np.uint64(1)] = np.uint32(w1)
        words[start + np.uint64(2)] = np.uint32(w2)
        words[start + np.uint64(3)] = np.uint32(w3)
    t0, t1, t2, t3, t4, t5 = thresholds[0], thresholds[1], thresholds[2], thresholds[3], thresholds[4], thresholds[5]
    chunk = choices[first : first + _CHUNK]
    for s in range(np.uint64(_CHUNK)):
        w = words[s]
        chunk[s] = (
            np.uint8(w > t0)
            + np.uint8(w > t1)
            + np.uint8(w > t2)
            + np.uint8(w > t3)
            + np.uint8(w > t4)
            + np.uint8(w > t5)
        )


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
def _widen(values, low, high):
    """Take ``values`` float64 [n] into the running minima and maxima, each [48]."""
    size = np.uint64(values.size)
    lanes = np.uint64(_LANES)
    whole = size - size % lanes
    for start in range(np.uint64(0), whole, lanes):
        for lane in range(lanes):
            value = values[start + lane]
            low[lane] = value if value < low[lane] else low[lane]
            high[lane] = value if value > high[lane] else high[lane]
    for lane in range(size - whole):
        value = values[whole + lane]
        low[lane] = value if value < low[lane] else low[lane]
        high[lane] = value if value > high[lane] else high[lane]


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
    lanes = np.uint64(_LANES)
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
    for first in range(0, STEPS, _CHUNK):
        last = min(first + _CHUNK, STEPS)
        _choose(k0, k1, stream, category, attempt, thresholds, first, words, choices)
        x, y, z = _walk(maps, choices[first:last], x, y, z, points[first:last])
        _widen(points[first:last].reshape(-1), low, high)
        if low.min() < -LIMIT or high.max() > LIMIT:
            return False
    smallest, largest = low.min(), high.max()
    if _hopeless(points.reshape(-1), smallest, largest, lanes[2], lanes[3]):
        return False
    return _spread_out(points, smallest, largest)


@njit(nogil=True, cache=True)
def _step_rows(m, state):
    """One step of every weight row, with its own weighting ``m`` of one map; see :func:`_mark_drawable`."""
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
def _mark_drawable(maps, num_maps, weights, choices, weighted, state, drawable):
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
    thresholds = np.empty(MAX_MAPS - 1, np.uint32)
    words = np.empty(_CHUNK, np.uint32)
    choices = np.empty(_CAPACITY, np.uint8)
    points = np.empty((STEPS, 3))
    lanes = np.empty((4, _LANES))
    weighted = np.empty(MAX_MAPS * _COLUMNS * _ROWS)
    state = np.empty(4 * _ROWS)
    for index in range(counts.size):
        category = first_class + index
        attempt = 0
        while True:
            num_maps = _draw_maps(k0, k1, class_stream, category, attempt, parameter_words, candidate)
            if _set_thresholds(candidate, num_maps, volumes, thresholds) and _accepted(
                k0, k1, chain_stream, category, attempt, candidate, thresholds, words, choices, points, lanes
            ):
                break
            attempt += 1
        for j in range(num_maps):
            for column in range(_COLUMNS):
                maps[index, j, column] = np.float32(candidate[j, column])
        counts[index] = num_maps
        attempts[index] = attempt
        _mark_drawable(maps[index], num_maps, weights, choices, weighted, state, drawable[index])
