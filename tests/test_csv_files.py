"""Class parameters read from the CSV files of the original generators."""

from pathlib import Path

import numpy as np
import pytest

from fdsl_gpu.class_tables import csv_files, exfractaldb_table, save_table
from fdsl_gpu.class_tables.csv_files import load_csv_folder, read_maps
from fdsl_gpu.formulas.exfractaldb import ExFractalDB
from fdsl_gpu.formulas.rcdb import CLASS, RCDB
from fdsl_gpu.philox import dataset_key

RCDB_ROWS = {
    "Vertex": 57,
    "Perlin_noise": 1.5,
    "line_width": 0.03,
    "Center_rad": 40,
    "Line_num": 120,
    "Oval_rate_x": 1.25,
    "Oval_rate_y": 1.75,
    "start_pos_h": 300.5,
    "start_pos_w": 200.0,
}


def write_maps(file: Path, maps: np.ndarray) -> None:
    """As the released searches do: savetxt of the parameters and p."""
    file.parent.mkdir(parents=True, exist_ok=True)
    side = 2 if maps.shape[1] == 6 else 3
    sizes = np.abs(np.linalg.det(maps[:, : side * side].reshape(-1, side, side).astype(np.float64)))
    np.savetxt(file, np.column_stack([maps, sizes / sizes.sum()]), delimiter=",")


def write_rcdb(file: Path, **changes: object) -> None:
    rows = {**RCDB_ROWS, **changes}
    file.write_text("".join(f"{name},{value}\r\n" for name, value in rows.items() if value is not None))


def random_maps(columns: int, counts: list[int], seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1, 1, (count, columns)) for count in counts]


@pytest.mark.parametrize("columns", [6, 12])
def test_maps_come_back_in_the_order_of_the_names(columns: int, tmp_path: Path) -> None:
    classes = random_maps(columns, [2, 7, 8, 1, 3])
    for maps, number in zip(classes, [4, 0, 10, 2, 3], strict=True):
        write_maps(tmp_path / f"{number:05d}.csv", maps)
    counts, maps = read_maps(tmp_path, columns)
    order = [1, 3, 4, 0, 2]
    assert counts.tolist() == [len(classes[i]) for i in order]
    assert np.array_equal(maps, np.concatenate([classes[i] for i in order]).astype(np.float32))


def test_maps_one_folder_deeper_are_ordered_by_file_name(tmp_path: Path) -> None:
    # FractalDB-1k is published as csv0/00001.csv .. csv39/01000.csv.
    classes = random_maps(6, [2, 3, 4])
    for maps, name in zip(classes, ["csv10/00250", "csv0/00001", "csv2/00060"], strict=True):
        write_maps(tmp_path / f"{name}.csv", maps)
    assert read_maps(tmp_path, 6)[0].tolist() == [3, 4, 2]


def test_one_file_is_one_class(tmp_path: Path) -> None:
    write_maps(tmp_path / "00003.csv", random_maps(6, [3])[0])
    assert read_maps(tmp_path / "00003.csv", 6)[0].tolist() == [3]


def test_is_csv_tells_folders_and_csv_files_from_tables(tmp_path: Path) -> None:
    assert csv_files.is_csv(tmp_path)
    assert csv_files.is_csv("classes/00001.CSV")
    assert not csv_files.is_csv("table.safetensors")


def test_exfractaldb_folder_is_the_table_it_was_written_from(tmp_path: Path) -> None:
    table = exfractaldb_table(20)
    for label in range(20):
        write_maps(tmp_path / f"{label:06d}.csv", table.class_maps(label))
    imported = load_csv_folder(tmp_path, 12)
    assert np.array_equal(imported.maps, table.maps)
    assert np.array_equal(imported.first, table.first)
    # A row at the border of running away may do so under one random sequence and not under another.
    assert (imported.drawable == table.drawable).mean() > 0.98
    save_table(imported, tmp_path / "classes.safetensors")


def test_exfractaldb_fingerprint_is_of_the_values_not_of_the_path(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_maps(tmp_path / name / "00000.csv", exfractaldb_table(1).class_maps(0))
    one, two = (ExFractalDB(num_classes=1, class_table=str(tmp_path / name)).fingerprint() for name in ("one", "two"))
    assert one == two
    assert one != ExFractalDB(num_classes=1).fingerprint()


def lines(*rows: str) -> str:
    return "\n".join(rows) + "\n"


FINE = "0.5,0,0,0.5,0.1,0.2,0.5"
MALFORMED = {
    "columns": (lines(FINE, "0.5,0,0,0.5,0.1"), ["line 2", "5 columns", "7: a, b, c, d, e, f, p"]),
    "space": (lines("0.1," * 12 + "1"), ["line 1", "13 columns (ExFractalDB?)", "FractalDB only"]),
    "rcdb": (lines("Vertex,57"), ["line 1", "2 columns", "RCDB"]),
    "not a number": (lines(FINE, "0.5,0,x,0.5,0.1,0.2,0.5"), ["line 2, column 3", "'x'", "a finite number"]),
    "not finite": (lines("0.5,0,0,0.5,inf,0.2,0.5", FINE), ["line 1, column 5", "'inf'"]),
    "too large": (lines("0.5,0,0,0.5,1e39,0.2,0.5", FINE), ["line 1, column 5", "'1e39'"]),
    "empty cell": (lines("0.5,,0,0.5,0,0.2,0.5", FINE), ["line 1, column 2", "''"]),
    "too many maps": (lines(*[FINE] * 9), ["9 maps", "1 .. 8"]),
    "no maps": ("\n", ["0 maps"]),
    "flat": (lines("1,1,1,1,0,0,1"), ["determinant 0"]),
    "probabilities": (
        lines("0.5,0,0,0.5,0.1,0.2,0.4995", "0.5,0,0,0.5,0,0,0.502"),
        ["line 2, column 7", "p = 0.502", "0.5 within 0.001"],
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_maps_are_refused_with_their_place(case: str, tmp_path: Path) -> None:
    text, expected = MALFORMED[case]
    write_maps(tmp_path / "00000.csv", random_maps(6, [2])[0])
    (tmp_path / "00001.csv").write_text(text)
    with pytest.raises(ValueError, match="class_table") as error:
        read_maps(tmp_path, 6)
    for part in ["00001.csv", "received", "allowed", *expected]:
        assert part in str(error.value)


def test_folders_without_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without CSV files"):
        read_maps(tmp_path, 6)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_maps(tmp_path / "nowhere", 6)
    (tmp_path / "00000.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not text"):
        read_maps(tmp_path, 6)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_maps(tmp_path / folder / "00000.csv", random_maps(6, [2])[0])
    with pytest.raises(ValueError, match="has too"):
        read_maps(tmp_path, 6)


def test_rcdb_reads_the_released_class_files(tmp_path: Path) -> None:
    write_rcdb(tmp_path / "00001.csv", Vertex=300, Line_num=250)
    write_rcdb(tmp_path / "00000.csv")
    formula = RCDB(num_classes=2, class_table=str(tmp_path))
    assert formula.class_parameters(0) == {
        "vertices": 57,
        "lines": 120,
        "coefficient": 1.5,
        "line_width": 0.03,
        "radius": 40.0,
        "oval_x": 1.25,
        "oval_y": 1.75,
        "center_x": 200.0,
        "center_y": 300.5,
    }
    assert formula.drawing()["max_vertices"] == 300
    assert formula.drawing()["max_lines"] == 250
    record = formula.draw(dataset_key(0, 1), np.zeros(2, np.int64), np.arange(2))
    assert record["center_y"][0] == 300.5
    assert record["center_y"][1] != 300.5


def test_rcdb_table_written_from_the_library_draws_the_same_records(tmp_path: Path) -> None:
    own = RCDB(num_classes=5)
    names = ("Vertex", "Line_num", "Perlin_noise", "line_width", "Center_rad", "Oval_rate_x", "Oval_rate_y")
    for label in range(5):
        values = own.class_parameters(label)
        fields = dict(zip((*names, "start_pos_w", "start_pos_h"), values.values(), strict=True))
        write_rcdb(tmp_path / f"{label:05d}.csv", **fields)
    imported = RCDB(num_classes=5, class_table=str(tmp_path))
    key, labels = dataset_key(3, 1), np.repeat(np.arange(5), 2)
    instances = np.tile([0, 7], 5)
    assert own.draw(key, labels, instances).tobytes() == imported.draw(key, labels, instances).tobytes()


def test_rcdb_fingerprint_is_of_the_values_not_of_the_path(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_rcdb(tmp_path / name / "00000.csv")
    one, two = (RCDB(num_classes=1, class_table=str(tmp_path / name)).fingerprint() for name in ("one", "two"))
    assert one == two
    assert one != RCDB(num_classes=1).fingerprint()
    assert set(CLASS.names or ()) == set(RCDB(num_classes=1).class_parameters(0))


RCDB_MALFORMED = {
    "missing": ({"Vertex": None}, ["no Vertex", "all of"]),
    "unknown": ({"Vertices": 3}, ["line 10, column 1", "'Vertices'"]),
    "few vertices": ({"Vertex": 2}, ["line 1, column 2", "an integer in [3, 1000] for Vertex"]),
    "part of a line": ({"Line_num": 1.5}, ["line 5, column 2", "1.5", "an integer in [1, 1000]"]),
    "not a number": ({"line_width": "wide"}, ["line 3, column 2", "'wide'"]),
    "two values": ({"line_width": "1,2"}, ["line 3", "3 columns"]),
}


@pytest.mark.parametrize("case", RCDB_MALFORMED)
def test_malformed_rcdb_files_are_refused_with_their_place(case: str, tmp_path: Path) -> None:
    changes, expected = RCDB_MALFORMED[case]
    write_rcdb(tmp_path / "00000.csv", **changes)
    with pytest.raises(ValueError, match="class_table") as error:
        RCDB(num_classes=1, class_table=str(tmp_path))
    for part in ["00000.csv", "received", "allowed", *expected]:
        assert part in str(error.value)


def test_rcdb_with_too_few_files_says_how_many(tmp_path: Path) -> None:
    write_rcdb(tmp_path / "00000.csv")
    with pytest.raises(ValueError, match="with 1 classes; allowed: at least num_classes=2"):
        RCDB(num_classes=2, class_table=str(tmp_path))
