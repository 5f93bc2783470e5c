"""SegRCDB: 32 radial contours a picture, and a label mask of their classes.

Shinoda et al., "SegRCDB: semantic segmentation via formula-driven supervised learning", ICCV 2023.

A class, a category of the mask, fixes the number of vertices V, of nested polygons K, the noise coefficient c, the
growth of the radius, the start radius and oval rates. A picture draws 32 times a class and a centre; every contour has
one grey level a line and Perlin noise for every vertex of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu import checks, philox
from fdsl_gpu.formulas.base import Formula
from fdsl_gpu.formulas.contour_parameters import (
    GREY_OF,
    NATIVE_CANVAS,
    Background,
    truncated_exponential,
)
from fdsl_gpu.records import CONTOUR_SCENE, CONTOURS, CONTOURS_A_SCENE, as_words

MaskMode: TypeAlias = Literal["M1", "M2", "M3"]
MASK_MODES: tuple[MaskMode, ...] = ("M1", "M2", "M3")

# A mask is of bytes, in which 0 is the background and 255 tells a loss to look away.
_MAX_CLASSES = 255
_MAX_VERTICES, _MAX_LINES = 500, 50
_CENTER_REACH = 512


@dataclass(frozen=True, kw_only=True)
class SegRCDB(Formula):
    """Segmentation pictures with the settings of the released generator's script.

    A picture is located and drawn by its instance, with label 0. Lines are one pixel wide; the published "line width"
    is a growth of the radius a line. Later contours cover earlier ones, in the picture and in the mask.

    Attributes:
        num_classes: values of the mask: background, 0, and categories 1 .. num_classes - 1; 255 is published.
        canvas_size: native 512; every length scales with it.
        masks: what carries a contour's category. "M1": wherever a line goes, black ones too, as the published set.
            "M2": from the first polygon to the last, with 0 inside the first, whatever was there, and nothing for a
            contour of one line. "M3": the inside of the last polygon.
        background: "black" as released, or "white"; in the picture, never in the mask.
    """

    NAME: ClassVar[str] = "segrcdb"
    NUMBER: ClassVar[int] = 5
    PRIMITIVE: ClassVar[Literal["contour_scenes"]] = "contour_scenes"
    RECORD: ClassVar[np.dtype] = CONTOUR_SCENE
    TARGET: ClassVar[Literal["mask"]] = "mask"

    num_classes: int = _MAX_CLASSES
    canvas_size: int = NATIVE_CANVAS
    masks: MaskMode = "M1"
    background: Background = "black"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("num_classes", self.num_classes, 2, _MAX_CLASSES, "The background is one of them.")
        checks.choice("masks", self.masks, MASK_MODES)
        checks.choice("background", self.background, GREY_OF)

    def drawing(self) -> dict[str, Any]:
        """Keywords of ``render.contour_scenes.ContourScenes``."""
        return {
            "max_vertices": _MAX_VERTICES,
            "max_lines": _MAX_LINES,
            "background": GREY_OF[self.background],
            "mask_mode": self.masks,
        }

    def draw(
        self, key: philox.Key, labels: NDArray[np.int64], instances: NDArray[np.int64], view: int = 0
    ) -> np.ndarray:
        """Records ([B] of ``CONTOUR_SCENE``) of instances int64 [B]; labels are all 0."""
        from fdsl_gpu.cpu_kernels.contour_scene import fill_scenes

        words = philox.words(key, philox.INSTANCE, instances, 3 * CONTOURS_A_SCENE)
        classes = as_words(_class_records(self.canvas_size))[: self.num_classes]
        scenes = np.empty(labels.size, CONTOUR_SCENE)
        out = as_words(scenes).reshape(-1, *scenes["contours"].shape[1:], classes.shape[1])
        # Pictures have label 0, so their contours may take what would be other labels' random sequences.
        scale = self.canvas_size / NATIVE_CANVAS
        fill_scenes(words.T, instances, classes, NATIVE_CANVAS, _CENTER_REACH, scale, out, out.view(np.float32))
        return scenes

    def class_parameters(self, label: int) -> dict[str, Any]:
        """V, K, c, line width and start of category ``label``, 1 .. num_classes - 1; lengths in pixels of 512."""
        remedy = "Label 0 is the background, which has no parameters."
        row = class_table()[checks.integer("label", label, 1, self.num_classes - 1, remedy)]
        return {name: row[name].item() for name in CLASS.names or ()}


CLASS = np.dtype(
    [
        ("vertices", "i8"),
        ("lines", "i8"),
        ("coefficient", "f8"),
        ("line_width", "f8"),
        ("radius", "f8"),
        ("oval_x", "f8"),
        ("oval_y", "f8"),
    ]
)
"""The seven values of a class, in the order in which the released generator draws them."""


@lru_cache(maxsize=1)
def class_table() -> np.ndarray:
    """Parameters of all categories ([255] of ``CLASS``), the same for every seed; row 0 is nobody's."""
    words = philox.words(philox.dataset_key(0, SegRCDB.NUMBER), philox.CLASS, np.arange(_MAX_CLASSES), 7)
    table = np.zeros(_MAX_CLASSES, CLASS)
    table["vertices"] = truncated_exponential(words[:, 0], _MAX_VERTICES)
    table["lines"] = philox.integers(words[:, 1], 1, _MAX_LINES)
    table["coefficient"] = philox.uniforms(words[:, 2], 0.0, 4.0)
    table["line_width"] = philox.uniforms(words[:, 3], 0.0, 0.1)
    table["radius"] = philox.integers(words[:, 4], 0, 50)
    table["oval_x"] = philox.uniforms(words[:, 5], 1.0, 2.0)
    table["oval_y"] = philox.uniforms(words[:, 6], 1.0, 2.0)
    return table


@lru_cache(maxsize=16)
def _class_records(canvas_size: int) -> np.ndarray:
    """What a class fixes of its contours' records ([255] of ``CONTOURS``)."""
    classes = class_table()
    scale = canvas_size / NATIVE_CANVAS
    records = np.zeros(_MAX_CLASSES, CONTOURS)
    records["vertices"], records["lines"] = classes["vertices"], classes["lines"]
    records["grey_levels"] = 256
    records["radius_x"] = classes["radius"] * classes["oval_x"] * scale
    records["radius_y"] = classes["radius"] * classes["oval_y"] * scale
    records["step"] = (classes["coefficient"] + classes["line_width"]) * scale
    records["noise"] = 2.0 * classes["coefficient"] * scale
    records["category"] = np.arange(_MAX_CLASSES)
    return records
