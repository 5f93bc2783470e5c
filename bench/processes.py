"""Benchmarks that need processes of their own: rates of many at a time, and memory of one that did nothing else."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from bench.common import summary, synchronise
from fdsl_gpu import FDSLDataset
from fdsl_gpu.formulas.rcdb import RCDB

_DATASET = "rcdb-1k"
_WARM_UP = 0.2


class Drawer:
    """A process that draws when told, from and until a time that all processes share."""

    def __init__(self, batch: int, image_size: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_draw_when_told, args=(theirs, batch, image_size), daemon=True)
        self._process.start()

    def __enter__(self) -> Drawer:
        return self

    def begin(self, threads: int, start: float, seconds: float) -> None:
        """Draw on so many threads from ``start`` of ``time.monotonic``."""
        self._pipe.send((threads, start, seconds))

    def rate(self) -> float:
        """Images per second since :meth:`begin`."""
        return self._pipe.recv()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.join()


def _draw_when_told(pipe: Connection, batch: int, image_size: int) -> None:
    stream = iter(FDSLDataset(_DATASET, batch, image_size, "cpu"))
    while True:
        threads, start, seconds = pipe.recv()
        torch.set_num_threads(threads)
        # Threads and their memory are made outside the time that counts.
        next(stream)
        time.sleep(max(start - time.monotonic(), 0))
        # The time that all share, or later if this process was not ready.
        start = max(start, time.monotonic())
        count, now = 0, start
        while not count or now < start + seconds:
            next(stream)
            count, now = count + 1, time.monotonic()
        pipe.send(batch * count / (now - start))


def thread_rates(values: Sequence[int], batch: int, image_size: int, seconds: float, rounds: int) -> dict[str, Any]:
    """Rates of n threads in one process, and of n processes of one thread that draw at the same time, in turns.

    Returns:
        n -> {"threads": rates, "processes": rates of all together, "ratio": of the medians}.
    """
    with ExitStack() as drawers:
        pool = [drawers.enter_context(Drawer(batch, image_size)) for _ in range(max(values))]
        # So that imports and compilation are over.
        _rate(pool, 1, 0.0)
        threads: dict[int, list[float]] = {n: [] for n in values}
        processes: dict[int, list[float]] = {n: [] for n in values}
        for _ in range(rounds):
            for n in values:
                threads[n].append(_rate(pool[:1], n, seconds))
                processes[n].append(_rate(pool[:n], 1, seconds))
    rows = {}
    for n in values:
        row: dict[str, Any] = {"threads": summary(threads[n]), "processes": summary(processes[n])}
        row["ratio"] = round(row["threads"]["images_per_second"] / row["processes"]["images_per_second"], 3)
        rows[str(n)] = row
    return rows


def _rate(pool: Sequence[Drawer], threads: int, seconds: float) -> float:
    start = time.monotonic() + _WARM_UP
    for drawer in pool:
        drawer.begin(threads, start, seconds)
    return sum(drawer.rate() for drawer in pool)


def memory(num_classes: int, device: str) -> dict[str, float]:
    """Of a process that draws RCDB with so many classes: seconds to the first batch, most megabytes that it held."""
    return _in_new_process(_memory_of_classes, num_classes, device)


def stream_memory(batches: Sequence[int], device: str) -> dict[str, dict[str, float]]:
    """Megabytes that a process holds after so many batches of small images, by number of batches."""
    return _in_new_process(_memory_of_stream, batches, device)


def _in_new_process(function: Any, *arguments: Any) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def _memory_of_classes(num_classes: int, device: str) -> dict[str, float]:
    torch.set_num_threads(1)
    # Kernels are loaded before the clock runs.
    next(iter(FDSLDataset("rcdb-1k", 16, 64, device)))
    start = time.perf_counter()
    stream = iter(FDSLDataset(RCDB(num_classes=num_classes), 16, 64, device))
    for _ in range(3):
        next(stream)
        synchronise(device)
    seconds = time.perf_counter() - start
    return {"first_batches_s": round(seconds, 4), "peak_mb": _held("VmHWM"), **_gpu_memory(device)}


def _memory_of_stream(batches: Sequence[int], device: str) -> dict[str, dict[str, float]]:
    torch.set_num_threads(1)
    stream = iter(FDSLDataset("rcdb-1k", 16, 32, device))
    rows, done = {}, 0
    for count in batches:
        for _ in range(count - done):
            next(stream)
        synchronise(device)
        done = count
        rows[str(count)] = {"memory_mb": _held("VmRSS"), **_gpu_memory(device)}
    return rows


def _held(field: str) -> float:
    """Megabytes of this process. Not by getrusage, whose greatest value may be that of the parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(round(int(line.split()[1]) * 1024 / 1e6, 2) for line in lines if line.startswith(field))


def _gpu_memory(device: str) -> dict[str, float]:
    if torch.device(device).type != "cuda":
        return {}
    return {"gpu_peak_mb": round(torch.cuda.max_memory_allocated(device) / 1e6, 2)}
