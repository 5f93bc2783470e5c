"""Philox4x32-10 in NumPy, the counter layout, and the table of random streams.

Every random choice of the library is ``philox4x32(counter, key)``, a pure function (Salmon et al., "Parallel random
numbers: as easy as 1, 2, 3", SC 2011), so any number can be made anywhere, in any order, on any device.

Counter, four 32-bit words:

    c0  block         which block of four words within the lane
    c1  lane          which trajectory or vertex
    c2  id, low       low 32 bits of a 56-bit id: a content id, a class candidate, a position
    c3  stream << 24 | id, high 24 bits

Key, two 32-bit words: :func:`dataset_key` of the seed and the formula's number.

The twins in ``cpu_kernels/philox.py`` and ``triton_kernels/philox.py`` compute the same words; kernels are given the
stream numbers by their launchers.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Key: TypeAlias = tuple[int, int]
Uint64: TypeAlias = NDArray[np.uint64]

# Streams: what a random number is for. A number once given is never given again.
KEYS = 0  # derives dataset keys
CLASS = 1  # parameters of class candidates; always under the key of seed 0
CHAIN = 2  # which map an iterated function system applies next
NOISE = 3  # Perlin noise of contours
GREY = 4  # grey levels of contours
INSTANCE = 5  # what varies inside a class
VIEW = 6  # cameras
PATTERN = 7  # which pixels of a patch are lit
BACKGROUND = 8  # heights of a background
MIXTURE = 9  # which dataset of a mixture a position shows
PRESENTATION = 10  # crop, operations and erasures of a presentation
ERASE = 11  # noise of erased pixels
MIXING = 12  # Mixup and CutMix

ID_BITS = 56

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox4x32(counter: tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike], key: Key) -> tuple[Uint64, ...]:
    """Ten rounds of Philox4x32.

    Args:
        counter: four arrays (or integers) of 32-bit words; they broadcast.
        key: two 32-bit words.

    Returns:
        Four uint64 arrays of the broadcast shape, each holding a 32-bit word.
    """
    c0, c1, c2, c3 = (np.asarray(word, np.uint64) for word in counter)
    k0, k1 = (int(word) & 0xFFFFFFFF for word in key)
    for _ in range(10):
        product0, product2 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c2 = (product2 >> _HALF) ^ c1 ^ np.uint64(k0), (product0 >> _HALF) ^ c3 ^ np.uint64(k1)
        c1, c3 = product2 & _LOW, product0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def dataset_key(seed: int, formula: int) -> Key:
    """The key of a dataset: one Philox block of (seed, formula number), so neighbouring seeds share nothing.

    Args:
        seed: 0 .. 2**64 - 1.
        formula: the formula's own number (``Formula.number``), the same for all sizes of a dataset.
    """
    words = philox4x32((seed & 0xFFFFFFFF, seed >> 32, formula, KEYS << 24), (0, 0))
    return int(words[0]), int(words[1])


def words(key: Key, stream: int, ids: ArrayLike, count: int, lane: int = 0) -> Uint64:
    """The first ``count`` random words of each id in a lane of a stream.

    Computed by the numba twin: in NumPy a batch of ids costs ten times more, and this stands in every training step.

    Args:
        key: from :func:`dataset_key`.
        stream: one of this module's stream numbers.
        ids: [B] integers in [0, 2**56).
        count: words an id.
        lane: 0, or the number of a view.

    Returns:
        [B, count] uint64, each element a 32-bit word; the words of one column are neighbours in memory.
    """
    from fdsl_gpu.cpu_kernels.philox import fill_words

    ids = np.ascontiguousarray(ids, np.uint64)
    out = np.empty((-(-count // 4) * 4, ids.size), np.uint64)
    fill_words(key[0], key[1], stream, lane, ids, out)
    return out[:count].T


def integers(word: Uint64, low: int | NDArray[np.int64], high: int | NDArray[np.int64]) -> NDArray[np.int64]:
    """Uniform integers in [low, high], both included, from 32-bit words (multiply and shift)."""
    span = np.asarray(high - low + 1, np.uint64)
    return low + (word * span >> _HALF).view(np.int64)


def uniforms(
    word: Uint64, low: float | NDArray[np.float64] = 0.0, high: float | NDArray[np.float64] = 1.0
) -> NDArray[np.float64]:
    """Uniform reals in [low, high) from 32-bit words, in float64."""
    fraction: NDArray[np.float64] = np.multiply(word, 2.0**-32, dtype=np.float64)
    return low + (high - low) * fraction
