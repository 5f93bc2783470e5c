"""The parts of a recipe: crops, RandAugment, erasing and mixing, as frozen dataclasses, and the names of operations.

The laws are those of timm's training transforms (timm 1.0), the defaults those of the released pre-training runs
(Kataoka et al., CVPR 2022). Parts are checked when they are made.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from fdsl_gpu import checks
from fdsl_gpu.checks import real
from fdsl_gpu.records import MAX_ERASURES, MAX_OPERATIONS

OPERATIONS = (
    "AutoContrast",
    "Equalize",
    "Invert",
    "Posterize",
    "Solarize",
    "SolarizeAdd",
    "Color",
    "Contrast",
    "Brightness",
    "Sharpness",
    "Affine",
)
"""What a record's operation does: ``kind`` is the index here + 1. Every geometric operation is an affine map."""

RAND_AUGMENT = (
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "Posterize",
    "Solarize",
    "SolarizeAdd",
    "Color",
    "Contrast",
    "Brightness",
    "Sharpness",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
)
"""What RandAugment chooses from: timm's "increasing" list, translations relative to the image, in timm's order."""

MAX_MAGNITUDE = 10.0
"""Magnitudes are clipped to [0, 10], timm's scale."""

RandomInterpolation: TypeAlias = Literal["bilinear", "bicubic", "random"]

_INTERPOLATIONS = ("bilinear", "bicubic", "random")


def probability(argument: str, received: Any) -> float:
    """Return ``received`` as a float in [0, 1]."""
    return real(argument, received, 0.0, 1.0)


def sequence(argument: str, received: Any, length: int) -> tuple[Any, ...]:
    """Return a list or tuple of ``length`` items as a tuple; ValueError otherwise."""
    if isinstance(received, (list, tuple)) and len(received) == length:
        return tuple(received)
    raise ValueError(f"{argument}: received {received!r}; allowed: a tuple of length {length}.")


def _range(argument: str, received: Any, low: float, high: float) -> tuple[float, float]:
    least, most = (real(argument, value, low, high) for value in sequence(argument, received, 2))
    if least > most:
        raise ValueError(f"{argument}: received {received!r}; allowed: (least, greatest). Swap the two numbers.")
    return least, most


def text(value: Any) -> str:
    """Like ``repr``, with floats to six digits."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return f"({', '.join(text(item) for item in value)})"
    return repr(value)


class Part:
    """Prints numbers to six digits: 1.33333, not 1.3333333333333333."""

    def __repr__(self) -> str:
        settings = ", ".join(
            f"{item.name}={text(getattr(self, item.name))}"
            for item in dataclasses.fields(self)  # type: ignore[arg-type]
        )
        return f"{type(self).__name__}({settings})"

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True, kw_only=True, repr=False)
class RandomResizedCrop(Part):
    """A crop of random area and aspect ratio, resized to the image size.

    Ten attempts at an area uniform in ``scale`` and an aspect ratio log-uniform in ``ratio``; the first that fits is
    put at a uniform place, else the largest central crop of an allowed ratio is taken.

    Attributes:
        scale: least and greatest area of the crop, as a share of the canvas, in (0, 1].
        ratio: least and greatest width / height.
        interpolation: of the resize; "random" takes bilinear or bicubic with equal chance for every sample.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: RandomInterpolation = "random"

    def __post_init__(self) -> None:
        self._set(scale=_range("scale", self.scale, 1e-6, 1.0), ratio=_range("ratio", self.ratio, 1e-3, 1e3))
        checks.choice("interpolation", self.interpolation, _INTERPOLATIONS)


@dataclass(frozen=True, kw_only=True, repr=False)
class RandomCrop(Part):
    """A crop of exactly the image size at a uniform place: nothing is resized. The canvas must be at least as large."""


@dataclass(frozen=True, kw_only=True, repr=False)
class WholeCanvas(Part):
    """No crop: the whole canvas, resized.

    Attributes:
        interpolation: of the resize, "bilinear", "bicubic" or "random".
    """

    interpolation: RandomInterpolation = "bilinear"

    def __post_init__(self) -> None:
        checks.choice("interpolation", self.interpolation, _INTERPOLATIONS)


@dataclass(frozen=True, kw_only=True, repr=False)
class RandAugment(Part):
    """Operations drawn with replacement from :data:`RAND_AUGMENT`, each done with some probability (Cubuk et al. 2020).

    timm's ``rand-m9-mstd0.5-inc1``: the magnitude of each operation is normal, clipped to [0, 10].

    Attributes:
        num_operations: drawn for each sample, 1 .. 4.
        magnitude: mean magnitude, 0 .. 10.
        magnitude_std: its standard deviation.
        probability: that a drawn operation is done.
        fill: red, green and blue of what geometric operations uncover, 0 .. 255.
        interpolation: of geometric operations; "random" is drawn for each.
    """

    num_operations: int = 2
    magnitude: float = 9.0
    magnitude_std: float = 0.5
    probability: float = 0.5
    fill: tuple[int, int, int] = (124, 116, 104)
    interpolation: RandomInterpolation = "random"

    def __post_init__(self) -> None:
        checks.integer("num_operations", self.num_operations, 1, MAX_OPERATIONS, "Pass rand_augment=None for none.")
        self._set(
            magnitude=real("magnitude", self.magnitude, 0.0, MAX_MAGNITUDE),
            magnitude_std=real("magnitude_std", self.magnitude_std, 0.0, 100.0),
            probability=probability("probability", self.probability),
            fill=tuple(checks.integer("fill", value, 0, 255) for value in sequence("fill", self.fill, 3)),
        )
        checks.choice("interpolation", self.interpolation, _INTERPOLATIONS)


@dataclass(frozen=True, kw_only=True, repr=False)
class RandomErasing(Part):
    """Rectangles erased after normalisation (Zhong et al. 2020).

    Attributes:
        probability: that a sample loses anything.
        mode: "pixel" puts a normal number in every pixel and channel, "rand" one in every channel, "const" 0.
        min_area: least share of the image that one rectangle takes; the total is divided among several.
        max_area: the greatest.
        min_aspect: least height / width; the greatest is its inverse.
        max_count: most rectangles of a sample, 1 .. 4; the number is uniform.
        min_count: fewest.
    """

    probability: float = 0.25
    mode: Literal["pixel", "const", "rand"] = "pixel"
    min_area: float = 0.02
    max_area: float = 1 / 3
    min_aspect: float = 0.3
    max_count: int = 1
    min_count: int = 1

    def __post_init__(self) -> None:
        checks.choice("mode", self.mode, ("pixel", "const", "rand"))
        checks.integer("max_count", self.max_count, 1, MAX_ERASURES, "Pass erasing=None for none.")
        checks.integer("min_count", self.min_count, 1, self.max_count)
        max_area = real("max_area", self.max_area, 0.0, 1.0)
        self._set(
            probability=probability("probability", self.probability),
            max_area=max_area,
            min_area=real("min_area", self.min_area, 0.0, max_area),
            min_aspect=real("min_aspect", self.min_aspect, 1e-3, 1.0),
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class Mixing(Part):
    """Mixup (Zhang et al. 2018) or CutMix (Yun et al. 2019) of a batch with its reverse, and label smoothing.

    Attributes:
        mixup_alpha: both parameters of the beta law of Mixup's weight; 0 for no Mixup.
        cutmix_alpha: the same of CutMix's area; 0 for no CutMix.
        probability: that a batch is mixed.
        switch_probability: that it is CutMix, where both are on.
        label_smoothing: share of a target spread evenly over all classes, in [0, 1).
    """

    mixup_alpha: float = 0.8
    cutmix_alpha: float = 1.0
    probability: float = 1.0
    switch_probability: float = 0.5
    label_smoothing: float = 0.1

    def __post_init__(self) -> None:
        self._set(
            mixup_alpha=real("mixup_alpha", self.mixup_alpha, 0.0, 1e3),
            cutmix_alpha=real("cutmix_alpha", self.cutmix_alpha, 0.0, 1e3),
            probability=probability("probability", self.probability),
            switch_probability=probability("switch_probability", self.switch_probability),
            label_smoothing=real("label_smoothing", self.label_smoothing, 0.0, 0.999),
        )
