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


def fill_tables(weights, num_maps, out):
    """Fill ``out`` int32 [R, 8] from weights float64 [R, 8], zero from ``num_maps`` int64 [R] on."""
    _fill_tables(weights, num_maps, scratch(), out)


def scratch():
    """What :func:`fill_table` works in."""
    counts, kept, alias = np.empty((3, MAX_MAPS), np.int64)
    return counts, np.empty(MAX_MAPS), kept, alias


@kernel(error_model="numpy")
def _fill_tables(weights, num_maps, scratch, out):
    for row in range(out.shape[0]):
        fill_table(weights[row], num_maps[row], scratch, out[row])


@inner(error_model="numpy")
def fill_table(weights, n, scratch, out):
    """One table, from the weights of n maps."""
    counts, remainders, kept, alias = scratch
    _round(weights, n, counts, remainders)
    _fill(counts, n, kept, alias, out)


@inner
def _largest(values, n):
    """The place of the largest of the first n, the first of equals."""
    best = 0
    for j in range(1, n):
        best = j if values[j] > values[best] else best
    return best


@inner
def _smallest(values, n):
    """The place of the smallest of the first n, the first of equals."""
    best = 0
    for j in range(1, n):
        best = j if values[j] < values[best] else best
    return best


@inner(error_model="numpy")
def _round(weights, n, counts, remainders):
    """Weights to integers that sum to 65,536, by largest remainders; the earlier map wins a tie."""
    total = 0.0
    for j in range(n):
        total += weights[j]
    missing = HALVES
    for j in range(n):
        share = weights[j] / total * HALVES
        counts[j] = np.int64(np.floor(share))
        remainders[j] = share - counts[j]
        missing -= counts[j]
    for _ in range(missing):
        best = _largest(remainders, n)
        counts[best] += 1
        remainders[best] = -1.0


@inner
def _fill(surplus, n, kept, alias, out):
    """Fill the emptiest column from the fullest map, at most seven times; all but ``out`` is scratch from here on."""
    for j in range(MAX_MAPS):
        kept[j], alias[j], out[j] = 0, j, 0
    # Half words of column j are first_j .. first_(j+1) - 1.
    for j in range(n):
        kept[j] = _FIRST[n - 1, j + 1] - _FIRST[n - 1, j]
        surplus[j] -= kept[j]
    for _ in range(n - 1):
        small, large = _smallest(surplus, n), _largest(surplus, n)
        lacking = surplus[small]
        if lacking == 0:
            break
        kept[small] += lacking
        alias[small] = large
        surplus[small] = 0
        surplus[large] += lacking
    for j in range(n):
        threshold = _FIRST[n - 1, j] * n - j * HALVES + n * kept[j]
        if alias[j] == j:
            threshold = HALVES
        out[j] = threshold << 8 | alias[j]
