"""Candidates of a category search: parameters, thresholds and random choices, for ``search`` and ``search_2d``.

Candidate (c, t) is attempt t at class c. All of it is drawn from Philox with id = c << 32 | t, lane 0.

* Stream of parameters: word 0 gives the number of maps n in 2 .. 7 (multiply and shift); then follow as many words a
  map as it has parameters, each a parameter 2 (w >> 8) 2^-24 - 1 + 2^-24: an odd multiple of 2^-24 in (-1, 1), exact in
  float32.
* Stream of choices: word s chooses the map of step s: the first j with w 2^-32 <= p_0 + ... + p_j, else the last map.
"""

import numpy as np
from numba import njit

from fdsl_gpu.cpu_kernels.philox import philox4x32

MIN_MAPS, MAX_MAPS = 2, 7
CHUNK = 512
"""Choices are made in chunks of this many."""

LANES = 48
"""Partial results kept side by side so that loops vectorise; a multiple of 3, so that a lane belongs to one axis."""

_LOW = np.uint64(0xFFFFFFFF)
_FOUR = np.uint64(4)


@njit(nogil=True, cache=True)
def draw_maps(k0, k1, stream, category, attempt, words, maps):
    """Fill ``maps`` float64 [7, K], return the number of maps; ``words`` uint64 [4 i], at least 1 + 7 K, is scratch."""
    c3 = np.uint64(category) | np.uint64(stream) << np.uint64(24)
    for block in range(words.size // 4):
        w0, w1, w2, w3 = philox4x32(np.uint64(block), np.uint64(0), np.uint64(attempt), c3, k0, k1)
        words[4 * block], words[4 * block + 1], words[4 * block + 2], words[4 * block + 3] = w0, w1, w2, w3
    num_maps = MIN_MAPS + np.int64((words[0] * np.uint64(MAX_MAPS - MIN_MAPS + 1)) >> np.uint64(32))
    columns = maps.shape[1]
    for j in range(num_maps):
        for column in range(columns):
            step = np.int64(words[1 + columns * j + column] >> np.uint64(8))
            maps[j, column] = 2.0 * step * 2.0**-24 - 1.0 + 2.0**-24
    return num_maps


@njit(nogil=True, cache=True, error_model="numpy")
def set_thresholds(volumes, num_maps, thresholds):
    """Fill ``thresholds`` uint32 [6 or more] so that word w chooses map #{j: w > thresholds[j]}, with p ~ ``volumes``.

    False if no map has volume.
    """
    total = 0.0
    for j in range(num_maps):
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
def draw_words(k0, k1, stream, category, attempt, first, words):
    """Fill ``words`` uint32 [512] with those of steps ``first``, a multiple of 4, and on."""
    c2 = np.uint64(attempt)
    c3 = np.uint64(category) | np.uint64(stream) << np.uint64(24)
    first_block = np.uint64(first // 4)
    for block in range(np.uint64(CHUNK // 4)):
        w0, w1, w2, w3 = philox4x32(first_block + block, np.uint64(0), c2, c3, k0 & _LOW, k1 & _LOW)
        start = _FOUR * block
        words[start] = np.uint32(w0)
        words[start + np.uint64(1)] = np.uint32(w1)
        words[start + np.uint64(2)] = np.uint32(w2)
        words[start + np.uint64(3)] = np.uint32(w3)


@njit(nogil=True, cache=True)
def select(words, thresholds, choices):
    """Fill ``choices`` uint8 [n] from ``words`` uint32 [n] and ``thresholds`` uint32 [7]."""
    t0, t1, t2, t3, t4, t5, t6 = (
        thresholds[0],
        thresholds[1],
        thresholds[2],
        thresholds[3],
        thresholds[4],
        thresholds[5],
        thresholds[6],
    )
    for s in range(np.uint64(choices.size)):
        w = words[s]
        choices[s] = (
            np.uint8(w > t0)
            + np.uint8(w > t1)
            + np.uint8(w > t2)
            + np.uint8(w > t3)
            + np.uint8(w > t4)
            + np.uint8(w > t5)
            + np.uint8(w > t6)
        )


@njit(nogil=True, cache=True)
def widen(values, low, high):
    """Take ``values`` float64 [n] into the running minima and maxima, each [48]."""
    size = np.uint64(values.size)
    lanes = np.uint64(LANES)
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
