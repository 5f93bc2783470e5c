"""Class tables: what they hold, and files that are refused with a reason."""

import dataclasses
import json
import os
import pickle

import numpy as np
import pytest
from safetensors.numpy import save

from fdsl_gpu.class_tables import IFSTable, builtin, load_table, save_table, table
from fdsl_gpu.class_tables.class_records import next_drawable


@pytest.fixture(scope="module")
def shipped() -> IFSTable:
    return load_table(builtin("exfractaldb-1k"))


@pytest.fixture(scope="module")
def plane() -> IFSTable:
    return load_table(builtin("fractaldb-1k"))


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


def test_a_row_that_cannot_be_drawn_gives_way_to_the_next_around_the_end():
    drawable = np.array([[True, False, False, True, False], [False, False, True, False, False]])
    assert next_drawable(drawable).tolist() == [[0, 3, 3, 3, 0], [2, 2, 2, 2, 2]]


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


def _metadata(path):
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return file.metadata()["fdsl_gpu"]


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
