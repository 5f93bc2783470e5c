"""Positions to batches: what the two dataset classes share. Holds the configuration and, once used, a renderer."""

from __future__ import annotations

import json
import os
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fdsl_gpu import checks, philox, registry
from fdsl_gpu.formulas.base import MAX_CANVAS, MIN_CANVAS, Formula, content_ids
from fdsl_gpu.renderer import Renderer
from fdsl_gpu.stream import MAX_POSITION, Order
from fdsl_gpu.version import PIXEL_CONTRACT
from fdsl_gpu.write_out import Normalize, WriteOut


class Source:
    """Everything that decides the bytes of a position, and the means to draw them.

    Takes the keywords of :class:`fdsl_gpu.FDSLDataset`, which documents them.
    """

    def __init__(
        self,
        dataset: str | Formula,
        *,
        image_size: int = 224,
        device: str | torch.device | None = None,
        seed: int = 0,
        instances_per_class: int | None = None,
        split: Literal["train", "val"] = "train",
        dtype: torch.dtype = torch.float32,
        normalize: Normalize = "imagenet",
        channels: int = 3,
        memory_format: torch.memory_format = torch.contiguous_format,
        interpolation: Literal["bilinear", "bicubic"] = "bilinear",
        **options: Any,
    ) -> None:
        self.formula = registry.formula(dataset, **options)
        self.seed = checks.integer("seed", seed, 0, 2**64 - 1)
        self.device = resolve_device(device)
        self.memory_format = checks.choice(
            "memory_format", memory_format, (torch.contiguous_format, torch.channels_last)
        )
        self._split = checks.choice("split", split, ("train", "val"))
        if instances_per_class is not None:
            checks.integer("instances_per_class", instances_per_class, 1, 2**32)
        self._write_out: dict[str, Any] = {
            "image_size": checks.integer("image_size", image_size, MIN_CANVAS, MAX_CANVAS),
            "channels": checks.integer("channels", channels, 1, 3),
            "dtype": dtype,
            "normalize": None if dtype == torch.uint8 and normalize == "imagenet" else normalize,
            "interpolation": interpolation,
        }
        WriteOut.check(planes=self.formula.planes, **self._write_out)
        key = philox.dataset_key(self.seed, self.formula.NUMBER)
        self.order = Order(key, self.formula.num_classes, instances_per_class, self._split == "val")
        self._renderer: Renderer | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_renderer": None}

    def locate(self, positions: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(labels, instances), int64 [B] each, of positions."""
        return self.order.locate(checks.integers("positions", positions, 0, MAX_POSITION - 1))

    def render(self, labels: ArrayLike, instances: ArrayLike) -> Tensor:
        """Images [B, C, H, W] of labels and instances, as the stream delivers them."""
        return self._draw(*checks.pairs(labels, instances, self.formula.num_classes))

    def _draw(self, labels: NDArray[np.int64], instances: NDArray[np.int64]) -> Tensor:
        if self._renderer is None:
            if self.device.type == "cuda" and self.device.index is None:
                # Which device "cuda" means is settled by the first drawing, and then stays.
                self.device = torch.device("cuda", torch.cuda.current_device())
            self._renderer = Renderer(self.formula, seed=self.seed, device=self.device, write_out=self._write_out)
        out = self._renderer.empty(len(labels), self.memory_format)
        return self._renderer(labels, instances, out)

    def batch(self, positions: NDArray[np.int64], return_ids: bool = False) -> tuple[Tensor, ...]:
        """(images, labels) or (images, labels, content ids) of positions, on the device; labels and ids int64 [B]."""
        labels, instances = self.order.locate(positions)
        images = self._draw(labels, instances)
        numbers = (labels, content_ids(labels, instances)) if return_ids else (labels,)
        return images, *(self._to_device(torch.from_numpy(number)) for number in numbers)

    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the bytes of a position, JSON-able."""
        identity = {
            "pixel_contract": PIXEL_CONTRACT,
            **self.formula.fingerprint(),
            "seed": self.seed,
            "split": self._split,
            "instances_per_class": self.order.instances_per_class,
            **self._write_out,
        }
        # Through JSON and back, so that a saved state compares equal: tuples become lists, NumPy's numbers plain ones.
        return json.loads(json.dumps(identity, default=_plain))

    def _to_device(self, values: Tensor) -> Tensor:
        return values if self.device.type == "cpu" else values.pin_memory().to(self.device, non_blocking=True)


def resolve_device(device: str | torch.device | None) -> torch.device:
    """A usable device: the one asked for, or this rank's CUDA device if there is one, else the CPU.

    Raises:
        ValueError: not a device, not one this library draws on, or not present on this machine.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device is None:
        device = f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % count}" if count else "cpu"
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError):
        resolved = torch.device("meta")
    if resolved.type not in ("cpu", "cuda"):
        raise ValueError(f"device: received {device!r}; allowed: 'cpu', 'cuda' or 'cuda:N'.")
    if resolved.type == "cuda" and (resolved.index or 0) >= count:
        raise ValueError(
            f"device: received {device!r}; allowed here: {['cpu'] + [f'cuda:{n}' for n in range(count)]}. "
            "Use device='cpu', or check the driver and CUDA_VISIBLE_DEVICES."
        )
    return resolved if resolved.type == "cuda" else torch.device("cpu")


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, torch.dtype) else value.tolist()
