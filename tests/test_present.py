"""Presentations on a CPU: exactly Pillow's crops and operations, affine maps within a bound, erasing, layouts."""

import re
from statistics import NormalDist

import numpy as np
import pytest
import torch
from PIL import Image, __version__

from fdsl_gpu import philox
from fdsl_gpu.augment import OPERATIONS
from fdsl_gpu.cpu_kernels import augment as cpu_augment
from fdsl_gpu.noise import erase_table, normal_quantiles
from fdsl_gpu.present import Presenter
from fdsl_gpu.records import PRESENTATION, as_words
from fdsl_gpu.resample import coefficient_tables, coefficients
from fdsl_gpu.write_out import WriteOut
from tests.oracles import augment as oracle
from tests.test_write_out import DTYPES, LAYOUTS

KEY = philox.dataset_key(7, 1)
FILL = (124, 116, 104)
GREY = (90, 90, 90)
SIZES = [1, 2, 7, 63, 224, 257]
NAMES = {name: number + 1 for number, name in enumerate(OPERATIONS)}
BYTES = {"dtype": torch.uint8, "normalize": None}


def pictures(side: int, planes: int, seed: int = 0) -> np.ndarray:
    """uint8 [N, planes, side, side]: noise, few levels, one value, a ramp, sparse points on a background."""
    rng = np.random.default_rng((side, planes, seed))
    shape = (planes, side, side)
    ramp = np.linspace(30, 200, side * side).reshape(side, side)
    sparse = np.where(rng.random(shape) < 0.1, rng.integers(0, 256, shape), 40)
    few = rng.choice([3, 90, 91, 250], shape)
    return np.stack(
        [rng.integers(0, 256, shape), few, np.full(shape, 77), np.broadcast_to(ramp, shape), sparse]
    ).astype(np.uint8)


def blank(count: int, side: int, planes: int = 1) -> np.ndarray:
    """Records that show whole canvases."""
    records = np.zeros(count, PRESENTATION)
    records["height"] = records["width"] = side
    records["planes"] = planes
    return records


def affine_matrix(rng: np.random.Generator, size: int) -> np.ndarray:
    """A rotation up to 30 degrees, a shear or a translation, as Pillow takes them."""
    choice, share = rng.integers(0, 5), rng.uniform(-1, 1)
    if choice == 0:
        c, s, half = np.cos(share * 0.52), np.sin(share * 0.52), size / 2
        return np.array([c, s, half - half * c - half * s, -s, c, half + half * s - half * c])
    matrix = np.array([1.0, 0, 0, 0, 1, 0])
    matrix[(1, 3, 2, 5)[choice - 1]] = share * (0.3 if choice < 3 else 0.45 * size)
    return matrix


def operation(name: str, rng: np.random.Generator, size: int) -> dict:
    values = {"kind": NAMES[name], "factor": rng.uniform(0.05, 2.0), "bicubic": rng.integers(0, 2)}
    values["level"] = {"Posterize": rng.integers(0, 9), "Solarize": rng.integers(0, 257)}.get(
        name, rng.integers(0, 111)
    )
    values["matrix"] = affine_matrix(rng, size)
    return values


def put(record: np.ndarray, slot: int, values: dict, planes: int, fill=FILL) -> int:
    """Write an operation into a record; the picture's planes after it."""
    for field, value in values.items():
        record["operations"][slot][field] = value
    if values["kind"] == NAMES["Affine"] and len(set(fill)) > 1:
        planes = 3
    record["operations"][slot]["planes"] = record["planes"] = planes
    return planes


def run(planes: np.ndarray, records: np.ndarray, size: int, backend: str = "numba", out=None, **options):
    present = Presenter(planes.shape[2], size, planes.shape[1], backend=backend, **{"operations": 4, **options})
    if out is None:
        out = torch.full((len(planes), present.channels, size, size), 3, dtype=present.dtype)
    present(torch.from_numpy(planes), torch.from_numpy(as_words(records)), KEY, out)
    return out


def drawn(rng: np.random.Generator, count: int, side: int, size: int, planes: int, names=OPERATIONS, fill=FILL):
    """Records of random crops, flips, operations and erasures."""
    records = blank(count, side, planes)
    for record in records:
        height, width = rng.integers(1, side + 1, 2)
        record["top"], record["left"] = rng.integers(0, side - height + 1), rng.integers(0, side - width + 1)
        record["height"], record["width"], record["flips"] = height, width, rng.integers(0, 4)
        record["bicubic"], record["view"] = rng.integers(0, 2), rng.integers(0, 3)
        record["noise_low"], record["noise_high"] = rng.integers(0, 2**32), rng.integers(0, 2**24)
        record["num_erasures"], after = rng.integers(0, 4), planes
        for erasure in record["erasures"]:
            height, width = rng.integers(1, size // 2 + 2, 2)
            erasure[:] = rng.integers(0, size - height + 1), rng.integers(0, size - width + 1), height, width
        for slot in range(4):
            if rng.random() < 0.7:
                after = put(record, slot, operation(names[rng.integers(len(names))], rng, size), after, fill)
    return records


def test_kernels_number_operations_as_the_recipes():
    numbers = {name: getattr(cpu_augment, re.sub("(?<=[a-z])(?=[A-Z])", "_", name).upper()) for name in OPERATIONS}
    assert numbers == NAMES


needs_pillow_13 = pytest.mark.skipif(
    int(__version__.split(".")[0]) < 13, reason="older versions of Pillow never resize vertically first"
)


@needs_pillow_13
@pytest.mark.parametrize("flips", range(4))
@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize(("side", "size"), [(100, 37), (100, 100), (40, 63), (224, 7), (300, 224), (9, 1), (1, 5)])
def test_crops_are_pillows(side, size, planes, flips):
    rng = np.random.default_rng(side)
    batch = np.concatenate([pictures(side, planes, seed) for seed in range(4)])
    records = drawn(rng, len(batch), side, size, planes, names=["Invert"])
    records["operations"], records["num_erasures"], records["flips"] = (
        np.zeros((), records["operations"].dtype),
        0,
        flips,
    )
    records[0]["height"] = records[0]["width"] = min(size, side)
    records[0]["top"], records[0]["left"] = 0, max(side - size, 0)
    out = run(batch, records, size, **BYTES).numpy()
    for image, picture, record in zip(out, batch, records, strict=True):
        np.testing.assert_array_equal(
            image, np.asarray(oracle.crop(oracle.picture(picture), record, size)).transpose(2, 0, 1)
        )


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", [name for name in OPERATIONS if name != "Affine"])
def test_operations_are_pillows(name, size, planes):
    rng = np.random.default_rng(size)
    batch = np.concatenate([pictures(size, planes)] * 3)
    records = blank(len(batch), size, planes)
    for record in records:
        put(record, rng.integers(0, 4), operation(name, rng, size), planes)
    records[0]["operations"]["factor"] = 0.0
    records[1]["operations"]["factor"] = 1.0
    out = run(batch, records, size, **BYTES).numpy()
    for image, picture, record in zip(out, batch, records, strict=True):
        np.testing.assert_array_equal(image, oracle.present(picture, record, size, FILL))


@pytest.mark.parametrize("fill", [FILL, GREY], ids=["colour", "grey"])
@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_affine_maps_are_pillows_in_float32(size, planes, fill):
    rng = np.random.default_rng(size)
    batch = np.concatenate([pictures(size, planes)] * 4)
    records = blank(len(batch), size, planes)
    for record in records:
        put(record, 0, operation("Affine", rng, size), planes, fill)
    out = run(batch, records, size, fill=fill, **BYTES).numpy()
    differ = []
    for image, picture, record in zip(out, batch, records, strict=True):
        np.testing.assert_array_equal(image, oracle.present(picture, record, size, fill, pillow_affine=False))
        difference = image.astype(int) - oracle.present(picture, record, size, fill)
        differ.append((difference != 0).mean())
        assert np.abs(difference).max() <= 1
    assert np.mean(differ) < 0.002


def test_rotations_are_within_a_level_of_pillows():
    rng, size = np.random.default_rng(0), 224
    batch = np.concatenate([pictures(size, 3)] * 4)
    records, angles = blank(len(batch), size, 3), rng.uniform(-30, 30, len(batch))
    for record, angle in zip(records, angles, strict=True):
        turn, half = -np.radians(angle), size / 2
        c, s = np.cos(turn), np.sin(turn)
        matrix = [c, s, half - half * c - half * s, -s, c, half + half * s - half * c]
        put(record, 0, {"kind": NAMES["Affine"], "bicubic": rng.integers(0, 2), "matrix": matrix}, 3)
    out = run(batch, records, size, **BYTES).numpy()
    for image, picture, record, angle in zip(out, batch, records, angles, strict=True):
        resampling = oracle.RESAMPLING[record["operations"][0]["bicubic"]]
        expected = oracle.picture(picture).rotate(angle, resampling, fillcolor=FILL)
        difference = np.abs(image.astype(int) - np.asarray(expected).transpose(2, 0, 1))
        assert (difference > 0).mean() < 0.01
        assert (difference > 1).mean() < 1e-4


@pytest.mark.parametrize("fill", [FILL, GREY], ids=["colour", "grey"])
@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize(("side", "size"), [(90, 63), (40, 40), (16, 7), (256, 224)])
def test_sequences_are_pillows(side, size, planes, fill):
    rng = np.random.default_rng(side)
    batch = np.concatenate([pictures(side, planes, seed) for seed in range(6)])
    exact = drawn(rng, len(batch), side, size, planes, names=OPERATIONS[:-1], fill=fill)
    mixed = drawn(rng, len(batch), side, size, planes, fill=fill)
    for records, pillow_affine in ((exact, True), (mixed, False)):
        records["num_erasures"] = 0
        out = run(batch, records, size, fill=fill, **BYTES).numpy()
        for image, picture, record in zip(out, batch, records, strict=True):
            np.testing.assert_array_equal(image, oracle.present(picture, record, size, fill, pillow_affine))


def test_only_the_operations_asked_for_are_done():
    batch = pictures(20, 1)
    records = blank(len(batch), 20)
    records["operations"]["kind"] = NAMES["Invert"]
    records["operations"]["planes"] = 1
    for operations in range(5):
        out = run(batch, records, 20, operations=operations, channels=1, **BYTES).numpy()
        np.testing.assert_array_equal(out, 255 - batch if operations & 1 else batch)


@pytest.mark.parametrize("planes", [1, 3])
def test_one_channel_is_the_luma_after_the_operations(planes):
    rng = np.random.default_rng(planes)
    batch = np.concatenate([pictures(50, planes, seed) for seed in range(4)])
    records = drawn(rng, len(batch), 50, 33, planes)
    records["num_erasures"] = 0
    out = run(batch, records, 33, channels=1, **BYTES).numpy()
    colored = run(batch, records, 33, **BYTES).numpy()
    for image, color in zip(out, colored, strict=True):
        expected = Image.fromarray(np.ascontiguousarray(color.transpose(1, 2, 0))).convert("L")
        np.testing.assert_array_equal(image[0], np.asarray(expected))


@pytest.mark.parametrize("normalize", ["imagenet", "half", None], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_batches_are_the_bytes_normalised_in_any_layout(dtype, layout, normalize):
    rng = np.random.default_rng(1)
    normalize = None if dtype == torch.uint8 else normalize
    for planes, channels in ((1, 3), (3, 3), (3, 1), (1, 1)):
        batch = pictures(40, planes)
        records = drawn(rng, len(batch), 40, 27, planes)
        records["num_erasures"] = 0
        inputs = run(batch, records, 27, channels=channels, **BYTES)
        expected = torch.empty(inputs.shape, dtype=dtype)
        WriteOut(27, 27, channels, channels, dtype, normalize, backend="numba")(inputs, expected)
        for byte in (0x00, 0xFF):
            out = LAYOUTS[layout](len(batch), channels, 27, dtype, byte)
            run(batch, records, 27, channels=channels, dtype=dtype, normalize=normalize, out=out)
            assert torch.equal(out, expected)


def test_normal_quantiles_are_the_normal_laws():
    table = normal_quantiles()
    law = NormalDist()
    expected = np.array([law.inv_cdf((i + 0.5) / 65536) for i in range(65536)])
    np.testing.assert_allclose(table, expected, rtol=2**-24, atol=0)
    np.testing.assert_array_equal(table, -table[::-1])


@pytest.mark.parametrize("mode", ["pixel", "rand", "const"])
@pytest.mark.parametrize("channels", [1, 3])
def test_erasing_is_the_oracles(channels, mode):
    rng = np.random.default_rng(2)
    batch = pictures(30, 1)
    records = drawn(rng, len(batch), 30, 21, 1)
    options = {"channels": channels, "erase_mode": mode}
    expected = run(batch, _without_erasures(records), 21, **options).numpy()
    for image, record in zip(expected, records, strict=True):
        oracle.erase(image, record, KEY, mode)
    np.testing.assert_array_equal(run(batch, records, 21, **options).numpy(), expected)
    expected = torch.from_numpy(expected)
    for dtype in (torch.float16, torch.bfloat16):
        assert torch.equal(run(batch, records, 21, dtype=dtype, **options), expected.to(dtype))


@pytest.mark.parametrize("mode", ["pixel", "rand", "const"])
def test_erased_bytes_are_noise_that_normalises_to_normal_numbers(mode):
    rng = np.random.default_rng(3)
    batch = pictures(30, 3)
    records = drawn(rng, len(batch), 30, 21, 3)
    options = {"erase_mode": mode}
    floats, out = run(batch, records, 21, **options), run(batch, records, 21, **options, **BYTES)
    plain = run(batch, _without_erasures(records), 21, **options, **BYTES)
    mean, std = (torch.tensor(n)[:, None, None] for n in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = floats.mul(std).add(mean).mul(255).round().clamp(0, 255).byte()
    erased = torch.zeros(out.shape, dtype=torch.bool)
    for b, record in enumerate(records):
        for top, left, height, width in record["erasures"][: record["num_erasures"]]:
            erased[b, :, top : top + height, left : left + width] = True
    assert torch.equal(out, torch.where(erased, expected, plain))


def _without_erasures(records: np.ndarray) -> np.ndarray:
    records = records.copy()
    records["num_erasures"] = 0
    return records


def test_coefficient_tables_hold_the_coefficients_of_all_sizes():
    tables = coefficient_tables(50, 13)
    for row, interpolation in enumerate(("bilinear", "bicubic")):
        for size in range(1, 51):
            first, weights = coefficients(size, 13, interpolation)
            begin, taps = tables.spans[row, size]
            np.testing.assert_array_equal(tables.first[row, size], first)
            np.testing.assert_array_equal(tables.weights[begin:][: 13 * taps].reshape(taps, 13), weights.T)


def test_erase_table_has_one_row_for_floats():
    assert erase_table(torch.float32, "pixel", 3).shape == (1, 65536)
    assert erase_table(torch.uint8, "pixel", 3).shape == (3, 65536)
    assert erase_table(torch.uint8, "const", 3).tolist() == [[124], [116], [104]]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"operations": 5}, ValueError, "operations: received 5"),
        ({"erase_mode": "pixels"}, ValueError, "Did you mean 'pixel'"),
        ({"fill": (1, 2)}, ValueError, "fill: received (1, 2); allowed: three integers"),
        ({"fill": (1, 2, 256)}, ValueError, "fill: received 256"),
        ({"planes": 2}, ValueError, "planes: received 2"),
        ({"channels": 2}, ValueError, "channels: received 2"),
        ({"dtype": torch.uint8}, ValueError, "normalize: received 'imagenet' with dtype torch.uint8"),
        ({"backend": "cuda"}, ValueError, "backend: received 'cuda'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_presenter_refuses_options(options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        Presenter(**{"canvas_size": 64, "image_size": 32, "planes": 1, "backend": "numba", **options})


def test_presenter_refuses_tensors():
    present = Presenter(8, 4, 1, backend="numba")
    planes, words = torch.zeros(2, 1, 8, 8).byte(), torch.zeros(2, 76, dtype=torch.int32)
    with pytest.raises(ValueError, match=r"presentations: received contiguous torch.int32 \[1, 76\]"):
        present(planes, words[:1], KEY, present.empty(2))
    with pytest.raises(ValueError, match=r"presentations: received contiguous torch.float32"):
        present(planes, words.float(), KEY, present.empty(2))
    with pytest.raises(ValueError, match="Make a Presenter for these sizes"):
        present(planes[..., :-1], words, KEY, present.empty(2))
