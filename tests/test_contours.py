"""Contours: the law of the vertices, Pillow's lines, and twins that draw the same bytes."""

import numpy as np
import pytest
import torch

from fdsl_gpu import philox
from fdsl_gpu.formulas.rcdb import RCDB
from fdsl_gpu.records import CONTOURS
from fdsl_gpu.render.contours import Contours
from tests.oracles import contours as oracle

KEY = philox.dataset_key(0, RCDB.NUMBER)
CPU = torch.device("cpu")
BACKENDS = ["numba", "triton"]


def words(records: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(records.view(np.int32).reshape(len(records), -1))


def make(size: int, backend: str = "numba", background: int = 255, vertices: int = 200, lines: int = 200) -> Contours:
    limits = {"max_vertices": vertices, "max_lines": lines}
    return Contours(canvas_size=size, background=background, device=CPU, backend=backend, **limits)  # type: ignore[arg-type]


def small_records(count: int, size: int, lines: int = 5) -> np.ndarray:
    """RCDB records with few lines, cheap enough for the interpreter; the last one has waves and leaves the canvas."""
    records = RCDB(canvas_size=size).draw(KEY, np.arange(count), np.arange(count))
    records["lines"] = lines - np.arange(count) % 2
    records["wave_1"][-1], records["wave_2"][-1], records["wave"][-1] = 3, 7, size / 40
    records["center_x"][-1] = -2.0
    return records


def test_raster_equals_pillow_for_classes_of_rcdb() -> None:
    records = RCDB().draw(KEY, np.arange(250), np.arange(250) % 3)
    contours = make(512)
    planes = torch.full((250, 1, 512, 512), 7, dtype=torch.uint8)
    contours.draw(words(records), KEY, planes)
    vertices, greys = (tensor.numpy() for tensor in contours.vertices(words(records), KEY))
    covered = 0
    for i, record in enumerate(records):
        lines = slice(0, record["lines"])
        expected = oracle.draw(vertices[i, lines, : record["vertices"]], greys[i, lines], 512, 255)
        assert np.array_equal(planes[i, 0].numpy(), expected), f"class {i}"
        covered += (expected != 255).any()
    assert covered > 200


def raster(vertices: np.ndarray, greys: np.ndarray, size: int, backend: str) -> np.ndarray:
    """Given polygons int16 [K, V, 2] through the raster of a backend: uint8 [S, S] on white."""
    lines, count = vertices.shape[:2]
    records = np.zeros(1, CONTOURS)
    records["vertices"], records["lines"] = count, lines
    contours = make(size, backend, vertices=count, lines=lines)
    packed, padded_greys = contours.stage.empty(1)
    packed[0, :lines, :count] = torch.from_numpy(vertices.view(np.int32)[..., 0])
    padded_greys[0, :lines] = torch.from_numpy(greys)
    planes = torch.empty((1, 1, size, size), dtype=torch.uint8)
    contours.raster(words(records), packed, padded_greys, planes)
    return planes[0, 0].numpy()


# Ties, all octants, horizontal and vertical lines, single points, and lines that cross or miss the canvas.
AWKWARD = [
    [(5, 5), (5, 5), (5, 5), (5, 5)],
    [(0, 0), (39, 0), (39, 39), (0, 39)],
    [(20, 20), (24, 22), (20, 20), (22, 24)],
    [(20, 20), (16, 18), (20, 20), (18, 16)],
    [(-30, 10), (70, 11), (70, -50), (-30, -60)],
    [(-1, -1), (-5, 50), (50, -5), (41, 40)],
]


@pytest.mark.usefixtures("interpreter")
@pytest.mark.parametrize("backend", BACKENDS)
def test_raster_equals_pillow_for_awkward_polygons(backend: str) -> None:
    generator = np.random.default_rng(0)
    polygons = np.array(AWKWARD + generator.integers(-20, 60, (14, 4, 2)).tolist(), np.int16)
    greys = generator.integers(0, 256, len(polygons)).astype(np.uint8)
    assert np.array_equal(raster(polygons, greys, 40, backend), oracle.draw(polygons, greys, 40, 255))


@pytest.mark.parametrize("reach", [300, 3000, 32767])
def test_raster_equals_pillow_for_lines_far_beyond_the_canvas(reach: int) -> None:
    generator = np.random.default_rng(reach)
    for size in (64, 513, 1200):
        polygons = generator.integers(-reach, reach + 1, (60, 5, 2)).astype(np.int16)
        # Half of the vertices inside, so that sides of every length cross the edges.
        inside = generator.random((60, 5)) < 0.5
        polygons[inside] = generator.integers(0, size, (inside.sum(), 2))
        greys = generator.integers(0, 255, 60).astype(np.uint8)
        assert np.array_equal(raster(polygons, greys, size, "numba"), oracle.draw(polygons, greys, size, 255))


def test_line_rule_of_the_specification_is_pillows() -> None:
    for end in np.ndindex(9, 9):
        pixels = oracle.line_pixels(4, 4, *end)
        expected = oracle.draw(np.array([[[4, 4], end]]), [0], 9, 255)
        backward = oracle.line_pixels(*end, 4, 4)
        assert set(pixels) | set(backward) == set(zip(*np.nonzero(expected == 0)[::-1], strict=True))


def test_vertices_follow_the_recurrence_up_to_rounding() -> None:
    records = RCDB().draw(KEY, np.arange(12), np.arange(12))
    records["lines"] = np.minimum(records["lines"], 60)
    records["wave_1"][::2], records["wave_2"][::2], records["wave"][::2] = 5, 11, 0.5
    vertices, greys = (tensor.numpy() for tensor in make(512).vertices(words(records), KEY))
    for i, record in enumerate(records):
        exact = oracle.coordinates(record, KEY)
        drawn = vertices[i, : record["lines"], : record["vertices"]]
        different = drawn != oracle.truncate(exact)
        # Float32 sums of at most 60 terms of a few hundred pixels are within 1e-2 of the exact ones.
        assert (np.abs(exact - np.round(exact))[different] < 1e-2).all()
        assert different.mean() < 1e-3
        assert greys[i, : record["lines"]].tolist() == oracle.greys(record, KEY)


def test_perlin_noise_has_the_published_law() -> None:
    # One vertex at angle 0 and one line a record: the step from the start is minus the noise, in units of 2**-14.
    count, scale = 200_000, 2.0**14
    records = np.zeros(count, CONTOURS)
    records["vertices"], records["lines"], records["grey_levels"] = 1, 1, 256
    records["sequence_low"], records["noise"] = np.arange(count), scale
    vertices, _ = make(8, vertices=1, lines=1).vertices(words(records), KEY)
    noise = -vertices[:, 0, 0, 0].numpy() / scale
    assert abs(noise.mean() - 5.1e-5) < 5 * 0.329 / np.sqrt(count)
    # The standard error of a standard deviation is sd * sqrt((kurtosis - 1) / 4n).
    assert abs(noise.std() - 0.32898) < 5 * 0.329 * np.sqrt(2.73 / (4 * count))
    assert np.abs(noise).max() <= 0.952052 + 1 / scale
    assert abs((noise > 0).mean() - 0.4965) < 5 * 0.5 / np.sqrt(count) + 2e-4
    shares = (0.01, 0.05, 0.1, 0.25, 0.75, 0.9, 0.95, 0.99)
    quantiles = (-0.825, -0.577, -0.426, -0.153, 0.143, 0.43, 0.617, 0.851)
    for share, expected in zip(shares, quantiles, strict=True):
        # As a statement on shares, whose error is binomial; the quantiles are given to three digits.
        below = [(noise < expected + shift).mean() for shift in (-1e-3, 1e-3)]
        error = 5 * np.sqrt(share * (1 - share) / count)
        assert below[0] - error < share < below[1] + error


@pytest.mark.usefixtures("interpreter")
@pytest.mark.parametrize("fill", [0x00, 0xFF])
@pytest.mark.parametrize(("size", "batch"), [(63, 1), (64, 3), (224, 1)])
def test_twins_draw_the_same_bytes(size: int, batch: int, fill: int) -> None:
    records = words(small_records(batch, size))
    planes = [torch.full((batch, 1, size, size), fill, dtype=torch.uint8) for _ in BACKENDS]
    for backend, plane in zip(BACKENDS, planes, strict=True):
        make(size, backend, background=200).draw(records, KEY, plane)
    assert torch.equal(*planes)
    assert (planes[0] != 200).any()


@pytest.mark.usefixtures("interpreter")
def test_twins_make_the_same_vertices_and_greys() -> None:
    records = small_records(3, 64, lines=8)
    results = [make(64, backend).vertices(words(records), KEY) for backend in BACKENDS]
    for i, record in enumerate(records):
        lines, vertices = int(record["lines"]), int(record["vertices"])
        assert torch.equal(*(result[0][i, :lines, :vertices] for result in results))
        assert torch.equal(*(result[1][i, :lines] for result in results))


@pytest.mark.usefixtures("interpreter")
@pytest.mark.parametrize("backend", BACKENDS)
def test_vertices_beyond_int16_are_held_at_its_ends(backend: str) -> None:
    records = np.zeros(1, CONTOURS)
    records["vertices"], records["lines"], records["radius_x"], records["radius_y"] = 4, 1, 1e6, 32768
    vertices, _ = make(64, backend, vertices=4, lines=1).vertices(words(records), KEY)
    assert vertices[0, 0].tolist() == [[32767, 0], [0, 32767], [-32768, 0], [0, -32768]]


@pytest.mark.usefixtures("interpreter")
def test_records_beyond_the_stated_maxima_stay_within_the_buffers() -> None:
    records = small_records(2, 64, lines=4)
    records["vertices"], records["lines"] = 1000, 1000
    planes = [torch.zeros((3, 1, 64, 64), dtype=torch.uint8) for _ in BACKENDS]
    for backend, plane in zip(BACKENDS, planes, strict=True):
        make(64, backend, vertices=5, lines=3).draw(words(records), KEY, plane[:2])
    assert torch.equal(*planes)
    assert (planes[0][:2] != 0).any()
    assert not planes[0][2].any()


def test_scratch_of_a_larger_batch_does_not_show_in_a_smaller_one() -> None:
    contours = make(64)
    records = words(small_records(6, 64, lines=50))
    alone, after = (torch.empty((2, 1, 64, 64), dtype=torch.uint8) for _ in range(2))
    make(64).draw(records[:2], KEY, alone)
    contours.draw(records, KEY, torch.empty((6, 1, 64, 64), dtype=torch.uint8))
    contours.draw(records[:2], KEY, after)
    assert torch.equal(alone, after)


def test_empty_batch_draws_nothing() -> None:
    make(64).draw(torch.empty((0, 20), dtype=torch.int32), KEY, torch.empty((0, 1, 64, 64), dtype=torch.uint8))


@pytest.mark.parametrize(
    ("records", "planes", "message"),
    [
        (torch.zeros(2, 19, dtype=torch.int32), torch.zeros(2, 1, 64, 64, dtype=torch.uint8), "records: received"),
        (torch.zeros(2, 20), torch.zeros(2, 1, 64, 64, dtype=torch.uint8), "records: received"),
        (torch.zeros(2, 20, dtype=torch.int32), torch.zeros(2, 1, 64, 63, dtype=torch.uint8), "planes: received"),
        (torch.zeros(2, 20, dtype=torch.int32), torch.zeros(2, 1, 64, 64), "planes: received"),
    ],
)
def test_wrong_tensors_are_refused(records: torch.Tensor, planes: torch.Tensor, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        make(64).draw(records, KEY, planes)


def test_kernel_offsets_are_those_of_the_record() -> None:
    kernels = pytest.importorskip("triton_kernels.contour", reason="Triton is not installed")
    for name in CONTOURS.names or ():
        if name != "reserved":
            assert getattr(kernels, name.upper()).value == CONTOURS.fields[name][1] // 4
    assert kernels.WORDS.value == CONTOURS.itemsize // 4
