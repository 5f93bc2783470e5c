"""Seconds from nothing to the first batch, in fresh processes: with empty caches of compiled kernels, and again.

    python -m bench.first_batch --device cuda --json FILE

"cold" is the first run after an installation: numba, and on a GPU Triton, compile into empty cache folders. "warm" is
the second run. "import" is ``import fdsl_gpu``, torch included; "device" is what CUDA takes to start, without us.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import torch

from bench.common import parser, python_path, quartiles, save
from fdsl_gpu import list_datasets

DATASETS = ["rcdb-1k", "exfractaldb-1k"]
STATES = ("cold", "warm")
PARTS = ("import", "device", "first_batch", "second_batch")

_PROGRAM = """
import json, sys, time
name, augment, batch, image_size, device = json.loads(sys.argv[1])
times = [time.perf_counter()]
import fdsl_gpu, torch
times.append(time.perf_counter())
def finish():
    if device != "cpu":
        torch.cuda.synchronize(device)
    times.append(time.perf_counter())
torch.zeros(1, device=device)
finish()
stream = iter(fdsl_gpu.FDSLDataset(name, batch, image_size, device, augment=augment))
for _ in range(2):
    next(stream)
    finish()
print(json.dumps([after - before for before, after in zip(times, times[1:])]))
"""


def measure(
    names: Sequence[str],
    batch: int,
    image_size: int,
    device: str,
    rounds: int,
    augments: Sequence[str | None] = (None, "fdsl"),
    states: Sequence[str] = STATES,
) -> dict[str, Any]:
    """Seconds of every dataset, plain and augmented, with caches in each state.

    Args:
        names: presets.
        batch: images of the first batch.
        image_size: pixels.
        device: where to draw.
        rounds: processes of each kind.
        augments: recipes, or None.
        states: "cold", "warm", or both; "warm" alone runs on the caches of whoever calls.

    Returns:
        contender -> part of :data:`PARTS` -> {"seconds", "q1", "q3", "rounds"}, seconds being the median.
    """
    seconds: dict[str, list[list[float]]] = {}
    for _ in range(rounds):
        for name in names:
            for augment in augments:
                label = name if augment is None else f"{name}, augmented"
                for state, times in _round([name, augment, batch, image_size, device], states).items():
                    seconds.setdefault(f"{label}, {state}", []).append(times)
    return {
        label: {part: _summary([times[i] for times in runs]) for i, part in enumerate(PARTS)}
        for label, runs in seconds.items()
    }


def _round(arguments: list[Any], states: Sequence[str]) -> dict[str, list[float]]:
    """Seconds of each part, by state: a process that fills empty caches, then one that finds them full."""
    if "cold" not in states:
        return {"warm": _run(arguments, {})}
    with tempfile.TemporaryDirectory(prefix="fdsl_gpu_bench_") as folder:
        caches = {"NUMBA_CACHE_DIR": f"{folder}/numba", "TRITON_CACHE_DIR": f"{folder}/triton"}
        return {state: _run(arguments, caches) for state in STATES if state in states}


def _run(arguments: list[Any], caches: dict[str, str]) -> list[float]:
    command = [sys.executable, "-c", _PROGRAM, json.dumps(arguments)]
    environment = {**os.environ, **caches, **python_path()}
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(result.stdout)


def _summary(seconds: list[float]) -> dict[str, float]:
    low, median, high = quartiles(seconds)
    return {"seconds": round(median, 4), "q1": round(low, 4), "q3": round(high, 4), "rounds": len(seconds)}


def print_parts(results: dict[str, Any]) -> None:
    """Print the seconds of every part."""
    width = max(map(len, results))
    print(" " * width + "".join(f"{part:>14}" for part in PARTS))
    for label, row in results.items():
        print(f"{label:{width}}" + "".join(f"{row[part]['seconds']:>12.2f} s" for part in PARTS))


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--datasets", nargs="*", default=DATASETS, choices=list_datasets())
    options.add_argument("--states", nargs="*", default=list(STATES), choices=STATES)
    options.add_argument("--augment", action=argparse.BooleanOptionalAction, help="only with, only without")
    options.add_argument("--batch", type=int, default=256)
    options.add_argument("--image-size", type=int, default=224)
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--rounds", type=int, default=3)
    arguments = options.parse_args()
    augments = {None: (None, "fdsl"), True: ("fdsl",), False: (None,)}[arguments.augment]
    results = measure(
        arguments.datasets,
        arguments.batch,
        arguments.image_size,
        arguments.device,
        arguments.rounds,
        augments,
        arguments.states,
    )
    print_parts(results)
    save(arguments, results)


if __name__ == "__main__":
    main()
