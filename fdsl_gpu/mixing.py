"""Mixup and CutMix of whole batches, with label smoothing, as functions of (seed, step, rank).

A batch is mixed with its reverse: Mixup weighs all pixels, images = lam * images + (1 - lam) * reverse; CutMix takes a
box of the reverse, and lam is the share of pixels that stay. Targets are mixed by the same lam. The law is that of
timm's ``Mixup`` in batch mode, the random numbers are not: they come from a generator of their own for every call, so
nothing global is read or moved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fdsl_gpu import checks, philox
from fdsl_gpu.augment import Recipe, recipe
from fdsl_gpu.augment_parts import Mixing
from fdsl_gpu.stream import World

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Mix:
    """How one batch is mixed.

    Attributes:
        lam: the weight of the batch itself; 1 changes nothing.
        box: top, bottom, left, right of what CutMix takes from the reverse, ends excluded; None for Mixup.
    """

    lam: float
    box: Box | None


class Mixup:
    """Mixes batches in place and makes their targets.

    How step s of a rank is mixed depends on (seed, s, rank) alone. NumPy's generator draws the beta numbers, so they
    are the same on machines with the same NumPy, which is less than the library promises of images.

    Args:
        num_classes: width of the targets.
        mixing: a Mixing, or a recipe (or its name) that has one.
        seed: of the random numbers, 0 .. 2**64 - 1.
        rank: of this process, where a call says none; default from torch.distributed, then RANK.

    Attributes:
        step: number of the next batch where a call says none; save it with the training state and set it on resume.
        enabled: set to False, images stay as they are and targets are smoothed only.

    Raises:
        ValueError, TypeError: an argument is not allowed, or the recipe has no mixing.

    Example:
        >>> mixup = Mixup(1000, "fdsl")
        >>> images, targets = mixup(torch.rand(8, 3, 32, 32), torch.arange(8), step=0)
        >>> targets.shape
        torch.Size([8, 1000])
    """

    def __init__(self, num_classes: int, mixing: Mixing | Recipe | str, seed: int = 0, rank: int | None = None) -> None:
        self.num_classes = checks.integer("num_classes", num_classes, 1)
        self.mixing = _mixing(mixing)
        self.seed = checks.integer("seed", seed, 0, 2**64 - 1)
        self.rank = World.detect().rank if rank is None else checks.integer("rank", rank, 0, 2**32 - 1)
        self.step = 0
        self.enabled = True

    def __call__(
        self, images: Tensor, labels: Tensor, step: int | None = None, rank: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mix a batch.

        Args:
            images: [B, C, H, W] of a floating type, changed in place. The middle one of an odd batch stays as it is.
            labels: int64 [B], or targets [B, num_classes] (multi-hot, 0 .. 1), which are smoothed towards 0.5.
            step: number of the batch; None counts calls by the attribute ``step``.
            rank: None for the attribute ``rank``.

        Returns:
            ``images``, and float32 targets [B, num_classes] on their device.

        Raises:
            TypeError, ValueError: images or labels of another type or shape; labels on the CPU that are no class (on a
                GPU, looking would make the host wait for it).
        """
        self._check(images, labels)
        if step is None:
            step, self.step = self.step, self.step + 1
        step = checks.integer("step", step, 0, 2**63 - 1)
        rank = self.rank if rank is None else checks.integer("rank", rank, 0, 2**32 - 1)
        height, width = images.shape[-2:]
        mix = self.draw(step, rank, height, width) if self.enabled else Mix(1.0, None)
        apply(images, mix)
        return images, mixed_targets(labels, self.num_classes, mix.lam, self.mixing.label_smoothing, images.device)

    def draw(self, step: int, rank: int, height: int, width: int) -> Mix:
        """How batch ``step`` of ``rank`` is mixed, for images of a size."""
        mixing = self.mixing
        generator = np.random.Generator(
            np.random.Philox(key=np.array([self.seed, philox.MIXING], np.uint64), counter=[0, 0, step, rank])
        )
        # Drawn always and in this order, so that no setting moves another draw.
        mixes, switches = generator.random(2)
        if mixes >= mixing.probability or max(mixing.mixup_alpha, mixing.cutmix_alpha) == 0:
            return Mix(1.0, None)
        cut = mixing.mixup_alpha == 0 or (mixing.cutmix_alpha > 0 and switches < mixing.switch_probability)
        alpha = mixing.cutmix_alpha if cut else mixing.mixup_alpha
        lam = float(generator.beta(alpha, alpha))
        if not cut or lam == 1.0:
            return Mix(lam, None)
        row, column = generator.integers(0, [height, width])
        return cut_box(lam, int(row), int(column), height, width)

    def _check(self, images: Tensor, labels: Tensor) -> None:
        for name, received in (("images", images), ("labels", labels)):
            if not isinstance(received, Tensor):
                raise TypeError(
                    f"{name}: received a {type(received).__name__}; allowed: a tensor. Of several views, mix each on "
                    "its own, with the same step."
                )
        if images.ndim != 4 or not images.is_floating_point():
            raise TypeError(
                f"images: received {tuple(images.shape)} of {images.dtype}; allowed: [B, C, H, W] of a floating type. "
                "Make batches with dtype float32, float16 or bfloat16."
            )
        hard = labels.ndim == 1 and not labels.is_floating_point()
        dense = labels.ndim == 2 and labels.shape[1] == self.num_classes
        if not (hard or dense) or len(labels) != len(images):
            raise ValueError(
                f"labels: received {tuple(labels.shape)} of {labels.dtype} for {len(images)} images; allowed: int64 "
                f"[B], or [B, {self.num_classes}]."
            )
        if hard and labels.device.type == "cpu":
            remedy = "Make the Mixup with the dataset's num_classes."
            checks.integers("labels", labels, 0, self.num_classes - 1, remedy)


def _mixing(received: Mixing | Recipe | str) -> Mixing:
    if isinstance(received, Mixing):
        return received
    chosen = recipe(received)
    if chosen.mixing is None:
        raise ValueError(
            f"mixing: received recipe {chosen.name!r}, which has none; allowed: a Mixing, or a recipe with one. "
            "Leave Mixup out of the loop, or pass Mixing(probability=0) for label smoothing only."
        )
    return chosen.mixing


def cut_box(lam: float, row: int, column: int, height: int, width: int) -> Mix:
    """CutMix around a centre: a box of 1 - lam of the area, clipped at the border, and lam corrected for that."""
    side = float(np.sqrt(1.0 - lam))
    tall, wide = int(height * side), int(width * side)
    top, bottom = max(row - tall // 2, 0), min(row + (tall + 1) // 2, height)
    left, right = max(column - wide // 2, 0), min(column + (wide + 1) // 2, width)
    return Mix(1.0 - (bottom - top) * (right - left) / float(height * width), (top, bottom, left, right))


def apply(images: Tensor, mix: Mix) -> None:
    """Mix images [B, C, H, W] with their reverse, in place."""
    if mix.box is not None:
        top, bottom, left, right = mix.box
        box = images[:, :, top:bottom, left:right]
        box.copy_(box.flip(0))
    elif mix.lam != 1.0:
        reverse = images.flip(0).mul_(1.0 - mix.lam)
        images.mul_(mix.lam).add_(reverse)


def mixed_targets(
    labels: Tensor, num_classes: int, lam: float, label_smoothing: float, device: torch.device | str
) -> Tensor:
    """Smoothed targets and their reverse, weighed by lam and 1 - lam.

    Args:
        labels: int64 [B], smoothed evenly over all classes, or [B, num_classes], each entry smoothed towards 0.5.
        num_classes: width of the targets.
        lam: weight of the batch itself.
        label_smoothing: in [0, 1).
        device: of the result.

    Returns:
        float32 [B, num_classes].
    """
    labels = labels.to(device, non_blocking=True)
    if labels.ndim == 2:
        targets = labels.float() * (1.0 - label_smoothing) + 0.5 * label_smoothing
    else:
        off = label_smoothing / num_classes
        targets = torch.full((len(labels), num_classes), off, dtype=torch.float32, device=device)
        targets.scatter_(1, labels.long()[:, None], 1.0 - label_smoothing + off)
    return targets if lam == 1.0 else targets * lam + targets.flip(0) * (1.0 - lam)
