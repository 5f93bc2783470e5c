"""``render`` and ``geometry``: pictures, and what is about to be drawn, for given labels and instances."""

from __future__ import annotations

from typing import Any, Literal

import torch
from numpy.typing import ArrayLike

from fdsl_gpu import arguments, checks, philox, registry
from fdsl_gpu.arguments import AnyDataset
from fdsl_gpu.describe import describe
from fdsl_gpu.formulas.base import Formula
from fdsl_gpu.source import Source


def render(
    dataset: AnyDataset,
    labels: ArrayLike | None = None,
    instances: ArrayLike | None = None,
    *,
    image_size: int = 224,
    device: str | torch.device | None = None,
    seed: int = 0,
    channels: int = 3,
    interpolation: Literal["bilinear", "bicubic"] = "bilinear",
    **options: Any,
) -> Any:
    """Pictures of labels and instances: the canvas, plainly resized, without augmentation.

    Args:
        dataset: a preset name, a formula's configuration, or a list of them (a mixture).
        labels: B integers in [0, num_classes), or one for all instances; left out where pictures have no label.
        instances: B integers in [0, 2**40), or one for all labels.
        image_size: side in pixels; at the native canvas size the bytes are those drawn.
        device: default this rank's CUDA device if there is one, else "cpu".
        seed: decides the instances, never the classes.
        channels: 3, or 1.
        interpolation: "bilinear" or "bicubic", with antialiasing, as Pillow resizes.
        **options: options of the formula. What else a dataset may be told, ``FDSLDataset(...).render`` draws.

    Returns:
        uint8 [B, channels, image_size, image_size] on the device; where pictures have no label, a tuple of these and
        their targets: label masks int64 [B, image_size, image_size], or multi-hot float32 [B, num_classes].

    Raises:
        ValueError, TypeError: an argument is not allowed.

    Example:
        >>> render("exfractaldb-1k", labels=[0, 1], instances=0, device="cpu").shape
        torch.Size([2, 3, 224, 224])
    """
    source = Source(
        # Options of formulas only: keywords of datasets, such as ``augment``, would say other things of what is drawn.
        arguments.formulas(dataset, options),
        image_size=image_size,
        device=device,
        seed=seed,
        channels=channels,
        dtype=torch.uint8,
        interpolation=interpolation,
    )
    return source.render(labels, instances)


def geometry(
    dataset: str | Formula, labels: ArrayLike, instances: ArrayLike, *, seed: int = 0, **options: Any
) -> list[dict[str, Any]]:
    """What is about to be drawn, as NumPy arrays, one dictionary a picture.

    Args:
        dataset: a preset name or a formula's configuration.
        labels: B integers, or one for all instances; 0 where pictures have no label.
        instances: B integers, or one for all labels.
        seed: as in :func:`render`.
        **options: options of the formula.

    Returns:
        For contours: ``vertices`` int32 [K, V, 2] (x, y, as rasterised, centre included), ``grays`` uint8 [K],
        ``category`` (0 without masks), ``canvas_size``, ``background``; for scenes of contours, a list of such
        ``contours``. For points: ``maps`` float32 [n, 6] or [n, 12], ``probabilities`` float64 [n] (as selected,
        multiples of 2**-16), ``points``, ``canvas_size``, and in space ``camera`` float32 [3, 3] (rows right, up,
        depth); for scenes of fractals, a list of such ``fractals``.
    """
    formula = registry.formula(dataset, **options)
    labels, instances = checks.pairs(labels, instances, formula.num_classes if formula.TARGET == "label" else 1)
    key = philox.dataset_key(checks.integer("seed", seed, 0, 2**64 - 1), formula.NUMBER)
    return describe(formula, key, formula.draw(key, labels, instances))
