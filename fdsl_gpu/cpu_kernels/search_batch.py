"""Candidates of a category search by the batch, for a search on a GPU: drawn before it, confirmed after it.

The laws are those of ``candidates.py``, ``search.py`` and ``search_2d.py``.
"""

import numpy as np
from numba import njit

from fdsl_gpu.cpu_kernels import search, search_2d
from fdsl_gpu.cpu_kernels.candidates import CHUNK, LANES, MAX_MAPS, draw_maps, set_thresholds

_set_volumes, mark_drawable = search._set_volumes, search.mark_drawable
_accepted_3d, _accepted_2d = search._accepted, search_2d._accepted


@njit(nogil=True, cache=True)
def _draw(k0, k1, stream, category, attempt, words, volumes, maps, thresholds):
    """Maps and thresholds of a candidate; its number of maps, or 0 if none of them has volume."""
    num_maps = draw_maps(k0, k1, stream, category, attempt, words, maps)
    if maps.shape[1] == 6:
        for j in range(num_maps):
            volumes[j] = abs(maps[j, 0] * maps[j, 3] - maps[j, 1] * maps[j, 2])
    else:
        _set_volumes(maps, num_maps, volumes)
    return num_maps if set_thresholds(volumes, num_maps, thresholds) else 0


@njit(nogil=True, cache=True)
def draw_candidates(k0, k1, class_stream, categories, attempts, maps, thresholds, counts):
    """Draw N candidates.

    Args:
        k0: first word of the key, uint64.
        k1: second word of the key, uint64.
        class_stream: number of the random stream of parameters.
        categories: int32 [N], class numbers below 2**24.
        attempts: int32 [N].
        maps: float32 [7, K, N], out, K 6 or 12 parameters a map; maps that a candidate has not are left alone.
        thresholds: uint32 [6, N], out.
        counts: int64 [N], out: number of maps; 0 for a candidate that the law rejects since no map has volume.
    """
    columns = maps.shape[1]
    candidate, volumes = np.zeros((MAX_MAPS, columns)), np.empty(MAX_MAPS)
    words, bounds = np.empty(4 * -(-(1 + MAX_MAPS * columns) // 4), np.uint64), np.zeros(MAX_MAPS, np.uint32)
    for index in range(counts.size):
        counts[index] = _draw(
            k0, k1, class_stream, categories[index], attempts[index], words, volumes, candidate, bounds
        )
        for j in range(counts[index]):
            for column in range(columns):
                maps[j, column, index] = np.float32(candidate[j, column])
        for j in range(MAX_MAPS - 1):
            thresholds[j, index] = bounds[j]


@njit(nogil=True, cache=True)
def confirm_3d(k0, k1, class_stream, chain_stream, first_class, attempts, weights, maps, counts, drawable):
    """As ``search.find_classes``, but ``attempts`` int32 [C] is given.

    Returns:
        Number of classes confirmed, from the first: less than C if the law rejects an attempt, and then the rest of the
        output is not written.
    """
    candidate, volumes = np.zeros((MAX_MAPS, maps.shape[2])), np.empty(MAX_MAPS)
    parameter_words, thresholds = np.empty(88, np.uint64), np.empty(MAX_MAPS, np.uint32)
    words, choices = np.empty(CHUNK, np.uint32), np.empty(search._CAPACITY, np.uint8)
    points, lanes = np.empty((search.STEPS, 3)), np.empty((4, LANES))
    weighted, state = np.empty(MAX_MAPS * 12 * search._ROWS), np.empty(4 * search._ROWS)
    for index in range(counts.size):
        category, attempt = first_class + index, np.int64(attempts[index])
        num_maps = _draw(k0, k1, class_stream, category, attempt, parameter_words, volumes, candidate, thresholds)
        if num_maps == 0 or not _accepted_3d(
            k0, k1, chain_stream, category, attempt, candidate, thresholds, words, choices, points, lanes
        ):
            return index
        maps[index, :num_maps] = candidate[:num_maps].astype(np.float32)
        counts[index] = num_maps
        mark_drawable(maps[index], num_maps, weights, choices, weighted, state, drawable[index])
    return counts.size


@njit(nogil=True, cache=True)
def confirm_2d(k0, k1, class_stream, chain_stream, first_class, attempts, maps, counts):
    """As ``search_2d.find_classes_2d``, but ``attempts`` int32 [C] is given; returns what :func:`confirm_3d` does."""
    candidate, volumes = np.zeros((MAX_MAPS, maps.shape[2])), np.empty(MAX_MAPS)
    parameter_words, thresholds = np.empty(44, np.uint64), np.empty(MAX_MAPS, np.uint32)
    words, choices = np.empty(CHUNK, np.uint32), np.empty(CHUNK, np.uint8)
    points, lanes = np.empty((2, search_2d._CAPACITY)), np.empty((4, LANES))
    seen, cells = np.empty(search_2d.CANVAS**2 // 64, np.uint64), np.empty(search_2d._BLOCK, np.uint32)
    for index in range(counts.size):
        category, attempt = first_class + index, np.int64(attempts[index])
        num_maps = _draw(k0, k1, class_stream, category, attempt, parameter_words, volumes, candidate, thresholds)
        if num_maps == 0 or not _accepted_2d(
            k0, k1, chain_stream, category, attempt, candidate, thresholds, words, choices, points, lanes, seen, cells
        ):
            return index
        maps[index, :num_maps] = candidate[:num_maps].astype(np.float32)
        counts[index] = num_maps
    return counts.size
