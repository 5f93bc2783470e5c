"""FDSLDataset: an endless stream of labelled batches."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from fdsl_gpu import checks
from fdsl_gpu.arguments import AnyDataset
from fdsl_gpu.augment import Recipe
from fdsl_gpu.source import OverSource, Source, samples_of
from fdsl_gpu.stream import MAX_POSITION, World, batches
from fdsl_gpu.write_out import Normalize

Sample = tuple[Tensor, ...]

_BLOCK = 64
"""Samples drawn at a time where single samples are asked for."""

STATE_VERSION = 1


class FDSLDataset(OverSource, IterableDataset[Sample]):
    """Labelled images drawn by formula, batch after batch, without end and without a file.

    The image at a position is a pure function of the dataset, the seed and the position: it does not depend on batch
    size, ranks, workers or device.

    Args:
        dataset: a preset name (see :func:`fdsl_gpu.list_datasets`), a formula's configuration, or a list of them: a
            mixture, with label ranges one after another.
        batch_size: images a batch on this rank; None yields single samples, for ``DataLoader(ds, batch_size=N)``.
        image_size: side of the square images, 8 .. 4096; the native canvas is resized to it with antialiasing.
        device: where images are drawn and delivered; default this rank's CUDA device if there is one, else "cpu".
        seed: 0 .. 2**64 - 1; decides instances and order, never the classes.
        num_classes: the first so many classes of the preset.
        class_table: path of a class table, or of a folder of the originals' parameter files (CSV).
        instances_per_class: None for a fresh instance at every position (or, for OFDB and 1p-frac, their one image a
            class); N for the finite set 0 .. N-1 of each class, every (class, instance) pair once in num_classes * N
            positions (1000 is the published set).
        split: "train", or "val" for instances that "train" never shows.
        epoch_size: samples an epoch, over all ranks; gives a length, epoch_size // (batch_size * world_size) batches.
        dtype: torch.float32, bfloat16, float16 or uint8.
        normalize: "imagenet", "half" (mean = std = 0.5), (mean, std), or None for [0, 1]; the default is the recipe's,
            which is "imagenet" without augmentation. uint8 is never normalised.
        channels: 3, or 1.
        memory_format: torch.contiguous_format or torch.channels_last.
        interpolation: "bilinear" or "bicubic", from canvas to image.
        return_ids: also yield content ids, label * 2**40 + instance, int64 [B].
        weights: shares of the datasets of a mixture, positive numbers; default in proportion to their classes, so that
            all classes are equally frequent.
        augment: None, or how samples are presented: "fdsl" (ViT pre-training of the CVPR 2022 and 2023 papers), "ofdb",
            "fractaldb-resnet" or a ``fdsl_gpu.augment.Recipe``; each position draws crop, operations and erasures of
            its own. Mixup and CutMix, which mix whole batches, are ``fdsl_gpu.mixing.Mixup``.
        repeats: presentations of each instance, in place of the recipe's; ``repeat_distance`` positions apart (64 in
            the recipes: larger batches hold an instance more than once). An epoch of a finite set is as many times
            longer.
        mode: "canvas" draws on the native canvas, then crops and resizes with antialiasing, as published recipes do;
            "vector" draws at the image size and folds crop and flips into the geometry. That is sharper, and
            another dataset: strokes stay one pixel wide, and a crop of points shows fewer of them.
        transform: your own batched transform, called with the finished images [B, C, H, W] on their device, such as
            kornia's or torchvision's v2; what it returns is delivered. It is no part of the state, and its random
            numbers are its own.
        views: n > 1 yields a list of n tensors of images, independent views of the same instances: cameras of one
            3-D fractal, patterns or jitters of a 2-D one, and crops where ``augment`` is given.
        return_masks: for SegRCDB, whose pictures have label masks in place of labels: False leaves them out.
        mask_dtype: torch.int64 or uint8.
        rank: this process among ``world_size``; default from torch.distributed, then RANK and WORLD_SIZE.
        world_size: number of processes; with ``rank``.
        start: position at which the first iteration starts, in place of the epoch's start.
        **options: options of the formula, such as ``canvas_size``, ``background="black"`` (RCDB) or
            ``viewpoint="ring"`` (ExFractalDB).

    Yields:
        (images [B, C, H, W] of ``dtype``, labels int64 [B]), on ``device``; without ``batch_size``, (image [C, H, W],
        label int). In place of labels, SegRCDB has masks [B, H, W] (0 background, 255 to be ignored), and multi-object
        datasets have multi-hot targets float32 [B, num_classes].

    Raises:
        ValueError, TypeError: an argument is not allowed; the message says which, what is, and what to do.
        RuntimeError: iterated on CUDA inside a DataLoader worker.

    Example:
        >>> dataset = FDSLDataset("rcdb-1k", batch_size=4, image_size=64, device="cpu")
        >>> images, labels = next(iter(dataset))
        >>> images.shape, labels.shape
        (torch.Size([4, 3, 64, 64]), torch.Size([4]))
    """

    def __init__(
        self,
        dataset: AnyDataset,
        batch_size: int | None = None,
        image_size: int = 224,
        device: str | torch.device | None = None,
        seed: int = 0,
        *,
        num_classes: int | None = None,
        class_table: str | None = None,
        instances_per_class: int | None = None,
        split: Literal["train", "val"] = "train",
        epoch_size: int | None = None,
        dtype: torch.dtype = torch.float32,
        normalize: Normalize | Literal["recipe"] = "recipe",
        channels: int = 3,
        memory_format: torch.memory_format = torch.contiguous_format,
        interpolation: Literal["bilinear", "bicubic"] = "bilinear",
        return_ids: bool = False,
        weights: Sequence[float] | None = None,
        augment: str | Recipe | None = None,
        repeats: int | None = None,
        mode: Literal["canvas", "vector"] = "canvas",
        transform: Callable[[Tensor], Tensor] | None = None,
        views: int = 1,
        return_masks: bool | None = None,
        mask_dtype: torch.dtype = torch.int64,
        rank: int | None = None,
        world_size: int | None = None,
        start: int | None = None,
        **options: Any,
    ) -> None:
        self.source = Source(
            dataset,
            image_size=image_size,
            device=device,
            seed=seed,
            num_classes=num_classes,
            class_table=class_table,
            instances_per_class=instances_per_class,
            split=split,
            weights=weights,
            augment=augment,
            repeats=repeats,
            mode=mode,
            transform=transform,
            views=views,
            return_masks=return_masks,
            mask_dtype=mask_dtype,
            dtype=dtype,
            normalize=normalize,
            channels=channels,
            memory_format=memory_format,
            interpolation=interpolation,
            **options,
        )
        self.batch_size = None if batch_size is None else checks.integer("batch_size", batch_size, 1)
        self.return_ids = checks.choice("return_ids", return_ids, (True, False))
        self._rank, self._world_size = rank, world_size
        self.rank_given = rank is not None
        self.epoch_size = self._checked_epoch(epoch_size)
        self.epoch = 0
        self._start: int | None = None
        self._position = 0
        if start is not None:
            self._seek(checks.integer("start", start, 0, MAX_POSITION - 1))

    @property
    def _stride(self) -> int:
        """Samples of a global batch: of all ranks that there are now."""
        return (self.batch_size or 1) * World.detect(self._rank, self._world_size).world_size

    def _checked_epoch(self, epoch_size: int | None) -> int | None:
        stride = self._stride
        if epoch_size is None:
            return None
        remedy = f"One global batch is {stride} samples."
        return checks.integer("epoch_size", epoch_size, stride, MAX_POSITION, remedy)

    def __getstate__(self) -> dict[str, Any]:
        # A spawned DataLoader worker is in no process group and could not detect the rank it works for.
        world = World.detect(self._rank, self._world_size)
        ranks = {"_rank": world.rank, "_world_size": world.world_size} if world.world_size > 1 else {}
        return {**self.__dict__, **ranks}

    def __len__(self) -> int:
        if self.epoch_size is None:
            raise TypeError("FDSLDataset without epoch_size is endless and has no len(); pass epoch_size=SAMPLES.")
        return self.epoch_size // self._stride

    def __iter__(self) -> Iterator[Sample]:
        if self.device.type == "cuda" and get_worker_info() is not None:
            raise RuntimeError(
                "device: received 'cuda' inside a DataLoader worker; CUDA does not work there. "
                "Pass num_workers=0 to the DataLoader (drawing needs no workers), or device='cpu' to FDSLDataset."
            )
        plan = self.plan()
        return self._samples(plan) if self.batch_size is None else self._batches(plan)

    def plan(self) -> Iterator[tuple[NDArray[np.int64], int]]:
        """Begin an iteration without drawing: (positions int64 [B], the position to resume at) of each batch.

        For loaders, which draw the batches by :meth:`draw` and say by :meth:`delivered` which were used.
        """
        world = World.detect(self._rank, self._world_size)
        # Again: a process group may have come up since.
        self._checked_epoch(self.epoch_size)
        start, stop = self._span()
        self._start, self._position = None, start
        return batches(world, self.batch_size or 1, start, stop)

    def draw(self, positions: NDArray[np.int64], out: Any = None) -> Sample:
        """The batch at these positions.

        Args:
            positions: int64 [B].
            out: images to draw into, of the shape, dtype, layout and device of a batch (a list of them for several
                views), such as the static input of a CUDA graph; None for new ones.

        Raises:
            ValueError, TypeError: ``out`` is not that.
        """
        if out is not None:
            _check_out(out, self.source.empty(0), len(positions), self.source.memory_format)
        return self.source.batch(positions, self.return_ids, out)

    def delivered(self, resume_at: int) -> None:
        """Say that the batch which :meth:`plan` gave with this position was used: the state moves there."""
        self._position = resume_at

    def set_epoch(self, epoch: int) -> None:
        """Start the next iteration at ``epoch * epoch_size``, as ``DistributedSampler.set_epoch`` does.

        A loaded state, or ``start``, inside that epoch is kept, and so is one at its end, after which nothing is left
        of it; without ``epoch_size`` there is nothing to set.
        """
        epoch = checks.integer("epoch", epoch, 0)
        if self.epoch_size is None:
            return
        inside, at_end = self.epoch == epoch, self._start == (epoch + 1) * self.epoch_size
        self.epoch = epoch
        if self._start is not None and (inside or at_end):
            return
        self._start, self._position = None, epoch * self.epoch_size

    def locate(self, positions: ArrayLike) -> tuple[NDArray[np.int64], ...]:
        """(labels, instances), int64 [B] each, of positions; ``render(*locate(p))`` is delivered at p.

        Pictures with masks or several objects have no label: there, (instances,). With ``augment``, presentations
        come last.
        """
        return self.source.locate(positions)

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands: the position after the last batch this process was given. JSON-able.

        In a DataLoader with workers the parent process cannot know what was delivered; there, count batches and pass
        ``start=``.
        """
        state = {"version": STATE_VERSION, "position": self._position, "fingerprint": self.source.fingerprint()}
        return state if self.epoch_size is None else {**state, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state, once: on any number of ranks, with any batch size.

        ``len`` stays that of a whole epoch. Workers of a DataLoader have copies of the dataset: there, call
        ``set_epoch`` before each later epoch, and do not keep workers (``persistent_workers``) between epochs.

        Raises:
            ValueError: the state is of another version, or of a dataset that draws other bytes; both are shown.
        """
        known = isinstance(state, dict) and {"version", "position", "fingerprint"} <= state.keys()
        if not known or not isinstance(state["fingerprint"], dict):
            raise ValueError(f"state: received {state!r}; allowed: what state_dict() returned. Pass that, unchanged.")
        if state["version"] != STATE_VERSION:
            raise ValueError(
                f"state: received version {state['version']!r}; allowed: {STATE_VERSION}. "
                "Resume with the version of fdsl-gpu that saved it."
            )
        mine, theirs = self.source.fingerprint(), state["fingerprint"]
        names = [name for name in {**theirs, **mine} if mine.get(name) != theirs.get(name)]
        if names:
            raise ValueError(
                "state: received the state of another dataset: "
                + "; ".join(f"{name}: saved {theirs.get(name)!r}, here {mine.get(name)!r}" for name in names)
                + ". Build the dataset with the saved settings, or start without the state."
            )
        position = checks.integer("position", state["position"], 0, MAX_POSITION - 1)
        if get_worker_info() is None or "epoch" not in state or self.epoch_size is None:
            self._seek(position)
        else:
            # A worker's next turn may lie beyond the epoch's end, while other workers have batches left in it.
            self.epoch, self._start, self._position = state["epoch"], position, position

    def _seek(self, position: int) -> None:
        if self.epoch_size is not None:
            self.epoch = position // self.epoch_size
            end = (self.epoch + 1) * self.epoch_size
            if position + self._stride > end:
                # What is left of the epoch is no whole global batch: go on with the next.
                self.epoch, position = self.epoch + 1, end
        self._start = self._position = position

    def _span(self) -> tuple[int, int | None]:
        if self.epoch_size is None:
            return self._start or 0, None
        start = self.epoch * self.epoch_size if self._start is None else self._start
        return start, (self.epoch + 1) * self.epoch_size

    def _batches(self, plan: Iterator[tuple[NDArray[np.int64], int]]) -> Iterator[Sample]:
        for positions, after in plan:
            batch = self.draw(positions)
            # Counted before the yield: while the consumer holds this batch, it is delivered.
            self._position = after
            yield batch

    def _samples(self, plan: Iterator[tuple[NDArray[np.int64], int]]) -> Iterator[Any]:
        while block := list(itertools.islice(plan, _BLOCK)):
            batch = self.source.batch(np.concatenate([positions for positions, _ in block]), self.return_ids)
            for (_, after), sample in zip(block, samples_of(batch), strict=True):
                self._position = after
                yield sample


def _check_out(out: Any, like: Tensor | list[Tensor], batch_size: int, layout: torch.memory_format) -> None:
    given, wanted = (value if isinstance(value, list) else [value] for value in (out, like))
    if isinstance(out, list) != isinstance(like, list) or len(given) != len(wanted):
        raise TypeError(f"out: received {type(out).__name__}; allowed: a tensor, or a list of {len(wanted)} for views.")
    for tensor, example in zip(given, wanted, strict=True):
        shape = (batch_size, *example.shape[1:])
        same = isinstance(tensor, Tensor) and tensor.shape == shape and tensor.is_contiguous(memory_format=layout)
        if not same or (tensor.dtype, tensor.device) != (example.dtype, example.device):
            received = (tuple(tensor.shape), tensor.dtype, tensor.device) if isinstance(tensor, Tensor) else tensor
            raise ValueError(
                f"out: received {received!r}; allowed: {shape}, {example.dtype}, on {example.device}, {layout}. "
                "Make it with torch.empty and the dataset's settings."
            )
