"""Would CUDA graphs save host time? A batch launched plainly beside the replay of a captured one. An experiment.

Captured are the kernels of a batch, reading records from fixed memory, which is what a loader could replay: new records
are copied there before each replay. What the host draws before, positions to records, is in neither.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from bench.common import FORMATS, until_returned_and_done
from fdsl_gpu import FDSLDataset
from fdsl_gpu.renderer import Work, _words, even_chunks

_CALLS = 30


def measure(name: str, batch: int, dtype: str) -> dict[str, Any]:
    """Medians of microseconds a batch, "plain" and "replayed": until the host is free, and until the device is done."""
    dataset = FDSLDataset(name, batch, device="cuda", **FORMATS[dtype])
    renderer = dataset.source._prepare()[0]
    words = _words(renderer.formula.draw(renderer.key, *dataset.locate(np.arange(batch)))).pin_memory()
    fixed = words.to(dataset.device)
    work = Work(renderer.key, fixed, None, dataset.source.empty(batch), None)
    lane = renderer.lane()
    graph = torch.cuda.CUDAGraph()

    def launch() -> None:
        for part in even_chunks(batch, lane.chunk):
            lane(work, part)

    def timed(kernels: Callable[[], None]) -> dict[str, float]:
        def call() -> None:
            fixed.copy_(words, non_blocking=True)
            kernels()

        host, whole = (statistics.median(times) for times in until_returned_and_done(call, "cuda", _CALLS))
        return {"host_us": round(1e6 * host, 1), "whole_us": round(1e6 * whole, 1)}

    # Plainly first: compiling, loading and taking scratch memory cannot be captured.
    plain = timed(launch)
    with torch.cuda.graph(graph):
        launch()
    return {"plain": plain, "replayed": timed(graph.replay)}
