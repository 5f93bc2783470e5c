"""Contractive iterated function systems in the plane, sampled by their singular values.

Anderson and Farrell, "Improving fractal pre-training", WACV 2022, section 3.2: how dense a fractal looks goes with its
sigma-factor alpha, the sum of s1 + 2 s2 over the maps, where s1 >= s2 are the singular values of a linear part. So
alpha is drawn first, then singular values that sum to it, then rotations, reflections and translations around them:

    A = R(u) diag(+-1, +-1) diag(s1, s2) R(v) diag(+-1, +-1)

The factors are kept, so whoever rescales or rotates a map needs no singular value decomposition, which no two linear
algebra libraries round alike. All is float64, with square roots and ``tables.cos_sin`` only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu import philox
from fdsl_gpu.records import MAX_MAPS
from fdsl_gpu.tables import cos_sin

Float64 = NDArray[np.float64]

WORDS = 3 + 6 * MAX_MAPS
"""Random words a system: number of maps, alpha and signs; then s1, s2, two angles and a translation of each map."""


@dataclass(frozen=True, eq=False)
class Systems:
    """Systems in factors; rows of the second axis from a system's number of maps on are zero.

    Attributes:
        num_maps: int64 [B].
        singular: float64 [B, 8, 2], 0 <= s2 <= s1 <= 1.
        turns: float64 [B, 8, 2], angles of R(u) and R(v), 1 for a full circle.
        signs: float64 [B, 8, 4], the reflections: two signs beside R(u), two beside R(v).
        translations: float64 [B, 8, 2].
    """

    num_maps: NDArray[np.int64]
    singular: Float64
    turns: Float64
    signs: Float64
    translations: Float64

    def maps(self) -> Float64:
        """Parameters a .. f of x' = a x + b y + e, y' = c x + d y + f, float64 [B, 8, 6]."""
        return np.concatenate([linear_parts(self.singular, self.turns, self.signs), self.translations], axis=-1)


def sample(words: philox.Uint64, num_maps: tuple[int, int], sigma: tuple[float, float] | None = None) -> Systems:
    """Draw systems.

    Args:
        words: [B, WORDS], the random words of each system.
        num_maps: least and most maps, 2 .. 8; uniform between them.
        sigma: range of alpha, within (0, 3 n); None for (5 + n) / 2 .. (6 + n) / 2, as published.
    """
    count = philox.integers(words[:, 0], *num_maps)
    low, high = sigma or ((5 + count) / 2, (6 + count) / 2)
    each = words[:, 3:].reshape(-1, MAX_MAPS, 6)
    used = (np.arange(MAX_MAPS) < count[:, None])[..., None]
    bits = words[:, 2, None] >> np.arange(4 * MAX_MAPS, dtype=np.uint64) & np.uint64(1)
    return Systems(
        count,
        _singular_values(count, philox.uniforms(words[:, 1], low, high), philox.uniforms(each[..., :2])),
        np.where(used, philox.uniforms(each[..., 2:4]), 0.0),
        np.where(used, 1.0 - 2.0 * bits.astype(np.float64).reshape(-1, MAX_MAPS, 4), 0.0),
        np.where(used, philox.uniforms(each[..., 4:], -1.0, 1.0), 0.0),
    )


def _singular_values(count: NDArray[np.int64], alpha: Float64, uniforms: Float64) -> Float64:
    """Pairs [B, 8, 2] with the sum of s1 + 2 s2 equal to alpha, from uniforms [B, 8, 2], one pair after another.

    p is what is left of alpha, and q what is left once every later pair takes its most, 3.
    """
    out = np.zeros(uniforms.shape)
    p, q = alpha, alpha - 3 * count + 3
    for i in range(int(count.max(initial=0))):
        u1, u2 = uniforms[:, i, 0], uniforms[:, i, 1]
        s1 = _between(u1, np.maximum(0.0, q / 3), np.minimum(1.0, p))
        s2 = _between(u2, np.maximum(0.0, (q - s1) / 2), np.minimum(s1, (p - s1) / 2))
        last = i == count - 1
        last_s2 = _between(u2, np.maximum(0.0, (p - 1) / 2), p / 3)
        s2 = np.where(last, last_s2, s2)
        # Rounding may leave the rest of alpha a little above 1.
        s1 = np.where(last, np.minimum(p - 2 * last_s2, 1.0), s1)
        used = i < count
        out[:, i, 0], out[:, i, 1] = np.where(used, s1, 0.0), np.where(used, s2, 0.0)
        p, q = p - s1 - 2 * s2, q - s1 - 2 * s2 + 3
    return out


def _between(uniform: Float64, low: Float64, high: Float64) -> Float64:
    return low + (high - low) * uniform


def linear_parts(singular: Float64, turns: Float64, signs: Float64) -> Float64:
    """Linear parts a, b, c, d ([..., 4]) of factors [..., 2], [..., 2] and [..., 4]."""
    cosine, sine = cos_sin(turns)
    s1, s2 = singular[..., 0] * signs[..., 0], singular[..., 1] * signs[..., 1]
    # Columns of R(u) diag(signs) diag(s), times rows of R(v) diag(signs).
    x1, y1 = cosine[..., 0] * s1, sine[..., 0] * s1
    x2, y2 = -sine[..., 0] * s2, cosine[..., 0] * s2
    v11, v12 = cosine[..., 1] * signs[..., 2], -sine[..., 1] * signs[..., 3]
    v21, v22 = sine[..., 1] * signs[..., 2], cosine[..., 1] * signs[..., 3]
    rows = (x1 * v11 + x2 * v21, x1 * v12 + x2 * v22, y1 * v11 + y2 * v21, y1 * v12 + y2 * v22)
    return np.stack(rows, axis=-1)


def determinants(maps: Float64) -> Float64:
    """Determinants a d - b c of maps [..., 4 or 6], float64 [...]."""
    return maps[..., 0] * maps[..., 3] - maps[..., 1] * maps[..., 2]


def largest_singular_values(maps: Float64) -> Float64:
    """Of the linear parts of maps [..., 4 or 6], float64 [...]: half the sum of the lengths of two vectors."""
    a, b, c, d = (maps[..., column] for column in range(4))
    plus, minus, cross, back = a + d, a - d, b + c, b - c
    return (np.sqrt(plus * plus + back * back) + np.sqrt(minus * minus + cross * cross)) / 2


def fixed_points(maps: Float64) -> Float64:
    """Points [..., 2] that maps [..., 6] leave where they are.

    Contractions have one; a map with eigenvalue 1 has none, and gets the origin.
    """
    a, b, c, d, e, f = (maps[..., column] for column in range(6))
    determinant = 1.0 + (a * d - b * c) - a - d
    scale = np.divide(1.0, determinant, out=np.zeros_like(determinant), where=determinant != 0)
    return np.stack([scale * ((1.0 - d) * e + b * f), scale * ((1.0 - a) * f + c * e)], axis=-1)
