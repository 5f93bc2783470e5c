"""What replays launch, beside plain launches of the same batches: ``python -m tests.replayed_launches`` prints JSON."""

import json
from typing import Any
from unittest import mock

import numpy as np
import torch

from bench.host_time import no_device
from fdsl_gpu import FDSLDataset
from fdsl_gpu.renderer import Renderer, Work
from tests.recorded_launches import BATCH, WORKLOADS
from triton_kernels.launch import Kernel
from triton_kernels.replay import Replay

SIZES = [BATCH] * 4 + [12] + [BATCH] * 4
"""Of the batches. The third of a kind in a row is the first that is replayed."""

INTERRUPTED = len(SIZES) - 1
"""After this many batches, a replay is interrupted once."""

MIXTURE: Any = ["rcdb-1k", "exfractaldb-1k"]


def compare(name: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Of every batch whether it was replayed, and whether the driver was given what plain launches give it."""
    given: list[Any] = []
    replayed, same = [], []
    launch = Renderer._launch

    def note(name: str, x: int, y: int, z: int, stream: int, function: int, packed: Any, *rest: Any) -> None:
        given.append((name, x, y, z, stream, *map(_address, rest[3:])))

    def twice(renderer: Renderer, work: Work, words: torch.Tensor) -> None:
        with mock.patch.object(Kernel, "run", autospec=True, side_effect=Kernel.run) as run:
            launch(renderer, work, words)
        replayed.append(not run.called)
        once = given.copy()
        given.clear()
        renderer.draw_in_chunks(work.over(words))
        same.append(given == once and len(once) > 0)
        given.clear()

    def interrupted(self: Replay, batch: Any) -> None:
        raise KeyboardInterrupt

    with (
        no_device(note),
        mock.patch.object(torch.Tensor, "zero_", lambda tensor: given.append((tensor.data_ptr(), tensor.shape))),
        mock.patch.object(Renderer, "_launch", twice),
    ):
        dataset = FDSLDataset(name, BATCH, device="cpu", **options)
        for number, size in enumerate(SIZES):
            if number == INTERRUPTED:
                with mock.patch.object(Replay, "__call__", interrupted):
                    try:
                        dataset.draw(np.arange(size))
                    except KeyboardInterrupt:
                        replayed.append(None)
            dataset.draw(np.arange(size) + number * BATCH)
    return {"replayed": replayed, "same": same}


def _address(argument: Any) -> Any:
    return argument.data_ptr() if isinstance(argument, torch.Tensor) else argument


if __name__ == "__main__":
    print(json.dumps([[name, options, compare(name, options)] for name, options in [*WORKLOADS, (MIXTURE, {})]]))
