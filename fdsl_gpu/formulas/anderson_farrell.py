"""Fractals in colour on random backgrounds: Anderson and Farrell, "Improving fractal pre-training", WACV 2022.

A class is one contractive system of affine maps. A picture of one shows the class, its parameters jittered, through a
random window, in random colours on a diamond-square background; a picture of several shows one to five classes as small
objects, and is labelled with all of them.
"""

from __future__ import annotations

import math
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
from fdsl_gpu.records import BACKGROUND_LEVELS, FRACTAL, FRACTAL_SCENE, MAX_FRACTALS, MAX_MAPS, split_id

NATIVE_CANVAS = 224
POOL = 512
"""How many fractals and backgrounds a picture of several fractals is put together from."""

_NUMBER = 9
_GREY = 127

# Ranges of the words of a background and its blur: corners, decay, then factor and offset of hue, saturation and value.
_BACKGROUND = np.array(
    [(0, 1)] * 4
    + [(0.4, 0.8)]
    + [(0.25 * 255, 255), (0.1 * 255, 0.3 * 255), (0.3 * 255, 0.6 * 255)]
    + [(0, 255), (0.4 * 255, 0.6 * 255), (0.4 * 255, 0.6 * 255)]
).T
# Taylor coefficients 1 / n! of the exponential.
_EXPONENTIAL = tuple(1 / math.factorial(n) for n in range(16))
# Of the colour of a fractal: hue, saturation, value.
_COLOUR = np.array([(0, 255), (0.3 * 255, 255), (0.5 * 255, 255)]).T
# Of its window: shift and stretch along x and y.
_WINDOW = np.array([(-0.2, 0.2)] * 2 + [(0.5, 2.0)] * 2).T


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
        """3: red, green and blue."""
        return 3

    def _classes(self) -> _Classes:
        return _classes(self.num_classes, self.min_maps, self.max_maps)

    def _set_colours(self, fractals: np.ndarray, words: philox.Uint64) -> None:
        """One colour a fractal from three words each; without saturation every density has the same one."""
        if not self.color:
            fractals["value"] = _GREY
            return
        colours = philox.uniforms(words, *_COLOUR)
        fractals["hue"] = colours[..., 0]
        fractals["saturation"], fractals["value"] = np.floor(colours[..., 1]), np.floor(colours[..., 2])

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
            grey mode. Pictures have three equal planes then.
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
        classes = self._classes()
        ids = content_ids(labels, instances)
        words = philox.words(key, philox.INSTANCE, ids, 22 + (36 if self.jitter == "fractaldb" else 12), lane=view)
        fractals = classes.fractals[labels]
        if self.jitter is not None:
            of = classes.systems.rows(labels)
            maps = jittered(classes.maps[labels], of, words[:, 22:], self.jitter, self.jitter_strength)
            _set_maps(fractals, maps, of.num_maps)
        fractals["sequence_low"], fractals["sequence_high"] = split_id(ids)
        fractals["view"] = view
        window = philox.uniforms(words[:, 13:17], *_WINDOW)
        fractals["shift"], fractals["stretch"] = window[:, :2], window[:, 2:]
        self._set_colours(fractals, words[:, 17:20])
        fractals["flips"] = philox.integers(words[:, 20], 0, 7)
        fractals["patch"] = philox.integers(words[:, 21], 0, 511)
        fractals["side"] = self.canvas_size
        scenes = np.zeros(labels.size, FRACTAL_SCENE)
        scenes["num_fractals"] = 1
        scenes["fractals"][:, 0] = fractals
        if self.background:
            _set_backgrounds(scenes, words[:, :11], ids, view)
        _set_blurs(scenes, words[:, 11:13], self.blur)
        return scenes

    def drawing(self) -> dict[str, Any]:
        """Keywords of ``render.fractal_scenes.FractalScenes``."""
        return {"points": self.points, "fractal_size": self.canvas_size, "max_fractals": 1}


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
        color: False for fractals of grey 127.
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
        size = self.canvas_size
        counts, items = _items(key, instances)
        words = philox.words(key, philox.INSTANCE, instances, 3 + 7 * MAX_FRACTALS, lane=view + 1)
        each = words[:, 3:].reshape(-1, MAX_FRACTALS, 7)
        classes, patches = self._contents(key, items)
        fractals = self._classes().fractals[classes]
        fractals["sequence_low"], fractals["sequence_high"] = split_id(items)
        fractals["patch"] = patches
        fractals["stretch"] = 1.0
        self._set_colours(fractals, each[..., :3])
        fractals["flips"] = philox.integers(each[..., 3], 0, 7)
        side = (philox.uniforms(each[..., 4], 0.15, 0.6) * size).astype(np.int64)
        fractals["side"] = side
        fractals["left"], fractals["top"] = (
            philox.integers(each[..., axis], -(side // 2), size - 1 - side // 2) for axis in (5, 6)
        )
        scenes = np.zeros(labels.size, FRACTAL_SCENE)
        scenes["num_fractals"] = counts
        scenes["fractals"] = fractals
        scenes["fractals"][np.arange(MAX_FRACTALS) >= counts[:, None]] = 0
        if self.background:
            ids = _item_ids(instances // 2 + philox.integers(words[:, 0], 0, POOL - 1))
            _set_backgrounds(scenes, philox.words(key, philox.INSTANCE, ids, 13)[:, 2:], ids, 0)
        _set_blurs(scenes, words[:, 1:3], self.blur)
        return scenes

    def targets(self, key: philox.Key, instances: NDArray[np.int64]) -> NDArray[np.float32]:
        """Multi-hot targets float32 [B, num_classes] of instances int64 [B]: the classes of all views."""
        counts, items = _items(key, instances)
        row, place = np.nonzero(np.arange(MAX_FRACTALS) < counts[:, None])
        targets = np.zeros((instances.size, self.num_classes), np.float32)
        targets[row, self._contents(key, items)[0][row, place]] = 1.0
        return targets

    def drawing(self) -> dict[str, Any]:
        """Keywords of ``render.fractal_scenes.FractalScenes``."""
        return {"points": self.points, "fractal_size": self.canvas_size // 2, "max_fractals": MAX_FRACTALS}

    def _contents(self, key: philox.Key, items: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Classes and patches of items, each of their shape."""
        words = philox.words(key, philox.INSTANCE, items.reshape(-1), 2).reshape(*items.shape, 2)
        return philox.integers(words[..., 0], 0, self.num_classes - 1), philox.integers(words[..., 1], 0, 511)


def _items(key: philox.Key, instances: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many fractals pictures [B] show, 1 .. 5, and their items [B, 5]; the same in every view."""
    words = philox.words(key, philox.INSTANCE, instances, 1 + MAX_FRACTALS)
    items = instances[:, None] // 2 + philox.integers(words[:, 1:], 0, POOL - 1)
    return philox.integers(words[:, 0], 1, MAX_FRACTALS), _item_ids(items)


def _item_ids(items: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ids of items, apart from those of pictures, which have label 0."""
    return content_ids(np.ones_like(items), items)


@dataclass(frozen=True)
class _Classes:
    systems: Systems
    maps: NDArray[np.float64]  # [C, 8, 6]
    fractals: np.ndarray  # [C] of FRACTAL: number of maps, selection table, maps, start


@lru_cache(maxsize=4)
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


def _set_backgrounds(scenes: np.ndarray, words: philox.Uint64, ids: NDArray[np.int64], view: int) -> None:
    """Diamond-square backgrounds from eleven words each; level k adds up to exp(decay (1 - k)) / 2 either way."""
    values = philox.uniforms(words, *_BACKGROUND)
    scenes["background_low"], scenes["background_high"] = split_id(ids)
    scenes["view"] = view
    scenes["corners"] = values[:, :4]
    amplitudes = np.repeat(exponential(values[:, 4:5]), BACKGROUND_LEVELS, axis=1)
    amplitudes[:, 0] = 0.5
    scenes["amplitudes"] = np.multiply.accumulate(amplitudes, axis=1)
    scenes["factors"], scenes["offsets"] = values[:, 5:8], values[:, 8:]


def _set_blurs(scenes: np.ndarray, words: philox.Uint64, blur: bool) -> None:
    """Half of the pictures get a 3x3 Gaussian of sigma U(0.5, 1); its weights along an axis are centre and side."""
    scenes["blur"] = (1.0, 0.0)
    if not blur:
        return
    sigma = philox.uniforms(words[:, 1], 0.5, 1.0)
    side = exponential(1 / (2 * sigma * sigma))
    total = 1 + 2 * side
    blurred = words[:, 0] >= 2**31
    scenes["blur"][blurred] = np.stack([1 / total, side / total], axis=1)[blurred]


def exponential(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """exp(-x) for x in [0, 2], within 1e-15 of it, the same on every machine: Taylor's series at x / 4, squared twice.

    The first term left out is below 1 / (2**16 16!) = 7e-19.
    """
    y = x * -0.25
    total = np.full_like(y, _EXPONENTIAL[-1])
    for coefficient in _EXPONENTIAL[-2::-1]:
        total *= y
        total += coefficient
    total *= total
    return total * total
