"""Records of iterated function systems from those of their classes, whose maps are multiplied by weight rows.

In numba because this stands in every training step.
"""

from fdsl_gpu.cpu_kernels.jit import kernel


@kernel
def fill_weighted(classes, maps, weights, labels, rows, first, out, out_maps):
    """Fill records for labels and weight rows, int64 [B] each.

    Args:
        classes: int32 [C, W].
        maps: the same memory as float32.
        weights: float32 [R, N], a factor for each parameter of all maps.
        labels: classes of the records.
        rows: of the weights.
        first: word at which the maps begin.
        out: int32 [B, W].
        out_maps: the same memory as float32.
    """
    last = first + weights.shape[1]
    for i in range(labels.size):
        record, of_class = out[i], classes[labels[i]]
        for word in range(record.size):
            record[word] = of_class[word]
        weighted, unweighted, factors = out_maps[i, first:last], maps[labels[i], first:last], weights[rows[i]]
        for k in range(factors.size):
            weighted[k] = unweighted[k] * factors[k]
