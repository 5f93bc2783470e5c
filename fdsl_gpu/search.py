"""Category search of iterated function systems (FractalDB, ExFractalDB): many classes on many threads.

The laws are in ``fdsl_gpu.cpu_kernels.search`` and ``search_2d``. Class c depends on nothing but its number and the
formula's, so results are the same for any number of threads and on a GPU, and a table of 1,000 classes is the beginning
of every larger one. A GPU finds the attempts (``gpu_search.py``); weight rows are measured on the CPU in any case.
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
import torch
from numpy.typing import NDArray

from fdsl_gpu import checks, philox
from fdsl_gpu.arguments import resolve_device
from fdsl_gpu.class_tables import IFSTable, load_table, save_table
from fdsl_gpu.class_tables.table import EXFRACTALDB, FRACTALDB, PLANE, SPACE
from fdsl_gpu.class_tables.weight_rows import NATIVE, measure_rows, measured
from fdsl_gpu.formulas.base import MAX_CLASSES
from fdsl_gpu.formulas.ifs_weights import weights_table

Progress: TypeAlias = Callable[[int, int], object]
"""Called with (classes done, classes in all)."""

# Classes a task: under 0.5 s, so that Ctrl-C is heard soon.
_BLOCK = 8
_CHECKPOINT_SECONDS = 5.0


def search_3d(
    num_classes: int,
    formula: int = EXFRACTALDB,
    first_class: int = 0,
    num_threads: int | None = None,
    progress: Progress | None = None,
    device: str | torch.device = "cpu",
) -> IFSTable:
    """Search classes ``first_class`` .. ``first_class + num_classes - 1``.

    Args:
        num_classes: how many.
        formula: the formula's number (``Formula.NUMBER``), part of the random key.
        first_class: the class that becomes row 0 of the table.
        num_threads: None for all cores that this process may use.
        progress: called after each few classes.
        device: "cpu", or a GPU ("cuda", "cuda:N"), which finds the same classes and needs Triton.

    Raises:
        TypeError, ValueError: an argument is not an integer, or outside of its range; no such device.
        ImportError: a GPU is asked for and Triton is missing.
        RuntimeError: the CPU rejects a class that the GPU found.
    """
    return _search(IFSTable.empty(formula), num_classes, first_class, num_threads, progress, device)


def search_2d(
    num_classes: int,
    formula: int = FRACTALDB,
    first_class: int = 0,
    num_threads: int | None = None,
    progress: Progress | None = None,
    device: str | torch.device = "cpu",
) -> IFSTable:
    """As :func:`search_3d` for classes in the plane, with weight rows measured as the released dataset needs them."""
    return _search(empty_table(formula, PLANE), num_classes, first_class, num_threads, progress, device)


def empty_table(formula: int, columns: int) -> IFSTable:
    """A table of no classes that :func:`extend_table` can continue."""
    return IFSTable.empty(formula, columns, NATIVE if columns == PLANE else None)


def extend_table(
    table: IFSTable,
    num_classes: int,
    num_threads: int | None = None,
    progress: Progress | None = None,
    checkpoint: Callable[[IFSTable], object] | None = None,
    device: str | torch.device = "cpu",
) -> IFSTable:
    """Continue a table of classes 0, 1, ... to ``num_classes``.

    Args:
        table: the classes that exist; :meth:`IFSTable.empty` for none.
        num_classes: at least ``len(table)``.
        num_threads: None for all cores that this process may use.
        progress: called after each few classes with the size of the table.
        checkpoint: called with the table so far every few seconds, when interrupted (Ctrl-C), and at the end.
        device: as in :func:`search_3d`.
    """
    checks.integer("num_classes", num_classes, len(table), MAX_CLASSES)
    blocks = _search_blocks(table, len(table), num_classes, num_threads, device)
    return _extend(table, blocks, num_classes, progress, checkpoint)


def extend_measured(
    table: IFSTable,
    source: IFSTable,
    num_threads: int | None = None,
    progress: Progress | None = None,
    checkpoint: Callable[[IFSTable], object] | None = None,
) -> IFSTable:
    """Measure the weight rows of the classes of ``source`` that ``table`` does not have yet.

    Args:
        table: the first classes of ``source``, measured with ``table.weighting``.
        source: classes in the plane.
        num_threads: None for all cores that this process may use.
        progress: called after each few classes with the size of the table.
        checkpoint: as in :func:`extend_table`.

    Raises:
        ValueError: a class runs away under every weight row.
    """
    weighting = table.weighting or NATIVE

    def block(first: int, count: int) -> IFSTable:
        part = source.part(first, first + count)
        drawable, boxes = measure_rows(part, weighting)
        idle = first + np.flatnonzero(~drawable.any(axis=1))
        if idle.size:
            raise ValueError(
                f"class_table: class {idle[0]} runs away under each of {drawable.shape[1]} weight rows; "
                "allowed: classes that can be drawn. Remove it."
            )
        return IFSTable(part.first, part.maps, part.attempts, drawable, part.formula, boxes, weighting)

    blocks = _in_blocks(block, len(table), len(source), num_threads)
    return _extend(table, blocks, len(source), progress, checkpoint)


def _search(
    like: IFSTable,
    num_classes: int,
    first_class: int,
    num_threads: int | None,
    progress: Progress | None,
    device: str | torch.device,
) -> IFSTable:
    checks.integer("first_class", first_class, 0, MAX_CLASSES - 1)
    checks.integer("num_classes", num_classes, 1, MAX_CLASSES - first_class)
    blocks = _search_blocks(like, first_class, first_class + num_classes, num_threads, device)
    return _extend(like, blocks, num_classes, progress)


def _extend(
    table: IFSTable,
    blocks: Iterator[IFSTable],
    num_classes: int,
    progress: Progress | None = None,
    checkpoint: Callable[[IFSTable], object] | None = None,
) -> IFSTable:
    """The table with the blocks after it."""
    save = checkpoint or (lambda part: None)
    tables, done, saved = [table], len(table), time.monotonic()
    try:
        for block in blocks:
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
    device: str | torch.device = "cpu",
) -> IFSTable:
    """Search classes 0 .. ``num_classes - 1`` and write the table to ``path``.

    Progress is kept in ``PATH.partial``, itself a table: the same call continues an interrupted search. The file is
    removed when ``path`` is complete.

    Args:
        path: the table to write; an existing file is replaced.
        num_classes: how many classes.
        formula: the formula's number; ``FRACTALDB`` searches in the plane, any other in space.
        num_threads: None for all cores that this process may use.
        progress: show a bar on standard error, if that is a terminal.
        device: as in :func:`search_3d`; a search may be continued on another device.

    Raises:
        ValueError: the partial file is damaged or belongs to another formula; no such device.
        OSError: the folder is missing or cannot be written, or ``path`` is itself a folder; said before the search.
    """
    checks.integer("num_classes", num_classes, 1, MAX_CLASSES)
    if os.path.isdir(path):
        raise IsADirectoryError(
            f"out: received {os.fspath(path)!r}, a folder; allowed: a file. "
            f"Name one in it, such as {os.path.join(path, 'classes.safetensors')!r}."
        )
    partial = Path(f"{os.fspath(path)}.partial")
    table = _resume(partial, formula)
    # Also shows, before any work is done, that the folder can be written.
    save_table(table, partial)
    if len(table) < num_classes:
        with progress_bar(f"searching {num_classes} classes", len(table), progress) as report:
            table = extend_table(
                table, num_classes, num_threads, report, lambda part: save_table(part, partial), device
            )
    save_table(table.head(num_classes), path)
    partial.unlink(missing_ok=True)
    return table.head(num_classes)


def _resume(partial: Path, formula: int) -> IFSTable:
    empty = empty_table(formula, PLANE if formula == FRACTALDB else SPACE)
    if not partial.exists():
        return empty
    try:
        table = load_table(partial)
    except ValueError as error:
        raise ValueError(f"out: cannot continue from {str(partial)!r}. Delete it to start again. ({error})") from error
    if (table.formula, table.columns, table.weighting) != (formula, empty.columns, empty.weighting):
        raise ValueError(
            f"out: {str(partial)!r} was begun for formula {table.formula}; allowed: formula {formula}. "
            "Delete it to start again, or write to another file."
        )
    return table


def _search_blocks(
    like: IFSTable, first: int, last: int, num_threads: int | None, device: str | torch.device
) -> Iterator[IFSTable]:
    """Tables like ``like`` of consecutive classes from ``first`` up to, not including, ``last``, in order."""
    checks.integer("formula", like.formula, 0, 2**32 - 1)
    key, place = philox.dataset_key(0, like.formula), resolve_device(device)
    if place.type == "cpu":
        return _in_blocks(lambda start, count: _search_block(key, start, count, like), first, last, num_threads)
    return _gpu_blocks(key, like, first, last, num_threads, place)


def _gpu_blocks(
    key: philox.Key, like: IFSTable, first: int, last: int, num_threads: int | None, device: torch.device
) -> Iterator[IFSTable]:
    """As :func:`_search_blocks`: the GPU finds attempts for many classes at once, threads make tables of a few."""
    from fdsl_gpu.gpu_search import CLASSES, confirmed, first_attempts

    for begin in range(first, last, CLASSES):
        attempts = first_attempts(key, begin, min(CLASSES, last - begin), like.columns, device)

        def block(start: int, count: int, begin: int = begin, attempts: NDArray[np.int32] = attempts) -> IFSTable:
            part = attempts[start - begin : start - begin + count]
            maps, counts, drawable = confirmed(key, start, part, like.columns)
            return _table_like(like, maps, counts, part, drawable)

        yield from _in_blocks(block, begin, begin + len(attempts), num_threads)


def _in_blocks(
    block: Callable[[int, int], IFSTable], first: int, last: int, num_threads: int | None
) -> Iterator[IFSTable]:
    """What ``block`` makes of (first class, number of classes), on threads, in order."""
    if num_threads is None:
        num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    checks.integer("num_threads", num_threads, 1)
    executor = ThreadPoolExecutor(num_threads, thread_name_prefix="fdsl-gpu-search")
    try:
        futures = [executor.submit(block, start, min(_BLOCK, last - start)) for start in range(first, last, _BLOCK)]
        for future in futures:
            yield future.result()
    finally:
        executor.shutdown(cancel_futures=True)


def _search_block(key: philox.Key, first: int, count: int, like: IFSTable) -> IFSTable:
    from fdsl_gpu.cpu_kernels.search import MAX_MAPS, find_classes
    from fdsl_gpu.cpu_kernels.search_2d import find_classes_2d

    maps = np.zeros((count, MAX_MAPS, like.columns), np.float32)
    counts, attempts = np.empty(count, np.int64), np.empty(count, np.int32)
    streams = (*map(np.uint64, key), philox.CLASS, philox.CHAIN, first)
    if like.columns == PLANE:
        find_classes_2d(*streams, maps, counts, attempts)
        return _table_like(like, maps, counts, attempts)
    drawable = np.empty((count, len(weights_table())), np.bool_)
    find_classes(*streams, weights_table(), maps, counts, attempts, drawable)
    return _table_like(like, maps, counts, attempts, drawable)


def _table_like(
    like: IFSTable,
    maps: NDArray[np.float32],
    counts: NDArray[np.int64],
    attempts: NDArray[np.int32],
    drawable: NDArray[np.bool_] | None = None,
) -> IFSTable:
    """A table of classes with ``maps`` [C, 7, K], of which ``counts`` [C] are used; in the plane, rows are measured."""
    used = maps[np.arange(maps.shape[1]) < counts[:, None]]
    if drawable is not None:
        return IFSTable(np.concatenate([[0], np.cumsum(counts)]), used, attempts, drawable, like.formula)
    found = IFSTable.of_maps(counts, used, like.formula, attempts)
    return found if like.weighting is None else measured(found, like.weighting)


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
