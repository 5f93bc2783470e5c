"""Vector mode: crops and flips of the geometry show what crops and flips of the picture show."""

import dataclasses

import numpy as np
import pytest
import torch

import fdsl_gpu
from fdsl_gpu import philox, vector
from fdsl_gpu.augment import RandomResizedCrop, Recipe
from fdsl_gpu.formulas.base import Formula
from fdsl_gpu.records import PRESENTATION, as_words
from fdsl_gpu.registry import PRESETS
from fdsl_gpu.renderer import make_primitive

CROPS = Recipe(crop=RandomResizedCrop(), horizontal_flip=0.5, vertical_flip=0.5)
NAMES = ["rcdb-1k", "visualatom-1k", "exfractaldb-1k", "mv-fractaldb-1k", "fractaldb-1k", "2d-ofdb-1k"]


def drawn(formula: Formula, top: int, left: int, height: int, width: int, flips: int) -> np.ndarray:
    """Pictures [4, S, S] of four instances, with the crop folded in."""
    labels, instances = np.arange(4), np.full(4, 2**32)
    key = philox.dataset_key(0, formula.NUMBER)
    records = formula.draw(key, labels, instances)
    presentations = np.zeros(4, PRESENTATION)
    for name, value in {"top": top, "left": left, "height": height, "width": width, "flips": flips}.items():
        presentations[name] = value
    vector.fold(formula, records, presentations, formula.canvas_size)
    assert (presentations["height"] == formula.canvas_size).all()
    assert (presentations["flips"] == 0).all()
    planes = torch.empty((4, 1, formula.canvas_size, formula.canvas_size), dtype=torch.uint8)
    make_primitive(formula, torch.device("cpu"), "numba").draw(torch.from_numpy(as_words(records)), key, planes)
    return planes.numpy()[:, 0]


def coarse(pictures: np.ndarray, cells: int) -> np.ndarray:
    """Mean grey of blocks, which strokes of another width hardly change in shape."""
    size = pictures.shape[1] // cells * cells
    blocks = pictures[:, :size, :size].reshape(len(pictures), cells, size // cells, cells, size // cells)
    return blocks.mean(axis=(2, 4))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("flips", [0, 1, 2, 3])
def test_whole_canvas_is_the_picture_and_flips_mirror_it(name: str, flips: int) -> None:
    formula = dataclasses.replace(PRESETS[name].formula, canvas_size=256)
    plain = fdsl_gpu.render(formula, np.arange(4), 2**32, image_size=256, channels=1, device="cpu").numpy()[:, 0]
    pictures = drawn(formula, 0, 0, 256, 256, flips)
    if flips & 1:
        pictures = pictures[:, :, ::-1]
    if flips & 2:
        pictures = pictures[:, ::-1]
    if flips == 0:
        assert np.array_equal(pictures, plain)
    # Random patterns of patches stay where they are on the canvas, so blocks are large enough to average them out.
    assert np.corrcoef(coarse(pictures, 16).ravel(), coarse(plain, 16).ravel())[0, 1] > 0.93


@pytest.mark.parametrize("name", NAMES)
def test_crop_shows_what_a_crop_of_a_large_picture_shows(name: str) -> None:
    formula = dataclasses.replace(PRESETS[name].formula, canvas_size=256)
    large = dataclasses.replace(formula, canvas_size=512)
    pictures = drawn(formula, 64, 32, 128, 128, 0)
    whole = fdsl_gpu.render(large, np.arange(4), 2**32, image_size=512, channels=1, device="cpu").numpy()[:, 0]
    cropped = whole[:, 128:384, 64:320]
    assert np.corrcoef(coarse(pictures, 16).ravel(), coarse(cropped, 16).ravel())[0, 1] > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_vector_stream_is_a_function_of_the_position(name: str) -> None:
    settings = {"image_size": 64, "device": "cpu", "dtype": torch.uint8, "augment": CROPS, "mode": "vector"}
    dataset = fdsl_gpu.FDSLDataset(name, 8, **settings)
    images, labels = next(iter(dataset))
    assert torch.equal(dataset.render(*dataset.locate(np.arange(8))), images)
    parts = [batch[0] for batch, _ in zip(fdsl_gpu.FDSLDataset(name, 2, **settings), range(4), strict=False)]
    assert torch.equal(torch.cat(parts), images)
    assert labels.tolist() == dataset.locate(np.arange(8))[0].tolist()
    canvas, _ = next(iter(fdsl_gpu.FDSLDataset(name, 8, **{**settings, "mode": "canvas"})))
    assert not torch.equal(canvas, images)


def test_state_tells_crops_of_another_canvas_apart() -> None:
    settings = {"image_size": 64, "device": "cpu", "augment": CROPS, "mode": "vector"}
    state = fdsl_gpu.FDSLDataset("rcdb-1k", 8, canvas_size=256, **settings).state_dict()
    with pytest.raises(ValueError, match="crop_canvases: saved"):
        fdsl_gpu.FDSLDataset("rcdb-1k", 8, **settings).load_state_dict(state)


def test_masks_move_with_the_picture() -> None:
    dataset = fdsl_gpu.FDSLDataset("segrcdb", 2, 128, "cpu", augment=CROPS, mode="vector", dtype=torch.uint8)
    images, masks = next(iter(dataset))
    # Every line leaves its category in the mask, so what is lit is labelled.
    assert (masks[(images[:, 0] > 0)] > 0).all()
    assert (images[:, 0] > 0).any()


def test_backgrounds_cannot_be_moved() -> None:
    with pytest.raises(ValueError, match="mode: received 'vector' for anderson_farrell"):
        fdsl_gpu.FDSLDataset("anderson-farrell-1k", 2, device="cpu", mode="vector")
    with pytest.raises(ValueError, match="mode: received 'bitmap'"):
        fdsl_gpu.FDSLDataset("rcdb-1k", 2, device="cpu", mode="bitmap")
