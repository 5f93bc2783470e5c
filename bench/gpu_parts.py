"""The parts of ``bench.run_gpu``: generators of (name, result), so that what was measured before a cut is kept."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from bench import feed, generate, scaling, stages, train
from bench import first_batch as new_process
from bench.common import FORMATS, summary, synchronise
from fdsl_gpu import FDSLDataset, renderer
from fdsl_gpu.formulas.base import MAX_CLASSES

ROOT = Path(__file__).resolve().parent.parent

Results = Iterator[tuple[str, Any]]

SWEPT = ["rcdb-1k", "fractaldb-1k", "anderson-farrell-1k"]

_INTERPRETED = """
import json, time
import numpy as np, torch
from fdsl_gpu.registry import formula
from fdsl_gpu.renderer import Renderer
# The interpreter runs one kernel at a time.
torch.set_num_threads(1)
settings = {"image_size": 32, "channels": 3, "dtype": torch.uint8, "normalize": None, "interpolation": "bilinear"}
ids = np.arange(2)
for name, options in {"rcdb-1k": {"canvas_size": 64}, "exfractaldb-1k": {"canvas_size": 32, "points": 500}}.items():
    drawn = {}
    cpu = torch.device("cpu")
    for backend in ("numba", "triton"):
        start = time.perf_counter()
        renderer = Renderer(formula(name, **options), seed=0, device=cpu, write_out=settings, backend=backend)
        drawn[backend] = renderer(ids, ids)
    same = torch.equal(*drawn.values())
    print(json.dumps([name, {"same_bytes": same, "seconds": round(time.perf_counter() - start, 1)}]))
"""


@dataclass(frozen=True)
class Place:
    """Where the parts run, and how large."""

    device: str
    dtypes: tuple[str, ...]
    batch: int
    rounds: int
    rehearsal: bool
    peers: str | None = None

    @property
    def workers(self) -> int:
        """Processes of the loader of stored pictures."""
        return 1 if self.rehearsal else os.cpu_count() or 1

    @property
    def trained_dtype(self) -> str:
        """What models are trained on."""
        return "bfloat16" if "bfloat16" in self.dtypes else "float32"

    def few(self, names: list[str]) -> list[str]:
        """All of them, or the first in a rehearsal."""
        return names[:1] if self.rehearsal else names


def gpu_tests(place: Place, seconds: float) -> Results:
    """The tests marked gpu, in a process of their own."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-rs", "--maxfail=20", str(ROOT / "tests")]
    try:
        result = _python(command, seconds, {})
        printed, ended = result.stdout, "failed" if result.returncode else "passed"
    except subprocess.TimeoutExpired as expired:
        printed, ended = (expired.stdout or b"").decode(), "timed out"
    print(printed[-4000:])
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", printed)}
    yield "status", "skipped" if ended == "passed" and not counts.get("passed") else ended
    yield from counts.items()
    yield "output", printed[-2000:]


def interpreted(place: Place, seconds: float) -> Results:
    """In a rehearsal: two pictures by the Triton kernels in Triton's interpreter, beside those of the numba twins."""
    if not place.rehearsal:
        return
    result = _python([sys.executable, "-c", _INTERPRETED], seconds, {"TRITON_INTERPRET": "1"})
    yield from (json.loads(line) for line in result.stdout.splitlines())
    if result.returncode:
        yield "output", result.stderr[-2000:]


def drawing(place: Place, seconds: float) -> Results:
    """Images per second of every dataset."""
    for name in place.few(generate.DATASETS):
        yield from _generate(place, name, ["canvas"])


def augmented(place: Place, seconds: float) -> Results:
    """Images per second in vector mode, and augmented by the recipe "fdsl"."""
    for name in place.few(train.TRAINED):
        yield from _generate(place, name, ["vector", "augmented"])


def never_waits(place: Place, seconds: float) -> Results:
    """Does drawing a batch ever wait for the device?"""
    for name in place.few(generate.DATASETS):
        stream = iter(FDSLDataset(name, place.batch, device=place.device, **FORMATS[place.dtypes[0]]))
        next(stream)
        if not place.rehearsal:
            torch.cuda.set_sync_debug_mode("error")
        try:
            next(stream)
            yield name, "nothing to wait for: no CUDA device" if place.rehearsal else "passed"
        except RuntimeError as error:
            yield name, f"failed: {error}"[:500]
        finally:
            if not place.rehearsal:
                torch.cuda.set_sync_debug_mode("default")


def host_time(place: Place, seconds: float) -> Results:
    """Microseconds that the call which draws a batch keeps the host, the device idle before it."""
    for name in place.few(generate.DATASETS):
        for recipe in (None, "fdsl") if name in train.TRAINED else (None,):
            made = FDSLDataset(name, place.batch, device=place.device, augment=recipe, **FORMATS[place.dtypes[0]])
            stream = iter(made)
            yield f"{name}, augmented" if recipe else name, _host_us(lambda stream=stream: next(stream), place)


def by_size(place: Place, seconds: float) -> Results:
    """How cost grows with points, lines, pixels, batch, classes."""
    for axis in place.few(list(scaling.AXES)):
        # A process of its own measures the memory of every number of classes, which takes a while on a GPU.
        values = [100, 200, 400] if place.rehearsal else [1000, MAX_CLASSES] if axis == "classes" else None
        yield axis, scaling.measure(axis, values, place.batch, 224, place.device, rounds=min(place.rounds, 7))


def by_chunk(place: Place, seconds: float) -> Results:
    """Images per second by the number of canvases that are drawn at a time: do they stay in the L2 cache?"""
    for name in place.few(SWEPT):
        for chunk in (1, 4) if place.rehearsal else (4, 8, 16, 32, 64, 128, 256):
            dataset = FDSLDataset(name, place.batch, device=place.device, **FORMATS[place.dtypes[0]])
            with (
                mock.patch.object(renderer, "MAX_CHUNK", chunk),
                mock.patch.object(renderer, "GPU_BYTES", 1 << 40),
            ):
                row = _rates(iter(dataset), place)
            formula = dataset.source.formulas[0]
            yield f"{name}, chunk {chunk}", {**row, "canvas_mb": chunk * formula.planes * formula.canvas_size**2 / 1e6}


def by_stage(place: Place, seconds: float) -> Results:
    """Where the time of a batch goes."""
    for name in place.few(stages.DATASETS):
        yield name, stages.measure(name, place.batch, 224, place.device, place.rounds, place.dtypes[0])


def feeding(place: Place, seconds: float) -> Results:
    """Does a consumer of 20 ms a batch wait?"""
    steps, step_ms = (2, 5.0) if place.rehearsal else (20, 20.0)
    yield from feed.measure(
        place.few(train.TRAINED),
        list(place.dtypes[:1]),
        [0, 1, 2],
        place.batch,
        place.device,
        step_ms,
        steps,
        rounds=1 if place.rehearsal else 5,
        workers=place.workers,
        seconds=0.7 * seconds,
    ).items()


def training(place: Place, seconds: float) -> Results:
    """Feed efficiency and peak memory with vision transformers."""
    for model in place.few(train.MODELS):
        yield from train.measure(
            [model],
            place.few(train.TRAINED),
            [place.trained_dtype],
            2 if place.rehearsal else place.batch,
            place.device,
            0 if place.rehearsal else 0.7 * seconds / len(train.MODELS),
            place.workers,
            with_stored=not place.rehearsal,
            augmented=not place.rehearsal,
        ).items()


def memory(place: Place, seconds: float) -> Results:
    """Peak memory of the largest batches there are, float32, beside that of one cached batch."""
    batch, bound = (2, 0.0) if place.rehearsal else (256, 0.5 * seconds)
    few = {"with_stored": False, "augmented": False}
    rows = train.measure(train.MODELS[:1], ["rcdb-1k"], ["float32"], batch, place.device, bound, 1, **few)
    yield from rows.items()


def peers(place: Place, seconds: float) -> Results:
    """The peers' own CUDA renderer, in a folder of its code."""
    if place.peers is None:
        yield "skipped", "no --peers FOLDER"
        return
    from bench.peers.cuda import cuda_renderer

    yield from cuda_renderer(place.peers).items()


def first_batch(place: Place, seconds: float) -> Results:
    """Seconds from a new process to its first batch."""
    # With empty caches, the first set alone: everything is compiled.
    for name, states in {"rcdb-1k": ("cold", "warm"), "exfractaldb-1k": ("warm",)}.items():
        states = ("warm",) if place.rehearsal else states
        yield from new_process.measure([name], place.batch, 224, place.device, 1, (None,), states).items()


def _generate(place: Place, name: str, modes: list[str]) -> Results:
    yield from generate.measure([name], place.dtypes, place.batch, 224, place.device, place.rounds, modes).items()


def _rates(stream: Iterator[Any], place: Place) -> dict[str, float]:
    rates = []
    for _ in range(place.rounds + 2):
        start = time.perf_counter()
        next(stream)
        synchronise(place.device)
        rates.append(place.batch / (time.perf_counter() - start))
    return summary(rates[2:])


def _host_us(call: Callable[[], Any], place: Place) -> dict[str, float]:
    """Median and quartiles of the microseconds until a call returns."""
    for _ in range(2):
        call()
    times = []
    for _ in range(2 if place.rehearsal else 50):
        synchronise(place.device)
        start = time.perf_counter()
        call()
        times.append(1e6 * (time.perf_counter() - start))
    synchronise(place.device)
    low, median, high = statistics.quantiles(times, n=4, method="inclusive")
    return {"us_per_batch": round(median, 1), "q1": round(low, 1), "q3": round(high, 1), "rounds": len(times)}


def _python(command: list[str], seconds: float, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=seconds, check=False)
