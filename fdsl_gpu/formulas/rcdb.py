"""RCDB: nested noisy polygons.

Kataoka et al., "Replacing labeled real-image datasets with auto-generated contours", CVPR 2022.

A class fixes the number of vertices V, of nested polygons K, the noise coefficient c and the growth of the radius; an
instance draws start radius, oval rates, centre, one grey level a line and Perlin noise for every vertex.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu import checks, philox
from fdsl_gpu.formulas.base import Formula, content_ids
from fdsl_gpu.records import CONTOURS, split_id

NATIVE_CANVAS = 512

_MIN_VERTICES, _MAX_VERTICES, _MAX_LINES = 3, 200, 200
_START = ("radius", "oval_x", "oval_y", "center_x", "center_y")


@dataclass(frozen=True, kw_only=True)
class RCDB(Formula):
    """Radial contours with the settings of the released generator.

    Kept as released, each for the reason that a class then means what it meant: instance 0 takes radius, ovals and
    centre from the class, later instances draw their own; a grey level is drawn from 257 values and 256 becomes 255;
    the published "line width" is a growth of the radius a line, while strokes are one pixel wide.

    Attributes:
        num_classes: 1,000, 21,000 and 50,000 are published.
        canvas_size: native 512; every length scales with it.
        background: "white" as the released code draws; "black" as the figures of the paper show.
    """

    NAME: ClassVar[str] = "rcdb"
    NUMBER: ClassVar[int] = 1
    PRIMITIVE: ClassVar[Literal["contours"]] = "contours"
    RECORD: ClassVar[np.dtype] = CONTOURS

    num_classes: int = 1000
    canvas_size: int = NATIVE_CANVAS
    background: Literal["white", "black"] = "white"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.choice("background", self.background, ("white", "black"))

    def drawing(self) -> dict[str, Any]:
        """Keywords of ``render.contours.Contours``."""
        background = 255 if self.background == "white" else 0
        return {"max_vertices": _MAX_VERTICES, "max_lines": _MAX_LINES, "background": background}

    def draw(
        self, key: philox.Key, labels: NDArray[np.int64], instances: NDArray[np.int64], view: int = 0
    ) -> np.ndarray:
        """Records ([B] of ``CONTOURS``) of labels and instances, both int64 [B]."""
        classes = class_table(self.num_classes)[labels]
        ids = content_ids(labels, instances)
        start = _start_parameters(philox.words(key, philox.INSTANCE, ids, 5))
        first = np.flatnonzero(instances == 0)
        for name in _START:
            start[name][first] = classes[name][first]
        scale = self.canvas_size / NATIVE_CANVAS
        records = np.zeros(labels.size, CONTOURS)
        records["vertices"], records["lines"] = classes["vertices"], classes["lines"]
        records["sequence_low"], records["sequence_high"] = split_id(ids)
        records["grey_levels"] = 257
        records["radius_x"] = start["radius"] * start["oval_x"] * scale
        records["radius_y"] = start["radius"] * start["oval_y"] * scale
        records["center_x"], records["center_y"] = start["center_x"] * scale, start["center_y"] * scale
        records["step"] = (classes["coefficient"] + classes["line_width"]) * scale
        records["noise"] = 2.0 * classes["coefficient"] * scale
        return records

    def class_parameters(self, label: int) -> dict[str, Any]:
        """V, K, c, line width, and the start of instance 0, under their published names; lengths in pixels of 512."""
        row = class_table(self.num_classes)[label]
        return {name: row[name].item() for name in CLASS.names or ()}


CLASS = np.dtype(
    [
        ("vertices", "i8"),
        ("lines", "i8"),
        ("coefficient", "f8"),
        ("line_width", "f8"),
        *((name, "f8") for name in _START),
    ]
)
"""The nine values of a published class file."""


@lru_cache(maxsize=4)
def class_table(num_classes: int) -> np.ndarray:
    """Parameters of the first ``num_classes`` classes ([C] of ``CLASS``); the same for every seed."""
    words = philox.words(philox.dataset_key(0, RCDB.NUMBER), philox.CLASS, np.arange(num_classes), 9)
    table = np.zeros(num_classes, CLASS)
    table["vertices"] = _MIN_VERTICES + np.searchsorted(_vertex_thresholds(), words[:, 0], side="right")
    table["lines"] = philox.integers(words[:, 1], 1, _MAX_LINES)
    table["coefficient"] = philox.uniforms(words[:, 2], 0.0, 4.0)
    table["line_width"] = philox.uniforms(words[:, 3], 0.0, 0.1)
    for name, values in _start_parameters(words[:, 4:]).items():
        table[name] = values
    return table


def _start_parameters(words: philox.Uint64) -> dict[str, NDArray[np.float64]]:
    """Radius, oval rates and centre on the native canvas, from five words each [B, 5]."""
    return {
        "radius": philox.integers(words[:, 0], 0, 100).astype(np.float64),
        "oval_x": philox.uniforms(words[:, 1], 1.0, 2.0),
        "oval_y": philox.uniforms(words[:, 2], 1.0, 2.0),
        "center_y": (NATIVE_CANVAS + philox.integers(words[:, 3], -400, 400)) / 2,
        "center_x": (NATIVE_CANVAS + philox.integers(words[:, 4], -400, 400)) / 2,
    }


@lru_cache(maxsize=1)
def _vertex_thresholds() -> NDArray[np.uint64]:
    """Upper bounds in 32-bit words of V = 3 .. 199: V = int(Exp(mean 100)) given 2 < V <= 200, so P(V) ~ exp(-V/100).

    Powers by repeated multiplication of a literal, so that every machine has the same table.
    """
    ratio = 0.9900498337491681  # exp(-1 / 100)
    weights = np.cumprod(np.full(_MAX_VERTICES - _MIN_VERTICES + 1, ratio))
    cumulative = np.add.accumulate(weights)
    return np.floor(cumulative[:-1] / cumulative[-1] * 2.0**32).astype(np.uint64)
