"""Fractals in colour on random backgrounds: Anderson and Farrell, "Improving fractal pre-training", WACV 2022.

A class is one contractive system of affine maps. A picture of one shows the class, its parameters jittered, through a
random window, in random colours on a diamond-square background; a picture of several shows one to five classes as small
objects, and is labelled with all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu import checks, philox
from fdsl_gpu.alias import alias_table
from fdsl_gpu.formulas import contractive_systems as systems
from fdsl_gpu.formulas.base import Formula, content_ids
from fdsl_gpu.formulas.contractive_systems import Systems
from fdsl_gpu.formulas.parameter_jitter import Jitter, jittered
from fdsl_gpu.records import FRACTAL, FRACTAL_SCENE, MAX_FRACTALS, MAX_MAPS, as_words

NATIVE_CANVAS = 224
POOL = 512
"""How many fractals and backgrounds a picture of several fractals is put together from."""

_NUMBER = 9
# Ids of items stand apart from those of pictures, which have label 0.
_FIRST_ITEM = 2**40


@dataclass(frozen=True, kw_only=True)
class _Fractals(Formula):
    """What both kinds of picture share."""

    PRIMITIVE: ClassVar[Literal["fractal_scenes"]] = "fractal_scenes"
    RECORD: ClassVar[np.dtype] = FRACTAL_SCENE

    num_classes: int = 1000
    canvas_size: int = NATIVE_CANVAS
    min_maps: int = 2
    max_maps: int = 4
    points: int = 100_000
    color: bool = True
    background: bool = True
    blur: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("min_maps", self.min_maps, 2, MAX_MAPS)
        checks.integer("max_maps", self.max_maps, self.min_maps, MAX_MAPS)
        checks.integer("points", self.points, 100, 1_000_000)
        for option in ("color", "background", "blur"):
            checks.choice(option, getattr(self, option), (False, True))

    @property
    def planes(self) -> int:
        """3: red, green and blue; 1 of grey fractals on black, where these are equal."""
        return 3 if self.color or self.background else 1

    def _classes(self) -> _Classes:
        return _classes(self.num_classes, self.min_maps, self.max_maps)

    def class_parameters(self, label: int) -> dict[str, Any]:
        """Maps float64 [n, 6] (columns a .. f), their selection probabilities [n] and singular values [n, 2]."""
        classes = self._classes()
        count = int(classes.systems.num_maps[label])
        maps = classes.maps[label, :count]
        volumes = np.abs(systems.determinants(maps))
        return {
            "maps": maps.copy(),
            "probabilities": volumes / np.add.accumulate(volumes)[-1],
            "singular_values": classes.systems.singular[label, :count].copy(),
        }


@dataclass(frozen=True, kw_only=True)
class AndersonFarrell(_Fractals):
    """One fractal a picture, with the settings of the released generator.

    Not as released: there, half of the pictures are those of a cache, moved and flipped once more, to save the cost of
    drawing; here every picture is drawn.

    Attributes:
        num_classes: 1,000 systems, as the released pre-training used.
        canvas_size: native 224; the window, not the canvas, decides what is seen.
        min_maps: least maps of a class; 2 as in the released systems.
        max_maps: most maps of a class; 4 as in the released systems, at most 8.
        points: points a fractal.
        color: False for grey fractals, 127 wherever a point falls; with ``background=False``, on black, the published
            grey mode, in one plane.
        background: a diamond-square background, in colour; False for black.
        blur: blur half of the pictures.
        jitter: how the parameters vary with the instance, each with up to four tries until no singular value exceeds 1:
            "basic" scales one map by U(0.8, 1.1); "svd" turns one map on one side or moves it; "sval" rescales one map
            so that the sigma-factor stays in its range; "fractaldb" scales one random parameter of every map by a
            common factor out of 1 - 2k/10, ..., 1 + 2k/10; None leaves the class as it is.
        jitter_strength: k of "fractaldb", 1 .. 5; the others have none.
    """

    NAME: ClassVar[str] = "anderson_farrell"
    NUMBER: ClassVar[int] = _NUMBER

    jitter: Jitter | None = "basic"
    jitter_strength: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.choice("jitter", self.jitter, ("basic", "svd", "sval", "fractaldb", None))
        checks.integer("jitter_strength", self.jitter_strength, 1, 5)

    @property
    def views(self) -> str:
        """What further views of an instance have of their own."""
        return "parameter jitter, points, window, flips, patch, colours, background and blur"

    def draw(
        self, key: philox.Key, labels: NDArray[np.int64], instances: NDArray[np.int64], view: int = 0
    ) -> np.ndarray:
        """Records ([B] of ``FRACTAL_SCENE``) of labels and instances, both int64 [B], in one of their views."""
        from fdsl_gpu.cpu_kernels.fractal_records import fill_single

        classes = self._classes()
        ids = content_ids(labels, instances)
        words = philox.words(key, philox.INSTANCE, ids, 22 + (36 if self.jitter == "fractaldb" else 12), lane=view)
        maps = jittered(classes.maps, classes.systems, labels, words[:, 22:], self.jitter, self.jitter_strength)
        scenes = np.zeros(labels.size, FRACTAL_SCENE)
        num_maps, settings = classes.systems.num_maps.take(labels), (self.color, self.background, self.blur)
        fill_single(words.T[:22], ids, view, num_maps, maps, self.canvas_size, settings, scenes)
        return scenes

    def drawing(self) -> dict[str, Any]:
        """Keywords of ``render.fractal_scenes.FractalScenes``."""
        return {"points": self.points, "fractal_size": self.canvas_size, "max_fractals": 1, "planes": self.planes}


@dataclass(frozen=True, kw_only=True)
class AndersonFarrellMulti(_Fractals):
    """One to five fractals a picture, of the classes of :class:`AndersonFarrell`, labelled with all of their classes.

    The released generator puts its pictures together from a cache of the last 512 fractals and backgrounds, into which
    every second picture brings a new one. Here items are numbered and picture i takes those of i // 2 .. i // 2 + 511,
    so it depends on nothing but its number. An item fixes the class, its unjittered points and patch, and a background;
    flips, colours, size and place are drawn anew for every fractal of every picture.

    Attributes:
        num_classes: as in :class:`AndersonFarrell`.
        canvas_size: native 224; fractals are drawn at half of it and resized.
        min_maps: least maps of a class.
        max_maps: most maps of a class.
        points: points a fractal.
        color: False for fractals of grey 127; with ``background=False``, in one plane.
        background: diamond-square backgrounds; False for black.
        blur: blur half of the pictures.
    """

    NAME: ClassVar[str] = "anderson_farrell_multi"
    NUMBER: ClassVar[int] = 10
    TARGET: ClassVar[Literal["multi_hot"]] = "multi_hot"

    def __post_init__(self) -> None:
        super().__post_init__()
        # A side of 0.15 canvases must be a pixel, and half a canvas what a fractal can be drawn on.
        checks.integer("canvas_size", self.canvas_size, 16, 4096)

    @property
    def views(self) -> str:
        """What further views of an instance have of their own."""
        return "flips, colours, sizes and places of the same fractals, background and blur"

    def draw(
        self, key: philox.Key, labels: NDArray[np.int64], instances: NDArray[np.int64], view: int = 0
    ) -> np.ndarray:
        """Records ([B] of ``FRACTAL_SCENE``) of instances int64 [B] in one of their views; labels are all 0."""
        from fdsl_gpu.cpu_kernels.fractal_records import fill_several

        counts, items = _items(key, instances)
        words = philox.words(key, philox.INSTANCE, instances, 3 + 7 * MAX_FRACTALS, lane=view + 1)
        skies = _pooled(instances, words[:, 0])
        sky_words = philox.words(key, philox.INSTANCE, skies, 13)
        scenes = np.zeros(labels.size, FRACTAL_SCENE)
        fill_several(
            *(words.T, counts, items.T, _item_words(key, items), as_words(self._classes().fractals), skies),
            *(sky_words.T[2:], self.canvas_size, (self.color, self.background, self.blur), scenes),
        )
        return scenes

    def classes_shown(self, key: philox.Key, instances: NDArray[np.int64]) -> NDArray[np.int64]:
        """Classes int64 [B, 5] of the fractals of instances int64 [B], in all views; the first fills up."""
        counts, items = _items(key, instances)
        words = _item_words(key, items)[:MAX_FRACTALS]
        shown = philox.integers(words, 0, self.num_classes - 1)
        return np.where(np.arange(MAX_FRACTALS)[:, None] < counts, shown, shown[0]).T

    def drawing(self) -> dict[str, Any]:
        """Keywords of ``render.fractal_scenes.FractalScenes``."""
        sizes = {"fractal_size": self.canvas_size // 2, "max_fractals": MAX_FRACTALS}
        return {"points": self.points, **sizes, "planes": self.planes}


def _items(key: philox.Key, instances: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many fractals pictures [B] show, 1 .. 5, and their items [B, 5]; the same in every view."""
    words = philox.words(key, philox.INSTANCE, instances, 1 + MAX_FRACTALS)
    counts = 1 + (words[:, 0].view(np.int64) * MAX_FRACTALS >> 32)
    return counts, _pooled(instances, words.T[1:]).T


def _pooled(instances: NDArray[np.int64], words: philox.Uint64) -> NDArray[np.int64]:
    """Ids of items of the pools of pictures [B], from random words [..., B]."""
    return (instances >> 1) + _FIRST_ITEM + (words.view(np.int64) * POOL >> 32)


def _item_words(key: philox.Key, items: NDArray[np.int64]) -> philox.Uint64:
    """The words [10, B] that decide five classes and five patches, of items [B, 5]."""
    return philox.words(key, philox.INSTANCE, items.T.reshape(-1), 2).T.reshape(2 * MAX_FRACTALS, len(items))


@dataclass(frozen=True)
class _Classes:
    systems: Systems
    maps: NDArray[np.float64]  # [C, 8, 6]
    fractals: np.ndarray  # [C] of FRACTAL: number of maps, selection table, maps, start


@lru_cache(maxsize=16)
def _classes(num_classes: int, min_maps: int, max_maps: int) -> _Classes:
    """The first classes; both formulas have the same, whatever the seed."""
    words = philox.words(philox.dataset_key(0, _NUMBER), philox.CLASS, np.arange(num_classes), systems.WORDS)
    sampled = systems.sample(words, (min_maps, max_maps))
    fractals = np.zeros(num_classes, FRACTAL)
    fractals["num_maps"] = sampled.num_maps
    maps = sampled.maps()
    _set_maps(fractals, maps, sampled.num_maps)
    return _Classes(sampled, maps, fractals)


def _set_maps(fractals: np.ndarray, maps: NDArray[np.float64], num_maps: NDArray[np.int64]) -> None:
    """Maps float64 [B, 8, 6], with probabilities in proportion to their determinants, from the fixed point of map 0."""
    fractals["maps"] = maps
    fractals["select"] = alias_table(np.abs(systems.determinants(maps)), num_maps)
    fractals["start"] = systems.fixed_points(maps[:, 0])
