"""Recipes of augmentation as data: frozen, printable, validated, and free of random numbers and pixels.

A recipe says how a picture is presented (crop and resize, flips, operations on its bytes, erased rectangles), how often
(repeats) and how batches are mixed. ``fdsl_gpu.presentation`` draws what happens to each sample, the write-out does it,
and ``fdsl_gpu.mixing`` mixes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from fdsl_gpu import checks
from fdsl_gpu.augment_parts import (
    MAX_MAGNITUDE,
    OPERATIONS,
    RAND_AUGMENT,
    Mixing,
    RandAugment,
    RandomCrop,
    RandomErasing,
    RandomResizedCrop,
    WholeCanvas,
    probability,
    text,
)
from fdsl_gpu.write_out import Normalize, mean_std

__all__ = [
    "MAX_MAGNITUDE",
    "OPERATIONS",
    "RAND_AUGMENT",
    "RECIPES",
    "Mixing",
    "RandAugment",
    "RandomCrop",
    "RandomErasing",
    "RandomResizedCrop",
    "Recipe",
    "WholeCanvas",
    "recipe",
]

Crop: TypeAlias = RandomResizedCrop | RandomCrop | WholeCanvas

# What `without` puts in the place of a part.
_ABSENT: dict[str, Any] = {
    "crop": WholeCanvas(),
    "horizontal_flip": 0.0,
    "vertical_flip": 0.0,
    "rand_augment": None,
    "erasing": None,
    "mixing": None,
    "repeats": 1,
    "normalize": None,
}


@dataclass(frozen=True, kw_only=True, repr=False)
class Recipe:
    """How samples are presented and mixed; ``dataclasses.replace`` and :meth:`without` make variants.

    Attributes:
        name: for people; decides nothing.
        crop: RandomResizedCrop, RandomCrop or WholeCanvas; None is WholeCanvas().
        horizontal_flip: probability of left and right swapped.
        vertical_flip: probability of top and bottom swapped.
        rand_augment: a RandAugment, or None.
        erasing: a RandomErasing, or None.
        mixing: a Mixing, or None.
        repeats: presentations of one instance (repeated augmentation, Hoffer et al. 2020).
        repeat_distance: positions of the global order between two of them. 64, the released runs' samples a GPU, puts
            them where DeiT's sampler did: at one place of the batches of neighbouring ranks. Even, it never lets
            mixing, which pairs sample i with B - 1 - i of an even batch, pair an instance with itself.
        normalize: "imagenet", "half", (mean, std) or None, as in ``FDSLDataset``.

    Example:
        >>> recipe("fdsl").without("mixing", "repeats").mixing is None
        True
    """

    name: str = "custom"
    crop: Crop | None = field(default_factory=RandomResizedCrop)
    horizontal_flip: float = 0.0
    vertical_flip: float = 0.0
    rand_augment: RandAugment | None = None
    erasing: RandomErasing | None = None
    mixing: Mixing | None = None
    repeats: int = 1
    repeat_distance: int = 64
    normalize: Normalize = "imagenet"

    def __post_init__(self) -> None:
        values = {
            "crop": WholeCanvas() if self.crop is None else self.crop,
            "horizontal_flip": probability("horizontal_flip", self.horizontal_flip),
            "vertical_flip": probability("vertical_flip", self.vertical_flip),
            "normalize": _hashable(self.normalize),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        _instance("crop", self.crop, (RandomResizedCrop, RandomCrop, WholeCanvas))
        _instance("rand_augment", self.rand_augment, (RandAugment, type(None)))
        _instance("erasing", self.erasing, (RandomErasing, type(None)))
        _instance("mixing", self.mixing, (Mixing, type(None)))
        checks.integer("repeats", self.repeats, 1, 1024)
        checks.integer("repeat_distance", self.repeat_distance, 1, 2**20)
        if self.normalize is not None:
            mean_std(self.normalize, 3)

    def without(self, *parts: str) -> Recipe:
        """This recipe with parts left out: "crop", "rand_augment", "erasing", "mixing", "repeats", a flip, "normalize".

        Raises:
            ValueError: no such part.
        """
        absent = {checks.choice("part", part, _ABSENT): _ABSENT[part] for part in parts}
        return dataclasses.replace(self, name=f"{self.name} without {', '.join(parts)}", **absent)

    def fingerprint(self) -> dict[str, Any]:
        """All settings that decide bytes, JSON-able (lists, not tuples): everything but the name."""
        items = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        del items["name"]
        return {name: _plain(value) for name, value in items.items()}

    def __repr__(self) -> str:
        lines = [f"  {item.name}={text(getattr(self, item.name))}," for item in dataclasses.fields(self)[1:]]
        return "\n".join([f"Recipe(name={self.name!r},", *lines])[:-1] + ")"


def _instance(argument: str, received: Any, allowed: tuple[type, ...], remedy: str = "") -> None:
    if not isinstance(received, allowed):
        names = ", ".join("None" if kind is type(None) else kind.__name__ for kind in allowed)
        raise TypeError(
            f"{argument}: received {received!r} ({type(received).__name__}); allowed: {names}. {remedy}".rstrip()
        )


def _hashable(value: Any) -> Any:
    """Lists, and arrays, as tuples."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, (list, tuple)):
        return tuple(_hashable(item) for item in value)
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value):
        items = {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
        return {"kind": type(value).__name__, **items}
    return value


RECIPES: dict[str, Recipe] = {
    # Kataoka et al., CVPR 2022, and Takashima et al., CVPR 2023.
    "fdsl": Recipe(name="fdsl", rand_augment=RandAugment(), erasing=RandomErasing(), mixing=Mixing(), repeats=3),
    # Nakamura et al., ICCV 2023 (OFDB) and ECCV 2024 (1p-frac). timm hands a crop's fixed interpolation to RandAugment.
    "ofdb": Recipe(
        name="ofdb",
        crop=RandomResizedCrop(interpolation="bicubic"),
        horizontal_flip=0.5,
        vertical_flip=0.5,
        rand_augment=RandAugment(fill=(128, 128, 128), interpolation="bicubic"),
        erasing=RandomErasing(probability=0.5),
        mixing=Mixing(),
        normalize="half",
    ),
    # Kataoka et al., ACCV 2020, ResNet-50 on the 362-pixel canvas.
    "fractaldb-resnet": Recipe(name="fractaldb-resnet", crop=RandomCrop(), normalize=(0.2, 0.5)),
    "none": Recipe(name="none", crop=WholeCanvas()),
}
"""Named recipes: "fdsl" (ViT pre-training of RCDB, ExFractalDB and VisualAtom), "ofdb", "fractaldb-resnet", "none"."""


def recipe(augment: str | Recipe | None) -> Recipe:
    """The recipe of a name, or a recipe itself; None is "none".

    Raises:
        ValueError: unknown name. TypeError: neither a name nor a recipe.
    """
    if augment is None:
        return RECIPES["none"]
    if isinstance(augment, str):
        return RECIPES[checks.choice("augment", augment.lower(), RECIPES)]
    _instance("augment", augment, (Recipe,), f"Names: {', '.join(map(repr, RECIPES))}.")
    return augment
