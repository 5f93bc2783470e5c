"""Write-out: exactly Pillow's resize, exactly torchvision's normalisation, every layout, both twins."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.loader import adapt_to_chs
from torchvision.transforms import functional

from fdsl_gpu.masks import MaskWriteOut
from fdsl_gpu.resample import MAX_SIZE, PRECISION_BITS, coefficients
from fdsl_gpu.write_out import WriteOut, normalisation_table
from tests.oracles import resize as oracle

SIZES = [(512, 224), (224, 63), (362, 224), (64, 64), (100, 223), (224, 257), (32, 8), (9, 64), (2, 5), (1, 3), (5, 1)]
INTERPOLATIONS = ["bilinear", "bicubic"]
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.uint8]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def pictures(side: int) -> np.ndarray:
    """uint8 [N, side, side]: noise, the extremes that overshoot most, and pictures that are mostly one value."""
    rng = np.random.default_rng(side)
    y, x = np.mgrid[:side, :side]
    sparse = np.zeros((side, side), np.uint8)
    rows, columns = (rng.normal(side / 2, side / 9, 3 * side).astype(int).clip(0, side - 1) for _ in range(2))
    sparse[rows, columns] = rng.integers(1, 256, 3 * side)
    corner, edge = np.full((side, side), 17, np.uint8), np.full((side, side), 255, np.uint8)
    corner[-1, 0] = 200
    edge[:, side // 2] = 0
    extremes = [255 * ((y // step + x // step) % 2) for step in (1, 2, 3, 7)]
    noise = rng.integers(0, 256, (side, side))
    return np.stack([noise, *extremes, sparse, corner, edge, np.full_like(noise, 255)]).astype(np.uint8)


def pillow(plane: np.ndarray, size: int, interpolation: str) -> np.ndarray:
    return np.asarray(Image.fromarray(plane).resize((size, size), Image.Resampling[interpolation.upper()]))


def planes_of(pictures: np.ndarray, planes: int) -> torch.Tensor:
    """uint8 [N, planes, S, S]; the planes of an image differ."""
    return torch.from_numpy(np.stack([np.roll(pictures, p, axis=0) for p in range(planes)], axis=1))


def run(planes: torch.Tensor, size: int, backend: str = "numba", memory_format=torch.contiguous_format, **options):
    write = WriteOut(planes.shape[2], size, planes.shape[1], backend=backend, **options)
    out = write.empty(len(planes), memory_format)
    write(planes, out)
    return out


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(("side", "size"), [(40, 17), (17, 40), (32, 8), (9, 9), (1, 3), (3, 1)])
def test_oracle_is_pillow(side, size, interpolation):
    for picture in pictures(side):
        np.testing.assert_array_equal(oracle.resize(picture, size, interpolation), pillow(picture, size, interpolation))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(("side", "size"), [*SIZES, (4096, 224), (333, 332)])
def test_coefficients_are_the_oracles(side, size, interpolation):
    first, weights = coefficients(side, size, interpolation)
    assert first.dtype == weights.dtype == np.int32
    assert (np.diff(first) >= 0).all()
    assert first.min() >= 0
    assert first.max() + weights.shape[1] <= side
    for o, (low, expected) in enumerate(oracle.windows(side, size, interpolation)):
        row = np.zeros(side + 1, np.int64)
        row[low : low + len(expected)] = expected
        row[first[o] : first[o] + weights.shape[1]] -= weights[o]
        assert not row.any()


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(("side", "size"), [*SIZES, (MAX_SIZE, 1), (MAX_SIZE, 224), (3, MAX_SIZE), (255, 256)])
def test_coefficients_fit_int32_and_keep_a_constant(side, size, interpolation):
    _, weights = coefficients(side, size, interpolation)
    one = 1 << PRECISION_BITS
    assert np.abs(weights.astype(np.int64)).sum(1).max() * 255 + one < 2**31
    assert np.abs(weights.sum(1) - one).max() * 255 < one // 2


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize(("side", "size"), SIZES)
def test_write_out_resizes_as_pillow(side, size, planes, interpolation):
    batch = planes_of(pictures(side), planes)
    out = run(batch, size, channels=planes, dtype=torch.uint8, normalize=None, interpolation=interpolation)
    for image, planes_in in zip(out.numpy(), batch.numpy(), strict=True):
        for channel, plane in zip(image, planes_in, strict=True):
            np.testing.assert_array_equal(channel, pillow(plane, size, interpolation))


def test_write_out_keeps_every_constant():
    batch = torch.arange(256, dtype=torch.uint8)[:, None, None, None].repeat(1, 1, 50, 50)
    for interpolation in INTERPOLATIONS:
        out = run(batch, 23, channels=1, dtype=torch.uint8, normalize=None, interpolation=interpolation)
        assert (out == batch[:, :, :1, :1]).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_write_out_at_canvas_size_changes_no_byte(dtype):
    batch = planes_of(pictures(63), 3)
    out = run(batch, 63, dtype=dtype, normalize=None)
    torch.testing.assert_close(out, batch if dtype == torch.uint8 else (batch / 255).to(dtype), rtol=0, atol=0)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("size", [63, 100], ids=["resized", "native"])
@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES[:3], ids=str)
@pytest.mark.parametrize(
    ("normalize", "mean", "std"),
    [
        ("imagenet", *IMAGENET),
        ("half", (0.5,) * 3, (0.5,) * 3),
        ((0.2, (0.5,)), (0.2,) * 3, (0.5,) * 3),
        (None, None, None),
    ],
    ids=["imagenet", "half", "numbers", "none"],
)
def test_float_batches_are_torchvisions(normalize, mean, std, dtype, planes, size, memory_format):
    batch = planes_of(pictures(100), planes)
    out = run(batch, size, dtype=dtype, normalize=normalize, memory_format=memory_format)
    assert out.is_contiguous(memory_format=memory_format)
    for image, planes_in in zip(out, batch.numpy(), strict=True):
        resized = [pillow(plane, size, "bilinear") for plane in planes_in]
        expected = functional.to_tensor(np.stack(resized * (3 // planes), axis=2))
        if mean is not None:
            expected = functional.normalize(expected, mean, std)
        assert torch.equal(image, expected.to(dtype))


def test_normalisation_table_is_rounded_once_a_step():
    table = normalisation_table(torch.float32, "imagenet", 3)
    for channel in range(3):
        for value in range(256):
            assert table[channel, value].item() == oracle.normalised(value, *(n[channel] for n in IMAGENET))


def test_one_channel_normalises_with_timms_averages():
    mean, std = (adapt_to_chs(numbers, 1) for numbers in IMAGENET)
    expected = functional.to_tensor(np.arange(256, dtype=np.uint8)[None]).sub(mean[0]).div(std[0])
    assert torch.equal(normalisation_table(torch.float32, "imagenet", 1), expected[0])


@pytest.mark.parametrize("size", [50, 64], ids=["resized", "native"])
def test_one_channel_of_three_planes_is_luma(size):
    batch = planes_of(pictures(64), 3)
    out = run(batch, size, channels=1, dtype=torch.uint8, normalize=None)
    for image, planes_in in zip(out.numpy(), batch.numpy(), strict=True):
        red, green, blue = (Image.fromarray(pillow(plane, size, "bilinear")) for plane in planes_in)
        np.testing.assert_array_equal(image[0], np.asarray(Image.merge("RGB", (red, green, blue)).convert("L")))
        assert image[0, 3, 5] == oracle.luma(*(band.getpixel((5, 3)) for band in (red, green, blue)))


def filled(shape: tuple[int, ...], dtype: torch.dtype, byte: int) -> torch.Tensor:
    return torch.full((int(np.prod(shape)) * dtype.itemsize,), byte, dtype=torch.uint8).view(dtype).view(shape)


LAYOUTS = {
    "contiguous": lambda b, c, s, dtype, byte: filled((b, c, s, s), dtype, byte),
    "channels_last": lambda b, c, s, dtype, byte: filled((b, s, s, c), dtype, byte).permute(0, 3, 1, 2),
    "batch_last": lambda b, c, s, dtype, byte: filled((c, s, s, b), dtype, byte).permute(3, 0, 1, 2),
    "window": lambda b, c, s, dtype, byte: filled((b, c + 1, s + 3, s + 2), dtype, byte)[:, 1:, 2:-1, 1:-1],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_write_out_fills_any_layout_and_nothing_else(dtype, layout):
    batch = planes_of(pictures(40)[:3], 3)
    normalize = None if dtype == torch.uint8 else "imagenet"
    expected = run(batch, 27, dtype=dtype, normalize=normalize)
    for byte in (0x00, 0xFF):
        out = LAYOUTS[layout](3, 3, 27, dtype, byte)
        WriteOut(40, 27, 3, dtype=dtype, normalize=normalize, backend="numba")(batch, out)
        assert torch.equal(out, expected)
        if layout == "window":
            whole = out._base.view(3, 4, 30, 29).view(torch.uint8).clone()
            itemsize = dtype.itemsize
            whole[:, 1:, 2:-1, itemsize:-itemsize] = byte
            assert (whole == byte).all()


@pytest.mark.parametrize(
    ("planes", "channels", "layout"),
    [*((p, 3, layout) for p in (1, 3) for layout in LAYOUTS), (1, 1, "contiguous"), (3, 1, "contiguous")],
)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_twins_write_the_same_bytes(interpreter, dtype, planes, channels, layout):
    batch = planes_of(pictures(32)[:3], planes)
    options = {"channels": channels, "dtype": dtype, "normalize": None if dtype == torch.uint8 else "imagenet"}
    for count, size, byte in ((3, 23, 0x00), (1, 23, 0xFF), (1, 32, 0xFF)):
        outs = [LAYOUTS[layout](count, channels, size, dtype, byte) for _ in range(2)]
        for backend, out in zip(("numba", "triton"), outs, strict=True):
            WriteOut(32, size, planes, backend=backend, **options)(batch[:count], out)
        whole = [out if out._base is None else out._base for out in outs]
        assert torch.equal(*(tensor.view(torch.uint8) for tensor in whole))


PLACES = torch.tensor([4, 0, 2], dtype=torch.int32)


@pytest.mark.parametrize("backend", ["numba", "triton"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_images_go_to_their_places_and_nowhere_else(interpreter, dtype, layout, backend):
    batch = planes_of(pictures(32)[:3], 1)
    normalize = None if dtype == torch.uint8 else "imagenet"
    for size in (23, 32):
        out = LAYOUTS[layout](5, 3, size, dtype, 0x11)
        untouched = out.clone()
        write = WriteOut(32, size, 1, dtype=dtype, normalize=normalize, backend=backend)
        write(batch, out, PLACES)
        assert torch.equal(out[PLACES], run(batch, size, dtype=dtype, normalize=normalize))
        assert torch.equal(out[[1, 3]], untouched[[1, 3]])


@pytest.mark.parametrize("backend", ["numba", "triton"])
@pytest.mark.parametrize("dtype", MaskWriteOut.DTYPES, ids=str)
@pytest.mark.parametrize(("side", "size"), [(64, 23), (23, 64), (30, 30), (512, 224), (5, 1), (1, 3)])
def test_masks_are_resized_by_pillows_nearest_neighbour(interpreter, side, size, dtype, backend):
    masks = planes_of(pictures(side)[:3], 1)
    out = torch.full((3, 1, size, size), 7, dtype=dtype)
    MaskWriteOut(side, size, dtype, backend=backend)(masks, out)
    for received, mask in zip(out[:, 0].numpy(), masks[:, 0].numpy(), strict=True):
        expected = Image.fromarray(mask).resize((size, size), Image.Resampling.NEAREST)
        np.testing.assert_array_equal(received, np.asarray(expected))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(("side", "size"), [(100, 37), (23, 70), (32, 8), (2, 5), (1, 3), (5, 1)])
def test_triton_resizes_as_pillow(interpreter, side, size, interpolation):
    batch = planes_of(pictures(side)[:3], 1)
    out = run(batch, size, "triton", channels=1, dtype=torch.uint8, normalize=None, interpolation=interpolation)
    for image, plane in zip(out.numpy(), batch.numpy(), strict=True):
        np.testing.assert_array_equal(image[0], pillow(plane[0], size, interpolation))


def test_scratch_is_reused_and_grows(interpreter):
    write = WriteOut(16, 8, 1, channels=1, dtype=torch.uint8, normalize=None, backend="triton")
    batch = planes_of(pictures(16), 1)
    for count in (2, 5, 0, 1):
        out = write.empty(count)
        write(batch[:count], out)
        assert torch.equal(out, run(batch[:count], 8, channels=1, dtype=torch.uint8, normalize=None))


def test_empty_has_the_batchs_shape_dtype_and_layout():
    out = WriteOut(64, 32, 1, channels=3, dtype=torch.bfloat16).empty(4, torch.channels_last)
    assert (out.shape, out.dtype) == ((4, 3, 32, 32), torch.bfloat16)
    assert out.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"planes": 2}, ValueError, "planes: received 2; allowed: 1, 3"),
        ({"channels": 4}, ValueError, "channels: received 4; allowed: 1, 3"),
        ({"image_size": 0}, ValueError, "image_size: received 0"),
        ({"image_size": (224, 224)}, TypeError, "image_size: received"),
        ({"canvas_size": MAX_SIZE + 1}, ValueError, "canvas_size: received 8193"),
        ({"dtype": torch.float64}, ValueError, "dtype: received torch.float64; allowed: torch.float32"),
        ({"dtype": torch.uint8}, ValueError, "normalize: received 'imagenet' with dtype torch.uint8; allowed: None"),
        ({"normalize": "imagnet"}, ValueError, "normalize: received 'imagnet'; allowed: 'imagenet', 'half'"),
        ({"normalize": ((0.5, 0.5), 0.5)}, ValueError, "normalize: received"),
        ({"normalize": (0.5, 0.0)}, ValueError, "std above zero"),
        ({"normalize": 0.5}, ValueError, "normalize: received 0.5"),
        ({"interpolation": "bilinaer"}, ValueError, "Did you mean 'bilinear'"),
        ({"backend": "cuda"}, ValueError, "backend: received 'cuda'; allowed: 'numba', 'triton'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_write_out_refuses_options(options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        WriteOut(**{"canvas_size": 64, "image_size": 32, "planes": 1, "backend": "numba", **options})


@pytest.mark.parametrize(
    ("planes", "out", "message"),
    [
        (torch.zeros(2, 1, 8, 9).byte(), None, "planes: received shape (2, 1, 8, 9); allowed: ('B', 1, 8, 8)"),
        (torch.zeros(2, 1, 8, 8), None, "planes: received torch.float32; allowed: torch.uint8"),
        (torch.zeros(2, 1, 8, 16).byte()[..., ::2], None, "allowed: contiguous"),
        (torch.zeros(2, 1, 8, 8, device="meta").byte(), None, "planes: received one on meta; allowed: cpu"),
        (None, torch.zeros(3, 3, 4, 4), "out: received shape (3, 3, 4, 4)"),
        (None, torch.zeros(2, 3, 4, 4).half(), "out: received torch.float16; allowed: torch.float32"),
        (
            None,
            torch.zeros(2, 1, 4, 4).expand(2, 3, 4, 4),
            "out: received shape (2, 3, 4, 4) with strides (16, 0, 4, 1)",
        ),
    ],
    ids=["shape", "dtype", "strided", "device", "batch", "out_dtype", "overlap"],
)
def test_write_out_refuses_tensors(planes, out, message):
    write = WriteOut(8, 4, 1, backend="numba")
    with pytest.raises(ValueError, match=re.escape(message)):
        write(torch.zeros(2, 1, 8, 8).byte() if planes is None else planes, write.empty(2) if out is None else out)


@pytest.mark.parametrize(
    "arguments", [(0, 4, "bilinear"), (4, MAX_SIZE + 1, "bilinear"), (4, 4, "lanczos")], ids=["in", "out", "name"]
)
def test_coefficients_refuse(arguments):
    with pytest.raises(ValueError, match=r"must be|allowed"):
        coefficients(*arguments)
