"""What replays launch, beside plain launches of the same batches: ``python -m tests.replayed_launches`` prints JSON."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bench.host_time import no_device
from fdsl_gpu import FDSLDataset, work
from fdsl_gpu.renderer import Renderer
from fdsl_gpu.work import Work
from tests.recorded_launches import BATCH, WORKLOADS
from triton_kernels.launch import Kernel
from triton_kernels.replay import Replay

SIZES = [BATCH] * 4 + [12] + [BATCH] * 4
"""Of the batches. The third of a kind in a row is the first that is replayed."""

INTERRUPTED = len(SIZES) - 1
"""After this many batches, a replay is interrupted once."""

MIXTURE: Any = ["rcdb-1k", "exfractaldb-1k"]


class Comparison:
    """Of every batch whether it was replayed, and whether the driver was given what plain launches give it."""

    def __init__(self) -> None:
        self.replayed: list[bool | None] = []
        self.same: list[bool] = []
        self._given: list[Any] = []
        # Kept, so that nothing of a batch has an address that another had before.
        self._staged: list[torch.Tensor] = []

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Every batch is launched as it would be, and then plainly, while this lasts."""
        launch = Renderer._launch

        def twice(renderer: Renderer, work: Work, words: torch.Tensor) -> None:
            with mock.patch.object(Kernel, "run", autospec=True, side_effect=Kernel.run) as run:
                launch(renderer, work, words)
            once = self._given.copy()
            self._given.clear()
            with _Changes() as changes:
                renderer.draw_in_chunks(work.over(words))
            self.replayed.append(not run.called)
            self.same.append(self._given == once and len(once) > 0 and not changes.operations)
            self._given.clear()

        with (
            no_device(self._note),
            mock.patch.object(torch.Tensor, "zero_", self._note_zeros),
            mock.patch.object(work, "pinned", self._pinned),
            mock.patch.object(Renderer, "_launch", twice),
        ):
            yield

    def _note(self, name: str, x: int, y: int, z: int, stream: int, function: int, packed: Any, *rest: Any) -> None:
        self._given.append((name, x, y, z, stream, *map(_address, rest[3:])))

    @property
    def _note_zeros(self) -> Any:
        return lambda tensor: self._given.append((tensor.data_ptr(), tensor.shape))

    def _pinned(self, count: int) -> torch.Tensor:
        self._staged.append(torch.empty(count, dtype=torch.int32))
        return self._staged[-1]


class _Changes(TorchDispatchMode):
    """Notes operations of torch that write to memory, of which replays would know nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[str] = []

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        if operation._schema.is_mutable:
            self.operations.append(str(operation))
        return operation(*arguments, **(keywords or {}))


def compare(name: Any, options: dict[str, Any]) -> dict[str, Any]:
    """A stream of batches of two sizes, of which one is interrupted and begun again."""
    comparison, drawn = Comparison(), []

    def interrupted(self: Replay, batch: Any) -> None:
        raise KeyboardInterrupt

    with comparison.watching():
        dataset = FDSLDataset(name, BATCH, device="cpu", **options)
        for number, size in enumerate(SIZES):
            if number == INTERRUPTED:
                with mock.patch.object(Replay, "__call__", interrupted), contextlib.suppress(KeyboardInterrupt):
                    dataset.draw(np.arange(size))
                comparison.replayed.append(None)
            drawn.append(dataset.draw(np.arange(size) + number * BATCH))
    return {"replayed": comparison.replayed, "same": comparison.same}


def change_of_presentation() -> dict[str, Any]:
    """Two augmented batches, and a plain one whose records are as many words as their records and presentations."""
    comparison, parts = Comparison(), ["fractaldb-1k", "exfractaldb-1k"]
    with comparison.watching():
        dataset = FDSLDataset(parts, BATCH, device="cpu", augment="fdsl")
        for count, augmented in [(121, True), (121, True), (197, False)]:
            labels = np.where(np.arange(BATCH) < count, 1500, 0)
            dataset.render(labels, np.arange(BATCH), np.arange(BATCH) if augmented else None)
    return {"replayed": comparison.replayed, "same": comparison.same}


def _address(argument: Any) -> Any:
    return argument.data_ptr() if isinstance(argument, torch.Tensor) else argument


if __name__ == "__main__":
    workloads = [*WORKLOADS, (MIXTURE, {}), (MIXTURE, {"augment": "fdsl"})]
    found = [[name, options, compare(name, options)] for name, options in workloads]
    print(json.dumps([*found, [MIXTURE, {"changing": True}, change_of_presentation()]]))
