"""Table look-ups by vector words draw the same numbers with and without an instruction for them."""

import numpy as np
import pytest
from numba import njit, types
from numba.extending import intrinsic

from fdsl_gpu.cpu_kernels import vectors


@pytest.mark.parametrize("permutes", [False, True], ids=["by selects", "by a permutation"])
def test_of_eight_looks_every_lane_up(permutes, monkeypatch):
    monkeypatch.setattr(vectors, "_PERMUTES", permutes)

    @intrinsic
    def look_up(typing_context, table, index, out):
        def generate(context, builder, signature, arguments):
            entries = vectors.load(builder, arguments[0], 0, vectors.FLOAT, 8)
            places = vectors.load(builder, arguments[1], 0, vectors.INT, 8)
            vectors.store(builder, vectors.of_eight(builder, entries, places), arguments[2], 0)
            return context.get_dummy_value()

        return types.void(types.uintp, types.uintp, types.uintp), generate

    @njit
    def looked_up(table, index, out):
        look_up(np.uintp(table.ctypes.data), np.uintp(index.ctypes.data), np.uintp(out.ctypes.data))

    generator = np.random.default_rng(0)
    for _ in range(100):
        table, out = generator.random(8, np.float32), np.empty(8, np.float32)
        index = generator.integers(0, 8, 8).astype(np.int32)
        looked_up(table, index, out)
        np.testing.assert_array_equal(out, table[index])
