"""Class parameters in the CSV files of the original generators.

The released code writes one file a class, without a header:

* FractalDB and 1p-frac: one line a map, ``a,b,c,d,e,f,p``;
* ExFractalDB and MV-FractalDB: one line a map, ``a,b,c,d,e,f,g,h,i,j,k,l,p``;
* RCDB: one line a parameter, its name and its value (``Vertex,57``), nine in all.

Class c is the c-th file by name, as a dataset rendered from the folder is labelled. Files may lie one folder deeper
(FractalDB-1k is published as ``csv0/00001.csv``, ...); the names count then, not the folders.

Probabilities are |det| / sum |det| here as there, so column p is compared with them and not kept. Parameters are
rounded to float32.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu import philox
from fdsl_gpu.class_tables.table import EXFRACTALDB, PLANE, SPACE, IFSTable, volumes
from fdsl_gpu.formulas.ifs_weights import weights_table
from fdsl_gpu.records import MAX_MAPS

P_TOLERANCE = 1e-3
"""Column p may differ this much from |det| / sum |det|."""

_KINDS = {PLANE: "a, b, c, d, e, f, p", SPACE: "a, b, c, d, e, f, g, h, i, j, k, l, p"}
_DATASETS = {PLANE: "FractalDB", SPACE: "ExFractalDB"}


def is_csv(path: str | os.PathLike[str]) -> bool:
    """Whether ``path`` names CSV files, a folder or one ``.csv``, rather than a class table of this library."""
    return Path(path).suffix.lower() == ".csv" or Path(path).is_dir()


def read_maps(path: str | os.PathLike[str], columns: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Read the affine maps of all classes of a folder, or of the one class of a file.

    Args:
        path: a folder with one CSV file a class, or one CSV file.
        columns: parameters of a map, 6 in the plane or 12 in space; files have one column more, p.

    Returns:
        counts int64 [C], the maps of each class, 1 .. 8; and maps float32 [sum of counts, columns].

    Raises:
        FileNotFoundError: there is no such folder or file.
        ValueError: no CSV file, or a malformed one; the error says where.
    """
    classes = [_class_maps(file, columns) for file in _files(Path(path))]
    return np.array([len(maps) for maps in classes]), np.concatenate(classes)


class Parameter(NamedTuple):
    """A value that every file holds under a name, and what it may be."""

    name: str
    low: float
    high: float
    whole: bool = False


def read_values(path: str | os.PathLike[str], parameters: Sequence[Parameter]) -> NDArray[np.float64]:
    """Read named values of all classes of a folder, or of the one class of a file.

    Args:
        path: a folder with one CSV file a class, or one CSV file; lines ``name,value`` in any order.
        parameters: the parameters that every file must hold, and no others.

    Returns:
        float64 [C, len(parameters)].

    Raises:
        FileNotFoundError: there is no such folder or file.
        ValueError: no CSV file, or a malformed one; the error says where.
    """
    return np.array([_class_values(file, parameters) for file in _files(Path(path))])


def malformed(place: str, received: str, allowed: str, remedy: str) -> ValueError:
    """The error for what stands at ``place``, a file or a line of one."""
    return ValueError(f"class_table: {place}: received {received}; allowed: {allowed}. {remedy}")


def _files(path: Path) -> list[Path]:
    """The CSV files of a folder by name, or those one folder deeper, or the file itself."""
    if not path.exists():
        raise FileNotFoundError(
            f"class_table: there is no {str(path)!r}. Pass a folder with one CSV file a class, one CSV file, or a "
            "class table of this library (.safetensors)."
        )
    if path.is_file():
        return [path]
    files = [file for file in path.glob("*.csv") if file.is_file()] or list(path.glob("*/*.csv"))
    if not files:
        raise malformed(
            repr(str(path)), "a folder without CSV files", "one CSV file a class", "Pass the folder that holds them."
        )
    files.sort(key=lambda file: file.name)
    for one, other in itertools.pairwise(files):
        if one.name == other.name:
            raise malformed(
                repr(str(other)),
                f"a name that {str(one)!r} has too",
                "a name for each class",
                "Rename one, or pass one of the folders.",
            )
    return files


def _lines(file: Path) -> Iterator[tuple[str, list[str]]]:
    """Where each line stands, for errors, and its cells; empty lines are passed over."""
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise malformed(
            repr(str(file)), f"bytes that are not text ({error.reason})", "a text file", "Save it as CSV in UTF-8."
        ) from None
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield f"{str(file)!r}, line {number}", [cell.strip() for cell in line.split(",")]


def _number(place: str, column: int, cell: str) -> float:
    """A finite number in ``column``, counted from 1."""
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    # Tables and records hold float32.
    if not abs(value) < 3e38:
        raise malformed(f"{place}, column {column}", repr(cell), "a finite number", "Correct or remove the file.")
    return value


def _class_maps(file: Path, columns: int) -> NDArray[np.float32]:
    """Maps float32 [n, columns] of one file, whose probabilities have been checked."""
    rows, places = [], []
    for place, cells in _lines(file):
        if len(cells) != columns + 1:
            raise malformed(place, _width(cells, columns), f"{columns + 1}: {_KINDS[columns]}", _remedy(cells, columns))
        rows.append([_number(place, column, cell) for column, cell in enumerate(cells, 1)])
        places.append(place)
    if not 1 <= len(rows) <= MAX_MAPS:
        raise malformed(repr(str(file)), f"{len(rows)} maps", f"1 .. {MAX_MAPS}, one a line", "Remove the file.")
    values = np.array(rows)
    maps = values[:, :columns].astype(np.float32)
    _check_probabilities(file, places, columns + 1, volumes(maps), values[:, columns])
    return maps


def _width(cells: Sequence[str], columns: int) -> str:
    kind = next((f" ({_DATASETS[other]}?)" for other in _KINDS if len(cells) == other + 1 != columns + 1), "")
    return f"{len(cells)} column{'s' * (len(cells) != 1)}{kind}"


def _remedy(cells: Sequence[str], columns: int) -> str:
    if len(cells) == 2:
        return "Files of names and values belong to RCDB."
    return f"Pass a folder that holds files of {_DATASETS[columns]} only."


def _check_probabilities(
    file: Path, places: list[str], columns: int, sizes: NDArray[np.float64], received: NDArray[np.float64]
) -> None:
    """Refuse a file whose last column, of ``columns``, is not |det| / sum |det|."""
    total = np.add.accumulate(sizes)[-1]
    if not total > 0:
        raise malformed(
            repr(str(file)), "maps of determinant 0", "at least one that keeps a volume", "Remove the file."
        )
    wrong = np.abs(received - sizes / total) > P_TOLERANCE
    if wrong.any():
        line = int(np.argmax(wrong))
        raise malformed(
            f"{places[line]}, column {columns}",
            f"p = {received[line]:.6g}",
            f"|det| / sum |det| = {sizes[line] / total:.6g} within {P_TOLERANCE}",
            "Other probabilities cannot be drawn; write these, or remove the file.",
        )


def _class_values(file: Path, parameters: Sequence[Parameter]) -> list[float]:
    """Values of one file in the order of ``parameters``."""
    names = [parameter.name for parameter in parameters]
    values: dict[str, float] = {}
    for place, cells in _lines(file):
        if len(cells) != 2:
            allowed = "2: the name of a parameter and its value"
            raise malformed(place, _width(cells, 1), allowed, "Pass a folder that holds files of RCDB only.")
        name = cells[0]
        if name not in names or name in values:
            received = f"{name!r}{' again' * (name in values)}"
            raise malformed(f"{place}, column 1", received, f"{', '.join(names)}, each once", "Correct the file.")
        values[name] = _value(place, cells[1], parameters[names.index(name)])
    missing = [name for name in names if name not in values]
    if missing:
        raise malformed(repr(str(file)), f"no {', '.join(missing)}", f"all of {', '.join(names)}", "Complete the file.")
    return [values[name] for name in names]


def _value(place: str, cell: str, parameter: Parameter) -> float:
    value = _number(place, 2, cell)
    if not parameter.low <= value <= parameter.high or (parameter.whole and value != int(value)):
        kind = "an integer" if parameter.whole else "a number"
        allowed = f"{kind} in [{parameter.low:g}, {parameter.high:g}] for {parameter.name}"
        raise malformed(f"{place}, column 2", cell, allowed, "Correct or remove the file.")
    return value


def load_csv_folder(path: str | os.PathLike[str], columns: int) -> IFSTable:
    """Read CSV files of affine maps as a class table.

    In space every weight row of every class is tried for running away, which takes 7 ms of one core a class;
    :func:`fdsl_gpu.class_tables.save_table` keeps the result.

    Args:
        path: a folder with one CSV file a class, or one CSV file.
        columns: parameters of a map, 6 for FractalDB, whose weight rows are left to be measured, or 12 for ExFractalDB.

    Raises:
        FileNotFoundError: there is no such folder or file.
        ValueError: no CSV file, or a malformed one; the error says where.
    """
    counts, maps = read_maps(path, columns)
    if columns == PLANE:
        return IFSTable.of_maps(counts, maps)
    first = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        drawable = pool.map(_drawable, range(len(counts)), np.split(maps, first[1:-1]))
        rows = np.stack(list(drawable))
    if not rows.any(axis=1).all():
        file = _files(Path(path))[int(np.argmin(rows.any(axis=1)))]
        raise malformed(repr(str(file)), "maps that run away", "maps that stay bounded", "Remove the file.")
    return IFSTable(first, maps, np.zeros(len(counts), np.int32), rows)


def _drawable(label: int, maps: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Under which of the 145 weight rows maps float32 [n, 12] do not run away.

    The law of the search, with the random choices of candidate 0 of class ``label``.
    """
    from fdsl_gpu.cpu_kernels.search import STEPS, mark_drawable

    cumulative = np.add.accumulate(volumes(maps))
    edges = np.floor(cumulative[:-1] / cumulative[-1] * 2.0**32)
    words = philox.words(philox.dataset_key(0, EXFRACTALDB), philox.CHAIN, [label << 32], STEPS)[0]
    choices = np.searchsorted(edges, words, side="left").astype(np.uint8)
    weights = weights_table()
    drawable = np.empty(len(weights), np.bool_)
    mark_drawable(maps, len(maps), weights, choices, np.empty(MAX_MAPS * 12 * 152), np.empty(4 * 152), drawable)
    return drawable
