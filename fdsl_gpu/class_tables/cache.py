"""Where class tables come from: shipped with the library, cached on this machine, or searched once and then cached.

The cache is one growing file for each formula: any first part of a table is itself a valid table, so a search saves its
progress as the table so far, and continues after it. Another growing file is kept for each set of classes in the plane
whose weight rows were measured with other settings than those of the shipped table.

The shipped tables are made again, byte for byte and on any machine, by

    python -m fdsl_gpu search exfractaldb --num-classes 1000 --out exfractaldb-1k.safetensors
    python -m fdsl_gpu search fractaldb --num-classes 1000 --out fractaldb-1k.safetensors
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from fdsl_gpu import checks
from fdsl_gpu.class_tables.table import (
    EXFRACTALDB,
    FRACTALDB,
    VERSION,
    IFSTable,
    Weighting,
    builtin,
    load_table,
    save_table,
)
from fdsl_gpu.formulas.base import MAX_CLASSES

_NAMES = {EXFRACTALDB: "exfractaldb", FRACTALDB: "fractaldb"}
_DATASETS = {12: "ExFractalDB", 6: "FractalDB"}
# Classes x points that are measured in about 2 s, and so not cached.
_QUICK = 2**24


def cache_dir() -> Path:
    """Folder of cached class tables; it may not exist yet.

    ``FDSL_GPU_CACHE_DIR`` if set, else ``fdsl-gpu`` in ``XDG_CACHE_HOME``, else ``~/.cache/fdsl-gpu``. The environment
    is only read.
    """
    own, shared = os.environ.get("FDSL_GPU_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME")
    if own:
        return Path(os.path.expanduser(own))
    return Path(shared or os.path.expanduser("~/.cache")) / "fdsl-gpu"


def exfractaldb_table(num_classes: int, progress: bool = True) -> IFSTable:
    """The library's own classes of ExFractalDB.

    Up to 1,000 classes ship with the library. More come from the cache, or are searched (about 8 s of one core for each
    1,000 classes) and cached; then exactly one process of the machine searches while the others wait.

    Args:
        num_classes: 1 .. 2**16.
        progress: show a bar on standard error while searching, if that is a terminal.

    Raises:
        OSError: a search is needed and the cache folder cannot be written.
    """
    return _library_table(EXFRACTALDB, num_classes, progress)


def fractaldb_table(num_classes: int, progress: bool = True) -> IFSTable:
    """The library's own classes of FractalDB, with weight rows measured for the released settings.

    As :func:`exfractaldb_table`; a search takes about 45 s of one core for each 1,000 classes.
    """
    return _library_table(FRACTALDB, num_classes, progress)


def load_classes(path: str | os.PathLike[str], columns: int, num_classes: int) -> IFSTable:
    """The first classes of a table file, or of a folder of CSV files of the original generators.

    Args:
        path: a class table, a folder with one CSV file a class, or one CSV file.
        columns: parameters of a map that are wanted, 12 or 6.
        num_classes: how many classes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a malformed file, maps of another kind, or too few classes.
    """
    from fdsl_gpu.class_tables.csv_files import is_csv, load_csv_folder

    table = load_csv_folder(path, columns) if is_csv(path) else load_table(path)
    if table.columns != columns:
        raise ValueError(
            f"class_table: received {str(path)!r} with classes of {_DATASETS[table.columns]}; allowed: classes of "
            f"{_DATASETS[columns]}. Pass another table, or use it with {_DATASETS[table.columns]}."
        )
    if len(table) < num_classes:
        raise ValueError(
            f"class_table: received {str(path)!r} with {len(table)} classes; allowed: at least "
            f"num_classes={num_classes}. Pass a larger table or a smaller num_classes."
        )
    return table.head(num_classes)


def cached_table(num_classes: int, start: IFSTable, progress: bool = True) -> IFSTable:
    """A table of ``num_classes`` from the cache, which is extended by a search if it has fewer.

    Args:
        num_classes: how many classes.
        start: a table to continue, if the cache has no larger one.
        progress: as in :func:`exfractaldb_table`.
    """
    from fdsl_gpu.search import extend_table

    path = cache_dir() / f"{_NAMES[start.formula]}-v{VERSION}.safetensors"
    return _grown(
        path,
        start,
        num_classes,
        lambda table, report, save: extend_table(table, num_classes, progress=report, checkpoint=save),
        f"searching {num_classes} classes, once",
        progress,
    )


def measured_table(table: IFSTable, weighting: Weighting, progress: bool = True) -> IFSTable:
    """Classes in the plane with their weight rows measured: as they are, from the cache, or measured and cached.

    Args:
        table: the classes; measured or not.
        weighting: weight step and points an image.
        progress: show a bar on standard error while measuring, if that is a terminal.

    Raises:
        OSError: much is to be measured and the cache folder cannot be written.
        ValueError: a class runs away under every weight row.
    """
    from fdsl_gpu.search import extend_measured

    if table.weighting == weighting:
        return table
    start = IFSTable.empty(table.formula, table.columns, weighting)
    if len(table) * weighting[1] <= _QUICK:
        return extend_measured(start, table)
    step, points = weighting
    name = f"rows-v{VERSION}-{table.maps_digest()[:16]}-{step:g}-{points}.safetensors"
    return _grown(
        cache_dir() / name,
        start,
        len(table),
        lambda part, report, save: extend_measured(part, table, progress=report, checkpoint=save),
        f"measuring {len(table)} classes, once",
        progress,
    )


def _library_table(formula: int, num_classes: int, progress: bool) -> IFSTable:
    checks.integer("num_classes", num_classes, 1, MAX_CLASSES)
    shipped = load_table(builtin(f"{_NAMES[formula]}-1k"))
    if num_classes > len(shipped):
        return cached_table(num_classes, shipped, progress)
    return shipped.head(num_classes)


def _grown(
    path: Path,
    start: IFSTable,
    num_classes: int,
    extend: Callable[[IFSTable, Any, Callable[[IFSTable], object]], IFSTable],
    doing: str,
    progress: bool,
) -> IFSTable:
    """The first ``num_classes`` of the table at ``path``, after ``extend`` if it has fewer."""
    table = _largest(start, path)
    if len(table) < num_classes:
        from fdsl_gpu.search import progress_bar

        with _lock(path, progress):
            # Another process may have worked while this one waited.
            table = _largest(start, path)
            if len(table) < num_classes:
                # Files that a killed process was writing; the lock is held, so nobody is writing one now.
                for abandoned in path.parent.glob(f".{path.name}.*"):
                    abandoned.unlink(missing_ok=True)
                with progress_bar(doing, len(table), progress) as report:
                    table = extend(table, report, lambda part: save_table(part, path))
    return table.head(num_classes)


def _largest(start: IFSTable, path: Path) -> IFSTable:
    """The cached table if it continues ``start``, else ``start``; a damaged cache is told and passed over."""
    try:
        cached = load_table(path)
    except FileNotFoundError:
        return start
    except ValueError as error:
        warnings.warn(f"ignoring a damaged file in the class table cache and making it again. {error}", stacklevel=5)
        return start
    fits = (cached.formula, cached.columns, cached.weighting) == (start.formula, start.columns, start.weighting)
    return cached if fits and len(cached) > len(start) else start


@contextmanager
def _lock(path: Path, progress: bool) -> Iterator[None]:
    """Hold the lock beside ``path``; the system releases it however this process ends."""
    import fcntl

    with _lock_file(path) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if progress and sys.stderr.isatty():
                print("fdsl_gpu: waiting for another process that is working on classes", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            # Files are replaced whole and results agree, so without locks (some network disks) work is only repeated.
            warnings.warn(f"{path.parent} has no file locks ({error.strerror}); working anyway", stacklevel=2)
        try:
            yield
        finally:
            # Closing would not be enough: a process forked meanwhile shares the open file.
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_UN)


def _lock_file(path: Path) -> IO[str]:
    """The open lock file; raises OSError, with the remedy, if the folder cannot be written."""
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        return open(path.with_suffix(".lock"), "a")
    except OSError as error:
        raise OSError(
            error.errno or errno.EIO,
            f"class table cache: cannot write to {str(folder)!r} ({error.strerror}). Set FDSL_GPU_CACHE_DIR to a "
            "folder that you may write to, or pass class_table=PATH of a table written by `python -m fdsl_gpu search`",
        ) from error
