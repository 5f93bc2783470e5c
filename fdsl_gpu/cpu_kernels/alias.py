"""Walker alias tables from weights, row by row: see ``fdsl_gpu.alias`` for what the entries mean.

In numba because formulas that change probabilities with the instance make a table for every image of every batch.
Output: int32 [R, 8], entries ``threshold << 8 | alias``.
"""

import numpy as np
from numba import njit

MAX_MAPS = 8
HALVES = 1 << 16


@njit(nogil=True, cache=True, error_model="numpy")
def fill_tables(weights, num_maps, out):
    """Fill ``out`` int32 [R, 8] from weights float64 [R, 8], zero from ``num_maps`` int64 [R] on."""
    counts, remainders = np.empty(MAX_MAPS, np.int64), np.empty(MAX_MAPS)
    for row in range(out.shape[0]):
        _round(weights[row], counts, remainders)
        _fill(counts, num_maps[row], out[row])


@njit(nogil=True, cache=True, error_model="numpy")
def _round(weights, counts, remainders):
    """Weights to integers that sum to 65,536, by largest remainders; the earlier map wins a tie."""
    total = 0.0
    for j in range(MAX_MAPS):
        total += weights[j]
    missing = HALVES
    for j in range(MAX_MAPS):
        share = weights[j] / total * HALVES
        counts[j] = np.int64(np.floor(share))
        remainders[j] = share - counts[j]
        missing -= counts[j]
    for _ in range(missing):
        best = np.argmax(remainders)
        counts[best] += 1
        remainders[best] = -1.0


@njit(nogil=True, cache=True)
def _fill(counts, n, out):
    """Fill the emptiest column from the fullest map, at most seven times."""
    out[:] = 0
    # Half words of column j are first_j .. first_(j+1) - 1.
    surplus = counts.copy()
    kept = np.zeros(MAX_MAPS, np.int64)
    alias = np.arange(MAX_MAPS)
    for j in range(n):
        kept[j] = (HALVES * (j + 1) + n - 1) // n - (HALVES * j + n - 1) // n
        surplus[j] -= kept[j]
    for _ in range(MAX_MAPS - 1):
        small, large = np.argmin(surplus), np.argmax(surplus)
        lacking = surplus[small]
        if lacking == 0:
            break
        kept[small] += lacking
        alias[small] = large
        surplus[small] = 0
        surplus[large] += lacking
    for j in range(n):
        first = (HALVES * j + n - 1) // n
        threshold = first * n - j * HALVES + n * kept[j]
        if alias[j] == j:
            threshold = HALVES
        out[j] = threshold << 8 | alias[j]
