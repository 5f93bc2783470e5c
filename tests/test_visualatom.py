"""VisualAtom: classes and instances follow the published law, and the drawn vertices its recurrence."""

import math

import numpy as np
import pytest
import torch

from fdsl_gpu.formulas.visualatom import VisualAtom, class_table
from fdsl_gpu.philox import dataset_key
from fdsl_gpu.records import as_words
from fdsl_gpu.render.contours import Contours
from tests.oracles import contours as oracle

KEY = dataset_key(7, VisualAtom.NUMBER)
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("parameters", "ranges"),
    [
        ("script", {"coefficient": (0, 4), "line_width": (0, 0.1), "radius": (10, 60)}),
        ("argparse", {"coefficient": (2, 6), "line_width": (0, 0.01), "radius": (0, 50)}),
    ],
)
def test_class_parameters_fill_their_ranges(parameters: str, ranges: dict[str, tuple[float, float]]) -> None:
    table = class_table(20_000, parameters)  # type: ignore[arg-type]
    ranges = {**ranges, "vertices": (200, 1000), "lines": (1, 200), "frequency_1": (0, 20), "frequency_2": (0, 20)}
    ranges |= {"oval_x": (1, 2), "oval_y": (1, 2), "center_x": (0, 512), "center_y": (0, 512)}
    for name, (low, high) in ranges.items():
        values = table[name]
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
        # A uniform integer in 0 .. n has the variance n (n + 2) / 12.
        sd = (high - low + (2 if name.startswith("frequency") else 1)) / np.sqrt(12)
        assert abs(values.mean() - (low + high) / 2) < 5 * sd / np.sqrt(len(values))


def test_second_frequency_differs_from_the_first_unless_that_is_zero() -> None:
    table = class_table(20_000)
    first, second = table["frequency_1"], table["frequency_2"]
    observed = np.zeros((21, 21))
    np.add.at(observed, (first, second), 1)
    expected = np.full((21, 21), 1 / 20)
    np.fill_diagonal(expected, 0)
    expected[0] = 1 / 21
    expected *= 20_000 / 21
    assert not observed[expected == 0].any()
    assert observed[0, 0] > 0
    possible = expected > 0
    statistic = ((observed - expected)[possible] ** 2 / expected[possible]).sum()
    assert statistic < 420 + 5 * np.sqrt(2 * 420)


def test_larger_sets_begin_with_the_smaller_and_seeds_do_not_change_classes() -> None:
    assert np.array_equal(class_table(21_000)[:1000], class_table(1000))
    labels, instances = np.arange(50), np.zeros(50, np.int64)
    records = [VisualAtom().draw(dataset_key(seed, 4), labels, instances) for seed in (0, 1)]
    assert np.array_equal(*records)


def test_instance_zero_has_the_centre_of_the_class_and_later_ones_their_own() -> None:
    formula = VisualAtom(canvas_size=256)
    row = formula.class_parameters(11)
    records = formula.draw(KEY, np.full(400, 11), np.arange(400))
    assert (records["center_x"][0], records["center_y"][0]) == (row["center_x"] / 2, row["center_y"] / 2)
    for axis in ("center_x", "center_y"):
        assert len(np.unique(records[axis])) > 200
        assert records[axis].min() >= 0
        assert records[axis].max() <= 256
    shared = set(records.dtype.names or ()) - {"center_x", "center_y", "sequence_low", "sequence_high"}
    assert all(len(np.unique(records[name])) == 1 for name in shared)


@pytest.mark.parametrize("label", [0, 3, 12])
def test_vertices_follow_the_published_recurrence(label: int) -> None:
    formula = VisualAtom()
    row, records = formula.class_parameters(label), formula.draw(KEY, np.array([label]), np.array([0]))
    records["lines"] = lines = min(row["lines"], 6)
    limits = {name: formula.drawing()[name] for name in ("max_vertices", "max_lines", "background")}
    contours = Contours(canvas_size=512, device=CPU, backend="numba", **limits)
    drawn = contours.vertices(torch.from_numpy(as_words(records)), KEY)[0][0, :lines, : row["vertices"]].numpy()
    different = 0
    for v in range(0, row["vertices"], 17):
        theta = 2 * math.pi * v / row["vertices"]
        wave = 0.5 * math.sin(row["frequency_1"] * theta) + 0.5 * math.sin(row["frequency_2"] * theta)
        x = math.cos(theta) * row["radius"] * row["oval_x"] + row["center_x"]
        y = math.sin(theta) * row["radius"] * row["oval_y"] + row["center_y"]
        for k in range(lines):
            noise_x, noise_y = (oracle.noise(word) for word in oracle.noise_words(records[0], KEY, k, v))
            c = row["coefficient"]
            x += math.cos(theta) * (c - c * noise_x + wave + row["line_width"])
            y += math.sin(theta) * (c - c * noise_y + wave + row["line_width"])
            for exact, pixel in zip((x, y), drawn[k, v].tolist(), strict=True):
                different += int(exact) != pixel
                assert int(exact) == pixel or abs(exact - round(exact)) < 1e-3
    assert different < 5


@pytest.mark.parametrize(("option", "value"), [("background", "grey"), ("parameters", "paper")])
def test_unknown_options_are_refused(option: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"{option}: received {value!r}; allowed: "):
        VisualAtom(**{option: value})  # type: ignore[arg-type]
