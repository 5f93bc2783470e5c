"""FractalDB: fractals in the plane (Kataoka et al., "Pre-training without natural images", ACCV 2020 and IJCV 2022).

A class is a system of 2 to 7 affine maps that fills at least 20 % of its picture; an instance multiplies the maps by
one of 25 weight rows, mirrors the raster, and stamps each point with a 3x3 patch of random bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu import checks, philox
from fdsl_gpu.class_tables import IFSTable, fractaldb_table, load_classes, measured_table
from fdsl_gpu.class_tables.class_records import class_records, next_drawable, probabilities, weighted_records
from fdsl_gpu.class_tables.table import FRACTALDB, PLANE, Weighting
from fdsl_gpu.formulas.base import MAX_CANVAS, Formula, content_ids
from fdsl_gpu.formulas.ifs_weights import WEIGHT_STEPS, fractaldb_weights, repeated_weights
from fdsl_gpu.records import POINTS_2D, split_id

NATIVE_CANVAS = 362
PADDING = 6
COUNTS = 10
FLIPS = 4
TOP_BOTTOM, LEFT_RIGHT = 2, 1

# Flip 0 of the released files is the raster upside down; 1 mirrors that back, 2 mirrors it left to right, 3 does both.
_MIRRORS = np.array([TOP_BOTTOM, 0, TOP_BOTTOM | LEFT_RIGHT, LEFT_RIGHT])

_Int64: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class FractalDB(Formula):
    """2-D fractals with the settings of the released generator.

    Instances 0 .. 999 mean what they mean there: instance = (row * 10 + count) * 4 + flip. All 40 pictures of a weight
    row show the same points, and the 4 flips of a count the same random pattern. Instances from 1,000 on draw row, flip
    and a pattern of their own. With ``rendering="point"``, for which 100 pictures a class were released, the numbering
    is the same and counts do not differ. Further views of an instance have another random pattern.

    Kept as released: axes are scaled independently; selection probabilities are those of the unweighted maps; every
    chain takes the same random choices; patches lie 2 pixels right of and below their points. A pattern is drawn for
    each pixel, which is the released law but for its excluded all-dark patch.

    Not as released: a weight row under which a class runs away (``IFSTable.drawable``) is replaced by the next one that
    does not, where the original draws what came before the overflow, a few pixels. If all points of a picture share a
    coordinate, they lie at pixel 6 there, where the original divides 0 by 0.

    Attributes:
        num_classes: 1,000 ship with the library; more are searched once and cached.
        canvas_size: native 362; at least 16.
        points: points an image; 200,000 as released. Rows are measured once, and cached, for other numbers.
        weight_step: 0.4 as released for pre-training, or 0.0125, 0.025, 0.05, 0.1, 0.2, 0.3 or 0.5.
        rendering: "patch" stamps 3x3 patches of a random pattern, "point" single pixels.
        color: draw three planes, hue by the number of a point.
        class_table: path of a class table (.safetensors), or of a folder of the original's class files (CSV); None for
            the library's own.
    """

    NAME: ClassVar[str] = "fractaldb"
    NUMBER: ClassVar[int] = FRACTALDB
    PRIMITIVE: ClassVar[Literal["points_2d"]] = "points_2d"
    RECORD: ClassVar[np.dtype] = POINTS_2D

    num_classes: int = 1000
    canvas_size: int = NATIVE_CANVAS
    points: int = 200_000
    weight_step: float = 0.4
    rendering: Literal["patch", "point"] = "patch"
    color: bool = False
    class_table: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("canvas_size", self.canvas_size, 16, MAX_CANVAS)
        checks.integer("points", self.points, 100, 10_000_000)
        checks.choice("weight_step", self.weight_step, WEIGHT_STEPS)
        checks.choice("rendering", self.rendering, ("patch", "point"))
        checks.choice("color", self.color, (False, True))
        if self.class_table is not None:
            # A bad file is refused here, not in the middle of a run.
            _table(self.class_table, self.num_classes)

    @property
    def planes(self) -> int:
        """Planes of a picture: 1, or 3 in colour."""
        return 3 if self.color else 1

    @property
    def views(self) -> str:
        """Further views of an instance have patterns of their own; points have none."""
        return "the random pattern of the patches" if self.rendering == "patch" else ""

    @property
    def distinct_pictures(self) -> int | None:
        """Points come in 25 weights and 4 flips only."""
        return None if self.rendering == "patch" else len(fractaldb_weights(self.weight_step)) * FLIPS

    def draw(self, key: philox.Key, labels: _Int64, instances: _Int64, view: int = 0) -> np.ndarray:
        """Records ([B] of ``POINTS_2D``) of labels and instances, both int64 [B]."""
        classes = self._classes()
        row, mirror, pattern = self._choices(key, labels, instances)
        row = classes.next_drawable[labels, row]
        records = weighted_records(classes.records, labels, repeated_weights(self.weight_step), row)
        records["pattern_low"], records["pattern_high"] = split_id(content_ids(labels, pattern))
        records["view"], records["mirror"] = view, mirror
        place = labels * classes.next_drawable.shape[1] + row
        records["low"], records["scale"] = classes.low.take(place, axis=0), classes.scale.take(place, axis=0)
        return records

    def drawing(self) -> dict[str, Any]:
        """Keywords of ``render.points_2d.Points2D``."""
        return {"points": self.points, "rendering": self.rendering, "color": self.color}

    def class_parameters(self, label: int) -> dict[str, Any]:
        """What defines a class, and its rows.

        Returns:
            ``maps`` float32 [n, 6] (columns a .. f), ``probabilities`` float64 [n], ``weights`` float32 [25, 6], and
            ``drawable`` bool [25], under which of these rows the class does not run away.
        """
        table = self._classes().table
        maps, weights = table.class_maps(label), fractaldb_weights(self.weight_step)
        shares = probabilities(maps[None])[0]
        return {"maps": maps, "probabilities": shares, "drawable": table.drawable[label], "weights": weights}

    def fingerprint(self) -> dict[str, Any]:
        """Everything about this configuration that decides pixels, JSON-able."""
        identity = super().fingerprint()
        if self.class_table is not None:
            identity["class_table"] = _table(self.class_table, self.num_classes).maps_digest()
        return identity

    def _choices(self, key: philox.Key, labels: _Int64, instances: _Int64) -> tuple[Any, Any, _Int64]:
        """Weight row, mirror, and the instance whose random pattern is taken, of each instance."""
        words = philox.words(key, philox.INSTANCE, content_ids(labels, instances), 2)
        row = philox.integers(words[:, 0], 0, self._published() // (COUNTS * FLIPS) - 1)
        flip, pattern = philox.integers(words[:, 1], 0, FLIPS - 1), instances
        published = np.flatnonzero(instances < self._published())
        if published.size:
            chosen = instances[published]
            row[published], flip[published] = chosen // (COUNTS * FLIPS), chosen % FLIPS
            pattern = instances.copy()
            pattern[published] -= chosen % FLIPS
        return row, _MIRRORS.take(flip), pattern

    def _published(self) -> int:
        """Pictures of a class in the released dataset."""
        return len(fractaldb_weights(self.weight_step)) * COUNTS * FLIPS

    def _classes(self) -> _Classes:
        return _classes(self.class_table, self.num_classes, self.canvas_size, (self.weight_step, self.points))


@dataclass(frozen=True)
class _Classes:
    table: IFSTable
    records: np.ndarray  # [C] of POINTS_2D: number of maps, selection table, unweighted maps
    next_drawable: _Int64  # [C, 25] the row itself, or the next drawable one
    low: NDArray[np.float32]  # [25 C, 2] of each class and row: least x and y
    scale: NDArray[np.float32]  # [25 C, 2] pixels by greatest - least, 0 where they are equal


@lru_cache(maxsize=16)
def _classes(path: str | None, num_classes: int, canvas_size: int, weighting: Weighting) -> _Classes:
    table = measured_table(_table(path, num_classes), weighting)
    low, high = np.split(np.asarray(table.boxes).reshape(-1, 4), 2, axis=-1)
    span = high.astype(np.float64) - low
    per_span = np.divide(1.0, span, out=np.zeros_like(span), where=span > 0)
    scale = ((canvas_size - 2 * PADDING) * per_span).astype(np.float32)
    return _Classes(table, class_records(table), next_drawable(table.drawable), np.ascontiguousarray(low), scale)


@lru_cache(maxsize=16)
def _table(path: str | None, num_classes: int) -> IFSTable:
    return fractaldb_table(num_classes) if path is None else load_classes(path, PLANE, num_classes)
