"""The choice of twins, and what is said when the Triton twins cannot be had."""

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch

from fdsl_gpu.render import backend


@pytest.mark.parametrize(("device", "expected"), [("cpu", "numba"), ("cuda", "triton"), ("cuda:1", "triton")])
def test_backend_for_a_device(device: str, expected: str) -> None:
    assert backend.backend_for(torch.device(device)) == expected


def test_backend_for_refuses_other_devices() -> None:
    with pytest.raises(ValueError, match=r"device: received 'meta'.*'cpu' or 'cuda'"):
        backend.backend_for(torch.device("meta"))


@pytest.fixture(autouse=True)
def _nothing_loaded() -> Iterator[None]:
    backend.load_kernels.cache_clear()
    yield
    backend.load_kernels.cache_clear()


@pytest.mark.usefixtures("interpreter")
def test_load_kernels() -> None:
    assert hasattr(backend.load_kernels("contour"), "raster")


def test_load_kernels_refuses_another_projects_package(monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = ModuleType("triton_kernels")
    foreign.__path__ = ["/somewhere/else"]
    monkeypatch.setitem(sys.modules, "triton_kernels", foreign)
    with pytest.raises(ImportError, match=r"/somewhere/else.*another project"):
        backend.load_kernels("contour")


def test_load_kernels_without_triton_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    for name in ("triton_kernels.contour", "triton_kernels.philox"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ImportError, match="pip install triton"):
        backend.load_kernels("contour")


def test_load_kernels_passes_on_other_missing_modules() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_kernel"):
        backend.load_kernels("no_such_kernel")
