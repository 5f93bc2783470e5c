"""Chooses how Triton kernels run in this test session: on a GPU where there is one, else in Triton's interpreter."""

import importlib.util
import os

import pytest
import torch

HAS_CUDA = torch.cuda.is_available()
HAS_TRITON = importlib.util.find_spec("triton") is not None

# Triton reads this when it decorates a kernel, so it must be set before any kernel module is imported.
if not HAS_CUDA:
    os.environ["TRITON_INTERPRET"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = "no CUDA device" if not HAS_CUDA else "Triton is not installed"
    for item in items:
        if "gpu" in item.keywords and not (HAS_CUDA and HAS_TRITON):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def interpreter() -> None:
    """Kernels run in Triton's interpreter on CPU tensors, or the test is skipped with the reason."""
    if not HAS_TRITON:
        pytest.skip("Triton is not installed")
    if HAS_CUDA:
        pytest.skip("a GPU is here; the tests marked gpu compare it with the CPU instead")
