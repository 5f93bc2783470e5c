"""The search of classes in space (ExFractalDB): the law, interruptions, and tables that continue."""

import numpy as np
import pytest

from fdsl_gpu import philox, search
from fdsl_gpu.class_tables import IFSTable, builtin, load_table, save_table, table
from fdsl_gpu.cpu_kernels import candidates
from fdsl_gpu.cpu_kernels import search as kernel
from fdsl_gpu.formulas.ifs_weights import IDENTITY_ROW, weights_table
from fdsl_gpu.search import extend_table, search_3d, search_to_file
from tests.oracles import search as oracle


@pytest.fixture(scope="module")
def twelve() -> IFSTable:
    return search_3d(12)


def test_weights_table_is_the_released_one():
    weights = weights_table()
    assert weights.dtype == np.float32
    np.testing.assert_array_equal(weights, oracle.weights())
    assert (weights[IDENTITY_ROW] == 1).all()
    assert len(np.unique(weights, axis=0)) == 144
    np.testing.assert_array_equal(weights[108], weights[99])


def test_formula_number_is_that_of_the_formula():
    from fdsl_gpu.formulas.exfractaldb import ExFractalDB

    assert search.EXFRACTALDB == ExFractalDB.NUMBER


@pytest.mark.parametrize("category", [6, 8], ids=["four rows run away", "all rows drawable"])
def test_search_3d_follows_the_law(twelve, category):
    maps, attempt, chosen = oracle.find_class(philox.dataset_key(0, 2), category)
    assert twelve.attempts[category] == attempt
    np.testing.assert_array_equal(twelve.class_maps(category), np.array(maps))
    rows = sorted({*np.flatnonzero(~twelve.drawable[category]), *range(0, 145, 5)})
    expected = [oracle.drawable(maps, chosen, oracle.weights()[row]) for row in rows]
    np.testing.assert_array_equal(twelve.drawable[category, rows], expected)


def test_parameters_are_exact_in_float32(twelve):
    ticks = twelve.maps.astype(np.float64) * 2**24
    assert (ticks % 2 == 1).all()
    assert (np.abs(ticks) < 2**24).all()


def test_law_in_the_files_is_that_of_the_kernel():
    law = {"maps": [candidates.MIN_MAPS, candidates.MAX_MAPS], "points": kernel.STEPS}
    assert law | {"limit": kernel.LIMIT, "min_variance": kernel.MIN_VARIANCE} == table._LAWS[table.SPACE]


def test_shipped_table_is_what_a_search_finds(twelve):
    shipped = load_table(builtin("exfractaldb-1k"))
    assert len(shipped) == 1000
    assert shipped.head(12).digest() == twelve.digest()
    last = search_3d(5, first_class=995)
    np.testing.assert_array_equal(shipped.maps[shipped.first[995] :], last.maps)
    np.testing.assert_array_equal(shipped.attempts[995:], last.attempts)
    np.testing.assert_array_equal(shipped.drawable[995:], last.drawable)


@pytest.mark.parametrize(("threads", "block"), [(1, 1), (3, 5), (None, 100)])
def test_search_3d_is_the_same_for_any_threads_and_blocks(twelve, monkeypatch, threads, block):
    monkeypatch.setattr(search, "_BLOCK", block)
    assert search_3d(12, num_threads=threads).digest() == twelve.digest()


def test_search_3d_of_fewer_classes_is_the_beginning(twelve):
    assert search_3d(4).digest() == twelve.head(4).digest()


def test_extend_table_continues_after_the_classes_it_has(twelve, monkeypatch):
    starts = _record_starts(monkeypatch)
    assert extend_table(twelve.head(9), 12).digest() == twelve.digest()
    assert starts == [9]


def test_search_3d_depends_on_the_formula(twelve):
    other = search_3d(2, formula=77)
    assert other.formula == 77
    assert not np.array_equal(other.maps[:2], twelve.maps[:2])


def test_search_3d_reports_progress(monkeypatch):
    monkeypatch.setattr(search, "_BLOCK", 2)
    seen = []
    search_3d(5, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 5), (4, 5), (5, 5)]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"num_classes": 0}, "num_classes"),
        ({"num_classes": 2.5}, "num_classes"),
        ({"num_classes": 2**16, "first_class": 1}, "num_classes"),
        ({"num_classes": 1, "first_class": -1}, "first_class"),
        ({"num_classes": 1, "num_threads": 0}, "num_threads"),
        ({"num_classes": 1, "formula": -1}, "formula"),
    ],
)
def test_search_3d_says_what_is_wrong(arguments, name):
    with pytest.raises((ValueError, TypeError), match=name):
        search_3d(**arguments)


@pytest.mark.parametrize("offset", [0.0, 3.0, 2.0**19], ids=["centred", "near", "far"])
def test_fast_test_never_rejects_what_the_law_accepts(offset):
    rng = np.random.default_rng(0)
    accepted = 0
    for nudge in (-1e-6, -1e-12, -1e-15, 0.0, 1e-15, 1e-12, 1e-6):
        # Coordinates +-r and two extremes at +-1 have a variance of about r^2, set close to the threshold.
        radius = np.sqrt(kernel.MIN_VARIANCE) * (1 + nudge)
        points = rng.permuted(np.where(np.arange(29_997) % 2, radius, -radius)).reshape(-1, 3)
        points[0], points[1] = -1.0, 1.0
        points = np.ascontiguousarray(points + offset)
        low, high = points.min(), points.max()
        lanes = np.empty((2, 48))
        if kernel._spread_out(points, low, high):
            accepted += 1
            assert not kernel._hopeless(points.reshape(-1), low, high, *lanes)
    assert accepted >= 1


def test_search_to_file_writes_the_table_and_nothing_else(tmp_path, twelve):
    found = search_to_file(tmp_path / "table.safetensors", 12, progress=False)
    assert found.digest() == twelve.digest()
    assert load_table(tmp_path / "table.safetensors").digest() == twelve.digest()
    assert [path.name for path in tmp_path.iterdir()] == ["table.safetensors"]


def test_search_to_file_continues_an_interrupted_search(tmp_path, twelve, monkeypatch):
    monkeypatch.setattr(search, "_BLOCK", 3)
    with monkeypatch.context() as patch:
        _record_starts(patch, interrupt_at=6)
        with pytest.raises(KeyboardInterrupt):
            search_to_file(tmp_path / "table.safetensors", 12, num_threads=1)
    assert [path.name for path in tmp_path.iterdir()] == ["table.safetensors.partial"]
    assert load_table(tmp_path / "table.safetensors.partial").digest() == twelve.head(6).digest()

    starts = _record_starts(monkeypatch)
    assert search_to_file(tmp_path / "table.safetensors", 12).digest() == twelve.digest()
    assert sorted(starts) == [6, 9]
    assert [path.name for path in tmp_path.iterdir()] == ["table.safetensors"]


def test_search_to_file_needs_no_search_for_a_longer_partial_file(tmp_path, twelve, monkeypatch):
    save_table(twelve, tmp_path / "table.safetensors.partial")
    starts = _record_starts(monkeypatch)
    assert search_to_file(tmp_path / "table.safetensors", 5).digest() == twelve.head(5).digest()
    assert starts == []


def test_search_to_file_refuses_a_damaged_partial_file(tmp_path):
    (tmp_path / "table.safetensors.partial").write_bytes(b"half a table")
    with pytest.raises(ValueError, match=r"out: .*table\.safetensors\.partial.*Delete it"):
        search_to_file(tmp_path / "table.safetensors", 2)


def test_search_to_file_refuses_the_partial_file_of_another_formula(tmp_path):
    save_table(IFSTable.empty(formula=77), tmp_path / "table.safetensors.partial")
    with pytest.raises(ValueError, match=r"out: .*formula 77"):
        search_to_file(tmp_path / "table.safetensors", 2)


def test_search_to_file_says_before_the_search_that_it_cannot_write(tmp_path, monkeypatch):
    starts = _record_starts(monkeypatch)
    with pytest.raises(OSError, match="missing"):
        search_to_file(tmp_path / "missing" / "table.safetensors", 2)
    assert starts == []


def _record_starts(monkeypatch, interrupt_at=None):
    """Note the first class of each block that is searched; one block is interrupted as by Ctrl-C."""
    starts, original = [], search._search_block

    def block(key, first, count, formula):
        if first == interrupt_at:
            raise KeyboardInterrupt
        starts.append(first)
        return original(key, first, count, formula)

    monkeypatch.setattr(search, "_search_block", block)
    return starts


def test_a_folder_as_the_file_to_write_is_refused_before_the_search(tmp_path, monkeypatch):
    monkeypatch.setattr(search, "extend_table", lambda *_: pytest.fail("searched"))
    with pytest.raises(IsADirectoryError, match=r"out: received .*, a folder; .*/classes\.safetensors"):
        search_to_file(tmp_path, 2)
    assert list(tmp_path.parent.glob("*.partial")) == []
