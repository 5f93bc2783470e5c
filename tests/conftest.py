"""What holds for a whole test session: how Triton kernels run, and where class tables are cached.

Kernels run on a GPU where there is one, else in Triton's interpreter.
"""

import importlib.util
import os
import signal
from collections.abc import Iterator

import pytest
import torch

HAS_CUDA = torch.cuda.is_available()
HAS_TRITON = importlib.util.find_spec("triton") is not None

# Jobs that a shell runs in the background ignore it, and so would the processes that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Triton reads this when it decorates a kernel, so it must be set before any kernel module is imported.
if not HAS_CUDA:
    os.environ["TRITON_INTERPRET"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = "no CUDA device" if not HAS_CUDA else "Triton is not installed"
    for item in items:
        if "gpu" in item.keywords and not (HAS_CUDA and HAS_TRITON):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def class_table_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Neither reads nor fills the user's cache of class tables."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FDSL_GPU_CACHE_DIR", str(tmp_path_factory.mktemp("class_tables")))
        yield


@pytest.fixture
def interpreter() -> None:
    """Kernels run in Triton's interpreter on CPU tensors, or the test is skipped with the reason."""
    if not HAS_TRITON:
        pytest.skip("Triton is not installed")
    if HAS_CUDA:
        pytest.skip("a GPU is here; the tests marked gpu compare it with the CPU instead")
