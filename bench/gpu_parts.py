"""The parts of ``bench.run_gpu``: generators of (name, result), so that what was measured before a cut is kept."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from bench import feed, generate, scaling, stages, train
from bench import first_batch as new_process
from bench.common import FORMATS, ROOT, python_path, quartiles, side_by_side, until_returned_and_done
from bench.outcomes import FILE
from fdsl_gpu import FDSLDataset, registry, renderer
from fdsl_gpu.formulas.base import MAX_CLASSES

Results = Iterator[tuple[str, Any]]

_FAILURES = 20
"""Failed tests whose messages are kept."""

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


def gpu_tests(place: Place, seconds: float, tests: str = "tests") -> Results:
    """The tests marked gpu, in several processes where pytest-xdist is there; ``bench.outcomes`` keeps outcomes."""
    workers = min(8, os.cpu_count() or 1) if importlib.util.find_spec("xdist") else 1
    command = ["-m", "pytest", "-m", "gpu", "-p", "bench.outcomes", *(["-n", str(workers)] if workers > 1 else [])]
    with tempfile.TemporaryDirectory(prefix="fdsl_gpu_bench_") as folder:
        file = Path(folder) / "outcomes"
        file.touch()
        # Kernels compile, and pictures to compare with are drawn, on as many threads as there are cores.
        threads = max(1, (os.cpu_count() or 1) // workers)
        result = _python([*command, tests], seconds, {FILE: str(file), "OMP_NUM_THREADS": str(threads)})
        ended = [json.loads(line) for line in file.read_text().splitlines()]
    printed = result.stdout + result.stderr
    print(printed[-4000:])
    failures: dict[str, str] = {}
    for test, outcome, message in ended:
        if outcome == "failed":
            # The first message: that its worker ended comes second.
            failures.setdefault(test, message)
    outcomes = {test: outcome for test, outcome, _ in ended} | dict.fromkeys(failures, "failed")
    counts = Counter(outcomes.values())
    status = {0: "passed", -signal.SIGKILL: "timed out"}.get(result.returncode, "failed")
    yield "status", "skipped" if status == "passed" and not counts["passed"] else status
    yield "processes", workers
    yield from counts.items()
    yield "failures", dict(itertools.islice(failures.items(), _FAILURES))
    yield "output", printed[-2000:]


def interpreted(place: Place, seconds: float) -> Results:
    """In a rehearsal: two pictures by the Triton kernels in Triton's interpreter, beside those of the numba twins."""
    if not place.rehearsal:
        return
    result = _python(["-c", _INTERPRETED], seconds, {"TRITON_INTERPRET": "1"})
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
            rounds = 2 if place.rehearsal else 50
            returned, _ = until_returned_and_done(lambda stream=stream: next(stream), place.device, rounds)
            low, median, high = (round(1e6 * value, 1) for value in quartiles(returned))
            row = {"us_per_batch": median, "q1": low, "q3": high, "rounds": rounds}
            yield f"{name}, augmented" if recipe else name, row


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
            label, formula = f"{name}, chunk {chunk}", registry.formula(name)
            with (
                mock.patch.object(renderer, "MAX_CHUNK", chunk),
                mock.patch.object(renderer, "GPU_BYTES", 1 << 40),
            ):
                call = generate.stream_call(name, place.batch, 224, place.device, place.dtypes[0])
                rows = side_by_side({label: (place.batch, call)}, place.rounds)
            yield label, {**rows[label], "canvas_mb": chunk * formula.planes * formula.canvas_size**2 / 1e6}


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


def _python(arguments: list[str], seconds: float, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run Python in the checkout; after some seconds it and all that it started are killed."""
    command, environment = [sys.executable, *arguments], {**os.environ, **python_path(), **variables}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **pipes) as process:
        timer = threading.Timer(seconds, os.killpg, (process.pid, signal.SIGKILL))
        timer.start()
        printed = process.communicate()
        timer.cancel()
    return subprocess.CompletedProcess(command, process.returncode, *printed)
