"""1p-frac: the base, its perturbations, and which of them become classes."""

import numpy as np
import pytest

from fdsl_gpu import philox
from fdsl_gpu.cpu_kernels.ifs_2d import LANES, PATCH, WARMUP, draw_2d
from fdsl_gpu.formulas.one_parameter import NATIVE_CANVAS, OneParameterFrac
from fdsl_gpu.tables import chain_halves

KEY = philox.dataset_key(0, 8)


def parameters(formula: OneParameterFrac, name: str) -> np.ndarray:
    return np.stack([formula.class_parameters(label)[name] for label in range(formula.num_classes)]).astype(np.float64)


def points_of(record: np.void, points: int) -> np.ndarray:
    """The points [points, 2] of a record, slowly: the origin, the first steps of lane 0, then all lanes."""
    halves, maps, n = chain_halves(points), record["maps"], int(record["num_maps"])
    state = np.zeros((LANES, 2), np.float32)
    emitted = [np.zeros((1, 2), np.float32)]
    for step, half in enumerate(halves):
        position = half.astype(np.int64) * n
        entry = record["select"][position >> 16]
        m = maps[np.where((position & 0xFFFF) < entry >> 8, position >> 16, entry & 255)]
        x, y = state.T
        state = np.stack([(m[:, 0] * x + m[:, 1] * y) + m[:, 4], (m[:, 2] * x + m[:, 3] * y) + m[:, 5]], axis=1)
        emitted.append(state[:1] if step < WARMUP else state)
    return np.concatenate(emitted)[:points]


def draw(formula: OneParameterFrac, labels: np.ndarray, key: philox.Key) -> np.ndarray:
    records = formula.draw(key, labels, np.zeros_like(labels))
    size = formula.canvas_size
    planes, palette = np.empty((len(labels), 1, size, size), np.uint8), np.zeros((3, 129), np.uint8)
    draw_2d(records, chain_halves(formula.points), palette, planes, *key, philox.PATTERN, formula.points, PATCH)
    return planes[:, 0]


@pytest.mark.parametrize("maps", [2, 3])
@pytest.mark.parametrize("sigma", [3.5, 4.0])
def test_base_has_the_sigma_factor(sigma: float, maps: int) -> None:
    for base in range(3):
        formula = OneParameterFrac(num_classes=1, sigma=sigma, maps=maps, base=base)
        matrices = formula.class_parameters(0)["base_maps"].astype(np.float64)[:, :4].reshape(-1, 2, 2)
        pairs = np.linalg.svd(matrices, compute_uv=False)
        assert len(pairs) == maps
        assert pairs.max() <= 1 + 1e-6
        assert sigma - 0.1 - 1e-6 <= (pairs @ [1, 2]).sum() <= sigma + 0.1 + 1e-6


def test_factors_are_uniform_and_independent() -> None:
    formula = OneParameterFrac(num_classes=300, delta=0.01, base=1)
    assert formula._classes().attempts.max() == 0
    factors = parameters(formula, "maps") / parameters(formula, "base_maps")
    assert np.abs(factors - 1).max() < 0.01 + 1e-6
    for column in factors.reshape(300, -1).T:
        expected = np.linspace(0.99, 1.01, 300)
        assert np.abs(np.sort(column) - expected).max() < 0.02 * 2.4 / np.sqrt(300)
    correlation = np.corrcoef(factors.reshape(300, -1).T) - np.eye(12)
    assert np.abs(correlation).max() < 5 / np.sqrt(300)


def test_terms_are_half_as_wide() -> None:
    formula = OneParameterFrac(num_classes=100, delta=0.1, perturbation="additive", base=2)
    terms = parameters(formula, "maps") - parameters(formula, "base_maps")
    assert 0.049 < np.abs(terms).max() < 0.05 + 1e-6
    assert np.abs(terms.mean(axis=0)).max() < 0.05


def test_probabilities_are_those_of_the_base() -> None:
    formula = OneParameterFrac(num_classes=20)
    a, b, c, d = formula.class_parameters(0)["base_maps"].astype(np.float64)[:, :4].T
    volumes = np.abs(a * d - b * c)
    for label in range(20):
        assert np.abs(formula.class_parameters(label)["probabilities"] - volumes / volumes.sum()).max() < 2**-15


def test_boxes_hold_the_points() -> None:
    formula = OneParameterFrac(num_classes=6, points=5_000, canvas_size=128)
    for record in formula.draw(KEY, np.arange(6), np.zeros(6, np.int64)):
        points = points_of(record, 5_000)
        cells = (points.astype(np.float64) - record["low"]) * record["scale"] + 6
        assert np.abs(cells.min(axis=0) - 6).max() < 1e-3
        assert np.abs(cells.max(axis=0) - 122).max() < 1e-3


def test_classes_light_more_than_the_threshold() -> None:
    formula = OneParameterFrac(num_classes=40, pixel_threshold=0.1)
    planes = draw(formula, np.arange(40), KEY)
    lit = (planes > 1).mean(axis=(1, 2))
    # The test is of the expectation; a picture of p N lit pixels is off by 5 sd at most.
    assert lit.min() > 0.1 - 5 * np.sqrt(0.1 * 0.5) / NATIVE_CANVAS
    attempts = formula._classes().attempts
    assert attempts.max() > 0
    loose = OneParameterFrac(num_classes=40, pixel_threshold=0.0, base=0)
    assert attempts.mean() >= loose._classes().attempts.mean()


@pytest.mark.parametrize("rendering", ["patch", "fill"])
def test_every_earlier_candidate_failed(rendering: str) -> None:
    """The pictures of all candidates, drawn and counted: class c is its first that passes."""
    from fdsl_gpu.formulas import one_parameter

    formula = OneParameterFrac(num_classes=4, delta=0.3, rendering=rendering)
    classes = formula._classes()
    law = one_parameter._Law(3.5, 0.3, 2, "multiplicative", 0, rendering, 0.05)
    need = 0.05 * 512**2 * (511 / 256 if rendering == "patch" else 1)
    for label, accepted in enumerate(classes.attempts):
        for attempt in range(accepted + 1):
            candidate = one_parameter._perturbed(law, classes.base[None], np.array([label]), attempt)
            points = points_of(candidate[0], 100_000).astype(np.float64)
            sound = np.isfinite(points).all() and np.abs(points).max() < 2.0**32
            covered = 0
            if sound:
                low = points.min(axis=0)
                columns, rows = np.trunc((points - low) * 500 / (points.max(axis=0) - low) + 6).astype(int).T
                canvas = np.zeros((516, 516), np.bool_)
                for down in range(1, 4):
                    for right in range(1, 4):
                        canvas[rows + down, columns + right] = True
                covered = canvas[:512, :512].sum()
            # float32 may move a point to the pixel beside.
            margin = 0.002 * need
            assert (covered > need - margin) if attempt == accepted else (covered < need + margin)


def test_classes_depend_on_their_law_alone() -> None:
    few = OneParameterFrac(num_classes=5)
    for other in (
        OneParameterFrac(num_classes=15),
        OneParameterFrac(num_classes=5, canvas_size=64, points=1000, random_pattern=True),
        OneParameterFrac(num_classes=5, max_attempts=50),
    ):
        for label in range(5):
            assert np.array_equal(few.class_parameters(label)["maps"], other.class_parameters(label)["maps"])
    for other in (OneParameterFrac(num_classes=5, base=1), OneParameterFrac(num_classes=5, delta=0.05)):
        assert not np.array_equal(parameters(few, "maps"), parameters(other, "maps"))


def test_extents_follow_the_canvas() -> None:
    one, two = (OneParameterFrac(num_classes=3, canvas_size=size) for size in (512, 262))
    labels, instances = np.arange(3), np.zeros(3, np.int64)
    assert np.allclose(one.draw(KEY, labels, instances)["scale"], 2 * two.draw(KEY, labels, instances)["scale"])


def test_instances_and_views_differ_in_pattern_alone() -> None:
    formula = OneParameterFrac(num_classes=2)
    first, second = formula.draw(KEY, np.ones(2, np.int64), np.arange(2))
    other_view = formula.draw(KEY, np.ones(1, np.int64), np.zeros(1, np.int64), view=1)[0]
    names = set(formula.RECORD.names or ())
    assert {name for name in names if not np.array_equal(first[name], second[name])} == {"pattern_low"}
    assert {name for name in names if not np.array_equal(first[name], other_view[name])} == {"view"}
    assert (first["mirror"], first["num_maps"]) == (2, 2)


@pytest.mark.parametrize(("random_pattern", "instances"), [(False, 1), (True, None)], ids=str)
def test_one_instance_a_class_unless_patterns_are_random(random_pattern: bool, instances: int | None) -> None:
    assert OneParameterFrac(random_pattern=random_pattern).default_instances == instances


def test_a_search_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no candidate of base 7.* 3 attempts\. Pass another base"):
        OneParameterFrac(num_classes=1, base=7, pixel_threshold=0.9, max_attempts=3).class_parameters(0)
    with pytest.raises(ValueError, match=r"no perturbation of class \d+ .*delta=0.9"):
        OneParameterFrac(num_classes=50, base=2, delta=0.9, max_attempts=2).class_parameters(0)


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"sigma": 6.0}, "sigma"),
        ({"sigma": "3.5"}, "sigma"),
        ({"delta": -0.1}, "delta"),
        ({"delta": float("nan")}, "delta"),
        ({"maps": 9}, "maps"),
        ({"perturbation": "mul"}, "perturbation"),
        ({"rendering": "point"}, "rendering"),
        ({"base": -1}, "base"),
        ({"pixel_threshold": 2}, "pixel_threshold"),
        ({"canvas_size": 12}, "canvas_size"),
    ],
    ids=str,
)
def test_bad_options_are_refused(options: dict, argument: str) -> None:
    with pytest.raises((ValueError, TypeError), match=rf"{argument}: received .* allowed"):
        OneParameterFrac(**options)


def test_fingerprint_leaves_out_how_long_to_search() -> None:
    assert OneParameterFrac(max_attempts=9).fingerprint() == OneParameterFrac().fingerprint()
    assert OneParameterFrac(base=1).fingerprint() != OneParameterFrac().fingerprint()
