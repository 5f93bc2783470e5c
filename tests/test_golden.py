"""Golden hashes: pixels change only on purpose, and then with a new ``PIXEL_CONTRACT``.

To accept a change: raise ``fdsl_gpu.version.PIXEL_CONTRACT``, run ``python -m tests.test_golden`` and paste the table.
"""

import dataclasses
import hashlib
from typing import Any

import pytest
import torch

import fdsl_gpu
from fdsl_gpu import FDSLDataset
from fdsl_gpu.mixing import Mixup
from fdsl_gpu.prefetch import tensors
from fdsl_gpu.registry import PRESETS
from fdsl_gpu.version import PIXEL_CONTRACT
from tests.recorded_launches import DATASETS

LABELS, INSTANCES = [0, 1, 500, 999, 999], [0, 1, 2, 3, 2**40 - 1]
RENDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "rcdb planes": ("rcdb-1k", {"image_size": 512, "channels": 1}),
    "rcdb black 224": ("rcdb-1k", {"background": "black", "interpolation": "bicubic"}),
    "exfractaldb planes": ("exfractaldb-1k", {"channels": 1}),
    "exfractaldb ring 96": ("exfractaldb-1k", {"viewpoint": "ring", "image_size": 96}),
}
STREAMS: dict[str, tuple[Any, dict[str, Any]]] = {
    "rcdb uint8": ("rcdb-1k", {"dtype": torch.uint8}),
    "rcdb float32": ("rcdb-1k", {"start": 10**6}),
    "rcdb finite bfloat16": ("rcdb-1k", {"dtype": torch.bfloat16, "instances_per_class": 1000, "normalize": "half"}),
    "exfractaldb uint8": ("exfractaldb-1k", {"dtype": torch.uint8, "seed": 7}),
    "exfractaldb val float16": ("exfractaldb-1k", {"dtype": torch.float16, "split": "val", "image_size": 64}),
    "rcdb vector": ("rcdb-1k", {"dtype": torch.uint8, "augment": "fdsl", "mode": "vector"}),
    "mixture": (["rcdb-1k", "exfractaldb-1k"], {"dtype": torch.uint8, "weights": [2, 1], "image_size": 64}),
}
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("1p-frac", {"perturbation": "additive", "num_classes": 5}),
    ("2d-ofdb-1k", {"weight_row": "identity", "random_pattern": True}),
    ("3d-ofdb-1k", {"weight_row": "identity", "viewpoint": "uniform"}),
    ("anderson-farrell-1k", {"jitter": "svd", "blur": False}),
    ("anderson-farrell-1k", {"jitter": "sval", "color": False}),
    ("anderson-farrell-1k", {"jitter": "fractaldb", "jitter_strength": 3, "background": False}),
    ("exfractaldb-1k", {"upright": True, "points": 5000}),
    ("fractaldb-1k", {"rendering": "point", "weight_step": 0.1, "points": 20_000, "num_classes": 5}),
    ("segrcdb", {"masks": "M3", "background": "white"}),
    ("visualatom-1k", {"parameters": "argparse", "background": "white"}),
]
WAYS_TO_DRAW = {
    " ".join([name, *(f"{key}={value}" for key, value in options.items())]): (name, options)
    for name, options in (*DATASETS, *OPTIONS)
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
        "rcdb vector": "83a029a8a81d776e",
        "mixture": "1c64a38bd752c75e",
        "1p-frac": "c59cd5c27161c14a",
        "2d-ofdb-1k": "14323fce1a27f2eb",
        "3d-ofdb-1k": "66621cef64cdca7a",
        "anderson-farrell-1k": "29bcdadae66ce2d3",
        "anderson-farrell-multi-1k": "703979f604794c10",
        "exfractaldb-1k": "8a1ab6deb81176d6",
        "fractaldb-1k": "2342310e1d463591",
        "fractaldb-1k color=True": "db663a840397fc49",
        "mv-fractaldb-1k": "67125e1e9392171d",
        "rcdb-1k": "35d2bfc653910431",
        "segrcdb": "50ba973b3cc6885a",
        "segrcdb masks=M2": "a33b4b9f49fd1b1b",
        "visualatom-1k": "9136e7eb611cef38",
        "1p-frac perturbation=additive num_classes=5": "15e6fcdc14ff19ea",
        "2d-ofdb-1k weight_row=identity random_pattern=True": "b27ab199db03c902",
        "3d-ofdb-1k weight_row=identity viewpoint=uniform": "18b7e048bbbaf47a",
        "anderson-farrell-1k jitter=svd blur=False": "8c4102fb53732d40",
        "anderson-farrell-1k jitter=sval color=False": "0fe76669b5267da7",
        "anderson-farrell-1k jitter=fractaldb jitter_strength=3 background=False": "4f836d0822e6bb95",
        "exfractaldb-1k upright=True points=5000": "1c26940b92d369b1",
        "fractaldb-1k rendering=point weight_step=0.1 points=20000 num_classes=5": "13d83076d9e64c7c",
        "segrcdb masks=M3 background=white": "88f8e00292067904",
        "visualatom-1k parameters=argparse background=white": "4a4391dea1732944",
        "mixup": "69f782756ee13c8c",
    },
}


def digest(*parts: Any) -> str:
    """SHA-256 of the bytes of tensors, those of lists and tuples included, shortened."""
    state = hashlib.sha256()
    for tensor in tensors(parts):
        state.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return state.hexdigest()[:16]


def rendered(name: str) -> str:
    dataset, options = RENDERS[name]
    return digest(fdsl_gpu.render(dataset, LABELS, INSTANCES, device="cpu", **options))


def streamed(name: str) -> str:
    dataset, options = STREAMS[name]
    return digest(*next(iter(FDSLDataset(dataset, 5, device="cpu", **options))))


def drawn(name: str) -> str:
    """What a stream delivers, all views of it, and instances of small numbers, which may have a law of their own."""
    preset, options = WAYS_TO_DRAW[name]
    formula = dataclasses.replace(PRESETS[preset].formula, **options)
    dataset = FDSLDataset(formula, 5, 64, "cpu", dtype=torch.uint8, views=2 if formula.views else 1)
    labels = [label % formula.num_classes for label in LABELS] if formula.TARGET == "label" else None
    return digest(next(iter(dataset)), dataset.render(labels, INSTANCES))


def mixed() -> str:
    """How ten steps are mixed; without the last digits, which the C library decides."""
    mixup = Mixup(1000, "fdsl", rank=0)
    mixes = [mixup.draw(step, 0, 224, 224) for step in range(10)]
    return hashlib.sha256(str([(f"{mix.lam:.9f}", mix.box) for mix in mixes]).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", RENDERS)
def test_rendered_bytes(name: str) -> None:
    assert rendered(name) == GOLDEN[PIXEL_CONTRACT][name]


@pytest.mark.parametrize("name", STREAMS)
def test_streamed_bytes(name: str) -> None:
    assert streamed(name) == GOLDEN[PIXEL_CONTRACT][name]


@pytest.mark.parametrize("name", WAYS_TO_DRAW)
def test_bytes_of_each_way_to_draw(name: str) -> None:
    assert drawn(name) == GOLDEN[PIXEL_CONTRACT][name]


def test_draws_of_mixup() -> None:
    assert mixed() == GOLDEN[PIXEL_CONTRACT]["mixup"]


if __name__ == "__main__":
    print(f"    {PIXEL_CONTRACT}: {{")
    for of, names in ((rendered, RENDERS), (streamed, STREAMS), (drawn, WAYS_TO_DRAW)):
        for name in names:
            print(f'        "{name}": "{of(name)}",')
    print(f'        "mixup": "{mixed()}",')
    print("    },")
