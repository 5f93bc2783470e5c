"""The 145 weight rows that make the instances of a 3-D iterated function system.

A row multiplies the twelve parameters of every map of a class: one parameter by 0.4, 0.5, ... or 1.6, the others by 1.
Rows of column a come first, 0.4 .. 1.6 with the identity in its place (row 6), then twelve rows for each of b .. l.
Result: float32 [145, 12], columns in the order a .. l of ``fdsl_gpu.records.POINTS_3D``.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

NUM_WEIGHTS = 145
IDENTITY_ROW = 6

_FACTORS = [tenths / 10 for tenths in range(4, 17)]
_REPEATED_ROW, _REPEATED_COLUMN, _REPEATED_FACTOR = 108, 8, 0.6


@lru_cache(maxsize=1)
def weights_table() -> NDArray[np.float32]:
    """The weight rows as released (``weights_ins145.csv``), read-only.

    Kept as released: row 108, the last of column i, holds 0.6 where 1.6 was meant, so it repeats row 99 and 144 rows
    are distinct.

    Returns:
        [145, 12] float32.
    """
    cells = [(column, factor) for column in range(12) for factor in _FACTORS if column == 0 or factor != 1.0]
    weights = np.ones((NUM_WEIGHTS, 12), np.float32)
    for row, (column, factor) in enumerate(cells):
        weights[row, column] = factor
    weights[_REPEATED_ROW, _REPEATED_COLUMN] = _REPEATED_FACTOR
    weights.flags.writeable = False
    return weights
