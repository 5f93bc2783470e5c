"""Which weight rows of classes in the plane can be drawn, and the boxes of their points.

The published law normalises a picture by the extremes of its points, and all pictures of a (class, row) share one
chain; so boxes are measured once, not in every training step. They depend on the weight step and the number of points.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.class_tables.class_records import class_records
from fdsl_gpu.class_tables.table import IFSTable, Weighting
from fdsl_gpu.formulas.ifs_weights import fractaldb_weights
from fdsl_gpu.tables import chain_halves

NATIVE: Weighting = (0.4, 200_000)
"""Weight step and points of the released FractalDB-1k, which the shipped table was measured with."""


def measure_rows(table: IFSTable, weighting: Weighting) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Try all weight rows of all classes of a table in the plane: about 20 ms of one core a class at 200,000 points.

    Returns:
        drawable bool [C, 25] and boxes float32 [C, 25, 4], as :class:`IFSTable` says.
    """
    from fdsl_gpu.cpu_kernels.ifs_2d import measure_2d
    from fdsl_gpu.cpu_kernels.search_2d import ROW_LIMIT, mark_drawable_2d

    step, points = weighting
    weights = fractaldb_weights(step)
    records = np.repeat(class_records(table)[:, None], len(weights), axis=1)
    records["maps"] *= weights[:, None, :]
    halves = chain_halves(points)
    drawable, boxes = np.empty(records.shape, np.bool_), np.zeros((*records.shape, 4), np.float32)
    mark_drawable_2d(records, halves, points, drawable)
    measured = np.empty((int(drawable.sum()), 4), np.float32)
    measure_2d(records[drawable], halves, points, measured)
    boxes[drawable] = measured
    drawable &= (np.abs(boxes) <= ROW_LIMIT).all(axis=-1)
    boxes[~drawable] = 0
    return drawable, boxes


def measured(table: IFSTable, weighting: Weighting) -> IFSTable:
    """The same classes with their rows measured.

    Raises:
        ValueError: a class runs away under every row.
    """
    drawable, boxes = measure_rows(table, weighting)
    return IFSTable(table.first, table.maps, table.attempts, drawable, table.formula, boxes, weighting)
