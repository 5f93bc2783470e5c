"""Category search of 3-D iterated function systems (ExFractalDB): many classes on many threads.

The law is in ``fdsl_gpu.cpu_kernels.search``. Class c depends on nothing but its number and the formula's, so results
are the same for any number of threads, and a table of 1,000 classes is the beginning of every larger one.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np

from fdsl_gpu import checks, philox
from fdsl_gpu.class_tables import IFSTable, load_table, save_table
from fdsl_gpu.class_tables.table import EXFRACTALDB
from fdsl_gpu.formulas.base import MAX_CLASSES
from fdsl_gpu.formulas.ifs_weights import weights_table

Progress: TypeAlias = Callable[[int, int], object]
"""Called with (classes done, classes in all)."""

# Classes a task: under 0.1 s, so that Ctrl-C is heard soon.
_BLOCK = 8
_CHECKPOINT_SECONDS = 5.0


def search_3d(
    num_classes: int,
    formula: int = EXFRACTALDB,
    first_class: int = 0,
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> IFSTable:
    """Search classes ``first_class`` .. ``first_class + num_classes - 1``.

    Args:
        num_classes: how many.
        formula: the formula's number (``Formula.NUMBER``), part of the random key.
        first_class: the class that becomes row 0 of the table.
        num_threads: None for all cores that this process may use.
        progress: called after each few classes.

    Raises:
        TypeError, ValueError: an argument is not an integer, or outside of its range.
    """
    checks.integer("first_class", first_class, 0, MAX_CLASSES - 1)
    checks.integer("num_classes", num_classes, 1, MAX_CLASSES - first_class)
    tables, done = [], 0
    for table in _search_blocks(first_class, first_class + num_classes, formula, num_threads):
        tables.append(table)
        done += len(table)
        if progress is not None:
            progress(done, num_classes)
    return IFSTable.concatenate(tables)


def extend_table(
    table: IFSTable,
    num_classes: int,
    num_threads: int | None = None,
    progress: Progress | None = None,
    checkpoint: Callable[[IFSTable], object] | None = None,
) -> IFSTable:
    """Continue a table of classes 0, 1, ... to ``num_classes``.

    Args:
        table: the classes that exist; :meth:`IFSTable.empty` for none.
        num_classes: at least ``len(table)``.
        num_threads: None for all cores that this process may use.
        progress: called after each few classes with the size of the table.
        checkpoint: called with the table so far every few seconds, when interrupted (Ctrl-C), and at the end.
    """
    checks.integer("num_classes", num_classes, len(table), MAX_CLASSES)
    save = checkpoint or (lambda part: None)
    tables, done, saved = [table], len(table), time.monotonic()
    try:
        for block in _search_blocks(len(table), num_classes, table.formula, num_threads):
            tables.append(block)
            done += len(block)
            if progress is not None:
                progress(done, num_classes)
            if time.monotonic() - saved > _CHECKPOINT_SECONDS:
                tables = [IFSTable.concatenate(tables)]
                save(tables[0])
                saved = time.monotonic()
    except KeyboardInterrupt:
        save(IFSTable.concatenate(tables))
        raise
    result = IFSTable.concatenate(tables)
    save(result)
    return result


def search_to_file(
    path: str | os.PathLike[str],
    num_classes: int,
    formula: int = EXFRACTALDB,
    num_threads: int | None = None,
    progress: bool = True,
) -> IFSTable:
    """Search classes 0 .. ``num_classes - 1`` and write the table to ``path``.

    Progress is kept in ``PATH.partial``, itself a table: the same call continues an interrupted search. The file is
    removed when ``path`` is complete.

    Args:
        path: the table to write; an existing file is replaced.
        num_classes: how many classes.
        formula: the formula's number.
        num_threads: None for all cores that this process may use.
        progress: show a bar on standard error, if that is a terminal.

    Raises:
        ValueError: the partial file is damaged or belongs to another formula.
        OSError: the folder is missing or cannot be written; said before the search.
    """
    checks.integer("num_classes", num_classes, 1, MAX_CLASSES)
    partial = Path(f"{os.fspath(path)}.partial")
    table = _resume(partial, formula)
    # Also shows, before any work is done, that the folder can be written.
    save_table(table, partial)
    if len(table) < num_classes:
        with progress_bar(f"searching {num_classes} classes", len(table), progress) as report:
            table = extend_table(table, num_classes, num_threads, report, lambda part: save_table(part, partial))
    save_table(table.head(num_classes), path)
    partial.unlink(missing_ok=True)
    return table.head(num_classes)


def _resume(partial: Path, formula: int) -> IFSTable:
    if not partial.exists():
        return IFSTable.empty(formula)
    try:
        table = load_table(partial)
    except ValueError as error:
        raise ValueError(f"out: cannot continue from {str(partial)!r}. Delete it to start again. ({error})") from error
    if table.formula != formula:
        raise ValueError(
            f"out: {str(partial)!r} was begun for formula {table.formula}; allowed: formula {formula}. "
            "Delete it to start again, or write to another file."
        )
    return table


def _search_blocks(first: int, last: int, formula: int, num_threads: int | None) -> Iterator[IFSTable]:
    """Tables of consecutive classes from ``first`` up to, not including, ``last``, in order."""
    if num_threads is None:
        num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    checks.integer("num_threads", num_threads, 1)
    checks.integer("formula", formula, 0, 2**32 - 1)
    key = philox.dataset_key(0, formula)
    executor = ThreadPoolExecutor(num_threads, thread_name_prefix="fdsl-gpu-search")
    try:
        futures = [
            executor.submit(_search_block, key, start, min(_BLOCK, last - start), formula)
            for start in range(first, last, _BLOCK)
        ]
        for future in futures:
            yield future.result()
    finally:
        executor.shutdown(cancel_futures=True)


def _search_block(key: philox.Key, first: int, count: int, formula: int) -> IFSTable:
    from fdsl_gpu.cpu_kernels.search import MAX_MAPS, find_classes

    maps = np.zeros((count, MAX_MAPS, 12), np.float32)
    counts, attempts = np.empty(count, np.int64), np.empty(count, np.int32)
    drawable = np.empty((count, len(weights_table())), np.bool_)
    k0, k1 = np.uint64(key[0]), np.uint64(key[1])
    find_classes(k0, k1, philox.CLASS, philox.CHAIN, first, weights_table(), maps, counts, attempts, drawable)
    used = np.arange(MAX_MAPS) < counts[:, None]
    return IFSTable(np.concatenate([[0], np.cumsum(counts)]), maps[used], attempts, drawable, formula)


@contextmanager
def progress_bar(description: str, done: int, show: bool = True) -> Iterator[Progress | None]:
    """A bar on standard error as a progress callback: tqdm's if installed, else a line; None if not on a terminal.

    Args:
        description: what is being done.
        done: where the bar begins.
        show: False for no bar in any case.
    """
    if not (show and sys.stderr.isatty()):
        yield None
        return
    try:
        tqdm = importlib.import_module("tqdm").tqdm
    except ImportError:
        try:
            yield lambda finished, total: print(
                f"\r{description}: {finished}/{total}", end="", file=sys.stderr, flush=True
            )
        finally:
            print(file=sys.stderr)
        return
    with tqdm(desc=description, initial=done, unit="class") as bar:

        def report(finished: int, total: int) -> None:
            bar.total = total
            bar.update(finished - bar.n)

        yield report
