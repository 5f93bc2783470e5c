"""Where class tables come from: shipped, cached, searched once by whoever comes first."""

import os
import signal
import subprocess
import sys
import time

import pytest

from fdsl_gpu import search
from fdsl_gpu.class_tables import (
    IFSTable,
    builtin,
    cache,
    exfractaldb_table,
    fractaldb_table,
    load_table,
    measured_table,
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
    other = plane.part(3, 6)
    assert measured_table(other, (0.1, 1000)).maps_digest() == other.maps_digest()
    with monkeypatch.context() as patch:
        patch.setattr(search, "measure_rows", None)
        assert measured_table(few, (0.1, 1000)).digest() == slow.digest()
        with pytest.raises(TypeError):
            measured_table(few, (0.1, 2000))
    (folder / files[1]).write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="damaged"):
        assert measured_table(few, (0.1, 1000)).digest() == slow.digest()


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
