"""Would CUDA graphs save host time? A batch launched plainly, replayed as the renderer does, and as a captured graph.

All three read records from fixed memory, where new ones are copied to before. The graph's batch would have to be copied
from where it draws; that is not in its time. What the host draws before, positions to records, is in none.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from bench.common import FORMATS, until_returned_and_done
from fdsl_gpu import FDSLDataset
from fdsl_gpu.work import Work, words_of
from triton_kernels.replay import Replay, recording

_CALLS = 30


def measure(name: str, batch: int, dtype: str) -> dict[str, Any]:
    """Medians of microseconds a batch, "plain", "replay", "graph": until the host is free, and the device is done."""
    dataset = FDSLDataset(name, batch, device="cuda", **FORMATS[dtype])
    renderer = dataset.source._prepare()[0]
    words = words_of(renderer.formula.draw(renderer.key, *dataset.locate(np.arange(batch)))).pin_memory()
    fixed = words.to(dataset.device)
    work = Work(renderer.key, fixed, None, dataset.source.empty(batch), None)
    graph = torch.cuda.CUDAGraph()

    def launch() -> None:
        renderer.draw_in_chunks(work)

    def timed(kernels: Callable[[], None]) -> dict[str, float]:
        def call() -> None:
            fixed.copy_(words, non_blocking=True)
            kernels()

        host, whole = (statistics.median(times) for times in until_returned_and_done(call, "cuda", _CALLS))
        return {"host_us": round(1e6 * host, 1), "whole_us": round(1e6 * whole, 1)}

    # Plainly first: compiling, loading and taking scratch memory cannot be captured.
    plain = timed(launch)
    with recording() as steps:
        launch()
    own = [fixed, work.out]
    replay = Replay(steps, own)
    with torch.cuda.graph(graph):
        launch()
    return {"plain": plain, "replay": timed(lambda: replay(own)), "graph": timed(graph.replay)}
