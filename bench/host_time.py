"""Microseconds that a batch on a GPU costs the host, measured without a GPU.

    python -m bench.host_time --json FILE

The stream takes the path of a GPU on memory of the CPU, replays included. Only the last step of a launch, the driver's,
is left out, as are events, fills and copies to the device, which the driver queues as well, and the allocator's search
for memory. Each of those costs a few microseconds more. Times are of this thread alone ("draws": classes, instances,
records and presentations; the rest is launches and what surrounds them): quartiles of many batches.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch

from bench import stages
from bench.common import cpu_threads, parser, quartiles, save
from fdsl_gpu import FDSLDataset, renderer, work
from fdsl_gpu.renderer import Renderer

_TURNS = 5

_DRAWS = ("locate", "records", "presentations", "targets")


class _Driver:
    """What Triton asks of a driver before a launch."""

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)


@contextlib.contextmanager
def no_driver(launched: Callable[..., None]) -> Iterator[None]:
    """Triton binds and looks up kernels for a device that does nothing while this lasts.

    Args:
        launched: called in the place of the driver, with the name of the kernel and what Triton passes.
    """
    from triton.compiler import CompiledKernel
    from triton.runtime import JITFunction, driver

    used: list[Any] = []

    class NotCompiled(CompiledKernel):
        function, packed_metadata, src, module = 0, (), None, None

        def __init__(self, name: str) -> None:
            self.name = name

        def _init_handles(self) -> None:
            pass

        def run(self, *arguments: Any) -> None:
            launched(self.name, *arguments)

    def compile_nothing(kernel: Any, key: Any, signature: Any, device: int, *arguments: Any) -> NotCompiled:
        used.append(kernel)
        compiled = kernel.device_caches[device][0][key] = NotCompiled(kernel.__name__)
        return compiled

    try:
        with (
            mock.patch.object(type(driver), "active", _Driver()),
            mock.patch.object(JITFunction, "_do_compile", compile_nothing),
        ):
            yield
    finally:
        for kernel in used:
            kernel.device_caches.clear()
            kernel.forget()


@contextlib.contextmanager
def no_device(launched: Callable[..., None]) -> Iterator[None]:
    """Renderers take the path of a GPU while this lasts; ``launched`` as in :func:`no_driver`."""
    stream = SimpleNamespace(wait_event=lambda event: None, record_event=lambda: None, synchronize=lambda: None)

    # Plain functions where the clock runs: a call of a mock object takes 30 us.
    def triton_for(device: torch.device) -> str:
        return "triton"

    def current_stream(device: torch.device) -> Any:
        return stream

    @cache
    def pinned(count: int) -> torch.Tensor:
        return torch.empty(count, dtype=torch.int32)

    # In the place of an allocator that has the memory at hand.
    def empty(self: Renderer, batch_size: int, memory_format: torch.memory_format) -> torch.Tensor:
        return taken(self, batch_size, memory_format).detach()

    taken = cache(Renderer.empty)

    with (
        no_driver(launched),
        mock.patch.object(renderer, "backend_for", triton_for),
        mock.patch.object(Renderer, "_draw_on_threads", Renderer._draw_on_stream),
        mock.patch.object(torch.cuda, "current_stream", current_stream),
        mock.patch.object(work, "pinned", pinned),
        mock.patch.object(Renderer, "empty", empty),
        mock.patch.object(torch.Tensor, "pin_memory", lambda tensor: tensor),
        mock.patch.object(torch.Tensor, "zero_", lambda tensor: tensor),
        mock.patch.object(torch, "zeros", torch.empty),
    ):
        yield


def measure(names: list[str], batch: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Of datasets, plain and augmented, in turns: a shared machine is slow for seconds at a time.

    Returns:
        "host_us", its quartiles and "draws_us" a batch, "launches" of kernels in it, and "rounds", by dataset.
    """
    found: dict[str, list[tuple[list[float], list[float], int]]] = defaultdict(list)
    for name in names * _TURNS:
        found[name].append(_turn(name, batch, -(-rounds // _TURNS)))
        if name != "segrcdb":
            found[f"{name}, augmented"].append(_turn(name, batch, -(-rounds // _TURNS), augment="fdsl"))
    return {label: _row(*zip(*turns, strict=True)) for label, turns in found.items()}


def _row(times: tuple[list[float], ...], draws: tuple[list[float], ...], launches: tuple[int, ...]) -> dict[str, Any]:
    q1, host_us, q3 = (round(1e6 * value, 1) for value in quartiles(list(chain(*times))))
    draws_us = round(1e6 * statistics.median(chain(*draws)), 1)
    row = {"host_us": host_us, "q1": q1, "q3": q3, "draws_us": draws_us}
    return {**row, "launches": launches[0], "rounds": sum(map(len, times))}


def _turn(name: str, batch: int, rounds: int, **options: Any) -> tuple[list[float], list[float], int]:
    """Seconds of batches, seconds of what draws their numbers, and launches a batch; options are those of a dataset."""
    launches: Counter[str] = Counter()

    def count(name: str, *arguments: Any) -> None:
        launches[name] += 1

    with cpu_threads(1), no_device(count):
        dataset = FDSLDataset(name, batch, device="cpu", dtype=torch.bfloat16, **options)
        stream = iter(dataset)
        for _ in range(3):
            launches.clear()
            next(stream)
        total = launches.total()
        times = [_thread_time(stream) for _ in range(rounds)]
        clock = stages.Clock("cpu")
        draws = []
        with stages.clocked(clock, dataset):
            for _ in range(rounds):
                clock.restart()
                next(stream)
                clock.book()
                draws.append(sum(clock.seconds.get(stage, 0.0) for stage in _DRAWS))
    return times, draws, total


def _thread_time(stream: Iterator[Any]) -> float:
    start = time.thread_time()
    next(stream)
    return time.thread_time() - start


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--datasets", nargs="*", default=stages.DATASETS, choices=stages.DATASETS)
    options.add_argument("--batch", type=int, default=256)
    options.add_argument("--rounds", type=int, default=200)
    arguments = options.parse_args()
    results = measure(arguments.datasets, arguments.batch, arguments.rounds)
    for label, row in results.items():
        spread = f"({row['q1']:.0f} .. {row['q3']:.0f})"
        print(
            f"{label:36} {row['host_us']:5.0f} us {spread:14} draws {row['draws_us']:4.0f} us, "
            f"{row['launches']} launches"
        )
    save(arguments, results)


if __name__ == "__main__":
    main()
