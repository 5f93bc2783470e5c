"""Anderson and Farrell's formulas: systems, jitters and presentation follow the published laws."""

from typing import Any, get_args

import numpy as np
import pytest
import torch

from fdsl_gpu import FDSLDataset, philox
from fdsl_gpu.alias import selection_probabilities
from fdsl_gpu.cpu_kernels.fractal_records import exponential
from fdsl_gpu.formulas import anderson_farrell, contractive_systems
from fdsl_gpu.formulas.anderson_farrell import AndersonFarrell, AndersonFarrellMulti
from fdsl_gpu.formulas.parameter_jitter import Jitter, jittered
from tests.oracles import contractive_systems as oracle

KEY = philox.dataset_key(0, 9)
COUNT = 3000


def sampled(num_maps: tuple[int, int], sigma: tuple[float, float] | None = None) -> contractive_systems.Systems:
    words = philox.words(KEY, philox.CLASS, np.arange(COUNT), contractive_systems.WORDS)
    return contractive_systems.sample(words, num_maps, sigma)


def same_distribution(one: np.ndarray, other: np.ndarray) -> bool:
    """Two-sample Kolmogorov-Smirnov at about 1e-5."""
    one, other = np.sort(one), np.sort(other)
    both = np.concatenate([one, other])
    distance = np.abs(
        np.searchsorted(one, both, side="right") / one.size - np.searchsorted(other, both, side="right") / other.size
    )
    return bool(distance.max() < 2.4 * np.sqrt(1 / one.size + 1 / other.size))


@pytest.mark.parametrize("num_maps", [(2, 2), (2, 4), (2, 7), (8, 8)], ids=str)
def test_singular_values_keep_their_order_and_sum(num_maps: tuple[int, int]) -> None:
    systems = sampled(num_maps)
    s1, s2 = np.moveaxis(systems.singular, -1, 0)
    used = np.arange(8) < systems.num_maps[:, None]
    assert (s2 >= 0).all()
    assert (s1 >= s2).all()
    assert (s1 <= 1).all()
    assert (systems.singular[~used] == 0).all()
    alpha = (s1 + 2 * s2).sum(axis=1)
    words = philox.words(KEY, philox.CLASS, np.arange(COUNT), 2)[:, 1]
    expected = philox.uniforms(words, (5 + systems.num_maps) / 2, (6 + systems.num_maps) / 2)
    assert np.abs(alpha - expected).max() < 1e-13
    assert set(systems.num_maps) == set(range(num_maps[0], num_maps[1] + 1))


def test_maps_have_the_singular_values_of_their_factors() -> None:
    systems = sampled((2, 8))
    maps = systems.maps()
    matrices = maps[..., :4].reshape(COUNT, 8, 2, 2)
    assert np.abs(np.linalg.svd(matrices, compute_uv=False) - systems.singular).max() < 1e-14
    assert np.abs(contractive_systems.largest_singular_values(maps) - systems.singular[..., 0]).max() < 1e-15 * 4
    assert np.abs(contractive_systems.determinants(maps) - np.linalg.det(matrices)).max() < 1e-14


@pytest.mark.parametrize(("n", "sigma"), [(2, None), (3, None), (5, None), (2, (3.4, 3.6))], ids=str)
def test_systems_are_distributed_as_published(n: int, sigma: tuple[float, float] | None) -> None:
    maps = sampled((n, n), sigma).maps()[:, :n]
    rng = np.random.default_rng(n)
    reference = np.array([oracle.system(n, rng, sigma) for _ in range(COUNT)])
    columns = reference.reshape(COUNT, n, 6)[..., [0, 1, 3, 4, 2, 5]]
    for j in (0, n - 1):
        for column in range(6):
            assert same_distribution(maps[:, j, column], columns[:, j, column])
        pairs = np.linalg.svd(reference[:, j, :, :2], compute_uv=False)
        for place in range(2):
            assert same_distribution(sampled((n, n), sigma).singular[:, j, place], pairs[:, place])
        # Reflections: determinants of either sign.
        assert same_distribution(contractive_systems.determinants(maps[:, j]), np.linalg.det(reference[:, j, :, :2]))


def test_fixed_points_stay() -> None:
    maps = sampled((2, 4)).maps()[:, 0]
    points = contractive_systems.fixed_points(maps)
    x, y = points.T
    a, b, c, d, e, f = maps.T
    assert np.abs(a * x + b * y + e - x).max() < 1e-9 * np.abs(points).max()
    assert np.abs(c * x + d * y + f - y).max() < 1e-9 * np.abs(points).max()
    assert (contractive_systems.fixed_points(np.array([[1.0, 0, 0, 1, 0.5, 0.5]])) == 0).all()


@pytest.mark.parametrize("kind", get_args(Jitter))
def test_jitters_are_distributed_as_published(kind: Jitter) -> None:
    """One class, many instances: largest singular values, determinants and translations, map by map."""
    label, n = 3, 3
    systems = sampled((n, n))
    maps = systems.maps()
    words = philox.words(KEY, philox.INSTANCE, np.arange(COUNT), 36 if kind == "fractaldb" else 12)
    changed = jittered(maps, systems, np.full(COUNT, label), words, kind, 2)
    assert (maps == systems.maps()).all()
    assert contractive_systems.largest_singular_values(changed).max() <= 1
    assert (changed[:, n:] == 0).all()
    rng = np.random.default_rng(1)
    original = maps[label, :n, [0, 1, 4, 2, 3, 5]].T.reshape(n, 2, 3)
    reference = np.array([oracle.jitter(kind, original, rng, 2) for _ in range(COUNT)])
    reference = reference.reshape(COUNT, n, 6)[..., [0, 1, 3, 4, 2, 5]]
    for j in range(n):
        for column in range(6):
            assert same_distribution(
                np.round(changed[:, j, column], 9) + 0.0, np.round(reference[:, j, column], 9) + 0.0
            )


@pytest.mark.parametrize("jitter", [*get_args(Jitter), None])
def test_draw_fills_records_within_their_ranges(jitter: Jitter | None) -> None:
    formula = AndersonFarrell(num_classes=100, jitter=jitter)
    labels = np.arange(2000) % 100
    scenes = formula.draw(KEY, labels, np.arange(2000))
    fractal = scenes["fractals"][:, 0]
    assert (scenes["num_fractals"] == 1).all()
    assert scenes["fractals"][:, 1:].tobytes().count(0) == scenes["fractals"][:, 1:].nbytes
    ranges = {
        "shift": (-0.2, 0.2),
        "stretch": (0.5, 2),
        "hue": (0, 255),
        "saturation": (76, 254),
        "value": (127, 254),
        "flips": (0, 7),
        "patch": (0, 511),
    }
    for name, (low, high) in ranges.items():
        values = fractal[name]
        margin = 0.01 * (high - low)
        assert low <= values.min() <= low + margin
        assert high - margin <= values.max() <= high
        assert abs(values.mean() - (low + high) / 2) < 5 * (high - low) / np.sqrt(12 * len(values))
    scene_ranges = {
        "corners": [(0, 1)] * 4,
        "factors": [(63.75, 255), (25.5, 76.5), (76.5, 153)],
        "offsets": [(0, 255), (102, 153), (102, 153)],
    }
    for name, columns in scene_ranges.items():
        for values, (low, high) in zip(scenes[name].T, columns, strict=True):
            assert low <= values.min() < low + 0.01 * (high - low)
            assert high - 0.01 * (high - low) < values.max() <= high
    assert (fractal["side"] == 224).all()
    maps = fractal["maps"].astype(np.float64)
    volumes = np.abs(contractive_systems.determinants(maps))
    for i in range(50):
        n = fractal["num_maps"][i]
        expected = volumes[i, :n] / volumes[i, :n].sum()
        assert np.abs(selection_probabilities(fractal["select"][i, :n]) - expected).max() < 2**-15
        x, y = fractal["start"][i].astype(np.float64)
        a, b, c, d, e, f = maps[i, 0]
        assert abs(a * x + b * y + e - x) + abs(c * x + d * y + f - y) < 1e-4
    if jitter is None:
        assert (maps[:100] == maps[100:200]).all()
    else:
        assert (maps[:100] != maps[100:200]).any(axis=(1, 2)).mean() > 0.5


def test_backgrounds_decay_and_half_of_the_pictures_are_blurred() -> None:
    scenes = AndersonFarrell().draw(KEY, np.arange(1000), np.zeros(1000, np.int64))
    amplitudes = scenes["amplitudes"].astype(np.float64)
    decay = -np.log(amplitudes[:, 1] / amplitudes[:, 0])
    assert (amplitudes[:, 0] == 0.5).all()
    assert 0.4 <= decay.min() < 0.41
    assert 0.79 < decay.max() < 0.8001
    expected = 0.5 * np.exp(decay[:, None] * (1 - np.arange(1, 13)))
    assert np.allclose(amplitudes, expected, rtol=1e-5)
    centre, side = scenes["blur"].astype(np.float64).T
    blurred = side > 0
    assert abs(blurred.mean() - 0.5) < 5 * 0.5 / np.sqrt(1000)
    assert (centre[~blurred] == 1).all()
    assert np.allclose(centre + 2 * side, 1)
    sigma = np.sqrt(-1 / (2 * np.log(side[blurred] / centre[blurred])))
    assert 0.5 <= sigma.min() + 1e-6 < 0.51
    assert 0.99 < sigma.max() < 1 + 1e-6


def test_exponential_is_exact_enough() -> None:
    x = np.linspace(0, 2, 10_001)
    assert np.abs(exponential.py_func(x) / np.exp(-x) - 1).max() < 2e-15


def test_black_and_sharp_pictures_are_options() -> None:
    scenes = AndersonFarrell(background=False, blur=False).draw(KEY, np.arange(50), np.zeros(50, np.int64))
    for name in ("corners", "amplitudes", "factors", "offsets"):
        assert (scenes[name] == 0).all()
    assert (scenes["blur"] == [1, 0]).all()


def test_grey_fractals_have_no_saturation() -> None:
    for formula in (AndersonFarrell(color=False), AndersonFarrellMulti(color=False)):
        scenes = formula.draw(KEY, np.zeros(50, np.int64), np.arange(50))
        fractals = scenes["fractals"][np.arange(5) < scenes["num_fractals"][:, None]]
        assert (fractals["saturation"] == 0).all()
        assert (fractals["value"] == 127).all()


def test_a_picture_depends_on_nothing_but_its_place() -> None:
    labels, instances = np.arange(40) % 7, np.arange(40)
    for formula in (AndersonFarrell(num_classes=7), AndersonFarrellMulti(num_classes=7)):
        whole = formula.draw(KEY, labels, instances)
        for i in (0, 13, 39):
            assert formula.draw(KEY, labels[i : i + 1], instances[i : i + 1]).tobytes() == whole[i].tobytes()


def test_classes_do_not_depend_on_seed_or_size() -> None:
    small, large = AndersonFarrell(num_classes=10), AndersonFarrell(num_classes=1000)
    assert np.array_equal(small.class_parameters(9)["maps"], large.class_parameters(9)["maps"])
    assert np.array_equal(
        AndersonFarrellMulti().class_parameters(9)["maps"], AndersonFarrell().class_parameters(9)["maps"]
    )
    parameters = AndersonFarrell().class_parameters(0)
    alpha = parameters["singular_values"] @ [1, 2]
    n = len(parameters["maps"])
    assert (5 + n) / 2 <= alpha.sum() <= (6 + n) / 2
    assert abs(parameters["probabilities"].sum() - 1) < 1e-12


def test_views_of_one_fractal_differ_in_parameters() -> None:
    labels = np.arange(20)
    one, other = (AndersonFarrell().draw(KEY, labels, labels, view=view)["fractals"][:, 0] for view in (0, 1))
    for name in ("maps", "shift", "hue", "view"):
        assert not np.array_equal(one[name], other[name])


def test_views_of_several_fractals_show_the_same_classes() -> None:
    formula, instances = AndersonFarrellMulti(), np.arange(20)
    one, other = (formula.draw(KEY, 0 * instances, instances, view=view) for view in (0, 1))
    assert np.array_equal(one["num_fractals"], other["num_fractals"])
    for name in ("maps", "sequence_low", "view", "patch"):
        assert np.array_equal(one["fractals"][name], other["fractals"][name])
    for name in ("side", "left", "hue"):
        assert not np.array_equal(one["fractals"][name], other["fractals"][name])
    assert not np.array_equal(one["background_low"], other["background_low"])


def test_several_fractals_lie_where_published() -> None:
    size, count = 224, 4000
    formula = AndersonFarrellMulti()
    scenes = formula.draw(KEY, np.zeros(count, np.int64), np.arange(count))
    shown = np.bincount(scenes["num_fractals"], minlength=6)
    assert (shown[0], len(shown)) == (0, 6)
    assert ((shown[1:] - count / 5) ** 2 / (count / 5)).sum() < 40
    used = np.arange(5) < scenes["num_fractals"][:, None]
    fractals = scenes["fractals"][used]
    side = fractals["side"]
    assert (side.min(), side.max()) == (int(0.15 * size), int(0.6 * size) - 1 + (0.6 * size > int(0.6 * size)))
    for name in ("left", "top"):
        centre = fractals[name] + side // 2
        assert (centre.min(), centre.max()) == (0, size - 1)
        assert abs(centre.mean() - (size - 1) / 2) < 5 * size / np.sqrt(12 * len(centre))
    assert (fractals["stretch"] == 1).all()
    assert (fractals["shift"] == 0).all()
    assert scenes["fractals"][~used].tobytes().strip(b"\0") == b""


def test_items_come_from_a_sliding_pool_and_keep_their_geometry() -> None:
    instances = np.arange(6000)
    counts, items = anderson_farrell._items(KEY, instances)
    number = items - 2**40 - instances[:, None] // 2
    assert (number.min(), number.max()) == (0, 511)
    assert abs(number.mean() - 255.5) < 5 * 512 / np.sqrt(12 * number.size)
    scenes = AndersonFarrellMulti().draw(KEY, np.zeros(6000, np.int64), instances)
    used = np.arange(5) < counts[:, None]
    fractals = scenes["fractals"][used]
    repeats, index = np.unique(items[used], return_index=True)
    assert len(repeats) < len(fractals)
    first = dict(zip(repeats.tolist(), index.tolist(), strict=True))
    for i, item in list(enumerate(items[used].tolist()))[:500]:
        for name in ("maps", "patch", "sequence_low", "sequence_high"):
            assert np.array_equal(fractals[name][i], fractals[name][first[item]])


def test_targets_are_the_classes_shown() -> None:
    dataset = FDSLDataset("anderson-farrell-multi-1k", num_classes=30, image_size=8, device="cpu", points=100)
    formula, instances = dataset.source.formulas[0], np.arange(300)
    targets = dataset.render(instances)[1].numpy()
    assert targets.shape == (300, 30)
    assert targets.dtype == np.float32
    scenes = formula.draw(philox.dataset_key(0, formula.NUMBER), 0 * instances, instances)
    maps = np.stack([formula._classes().fractals["maps"][label] for label in range(30)])
    for i in range(300):
        shown = scenes["fractals"][i, : scenes["num_fractals"][i]]["maps"]
        labels = {int(np.flatnonzero((maps == one).all(axis=(1, 2)))[0]) for one in shown}
        assert set(np.flatnonzero(targets[i]).tolist()) == labels
    assert set(np.unique(targets).tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(
    "options",
    [
        {"min_maps": 1},
        {"max_maps": 9},
        {"min_maps": 4, "max_maps": 3},
        {"jitter": "none"},
        {"jitter_strength": 6},
        {"points": 10},
    ],
    ids=str,
)
def test_bad_options_are_refused(options: dict) -> None:
    with pytest.raises(ValueError, match="allowed"):
        AndersonFarrell(**options)


def test_drawing_tells_the_primitive_its_sizes() -> None:
    sizes = {"points": 100_000, "planes": 3}
    assert AndersonFarrell().drawing() == {"fractal_size": 224, "max_fractals": 1, **sizes}
    assert AndersonFarrellMulti().drawing() == {"fractal_size": 112, "max_fractals": 5, **sizes}


class _ThreePlanes(AndersonFarrell):
    planes = property(lambda self: 3)


class _MultiThreePlanes(AndersonFarrellMulti):
    planes = property(lambda self: 3)


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("background", [False, True])
def test_grey_on_black_is_one_plane(color: bool, background: bool) -> None:
    for formula in (AndersonFarrell, AndersonFarrellMulti):
        assert formula(color=color, background=background).planes == (3 if color or background else 1)


@pytest.mark.parametrize(
    ("formula", "three_planes"), [(AndersonFarrell, _ThreePlanes), (AndersonFarrellMulti, _MultiThreePlanes)]
)
@pytest.mark.parametrize("augment", ["none", "fdsl"])
@pytest.mark.parametrize("channels", [1, 3])
def test_one_plane_is_delivered_as_three_equal_ones_are(
    formula: type, three_planes: type, augment: str, channels: int
) -> None:
    """As long as they are equal: operations that tell the channels apart make three of one."""
    settings: dict[str, Any] = {"augment": augment, "channels": channels, "image_size": 48, "dtype": torch.uint8}
    options = {"color": False, "background": False, "canvas_size": 64, "points": 1000}
    one, three = (
        FDSLDataset(each(**options), 64, device="cpu", normalize=None, **settings) for each in (formula, three_planes)
    )
    images = next(iter(one))[0]
    assert images.any()
    assert torch.equal(images, next(iter(three))[0])
