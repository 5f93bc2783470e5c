"""VisualAtom: nested polygons of two superposed waves and noise.

Takashima et al., "Visual atoms: pre-training vision transformers with sinusoidal waves", CVPR 2023.

A class fixes the number of vertices V, of nested polygons K, the noise coefficient c, the growth of the radius, the
start radius and oval rates, and the frequencies n1, n2 of two sine waves that every line adds to its radius; an
instance draws the centre, one grey level a line and Perlin noise for every vertex.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu import checks, philox
from fdsl_gpu.formulas.base import Formula, content_ids
from fdsl_gpu.formulas.contour_parameters import GREY_OF, NATIVE_CANVAS, Background, centers
from fdsl_gpu.records import CONTOURS, split_id

Parameters: TypeAlias = Literal["script", "argparse"]

_MAX_VERTICES, _MAX_LINES, _MAX_FREQUENCY = 1000, 200, 20
_CENTER_REACH = 512


@dataclass(frozen=True)
class _Ranges:
    coefficient: tuple[float, float]
    line_width: tuple[float, float]
    radius: tuple[int, int]


_RANGES: dict[Parameters, _Ranges] = {
    "script": _Ranges(coefficient=(0.0, 4.0), line_width=(0.0, 0.1), radius=(10, 60)),
    "argparse": _Ranges(coefficient=(2.0, 6.0), line_width=(0.0, 0.01), radius=(0, 50)),
}


@dataclass(frozen=True, kw_only=True)
class VisualAtom(Formula):
    """Visual atoms with the settings of the released generator.

    Kept as released, each for the reason that a class then means what it meant: instance 0 takes its centre from the
    class, later instances draw their own; n2 differs from n1 unless n1 is 0, so one class in 441 has no wave at all;
    the published "line width" is a growth of the radius a line, while strokes are one pixel wide.

    Attributes:
        num_classes: 1,000 and 21,000 are published.
        canvas_size: native 512; every length scales with it.
        background: "black" as released; "white" as the released RCDB draws.
        parameters: which ranges classes are drawn from: those of the released "script", or the defaults of the
            generator's arguments ("argparse"): c in [2, 6] for [0, 4], growth a line in [0, 0.01] for [0, 0.1], start
            radius 0 .. 50 for 10 .. 60.
    """

    NAME: ClassVar[str] = "visualatom"
    NUMBER: ClassVar[int] = 4
    PRIMITIVE: ClassVar[Literal["contours"]] = "contours"
    RECORD: ClassVar[np.dtype] = CONTOURS

    num_classes: int = 1000
    canvas_size: int = NATIVE_CANVAS
    background: Background = "black"
    parameters: Parameters = "script"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.choice("background", self.background, GREY_OF)
        checks.choice("parameters", self.parameters, _RANGES)

    def drawing(self) -> dict[str, Any]:
        """Keywords of ``render.contours.Contours``."""
        return {"max_vertices": _MAX_VERTICES, "max_lines": _MAX_LINES, "background": GREY_OF[self.background]}

    def draw(
        self, key: philox.Key, labels: NDArray[np.int64], instances: NDArray[np.int64], view: int = 0
    ) -> np.ndarray:
        """Records ([B] of ``CONTOURS``) of labels and instances, both int64 [B]."""
        ids = content_ids(labels, instances)
        places = centers(philox.words(key, philox.INSTANCE, ids, 2), _CENTER_REACH)
        first = np.flatnonzero(instances == 0)
        if first.size:
            classes = class_table(self.num_classes, self.parameters)[labels[first]]
            places[first, 0], places[first, 1] = classes["center_y"], classes["center_x"]
        places *= self.canvas_size / NATIVE_CANVAS
        # An eighth of the cost of an index.
        records = _class_records(self.num_classes, self.parameters, self.canvas_size).take(labels)
        records["sequence_low"], records["sequence_high"] = split_id(ids)
        records["center_y"], records["center_x"] = places[:, 0], places[:, 1]
        return records

    def class_parameters(self, label: int) -> dict[str, Any]:
        """V, K, c, line width, start, n1, n2 and the centre of instance 0; lengths in pixels of 512."""
        row = class_table(self.num_classes, self.parameters)[label]
        return {name: row[name].item() for name in CLASS.names or ()}


CLASS = np.dtype(
    [
        ("vertices", "i8"),
        ("lines", "i8"),
        ("coefficient", "f8"),
        ("line_width", "f8"),
        ("radius", "f8"),
        ("frequency_1", "i8"),
        ("frequency_2", "i8"),
        ("oval_x", "f8"),
        ("oval_y", "f8"),
        ("center_y", "f8"),
        ("center_x", "f8"),
    ]
)
"""The eleven values of a class, in the order in which the released generator draws them."""


@lru_cache(maxsize=16)
def class_table(num_classes: int, parameters: Parameters = "script") -> np.ndarray:
    """Parameters of the first ``num_classes`` classes ([C] of ``CLASS``); the same for every seed."""
    words = philox.words(philox.dataset_key(0, VisualAtom.NUMBER), philox.CLASS, np.arange(num_classes), 11)
    ranges = _RANGES[parameters]
    table = np.zeros(num_classes, CLASS)
    table["vertices"] = philox.integers(words[:, 0], 200, _MAX_VERTICES)
    table["lines"] = philox.integers(words[:, 1], 1, _MAX_LINES)
    table["coefficient"] = philox.uniforms(words[:, 2], *ranges.coefficient)
    table["line_width"] = philox.uniforms(words[:, 3], *ranges.line_width)
    table["radius"] = philox.integers(words[:, 4], *ranges.radius)
    table["frequency_1"], table["frequency_2"] = _frequencies(words[:, 5], words[:, 6])
    table["oval_x"] = philox.uniforms(words[:, 7], 1.0, 2.0)
    table["oval_y"] = philox.uniforms(words[:, 8], 1.0, 2.0)
    table["center_y"] = centers(words[:, 9], _CENTER_REACH)
    table["center_x"] = centers(words[:, 10], _CENTER_REACH)
    return table


@lru_cache(maxsize=16)
def _class_records(num_classes: int, parameters: Parameters, canvas_size: int) -> np.ndarray:
    """What a class fixes of its records ([C] of ``CONTOURS``)."""
    classes = class_table(num_classes, parameters)
    scale = canvas_size / NATIVE_CANVAS
    records = np.zeros(num_classes, CONTOURS)
    records["vertices"], records["lines"] = classes["vertices"], classes["lines"]
    records["grey_levels"] = 256
    records["wave_1"], records["wave_2"] = classes["frequency_1"], classes["frequency_2"]
    records["wave"] = 0.5 * scale
    records["radius_x"] = classes["radius"] * classes["oval_x"] * scale
    records["radius_y"] = classes["radius"] * classes["oval_y"] * scale
    records["step"] = (classes["coefficient"] + classes["line_width"]) * scale
    records["noise"] = classes["coefficient"] * scale
    return records


def _frequencies(word_1: philox.Uint64, word_2: philox.Uint64) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """n1 in 0 .. 20, and n2 in 0 .. 20 redrawn while it equals n1, unless n1 is 0.

    The law of the redraw without redrawing: uniform on the other twenty values.
    """
    first = philox.integers(word_1, 0, _MAX_FREQUENCY)
    others = philox.integers(word_2, 0, _MAX_FREQUENCY - 1)
    second = np.where(first == 0, philox.integers(word_2, 0, _MAX_FREQUENCY), others + (others >= first))
    return first, second
