"""Keyed permutations of [0, size), evaluated at single places in O(1)."""

import numpy as np

from fdsl_gpu.cpu_kernels.jit import inner, kernel

ROUNDS = 6

_WEYL = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_HALF = np.uint64(32)
_SHIFT = np.uint64(29)
_ZERO = np.uint64(0)


@inner(inline="always")
def _hash(word, tweak, number, span):
    """A hash of (word, tweak, round number) in [0, span), span < 2**32: two rounds of multiply and xor-shift."""
    mixed = (word + tweak + np.uint64(number) * _MIX_2) * _MIX_1
    mixed ^= mixed >> _HALF
    mixed *= _MIX_2
    mixed ^= mixed >> _SHIFT
    return ((mixed >> _HALF) * span) >> _HALF


@inner(inline="always")
def _feistel(value, tweak, a, b):
    """One pass of the network on Z_a x Z_b; halves change in turns by modular addition, so it is a bijection."""
    left, right = value // b, value % b
    for number in range(ROUNDS):
        # Both terms are below the modulus: a comparison costs a twentieth of a division.
        if number % 2:
            right += _hash(left, tweak, number, b)
            right -= b if right >= b else _ZERO
        else:
            left += _hash(right, tweak, number, a)
            left -= a if left >= a else _ZERO
    return left * b + right


@kernel
def permute(positions, size, a, b, key, out):
    """Of each position p (int64 [B]), what permutation p // size has at p % size, into ``out``.

    ``a * b >= size``, both below 2**32. A value outside [0, size) walks on until it is inside, which keeps it a
    bijection (cycle walking).
    """
    a, b, size = np.uint64(a), np.uint64(b), np.uint64(size)
    for i in range(positions.size):
        epoch = np.uint64(positions[i]) // size
        tweak = (epoch + np.uint64(1)) * _WEYL + np.uint64(key)
        value = np.uint64(positions[i]) - epoch * size
        outside = True
        while outside:
            value = _feistel(value, tweak, a, b)
            outside = value >= size
        out[i] = value
