"""RCDB: nested noisy polygons.

Kataoka et al., "Replacing labeled real-image datasets with auto-generated contours", CVPR 2022.

A class fixes the number of vertices V, of nested polygons K, the noise coefficient c and the growth of the radius; an
instance draws start radius, oval rates, centre, one grey level a line and Perlin noise for every vertex.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu import checks, philox
from fdsl_gpu.formulas.base import Formula, content_ids
from fdsl_gpu.formulas.contour_parameters import (
    GREY_OF,
    MIN_VERTICES,
    NATIVE_CANVAS,
    Background,
    centers,
    truncated_exponential,
)
from fdsl_gpu.records import CONTOURS, split_id

_MAX_VERTICES, _MAX_LINES = 200, 200
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
        class_table: folder of class files (``param/00000.csv``, ...) as the released code writes them at canvas 512;
            class c is the c-th by name. None for the library's own classes.
    """

    NAME: ClassVar[str] = "rcdb"
    NUMBER: ClassVar[int] = 1
    PRIMITIVE: ClassVar[Literal["contours"]] = "contours"
    RECORD: ClassVar[np.dtype] = CONTOURS

    num_classes: int = 1000
    canvas_size: int = NATIVE_CANVAS
    background: Background = "white"
    class_table: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.choice("background", self.background, GREY_OF)
        if self.class_table is not None:
            # A bad file is refused here, not in the middle of a run.
            self._classes()

    def _classes(self) -> np.ndarray:
        return _classes(self.class_table, self.num_classes)

    def drawing(self) -> dict[str, Any]:
        """Keywords of ``render.contours.Contours``."""
        sizes = {"max_vertices": _MAX_VERTICES, "max_lines": _MAX_LINES}
        if self.class_table is not None:
            classes = self._classes()
            sizes = {"max_vertices": int(classes["vertices"].max()), "max_lines": int(classes["lines"].max())}
        return {**sizes, "background": GREY_OF[self.background]}

    def draw(
        self, key: philox.Key, labels: NDArray[np.int64], instances: NDArray[np.int64], view: int = 0
    ) -> np.ndarray:
        """Records ([B] of ``CONTOURS``) of labels and instances, both int64 [B]."""
        ids = content_ids(labels, instances)
        start = _start_parameters(philox.words(key, philox.INSTANCE, ids, 5))
        first = np.flatnonzero(instances == 0)
        if first.size:
            classes = self._classes()[labels[first]]
            for name in _START:
                start[name][first] = classes[name]
        scale = self.canvas_size / NATIVE_CANVAS
        # An eighth of the cost of an index.
        records = _class_records(self.class_table, self.num_classes, self.canvas_size).take(labels)
        records["sequence_low"], records["sequence_high"] = split_id(ids)
        records["radius_x"] = start["radius"] * start["oval_x"] * scale
        records["radius_y"] = start["radius"] * start["oval_y"] * scale
        records["center_x"], records["center_y"] = start["center_x"] * scale, start["center_y"] * scale
        return records

    def class_parameters(self, label: int) -> dict[str, Any]:
        """V, K, c, line width, and the start of instance 0, under their published names; lengths in pixels of 512."""
        row = self._classes()[label]
        return {name: row[name].item() for name in CLASS.names or ()}

    def fingerprint(self) -> dict[str, Any]:
        """Everything about this configuration that decides pixels, JSON-able."""
        identity = super().fingerprint()
        if self.class_table is not None:
            identity["class_table"] = hashlib.sha256(self._classes().tobytes()).hexdigest()
        return identity


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

_FILE_NAMES = (
    *("Vertex", "Line_num", "Perlin_noise", "line_width"),
    *("Center_rad", "Oval_rate_x", "Oval_rate_y", "start_pos_w", "start_pos_h"),
)
_LIMITS = dict.fromkeys(CLASS.names or (), (-10_000, 10_000)) | {"vertices": (MIN_VERTICES, 1000), "lines": (1, 1000)}


@lru_cache(maxsize=16)
def _imported(path: str, num_classes: int) -> np.ndarray:
    """Parameters of the first classes of a folder of class files ([C] of ``CLASS``)."""
    from fdsl_gpu.class_tables.csv_files import Parameter, read_values

    parameters = [
        Parameter(name, *_LIMITS[field], whole=field in ("vertices", "lines"))
        for field, name in zip(CLASS.names or (), _FILE_NAMES, strict=True)
    ]
    values = read_values(path, parameters)
    if len(values) < num_classes:
        raise ValueError(
            f"class_table: received {path!r} with {len(values)} classes; allowed: at least num_classes={num_classes}. "
            "Pass a larger folder or a smaller num_classes."
        )
    table = np.zeros(num_classes, CLASS)
    for name, column in zip(CLASS.names or (), values[:num_classes].T, strict=True):
        table[name] = column
    table.flags.writeable = False
    return table


@lru_cache(maxsize=16)
def class_table(num_classes: int) -> np.ndarray:
    """Parameters of the first ``num_classes`` classes ([C] of ``CLASS``); the same for every seed."""
    words = philox.words(philox.dataset_key(0, RCDB.NUMBER), philox.CLASS, np.arange(num_classes), 9)
    table = np.zeros(num_classes, CLASS)
    table["vertices"] = truncated_exponential(words[:, 0], _MAX_VERTICES)
    table["lines"] = philox.integers(words[:, 1], 1, _MAX_LINES)
    table["coefficient"] = philox.uniforms(words[:, 2], 0.0, 4.0)
    table["line_width"] = philox.uniforms(words[:, 3], 0.0, 0.1)
    for name, values in _start_parameters(words[:, 4:]).items():
        table[name] = values
    return table


def _classes(path: str | None, num_classes: int) -> np.ndarray:
    """Parameters of classes ([C] of ``CLASS``), imported or the library's own."""
    return class_table(num_classes) if path is None else _imported(path, num_classes)


@lru_cache(maxsize=16)
def _class_records(path: str | None, num_classes: int, canvas_size: int) -> np.ndarray:
    """What a class fixes of its records ([C] of ``CONTOURS``)."""
    classes = _classes(path, num_classes)
    scale = canvas_size / NATIVE_CANVAS
    records = np.zeros(num_classes, CONTOURS)
    records["vertices"], records["lines"] = classes["vertices"], classes["lines"]
    records["grey_levels"] = 257
    records["step"] = (classes["coefficient"] + classes["line_width"]) * scale
    records["noise"] = 2.0 * classes["coefficient"] * scale
    return records


def _start_parameters(words: philox.Uint64) -> dict[str, NDArray[np.float64]]:
    """Radius, oval rates and centre on the native canvas, from five words each [B, 5]."""
    radius = philox.integers(words[:, 0], 0, 100).astype(np.float64)
    oval_x, oval_y = philox.uniforms(words[:, 1:3].T, 1.0, 2.0)
    center_y, center_x = centers(words[:, 3:].T, 400)
    return {"radius": radius, "oval_x": oval_x, "oval_y": oval_y, "center_x": center_x, "center_y": center_y}
