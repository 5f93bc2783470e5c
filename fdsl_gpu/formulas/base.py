"""What every formula offers: numbers that identify it, sizes for the kernels, and records for (label, instance)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu import checks
from fdsl_gpu.philox import Key

MAX_CLASSES = 2**16
"""Labels lie in [0, 2**16): a content id is label * 2**40 + instance, in 56 bits."""

MIN_CANVAS, MAX_CANVAS = 8, 4096


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
    PRIMITIVE: ClassVar[Literal["contours", "points_3d"]]
    PLANES: ClassVar[int] = 1
    RECORD: ClassVar[np.dtype]

    num_classes: int
    canvas_size: int

    def __post_init__(self) -> None:
        checks.integer("num_classes", self.num_classes, 1, MAX_CLASSES)
        checks.integer("canvas_size", self.canvas_size, MIN_CANVAS, MAX_CANVAS)

    def draw(self, key: Key, labels: NDArray[np.int64], instances: NDArray[np.int64]) -> np.ndarray:
        """Records ([B] of ``RECORD``) of labels and instances, both int64 [B]."""
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
