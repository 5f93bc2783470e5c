"""Presentations: the twins do the same, byte for byte."""

import re

import numpy as np
import pytest
import torch

from fdsl_gpu.augment import OPERATIONS
from fdsl_gpu.present import Presenter
from fdsl_gpu.records import MAX_ERASURES, OPERATION, PRESENTATION, as_words
from tests.test_present import BYTES, FILL, GREY, KEY, blank, drawn, operation, pictures, put, run
from tests.test_write_out import DTYPES, LAYOUTS, PLACES


def test_kernels_read_records_at_their_fields(interpreter):
    from triton_kernels import augment, crop, erase

    for kernels, dtype, names in (
        (crop, PRESENTATION, ("top", "left", "height", "width", "bicubic", "flips")),
        (augment, PRESENTATION, ("operations",)),
        (augment, OPERATION, ("kind", "level", "factor", "bicubic", "matrix")),
        (erase, PRESENTATION, ("num_erasures", "noise_low", "noise_high", "view", "erasures")),
    ):
        for name in names:
            assert getattr(kernels, name.upper()).value * 4 == dtype.fields[name][1]
        assert kernels.RECORD_WORDS.value * 4 == PRESENTATION.itemsize
    assert augment.PLANES_AFTER.value * 4 == OPERATION.fields["planes"][1]
    assert augment.OPERATION_WORDS.value * 4 == OPERATION.itemsize
    assert erase.MAX_ERASURES.value == MAX_ERASURES
    numbers = [getattr(augment, re.sub("(?<=[a-z])(?=[A-Z])", "_", name).upper()).value for name in OPERATIONS]
    assert numbers == list(range(1, len(OPERATIONS) + 1))


@pytest.mark.parametrize("name", OPERATIONS)
def test_twins_do_the_same_operation(interpreter, name):
    rng = np.random.default_rng(5)
    for planes in (1, 3):
        batch = pictures(13, planes)[[0, 4]]
        records = blank(len(batch), 13, planes)
        for bicubic, record in enumerate(records):
            put(record, 0, {**operation(name, rng, 13), "bicubic": bicubic}, planes)
        outs = [run(batch, records, 13, backend, operations=1, **BYTES) for backend in ("numba", "triton")]
        assert torch.equal(*outs)


@pytest.mark.parametrize(
    ("planes", "channels", "layout", "mode"),
    [
        (1, 3, "contiguous", "pixel"),
        (3, 3, "channels_last", "pixel"),
        (3, 1, "window", "rand"),
        (1, 1, "batch_last", "const"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.uint8], ids=str)
def test_twins_write_the_same_bytes(interpreter, dtype, planes, channels, layout, mode):
    rng = np.random.default_rng(6)
    batch = pictures(24, planes)[[0, 4]]
    records = drawn(rng, len(batch), 24, 14, planes)
    records["num_erasures"] = [2, 1]
    options = {"channels": channels, "dtype": dtype, "erase_mode": mode, "operations": 1}
    options["normalize"] = None if dtype == torch.uint8 else "imagenet"
    outs = [LAYOUTS[layout](len(batch), channels, 14, dtype, 0xFF) for _ in range(2)]
    for backend, out in zip(("numba", "triton"), outs, strict=True):
        run(batch, records, 14, backend, out=out, **options)
    whole = [out if out._base is None else out._base for out in outs]
    assert torch.equal(*(tensor.view(torch.uint8) for tensor in whole))


@pytest.mark.parametrize("backend", ["numba", "triton"])
@pytest.mark.parametrize(("layout", "dtype"), [("contiguous", torch.float32), ("channels_last", torch.uint8)], ids=str)
def test_images_go_to_their_places_and_nowhere_else(interpreter, layout, dtype, backend):
    batch = pictures(24, 3)[[0, 3, 4]]
    records = drawn(np.random.default_rng(6), len(batch), 24, 14, 3)
    options = {"dtype": dtype, "operations": 1, "normalize": None if dtype == torch.uint8 else "imagenet"}
    out, expected = (LAYOUTS[layout](rows, 3, 14, dtype, 0x11) for rows in (5, 3))
    run(batch, records, 14, "numba", out=expected, **options)
    untouched = out.clone()
    present = Presenter(24, 14, planes=3, backend=backend, **options)
    present(torch.from_numpy(batch), torch.from_numpy(as_words(records)), KEY, out, PLACES)
    assert torch.equal(out[PLACES], expected)
    assert torch.equal(out[[1, 3]], untouched[[1, 3]])


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize(("side", "size"), [(30, 11), (12, 23), (9, 9), (1, 3), (5, 1)])
def test_twins_crop_alike(interpreter, side, size, planes):
    batch = pictures(side, planes)[[0, 3, 4]]
    records = drawn(np.random.default_rng(side), len(batch), side, size, planes)
    records[0]["top"] = records[0]["left"] = 0
    records[0]["height"], records[0]["width"] = side, max(side // 3, 1)
    records["num_erasures"] = 0
    outs = [run(batch, records, size, backend, operations=0, **BYTES) for backend in ("numba", "triton")]
    assert torch.equal(*outs)


@pytest.mark.parametrize("fill", [FILL, GREY], ids=["colour", "grey"])
@pytest.mark.parametrize("planes", [1, 3])
def test_twins_do_the_same_sequences(interpreter, planes, fill):
    batch = pictures(17, planes)[[0, 1, 4]]
    records = drawn(np.random.default_rng(8), len(batch), 17, 15, planes, fill=fill)
    outs = [run(batch, records, 15, backend, fill=fill) for backend in ("numba", "triton")]
    assert torch.equal(*outs)


@pytest.mark.gpu
@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gpu_presents_the_cpus_bytes(dtype, planes):
    batch = np.concatenate([pictures(300, planes, seed) for seed in range(20)])
    records = drawn(np.random.default_rng(planes), len(batch), 300, 224, planes)
    options = {"dtype": dtype, "normalize": None if dtype == torch.uint8 else "imagenet"}
    present = Presenter(300, 224, planes, operations=4, device="cuda", **options)
    out = present.empty(len(batch), torch.channels_last)
    present(torch.from_numpy(batch).cuda(), torch.from_numpy(as_words(records)).cuda(), KEY, out)
    expected = run(batch, records, 224, **options)
    assert torch.equal(out.cpu().view(torch.uint8), expected.to(memory_format=torch.channels_last).view(torch.uint8))


def test_scratch_of_the_kernels_is_reused_and_grows(interpreter):
    present = Presenter(12, 8, 1, backend="triton", operations=2, **BYTES)
    batch = pictures(12, 1)
    records = drawn(np.random.default_rng(9), len(batch), 12, 8, 1)
    expected = run(batch, records, 8, operations=2, **BYTES)
    for count in (2, 5, 0, 1):
        out = present.empty(count)
        present(torch.from_numpy(batch[:count]), torch.from_numpy(as_words(records[:count])), KEY, out)
        assert torch.equal(out, expected[:count])
