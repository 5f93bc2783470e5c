"""Which twin draws, and the Triton kernels where they are wanted."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Literal

import torch

_PROJECT = "fdsl-gpu"


def backend_for(device: torch.device) -> Literal["numba", "triton"]:
    """The twin that draws on a device: numba on a CPU, Triton elsewhere."""
    return "numba" if device.type == "cpu" else "triton"


def load_kernels(name: str) -> ModuleType:
    """The module ``triton_kernels.<name>`` of this project.

    Raises:
        ImportError: Triton is missing, or another project's ``triton_kernels`` comes first; the message says what to do.
    """
    try:
        package = importlib.import_module("triton_kernels")
        if getattr(package, "PROJECT", None) != _PROJECT:
            raise ImportError(
                f"triton_kernels: found another project's package at {package.__file__}; needed: the one of fdsl-gpu. "
                "Put fdsl-gpu first on PYTHONPATH or use an environment without the other, or draw with device='cpu'."
            )
        return importlib.import_module(f"triton_kernels.{name}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "triton":
            raise
        raise ImportError(
            "triton: not installed; needed to draw on a GPU. Run 'pip install triton', or draw with device='cpu'."
        ) from error
