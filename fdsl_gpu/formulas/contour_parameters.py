"""What the formulas of nested noisy polygons have in common: native canvas, background, and two laws."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu import philox

NATIVE_CANVAS = 512

Background: TypeAlias = Literal["white", "black"]
GREY_OF: dict[Background, int] = {"white": 255, "black": 0}

MIN_VERTICES = 3


def centers(words: philox.Uint64, reach: int) -> NDArray[np.float64]:
    """Coordinates (512 + uniform integer in [-reach, reach]) / 2 on the native canvas, in steps of half a pixel."""
    return (NATIVE_CANVAS + philox.integers(words, -reach, reach)) / 2


def truncated_exponential(words: philox.Uint64, most: int) -> NDArray[np.int64]:
    """Numbers of vertices int(Exp(mean 100)), given that they are in 3 .. most."""
    return MIN_VERTICES + np.searchsorted(_thresholds(most), words, side="right")


@lru_cache(maxsize=16)
def _thresholds(most: int) -> NDArray[np.uint64]:
    """Upper bounds in 32-bit words of 3 .. most - 1; P(V) ~ exp(-V / 100).

    Powers by repeated multiplication of a literal, so that every machine has the same table.
    """
    ratio = 0.9900498337491681  # exp(-1 / 100)
    weights = np.cumprod(np.full(most - MIN_VERTICES + 1, ratio))
    cumulative = np.add.accumulate(weights)
    return np.floor(cumulative[:-1] / cumulative[-1] * 2.0**32).astype(np.uint64)
