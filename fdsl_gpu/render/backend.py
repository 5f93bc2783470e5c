"""Which twin of a kernel runs on a device, and the import of the Triton twins."""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor

from fdsl_gpu import checks

Backend = Literal["numba", "triton"]

_PROJECT = "fdsl-gpu"


def backend_for(device: torch.device) -> Backend:
    """The twin for a device: "numba" on a CPU, "triton" on a GPU (CUDA or ROCm).

    Raises:
        ValueError: for any other type of device.
    """
    if device.type == "cpu":
        return "numba"
    if device.type == "cuda":
        return "triton"
    raise ValueError(
        f"device: received {str(device)!r}; allowed: 'cpu' or 'cuda' (with an index if there are several). "
        "Draw on 'cpu' and move the batch."
    )


def checked_backend(backend: Backend, device: torch.device) -> Backend:
    """The twin asked for, if it runs on the device.

    Raises:
        ValueError: no such twin, or "numba" is asked for on a GPU.
    """
    chosen: Backend = checks.choice("backend", backend, ("numba", "triton"))
    if chosen == "numba" and device.type != "cpu":
        raise ValueError(f"backend: received 'numba' for device {str(device)!r}; allowed there: 'triton'.")
    return chosen


def on_device(device: torch.device) -> AbstractContextManager[Any]:
    """Triton launches on the current device, which need not be the one of the tensors: here it is."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def signed_key(key: tuple[int, int]) -> tuple[int, int]:
    """A key as int32 kernel arguments: of one type for every seed, so that a kernel is compiled once for all."""
    low, high = ((word ^ 1 << 31) - (1 << 31) for word in key)
    return low, high


def check_tensor(
    argument: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> None:
    """Refuse a tensor that a kernel cannot take as it is.

    Raises:
        ValueError: unless the tensor is contiguous, of this shape and dtype, and on this device.
    """
    same_device = tensor.device.type == device.type and device.index in (None, tensor.device.index)
    if tensor.dtype != dtype or tuple(tensor.shape) != shape or not same_device or not tensor.is_contiguous():
        layout = "contiguous" if tensor.is_contiguous() else "strided"
        raise ValueError(
            f"{argument}: received {layout} {tensor.dtype} {list(tensor.shape)} on {tensor.device}; allowed: "
            f"contiguous {dtype} {list(shape)} on {device}. Convert it with .to(...) and .contiguous()."
        )


@cache
def load_kernels(name: str) -> ModuleType:
    """Import ``triton_kernels.<name>``.

    Args:
        name: a file of the package, such as "contour".

    Raises:
        ImportError: if Triton is not installed, or the package found under that name is not this project's.
    """
    package = importlib.import_module("triton_kernels")
    if getattr(package, "PROJECT", None) != _PROJECT:
        raise ImportError(
            f"triton_kernels: found {getattr(package, '__file__', None) or list(package.__path__)}, a package of "
            f"another project; needed: the one installed with {_PROJECT}. Uninstall the other package or put the "
            f"folder that holds {_PROJECT}'s first in sys.path; device='cpu' needs neither."
        )
    try:
        return importlib.import_module(f"triton_kernels.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "triton":
            raise
        raise ImportError(
            "triton: not installed; needed to draw on a GPU. Install it (`pip install triton`; the Linux builds of "
            "PyTorch for GPUs bring it along), or use device='cpu'."
        ) from error
