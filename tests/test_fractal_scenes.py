"""FractalScenes: the oracle step by step, the two twins, the errors. For how often points hit see test_density.py."""

import importlib

import numpy as np
import pytest
import torch
from numba import njit

from fdsl_gpu import philox
from fdsl_gpu.cpu_kernels import background as cpu_background
from fdsl_gpu.cpu_kernels import density as cpu_density
from fdsl_gpu.cpu_kernels.jit import kernel
from fdsl_gpu.records import FRACTAL, FRACTAL_SCENE, as_words
from fdsl_gpu.render.fractal_scenes import FractalScenes

from .oracles import anderson_farrell as oracle
from .test_density import count

KEY = philox.dataset_key(0, 9)
BACKGROUND = ("corners", "amplitudes", "factors", "offsets")


def draw(scenes, size, points=2_000, fractal_size=None, backend="numba", prefill=0x55, device="cpu", planes=3):
    """Planes as pictures uint8 [B, S, S, P]."""
    device = torch.device(device)
    pictures = torch.full((len(scenes), planes, size, size), prefill, dtype=torch.uint8, device=device)
    launcher = FractalScenes(
        canvas_size=size,
        fractal_size=fractal_size or size,
        max_fractals=max(int(scenes["num_fractals"].max()), 1),
        points=points,
        planes=planes,
        device=device,
        backend=backend,
    )
    launcher.draw(torch.from_numpy(as_words(scenes)).to(device), KEY, pictures)
    return pictures.permute(0, 2, 3, 1).cpu().numpy()


class TestColours:
    def test_rgb_of_all_hues(self):
        @njit
        def convert(hues, levels, out):
            for i in range(hues.size):
                for j in range(levels.size):
                    for k in range(levels.size):
                        out[i, j, k] = cpu_background.rgb_of(hues[i], levels[j], levels[k])

        hues, levels = np.arange(256, dtype=np.int32), np.r_[0:256:7, 254, 255].astype(np.int32)
        packed = np.empty((hues.size, levels.size, levels.size), np.uint32)
        convert(hues, levels, packed)
        expected = oracle.hsv_to_rgb(hues[:, None, None], levels[:, None], levels)
        np.testing.assert_array_equal(packed[..., None] >> np.array([0, 8, 16], np.uint32) & 255, expected)

    def test_division_is_exact(self):
        @njit
        def divide(numerators, out):
            for i in range(numerators.size):
                out[i] = cpu_background._scaled(numerators[i])

        numerators = np.arange(255 * 7650 + 1, dtype=np.int32)
        quotients = np.empty_like(numerators)
        divide(numerators, quotients)
        np.testing.assert_array_equal(quotients, (2 * numerators + 7650) // 15300)

    def test_primary_colours_as_opencv_gives_them(self):
        hues = [0, 30, 60, 90, 120, 150, 180]
        expected = [[255, 0, 0], [255, 255, 0], [0, 255, 0], [0, 255, 255], [0, 0, 255], [255, 0, 255], [255, 0, 0]]
        np.testing.assert_array_equal(oracle.hsv_to_rgb(hues, 255, 255), expected)


@kernel
def fill_heights(scenes, k0, k1, stream, size, mean, words, heights):
    cpu_background.fill_heights(scenes[0], k0, k1, stream, size, mean, words, heights)


class TestBackground:
    @staticmethod
    def heights(scene, size):
        levels = (size - 1).bit_length()
        uniforms = oracle.background_uniforms(scene, KEY, levels)
        corners, amplitudes = (scene[name].astype(np.float64) for name in ("corners", "amplitudes"))
        return oracle.diamond_square(corners, amplitudes, uniforms)

    @pytest.mark.parametrize("size", [1, 2, 3, 16, 17, 63, 64], ids=lambda s: f"{s}px")
    def test_heights(self, size):
        side = 2 ** (size - 1).bit_length() + 1
        mean, heights = np.empty(side, np.float32), np.empty(side * side, np.float32)
        words = np.empty(-(-side * side // 4) * 4, np.uint32)
        for scene in oracle.make_scenes(3, size, seed=size):
            fill_heights(
                np.array([scene], FRACTAL_SCENE), *map(np.uint64, KEY), philox.BACKGROUND, size, mean, words, heights
            )
            expected = self.heights(scene, size)[:size]
            np.testing.assert_allclose(heights.reshape(side, side)[:size], expected, rtol=0, atol=2e-6)

    def test_pixels_are_the_oracles_but_where_a_byte_is_about_to_change(self):
        scenes = oracle.make_scenes(4, 65, seed=8, blur=False)
        scenes["num_fractals"] = 0
        # Heights far outside of [0, 1] in two of them, so that bytes wrap and are cut.
        scenes["amplitudes"][2:] *= 5
        for picture, scene in zip(draw(scenes, 65), scenes, strict=True):
            heights = self.heights(scene, 65)[:65, :65]
            hsv = oracle.background_hsv(heights, *(scene[name].astype(np.float64) for name in ("factors", "offsets")))
            # Saturation and value that are cut to 255 are sure to be.
            doubtful = ((np.abs(hsv - np.round(hsv)) < 1e-3) & (hsv != 255)).any(axis=0)
            assert doubtful.mean() < 0.01
            expected = oracle.hsv_to_rgb(*oracle.as_bytes(hsv))
            np.testing.assert_array_equal(picture[~doubtful], expected[~doubtful])


class TestComposition:
    @pytest.mark.parametrize("seed", range(3))
    def test_one_fractal_that_fills_the_picture(self, seed):
        scenes = oracle.make_scenes(4, 64, seed=seed, blur=False)
        empty = scenes.copy()
        empty["num_fractals"] = 0
        for picture, background, scene in zip(draw(scenes, 64), draw(empty, 64), scenes, strict=True):
            fractal = scene["fractals"][0]
            colours = [fractal[name] for name in ("hue", "saturation", "value")]
            foreground = oracle.colour(count(fractal, 2_000, 64), *colours)
            np.testing.assert_array_equal(picture, oracle.compose(background, foreground, 0, 0))

    @pytest.mark.parametrize("fractal_size", [32, 24, 7, 1], ids=lambda s: f"from-{s}px")
    def test_resized_fractals(self, fractal_size):
        """Within one level, and but for pixels of which a rounding decides whether they are black."""
        size = 64
        scenes = oracle.make_scenes(5, size, multi=True, seed=fractal_size, blur=False)
        scenes["fractals"]["side"][:2, 0] = fractal_size
        empty = scenes.copy()
        empty["num_fractals"] = 0
        for picture, background, scene in zip(
            draw(scenes, size, 500, fractal_size), draw(empty, size), scenes, strict=True
        ):
            expected, doubtful = background, np.zeros((size, size, 1), np.uint8)
            for fractal in scene["fractals"][: scene["num_fractals"]]:
                colours = [fractal[name] for name in ("hue", "saturation", "value")]
                foreground = oracle.colour(count(fractal, 500, fractal_size), *colours)
                resized = oracle.resize(foreground, fractal["side"])
                place = fractal["left"], fractal["top"]
                expected = oracle.compose(expected, np.floor(resized + 0.5).astype(np.uint8), *place)
                largest = resized.max(axis=2, keepdims=True)
                doubtful = oracle.compose(doubtful, ((largest > 0.3) & (largest < 0.7)).astype(np.uint8), *place)
            differences = np.abs(picture.astype(int) - expected)
            assert differences[doubtful[..., 0] == 0].max() <= 1
            assert (differences > 0).mean() < 0.01

    def test_a_fractal_may_lie_beside_the_picture(self):
        scenes = oracle.make_scenes(4, 32, multi=True, blur=False)
        empty = scenes.copy()
        empty["num_fractals"] = 0
        scenes["fractals"]["left"][:, :] = np.array([-500, 500, 0, 0])[:, None]
        scenes["fractals"]["top"][:, :] = np.array([0, 0, -500, 500])[:, None]
        scenes["fractals"]["side"][:, 0] = 16
        np.testing.assert_array_equal(draw(scenes, 32, fractal_size=16), draw(empty, 32))

    def test_an_empty_patch_and_a_black_fractal_show_the_background(self):
        scenes = oracle.make_scenes(2, 32, blur=False)
        empty = scenes.copy()
        empty["num_fractals"] = 0
        scenes["fractals"]["patch"][0, 0] = 0
        scenes["fractals"]["value"][1, 0] = 0
        np.testing.assert_array_equal(draw(scenes, 32), draw(empty, 32))


class TestBlur:
    @pytest.mark.parametrize("size", [1, 2, 3, 17, 64], ids=lambda s: f"{s}px")
    def test_blur(self, size):
        sharp = oracle.make_scenes(4, size, blur=False)
        blurred = oracle.make_scenes(4, size)
        for name in ("num_fractals", "fractals", *BACKGROUND, "background_low", "background_high", "view"):
            blurred[name] = sharp[name]
        blurred["blur"][0] = 0.5, 0.25
        for i, (before, after) in enumerate(zip(draw(sharp, size), draw(blurred, size), strict=True)):
            padded = before if size > 1 else np.broadcast_to(before, (3, 3, 3))
            expected = oracle.blur(padded, *blurred["blur"][i].astype(np.float64))[:size, :size]
            if i == 0:
                np.testing.assert_array_equal(after, np.floor(expected + 0.5))
            # A weight is off by 1/512 at most, and two of them by the contrast of a pixel with its neighbours.
            assert np.abs(after - expected).max() <= 0.5 + 2 * 255 / 256


class TestGrey:
    @staticmethod
    def scenes(size, multi):
        """Without saturation, on black."""
        scenes = oracle.make_scenes(4, size, multi, seed=size)
        scenes["fractals"]["saturation"] = 0
        scenes["blur"][0] = 1, 0
        for name in BACKGROUND:
            scenes[name] = 0
        return scenes

    @pytest.mark.parametrize("size", [2, 33, 64], ids=lambda s: f"{s}px")
    @pytest.mark.parametrize("multi", [False, True], ids=["single", "several"])
    def test_the_plane_is_each_of_three(self, multi, size):
        scenes, fractal_size = self.scenes(size, multi), size // 2 if multi else size
        three = draw(scenes, size, fractal_size=fractal_size)
        assert three.any() or size == 2
        np.testing.assert_array_equal(draw(scenes, size, fractal_size=fractal_size, planes=1).repeat(3, axis=3), three)

    def test_colours_are_not_read(self):
        scenes = oracle.make_scenes(3, 33, multi=True)
        grey = scenes.copy()
        for name in BACKGROUND:
            grey[name] = 0
        grey["fractals"]["hue"] = grey["fractals"]["saturation"] = 0
        pictures = [draw(some, 33, fractal_size=16, planes=1) for some in (scenes, grey)]
        np.testing.assert_array_equal(*pictures)


def test_draw_does_not_depend_on_the_batch():
    scenes = oracle.make_scenes(3, 32, multi=True)
    together = draw(scenes, 32, fractal_size=16)
    for i in range(3):
        np.testing.assert_array_equal(draw(scenes[i : i + 1], 32, fractal_size=16)[0], together[i])


@pytest.mark.parametrize("part", ["fractals", "background"])
def test_views_have_random_numbers_of_their_own(part):
    scenes = oracle.make_scenes(1, 32, blur=False).repeat(2)
    if part == "fractals":
        scenes["fractals"]["view"][1] += 1
    else:
        scenes["view"][1] += 1
    first, second = draw(scenes, 32)
    assert (first != second).any()


@pytest.mark.parametrize("prefill", [0x00, 0xFF], ids=["over-0x00", "over-0xFF"])
@pytest.mark.parametrize("planes", [1, 3], ids=["grey", "colour"])
def test_numba_overwrites_what_planes_held(planes, prefill):
    scenes = oracle.make_scenes(2, 33)
    np.testing.assert_array_equal(draw(scenes, 33, prefill=prefill, planes=planes), draw(scenes, 33, planes=planes))


def runaways():
    scenes = oracle.make_scenes(2, 16, blur=False)
    scenes["fractals"]["maps"][0], scenes["fractals"]["maps"][1] = 30.0, np.nan
    return scenes


def test_runaways_touch_no_other_memory():
    empty = runaways()
    empty["num_fractals"] = 0
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(draw(runaways(), 16)[1], draw(empty, 16)[1])


@pytest.mark.usefixtures("interpreter")
class TestTwins:
    @pytest.mark.parametrize(
        ("size", "fractal_size", "count", "options", "points", "prefill"),
        [
            pytest.param(32, 32, 2, {"maps": (2, 3)}, 300, 0x00, id="32px-2-images"),
            pytest.param(32, 16, 1, {"multi": True, "blur": False}, 257, 0xFF, id="32px-several-fractals"),
            pytest.param(17, 17, 1, {"maps": (8, 8)}, 100, 0xFF, id="17px-8-maps"),
            pytest.param(1, 1, 1, {}, 1, 0xFF, id="1px-1-point"),
        ],
    )
    @pytest.mark.parametrize("planes", [1, 3], ids=["grey", "colour"])
    def test_interpreter_draws_the_same_bytes(self, planes, size, fractal_size, count, options, points, prefill):
        scenes = oracle.make_scenes(count, size, seed=points, **options)
        scenes["fractals"]["patch"] |= 0b000010000
        expected = draw(scenes, size, points, fractal_size, planes=planes)
        actual = draw(scenes, size, points, fractal_size, "triton", prefill, planes=planes)
        np.testing.assert_array_equal(actual, expected)

    def test_backgrounds_of_several_blocks(self):
        scenes = oracle.make_scenes(1, 100, blur=False)
        scenes["num_fractals"] = 0
        np.testing.assert_array_equal(draw(scenes, 100, 1, 1, "triton"), draw(scenes, 100, 1, 1))

    @pytest.mark.filterwarnings("ignore::RuntimeWarning")
    def test_runaways_too(self):
        np.testing.assert_array_equal(draw(runaways(), 16, 20, backend="triton"), draw(runaways(), 16, 20))

    def test_scratch_serves_batches_of_any_size(self):
        scenes = oracle.make_scenes(3, 8)
        expected, key = draw(scenes, 8, 10), KEY
        launcher = FractalScenes(
            canvas_size=8, fractal_size=8, max_fractals=1, points=10, device=torch.device("cpu"), backend="triton"
        )
        for part in (slice(0, 1), slice(1, 3)):
            planes = torch.empty(len(scenes[part]), 3, 8, 8, dtype=torch.uint8)
            launcher.draw(torch.from_numpy(as_words(scenes[part])), key, planes)
            np.testing.assert_array_equal(planes.permute(0, 2, 3, 1), expected[part])

    def test_word_offsets_are_those_of_the_records(self):
        density, background, scene = (
            importlib.import_module(f"triton_kernels.{file}") for file in ("density", "background", "fractal_scene")
        )
        of_fractal = {"NUM_MAPS", "SEQUENCE_LOW", "SEQUENCE_HIGH", "SELECT", "MAPS", "START", "SHIFT", "STRETCH"}
        of_fractal |= {"FLIPS", "PATCH", "HUE", "SATURATION", "VALUE", "SIDE", "LEFT", "TOP"}
        of_scene = {"NUM_FRACTALS", "FRACTALS", "BACKGROUND_LOW", "BACKGROUND_HIGH", "AMPLITUDES", "CORNERS", "FACTORS"}
        of_scene |= {"OFFSETS"}
        seen = set()
        for module in (density, background, scene):
            words = {name: value.value for name, value in vars(module).items() if hasattr(value, "value")}
            assert words["SCENE_WORDS"] * 4 == FRACTAL_SCENE.itemsize
            assert words.get("FRACTAL_WORDS", FRACTAL.itemsize // 4) * 4 == FRACTAL.itemsize
            for name in of_fractal & words.keys():
                assert words[name] * 4 == FRACTAL.fields[name.lower()][1], name
            for name in of_scene & words.keys():
                assert words[name] * 4 == FRACTAL_SCENE.fields[name.lower()][1], name
            seen |= words.keys()
        assert of_fractal | of_scene <= seen
        assert density.VIEW.value * 4 == FRACTAL.fields["view"][1]
        assert background.VIEW.value * 4 == FRACTAL_SCENE.fields["view"][1]
        assert scene.BLUR.value * 4 == FRACTAL_SCENE.fields["blur"][1]

    def test_both_twins_have_the_same_law(self):
        kernels = importlib.import_module("triton_kernels.density")
        ours = (oracle.LANES, oracle.WARMUP)
        assert ours == (kernels.LANES, kernels.WARMUP) == (cpu_density.LANES, cpu_density.WARMUP)


@pytest.mark.gpu
@pytest.mark.parametrize("size", [63, 224], ids=lambda s: f"{s}px")
@pytest.mark.parametrize("multi", [False, True], ids=["single", "several"])
@pytest.mark.parametrize("planes", [1, 3], ids=["grey", "colour"])
def test_gpu_draws_the_same_bytes(planes, size, multi):
    scenes = oracle.make_scenes(48, size, multi, seed=size, maps=(2, 8))
    scenes["blur"][::2] = 0
    fractal_size = size // 2 if multi else size
    expected = draw(scenes, size, 100_000, fractal_size, planes=planes)
    actual = draw(scenes, size, 100_000, fractal_size, "triton", device="cuda", planes=planes)
    np.testing.assert_array_equal(actual, expected)


class TestErrors:
    @staticmethod
    def launcher(**changes):
        arguments = {"canvas_size": 32, "fractal_size": 32, "max_fractals": 1, "points": 50}
        arguments |= {"device": torch.device("cpu"), "backend": "numba"}
        return FractalScenes(**{**arguments, **changes})

    @pytest.mark.parametrize(
        ("argument", "value", "error"),
        [
            ("canvas_size", 0, ValueError),
            ("canvas_size", 4097, ValueError),
            ("fractal_size", 64.5, TypeError),
            ("max_fractals", 6, ValueError),
            ("points", 1_000_001, ValueError),
            ("planes", 2, ValueError),
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
            pytest.param(torch.zeros(2, 402, dtype=torch.int32), None, "^records: received .*402", id="width"),
            pytest.param(torch.zeros(2, 403), None, "^records: received .*float32", id="dtype"),
            pytest.param(None, torch.zeros(2, 1, 32, 32, dtype=torch.uint8), "^planes: received", id="planes"),
            pytest.param(
                None, torch.zeros(2, 3, 32, 64, dtype=torch.uint8)[..., ::2], "^planes: .* strided", id="layout"
            ),
        ],
    )
    def test_draw(self, records, planes, match):
        records = torch.zeros(2, 403, dtype=torch.int32) if records is None else records
        planes = torch.zeros(2, 3, 32, 32, dtype=torch.uint8) if planes is None else planes
        with pytest.raises((TypeError, ValueError), match=match):
            self.launcher().draw(records, KEY, planes)

    def test_an_empty_batch_is_nothing_to_do(self):
        planes = torch.zeros(0, 3, 32, 32, dtype=torch.uint8)
        self.launcher().draw(torch.zeros(0, 403, dtype=torch.int32), KEY, planes)
