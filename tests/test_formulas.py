"""The formulas: class parameters and instance draws follow the laws of the papers."""

import dataclasses

import numpy as np
import pytest

import fdsl_gpu
from fdsl_gpu import philox
from fdsl_gpu.cpu_kernels.camera import ring_cameras, uniform_cameras
from fdsl_gpu.formulas import exfractaldb, rcdb
from fdsl_gpu.formulas.base import MAX_CLASSES
from fdsl_gpu.philox import dataset_key
from fdsl_gpu.records import CONTOUR_SCENE, CONTOURS
from fdsl_gpu.registry import PRESETS

KEY = dataset_key(0, 1)


def test_rcdb_vertices_follow_the_truncated_exponential() -> None:
    vertices = rcdb.class_table(50_000)["vertices"]
    values = np.arange(3, 201)
    expected = np.exp(-values / 100)
    expected *= len(vertices) / expected.sum()
    observed = np.bincount(vertices, minlength=201)[3:]
    statistic = ((observed - expected) ** 2 / expected).sum()
    # chi-square with 197 degrees of freedom: mean 197, sd 19.8.
    assert statistic < 197 + 5 * 19.8
    assert abs(vertices.mean() - 70.8) < 5 * 50 / np.sqrt(50_000)
    assert (vertices.min(), vertices.max()) == (3, 200)


def test_rcdb_class_parameters_fill_their_ranges() -> None:
    table = rcdb.class_table(50_000)
    ranges = {"lines": (1, 200), "coefficient": (0, 4), "line_width": (0, 0.1), "radius": (0, 100)}
    ranges |= {"oval_x": (1, 2), "oval_y": (1, 2), "center_x": (56, 456), "center_y": (56, 456)}
    for name, (low, high) in ranges.items():
        values = table[name]
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
        sd = (high - low) / np.sqrt(12)
        assert abs(values.mean() - (low + high) / 2) < 5 * sd / np.sqrt(len(values))


def test_rcdb_larger_presets_begin_with_the_smaller() -> None:
    assert np.array_equal(rcdb.class_table(21_000)[:1000], rcdb.class_table(1000))


def test_rcdb_instance_zero_is_the_class_and_later_ones_redraw() -> None:
    formula = PRESETS["rcdb-1k"].formula
    record = formula.draw(KEY, np.full(3, 17), np.arange(3))
    row = formula.class_parameters(17)
    assert record["radius_x"][0] == np.float32(row["radius"] * row["oval_x"])
    assert record["center_y"][0] == np.float32(row["center_y"])
    assert len(set(record["center_x"].tolist())) == 3
    assert (record["vertices"] == row["vertices"]).all()
    assert (record["step"] == np.float32(row["coefficient"] + row["line_width"])).all()


@pytest.mark.parametrize("name", ["rcdb-1k", "segrcdb", "visualatom-1k"])
def test_every_length_of_contours_scales_with_the_canvas(name: str) -> None:
    formula = PRESETS[name].formula
    labels = np.zeros(3, np.int64) if formula.TARGET == "mask" else np.array([0, 1, 999])
    native, double = (
        dataclasses.replace(formula, canvas_size=side).draw(KEY, labels, np.arange(3)) for side in (512, 1024)
    )
    if formula.RECORD == CONTOUR_SCENE:
        native, double = native["contours"], double["contours"]
    for field in CONTOURS.names or ():
        scale = 2 if field in ("radius_x", "radius_y", "center_x", "center_y", "step", "noise", "wave") else 1
        assert np.array_equal(double[field], scale * native[field]), field


def test_uniform_cameras_are_rotations_uniform_on_the_sphere() -> None:
    cameras = np.empty((20_000, 3, 3))
    uniform_cameras(*KEY, philox.VIEW, 0, np.arange(20_000, dtype=np.uint64), cameras)
    right, up, depth = np.moveaxis(cameras, 1, 0)
    identity = np.einsum("bij,bkj->bik", cameras, cameras)
    assert np.abs(identity - np.eye(3)).max() < 1e-12
    # Rows are the columns e_z, e_y, e_x of a rotation, so right x up points along -depth.
    assert np.abs(np.cross(right, up) + depth).max() < 1e-12
    for axis in (right, up, depth):
        assert np.abs(axis.mean(axis=0)).max() < 5 / np.sqrt(3 * 20_000)
        # By Archimedes every coordinate of a uniform direction is uniform in [-1, 1].
        for coordinate in axis.T:
            assert np.abs(np.sort(coordinate) - np.linspace(-1, 1, 20_000)).max() < 2 * 1.95 / np.sqrt(20_000)


def test_ring_cameras_stand_thirty_degrees_apart() -> None:
    cameras = np.empty((12, 3, 3))
    ring_cameras(np.arange(12), np.full(12, 2**31, np.uint64), 12, 3.141592653589793 / 360, cameras)
    angle = 2 * np.pi * np.arange(12) / 12 + np.pi / 6
    zero, one = np.zeros(12), np.ones(12)
    expected = [(np.sin(angle), zero, np.cos(angle)), (zero, one, zero), (np.cos(angle), zero, -np.sin(angle))]
    assert np.abs(cameras - np.stack([np.stack(row, -1) for row in expected], 1)).max() < 1e-12


def test_ring_numbering_shares_one_cloud_among_twelve_views() -> None:
    formula = exfractaldb.ExFractalDB(viewpoint="ring")
    instances = np.array([0, 11, 12, 1739, 1740, 1741])
    records = formula.draw(KEY, np.zeros(6, np.int64), instances)
    sequences = records["sequence_low"].tolist()
    assert sequences[0] == sequences[1] != sequences[2]
    assert sequences[4] != sequences[5]
    assert np.array_equal(records["maps"][0], records["maps"][1])
    assert not np.array_equal(records["maps"][0], records["maps"][2])


def test_weight_rows_multiply_every_map_and_skip_rows_that_run_away() -> None:
    formula = exfractaldb.ExFractalDB()
    table = exfractaldb._classes(None, 1000).table
    label = int(np.flatnonzero(~table.drawable.all(axis=1))[-1])
    bad = int(np.argmin(table.drawable[label]))
    replacement = exfractaldb._classes(None, 1000).next_drawable[label, bad]
    assert table.drawable[label, replacement]
    assert not table.drawable[label, bad]
    assert np.array_equal(formula.class_parameters(label)["drawable"], table.drawable[label])
    maps = formula.class_parameters(label)["maps"]
    records = formula.draw(KEY, np.full(500, label), np.arange(500))
    ratio = records["maps"][:, : len(maps)] / maps
    assert np.allclose(ratio, ratio[:, :1], rtol=1e-5)
    factors = {tuple(row) for row in np.round(ratio[:, 0], 3).tolist()}
    assert 100 < len(factors) <= 144


def test_probabilities_follow_the_determinants() -> None:
    parameters = fdsl_gpu.FDSLDataset("exfractaldb-1k", device="cpu").class_parameters(3)
    matrices = parameters["maps"][:, :9].reshape(-1, 3, 3).astype(np.float64)
    determinants = np.abs(np.linalg.det(matrices))
    assert np.allclose(parameters["probabilities"], determinants / determinants.sum())
    selected = fdsl_gpu.geometry("exfractaldb-1k", 3, 0)[0]["probabilities"]
    assert np.abs(selected - parameters["probabilities"]).max() <= 2**-16


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_fit_the_content_id(name: str) -> None:
    assert PRESETS[name].formula.num_classes <= MAX_CLASSES
    assert PRESETS[name].provenance
