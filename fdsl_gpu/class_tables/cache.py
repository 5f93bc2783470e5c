"""Where class tables come from: shipped with the library, cached on this machine, or searched once and then cached.

The cache is one growing file for each formula: any first part of a table is itself a valid table, so a search saves its
progress as the table so far, and continues after it.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from fdsl_gpu import checks
from fdsl_gpu.class_tables.table import VERSION, IFSTable, builtin, load_table, save_table
from fdsl_gpu.formulas.base import MAX_CLASSES

_SHIPPED = "exfractaldb-1k"
_CACHED = f"exfractaldb-v{VERSION}.safetensors"


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
    checks.integer("num_classes", num_classes, 1, MAX_CLASSES)
    shipped = load_table(builtin(_SHIPPED))
    if num_classes > len(shipped):
        return cached_table(num_classes, shipped, progress)
    return shipped.head(num_classes)


def cached_table(num_classes: int, start: IFSTable, progress: bool = True) -> IFSTable:
    """A table of ``num_classes`` from the cache, which is extended by a search if it has fewer.

    Args:
        num_classes: how many classes.
        start: a table to continue, if the cache has no larger one.
        progress: as in :func:`exfractaldb_table`.
    """
    path = cache_dir() / _CACHED
    table = _largest(start, path)
    if len(table) < num_classes:
        with _lock(path, progress):
            # Another process may have searched while this one waited.
            table = _largest(start, path)
            if len(table) < num_classes:
                table = _search(table, num_classes, path, progress)
    return table.head(num_classes)


def _largest(start: IFSTable, path: Path) -> IFSTable:
    """The cached table if it continues ``start``, else ``start``; a damaged cache is told and passed over."""
    try:
        cached = load_table(path)
    except FileNotFoundError:
        return start
    except ValueError as error:
        warnings.warn(f"ignoring a damaged file in the class table cache and searching again. {error}", stacklevel=4)
        return start
    return cached if len(cached) > len(start) and cached.formula == start.formula else start


def _search(table: IFSTable, num_classes: int, path: Path, progress: bool) -> IFSTable:
    from fdsl_gpu.search import extend_table, progress_bar

    # Files that a killed search was writing; the lock is held, so nobody is writing one now.
    for abandoned in path.parent.glob(f".{path.name}.*"):
        abandoned.unlink(missing_ok=True)
    with progress_bar(f"searching {num_classes} classes, once", len(table), progress) as report:
        return extend_table(table, num_classes, progress=report, checkpoint=lambda part: save_table(part, path))


@contextmanager
def _lock(path: Path, progress: bool) -> Iterator[None]:
    """Hold the lock beside ``path``; the system releases it however this process ends."""
    import fcntl

    with _lock_file(path) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if progress and sys.stderr.isatty():
                print("fdsl_gpu: waiting for another process that is searching classes", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            # Files are replaced whole and searches agree, so without locks (some network disks) work is only repeated.
            warnings.warn(f"{path.parent} has no file locks ({error.strerror}); searching anyway", stacklevel=2)
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
