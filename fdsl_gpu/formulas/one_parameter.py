"""1p-frac: one fractal, and as classes its small perturbations.

Nakamura et al., "Scaling backwards: minimal synthetic pre-training?", ECCV 2024. A base system of affine maps is
sampled by its sigma-factor; class c is the base with every parameter perturbed a little, and has one picture.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu import checks, philox
from fdsl_gpu.alias import alias_table, selection_probabilities
from fdsl_gpu.formulas import contractive_systems as systems
from fdsl_gpu.formulas.base import Formula, content_ids
from fdsl_gpu.records import MAX_MAPS, POINTS_2D, split_id
from fdsl_gpu.tables import chain_halves

NATIVE_CANVAS = 512
NATIVE_POINTS = 100_000

Perturbation: TypeAlias = Literal["multiplicative", "additive"]
Rendering: TypeAlias = Literal["patch", "fill"]

_PADDING = 6
_SIGMA_MARGIN = 0.1
# Top and bottom of the raster change places, as the released renderer saves it.
_MIRROR = 2
_LIMIT = 2.0**32
# Lanes of the random words of candidates, whose ids are class << 40 | base << 24 | attempt.
_PERTURBATION_LANE, _BASE_LANE = 0, 1
_MAX_ATTEMPTS = 2**24
_CHUNK = 16


@dataclass(frozen=True, kw_only=True)
class OneParameterFrac(Formula):
    """Perturbations of one fractal, drawn as FractalDB's patches.

    Kept as released: the maps keep the probabilities of the base; all classes share one random sequence, whose first
    point is the origin; a picture with too few lit pixels is not a class, and another perturbation is drawn.

    What is lit is random, so that here its expectation counts, 256 / 511 of the covered pixels (all of them for
    "fill"), at the native canvas and points: classes depend on neither seed nor size. A perturbation that runs away is
    no class either. The released code draws its base without a seed and searches forever if that is too thin; base b
    here is the first of its own candidates that lights twice the threshold, so that most perturbations pass.

    Attributes:
        num_classes: 1,000 perturbations are published, and 21,000 in the paper.
        canvas_size: native 512.
        points: points a picture, the origin among them.
        sigma: sigma-factor of the base, give or take 0.1. 3.5 is the best of the released README; the released
            generating script has 4.0.
        delta: strength of the perturbation.
        maps: maps of the base.
        perturbation: "multiplicative", by factors U(1 - delta, 1 + delta), as the released code does; or "additive", by
            terms U(-delta / 2, delta / 2), as the paper is said to.
        base: which base.
        rendering: "patch" lights each covered pixel or not, at random; "fill" lights them all.
        pixel_threshold: share of the canvas that must be lit.
        max_attempts: perturbations, and bases, to try before giving up with an error.
        random_pattern: endless instances with a pattern of their own each, instead of one instance a class.
    """

    NAME: ClassVar[str] = "one_parameter"
    NUMBER: ClassVar[int] = 8
    PRIMITIVE: ClassVar[Literal["points_2d"]] = "points_2d"
    RECORD: ClassVar[np.dtype] = POINTS_2D

    num_classes: int = 1000
    canvas_size: int = NATIVE_CANVAS
    points: int = NATIVE_POINTS
    sigma: float = 3.5
    delta: float = 0.1
    maps: int = 2
    perturbation: Perturbation = "multiplicative"
    base: int = 0
    rendering: Rendering = "patch"
    pixel_threshold: float = 0.05
    max_attempts: int = 1000
    random_pattern: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        # Padding takes six pixels on each side.
        checks.integer("canvas_size", self.canvas_size, 16)
        checks.integer("points", self.points, 100, 10_000_000)
        checks.integer("maps", self.maps, 2, MAX_MAPS)
        checks.real("sigma", self.sigma, 0.2, 3 * self.maps - 0.2)
        checks.real("delta", self.delta, 0, 1)
        checks.choice("perturbation", self.perturbation, ("multiplicative", "additive"))
        checks.integer("base", self.base, 0, 2**16 - 1)
        checks.choice("rendering", self.rendering, ("patch", "fill"))
        checks.real("pixel_threshold", self.pixel_threshold, 0, 1)
        checks.integer("max_attempts", self.max_attempts, 1, _MAX_ATTEMPTS)
        checks.choice("random_pattern", self.random_pattern, (False, True))

    @property
    def views(self) -> str:
        """Further views of a class have patterns of their own, if it has a pattern."""
        return "the random pattern of lit pixels" if self.rendering == "patch" else ""

    @property
    def distinct_pictures(self) -> int | None:
        """1 without random patterns."""
        return None if self.rendering == "patch" else 1

    @property
    def default_instances(self) -> int | None:
        """1: one picture a class; None, endless, with random patterns."""
        return None if self.random_pattern else 1

    def draw(
        self, key: philox.Key, labels: NDArray[np.int64], instances: NDArray[np.int64], view: int = 0
    ) -> np.ndarray:
        """Records ([B] of ``POINTS_2D``) of labels and instances, both int64 [B], in one of their views."""
        classes = self._classes()
        records = classes.records[labels]
        records["pattern_low"], records["pattern_high"] = split_id(content_ids(labels, instances))
        records["view"] = view
        records["scale"] = (self.canvas_size - 2 * _PADDING) / classes.extents[labels]
        return records

    def drawing(self) -> dict[str, Any]:
        """Keywords of ``render.points_2d.Points2D``."""
        return {"points": self.points, "rendering": self.rendering}

    def class_parameters(self, label: int) -> dict[str, Any]:
        """Maps float32 [n, 6] (columns a .. f), those of the base, probabilities [n], and the accepted attempt."""
        classes = self._classes()
        record = classes.records[label]
        return {
            "maps": record["maps"][: self.maps].copy(),
            "base_maps": classes.base["maps"][: self.maps].copy(),
            "probabilities": selection_probabilities(record["select"][: self.maps]),
            "attempt": int(classes.attempts[label]),
        }

    def fingerprint(self) -> dict[str, Any]:
        """Everything about this configuration that decides pixels, JSON-able."""
        identity = super().fingerprint()
        del identity["max_attempts"]
        return identity

    def _classes(self) -> _Classes:
        law = _Law(
            float(self.sigma),
            float(self.delta),
            self.maps,
            self.perturbation,
            self.base,
            self.rendering,
            float(self.pixel_threshold),
        )
        return _classes(law, self.num_classes, self.points, self.max_attempts)


class _Law(NamedTuple):
    """What decides the classes."""

    sigma: float
    delta: float
    maps: int
    perturbation: Perturbation
    base: int
    rendering: Rendering
    pixel_threshold: float


class _Classes(NamedTuple):
    base: np.ndarray  # one of POINTS_2D
    records: np.ndarray  # [C] of POINTS_2D, without pattern and scale
    extents: NDArray[np.float64]  # [C, 2], width and height of the points
    attempts: NDArray[np.int64]  # [C], which candidate was accepted, from 0


@lru_cache(maxsize=16)
def _classes(law: _Law, num_classes: int, points: int, max_attempts: int) -> _Classes:
    """The first classes of a law: of each class the first candidate that passes."""
    base = _base(law, max_attempts)
    records, attempts = np.repeat(base, num_classes), np.zeros(num_classes, np.int64)
    waiting = np.arange(num_classes)
    for attempt in range(max_attempts):
        candidates = _perturbed(law, base, waiting, attempt)
        passed = _passes(law, candidates)
        records[waiting[passed]], attempts[waiting[passed]] = candidates[passed], attempt
        waiting = waiting[~passed]
        if not waiting.size:
            break
    else:
        raise _too_thin(law, f"no perturbation of class {waiting[0]}", max_attempts)
    boxes = _boxes(records, points)
    records["low"] = boxes[:, :2]
    return _Classes(base[0], records, boxes[:, 2:] - boxes[:, :2], attempts)


@lru_cache(maxsize=16)
def _base(law: _Law, max_attempts: int) -> np.ndarray:
    """The base, [1] of ``POINTS_2D``."""
    sigma = law.sigma - _SIGMA_MARGIN, law.sigma + _SIGMA_MARGIN
    record = np.zeros(1, POINTS_2D)
    record["num_maps"], record["mirror"] = law.maps, _MIRROR
    for attempt in range(max_attempts):
        words = _words(law, np.zeros(1, np.int64), attempt, systems.WORDS, _BASE_LANE)
        maps = systems.sample(words, (law.maps, law.maps), sigma).maps()
        record["maps"] = maps
        record["select"] = alias_table(np.abs(systems.determinants(maps)), law.maps)
        if _passes(law, record, times=2)[0]:
            return record
    raise _too_thin(law, f"no candidate of base {law.base}, of which twice as much is asked,", max_attempts)


def _perturbed(law: _Law, base: np.ndarray, labels: NDArray[np.int64], attempt: int) -> np.ndarray:
    """Candidates of classes int64 [N]: the base with other maps."""
    words = _words(law, labels, attempt, 6 * law.maps, _PERTURBATION_LANE).reshape(-1, law.maps, 6)
    records = np.repeat(base, len(labels))
    maps = records["maps"][:, : law.maps].astype(np.float64)
    if law.perturbation == "multiplicative":
        maps *= philox.uniforms(words, 1 - law.delta, 1 + law.delta)
    else:
        maps += philox.uniforms(words, -law.delta / 2, law.delta / 2)
    records["maps"][:, : law.maps] = maps
    return records


def _words(law: _Law, labels: NDArray[np.int64], attempt: int, count: int, lane: int) -> philox.Uint64:
    ids = labels << 40 | law.base << 24 | attempt
    return philox.words(philox.dataset_key(0, OneParameterFrac.NUMBER), philox.CLASS, ids, count, lane)


def _passes(law: _Law, records: np.ndarray, times: int = 1) -> NDArray[np.bool_]:
    """Which records stay within bounds and are expected to light more pixels than so many thresholds, bool [N]."""
    lit = 1.0 if law.rendering == "fill" else 256 / 511
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        chunks = [records[first : first + _CHUNK] for first in range(0, len(records), _CHUNK)]
        covered = np.concatenate(list(pool.map(_covered, chunks)))
    return covered * lit > times * law.pixel_threshold * NATIVE_CANVAS**2


def _covered(records: np.ndarray) -> NDArray[np.int64]:
    """Pixels of the native canvas that the patches of records [N] cover; -1 where the points run away."""
    from fdsl_gpu.cpu_kernels.ifs_2d import FILL, draw_2d

    boxes = _boxes(records, NATIVE_POINTS)
    extents = boxes[:, 2:] - boxes[:, :2]
    sound = np.all(np.abs(boxes) <= _LIMIT, axis=1) & np.all(extents > 0, axis=1)
    records = records[sound]
    records["low"], records["scale"] = boxes[sound, :2], (NATIVE_CANVAS - 2 * _PADDING) / extents[sound]
    planes = np.empty((len(records), 1, NATIVE_CANVAS, NATIVE_CANVAS), np.uint8)
    halves, palette = chain_halves(NATIVE_POINTS), np.zeros((3, 129), np.uint8)
    draw_2d(records, halves, palette, planes, 0, 0, philox.PATTERN, NATIVE_POINTS, FILL)
    covered = np.full(len(sound), -1)
    covered[sound] = [np.count_nonzero(plane) for plane in planes]
    return covered


def _boxes(records: np.ndarray, points: int) -> NDArray[np.float64]:
    """Least x and y, then greatest x and y of the points of records [N], as float64 [N, 4]."""
    from fdsl_gpu.cpu_kernels.ifs_2d import measure_2d

    boxes = np.empty((len(records), 4), np.float32)
    measure_2d(records, chain_halves(points), points, boxes)
    return boxes.astype(np.float64)


def _too_thin(law: _Law, what: str, attempts: int) -> ValueError:
    return ValueError(
        f"max_attempts: {what} of the 1p-frac with sigma={law.sigma}, delta={law.delta} and {law.maps} maps stays "
        f"within bounds and lights more than pixel_threshold={law.pixel_threshold} of the picture in {attempts} "
        "attempts. Pass another base, a lower pixel_threshold, a smaller delta, or more max_attempts."
    )
