"""FDSLLoader: batches drawn ahead of the training step."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

from fdsl_gpu import checks
from fdsl_gpu.dataset import FDSLDataset, Sample

_END = object()


class FDSLLoader:
    """Iterates a dataset with up to ``prefetch`` batches drawn ahead.

    On a CPU a background thread draws (the kernels release the GIL). On CUDA drawing is queued on the current stream
    when a batch is asked for, and nothing waits for it.

    Args:
        dataset: an :class:`FDSLDataset` with a batch size.
        prefetch: batches drawn ahead, 0 for none.

    Example:
        >>> for images, labels in FDSLLoader(dataset): ...
    """

    def __init__(self, dataset: FDSLDataset, prefetch: int = 2) -> None:
        if not isinstance(dataset, FDSLDataset):
            raise TypeError(f"dataset: received {type(dataset).__name__}; allowed: FDSLDataset.")
        if dataset.batch_size is None:
            raise ValueError(
                "dataset: received one with batch_size=None; allowed: a batch size. "
                "Pass FDSLDataset(..., batch_size=N), or use torch's DataLoader(dataset, batch_size=N)."
            )
        self.dataset = dataset
        self.prefetch = checks.integer("prefetch", prefetch, 0, 1024)
        self._state = dataset.state_dict()

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[Sample]:
        ahead = self.prefetch > 0 and self.dataset.device.type == "cpu"
        for batch, state in self._background() if ahead else self._foreground():
            self._state = state
            yield batch

    def set_epoch(self, epoch: int) -> None:
        """Start the next iteration at ``epoch``; see :meth:`FDSLDataset.set_epoch`."""
        self.dataset.set_epoch(epoch)
        self._state = self.dataset.state_dict()

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch *delivered*, whatever was drawn ahead."""
        return self._state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state; see :meth:`FDSLDataset.load_state_dict`."""
        self.dataset.load_state_dict(state)
        self._state = self.dataset.state_dict()

    def _foreground(self) -> Iterator[tuple[Sample, dict[str, Any]]]:
        for batch in self.dataset:
            yield batch, self.dataset.state_dict()

    def _background(self) -> Iterator[tuple[Sample, dict[str, Any]]]:
        ready: queue.Queue[Any] = queue.Queue(self.prefetch)
        stopped = threading.Event()
        thread = threading.Thread(target=self._produce, args=(ready, stopped), name="FDSLLoader", daemon=True)
        thread.start()
        try:
            while (item := ready.get()) is not _END:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stopped.set()
            # The producer may be waiting for room.
            while thread.is_alive():
                while not ready.empty():
                    ready.get_nowait()
                thread.join(0.01)

    def _produce(self, ready: queue.Queue[Any], stopped: threading.Event) -> None:
        try:
            for item in self._foreground():
                ready.put(item)
                if stopped.is_set():
                    return
            ready.put(_END)
        except BaseException as error:
            ready.put(error)
