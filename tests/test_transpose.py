"""Transposition of uint8 planes: NumPy's, whatever the sides, and no byte beside it."""

import numpy as np
import pytest

from fdsl_gpu.cpu_kernels.jit import kernel
from fdsl_gpu.cpu_kernels.transpose import transpose


@kernel
def transposed(source, pitch, begin, height, width, out, out_pitch):
    address = np.uintp(source.ctypes.data + begin)
    transpose(address, np.uintp(pitch), height, width, np.uintp(out.ctypes.data), np.uintp(out_pitch))


@pytest.mark.parametrize(
    "shape", [(362, 362), (16, 32), (17, 33), (31, 63), (15, 99), (99, 31), (1, 1), (224, 355), (64, 512)]
)
def test_transpose_is_numpys(shape):
    height, width = shape
    plane = np.random.default_rng(height).integers(0, 256, (height + 3, width + 5)).astype(np.uint8)
    source = plane[2 : 2 + height, 4 : 4 + width]
    for filler in (0x00, 0xFF):
        out = np.full((width + 2, height + 7), filler, np.uint8)
        transposed(plane, width + 5, 2 * (width + 5) + 4, height, width, out, height + 7)
        np.testing.assert_array_equal(out[:width, :height], source.T)
        out[:width, :height] = filler
        assert (out == filler).all()
