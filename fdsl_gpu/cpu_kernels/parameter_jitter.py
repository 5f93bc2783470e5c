"""The jitters of Anderson and Farrell that scale one map of a system: see ``fdsl_gpu.formulas.parameter_jitter``.

In numba because the default jitter stands in every training step.
"""

from fdsl_gpu.cpu_kernels.jit import kernel
from fdsl_gpu.cpu_kernels.philox import integer, uniform
from fdsl_gpu.records import MAX_MAPS


@kernel
def scale_map(words, labels, num_maps, singular, tries, keep_sigma, maps):
    """Scale one map of each system, in place, by the first factor that leaves no singular value above 1.

    Args:
        words: uint64 [3 tries, B]: map, factor, and one that is not used, of each try.
        labels: int64 [B], the class of each system.
        num_maps: int64 [C], of the classes.
        singular: float64 [C, 8, 2], of their maps.
        tries: factors to try.
        keep_sigma: scale the linear part alone, such that the sigma-factor stays in its range of (5 + n) / 2 and half
            more; else all of the map by U(0.8, 1.1).
        maps: float64 [B, 8, 6].
    """
    for i in range(labels.size):
        label = labels[i]
        n = num_maps[label]
        total = 0.0
        for j in range(MAX_MAPS if keep_sigma else 0):
            total += singular[label, j, 0] + 2 * singular[label, j, 1]
        for attempt in range(tries):
            chosen = integer(words[3 * attempt, i], 0, n)
            largest = singular[label, chosen, 0]
            low, high, unit = 0.8, 1.1, 1.0
            if keep_sigma:
                own = largest + 2 * singular[label, chosen, 1]
                least = (5 + n) / 2
                low, high = least - total + own, least + 0.5 - total + own
                unit = own if own > 0 else 1.0
            factor = uniform(words[3 * attempt + 1, i], low, high) / unit
            if factor >= 0 and factor * largest <= 1.0:
                for k in range(4 if keep_sigma else 6):
                    maps[i, chosen, k] *= factor
                break
