"""Philox4x32-10: the published vectors, and three implementations that agree."""

import numpy as np
import pytest
import torch

from fdsl_gpu import philox
from fdsl_gpu.cpu_kernels.philox import philox4x32 as philox_numba

try:
    import triton
    import triton.language as tl

    from triton_kernels.philox import philox4x32
except ModuleNotFoundError:
    triton = None
else:

    @triton.jit
    def _write_words(counters_ptr, out_ptr, k0, k1, COUNT: tl.constexpr, BLOCK: tl.constexpr):
        at = tl.arange(0, BLOCK)
        mask = at < COUNT
        c0 = tl.load(counters_ptr + at, mask=mask, other=0)
        c1 = tl.load(counters_ptr + COUNT + at, mask=mask, other=0)
        c2 = tl.load(counters_ptr + 2 * COUNT + at, mask=mask, other=0)
        c3 = tl.load(counters_ptr + 3 * COUNT + at, mask=mask, other=0)
        w0, w1, w2, w3 = philox4x32(c0, c1, c2, c3, k0, k1)
        tl.store(out_ptr + at, w0.to(tl.int32, bitcast=True), mask=mask)
        tl.store(out_ptr + COUNT + at, w1.to(tl.int32, bitcast=True), mask=mask)
        tl.store(out_ptr + 2 * COUNT + at, w2.to(tl.int32, bitcast=True), mask=mask)
        tl.store(out_ptr + 3 * COUNT + at, w3.to(tl.int32, bitcast=True), mask=mask)


ONES = 0xFFFFFFFF
# Known answers of Random123's kat_vectors: counter, key, result.
VECTORS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES, ONES, ONES, ONES), (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
NAMES = ["zeros", "ones", "pi"]


@pytest.mark.parametrize(("counter", "key", "expected"), VECTORS, ids=NAMES)
def test_published_vectors_numpy(counter: tuple, key: tuple, expected: tuple) -> None:
    assert tuple(int(word) for word in philox.philox4x32(counter, key)) == expected


@pytest.mark.parametrize(("counter", "key", "expected"), VECTORS, ids=NAMES)
def test_published_vectors_numba(counter: tuple, key: tuple, expected: tuple) -> None:
    assert philox_numba(*(np.uint64(word) for word in (*counter, *key))) == expected


def _triton_words(counters: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    count = counters.shape[1]
    inputs = torch.from_numpy(np.ascontiguousarray(counters).astype(np.uint32).view(np.int32))
    out = torch.empty_like(inputs)
    k0, k1 = (int(word) for word in np.array(key, np.uint32).view(np.int32))
    _write_words[(1,)](inputs, out, k0, k1, COUNT=count, BLOCK=triton.next_power_of_2(count))
    return out.numpy().view(np.uint32)


@pytest.mark.usefixtures("interpreter")
@pytest.mark.parametrize(("counter", "key", "expected"), VECTORS, ids=NAMES)
def test_published_vectors_triton(counter: tuple, key: tuple, expected: tuple) -> None:
    words = _triton_words(np.array(counter, np.uint64)[:, None], key)
    assert tuple(int(word) for word in words[:, 0]) == expected


@pytest.mark.usefixtures("interpreter")
def test_all_implementations_agree() -> None:
    counters = np.random.default_rng(1).integers(0, 2**32, (4, 500), dtype=np.uint64)
    key = (0xDEADBEEF, 0x01234567)
    expected = np.stack(philox.philox4x32(tuple(counters), key))
    numba = np.array([philox_numba(*column, *(np.uint64(word) for word in key)) for column in counters.T]).T
    assert np.array_equal(expected, numba)
    assert np.array_equal(expected, _triton_words(counters, key))


def test_words_are_blocks_of_the_counter_layout() -> None:
    key, ids = philox.dataset_key(7, 3), np.array([0, 5, 2**40 + 9, 2**56 - 1])
    words = philox.words(key, philox.VIEW, ids, 6)
    for row, content in zip(words, ids.tolist(), strict=True):
        blocks = [
            philox.philox4x32((block, 0, content & ONES, philox.VIEW << 24 | content >> 32), key) for block in (0, 1)
        ]
        assert row.tolist() == [int(word) for block in blocks for word in block][:6]


def test_integers_and_uniforms_fill_their_ranges() -> None:
    words = np.array([0, 2**31, 2**32 - 1], np.uint64)
    assert philox.integers(words, -3, 3).tolist() == [-3, 0, 3]
    assert philox.uniforms(words, 1.0, 2.0).tolist() == [1.0, 1.5, 2.0 - 2**-32]


def test_keys_of_neighbouring_seeds_and_formulas_differ() -> None:
    keys = {philox.dataset_key(seed, number) for seed in range(50) for number in range(1, 5)}
    assert len(keys) == 200
