"""FDSLLoader: batches drawn ahead of the training step."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import torch

from fdsl_gpu import checks
from fdsl_gpu.agreement import check_ranks_agree
from fdsl_gpu.arguments import resolve_device
from fdsl_gpu.dataset import FDSLDataset, Sample
from fdsl_gpu.prefetch import Arriving, StreamAhead, ThreadAhead, send


class FDSLLoader:
    """Iterates a dataset with up to ``prefetch`` batches drawn ahead.

    On a CPU the first batch is drawn when it is asked for; from then on two background threads draw, one batch each,
    and share the cores (the kernels release the GIL). With a ``transform`` it is one thread, so that batches are
    transformed in order. On CUDA, batches are queued on a side stream. Its priority is 0, that of the default stream
    and the lowest there is: drawing gives way to training on a stream of priority -1. The stream that is current when a
    batch is asked for waits for that batch, the host for nothing. Work on the batch belongs on that stream (or tell the
    batch about others with ``record_stream``). ``prefetch`` + 2 batches may exist at a time: those ahead, the one in
    use, and the one that a ``for`` loop is about to let go.

    A loader has one iteration at a time: ``iter(loader)`` ends the one before, and going on with that raises
    RuntimeError. Leaving a loop early, an error, ``close()`` and the garbage collector end an iteration as well; no
    batch stays behind, and no thread once the batch that it is drawing is drawn, for which ``close()`` waits. A new
    iteration starts where ``iter(dataset)`` does.

    If torch.distributed is initialised, starting an iteration compares the dataset with that of the other ranks, so all
    of them must start; a dataset made with ``rank`` and ``world_size`` is never compared.

    Args:
        dataset: an :class:`FDSLDataset` with a batch size.
        prefetch: batches drawn ahead, 0 for none.
        device: where to deliver what a dataset on the CPU draws, such as "cuda" or "mps"; default: where it is drawn.

    Attributes:
        dataset: the dataset.
        batch_size: its batch size.
        sampler: what has ``set_epoch``, as frameworks look for it: the dataset.
        batch_sampler: None.
        mixup_enabled: False, for timm's training script, which switches off by it what a loader mixes.

    Raises:
        TypeError, ValueError: an argument is not allowed; or, from ``iter``, ranks differ.

    Example:
        >>> dataset = FDSLDataset("rcdb-1k", batch_size=4, image_size=64, device="cpu")
        >>> for images, labels in FDSLLoader(dataset):
        ...     break
    """

    batch_sampler = None
    mixup_enabled = False

    def __init__(self, dataset: FDSLDataset, prefetch: int = 2, device: str | torch.device | None = None) -> None:
        if not isinstance(dataset, FDSLDataset):
            raise TypeError(f"dataset: received {type(dataset).__name__}; allowed: FDSLDataset.")
        if dataset.batch_size is None:
            raise ValueError(
                "dataset: received one with batch_size=None; allowed: a batch size. "
                "Pass FDSLDataset(..., batch_size=N), or use torch's DataLoader(dataset, batch_size=N)."
            )
        self.dataset = dataset
        self.sampler = dataset
        self.batch_size: int = dataset.batch_size
        self.prefetch = checks.integer("prefetch", prefetch, 0, 1024)
        self._device = _delivery_device(device, dataset)
        self._side: torch.cuda.Stream | None = None
        self._iteration: weakref.ref[_Iteration] | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[Sample]:
        self.close()
        check_ranks_agree(self.dataset)
        iteration = _Iteration(self._start(), self.dataset)
        self._iteration = weakref.ref(iteration)
        return iteration

    def __enter__(self) -> FDSLLoader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_side": None, "_iteration": None}

    def close(self) -> None:
        """End the iteration under way, if there is one: its threads, and the batches drawn ahead."""
        iteration = self._iteration() if self._iteration else None
        if iteration is not None:
            iteration.close()

    def set_epoch(self, epoch: int) -> None:
        """Start the next iteration at ``epoch``; see :meth:`FDSLDataset.set_epoch`."""
        self.dataset.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch *delivered*, whatever was drawn ahead; JSON-able."""
        return self.dataset.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Start the next iteration at a state; see :meth:`FDSLDataset.load_state_dict`."""
        self.dataset.load_state_dict(state)

    def _start(self) -> Any:
        """Begin an iteration: an iterator over (batch, the position to resume at) that can be closed."""
        dataset, plan = self.dataset, self.dataset.plan()
        if dataset.device.type == "cuda" and self.prefetch:
            return StreamAhead(plan, self._allocate, self._draw_into, self.prefetch, self._side_stream())
        target = self._device
        side = self._side_stream() if target.type == "cuda" and dataset.device.type == "cpu" else None

        def draw(positions: Any) -> Any:
            batch = dataset.draw(positions)
            return batch if target.type == dataset.device.type else send(batch, target, side)

        if not self.prefetch:
            return ((draw(positions), resume_at) for positions, resume_at in plan)
        # One after another where that may matter: a transform's random numbers, devices that are no CUDA.
        alone = dataset.source.transform is not None or target.type not in ("cpu", "cuda")
        return ThreadAhead(plan, draw, self.prefetch, threads=1 if alone else 2)

    def _side_stream(self) -> torch.cuda.Stream:
        if self._side is None:
            self._side = torch.cuda.Stream(self._device, priority=0)
        return self._side

    def _allocate(self) -> tuple[Any, ...]:
        """Uninitialised images of a batch, and masks if it has those."""
        source = self.dataset.source
        images = source.empty(self.batch_size)
        return (images, source.empty_masks(self.batch_size)) if source.return_masks else (images,)

    def _draw_into(self, positions: Any, memory: tuple[Any, ...]) -> Sample:
        return self.dataset.source.batch(positions, self.dataset.return_ids, *memory)


class _Iteration(Iterator[Sample]):
    """One pass of a loader. Holds no batch but those drawn ahead."""

    def __init__(self, items: Any, dataset: FDSLDataset) -> None:
        self._items, self._dataset = items, dataset
        self._closed = False

    def __next__(self) -> Sample:
        if self._closed:
            raise RuntimeError(
                "FDSLLoader: this iteration was ended, by close() or by a new iteration of the same loader. "
                "For two at a time, make two loaders over two datasets."
            )
        batch, resume_at = next(self._items)
        self._dataset.delivered(resume_at)
        return batch.receive() if isinstance(batch, Arriving) else batch

    def close(self) -> None:
        self._closed = True
        self._items.close()


def _delivery_device(device: str | torch.device | None, dataset: FDSLDataset) -> torch.device:
    if device is None:
        return dataset.device
    try:
        target = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(f"device: received {device!r}; allowed: a device of torch, such as 'cuda' or 'mps'.") from None
    if target.type == "cuda":
        target = resolve_device(target)
    if dataset.device.type != "cpu" and target.type != dataset.device.type:
        raise ValueError(
            f"device: received {str(device)!r} for a dataset that draws on {dataset.device}; allowed: where it draws. "
            "Pass device='cpu' to FDSLDataset to draw there and deliver elsewhere."
        )
    return target if dataset.device.type == "cpu" else dataset.device
