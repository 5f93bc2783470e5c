"""Walker alias tables from weights, row by row: see ``fdsl_gpu.alias`` for what the entries mean.

In numba because formulas that change probabilities with the instance make a table for every image of every batch.
Output: int32 [R, 8], entries ``threshold << 8 | alias``.
"""

import numpy as np

from fdsl_gpu.cpu_kernels.jit import inner, kernel

MAX_MAPS = 8
HALVES = 1 << 16
# Of n maps (row), the first half word that falls into column j; a division would take longer than all the rest.
_FIRST = np.array([[(HALVES * j + n - 1) // n for j in range(MAX_MAPS + 1)] for n in range(1, MAX_MAPS + 1)])


def fill_tables(weights, num_maps, out, place=0):
    """Fill ``out`` int32 [R, n], from column ``place`` on, with tables of eight entries.

    Weights are float64 [R, 8], zero from ``num_maps`` int64 [R] on.
    """
    _fill_tables(weights, num_maps, np.empty(MAX_MAPS), np.empty(MAX_MAPS), out, place)


@inner
def _largest(values, n):
    """The place of the largest of the first n, the first of equals."""
    best = 0
    for j in range(1, n):
        best = j if values[j] > values[best] else best
    return best


@kernel
def _fill_tables(weights, num_maps, surplus, remainders, out, place):
    """All numbers but the weights and shares are whole, and exact as float64; the last two arrays are scratch."""
    for row in range(weights.shape[0]):
        n = num_maps[row]
        total = 0.0
        for j in range(n):
            total += weights[row, j]
        # Weights to integers that sum to 65,536, by largest remainders; the earlier map wins a tie.
        missing = HALVES
        for j in range(n):
            share = weights[row, j] / total * HALVES
            count = np.floor(share)
            remainders[j] = share - count
            missing -= np.int64(count)
            # Half words of column j are first_j .. first_(j+1) - 1.
            surplus[j] = count - (_FIRST[n - 1, j + 1] - _FIRST[n - 1, j])
        for _ in range(missing):
            best = _largest(remainders, n)
            surplus[best] += 1
            remainders[best] = -1.0
        for j in range(MAX_MAPS):
            out[row, place + j] = HALVES << 8 | j if j < n else 0
        # Fill the emptiest column from the fullest map, at most seven times.
        for _ in range(n - 1):
            small = 0
            for j in range(1, n):
                small = j if surplus[j] < surplus[small] else small
            if surplus[small] == 0:
                break
            large = _largest(surplus, n)
            kept = _FIRST[n - 1, small + 1] + np.int64(surplus[small])
            out[row, place + small] = (n * kept - small * HALVES) << 8 | large
            surplus[large] += surplus[small]
            surplus[small] = 0
