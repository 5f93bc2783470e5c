"""The search of classes in the plane (FractalDB), and the measuring of their weight rows."""

import numpy as np
import pytest

from fdsl_gpu import philox, search
from fdsl_gpu.class_tables import IFSTable, builtin, load_table, table
from fdsl_gpu.class_tables.class_records import class_records
from fdsl_gpu.class_tables.weight_rows import NATIVE, measure_rows, measured
from fdsl_gpu.cpu_kernels import candidates, ifs_2d, search_2d
from fdsl_gpu.formulas.fractaldb import FractalDB
from fdsl_gpu.formulas.ifs_weights import fractaldb_weights
from fdsl_gpu.search import empty_table, extend_measured, search_to_file
from fdsl_gpu.tables import chain_halves
from tests.oracles import search as oracle

FEW = 5


@pytest.fixture(scope="module")
def shipped() -> IFSTable:
    return load_table(builtin("fractaldb-1k"))


@pytest.fixture(scope="module")
def found() -> IFSTable:
    return search.search_2d(FEW)


def test_formula_number_is_that_of_the_formula():
    assert table.FRACTALDB == FractalDB.NUMBER


def test_search_2d_follows_the_published_law(shipped):
    early = np.flatnonzero((shipped.attempts > 1) & (shipped.attempts < 8))[:2]
    for category in early:
        maps, attempt = oracle.find_class_2d(philox.dataset_key(0, table.FRACTALDB), int(category))
        assert shipped.attempts[category] == attempt
        np.testing.assert_array_equal(shipped.class_maps(category), np.array(maps))


def test_law_in_the_files_is_that_of_the_kernels():
    assert table._LAWS[table.PLANE] == {
        "maps": [candidates.MIN_MAPS, candidates.MAX_MAPS],
        "points": search_2d.POINTS,
        "limit": search_2d.LIMIT,
        "canvas": search_2d.CANVAS,
        "padding": search_2d.PADDING,
        "min_pixels": search_2d.MIN_PIXELS,
        "row_limit": search_2d.ROW_LIMIT,
        "lanes": ifs_2d.LANES,
        "warmup": ifs_2d.WARMUP,
    }
    assert np.ceil(0.2 * 512**2) == search_2d.MIN_PIXELS


def test_shipped_table_is_what_a_search_finds(shipped, found):
    assert len(shipped) == 1000
    assert shipped.weighting == NATIVE
    assert shipped.head(FEW).digest() == found.digest()
    last = search.search_2d(2, first_class=998)
    assert shipped.part(998, 1000).digest() == last.digest()


def test_shipped_classes_are_as_the_published_ones_are_distributed(shipped):
    # The released thousand classes took 46 candidates each; this many have 2 .. 7 maps.
    published = np.array([231, 294, 218, 146, 77, 34])
    here = np.bincount(shipped.num_maps, minlength=8)[2:]
    assert (np.abs(here - published) < 4 * np.sqrt(here + published)).all()
    assert abs((shipped.attempts + 1).mean() - 46) < 4 * 46 / np.sqrt(1000)
    # The published chains come to NaN under 4.0 % of the rows of 100 classes.
    assert 0.03 < 1 - shipped.drawable.mean() < 0.06
    assert shipped.drawable[:, [0, 2]].all()


@pytest.mark.parametrize(("threads", "block"), [(1, 2), (3, 1)])
def test_search_2d_is_the_same_for_any_threads_and_blocks(found, monkeypatch, threads, block):
    monkeypatch.setattr(search, "_BLOCK", block)
    assert search.search_2d(3, num_threads=threads).digest() == found.head(3).digest()


def test_parameters_are_exact_in_float32(found):
    ticks = found.maps.astype(np.float64) * 2**24
    assert (ticks % 2 == 1).all()
    assert (np.abs(ticks) < 2**24).all()


def test_early_test_drops_no_accepted_class(shipped):
    key = philox.dataset_key(0, table.FRACTALDB)
    for category in range(20):
        maps = shipped.class_maps(category).astype(np.float64).tolist()
        shares = oracle.shares_of([abs(a * d - b * c) for a, b, c, d, _, _ in maps])
        chosen = oracle.choices_2d(key, category, int(shipped.attempts[category]), shares)
        for count, least in search_2d.EARLY:
            hit = round(oracle.fill_rate(oracle.chain_2d(maps, chosen[: count - 1])) * 512**2)
            # Twice as far from all points being different would still be kept.
            assert count - 1.5 * (count - hit) >= least


@pytest.mark.parametrize("points", [1000, 20_000])
def test_measure_rows_follows_the_law(shipped, points):
    # Classes with a row at each side of the limit.
    label = int(np.flatnonzero(~shipped.drawable.all(axis=1))[0])
    part = shipped.part(label, label + 1)
    drawable, boxes = measure_rows(part, (0.4, points))
    halves, maps = chain_halves(points), part.class_maps(0)
    chosen = oracle.select_2d(class_records_probabilities(maps), halves)
    weights = oracle.weights_2d(0.4)
    with np.errstate(over="ignore", invalid="ignore"):
        bounded = [oracle.row_is_drawable(maps, row, chosen.reshape(-1)[: points - 1]) for row in weights]
        expected = [oracle.box_2d(maps, row, chosen, points, ifs_2d.WARMUP) for row in weights]
    np.testing.assert_array_equal(drawable[0], bounded)
    np.testing.assert_array_equal(boxes[0][bounded], np.array(expected)[bounded])
    assert (boxes[0][np.invert(bounded)] == 0).all()


def class_records_probabilities(maps):
    return oracle.shares_of([abs(a * d - b * c) for a, b, c, d, _, _ in maps.astype(np.float64).tolist()])


def test_classes_of_eight_maps_can_be_measured():
    maps = np.random.default_rng(0).uniform(-0.5, 0.5, (9, 6)).astype(np.float32)
    imported = IFSTable.of_maps(np.array([8, 1]), maps)
    assert class_records(imported)["num_maps"].tolist() == [8, 1]
    result = measured(imported, (0.4, 1000))
    assert result.drawable.all()
    assert np.abs(result.boxes).max() < 10
    np.testing.assert_array_equal((result.maps, fractaldb_weights(0.4)[2])[0], maps)


def test_extend_measured_continues(shipped):
    source = IFSTable.of_maps(shipped.num_maps[:4], shipped.maps[: shipped.first[4]])
    whole = extend_measured(IFSTable.empty(3, 6, (0.1, 500)), source)
    seen = []
    more = extend_measured(whole.head(3), source, progress=lambda done, total: seen.append((done, total)))
    assert more.digest() == whole.digest()
    assert seen == [(4, 4)]


def test_search_to_file_continues_an_interrupted_search(tmp_path, found, monkeypatch):
    monkeypatch.setattr(search, "_BLOCK", 2)
    starts, original = [], search._search_block

    def block(key, first, count, like):
        if first == 2 and not starts.count(2):
            starts.append(2)
            raise KeyboardInterrupt
        starts.append(first)
        return original(key, first, count, like)

    monkeypatch.setattr(search, "_search_block", block)
    path = tmp_path / "table.safetensors"
    with pytest.raises(KeyboardInterrupt):
        search_to_file(path, 4, table.FRACTALDB, num_threads=1)
    assert load_table(tmp_path / "table.safetensors.partial").digest() == found.head(2).digest()
    assert search_to_file(path, 4, table.FRACTALDB, num_threads=1).digest() == found.head(4).digest()
    assert load_table(path).digest() == found.head(4).digest()
    assert starts[-1] == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.safetensors"]


def test_search_to_file_refuses_the_partial_file_of_another_dataset(tmp_path):
    table.save_table(empty_table(table.EXFRACTALDB, table.SPACE), tmp_path / "table.safetensors.partial")
    with pytest.raises(ValueError, match=r"out: .*formula 2; allowed: formula 3"):
        search_to_file(tmp_path / "table.safetensors", 2, table.FRACTALDB)
