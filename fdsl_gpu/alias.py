"""Walker alias tables in integers: how the maps of an iterated function system are selected.

A selection spends 16 random bits (Walker, "An efficient method for generating discrete random variables with general
distributions", ACM TOMS 1977). Half word h of [0, 65536) falls, for n maps, into column ``h * n >> 16``; the column
selects its own map if ``(h * n) & 65535 < threshold`` and its alias otherwise. Here the table is made in integers: each
probability is first rounded to a multiple of 2**-16 (largest remainders, so that they still sum to 1), and then every
map is selected by exactly that many of the 65,536 half words, for any n.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fdsl_gpu.records import MAX_MAPS

_HALVES = 1 << 16


def alias_table(probabilities: ArrayLike, num_maps: ArrayLike | None = None) -> NDArray[np.int32]:
    """Alias tables of one system or of many.

    Args:
        probabilities: float64 [..., n], n at most 8: not negative, finite, positive sum (need not be 1) along the last
            axis. A row of fewer maps is padded with zeros at its end.
        num_maps: maps of each row, integers that broadcast to [...], which must be the ``num_maps`` of its record;
            None takes trailing zeros for padding, so pass it where a last map may have probability zero.

    Returns:
        int32 [..., 8], entries ``threshold << 8 | alias`` with thresholds 0 .. 65536; columns from n on are 0.

    Raises:
        ValueError: shape or values are not as above.
    """
    rows = np.asarray(probabilities, np.float64)
    if rows.ndim == 0 or not 1 <= rows.shape[-1] <= MAX_MAPS:
        raise ValueError(f"probabilities: received shape {rows.shape}; allowed: [..., n] with n in [1, {MAX_MAPS}].")
    shape = rows.shape[:-1]
    rows = np.pad(rows.reshape(-1, rows.shape[-1]), [(0, 0), (0, MAX_MAPS - rows.shape[-1])])
    if not (np.isfinite(rows).all() and (rows >= 0).all() and (rows > 0).any(axis=1).all()):
        raise ValueError(
            "probabilities: received negative, infinite or NaN values, or a row without a positive one; "
            "allowed: finite values >= 0, at least one positive in each row. Drop systems without a usable map."
        )
    used = MAX_MAPS - np.argmax(rows[:, ::-1] > 0, axis=1)
    if num_maps is not None:
        count = np.broadcast_to(np.asarray(num_maps, np.int64), shape).reshape(-1)
        if ((count < used) | (count > MAX_MAPS)).any():
            raise ValueError(
                f"num_maps: received values that leave out a map of positive probability, or exceed {MAX_MAPS}; "
                "allowed: at least the last map in use. Pass the number of maps of each row."
            )
        used = count.copy()
    from fdsl_gpu.cpu_kernels.alias import fill_tables

    tables = np.empty((len(rows), MAX_MAPS), np.int32)
    fill_tables(rows, used, tables)
    return tables.reshape(*shape, MAX_MAPS)


def selection_probabilities(select: ArrayLike) -> NDArray[np.float64]:
    """The probabilities that an alias table selects with: exact multiples of 2**-16.

    Args:
        select: the first n entries of a table, int32 [n].

    Returns:
        float64 [n], summing to 1.
    """
    table = np.asarray(select, np.int64)
    position = np.arange(_HALVES) * len(table)
    column = position >> 16
    chosen = np.where((position & 0xFFFF) < table[column] >> 8, column, table[column] & 255)
    return np.bincount(chosen, minlength=len(table)) / _HALVES
