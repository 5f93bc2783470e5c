"""What every formula offers: numbers that identify it, sizes for the kernels, and records for (label, instance)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu import checks
from fdsl_gpu.philox import Key

MAX_CLASSES = 2**16
"""Labels lie in [0, 2**16): a content id is label * 2**40 + instance, in 56 bits."""

MIN_CANVAS, MAX_CANVAS = 8, 4096

Primitive: TypeAlias = Literal["contours", "contour_scenes", "points_2d", "points_3d", "fractal_scenes"]
Target: TypeAlias = Literal["label", "mask", "multi_hot"]


@dataclass(frozen=True, kw_only=True)
class Formula:
    """A frozen configuration of one formula. Subclasses add options and the laws.

    Attributes:
        num_classes: classes 0 .. num_classes - 1.
        canvas_size: side of the square canvas in pixels; the geometry is scaled with it.
    """

    NAME: ClassVar[str]
    NUMBER: ClassVar[int]
    """Part of the random key: the same for all sizes of a dataset, and never given to another formula."""
    PRIMITIVE: ClassVar[Primitive]
    RECORD: ClassVar[np.dtype]
    TARGET: ClassVar[Target] = "label"
    """What a picture is labelled with. Pictures of the other targets show several classes and have no label; they are
    located and drawn by instance, with label 0."""

    num_classes: int
    canvas_size: int

    def __post_init__(self) -> None:
        checks.integer("num_classes", self.num_classes, 1, MAX_CLASSES)
        checks.integer("canvas_size", self.canvas_size, MIN_CANVAS, MAX_CANVAS)

    @property
    def planes(self) -> int:
        """Planes of a picture: 1, grey, or 3, red, green and blue."""
        return 1

    @property
    def views(self) -> str:
        """What differs between the views of one instance; empty if nothing does."""
        return ""

    @property
    def distinct_pictures(self) -> int | None:
        """Different pictures that a class has in all, if no instance brings a new one; None for endless."""
        return None

    @property
    def default_instances(self) -> int | None:
        """Instances a class that a dataset shows unless told otherwise: 1 for one image a class, None for endless."""
        return None

    def draw(self, key: Key, labels: NDArray[np.int64], instances: NDArray[np.int64], view: int = 0) -> np.ndarray:
        """Records ([B] of ``RECORD``) of labels and instances, both int64 [B], in one of their views."""
        raise NotImplementedError

    def classes_shown(self, key: Key, instances: NDArray[np.int64]) -> NDArray[np.int64]:
        """Classes int64 [B, n], some of them perhaps twice, of instances int64 [B]; for ``TARGET`` "multi_hot"."""
        raise NotImplementedError

    def drawing(self) -> dict[str, Any]:
        """What the primitive is told once, besides the canvas size: keywords of its launcher."""
        raise NotImplementedError

    def class_parameters(self, label: int) -> dict[str, Any]:
        """The parameters that define class ``label``, under the names of the paper."""
        raise NotImplementedError

    def fingerprint(self) -> dict[str, Any]:
        """Everything about this configuration that decides pixels, JSON-able."""
        return {"formula": self.NAME, **dataclasses.asdict(self)}


def content_ids(labels: NDArray[np.int64], instances: NDArray[np.int64]) -> NDArray[np.int64]:
    """The identity of a picture: label * 2**40 + instance."""
    return labels * 2**40 + instances
