"""Golden hashes: pixels change only on purpose, and then with a new ``PIXEL_CONTRACT``.

To accept a change: raise ``fdsl_gpu.version.PIXEL_CONTRACT``, run ``python -m tests.test_golden`` and paste the table.
"""

import hashlib
from typing import Any

import pytest
import torch

import fdsl_gpu
from fdsl_gpu import FDSLDataset
from fdsl_gpu.version import PIXEL_CONTRACT

RENDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "rcdb planes": ("rcdb-1k", {"image_size": 512, "channels": 1}),
    "rcdb black 224": ("rcdb-1k", {"background": "black", "interpolation": "bicubic"}),
    "exfractaldb planes": ("exfractaldb-1k", {"channels": 1}),
    "exfractaldb ring 96": ("exfractaldb-1k", {"viewpoint": "ring", "image_size": 96}),
}
STREAMS: dict[str, tuple[str, dict[str, Any]]] = {
    "rcdb uint8": ("rcdb-1k", {"dtype": torch.uint8}),
    "rcdb float32": ("rcdb-1k", {"start": 10**6}),
    "rcdb finite bfloat16": ("rcdb-1k", {"dtype": torch.bfloat16, "instances_per_class": 1000, "normalize": "half"}),
    "exfractaldb uint8": ("exfractaldb-1k", {"dtype": torch.uint8, "seed": 7}),
    "exfractaldb val float16": ("exfractaldb-1k", {"dtype": torch.float16, "split": "val", "image_size": 64}),
}
GOLDEN: dict[int, dict[str, str]] = {
    1: {
        "rcdb planes": "396e572a781e4eb4",
        "rcdb black 224": "2edbfebbe20ba093",
        "exfractaldb planes": "38083bfc3eac673c",
        "exfractaldb ring 96": "e58d22245afff464",
        "rcdb uint8": "71203d1083318451",
        "rcdb float32": "8b309403a15e3455",
        "rcdb finite bfloat16": "1cdeeabf8cfe356d",
        "exfractaldb uint8": "a0e33bd194dea295",
        "exfractaldb val float16": "51c0f46c9e2cd3f5",
    },
}


def digest(*tensors: torch.Tensor) -> str:
    """SHA-256 of the tensors' bytes, shortened."""
    state = hashlib.sha256()
    for tensor in tensors:
        state.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return state.hexdigest()[:16]


def rendered(name: str) -> str:
    dataset, options = RENDERS[name]
    labels, instances = [0, 1, 500, 999, 999], [0, 1, 2, 3, 2**40 - 1]
    return digest(fdsl_gpu.render(dataset, labels, instances, device="cpu", **options))


def streamed(name: str) -> str:
    dataset, options = STREAMS[name]
    return digest(*next(iter(FDSLDataset(dataset, 5, device="cpu", **options))))


@pytest.mark.parametrize("name", RENDERS)
def test_rendered_bytes(name: str) -> None:
    assert rendered(name) == GOLDEN[PIXEL_CONTRACT][name]


@pytest.mark.parametrize("name", STREAMS)
def test_streamed_bytes(name: str) -> None:
    assert streamed(name) == GOLDEN[PIXEL_CONTRACT][name]


if __name__ == "__main__":
    print(f"    {PIXEL_CONTRACT}: {{")
    for name in RENDERS:
        print(f'        "{name}": "{rendered(name)}",')
    for name in STREAMS:
        print(f'        "{name}": "{streamed(name)}",')
    print("    },")
