"""Benchmarks that need processes of their own: rates of many at a time, and memory of one that did nothing else."""

from __future__ import annotations

import multiprocessing
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from bench.common import summary, synchronise
from fdsl_gpu import FDSLDataset, FDSLLoader
from fdsl_gpu.formulas.rcdb import RCDB

_WARM_UP = 0.2
_PREFETCH = 2


class Drawer:
    """A process that draws when told, about from a time that all processes share."""

    def __init__(self, name: str, batch: int, image_size: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, name, batch, image_size)
        self._process = context.Process(target=_draw_when_told, args=arguments, daemon=True)
        self._process.start()

    def __enter__(self) -> Drawer:
        return self

    def begin(self, threads: int, prefetch: int, start: float, seconds: float) -> None:
        """Draw on so many threads for some seconds, a few batches after ``start`` of ``time.monotonic``."""
        self._pipe.send((threads, prefetch, start, seconds))

    def rate(self) -> float:
        """Images per second of what :meth:`begin` began."""
        return self._pipe.recv()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.join()


def _draw_when_told(pipe: Connection, name: str, batch: int, image_size: int) -> None:
    dataset = FDSLDataset(name, batch, image_size, "cpu")
    while True:
        threads, prefetch, start, seconds = pipe.recv()
        torch.set_num_threads(threads)
        with FDSLLoader(dataset, prefetch) as loader:
            batches = iter(loader)
            # Threads and their memory are made outside the time that counts.
            next(batches)
            time.sleep(max(start - time.monotonic(), 0))
            # What was drawn while this slept does not count.
            for _ in range(prefetch + 1):
                next(batches)
            count, start = 0, time.monotonic()
            now = start
            while not count or now < start + seconds:
                next(batches)
                count, now = count + 1, time.monotonic()
        pipe.send(batch * count / (now - start))


def thread_rates(
    name: str, values: Sequence[int], batch: int, image_size: int, seconds: float, rounds: int
) -> dict[str, Any]:
    """Rates of n threads in one process, and of n processes of one thread that draw at the same time, in turns.

    Returns:
        "name, batches of B, n" -> {"threads": rates of a loader, "processes": rates of n loaders together, "ratio": of
        the medians, "no_loader": rates of n threads of a dataset that is iterated, "no_loader_ratio": theirs to
        "processes"}.
    """
    with ExitStack() as drawers:
        pool = [drawers.enter_context(Drawer(name, batch, image_size)) for _ in range(max(values))]
        # So that imports and compilation are over.
        _rate(pool, 1, 0, 0.0)
        rates: dict[tuple[int, str], list[float]] = defaultdict(list)
        for _ in range(rounds):
            for n in values:
                rates[n, "threads"].append(_rate(pool[:1], n, _PREFETCH, seconds))
                rates[n, "processes"].append(_rate(pool[:n], 1, _PREFETCH, seconds))
                rates[n, "no_loader"].append(_rate(pool[:1], n, 0, seconds))
    rows: dict[str, Any] = {}
    for n in values:
        row = {kind: summary(rates[n, kind]) for kind in ("threads", "processes", "no_loader")}
        ratio, alone = (
            round(row[kind]["images_per_second"] / row["processes"]["images_per_second"], 3)
            for kind in ("threads", "no_loader")
        )
        rows[f"{name}, batches of {batch}, {n}"] = {**row, "ratio": ratio, "no_loader_ratio": alone}
    return rows


def _rate(pool: Sequence[Drawer], threads: int, prefetch: int, seconds: float) -> float:
    start = time.monotonic() + _WARM_UP
    for drawer in pool:
        drawer.begin(threads, prefetch, start, seconds)
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
