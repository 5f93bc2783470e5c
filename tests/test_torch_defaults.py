"""Torch's default device, dtype and modes are the user's: what they are set to changes nothing that is drawn."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from fdsl_gpu import FDSLDataset, FDSLLoader, Mixup
from fdsl_gpu.augment import Mixing, RandomErasing, Recipe
from fdsl_gpu.formulas.exfractaldb import ExFractalDB
from fdsl_gpu.renderer import Renderer


@pytest.fixture
def _other_defaults() -> Iterator[None]:
    torch.set_default_device("meta")
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_device(None)
    torch.set_default_dtype(torch.float32)


def _dataset(augment: Recipe | None, dtype: torch.dtype) -> FDSLDataset:
    return FDSLDataset("rcdb-1k", 3, 32, "cpu", canvas_size=48, augment=augment, dtype=dtype)


_ERASING = {mode: Recipe(erasing=RandomErasing(probability=1, mode=mode)) for mode in ("const", "pixel")}


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
@pytest.mark.parametrize("augment", [None, *_ERASING.values()], ids=["plain", *_ERASING])
@pytest.mark.usefixtures("_other_defaults")
def test_batches_stay_on_the_cpu(augment: Recipe | None, dtype: torch.dtype) -> None:
    stream, loader = iter(_dataset(augment, dtype)), iter(FDSLLoader(_dataset(augment, dtype)))
    for part, same in zip(next(stream), next(loader), strict=True):
        assert part.device.type == "cpu"
        assert part.dtype in (dtype, torch.int64)
        assert torch.equal(part, same)


@pytest.mark.usefixtures("_other_defaults")
def test_mixed_targets_are_float32_on_the_cpu() -> None:
    images, labels = next(iter(_dataset(None, torch.float32)))
    _, targets = Mixup(1000, Mixing())(images, labels)
    assert (targets.dtype, targets.device.type) == (torch.float32, "cpu")


@pytest.mark.usefixtures("interpreter")
def test_what_was_first_drawn_in_inference_mode_draws_on_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    # The interpreter keeps its state in globals.
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    settings = {"image_size": 16, "channels": 1, "dtype": torch.uint8, "normalize": None, "interpolation": "bilinear"}
    formula = ExFractalDB(canvas_size=32, points=200)
    renderer = Renderer(formula, seed=0, device=torch.device("cpu"), write_out=settings, backend="triton")
    with torch.inference_mode():
        inside = renderer(np.arange(2), np.arange(2))
    assert torch.equal(renderer(np.arange(2), np.arange(2)), inside)
