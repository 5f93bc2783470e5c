"""Where the time of a batch goes: the stages of the stream, on one CPU core or a GPU.

    python -m bench.stages --device cuda --json FILE

"locate": which classes and instances stand at the positions. "records": their parameters, drawn on the host.
"geometry": vertices of contours; points have none, theirs is in "raster". "raster": planes. "masks", "targets": labels
of datasets that have them. "write-out": resized, normalised, cast. Augmented samples have "presentations", their
parameters, drawn on the host, and "present" in place of "write-out". "other": copies, memory, threads, Python.

A clock in the stream's own functions books all of a batch's time, so stages and "other" add up. On a GPU the clock
waits for the device at every change of stage; the stream alone does not wait, and is faster by what it overlaps. There,
the time of each kernel is listed too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any
from unittest.mock import patch

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from bench.common import FORMATS, cpu_threads, in_turns, parser, save, summary, synchronise
from fdsl_gpu import FDSLDataset, list_datasets, presentation, vector
from fdsl_gpu.masks import MaskWriteOut
from fdsl_gpu.present import Presenter
from fdsl_gpu.render.contour_scenes import ContourScenes
from fdsl_gpu.render.contour_vertices import ContourVertices
from fdsl_gpu.render.contours import Contours
from fdsl_gpu.render.fractal_scenes import FractalScenes
from fdsl_gpu.render.points import Points3D
from fdsl_gpu.render.points_2d import Points2D
from fdsl_gpu.renderer import Renderer
from fdsl_gpu.source import Source
from fdsl_gpu.stream import Order
from fdsl_gpu.work import Work
from fdsl_gpu.write_out import WriteOut

DATASETS = ["rcdb-1k", "visualatom-1k", "segrcdb", "exfractaldb-1k", "fractaldb-1k", "anderson-farrell-multi-1k"]
"""One of each primitive, and VisualAtom, whose vertices are other than RCDB's."""

_ORDER = (
    *("locate", "records", "presentations", "geometry", "raster"),
    *("masks", "write-out", "present", "targets"),
)
_OTHER = "other"


class Clock:
    """Books time to one stage at a time; a stage that begins inside another one interrupts it."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._stack = [_OTHER]
        self.restart()

    def restart(self) -> None:
        """Forget what was booked."""
        self.seconds: dict[str, float] = {_OTHER: 0.0}
        self._since = self._now()

    def book(self) -> None:
        """Book the time since the last booking to the stage that is on."""
        now = self._now()
        stage = self._stack[-1]
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._since
        self._since = now

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time booked to a stage."""

        @wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            self.book()
            self._stack.append(stage)
            try:
                return function(*arguments, **options)
            finally:
                self.book()
                self._stack.pop()

        return call

    def _now(self) -> float:
        synchronise(self._device)
        return time.perf_counter()


@contextmanager
def clocked(clock: Clock, dataset: FDSLDataset) -> Iterator[None]:
    """While this lasts, the functions of the stream tell the clock which stage is on."""
    functions = [("locate", Order, "locate"), ("geometry", ContourVertices, "fill")]
    for formula in {type(formula) for formula in dataset.source.formulas}:
        functions += [("records", formula, "draw"), ("targets", formula, "classes_shown")]
    functions.append(("targets", Source, "_multi_hot"))
    functions += [("presentations", presentation, "draw"), ("presentations", vector, "fold")]
    functions += [("raster", one, "draw") for one in (Contours, ContourScenes, FractalScenes, Points2D, Points3D)]
    last = {"masks": MaskWriteOut, "write-out": WriteOut, "present": Presenter}
    functions += [(stage, one, "__call__") for stage, one in last.items()]
    with ExitStack() as patches:
        for stage, owner, name in functions:
            patches.enter_context(patch.object(owner, name, clock.timed(stage, getattr(owner, name))))
        # A replay calls none of them.
        patches.enter_context(patch.object(Renderer, "_launch", _launch_plainly))
        yield


def _launch_plainly(renderer: Renderer, work: Work, words: torch.Tensor) -> None:
    renderer.draw_in_chunks(work.over(words))


def measure(
    name: str,
    batch: int,
    image_size: int,
    device: str,
    rounds: int,
    dtype: str = "float32",
    **options: Any,
) -> dict[str, Any]:
    """Rates of each stage of one dataset's batches, on one CPU thread; options are those of ``FDSLDataset``.

    Returns:
        "stages": stage -> rates of that stage alone; "sum_us", microseconds an image of all of them; "whole", rates of
        the stream without the clock; on a GPU also "kernels": name -> microseconds an image.
    """
    dataset = FDSLDataset(name, batch, image_size, device, **FORMATS[dtype], **options)
    stream = iter(dataset)
    clock = Clock(device)
    booked: list[dict[str, float]] = []

    def whole() -> None:
        next(stream)
        synchronise(device)

    def by_stage() -> None:
        with clocked(clock, dataset):
            clock.restart()
            next(stream)
            clock.book()
        booked.append(clock.seconds)

    with cpu_threads(1):
        seconds = in_turns({"whole": whole, "by stage": by_stage}, rounds)
        kernels = kernel_times(whole, batch) if torch.device(device).type == "cuda" else None
    # Its first call was not counted.
    del booked[0]
    # In the order of the stream, but for what is between the stages.
    order = sorted(booked[0], key=[*_ORDER, _OTHER].index)
    stages = {stage: summary([batch / one[stage] for one in booked]) for stage in order}
    result: dict[str, Any] = {
        "stages": stages,
        "sum_us": round(sum(row["us_per_image"] for row in stages.values()), 3),
        "whole": summary([batch / s for s in seconds["whole"]]),
    }
    return result if kernels is None else {**result, "kernels": kernels}


def kernel_times(call: Callable[[], Any], images: int, calls: int = 3) -> dict[str, float]:
    """Microseconds an image of every kernel and copy that a call runs on the GPU, the longest first."""
    call()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        for _ in range(calls):
            call()
    times = {
        event.key: round(event.self_device_time_total / (calls * images), 4)
        for event in profiler.key_averages()
        if event.device_type == DeviceType.CUDA
    }
    return dict(sorted(times.items(), key=lambda item: -item[1]))


def print_stages(name: str, result: dict[str, Any]) -> None:
    """Print one dataset's stages, their shares of the sum, and its kernels."""
    print(f"{name}: {result['whole']['us_per_image']:,.1f} us an image; stage by stage {result['sum_us']:,.1f}")
    for stage, row in result["stages"].items():
        print(f"    {stage:14}{row['us_per_image']:10,.2f} us  {row['us_per_image'] / result['sum_us']:6.1%}")
    for kernel, microseconds in result.get("kernels", {}).items():
        print(f"    {microseconds:10,.3f} us  {kernel}")


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--datasets", nargs="*", default=DATASETS, choices=list_datasets())
    options.add_argument("--dtype", default="float32", choices=list(FORMATS))
    options.add_argument("--batch", type=int, default=256)
    options.add_argument("--image-size", type=int, default=224)
    options.add_argument("--augment", help="recipe, such as fdsl (default: none)")
    options.add_argument("--device", default="cpu")
    options.add_argument("--rounds", type=int, default=7)
    arguments = options.parse_args()
    results = {}
    for name in arguments.datasets:
        results[name] = measure(
            name,
            arguments.batch,
            arguments.image_size,
            arguments.device,
            arguments.rounds,
            arguments.dtype,
            augment=arguments.augment,
        )
        print_stages(name, results[name])
    save(arguments, results)


if __name__ == "__main__":
    main()
