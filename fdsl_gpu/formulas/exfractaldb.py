"""ExFractalDB: 3-D fractals seen from anywhere (Kataoka et al., CVPR 2022), and the released MV-FractalDB camera ring.

A class is a system of 2 to 7 affine maps in space; an instance multiplies the maps by one of 145 weight rows, runs
them with a random sequence of its own, and looks at the cloud of points through a perspective camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu import checks, philox
from fdsl_gpu.class_tables import IFSTable, exfractaldb_table, load_classes
from fdsl_gpu.class_tables.class_records import class_records, next_drawable, probabilities, weighted_records
from fdsl_gpu.class_tables.table import EXFRACTALDB, SPACE
from fdsl_gpu.formulas.base import Formula, content_ids
from fdsl_gpu.formulas.ifs_weights import repeated_weights, weights_table
from fdsl_gpu.records import POINTS_3D, split_id

NATIVE_CANVAS = 224
RING_VIEWS = 12

_FOCAL = 2.414213562373095  # 1 / tan(22.5 degrees)
_DISTANCE = 4.0


@dataclass(frozen=True, kw_only=True)
class ExFractalDB(Formula):
    """3-D fractals with the settings of the released generator, seen from a uniformly random rotation.

    The paper selects the viewpoint at random but the released code has no such law, only a ring of 12 nearly fixed
    views (that dataset is MV-FractalDB); so the default here is a rotation uniform on SO(3), and the ring an option.
    Kept as released: 9,999 points; the centre is a sum over them divided by 10,000; row 108 of the weights repeats
    0.6 where 1.6 was meant; rows are stored bottom first, so +y points down.

    A weight row under which a class runs away (``IFSTable.drawable``) is replaced by the next one that does not.
    Further views of an instance show the same cloud from elsewhere.

    Attributes:
        num_classes: 1,000 ship with the library; more are searched once and cached.
        canvas_size: native 224.
        viewpoint: "uniform" draws weight row and rotation for each instance; "ring" is the published numbering,
            instance = 12 * row + view with views 30 degrees apart (jitter +-pi degrees as released), 12 views of one
            cloud; instances beyond 145 * 12 draw row and view, and a cloud of their own.
        points: points an image; 9,999 as released.
        upright: store rows top first.
        class_table: path of a class table (.safetensors), or of a folder of the original's class files (CSV); None for
            the library's own.
    """

    NAME: ClassVar[str] = "exfractaldb"
    NUMBER: ClassVar[int] = EXFRACTALDB
    PRIMITIVE: ClassVar[Literal["points_3d"]] = "points_3d"
    RECORD: ClassVar[np.dtype] = POINTS_3D

    num_classes: int = 1000
    canvas_size: int = NATIVE_CANVAS
    viewpoint: Literal["uniform", "ring"] = "uniform"
    points: int = 9_999
    upright: bool = False
    class_table: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.choice("viewpoint", self.viewpoint, ("uniform", "ring"))
        checks.integer("points", self.points, 100, 10_000_000)
        checks.choice("upright", self.upright, (False, True))
        if self.class_table is not None:
            # A bad file is refused here, not in the middle of a run.
            _classes(self.class_table, self.num_classes)

    @property
    def views(self) -> str:
        """Further views of an instance have cameras of their own."""
        return "the camera"

    def draw(
        self, key: philox.Key, labels: NDArray[np.int64], instances: NDArray[np.int64], view: int = 0
    ) -> np.ndarray:
        """Records ([B] of ``POINTS_3D``) of labels and instances, both int64 [B]."""
        classes = _classes(self.class_table, self.num_classes)
        ids = content_ids(labels, instances)
        row, sequence = self._clouds(key, ids, labels, instances)
        row = classes.next_drawable[labels, row]
        records = weighted_records(classes.records, labels, repeated_weights(), row)
        records["sequence_low"], records["sequence_high"] = split_id(sequence)
        self._fill_cameras(key, ids, instances, view, records["camera"])
        return records

    def drawing(self) -> dict[str, Any]:
        """Keywords of ``render.points.Points3D``."""
        return {"points": self.points, "upright": self.upright}

    def class_parameters(self, label: int) -> dict[str, Any]:
        """Maps float32 [n, 12] (columns a .. l), probabilities [n], and which of the 145 weight rows are drawable."""
        table = _classes(self.class_table, self.num_classes).table
        maps = table.class_maps(label)
        return {"maps": maps, "probabilities": probabilities(maps[None])[0], "drawable": table.drawable[label]}

    def fingerprint(self) -> dict[str, Any]:
        """Everything about this configuration that decides pixels, JSON-able."""
        identity = super().fingerprint()
        if self.class_table is not None:
            identity["class_table"] = _classes(self.class_table, self.num_classes).table.digest()
        return identity

    def _clouds(
        self, key: philox.Key, ids: NDArray[np.int64], labels: NDArray[np.int64], instances: NDArray[np.int64]
    ) -> tuple[Any, NDArray[np.int64]]:
        """Weight row of each picture, and the id of its random sequence."""
        row = philox.integers(philox.words(key, philox.INSTANCE, ids, 1)[:, 0], 0, len(weights_table()) - 1)
        if self.viewpoint == "uniform":
            return row, ids
        published = instances < self._published()
        row = np.where(published, instances // RING_VIEWS, row)
        return row, np.where(published, content_ids(labels, row), ids)

    def _fill_cameras(
        self,
        key: philox.Key,
        ids: NDArray[np.int64],
        instances: NDArray[np.int64],
        view: int,
        cameras: NDArray[np.float32],
    ) -> None:
        """Fill cameras [B, 3, 3]: uniform on SO(3), or on the ring at 30 (place + 1) degrees, give or take 3.14."""
        from fdsl_gpu.cpu_kernels.camera import ring_cameras, uniform_cameras

        if self.viewpoint == "uniform":
            uniform_cameras(*key, philox.VIEW, view, ids.view(np.uint64), cameras)
            return
        words = philox.words(key, philox.VIEW, ids, 2, lane=view)
        place = philox.integers(words[:, 1], 0, RING_VIEWS - 1)
        if view == 0:
            place = np.where(instances < self._published(), instances % RING_VIEWS, place)
        ring_cameras(place, words[:, 0], RING_VIEWS, 3.141592653589793 / 360, cameras)

    def _published(self) -> int:
        """Pictures of a class in the released dataset, in order of their numbers on the ring."""
        return len(weights_table()) * RING_VIEWS


@dataclass(frozen=True)
class _Classes:
    table: IFSTable
    records: np.ndarray  # [C] of POINTS_3D: number of maps, selection table, unweighted maps, lens
    next_drawable: NDArray[np.int64]  # [C, 145] the row itself, or the next drawable one


@lru_cache(maxsize=16)
def _classes(path: str | None, num_classes: int) -> _Classes:
    table = exfractaldb_table(num_classes) if path is None else load_classes(path, SPACE, num_classes)
    records = class_records(table)
    records["focal"], records["distance"] = _FOCAL, _DISTANCE
    return _Classes(table, records, next_drawable(table.drawable))
