"""Tables of iterated function systems, and their files (safetensors, never pickle).

A table of C classes with M maps in all is ``first`` int64 [C + 1], ``maps`` float32 [M, 12] in space or [M, 6] in the
plane, ``attempts`` int32 [C], ``drawable`` bool [C, R] for R weight rows, and in the plane ``boxes`` float32
[C, R, 4]. In a file ``drawable`` is packed to bits, uint8 [C, ceil(R / 8)], and one metadata entry, ``fdsl_gpu``, holds
JSON: format, version, formula, digest of the arrays, the law of the search, what rows were measured with, library
version.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.files import replacing
from fdsl_gpu.formulas.ifs_weights import NUM_WEIGHTS
from fdsl_gpu.records import MAX_MAPS
from fdsl_gpu.version import __version__

FORMAT = "fdsl-gpu class table"
VERSION = 1
"""Raised whenever the arrays or the law of the search change."""

EXFRACTALDB = 2
"""``ExFractalDB.NUMBER``: the formula number in the random key of the search."""

FRACTALDB = 3
"""``FractalDB.NUMBER``."""

SPACE, PLANE = 12, 6
"""Parameters of a map."""

Weighting: TypeAlias = tuple[float, int]
"""What the rows of a table in the plane were measured with: weight step, points an image."""

_LAWS = {
    SPACE: {"maps": [2, 7], "points": 9999, "limit": 2**20, "min_variance": 0.05},
    PLANE: {
        **{"maps": [2, 7], "points": 100_000, "limit": 2**20, "canvas": 512, "padding": 6, "min_pixels": 52_429},
        **{"row_limit": 2.0**100, "lanes": 256, "warmup": 16},
    },
}
_REMEDY = "Pass a table written by `python -m fdsl_gpu search`, or leave class_table out for the library's own."


@dataclass(frozen=True, eq=False)
class IFSTable:
    """Classes 0 .. C - 1 of iterated function systems in space or in the plane. The arrays are made read-only.

    Attributes:
        first: int64 [C + 1]; the maps of class c are rows first[c] .. first[c + 1] - 1 of ``maps``.
        maps: float32 [M, 12], columns a .. l of x' = a x + b y + c z + j, y' = d x + e y + f z + k and
            z' = g x + h y + i z + l; or float32 [M, 6], columns a .. f of x' = a x + b y + e, y' = c x + d y + f.
        attempts: int32 [C], which candidate of its class was accepted, from 0.
        drawable: bool [C, R], under which weight rows the class does not run away. R is 145 in space, 25 in the plane,
            and 0 for a table in the plane whose rows were not measured (see :meth:`of_maps`).
        formula: number of the formula whose key the search used.
        boxes: float32 [C, R, 4] in the plane, None in space: least x and y, then greatest x and y of the points under
            each weight row; zeros where a row is not drawable.
        weighting: with which weight step and how many points ``drawable`` and ``boxes`` were measured; None in space
            and if they were not.

    Raises:
        ValueError: the arrays do not fit together.
    """

    first: NDArray[np.int64]
    maps: NDArray[np.float32]
    attempts: NDArray[np.int32]
    drawable: NDArray[np.bool_]
    formula: int = EXFRACTALDB
    boxes: NDArray[np.float32] | None = None
    weighting: Weighting | None = None

    def __post_init__(self) -> None:
        _check_shapes(self)
        _check_values(self)
        for array in self._arrays().values():
            array.flags.writeable = False

    def __len__(self) -> int:
        """Number of classes."""
        return self.attempts.size

    @property
    def columns(self) -> int:
        """Parameters of a map: 12 in space, 6 in the plane."""
        return self.maps.shape[1]

    @classmethod
    def empty(cls, formula: int = EXFRACTALDB, columns: int = SPACE, weighting: Weighting | None = None) -> IFSTable:
        """A table of no classes."""
        rows = NUM_WEIGHTS[columns] if columns == SPACE or weighting else 0
        arrays = np.zeros(1, np.int64), np.empty((0, columns), np.float32), np.empty(0, np.int32)
        boxes = np.empty((0, rows, 4), np.float32) if columns == PLANE else None
        return cls(*arrays, np.empty((0, rows), np.bool_), formula, boxes, weighting)

    @classmethod
    def of_maps(
        cls,
        counts: NDArray[np.int64],
        maps: NDArray[np.float32],
        formula: int = FRACTALDB,
        attempts: NDArray[np.int32] | None = None,
    ) -> IFSTable:
        """Classes in the plane with weight rows not measured yet.

        Args:
            counts: int64 [C], maps of each class.
            maps: float32 [M, 6].
            formula: number of the formula.
            attempts: int32 [C]; None for classes that come from elsewhere.
        """
        if attempts is None:
            attempts = np.zeros(len(counts), np.int32)
        drawable = np.empty((len(counts), 0), np.bool_)
        return cls(_offsets(counts), maps, attempts, drawable, formula, np.empty((len(counts), 0, 4), np.float32))

    @classmethod
    def concatenate(cls, tables: Sequence[IFSTable]) -> IFSTable:
        """The classes of tables of one formula and weighting, one after another; at least one table."""
        arrays = {
            name: np.concatenate([table._arrays()[name] for table in tables])
            for name in tables[0]._arrays()
            if name != "first"
        }
        counts = np.concatenate([table.num_maps for table in tables])
        return cls(_offsets(counts), **arrays, formula=tables[0].formula, weighting=tables[0].weighting)

    @property
    def num_maps(self) -> NDArray[np.int64]:
        """Number of maps of each class, int64 [C]."""
        return np.diff(self.first)

    def class_maps(self, label: int) -> NDArray[np.float32]:
        """The maps of class ``label``, float32 [n, 12 or 6]."""
        return self.maps[self.first[label] : self.first[label + 1]]

    def head(self, num_classes: int) -> IFSTable:
        """The first ``num_classes`` classes, or all if there are fewer."""
        return self if num_classes >= len(self) else self.part(0, num_classes)

    def part(self, start: int, stop: int) -> IFSTable:
        """Classes ``start`` .. ``stop - 1``."""
        return IFSTable(
            self.first[start : stop + 1] - self.first[start],
            self.maps[self.first[start] : self.first[stop]],
            self.attempts[start:stop],
            self.drawable[start:stop],
            self.formula,
            None if self.boxes is None else self.boxes[start:stop],
            self.weighting,
        )

    def digest(self) -> str:
        """SHA-256 of the contents as 64 hexadecimal digits: two tables with one digest are equal."""
        return _sha256([*_packed(self).values()], self.weighting)

    def maps_digest(self) -> str:
        """SHA-256 of the maps of all classes, whatever was measured of them."""
        return _sha256([self.first, self.maps])

    def _arrays(self) -> dict[str, NDArray[Any]]:
        names = ("first", "maps", "attempts", "drawable", *(() if self.boxes is None else ("boxes",)))
        return {name: getattr(self, name) for name in names}


def volumes(maps: NDArray[np.floating]) -> NDArray[np.float64]:
    """|det| of the linear parts of maps [..., 12 or 6], as float64 [...]."""
    if maps.shape[-1] == PLANE:
        a, b, c, d = (maps[..., column].astype(np.float64) for column in range(4))
        return np.abs(a * d - b * c)
    a, b, c, d, e, f, g, h, i = (maps[..., column].astype(np.float64) for column in range(9))
    return np.abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))


def _sha256(arrays: Sequence[NDArray[Any]], weighting: Weighting | None = None) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    if weighting is not None:
        digest.update(json.dumps(weighting).encode())
    return digest.hexdigest()


def _packed(table: IFSTable) -> dict[str, NDArray[Any]]:
    """The arrays as they stand in a file."""
    arrays = {name: np.ascontiguousarray(array) for name, array in table._arrays().items()}
    return arrays | {"drawable": np.packbits(table.drawable, axis=1)}


def _offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """[C] counts as [C + 1] offsets."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def _check_shapes(table: IFSTable) -> None:
    classes, maps = len(table.attempts), len(table.maps)
    columns = PLANE if table.boxes is not None else SPACE
    rows = NUM_WEIGHTS[columns] if columns == SPACE or table.weighting else 0
    expected: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
        "first": (np.int64, (classes + 1,)),
        "maps": (np.float32, (maps, columns)),
        "attempts": (np.int32, (classes,)),
        "drawable": (np.bool_, (classes, rows)),
        "boxes": (np.float32, (classes, rows, 4)),
    }
    for name, array in table._arrays().items():
        dtype, shape = expected[name]
        if array.dtype != dtype or array.shape != shape:
            raise ValueError(
                f"{name}: received {array.dtype} {list(array.shape)}; allowed: {np.dtype(dtype)} {list(shape)} "
                f"for {classes} classes with {maps} maps"
            )


def _check_values(table: IFSTable) -> None:
    counts = table.num_maps
    if table.first[0] != 0 or table.first[-1] != len(table.maps) or ((counts < 1) | (counts > MAX_MAPS)).any():
        raise ValueError(
            f"first: must rise from 0 to the number of maps, {len(table.maps)}, by 1 .. {MAX_MAPS} a class"
        )
    if not np.isfinite(table.maps).all():
        raise ValueError("maps: a parameter is not finite")
    if len(table) and not np.logical_or.reduceat(volumes(table.maps) > 0, table.first[:-1]).all():
        raise ValueError("maps: all maps of a class have determinant 0, so none can be chosen by volume")
    if (table.attempts < 0).any():
        raise ValueError("attempts: received a negative number; allowed: 0 or more")
    rows = table.drawable.shape[1]
    if rows and not table.drawable.any(axis=1).all():
        label = int(np.argmin(table.drawable.any(axis=1)))
        raise ValueError(f"drawable: class {label} has no drawable weight row; allowed: at least one of {rows}")
    if table.boxes is not None and not np.isfinite(table.boxes).all():
        raise ValueError("boxes: a coordinate is not finite")


def builtin(name: str) -> Path:
    """Path of a shipped table.

    Raises:
        ValueError: no table of that name ships with the library.
    """
    folder = Path(__file__).parent
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        names = ", ".join(repr(shipped.stem) for shipped in sorted(folder.glob("*.safetensors"))) or "none"
        raise ValueError(f"name: received {name!r}; allowed: {names}. Install fdsl-gpu again if the table is missing.")
    return path


def save_table(table: IFSTable, path: str | os.PathLike[str]) -> None:
    """Write a table; ``path`` is replaced in one step, and left as it was if anything fails.

    Raises:
        OSError: the folder is missing or cannot be written.
    """
    from safetensors.numpy import save

    about = {
        "format": FORMAT,
        "version": VERSION,
        "formula": table.formula,
        "digest": table.digest(),
        "law": _LAWS[table.columns],
        "library_version": __version__,
    }
    if table.weighting is not None:
        about["weighting"] = table.weighting
    # One metadata entry: safetensors writes several in no fixed order, and equal tables should be equal files.
    content = save(_packed(table), {"fdsl_gpu": json.dumps(about, sort_keys=True)})
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def load_table(path: str | os.PathLike[str]) -> IFSTable:
    """Read a table.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, not a class table, or of another version.
    """
    location = Path(path)
    if not location.exists():
        raise FileNotFoundError(f"class_table: there is no file {str(location)!r}. {_REMEDY}")
    about, arrays = _read(location)
    version = about.get("version")
    if version != VERSION:
        raise _unusable(location, f"a class table of version {version}", f"version {VERSION}")
    try:
        table = _unpacked(about, arrays)
    except KeyError as error:
        raise _unusable(location, f"a class table without {error.args[0]!r}") from error
    except (ValueError, TypeError, LookupError) as error:
        raise _unusable(location, f"an inconsistent class table ({error})") from error
    if table.digest() != about.get("digest"):
        raise _unusable(location, "arrays that do not match their checksum", "an undamaged file")
    return table


def _unpacked(about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> IFSTable:
    """The table in a file; raises KeyError, ValueError or TypeError if it is none."""
    packed, boxes = arrays["drawable"], arrays.get("boxes")
    rows = NUM_WEIGHTS[SPACE] if boxes is None else boxes.shape[1]
    if packed.dtype != np.uint8 or packed.ndim != 2 or packed.shape[1] != -(-rows // 8):
        raise ValueError(f"drawable: received {packed.dtype} {list(packed.shape)}; allowed: uint8 [C, {-(-rows // 8)}]")
    drawable = np.unpackbits(packed, axis=1, count=rows).astype(np.bool_)
    weighting = about.get("weighting")
    return IFSTable(
        arrays["first"],
        arrays["maps"],
        arrays["attempts"],
        drawable,
        int(about["formula"]),
        boxes,
        None if weighting is None else (float(weighting[0]), int(weighting[1])),
    )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What a class table says about itself, and its arrays; anything else raises ValueError."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise _unusable(path, "something that is not a file", "a safetensors file")
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get("fdsl_gpu", "null"))
            ours = isinstance(about, dict) and about.get("format") == FORMAT
            arrays = {name: file.get_tensor(name) for name in file.keys()} if ours else {}  # noqa: SIM118
    except (SafetensorError, ValueError, TypeError) as error:
        raise _unusable(path, f"a file that cannot be read ({error})", "an undamaged safetensors file") from error
    if not ours:
        raise _unusable(path, "a safetensors file that is not a class table")
    return about, arrays


def _unusable(path: Path, found: str, expected: str = f"a file of format {FORMAT!r}, version {VERSION}") -> ValueError:
    return ValueError(f"class_table: {str(path)!r} is {found}; allowed: {expected}. {_REMEDY}")
