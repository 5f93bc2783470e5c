"""Tables of 3-D iterated function systems, and their files (safetensors, never pickle).

A table of C classes with M maps in all is four arrays: ``first`` int64 [C + 1], ``maps`` float32 [M, 12], ``attempts``
int32 [C], ``drawable`` bool [C, 145]. In a file ``drawable`` is packed to bits, uint8 [C, 19], and one metadata entry,
``fdsl_gpu``, holds JSON: format, version, formula, digest of the arrays, the law of the search, library version.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

_LAW = {"maps": [2, 7], "points": 9999, "limit": 2**20, "min_variance": 0.05}
_COLUMNS = 12
_REMEDY = "Pass a table written by `python -m fdsl_gpu search`, or leave class_table out for the library's own."


@dataclass(frozen=True, eq=False)
class IFSTable:
    """Classes 0 .. C - 1 of 3-D iterated function systems. The arrays are made read-only.

    Attributes:
        first: int64 [C + 1]; the maps of class c are rows first[c] .. first[c + 1] - 1 of ``maps``.
        maps: float32 [M, 12], columns a .. l of x' = a x + b y + c z + j, y' = d x + e y + f z + k and
            z' = g x + h y + i z + l.
        attempts: int32 [C], which candidate of its class was accepted, from 0.
        drawable: bool [C, 145], under which weight rows the class does not run away.
        formula: number of the formula whose key the search used.

    Raises:
        ValueError: the arrays do not fit together.
    """

    first: NDArray[np.int64]
    maps: NDArray[np.float32]
    attempts: NDArray[np.int32]
    drawable: NDArray[np.bool_]
    formula: int = EXFRACTALDB

    def __post_init__(self) -> None:
        _check_shapes(self)
        _check_values(self)
        for array in (self.first, self.maps, self.attempts, self.drawable):
            array.flags.writeable = False

    def __len__(self) -> int:
        """Number of classes."""
        return self.attempts.size

    @classmethod
    def empty(cls, formula: int = EXFRACTALDB) -> IFSTable:
        """A table of no classes."""
        maps, drawable = np.empty((0, _COLUMNS), np.float32), np.empty((0, NUM_WEIGHTS), np.bool_)
        return cls(np.zeros(1, np.int64), maps, np.empty(0, np.int32), drawable, formula)

    @classmethod
    def concatenate(cls, tables: Sequence[IFSTable]) -> IFSTable:
        """The classes of tables of one formula, one after another; at least one table."""
        counts = np.concatenate([np.diff(table.first) for table in tables])
        maps, attempts, drawable = (
            np.concatenate([getattr(table, name) for table in tables]) for name in ("maps", "attempts", "drawable")
        )
        return cls(_offsets(counts), maps, attempts, drawable, tables[0].formula)

    @property
    def num_maps(self) -> NDArray[np.int64]:
        """Number of maps of each class, int64 [C]."""
        return np.diff(self.first)

    def class_maps(self, label: int) -> NDArray[np.float32]:
        """The maps of class ``label``, float32 [n, 12]."""
        return self.maps[self.first[label] : self.first[label + 1]]

    def head(self, num_classes: int) -> IFSTable:
        """The first ``num_classes`` classes, or all if there are fewer."""
        if num_classes >= len(self):
            return self
        return IFSTable(
            self.first[: num_classes + 1],
            self.maps[: self.first[num_classes]],
            self.attempts[:num_classes],
            self.drawable[:num_classes],
            self.formula,
        )

    def digest(self) -> str:
        """SHA-256 of the arrays as 64 hexadecimal digits: two tables with one digest are equal."""
        digest = hashlib.sha256()
        for array in (self.first, self.maps, self.attempts, np.packbits(self.drawable, axis=1)):
            digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()


def _offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """[C] counts as [C + 1] offsets."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def _check_shapes(table: IFSTable) -> None:
    classes, maps = len(table.attempts), len(table.maps)
    expected = {
        "first": (np.int64, (classes + 1,)),
        "maps": (np.float32, (maps, _COLUMNS)),
        "attempts": (np.int32, (classes,)),
        "drawable": (np.bool_, (classes, NUM_WEIGHTS)),
    }
    for name, (dtype, shape) in expected.items():
        array = getattr(table, name)
        if array.dtype != dtype or array.shape != shape:
            raise ValueError(
                f"{name}: received {array.dtype} {list(array.shape)}; allowed: {np.dtype(dtype)} {list(shape)} "
                f"for {classes} classes with {maps} maps"
            )


def _check_values(table: IFSTable) -> None:
    counts = np.diff(table.first)
    if table.first[0] != 0 or table.first[-1] != len(table.maps) or ((counts < 1) | (counts > MAX_MAPS)).any():
        raise ValueError(
            f"first: must rise from 0 to the number of maps, {len(table.maps)}, by 1 .. {MAX_MAPS} a class"
        )
    if not np.isfinite(table.maps).all():
        raise ValueError("maps: a parameter is not finite")
    a, b, c, d, e, f, g, h, i = table.maps[:, :9].T.astype(np.float64)
    solid = (a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)) != 0
    if len(table) and not np.logical_or.reduceat(solid, table.first[:-1]).all():
        raise ValueError("maps: all maps of a class have determinant 0, so none can be chosen by volume")
    if (table.attempts < 0).any():
        raise ValueError("attempts: received a negative number; allowed: 0 or more")
    if not table.drawable.any(axis=1).all():
        raise ValueError("drawable: a class has no drawable weight row; allowed: at least one of 145")


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

    arrays = {
        "first": np.ascontiguousarray(table.first),
        "maps": np.ascontiguousarray(table.maps),
        "attempts": np.ascontiguousarray(table.attempts),
        "drawable": np.packbits(table.drawable, axis=1),
    }
    about = {
        "format": FORMAT,
        "version": VERSION,
        "formula": table.formula,
        "digest": table.digest(),
        "law": _LAW,
        "library_version": __version__,
    }
    # One metadata entry: safetensors writes several in no fixed order, and equal tables should be equal files.
    content = save(arrays, {"fdsl_gpu": json.dumps(about, sort_keys=True)})
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
        packed = arrays["drawable"]
        if packed.dtype != np.uint8 or packed.ndim != 2 or packed.shape[1] != -(-NUM_WEIGHTS // 8):
            raise ValueError(f"drawable: received {packed.dtype} {list(packed.shape)}; allowed: uint8 [C, 19]")
        drawable = np.unpackbits(packed, axis=1, count=NUM_WEIGHTS).astype(np.bool_)
        table = IFSTable(arrays["first"], arrays["maps"], arrays["attempts"], drawable, int(about["formula"]))
    except KeyError as error:
        raise _unusable(location, f"a class table without {error.args[0]!r}") from error
    except (ValueError, TypeError) as error:
        raise _unusable(location, f"an inconsistent class table ({error})") from error
    if table.digest() != about.get("digest"):
        raise _unusable(location, "arrays that do not match their checksum", "an undamaged file")
    return table


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
