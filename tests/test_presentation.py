"""How samples are presented: records against a plain implementation, and their statistics against timm's own."""

import dataclasses
import hashlib
import math
import random
from statistics import NormalDist

import numpy as np
import pytest

from fdsl_gpu import philox
from fdsl_gpu.augment import (
    OPERATIONS,
    RAND_AUGMENT,
    RECIPES,
    RandAugment,
    RandomCrop,
    RandomErasing,
    RandomResizedCrop,
    Recipe,
    WholeCanvas,
)
from fdsl_gpu.cpu_kernels.jit import kernel
from fdsl_gpu.cpu_kernels.presentation import normal, power, rotation
from fdsl_gpu.presentation import draw, log_uniform_table, normal_table
from fdsl_gpu.records import MAX_OPERATIONS, split_id
from fdsl_gpu.tables import cos_sin
from tests.oracles import timm_draws
from tests.oracles.augment_draws import presentation

KEY = philox.dataset_key(3, 1)
AFFINE = OPERATIONS.index("Affine") + 1
ODD = Recipe(
    name="odd",
    crop=RandomResizedCrop(scale=(0.5, 1.0), ratio=(1.5, 2.0)),
    horizontal_flip=0.25,
    vertical_flip=1.0,
    rand_augment=RandAugment(num_operations=4, magnitude=4, magnitude_std=3, probability=0.8, fill=(7, 7, 7)),
    erasing=RandomErasing(probability=0.9, min_count=2, max_count=4, min_area=0.2, max_area=1.0, min_aspect=0.1),
)
TALL = dataclasses.replace(ODD, crop=RandomResizedCrop(scale=(0.9, 1.0), ratio=(0.3, 0.6)), rand_augment=None)
CASES = {**RECIPES, "odd": ODD, "tall": TALL}

GOLDEN = {
    "fdsl": "439358456a2c8d78",
    "ofdb": "26dab2f6b3a89c2a",
    "fractaldb-resnet": "cf000a54f56a5d11",
    "none": "e971c97fb0ac9306",
    "odd": "bacff4ee3650a546",
    "tall": "2afd0e0b6b4fd5e2",
}


def _named(choice: str) -> str:
    """timm's name of a choice."""
    return timm_draws.NAMES[RAND_AUGMENT.index(choice)]


def _expected(choice: str, magnitude: float, negate: bool, size: int) -> tuple[str, tuple]:
    """The name of the record's operation, and what timm's law gives it."""
    kind = choice if choice in OPERATIONS else "Affine"
    return kind, timm_draws.arguments(_named(choice), magnitude, negate, size)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("view", [0, 2])
def test_records_are_timms_laws_on_the_streams_words(name: str, view: int) -> None:
    recipe, ids = CASES[name], np.array([*range(300), 2**32 + 5, 2**56 - 1])
    records = draw(recipe, KEY, ids, 362, 224, 3, view)
    for record, number in zip(records, ids.tolist(), strict=True):
        expected = presentation(recipe, KEY, number, 362, 224, view)
        assert tuple(record[["top", "left", "height", "width"]]) == expected["crop"]
        assert (record["bicubic"], record["flips"]) == (expected["bicubic"], expected["flips"])
        erasures = record["erasures"][: record["num_erasures"]]
        assert [tuple(erasure) for erasure in erasures.tolist()] == expected["erasures"]
        for operation, done in zip(record["operations"], expected["operations"], strict=False):
            if done is None:
                assert operation["kind"] == 0
                continue
            kind, argument = _expected(*done[:3], 224)
            if operation["kind"] == 0:
                assert argument in ((1.0,), (256,), (0,), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
                continue
            assert OPERATIONS[operation["kind"] - 1] == kind
            if kind == "Affine":
                assert np.allclose(operation["matrix"], argument, rtol=1e-4, atol=1e-4)
                assert operation["bicubic"] == done[3]
            elif argument and isinstance(argument[0], float):
                assert math.isclose(operation["factor"], argument[0], rel_tol=1e-4)
            elif argument:
                assert operation["level"] == argument[0]


@pytest.mark.parametrize("size", [224, 97])
def test_levels_are_timms_exactly(size: int) -> None:
    """The same float32 factors and matrices, the same integers, for magnitudes of 0 to 10 and both signs."""
    ids, seen = np.arange(150), set()
    words = philox.words(KEY, philox.PRESENTATION, ids, 4 * (16 + MAX_OPERATIONS)).reshape(len(ids), -1, 4)[:, 16:]
    choices = (words[..., 0] * np.uint64(15)) >> np.uint64(32)
    negates = words[..., 3] >> np.uint64(31)
    for magnitude in [*np.linspace(0, 10, 41).tolist(), 9.3, 0.039, 9.999]:
        augment = RandAugment(num_operations=4, magnitude=magnitude, magnitude_std=0, probability=1)
        operations = draw(Recipe(rand_augment=augment), KEY, ids, 224, size, 3)["operations"]
        law = {}
        for row, slot in np.ndindex(choices.shape):
            choice, negate, operation = int(choices[row, slot]), bool(negates[row, slot]), operations[row, slot]
            if (choice, negate) not in law:
                law[choice, negate] = _expected(RAND_AUGMENT[choice], magnitude, negate, size)
            kind, argument = law[choice, negate]
            if operation["kind"] == 0:
                assert argument in ((1.0,), (256,), (0,), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
                continue
            assert OPERATIONS[operation["kind"] - 1] == kind
            if kind == "Affine":
                # PIL rounds cosines to 15 digits, which may move a float32 by one unit in the last place.
                assert np.allclose(operation["matrix"], argument, rtol=1.2e-7, atol=1e-12)
            elif argument and isinstance(argument[0], float):
                assert operation["factor"] == np.float32(argument[0])
            elif argument:
                assert operation["level"] == argument[0]
            seen.add((choice, negate))
    assert len(seen) == 30


@kernel
def _rotation(matrix, degrees, size):
    rotation(matrix, degrees, size)


@kernel
def _powers(words, table, out):
    for i in range(words.size):
        out[i] = power(words[i], table)


@kernel
def _normals(words, table, out):
    for i in range(words.size):
        out[i] = normal(words[i], table)


@pytest.mark.parametrize("degrees", [0.0, 1e-3, 12.5, 29.99, -30.0, -4.0])
def test_rotation_is_the_tables_cosine(degrees: float) -> None:
    matrix = np.zeros(6)
    _rotation(matrix, degrees, 224)
    cosine, sine = cos_sin(np.array([-degrees / 360]))
    assert np.allclose(matrix[:2], [cosine[0], sine[0]], rtol=0, atol=1e-15)
    assert matrix[3] == -matrix[1]
    assert matrix[4] == matrix[0]


def test_log_uniform_table() -> None:
    words = np.random.default_rng(0).integers(0, 2**32, 5000, dtype=np.uint64)
    for low, high in ((3 / 4, 4 / 3), (0.3, 1 / 0.3), (1.0, 1.0), (0.001, 1000.0)):
        table = log_uniform_table(low, high)
        got = np.empty(words.size)
        _powers(words, table, got)
        assert np.abs(got / (low * (high / low) ** (words * 2.0**-32)) - 1).max() < 2e-14


def test_normal_table() -> None:
    table = normal_table()
    size = np.array([2 * NormalDist().cdf(i / 256) - 1 for i in range(table.size)])
    assert np.abs(table - size)[:-1].max() < 2e-14
    assert (np.diff(table) > 0).all()
    words = np.random.default_rng(0).integers(0, 2**32, 5000, dtype=np.uint64)
    words[:4] = 0, 1, 2**32 - 1, 2**32 - 2
    got = np.empty(words.size)
    _normals(words, table, got)
    place = ((words >> np.uint64(1)).astype(float) + 0.5) * 2.0**-31
    exact = np.array([-NormalDist().inv_cdf((1 - p) / 2) for p in place]) * np.where(words & np.uint64(1), -1, 1)
    assert (np.abs(got - exact) < 4e-6 * (1 + np.abs(exact))).all()


@pytest.mark.parametrize("name", CASES)
def test_a_record_depends_on_its_id_alone(name: str) -> None:
    recipe = CASES[name]
    ids = np.random.default_rng(1).integers(0, 2**56, 257)
    whole = draw(recipe, KEY, ids, 512, 224, 1)
    parts = [draw(recipe, KEY, part, 512, 224, 1) for part in np.split(ids, [1, 64, 200])]
    assert whole.tobytes() == np.concatenate(parts).tobytes()
    assert whole[::-1].tobytes() == draw(recipe, KEY, ids[::-1], 512, 224, 1).tobytes()


def test_keys_and_views_differ() -> None:
    ids, recipe = np.arange(500), RECIPES["fdsl"]
    first = draw(recipe, KEY, ids, 512, 224, 1)
    for other in (draw(recipe, KEY, ids, 512, 224, 1, view=1), draw(recipe, (1, 2), ids, 512, 224, 1)):
        same = (first["top"] == other["top"]) & (first["width"] == other["width"])
        assert same.mean() < 0.02
    assert (draw(recipe, KEY, ids, 512, 224, 1, view=7)["view"] == 7).all()


def test_noise_id_is_the_presentation_id() -> None:
    ids = np.array([0, 2**33 + 1, 2**56 - 1])
    records = draw(RECIPES["none"], KEY, ids, 64, 32, 1)
    low, high = split_id(ids)
    assert np.array_equal(records["noise_low"], low)
    assert np.array_equal(records["noise_high"], high)


@pytest.mark.parametrize("fill", [(124, 116, 104), (9, 9, 9)], ids=["coloured", "grey"])
def test_planes(fill: tuple[int, int, int]) -> None:
    recipe = Recipe(rand_augment=RandAugment(num_operations=4, probability=0.9, fill=fill))
    grey, colour = (draw(recipe, KEY, np.arange(2000), 512, 224, planes) for planes in (1, 3))
    assert (colour["planes"] == 3).all()
    assert (colour["operations"]["planes"] == 3).all()
    coloured = np.logical_or.accumulate(grey["operations"]["kind"] == AFFINE, axis=1) & (len(set(fill)) > 1)
    assert np.array_equal(grey["operations"]["planes"], np.where(coloured, 3, 1))
    assert np.array_equal(grey["planes"], grey["operations"]["planes"][:, -1])
    dull = (colour["operations"]["kind"] == OPERATIONS.index("Color") + 1) & (grey["operations"]["planes"] == 1)
    assert dull.any()
    assert (grey["operations"]["kind"][dull] == 0).all()
    assert np.array_equal(grey["operations"]["kind"][~dull], colour["operations"]["kind"][~dull])


def test_random_crop_keeps_pixels() -> None:
    records = draw(Recipe(crop=RandomCrop()), KEY, np.arange(20_000), 226, 224, 1)
    assert (records["height"] == 224).all()
    assert (records["width"] == 224).all()
    places = np.bincount(records["top"] * 3 + records["left"], minlength=9)
    _assert_chi_square(places, np.full(9, 20_000 / 9), one_sample=True)
    with pytest.raises(ValueError, match="canvas_size: received 200 with RandomCrop"):
        draw(Recipe(crop=RandomCrop()), KEY, [0], 200, 224, 1)


@pytest.mark.parametrize(("interpolation", "share"), [("bilinear", 0), ("bicubic", 1), ("random", 0.5)])
def test_interpolation(interpolation: str, share: float) -> None:
    for crop in (RandomResizedCrop(interpolation=interpolation), WholeCanvas(interpolation=interpolation)):
        recipe = Recipe(crop=crop, rand_augment=RandAugment(interpolation=interpolation))
        records = draw(recipe, KEY, np.arange(50_000), 512, 224, 1)
        assert abs(records["bicubic"].mean() - share) < 0.01
        operations = records["operations"]
        assert abs(operations["bicubic"][operations["kind"] == AFFINE].mean() - share) < 0.02


def test_golden() -> None:
    """Other machines and versions draw these bytes."""
    digests = {
        name: hashlib.sha256(draw(recipe, KEY, np.arange(4096), 512, 224, 1).tobytes()).hexdigest()[:16]
        for name, recipe in CASES.items()
    }
    assert digests == GOLDEN


# Statistics: seeded on both sides, so they pass or fail for good. 100,000 samples each.
SAMPLES = 100_000


def _assert_same_law(ours: np.ndarray, timms: np.ndarray) -> None:
    """Two-sample Kolmogorov-Smirnov at the 0.01 % level, for there are some 45 comparisons; ties make it lenient."""
    ours, timms = np.sort(ours), np.sort(timms)
    both = np.concatenate([ours, timms])
    distance = np.abs(
        np.searchsorted(ours, both, "right") / ours.size - np.searchsorted(timms, both, "right") / timms.size
    ).max()
    assert distance * math.sqrt(ours.size * timms.size / (ours.size + timms.size)) < 2.23


def _assert_chi_square(ours: np.ndarray, timms: np.ndarray, one_sample: bool = False) -> None:
    """Counts of categories by chi-square at the 0.01 % level (Wilson and Hilferty's cube)."""
    spread = timms if one_sample else ours + timms
    filled = spread > 0
    statistic = (np.square(ours - timms)[filled] / spread[filled]).sum()
    freedom = filled.sum() - 1
    limit = freedom * (1 - 2 / (9 * freedom) + 3.72 * math.sqrt(2 / (9 * freedom))) ** 3
    assert statistic < limit


@pytest.mark.parametrize(
    ("scale", "ratio"), [((0.08, 1.0), (3 / 4, 4 / 3)), ((0.6, 1.0), (1.1, 2.5))], ids=["published", "fallback"]
)
def test_crops_are_distributed_as_timms(scale: tuple, ratio: tuple) -> None:
    random.seed(0)
    timms = timm_draws.crops(SAMPLES, 512, scale, ratio).T
    recipe = Recipe(crop=RandomResizedCrop(scale=scale, ratio=ratio))
    records = draw(recipe, KEY, np.arange(SAMPLES), 512, 224, 1)
    ours = np.array([records[name] for name in ("top", "left", "height", "width")])
    for one, other in zip(ours, timms, strict=True):
        _assert_same_law(one, other)
    _assert_same_law(ours[2] * ours[3], timms[2] * timms[3])
    _assert_same_law(ours[3] / ours[2], timms[3] / timms[2])


@pytest.mark.parametrize(("counts", "probability"), [((1, 1), 0.25), ((1, 3), 0.5)], ids=["published", "several"])
def test_erasures_are_distributed_as_timms(counts: tuple[int, int], probability: float) -> None:
    random.seed(1)
    settings = {"probability": probability, "min_count": counts[0], "max_count": counts[1]}
    timms = timm_draws.erasures(SAMPLES, 224, **settings)
    records = draw(Recipe(erasing=RandomErasing(**settings)), KEY, np.arange(SAMPLES), 512, 224, 1)
    number = np.array([len(sample) for sample in timms])
    _assert_chi_square(np.bincount(records["num_erasures"], minlength=5), np.bincount(number, minlength=5))
    theirs = np.array([rectangle for sample in timms for rectangle in sample]).T
    used = np.arange(4) < records["num_erasures"][:, None]
    ours = records["erasures"][used].T
    for one, other in zip(ours, theirs, strict=True):
        _assert_same_law(one, other)
    _assert_same_law(ours[2] * ours[3], theirs[2] * theirs[3])
    _assert_same_law(ours[2] / ours[3], theirs[2] / theirs[3])


def _timms_levels(samples: list) -> dict[str, np.ndarray]:
    levels: dict[str, list[float]] = {name: [] for name in RAND_AUGMENT}
    for sample in samples:
        for name, level, _ in sample:
            choice = RAND_AUGMENT[timm_draws.NAMES.index(name)]
            levels[choice].append(level[0] if level else 0.0)
    return {name: np.array(values) for name, values in levels.items()}


def _our_levels(operations: np.ndarray) -> dict[str, np.ndarray]:
    """Levels by choice, read back from matrices, factors and levels."""
    done = operations[operations["kind"] > 0]
    kinds = {name: done[done["kind"] == index + 1] for index, name in enumerate(OPERATIONS)}
    levels = {name: np.zeros(len(kinds[name])) for name in ("AutoContrast", "Equalize", "Invert")}
    levels |= {name: kinds[name]["level"] for name in ("Posterize", "Solarize", "SolarizeAdd")}
    levels |= {name: kinds[name]["factor"] for name in ("Color", "Contrast", "Brightness", "Sharpness")}
    a, b, c, d, _, f = kinds["Affine"]["matrix"].T.astype(float)
    turned = a != 1
    levels["Rotate"] = np.degrees(np.arcsin(-b[turned]))
    for name, column, factor in (("ShearX", b, 1), ("ShearY", d, 1), ("TranslateX", c, 224), ("TranslateY", f, 224)):
        levels[name] = column[~turned & (column != 0)] / factor
    return levels


def test_operations_are_distributed_as_timms() -> None:
    """Which operations and how many, interpolations, and every operation's signed level."""
    random.seed(2)
    np.random.seed(2)  # noqa: NPY002 (timm draws from it)
    timms = timm_draws.operations(SAMPLES, 224, "rand-m9-mstd0.5-inc1", img_mean=(124, 116, 104))
    recipe = Recipe(rand_augment=RandAugment())
    operations = draw(recipe, KEY, np.arange(SAMPLES), 512, 224, 3)["operations"]
    number = np.array([len(sample) for sample in timms])
    _assert_chi_square(np.bincount((operations["kind"] > 0).sum(axis=1)), np.bincount(number))
    ours, theirs = _our_levels(operations), _timms_levels(timms)
    _assert_chi_square(*(np.array([levels[name].size for name in RAND_AUGMENT]) for levels in (ours, theirs)))
    for name in RAND_AUGMENT:
        if name in ("Posterize", "Solarize", "SolarizeAdd"):
            _assert_chi_square(*(np.bincount(levels[name], minlength=257) for levels in (ours, theirs)))
        else:
            _assert_same_law(ours[name].astype(np.float32), theirs[name].astype(np.float32))
    bicubic = np.array([how == 3 for sample in timms for _, _, how in sample if how is not None])
    affine = operations["bicubic"][operations["kind"] == AFFINE]
    _assert_chi_square(np.bincount(affine), np.bincount(bicubic) * (affine.size / bicubic.size))
    # Slots are drawn independently: all pairs of kinds are as frequent as their product says.
    first, second = operations["kind"][:, 0], operations["kind"][:, 1]
    pairs = np.bincount(first * 12 + second, minlength=144)
    product = np.outer(np.bincount(first, minlength=12), np.bincount(second, minlength=12)).ravel() / SAMPLES
    _assert_chi_square(pairs, product, one_sample=True)


def test_flips_and_erasing_happen_as_often_as_asked() -> None:
    records = draw(RECIPES["ofdb"], KEY, np.arange(SAMPLES), 512, 224, 1)
    _assert_chi_square(np.bincount(records["flips"]), np.full(4, SAMPLES / 4), one_sample=True)
    assert abs((records["num_erasures"] > 0).mean() - 0.5) < 0.01
    never = draw(RECIPES["fdsl"].without("erasing"), KEY, np.arange(1000), 512, 224, 1)
    assert not never["flips"].any()
    assert not never["num_erasures"].any()
