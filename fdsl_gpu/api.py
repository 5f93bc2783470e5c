"""``render`` and ``geometry``: pictures, and what is about to be drawn, for given labels and instances."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from fdsl_gpu import checks, philox, registry
from fdsl_gpu.alias import selection_probabilities
from fdsl_gpu.formulas.base import Formula
from fdsl_gpu.records import as_words
from fdsl_gpu.render.contours import Contours
from fdsl_gpu.source import Source


def render(
    dataset: str | Formula,
    labels: ArrayLike,
    instances: ArrayLike,
    *,
    image_size: int = 224,
    device: str | torch.device | None = None,
    seed: int = 0,
    channels: int = 3,
    interpolation: Literal["bilinear", "bicubic"] = "bilinear",
    **options: Any,
) -> Tensor:
    """Pictures of labels and instances: the canvas, plainly resized, without augmentation.

    Args:
        dataset: a preset name or a formula's configuration.
        labels: B integers in [0, num_classes), or one for all instances.
        instances: B integers in [0, 2**40), or one for all labels.
        image_size: side in pixels; at the native canvas size the bytes are those drawn.
        device: default this rank's CUDA device if there is one, else "cpu".
        seed: decides the instances, never the classes.
        channels: 3, or 1.
        interpolation: "bilinear" or "bicubic", with antialiasing, as Pillow resizes.
        **options: options of the formula.

    Returns:
        uint8 [B, channels, image_size, image_size] on the device.

    Raises:
        ValueError, TypeError: an argument is not allowed.

    Example:
        >>> render("exfractaldb-1k", labels=[0, 1], instances=0, device="cpu").shape
        torch.Size([2, 3, 224, 224])
    """
    source = Source(
        dataset,
        image_size=image_size,
        device=device,
        seed=seed,
        channels=channels,
        dtype=torch.uint8,
        interpolation=interpolation,
        **options,
    )
    return source.render(labels, instances)


def geometry(
    dataset: str | Formula, labels: ArrayLike, instances: ArrayLike, *, seed: int = 0, **options: Any
) -> list[dict[str, Any]]:
    """What is about to be drawn, as NumPy arrays, one dictionary a picture.

    Args:
        dataset: a preset name or a formula's configuration.
        labels: B integers, or one for all instances.
        instances: B integers, or one for all labels.
        seed: as in :func:`render`.
        **options: options of the formula.

    Returns:
        For contours: ``vertices`` int32 [K, V, 2] (x, y, as rasterised, centre included), ``grays`` uint8 [K],
        ``canvas_size``, ``background``. For points: ``maps`` float32 [n, 12], ``probabilities`` float64 [n] (as
        selected, multiples of 2**-16), ``camera`` float32 [3, 3] (rows right, up, depth), ``points``,
        ``canvas_size``.
    """
    formula = registry.formula(dataset, **options)
    labels, instances = checks.pairs(labels, instances, formula.num_classes)
    key = philox.dataset_key(checks.integer("seed", seed, 0, 2**64 - 1), formula.NUMBER)
    records = formula.draw(key, labels, instances)
    if formula.PRIMITIVE == "contours":
        return _contours(formula, key, records)
    return [_points(formula, record) for record in records]


def _contours(formula: Formula, key: philox.Key, records: np.ndarray) -> list[dict[str, Any]]:
    words = torch.from_numpy(as_words(records))
    settings = formula.drawing()
    contours = Contours(canvas_size=formula.canvas_size, device=torch.device("cpu"), backend="numba", **settings)
    vertices, greys = contours.vertices(words, key)
    return [
        {
            "vertices": vertices[i, : record["lines"], : record["vertices"]].numpy().astype(np.int32),
            "grays": greys[i, : record["lines"]].numpy().copy(),
            "canvas_size": formula.canvas_size,
            "background": settings["background"],
        }
        for i, record in enumerate(records)
    ]


def _points(formula: Formula, record: np.ndarray) -> dict[str, Any]:
    count = int(record["num_maps"])
    return {
        "maps": record["maps"][:count].copy(),
        "probabilities": selection_probabilities(record["select"][:count]),
        "camera": record["camera"].copy(),
        "points": formula.drawing()["points"],
        "canvas_size": formula.canvas_size,
    }
