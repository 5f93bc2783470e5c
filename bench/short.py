"""The short set, under 90 seconds on one core: ``python -m fdsl_gpu bench``.

Rates of a few datasets beside stored images, what threads add, and how long a first batch takes.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch

from bench import first_batch, generate, scaling
from bench.common import cpu_threads, print_table, save
from fdsl_gpu.arguments import resolve_device

DATASETS = ["rcdb-1k", "exfractaldb-1k", "fractaldb-1k", "anderson-farrell-1k"]


def run(
    device: str = "cpu",
    json: str | None = None,
    datasets: list[str] = DATASETS,
    batch: int = 128,
    rounds: int = 5,
    seconds: float = 0.5,
) -> dict[str, Any]:
    """Measure, print, and write to a file if one is given.

    Args:
        device: where to draw.
        json: file to write to.
        datasets: names.
        batch: images a call.
        rounds: timed calls of each.
        seconds: of each round of threads.

    Returns:
        "results": rates by dataset; "threads": of :func:`bench.scaling.measure_threads`, on the CPU; "first_batch".
    """
    device = str(resolve_device(device))
    on_cpu = torch.device(device).type == "cpu"
    settings = {"device": device, "datasets": datasets, "batch": batch, "rounds": rounds, "seconds": seconds}
    print(f"Images per second, 224 px, float32, batches of {batch}, {'one CPU core' if on_cpu else device}")
    with cpu_threads(1):
        results = generate.measure(datasets, ["float32"], batch, 224, device, rounds)
    print_table(results, generate.STORED if on_cpu else None)
    more: dict[str, Any] = {}
    if on_cpu:
        print("\nThreads of one process, and as many processes")
        more["threads"] = scaling.measure_threads(None, [min(batch, 64)], 224, seconds, rounds)
        scaling.print_axis("threads", more["threads"])
    print(f"\nSeconds in a new process, kernels compiled before, {datasets[0]}")
    more["first_batch"] = first_batch.measure(datasets[:1], batch, 224, device, 1, (None,), ("warm",))
    first_batch.print_parts(more["first_batch"])
    save(argparse.Namespace(json=json, **settings), results, **more)
    return {"results": results, **more}
