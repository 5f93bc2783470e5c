"""Every preset is listed, streams, renders, previews and says its class parameters."""

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import fdsl_gpu
from fdsl_gpu.cli import main
from fdsl_gpu.formulas.base import MAX_CLASSES
from fdsl_gpu.preview import contact_sheet
from fdsl_gpu.registry import PASSED_ON, PRESETS
from fdsl_gpu.source import Source

# The classes of these are searched on first use, which takes minutes; they are the small ones with more classes.
SEARCHED = {"1p-frac-21k", "2d-ofdb-21k", "3d-ofdb-21k", "exfractaldb-21k", "fractaldb-10k", "fractaldb-21k"}
SMALL = {"image_size": 48, "device": "cpu", "dtype": torch.uint8}


@pytest.fixture(params=sorted(PRESETS))
def preset(request: pytest.FixtureRequest) -> tuple[str, dict]:
    """A name, and options that keep it from a search: the first 20 classes are those of the shipped table."""
    name = request.param
    return name, {"num_classes": 20} if name in SEARCHED else {}


def test_preset_is_listed_with_its_source(preset: tuple[str, dict]) -> None:
    name, _ = preset
    assert name in fdsl_gpu.list_datasets()
    assert PRESETS[name].formula.num_classes <= MAX_CLASSES
    assert PRESETS[name].provenance


def test_every_option_of_a_formula_can_be_passed(preset: tuple[str, dict]) -> None:
    """No keyword of what takes ``**options`` has the name of an option, which it would keep from the formula."""
    options = {field.name for field in dataclasses.fields(PRESETS[preset[0]].formula)}
    for taker in (
        fdsl_gpu.FDSLDataset,
        Source,
        fdsl_gpu.FDSLMapDataset,
        fdsl_gpu.render,
        fdsl_gpu.geometry,
        contact_sheet,
    ):
        assert not options & (inspect.signature(taker).parameters.keys() - set(PASSED_ON)), taker


def test_preset_streams_what_it_renders(preset: tuple[str, dict]) -> None:
    name, options = preset
    dataset = fdsl_gpu.FDSLDataset(name, 6, **SMALL, **options)
    stream = iter(dataset)
    images, targets = next(stream)
    assert images.shape == (6, 3, 48, 48)
    assert images.dtype == torch.uint8
    assert len(targets) == 6
    content = dataset.locate(np.arange(6))
    again = dataset.render(*content)
    assert torch.equal(again[0] if isinstance(again, tuple) else again, images)
    drawn = {bytes(image.flatten().tolist()) for image in images}
    assert len(drawn) >= 5
    if not PRESETS[name].formula.default_instances:
        assert not torch.equal(next(stream)[0], images)
    other = fdsl_gpu.FDSLDataset(name, 6, seed=1, **SMALL, **options)
    assert not torch.equal(other.render(*content)[0], images if isinstance(again, torch.Tensor) else images[0])


def test_preset_renders_on_its_native_canvas(preset: tuple[str, dict]) -> None:
    name, options = preset
    formula = PRESETS[name].formula
    drawn = fdsl_gpu.render(name, 0, [0, 2**32], image_size=formula.canvas_size, device="cpu", **options)
    images = drawn[0] if isinstance(drawn, tuple) else drawn
    assert images.shape == (2, 3, formula.canvas_size, formula.canvas_size)
    assert all(len(image.unique()) > 1 for image in images)
    if formula.planes == 1:
        assert torch.equal(images[:, 0], images[:, 2])


def test_preset_describes_geometry_and_classes(preset: tuple[str, dict]) -> None:
    name, options = preset
    (picture,) = fdsl_gpu.geometry(name, 0, 3, **options)
    assert picture["canvas_size"] == PRESETS[name].formula.canvas_size
    assert {"vertices", "maps", "contours", "fractals"} & picture.keys()
    parameters = fdsl_gpu.FDSLDataset(name, device="cpu", **options).class_parameters(1)
    assert parameters
    assert all(isinstance(key, str) for key in parameters)


def test_preset_previews(preset: tuple[str, dict], tmp_path: Path) -> None:
    name, options = preset
    out = tmp_path / "sheet.png"
    command = ["preview", name, "--out", str(out), "--rows", "2", "--columns", "2", "--image-size", "32"]
    command += [f"--option={key}={value}" for key, value in options.items()]
    assert main(command) == 0
    assert len(np.unique(np.asarray(Image.open(out)))) > 4


def test_gallery_shows_every_formula(tmp_path: Path) -> None:
    out = tmp_path / "gallery.png"
    assert main(["gallery", "--out", str(out), "--columns", "2", "--image-size", "32"]) == 0
    formulas = {preset.formula.NAME for preset in PRESETS.values()}
    assert Image.open(out).height >= len(formulas) * 32


def test_small_sets_are_one_image_a_class() -> None:
    for name in ("1p-frac", "2d-ofdb-1k"):
        labels, shown = fdsl_gpu.FDSLDataset(name, 8, **SMALL).locate(np.arange(1000))
        assert not shown.any()
        assert sorted(labels.tolist()) == list(range(1000))
    fresh = fdsl_gpu.FDSLDataset("2d-ofdb-1k", 8, random_pattern=True, **SMALL)
    assert (fresh.locate(np.arange(8))[1] >= 2**32).all()


@pytest.mark.parametrize("name", ["2d-ofdb-1k", "3d-ofdb-1k"])
def test_weight_row_of_ofdb_is_chosen_by_option(name: str) -> None:
    settings = {"image_size": 48, "device": "cpu"}
    published, identity = (
        fdsl_gpu.FDSLDataset(name, weight_row=row, **settings).render([3, 4], 0) for row in ("published", "identity")
    )
    assert torch.equal(published, fdsl_gpu.FDSLDataset(name, **settings).render([3, 4], 0))
    assert not torch.equal(published, identity)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fdsl_gpu.FDSLDataset("2d-ofdb-1k", batchsize=4), "Did you mean 'batch_size'"),
        (lambda: fdsl_gpu.FDSLDataset("2d-ofdb-1k", colour=True), "Did you mean 'color'"),
        (lambda: fdsl_gpu.FDSLDataset(["rcdb-1k", "2d-ofdb-1k"], image_sise=4), "Did you mean 'image_size'"),
        (lambda: fdsl_gpu.geometry("2d-ofdb-1k", 0, 0, image_size=4), "image_size: .* a keyword of FDSLDataset"),
        (lambda: fdsl_gpu.render("rcdb-1k", 0, 0, dtype=torch.uint8), "dtype: .* a keyword of FDSLDataset"),
        (lambda: fdsl_gpu.render("rcdb-1k", 0, 0, augment="fdsl"), "augment: .* a keyword of FDSLDataset"),
        (
            lambda: fdsl_gpu.render("visualatom-1k", 0, 0, class_table=""),
            "class_table: not an option of visualatom; [^I]*$",
        ),
    ],
)
def test_what_is_no_option_is_said_with_what_may_be_meant(call: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()


def test_help_for_options_is_python() -> None:
    for preset in PRESETS.values():
        with pytest.raises(TypeError, match="colr: not an option") as raised:
            fdsl_gpu.FDSLDataset(preset.formula, colr=1)
        place = str(raised.value).partition("help(")[2].removesuffix(").")
        assert eval(place, {"fdsl_gpu": fdsl_gpu}) is type(preset.formula)
