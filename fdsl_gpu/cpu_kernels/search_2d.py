"""Category search of 2-D iterated function systems, and which of their weight rows run away: two numba kernels.

The law. Class c is the first accepted of its own candidates (c, 0), (c, 1), ...; what ``candidates.py`` says of
candidate (c, t) is drawn under the key of seed 0, from the streams CLASS and CHAIN.

* Six parameters a map, columns a .. f; probabilities p_j = |a d - b c| / sum |a d - b c|, float64.
* Chain: 100,000 points, of which the origin is the first, in float64: x' = (a x + b y) + e, y' = (c x + d y) + f.
* Rejected if a coordinate exceeds 2^20 in magnitude (the original waits for NaN; see below), or if all determinants are
  zero.
* Each axis is scaled on its own: pixel = trunc((x - low) / (high - low) * 500 + 6). Accepted if at least 20 % of the
  512 x 512 pixels are hit, 52,429.
* Rejected early if the first 2,049, 8,193 or 16,385 points, scaled to their own extremes, hit fewer pixels than
  ``EARLY`` says.

The magnitude limit and the early test are not in the published law; they changed no decision among 100,000 candidates.
Of these 2,336 were accepted without them. None of the accepted left [-64, 64]; candidates beyond 2^20 hit at most 2,906
pixels. The first 2,048, 8,192 and 16,384 points of the accepted hit at least 96.8, 92.2 and 86.3 % as many pixels;
``EARLY`` asks for 93.2, 88.5 and 81.2 %.

A weight row is drawable if one chain of all points of a picture, in float64 with the maps times that row rounded to
float32, never exceeds 2^100, and the box of its points (``ifs_2d.measure_2d``) does not either. Step s of the chain
takes the map that half s of the table of selections selects, read row by row. This stands for the published rule about
NaN, with room for float32: of the rows of the first 1,000 classes, 4.66 % run away, and 4.36 % come to NaN.

Plain IEEE float64 without fusion or reordering, so every machine finds the same classes.
Output for C classes: maps float32 [C, 7, 6], counts int64 [C], attempts int32 [C]; drawable bool [C, R].
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

POINTS = 100_000
LIMIT = 2.0**20
CANVAS, PADDING = 512, 6
MIN_PIXELS = 52_429
EARLY = ((2_049, 1_910), (8_193, 7_250), (16_385, 13_300))
"""(points, least pixels that they hit): hopeless candidates are dropped on their first points."""

ROW_LIMIT = 2.0**100

_COLUMNS = 6
_CAPACITY = POINTS + CHUNK
# Pixels are looked up and counted in blocks, since lookups vectorise and counting does not.
_BLOCK = 1024
# Weight rows, padded to whole vectors.
_ROWS = np.uint64(28)
_AT = tuple(np.uint64(column * 28) for column in range(_COLUMNS))
_MAP_SIZE = np.uint64(_COLUMNS * 28)


@njit(nogil=True, cache=True)
def _walk(maps, choices, x, y, xs, ys):
    """One step for each of ``choices`` from (x, y) into ``xs`` and ``ys``; returns the last point."""
    for s in range(np.uint64(choices.size)):
        j = np.uint64(choices[s])
        x, y = (maps[j, 0] * x + maps[j, 1] * y) + maps[j, 4], (maps[j, 2] * x + maps[j, 3] * y) + maps[j, 5]
        xs[s], ys[s] = x, y
    return x, y


@njit(nogil=True, cache=True, error_model="numpy")
def _fills(xs, ys, extremes, least, seen, cells):
    """Whether points hit at least ``least`` pixels; stops when the rest of them cannot.

    Args:
        xs: float64 [n].
        ys: float64 [n].
        extremes: least x, greatest x, least y, greatest y of the points, or of more.
        least: pixels.
        seen: uint64 [512 * 512 / 64], scratch: a bit for each pixel.
        cells: uint32 [_BLOCK], scratch.
    """
    low_x, high_x, low_y, high_y = extremes
    span_x, span_y, inner, padding = high_x - low_x, high_y - low_y, float(CANVAS - 2 * PADDING), float(PADDING)
    # All points on one line hit at most 512 pixels.
    if not (span_x > 0.0 and span_y > 0.0):
        return False
    seen[:] = 0
    spare = xs.size - least
    for first in range(0, xs.size, _BLOCK):
        size = np.uint64(min(_BLOCK, xs.size - first))
        x, y = xs[first:], ys[first:]
        for i in range(size):
            column = np.int32((x[i] - low_x) / span_x * inner + padding)
            row = np.int32((y[i] - low_y) / span_y * inner + padding)
            cells[i] = np.uint32(row * np.int32(CANVAS) + column)
        repeated = np.uint64(0)
        for i in range(size):
            word, bit = np.uint64(cells[i] >> np.uint32(6)), np.uint64(cells[i] & np.uint32(63))
            old = seen[word]
            repeated += (old >> bit) & np.uint64(1)
            seen[word] = old | np.uint64(1) << bit
        spare -= np.int64(repeated)
        if spare < 0:
            return False
    return True


@njit(nogil=True, cache=True)
def _accepted(k0, k1, stream, category, attempt, maps, thresholds, words, choices, points, lanes, seen, cells):
    """Walk a candidate's chain and judge it; ``points`` float64 [2, _CAPACITY] and ``lanes`` [4, 48] are scratch."""
    lanes[:] = 0.0
    xs, ys = points
    xs[0] = ys[0] = x = y = 0.0
    extremes = (0.0, 0.0, 0.0, 0.0)
    for first in range(1, POINTS, CHUNK):
        last = min(first + CHUNK, POINTS)
        draw_words(k0, k1, stream, category, attempt, first - 1, words)
        select(words, thresholds, choices)
        x, y = _walk(maps, choices[: last - first], x, y, xs[first:last], ys[first:last])
        widen(xs[first:last], lanes[0], lanes[1])
        widen(ys[first:last], lanes[2], lanes[3])
        extremes = (lanes[0].min(), lanes[1].max(), lanes[2].min(), lanes[3].max())
        if min(extremes[0], extremes[2]) < -LIMIT or max(extremes[1], extremes[3]) > LIMIT:
            return False
        for count, least in EARLY:
            if last == count and not _fills(xs[:count], ys[:count], extremes, least, seen, cells):
                return False
    return _fills(xs[:POINTS], ys[:POINTS], extremes, MIN_PIXELS, seen, cells)


@njit(nogil=True, cache=True)
def find_classes_2d(k0, k1, class_stream, chain_stream, first_class, maps, counts, attempts):
    """Find classes ``first_class`` .. ``first_class + C - 1``.

    Args:
        k0: first word of the key, uint64.
        k1: second word of the key, uint64.
        class_stream: number of the random stream of parameters.
        chain_stream: number of the random stream of choices.
        first_class: number of the first class, below 2**24.
        maps: float32 [C, 7, 6], out; rows from a class's number of maps on are left alone.
        counts: int64 [C], out: number of maps.
        attempts: int32 [C], out: number of the accepted candidate, from 0.
    """
    candidate, volumes, thresholds = np.zeros((MAX_MAPS, _COLUMNS)), np.empty(MAX_MAPS), np.empty(MAX_MAPS, np.uint32)
    parameter_words = np.empty(44, np.uint64)
    words, choices = np.empty(CHUNK, np.uint32), np.empty(CHUNK, np.uint8)
    points, lanes = np.empty((2, _CAPACITY)), np.empty((4, LANES))
    seen, cells = np.empty(CANVAS * CANVAS // 64, np.uint64), np.empty(_BLOCK, np.uint32)
    for index in range(counts.size):
        category = first_class + index
        attempt = 0
        while True:
            num_maps = draw_maps(k0, k1, class_stream, category, attempt, parameter_words, candidate)
            for j in range(num_maps):
                volumes[j] = abs(candidate[j, 0] * candidate[j, 3] - candidate[j, 1] * candidate[j, 2])
            if set_thresholds(volumes, num_maps, thresholds) and _accepted(
                k0,
                k1,
                chain_stream,
                category,
                attempt,
                candidate,
                thresholds,
                words,
                choices,
                points,
                lanes,
                seen,
                cells,
            ):
                break
            attempt += 1
        for j in range(num_maps):
            for column in range(_COLUMNS):
                maps[index, j, column] = np.float32(candidate[j, column])
        counts[index] = num_maps
        attempts[index] = attempt


@njit(nogil=True, cache=True)
def _step_rows(m, state):
    """One step of every weight row, with its own weighting ``m`` of one map; state: x, y, largest magnitude so far."""
    for row in range(_ROWS):
        x, y, largest = state[row], state[_AT[1] + row], state[_AT[2] + row]
        next_x = (m[row] * x + m[_AT[1] + row] * y) + m[_AT[4] + row]
        next_y = (m[_AT[2] + row] * x + m[_AT[3] + row] * y) + m[_AT[5] + row]
        state[row], state[_AT[1] + row] = next_x, next_y
        # A row that ran away may reach NaN; comparisons with NaN leave its largest magnitude in place.
        largest = abs(next_x) if abs(next_x) > largest else largest
        largest = abs(next_y) if abs(next_y) > largest else largest
        state[_AT[2] + row] = largest


@njit(nogil=True, cache=True)
def mark_drawable_2d(records, halves, points, drawable):
    """Fill ``drawable`` bool [C, R]: which weight rows keep one chain within the limit.

    Args:
        records: [C, R] of ``POINTS_2D``, R at most 28: a class under each weight row, all with the selection table of
            the first.
        halves: uint16 [steps, lanes], what selects the maps.
        points: points of the chain, at most steps * lanes + 1.
        drawable: out.
    """
    weighted, state = np.zeros(8 * _COLUMNS * 28), np.empty(3 * 28)
    flat = halves.reshape(-1)[: points - 1]
    for label in range(records.shape[0]):
        for row in range(records.shape[1]):
            for j in range(8):
                for column in range(_COLUMNS):
                    weighted[(j * _COLUMNS + column) * 28 + row] = records[label, row].maps[j, column]
        entries, num_maps = records[label, 0].select, np.uint32(records[label, 0].num_maps)
        state[:] = 0.0
        for s in range(flat.size):
            position = np.uint32(flat[s]) * num_maps
            column = position >> np.uint32(16)
            entry = np.uint32(entries[column])
            chosen = column if (position & np.uint32(0xFFFF)) < (entry >> np.uint32(8)) else entry & np.uint32(255)
            _step_rows(weighted[np.uint64(chosen) * _MAP_SIZE :], state)
        for row in range(records.shape[1]):
            drawable[label, row] = state[2 * 28 + row] <= ROW_LIMIT
