"""FractalDB, 2D-OFDB and 3D-OFDB: weights, numbering of instances, replacement of rows, views."""

import dataclasses
import time

import numpy as np
import pytest

from fdsl_gpu import philox
from fdsl_gpu.class_tables import IFSTable, builtin, load_table, save_table
from fdsl_gpu.formulas import fractaldb
from fdsl_gpu.formulas.exfractaldb import ExFractalDB
from fdsl_gpu.formulas.fractaldb import FractalDB
from fdsl_gpu.formulas.ifs_weights import FRACTALDB_IDENTITY_ROW, WEIGHT_STEPS, fractaldb_weights, weights_table
from fdsl_gpu.formulas.ofdb import OFDB2D, OFDB3D
from tests.oracles import search as oracle

KEY = philox.dataset_key(0, FractalDB.NUMBER)


@pytest.fixture(scope="module")
def shipped() -> IFSTable:
    return load_table(builtin("fractaldb-1k"))


def draw(formula, label, instances, view=0):
    instances = np.atleast_1d(instances)
    return formula.draw(KEY, np.full(instances.shape, label), instances, view)


def pattern_ids(records):
    return records["pattern_low"].astype(np.int64) + (records["pattern_high"].astype(np.int64) << 32)


def drawable_class(table, drawable=True):
    """A class all of whose rows are drawable, or one with a row that is not."""
    return int(np.flatnonzero(table.drawable.all(axis=1) == drawable)[0])


@pytest.mark.parametrize("step", WEIGHT_STEPS)
def test_fractaldb_weights_are_the_released_ones(step):
    weights = fractaldb_weights(step)
    np.testing.assert_array_equal(weights, oracle.weights_2d(step))
    assert weights.shape == (25, 6)
    assert (weights[FRACTALDB_IDENTITY_ROW] == 1).all()
    assert ((weights != 1).sum(axis=1) == (np.arange(25) != FRACTALDB_IDENTITY_ROW)).all()
    with pytest.raises(ValueError, match="read-only"):
        weights[0, 0] = 1


def test_fractaldb_weights_of_the_released_script():
    np.testing.assert_array_equal(fractaldb_weights(0.4)[:5, 0], np.float32([0.2, 0.6, 1, 1.4, 1.8]))
    np.testing.assert_array_equal(fractaldb_weights(0.4)[21:, 5], np.float32([0.2, 0.6, 1.4, 1.8]))
    np.testing.assert_array_equal(fractaldb_weights(0.5)[:5, 0], np.float32([0.01, 0.5, 1, 1.5, 2]))


def test_published_instances_are_row_count_flip(shipped):
    label = drawable_class(shipped)
    formula, instances = FractalDB(), np.arange(1000)
    records = draw(formula, label, instances)
    maps = shipped.class_maps(label)
    weights = fractaldb_weights(0.4)[instances // 40]
    np.testing.assert_array_equal(records["maps"][:, : len(maps)], maps * weights[:, None])
    assert (records["maps"][:, len(maps) :] == 0).all()
    assert (records["num_maps"] == len(maps)).all()
    # Bit 1: top and bottom, bit 0: left and right, of the raster as the points fall.
    np.testing.assert_array_equal(records["mirror"], np.array([2, 0, 3, 1])[instances % 4])
    np.testing.assert_array_equal(pattern_ids(records), label * 2**40 + instances // 4 * 4)
    boxes = shipped.boxes[label, instances // 40]
    np.testing.assert_array_equal(records["low"], boxes[:, :2])
    span = boxes[:, 2:].astype(np.float64) - boxes[:, :2]
    np.testing.assert_allclose(records["scale"], 350 / span, rtol=1e-6)


def test_instances_beyond_the_published_draw_row_flip_and_pattern(shipped):
    label = drawable_class(shipped)
    records = draw(FractalDB(), label, np.arange(1000, 21_000))
    first = shipped.class_maps(label)[0]
    rows = np.argmin(np.abs(records["maps"][:, 0, None] - first * fractaldb_weights(0.4)).sum(axis=2), axis=1)
    assert np.abs(np.bincount(rows, minlength=25) - 800).max() < 6 * np.sqrt(800)
    assert np.abs(np.bincount(records["mirror"], minlength=4) - 5000).max() < 6 * np.sqrt(5000)
    np.testing.assert_array_equal(pattern_ids(records), label * 2**40 + np.arange(1000, 21_000))


def test_rows_that_run_away_are_replaced_by_the_next_drawable_one(shipped):
    label = drawable_class(shipped, False)
    drawable = shipped.drawable[label]
    records = draw(FractalDB(), label, np.arange(25) * 40)
    maps = shipped.class_maps(label)
    for row in range(25):
        used = next(r % 25 for r in range(row, row + 25) if drawable[r % 25])
        expected = maps * fractaldb_weights(0.4)[used]
        np.testing.assert_array_equal(records["maps"][row, : len(maps)], expected)
        np.testing.assert_array_equal(records["low"][row], shipped.boxes[label, used, :2])
    assert np.isfinite(records["scale"]).all()


def test_views_differ_in_the_pattern_only():
    formula = FractalDB()
    instances = np.array([0, 7, 999, 5000])
    first, second = draw(formula, 3, instances), draw(formula, 3, instances, view=1)
    assert (first["view"] == 0).all()
    assert (second["view"] == 1).all()
    second["view"] = 0
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("points", [1000, 3000])
def test_rows_are_measured_for_other_settings(points, monkeypatch, tmp_path):
    monkeypatch.setenv("FDSL_GPU_CACHE_DIR", str(tmp_path))
    formula = FractalDB(num_classes=2, weight_step=0.1, points=points)
    parameters = formula.class_parameters(1)
    assert parameters["drawable"].shape == (25,)
    np.testing.assert_array_equal(parameters["weights"], fractaldb_weights(0.1))
    assert abs(parameters["probabilities"].sum() - 1) < 1e-12
    scale = draw(formula, 1, [80])["scale"]
    assert (scale >= draw(FractalDB(num_classes=2), 1, [80])["scale"] * 0.999).all()


def test_class_table_gives_the_classes_and_is_part_of_the_identity(tmp_path, shipped):
    path = tmp_path / "reversed.safetensors"
    counts = shipped.num_maps[:3]
    maps = np.concatenate([shipped.class_maps(label) for label in (0, 1, 2)])
    save_table(IFSTable.of_maps(counts, maps), path)
    formula = FractalDB(num_classes=3, class_table=str(path))
    np.testing.assert_array_equal(draw(formula, 2, [0, 500]), draw(FractalDB(), 2, [0, 500]))
    assert formula.fingerprint()["class_table"] == shipped.head(3).maps_digest()
    with pytest.raises(ValueError, match=r"class_table: .*3 classes.*num_classes=4"):
        FractalDB(num_classes=4, class_table=str(path))
    with pytest.raises(ValueError, match=r"class_table: .*classes of FractalDB; allowed: classes of ExFractalDB"):
        ExFractalDB(num_classes=3, class_table=str(path))
    with pytest.raises(ValueError, match=r"class_table: .*classes of ExFractalDB; allowed: classes of FractalDB"):
        FractalDB(num_classes=3, class_table=str(builtin("exfractaldb-1k")))


def test_a_class_that_always_runs_away_is_named(tmp_path):
    maps = np.tile(np.float32([[30, 0, 0, 30, 1, 1]]), (4, 1))
    maps[:2] = np.float32([0.5, 0, 0, 0.5, 0.1, 0.2])
    save_table(IFSTable.of_maps(np.array([2, 2]), maps), tmp_path / "table.safetensors")
    formula = FractalDB(num_classes=2, class_table=str(tmp_path / "table.safetensors"), points=1000)
    with pytest.raises(ValueError, match="class 1 runs away under each of 25 weight rows"):
        draw(formula, 0, 0)


def test_a_class_on_a_line_has_no_infinite_scale(tmp_path):
    # Both maps keep x = 0, and neither is flat.
    maps = np.float32([[0.5, 0, 0.1, 0.5, 0, 0.2], [0.5, 0, 0.3, -0.5, 0, 0.7]])
    save_table(IFSTable.of_maps(np.array([2]), maps), tmp_path / "table.safetensors")
    formula = FractalDB(num_classes=1, class_table=str(tmp_path / "table.safetensors"), points=1000)
    assert (draw(formula, 0, [80])["scale"][:, 0] == 0).all()
    assert (draw(formula, 0, [80])["scale"][:, 1] > 0).all()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("weight_step", 0.15),
        ("rendering", "fill"),
        ("color", 1),
        ("points", 5),
        ("canvas_size", 12),
        ("num_classes", 0),
    ],
)
def test_options_are_checked(option, value):
    with pytest.raises((ValueError, TypeError), match=option):
        FractalDB(**{option: value})


def test_planes_and_drawing_follow_the_options():
    assert FractalDB().planes == 1
    assert FractalDB(color=True).planes == 3
    expected = {"points": 200_000, "rendering": "point", "color": True}
    assert FractalDB(color=True, rendering="point").drawing() == expected


def test_draw_is_quick():
    formula, rng = FractalDB(), np.random.default_rng(0)
    labels, instances = rng.integers(0, 1000, 256), rng.integers(0, 1000, 256)
    times = []
    for _ in range(30):
        start = time.perf_counter()
        formula.draw(KEY, labels, instances)
        times.append(time.perf_counter() - start)
    assert min(times) < 1e-3


@pytest.mark.parametrize(("weights", "row"), [("published", 0), ("identity", 2)])
def test_ofdb_2d_is_one_row_upside_down(shipped, weights, row):
    label = drawable_class(shipped)
    records = draw(OFDB2D(weight_row=weights), label, [0, 1, 2**33])
    expected = shipped.class_maps(label) * fractaldb_weights(0.4)[row]
    for record, instance in zip(records, [0, 1, 2**33], strict=True):
        np.testing.assert_array_equal(record["maps"][: len(expected)], expected)
        assert record["mirror"] == 2
        assert pattern_ids(record[None])[0] == label * 2**40 + instance
    if weights == "published":
        np.testing.assert_array_equal(draw(OFDB2D(), label, 0), draw(FractalDB(), label, 0))


def test_ofdb_default_instances():
    assert OFDB2D().default_instances == 1
    assert OFDB2D(random_pattern=True).default_instances is None
    assert OFDB3D().default_instances is None
    assert FractalDB().default_instances is None
    numbers = [formula.NUMBER for formula in (ExFractalDB, FractalDB, OFDB2D, OFDB3D)]
    assert numbers == [2, 3, 6, 7]


@pytest.mark.parametrize("formula", [OFDB2D, OFDB3D])
def test_ofdb_checks_its_options(formula):
    with pytest.raises(ValueError, match="weight_row: received 'row 0'"):
        formula(weight_row="row 0")


def test_ofdb_3d_is_one_cloud_on_a_ring():
    records = draw(OFDB3D(), 5, np.arange(40))
    table = load_table(builtin("exfractaldb-1k"))
    row = next(row for row in range(145) if table.drawable[5, row])
    expected = table.class_maps(5) * weights_table()[row]
    assert (records["maps"][:, : len(expected)] == expected).all()
    assert len({(low, high) for low, high in zip(records["sequence_low"], records["sequence_high"], strict=True)}) == 1
    angles = np.degrees(np.arctan2(-records["camera"][:, 2, 2], records["camera"][:, 2, 0]))
    offsets = (angles[:12] - 30 * np.arange(1, 13) + 180) % 360 - 180
    assert np.abs(offsets).max() <= np.pi
    assert len(np.unique(angles)) == 40


@pytest.mark.parametrize(
    "formula", [OFDB3D(), OFDB3D(viewpoint="uniform"), ExFractalDB(), ExFractalDB(viewpoint="ring")], ids=repr
)
def test_views_of_3d_formulas_differ_in_the_camera_only(formula):
    first, second, again = (draw(formula, 5, [0, 3, 2000], view) for view in (0, 1, 1))
    np.testing.assert_array_equal(second, again)
    assert (first["camera"] != second["camera"]).any(axis=(1, 2)).all()
    second["camera"] = first["camera"]
    np.testing.assert_array_equal(first, second)


def test_settings_are_part_of_the_identity():
    base = FractalDB().fingerprint()
    for change in ({"weight_step": 0.1}, {"points": 1000}, {"rendering": "point"}, {"color": True}, {"num_classes": 9}):
        assert dataclasses.replace(FractalDB(), **change).fingerprint() != base
    assert OFDB2D().fingerprint()["formula"] == "ofdb-2d"


def test_seed_never_changes_the_classes():
    other = FractalDB().draw(philox.dataset_key(1, 3), np.array([4]), np.array([12]))
    np.testing.assert_array_equal(other, draw(FractalDB(), 4, 12))
    assert fractaldb._table(None, 10).digest() == load_table(builtin("fractaldb-1k")).head(10).digest()
