"""From a class table to kernel records: number of maps, selection table and unweighted maps of each class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.alias import alias_table
from fdsl_gpu.class_tables.table import PLANE, IFSTable, volumes
from fdsl_gpu.records import POINTS_2D, POINTS_3D, as_words, word


def class_records(table: IFSTable) -> np.ndarray:
    """Records [C] of ``POINTS_3D`` in space or ``POINTS_2D`` in the plane; all other fields are zero."""
    records = np.zeros(len(table), POINTS_2D if table.columns == PLANE else POINTS_3D)
    counts = table.num_maps
    records["num_maps"] = counts
    classes = np.repeat(np.arange(len(table)), counts)
    records["maps"][classes, np.arange(len(table.maps)) - table.first[classes]] = table.maps
    records["select"] = alias_table(probabilities(records["maps"]), counts)
    return records


def weighted_records(
    classes: np.ndarray, labels: NDArray[np.int64], weights: NDArray[np.float32], rows: NDArray[np.int64]
) -> np.ndarray:
    """Records [B] of labels int64 [B] from :func:`class_records`, their maps multiplied by rows int64 [B] of weights.

    Weights are float32 [R, N], of all parameters of a record's maps.
    """
    from fdsl_gpu.cpu_kernels.weighted_maps import fill_weighted

    records = np.empty(labels.size, classes.dtype)
    of_classes, out, first = as_words(classes), as_words(records), word(classes.dtype, "maps")
    fill_weighted(of_classes, of_classes.view(np.float32), weights, labels, rows, first, out, out.view(np.float32))
    return records


def probabilities(maps: NDArray[np.float32]) -> NDArray[np.float64]:
    """Selection probabilities |det| / sum |det|, float64 [B, n], of maps float32 [B, n, 12 or 6]; padding has none."""
    sizes = volumes(maps)
    return sizes / np.add.accumulate(sizes, axis=-1)[..., -1:]


def next_drawable(drawable: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each class and row [C, R], that row if drawable, else the next drawable one, around the end."""
    rows = drawable.shape[1]
    twice = np.concatenate([drawable, drawable], axis=1)
    number = np.where(twice, np.arange(2 * rows), 2 * rows)
    return np.minimum.accumulate(number[:, ::-1], axis=1)[:, ::-1][:, :rows] % rows
