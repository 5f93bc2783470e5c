"""What the package promises to offer, and what importing it costs."""

import subprocess
import sys

import pytest
import torch

import fdsl_gpu
from fdsl_gpu import checks


def test_public_names() -> None:
    assert sorted(fdsl_gpu.__all__) == [
        "FDSLDataset",
        "FDSLLoader",
        "FDSLMapDataset",
        "Mixup",
        "__version__",
        "geometry",
        "list_datasets",
        "render",
    ]
    for name in fdsl_gpu.__all__:
        assert hasattr(fdsl_gpu, name)
        assert name == "__version__" or getattr(fdsl_gpu, name).__doc__


def test_import_needs_no_triton_and_no_cuda() -> None:
    code = (
        "import sys; sys.modules['triton'] = None; import fdsl_gpu\n"
        "images, labels = next(iter(fdsl_gpu.FDSLDataset('rcdb-1k', 2, 32, 'cpu', canvas_size=64)))\n"
        "assert images.shape == (2, 3, 32, 32)\n"
        "import torch; assert not torch.cuda.is_initialized()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_import_is_light() -> None:
    # numba, timm and the kernels load when they are first used.
    code = "import sys, fdsl_gpu; print([m for m in ('numba', 'timm', 'triton_kernels.ifs') if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert loaded.strip() == "[]"


@pytest.mark.parametrize(("pattern", "count"), [("", 20), ("rcdb", 4), ("*-1k", 9), ("nothing", 0)])
def test_list_datasets(pattern: str, count: int) -> None:
    assert len(fdsl_gpu.list_datasets(pattern)) == count


def test_a_map_dataset_says_and_draws_what_it_holds() -> None:
    held = fdsl_gpu.FDSLMapDataset("rcdb-1k", 10, image_size=32, device="cpu", canvas_size=64)
    endless = fdsl_gpu.FDSLDataset("rcdb-1k", 10, 32, "cpu", canvas_size=64)
    assert held.device == endless.device
    assert held.class_parameters(3) == endless.class_parameters(3)
    label, instance = held.locate(-1)
    assert (label, instance) == endless.locate(9)
    image, same_label = held[9]
    assert torch.equal(held.render(label, instance)[0], image)
    assert label == same_label
    for outside in (-11, 10):
        with pytest.raises(ValueError, match=f"indices: received {outside} at index 1; .* The dataset has 10 samples"):
            held.locate([0, outside])


def test_errors_end_without_a_stray_space() -> None:
    for wrong in ([-1], [0.5], [[1]]):
        with pytest.raises((ValueError, TypeError)) as raised:
            checks.integers("positions", wrong, 0, 9)
        assert str(raised.value).endswith(".")
