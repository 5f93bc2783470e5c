"""Points2D: the released law and the lane law of the oracle, the random patterns, the boxes, and the two twins."""

import importlib
import itertools

import numpy as np
import pytest
import torch

from fdsl_gpu import philox
from fdsl_gpu.alias import alias_table
from fdsl_gpu.cpu_kernels import ifs_2d as cpu_ifs
from fdsl_gpu.records import POINTS_2D, as_words, split_id
from fdsl_gpu.render.points_2d import RENDERINGS, Points2D, palette
from fdsl_gpu.tables import chain_halves

from .oracles import fractaldb as oracle

KEY = philox.dataset_key(0, 3)


def measure(records, points):
    """Boxes float32 [B, 4]."""
    boxes = np.empty((len(records), 4), np.float32)
    cpu_ifs.measure_2d(records, chain_halves(points), points, boxes)
    return boxes


def make_records(num_maps, size=64, points=3_000, seed=0, reach=0.75):
    """Random systems of the given numbers of maps, with their boxes; contractive for the default reach."""
    rng = np.random.default_rng(seed)
    records = np.zeros(len(num_maps), POINTS_2D)
    for record, n in zip(records, num_maps, strict=True):
        maps = rng.uniform(-1, 1, (n, 6)) * np.repeat([reach, 1.0], [4, 2])
        record["num_maps"], record["maps"][:n] = n, maps
        record["select"] = alias_table(np.abs(maps[:, 0] * maps[:, 3] - maps[:, 1] * maps[:, 2]), n)
    records["pattern_low"], records["pattern_high"] = split_id(rng.integers(0, 2**56, len(records)))
    records["view"] = rng.integers(0, 3, len(records))
    records["mirror"] = np.arange(len(records)) % 4
    boxes = measure(records, points)
    records["low"] = boxes[:, :2]
    records["scale"] = (size - 12) / (boxes[:, 2:].astype(np.float64) - boxes[:, :2])
    return records


def draw(records, size=64, points=3_000, rendering="patch", color=False, backend="numba", prefill=0xFF, device="cpu"):
    """Planes uint8 [B, P, S, S] as NumPy."""
    launcher = Points2D(
        canvas_size=size, points=points, rendering=rendering, color=color, device=torch.device(device), backend=backend
    )
    planes = torch.full((len(records), 3 if color else 1, size, size), prefill, dtype=torch.uint8, device=device)
    launcher.draw(torch.from_numpy(as_words(records)).to(device), KEY, planes)
    return planes.cpu().numpy()


class TestOracle:
    def test_chain_of_a_known_system(self):
        maps = np.array([[0.5, 0, 0, 0.5, 1, 0], [0.5, 0, 0, 0.5, 0, 1]])
        points = oracle.chain(maps, [0.25, 0.75], [0.2, 0.25, 0.3, 0.9])
        np.testing.assert_array_equal(points, [[0, 0], [1, 0], [1.5, 0], [0.75, 1]])

    def test_pixels_stay_inside_of_the_padding(self):
        columns, rows = oracle.pixels(np.random.default_rng(0).normal(size=(500, 2)), 362)
        assert (columns.min(), columns.max(), rows.min(), rows.max()) == (6, 356, 6, 356)

    def test_last_bits_make_the_released_picture(self):
        """Overwriting is the bit of the last point that covers a pixel, which is lit as often as the masks say."""
        rng = np.random.default_rng(1)
        columns, rows = rng.integers(6, 34, (2, 300))
        masks = rng.integers(1, 512, 300)
        last = np.zeros((40, 40), np.int64)
        for number, (column, row) in enumerate(zip(columns, rows, strict=True)):
            last[row, column] = number + 1
        covered = oracle.cover(last)
        expected = np.zeros((40, 40), np.uint8)
        for r, c in np.argwhere(covered):
            n = covered[r, c] - 1
            expected[r, c] = 127 * (masks[n] >> (8 - 3 * (r - rows[n] - 1) - (c - columns[n] - 1)) & 1)
        np.testing.assert_array_equal(oracle.released_picture(columns, rows, 40, masks), expected)

    def test_flips(self):
        raster = np.arange(12).reshape(3, 4)
        flips = oracle.released_flips(raster)
        np.testing.assert_array_equal(flips[1], raster)
        np.testing.assert_array_equal(flips[3], raster[:, ::-1])


class TestHalves:
    def test_halves_are_those_of_the_counter_layout(self):
        table = chain_halves(3_000)
        assert table.dtype == np.uint16
        assert table.shape == (cpu_ifs.steps_of(3_000), oracle.LANES)
        for step, lane in [(0, 0), (1, 3), (7, 255), (8, 0), (len(table) - 1, 17)]:
            assert table[step, lane] == oracle.halves(step)[lane]

    def test_fewer_points_take_the_same_halves(self):
        few, many = chain_halves(3_000), chain_halves(100_000)
        np.testing.assert_array_equal(few, many[: len(few)])

    @pytest.mark.parametrize(("points", "steps"), [(1, 16), (17, 16), (18, 17), (273, 17), (274, 18)])
    def test_steps(self, points, steps):
        assert cpu_ifs.steps_of(points) == steps


def test_palette_is_the_formula():
    np.testing.assert_array_equal(palette(), [oracle.color(n) for n in range(128)])


@pytest.mark.parametrize("points", [1, 2, 17, 18, 700], ids=lambda p: f"{p}-points")
@pytest.mark.parametrize("color", [False, True], ids=["grey", "color"])
@pytest.mark.parametrize("rendering", RENDERINGS)
def test_numba_draws_as_the_oracle_in_float32(rendering, color, points):
    records = make_records((2, 3, 5, 8), 37, points=700, seed=points)
    for planes, record in zip(draw(records, 37, points, rendering, color), records, strict=True):
        last = oracle.last_points(oracle.lane_points(record, points), record, 37)
        np.testing.assert_array_equal(planes, oracle.compose(last, record, KEY, rendering, color))


@pytest.mark.parametrize("size", [13, 63, 64, 125, 362], ids=lambda s: f"{s}px")
def test_points_hit_the_pixels_of_float64(size):
    """All but points within 0.001 pixels of an edge, which are fewer than one in fifty where the points spread."""
    records = make_records((1, 4, 5, 6, 7), size, points=1_500, seed=size)
    records["mirror"] = 0
    for plane, record in zip(draw(records, size, 1_500, "point")[:, 0], records, strict=True):
        position = (oracle.lane_points(record, 1_500, np.float64) - record["low"]) * record["scale"].astype(float) + 6
        doubtful = (np.abs(position - np.round(position)) < 1e-3).any(axis=1)
        # The fixed point of a single map is a corner of the box, which lies on the edge of a pixel.
        assert record["num_maps"] == 1 or doubtful.mean() < 0.02
        certain = np.zeros((size, size), bool)
        columns, rows = np.trunc(position[~doubtful]).astype(int).T
        certain[rows, columns] = True
        assert plane[certain].all()
        assert ((plane > 0) & ~certain).sum() <= doubtful.sum()


def test_first_points_are_one_chain_from_the_origin():
    record = make_records((3,))[0]
    choices = np.array([oracle.select(record, oracle.halves(step)[0]) for step in range(oracle.WARMUP)])
    # Uniforms in the middle of the share of each map, one more that is not used.
    expected = oracle.chain(record["maps"][:3].astype(float), np.full(3, 1 / 3), [*(choices + 0.5) / 3, 0.0])
    np.testing.assert_array_equal(oracle.lane_points(record, oracle.WARMUP + 1, np.float64), expected)


def test_more_points_only_add():
    records = make_records((2, 4, 7))
    drawn = [draw(records, points=points, rendering="point") > 0 for points in (1, 5, 100, 1_000, 3_000)]
    for fewer, more in itertools.pairwise(drawn):
        assert (fewer <= more).all()
        assert (fewer < more).any()


def test_draw_does_not_depend_on_the_batch():
    records = make_records((2, 3, 8))
    together = draw(records)
    for i in range(3):
        np.testing.assert_array_equal(draw(records[i : i + 1])[0], together[i])


@pytest.mark.parametrize("color", [False, True], ids=["grey", "color"])
@pytest.mark.parametrize("rendering", RENDERINGS)
def test_numba_overwrites_what_planes_held(rendering, color):
    records = make_records((2, 5))
    drawn = [draw(records, rendering=rendering, color=color, prefill=prefill) for prefill in (0x00, 0xFF)]
    np.testing.assert_array_equal(*drawn)


class TestPattern:
    def test_patches_are_the_filled_ones_less_half_of_the_pixels(self):
        records = make_records([3] * 40, 224, points=30_000)
        patch, fill = (draw(records, 224, 30_000, rendering) > 0 for rendering in ("patch", "fill"))
        assert (patch <= fill).all()
        covered = fill.sum()
        assert abs(patch.sum() / covered - 256 / 511) < 4 * 0.5 / np.sqrt(covered)

    def test_neighbouring_bits_are_independent(self):
        record = make_records((2,))[0]
        bits = oracle.pattern(record, KEY, 362)
        for pair in (bits[:, 1:] & bits[:, :-1], bits[1:] & bits[:-1]):
            assert abs(pair.mean() - (256 / 511) ** 2) < 4 * 0.5 / 362

    @pytest.mark.parametrize("field", ["view", "pattern_low", "pattern_high"])
    def test_another_pattern_covers_the_same(self, field):
        records = np.repeat(make_records((3,)), 2)
        records[field] = [1, 2]
        first, second = draw(records)
        assert (first != second).any()
        first, second = draw(records, rendering="fill")
        np.testing.assert_array_equal(first, second)

    def test_mirrors_are_of_the_raster(self):
        records = np.repeat(make_records((3,), 63), 4)
        records["mirror"] = [0, 1, 2, 3]
        raw, across, down, both = draw(records, 63)[:, 0]
        np.testing.assert_array_equal(across, raw[:, ::-1])
        np.testing.assert_array_equal(down, raw[::-1])
        np.testing.assert_array_equal(both, raw[::-1, ::-1])


class TestMeasure:
    @pytest.mark.parametrize("points", [1, 2, 17, 18, 700])
    def test_boxes_are_the_extremes_of_all_points(self, points):
        records = make_records((1, 2, 3, 4, 6, 8), points=700)
        for box, record in zip(measure(records, points), records, strict=True):
            cloud = oracle.lane_points(record, points)
            np.testing.assert_array_equal(box, [*cloud.min(axis=0), *cloud.max(axis=0)])

    def test_no_point_is_lost_at_the_edge(self):
        records = make_records(range(1, 9), 362, points=20_000)
        records["mirror"] = 0
        drawn = draw(records, 362, 20_000, "point")[:, 0] > 0
        for plane in drawn:
            rows, columns = np.nonzero(plane)
            assert (rows.min(), columns.min()) == (6, 6)
            assert {rows.max(), columns.max()} <= {355, 356}

    def test_runaways(self):
        records = np.zeros(3, POINTS_2D)
        records["num_maps"], records["select"] = 1, 65536 << 8
        records["maps"][:, 0] = [(30, 0, 0, 0.5, 1, 1), (30, -30, 30, 30, 1, 1), (np.nan,) * 6]
        wide, overflowing, nowhere = measure(records, 3_000)
        assert np.isinf(wide[2])
        assert not np.isfinite(overflowing).all()
        assert np.isnan(nowhere).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("color", [False, True], ids=["grey", "color"])
@pytest.mark.parametrize("rendering", RENDERINGS)
def test_runaways_touch_no_other_memory(rendering, color):
    """Overflowing maps, NaN everywhere, boxes that leave points outside on all sides, and a scale of nothing."""
    records = make_records((2, 3, 3, 3, 3, 2), reach=30.0, seed=3)
    records["low"], records["scale"] = 0.0, 10.0
    records["maps"][1], records["scale"][2], records["low"][3] = np.nan, np.inf, -np.inf
    records["scale"][4], records["scale"][5] = -1e30, 0.0
    planes = np.full((8, 3 if color else 1, 64, 64), 0x55, np.uint8)
    launcher = Points2D(
        canvas_size=64, points=3_000, rendering=rendering, color=color, device=torch.device("cpu"), backend="numba"
    )
    launcher.draw(torch.from_numpy(as_words(records)), KEY, torch.from_numpy(planes[1:7]))
    assert (planes[[0, 7]] == 0x55).all()
    np.testing.assert_array_equal(planes[1:7], draw(records, rendering=rendering, color=color))


@pytest.mark.usefixtures("interpreter")
class TestTwins:
    @pytest.mark.parametrize(
        ("size", "points", "maps", "rendering", "color", "prefill"),
        [
            pytest.param(37, 20, (2, 8), "patch", False, 0xFF, id="37px-2-images-patch-grey"),
            pytest.param(31, 900, (3,), "patch", True, 0x00, id="31px-1-image-patch-color"),
            pytest.param(24, 300, (4,), "fill", False, 0xFF, id="24px-1-image-fill-grey"),
            pytest.param(24, 16, (1,), "point", True, 0x00, id="24px-1-image-point-color"),
        ],
    )
    def test_interpreter_draws_the_same_bytes(self, monkeypatch, size, points, maps, rendering, color, prefill):
        monkeypatch.setattr(importlib.import_module("triton_kernels.ifs_2d"), "LANE_BLOCK", 128)
        records = make_records(maps, size, points=points, seed=points)
        records["mirror"] = np.arange(len(records)) + 1
        expected = draw(records, size, points, rendering, color)
        actual = draw(records, size, points, rendering, color, "triton", prefill)
        assert expected.any()
        np.testing.assert_array_equal(actual, expected)

    @pytest.mark.filterwarnings("ignore::RuntimeWarning")
    def test_runaways_too(self, monkeypatch):
        monkeypatch.setattr(importlib.import_module("triton_kernels.ifs_2d"), "LANE_BLOCK", 256)
        records = make_records((2, 2), 24, reach=30.0)
        records["low"], records["scale"], records["maps"][1] = 0.0, 10.0, np.nan
        np.testing.assert_array_equal(draw(records, 24, 20, backend="triton"), draw(records, 24, 20))

    def test_word_offsets_are_those_of_the_record(self):
        kernels = importlib.import_module("triton_kernels.ifs_2d")
        assert kernels.RECORD_WORDS.value * 4 == POINTS_2D.itemsize
        for name in ("num_maps", "pattern_low", "pattern_high", "view", "mirror", "select", "maps", "low", "scale"):
            assert getattr(kernels, name.upper()).value * 4 == POINTS_2D.fields[name][1], name

    def test_both_twins_have_the_same_law(self):
        kernels = importlib.import_module("triton_kernels.ifs_2d")
        ours = (oracle.LANES, oracle.WARMUP)
        assert ours == (kernels.LANES, kernels.WARMUP) == (cpu_ifs.LANES, cpu_ifs.WARMUP)
        assert all(kernels.steps_of(points) == cpu_ifs.steps_of(points) for points in range(1, 600))


@pytest.mark.gpu
@pytest.mark.parametrize("color", [False, True], ids=["grey", "color"])
@pytest.mark.parametrize("rendering", RENDERINGS)
def test_gpu_draws_the_same_bytes(rendering, color):
    records = make_records([1 + i % 8 for i in range(64)], 362, points=100_000)
    expected = draw(records, 362, 100_000, rendering, color)
    np.testing.assert_array_equal(draw(records, 362, 100_000, rendering, color, "triton", device="cuda"), expected)


class TestErrors:
    launcher = staticmethod(
        lambda **changes: Points2D(
            **{"canvas_size": 64, "points": 50, "device": torch.device("cpu"), "backend": "numba", **changes}
        )
    )

    @pytest.mark.parametrize(
        ("argument", "value", "error"),
        [
            ("canvas_size", 12, ValueError),
            ("canvas_size", 64.5, TypeError),
            ("points", 0, ValueError),
            ("rendering", "patches", ValueError),
            ("color", 2, ValueError),
            ("backend", "numbra", ValueError),
            ("device", "cuda", ValueError),
        ],
        ids=lambda v: str(v) if not isinstance(v, type) else v.__name__,
    )
    def test_constructor(self, argument, value, error):
        name = "backend" if argument == "device" else argument
        with pytest.raises(error, match=f"^{name}: received .* allowed"):
            self.launcher(**{argument: value})

    @pytest.mark.parametrize(
        ("records", "planes", "match"),
        [
            pytest.param((2, 67), (2, 1, 64, 64), "^records: received .*67", id="records"),
            pytest.param((2, 68), (2, 3, 64, 64), "^planes: received .*3, 64", id="planes"),
        ],
    )
    def test_draw(self, records, planes, match):
        with pytest.raises(ValueError, match=match):
            self.launcher().draw(torch.zeros(records, dtype=torch.int32), KEY, torch.zeros(planes, dtype=torch.uint8))

    def test_an_empty_batch_is_nothing_to_do(self):
        self.launcher().draw(torch.zeros(0, 68, dtype=torch.int32), KEY, torch.zeros(0, 1, 64, 64, dtype=torch.uint8))
