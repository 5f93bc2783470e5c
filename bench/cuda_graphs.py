"""Would CUDA graphs save host time? A batch launched plainly beside the replay of a captured one. An experiment.

Two captures are tried: of ``dataset.draw`` into a fixed buffer, with its draws on the host (a replay would repeat the
pictures, so this shows only whether capture is possible, and its cost); and of the kernels alone, reading records from
fixed memory, which is what a loader could replay: new records are copied there before each replay.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from bench.common import FORMATS
from fdsl_gpu import FDSLDataset
from fdsl_gpu.renderer import Work, _words, even_chunks

_CALLS = 30


def measure(name: str, batch: int, dtype: str) -> dict[str, Any]:
    """Microseconds a batch of both captures, plain and replayed; an error's text in place of what failed."""
    dataset = FDSLDataset(name, batch, device="cuda", **FORMATS[dtype])
    positions = np.arange(batch)
    out = dataset.source.empty(batch)
    rows = {"draw": _compare(lambda: dataset.draw(positions, out), None)}
    kernels, refill = _kernels(dataset, positions, out)
    return {**rows, "kernels": _compare(kernels, refill)}


def _kernels(dataset: FDSLDataset, positions: Any, out: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The kernels of a batch on fixed memory, and what brings new records there."""
    renderer = dataset.source._prepare()[0]
    labels, instances = dataset.locate(positions)
    words = _words(renderer.formula.draw(renderer.key, labels, instances)).pin_memory()
    fixed = words.to(dataset.device)
    work = Work(renderer.key, fixed, None, out, None)
    lane = renderer.lane()

    def kernels() -> None:
        for part in even_chunks(len(words), lane.chunk):
            lane(work, part)

    return kernels, lambda: fixed.copy_(words, non_blocking=True)


def _compare(call: Callable[[], Any], refill: Callable[[], Any] | None) -> dict[str, Any]:
    def plainly() -> None:
        if refill is not None:
            refill()
        call()

    row: dict[str, Any] = {"plain": _times(plainly)}
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            call()

        def replay() -> None:
            if refill is not None:
                refill()
            graph.replay()

        row["replayed"] = _times(replay)
    except Exception as error:
        row["capture_failed"] = f"{type(error).__name__}: {error}"[:500]
    return row


def _times(call: Callable[[], Any]) -> dict[str, float]:
    """Medians of microseconds until the call returns, and until the device is done."""
    times = []
    for _ in range(_CALLS + 3):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        returned = time.perf_counter()
        torch.cuda.synchronize()
        times.append((returned - start, time.perf_counter() - start))
    host, whole = (1e6 * float(np.median(column)) for column in zip(*times[3:], strict=True))
    return {"host_us": round(host, 1), "whole_us": round(whole, 1)}
