"""The weight rows that make the instances of an iterated function system.

A row multiplies the parameters of every map of a class: one parameter by a factor, the others by 1.

* ExFractalDB, 145 rows: factors 0.4, 0.5 .. 1.6. Rows of column a come first, with the identity in its place (row 6),
  then twelve rows for each of b .. l. float32 [145, 12], columns in the order a .. l of ``POINTS_3D``.
* FractalDB, 25 rows: factors 1 - 2s, 1 - s, 1 + s, 1 + 2s of a step s. Rows of column a come first, with the identity
  in its place (row 2), then four rows for each of b .. f. float32 [25, 6], columns in the order of ``POINTS_2D``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu import checks
from fdsl_gpu.records import MAX_MAPS

NUM_WEIGHTS = {12: 145, 6: 25}
"""Weight rows of maps of 12 and of 6 parameters."""

IDENTITY_ROW = 6
"""Of ExFractalDB's rows."""

FRACTALDB_IDENTITY_ROW = 2

WEIGHT_STEPS = (0.0125, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
"""Steps for which FractalDB's rows were released."""

_REPEATED_ROW, _REPEATED_COLUMN, _REPEATED_FACTOR = 108, 8, 0.6


@lru_cache(maxsize=1)
def weights_table() -> NDArray[np.float32]:
    """ExFractalDB's weight rows as released (``weights_ins145.csv``), read-only.

    Kept as released: row 108, the last of column i, holds 0.6 where 1.6 was meant, so it repeats row 99 and 144 rows
    are distinct.

    Returns:
        [145, 12] float32.
    """
    weights = _one_at_a_time([tenths / 10 for tenths in range(4, 17)], 12)
    weights[_REPEATED_ROW, _REPEATED_COLUMN] = _REPEATED_FACTOR
    weights.flags.writeable = False
    return weights


@lru_cache(maxsize=len(WEIGHT_STEPS))
def fractaldb_weights(step: float) -> NDArray[np.float32]:
    """FractalDB's weight rows as released, read-only.

    Kept as released: the rows of step 0.5 hold 0.01 where 1 - 2s is 0.

    Args:
        step: 0.0125, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4 or 0.5.

    Returns:
        [25, 6] float32.
    """
    checks.choice("weight_step", step, WEIGHT_STEPS)
    factors = [round(1 + multiple * step, 6) for multiple in (-2, -1, 0, 1, 2)]
    weights = _one_at_a_time([factor or 0.01 for factor in factors], 6)
    weights.flags.writeable = False
    return weights


@lru_cache(maxsize=1 + len(WEIGHT_STEPS))
def repeated_weights(step: float | None = None) -> NDArray[np.float32]:
    """The rows of :func:`fractaldb_weights`, or of :func:`weights_table` without a step, once for each map of a record.

    Returns:
        [R, 8 x 12 or 8 x 6] float32.
    """
    weights = np.tile(weights_table() if step is None else fractaldb_weights(step), MAX_MAPS)
    weights.flags.writeable = False
    return weights


def _one_at_a_time(factors: Sequence[float], columns: int) -> NDArray[np.float32]:
    """Each factor for each column, float32 [columns * (len(factors) - 1) + 1, columns]; 1 stands once, in column a."""
    cells = [(column, factor) for column in range(columns) for factor in factors if column == 0 or factor != 1.0]
    weights = np.ones((len(cells), columns), np.float32)
    for row, (column, factor) in enumerate(cells):
        weights[row, column] = factor
    return weights
