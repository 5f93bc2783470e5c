"""Tables that stand for transcendental functions."""

import math

import numpy as np
import pytest

from fdsl_gpu.cpu_kernels.camera import ring_cameras
from fdsl_gpu.tables import angle_row, angle_table, cos_sin, perlin_gradients, perlin_pairs
from tests.oracles.contours import gradient


def test_angle_table_is_correct_to_the_last_place() -> None:
    table = angle_table(1000)
    vertices = np.repeat(np.arange(1, 1001), np.arange(1, 1001))
    angle = 2 * math.pi * (np.arange(vertices.size) - angle_row(vertices)) / vertices
    for column, exact in enumerate((np.cos(angle), np.sin(angle))):
        # NumPy's own argument is off by up to 1e-15, which matters near the zeros.
        bound = 0.51 * np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64) + 2e-15
        assert (np.abs(table[:, column] - exact) <= bound).all()


@pytest.mark.parametrize("vertices", [4, 8, 12, 200, 1000])
def test_angle_table_is_exact_on_the_axes_and_symmetric(vertices: int) -> None:
    rows = angle_table(1000)[angle_row(vertices) : angle_row(vertices) + vertices]
    quarter = vertices // 4
    assert rows[[0, quarter, 2 * quarter, 3 * quarter]].tolist() == [[1, 0], [0, 1], [-1, 0], [0, -1]]
    assert np.array_equal(rows[quarter:, 1], rows[:-quarter, 0])


def test_cos_sin_of_turns() -> None:
    turns = np.linspace(-2, 2, 40_001)
    cosine, sine = cos_sin(turns)
    assert np.abs(cosine - np.cos(2 * math.pi * turns)).max() < 4e-15
    assert np.abs(sine - np.sin(2 * math.pi * turns)).max() < 4e-15


def test_perlin_gradients_are_the_released_ones() -> None:
    gradients = perlin_gradients()
    assert gradients.tolist() == [gradient(cell) for cell in range(256)]
    assert (gradients == -1).sum() == 128
    pairs = perlin_pairs()
    assert np.array_equal((pairs << np.uint32(16)).view(np.float32), gradients)
    assert np.array_equal((pairs & np.uint32(0xFFFF0000)).view(np.float32), np.roll(gradients, -1))


def test_cosines_of_camera_rings_are_the_tables_own() -> None:
    views = 997
    places, middle = np.arange(views), np.full(views, 2**31, np.uint64)
    cameras = np.empty((views, 3, 3))
    ring_cameras(places, middle, views, 0.25, cameras)
    cosine, sine = cos_sin((places + 1) / views)
    np.testing.assert_array_equal(cameras[:, 2, 0], cosine)
    np.testing.assert_array_equal(cameras[:, 0, 0], sine)
