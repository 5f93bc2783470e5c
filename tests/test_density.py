"""The density of fractals on the CPU: the oracle, one long chain, the statistics of the released generator."""

import numpy as np
import pytest

from fdsl_gpu import philox
from fdsl_gpu.cpu_kernels import density as kernels
from fdsl_gpu.cpu_kernels.chains_2d import chain_tables
from fdsl_gpu.cpu_kernels.jit import kernel
from fdsl_gpu.records import FRACTAL

from .oracles import anderson_farrell as oracle

KEY = philox.dataset_key(0, 9)


@kernel
def density(fractals, tables, k0, k1, stream, points, memory, size, counts):
    return kernels.density(fractals[0], tables, np.int64(0), k0, k1, stream, points, memory, size, counts)


def count(fractal, points, size):
    """Counts int64 [F, F] by the CPU kernel, which returns their maximum too."""
    counts, fractals = np.empty(size * size, np.int32), np.array([fractal], FRACTAL)
    memory, tables = kernels.scratch(points, size), chain_tables(fractals)
    peak = density(fractals, tables, *map(np.uint64, KEY), philox.CHAIN, points, memory, size, counts)
    assert peak == counts.max()
    return counts.reshape(size, size).astype(np.int64)


class TestDensity:
    @pytest.mark.parametrize("size", [63, 112, 224], ids=lambda s: f"{s}px")
    @pytest.mark.parametrize("points", [1, 255, 257, 20_000], ids=lambda p: f"{p}-points")
    def test_hits_are_the_oracles_but_for_points_on_pixel_edges(self, points, size):
        for scene in oracle.make_scenes(6, size, seed=points, maps=(2, 8)):
            fractal = scene["fractals"][0]
            fractal["flips"], fractal["patch"] = 0, 0b000010000
            cloud = oracle.lane_points(fractal, KEY, points)
            window = (fractal[name].astype(np.float64) for name in ("shift", "stretch"))
            pixels = oracle.positions(cloud, size, *window)
            doubtful = (np.abs(pixels - np.round(pixels)) < 1e-3).any(axis=1)
            assert doubtful.mean() < 0.02 or points < 1_000
            difference = np.abs(count(fractal, points, size) - oracle.hits(pixels, size))
            assert difference.sum() <= 2 * doubtful.sum()

    def test_patches_and_flips(self):
        fractal = oracle.make_scenes(1, 33, seed=1)[0]["fractals"][0]
        fractal["flips"], fractal["patch"] = 0, 0b000010000
        hits = count(fractal, 3_000, 33)
        for patch in (0, 1, 0b100000000, 0b011001110, 0b110000001, 511):
            for flips in range(8):
                fractal["flips"], fractal["patch"] = flips, patch
                expected = oracle.flip(oracle.spread(hits, patch), flips)
                np.testing.assert_array_equal(count(fractal, 3_000, 33), expected, f"patch {patch}, flips {flips}")

    def test_a_single_point_has_an_extent_of_one(self):
        fractal = np.zeros(1, FRACTAL)[0]
        fractal["num_maps"], fractal["select"][0], fractal["stretch"], fractal["patch"] = 1, 65536 << 8, 2, 0b000010000
        assert np.argwhere(count(fractal, 100, 9)).tolist() == [[4, 4]]
        assert count(fractal, 100, 9).max() == 100

    def test_lanes_have_the_density_of_one_long_chain(self):
        """Largest count and sorted densities, against another chain as the scale: the warm-up is long enough."""
        rng, size, points = np.random.default_rng(5), 112, 50_000
        peaks, distances = [], []
        for scene in oracle.make_scenes(60, size, seed=6):
            fractal = scene["fractals"][0]
            fractal["shift"], fractal["stretch"], fractal["patch"] = 0, 1, 0b000010000
            maps = fractal["maps"][: fractal["num_maps"]].astype(np.float64)
            p = np.abs(maps[:, 0] * maps[:, 3] - maps[:, 1] * maps[:, 2])
            chains = []
            for _ in range(2):
                choices = rng.choice(len(p), points, p=p / p.sum())
                cloud = oracle.chain(maps, choices, fractal["start"].astype(np.float64))
                chains.append(oracle.hits(oracle.positions(cloud, size), size))
            counts = [count(fractal, points, size), *chains]
            peak, other, reference = (c.max() for c in counts)
            peaks.append((np.log(peak / reference), np.log(other / reference)))
            lanes, other, reference = (np.sort(c, axis=None) for c in counts)
            distances.append([np.abs(c - reference).mean() * size**2 / points for c in (lanes, other)])
        peaks, distances = np.array(peaks), np.array(distances)
        assert abs(peaks[:, 0].mean()) < 3 * peaks[:, 1].std() / np.sqrt(len(peaks)) + 0.02
        lanes, other = np.median(distances, axis=0)
        assert lanes < 1.15 * other


class TestStatistics:
    def test_fill_of_the_released_generator(self):
        """single instance at 224, fill .173, sd .116, bounding-box share .576, of 400 pictures."""
        fills, boxes = [], []
        for scene in oracle.make_scenes(300, 224, seed=10, jitter=True):
            filled = count(scene["fractals"][0], 100_000, 224) > 0
            fills.append(filled.mean())
            extent = [np.flatnonzero(filled.any(axis=axis)) for axis in (0, 1)]
            boxes.append(np.prod([np.ptp(e) + 1 if e.size else 0 for e in extent]) / 224**2)
        for values, mean in ((fills, 0.173), (boxes, 0.576)):
            assert abs(np.mean(values) - mean) < 3 * np.std(values) * np.sqrt(1 / 300 + 1 / 400)
        assert abs(np.std(fills) - 0.116) < 0.02
