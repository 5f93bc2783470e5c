import dataclasses
import json
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import save

from fdsl_gpu import search
from fdsl_gpu.class_tables import (
    IFSTable,
    builtin,
    cache,
    exfractaldb_table,
    fractaldb_table,
    load_table,
    measured_table,
    save_table,
    table,
)
from fdsl_gpu.class_tables.cache import cache_dir, cached_table


@pytest.fixture(scope="module")
def shipped() -> IFSTable:
    return load_table(builtin("exfractaldb-1k"))


@pytest.fixture(scope="module")
def plane() -> IFSTable:
    return load_table(builtin("fractaldb-1k"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A cache folder of the test's own, which does not exist yet."""
    monkeypatch.setenv("FDSL_GPU_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_table_has_what_it_says(shipped):
    few = shipped.head(5)
    assert len(few) == 5
    np.testing.assert_array_equal(few.num_maps, [len(few.class_maps(label)) for label in range(5)])
    np.testing.assert_array_equal(np.concatenate([few.class_maps(label) for label in range(5)]), few.maps)
    assert shipped.head(1000) is shipped
    assert IFSTable.concatenate([IFSTable.empty(), few, IFSTable.empty()]).digest() == few.digest()
    assert few.digest() != shipped.head(6).digest()
    with pytest.raises(ValueError, match="read-only"):
        few.maps[0, 0] = 1


def test_table_in_the_plane_has_boxes(plane):
    few = plane.head(3)
    assert (few.columns, few.drawable.shape, few.boxes.shape) == (6, (3, 25), (3, 25, 4))
    assert (few.boxes[few.drawable][:, :2] <= 0).all()
    assert (few.boxes[few.drawable][:, 2:] >= 0).all()
    parts = [plane.part(0, 1), plane.part(1, 3)]
    assert IFSTable.concatenate(parts).digest() == few.digest()
    unmeasured = IFSTable.of_maps(few.num_maps, few.maps)
    assert (unmeasured.drawable.shape, unmeasured.boxes.shape, unmeasured.weighting) == ((3, 0), (3, 0, 4), None)
    assert unmeasured.maps_digest() == few.maps_digest()
    assert dataclasses.replace(few, weighting=(0.1, 200_000)).digest() != few.digest()


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("boxes", lambda a: a[:, :-1]),
        ("boxes", lambda a: a.astype(np.float64)),
        ("boxes", lambda a: np.where(a == a[0, 0, 0], np.float32(np.inf), a)),
        ("drawable", lambda a: a[:, :0]),
        ("drawable", lambda a: a & (np.arange(len(a)) != 1)[:, None]),
        ("maps", lambda a: np.repeat(a, 2, axis=1)),
    ],
    ids=["24 rows", "float64", "infinite", "not measured", "class 1 runs away", "12 columns"],
)
def test_table_in_the_plane_refuses_arrays_that_do_not_fit(plane, field, change):
    few = plane.head(4)
    with pytest.raises(ValueError, match=f"^{field}: "):
        dataclasses.replace(few, **{field: change(getattr(few, field))})


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("first", lambda a: a[:-1]),
        ("first", lambda a: a.astype(np.int32)),
        ("first", lambda a: a + 1),
        ("first", lambda a: np.where(np.arange(a.size) == 1, a[2], a)),
        ("maps", lambda a: a.astype(np.float64)),
        ("maps", lambda a: np.where(a == a[0, 0], np.float32(np.nan), a)),
        ("maps", lambda a: np.zeros_like(a)),
        ("attempts", lambda a: -1 - a),
        ("drawable", lambda a: a[:, :-1]),
        ("drawable", lambda a: np.zeros_like(a)),
    ],
    ids=["short", "int32", "offset", "class without maps", "float64", "NaN", "flat", "negative", "144 rows", "none"],
)
def test_table_refuses_arrays_that_do_not_fit(shipped, field, change):
    few = shipped.head(5)
    with pytest.raises(ValueError, match=f"^{field}: "):
        dataclasses.replace(few, **{field: change(getattr(few, field))})


def test_load_table_returns_what_save_table_wrote(tmp_path, shipped):
    few = dataclasses.replace(shipped.head(7), formula=9)
    for name in ("a", "b"):
        save_table(few, tmp_path / name)
    back = load_table(str(tmp_path / "a"))
    assert back.formula == 9
    for field in ("first", "maps", "attempts", "drawable"):
        np.testing.assert_array_equal(getattr(back, field), getattr(few, field))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~_umask()


@pytest.mark.parametrize("measured", [True, False], ids=["measured", "not measured"])
def test_load_table_returns_what_save_table_wrote_in_the_plane(tmp_path, plane, measured):
    few = plane.head(7) if measured else IFSTable.of_maps(plane.num_maps[:7], plane.head(7).maps)
    save_table(few, tmp_path / "a")
    back = load_table(tmp_path / "a")
    assert back.digest() == few.digest()
    assert (back.columns, back.weighting, back.formula) == (6, few.weighting, 3)


def test_shipped_tables_are_small():
    assert builtin("exfractaldb-1k").stat().st_size < 300_000
    assert builtin("fractaldb-1k").stat().st_size < 600_000


@pytest.mark.parametrize("name", ["exfractaldb-1k", "fractaldb-1k"])
def test_shipped_tables_are_as_they_would_be_written_today(tmp_path, name):
    save_table(load_table(builtin(name)), tmp_path / "again")
    again, shipped = (json.loads(_metadata(path)) for path in (tmp_path / "again", builtin(name)))
    assert {**again, "library_version": ""} == {**shipped, "library_version": ""}


def test_save_table_leaves_the_old_file_when_it_fails(tmp_path, shipped, monkeypatch):
    path = tmp_path / "table.safetensors"
    save_table(shipped.head(3), path)

    def full_disk(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_table(shipped, path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.safetensors"]
    assert len(load_table(path)) == 3


def _about(**changes):
    return {"fdsl_gpu": json.dumps({"format": table.FORMAT, "version": table.VERSION, "formula": 2, **changes})}


DAMAGE = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[:-1],
    "cut in the header": lambda content: content[:40],
    "one bit flipped": lambda content: content[:-1] + bytes([content[-1] ^ 0x80]),
    "not safetensors": lambda content: b"column,row\n" * 20,
    "pickle": lambda content: pickle.dumps({"maps": [1.0]}),
    "another safetensors file": lambda content: save({"weight": np.zeros(3)}, {"format": "pt"}),
    "no metadata": lambda content: save({"weight": np.zeros(3)}),
    "description damaged": lambda content: save({"maps": np.zeros(3)}, {"fdsl_gpu": "{"}),
    "description of another kind": lambda content: save({"maps": np.zeros(3)}, {"fdsl_gpu": "[1]"}),
    "array missing": lambda content: save({"drawable": np.zeros((1, 19), np.uint8)}, _about()),
    "weighting of another kind": lambda content: content.replace(
        b'\\"formula\\": 2', b'\\"formula\\": 2, \\"weighting\\": [1]'
    ),
    "formula not a number": lambda content: content.replace(b'formula\\": 2', b'formula\\": "'),
    "wrong shape": lambda content: save({"drawable": np.zeros(3, np.uint8)}, _about()),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_load_table_refuses_a_file_that_is_not_a_whole_table(tmp_path, shipped, damage):
    path = tmp_path / "table.safetensors"
    save_table(shipped.head(3), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"^class_table: .*table\.safetensors.*allowed: .*fdsl_gpu search"):
        load_table(path)


def test_load_table_refuses_another_version(tmp_path):
    path = tmp_path / "table.safetensors"
    path.write_bytes(save({"maps": np.zeros(3)}, _about(version=99)))
    with pytest.raises(ValueError, match=r"class_table: .*version 99; allowed: version 1\. Pass a table"):
        load_table(path)


def test_load_table_says_that_there_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"class_table: .*absent.*fdsl_gpu search"):
        load_table(tmp_path / "absent")
    with pytest.raises(ValueError, match="not a file"):
        load_table(tmp_path)


def test_builtin_names_what_ships():
    with pytest.raises(ValueError, match="'exfractaldb-1m'; allowed: 'exfractaldb-1k'"):
        builtin("exfractaldb-1m")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"FDSL_GPU_CACHE_DIR": "/a/b", "XDG_CACHE_HOME": "/c"}, "/a/b"),
        ({"FDSL_GPU_CACHE_DIR": "", "XDG_CACHE_HOME": "/c"}, "/c/fdsl-gpu"),
        ({"XDG_CACHE_HOME": ""}, "/home/someone/.cache/fdsl-gpu"),
        ({"FDSL_GPU_CACHE_DIR": "~/x"}, "/home/someone/x"),
    ],
    ids=["own", "XDG", "home", "tilde"],
)
def test_cache_dir(monkeypatch, environment, expected):
    for name in ("FDSL_GPU_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert str(cache_dir()) == expected


@pytest.mark.parametrize("num_classes", [1, 999, 1000])
def test_exfractaldb_table_needs_no_search_for_shipped_classes(folder, monkeypatch, shipped, num_classes):
    _forbid_search(monkeypatch)
    assert exfractaldb_table(num_classes).digest() == shipped.head(num_classes).digest()
    assert not folder.exists()


@pytest.mark.parametrize("num_classes", [0, 2**16 + 1, True, "1k"])
def test_exfractaldb_table_checks_num_classes(num_classes):
    with pytest.raises((ValueError, TypeError), match="num_classes"):
        exfractaldb_table(num_classes)


def test_exfractaldb_table_continues_shipped_and_cached_classes(folder, monkeypatch, shipped):
    starts = _record_starts(monkeypatch)
    first = exfractaldb_table(1004)
    assert first.head(1000).digest() == shipped.digest()
    assert exfractaldb_table(1006).head(1004).digest() == first.digest()
    assert starts == [1000, 1004]

    _forbid_search(monkeypatch)
    (folder / "exfractaldb-v1.lock").unlink()
    assert len(exfractaldb_table(1005)) == 1005
    assert [path.name for path in folder.iterdir()] == ["exfractaldb-v1.safetensors"]


def test_cached_table_replaces_a_damaged_cache(folder, shipped):
    folder.mkdir()
    (folder / "exfractaldb-v1.safetensors").write_bytes(b"half a table")
    (folder / ".exfractaldb-v1.safetensors.abandoned.safetensors").write_bytes(b"left by a killed search")
    with pytest.warns(UserWarning, match="damaged"):
        found = cached_table(3, IFSTable.empty())
    assert found.digest() == shipped.head(3).digest()
    assert sorted(path.name for path in folder.iterdir()) == ["exfractaldb-v1.lock", "exfractaldb-v1.safetensors"]
    assert len(load_table(folder / "exfractaldb-v1.safetensors")) == 3


def test_exfractaldb_table_says_before_the_search_that_it_cannot_write(tmp_path, monkeypatch):
    _forbid_search(monkeypatch)
    (tmp_path / "file").touch()
    monkeypatch.setenv("FDSL_GPU_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(OSError, match=r"file/cache.*FDSL_GPU_CACHE_DIR.*class_table=PATH"):
        exfractaldb_table(1001)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to a read-only folder")
def test_exfractaldb_table_says_that_the_cache_is_read_only(folder, monkeypatch):
    _forbid_search(monkeypatch)
    folder.mkdir(mode=0o555)
    with pytest.raises(PermissionError, match="FDSL_GPU_CACHE_DIR"):
        exfractaldb_table(1001)


@pytest.mark.parametrize("has_tqdm", [True, False], ids=["tqdm", "plain"])
def test_exfractaldb_table_shows_progress_on_a_terminal(folder, monkeypatch, capsys, has_tqdm):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    if not has_tqdm:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    exfractaldb_table(1001, progress=False)
    assert capsys.readouterr().err == ""
    exfractaldb_table(1002)
    shown = capsys.readouterr().err
    assert "searching 1002 classes" in shown
    assert "1002/1002" in shown


CHILD = """
import time
from fdsl_gpu import search
from fdsl_gpu.class_tables import IFSTable
from fdsl_gpu.class_tables.cache import cached_table
search._CHECKPOINT_SECONDS = 0.05
original, starts = search._search_block, []
def block(key, first, count, formula):
    starts.append(first)
    time.sleep(0.2)
    return original(key, first, count, formula)
search._search_block = block
found = cached_table({num_classes}, IFSTable.empty())
print(found.digest(), len(starts))
"""


def _child(num_classes):
    command = [sys.executable, "-c", CHILD.format(num_classes=num_classes)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_one_process_searches_and_the_others_wait(folder, shipped):
    search.search_3d(1)
    children = [_child(20) for _ in range(2)]
    results = [child.communicate(timeout=60) for child in children]
    assert [child.returncode for child in children] == [0, 0], results
    digests, searched = zip(*(output.split() for output, _ in results), strict=True)
    assert set(digests) == {shipped.head(20).digest()}
    assert sorted(map(int, searched)) == [0, 3]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill"])
def test_a_search_that_is_stopped_leaves_whole_files_and_no_lock(folder, shipped, how):
    search.search_3d(1)
    path = folder / "exfractaldb-v1.safetensors"
    with _child(5000) as child:
        deadline = time.monotonic() + 60
        while not path.exists() and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        child.send_signal(how)
        child.communicate(timeout=60)
    found = load_table(path)
    assert 0 < len(found) < 5000
    assert found.digest() == shipped.head(len(found)).digest()
    if how == signal.SIGINT:
        assert child.returncode != 0
        assert sorted(entry.name for entry in folder.iterdir()) == ["exfractaldb-v1.lock", path.name]

    more = cached_table(len(found) + 1, IFSTable.empty())
    assert more.digest() == shipped.head(len(more)).digest()


def test_fractaldb_table_needs_no_search_for_shipped_classes(folder, monkeypatch, plane):
    _forbid_search(monkeypatch)
    assert fractaldb_table(30).digest() == plane.head(30).digest()
    assert not folder.exists()


def test_fractaldb_table_continues_shipped_and_cached_classes(folder, monkeypatch, plane):
    starts = _record_starts(monkeypatch)
    first = fractaldb_table(1001)
    assert first.head(1000).digest() == plane.digest()
    assert fractaldb_table(1002).head(1001).digest() == first.digest()
    assert starts == [1000, 1001]
    assert sorted(path.name for path in folder.iterdir()) == ["fractaldb-v1.lock", "fractaldb-v1.safetensors"]


def test_measured_table_is_cached_if_it_took_long(folder, monkeypatch, plane):
    few = plane.head(3)
    assert measured_table(few, few.weighting) is few
    quick = measured_table(few, (0.1, 1000))
    assert quick.weighting == (0.1, 1000)
    assert not folder.exists()

    monkeypatch.setattr(cache, "_QUICK", 0)
    slow = measured_table(few, (0.1, 1000))
    assert slow.digest() == quick.digest()
    files = sorted(path.name for path in folder.iterdir())
    assert [name[:8] for name in files] == ["rows-v1-", "rows-v1-"]
    assert files[1].endswith("-0.1-1000.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr(search, "measure_rows", None)
        assert measured_table(few, (0.1, 1000)).digest() == slow.digest()
        with pytest.raises(TypeError):
            measured_table(few, (0.1, 2000))
    (folder / files[1]).write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="damaged"):
        assert measured_table(few, (0.1, 1000)).digest() == slow.digest()


def _metadata(path):
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return file.metadata()["fdsl_gpu"]


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _forbid_search(monkeypatch):
    def block(*_):
        raise AssertionError("nothing should be searched here")

    monkeypatch.setattr(search, "_search_block", block)


def _record_starts(monkeypatch):
    starts, original = [], search._search_block

    def block(key, first, count, formula):
        starts.append(first)
        return original(key, first, count, formula)

    monkeypatch.setattr(search, "_search_block", block)
    return starts
