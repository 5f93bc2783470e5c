"""What a user passes to a dataset, checked, with defaults filled in. Each error says the argument and the remedy."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from fdsl_gpu import checks, registry
from fdsl_gpu.augment import RandomCrop, Recipe, recipe
from fdsl_gpu.formulas.base import Formula
from fdsl_gpu.vector import PRIMITIVES as VECTOR_PRIMITIVES
from fdsl_gpu.write_out import Normalize

AnyDataset: TypeAlias = "str | Formula | Sequence[str | Formula]"


def formulas(dataset: AnyDataset, options: dict[str, Any]) -> tuple[Formula, ...]:
    """One configuration, or those of a mixture."""
    if isinstance(dataset, (str, Formula)) or not isinstance(dataset, Sequence):
        return (registry.formula(dataset, **options),)
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise TypeError(
            f"{given[0]}: not an option of a mixture; allowed: options of one dataset."
            f"{registry.nearest(given[0], ())} "
            "Mix configured formulas, such as [fdsl_gpu.formulas.rcdb.RCDB(num_classes=500), 'exfractaldb-1k']."
        )
    formulas = tuple(registry.formula(part) for part in dataset)
    if not formulas:
        raise ValueError("dataset: received an empty list; allowed: at least one name or Formula.")
    for formula in formulas:
        if formula.TARGET != "label" and len(formulas) > 1:
            raise ValueError(
                f"dataset: received a mixture with {formula.NAME}, whose pictures have no label; "
                "allowed: datasets of labelled pictures. Stream it on its own."
            )
    return formulas


def weights(weights: Sequence[float] | None, formulas: tuple[Formula, ...]) -> tuple[float, ...]:
    """Shares of a mixture; by default in proportion to classes, so that all classes are equally frequent."""
    if weights is None:
        return tuple(float(formula.num_classes) for formula in formulas)
    try:
        # A text is a sequence of texts, which float() would read.
        shares = () if isinstance(weights, (str, bytes)) else tuple(float(weight) for weight in weights)
    except (TypeError, ValueError):
        shares = ()
    if len(shares) != len(formulas) or not all(math.isfinite(share) and share > 0 for share in shares):
        raise ValueError(
            f"weights: received {weights!r}; allowed: {len(formulas)} positive numbers, one a dataset. "
            "Leave a dataset out instead of giving it weight 0."
        )
    return shares


def instances(instances_per_class: int | None, formulas: tuple[Formula, ...]) -> int | None:
    """Instances a class; None for endless."""
    if instances_per_class is None:
        return formulas[0].default_instances if len(formulas) == 1 else None
    if len(formulas) > 1:
        raise ValueError(
            f"instances_per_class: received {instances_per_class!r} for a mixture; allowed: None. Mixtures are endless."
        )
    return checks.integer("instances_per_class", instances_per_class, 1, 2**32)


def at_image_size(formula: Formula, image_size: int) -> Formula:
    """The formula drawn at the size of the image, as vector mode has it."""
    if formula.PRIMITIVE not in VECTOR_PRIMITIVES:
        raise ValueError(
            f"mode: received 'vector' for {formula.NAME}, whose background cannot be drawn so; allowed: 'canvas'. "
            "Leave mode out."
        )
    try:
        return dataclasses.replace(formula, canvas_size=image_size)
    except ValueError as error:
        raise ValueError(f"image_size: received {image_size} for a canvas of mode='vector'. {error}") from error


def chosen_recipe(
    augment: str | Recipe | None, repeats: int | None, mode: str, formula: Formula, has_masks: bool
) -> Recipe:
    """The recipe asked for, if it leaves masks where pictures have them."""
    chosen = recipe(augment)
    if repeats is not None:
        chosen = dataclasses.replace(chosen, repeats=checks.integer("repeats", repeats, 1, 1024))
    # Parts of a recipe that move pixels; in vector mode crops and flips move the geometry instead.
    moving = ("rand_augment",) if mode == "vector" else ("rand_augment", "crop", "horizontal_flip", "vertical_flip")
    moves = chosen.fingerprint() != chosen.without(*moving).fingerprint()
    if has_masks and moves:
        raise ValueError(
            f"augment: received {chosen.name!r} for {formula.NAME}, whose masks would have to move with the picture; "
            "allowed: crops and flips with mode='vector', which moves both, and erasing. "
            "Or apply a joint transform to images and masks, such as torchvision's v2."
        )
    return chosen


def presents(chosen: Recipe, canvases: Sequence[int], image_size: int) -> bool:
    """Whether a recipe changes single pictures, so that each position is a presentation of its own."""
    if isinstance(chosen.crop, RandomCrop) and min(canvases) < image_size:
        raise ValueError(
            f"augment: received a RandomCrop to image_size={image_size} of a canvas of {min(canvases)}; allowed: a "
            "canvas at least as large. Pass a larger canvas_size, or a recipe with RandomResizedCrop()."
        )
    others = ("mixing", "normalize", "repeats")
    return chosen.without(*others).fingerprint() != recipe(None).without(*others).fingerprint()


def normalize(normalize: Normalize | Literal["recipe"], chosen: Recipe, dtype: torch.dtype) -> Normalize:
    """What batches are normalised with; the recipe's unless given."""
    if normalize == "recipe":
        return None if dtype == torch.uint8 else chosen.normalize
    return normalize


def transform(transform: Callable[[Tensor], Tensor] | None) -> Callable[[Tensor], Tensor] | None:
    """What is done to each batch of images after it is drawn."""
    if transform is None or callable(transform):
        return transform
    raise TypeError(f"transform: received {transform!r}; allowed: None, or a function of images [B, C, H, W].")


def split(split: Literal["train", "val"], formulas: tuple[Formula, ...]) -> Literal["train", "val"]:
    """Which instances are shown; "val" only where training leaves some unseen."""
    checks.choice("split", split, ("train", "val"))
    for formula in formulas:
        if split == "val" and formula.distinct_pictures is not None:
            raise ValueError(
                f"split: received 'val' for {formula.NAME}, whose classes have {formula.distinct_pictures} different "
                "pictures in all with these options, which training shows; allowed: 'train'. "
                "Use rendering='patch', or another dataset to validate on."
            )
    return split


def views(views: int, formulas: tuple[Formula, ...], presents: bool) -> int:
    """How many views; more than one only where they differ."""
    views = checks.integer("views", views, 1, 256)
    for formula in formulas:
        if views > 1 and formula.TARGET == "mask":
            raise ValueError(
                f"views: received {views} for {formula.NAME}, whose masks belong to one view; allowed: 1. "
                "Iterate two datasets with different seeds for pairs of scenes."
            )
        if views > 1 and not (formula.views or presents):
            raise ValueError(
                f"views: received {views} for {formula.NAME}, where nothing differs between views of an instance "
                "unless they are augmented; allowed: 1. Pass augment='fdsl', or use a dataset with cameras or jitter, "
                "such as 'exfractaldb-1k' or 'anderson-farrell-1k'."
            )
    return views


def return_masks(return_masks: bool | None, formula: Formula) -> bool:
    """Whether masks are delivered."""
    has_masks = formula.TARGET == "mask"
    wanted = has_masks if return_masks is None else checks.choice("return_masks", return_masks, (True, False))
    if wanted and not has_masks:
        raise ValueError(
            f"return_masks: received True for {formula.NAME}, which has none; allowed: False. Use 'segrcdb' for masks."
        )
    return wanted


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
