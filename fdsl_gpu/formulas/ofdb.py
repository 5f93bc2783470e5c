"""OFDB, one-instance fractal databases: one picture, or one cloud of points, a class.

Nakamura et al., "Pre-training vision transformers with very limited synthesized images", ICCV 2023. Classes are those
of FractalDB (2D-OFDB) and ExFractalDB (3D-OFDB).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu import checks, philox
from fdsl_gpu.formulas.base import content_ids
from fdsl_gpu.formulas.exfractaldb import RING_VIEWS, ExFractalDB
from fdsl_gpu.formulas.fractaldb import TOP_BOTTOM, FractalDB
from fdsl_gpu.formulas.ifs_weights import FRACTALDB_IDENTITY_ROW, IDENTITY_ROW


@dataclass(frozen=True, kw_only=True)
class OFDB2D(FractalDB):
    """One fractal a class: :class:`FractalDB`'s classes under one weight row, upside down as released (flip 0).

    Instance 0 is the picture of a class. Other instances differ from it in the random pattern only.

    Attributes:
        weight_row: "published" is what the released script does, row 0, which multiplies a by 1 - 2 * weight_step =
            0.2; "identity" takes the maps as they are. Which of them made the published set is not known.
        random_pattern: draw a new pattern each time a class is shown, the paper's augmentation on the fly; instances
            are then endless.
    """

    NAME: ClassVar[str] = "ofdb-2d"
    NUMBER: ClassVar[int] = 6

    weight_row: Literal["published", "identity"] = "published"
    random_pattern: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.choice("weight_row", self.weight_row, ("published", "identity"))
        checks.choice("random_pattern", self.random_pattern, (False, True))

    @property
    def default_instances(self) -> int | None:
        """One, or endless with ``random_pattern``."""
        return None if self.random_pattern else 1

    def _choices(self, key: philox.Key, labels: NDArray[np.int64], instances: NDArray[np.int64]) -> Any:
        row = 0 if self.weight_row == "published" else FRACTALDB_IDENTITY_ROW
        return row, TOP_BOTTOM, instances


@dataclass(frozen=True, kw_only=True)
class OFDB3D(ExFractalDB):
    """One cloud of points a class: :class:`ExFractalDB`'s classes under one weight row, seen from a ring of 12 views.

    Instances 0 .. 11 are the published views (``instances_per_class=12`` shows them and nothing else). Later instances,
    and further views of any, draw one of the 12 places and its jitter of +-pi degrees afresh, so that a stream shows
    every class once in ``num_classes`` positions, each time in a view chosen at random; the cloud stays. If a class
    runs away under its row, the next drawable one is used, where the original has no picture.

    Attributes:
        viewpoint: "ring", or "uniform" for a uniformly random rotation for each instance.
        weight_row: "published" is row 0, which multiplies a by 0.4, as released; "identity" takes the maps as they
            are.
    """

    NAME: ClassVar[str] = "ofdb-3d"
    NUMBER: ClassVar[int] = 7

    viewpoint: Literal["uniform", "ring"] = "ring"
    weight_row: Literal["published", "identity"] = "published"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.choice("weight_row", self.weight_row, ("published", "identity"))

    def _clouds(
        self, key: philox.Key, ids: NDArray[np.int64], labels: NDArray[np.int64], instances: NDArray[np.int64]
    ) -> Any:
        return 0 if self.weight_row == "published" else IDENTITY_ROW, content_ids(labels, np.zeros_like(labels))

    def _published(self) -> int:
        return RING_VIEWS
