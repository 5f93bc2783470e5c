"""The example of CONTRIBUTING.md is a formula that works."""

import re
from pathlib import Path

import torch

import fdsl_gpu
from fdsl_gpu.registry import Preset

TEXT = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text()


def test_example_of_a_formula_streams_and_renders() -> None:
    formula, entry = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    names: dict = {"Preset": Preset}
    exec(formula, names)
    preset = eval("{" + entry + "}", names)["roses"].formula
    images, labels = next(iter(fdsl_gpu.FDSLDataset(preset, batch_size=4, image_size=64, device="cpu")))
    assert images.shape == (4, 3, 64, 64)
    assert labels.shape == (4,)
    pictures = fdsl_gpu.render(preset, [3, 45], [0, 1], image_size=128, device="cpu")
    assert 0.02 < (pictures > 0).float().mean() < 0.9
    assert not torch.equal(pictures[0], pictures[1])
