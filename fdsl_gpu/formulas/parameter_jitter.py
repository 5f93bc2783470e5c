"""How the parameters of a contractive system vary with the instance: the jitters of Anderson and Farrell.

Each makes up to four tries from the class's own parameters, until no singular value exceeds 1; if all fail, the class
stays as it is. Singular values are known from the factors of the class, so only "fractaldb", which changes single
parameters, works them out. One random choice of a map, or of a factor, is one random word; a try takes the next words.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu import philox
from fdsl_gpu.formulas.contractive_systems import Systems, largest_singular_values, linear_parts
from fdsl_gpu.records import MAX_MAPS

Float64 = NDArray[np.float64]
Jitter: TypeAlias = Literal["basic", "svd", "sval", "fractaldb"]

TRIES = 4
_HALF_RADIAN = 0.07957747154594767  # 1 / (4 pi) turns


def jittered(
    maps: Float64, of: Systems, labels: NDArray[np.int64], words: philox.Uint64, kind: Jitter | None, strength: int
) -> Float64:
    """Jitter systems, each with its own random words.

    Args:
        maps: float64 [C, 8, 6], ``of.maps()``; not changed.
        of: the same systems in factors.
        labels: int64 [B], the system of each row.
        words: random words [B, 12], or [B, 36] for "fractaldb".
        kind: the jitter; None for the systems as they are.
        strength: k of "fractaldb".

    Returns:
        float64 [B, 8, 6].
    """
    maps = maps.take(labels, axis=0)
    if kind == "svd":
        _turn_or_move(maps, of, labels, words)
    elif kind == "fractaldb":
        _scale_parameters(maps, words.reshape(-1, TRIES, 1 + MAX_MAPS), strength)
    elif kind is not None:
        from fdsl_gpu.cpu_kernels.parameter_jitter import scale_map

        scale_map(words.T, labels, of.num_maps, of.singular, TRIES, kind == "sval", maps)
    return maps


def _turn_or_move(maps: Float64, of: Systems, labels: NDArray[np.int64], words: philox.Uint64) -> None:
    """Turn U or V of one map by up to half a radian, or move the map; singular values stay, so the first try counts."""
    each = np.arange(len(maps))
    map_index, part = np.divmod(philox.integers(words[:, 0], 0, 3 * of.num_maps[labels] - 1), 3)
    turns = of.turns[labels, map_index]
    angle = philox.uniforms(words[:, 1], -_HALF_RADIAN, _HALF_RADIAN)
    turned = part < 2
    turns[each[turned], part[turned]] += angle[turned]
    turned_maps = linear_parts(of.singular[labels, map_index], turns, of.signs[labels, map_index])
    maps[each[turned], map_index[turned], :4] = turned_maps[turned]
    moved = ~turned
    maps[each[moved], map_index[moved], 4:] += philox.uniforms(words[moved, 1:3], -0.5, 0.5)


def _scale_parameters(maps: Float64, words: philox.Uint64, strength: int) -> None:
    """Scale one random parameter of every map by a common factor, out of five."""
    factor = 1 + (philox.integers(words[..., 0], 0, 4) - 2) * (strength / 10)
    column = philox.integers(words[..., 1:], 0, 5)
    tries = np.repeat(maps[:, None], TRIES, axis=1)
    # The rows of maps that a system does not have are zero, and stay so.
    tries *= np.where(np.arange(6) == column[..., None], factor[..., None, None], 1.0)
    chosen = _first(np.all(largest_singular_values(tries) <= 1.0, axis=-1))
    each = np.flatnonzero(chosen < TRIES)
    maps[each] = tries[each, chosen[each]]


def _first(valid: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The first True of each row of [B, TRIES], or TRIES if there is none."""
    return np.where(valid.any(axis=1), np.argmax(valid, axis=1), TRIES)
