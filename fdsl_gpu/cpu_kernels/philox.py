"""Philox4x32-10 for numba, the twin of ``fdsl_gpu.philox`` and ``triton_kernels.philox``."""

import numpy as np
from numba import njit

from fdsl_gpu.cpu_kernels.jit import inner, kernel

_M0 = np.uint64(0xD2511F53)
_M1 = np.uint64(0xCD9E8D57)
_W0 = np.uint64(0x9E3779B9)
_W1 = np.uint64(0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_UNIT = 2.0**-32


@njit(nogil=True, inline="always")
def philox4x32(c0, c1, c2, c3, k0, k1):
    """Four 32-bit words, each in a uint64, from a counter and a key of uint64 words below 2**32.

    64-bit products of 32-bit words are one instruction a lane, so a loop over this vectorises.
    """
    for _ in range(10):
        p0 = c0 * _M0
        p1 = c2 * _M1
        c0 = (p1 >> _HALF) ^ c1 ^ k0
        c1 = p1 & _LOW
        c2 = (p0 >> _HALF) ^ c3 ^ k1
        c3 = p0 & _LOW
        k0 = (k0 + _W0) & _LOW
        k1 = (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@inner(inline="always")
def uniform(word, low, high):
    """Uniform in [low, high), from a 32-bit word; ``fdsl_gpu.philox.uniforms`` of one."""
    return low + (high - low) * (np.float64(word) * _UNIT)


@inner(inline="always")
def integer(word, low, high):
    """Uniform in [low, high), from a 32-bit word; ``fdsl_gpu.philox.integers`` of one, which includes its ``high``."""
    return low + np.int64((word * np.uint64(high - low)) >> _HALF)


@kernel
def fill_words(k0, k1, stream, lane, ids, out):
    """Fill ``out`` uint64 [4 n, B] with the first n blocks of each id uint64 [B] in a lane of a stream."""
    for first in range(0, out.shape[0], 4):
        # Ids innermost, and next to each other in memory: so the rounds vectorise.
        for i in range(ids.size):
            low = ids[i] & _LOW
            high = (ids[i] >> _HALF) | (np.uint64(stream) << np.uint64(24))
            row = first
            for word in philox4x32(np.uint64(first >> 2), np.uint64(lane), low, high, np.uint64(k0), np.uint64(k1)):
                out[row, i] = word
                row += 1
